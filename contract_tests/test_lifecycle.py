"""OPS: how a service starts, stops, and keeps what it has acknowledged."""

import contextlib
import json
import os
import random
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from contract_tests.harness import expect, services
from contract_tests.harness.client import Client
from contract_tests.harness.databases import Session, locked
from contract_tests.harness.services import Kind, Service
from contract_tests.harness.wire import Answer, Connection, message

once_a_side = pytest.mark.engine("sqlite")  # where the database has no part in it

JSON = ("Content-Type", "application/json")

Launch = Callable[..., Service]

# A write waits for a lock as long as the database lets it.
PATIENT = {"DATABASE_TIMEOUT": "20", "DATABASE_STATEMENT_TIMEOUT": "20"}


def creation(api: Client, fields: expect.Fields) -> bytes:
    """The bytes of a creation under an Idempotency-Key of its own (the name)."""
    headers = [JSON, ("Idempotency-Key", fields["name"])]
    return api.message("POST", "/users", headers, expect.render(fields))


def everybody(api: Client) -> list[dict[str, Any]]:
    """All users, page by page."""
    found = []
    target: str | None = "/users?limit=100"
    while target:
        answer = api.get(target)
        page = answer.json()
        target = expect.users(answer, page, next=answer.header("link") is not None)
        found += page
    return found


# Start


@once_a_side
@pytest.mark.clause("OPS-01")
def test_it_tells_where_it_listens(launched: Launch) -> None:
    service = launched(PORT="0")
    entry = json.loads(service.stdout().splitlines()[0])
    assert set(entry) == {"time", "level", "message", "url"}
    assert (entry["level"], entry["message"]) == ("info", "listening")
    assert urlsplit(entry["url"]).port not in (None, 0)
    assert entry["url"] == service.url
    assert service.stderr() == ""


@once_a_side
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
@pytest.mark.clause("OPS-02")
def test_it_listens_where_it_is_told(launched: Launch) -> None:
    port = random.randrange(20000, 30000)  # below the ports that clients are given
    service = launched(HOST="127.0.0.2", PORT=str(port))
    assert service.url == f"http://127.0.0.2:{port}"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


@once_a_side
@pytest.mark.clause("OPS-02")
def test_it_listens_on_the_loopback_by_default(launched: Launch) -> None:
    assert launched().url.startswith("http://127.0.0.1:")


URLS = "sqlite:///users.db or postgresql://user:password@host/users"
WRONG = [
    ({"PORT": "65536"}, "PORT must be an integer from 0 to 65535"),
    ({"PORT": "http"}, "PORT must be an integer from 0 to 65535"),
    ({"DATABASE_URL": "users.db"}, f"DATABASE_URL must be a URL such as {URLS}"),
    ({"WEB_CONCURRENCY": "0"}, "WEB_CONCURRENCY must be an integer from 1 to 64"),
    ({"DATABASE_POOL_SIZE": "101"}, "DATABASE_POOL_SIZE must be an integer from 1 to 100"),
    (
        {"DATABASE_STATEMENT_TIMEOUT": "0"},
        "DATABASE_STATEMENT_TIMEOUT must be an integer from 1 to 60",
    ),
    ({"REQUEST_TIMEOUT": "0"}, "REQUEST_TIMEOUT must be an integer from 1 to 3600"),
    ({"KEEP_ALIVE_TIMEOUT": "3601"}, "KEEP_ALIVE_TIMEOUT must be an integer from 1 to 3600"),
    ({"DATABASE_TIMEOUT": "0"}, "DATABASE_TIMEOUT must be an integer from 1 to 60"),
    ({"IDEMPOTENCY_TTL": "1h"}, "IDEMPOTENCY_TTL must be an integer from 1 to 31536000"),
    ({"ARGON2_MEMORY": "7"}, "ARGON2_MEMORY must be an integer from 8 to 1048576"),
    (
        {"ARGON2_MEMORY": "31", "ARGON2_PARALLELISM": "4"},
        "ARGON2_MEMORY must be at least 8 for each of ARGON2_PARALLELISM",
    ),
    ({"ARGON2_ITERATIONS": "0"}, "ARGON2_ITERATIONS must be an integer from 1 to 100"),
    ({"ARGON2_PARALLELISM": "17"}, "ARGON2_PARALLELISM must be an integer from 1 to 16"),
    ({"SHUTDOWN_TIMEOUT": "61"}, "SHUTDOWN_TIMEOUT must be an integer from 1 to 60"),
    (
        {"CORS_ORIGINS": "*"},
        "CORS_ORIGINS must be origins such as https://example.com, with commas",
    ),
]


@once_a_side
@pytest.mark.clause("OPS-03")
def test_a_wrong_setting_ends_the_start_with_one_line(spawned: Callable[..., Service]) -> None:
    env, line = WRONG[0]
    service = spawned(**env)
    assert service.wait(services.START_TIMEOUT) == 1
    assert service.stderr() == f"{line}\n"
    assert service.stdout() == ""


@pytest.mark.clause("OPS-03")
@pytest.mark.parametrize("kind", services.KINDS)
def test_each_wrong_setting_has_its_line(kind: Kind) -> None:
    assert services.refusals(kind, [env for env, _ in WRONG]) == [line for _, line in WRONG]


@once_a_side
@pytest.mark.clause("OPS-04")
def test_a_port_in_use_ends_the_start_with_one_line(spawned: Callable[..., Service]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        service = spawned(PORT=str(port))
        assert service.wait(services.START_TIMEOUT) == 1
    assert service.stderr() == f"Port {port} on 127.0.0.1 is in use.\n"
    assert service.stdout() == ""


@pytest.mark.clause("OPS-05", "IDEM-15", "REP-09")
def test_what_was_there_is_there_after_a_restart(launched: Launch) -> None:
    service = launched()
    fields, gone = expect.somebody(), expect.somebody()
    first = service.api.raw(creation(service.api, fields), method="POST")
    user = expect.user(first, 201, **fields)
    answer = service.api.patch(f"/users/{user['id']}", json={"name": "New"})
    changed = expect.user(answer, 200, name="New", email=fields["email"], version=2)
    newest = service.api.create()["id"]
    answer = service.api.raw(creation(service.api, gone), method="POST")
    deleted = expect.user(answer, 201, **gone)
    expect.empty(service.api.delete(f"/users/{deleted['id']}"))
    expect.empty(service.api.delete(f"/users/{newest}"))
    assert service.stop() == 0
    service.restart()
    assert everybody(service.api) == [changed]
    expect.replay(service.api.raw(creation(service.api, fields), method="POST"), first)
    expect.replay(service.api.raw(creation(service.api, gone), method="POST"), answer)
    assert everybody(service.api) == [changed]
    assert service.api.create()["id"] > deleted["id"] > newest


# Durability


@pytest.mark.clause("OPS-08", "IDEM-14", "USR-CREATE-05")
def test_kill_9_loses_nothing_that_was_acknowledged(launched: Launch) -> None:
    """1,000 creations, 8 at a time; killed after 300 answers, then all of them sent once more.

    A key without its user, or a user without its key, would show in the second round.
    """
    service = launched()
    planned = [expect.somebody() for _ in range(1000)]
    acknowledged = []
    with contextlib.ExitStack() as stack:
        api = service.api
        connections = [stack.enter_context(api.connect()) for _ in range(8)]
        for fields, connection in zip(planned, connections, strict=False):
            connection.send(creation(api, fields))
        for n, fields in enumerate(planned):
            connection = connections[n % 8]
            if n == 300:
                service.process.kill()
            try:
                answer = connection.read("POST")
            except ConnectionError:
                assert n >= 300
                continue
            acknowledged.append(expect.user(answer, 201, **fields))
            if n + 8 < len(planned):
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.send(creation(api, planned[n + 8]))
    service.kill()
    assert 300 <= len(acknowledged) <= 308
    service.restart()
    api = service.api
    found = everybody(api)
    assert len(found) <= 308
    assert [user for user in found if user in acknowledged] == sorted(
        acknowledged, key=lambda user: int(user["id"])
    )
    with api.connect(30.0) as connection:
        for start in range(0, 1000, 100):
            batch = planned[start : start + 100]
            connection.send(b"".join(creation(api, fields) for fields in batch))
            for fields in batch:
                answer = connection.read("POST")
                assert answer.status == 201
                assert answer.json()["email"] == fields["email"]
    found = everybody(api)
    assert sorted(user["email"] for user in found) == sorted(fields["email"] for fields in planned)
    assert [user for user in found if user in acknowledged] == sorted(
        acknowledged, key=lambda user: int(user["id"])
    )


# Each opens a database as its service does and asks the connections that the service would use.
ASK: dict[Kind, str] = {
    "python": """
import asyncio, json, sys
from sqlalchemy import text
from python_api.storage.database import open_database
from python_api.settings import read_settings

async def main(url, *names):
    async with open_database(read_settings({"DATABASE_URL": url})) as database:
        for begin in (database.connection, database.transaction):
            async with begin() as connection:
                answers = [await connection.fetch(text(f"PRAGMA {name}")) for name in names]
                print(json.dumps([value for ((value,),) in answers]))

asyncio.run(main(*sys.argv[1:]))
""",
    "node": """
import { sql } from "kysely";
import { openDatabase } from "./src/storage/database.ts";
import { readSettings } from "./src/settings.ts";

const [url, ...names] = process.argv.slice(1);
const database = await openDatabase(readSettings({ DATABASE_URL: url }));
const ask = async (connection) => {
  const values = [];
  for (const name of names) {
    const { rows } = await sql.raw(`PRAGMA ${name}`).execute(connection);
    values.push(Object.values(rows[0])[0]);
  }
  return values;
};
console.log(JSON.stringify(await ask(database.connection)));
console.log(JSON.stringify(await database.transaction(ask)));
""",
}


@once_a_side
@pytest.mark.clause("OPS-09")
def test_sqlite_syncs_every_commit(started_by_us: Kind, tmp_path: Path) -> None:
    names = ["journal_mode", "synchronous", "foreign_keys"]
    full, on = 2, 1
    printed = services.run_code(ASK, started_by_us, f"sqlite:///{tmp_path}/users.db", *names)
    assert list(map(json.loads, printed.splitlines())) == [["wal", full, on]] * 2


@pytest.mark.clause("PAIR-03", "OPS-14")
@pytest.mark.parametrize("kind", services.KINDS)
def test_the_path_of_a_database_is_taken_as_it_is(kind: Kind, tmp_path: Path) -> None:
    file = tmp_path / "a b%20c+d?e=f#g&h.db"
    service = services.launch(kind, directory=tmp_path, database_url=f"sqlite:///{file}")
    try:
        service.api.create()
        assert service.stop() == 0
    finally:
        service.kill()
    assert file.exists()


@pytest.mark.clause("IDEM-12")
def test_a_key_is_kept_for_its_time_and_no_longer(launched: Launch) -> None:
    service = launched(IDEMPOTENCY_TTL="1")
    api, fields = service.api, expect.somebody()
    start = time.monotonic()
    first = api.raw(creation(api, fields), method="POST")
    user = expect.user(first, 201, **fields)
    answer = first
    while answer.status == 201:
        assert time.monotonic() < start + 30, "the key never expires"
        time.sleep(0.05)
        answer = api.raw(creation(api, fields), method="POST")
    assert time.monotonic() > start + 1
    expect.problem(answer, "email-taken")
    # The key is as new: it takes another body.
    answer = api.raw(creation(api, {**fields, "email": "other@example.com"}), method="POST")
    second = expect.user(answer, 201, name=fields["name"], email="other@example.com")
    assert everybody(api) == [user, second]


@pytest.mark.clause("IDEM-17")
def test_keys_whose_time_is_over_are_forgotten(launched: Launch) -> None:
    service = launched(IDEMPOTENCY_TTL="1")

    def create(count: int) -> int:
        """Create so many users under keys; how many keys are kept then."""
        for fields in [expect.somebody() for _ in range(count)]:
            answer = service.api.raw(creation(service.api, fields), method="POST")
            expect.user(answer, 201, **fields)
        with Session(service.database_url) as session:
            ((kept,),) = session.execute("SELECT count(*) FROM idempotency_keys")
        return int(kept)

    assert create(15) > 0
    time.sleep(1.1)
    kept = [create(1) for _ in range(3)]
    assert kept[-1] <= 3


# Stop


def assert_refuses(service: Service) -> None:
    """The port is closed, within a moment."""
    parts = urlsplit(service.url)
    deadline = time.monotonic() + 3
    while True:
        try:
            socket.create_connection((parts.hostname or "", parts.port or 0), timeout=3).close()
        except (ConnectionRefusedError, ConnectionResetError):
            return
        assert time.monotonic() < deadline, "the port still takes connections"
        time.sleep(0.01)


@pytest.mark.clause("OPS-06", "OPS-07", "OPS-08")
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_it_stops_gracefully(launched: Launch, signum: signal.Signals) -> None:
    """A write that waits for the lock is in flight for as long as we hold it.

    Beside it, clients hold half a head, half a body, an idle connection and an unused one.
    """
    service = launched(**PATIENT, SHUTDOWN_TIMEOUT="4")
    api, fields = service.api, expect.somebody()
    alive = api.message("GET", "/healthz")
    head = [("Host", api.host), JSON, ("Content-Length", "100")]
    with (
        api.connect() as half_head,
        api.connect() as half_body,
        api.connect() as idle,
        api.connect(),
        api.connect(30.0) as in_flight,
        locked(service.database_url) as unlock,
    ):
        half_head.send(alive + alive[:-10])
        half_body.send(alive + message("POST", "/users", head, b'{"name":'))
        idle.send(alive)
        in_flight.send(alive + creation(api, fields))
        for connection in (half_head, half_body, idle, in_flight):
            # What was sent with it has come in then, too.
            expect.body(connection.read(), 200, b'{"status":"ok"}')
        start = time.monotonic()
        service.process.send_signal(signum)
        assert_refuses(service)
        assert not in_flight.readable(0)
        assert service.process.poll() is None
        unlock()
        user = expect.user(in_flight.read("POST"), 201, **fields)
        assert in_flight.closed()
        assert service.wait() == 0
        assert time.monotonic() < start + services.STOP_TIMEOUT
    service.restart()
    assert everybody(service.api) == [user]


@once_a_side
@pytest.mark.clause("OPS-06")
def test_a_client_that_reads_slowly_gets_all_of_its_answer(launched: Launch) -> None:
    """An answer larger than what the sockets hold, of which nothing is read until the signal."""
    service = launched(SHUTDOWN_TIMEOUT="10")
    path = "/docs/swagger-ui-bundle.js"
    whole = service.api.get(path).body
    with service.api.connect(30.0) as connection:
        connection.send(service.api.message("GET", "/healthz") + service.api.message("GET", path))
        expect.body(connection.read(), 200, b'{"status":"ok"}')
        assert connection.readable(5)
        service.process.send_signal(signal.SIGTERM)
        assert_refuses(service)
        assert connection.read().body == whole
        assert connection.closed()
    assert service.wait() == 0


# As if the signal came while a statement of the schema's runs, wherever Python is in it.
AMID = """exec "$1" -c "
import python_api.environment, signal
from sqlalchemy import event
from python_api.main import main
from python_api.storage import sqlite

def migrate(lent, given=sqlite.migrate):
    act = lambda *_: signal.raise_signal(signal.SIGTERM)
    event.listen(lent.engine, 'do_execute', act)
    given(lent)

sqlite.migrate = migrate
main()
"
"""


@pytest.mark.clause("OPS-07")
def test_a_signal_may_come_amid_a_statement(tmp_path: Path) -> None:
    service = Service("python", tmp_path)
    service.through(AMID)
    service.start()
    assert service.wait() == 0
    assert service.log() == ""


@pytest.mark.clause("OPS-07")
@once_a_side
@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_while_it_waits_for_its_database(
    spawned: Callable[..., Service], processes: str, signum: signal.Signals
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(services.START_TIMEOUT)
        url = f"postgresql://ada@127.0.0.1:{silent.getsockname()[1]}/users"
        service = spawned(DATABASE_URL=url, DATABASE_TIMEOUT="60", WEB_CONCURRENCY=processes)
        with silent.accept()[0] as connection:
            assert connection.recv(8)  # what it says first
            service.process.send_signal(signum)
            assert service.wait() == 0
    assert (service.stdout(), service.stderr()) == ("", "")


@once_a_side
@pytest.mark.clause("OPS-07")
@pytest.mark.parametrize("half", ["nothing", "head", "body", "chunk", "answered"])
def test_no_client_keeps_it_from_stopping(launched: Launch, half: str) -> None:
    service = launched(SHUTDOWN_TIMEOUT="1")
    api = service.api
    head = [("Host", api.host), JSON]
    data = {
        "nothing": b"",
        "head": b"GET /users HTTP/1.1\r\nHos",
        "body": message("POST", "/users", [*head, ("Content-Length", "9")], b"{"),
        "chunk": message("POST", "/users", [*head, ("Transfer-Encoding", "chunked")], b"5\r\n{"),
        "answered": message("POST", "/nowhere", [*head, ("Content-Length", "9")], b"{"),
    }[half]
    with api.connect() as connection:
        connection.send(api.message("GET", "/healthz") + data)
        expect.body(connection.read(), 200, b'{"status":"ok"}')
        start = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() < start + services.STOP_TIMEOUT


@pytest.mark.clause("OPS-07")
@pytest.mark.parametrize("processes", ["1", "2"])
def test_it_ends_well_as_soon_as_it_listens(
    spawned: Callable[..., Service], processes: str
) -> None:
    for _ in range(3):
        service = spawned(WEB_CONCURRENCY=processes)
        while '"listening"' not in service.stdout():
            assert service.process.poll() is None
            time.sleep(0.001)
        assert service.stop() == 0


@pytest.mark.clause("OPS-06", "HTTP-11")
def test_a_pipeline_that_was_read_is_answered_before_the_end(launched: Launch) -> None:
    """20 changes in one segment: the first waits for the lock, the others for the first."""
    service = launched(**PATIENT, SHUTDOWN_TIMEOUT="10")
    api = service.api
    planned = [expect.somebody() for _ in range(20)]
    with api.connect(30.0) as connection, locked(service.database_url) as unlock:
        connection.send(
            api.message("GET", "/healthz") + b"".join(creation(api, one) for one in planned)
        )
        expect.body(connection.read(), 200, b'{"status":"ok"}')
        service.process.send_signal(signal.SIGTERM)
        assert_refuses(service)
        unlock()
        answers: list[Answer] = []
        with contextlib.suppress(ConnectionError):
            answers += (connection.read("POST") for _ in planned)
        assert service.wait() == 0
    users = [
        expect.user(answer, 201, **fields) for fields, answer in zip(planned, answers, strict=False)
    ]
    assert users, "what was in flight was not answered"
    service.restart()
    assert everybody(service.api) == users


@once_a_side
@pytest.mark.clause("OPS-25")
def test_a_connection_that_nobody_uses_is_closed_in_time(launched: Launch) -> None:
    service = launched(KEEP_ALIVE_TIMEOUT="1")
    alive = service.api.message("GET", "/healthz")
    with service.api.connect() as connection:
        for _ in range(3):
            connection.send(alive)
            expect.body(connection.read(), 200, b'{"status":"ok"}')
            assert not connection.readable(0.6)
        assert connection.readable(5)
        assert connection.closed()


@once_a_side
@pytest.mark.clause("OPS-26")
@pytest.mark.parametrize("half", ["head", "body", "chunk", "second"])
def test_a_request_that_does_not_come_in_is_cut_in_time(launched: Launch, half: str) -> None:
    service = launched(REQUEST_TIMEOUT="1")
    api = service.api
    head = [("Host", api.host), JSON]
    data = {
        "head": b"GET /users HTTP/1.1\r\nHos",
        "body": message("POST", "/users", [*head, ("Content-Length", "9")], b"{"),
        "chunk": message("POST", "/users", [*head, ("Transfer-Encoding", "chunked")], b"5\r\n{"),
        "second": api.message("GET", "/healthz") + b"G",
    }[half]
    with api.connect(20.0) as connection:
        start = time.monotonic()
        connection.send(data)
        if half == "second":
            expect.body(connection.read(), 200, b'{"status":"ok"}')
        assert not connection.readable(0.7)
        assert connection.readable(5)
        assert connection.closed()
        assert 0.9 < time.monotonic() - start < 5
    expect.body(api.get("/healthz"), 200, b'{"status":"ok"}')


@pytest.mark.clause("OPS-26")
def test_a_request_that_has_come_in_is_given_its_time(launched: Launch) -> None:
    """Waiting for a lock takes longer than a request may take to come in; so does a pause."""
    service = launched(**PATIENT, REQUEST_TIMEOUT="1")
    api, fields = service.api, expect.somebody()
    with api.connect(20.0) as connection:
        with locked(service.database_url):
            connection.send(creation(api, fields))
            assert not connection.readable(3)
        expect.user(connection.read("POST"), 201, **fields)
        assert not connection.readable(3)
        connection.send(api.message("GET", "/healthz"))
        expect.body(connection.read(), 200, b'{"status":"ok"}')


# Clients that go


def gone(connection: Connection) -> None:
    """Reset the connection, as a client does that is killed."""
    connection._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.clause("LOG-01", "METRICS-02")
def test_who_goes_before_the_answer_is_told_of_all_the_same(launched: Launch) -> None:
    service = launched(**PATIENT)
    api, user = service.api, service.api.create()
    fields: expect.Fields = {"name": "gone", "email": user["email"]}
    with locked(service.database_url) as unlock, api.connect() as connection:
        connection.send(api.message("GET", "/healthz") + creation(api, fields))
        expect.body(connection.read(), 200, b'{"status":"ok"}')
        time.sleep(0.3)  # its body has been read by now
        gone(connection)
        time.sleep(0.3)
        unlock()
    deadline = time.monotonic() + 10
    while '"status":409' not in service.stdout().replace(" ", ""):
        assert time.monotonic() < deadline, service.log()
        time.sleep(0.02)


@pytest.mark.clause("HTTP-26")
@pytest.mark.engine("postgres")
@pytest.mark.parametrize("method", ["DELETE", "PATCH"])
def test_nothing_is_changed_for_who_has_gone(launched: Launch, method: str) -> None:
    service = launched(**PATIENT, **services.SECURED)
    api, user = service.api, service.api.create()
    path = f"/users/{user['id']}"
    with Session(service.database_url) as session, api.connect() as connection:
        session.execute("BEGIN")
        session.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        body = expect.render({"name": "gone"}) if method == "PATCH" else None
        connection.send(api.message(method, path, [JSON], body))
        time.sleep(0.5)  # it waits for who the caller is
        gone(connection)
        time.sleep(0.5)
        session.execute("ROLLBACK")
    time.sleep(0.5)
    expect.user(api.get(path), 200, **user)


# Several processes


def started(service: Service) -> set[int]:
    """The processes that have begun to serve, with WEB_CONCURRENCY."""
    lines = [json.loads(line) for line in service.stdout().splitlines()]
    return {line["pid"] for line in lines if line["message"] == "worker started"}


def await_started(service: Service, count: int) -> None:
    """Wait until so many serve: one that only begins holds the port until it hears of a signal."""
    deadline = time.monotonic() + services.START_TIMEOUT
    while len(started(service)) < count:
        assert time.monotonic() < deadline, service.log()
        time.sleep(0.02)


def await_workers(service: Service, count: int = 2) -> set[int]:
    """The processes of the service but the first, once so many of them serve."""
    deadline = time.monotonic() + services.START_TIMEOUT
    while True:
        if len(serving := started(service) & service.workers()) == count:
            return serving
        assert time.monotonic() < deadline, service.log()
        time.sleep(0.02)


def await_end(pids: set[int]) -> None:
    """Wait until none of these processes is left."""
    deadline = time.monotonic() + services.STOP_TIMEOUT
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, f"{pids} are still there"
        time.sleep(0.02)


def replace_one(service: Service) -> None:
    """Kill one of its two further processes, and wait for another one in its place."""
    victim = min(await_workers(service))
    os.kill(victim, signal.SIGKILL)
    await_end({victim})
    await_workers(service)


@once_a_side
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process' children so")
@pytest.mark.clause("OPS-24", "OPS-55")
@pytest.mark.parametrize("behind", ["gone", "another", "a pipe"])
def test_who_begins_later_has_the_settings_of_the_first(
    started_by_us: Kind, tmp_path: Path, behind: str
) -> None:
    """What it would read anew is gone, has another secret in it, or can be read but once."""
    secret = tmp_path / "secret"
    secret.write_text("s" * 32, "utf-8")
    env = services.SECURED | {"WEB_CONCURRENCY": "2", "AUTH_SECRET": ""}
    file = "/dev/stdin" if behind == "a pipe" else str(secret)
    service = Service(started_by_us, tmp_path, env | {"AUTH_SECRET_FILE": file})
    service.through(f'exec "$@" <<END\n{"s" * 32}\nEND')
    service.start()
    try:
        service.await_ready()
        asked = service.api.message("GET", "/users/me")
        secret.unlink()
        if behind == "another":
            secret.write_text("x" * 32, "utf-8")
        replace_one(service)
        answers = service.api.at_once([asked] * 12)
        assert [answer.status for answer in answers] == [200] * 12
        assert service.stop() == 0
        assert service.stderr() == ""
    finally:
        service.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process' children so")
@pytest.mark.engine("postgres")
@pytest.mark.clause("OPS-17", "OPS-24")
def test_who_cannot_begin_says_why_in_one_line(launched: Launch) -> None:
    service = launched(WEB_CONCURRENCY="2")
    victim = min(await_workers(service))
    with Session(service.database_url) as session:
        session.execute("UPDATE schema_version SET version_num = '9999'")
    os.kill(victim, signal.SIGKILL)
    deadline = time.monotonic() + services.START_TIMEOUT
    while service.stderr().count("\n") < 2:
        assert time.monotonic() < deadline, service.log()
        time.sleep(0.05)
    (line,) = set(service.stderr().splitlines())
    assert "9999" in line
    ended = [json.loads(line) for line in service.stdout().splitlines() if "worker died" in line]
    assert {one["status"] for one in ended[1:]} == {1}
    assert service.stop() == 0


@once_a_side
@pytest.mark.clause("OPS-07")
@pytest.mark.parametrize("processes", "12")
def test_sigterm_ends_who_was_started_with_it_held_back(
    started_by_us: Kind, tmp_path: Path, processes: str
) -> None:
    """A process begins with whatever signals its parent holds back."""
    service = Service(started_by_us, tmp_path, {"WEB_CONCURRENCY": processes})
    stops = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    try:
        service.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, stops)
    try:
        service.await_ready()
        assert service.stop() == 0
    finally:
        service.kill()


@once_a_side
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process' children so")
@pytest.mark.clause("OPS-24", "RIGHT-11")
def test_who_begins_later_makes_no_admin(launched: Launch) -> None:
    service = launched(WEB_CONCURRENCY="2", **services.SECURED)
    await_workers(service)
    expect.empty(service.api.delete("/users/me"))
    replace_one(service)
    with Session(service.database_url) as session:
        assert session.execute("SELECT * FROM users") == []
    assert service.stop() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process' children so")
@pytest.mark.clause("OPS-24", "OPS-07")
def test_a_process_that_dies_is_replaced(launched: Launch) -> None:
    service = launched(WEB_CONCURRENCY="2")
    before = await_workers(service)
    victim = min(before)
    with ThreadPoolExecutor(4) as threads:
        # Whoever asks all processes something then brings nobody down.
        asking = [threads.submit(service.api.get, "/metrics") for _ in range(50)]
        os.kill(victim, signal.SIGKILL)
        for answer in asking:
            assert answer.exception() or answer.result().status == 200
    await_end({victim})
    after = await_workers(service)
    assert len(after & before) == 1
    for _ in range(20):
        with service.api.connect() as connection:
            connection.send(service.api.message("GET", "/readyz"))
            expect.body(connection.read(), 200, b'{"status":"ok"}')
    lines = [json.loads(line) for line in service.stdout().splitlines()]
    (died,) = (line for line in lines if line["message"] == "worker died")
    assert (died["level"], died["pid"], died["status"]) == ("error", victim, -signal.SIGKILL)
    assert service.stop() == 0
    await_end(after)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process' children so")
@pytest.mark.clause("OPS-24")
@once_a_side
def test_each_of_many_processes_is_replaced(launched: Launch) -> None:
    """However few cores there are: all are killed at once."""
    count = (os.cpu_count() or 1) + 2
    service = launched(WEB_CONCURRENCY=str(count))
    before = await_workers(service, count)
    for victim in before:
        os.kill(victim, signal.SIGKILL)
    await_workers(service, count)
    lines = [json.loads(line) for line in service.stdout().splitlines()]
    died = [line for line in lines if line["message"] == "worker died"]
    assert {line["pid"] for line in died} == before
    assert service.stop() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process' children so")
@pytest.mark.clause("OPS-24")
@once_a_side
def test_processes_that_end_while_the_first_is_busy_are_replaced(launched: Launch) -> None:
    """It hears too late to answer anything that they told it last."""
    service = launched(WEB_CONCURRENCY="2")
    before = await_workers(service)
    os.kill(service.process.pid, signal.SIGSTOP)
    deadline = time.monotonic() + services.STOP_TIMEOUT
    for worker in before:
        os.kill(worker, signal.SIGTERM)
        while "Z" not in Path(f"/proc/{worker}/stat").read_text("utf-8").rpartition(")")[2]:
            assert time.monotonic() < deadline, service.log()
            time.sleep(0.02)
    os.kill(service.process.pid, signal.SIGCONT)
    await_end(before)
    await_workers(service)
    assert service.stop() == 0
    assert service.stderr() == ""


@once_a_side
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process' children so")
@pytest.mark.clause("OPS-24")
def test_no_process_outlives_the_first(launched: Launch) -> None:
    service = launched(WEB_CONCURRENCY="2")
    workers = await_workers(service)
    service.process.kill()
    await_end(workers)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process' children so")
@pytest.mark.clause("OPS-47", "OPS-24")
@once_a_side
def test_what_is_in_flight_is_answered_when_the_first_is_killed(launched: Launch) -> None:
    service = launched(**PATIENT, SHUTDOWN_TIMEOUT="10", WEB_CONCURRENCY="2")
    workers = await_workers(service)
    api, planned = service.api, [expect.somebody() for _ in range(4)]
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(api.connect(30.0)) for _ in planned]
        unlock = stack.enter_context(locked(service.database_url))
        for connection, fields in zip(connections, planned, strict=True):
            connection.send(api.message("GET", "/healthz") + creation(api, fields))
            expect.body(connection.read(), 200, b'{"status":"ok"}')
        service.process.kill()
        service.process.wait()
        assert_refuses(service)
        unlock()
        for connection, fields in zip(connections, planned, strict=True):
            expect.user(connection.read("POST"), 201, **fields)
    await_end(workers)


@once_a_side
@pytest.mark.clause("OPS-24", "OPS-04")
def test_a_port_in_use_ends_the_start_of_several_too(spawned: Callable[..., Service]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        service = spawned(PORT=str(port), WEB_CONCURRENCY="2")
        assert service.wait(services.START_TIMEOUT) == 1
    assert service.stderr() == f"Port {port} on 127.0.0.1 is in use.\n"
    assert service.stdout() == ""


@pytest.mark.clause("OPS-24", "OPS-06")
def test_several_processes_end_what_they_have_begun(launched: Launch) -> None:
    service = launched(**PATIENT, SHUTDOWN_TIMEOUT="10", WEB_CONCURRENCY="2")
    await_started(service, 2)
    api, planned = service.api, [expect.somebody() for _ in range(4)]
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(api.connect(30.0)) for _ in planned]
        unlock = stack.enter_context(locked(service.database_url))
        for connection, fields in zip(connections, planned, strict=True):
            connection.send(api.message("GET", "/healthz") + creation(api, fields))
            expect.body(connection.read(), 200, b'{"status":"ok"}')
        service.process.send_signal(signal.SIGTERM)
        assert_refuses(service)
        unlock()
        for connection, fields in zip(connections, planned, strict=True):
            expect.user(connection.read("POST"), 201, **fields)
        assert service.wait() == 0


def several(service: Service, *signals: signal.Signals, to: str) -> None:
    """Send these signals one after the other, to the first process or to its whole group."""
    for signum in signals:
        if to == "group":
            os.killpg(service.process.pid, signum)
        else:
            service.process.send_signal(signum)
        time.sleep(0.3)


@pytest.mark.clause("OPS-06", "OPS-24")
@once_a_side
@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize(
    ("to", "signals"),
    [
        ("group", [signal.SIGTERM]),
        ("group", [signal.SIGINT]),
        ("group", [signal.SIGINT, signal.SIGINT, signal.SIGTERM]),
        ("first", [signal.SIGTERM, signal.SIGTERM]),
        ("first", [signal.SIGINT, signal.SIGTERM, signal.SIGINT]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(one.name for one in value),
)
def test_no_further_signal_cuts_what_it_has_begun(
    launched: Launch, processes: str, to: str, signals: list[signal.Signals]
) -> None:
    """As Ctrl-C gives it to all that run in a terminal, and as it comes from the impatient."""
    service = launched(**PATIENT, SHUTDOWN_TIMEOUT="10", WEB_CONCURRENCY=processes)
    await_started(service, int(processes) if processes != "1" else 0)
    api, planned = service.api, [expect.somebody() for _ in range(4)]
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(api.connect(30.0)) for _ in planned]
        unlock = stack.enter_context(locked(service.database_url))
        for connection, fields in zip(connections, planned, strict=True):
            connection.send(api.message("GET", "/healthz") + creation(api, fields))
            expect.body(connection.read(), 200, b'{"status":"ok"}')
        several(service, *signals, to=to)
        assert_refuses(service)
        unlock()
        for connection, fields in zip(connections, planned, strict=True):
            expect.user(connection.read("POST"), 201, **fields)
        assert service.wait() == 0
    assert service.stderr() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process' children so")
@pytest.mark.clause("OPS-06", "OPS-24")
@once_a_side
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("begun", [1, 2])
def test_a_signal_finds_processes_that_only_begin(
    spawned: Callable[..., Service], begun: int, signum: signal.Signals
) -> None:
    service = spawned(WEB_CONCURRENCY="2")
    deadline = time.monotonic() + services.START_TIMEOUT
    while len(workers := service.workers()) < begun:
        assert time.monotonic() < deadline, service.log()
        time.sleep(0.005)
    assert_ends_well(service, signum)
    await_end(workers)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process' children so")
@pytest.mark.clause("OPS-06", "OPS-24")
@once_a_side
def test_no_process_has_died_that_ended_as_all_were_told_to(
    spawned: Callable[..., Service],
) -> None:
    """The first hears of its own signal last, as it may on a busy machine."""
    service = spawned(WEB_CONCURRENCY="2")
    deadline = time.monotonic() + services.START_TIMEOUT
    while len(workers := service.workers()) < 2:
        assert time.monotonic() < deadline, service.log()
        time.sleep(0.005)
    os.kill(service.process.pid, signal.SIGSTOP)
    os.killpg(service.process.pid, signal.SIGTERM)
    time.sleep(0.3)
    os.kill(service.process.pid, signal.SIGCONT)
    assert service.wait() == 0
    await_end(workers)
    assert "worker died" not in service.stdout()


def runs(pid: int, program: str) -> bool:
    """Whether this stands on the process' command line (on Linux)."""
    return program.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process' children so")
@pytest.mark.clause("OPS-07", "OPS-24")
@once_a_side
def test_nobody_waits_for_processes_that_only_begin(spawned: Callable[..., Service]) -> None:
    """They stand still, as on a machine that is too busy for them."""
    service = spawned(WEB_CONCURRENCY="2")
    if service.kind == "node":
        pytest.skip("Node's hold no signal back: the first one ends them before they begin")
    deadline = time.monotonic() + services.START_TIMEOUT
    # Until a program of its own runs in it, the first process waits for it in the kernel.
    while len(workers := {pid for pid in service.workers() if runs(pid, "spawn_main")}) < 2:
        assert time.monotonic() < deadline, service.log()
        time.sleep(0.005)
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    assert service.stop() == 0
    await_end(workers)


@pytest.mark.clause("OPS-06", "OPS-24")
@once_a_side
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("processes", ["1", "2"])
def test_no_number_of_signals_ends_it_worse(
    launched: Launch, processes: str, signum: signal.Signals
) -> None:
    assert_ends_well(launched(WEB_CONCURRENCY=processes), signum)


def assert_ends_well(service: Service, signum: signal.Signals) -> None:
    """It ends well, whatever its processes are at when the signal comes, again and again."""
    deadline = time.monotonic() + services.START_TIMEOUT
    while service.process.poll() is None:
        assert time.monotonic() < deadline, service.log()
        os.killpg(service.process.pid, signum)
        time.sleep(0.01)
    assert service.process.returncode == 0
    assert service.stderr() == ""
    assert "worker died" not in service.stdout()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process' children so")
@pytest.mark.clause("OPS-46")
@once_a_side
@pytest.mark.parametrize("processes", ["1", "2"])
def test_no_signal_opens_a_debugger(launched: Launch, processes: str) -> None:
    service = launched(WEB_CONCURRENCY=processes)
    workers = await_workers(service) if processes == "2" else set()
    for pid in {service.process.pid, *workers}:
        os.kill(pid, signal.SIGUSR1)
    time.sleep(0.5)
    assert service.process.poll() is None
    for _ in range(10):
        expect.body(
            service.api.raw(service.api.message("GET", "/healthz")), 200, b'{"status":"ok"}'
        )
    assert service.stop() == 0
    assert service.stderr() == ""
    assert "worker died" not in service.stdout()
