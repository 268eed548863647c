"""The peers answer as our service does: what is measured is the same work."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from benchmarks import streams
from benchmarks.peers.commands import NAMES, command
from benchmarks.services import Field
from contract_tests.harness import databases, expect, services
from contract_tests.harness.client import Client
from contract_tests.harness.databases import OwnPostgres, Postgres, Session
from contract_tests.harness.services import ROOT, Service

INTERNAL = "SELECT name_lower, role, password_hash, token_epoch FROM users WHERE id = {}"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """The PostgreSQL of TEST_DATABASE_URL, or one of our own."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield Postgres(given)
        return
    with contextlib.closing(OwnPostgres()) as own:
        own.start()
        yield own


@pytest.fixture(scope="module", params=databases.ENGINES)
def ours(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """Our service in Python, on a database of its own with more than a page of users."""
    with contextlib.ExitStack() as stack:
        url = None
        if request.param == "postgres":
            postgres: Postgres = request.getfixturevalue("server")
            url = postgres.create()
            stack.callback(postgres.drop, url)
        directory = tmp_path_factory.mktemp(request.param)
        service = services.launch("python", directory=directory, database_url=url)
        stack.callback(service.kill)
        for _ in range(51):
            service.api.create()
        yield service


@contextlib.contextmanager
def running(name: str, database_url: str) -> Iterator[Client]:
    """The peer on this database; in the end it has to stop as it should."""
    with running_with_log(name, database_url) as (client, process):
        yield client
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


@contextlib.contextmanager
def running_with_log(
    name: str, database_url: str
) -> Iterator[tuple[Client, subprocess.Popen[bytes]]]:
    """The peer on this database, and its process, which writes its log to a pipe."""
    with subprocess.Popen(
        command(name),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "DATABASE_URL": database_url, "PORT": "0"},
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            line = json.loads(process.stdout.readline())
            assert line["message"] == "listening"
            with contextlib.closing(Client(line["url"], name)) as client:
                yield client, process
        finally:
            process.kill()


@pytest.mark.parametrize("name", NAMES)
def test_a_peer_answers_and_stores_as_our_service_does(name: str, ours: Service) -> None:
    with running(name, ours.database_url) as peer:
        users = ours.api.get("/users").json()
        assert len(users) == 50
        assert peer.get("/users").json() == users
        target = f"/users/{users[-1]['id']}"
        for headers in ({}, {"If-None-Match": '"1"'}, {"If-None-Match": '"2"'}):
            answer, wanted = (api.get(target, headers=headers) for api in (peer, ours.api))
            assert answer.status == wanted.status
            assert answer.header("etag") == wanted.header("etag") == '"1"'
            assert answer.body == b"" if answer.status == 304 else answer.json() == wanted.json()
        assert peer.get("/users/999999").status == ours.api.get("/users/999999").status == 404
        fields = expect.somebody() | {"name": "Ærøskøbing Ltd."}
        created = peer.post("/users", json=fields)
        assert created.status == 201
        user = created.json()
        read = ours.api.get(f"/users/{user['id']}")
        assert user == expect.user(read, 200, **fields)
        assert created.header("etag") == read.header("etag")
        assert user["created_at"] == user["updated_at"]
        assert peer.post("/users", json=fields).status == 409
    with Session(ours.database_url) as session:
        internal = session.execute(INTERNAL.format(user["id"]))
    assert internal == [("ærøskøbing ltd.", "member", None, 1)]


@pytest.mark.parametrize("name", ["observed.py", "observed.ts"])
def test_an_observed_peer_has_the_duties_of_our_service(name: str, ours: Service) -> None:
    with running_with_log(name, ours.database_url) as (peer, process):
        answer = peer.get("/users/1")
        # It counts an answer behind it.
        deadline = time.monotonic() + 5
        while "/users/" not in peer.get("/metrics").body.decode():
            assert time.monotonic() < deadline, "it isn't counted"
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        line, *_ = map(json.loads, process.stdout)
    assert line["request_id"] == answer.header("x-request-id")
    assert (line["message"], line["method"], line["status"]) == ("request", "GET", 200)
    assert line["route"].startswith("/users/")
    assert line["duration_ms"] > 0


def test_all_streams_tell_of_each_creation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "STREAMS", (1, 3))
    monkeypatch.setattr(streams, "WARM_UP_CHANGES", 5)
    with contextlib.closing(Field("sqlite", streams.contenders())) as field:
        deliveries = streams.measure(field, 1, 1, lambda _: None)
    assert len(deliveries) == streams.MEASURED
    ours = [(one.contender, one.writer) for one in deliveries if one.streams == 1][-2:]
    assert ours == [("FastAPI", "Hono"), ("Hono", "FastAPI")]
    for delivery in deliveries:
        ((p50,), (p99,)) = delivery.p50_ms, delivery.p99_ms
        assert 0 <= p50 <= p99 < 5000
