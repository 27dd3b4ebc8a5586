"""Prometheus metrics of the operator."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

RECONCILE_SECONDS = Histogram(
    "millrace_reconcile_seconds",
    "Duration of one reconciliation.",
    ["kind"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30),
)
RECONCILE_ERRORS = Counter("millrace_reconcile_errors_total", "Reconciliations that failed and are tried again.", ["kind"])
API_WRITES = Counter("millrace_api_writes_total", "Writes to the API server.", ["verb", "kind"])
RUNS_FINISHED = Counter("millrace_runs_finished_total", "JobRuns that ended.", ["phase", "reason"])
QUEUE_LENGTH = Gauge("millrace_queue_length", "Keys that wait for a worker or are in work.")
OBJECTS = Gauge("millrace_objects", "Objects in the store.")
SWEEP_REPAIRS = Counter("millrace_sweep_repairs_total", "Objects that the watch had missed.", ["kind", "change"])
LEADER = Gauge("millrace_leader", "1 for the operator that works, 0 for one that stands by.")
