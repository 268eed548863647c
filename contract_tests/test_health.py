"""HEALTH, and what OPS says of a database that is locked, lost or broken."""

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contract_tests.harness import expect
from contract_tests.harness.client import Client
from contract_tests.harness.databases import Session, locked
from contract_tests.harness.services import Service

OK = b'{"status":"ok"}'
JSON = ("Content-Type", "application/json")

Launch = Callable[..., Service]


@contextlib.contextmanager
def lost(database: Path) -> Iterator[None]:
    """The database with a file that is none any more.

    SQLite keeps what it has read for as long as nobody writes, so a write comes before either
    change of the file, and the log is emptied into it: what is read next is read from there.
    """
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        write_something(connection)
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        with database.open("r+b", buffering=0) as file:
            start = file.read(4096)
            file.seek(0)
            file.write(bytes(len(start)))
            try:
                yield
            finally:
                file.seek(0)
                file.write(start)
                write_something(connection)


def write_something(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute(f"PRAGMA user_version = {version + 1}")


@pytest.mark.storeless
@pytest.mark.clause("HEALTH-01")
def test_it_is_alive(api: Client) -> None:
    expect.body(api.get("/healthz"), 200, OK)


@pytest.mark.clause("HEALTH-02")
def test_it_is_ready(api: Client) -> None:
    expect.body(api.get("/readyz"), 200, OK)


@pytest.mark.clause("HEALTH-01", "HEALTH-02", "QUERY-01")
def test_a_broken_query_makes_nobody_ill(api: Client) -> None:
    for path in ("/healthz", "/readyz"):
        expect.body(api.get(f"{path}?%"), 200, OK)


@pytest.mark.engine("sqlite")
@pytest.mark.clause("HEALTH-03", "HEALTH-04", "HEALTH-05")
def test_a_lost_database_is_503_and_may_come_back(launched: Launch) -> None:
    service = launched(DATABASE_TIMEOUT="1")
    api = service.api
    user = api.create()
    path = f"/users/{user['id']}"
    refused = expect.somebody()
    with lost(service.file):
        answer = api.get("/readyz")
        expect.problem(answer, "unavailable")
        expect.head_of(api.head("/readyz"), answer)
        expect.body(api.get("/healthz"), 200, OK)
        for answer in (
            api.get(path),
            api.get("/users"),
            api.post("/users", json=refused),
            api.put(path, json=refused),
            api.patch(path, json={"name": "New"}),
            api.delete(path),
        ):
            expect.problem(answer, "unavailable")
        # What needs no database is judged without one.
        expect.problem(api.get("/nowhere"), "not-found")
        errors = [expect.error("too-small", parameter="limit")]
        expect.problem(api.get("/users?limit=0"), "validation", errors)
    expect.body(api.get("/readyz"), 200, OK)
    expect.user(api.get(path), 200, name=user["name"], email=user["email"])
    expect.user(api.post("/users", json=refused), 201, **refused)


@pytest.mark.clause("HEALTH-05", "OPS-10", "USR-CREATE-06", "LOG-04")
def test_a_write_to_a_locked_database_is_503_in_the_end(launched: Launch) -> None:
    service = launched(DATABASE_TIMEOUT="1", DATABASE_STATEMENT_TIMEOUT="1")
    api = service.api
    user = api.create()
    path = f"/users/{user['id']}"
    refused = expect.somebody()
    with locked(service.database_url):
        expect.body(api.get("/readyz"), 200, OK)
        expect.user(api.get(path), 200, name=user["name"], email=user["email"])
        expect.problem(api.post("/users", json=refused), "unavailable")
        expect.problem(api.delete(path), "unavailable")
    expect.user(api.get(path), 200, name=user["name"], email=user["email"])
    expect.users(api.get(f"/users?q={refused['name']}"), [], next=False)
    expect.user(api.post("/users", json=refused), 201, **refused)
    assert "request failed" in service.log()
    assert refused["name"] not in service.log()


@pytest.mark.clause("HEALTH-04", "OPS-10")
def test_a_write_waits_for_the_lock_and_nobody_else_does(launched: Launch) -> None:
    service = launched(DATABASE_TIMEOUT="10", DATABASE_STATEMENT_TIMEOUT="10")
    paths = [f"/users/{service.api.create()['id']}", "/users", "/events", "/healthz"]
    # Whoever asks first gives the event its position, which is a write.
    before = {path: service.api.get(path).body for path in paths}
    fields = expect.somebody()
    data = service.api.message("POST", "/users", [JSON], expect.render(fields))
    with service.api.connect() as waiting:
        with locked(service.database_url):
            waiting.send(service.api.message("GET", "/healthz") + data)
            expect.body(waiting.read(), 200, OK)  # so the creation has come in too
            for path in paths:
                answer = service.api.get(path)
                assert (answer.status, answer.body) == (200, before[path])
            assert not waiting.readable(0)
        expect.user(waiting.read("POST"), 201, **fields)


@pytest.mark.clause("OPS-11", "OPS-12", "PROB-04")
def test_a_failure_tells_the_log_and_nobody_else(launched: Launch) -> None:
    service = launched()
    api = service.api
    user = api.create()
    path = f"/users/{user['id']}"
    with Session(service.database_url) as session:
        session.execute("ALTER TABLE users RENAME TO elsewhere")
    expected = []
    for method, target, content in (
        ("GET", path, None),
        ("GET", "/users", None),
        ("DELETE", path, None),
        ("POST", "/users", expect.render(expect.somebody())),
    ):
        request_id = expect.unique()
        headers = [("X-Request-Id", request_id), JSON]
        answer = api.request(method, target, content=content, headers=headers)
        expect.problem(answer, "internal", request_id=request_id)
        expected.append(request_id)
    answer = api.get(path)
    expect.problem(answer, "internal")
    expected.append(str(answer.header("x-request-id")))
    expect.problem(api.head(path), "internal", head=True)
    expect.body(api.get("/healthz"), 200, OK)
    with Session(service.database_url) as session:
        session.execute("ALTER TABLE elsewhere RENAME TO users")
    expect.user(api.get(path), 200, name=user["name"], email=user["email"])
    logged = {entry["request_id"]: entry for entry in failures(service)}
    for request_id in expected:
        entry = logged[request_id]
        assert set(entry) == {"time", "level", "message", "request_id", "error"}
        assert "users" in entry["error"]
        assert "\n" in entry["error"], "a traceback is more than a message"


@pytest.mark.clause("LOG-04", "OPS-11")
def test_a_failure_does_not_tell_the_row(launched: Launch) -> None:
    service = launched()
    with Session(service.database_url) as session:
        session.execute("ALTER TABLE users ADD later text CHECK (later IS NOT NULL)")
    fields = expect.somebody()
    expect.problem(service.api.post("/users", json=fields), "internal")
    (entry,) = failures(service)
    assert "check constraint" in entry["error"].lower()
    assert [value for value in map(str, fields.values()) if value in service.log()] == []


def failures(service: Service) -> list[dict[str, Any]]:
    """The log's lines of level error; every line is one JSON object."""
    entries = [json.loads(line) for line in service.stdout().splitlines()]
    return [entry for entry in entries if entry["level"] == "error"]
