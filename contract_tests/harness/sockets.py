"""A WebSocket (RFC 6455), frame by frame on a raw connection: what is sent is what the test wrote."""

import base64
import contextlib
import hashlib
import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any, Self

from contract_tests.harness import expect
from contract_tests.harness.client import Client
from contract_tests.harness.streams import EVENT_TIMEOUT
from contract_tests.harness.wire import Answer, Connection

PATH = "/events/socket"
PROTOCOL = "events.v1"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, 1.3

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

# What is changed of a handshake's fields: one value, several, or none.
Changes = Mapping[str, str | Sequence[str] | None]

# Less than the time for which a service waits for a Close.
END_SECONDS = 1.5

_POSITION = re.compile(rb'\{"after":"(0|[1-9][0-9]*)"\}')


def handshake(
    api: Client,
    changes: Changes | None = None,
    *,
    key: str = KEY,
    protocols: Sequence[str] = (PROTOCOL,),
    method: str = "GET",
    target: str = PATH,
    body: bytes | None = None,
) -> bytes:
    """The bytes of an opening handshake, with these changes of its fields."""
    fields: dict[str, str | Sequence[str] | None] = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Protocol": ", ".join(protocols),
        **(changes or {}),
    }
    sent = [
        (name, value)
        for name, values in fields.items()
        if values is not None
        for value in ([values] if isinstance(values, str) else values)
    ]
    return api.message(method, target, sent, body)


def check_begun(head: Answer, key: str = KEY, request_id: str | None = None) -> None:
    """The whole of an answer that opens a socket; a generated id without one given."""
    assert head.status == 101, head
    sent = head.header("x-request-id")
    assert sent == request_id if request_id else expect.is_uuid(sent), head
    digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
    # A gateway may write the option in another letter case.
    fields = [
        (name, value.lower() if name == "connection" else value)
        for name, value in head.headers
        if name != "date"
    ]
    assert sorted(fields) == [
        ("connection", "upgrade"),
        ("sec-websocket-accept", base64.b64encode(digest).decode()),
        ("sec-websocket-protocol", PROTOCOL),
        ("upgrade", "websocket"),
        ("x-request-id", sent),
    ]


def framed(
    opcode: int,
    data: bytes = b"",
    *,
    fin: bool = True,
    mask: bool = True,
    rsv: int = 0,
    length: int | None = None,
) -> bytes:
    """The bytes of a client's frame; `length` in place of the one that the data have."""
    size = len(data) if length is None else length
    head = bytes([fin << 7 | rsv << 4 | opcode])
    if size < 126:
        head += bytes([mask << 7 | size])
    elif size < 2**16:
        head += bytes([mask << 7 | 126]) + size.to_bytes(2)
    else:
        head += bytes([mask << 7 | 127]) + size.to_bytes(8)
    if not mask:
        return head + data
    masking = secrets.token_bytes(4)
    return head + masking + bytes(a ^ b for a, b in zip(data, cycle(masking), strict=False))


def fragments(*parts: bytes, opcode: int = TEXT) -> list[bytes]:
    """The frames of a message that is sent in these parts."""
    last = len(parts) - 1
    return [framed(0 if n else opcode, part, fin=n == last) for n, part in enumerate(parts)]


def closing(code: int | None, reason: str | bytes = "") -> bytes:
    """What a Close has in it."""
    text = reason.encode() if isinstance(reason, str) else reason
    return b"" if code is None else code.to_bytes(2) + text


class Socket:
    """A socket that a target has opened; whatever the target sends is checked for its form."""

    def __init__(self, connection: Connection) -> None:
        """Of this connection, on which the handshake has been answered."""
        self.connection = connection
        self.position = 0
        """The one that it has told of last."""
        self._has_asked = False

    @classmethod
    def begun(cls, connection: Connection, key: str = KEY, request_id: str | None = None) -> Self:
        """The one that the connection was asked for.

        Raises ConnectionRefusedError for a 503, and else as `Connection` does.
        """
        head = connection.read_head()
        if head.status == 503:
            raise ConnectionRefusedError(head)
        check_begun(head, key, request_id)
        return cls(connection)

    def put(self, *frames: bytes) -> None:
        """Send these bytes together; OSError when the other side no longer takes them."""
        # Not by `send`, which would keep them for the listeners.
        self.connection._socket.settimeout(self.connection._timeout)
        self.connection._socket.sendall(b"".join(frames))

    def send(self, text: str | bytes) -> None:
        """Send a message."""
        self.put(framed(TEXT, text.encode() if isinstance(text, str) else text))

    def close(self, code: int | None = None, reason: str | bytes = "") -> None:
        """Send a Close."""
        self.put(framed(CLOSE, closing(code, reason)))

    def read_frame(self) -> tuple[int, bytes]:
        """The next frame's opcode and data. Raises as `Connection`."""
        deadline = time.monotonic() + self.connection._timeout
        first, second = self._exactly(2, deadline)
        assert second < 128, "a frame of the server is masked"
        size = second
        if second > 125:
            size = int.from_bytes(self._exactly(2 if second == 126 else 8, deadline))
            assert size > (125 if second == 126 else 65535), "a length is longer than it needs be"
        assert first & 0xF0 == 0x80, f"a fragment, or one with reserved bits: {first:#x}"
        opcode = first & 15
        assert opcode == TEXT or (opcode in (CLOSE, PING, PONG) and size < 126), (opcode, size)
        data = self._exactly(size, deadline)
        assert opcode != PING or not data, f"a Ping with {data!r}"
        return opcode, data

    def _exactly(self, length: int, deadline: float) -> bytes:
        return self.connection._exactly(length, deadline)

    def next_frame(self, *, pong: bool = True) -> tuple[int, bytes]:
        """The next frame that is no Ping; Pings are answered with a Pong, unless they aren't to be.

        AssertionError where none comes in time.
        """
        deadline = time.monotonic() + self.connection._timeout
        while True:
            try:
                opcode, data = self.read_frame()
            except OSError as error:
                raise AssertionError(f"nothing more: {error!r}") from None
            if opcode != PING:
                return opcode, data
            assert time.monotonic() < deadline, "nothing but Pings"
            if pong:
                self.put(framed(PONG))

    def message(self, *, pong: bool = True) -> bytes:
        """The next message; AssertionError where none comes in time."""
        opcode, data = self.next_frame(pong=pong)
        assert opcode == TEXT, f"no message but {opcode} with {data!r}"
        return data

    def ask(self, *, after: int | None = None, **wanted: object) -> int:
        """Ask for events; gives the position behind which they begin, and keeps it.

        What still comes of what was asked for before is passed over.
        """
        position = {} if after is None else {"after": f"{after}"}
        self.send(expect.render(position | wanted))
        told = self.told(self.message())
        while not isinstance(told, int) or after not in (None, told):
            assert self._has_asked, told
            told = self.told(self.message())
        assert after is not None or told >= self.position, (told, self.position)
        self._has_asked = True
        self.position = told
        return told

    def told(self, message: bytes) -> dict[str, Any] | int:
        """The position of this message, or its event, whose own is kept; the form is checked."""
        if found := _POSITION.fullmatch(message):
            return int(found[1])
        event: dict[str, Any] = json.loads(message)
        assert message == expect.render(event), message
        expect.event(event)
        assert int(event["id"]) > self.position, (event["id"], self.position)
        self.position = int(event["id"])
        return event

    def follow(self) -> dict[str, Any] | None:
        """The next event; None for a position, which is kept, and none before the last one."""
        told = self.told(self.message())
        if isinstance(told, int):
            assert told >= self.position, (told, self.position)
            self.position = told
            return None
        return told

    def event(self) -> dict[str, Any]:
        """The next event, whatever positions come before it."""
        deadline = time.monotonic() + EVENT_TIMEOUT
        while (event := self.follow()) is None:
            assert time.monotonic() < deadline, "nothing but positions"
        return event

    def beat(self) -> int:
        """The position that the next message, a heartbeat, tells."""
        assert self.follow() is None
        return self.position

    def closed(self, *, answer: bool = True) -> tuple[int | None, str]:
        """Code and reason of the Close that comes, after whatever comes before it.

        It is answered, unless it isn't to be, and the connection has to end then.
        """
        deadline = time.monotonic() + self.connection._timeout
        while (frame := self.next_frame())[0] != CLOSE:
            assert time.monotonic() < deadline, "it isn't closed"
        data = frame[1]
        assert len(data) != 1, data
        if answer:
            # After an error it may be gone.
            with contextlib.suppress(OSError):
                self.put(framed(CLOSE, data))
            self.ends()
        return (int.from_bytes(data[:2]), data[2:].decode()) if data else (None, "")

    def ends(self, seconds: float = END_SECONDS) -> None:
        """The connection ends in this time, and nothing more comes."""
        deadline = time.monotonic() + seconds
        try:
            while self.connection._receive(deadline):
                pass
        except TimeoutError:
            raise AssertionError(f"the connection has not ended within {seconds:g} s") from None
        assert not self.connection._received, self.connection._received[:500]


@contextmanager
def opened(
    api: Client,
    changes: Changes | None = None,
    *,
    protocols: Sequence[str] = (PROTOCOL,),
    timeout: float = 5.0,
) -> Iterator[Socket]:
    """A socket that a target opens; `timeout` bounds each wait for more, in seconds.

    Raises ConnectionRefusedError for a 503.
    """
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    with api.connect(timeout) as connection:
        connection.send(handshake(api, changes, key=key, protocols=protocols))
        sent = (changes or {}).get("X-Request-Id")
        yield Socket.begun(connection, key, sent if isinstance(sent, str) else None)
