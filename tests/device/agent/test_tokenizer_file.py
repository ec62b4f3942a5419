"""Tokenizers of the known families are read, to the ids the library itself gives; no other file reaches it."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from duomem.core.errors import UserError
from duomem.device.agent import tokenizer_file
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.agent.tokenizer_file import read_tokenizer, special_tokens

TEXTS = [
    "",
    "put a clean mug in desk 12.\n",
    "  two  spaces\n\n\tand it's KÄSE 机 e\u0301 1234567",
    "<|im_end|> <think> [x]",
]
MARKS = ("<|im_start|>", "<|im_end|>", "<bos>", "<think>")


def _byte_level(pattern: str | None = None, digits: bool = False) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {c: i for i, c in enumerate([*alphabet, "mu", "mug", "Ġmug"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[("m", "u"), ("mu", "g"), ("Ġ", "mug")]))
    before: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if digits else []
    before += [pre_tokenizers.Split(Regex(pattern), "isolated")] if pattern else []
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*before, byte_level]) if before else byte_level
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _qwen() -> Tokenizer:
    tokenizer = _byte_level(tokenizer_file._PATTERNS[0])
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def _gemma() -> Tokenizer:
    letters = ["<unk>", *(f"<0x{i:02X}>" for i in range(256)), *"▁aeimnpqtudkgs\n."]
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(letters)}, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


FAMILIES: dict[str, Callable[[], Tokenizer]] = {
    "smollm2": lambda: _byte_level(digits=True),
    "smollm2, by transformers 5": _byte_level,
    "qwen": _qwen,
    "llama 3": lambda: _byte_level(tokenizer_file._PATTERNS[1]),
    "gemma": _gemma,
}


def _write(tokenizer: Tokenizer, folder: Path, *marks: str) -> Path:
    tokenizer.add_special_tokens([mark for mark in marks if mark != "<think>"])
    tokenizer.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in marks if mark == "<think>"])
    if "<bos>" in marks and tokenizer.post_processor is None:
        ids = [("<bos>", tokenizer.token_to_id("<bos>"))]
        tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=ids)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_the_ids_are_the_library_s_own(family: str, tmp_path: Path) -> None:
    """Without marks, whatever the text; and what stands before a text."""
    own = FAMILIES[family]()
    read = read_tokenizer(_write(own, tmp_path))
    for text in TEXTS:
        assert read.encode(text).ids == own.encode(text).ids
        assert read.decode(read.encode(text).ids) == own.decode(own.encode(text).ids)
    marked = FAMILIES[family]()
    read = read_tokenizer(_write(marked, tmp_path, *MARKS))
    assert read.encode("a mug\n").ids == marked.encode("a mug\n").ids


_PIECES = st.sampled_from([*MARKS, "<|im_", "end|>", " ", "\n", "mug", "▁", "é", "\ud7ff", "\0"]) | st.text(max_size=5)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.lists(_PIECES, max_size=8).map("".join))
@pytest.mark.parametrize("family", ["smollm2", "qwen", "gemma"])
def test_no_text_has_a_mark_s_token(family: str, text: str, tmp_path: Path) -> None:
    marked = read_tokenizer(_write(FAMILIES[family](), tmp_path, *MARKS))
    ids = marked.encode(text, add_special_tokens=False).ids
    plain = FAMILIES[family]().encode(text, add_special_tokens=False)
    assert ids == plain.ids and not set(ids) & set(special_tokens(marked).values())


@pytest.mark.parametrize("family", FAMILIES)
def test_marks_in_a_text_are_text(family: str, tmp_path: Path) -> None:
    plain = read_tokenizer(_write(FAMILIES[family](), tmp_path))
    marked = read_tokenizer(_write(FAMILIES[family](), tmp_path, *MARKS))
    assert set(special_tokens(marked)) == set(MARKS)
    for mark in MARKS:
        text = f"put a{mark} mug in {mark}"
        ids = marked.encode(text, add_special_tokens=False).ids
        assert ids == plain.encode(text, add_special_tokens=False).ids and special_tokens(marked)[mark] not in ids


def _merge(fields: Any, path: str, value: Any) -> Any:
    fields = copy.deepcopy(fields)
    *keys, last = [int(key) if key.isdecimal() else key for key in path.split(".")]
    where = fields
    for key in keys:
        where = where[key]
    where[last] = value
    return fields


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
DOUBLING = {"type": "Replace", "pattern": {"Regex": "(.)"}, "content": "$1$1" * 500}
TEMPLATE = {"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {}}


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("model", None, "model"),
        ("model.type", "Unigram", "model.type"),
        ("model.dropout", 0.5, "model.dropout"),
        ("model.unk_token", "<none>", "model.unk_token"),
        ("model.continuing_subword_prefix", "##", "model.continuing_subword_prefix"),
        ("model.vocab", [], "model.vocab"),
        ("model.vocab.a", -1, "an id is none of the model's 300"),
        ("model.vocab.a", 300, "an id is none of the model's 300"),
        ("model.vocab.a", 1 << 40, "an id is none of the model's 300"),
        ("model.vocab.a", True, "an id is none of the model's 300"),
        ("model.vocab.a", 5, "an id is given twice"),
        ("model.merges", [["a", "zz"]], "model.merges: a part"),
        ("model.merges", ["a b c"], "model.merges"),
        ("model.merges", [[1, 2]], "model.merges"),
        ("normalizer", DOUBLING, "normalizer"),
        ("normalizer", {"type": "Prepend", "prepend": "x" * 10_000}, "normalizer.type"),
        ("normalizer", {"type": "Sequence", "normalizers": [{"type": "NFC"}] * 9}, "normalizer.normalizers"),
        ("normalizer", {"type": "Precompiled", "precompiled_charsmap": "AAAA"}, "normalizer.type"),
        ("pre_tokenizer", {"type": "Sequence", "pretokenizers": [BYTES, {"type": "Sequence"}]}, "pre_tokenizer.type"),
        (
            "pre_tokenizer",
            {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False},
            "pre_tokenizer.pattern",
        ),
        ("pre_tokenizer", {**BYTES, "use_regex": 1}, "pre_tokenizer.use_regex"),
        ("decoder", {"type": "Replace", "pattern": {"String": "a"}, "content": "\x1b"}, "decoder.pattern"),
        ("decoder", "ByteLevel", "decoder.type"),
        ("post_processor", {"type": "BertProcessing", "sep": ["a", 1], "cls": ["a", 1]}, "post_processor.type"),
        ("post_processor", TEMPLATE, "post_processor.single"),
        ("post_processor", {**TEMPLATE, "single": [{"SpecialToken": {"id": "<none>"}}]}, "post_processor.single"),
        ("post_processor", {**TEMPLATE, "single": [{"SpecialToken": {}}]}, "post_processor.single"),
        ("added_tokens", {}, "added_tokens"),
        ("added_tokens", [3], "added_tokens"),
        ("added_tokens.0.content", "", "added_tokens.content"),
        ("added_tokens.0.id", 7, "added_tokens: an id"),
        ("added_tokens.0.id", 1 << 40, "added_tokens.id"),
        ("added_tokens.0.special", "yes", "added_tokens.special"),
        ("added_tokens.1.content", "<bos>", "a token is given twice"),
    ],
)
def test_other_forms_are_refused(path: str, value: Any, said: str, tmp_path: Path) -> None:
    file = _write(_byte_level(), tmp_path, "<bos>", "<eos>") / "tokenizer.json"
    assert read_tokenizer(file, 300)
    file.write_text(json.dumps(_merge(json.loads(file.read_text()), path, value)))
    with pytest.raises(UserError, match=r"tokenizer\.json: not a tokenizer of SmolLM2") as error:
        read_tokenizer(file, 300)
    assert said in str(error.value)


def test_a_text_begins_with_no_token_that_the_model_lacks(tmp_path: Path) -> None:
    """A special token may lie beyond the model's, as Gemma 3's for images, if nothing brings it."""
    folder = _write(_byte_level(), tmp_path, "<image>")
    tokenizer = PromptTokenizer(folder, 259)
    assert tokenizer.special_tokens == {"<image>": 259} and max(tokenizer.encode("a <image> of a mug")) < 259
    folder = _write(_byte_level(), tmp_path, "<bos>")
    assert PromptTokenizer(folder, 260).system()[0] == 259
    with pytest.raises(UserError, match="begins a text with a token that its model does not have"):
        PromptTokenizer(folder, 259)


def test_a_pipe_and_a_flood(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tokenizer.json")
    with pytest.raises(UserError, match="Not a regular file"):
        read_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with open(tmp_path / "tokenizer.json", "wb") as f:
        f.truncate(tokenizer_file._LIMIT + 1)
    with pytest.raises(UserError, match="is larger than"):
        read_tokenizer(tmp_path)
