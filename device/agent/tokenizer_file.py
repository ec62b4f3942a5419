"""tokenizer.json, read as hostile: byte-pair encoding in the forms of SmolLM2, Qwen, Llama 3 and Gemma, nothing else.

What the tokenizers library is given is written anew from what was checked: it panics on a file that lies, and runs
whatever pattern a file holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from duomem.core.errors import ModelError
from duomem.core.files import read_json

_LIMIT = 48 << 20  # Gemma 3's has 33 MB
_MOST_IDS = 1 << 20
_MOST_ADDED = 10_000  # Gemma's has 6,415
_MOST_PARTS = 8
_LONGEST = 512

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_PATTERNS = tuple(_WORDS + digits + _REST for digits in (r"\p{N}", r"\p{N}{1,3}"))
"""How Qwen and Llama 3 cut a text into words."""

_Check = Callable[[Any], bool]
_Form = Mapping[str, _Check]


class _UnknownError(ValueError):
    """The field that is not as one of the known tokenizers has it."""


def _one_of(*values: Any) -> _Check:
    return lambda value: any(type(value) is type(known) and value == known for known in values)


_FLAG = _one_of(True, False)
_BYTE_LEVEL: _Form = {"add_prefix_space": _FLAG, "trim_offsets": _FLAG, "use_regex": _FLAG}
_NORMALIZERS: Mapping[str, _Form] = {
    "NFC": {},
    "Replace": {"pattern": _one_of({"String": " "}), "content": _one_of("▁")},
}
_PRE_TOKENIZERS: Mapping[str, _Form] = {
    "ByteLevel": _BYTE_LEVEL,
    "Digits": {"individual_digits": _FLAG},
    "Split": {
        "pattern": _one_of({"String": " "}, *({"Regex": pattern} for pattern in _PATTERNS)),
        "behavior": _one_of("Isolated", "MergedWithPrevious"),
        "invert": _one_of(False),
    },
}
_DECODERS: Mapping[str, _Form] = {
    "ByteLevel": _BYTE_LEVEL,
    "Replace": {"pattern": _one_of({"String": "▁"}), "content": _one_of(" ")},
    "ByteFallback": {},
    "Fuse": {},
}
_MODEL: _Form = {
    "dropout": _one_of(None),
    "unk_token": lambda value: value is None or isinstance(value, str),
    "continuing_subword_prefix": _one_of(None, ""),
    "end_of_word_suffix": _one_of(None, ""),
    "fuse_unk": _FLAG,
    "byte_fallback": _FLAG,
    "ignore_merges": _FLAG,
}
_ADDED: _Form = {name: _FLAG for name in ("single_word", "lstrip", "rstrip", "normalized", "special")}


def read_tokenizer(path: Path, vocab_size: int | None = None) -> Tokenizer:
    """The tokenizer in `path`, a tokenizer.json or the folder that holds one. It encodes text as text: what is written
    like one of its special tokens gives the letters' tokens.

    vocab_size: of the model that reads the ids; no text gives an id beyond it. Raises ModelError or FileError naming
    the field that no known tokenizer has.
    """
    file = path / "tokenizer.json" if path.is_dir() else path
    fields = read_json(file, "tokenizer", _LIMIT)
    try:
        checked = _checked(fields, vocab_size or _MOST_IDS)
        tokenizer = Tokenizer.from_str(json.dumps(checked))
        if any(tokenizer.token_to_id(token["content"]) != token["id"] for token in checked["added_tokens"]):
            raise _UnknownError("added_tokens: an id is not the token's in the vocabulary, nor the next one")
        tokenizer.encode_special_tokens = True
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as e:  # the library raises a bare Exception, and a panic of its own is no Exception
        raise ModelError(
            f"{file}: not a tokenizer of SmolLM2, Qwen, Llama 3 or Gemma ({e}): copy the model's tokenizer.json again, "
            "or take a model of these"
        ) from None
    return tokenizer


def special_tokens(tokenizer: Tokenizer) -> dict[str, int]:
    """The special tokens of a tokenizer, and their ids."""
    return {token.content: id for id, token in tokenizer.get_added_tokens_decoder().items() if token.special}


def _checked(fields: Any, vocab_size: int) -> dict[str, Any]:
    if not isinstance(fields, dict):
        raise _UnknownError("it is no object")
    model, ids = _model(fields.get("model"), vocab_size)
    added = _added(fields.get("added_tokens", []), vocab_size)
    known = ids | {token["content"]: token["id"] for token in added}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": _parts(fields, "normalizer", "normalizers", _NORMALIZERS),
        "pre_tokenizer": _parts(fields, "pre_tokenizer", "pretokenizers", _PRE_TOKENIZERS),
        "post_processor": _post_processor(fields.get("post_processor"), known),
        "decoder": _parts(fields, "decoder", "decoders", _DECODERS),
        "model": model,
    }


def _as(value: Any, form: _Form, where: str) -> dict[str, Any]:
    """The fields of `value` that `form` has, each as it says. One that is missing is left to the library."""
    if not isinstance(value, dict):
        raise _UnknownError(where)
    for name, check in form.items():
        if name in value and not check(value[name]):
            raise _UnknownError(f"{where}.{name}")
    return {name: value[name] for name in form if name in value}


def _parts(fields: dict[str, Any], name: str, plural: str, forms: Mapping[str, _Form]) -> dict[str, Any] | None:
    """A normalizer, pre-tokenizer or decoder: None, one of `forms`, or a sequence of them."""
    value = fields.get(name)
    if value is None:
        return None
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "Sequence":
        parts = value.get(plural)
        if not isinstance(parts, list) or not 0 < len(parts) <= _MOST_PARTS:
            raise _UnknownError(f"{name}.{plural}")
        return {"type": kind, plural: [_part(part, name, forms) for part in parts]}
    return _part(value, name, forms)


def _part(value: Any, name: str, forms: Mapping[str, _Form]) -> dict[str, Any]:
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in forms:
        raise _UnknownError(f"{name}.type")
    return {"type": kind, **_as(value, forms[kind], name)}


def _model(value: Any, vocab_size: int) -> tuple[dict[str, Any], dict[str, int]]:
    """The model's fields, and its vocabulary."""
    model = _as(value, _MODEL, "model")
    vocab, merges = value.get("vocab"), value.get("merges")
    if value.get("type") != "BPE":
        raise _UnknownError("model.type")
    if not isinstance(vocab, dict) or not all(_is_id(id, vocab_size) for id in vocab.values()):
        raise _UnknownError(f"model.vocab: an id is none of the model's {vocab_size}")
    if len(set(vocab.values())) != len(vocab):
        raise _UnknownError("model.vocab: an id is given twice")
    if model.get("unk_token") is not None and model["unk_token"] not in vocab:
        raise _UnknownError("model.unk_token")
    if not isinstance(merges, list):
        raise _UnknownError("model.merges")
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise _UnknownError("model.merges")
        if not (pair[0] in vocab and pair[1] in vocab and pair[0] + pair[1] in vocab):
            raise _UnknownError("model.merges: a part is not in the vocabulary")
    return {"type": "BPE", **model, "vocab": vocab, "merges": pairs}, vocab


def _added(value: Any, vocab_size: int) -> list[dict[str, Any]]:
    """The tokens that are found in a text before it is cut into words. Those that look like marks count as special
    even where the file does not say so (Qwen's <think>). A special one may have an id beyond the model's, as Gemma's
    for images.
    """
    if not isinstance(value, list) or len(value) > _MOST_ADDED:
        raise _UnknownError("added_tokens")
    tokens = []
    for token in value:
        flags, content, id = _as(token, _ADDED, "added_tokens"), token.get("content"), token.get("id")
        if not isinstance(content, str) or not 0 < len(content) <= _LONGEST or len(flags) < len(_ADDED):
            raise _UnknownError("added_tokens.content")
        flags["special"] = flags["special"] or (len(content) > 2 and content[0] in "<[" and content[-1] in ">]")
        if not _is_id(id, 2 * _MOST_IDS if flags["special"] else vocab_size):
            raise _UnknownError("added_tokens.id")
        tokens.append({"id": id, "content": content, **flags})
    if len({token["content"] for token in tokens}) != len(tokens) or len({token["id"] for token in tokens}) != len(
        tokens
    ):
        raise _UnknownError("added_tokens: a token is given twice")
    return tokens


def _post_processor(value: Any, ids: Mapping[str, int]) -> dict[str, Any] | None:
    """What puts special tokens around a text: a template of one text, the rest is of no use here."""
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "Sequence":
        processors = value.get("processors")
        if not isinstance(processors, list) or not 0 < len(processors) <= _MOST_PARTS:
            raise _UnknownError("post_processor.processors")
        found = [processor for item in processors if (processor := _post_processor(item, ids)) is not None]
        if len(found) > 1:
            raise _UnknownError("post_processor.processors")
        return found[0] if found else None
    if value is None or kind == "ByteLevel":  # changes offsets alone
        return None
    if kind != "TemplateProcessing":
        raise _UnknownError("post_processor.type")
    single = value.get("single")
    if not isinstance(single, list) or len(single) > _MOST_PARTS:
        raise _UnknownError("post_processor.single")
    names = [_special(part) for part in single]
    if names.count(None) != 1 or not all(name is None or name in ids for name in names):
        raise _UnknownError("post_processor.single")
    text = {"Sequence": {"id": "A", "type_id": 0}}
    parts = [text if name is None else {"SpecialToken": {"id": name, "type_id": 0}} for name in names]
    return {
        "type": kind,
        "single": parts,
        "pair": [text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in names if name},
    }


def _special(part: Any) -> str | None:
    """The special token of a template's part, None for the text."""
    if (
        isinstance(part, dict)
        and isinstance(token := part.get("SpecialToken"), dict)
        and isinstance(token.get("id"), str)
    ):
        return token["id"]
    if isinstance(part, dict) and isinstance(text := part.get("Sequence"), dict) and text.get("id") == "A":
        return None
    raise _UnknownError("post_processor.single")


def _is_id(value: Any, vocab_size: int) -> bool:
    return type(value) is int and 0 <= value < vocab_size
