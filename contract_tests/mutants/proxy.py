"""The proxy in front of a service: it plants one fault on the wire, or none.

A process of its own, told what to do on stdin, one JSON object a line, each answered by one on
stdout: `listen` (a service's URL) gives the URL of a proxy before it, `upstream` leads the first
one to another service, `fault` plants one by its name, or none, and `fired` tells how often it
has changed something so far.

What no fault changes goes through byte for byte, as it comes: half a head, pipelines, what is not
HTTP at all. Requests are read along the way, to know what an answer belongs to.
"""

import asyncio
import contextlib
import copy
import json
import re
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn
from urllib.parse import urlsplit

from contract_tests.harness.wire import Connection, message
from contract_tests.mutants.exchange import Answer, Exchange, Fields, Request
from contract_tests.mutants.wire import WIRE, Fault

REQUEST_LINE = re.compile(r"([A-Z-]+) (\S+) HTTP/(1\.[01])")
LINGER_SECONDS = 3.0


@dataclass
class Plan:
    """What is planted at the moment."""

    fault: Fault | None = None
    memory: dict[Any, Any] = field(default_factory=dict)
    fired: int = 0


class Requests:
    """Requests as they come in: cuts the bytes into heads, bodies, and what can't be read."""

    def __init__(self) -> None:
        self._buffer = b""
        self._left = 0
        self._chunked = False
        self._raw = False

    def feed(self, data: bytes) -> Iterator[tuple[Request | None, bytes]]:
        """The pieces: a head with its request, anything else with None."""
        self._buffer += data
        while self._buffer:
            if self._raw:
                yield None, self._take(len(self._buffer))
            elif self._left:
                piece = self._take(min(self._left, len(self._buffer)))
                self._left -= len(piece)
                yield None, piece
            elif (end := self._end()) < 0:
                return
            elif self._chunked:
                yield None, self._chunk(end)
            else:
                yield self._head(end)

    def rest(self) -> bytes:
        """What has come in and is no whole piece."""
        return self._take(len(self._buffer))

    def _end(self) -> int:
        mark = b"\r\n" if self._chunked else b"\r\n\r\n"
        place = self._buffer.find(mark)
        return place if place < 0 else place + len(mark)

    def _take(self, size: int) -> bytes:
        piece, self._buffer = self._buffer[:size], self._buffer[size:]
        return piece

    def _head(self, end: int) -> tuple[Request | None, bytes]:
        head = self._take(end)
        line, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        match = REQUEST_LINE.fullmatch(line)
        pairs = [pair.partition(":") for pair in lines]
        if not match or not all(colon for _, colon, _ in pairs):
            self._raw = True
            return None, head
        fields = [(name, value.strip(" \t")) for name, _, value in pairs]
        request = Request(match[1], match[2], match[3], fields)
        lengths = {*request.all("content-length")}
        self._chunked = request.get("transfer-encoding").lower() == "chunked"
        if len(lengths) > 1 or (lengths and self._chunked) or not all(map(str.isdigit, lengths)):
            self._raw = True
        elif lengths:
            self._left = int(lengths.pop())
        return request, head

    def _chunk(self, end: int) -> bytes:
        line = self._take(end)
        size = line.split(b";")[0].strip()
        try:
            self._left = int(size, 16) + 2
        except ValueError:
            self._raw = True
        if self._left == 2:  # the last one: what follows are trailers, up to an empty line
            self._left, self._chunked = 0, False
            self._raw = not self._buffer.startswith(b"\r\n")
            line += b"" if self._raw else self._take(2)
        return line


class Between:
    """A client's connection and the service's that belongs to it."""

    def __init__(self, plan: Plan, upstream: str, streams: list[Any]) -> None:
        self._plan = plan
        self._upstream = upstream
        self._client, self._to_client, self._service, self._to_service = streams
        self._open: deque[Request] = deque()

    async def run(self) -> None:
        """Pass on until the service has closed its half, and the client has been given time to."""
        forth = asyncio.create_task(self._forth())
        try:
            await self._back()
            with contextlib.suppress(OSError, TimeoutError):
                self._to_client.write_eof()
                await asyncio.wait_for(forth, LINGER_SECONDS)
        finally:
            forth.cancel()
            for writer in (self._to_client, self._to_service):
                writer.close()

    async def _forth(self) -> None:
        requests = Requests()
        fault = self._plan.fault
        whole = fault is not None and (fault.on_request or fault.on_body)
        with contextlib.suppress(OSError):
            while data := await self._client.read(65536):
                pieces = list(requests.feed(data))
                self._open.extend(request for request, _ in pieces if request)
                if not whole:
                    self._to_service.write(data)
                else:
                    await self._change(requests, pieces)
                await self._to_service.drain()
            if whole:
                self._to_service.write(requests.rest())
            self._to_service.write_eof()

    async def _change(self, requests: Requests, pieces: list[Any]) -> None:
        """Send on what has come in, heads and bodies as the fault has them."""
        fault = self._plan.fault
        assert fault is not None
        while pieces:
            request, piece = pieces.pop(0)
            if request is None:
                self._to_service.write(piece)
                continue
            changed = copy.deepcopy(request)
            body, length = b"", request.get("content-length")
            if fault.on_request:
                fault.on_request(changed)
            # A body that is looked at is waited for; a longer one than any that counts isn't.
            elif fault.on_body and length.isdigit() and int(length) < 70_000:
                body = await self._body(requests, pieces, int(length))
                after = fault.on_body(changed, body)
                if after != body:
                    body = after
                    changed.set("Content-Length", str(len(body)))
            same = changed == request
            self._plan.fired += not same
            self._to_service.write((piece if same else changed.head()) + body)

    async def _body(self, requests: Requests, pieces: list[Any], length: int) -> bytes:
        body = b""
        while len(body) < length:
            if not pieces:
                data = await self._client.read(65536)
                if not data:
                    return body
                pieces += requests.feed(data)
                self._open.extend(request for request, _ in pieces if request)
            else:
                body += pieces.pop(0)[1]
        return body

    async def _back(self) -> None:
        held = b""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                raw, answer = await self._read()
                request = self._open.popleft() if self._open and answer.status >= 200 else None
                hold = False
                if request and self._plan.fault and self._plan.fault.on_answer:
                    raw, hold = self._planted(request, answer, raw)
                if hold and not held:
                    held = raw
                    continue
                self._to_client.write(raw + held)
                held = b""
                await self._to_client.drain()
        self._to_client.write(held)

    def _planted(self, request: Request, answer: Answer, raw: bytes) -> tuple[bytes, bool]:
        plan = self._plan
        assert plan.fault is not None
        assert plan.fault.on_answer is not None
        before = copy.deepcopy(answer)
        ask = partial(self._ask, request)
        exchange = Exchange(request, answer, plan.memory, len(self._open), ask)
        plan.fault.on_answer(exchange)
        if answer == before:
            plan.fired += exchange.hold
            return raw, exchange.hold
        plan.fired += 1
        return answer.bytes(head=request.method == "HEAD"), exchange.hold

    def _ask(self, request: Request, target: str) -> Answer:
        """Asked as whoever asked last, while everything else waits, however long that takes."""
        parts = urlsplit(self._upstream)
        with Connection(parts.hostname or "", parts.port or 80) as connection:
            same = [field for field in request.fields if field[0].lower() == "authorization"]
            connection.send(message("GET", target, [("Host", parts.netloc), *same]))
            found = connection.read()
        return Answer(found.status, found.headers, found.body)

    async def _pass_on(self, head: bytes) -> NoReturn:
        self._to_client.write(head)
        while data := await self._service.read(65536):
            self._to_client.write(data)
            await self._to_client.drain()
        raise asyncio.IncompleteReadError(b"", None)

    async def _read(self) -> tuple[bytes, Answer]:
        """The next answer, its bytes and what they mean; IncompleteReadError at the end.

        A stream or a WebSocket has no end to wait for: it is passed on as it comes.
        """
        head = await self._service.readuntil(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        fields: Fields = [
            (name, value.strip(" \t")) for name, _, value in (text.partition(":") for text in lines)
        ]
        answer = Answer(int(line.split(" ")[1]), fields, b"")
        of_head = bool(self._open) and self._open[0].method == "HEAD"
        if answer.status == 101:
            await self._pass_on(head)
        if of_head or answer.status < 200 or answer.status in (204, 304):
            return head, answer
        if answer.all("content-length"):
            answer.body = raw = await self._service.readexactly(int(answer.get("content-length")))
        elif answer.get("content-type") == "text/event-stream":
            await self._pass_on(head)
        elif answer.get("transfer-encoding"):
            raw = b""
            while not raw.endswith(b"0\r\n\r\n"):
                size = await self._service.readuntil(b"\r\n")
                chunk = await self._service.readexactly(int(size, 16) + 2)
                answer.body += chunk[:-2]
                raw += size + chunk
        else:
            answer.body = raw = await self._service.read(-1)
        return head + raw, answer


class Proxy:
    """The listening sockets, one before each service, and what is planted on all of them."""

    def __init__(self) -> None:
        self.plan = Plan()
        self.upstreams: list[str] = []
        self._servers: list[asyncio.Server] = []
        # The event loop alone would not keep them alive.
        self._connections: set[asyncio.Task[None]] = set()

    async def listen(self, url: str) -> str:
        """The URL of a new socket that leads to this service."""
        number = len(self.upstreams)
        self.upstreams.append(url)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            upstream = self.upstreams[number]
            parts = urlsplit(upstream)
            try:
                service = await asyncio.open_connection(parts.hostname, parts.port, limit=2**22)
            except OSError:
                writer.close()
                return
            connection = Between(self.plan, upstream, [reader, writer, *service])
            task = asyncio.create_task(connection.run())
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

        server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024, limit=2**22)
        self._servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """Do what a line says."""
        if "listen" in order:
            return {"url": await self.listen(order["listen"])}
        if "upstream" in order:
            self.upstreams[0] = order["upstream"]
        if "fault" in order:
            name = order["fault"]
            self.plan = Plan(WIRE[name] if name else None)
        return {"fired": self.plan.fired}


async def main() -> None:
    """Obey until stdin ends."""
    proxy = Proxy()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await proxy.obey(json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
