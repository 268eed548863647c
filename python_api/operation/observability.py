"""What an operator sees: request ids, the log (one JSON object a line), and the metrics."""

import atexit
import json
import os
import re
from contextlib import suppress
from datetime import UTC, datetime
from time import perf_counter
from uuid import uuid4

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from python_api.operation.output import Output

# HDR-02
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

# LOG-03, METRICS-04
# A label's values are all known beforehand, so no client can add to them.
METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
OTHER_METHOD = "other"
NO_ROUTE = "none"
LABELS = ("method", "route", "status")
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

# METRICS-01
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

disable_created_metrics()  # type: ignore[no-untyped-call]
# METRICS-02
REQUESTS = Counter("http_requests_total", "Requests answered.", LABELS)
# METRICS-03
DURATIONS = Histogram(
    "http_request_duration_seconds",
    "Seconds from a request's head to its answer's.",
    LABELS,
    buckets=BUCKETS,
)


# HDR-02, HDR-03
def request_id(sent: str | None) -> str:
    """The id of a request: the one in its `X-Request-Id`, when it is alone and valid, or a UUID."""
    return sent if sent is not None and REQUEST_ID.fullmatch(sent) else str(uuid4())


# REP-04
def timestamp(moment: datetime) -> str:
    """A moment (in UTC) as RFC 3339 text with three fraction digits and `Z`."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# OPS-01, OPS-12, LOG-01
def log(level: str, message: str, **fields: str | float) -> None:
    """Write one line to the log."""
    LINES.write(_line(level, message, **fields))


def _line(level: str, message: str, **fields: str | float) -> str:
    line = {"time": timestamp(datetime.now(UTC)), "level": level, "message": message, **fields}
    return json.dumps(line)


# LOG-07
LINES = Output(lambda count: _line("warning", "log lines dropped", count=count))
# LOG-06
atexit.register(LINES.end)


class Observation:
    """A request under way, timed from here on."""

    def __init__(self, method: str, this_request: str) -> None:
        # LOG-03, METRICS-04
        self._method = method if method in METHODS else OTHER_METHOD
        self._request_id = this_request
        self._start = perf_counter()

    def end(self, route: str, status: int) -> None:
        """Count the request, and log it, as its answer leaves; `route` is the path's template."""
        seconds = perf_counter() - self._start
        labels = (self._method, route, str(status))
        # METRICS-05
        # Files that several processes count into may be gone: no request fails for that.
        with suppress(OSError):
            # METRICS-02
            REQUESTS.labels(*labels).inc()
            # METRICS-03
            DURATIONS.labels(*labels).observe(seconds)
        # LOG-01, LOG-04
        log(
            "info",
            "request",
            request_id=self._request_id,
            method=self._method,
            route=route,
            status=status,
            duration_ms=round(seconds * 1000, 3),
        )


# METRICS-05
def share_metrics(directory: str) -> None:
    """Have the processes that are started from now on count in files in this directory."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory


# METRICS-05, METRICS-07, METRICS-08
def render_metrics() -> bytes:
    """The metrics in Prometheus' text format, of all processes behind one port together."""
    registry = CollectorRegistry()
    try:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    except ValueError:
        # One alone, or one whose files are gone, has its own.
        return generate_latest(REGISTRY)
    return generate_latest(registry)
