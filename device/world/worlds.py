"""The worlds by name: those of duomem, and one's own as MODULE:NAME. Each is loaded when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from duomem.core.episode_words import DEFAULT_WORLD
from duomem.core.errors import GameError
from duomem.device.world.world import World

WORLDS = {
    "alfworld": "duomem.device.alfworld.world:ALFWORLD",
    "twc": "duomem.device.twc.world:TWC",
}
"""Name -> where it is."""


def load_world(name: str = DEFAULT_WORLD) -> World:
    """The world of a name, or the object NAME of the Python module MODULE for "MODULE:NAME", which runs that module:
    never take such a name from a file. Raises GameError for an unknown name, or a module without it.
    """
    module, _, attribute = WORLDS.get(name, name).partition(":")
    if not attribute:
        known = ", ".join(WORLDS)
        raise GameError(f"--world {name}: no such world: known are {known}; your own is MODULE:NAME")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as e:
        raise GameError(
            f"--world {name}: cannot load it ({e}): give MODULE:NAME, and MODULE's folder in PYTHONPATH"
        ) from None
    if not isinstance(found, World):
        raise GameError(f"--world {name}: is no World: give an instance of a subclass of duomem.World")
    return found


def named_world(name: str, given: str | None, where: str) -> World:
    """The world that a file names: one of duomem's, or the one that `given` loads if it has this name; no file's name
    ever loads a module of one's own. where: the file. Raises GameError.
    """
    if given is None and name not in WORLDS:
        raise GameError(f"{where}: played in the world {name!r}, none of duomem's: give it with --world MODULE:NAME")
    world = load_world(given or name)
    if world.name != name:
        raise GameError(f"{where}: played in the world {name!r}, not in {world.name}: give its own --world")
    return world


def world_record(name: str) -> dict[str, Any]:
    """What identifies the world in records: nothing for the default one, as before there were others."""
    return {} if name == DEFAULT_WORLD else {"world": name}
