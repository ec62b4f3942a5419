"""What the server counts, as Prometheus reads it."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest
from fakes import FakeEngine
from serving import NAME, VOCAB, Serve, text_opinion

from duomem.device.serve.metrics import Metrics

_LINE = re.compile(r'(duomem_[a-z_]+)(?:\{((?:[a-z]+="[^"\\\n]*",?)+)\})? ([0-9.e+-]+)')


def _read(text: str) -> dict[str, list[tuple[str, float]]]:
    """Each name's samples, (labels, value). Checks that all is in the text format, each with its type before it."""
    found: dict[str, list[tuple[str, float]]] = defaultdict(list)
    typed = ""
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            typed = line.split()[2]
        elif not line.startswith("# HELP "):
            match = _LINE.fullmatch(line)
            assert match and match[1].startswith(typed), line
            found[match[1]].append((match[2] or "", float(match[3])))
    return found


def test_histograms_count_what_is_below_each_bound() -> None:
    metrics = Metrics()
    for seconds in (0.001, 0.01, 0.3, 999):
        metrics.observe("request_seconds", seconds)
    found = _read(metrics.text())
    buckets = dict(found["duomem_request_seconds_bucket"])
    assert (buckets['le="0.01"'], buckets['le="0.25"'], buckets['le="0.5"'], buckets['le="+Inf"']) == (2, 2, 3, 4)
    assert found["duomem_request_seconds_count"] == [("", 4)]
    assert found["duomem_request_seconds_sum"][0][1] == pytest.approx(999.311)


def test_a_servers_metrics(serve: Serve) -> None:
    with serve(FakeEngine(text_opinion(), VOCAB, 900, max_sessions=9)).http() as client:
        body = {"model": NAME, "prompt": "x" * 100, "max_tokens": 5, "temperature": 0}
        for _ in range(2):
            assert client.post("/v1/completions", json=body).status_code == 200
        client.post("/v1/completions", json={"prompt": 1})
        response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = _read(response.text)
    assert found["duomem_tokens_prefilled_total"] == [("", 100 + 4)]
    assert found["duomem_tokens_reused_total"] == [("", 96)]
    assert found["duomem_tokens_decoded_total"] == [("", 2 * 4)], "the last token is told, not run"
    assert found["duomem_requests_total"] == [
        ('path="/v1/completions",status="200"', 2),
        ('path="/v1/completions",status="400"', 1),
    ]
    assert found["duomem_first_token_seconds_count"] == [("", 2)] == found["duomem_request_seconds_count"]
    assert 0 < found["duomem_engine_seconds_total"][0][1] < 60
