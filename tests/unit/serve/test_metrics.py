"""What a service tells of itself."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from millrace.serve.gate import Gate
from millrace.serve.metrics import Metrics


def test_the_text_is_what_prometheus_reads() -> None:
    metrics, gate = Metrics(), Gate(3)
    assert gate.try_enter()
    for status, seconds in ((200, 0.004), (200, 0.2), (503, 0.0), (500, 100.0)):
        metrics.answered(status, seconds)
    found = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(metrics.render(gate).decode())
        for sample in family.samples
    }
    assert found["millrace_serve_requests_total", ("200",)] == 2
    assert found["millrace_serve_requests_total", ("503",)] == 1
    assert found["millrace_serve_request_seconds_bucket", ("0.005",)] == 2
    assert found["millrace_serve_request_seconds_bucket", ("60.0",)] == 3
    assert (
        found["millrace_serve_request_seconds_bucket", ("+Inf",)] == found["millrace_serve_request_seconds_count", ()] == 4
    )
    assert found["millrace_serve_in_flight", ()] == 1
    assert found["millrace_serve_concurrency_limit", ()] == 3


def test_the_load_report_lets_anybody_compute_the_average() -> None:
    now = [0.0]
    metrics, gate = Metrics(), Gate(2, lambda: now[0])
    before = metrics.load(gate, now[0])
    gate.try_enter()
    gate.try_enter()
    now[0] = 4.0
    after = metrics.load(gate, now[0])
    assert (after["concurrencySeconds"] - before["concurrencySeconds"]) / (after["time"] - before["time"]) == 2
    assert (after["inFlight"], after["waiting"], after["limit"], after["requests"]) == (2, 0, 2, 0)
