"""What the server counts, in Prometheus' text format."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable

_HELP = {
    "requests_total": ("counter", "Requests answered, by path and HTTP status."),
    "tokens_prefilled_total": ("counter", "Prompt tokens run through the model."),
    "tokens_decoded_total": ("counter", "Written tokens run through the model."),
    "tokens_reused_total": ("counter", "Prompt tokens found in a kept session and not run."),
    "commands_total": ("counter", "Commands that /v1/act gave."),
    "cancelled_total": ("counter", "Requests whose client left before the answer."),
    "engine_seconds_total": ("counter", "Seconds in which the model was at work."),
    "queue_depth": ("gauge", "Requests that wait for the model."),
    "episodes": ("gauge", "Episodes of /v1/act that are open."),
    "request_seconds": ("histogram", "Seconds from a request to its whole answer."),
    "first_token_seconds": ("histogram", "Seconds from a request to the first text of its answer."),
}
_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counters, gauges and histograms; any thread may add to them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[tuple[str, _Labels], float] = defaultdict(float)
        self._seen: dict[str, list[int]] = defaultdict(lambda: [0] * (len(_BUCKETS) + 1))
        self._gauges: dict[str, Callable[[], float]] = {}

    def add(self, name: str, value: float = 1, **labels: str) -> None:
        """Add to a counter."""
        with self._lock:
            self._sums[name, tuple(sorted(labels.items()))] += value

    def observe(self, name: str, seconds: float) -> None:
        """Add a duration to a histogram."""
        with self._lock:
            self._sums[name, ()] += seconds
            self._seen[name][sum(seconds > bound for bound in _BUCKETS)] += 1

    def gauge(self, name: str, value: Callable[[], float]) -> None:
        """Have a gauge read from `value`, on any thread."""
        self._gauges[name] = value

    def value(self, name: str, **labels: str) -> float:
        """A counter's value, 0 if nothing was added."""
        with self._lock:
            return self._sums.get((name, tuple(sorted(labels.items()))), 0.0)

    def text(self) -> str:
        """All of it, in the text format that Prometheus reads."""
        with self._lock:
            sums, seen = dict(self._sums), {name: list(counts) for name, counts in self._seen.items()}
        lines = []
        for name, (kind, what) in _HELP.items():
            lines += [f"# HELP duomem_{name} {what}", f"# TYPE duomem_{name} {kind}"]
            if kind == "gauge":
                lines.append(f"duomem_{name} {self._gauges[name]() if name in self._gauges else 0:g}")
            elif kind == "histogram":
                lines += _histogram(
                    f"duomem_{name}", seen.get(name, [0] * (len(_BUCKETS) + 1)), sums.get((name, ()), 0)
                )
            else:
                found = {labels: value for (of, labels), value in sums.items() if of == name}
                for labels, value in sorted((found or {(): 0.0}).items()):
                    lines.append(f"duomem_{name}{_braces(labels)} {_number(value)}")
        return "\n".join(lines) + "\n"


def _histogram(name: str, counts: list[int], total: float) -> list[str]:
    lines, below = [], 0
    for bound, count in zip((*map(str, _BUCKETS), "+Inf"), counts, strict=True):
        below += count
        lines.append(f'{name}_bucket{{le="{bound}"}} {below}')
    return [*lines, f"{name}_sum {_number(total)}", f"{name}_count {below}"]


def _braces(labels: _Labels) -> str:
    return "{" + ",".join(f'{key}="{value}"' for key, value in labels) + "}" if labels else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.6f}"
