"""`plain`, with what a good team adds before others depend on it: ids, a log, and metrics.

A request id (asgi-correlation-id), a line of JSON a request (structlog and orjson, as its
documentation's "Performance" has them), and Prometheus' metrics (prometheus-fastapi-instrumentator):
what our services do for every request, by the libraries that are used for it.
"""

import logging
import time

import orjson
import structlog
from asgi_correlation_id import CorrelationIdMiddleware, correlation_id
from prometheus_fastapi_instrumentator import Instrumentator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from benchmarks.peers.plain import app
from benchmarks.peers.server import serve

structlog.configure(
    cache_logger_on_first_use=True,
    wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.EventRenamer("message"),
        structlog.processors.JSONRenderer(serializer=orjson.dumps),
    ],
    logger_factory=structlog.BytesLoggerFactory(),
)
logger = structlog.get_logger()


class LogMiddleware:
    """A line for each request, once its answer has been sent."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_on)
        finally:
            route = scope.get("route")
            logger.info(
                "request",
                request_id=correlation_id.get(),
                method=scope["method"],
                route=route.path if route else None,
                status=status,
                duration_ms=round((time.perf_counter() - start) * 1000, 3),
            )


Instrumentator().instrument(app).expose(app)
app.add_middleware(LogMiddleware)
app.add_middleware(CorrelationIdMiddleware)

if __name__ == "__main__":
    serve(app)
