"""A picture of a training log: loss and learning rate above, accuracy on held-out games below.

Drawn without a display; matplotlib comes with duomem[train].
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from duomem.core.files import read_jsonl, write_bytes

_SMOOTH = 0.05
"""Share of the steps that the loss is averaged over."""

_LABELS = {"games": "games held out, known scenes", "scenes": "scenes never seen"}


def plot_training(log: Path, out: Path) -> None:
    """Draw the rows of the JSON-lines file `log` into the PNG `out`, 1,200 x 1,000 pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = list(read_jsonl(log, "training log"))
    steps = [row["step"] for row in rows]
    losses = [row["loss"] for row in rows]
    figure = Figure(figsize=(8, 20 / 3), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    above.plot(steps, losses, color="0.8", linewidth=0.8, label="training, a step")
    above.plot(
        steps,
        _running_mean(losses, max(1, round(len(losses) * _SMOOTH))),
        color="tab:blue",
        label="training, running mean",
    )
    for color, (kind, label) in zip(("tab:orange", "tab:green"), _LABELS.items(), strict=True):
        at, loss, accuracy = _validations(rows, kind)
        if at:
            above.plot(at, loss, "o-", color=color, markersize=4, label=label)
            below.plot(at, [100 * a for a in accuracy], "o-", color=color, markersize=4, label=label)
    above.set_yscale("log")
    above.set_ylabel("loss, nats a token the student writes")
    lr = above.twinx()
    lr.plot(steps, [row["lr"] for row in rows], color="0.5", linestyle=":", linewidth=1)
    lr.set_ylabel("learning rate (dotted)")
    lr.set_ylim(bottom=0)
    above.legend()
    below.set_ylabel("actions right, %, teacher forcing")
    below.set_xlabel("optimiser step")
    if below.lines:
        below.legend()
    last = rows[-1]
    figure.suptitle(f"{last['step']} steps, {last['tokens'] / 1e6:.2f} M tokens, {last['seconds'] / 60:.1f} min")
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_bytes(out, picture.getvalue())


def _running_mean(values: list[float], window: int) -> list[float]:
    return [sum(part) / len(part) for i in range(len(values)) if (part := values[max(0, i + 1 - window) : i + 1])]


def _validations(rows: list[dict[str, Any]], kind: str) -> tuple[list[int], list[float], list[float]]:
    """(steps, losses, accuracies) of the validations on held-out episodes of this kind."""
    found = [(row["step"], row["validation"][kind]) for row in rows if kind in row.get("validation", {})]
    return [step for step, _ in found], [v["loss"] for _, v in found], [v["accuracy"] for _, v in found]
