"""The prompt is pinned, text and token ids: a student trained on one prompt must not be played with another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from duomem.core.errors import UserError
from duomem.device.agent.prompt import PROMPT_VERSION, PromptTokenizer, Transcript, action
from duomem.device.alfworld.world import ALFWORLD

INTRO = (
    "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly around you, you see "
    "a cabinet 4, a cabinet 2, a cabinet 1, a coffeemachine 1, a countertop 2, and a sinkbasin 1.\n\n"
    "Your task is to: put a clean mug in coffeemachine."
)
MEMORY = "put a clean cup in shelf. 1. search desk, table; 2. take cup from table;"
STEPS = [
    ("go to cabinet 1", "You arrive at cabinet 1. The cabinet 1 is closed."),
    ("open cabinet 1", "You open the cabinet 1. The cabinet 1 is open. In it, you see a mug 1, and a plate 2."),
    ("take mug 1 from cabinet 1", "You pick up the mug 1 from the cabinet 1."),
    ("clean mug 2 with sinkbasin 1", "Nothing happens."),
    ("go to countertop 2", "You arrive at countertop 2. On the countertop 2, you see nothing."),
]

TEXT = """\
You solve household tasks. Reply to each > with one command: go to, open, close, take, move, clean, heat, cool, use, \
examine, look, inventory.
Memory: put a clean cup in shelf. 1. search desk, table; 2. take cup from table;
Task: put a clean mug in coffeemachine.
Room: cabinet 1-2+4, coffeemachine 1, countertop 2, sinkbasin 1.
> go to cabinet 1
The cabinet 1 is closed.
> open cabinet 1
In it, you see mug 1, plate 2.
> take mug 1 from cabinet 1
You pick up the mug 1 from the cabinet 1.
> clean mug 2 with sinkbasin 1
Nothing happens. Not seen yet: cabinet 2+4, coffeemachine 1, countertop 2, sinkbasin 1.
> go to countertop 2
"""
# Of the same with SmolLM2's tokenizer, segment by segment. If this test fails, raise PROMPT_VERSION and train anew.
IDS = [
    [
        2683,
        5482,
        4929,
        4381,
        30,
        2720,
        318,
        288,
        971,
        2986,
        351,
        582,
        3588,
        42,
        685,
        288,
        28,
        1440,
        28,
        2800,
        28,
        1188,
        28,
        1485,
        28,
        2577,
        28,
        2817,
        28,
        3122,
        28,
        722,
        28,
        5045,
        28,
        1492,
        28,
        13513,
        30,
        198,
        26741,
        42,
        1830,
        253,
        2577,
        7118,
        281,
        15714,
        30,
        216,
        33,
        30,
        3179,
        10917,
        28,
        3252,
        43,
        216,
        34,
        30,
        1188,
        7118,
        429,
        3252,
        43,
        198,
        22188,
        42,
        1830,
        253,
        2577,
        283,
        1433,
        281,
        6161,
        9790,
        17510,
        30,
        198,
        42122,
        42,
        19565,
        216,
        33,
        29,
        34,
        27,
        36,
        28,
        6161,
        9790,
        17510,
        216,
        33,
        28,
        4360,
        4961,
        216,
        34,
        28,
        14864,
        9317,
        254,
        216,
        33,
        30,
        198,
        46,
    ],
    [685, 288, 19565, 216, 33, 198],
    [504, 19565, 216, 33, 314, 6370, 30, 198, 46],
    [1440, 19565, 216, 33, 198],
    [788, 357, 28, 346, 963, 283, 1433, 216, 33, 28, 6496, 216, 34, 30, 198, 46],
    [1188, 283, 1433, 216, 33, 429, 19565, 216, 33, 198],
    [2683, 4491, 614, 260, 283, 1433, 216, 33, 429, 260, 19565, 216, 33, 30, 198, 46],
    [2577, 283, 1433, 216, 34, 351, 14864, 9317, 254, 216, 33, 198],
    [
        32842,
        4283,
        30,
        3349,
        2269,
        2408,
        42,
        19565,
        216,
        34,
        27,
        36,
        28,
        6161,
        9790,
        17510,
        216,
        33,
        28,
        4360,
        4961,
        216,
        34,
        28,
        14864,
        9317,
        254,
        216,
        33,
        30,
        198,
        46,
    ],
    [685, 288, 4360, 4961, 216, 34, 198],
]


def test_the_text(byte_tokenizer: Path) -> None:
    tokenizer = PromptTokenizer(byte_tokenizer)
    segments = tokenizer.episode(INTRO, STEPS, [MEMORY])
    assert PROMPT_VERSION == 2
    assert "".join(tokenizer.decode(s.tokens) for s in segments) == TEXT
    assert [tokenizer.decode(s.tokens) for s in segments if s.is_target] == [action(command) for command, _ in STEPS]
    without = "".join(tokenizer.decode(s.tokens) for s in tokenizer.episode(INTRO, STEPS))
    assert without == "".join(line for line in TEXT.splitlines(True) if not line.startswith("Memory:"))


def test_the_token_ids(smollm2: Path) -> None:
    tokenizer = PromptTokenizer(smollm2)
    segments = tokenizer.episode(INTRO, STEPS, [MEMORY])
    assert [list(s.tokens) for s in segments] == IDS
    assert [s.is_target for s in segments] == [False, True] * 5
    assert tokenizer.newline == 198
    assert tokenizer.system() == IDS[0][:40] and tokenizer.decode(tokenizer.system()).endswith("inventory.\n")


@pytest.mark.parametrize(
    ("template", "before"), [("<s> $A", ["<s>"]), ("<s> <s> $A </s>", ["<s>", "<s>"]), ("$A </s>", [])]
)
def test_an_episode_begins_as_the_tokenizer_begins_a_text(
    template: str, before: list[str], byte_tokenizer: Path, tmp_path: Path
) -> None:
    """Gemma and Llama 3 are at a loss without their BOS; nothing else of the kind stands between the pieces."""
    wrapped = Tokenizer.from_file(str(byte_tokenizer / "tokenizer.json"))
    wrapped.add_special_tokens(["<s>", "</s>"])
    ids = [(name, wrapped.token_to_id(name)) for name in ("<s>", "</s>")]
    wrapped.post_processor = TemplateProcessing(single=template, special_tokens=ids)
    wrapped.save(str(tmp_path / "tokenizer.json"))
    plain, begun = PromptTokenizer(byte_tokenizer), PromptTokenizer(tmp_path)
    first = [dict(ids)[name] for name in before]
    assert begun.system() == first + plain.system() and begun.action("look") == plain.action("look")
    episodes = [[t for s in tokenizer.episode(INTRO, STEPS) for t in s.tokens] for tokenizer in (plain, begun)]
    assert episodes[1] == first + episodes[0]


def test_an_episode_only_ever_grows(byte_tokenizer: Path) -> None:
    tokenizer = PromptTokenizer(byte_tokenizer)

    def flat(n: int) -> list[int]:
        return [t for s in tokenizer.episode(INTRO, STEPS[:n], [MEMORY]) for t in s.tokens]

    for n in range(len(STEPS)):
        assert flat(n + 1)[: len(flat(n))] == flat(n)


def test_every_command_ends_in_one_newline_token(smollm2: Path) -> None:
    tokenizer = PromptTokenizer(smollm2)
    for command in ("look", "go to cabinet 12", "move handtowel 2 to handtowelholder 1", "use desklamp 1"):
        tokens = tokenizer.action(command)
        assert tokens[-1] == tokenizer.newline and tokens.count(tokenizer.newline) == 1
        assert len(tokens) < 24  # what the free protocol allows a command


@pytest.mark.parametrize(
    ("said", "short"),
    [
        (
            "You arrive at desk 1. On the desk 1, you see a mug 1, a pen 2, and a book 1.",
            "On the desk 1, you see mug 1, pen 2, book 1.",
        ),
        ("You arrive at fridge 1. The fridge 1 is closed.", "The fridge 1 is closed."),
        ("You open the safe 1. The safe 1 is open. In it, you see nothing.", "In it, you see nothing."),
        ("Nothing happens.", "Nothing happens."),
        ("  two\n lines ", "two lines"),
        (
            "Available commands:\n  look:     look around\n  inventory:   what you hold\n",
            "Available commands: look; inventory;",
        ),
        (
            "You are facing the a 1, and b 2. Next to it, you see nothing.",
            "You are facing the a 1, and b 2. Next to it, you see nothing.",
        ),
    ],
)
def test_observations_are_one_short_line(said: str, short: str) -> None:
    assert ALFWORLD.shorten(said) == short and Transcript(INTRO).turn("look", said).startswith(short)


def test_reading_the_goal() -> None:
    assert ALFWORLD.goal(INTRO) == "put a clean mug in coffeemachine."


@pytest.mark.parametrize("intro", ["", "Your task is to:", "your task is to: sing."])
def test_an_intro_without_a_goal(intro: str) -> None:
    with pytest.raises(UserError, match="not a game of this world"):
        ALFWORLD.goal(intro)


@pytest.mark.parametrize("text", ["", "{}", "\x00"])
def test_a_damaged_tokenizer(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"tokenizer\.json: no such tokenizer"):
        PromptTokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text(text)
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        with pytest.raises(UserError, match=r"tokenizer\.json: (not a tokenizer|tokenizer is not valid JSON)"):
            PromptTokenizer(path)


def test_a_tokenizer_that_truncates_and_pads_is_not_let(tmp_path: Path, byte_tokenizer: Path) -> None:
    fields = json.loads((byte_tokenizer / "tokenizer.json").read_text())
    fields["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    fields["padding"] = {
        "strategy": {"Fixed": 9},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "!",
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(fields))
    assert PromptTokenizer(tmp_path).encode("a sentence") == PromptTokenizer(byte_tokenizer).encode("a sentence")
    assert len(PromptTokenizer(tmp_path).encode("ab")) == 2


def test_a_tokenizer_without_a_newline(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    Tokenizer(models.BPE({"a": 0}, [])).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match="no token for a newline"):
        PromptTokenizer(tmp_path)
