"""One moment of an episode drawn for a terminal of a given size: 80 columns by 24 rows are enough.

Whatever text it shows comes from games, packs and models: `rows` makes it printable, and it is never read as markup.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from duomem.device.watch.memory_progress import MemoryProgress
from duomem.device.watch.numbered import command_rows
from duomem.device.watch.rows import Part, bar, ranges, row, rows
from duomem.device.watch.seen import Place, Seen
from duomem.device.watch.story import Moment

MIN_WIDTH, MIN_HEIGHT = 60, 20
"""The least that is drawn; a smaller terminal shows a part of it."""
_LAST_ROWS = 3
_MEMORY_ROWS = 5
_ROOM_ROWS = 5


def draw(
    moment: Moment, player: str, width: int, height: int, commands: Sequence[str] = (), hint: str = ""
) -> RenderableType:
    """The moment in `height` rows of `width` columns.

    player: who plays. commands: the admissible ones, numbered for a person to choose, none where nobody is asked. hint:
    what the model would play, marked among the candidates.
    """
    width, height = max(width, MIN_WIDTH), max(height, MIN_HEIGHT)
    numbered = command_rows(commands, width, height - 2 - _ROOM_ROWS - _LAST_ROWS)
    free = height - 2 - _LAST_ROWS - len(numbered)
    memory = _MEMORY_ROWS if moment.memories and free - _MEMORY_ROWS >= _ROOM_ROWS else 0
    right = min(60, width * 11 // 20)
    middle = Table.grid()
    middle.add_column(width=width - right)
    middle.add_column(width=right)
    middle.add_row(
        _room(moment.seen, width - right, free - memory), _choice(moment, right, free - memory, hint or moment.command)
    )
    memories = [_memories(moment.memories, width)] if memory else []
    return Group(*_head(moment, player, width), middle, *memories, *_last(moment, width), *numbered)


def _head(moment: Moment, player: str, width: int) -> list[Text]:
    of = "" if moment.max_steps is None else f" of {moment.max_steps}"
    speed = moment.tokens_per_second
    right = f"  step {moment.step}{of}" + ("" if speed is None else f", {speed:.0f} tokens/s")
    left = row(width - len(right), (player, "dim"))
    left.pad_right(width - len(right) - left.cell_len)
    return [left.append(right, "bold"), row(width, ("goal  ", "dim"), (moment.goal or "not told", "bold cyan"))]


def _room(seen: Seen, width: int, height: int) -> Panel:
    inner, most = width - 4, height - 2
    found = [place for place in reversed(seen.places.values()) if place.contents is not None or place.state]
    found.sort(key=lambda place: place.name != seen.here)
    left = ranges(place.name for place in seen.places.values() if place.contents is None and not place.state)
    for each in (5, 4, 3, 2, 1):  # rows of a place, and of those not seen
        last = rows(left, inner, each, "dim", ("not seen  ", "dim")) if left else []
        lines = [line for place in found for line in _place(place, seen, inner, each)]
        if len(lines) + len(last) <= most:
            break
    lines = lines[: most - len(last)]
    gap = [Text("")] * (most - len(lines) - len(last))
    held = ", ".join(seen.holding) if seen.holding else "nothing"
    subtitle = f"holding {held}", "bold not dim" if seen.holding else "dim"
    return _panel("room", [*lines, *gap, *last], width, height, subtitle)


def _place(place: Place, seen: Seen, width: int, most: int) -> list[Text]:
    here = place.name == seen.here
    things = [f"{thing} (on)" if thing in seen.lit else thing for thing in place.contents or ()]
    closed = place.state == "closed"
    inside = "" if place.contents is None else ranges(things) or "empty"
    said = ", ".join(part for part in ("closed" if closed else "", inside) if part)
    first = (f"{'▸ ' if here else '  '}{place.name}  ", "bold green" if here else "")
    return rows(said, width, most, "dim" if closed or not things else "", first)


def _choice(moment: Moment, width: int, height: int, chosen: str) -> Panel:
    """The candidates, each with its probability as a bar, and what was withheld."""
    inner, most, choice = width - 4, height - 2, moment.choice
    if choice is None or not (choice.candidates or choice.withheld):
        why = "nothing chosen yet" if moment.step == 0 else "not told: no model chose it"
        return _panel("choice", [row(inner, (why, "dim"))], width, height)
    withheld = rows(ranges(choice.withheld), inner, 2, "dim", ("withheld  ", "dim")) if choice.withheld else []
    shown = choice.candidates[: max(1, most - len(withheld))]
    lines = [_candidate(command, p, command == chosen, inner) for command, p in shown]
    gap = most - len(lines) - len(withheld)
    return _panel("choice", [*lines, *[Text("")] * gap, *withheld], width, height)


def _candidate(command: str, probability: float, chosen: bool, width: int) -> Text:
    bars = max(6, width // 5)
    style = "bold green" if chosen else ""
    name = row(width - bars - 6, ("▸ " if chosen else "  ", style), (command, style))
    name.pad_right(width - bars - 5 - name.cell_len)
    return name.append(bar(probability, bars), style or "cyan").append(f" {_percent(probability)}", style)


def _percent(probability: float) -> str:
    return f"{probability:4.0%}" if probability >= 0.005 else " <1%"


def _memories(memories: Sequence[MemoryProgress], width: int) -> Panel:
    """The first memory with its steps, the one that comes next marked; of the others the titles."""
    inner, most = width - 4, _MEMORY_ROWS - 2
    first, *others = memories
    lines = _flow(first, 0, inner)
    if len(lines) > most:
        lines = _flow(first, max(0, first.current - 1), inner)[:most]
    for memory in others[: most - len(lines)]:
        lines.append(row(inner, (f"also  {memory.title}", "dim")))
    title = "memory" if len(memories) == 1 else f"memory, the first of {len(memories)}"
    return _panel(title, lines, width, _MEMORY_ROWS)


def _flow(memory: MemoryProgress, start: int, width: int) -> list[Text]:
    """A memory's title and its steps from index `start` on, as many rows as they need."""
    lines: list[list[Part]] = [[(memory.title, "cyan")]]
    for i, step in enumerate(memory.steps):
        if i < start:
            continue
        style = "dim strike" if i < memory.current else "bold green" if i == memory.current else ""
        number = f"{i + 1}. "
        used = sum(len(text) for text, _ in lines[-1])
        if used and used + 2 + len(number) + len(step) > width:
            lines.append([])
        lines[-1] += [(f"  {number}" if lines[-1] else number, "dim"), (step, style)]
    return [row(width, *line) for line in lines]


def _last(moment: Moment, width: int) -> list[Text]:
    """The last command and what it brought, or how the episode ended."""
    if moment.step == 0:
        lines = rows(moment.ended, width, _LAST_ROWS, "bold") if moment.ended else []
    else:
        lines = [row(width, ("> ", "dim"), (moment.command, "bold"))]
        left = _LAST_ROWS - 1 - bool(moment.ended)
        lines += rows(moment.observation, width, left)
        if moment.ended:
            lines += rows(moment.ended, width, 1, "bold green" if moment.won else "bold red")
    return [*lines, *[Text("")] * (_LAST_ROWS - len(lines))]


def _panel(title: str, lines: Sequence[Text], width: int, height: int, subtitle: Part | None = None) -> Panel:
    return Panel(
        Text("\n").join(lines),
        title=Text(title),
        title_align="left",
        subtitle=None if subtitle is None else row(width - 6, subtitle),
        subtitle_align="left",
        border_style="dim",
        height=height,
        width=width,
    )
