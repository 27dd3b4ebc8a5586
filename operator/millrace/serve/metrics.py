"""What the service tells of itself: counters in Prometheus' text format, and its load."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from millrace.serve.gate import Gate

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # seconds
CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters of answered requests. Added to by one thread; others read."""

    def __init__(self) -> None:
        self.answers: dict[int, int] = {}
        self.seconds = 0.0
        self.errors = 0
        self._buckets = [0] * (len(BOUNDS) + 1)

    def answered(self, status: int, seconds: float) -> None:
        """A request is over."""
        self.answers[status] = self.answers.get(status, 0) + 1
        self.seconds += seconds
        self._buckets[bisect_left(BOUNDS, seconds)] += 1

    def render(self, gate: Gate) -> bytes:
        """The text."""
        answers = dict(self.answers)
        lines = _head("requests_total", "counter", "Requests that were answered, by status.")
        lines += [f'millrace_serve_requests_total{{code="{code}"}} {count}' for code, count in sorted(answers.items())]
        lines += _head("request_seconds", "histogram", "From a request's head to the end of its answer.")
        total = 0
        for bound, count in zip((*BOUNDS, "+Inf"), list(self._buckets), strict=True):
            total += count
            lines.append(f'millrace_serve_request_seconds_bucket{{le="{bound}"}} {total}')
        lines += [f"millrace_serve_request_seconds_sum {self.seconds}", f"millrace_serve_request_seconds_count {total}"]
        for name, kind, value, text in (
            (
                "handler_errors_total",
                "counter",
                self.errors,
                "Calls of the handler that raised or returned what is no answer.",
            ),
            ("concurrency_seconds_total", "counter", gate.busy, "Seconds of requests inside and waiting, summed up."),
            ("in_flight", "gauge", gate.inside, "Requests that the handler works on."),
            ("waiting", "gauge", gate.waiting, "Requests that wait for a place."),
            ("concurrency_limit", "gauge", gate.limit, "How many may go on at a time."),
        ):
            lines += [*_head(name, kind, text), f"millrace_serve_{name} {value}"]
        return ("\n".join(lines) + "\n").encode()

    def load(self, gate: Gate, now: float) -> dict[str, Any]:
        """The load report, for who scales. now: seconds on any clock that only goes forward."""
        return {
            "time": now,
            "concurrencySeconds": gate.busy,
            "requests": sum(dict(self.answers).values()),
            "inFlight": gate.inside,
            "waiting": gate.waiting,
            "limit": gate.limit,
        }


def _head(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP millrace_serve_{name} {text}", f"# TYPE millrace_serve_{name} {kind}"]
