"""What it costs to tell events as they happen, and how long it takes: streams of our services.

Users are created at a steady rate, each by a request of its own, while so many clients follow the
stream. Beside ours stand the frameworks' own streams, which keep what they tell in memory. The CPU
that the creations take by themselves is measured without a stream, and taken off.
"""

import asyncio
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from benchmarks.peers.commands import command as peer
from benchmarks.servers import Contender, Server
from benchmarks.services import Field
from contract_tests.harness.databases import Engine
from contract_tests.harness.services import command as service

CHANGES_A_SECOND = 50
STREAMS = (1, 500)
# How many there are of a round: four contenders by themselves, and each of ours with the other.
MEASURED = 4 * len(STREAMS) + 2
# Meanwhile V8 compiles, and each stream is opened.
WARM_UP_CHANGES = 50

_EMAIL = re.compile(rb'"email":\s?"(change-[^"]*)"')


@dataclass
class Delivery:
    """What one contender's streams were told; a number a round in each list."""

    contender: str
    writer: str
    """Who was asked to create the users: itself, or another one on its database."""
    engine: Engine
    streams: int
    cpu_us: list[float] = field(default_factory=list)
    """Microseconds of CPU for an event to one stream, but for what the creations took."""
    p50_ms: list[float] = field(default_factory=list)
    """From a creation's answer to its event at one of the streams; 0 where that was first."""
    p99_ms: list[float] = field(default_factory=list)


def contenders() -> list[Contender]:
    """Those whose streams are measured; one of ours comes first, as it makes the tables."""
    return [
        Contender("FastAPI", "python", tuple(service("python"))),
        Contender("Hono", "typescript", tuple(service("node"))),
        Contender("FastAPI's own stream", "python", tuple(peer("streamed.py"))),
        Contender("Hono's own stream", "typescript", tuple(peer("streamed.ts"))),
    ]


def measure(
    fielded: Field, rounds: int, seconds: int, advance: Callable[[str], None]
) -> list[Delivery]:
    """What each contender's streams take, and ours also while the other one creates the users."""
    ours = fielded.servers[:2]
    pairs = [(server, server) for server in fielded.servers] + [
        (ours[0], ours[1]),
        (ours[1], ours[0]),
    ]
    found = [
        Delivery(server.contender.name, writer.contender.name, fielded.engine, streams)
        for server, writer in pairs
        for streams in (STREAMS if server is writer else STREAMS[:1])
    ]
    for _ in range(rounds):
        for delivery in found:
            server, writer = (
                fielded.named([name])[0] for name in (delivery.contender, delivery.writer)
            )
            asyncio.run(_round(delivery, server, writer, CHANGES_A_SECOND * seconds))
            advance(f"{fielded.engine}: {delivery.streams} streams of {delivery.contender}")
    return found


async def _round(delivery: Delivery, server: Server, writer: Server, changes: int) -> None:
    """Create so many users without a stream, then with all of them, and take in what that gave."""
    async with _Writer(writer.url) as write:
        await write.changes(WARM_UP_CHANGES)
        before = server.cpu_seconds()
        await write.changes(changes)
        alone = server.cpu_seconds() - before
        followers = [_Follower(server.url) for _ in range(delivery.streams)]
        for follower in followers:
            await follower.open()
        await write.changes(WARM_UP_CHANGES)
        write.answered.clear()
        before = server.cpu_seconds()
        await write.changes(changes)
        for follower in followers:
            await follower.told(WARM_UP_CHANGES + changes)
        cpu = server.cpu_seconds() - before - alone
    seen = followers[0].seen
    waits = [max(0.0, seen[email] - at) * 1000 for email, at in write.answered.items()]
    for follower in followers:
        await follower.close()
    delivery.cpu_us.append(cpu * 1e6 / (changes * delivery.streams))
    delivery.p50_ms.append(statistics.median(waits))
    delivery.p99_ms.append(statistics.quantiles(waits, n=100)[98])


class _Writer:
    """A client that creates users, one after the other, on one connection."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url)
        self._made = 0
        self.answered: dict[bytes, float] = {}
        """When each was answered, by its email."""

    async def __aenter__(self) -> Self:
        host, port = self._address.hostname, self._address.port
        self._reader, self._writer = await asyncio.open_connection(host, port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def changes(self, number: int) -> None:
        """Create so many, at the steady rate. Raises RuntimeError where one is refused."""
        begin = time.perf_counter()
        for n in range(number):
            await asyncio.sleep(begin + n / CHANGES_A_SECOND - time.perf_counter())
            self._made += 1
            email = f"change-{time.time_ns()}-{self._made}@example.com".encode()
            body = b'{"name":"Ada Lovelace","email":"%b"}' % email
            head = (
                "POST /users HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            self._writer.write(head.encode() + body)
            answer = (await self._reader.readuntil(b"\r\n\r\n")).lower()
            if b" 201 " not in answer.partition(b"\r\n")[0]:
                raise RuntimeError(f"A creation was answered {answer!r}")
            length = re.search(rb"content-length: (\d+)", answer)
            assert length
            await self._reader.readexactly(int(length[1]))
            self.answered[email] = time.perf_counter()


class _Follower:
    """A client that follows a stream."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url)
        self.seen: dict[bytes, float] = {}
        """When each user's event came, by the email."""
        self._news = asyncio.Event()

    async def open(self) -> None:
        """Begin to follow, once the stream's head is there. Raises RuntimeError if it is refused."""
        host, port = self._address.hostname, self._address.port
        self._reader, self._writer = await asyncio.open_connection(host, port)
        self._writer.write(b"GET /events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await self._reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise RuntimeError(f"The stream was answered {head!r}")
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        rest = b""
        while data := await self._reader.read(65536):
            now = time.perf_counter()
            *blocks, rest = (rest + data).split(b"\n\n")
            for block in blocks:
                if email := _EMAIL.search(block):
                    self.seen[email[1]] = now
            self._news.set()

    async def told(self, number: int) -> None:
        """Wait until it has been told of so many. Raises TimeoutError after five minutes."""
        # FastAPI's own stream tells 500 clients more slowly than users are created.
        async with asyncio.timeout(300):
            while len(self.seen) < number:
                self._news.clear()
                await self._news.wait()

    async def close(self) -> None:
        """Follow no more."""
        self._reading.cancel()
        self._writer.close()
