"""What an operator sees: request ids, the log (one JSON object a line), and the metrics."""

import atexit
import json
import os
import re
import traceback
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from uuid import uuid4

from prometheus_client import (
    REGISTRY,
    Counter,
    Histogram,
    Metric,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from python_api.operation.output import Output

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

# A label's values are all known beforehand, so no client can add to them (LOG-03, METRICS-04).
METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
OTHER_METHOD = "other"
NO_ROUTE = "none"
LABELS = ("method", "route", "status")
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

disable_created_metrics()  # type: ignore[no-untyped-call]
REQUESTS = Counter("http_requests_total", "Requests answered.", LABELS)
DURATIONS = Histogram(
    "http_request_duration_seconds",
    "Seconds from a request's head to its answer's.",
    LABELS,
    buckets=BUCKETS,
)


def request_id(sent: str | None) -> str:
    """The id of a request: the one in its `X-Request-Id`, when it is alone and valid, or a UUID.

    Clauses: HDR-02, HDR-03.
    """
    return sent if sent is not None and REQUEST_ID.fullmatch(sent) else str(uuid4())


def timestamp(moment: datetime) -> str:
    """A moment (in UTC) as RFC 3339 text with three fraction digits and `Z`. Clauses: REP-04."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def log(level: str, message: str, **fields: str | float) -> None:
    """Write one line to the log. Clauses: LOG-01, OPS-01, OPS-12."""
    LINES.write(_line(level, message, **fields))


def trace(error: Exception) -> str:
    """The error and where it arose, for the log."""
    return "".join(traceback.format_exception(error))


def _line(level: str, message: str, **fields: str | float) -> str:
    line = {"time": timestamp(datetime.now(UTC)), "level": level, "message": message, **fields}
    return json.dumps(line)


LINES = Output(lambda count: _line("warning", "log lines dropped", count=count))
atexit.register(LINES.end)


class Observation:
    """A request under way, timed from here on."""

    def __init__(self, method: str, this_request: str) -> None:
        """Begin to measure an answer. Clauses: LOG-03, METRICS-04."""
        self._method = method if method in METHODS else OTHER_METHOD
        self._request_id = this_request
        self._start = perf_counter()

    def end(self, route: str, status: int) -> None:
        """Count the request, and log it, as its answer leaves; `route` is the path's template.

        Clauses: LOG-01, LOG-04, METRICS-02, METRICS-03.
        """
        seconds = perf_counter() - self._start
        labels = (self._method, route, str(status))
        # Files that several processes count into may be gone: no request fails for that
        # (METRICS-05).
        with suppress(OSError):
            REQUESTS.labels(*labels).inc()
            DURATIONS.labels(*labels).observe(seconds)
        log(
            "info",
            "request",
            request_id=self._request_id,
            method=self._method,
            route=route,
            status=status,
            duration_ms=round(seconds * 1000, 3),
        )


def share_metrics(directory: str) -> None:
    """Have the processes that are started from now on count in files in this directory.

    Clauses: METRICS-05.
    """
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory


class _AllProcesses(MultiProcessCollector):
    def collect(self) -> Iterable[Metric]:
        # One that begins has made its file before anything is in it.
        files = [str(file) for file in Path(self._path).glob("*.db") if file.stat().st_size]
        return self.merge(files)  # type: ignore[no-untyped-call,no-any-return]


def render_metrics() -> bytes:
    """The metrics in Prometheus' text format, of all processes behind one port together.

    Clauses: METRICS-05, METRICS-07, METRICS-08.
    """
    # One alone, or one whose files are gone, has its own.
    try:
        together = _AllProcesses(registry=None)  # type: ignore[no-untyped-call]
    except ValueError:
        return generate_latest(REGISTRY)
    with suppress(FileNotFoundError):
        return generate_latest(together)
    return generate_latest(REGISTRY)
