"""Game files with the rules of alfworld 0.3.5, made of games with any rules.

The texts of 0.3.5 are those of the 0.4.2 wheel with a few words changed; dialect.py holds the digests of its own files.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from duomem.train.games.wheel import find_wheel

_HELP_ACTION = re.compile(r"\(:action help\b.*?\n\)\n", re.DOTALL)
_WORDS = (
    ("You arrive at {r.name}.", "You arrive at {lend.name}."),
    ("You move the {o.name} to the {r.name}.", "You put the {o.name} in/on the {r.name}."),
    ("move {o} to {r}", "put {o} in/on {r}"),
)


def as_old(game: Path, folder: Path) -> Path:
    """Write `game` with the rules of 0.3.5 below `folder`, in folders named as its own; returns the new path."""
    wheel = find_wheel()
    fields = json.loads(game.read_bytes())
    grammar = wheel.grammar.partition("\n\naction help {")[0] + "\n"
    for new, old in _WORDS:
        assert new in grammar
        grammar = grammar.replace(new, old)
    task = fields["grammar"].partition("Your task is to: ")[2].partition('"')[0]
    fields["grammar"] = grammar.replace("UNKNOWN GOAL.", task)
    fields["pddl_domain"], replaced = _HELP_ACTION.subn("", wheel.domain)
    assert replaced == 1
    fields["walkthrough"] = [
        re.sub(r"^move (.+) to (.+)$", r"put \1 in/on \2", command) for command in fields["walkthrough"]
    ]
    path = folder.joinpath(*game.parts[-4:])
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(fields))
    return path
