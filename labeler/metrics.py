"""What is counted as it happens; ``metrics_page`` tells it, ``counting`` brings the processes together."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
LONG = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600)

REQUESTS = Counter("labeler_requests", "Requests answered.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "labeler_request_seconds", "Time to the first byte of the answer.", ["route"], buckets=SECONDS
)
TASKS = Counter("labeler_tasks", "Tasks a worker ended.", ["task", "outcome"])
TASK_SECONDS = Histogram("labeler_task_seconds", "Time a task took.", ["task"], buckets=LONG)
STORE_ERRORS = Counter("labeler_store_errors", "Requests a store did not answer, or refused.", ["store", "error"])
STORE_BYTES = Counter("labeler_store_bytes", "Bytes written to a store.", ["store"])
