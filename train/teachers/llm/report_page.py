"""A teacher's report as text for a terminal, and as one HTML page that loads nothing.

Whatever a model wrote is text in both: printable in the one, escaped in the other.
"""

from __future__ import annotations

from html import escape

from duomem.core.errors import printable
from duomem.core.html_page import look, policy
from duomem.core.trajectory import Trajectory
from duomem.train.teachers.llm.report import Row, TeacherReport

HEAD = (
    *("", "success", "won", "95 % interval", "tries", "solutions", "steps", "tokens read", "written", "cost"),
    "s/try",
)
_STYLE = """
td, th { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; }
tr:last-child td { font-weight: 600; border-bottom: 0; }
details { margin: 1rem 0; border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .8rem;
  background: var(--card); }
summary { cursor: pointer; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .3rem 0; font-size: 13px; }
.thought { color: var(--soft); font-style: italic; }
.command { font-weight: 600; }
"""


def cells(name: str, row: Row) -> list[str]:
    """A row of the table under HEAD."""
    return [
        printable(name),
        f"{row.success:.1%}",
        f"{row.won}/{row.games}",
        f"{row.low:.1%} - {row.high:.1%}",
        str(row.tries),
        str(row.solutions),
        f"{row.steps:.1f}",
        f"{row.prompt_tokens:,}",
        f"{row.completion_tokens:,}",
        f"{row.cost:.4g}" if row.cost else "-",
        f"{row.seconds:.1f}",
    ]


def endings(report: TeacherReport) -> str:
    """How the episodes ended, on one line."""
    names = {"steps": "no steps left", "context": "context full", "unanswered": "no usable answer"}
    return ", ".join(f"{n} {names.get(how, how)}" for how, n in sorted(report.ended.items()))


def episode_text(t: Trajectory) -> str:
    """An episode for a terminal: every line of it printable."""
    lines = [f"{'won' if t.won else 'lost'}, try {t.seed}: {t.goal}"]
    for step, (command, after) in zip(t.steps, t.turns(), strict=True):
        lines += [f"  ({step.thought})"] if step.thought else []
        lines += [f"> {command}", f"  {after}"]
    return "\n".join(printable(" ".join(line.splitlines())) for line in lines)


def report_page(title: str, report: TeacherReport) -> str:
    """The report as one HTML page."""
    head = "".join(f"<th>{escape(name)}</th>" for name in HEAD)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells(name, row)) + "</tr>"
        for name, row in report.rows.items()
    )
    samples = "".join(_episode(t) for t in report.samples)
    style = look() + _STYLE
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy(None, style)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{style}</style></head><body><main>"
        f"<h1>{_text(title)}</h1><p>Teacher: {_text(', '.join(report.players))}. "
        f"Episodes: {_text(endings(report))}.</p>"
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        "<p>A game is won if any of its tries is. Solutions are different command sequences that won. Tokens and cost "
        "are over all tries.</p>"
        f"<h2>Episodes</h2>{samples or '<p>None.</p>'}</main></body></html>\n"
    )


def _episode(t: Trajectory) -> str:
    steps = "".join(
        f'<pre class="thought">{_text(step.thought)}</pre>' * bool(step.thought)
        + f'<pre class="command">&gt; {_text(command)}</pre><pre>{_text(after)}</pre>'
        for step, (command, after) in zip(t.steps, t.turns(), strict=True)
    )
    title = f"{'won' if t.won else 'lost'}, {t.task_type}, try {t.seed}: {t.goal}"
    return f"<details><summary>{_text(title)}</summary><pre>{_text(t.intro)}</pre>{steps}</details>"


def _text(text: str) -> str:
    """Escaped, and without what turns the direction of writing or controls a terminal; lines stay lines."""
    return escape("\n".join(printable(line) for line in text.split("\n")))
