"""OPS: one schema for every service, and one database for several at the same time."""

import contextlib
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from contract_tests.harness import expect, services
from contract_tests.harness.client import Client
from contract_tests.harness.services import Kind
from contract_tests.harness.wire import Answer

JSON = ("Content-Type", "application/json")

# Open a database, which prepares it, and close it.
PREPARE: dict[Kind, str] = {
    "python": """
import asyncio, sys
from python_api.database import open_database

async def prepare():
    async with open_database(sys.argv[1], 5):
        pass

asyncio.run(prepare())
""",
    "node": """
import { openDatabase } from "./src/database.ts";

const database = await openDatabase(process.argv[1], 5);
await database.close();
""",
}


def prepare(kind: Kind, file: Path) -> None:
    assert services.run_code(PREPARE, kind, f"sqlite:///{file}") == ""


def schema(file: Path) -> dict[str, Any]:
    """What SQLite itself knows of every table; of the statements only the words it keeps there."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.row_factory = sqlite3.Row

        def ask(query: str) -> list[dict[str, Any]]:
            return [dict(row) for row in connection.execute(query)]

        described: dict[str, Any] = {"encoding": ask("PRAGMA encoding")}
        for table in ask("PRAGMA table_list"):
            name = table["name"]
            statements = ask(f"SELECT sql FROM sqlite_schema WHERE name = '{name}'")
            indexes = ask(f"PRAGMA index_list('{name}')")
            described[name] = {
                "table": table,
                "columns": ask(f"PRAGMA table_xinfo('{name}')"),
                "foreign keys": ask(f"PRAGMA foreign_key_list('{name}')"),
                "indexes": {
                    index["name"]: [index, *ask(f"PRAGMA index_xinfo('{index['name']}')")]
                    for index in indexes
                },
                "autoincrement": any("AUTOINCREMENT" in str(one).upper() for one in statements),
                "check": any("CHECK" in str(one).upper() for one in statements),
            }
        others = "SELECT type, name FROM sqlite_schema WHERE type IN ('view', 'trigger')"
        return {**described, "others": ask(others)}


@pytest.mark.clause("OPS-13", "OPS-05")
def test_all_services_prepare_the_same_schema(tmp_path: Path) -> None:
    described = []
    for kind, other in (services.KINDS, services.KINDS[::-1]):
        file = tmp_path / f"{kind}.db"
        prepare(kind, file)
        described.append(schema(file))
        prepare(other, file)
        assert schema(file) == described[-1]
    assert {"users", "idempotency_keys"} <= set(described[0])
    assert described[0] == described[1]


@pytest.fixture(params=["python first", "node first"])
def both(request: pytest.FixtureRequest, pair: tuple[Client, Client]) -> tuple[Client, Client]:
    """Both services on one database, the one that begins first."""
    return pair if request.param == "python first" else pair[::-1]


@pytest.mark.clause("OPS-14", "USR-CREATE-05", "USR-REPLACE-07", "USR-PATCH-09", "USR-DELETE-03")
def test_each_shows_what_the_other_answered(both: tuple[Client, Client]) -> None:
    one, other = both
    ada = one.create()
    path = f"/users/{ada['id']}"
    users = f"/users?q={ada['email']}"
    for api in (other, one):
        expect.user(api.get(path), 200, **ada)
        expect.users(api.get(users), [ada], next=False)
    for method, fields in (
        ("PUT", {"name": "Ada King", "email": ada["email"]}),
        ("PATCH", {"name": "Countess"}),
    ):
        ada |= fields | {"version": ada["version"] + 1, "updated_at": None}
        ada = expect.user(other.request(method, path, json=fields), 200, **ada)
        expect.user(one.get(path), 200, **ada)
        expect.users(one.get(users), [ada], next=False)
        one, other = other, one
    expect.empty(other.delete(path))
    expect.problem(one.get(path), "user-not-found")
    expect.users(one.get(users), [], next=False)
    eve = one.create()
    assert eve["id"] > ada["id"]


@pytest.mark.clause("OPS-14", "COND-01", "COND-02", "COND-11")
def test_the_etag_of_one_is_known_to_the_other(both: tuple[Client, Client]) -> None:
    one, other = both
    ada = one.create()
    path = f"/users/{ada['id']}"
    etag = one.get(path).header("etag") or ""
    expect.not_modified(other.get(path, headers={"If-None-Match": etag}), etag)
    changed = other.patch(path, json={"name": "Countess"}, headers={"If-Match": etag})
    ada |= {"name": "Countess", "version": 2, "updated_at": None}
    ada = expect.user(changed, 200, **ada)
    expect.user(one.get(path, headers={"If-None-Match": etag}), 200, **ada)
    for refused in (
        one.patch(path, json={"name": "Eve"}, headers={"If-Match": etag}),
        one.delete(path, headers={"If-Match": etag}),
    ):
        expect.problem(refused, "version-mismatch")
    etag = changed.header("etag") or ""
    expect.empty(one.delete(path, headers={"If-Match": etag}))


@pytest.mark.clause("OPS-14", "USR-CREATE-07", "USR-PATCH-06", "UNIQ-07")
def test_an_email_is_taken_and_freed_on_both(both: tuple[Client, Client]) -> None:
    one, other = both
    ada, eve = one.create(), other.create()
    taken = {"name": "Eve", "email": ada["email"].upper()}
    expect.problem(other.post("/users", json=taken), "email-taken")
    expect.problem(other.patch(f"/users/{eve['id']}", json=taken), "email-taken")
    expect.empty(one.delete(f"/users/{ada['id']}"))
    expect.user(other.post("/users", json=taken), 201, name="Eve", email=ada["email"])


def at_once(
    pair: tuple[Client, Client],
    method: str,
    path: str,
    bodies: Sequence[Any],
    *headers: tuple[str, str],
) -> list[Answer]:
    """The answers to requests with these bodies, all sent at the same time, half to each service."""

    def ask(api: Client, some: Sequence[Any]) -> list[Answer]:
        return api.at_once(
            [api.message(method, path, [JSON, *headers], expect.render(body)) for body in some]
        )

    with ThreadPoolExecutor(len(pair)) as threads:
        answers = threads.map(ask, pair, (bodies[::2], bodies[1::2]))
        return [answer for some in answers for answer in some]


@pytest.mark.clause("OPS-14", "UNIQ-01", "UNIQ-05")
def test_concurrent_writes_to_both(pair: tuple[Client, Client]) -> None:
    fields = expect.somebody()
    answers = at_once(pair, "POST", "/users", [fields] * 40)
    created, *others = sorted(answers, key=lambda answer: answer.status)
    ada = expect.user(created, 201, **fields)
    for answer in others:
        expect.problem(answer, "email-taken")
    path = f"/users/{ada['id']}"
    names = [{"name": expect.unique()} for _ in range(40)]
    changed = [
        expect.user(answer, 200, **{**answer.json(), "id": ada["id"], "email": ada["email"]})
        for answer in at_once(pair, "PATCH", path, names)
    ]
    changed.sort(key=lambda user: int(user["version"]))
    assert [user["version"] for user in changed] == list(range(2, 42))
    assert {user["name"] for user in changed} == {one["name"] for one in names}
    for api in pair:
        expect.user(api.get(path), 200, **changed[-1])


@pytest.mark.clause("OPS-14", "UNIQ-03")
def test_concurrent_writes_to_both_with_one_etag(pair: tuple[Client, Client]) -> None:
    path = f"/users/{pair[0].create()['id']}"
    bodies = [{"name": expect.unique()} for _ in range(40)]
    answers = at_once(pair, "PATCH", path, bodies, ("If-Match", '"1"'))
    changed, *others = sorted(answers, key=lambda answer: answer.status)
    ada = expect.user(changed, 200, **{**changed.json(), "version": 2})
    for answer in others:
        expect.problem(answer, "version-mismatch")
    for api in pair:
        expect.user(api.get(path), 200, **ada)


@pytest.mark.clause("OPS-14", "REP-09")
def test_both_give_every_id_once(pair: tuple[Client, Client]) -> None:
    token = expect.unique()
    bodies = [{"name": token, "email": expect.unique_email()} for _ in range(40)]
    answers = at_once(pair, "POST", "/users", bodies)
    users = [expect.user(answer, 201, **answer.json()) for answer in answers]
    users.sort(key=lambda user: int(user["id"]))
    assert len({user["id"] for user in users}) == 40
    assert {user["email"] for user in users} == {body["email"] for body in bodies}
    for api in pair:
        expect.users(api.get(f"/users?q={token}"), users, next=False)
