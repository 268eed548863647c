"""HTTP/1.1 on a raw socket: what is sent is exactly what the test wrote."""

import json
import re
import select
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

_REQUEST_LINE = re.compile(rb"[A-Za-z-]+ [^ \r\n]+ HTTP/1\.[01]\r\n")

READ_TIMEOUT = 5.0
CLOSE_TIMEOUT = 2.0


@dataclass(frozen=True)
class Answer:
    """One HTTP response: names of header fields in lower case, in the order received."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of the field, None without one; AssertionError when it is repeated."""
        values = [value for field, value in self.headers if field == name.lower()]
        assert len(values) < 2, f"{name} stands {len(values)} times: {values}"
        return values[0] if values else None

    def json(self) -> Any:
        """The body, decoded; AssertionError when it is no JSON."""
        try:
            return json.loads(self.body.decode())
        except ValueError as error:
            raise AssertionError(f"not JSON: {error}: {self.body[:500]!r}") from None


def message(
    method: str,
    target: str,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    *,
    version: str = "1.1",
) -> bytes:
    """The bytes of a request, with nothing added: no Host, no Content-Length (Latin-1)."""
    lines = [f"{method} {target} HTTP/{version}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


# Who hears of every exchange: the target's name, the bytes of the request, its answer.
listeners: list[Callable[[str, bytes, Answer], None]] = []


def tell(target: str, request: bytes, answer: Answer) -> None:
    """Let the listeners know; of requests sent together the first answer comes with all bytes."""
    for listener in listeners:
        listener(target, request, answer)


class Connection:
    """A TCP connection to a target; answers are read one after the other, as pipelining needs."""

    def __init__(
        self,
        host: str,
        port: int,
        timeout: float = READ_TIMEOUT,
        name: str = "target",
        authorization: str = "",
        *,
        forwarded: Callable[[str, str], str] | None = None,
    ) -> None:
        """Connect; `timeout` bounds every read of an answer and every send, in seconds.

        An `authorization` is put in where something is sent that begins with a request's head
        and has none, and an `X-Forwarded-For` in the same way: `forwarded` gives one to a method
        and a target, or nothing.
        """
        self._timeout = timeout
        self._authorization = authorization
        self._forwarded = forwarded
        self._name = name
        self._sent = b""
        self._socket = socket.create_connection((host, port), timeout=timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self.interim: list[int] = []
        """The statuses of the answers before the last one that was read (1xx)."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Send all of it; OSError when the other side no longer takes it."""
        if line := _REQUEST_LINE.match(data):
            head = data.partition(b"\r\n\r\n")[0].lower()
            method, target = line[0].decode("latin-1").split(" ")[:2]
            for name, value in (
                ("Authorization", self._authorization),
                ("X-Forwarded-For", self._forwarded and self._forwarded(method, target)),
            ):
                if value and f"\r\n{name.lower()}:".encode() not in head:
                    field = f"{name}: {value}\r\n".encode("latin-1")
                    data = line[0] + field + data[line.end() :]
        self._sent += data
        self._socket.settimeout(self._timeout)
        self._socket.sendall(data)

    def read(self, method: str = "GET") -> Answer:
        """The next final answer (1xx are skipped) to a request with this method.

        Raises ConnectionError when the connection ends before the answer does, and TimeoutError
        when it is not complete in time.
        """
        deadline = time.monotonic() + self._timeout
        head = self._final_head(deadline)
        answer = Answer(head.status, head.headers, self._body(method, head, deadline))
        sent, self._sent = self._sent, b""
        tell(self._name, sent, answer)
        return answer

    def read_head(self) -> Answer:
        """The next final answer, but for its body, which `read_chunk` gives piece by piece."""
        answer = self._final_head(time.monotonic() + self._timeout)
        sent, self._sent = self._sent, b""
        tell(self._name, sent, answer)
        return answer

    def read_chunk(self) -> bytes:
        """The next chunk of a body; nothing at its end. Raises as `read` does."""
        deadline = time.monotonic() + self._timeout
        size = int(self._until(b"\r\n", deadline).split(b";")[0], 16)
        chunk = self._exactly(size, deadline)
        assert self._exactly(2, deadline) == b"\r\n", "a chunk is longer than it says"
        return chunk

    def _final_head(self, deadline: float) -> Answer:
        self.interim = []
        while True:
            status, headers = _head(self._until(b"\r\n\r\n", deadline))
            if status >= 200 or status == 101:
                return Answer(status, headers, b"")
            self.interim.append(status)

    def _body(self, method: str, answer: Answer, deadline: float) -> bytes:
        if method == "HEAD" or answer.status in (101, 204, 304):
            return b""
        if "chunked" in (answer.header("transfer-encoding") or "").lower():
            return self._chunks(deadline)
        if (length := answer.header("content-length")) is not None:
            return self._exactly(int(length), deadline)
        while self._receive(deadline):
            pass
        body, self._received = self._received, b""
        return body

    def readable(self, seconds: float) -> bool:
        """Whether something comes in within this time; it is left to be read."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    def closed(self, *, ignore_rest: bool = False) -> bool:
        """Whether the server closes within 2 s; what it still sends fails unless ignored."""
        deadline = time.monotonic() + CLOSE_TIMEOUT
        try:
            while self._receive(deadline):
                pass
        except TimeoutError:
            return False
        assert ignore_rest or not self._received, f"unread bytes: {self._received[:500]!r}"
        return True

    def half_close(self) -> None:
        """Say that nothing more will be sent; answers can still be read."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the connection; a second time does nothing."""
        self._socket.close()

    def _receive(self, deadline: float) -> bool:
        """Take what has come in; False at the end (a reset is an end too)."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"no whole answer in time; so far: {self._received[:500]!r}")
        self._socket.settimeout(left)
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            raise TimeoutError(
                f"no whole answer in time; so far: {self._received[:500]!r}"
            ) from None
        except ConnectionResetError:
            data = b""
        self._received += data
        return data != b""

    def _more(self, deadline: float) -> None:
        if not self._receive(deadline):
            raise ConnectionError(f"closed within an answer; so far: {self._received[:500]!r}")

    def _until(self, end: bytes, deadline: float) -> bytes:
        while end not in self._received:
            self._more(deadline)
        found, self._received = self._received.split(end, 1)
        return found

    def _exactly(self, length: int, deadline: float) -> bytes:
        while len(self._received) < length:
            self._more(deadline)
        found, self._received = self._received[:length], self._received[length:]
        return found

    def _chunks(self, deadline: float) -> bytes:
        body = b""
        while size := int(self._until(b"\r\n", deadline).split(b";")[0], 16):
            body += self._exactly(size, deadline)
            assert self._exactly(2, deadline) == b"\r\n", "a chunk is longer than it says"
        while self._until(b"\r\n", deadline):  # trailers
            pass
        return body


def _head(head: bytes) -> tuple[int, list[tuple[str, str]]]:
    """Status and header fields of a response head."""
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    assert version in ("HTTP/1.1", "HTTP/1.0"), f"not an HTTP/1.x answer: {first!r}"
    fields = (line.partition(":") for line in lines)
    return int(rest[:3]), [(name.lower(), value.strip(" \t")) for name, _, value in fields]
