"""OPS: what is left standing when a database or an instance isn't. Most on a real PostgreSQL.

FOLLOWED=120 pytest contract_tests/test_faults.py -k readers     readers of events, so many seconds
"""

import contextlib
import json
import os
import random
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from contract_tests.harness import expect, progress, services
from contract_tests.harness.client import Client
from contract_tests.harness.databases import OwnPostgres, Session, locked
from contract_tests.harness.followers import Follower
from contract_tests.harness.load import Load, Writers, assert_each_once
from contract_tests.harness.network import Proxy
from contract_tests.harness.receiver import FAILED, OK as ACCEPTED, Attempt, Receiver
from contract_tests.harness.services import Kind, Service
from contract_tests.harness.streams import streamed

OK = b'{"status":"ok"}'
JSON = ("Content-Type", "application/json")

FOLLOWED = float(os.environ.get("FOLLOWED", "4"))
READERS = 4

# Waits that end before a client would call it a hang.
BRISK = {"DATABASE_TIMEOUT": "2", "DATABASE_STATEMENT_TIMEOUT": "1"}
# Webhooks of this machine, which are tried again and again.
SENDING = {
    "WEBHOOKS_NETWORKS": "127.0.0.0/8",
    "WEBHOOKS_TIMEOUT": "1",
    "WEBHOOKS_RETRY": ",".join(["1"] * 20),
}

Instances = Callable[..., list[Service]]


@pytest.fixture(scope="module")
def server() -> Iterator[OwnPostgres]:
    """A server for these tests alone, which they may stop; each leaves it running."""
    with contextlib.closing(OwnPostgres()) as server:
        server.start()
        yield server


@pytest.fixture
def instances(server: OwnPostgres, tmp_path: Path) -> Iterator[Instances]:
    """A function that starts services on one new database: `instances("python", "node")`."""
    running: list[Service] = []
    database_url = server.create()

    def start(*kinds: Kind, **env: str) -> list[Service]:
        started = [
            Service(kind, tmp_path / f"{len(running) + n}", env, database_url)
            for n, kind in enumerate(kinds)
        ]
        running.extend(started)
        for service in started:
            service.start()
        for service in started:
            service.await_ready()
        return started

    yield start
    for service in running:
        if hasattr(service, "process"):
            if code := service.process.poll():
                print(f"The {service.kind} service ended with {code}:\n{service.log()[-5000:]}")
            service.kill()
    server.drop(database_url)


@pytest.fixture(params=["python", "node", "mixed"])
def several(request: pytest.FixtureRequest, instances: Instances) -> list[Service]:
    """Two instances on one database: of one service, or one of each."""
    kinds: tuple[Kind, Kind] = ("python", "node")
    if request.param != "mixed":
        kinds = (request.param, request.param)
    return instances(*kinds, **BRISK)


@pytest.mark.clause("OPS-18", "OPS-19", "HEALTH-03", "HEALTH-04")
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "crashed"])
def test_postgres_is_restarted_under_load(
    server: OwnPostgres, several: list[Service], signum: signal.Signals
) -> None:
    with Load([service.url for service in several]) as load:
        load.await_more()
        server.stop(signum)
        load.await_repeats()
        for service in several:
            expect.problem(service.api.get("/readyz"), "unavailable")
            expect.problem(service.api.get("/users/1"), "unavailable")
            expect.body(service.api.get("/healthz"), 200, OK)
        server.start()
        load.await_more(5)
        for service in several:
            expect.body(service.api.get("/readyz"), 200, OK)
        load.await_more()
    for service in several:
        assert_each_once(service.api, load.acknowledged)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process' children so")
@pytest.mark.clause("OPS-21", "OPS-18", "OPS-19")
def test_postgres_stands_still_under_load(server: OwnPostgres, several: list[Service]) -> None:
    """As when its machine does: connections stay open and nothing comes back."""
    with Load([service.url for service in several]) as load:
        load.await_more()
        stopped = server.processes()
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            load.await_repeats()
            start = time.monotonic()
            expect.problem(several[0].api.get("/users/1"), "unavailable")
            assert time.monotonic() < start + 5
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        load.await_more(5)
    assert_each_once(several[0].api, load.acknowledged)


@pytest.mark.clause("OPS-19", "OPS-15")
@pytest.mark.parametrize("victim", [0, 1], ids=["python dies", "node dies"])
def test_an_instance_is_killed_under_load(instances: Instances, victim: int) -> None:
    several = instances("python", "node", **BRISK)
    other = several[1 - victim]
    with Load([service.url for service in several]) as load:
        load.await_more()
        several[victim].process.kill()
        load.await_repeats()
        load.await_more()
    assert_each_once(other.api, load.acknowledged)


@pytest.mark.clause("OPS-20", "HEALTH-03", "HEALTH-04")
@pytest.mark.parametrize("kind", services.KINDS)
def test_an_empty_pool_is_503_and_fills_again(instances: Instances, kind: Kind) -> None:
    (service,) = instances(
        kind, DATABASE_POOL_SIZE="2", DATABASE_TIMEOUT="1", DATABASE_STATEMENT_TIMEOUT="20"
    )
    api = service.api
    planned = [expect.somebody() for _ in range(2)]
    with api.connect(20.0) as one, api.connect(20.0) as two:
        with locked(service.database_url) as unlock:
            for connection, fields in zip((one, two), planned, strict=True):
                connection.send(api.message("POST", "/users", [JSON], expect.render(fields)))
            wait_for_locks(service, 2)
            start = time.monotonic()
            for path in ("/users", "/readyz"):
                expect.problem(api.get(path), "unavailable")
            assert 2 <= time.monotonic() - start < 4
            expect.body(api.get("/healthz"), 200, OK)
            assert len(connections_of(service)) == 2
            unlock()
        for connection, fields in zip((one, two), planned, strict=True):
            expect.user(connection.read("POST"), 201, **fields)
    expect.body(api.get("/readyz"), 200, OK)
    answers = api.at_once([api.message("GET", "/users?limit=1")] * 20)
    assert [answer.status for answer in answers] == [200] * 20
    assert len(connections_of(service)) == 2


@pytest.mark.clause("OPS-20")
def test_connections_outlast_a_pause(instances: Instances) -> None:
    several = instances(*services.KINDS)
    for service in several:
        expect.body(service.api.get("/readyz"), 200, OK)
    before = [connections_of(service) for service in several]
    assert all(before)
    time.sleep(11)  # pg's pool would close them after 10
    assert [connections_of(service) for service in several] == before
    for service in several:
        expect.body(service.api.get("/readyz"), 200, OK)
    assert [connections_of(service) for service in several] == before


def connections_of(service: Service) -> set[int]:
    """The connections that the service has to its database, by the server's process."""
    name = f"{service.kind}_api"
    with Session(service.database_url) as session:
        rows = session.execute(
            "SELECT pid FROM pg_stat_activity"
            f" WHERE datname = current_database() AND application_name = '{name}'"
        )
    return {pid for (pid,) in rows}


def wait_for_locks(service: Service, count: int) -> None:
    """Until so many of the service's statements wait for a lock."""
    deadline = time.monotonic() + 10
    with Session(service.database_url) as session:
        while session.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ) != [(count,)]:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.clause("OPS-21")
@pytest.mark.parametrize("kind", services.KINDS)
def test_a_statement_that_runs_too_long_is_503(instances: Instances, kind: Kind) -> None:
    (service,) = instances(kind, DATABASE_STATEMENT_TIMEOUT="1")
    api = service.api
    user = api.create()
    path = f"/users/{user['id']}"
    refused = expect.somebody()
    with Session(service.database_url) as session:
        session.execute("BEGIN")
        session.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        start = time.monotonic()
        key = {"Idempotency-Key": refused["name"]}
        for answer in (
            api.get(path),
            api.get("/users"),
            api.get("/readyz"),
            api.post("/users", json=refused, headers=key),
        ):
            expect.problem(answer, "unavailable")
        assert 4 <= time.monotonic() - start < 8
        session.execute("ROLLBACK")
    expect.user(api.get(path), 200, **user)
    answer = api.post("/users", json=refused, headers=key)
    created = expect.user(answer, 201, **refused)
    assert_each_once(api, [user, created])


class Doom(Proxy):
    """While it is `on`, every connection ends as it begins.

    The server's first word that it is ready and its last one come in one packet, as they may when
    a server stops. A driver can't have handed the connection to anybody then.
    """

    READY = b"Z\0\0\0\5I"
    FIELDS = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0"
    LAST_WORD = b"E" + struct.pack(">i", 4 + len(FIELDS)) + FIELDS
    on = False

    def answered(self, data: bytes) -> tuple[bytes, bool]:
        last = self.on and self.READY in data
        return (data + self.LAST_WORD, False) if last else (data, True)


@pytest.mark.clause("OPS-18")
@pytest.mark.parametrize("kind", services.KINDS)
def test_a_connection_that_ends_as_it_begins_is_503(
    server: OwnPostgres, kind: Kind, tmp_path: Path
) -> None:
    database_url = server.create()
    doom = Doom(database_url)
    service = services.launch(kind, env=BRISK, directory=tmp_path, database_url=doom.url)
    try:
        user = service.api.create()
        doom.on = True
        doom.cut()
        for _ in range(5):
            answer = service.api.get(f"/users/{user['id']}")
            expect.problem(answer, "unavailable")
        doom.on = False
        for _ in range(5):
            service.api.get("/readyz")  # whoever was lost is found out
        expect.user(service.api.get(f"/users/{user['id']}"), 200, **user)
        assert service.stop() == 0
    finally:
        service.kill()
        doom.close()
        server.drop(database_url)


@pytest.mark.clause("OPS-18")
@pytest.mark.parametrize("kind", services.KINDS)
def test_a_server_that_takes_no_connections_is_503(
    server: OwnPostgres, instances: Instances, kind: Kind
) -> None:
    (service,) = instances(kind, **BRISK)
    name = service.database_url.rpartition("/")[2]
    with Session(server.url) as session:
        session.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        session.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        deadline = time.monotonic() + 5
        while service.api.get("/readyz").status == 200:
            assert time.monotonic() < deadline
        expect.problem(service.api.get("/users"), "unavailable")
        expect.problem(service.api.post("/users", json=expect.somebody()), "unavailable")
        session.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    expect.body(service.api.get("/readyz"), 200, OK)
    service.api.create()


# A rolling change-over


@pytest.mark.clause("OPS-23", "OPS-19")
@pytest.mark.parametrize("before", services.KINDS)
def test_instances_are_replaced_one_by_one_under_load(instances: Instances, before: Kind) -> None:
    after: Kind = "node" if before == "python" else "python"
    old = instances(before, before, before, **BRISK)
    with Load([service.url for service in old]) as load:
        load.await_more()
        replaced = [replace(load, service, instances(after, **BRISK)[0]) for service in old]
    for service in replaced:
        assert_each_once(service.api, load.acknowledged)


def replace(load: Load, old: Service, new: Service) -> Service:
    """Put the new instance in the old one's place, which is stopped while it is still asked."""
    load.urls.append(new.url)
    load.await_more()
    assert old.stop() == 0
    load.await_more()
    load.urls.remove(old.url)
    load.await_more()
    return new


# Events


@pytest.mark.clause("EVENT-01", "EVENT-02", "EVENT-03", "STREAM-05", "STREAM-10", "STREAM-11")
@pytest.mark.clause(
    "SOCK-09", "SOCK-18", "SOCK-21", "OPS-15", "OPS-23", "HOOK-09", "HOOK-15", "HOOK-18"
)
@pytest.mark.parametrize("kinds", [("python",) * 2, ("node",) * 2, services.KINDS], ids="-".join)
def test_readers_miss_nothing_whatever_happens_to_instances_and_postgres(
    server: OwnPostgres, instances: Instances, kinds: tuple[Kind, Kind]
) -> None:
    several = instances(*kinds, **BRISK, **SENDING)
    urls = [service.url for service in several]

    def another() -> Service:
        """One more, of the kind that the first one isn't, where there are both."""
        (service,) = instances(kinds[several[0].kind == kinds[0]], **BRISK, **SENDING)
        urls.append(service.url)
        several.append(service)
        return several.pop(0)

    def kill() -> None:
        several[0].kill()
        urls.remove(another().url)

    def change_over() -> None:
        old = another()
        assert old.stop() == 0
        urls.remove(old.url)

    def restart(signum: signal.Signals) -> None:
        server.stop(signum)
        time.sleep(0.3)
        server.start()

    def crash() -> None:
        restart(signal.SIGQUIT)

    def stop() -> None:
        restart(signal.SIGINT)

    assert_nothing_is_missed(urls, [kill, change_over, crash, stop], lambda: several[-1].api)


@pytest.mark.clause("EVENT-01", "EVENT-02", "EVENT-03", "STREAM-05", "STREAM-10", "OPS-15")
@pytest.mark.clause("SOCK-09", "SOCK-18", "HOOK-09", "HOOK-15", "HOOK-18")
@pytest.mark.parametrize("kind", services.KINDS)
def test_readers_miss_nothing_whatever_happens_to_the_only_instance(
    kind: Kind, tmp_path: Path
) -> None:
    service = services.launch(kind, env=SENDING, directory=tmp_path)
    urls = [service.url]

    def kill() -> None:
        service.kill()
        service.restart()
        urls[:] = [service.url]

    def stop() -> None:
        assert service.stop() == 0
        service.restart()
        urls[:] = [service.url]

    try:
        assert_nothing_is_missed(urls, [kill, stop], lambda: service.api)
    finally:
        service.kill()


def assert_nothing_is_missed(
    urls: list[str], incidents: Sequence[Callable[[], None]], api: Callable[[], Client]
) -> None:
    """Writers write and readers follow while each of these happens, again and again for FOLLOWED s.

    Each reader sees each position once, and the same events; they tell of every write that was
    acknowledged, of each user version after version, and of nothing that isn't there. So does a
    webhook, but for events that come twice.
    """
    deadline = time.monotonic() + FOLLOWED
    with contextlib.ExitStack() as stack:
        receiver = stack.enter_context(contextlib.closing(Receiver()))
        receiver.say("/", moody)
        assert api().post("/webhooks", json={"url": receiver.url()}).status == 201
        followers = [stack.enter_context(Follower(urls)) for _ in range(READERS)]
        with Writers(urls) as writers:
            while True:
                for incident in random.sample(incidents, len(incidents)):
                    writers.await_more(10)
                    incident()
                writers.await_more(10)
                if time.monotonic() > deadline:
                    break
        events = all_events(api())
        for follower in followers:
            follower.await_position(len(events))
        sent = all_sent(receiver, len(events))
    progress.advance("events", len(events))
    assert [event["id"] for event in events] == [f"{n + 1}" for n in range(len(events))]
    for follower in followers:
        assert follower.seen == events
    assert {int(event["id"]): event for event in sent} == dict(enumerate(events, 1))
    for subject in {event["subject"] for event in events}:
        # In order, but for those that come once more: an attempt's answer may have been lost.
        of_user = [int(event["id"]) for event in sent if event["subject"] == subject]
        first = [position for n, position in enumerate(of_user) if position not in of_user[:n]]
        assert first == sorted(first)
    users: dict[int, dict[str, Any]] = {}
    told: dict[tuple[str, int, int], dict[str, Any]] = {}
    for event in events:
        after = event["data"]
        before = users.pop(after["id"], None)
        assert (before is None) == (event["type"] == "user.created")
        if event["type"] == "user.deleted":
            assert before
            assert after["version"] == before["version"]
        else:
            assert after["version"] == (before["version"] + 1 if before else 1)
            users[after["id"]] = after
        told[event["type"], after["id"], after["version"]] = after
    assert_each_once(api(), list(users.values()))
    for what, user in writers.acknowledged:
        data = {name: user[name] for name in ("id", "version")} if "deleted" in what else user
        assert told.get((what, user["id"], user["version"])) == data


def moody(connection: socket.socket, attempt: Attempt) -> None:
    """Fail now and then."""
    said = random.choice([ACCEPTED] * 9 + [FAILED])
    attempt.end(said)
    connection.sendall(said)


def all_sent(receiver: Receiver, count: int) -> list[dict[str, Any]]:
    """The events that were accepted, in the order of their coming, once there are so many."""
    deadline = time.monotonic() + 30
    while True:
        taken = [
            one for one in receiver.attempts("/") if one.answered == b"HTTP/1.1 204 No Content"
        ]
        if len({one.event for one in taken}) >= count:
            return [json.loads(one.body) for one in taken]
        assert time.monotonic() < deadline, f"{len(taken)} of {count} were sent"
        time.sleep(0.05)


@pytest.mark.clause("STREAM-11")
@pytest.mark.parametrize("kind", services.KINDS)
def test_a_stream_outlasts_postgres(server: OwnPostgres, instances: Instances, kind: Kind) -> None:
    (service,) = instances(kind, **BRISK, EVENTS_HEARTBEAT="1")
    with streamed(service.api) as stream:
        server.stop()
        expect.problem(service.api.get("/events"), "unavailable")
        for _ in range(2):
            stream.heartbeat()
        server.start()
        with Load([service.url], clients=1) as load:
            load.await_more(5)
        assert stream.event()["data"] == load.acknowledged[0]


def all_events(api: Client) -> list[dict[str, Any]]:
    """The whole log."""
    events: list[dict[str, Any]] = []
    path: str | None = "/events?limit=100"
    while path:
        page, path = expect.events(api.get(path))
        events += page
    return events


# A full disk

# The service, with room for so few pages in its database.
FULL: dict[Kind, str] = {
    "python": """
import asyncio, os, sys
from sqlalchemy import text
from python_api.app import create_app
from python_api.storage.database import open_database
from python_api.http.server import end_well_on_signals, listen, log_listening, serve
from python_api.settings import read_settings

async def main(settings):
    async with open_database(settings) as database:
        async with database.transaction() as connection:
            await connection.execute(text("PRAGMA max_page_count = 80"))
        listener = listen(settings)
        log_listening(listener, settings)
        await serve(create_app(settings, database), settings, listener)

end_well_on_signals()
asyncio.run(main(read_settings(os.environ)))
""",
    "node": """
import { sql } from "kysely";
import { createApp } from "./src/app.ts";
import { openDatabase } from "./src/storage/database.ts";
import { answering, listen, logListening, serve } from "./src/http/server.ts";
import { readSettings } from "./src/settings.ts";

const settings = readSettings(process.env);
const database = await openDatabase(settings);
await database.transaction((connection) =>
  sql.raw("PRAGMA max_page_count = 80").execute(connection),
);
const server = await listen(settings);
logListening(server.address(), settings);
await serve(answering(createApp(settings, database)), settings, server);
await database.close();
""",
}


@pytest.mark.clause("OPS-22", "IDEM-14", "LOG-04")
@pytest.mark.parametrize("kind", services.KINDS)
def test_a_full_sqlite_keeps_nothing_half_written(kind: Kind, tmp_path: Path) -> None:
    service = Service(kind, tmp_path, code=FULL[kind])
    service.start()
    try:
        service.await_ready()
        refused = fill_up(service)
        assert service.stop() == 0
        assert "request failed" in service.log()
        assert refused["name"] not in service.log()
    finally:
        service.kill()


def fill_up(service: Service) -> expect.Fields:
    """Create users until there is no room, and one of them once more with room; returns that one.

    A deletion needs room as well, for its event.
    """
    api = service.api
    acknowledged = []
    while True:
        fields = expect.somebody()
        key = {"Idempotency-Key": fields["name"]}
        answer = api.post("/users", json=fields, headers=key)
        if answer.status == 503:
            break
        acknowledged.append(expect.user(answer, 201, **fields))
        assert len(acknowledged) < 5000, "it never gets full"
    expect.problem(answer, "unavailable")
    assert len(acknowledged) > 10
    assert_each_once(api, acknowledged)
    expect.body(api.get("/readyz"), 200, OK)
    with ThreadPoolExecutor(4) as threads:
        again = [threads.submit(api.post, "/users", json=fields, headers=key) for _ in range(4)]
        for one in again:
            expect.problem(one.result(), "unavailable")
    # Room again: what was refused is as if it had never been asked.
    with Session(service.database_url) as session:
        session.execute("DELETE FROM events")
    for user in acknowledged[::2]:
        expect.empty(api.delete(f"/users/{user['id']}"))
    answer = api.post("/users", json=fields, headers=key)
    created = expect.user(answer, 201, **fields)
    assert created["id"] > acknowledged[-1]["id"]
    expect.replay(api.post("/users", json=fields, headers=key), answer)
    assert_each_once(api, [*acknowledged[1::2], created])
    return fields
