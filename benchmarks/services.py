"""The services against their limits and their peers: the same load on all, in turn.

All contenders of an engine run at the same time on one database, and each round asks them one
after the other, so that whatever else the machine does slows all of them.

Where CPU is measured, the servers have the first core for themselves, and the generator and
PostgreSQL share the others: so it doesn't hang on who was moved where. Where it is measured how long
requests take, the operating system spreads all of them as it does where a service runs: else a
request would wait for the core that it has to share, with another one idle.
"""

import contextlib
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

import httpx

from benchmarks.load import OPERATIONS, Load, generate
from benchmarks.servers import Contender, Server, first_core_left
from contract_tests.harness.databases import Engine, OwnPostgres, Postgres, Session, sqlite_url
from contract_tests.harness.services import ADMIN

USERS = 10_000
FIRST_WARM_UP_SECONDS = 3
# V8 goes on compiling during the first 20,000 requests and more, which take up to three times as
# long; CPython is ready in a moment.
WARM_UP_REQUESTS = {"python": 1, "typescript": 30_000}
SATURATED_SECONDS = 2
SOAK_SECONDS = 10
HALF_LOADED = ("get", "mixed")
# Enough for requests that come at random moments, each client knowing nothing of the others.
CLIENTS = 64

FILL = """
WITH RECURSIVE numbers (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM numbers WHERE n < {users})
INSERT INTO users
  (name, name_lower, email, created_at, updated_at, version, role, password_hash, token_epoch)
SELECT 'User ' || n, 'user ' || n, 'user' || n || '@example.com',
  '2026-11-23T01:02:03.456Z', '2026-11-23T01:02:03.456Z', 1, 'member', NULL, 1
FROM numbers
"""


@dataclass
class Cell:
    """What one contender did with one operation; a number a round in each list."""

    contender: str
    language: str
    engine: Engine
    operation: str
    cpu_us: list[float] = field(default_factory=list)
    """Microseconds of CPU that the server took a request."""
    generator_us: list[float] = field(default_factory=list)
    requests_per_second: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    memory_mib: list[float] = field(default_factory=list)

    def add(self, load: Load, cpu_seconds: float, memory_mib: float) -> None:
        """Take in what a round has given."""
        self.cpu_us.append(cpu_seconds * 1e6 / load.requests)
        self.generator_us.append(load.generator_us)
        self.requests_per_second.append(load.requests / load.seconds)
        self.p50_ms.append(load.p50_ms)
        self.p99_ms.append(load.p99_ms)
        self.memory_mib.append(memory_mib)


@dataclass(frozen=True)
class HalfLoad:
    """How long requests took at half the rate that saturated a contender; a number a round.

    Requests came at random moments (a Poisson process), so that some wait for others.
    """

    contender: str
    engine: Engine
    operation: str
    rate: list[float]
    """Requests a second, as they came in the end."""
    p50_ms: list[float]
    p99_ms: list[float]


@dataclass(frozen=True)
class Start:
    """How long a contender took to its first answer, its database being there; a number a round."""

    contender: str
    engine: Engine
    seconds: list[float]


@dataclass(frozen=True)
class Soak:
    """The memory that a contender held in the course of many requests."""

    contender: str
    engine: Engine
    operation: str
    requests: list[int]
    """How many there had been in all, at each look."""
    memory_mib: list[float]


class Field:
    """Contenders on one database, or where they come from several checkouts, on one for each."""

    def __init__(
        self, engine: Engine, entered: Sequence[Contender], *, apart: bool = False
    ) -> None:
        """Start them, `apart` with the servers on a core of their own; `close` ends them."""
        self.engine = engine
        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            if apart:
                stack.enter_context(first_core_left())
            self._room = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            create = stack.enter_context(_databases(engine, self._room))
            roots = dict.fromkeys(contender.root for contender in entered)
            self._urls = {root: create() for root in roots}
            self.servers = [
                stack.enter_context(
                    Server(contender, engine, self._urls[contender.root], self._room, apart=apart)
                )
                for contender in entered
            ]
            self._tokens = {server: _token(server) for server in self.servers}
            for url in self._urls.values():
                with Session(url) as session:
                    session.execute(FILL.format(users=USERS))
            self._stack = stack.pop_all()
        self.settle()

    def ask(
        self, server: Server, operation: str, seconds: int, rate: float | None = None
    ) -> tuple[Load, float]:
        """Load on one of them, and the CPU seconds that it took; with a rate, no more a second."""
        token = self._tokens[server]
        before = server.cpu_seconds()
        if rate is None:
            load = generate(server.url, operation, USERS, seconds, token=token)
        else:
            think = CLIENTS / rate * 1000
            load = generate(
                server.url,
                operation,
                USERS,
                seconds,
                token=token,
                connections=CLIENTS,
                think_ms=think,
            )
        return load, server.cpu_seconds() - before

    def warm_up(self, server: Server) -> None:
        """A mixed load until the server is as fast as it gets."""
        done = 0
        while done < WARM_UP_REQUESTS[server.contender.language]:
            load, _cpu = self.ask(server, "mixed", FIRST_WARM_UP_SECONDS)
            done += load.requests

    def start_another(self, server: Server) -> float:
        """The seconds from the start of another one of its kind to its first answer; it ends then."""
        start = time.monotonic()
        url = self._urls[server.contender.root]
        with Server(server.contender, self.engine, url, self._room) as another:
            connection = HTTPConnection(another.url.removeprefix("http://"))
            connection.request("GET", "/users/1")
            connection.getresponse().read()
            seconds = time.monotonic() - start
            connection.close()
            return seconds

    def settle(self) -> None:
        """Have the database do its housekeeping now, and not in the middle of a measurement."""
        for url in self._urls.values():
            with Session(url) as session:
                if self.engine == "sqlite":
                    session.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                else:
                    session.execute("VACUUM ANALYZE users")
                    session.execute("CHECKPOINT")

    def named(self, names: Collection[str]) -> list[Server]:
        """Those with these names."""
        return [server for server in self.servers if server.contender.name in names]

    def close(self) -> None:
        """End them, and remove the databases."""
        self._stack.close()


@contextlib.contextmanager
def _databases(engine: Engine, room: Path) -> Iterator[Callable[[], str]]:
    """A function that gives the URL of an empty database, of which there may be several."""
    if engine == "sqlite":
        numbers = itertools.count()
        yield lambda: sqlite_url(room / f"users-{next(numbers)}.db")
        return
    with _postgres() as server, contextlib.ExitStack() as created:

        def create() -> str:
            url = server.create()
            created.callback(server.drop, url)
            return url

        yield create


@contextlib.contextmanager
def _postgres() -> Iterator[Postgres]:
    """The server of TEST_DATABASE_URL, else one of our own."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield Postgres(given)
        return
    with contextlib.closing(OwnPostgres(durable=True)) as own:
        own.start()
        yield own


def postgres_version() -> str:
    """The version of the PostgreSQL that is measured."""
    with _postgres() as server, Session(server.url) as session:
        ((version,),) = session.execute("SHOW server_version")
    return str(version)


def _token(server: Server) -> str:
    """A token of the admin, who may do everything; empty where nobody is asked for one."""
    if not server.contender.secured:
        return ""
    form = {"grant_type": "password", "username": ADMIN[0], "password": ADMIN[1]}
    answer = httpx.post(f"{server.url}/auth/token", data=form).raise_for_status()
    return str(answer.json()["access_token"])


def measure(
    fielded: Field, rounds: int, warm_up: int, seconds: int, advance: Callable[[str], None]
) -> list[Cell]:
    """Each contender's operations, `rounds` times; the order turns round each time."""
    engine = fielded.engine
    cells = {
        (server, operation): Cell(
            server.contender.name, server.contender.language, engine, operation
        )
        for operation in OPERATIONS
        for server in fielded.servers
        if operation in server.contender.operations
    }
    for server in fielded.servers:
        fielded.warm_up(server)
    for n in range(rounds):
        for operation in OPERATIONS:
            for server in fielded.servers if n % 2 else reversed(fielded.servers):
                cell = cells.get((server, operation))
                if cell is None:
                    continue
                if warm_up:
                    # V8 forgets code that it hasn't run for a while, and has shrunk its heap.
                    fielded.ask(server, operation, warm_up)
                load, cpu = fielded.ask(server, operation, seconds)
                cell.add(load, cpu, server.memory_mib())
                advance(f"{engine}: {operation}, {server.contender.name}")
    return list(cells.values())


def measure_starts(fielded: Field, rounds: int, advance: Callable[[str], None]) -> list[Start]:
    """How long each of them takes to its first answer, while the others have nothing to do."""
    starts = {
        server: Start(server.contender.name, fielded.engine, []) for server in fielded.servers
    }
    for _ in range(rounds):
        for server, start in starts.items():
            start.seconds.append(fielded.start_another(server))
            advance(f"{fielded.engine}: start, {start.contender}")
    return list(starts.values())


def measure_half_load(
    fielded: Field,
    names: Collection[str],
    *,
    rounds: int,
    seconds: int,
    advance: Callable[[str], None],
) -> list[HalfLoad]:
    """The time that requests take at half of what these contenders can do, as each round finds it."""
    servers = fielded.named(names)
    halves = {
        (server, operation): HalfLoad(server.contender.name, fielded.engine, operation, [], [], [])
        for operation in HALF_LOADED
        for server in servers
    }
    for server in servers:
        fielded.warm_up(server)
    for _ in range(rounds):
        for (server, operation), half in halves.items():
            saturated, _cpu = fielded.ask(server, operation, SATURATED_SECONDS)
            fielded.settle()
            rate = saturated.requests / saturated.seconds / 2
            load, _cpu = fielded.ask(server, operation, seconds, rate)
            half.rate.append(load.requests / load.seconds)
            half.p50_ms.append(load.p50_ms)
            half.p99_ms.append(load.p99_ms)
            advance(f"{fielded.engine}: {operation} at half load, {half.contender}")
    return list(halves.values())


def soak(
    fielded: Field,
    names: Collection[str],
    operation: str,
    requests: int,
    advance: Callable[[str], None],
) -> list[Soak]:
    """The memory of these contenders in the course of so many requests."""
    found = []
    for server in fielded.named(names):
        grown = Soak(server.contender.name, fielded.engine, operation, [], [])
        done = 0
        while done < requests:
            load, _cpu = fielded.ask(server, operation, SOAK_SECONDS)
            done += load.requests
            grown.requests.append(done)
            grown.memory_mib.append(server.memory_mib())
        found.append(grown)
        advance(f"{fielded.engine}: {done:,} requests, {server.contender.name}")
    return found
