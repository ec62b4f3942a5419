"""Synthetic tasks: playable, told by a memory of the same template, and nothing of the real task types in them."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

import pytest

from duomem.core.errors import UserError
from duomem.core.trajectory import Trajectory, read_train_trajectories
from duomem.device.alfworld.game import Game, load_game
from duomem.device.alfworld.game_files import find_games
from duomem.memory_packs.memory_format import write_memory
from duomem.train.synthetic.env import SyntheticEnv
from duomem.train.synthetic.task import TASK_TYPE, SyntheticTask
from duomem.train.synthetic.teach import teach_synthetic
from duomem.train.synthetic.words import QUALITIES, VERBS, nonsense
from duomem.train.teachers.expert import kind
from duomem.train.teachers.goal_spec import GoalSpec
from duomem.train.teachers.priors import combine, count_places

REAL = {
    "clean",
    "heat",
    "cool",
    "hot",
    "cold",
    "use",
    "look",
    "examine",
    "find",
    "go",
    "take",
    "move",
    "put",
    "open",
    "close",
    "inventory",
    "help",
    "slice",
}


@pytest.fixture(scope="module")
def played(generated_games: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Trajectory]:
    games = find_games(generated_games, "train")
    out = tmp_path_factory.mktemp("synthetic") / "t.jsonl"
    priors = combine(count_places(g) for g in games)
    counts = teach_synthetic(games, 120, priors, out, 1, 50, noise_rate=0.05, seed=3)
    again = teach_synthetic(games, 120, priors, out.with_name("again.jsonl"), 1, 50, noise_rate=0.05, seed=3)
    assert counts == again and out.read_bytes() == out.with_name("again.jsonl").read_bytes()
    return list(read_train_trajectories(out))


def test_the_expert_wins_them(played: list[Trajectory]) -> None:
    assert sum(t.won for t in played) >= 0.95 * len(played)
    assert all(t.task_type.startswith(TASK_TYPE) and t.goal in t.intro and t.seed == 3 for t in played)
    for t in played:
        assert all(s.is_noise or s.action in s.admissible or s.action.startswith("go to ") for s in t.steps), t.goal


def test_no_real_verb_and_no_lamp_is_taught(played: list[Trajectory]) -> None:
    assert not REAL & ({*VERBS} | {*QUALITIES})
    for t in played:
        memory = write_memory(t)
        verbs = {step.split(" ")[0] for step in memory.steps}
        placed = [step for step in memory.steps if step.startswith("move ")]
        assert verbs - {"go", "search", "take", "move"} or len(set(placed)) > 1 or not t.won, memory.text()
        assert not verbs & {"clean", "heat", "cool", "use"} and "lamp" not in memory.text(), memory.text()


def test_a_template_keeps_its_verbs_and_places_and_changes_scenes_and_things(played: list[Trajectory]) -> None:
    templates = defaultdict(list)
    for t in played:
        if t.won:
            templates[t.task_type].append(t)
    tasks = set()
    for told in templates.values():
        verbs = [
            {step.split(" ")[0] for step in write_memory(t).steps} - {"go", "search", "take", "move"} for t in told
        ]
        assert all(own == verbs[0] for own in verbs)
        tasks |= {t.goal for t in told}
    assert sum(len({t.game for t in told}) > 1 for told in templates.values()) >= 0.8 * len(templates)
    assert len(tasks) > 2 * len(templates)


def test_nonsense_is_pronounceable_and_varied() -> None:
    rng = random.Random(0)
    words = {nonsense(rng) for _ in range(300)}
    assert len(words) > 250 and all(word.isalpha() and 2 <= len(word) <= 14 for word in words)


def _start(generated_games: Path) -> tuple[Game, str, str]:
    """A game, an object lying in the open, and where it lies."""
    for path in find_games(generated_games, "train"):
        game = load_game(path)
        env = SyntheticEnv(SyntheticTask("x.", (GoalSpec("nothing", treatments=(("zap", "moon"),)),)))
        for command in env.reset(game).admissible:
            if command.startswith("go to "):
                takes = [c for c in env.step(command).admissible if c.startswith("take ")]
                if takes:
                    thing, place = takes[0].removeprefix("take ").split(" from ")
                    return game, thing, place
    raise AssertionError("no game with a thing to take")


def test_every_verb_must_be_done_with_the_thing_at_its_place(generated_games: Path) -> None:
    game, thing, place = _start(generated_games)
    task = SyntheticTask("zap it.", (GoalSpec(kind(thing), treatments=(("zap", kind(place)), ("bop", kind(place)))),))
    env = SyntheticEnv(task)
    assert "Your task is to: zap it." in env.reset(game).text
    env.step(f"go to {place}")
    assert env.step(f"zap {thing} with {place}").text == "Nothing happens."
    held = env.step(f"take {thing} from {place}")
    assert f"zap {thing} with {place}" in held.admissible
    first = env.step(f"zap {thing} with {place}")
    assert (first.text, first.won) == (f"You zap the {thing} using the {place}.", False)
    assert env.step(f"bop {thing} with {place}").won and env.reached == 1


def test_too_few_games_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="synthetic task"):
        teach_synthetic([], 4, {}, tmp_path / "t.jsonl", 1, 50)


def test_a_clone_is_a_task_of_its_own(generated_games: Path) -> None:
    game, thing, place = _start(generated_games)
    env = SyntheticEnv(SyntheticTask("zap it.", (GoalSpec(kind(thing), treatments=(("zap", kind(place)),)),)))
    env.reset(game)
    for command in (f"go to {place}", f"take {thing} from {place}"):
        env.step(command)
    twin = env.clone()
    assert twin.state_id == env.state_id
    assert twin.step(f"zap {thing} with {place}").won and (twin.reached, env.reached) == (1, 0)
    assert twin.state_id != env.state_id
    assert env.step(f"zap {thing} with {place}").won and twin.state_id == env.state_id
