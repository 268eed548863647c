"""OPS: one schema for every service, and one database for several at the same time."""

import hashlib
import hmac
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from contract_tests.harness import databases, expect, services
from contract_tests.harness.client import Client
from contract_tests.harness.databases import Engine, Session
from contract_tests.harness.services import Kind, Service
from contract_tests.harness.wire import Answer

JSON = ("Content-Type", "application/json")

# Open a database, which prepares it, and close it.
PREPARE: dict[Kind, str] = {
    "python": """
import asyncio, sys
from python_api.storage.database import open_database
from python_api.settings import read_settings

async def prepare():
    async with open_database(read_settings({"DATABASE_URL": sys.argv[1]})):
        pass

asyncio.run(prepare())
""",
    "node": """
import { openDatabase } from "./src/storage/database.ts";
import { readSettings } from "./src/settings.ts";

const database = await openDatabase(readSettings({ DATABASE_URL: process.argv[1] }));
await database.close();
""",
}


def prepare(kind: Kind, url: str) -> None:
    assert services.run_code(PREPARE, kind, url) == ""


def sqlite_schema(ask: Callable[[str], list[tuple[Any, ...]]]) -> dict[str, Any]:
    """What SQLite itself knows of every table; of the statements only the words it keeps there."""
    described: dict[str, Any] = {"encoding": ask("PRAGMA encoding")}
    for table in ask("PRAGMA table_list"):
        name = table[1]
        statements = ask(f"SELECT sql FROM sqlite_schema WHERE name = '{name}'")
        described[name] = {
            "table": table,
            "columns": ask(f"PRAGMA table_xinfo('{name}')"),
            "foreign keys": ask(f"PRAGMA foreign_key_list('{name}')"),
            "indexes": {
                index[1]: [index, *ask(f"PRAGMA index_xinfo('{index[1]}')")]
                for index in ask(f"PRAGMA index_list('{name}')")
            },
            "autoincrement": any("AUTOINCREMENT" in str(one).upper() for one in statements),
            "check": any("CHECK" in str(one).upper() for one in statements),
        }
    others = "SELECT type, name FROM sqlite_schema WHERE type IN ('view', 'trigger')"
    return {**described, "others": ask(others), "version": ask("SELECT * FROM schema_version")}


def postgres_schema(ask: Callable[[str], list[tuple[Any, ...]]]) -> dict[str, Any]:
    """What PostgreSQL itself knows, but for the index that only some engines can have."""
    described: dict[str, Any] = {}
    for (name,) in ask("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        described[name] = {
            "columns": ask(
                "SELECT column_name, ordinal_position, data_type, character_maximum_length,"
                " datetime_precision, collation_name, is_nullable, column_default, is_identity,"
                " identity_generation, identity_start, identity_increment, identity_maximum,"
                " identity_cycle FROM information_schema.columns"
                f" WHERE table_name = '{name}' ORDER BY column_name"
            ),
            "constraints": ask(
                "SELECT conname, contype, pg_get_constraintdef(oid) FROM pg_constraint"
                f" WHERE conrelid = '{name}'::regclass ORDER BY conname"
            ),
            "indexes": ask(
                "SELECT indexname, indexdef FROM pg_indexes"
                f" WHERE tablename = '{name}' AND indexname <> 'ix_users_q' ORDER BY indexname"
            ),
        }
    return {**described, "version": ask("SELECT * FROM schema_version")}


def schema(url: str) -> dict[str, Any]:
    with Session(url) as session:
        of_engine = sqlite_schema if url.startswith("sqlite:") else postgres_schema
        return of_engine(session.execute)


NewDatabase = Callable[[Engine, Path], str]


@pytest.fixture(params=databases.ENGINES)
def new_url(
    request: pytest.FixtureRequest, new_database: NewDatabase, tmp_path: Path
) -> Callable[[str], str]:
    """A function that gives the URL of a new database of the engine; names tell files apart."""

    def create(name: str) -> str:
        (tmp_path / name).mkdir()
        return new_database(request.param, tmp_path / name)

    return create


@pytest.mark.clause("OPS-13", "OPS-05", "OPS-16")
def test_all_services_prepare_the_same_schema(new_url: Callable[[str], str]) -> None:
    described = []
    for kind, other in (services.KINDS, services.KINDS[::-1]):
        url = new_url(kind)
        prepare(kind, url)
        described.append(schema(url))
        prepare(other, url)
        assert schema(url) == described[-1]
    assert {"users", "idempotency_keys", "schema_version"} <= set(described[0])
    assert described[0] == described[1]
    assert described[0]["version"] == [("0006",)]


def has_open(service: Service, file: Path) -> bool:
    """Whether the service has this file open (on Linux)."""
    try:
        opened = Path(f"/proc/{service.process.pid}/fd").iterdir()
        return file in [one.readlink() for one in opened]
    except FileNotFoundError:
        # One has just been closed.
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which files are open")
@pytest.mark.clause("OPS-16")
@pytest.mark.parametrize("kind", services.KINDS)
def test_a_start_waits_for_whoever_prepares_the_file(kind: Kind, tmp_path: Path) -> None:
    service = Service(kind, tmp_path, {"DATABASE_TIMEOUT": "20"})
    try:
        with databases.locked(service.database_url):
            service.start()
            while not has_open(service, service.file):
                assert service.process.poll() is None
                time.sleep(0.01)
            with pytest.raises(subprocess.TimeoutExpired):
                service.process.wait(1)
        service.await_ready()
    finally:
        service.kill()


@pytest.mark.clause("OPS-09")
@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize("kind", services.KINDS)
def test_after_its_end_all_is_in_the_file(kind: Kind, processes: str, tmp_path: Path) -> None:
    service = services.launch(kind, env={"WEB_CONCURRENCY": processes}, directory=tmp_path)
    try:
        service.api.create()
        assert service.stop() == 0
        assert [file.name for file in tmp_path.glob("users.db*")] == ["users.db"]
    finally:
        service.kill()


@pytest.mark.clause("OPS-16", "OPS-13")
def test_all_services_prepare_it_at_the_same_instant(new_url: Callable[[str], str]) -> None:
    first = new_url("alone")
    prepare("python", first)
    together = new_url("together")
    with ThreadPoolExecutor(6) as threads:
        for _ in threads.map(prepare, services.KINDS * 3, [together] * 6):
            pass
    assert schema(together) == schema(first)


@pytest.mark.clause("REP-04", "OPS-15")
def test_a_database_of_another_time_zone_has_the_same_moments(
    new_database: NewDatabase, started: Callable[[str], Service], tmp_path: Path
) -> None:
    url = new_database("postgres", tmp_path)
    with Session(url) as session:
        ((name,),) = session.execute("SELECT current_database()")
        session.execute(f"ALTER DATABASE \"{name}\" SET timezone = 'Asia/Kolkata'")
    api, fields = started(url).api, expect.somebody()
    user = expect.user(api.post("/users", json=fields), 201, **fields)
    expect.user(api.get(f"/users/{user['id']}"), 200, **user)


@pytest.mark.clause("OPS-17")
@pytest.mark.parametrize("kind", services.KINDS)
@pytest.mark.parametrize(
    "url",
    ["sqlite:////nowhere/users.db", "postgresql://nobody@127.0.0.1:1/users"],
    ids=["sqlite", "postgres"],
)
def test_a_database_that_cannot_be_opened_ends_the_start_with_one_line(
    kind: Kind, url: str, tmp_path: Path
) -> None:
    service = Service(kind, tmp_path, None, url)
    service.start()
    assert service.wait(services.START_TIMEOUT) == 1
    assert re.fullmatch("The database cannot be opened: .+\n", service.stderr())
    assert service.stdout() == ""


@pytest.mark.clause("OPS-17")
def test_a_newer_database_ends_the_start_with_one_line(spawned: Callable[..., Service]) -> None:
    service = spawned()
    service.await_ready()
    user = service.api.create()
    assert service.stop() == 0
    with Session(service.database_url) as session:
        session.execute("UPDATE schema_version SET version_num = '9999'")
    service.start()
    assert service.wait(services.START_TIMEOUT) == 1
    assert service.stderr() == (
        "The database has the schema version 9999, this service knows 0006 at most.\n"
    )
    with Session(service.database_url) as session:
        assert session.execute("SELECT version_num FROM schema_version") == [("9999",)]
        assert session.execute("SELECT id, email FROM users") == [(user["id"], user["email"])]


# Prepare a database as an older version did: with the steps that are in this directory.
PREPARE_OLD = """
import asyncio, pathlib, sys
from python_api.storage import migrate
from python_api.storage.database import open_database
from python_api.settings import read_settings

migrate.STEPS = pathlib.Path(sys.argv[2])

async def prepare():
    async with open_database(read_settings({"DATABASE_URL": sys.argv[1]})):
        pass

asyncio.run(prepare())
"""


@pytest.fixture
def url_of_0001(new_url: Callable[[str], str], tmp_path: Path) -> str:
    """The URL of a database of version 0001, which one service prepared and another might have."""
    url = new_url("old")
    prepare_old(url, tmp_path / "steps", "0001")
    return url


def prepare_old(url: str, steps: Path, version: str) -> None:
    """Prepare a database as this version did."""
    steps.mkdir()
    for step in (services.ROOT / "python_api" / "storage" / "migrations").glob("v*.py"):
        if step.name <= f"v{version}~":
            shutil.copy(step, steps)
    services.run_code({"python": PREPARE_OLD, "node": ""}, "python", url, str(steps))


FAR = "2999-01-01T00:00:00.000Z"
OLD_USERS = (
    ("Ada", "ada", "ada@example.com", "2020-01-02T03:04:05.060Z", "2020-01-02T03:04:05.060Z", 1),
    ("Bea", "bea", "bea@example.com", "2020-01-02T03:04:05.061Z", "2021-01-02T03:04:05.000Z", 7),
)


def fill_0001(session: Session) -> list[dict[str, Any]]:
    """Put users in, as version 0001 did; returns them as they are shown now."""
    columns = "name, name_lower, email, created_at, updated_at, version"
    for user in OLD_USERS:
        session.execute(f"INSERT INTO users ({columns}) VALUES {user}")
    return [
        {
            "id": number,
            "name": name,
            "email": email,
            "role": "member",
            "created_at": created_at,
            "updated_at": updated_at,
            "version": version,
        }
        for number, (name, _, email, created_at, updated_at, version) in enumerate(OLD_USERS, 1)
    ]


@pytest.fixture(params=services.KINDS)
def started(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Service]]:
    """A function that starts a service on this database."""
    running = []

    def start(url: str) -> Service:
        running.append(services.launch(request.param, directory=tmp_path / "new", database_url=url))
        return running[-1]

    yield start
    for service in running:
        service.kill()


@pytest.mark.clause("OPS-05", "OPS-13", "ROLE-03", "PASSWORD-16")
@pytest.mark.parametrize("known", [True, False], ids=["version-kept", "no-version"])
def test_an_older_database_keeps_its_users(
    url_of_0001: str,
    new_url: Callable[[str], str],
    started: Callable[[str], Service],
    known: bool,
) -> None:
    """One of version 0001, or of the time before versions were kept."""
    new = new_url("new")
    prepare("python", new)
    with Session(url_of_0001) as session:
        users = fill_0001(session)
        assert session.execute("SELECT * FROM schema_version") == [("0001",)]
        if not known:
            session.execute("DROP TABLE schema_version")
            session.execute("DROP INDEX ix_users_name")
            session.execute("DROP INDEX ix_users_created_at")
    service = started(url_of_0001)
    assert schema(url_of_0001) == schema(new)
    expect.users(service.api.get("/users"), users, next=False)
    with Session(url_of_0001) as session:
        kept = session.execute("SELECT role, password_hash, token_epoch FROM users")
        assert kept == [("member", None, 1)] * 2
    answer = service.api.patch("/users/2", json={"role": "admin"})
    changed = {**users[1], "role": "admin", "version": 8, "updated_at": None}
    expect.user(answer, 200, **changed)
    assert service.api.create()["id"] == 3


@pytest.mark.clause("OPS-05", "IDEM-04", "IDEM-15")
def test_an_answer_of_version_0001_is_given_again_with_a_role(
    url_of_0001: str, started: Callable[[str], Service]
) -> None:
    key, moment = expect.unique(), "2020-01-02T03:04:05.060Z"
    # What the step looks for in the answers that are kept stands in this name, too.
    fields = {"name": 'Ada ,"created_at": \\', "email": "ada@example.com"}
    content = expect.render(fields)
    user = {"id": 1, **fields, "created_at": moment, "updated_at": moment, "version": 1}
    row = (
        hashlib.sha256(key.encode()).hexdigest(),
        hmac.new(key.encode(), content, hashlib.sha256).hexdigest(),
        expect.render(user).decode(),
        "2999-01-01T00:00:00.000Z",
    )
    with Session(url_of_0001) as session:
        values = ", ".join(f"'{value}'" for value in row)
        session.execute(f"INSERT INTO idempotency_keys VALUES ({values})")
    headers = [JSON, ("Idempotency-Key", key)]
    answer = started(url_of_0001).api.post("/users", content=content, headers=headers)
    assert answer.status == 201
    assert answer.header("idempotency-replayed") == "true"
    with_role = {"id": 1, **fields, "role": "member", **{k: user[k] for k in [*user][3:]}}
    assert answer.body == expect.render(with_role)


@pytest.mark.clause("OPS-05", "OPS-13", "HOOK-29")
def test_an_older_database_keeps_its_deliveries(
    new_url: Callable[[str], str], started: Callable[[str], Service], tmp_path: Path
) -> None:
    """One of version 0005."""
    old, new = new_url("old"), new_url("new")
    prepare_old(old, tmp_path / "steps", "0005")
    prepare("python", new)
    moment = "'2020-01-02T03:04:05.060Z'"
    with Session(old) as session:
        assert session.execute("SELECT * FROM schema_version") == [("0005",)]
        session.execute(
            "INSERT INTO events (position, type, user_id, time, data)"
            f" VALUES (1, 'user.created', 1, {moment}, '{{}}'), (2, 'user.changed', 1, {moment}, '{{}}')"
        )
        session.execute("UPDATE event_positions SET last = 2")
        session.execute(
            "INSERT INTO webhooks (url, types, secret, position, created_at, ended_at)"
            f" VALUES ('https://a.invalid/', '[\"user.created\"]', 'whsec_', 2, {moment}, NULL)"
        )
        session.execute(f"INSERT INTO deliveries VALUES (1, 1, 1, 3, '500', '{FAR}')")
        session.execute(f"INSERT INTO deliveries VALUES (1, 2, 1, 0, NULL, '{FAR}')")
    service = started(old)
    assert schema(old) == schema(new)
    shown = [
        ["1", "waiting", 3, "500", FAR],
        ["2", "waiting", 0, None, FAR],
    ]
    listed = service.api.get("/webhooks/1/deliveries").json()
    assert [[*one.values()] for one in listed] == shown
    expect.empty(service.api.delete("/webhooks/1"))
    with Session(old) as session:
        assert session.execute("SELECT * FROM deliveries") == []


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
