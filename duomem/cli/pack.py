"""`duomem pack`: the group of the commands on memory packs, in the order of the work.

A command lives in a file of its own or beside its like, and is listed here.
"""

from __future__ import annotations

import click

from duomem.cli.catalogue import CATALOGUE_COMMANDS
from duomem.cli.options import CommandGroup
from duomem.cli.pack_build import build
from duomem.cli.pack_change import card, merge
from duomem.cli.pack_look import diff, recall, show
from duomem.cli.pack_overlay import export_overlay_command
from duomem.cli.pack_page import page_command
from duomem.cli.pack_skills import export_command, import_command

_COMMANDS = (
    build,
    show,
    recall,
    diff,
    merge,
    card,
    page_command,
    export_command,
    import_command,
    export_overlay_command,
    *CATALOGUE_COMMANDS,
)


@click.group(cls=CommandGroup, commands={command.name or "": command for command in _COMMANDS})
def pack() -> None:
    """Build, show, ask, compare and merge memory packs, write their cards, publish and pull them."""
