"""The HTTP server below the application: uvicorn, and what it takes to behave as Node's does.

Refuses what no application should see, hands requests over with their raw target, ignores
upgrades, lets a client read its answer before the connection goes, and stops gracefully.
"""

import asyncio
import gc
import re
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, cast

import httptools
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from python_api.observability import NO_ROUTE, OTHER_METHOD, Observation, log, request_id
from python_api.problems import Problem, render_problem
from python_api.requests import route_path
from python_api.settings import Settings

MAX_HEADERS = 100
MAX_HEADER_BYTES = 16384
# A head of this size isn't even read to its end.
MAX_HEAD_BYTES = 131072
LINGER_SECONDS = 2

# HTTP-02
HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")


def listen(settings: Settings) -> socket.socket:
    """A socket that listens where the settings say. Raises OSError if the port is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # OPS-02
    return socket.create_server((settings.host, settings.port), family=family, backlog=2048)


# OPS-01
def log_listening(listener: socket.socket, settings: Settings) -> None:
    """Tell the log where the socket listens, and whether to anybody."""
    address, port = listener.getsockname()[:2]
    host = f"[{address}]" if ":" in address else address
    log("info", "listening", url=f"http://{host}:{port}")
    # AUTH-13
    if not settings.auth:
        log("warning", "open to everybody: AUTH_SECRET is not set, or AUTH is off")


async def serve(app: FastAPI, settings: Settings, listener: socket.socket) -> None:
    """Serve `app` until SIGTERM or SIGINT; then let the requests under way end, and return."""
    config = uvicorn.Config(
        head_as_get(app),
        http=cast(Any, partial(Protocol, settings.request_timeout)),
        ws="none",
        lifespan="off",
        log_config=None,
        # LOG-04
        access_log=False,
        # ROUTE-15
        proxy_headers=False,
        # HDR-07, HDR-08
        server_header=False,
        # OPS-25
        timeout_keep_alive=settings.keep_alive_timeout,
    )
    # What is there by now stays: going through it time and again would stop everything else.
    gc.freeze()
    await Server(config, settings).serve(sockets=[listener])


# OPS-07
def end_well_on_signals() -> None:
    """Have the exit status 0 after a signal that comes before there is anything to stop gracefully.

    And after any: uvicorn raises the one that stopped it once more.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))


class Server(uvicorn.Server):
    """uvicorn's server, which waits for no client too long."""

    def __init__(self, config: uvicorn.Config, settings: Settings) -> None:
        super().__init__(config)
        self.settings = settings

    # OPS-06, OPS-07, OPS-23
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the port, let the requests under way end, cut off those that don't in time."""
        loop = asyncio.get_running_loop()
        cut = loop.call_later(self.settings.shutdown_timeout, self._cut_connections)
        await super().shutdown(sockets)
        cut.cancel()

    def _cut_connections(self) -> None:
        for connection in list(self.server_state.connections):
            cast(Protocol, connection).transport.abort()


# ROUTE-10, ROUTE-11, USR-READ-03, USR-LIST-21, COND-12, METRICS-06
def head_as_get(app: ASGIApp) -> ASGIApp:
    """`app`, for which HEAD is GET: uvicorn keeps the body back (RFC 9110, 9.3.2)."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        sent = scope["method"]
        method = "GET" if sent == "HEAD" else sent
        await app({**scope, "method": method, "sent_method": sent}, receive, send)

    return answer


# HDR-01, HDR-05, HDR-06, CORS-08, LOG-02, LOG-03
def refuse(code: str) -> ASGIApp:
    """An application that answers everything with this problem and closes the connection."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        # HDR-04
        # Nothing that such a request says is trusted, its method and its id neither.
        this_request = request_id([])
        observation = Observation(OTHER_METHOD, this_request)
        response = render_problem(Problem(code))
        response.headers["X-Request-Id"] = this_request
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cache-Control"] = "no-store"
        # HTTP-06
        response.headers["Connection"] = "close"
        observation.end(NO_ROUTE, response.status_code)
        await response(scope, receive, send)

    return answer


def refusal(method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    """The code of the problem that a request is refused with, whatever it asks for, if any."""
    # HTTP-04
    size = len(target) + sum(len(name) + len(value) + 4 for name, value in headers)
    # HTTP-04, HTTP-05
    if size > MAX_HEADER_BYTES or len(headers) > MAX_HEADERS:
        return "headers-too-large"
    hosts = [value for name, value in headers if name == b"host"]
    # HTTP-01, HTTP-02
    if len(hosts) != 1 or not HOST.fullmatch(hosts[0]):
        return "bad-request"
    # HTTP-03
    # Origin-form (RFC 9112, 3.2.1); in particular not `*`, an absolute URL or host:port.
    origin_form = target.startswith(b"/") and b"#" not in target and method != b"CONNECT"
    return None if origin_form else "bad-request"


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, request_timeout: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._renew_parser()
        self._request_timeout = request_timeout
        self._cut: asyncio.TimerHandle | None = None
        self.reading: Literal["nothing", "head", "body"] = "nothing"
        self.head_bytes: int | None = None
        self.refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(cast(asyncio.Transport, LingeringTransport(transport, self)))

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._stop_the_clock()
        super().connection_lost(exc)

    # HTTP-11
    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more, but may wait for answers: stay open until they are given."""
        cycle: RequestResponseCycle | None = self.cycle
        if self.refused:  # what can't be read has no other end
            self.reading = "nothing"
        if cycle is None or cycle.response_complete or self.reading != "nothing":
            return False
        cycle.keep_alive = False
        return True

    def data_received(self, data: bytes) -> None:
        """Parse what has come; after a refusal, it is read and forgotten."""
        # HTTP-06
        if self.refused or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        size = len(data)
        # HTTP-08, HTTP-09
        try:
            while rest := self._feed(data):
                data = rest
        except httptools.HttpParserError:
            self._give_up("bad-request")
        # HTTP-04
        if self.reading == "head":
            # The chunk in which a head begins holds the end of what came before, too.
            self.head_bytes = 0 if self.head_bytes is None else self.head_bytes + size
            if self.head_bytes > MAX_HEAD_BYTES:
                self._give_up("headers-too-large")

    # HTTP-12, HTTP-13
    def _feed(self, data: bytes) -> bytes:
        """Parse, up to a request that asks for an upgrade; what is to be parsed then is returned.

        httptools takes such a request for the last, and its body for another protocol's. Nothing
        here upgrades (RFC 9110, 7.8), so it is parsed again as one that doesn't ask.
        """
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self.refused:
                return b""
            version = self.parser.get_http_version().encode("ascii")
            fields = [field for field in self.headers if field[0] != b"upgrade"]
            head = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
            head += [b"%b: %b" % field for field in fields]
            self._renew_parser()
            return b"\r\n".join([*head, b"", data[upgrade.args[0] :]])
        return b""

    # HTTP-09, HTTP-18
    def _renew_parser(self) -> None:
        self.parser = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._stop_the_clock()
        # OPS-26
        self._cut = self.loop.call_later(self._request_timeout, self.transport.abort)
        self.reading = "head"
        self.head_bytes = None

    # HTTP-14, HTTP-15, HTTP-17, BODY-05
    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field; a trailer field isn't one (RFC 9110, 6.5)."""
        if self.reading == "head":
            super().on_header(name, value.strip(b" \t"))

    def on_headers_complete(self) -> None:
        """A request's head is there: hand it over, with its raw target, or refuse it."""
        if self.refused:
            return
        code = refusal(self.parser.get_method(), self.url, self.headers)
        # HTTP-07
        if code:
            self.refused = True
            self._hand_over(refuse(code))
        elif not self.parser.should_upgrade():
            # ROUTE-14
            path, _, query = self.url.partition(b"?")
            self._hand_over(self.config.loaded_app)
            self.scope["raw_path"] = path
            # ROUTE-06
            self.scope["path"] = route_path(path.decode("latin-1"))
            self.scope["query_string"] = query

    # HTTP-19, BODY-04, BODY-06, BODY-07
    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self.reading == "body":
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has been read."""
        self._stop_the_clock()
        if self.reading == "body":
            self.reading = "nothing"
            super().on_message_complete()

    def _stop_the_clock(self) -> None:
        if self._cut is not None:
            self._cut.cancel()

    # HTTP-10, HTTP-11, HTTP-16
    def _hand_over(self, app: ASGIApp) -> None:
        """Have `app` answer the request, once those before it are answered."""
        self.app = cast(Any, app)
        self.url = b"/"
        self.reading = "body"
        super().on_headers_complete()

    # HTTP-08, HTTP-09
    def _give_up(self, code: str) -> None:
        """Answer what can't be read with a problem, after the requests before it, and close."""
        self.refused = True
        if self.reading == "body":
            # The request under way can't be read to its end: nobody answers it any more.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.pipeline and self.pipeline[0][0] is self.cycle:
                self.pipeline.popleft()
            else:
                self.cycle = cast(Any, None)
        if self.reading != "head":
            self.on_message_begin()
        self._hand_over(refuse(code))
        # What was read of a method may be HEAD's, whose answer would have no body.
        self.scope["method"] = "GET"


class LingeringTransport:
    """A transport that isn't closed in the face of a client that is still sending.

    That would reset the connection, and the client might never see its answer. So at first only
    the sending half is closed (RFC 9112, 9.6).
    """

    def __init__(self, transport: asyncio.Transport, protocol: Protocol) -> None:
        self._transport = transport
        self._protocol = protocol
        self._lingering = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether nothing more can be sent."""
        return self._lingering or self._transport.is_closing()

    # BODY-04
    def close(self) -> None:
        """Close, at once if the client has sent its request, else when it is done or in a while."""
        if self._protocol.reading == "nothing":
            self._transport.close()
        elif not self.is_closing():
            self._lingering = True
            self._transport.write_eof()
            self._transport.resume_reading()
            self._protocol.loop.call_later(LINGER_SECONDS, self._transport.close)
