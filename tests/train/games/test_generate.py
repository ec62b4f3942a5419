"""Generated games: deterministic, split by floor plan, varied, and like the real ones in shape."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from duomem.core.errors import UserError
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import SPLITS, describe_path, find_games
from duomem.device.alfworld.goal import TASK_TYPES
from duomem.train.games import wheel
from duomem.train.games.generate import MANIFEST, Generator, generate
from duomem.train.games.goals import possible_goals
from duomem.train.games.layouts import UNSEEN_PLANS, plans_of

# As in the official games, whose sentences are one of two a task type.
_SENTENCES = {
    "pick_and_place_simple": r"put (a \w+ in|some \w+ on) \w+\.",
    "look_at_obj_in_light": r"(look at \w+ under|examine the \w+ with) the desklamp\.",
    "pick_clean_then_place_in_recep": r"(put a clean \w+ in|clean some \w+ and put it in) \w+\.",
    "pick_heat_then_place_in_recep": r"(put a hot \w+ in|heat some \w+ and put it in) \w+\.",
    "pick_cool_then_place_in_recep": r"(put a cool \w+ in|cool some \w+ and put it in) \w+\.",
    "pick_two_obj_and_place": r"(put two \w+ in|find two \w+ and put them in) \w+\.",
}


@pytest.fixture(scope="module")
def generator(generated_games: Path) -> Generator:
    return Generator(11)


def _contents(root: Path) -> dict[Path, bytes]:
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_same_seed_same_bytes(generated_games: Path, tmp_path: Path) -> None:
    counts = {"train": 18, "valid_seen": 6, "valid_unseen": 6}
    assert all(generate(tmp_path, 7, counts))
    assert _contents(tmp_path) == _contents(generated_games)


def test_other_seed_other_games(generator: Generator, generated_games: Path) -> None:
    old = {path.read_bytes() for path in find_games(generated_games, "train")}
    assert not old & {generator.make("train", index).data for index in range(18)}


def test_interrupted_and_grown(tmp_path: Path) -> None:
    small, large = ({"train": count, "valid_seen": 2, "valid_unseen": 2} for count in (4, 8))
    run = generate(tmp_path / "a", 3, small)
    assert [next(run) for _ in range(3)] == [True] * 3
    run.close()
    assert [is_new for is_new in generate(tmp_path / "a", 3, small)] == [False] * 3 + [True] * 5
    assert list(generate(tmp_path / "a", 3, small)) == []
    assert sum(generate(tmp_path / "a", 3, large)) == 4
    assert all(generate(tmp_path / "b", 3, large))
    assert _contents(tmp_path / "a") == _contents(tmp_path / "b")


def test_refuses_a_folder_of_something_else(generated_games: Path, tmp_path: Path) -> None:
    counts = {"train": 1, "valid_seen": 0, "valid_unseen": 0}
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(UserError, match="is not empty"):
        next(generate(tmp_path, 7, counts))
    with pytest.raises(UserError, match="field seed"):
        next(generate(generated_games, 8, counts))
    with pytest.raises(UserError, match="more than the 1"):
        next(generate(generated_games, 7, counts))
    for bad in ("[]", '{"format": "other"}', "{"):
        (tmp_path / MANIFEST).write_text(bad)
        with pytest.raises(UserError, match=MANIFEST):
            next(generate(tmp_path, 7, counts))


def test_splits_by_floor_plan(generator: Generator) -> None:
    plans = {
        split: {int(generator.make(split, index).path.parts[0].split("-")[-1]) for index in range(60)}
        for split in SPLITS
    }
    assert plans["valid_unseen"] <= UNSEEN_PLANS
    assert not (plans["train"] | plans["valid_seen"]) & UNSEEN_PLANS
    assert len(plans["train"]) > 30


def test_real_unseen_plans_are_kept_apart(real_games: list[Path]) -> None:
    assert not {int(describe_path(path)[1]) for path in real_games} & UNSEEN_PLANS


def test_sentences_and_names(generated_games: Path) -> None:
    for split in SPLITS:
        paths = find_games(generated_games, split)
        assert Counter(describe_path(path)[0] for path in paths) == dict.fromkeys(TASK_TYPES, len(paths) // 6)
        for path in paths:
            game = load_game(path)
            assert re.fullmatch(_SENTENCES[game.task_type], game.task)
            assert path.parts[-3].startswith(f"{game.task_type}-") and game.goal.object_type in path.parts[-3].lower()
            assert json.loads(path.read_bytes())["solvable"] is True


def test_rooms_are_furnished_and_cluttered(generator: Generator) -> None:
    """Means over 108 games against those of the official train games: 33 receptacles and 44 objects in a
    kitchen, some 15 and 20 elsewhere; two of most things; a third of the drawers and cabinets not empty.
    """
    receptacles: dict[bool, list[int]] = {True: [], False: []}
    objects: dict[bool, list[int]] = {True: [], False: []}
    instances: list[int] = []
    for index in range(108):
        made = generator.make("train", index)
        problem = json.loads(made.data)["pddl_problem"]
        is_kitchen = int(made.path.parts[0].split("-")[-1]) < 100
        receptacles[is_kitchen].append(problem.count("(receptacleType "))
        kinds = Counter(re.findall(r"\(objectType \S+ (\w+)\)", problem))
        objects[is_kitchen].append(kinds.total())
        instances += kinds.values()

    def mean(numbers: list[int]) -> float:
        return sum(numbers) / len(numbers)

    assert 27 < mean(receptacles[True]) < 39 and 11 < mean(receptacles[False]) < 19
    assert 38 < mean(objects[True]) < 50 and 16 < mean(objects[False]) < 25
    assert 1.6 < mean(instances) < 2.2


def test_every_task_type_is_possible_somewhere(generated_games: Path) -> None:
    files = wheel.find_wheel()
    for split in ("train", "valid_unseen"):
        for task_type in TASK_TYPES:
            assert any(possible_goals(files, plan, task_type) for plan in plans_of(files, split))


def test_without_the_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(wheel.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install --no-deps alfworld==0\.4\.2"):
        next(generate(tmp_path / "out", 0, {"train": 1, "valid_seen": 0, "valid_unseen": 0}))
    assert not (tmp_path / "out").exists()


def test_with_another_wheel(generated_games: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheel.importlib.metadata, "version", lambda name: "0.3.5")
    with pytest.raises(UserError, match=r"found 0\.3\.5"):
        Generator(0)
