"""The HTTP server below the application: uvicorn, and what it takes to behave as Node's does.

Refuses what no application should see, hands requests over with their raw target, ignores
upgrades but those to WebSockets, lets no client hold much of it for long, lets a client read its
answer before the connection goes, and stops gracefully.
"""

import asyncio
import atexit
import gc
import math
import os
import re
import resource
import signal
import socket
import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Literal, cast

import httptools
import uvicorn
from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from python_api.http.problems import Problem, render_problem
from python_api.http.sockets import Socket, asks_for_socket
from python_api.operation.observability import (
    LINES,
    NO_ROUTE,
    OTHER_METHOD,
    Observation,
    log,
    request_id,
)
from python_api.settings import Settings, is_local

MAX_HEADERS = 100
MAX_HEADER_BYTES = 16384
# A head of this size isn't even read to its end.
MAX_HEAD_BYTES = 131072
# What is parsed at once: the requests in it are all that a connection has waiting.
PIECE_BYTES = 4096
LINGER_SECONDS = 2
STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}
# How often the server looks for clients that keep it waiting.
LOOK_SECONDS = 0.5
# What a process has open besides connections: its libraries, its log, its port.
OTHER_FILES = 40
# What a Mac lets a process have open where it names no limit (OPEN_MAX).
MAC_FILES = 10240

HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
LOCAL_HOST = re.compile(
    rb"(?:(?:[a-z0-9._-]+\.)?localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?",
    re.IGNORECASE,
)
# RFC 9112, 3.2.2 (HTTP-20)
ABSOLUTE_FORM = re.compile(rb"http://([^/?]*)(.*)", re.IGNORECASE | re.DOTALL)


def listen(settings: Settings) -> socket.socket:
    """A socket that listens where the settings say. Raises OSError if the port is taken."""
    # Words of Python's own, zones, and what each would make another name of (OPS-02, OPS-29).
    if "<" in settings.host or "%" in settings.host or not settings.host.isascii():
        raise OSError(f"{settings.host} can't be the name of a host")
    # Of a name the IPv4 address; `::` is all addresses of both families.
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
    address = (settings.host, settings.port)
    try:
        return socket.create_server(address, family=family, backlog=2048, dualstack_ipv6=both)
    except UnicodeError as error:
        raise OSError(f"{settings.host} can't be the name of a host") from error


def log_listening(listener: socket.socket, settings: Settings) -> None:
    """Tell the log where the socket listens, and whether to anybody. Clauses: AUTH-13, OPS-01."""
    address, port = listener.getsockname()[:2]
    host = f"[{address}]" if ":" in address else address
    log("info", "listening", url=f"http://{host}:{port}")
    if not settings.auth:
        log("warning", "open to everybody: AUTH_SECRET is not set, or AUTH is off")


async def serve(app: FastAPI, settings: Settings, listener: socket.socket) -> None:
    """Serve `app` until SIGTERM or SIGINT; then let the requests under way end, and return.

    What the application has to run beside its answers runs until then.

    Clauses: HDR-07, HDR-08, HOOK-26, LOG-04, ROUTE-15.
    """
    sockets = {route.path.encode() for route in app.routes if isinstance(route, WebSocketRoute)}
    config = uvicorn.Config(
        app,
        http=cast(Any, partial(Protocol, settings, sockets, OrderedDict())),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    # Objects that exist by now stay; collecting them again and again would stop everything.
    gc.freeze()
    async with asyncio.TaskGroup() as group:
        for run in app.state.beside:
            group.create_task(run())
        await Server(app, config, settings).serve(sockets=[listener])


def within_open_files(settings: Settings) -> Settings:
    """The settings, with no more connections than the process may have files open.

    A third of what there is is left to the attempts of webhooks, half as many as connections.

    Clauses: HOOK-16, OPS-28.
    """
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return settings
    # Up to the hard limit, as Node does by itself.
    wanted = max(files, MAC_FILES) if most == resource.RLIM_INFINITY else most
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
        files = wanted
    left = (files - OTHER_FILES - settings.database_pool_size) * 2 // 3
    return replace(settings, max_connections=max(1, min(settings.max_connections, left)))


def end_well_on_signals() -> None:
    """End with status 0 on a signal during start-up. Clauses: OPS-07."""
    on_signal(_end)
    atexit.register(_ignore_signals)


def _ignore_signals() -> None:
    # As the interpreter ends, it would have them kill again (OPS-06).
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _end() -> None:
    # At once, as on Node: an exception would arise wherever the process just is, also where a
    # library makes something else of it.
    LINES.end()
    os._exit(0)


async def to_the_end(service: Awaitable[None]) -> None:
    """Run the service, and end the process with it, also where it exits with a line.

    Left to itself, asyncio waits for names that are being looked up, which nothing can end.

    Clauses: OPS-07, OPS-17.
    """
    try:
        await service
    except SystemExit as error:
        with suppress(OSError):
            print(error, file=sys.stderr, flush=True)
        LINES.end()
        os._exit(1)
    _end()


def on_signal(act: Callable[[], object]) -> None:
    """On the first SIGTERM or SIGINT from now on do this, in place of what was done before.

    Clauses: OPS-06.
    """
    has_come = False

    def act_once(*_: object) -> None:
        nonlocal has_come
        if not has_come:
            has_come = True
            act()

    for number in STOP_SIGNALS:
        signal.signal(number, act_once)


class Server(uvicorn.Server):
    """uvicorn's server, with limits on how long a client may keep it waiting."""

    def __init__(self, app: FastAPI, config: uvicorn.Config, settings: Settings) -> None:
        super().__init__(config)
        self._app = app
        self.settings = settings

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at the first signal; another one changes nothing. Clauses: OPS-06.

        uvicorn's own raises the signal once more in the end.
        """
        on_signal(self._stop)
        yield

    def _stop(self) -> None:
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: look, now and then, for clients that keep us waiting for too long.

        Clauses: OPS-25, OPS-26, OPS-27.
        """
        if counter % round(LOOK_SECONDS * 10) == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                cast(Protocol, connection).look(now)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the port, let the requests under way end, cut off those that don't in time.

        Clauses: OPS-06, OPS-07, OPS-23.
        """
        loop = asyncio.get_running_loop()
        cut = loop.call_later(self.settings.shutdown_timeout, self._cut_connections)
        for tell in self._app.state.on_stop:
            tell()
        await super().shutdown(sockets)
        cut.cancel()

    def _cut_connections(self) -> None:
        for connection in list(self.server_state.connections):
            cast(Protocol, connection).transport.abort()


def refuse(code: str) -> ASGIApp:
    """An application that answers everything with this problem and closes the connection.

    Clauses: CORS-08, HDR-01, HDR-05, HDR-06, HTTP-06, LOG-02, LOG-03.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        # Nothing in such a request is trusted, neither its method nor its id (HDR-04).
        this_request = request_id(None)
        observation = Observation(OTHER_METHOD, this_request)
        response = render_problem(Problem(code))
        response.headers["X-Request-Id"] = this_request
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cache-Control"] = "no-store"
        response.headers["Connection"] = "close"
        observation.end(NO_ROUTE, response.status_code)
        await response(scope, receive, send)

    return answer


def refusal(
    method: bytes,
    target: bytes,
    version: str,
    headers: Sequence[tuple[bytes, bytes]],
    settings: Settings,
) -> str | None:
    """The code of the problem that this request is refused with before any route; none if it isn't.

    Clauses: AUTH-40, HTTP-01, HTTP-02, HTTP-04, HTTP-05, HTTP-20, HTTP-23, HTTP-24.
    """
    size = len(target) + sum(len(name) + len(value) + 4 for name, value in headers)
    if size > MAX_HEADER_BYTES or len(headers) > MAX_HEADERS:
        return "headers-too-large"
    hosts = [value for name, value in headers if name == b"host"]
    authority, target = split_target(target)
    if authority is not None:
        hosts.append(authority)
    if len(hosts) != (1 if authority is None else 2) or not all(map(HOST.fullmatch, hosts)):
        return "bad-request"
    if is_local(settings) and not LOCAL_HOST.fullmatch(hosts[-1]):
        return "bad-request"
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if codings and (codings != [b"chunked"] or version == "1.0"):
        return "bad-request"
    # In particular not `*` or host:port (HTTP-03).
    origin_form = target.startswith(b"/") and b"#" not in target and method != b"CONNECT"
    return None if origin_form else "bad-request"


def split_target(target: bytes) -> tuple[bytes | None, bytes]:
    """The authority that a target in absolute-form names, and the target in origin-form.

    Clauses: HTTP-20.
    """
    absolute = None if target.startswith(b"/") else ABSOLUTE_FORM.fullmatch(target)
    if not absolute:
        return None, target
    return absolute[1], absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        settings: Settings,
        sockets: Collection[bytes],
        waiting: OrderedDict["Protocol", None],
        **kwargs: Any,
    ) -> None:
        """A connection; `waiting` are those on which no request is answered.

        `sockets` are the paths that the application has WebSockets at.
        """
        super().__init__(**kwargs)
        self._renew_parser()
        self._settings = settings
        self._sockets = sockets
        self._socket: Socket | None = None
        # Whether the client has said that it sends no more.
        self._has_ended = False
        self._waiting = waiting
        self._unparsed = b""
        # The request that is being answered; `cycle` is the one that came last.
        self._answering: RequestResponseCycle | None = None
        self._deadline = math.inf
        self._taken = 0
        self._taken_at = 0.0
        self.reading: Literal["nothing", "head", "body"] = "nothing"
        self.head_bytes: int | None = None
        self.framing_bytes = 0
        self.refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected. Clauses: OPS-26, OPS-28."""
        super().connection_made(cast(asyncio.Transport, LingeringTransport(transport, self)))
        self.flow = Flow(self)
        if len(self.connections) > self._settings.max_connections and not self._make_room():
            transport.abort()
            return
        self._waiting[self] = None
        self._deadline = self.loop.time() + self._settings.request_timeout

    def _make_room(self) -> bool:
        """Close the connection that has waited longest for a request; whether there is one.

        Clauses: OPS-28.
        """
        for connection in self._waiting:
            if not connection.transport.get_write_buffer_size():
                del self._waiting[connection]
                connection.transport.abort()
                return True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, and whoever answers on it is told. Clauses: LOG-01, STREAM-08."""
        self._waiting.pop(self, None)
        if self._answering:
            self._answering.disconnected = True
            self._answering.message_event.set()
        if self._socket:
            self._socket.lose()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more, but may wait for answers: stay open until they are given.

        Clauses: HTTP-08, HTTP-11.
        """
        self._has_ended = True
        if self.reading != "nothing" and not self.refused:
            self._give_up("bad-request")
        self.reading = "nothing"
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        cycle.keep_alive = False
        return True

    def look(self, now: float) -> None:
        """Cut the connection if its client has kept us waiting for too long.

        Clauses: OPS-25, OPS-26, OPS-27.
        """
        unsent = self.transport.get_write_buffer_size()
        taken = cast(LingeringTransport, self.transport).written - unsent
        if taken != self._taken or not unsent:
            self._taken, self._taken_at = taken, now
        # As long as we don't read, the client can't be late.
        if self.flow.read_paused:
            self._deadline = max(self._deadline, now + self._settings.request_timeout)
        late = unsent and now >= self._taken_at + self._settings.request_timeout
        if late or now >= self._deadline:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse what has come; after a refusal, it is read and forgotten. Clauses: HTTP-06."""
        if self.refused or self.transport.is_closing():
            return
        self._unparsed += data
        self._parse()

    def has_unread(self) -> bool:
        """Whether the client is sending what hasn't been read, or not to its end."""
        return self.reading != "nothing" or self._unparsed != b""

    def must_wait(self) -> bool:
        """Whether there is something to wait for: earlier requests, or a client that doesn't read.

        Clauses: HTTP-22, SOCK-20.
        """
        socket_waits = self._socket is not None and self._socket.must_wait()
        return bool(self.pipeline) or self.flow.write_paused or socket_waits

    def _parse(self) -> None:
        """Parse what has come, as far as there is nothing that has to come first.

        Clauses: HTTP-04, HTTP-08, HTTP-09, HTTP-22, HTTP-28.
        """
        while self._unparsed and not self.must_wait():
            piece, self._unparsed = self._unparsed[:PIECE_BYTES], self._unparsed[PIECE_BYTES:]
            size = len(piece)
            try:
                while rest := self._feed(piece):
                    piece = rest
            except httptools.HttpParserError:
                self._give_up("bad-request")
            if self.reading == "head":
                # The piece in which a head begins holds the end of what came before, too.
                self.head_bytes = 0 if self.head_bytes is None else self.head_bytes + size
                if self.head_bytes > MAX_HEAD_BYTES:
                    self._give_up("headers-too-large")
            elif self.reading == "body":
                # Extensions of a chunk, and trailers: what is no part of the body itself.
                self.framing_bytes += size
                if self.framing_bytes > MAX_HEAD_BYTES:
                    self._give_up("headers-too-large")
            if self.refused:
                self._unparsed = b""
        if self._unparsed:
            self.flow.pause_reading()

    def pause_writing(self) -> None:
        """The client doesn't read: read nothing from it either. Clauses: HTTP-22."""
        super().pause_writing()
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        """The client has read. Clauses: HTTP-22."""
        super().resume_writing()
        self.read_on()

    def shutdown(self) -> None:
        """Close once what is asked is answered; the application ends its WebSockets itself.

        Clauses: OPS-06, SOCK-18.
        """
        if not (self._socket and self._socket.is_open):
            super().shutdown()

    def switch_protocols(self) -> bool:
        """From now on, what comes in is for the WebSocket; whether the client is still there."""
        assert self._answering
        self._answering.response_started = True
        self._answering.response_complete = True
        return not self._has_ended and not self.transport.is_closing()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        if cycle.scope["http_version"] != "1.1":
            app = _without_chunks(app, cycle)
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """A request has been answered. Clauses: OPS-25."""
        self._answering = None
        self._waiting[self] = None
        if self.reading == "nothing":
            self._deadline = self.loop.time() + self._settings.keep_alive_timeout
        self.read_on()

    def read_on(self) -> None:
        """Answer the next request, once the answers before it have been taken. Clauses: HTTP-22."""
        if self.transport.is_closing():
            return
        if self.pipeline and not self._answering and not self.flow.write_paused:
            self._waiting.pop(self, None)
            self._deadline = math.inf if self.reading == "nothing" else self._deadline
            self._start_asgi_task(*self.pipeline.pop())
        self._parse()
        if not self._unparsed:
            self.flow.resume_reading()

    def _feed(self, data: bytes) -> bytes:
        """Parse, up to a request that asks for an upgrade; what is to be parsed then is returned.

        httptools takes such a request for the last, and its body for another protocol's. So unless
        it is for a WebSocket, it is parsed again as one that doesn't ask (RFC 9110, 7.8).

        Clauses: HTTP-12, HTTP-13, SOCK-01.
        """
        if self._socket:
            self._socket.take(data)
            return b""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self.refused:
                return b""
            method, version = self.parser.get_method(), self.parser.get_http_version()
            path, _, query = split_target(self.url)[1].partition(b"?")
            rest = data[upgrade.args[0] :]
            if asks_for_socket(method, path, version, self.headers, self._sockets):
                # Behind another answer than 101 it ends: what follows may be frames (SOCK-06).
                self._socket = Socket(self.config.loaded_app, self, self._settings)
                self._hand_over(self._socket)
                self.cycle.keep_alive = False
                self.scope["raw_path"] = path
                self.scope["query_string"] = query
                self.on_message_complete()
                self._unparsed = rest + self._unparsed
                return b""
            fields = [field for field in self.headers if field[0] != b"upgrade"]
            head = [b"%b %b HTTP/%b" % (method, self.url, version.encode("ascii"))]
            head += [b"%b: %b" % field for field in fields]
            self._renew_parser()
            return b"\r\n".join([*head, b"", rest])
        return b""

    def _renew_parser(self) -> None:
        """Take another parser for the next request. Clauses: HTTP-09, HTTP-18."""
        self.parser = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        """A request begins. Clauses: OPS-26."""
        super().on_message_begin()
        self._deadline = self.loop.time() + self._settings.request_timeout
        self.reading = "head"
        self.head_bytes = None

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field; a trailer field isn't one (RFC 9110, 6.5).

        Clauses: BODY-05, HTTP-14, HTTP-15, HTTP-17, HTTP-27.
        """
        if self.reading == "head":
            super().on_header(name, value.strip(b" \t"))

    def on_headers_complete(self) -> None:
        """A request's head is there: hand it over, with its raw target, or refuse it.

        Clauses: HTTP-07, ROUTE-14.
        """
        if self.refused:
            return
        version = self.parser.get_http_version()
        # RFC 9110, 15.2 (HTTP-25)
        self.expect_100_continue = self.expect_100_continue and version != "1.0"
        method = self.parser.get_method()
        code = refusal(method, self.url, version, self.headers, self._settings)
        if code:
            self.refused = True
            self._hand_over(refuse(code))
        elif not self.parser.should_upgrade():
            path, _, query = split_target(self.url)[1].partition(b"?")
            self._hand_over(self.config.loaded_app)
            self.scope["raw_path"] = path
            self.scope["query_string"] = query

    def on_body(self, body: bytes) -> None:
        """A part of the body. Clauses: BODY-04, BODY-06, BODY-07, HTTP-19."""
        self.framing_bytes = 0
        if self.reading == "body":
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has been read. Clauses: OPS-25."""
        if self.reading == "body":
            self.reading = "nothing"
            super().on_message_complete()
            answered = self.cycle.response_complete
            idle = self.loop.time() + self._settings.keep_alive_timeout
            self._deadline = idle if answered else math.inf

    def _hand_over(self, app: ASGIApp) -> None:
        """Have `app` answer the request, once those before it are answered.

        Clauses: HTTP-10, HTTP-11, HTTP-16.
        """
        self._waiting.pop(self, None)
        self.app = cast(Any, app)
        self.url = b"/"
        self.reading = "body"
        self.framing_bytes = 0
        super().on_headers_complete()

    def _give_up(self, code: str) -> None:
        """Answer an unreadable request with a problem, after those before it, and close.

        Clauses: HTTP-08, HTTP-09, HTTP-21, LOG-01.
        """
        if self.refused:
            return
        self.refused = True
        # What was read of a method may be HEAD's, whose answer would have no body.
        method = "GET"
        if self.reading == "body":
            method = self.scope["method"]
            if self.cycle.response_started:
                self.cycle.keep_alive = False
                if self.cycle.response_complete:
                    self.transport.close()
                return
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
        self.scope["method"] = method


def _without_chunks(app: ASGIApp, cycle: RequestResponseCycle) -> ASGIApp:
    """The application, whose body of unknown length ends with the connection (RFC 9112, 6.1).

    uvicorn would send it in chunks, which only HTTP/1.1 knows.

    Clauses: STREAM-13.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        is_of_known_length = True

        async def send_plain(message: Message) -> None:
            nonlocal is_of_known_length
            if message["type"] == "http.response.start":
                is_of_known_length = "content-length" in Headers(raw=message["headers"])
                cycle.chunked_encoding = None if is_of_known_length else False
            elif not is_of_known_length:
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, send_plain)

    return answer


class Flow(FlowControl):
    """uvicorn's flow control, which doesn't read on while earlier requests wait.

    Clauses: HTTP-22.
    """

    def __init__(self, protocol: Protocol) -> None:
        super().__init__(protocol.transport)
        self._protocol = protocol

    def resume_reading(self) -> None:
        """Read on, unless requests wait that have been read."""
        if not self._protocol.must_wait():
            super().resume_reading()


class LingeringTransport:
    """A transport that doesn't close while the client is still sending.

    That would reset the connection, and the client might never see its answer. So at first only
    the sending half is closed (RFC 9112, 9.6).
    """

    def __init__(self, transport: asyncio.Transport, protocol: Protocol) -> None:
        self._transport = transport
        self._protocol = protocol
        self._lingering = False
        self.written = 0
        """The bytes that were to be sent so far."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send this. Clauses: OPS-27."""
        self.written += len(data)
        self._transport.write(data)

    def writelines(self, pieces: Sequence[bytes]) -> None:
        """Send these. Clauses: OPS-27."""
        self.written += sum(map(len, pieces))
        self._transport.writelines(pieces)

    def is_closing(self) -> bool:
        """Whether nothing more can be sent."""
        return self._lingering or self._transport.is_closing()

    def close(self) -> None:
        """Close: at once if all that the client sends is read, else when it is, or after a while.

        Clauses: BODY-04, SOCK-06.
        """
        if not self._protocol.has_unread():
            self._transport.close()
        elif not self.is_closing():
            self._lingering = True
            self._transport.write_eof()
            self._transport.resume_reading()
            self._protocol.loop.call_later(LINGER_SECONDS, self._transport.close)
