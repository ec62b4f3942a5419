"""How often a lexicon finds what a person asks for: `python scripts/measure_lexicon.py GAMES`.

Learned on train sentences but those of held-out floor plans (rows `plans`) and one sentence of every tenth of the
other games (rows `sentences`). `--split valid_seen` learns on all of train and measures that split, once.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from duomem.core.files import read_json
from duomem.core.scene import receptacles
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import load_game
from duomem.memory_packs.lexicon import Lexicon, Triple, Utterance

HELD_OUT_PLANS = {"4", "16", "213", "222", "310", "329", "411", "416"}
NEAR = (0.1, 0.2, 0.3)


@dataclass(frozen=True)
class Sentences:
    """One game's: what it asks for, its room, its template sentence, people's, and where it comes from."""

    triple: Triple
    places: frozenset[str]
    template: str
    people: tuple[str, ...]
    trial: str

    @property
    def plan(self) -> str:
        """Its floor plan: "213"."""
        return self.trial.split("/")[0].rpartition("-")[2]

    def examples(self) -> list[Utterance]:
        """People's sentences and the template, to learn from."""
        return [(sentence, self.triple, self.places) for sentence in (*self.people, self.template)]


def read_sentences(folder: Path) -> list[Sentences]:
    """The games of one split, in the order of their paths."""
    found = []
    for path in sorted(folder.glob("*/*/game.tw-pddl")):
        game = load_game(path)
        notes = read_json(path.parent / "traj_data.json", "annotations")["turk_annotations"]["anns"]
        listed = receptacles(AlfworldEnv().reset(game).text)
        places = frozenset(name.rpartition(" ")[0] for name in listed)
        goal = game.goal
        triple = (goal.task_type, goal.object_type, goal.target_type)
        trial = path.parent.relative_to(folder).as_posix()
        found.append(Sentences(triple, places, game.task, tuple(note["task_desc"] for note in notes), trial))
    return found


def show(name: str, lexicon: Lexicon, triples: Sequence[Triple], cases: Sequence[Utterance], by_type: bool) -> None:
    """A row of the table: recall@1, recall@4 and, within a share of the best chance, recall and mean number."""
    started = time.perf_counter()
    ranked = [(lexicon.rank(sentence, triples, places), triple) for sentence, triple, places in cases]
    milliseconds = 1000 * (time.perf_counter() - started) / len(cases)
    cells = [sum(truth in [t for _, t in found[:k]] for found, truth in ranked) / len(cases) for k in (1, 4)]
    text = " ".join(f"{100 * cell:5.1f}" for cell in cells)
    for share in NEAR:
        near = [([t for p, t in found if p >= share * found[0][0]], truth) for found, truth in ranked]
        hit = sum(truth in some for some, truth in near) / len(near)
        text += f" | {100 * hit:5.1f} of {sum(len(some) for some, _ in near) / len(near):4.2f}"
    print(f"{name:44} {len(cases):5} {text} | {milliseconds:.1f}")
    for task_type in sorted({triple[0] for _, triple, _ in cases}) if by_type else ():
        of_type = [case for case in cases if case[1][0] == task_type]
        show(f"  {task_type}", lexicon, triples, of_type, by_type=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("games", type=Path, help="folder with train/ and valid_seen/ of ALFWorld")
    parser.add_argument("--split", choices=("dev", "valid_seen"), default="dev")
    options = parser.parse_args()
    train = read_sentences(options.games / "train")
    learned: list[Utterance] = []
    measured: dict[str, list[Utterance]] = {"plans": [], "sentences": [], "templates": []}
    if options.split == "dev":
        for game in train:
            examples = game.examples()
            if game.plan in HELD_OUT_PLANS:
                measured["plans"] += examples[:-1]
                measured["templates"] += examples[-1:]
                continue
            if len(game.people) > 2 and int(hashlib.sha256(game.trial.encode()).hexdigest(), 16) % 10 == 0:
                measured["sentences"].append(examples.pop(2))
            learned += examples
    else:
        learned = [example for game in train for example in game.examples()]
        games = [game.examples() for game in read_sentences(options.games / options.split)]
        measured = {options.split: [e for game in games for e in game[:-1]], "templates": [g[-1] for g in games]}

    started = time.perf_counter()
    lexicon = Lexicon.learn(learned)
    seconds = time.perf_counter() - started
    size = len(json.dumps(lexicon.to_json(), separators=(",", ":")))
    triples = sorted({game.triple for game in train})
    print(f"{len(learned)} sentences learned in {seconds:.0f} s, {size / 1000:.0f} kB, {len(triples)} triples")
    print(f"{'':44} {'n':>5}   @1    @4 | " + " | ".join(f"within {share}  " for share in NEAR) + " | ms")
    for name, cases in measured.items():
        show(name, lexicon, triples, cases, by_type=name != "templates")
        show(f"{name}, room unknown", lexicon, triples, [(s, t, ()) for s, t, _ in cases], by_type=False)


if __name__ == "__main__":
    main()
