"""WebSockets below the application (RFC 6455): what ASGI expects of a server, on our connections.

The frames are those of `websockets`. uvicorn's own way to use it would take the connection away
from what bounds it here, answer handshakes itself, and give reasons of its own.
"""

import asyncio
from collections.abc import Collection, Sequence
from typing import Protocol as Interface, assert_never, cast

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN, SERVER, Protocol as FrameProtocol
from websockets.utils import accept_key

from python_api.settings import Settings

# Of a message, in one frame or several.
MAX_MESSAGE = 4096
MAX_FRAGMENTS = 64
# How long the client's Close is waited for, or its end of the connection.
CLOSE_SECONDS = 2.0

# The client has closed or is gone; why is for nobody here to know.
DISCONNECT: Message = {"type": "websocket.disconnect", "code": 1005}


class Connection(Interface):
    """What a WebSocket needs of its connection."""

    transport: asyncio.Transport
    flow: FlowControl

    def switch_protocols(self) -> bool:
        """From now on, what comes in isn't HTTP; whether the client is still there."""

    def read_on(self) -> None:
        """Take what has come in, unless it has to wait."""


def asks_for_socket(
    method: bytes,
    path: bytes,
    version: str,
    fields: Sequence[tuple[bytes, bytes]],
    sockets: Collection[bytes],
) -> bool:
    """Whether a request that asks for an upgrade is for the application's WebSockets to answer.

    Clauses: HTTP-12, SOCK-02.
    """
    headers = Headers(raw=list(fields))
    has_body = headers.get("content-length", "0").strip("0") or "transfer-encoding" in headers
    return (
        path in sockets
        and (method, version) == (b"GET", "1.1")
        and not has_body
        and _names(", ".join(headers.getlist("upgrade")), "websocket")
    )


def _names(value: str, token: str) -> bool:
    """Whether a list in a header field names this token, in any letter case."""
    return token in [each.strip(" \t").lower() for each in value.split(",")]


class Frames(FrameProtocol):
    """The frames of a connection, and the messages that came in them."""

    def __init__(self) -> None:
        # Of a frame; a message is measured here, since a Ping within it isn't a part of it.
        super().__init__(SERVER, max_size=(None, MAX_MESSAGE))
        self.messages: list[str | bytes] = []
        self.has_ponged = True
        self._opcode = Opcode.TEXT
        self._data = bytearray()
        self._fragments = 0

    def fail(self, code: int, reason: str = "") -> None:  # noqa: ARG002
        """Close for this reason, which the client isn't told.

        Clauses: SOCK-13, SOCK-14, SOCK-18.
        """
        super().fail(code)

    def recv_frame(self, frame: Frame) -> None:
        """Take a frame. Raises UnicodeDecodeError for text that isn't UTF-8.

        Clauses: SOCK-12, SOCK-14, SOCK-19.
        """
        if frame.opcode is Opcode.CLOSE:
            # It may come within a message's fragments (RFC 6455, 5.4).
            self.current_size = None
        elif self.state is not OPEN:
            return
        super().recv_frame(frame)
        match frame.opcode:
            case Opcode.TEXT | Opcode.BINARY:
                self._opcode, self._data, self._fragments = frame.opcode, bytearray(), 0
                self._add(frame)
            case Opcode.CONT:
                self._add(frame)
            case Opcode.PONG:
                self.has_ponged = True
            case Opcode.PING | Opcode.CLOSE:
                pass
            case other:
                assert_never(other)

    def _add(self, frame: Frame) -> None:
        self._data += frame.data
        self._fragments += 1
        if len(self._data) > MAX_MESSAGE:
            self.fail(CloseCode.MESSAGE_TOO_BIG)
        elif self._fragments > MAX_FRAGMENTS:
            self.fail(CloseCode.POLICY_VIOLATION)
        elif frame.fin:
            data = bytes(self._data)
            self.messages.append(data.decode() if self._opcode is Opcode.TEXT else data)


class Socket:
    """A request for a WebSocket, and where the application accepts it, the WebSocket."""

    def __init__(self, app: ASGIApp, connection: Connection, settings: Settings) -> None:
        self._app = app
        self._connection = connection
        self._settings = settings
        self._frames = Frames()
        # What the application has yet to take.
        self._queue: asyncio.Queue[Message] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._is_others_turn = False
        self.is_open = False

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        """Have the application answer: by an ordinary answer, or by accepting the WebSocket."""
        headers = Headers(scope=scope)
        offered = ",".join(headers.getlist("sec-websocket-protocol")).split(",")
        asked = {
            **scope,
            "type": "websocket",
            "scheme": "ws",
            "subprotocols": [each.strip(" \t") for each in offered],
            "extensions": {"websocket.http.response": {}},
        }
        del asked["method"]
        self._queue.put_nowait({"type": "websocket.connect"})

        async def answer(message: Message) -> None:
            kind: str = message["type"]
            if kind == "websocket.accept":
                self._open(message, headers["sec-websocket-key"])
            elif kind == "websocket.send":
                await self._send(message["text"])
            elif kind == "websocket.close":
                self._close(message["code"], message["reason"])
            else:
                await send({**message, "type": kind.removeprefix("websocket.")})

        await self._app(asked, self._receive, answer)

    def must_wait(self) -> bool:
        """Whether what comes in has to wait: for an answer, others, or until a message is taken."""
        has_message = self._frames.state is OPEN and not self._queue.empty()
        return not self.is_open or self._is_others_turn or has_message

    def take(self, data: bytes) -> None:
        """Take what has come in, a piece in a turn. Clauses: LIMIT-11, SOCK-12, SOCK-13, SOCK-14."""
        self._is_others_turn = True
        self._loop.call_soon(self._take_turn)
        had_ended = self._frames.eof_sent
        self._frames.receive_data(data)
        self._frames.events_received()  # `messages` has what matters of them
        for message in self._frames.messages:
            kind = "text" if isinstance(message, str) else "bytes"
            self._queue.put_nowait({"type": "websocket.receive", kind: message})
        self._frames.messages.clear()
        self._flush()
        if self._frames.eof_sent and not had_ended:
            self._tell_end()

    def _take_turn(self) -> None:
        self._is_others_turn = False
        self._connection.read_on()

    def lose(self) -> None:
        """The connection is gone."""
        if self._timer:
            self._timer.cancel()
        self._tell_end()

    def _tell_end(self) -> None:
        """Tell the application that the client has closed or is gone, and nothing else any more."""
        while self.is_open and not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(DISCONNECT)

    def _open(self, message: Message, key: str) -> None:
        """Switch protocols (RFC 6455, 4.2.2). Clauses: SOCK-01."""
        fields = [
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Accept", accept_key(key).encode()),
            (b"Sec-WebSocket-Protocol", cast(str, message["subprotocol"]).encode()),
            *message["headers"],
        ]
        lines = [b"%b: %b" % field for field in fields]
        head = [b"HTTP/1.1 101 Switching Protocols", *lines, b"", b""]
        self.is_open = True
        if not self._connection.switch_protocols():
            self._connection.transport.close()
            return
        self._connection.transport.write(b"\r\n".join(head))
        self._timer = self._loop.call_later(self._settings.events_heartbeat, self._ping)

    def _ping(self) -> None:
        """Send a Ping, or cut off a client that hasn't answered the last one. Clauses: SOCK-11."""
        if self._frames.state is not OPEN:
            return
        transport = self._connection.transport
        # As long as we don't read, or the client has more to take, it can't be late.
        is_busy = self._connection.flow.read_paused or transport.get_write_buffer_size() > 0
        if not self._frames.has_ponged and not is_busy:
            transport.abort()
            return
        self._frames.has_ponged = False
        self._frames.send_ping(b"")
        self._flush()
        self._timer = self._loop.call_later(self._settings.events_heartbeat, self._ping)

    async def _receive(self) -> Message:
        if self._queue.empty():
            self._connection.read_on()
        return await self._queue.get()

    async def _send(self, text: str) -> None:
        """Send a message once the client has taken enough of those before. Clauses: SOCK-20."""
        await self._connection.flow.drain()
        if self._frames.state is OPEN and not self._connection.transport.is_closing():
            self._frames.send_text(text.encode())
            self._flush()

    def _close(self, code: int, reason: str) -> None:
        """Close, and wait a while for the client's Close. Clauses: SOCK-18, SOCK-19."""
        if self._frames.state is OPEN:
            self._frames.send_close(code, reason)
            self._flush()
            self._end_later()
            self._connection.read_on()

    def _flush(self) -> None:
        transport = self._connection.transport
        for data in self._frames.data_to_send():
            if transport.is_closing():
                return
            if data:
                transport.write(data)
            elif self._frames.close_rcvd and not self._frames.parser_exc:
                # Each has had the other's Close (RFC 6455, 7.1.1).
                transport.close()
            else:
                # Not at once: what the client still sends would reset the connection.
                transport.write_eof()
                self._end_later()

    def _end_later(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_later(CLOSE_SECONDS, self._connection.transport.abort)
