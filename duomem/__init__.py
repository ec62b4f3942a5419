"""duomem: memory agents on edge devices, an open implementation of DuoMem (arXiv 2606.29961).

The names below are the Python API; docs/python-api.md describes them. Each is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duomem.compile.bundle import compile_bundle
    from duomem.core.errors import UserError
    from duomem.device.agent.agent import Agent, Episode
    from duomem.device.agent.evaluate import EvalConfig, PlayConfig, Score, evaluate, summarize
    from duomem.device.agent.policy import Policy
    from duomem.device.alfworld.alfworld_env import AlfworldEnv
    from duomem.device.alfworld.game import Game, load_game
    from duomem.device.alfworld.game_files import find_games
    from duomem.device.engine.bundle import Bundle
    from duomem.device.world.env import Env, Observation
    from duomem.device.world.game import JsonGame
    from duomem.device.world.world import World
    from duomem.memory_packs.build import build_pack
    from duomem.memory_packs.memory import Memory
    from duomem.memory_packs.pack import Pack
    from duomem.train.games.generate import generate_games
    from duomem.train.student import merge_student, train_student
    from duomem.train.teachers.own_expert import play_own_expert
    from duomem.train.teachers.teach import learn_priors, teach

    __version__: str

__all__ = [
    "Agent",
    "AlfworldEnv",
    "Bundle",
    "Env",
    "Episode",
    "EvalConfig",
    "Game",
    "JsonGame",
    "Memory",
    "Observation",
    "Pack",
    "PlayConfig",
    "Policy",
    "Score",
    "UserError",
    "World",
    "__version__",
    "build_pack",
    "compile_bundle",
    "evaluate",
    "find_games",
    "generate_games",
    "learn_priors",
    "load_game",
    "merge_student",
    "play_own_expert",
    "summarize",
    "teach",
    "train_student",
]

_MODULES = {
    "Bundle": "device.engine.bundle",
    "Agent": "device.agent.agent",
    "Episode": "device.agent.agent",
    "load_game": "device.alfworld.game",
    "find_games": "device.alfworld.game_files",
    "Game": "device.alfworld.game",
    "AlfworldEnv": "device.alfworld.alfworld_env",
    "Env": "device.world.env",
    "Observation": "device.world.env",
    "World": "device.world.world",
    "JsonGame": "device.world.game",
    "Policy": "device.agent.policy",
    "evaluate": "device.agent.evaluate",
    "summarize": "device.agent.evaluate",
    "Score": "device.agent.evaluate",
    "EvalConfig": "device.agent.evaluate",
    "PlayConfig": "device.agent.evaluate",
    "build_pack": "memory_packs.build",
    "Pack": "memory_packs.pack",
    "Memory": "memory_packs.memory",
    "compile_bundle": "compile.bundle",
    "generate_games": "train.games.generate",
    "learn_priors": "train.teachers.teach",
    "teach": "train.teachers.teach",
    "play_own_expert": "train.teachers.own_expert",
    "train_student": "train.student",
    "merge_student": "train.student",
    "UserError": "core.errors",
}
"""The module below duomem that each name comes from, in the order of docs/python-api.md."""


if not TYPE_CHECKING:  # a checker that saw it would take any name for an export

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version

            return version("duomem")
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
