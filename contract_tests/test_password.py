"""PASSWORD: what is taken for one, what comes of it, and what is kept of it."""

import base64
import contextlib
import hashlib
import json
import re
import socket
import time
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest

from contract_tests.harness import services, tokens
from contract_tests.harness.client import Client
from contract_tests.harness.databases import Session, locked
from contract_tests.harness.expect import (
    MAX_ID,
    body,
    error,
    problem,
    render,
    replay,
    unique,
    unique_email,
    user,
    users,
)
from contract_tests.harness.services import Kind, Service

NOBODY = f"/users/{MAX_ID}"
JSON = ("content-type", "application/json")
WRITES = [("POST", "/users"), ("PUT", NOBODY), ("PATCH", NOBODY)]
EMOJI = "\U0001f600"
PASSWORD = "correct horse battery staple"

Launch = Callable[..., Service]


def fields(**members: Any) -> dict[str, Any]:
    """A valid body with an email of its own, and these members."""
    return {"name": f"Ada {unique()}", "email": unique_email(), **members}


def created(api: Client, **members: Any) -> dict[str, Any]:
    """A new user with these members, checked; its password is not among what is answered."""
    sent = fields(**members)
    answer = api.post("/users", json=sent)
    return user(answer, 201, name=sent["name"], email=sent["email"])


def after(before: dict[str, Any], **members: Any) -> dict[str, Any]:
    """The user one change later."""
    return {**before, **members, "version": before["version"] + 1, "updated_at": None}


def same(ada: dict[str, Any], method: str) -> dict[str, Any]:
    """What a body has to hold besides, to change nothing."""
    return {"name": ada["name"], "email": ada["email"]} if method == "PUT" else {}


def rejected(api: Client, password: Any, code: str) -> None:
    """Every write answers this password with this code."""
    for method, path in WRITES:
        content = json.dumps(fields(password=password)).encode()
        answer = api.request(method, path, content=content, headers=[JSON])
        problem(answer, "validation", [error(code, pointer="#/password")])


# What is taken for one


TAKEN = {
    "twelve": "x" * 12,
    "a-hundred-and-twenty-eight": "x" * 128,
    "twelve-beyond-UTF-16": EMOJI * 12,
    "all-beyond-UTF-16": EMOJI * 128,
    "spaces": " " * 12,
    "white-space": "\t\r\n \u00a0\u3000\u2028\ufeff\u200b\x0b\x0c\x85",
    "to-trim": f"\n {'x' * 10}",
    "to-trim-at-the-limit": f" {'x' * 126} ",
    "NULs": "\x00" * 12,
    "controls": "".join(map(chr, range(0x20))),
    "C1": "".join(map(chr, range(0x7F, 0xA0))),
    "combining": "e\u0301" * 64,
    "noncharacters": "\uffff\ufdd0\U0010ffff" * 4,
    "JSON": '{"password":"\\"}',
    "a-hash": "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g",
    "SQL": "x'); DROP TABLE users;--",
}


@pytest.mark.clause("PASSWORD-01", "PASSWORD-10")
@pytest.mark.parametrize("password", TAKEN.values(), ids=TAKEN)
def test_a_password_is_taken_and_not_shown(api: Client, password: str) -> None:
    ada = created(api, password=password)
    path = f"/users/{ada['id']}"
    user(api.get(path), 200, **ada)
    for method in ("PUT", "PATCH"):
        answer = api.request(method, path, json={**same(ada, method), "password": password})
        ada = user(answer, 200, **after(ada))


@pytest.mark.storeless
@pytest.mark.clause("PASSWORD-02", "PASSWORD-05")
@pytest.mark.parametrize(
    "password",
    ["", "x", "x" * 11, EMOJI * 11, " " * 11, "\x00" * 11, "e\u0301" * 5 + "x", "\ud800" * 11],
    ids=ascii,
)
def test_fewer_than_twelve_are_too_short(api: Client, password: str) -> None:
    rejected(api, password, "too-short")


@pytest.mark.storeless
@pytest.mark.clause("PASSWORD-03", "PASSWORD-05")
@pytest.mark.parametrize(
    "password",
    ["x" * 129, EMOJI * 129, f"{'x' * 128} ", " " * 129, "\ud800" * 129, "x" * 60_000],
    ids=lambda password: f"{ascii(password)[:8]}-{len(password)}",
)
def test_more_than_a_hundred_and_twenty_eight_are_too_long(api: Client, password: str) -> None:
    rejected(api, password, "too-long")


@pytest.mark.storeless
@pytest.mark.clause("PASSWORD-04")
@pytest.mark.parametrize(
    "password",
    ["\ud800" * 12, f"{'x' * 11}\udfff", f"\ude00\ud83d{'x' * 10}", f"{'x' * 127}\ud83d"],
    ids=ascii,
)
def test_an_unpaired_surrogate_is_malformed(api: Client, password: str) -> None:
    rejected(api, password, "malformed")


@pytest.mark.storeless
@pytest.mark.clause("PASSWORD-05", "PASSWORD-06")
@pytest.mark.parametrize(
    "password", [True, 0, 123456789012, [], {}, ["x" * 12], {"x": "x" * 12}], ids=json.dumps
)
def test_what_is_no_text_has_the_wrong_type(api: Client, password: Any) -> None:
    rejected(api, password, "wrong-type")


@pytest.mark.storeless
@pytest.mark.clause("PASSWORD-06")
def test_null_has_the_wrong_type_where_nothing_is_patched(api: Client) -> None:
    for method, path in WRITES[:2]:
        answer = api.request(method, path, json=fields(password=None))
        problem(answer, "validation", [error("wrong-type", pointer="#/password")])


@pytest.mark.storeless
@pytest.mark.clause("PASSWORD-10", "PROB-04")
@pytest.mark.parametrize("password", ["hunter2", f"hunter2{'x' * 128}", ["hunter2hunter2"]])
def test_a_password_that_is_refused_is_not_repeated(api: Client, password: Any) -> None:
    for method, path in WRITES:
        assert b"hunter2" not in api.request(method, path, json=fields(password=password)).body


# What comes of it


@pytest.mark.clause("PASSWORD-09", "REP-07", "REP-11")
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_password_is_a_change_the_same_one_too(api: Client, method: str) -> None:
    ada = created(api)
    path = f"/users/{ada['id']}"
    for password in (PASSWORD, PASSWORD, PASSWORD.upper()):
        time.sleep(0.002)
        before = ada["updated_at"]
        answer = api.request(method, path, json={**same(ada, method), "password": password})
        ada = user(answer, 200, **after(ada))
        assert ada["updated_at"] > before
        user(api.get(path), 200, **ada)


@pytest.mark.clause("PASSWORD-07", "USR-PATCH-03")
@pytest.mark.parametrize("kind", ["application/json", "application/merge-patch+json"])
def test_null_takes_away_what_there_is(api: Client, kind: str) -> None:
    ada = created(api)
    path, headers = f"/users/{ada['id']}", {"content-type": kind}
    away = {"password": None}
    time.sleep(0.002)
    user(api.patch(path, json=away, headers=headers), 200, **ada)
    ada = user(api.patch(path, json={"password": PASSWORD}, headers=headers), 200, **after(ada))
    ada = user(api.patch(path, json=away, headers=headers), 200, **after(ada))
    user(api.patch(path, json=away, headers=headers), 200, **ada)
    answer = api.patch(path, json={**away, "name": "Countess"}, headers=headers)
    ada = user(answer, 200, **after(ada, name="Countess"))
    user(api.get(path), 200, **ada)


@pytest.mark.clause("PASSWORD-08", "USR-REPLACE-04", "USR-PATCH-02", "USR-PATCH-03")
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_what_names_no_password_leaves_it(api: Client, method: str) -> None:
    ada = created(api, password=PASSWORD)
    path = f"/users/{ada['id']}"
    user(api.request(method, path, json=same(ada, method)), 200, **ada)
    answer = api.request(method, path, json={**same(ada, method), "name": "Countess"})
    ada = user(answer, 200, **after(ada, name="Countess"))
    # There is one still: to take it away is a change.
    ada = user(api.patch(path, json={"password": None}), 200, **after(ada))
    user(api.request(method, path, json=same(ada, method)), 200, **ada)
    user(api.patch(path, json={"password": None}), 200, **ada)


@pytest.mark.clause("PASSWORD-09", "USR-PATCH-08")
def test_a_password_and_a_name_are_one_change(api: Client) -> None:
    ada = created(api)
    path = f"/users/{ada['id']}"
    changes = {"password": PASSWORD, "name": f"Countess {unique()}", "role": "admin"}
    answer = api.patch(path, json=changes)
    changed = user(answer, 200, **after(ada, name=changes["name"], role="admin"))
    user(api.get(path), 200, **changed)


@pytest.mark.clause("PASSWORD-09", "COND-02", "COND-16", "USR-PATCH-07")
def test_a_password_is_held_to_the_condition(api: Client) -> None:
    ada = created(api)
    path = f"/users/{ada['id']}"
    stale, current = ({"if-match": etag} for etag in ('"2"', '"1"'))
    for password in (PASSWORD, None):
        answer = api.patch(path, json={"password": password}, headers=stale)
        problem(answer, "version-mismatch")
    user(api.patch(path, json={"password": None}), 200, **ada)
    answer = api.patch(path, json={"password": PASSWORD}, headers=current)
    user(answer, 200, **after(ada))


@pytest.mark.clause("PASSWORD-07", "PASSWORD-09", "USR-PATCH-05", "USR-REPLACE-03")
def test_nobody_has_no_password(api: Client) -> None:
    problem(api.patch(NOBODY, json={"password": PASSWORD}), "user-not-found")
    problem(api.patch(NOBODY, json={"password": None}), "user-not-found")
    problem(api.put(NOBODY, json=fields(password=PASSWORD)), "user-not-found")


@pytest.mark.clause("PASSWORD-09", "UNIQ-05", "UNIQ-09")
def test_concurrent_passwords_are_a_change_each(api: Client) -> None:
    ada = created(api)
    path = f"/users/{ada['id']}"
    content = render({"password": PASSWORD})
    answers = api.at_once([api.message("PATCH", path, [JSON], content) for _ in range(8)])
    versions = sorted(answer.json()["version"] for answer in answers)
    assert versions == list(range(2, 10))
    for answer in answers:
        user(answer, 200, **{**ada, "version": answer.json()["version"], "updated_at": None})


@pytest.mark.clause("PASSWORD-10", "IDEM-02", "USR-LIST-10")
def test_no_answer_tells_of_a_password(api: Client) -> None:
    key, password = {"idempotency-key": unique()}, f"{unique()}-{unique()}"
    sent = fields(password=password)
    first = api.post("/users", json=sent, headers=key)
    ada = user(first, 201, name=sent["name"], email=sent["email"])
    replay(api.post("/users", json=sent, headers=key), first)
    other = {**sent, "password": f"{password}!"}
    problem(api.post("/users", json=other, headers=key), "idempotency-key-reused")
    user(api.get(f"/users/{ada['id']}"), 200, **ada)
    users(api.get(f"/users?q={ada['email']}"), [ada], next=False)
    for q in (password, "argon2id"):
        found = api.get(f"/users?q={q}&limit=100")
        assert ada["id"] not in [one["id"] for one in found.json()]


# What is kept of it


SALT, HASH = r"([A-Za-z0-9+/]{22})", r"([A-Za-z0-9+/]{43})"


def kept(service: Service, ada: dict[str, Any]) -> tuple[str | None, int]:
    """The user's `password_hash` and `token_epoch`, from the database."""
    with Session(service.database_url) as session:
        query = f"SELECT password_hash, token_epoch FROM users WHERE id = {ada['id']}"
        ((password_hash, epoch),) = session.execute(query)
        return password_hash, int(epoch)


def hashes_of_every_write(service: Service) -> list[str]:
    """What is kept of one password after a POST, a PUT and a PATCH."""
    ada = created(service.api, password=PASSWORD)
    found = [kept(service, ada)[0]]
    for method in ("PUT", "PATCH"):
        members = {**same(ada, method), "password": PASSWORD}
        answer = service.api.request(method, f"/users/{ada['id']}", json=members)
        ada = user(answer, 200, **after(ada))
        found.append(kept(service, ada)[0])
    assert None not in found
    return [str(one) for one in found]


@pytest.mark.engine("sqlite")
@pytest.mark.clause("PASSWORD-11", "PASSWORD-12")
@pytest.mark.settings(ARGON2_MEMORY="64", ARGON2_ITERATIONS="3", ARGON2_PARALLELISM="2")
def test_a_hash_as_the_settings_have_it_is_kept(service: Service) -> None:
    form = re.compile(rf"\$argon2id\$v=19\$m=64,t=3,p=2\${SALT}\${HASH}")
    matches = [form.fullmatch(one) for one in hashes_of_every_write(service)]
    found = [match.groups() for match in matches if match]
    assert len(found) == 3
    for length, parts in zip((16, 32), zip(*found, strict=True), strict=True):
        assert len(set(parts)) == 3
        assert {len(base64.b64decode(f"{part}==")) for part in parts} == {length}


@pytest.mark.engine("sqlite")
@pytest.mark.clause("PASSWORD-12")
@pytest.mark.settings(ARGON2_MEMORY="", ARGON2_ITERATIONS="", ARGON2_PARALLELISM="")
def test_by_default_a_hash_costs_what_owasp_asks_for(service: Service) -> None:
    (start,) = {one.rpartition("$")[0][:31] for one in hashes_of_every_write(service)}
    assert start == "$argon2id$v=19$m=19456,t=2,p=1$"


# Whether hashes are those of passwords, as the other services' library has it.
VERIFY: dict[Kind, str] = {
    "python": """
import json, sys
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

def verify(kept, password):
    try:
        return PasswordHasher().verify(kept, password)
    except VerifyMismatchError:
        return False

print(json.dumps([verify(*pair) for pair in json.loads(sys.argv[1])]))
""",
    "node": """
import { verify } from "@node-rs/argon2";

const pairs = JSON.parse(process.argv[1]);
console.log(JSON.stringify(await Promise.all(pairs.map((pair) => verify(...pair)))));
""",
}


@pytest.mark.clause("PASSWORD-13", "PASSWORD-11")
def test_the_other_service_knows_the_password_again(service: Service) -> None:
    (other,) = (kind for kind in services.KINDS if kind != service.kind)
    right, wrong = [], []
    for password in [*TAKEN.values(), "Zoe\u0308 \u212b \ufb01 at home", f"{'x' * 80}y"]:
        password_hash, _ = kept(service, created(service.api, password=password))
        right.append((password_hash, password))
        others = {
            *(password.strip(), password.rstrip("\n"), password.upper(), password[:72]),
            *(unicodedata.normalize(form, password) for form in ("NFC", "NFD", "NFKC")),
            *(password.partition("\x00")[0], f"{password} "),
        }
        wrong += [(password_hash, one) for one in others - {password}]
    for pairs, known in ((right, True), (wrong, False)):
        said = json.loads(services.run_code(VERIFY, other, json.dumps(pairs)))
        told = [pair for pair, one in zip(pairs, said, strict=True) if one is not known]
        assert told == []


@pytest.mark.clause("PASSWORD-07", "PASSWORD-08", "PASSWORD-09")
def test_what_is_kept_changes_with_the_password_alone(service: Service) -> None:
    api = service.api
    ada = created(api)
    path = f"/users/{ada['id']}"
    assert kept(service, ada)[0] is None
    api.patch(path, json={"password": PASSWORD})
    first, _ = kept(service, ada)
    api.patch(path, json={"name": "Countess", "role": "admin"})
    api.put(path, json=fields())
    api.put(path, json=fields(role="member"))
    api.patch(path, json={"password": "too short"})
    api.patch(path, json={"password": PASSWORD, "email": "wrong"})
    api.patch(path, json={"password": PASSWORD}, headers={"if-match": '"1"'})
    assert kept(service, ada)[0] == first
    assert first is not None
    api.put(path, json=fields(password=PASSWORD))
    second, _ = kept(service, ada)
    assert second not in (first, None)
    api.patch(path, json={"password": None})
    assert kept(service, ada)[0] is None


@pytest.mark.clause("PASSWORD-16")
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_changes_of_password_and_role_are_counted(service: Service, method: str) -> None:
    api = service.api
    ada = created(api, password=PASSWORD)
    path = f"/users/{ada['id']}"
    assert kept(service, ada)[1] == 1
    for members, epoch in (
        ({}, 1),
        ({"name": "Countess"}, 1),
        ({"role": "member"}, 1),
        ({"role": "admin"}, 2),
        ({"role": "admin"}, 2),
        ({"email": ada["email"].upper()}, 2),
        ({"password": PASSWORD}, 3),
        ({"password": PASSWORD, "role": "admin"}, 4),
        ({"password": PASSWORD, "role": "member"}, 5),
        ({"role": "member", "name": "Ada"}, 5),
        ({"role": "nobody"}, 5),
    ):
        api.request(method, path, json={**same(ada, method), **members})
        assert kept(service, ada)[1] == epoch, members
    for epoch in (6, 6):
        api.patch(path, json={"password": None})
        assert kept(service, ada)[1] == epoch
    stale = {"if-match": '"1"'}
    problem(api.patch(path, json={"role": "admin"}, headers=stale), "version-mismatch")
    assert kept(service, ada)[1] == 6


def everything(service: Service) -> bytes:
    """All that the database holds: of SQLite the files, of PostgreSQL every row of every table."""
    if service.database_url.startswith("sqlite:"):
        files = service.directory.glob(f"{service.file.name}*")
        return b"".join(file.read_bytes() for file in files)
    with Session(service.database_url) as session:
        tables = session.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        rows = [session.execute(f"SELECT t::text FROM {name} AS t") for (name,) in tables]
    return "\n".join(str(row[0]) for some in rows for row in some).encode()


@pytest.mark.clause("PASSWORD-11", "PASSWORD-10", "IDEM-16", "LOG-04")
def test_nothing_else_of_a_password_is_kept_or_logged(launched: Launch) -> None:
    service = launched(DATABASE_TIMEOUT="1", DATABASE_STATEMENT_TIMEOUT="1")
    api, password = service.api, f"{unique()}-{unique()}"
    sent = fields(password=password)
    key = {"idempotency-key": unique()}
    ada = user(
        api.post("/users", json=sent, headers=key), 201, name=sent["name"], email=sent["email"]
    )
    path = f"/users/{ada['id']}"
    api.patch(path, json={"password": password})
    api.put(path, json=fields(password=password, role="nobody"))
    api.patch(path, json={"password": [password]})
    with locked(service.database_url):
        problem(api.patch(path, json={"password": password}), "unavailable")
    assert "request failed" in service.log()
    assert "$argon2" not in service.log()
    stored = everything(service)
    assert sent["email"].encode() in stored  # so what is not found below would have been
    assert b"$argon2id$" in stored
    secret = password.encode()
    digests = [hashlib.new(name, secret) for name in ("md5", "sha1", "sha256", "sha512")]
    spellings = [secret, secret[:13], secret.hex().encode(), base64.b64encode(secret)[:-4]]
    spellings += [digest.digest() for digest in digests]
    spellings += [digest.hexdigest().encode() for digest in digests]
    for spelling in spellings:
        assert spelling not in stored
        assert spelling not in service.log().encode()


# What it costs

# So much that other requests are answered long before, on one connection to PostgreSQL too.
COSTLY = {"ARGON2_MEMORY": "65536", "ARGON2_ITERATIONS": "40", "DATABASE_POOL_SIZE": "1"}


@pytest.mark.engine("sqlite")
@pytest.mark.clause("PASSWORD-14")
@pytest.mark.settings(**COSTLY)
def test_others_are_served_while_a_password_is_hashed(service: Service) -> None:
    api = service.api
    ada = created(api)
    sent = fields(password=PASSWORD)
    health = api.message("GET", "/healthz")
    with api.connect(60.0) as hashing:
        hashing.send(health + api.message("POST", "/users", [JSON], render(sent)))
        body(hashing.read(), 200, b'{"status":"ok"}')  # so the creation has come in too
        user(api.get(f"/users/{ada['id']}"), 200, **ada)
        bea = created(api)
        changed = user(
            api.patch(f"/users/{bea['id']}", json={"name": "B"}), 200, **after(bea, name="B")
        )
        users(api.get(f"/users?q={bea['email']}"), [changed], next=False)
        assert not hashing.readable(0)
        user(hashing.read("POST"), 201, name=sent["name"], email=sent["email"])


@pytest.mark.engine("sqlite")
@pytest.mark.clause("PASSWORD-15")
@pytest.mark.settings(**COSTLY)
def test_what_is_refused_is_not_hashed(service: Service) -> None:
    api = service.api
    begin = time.monotonic()
    created(api, password=PASSWORD)
    costs = time.monotonic() - begin
    begin = time.monotonic()
    for method, path in (*WRITES, ("PATCH", "/users/abc")):
        members = fields(password=PASSWORD, email="wrong")
        assert api.request(method, path, json=members).status == 422
        assert api.request(method, path, json=fields(password=PASSWORD, age=36)).status == 422
    assert time.monotonic() - begin < costs


# As long as all that are sent at once need to come in.
CROWDED = services.SECURED | {
    "ARGON2_MEMORY": "65536",
    "ARGON2_ITERATIONS": "4",
    "HASH_QUEUE": "3",
    "LOGIN_FAILURES_PER_EMAIL": "4",
}


@pytest.mark.clause("PASSWORD-17", "USR-CREATE-06", "IDEM-08")
@pytest.mark.engine("sqlite")
@pytest.mark.settings(**CROWDED)
def test_so_many_passwords_are_hashed_at_a_time_and_no_more(service: Service) -> None:
    api = service.api
    everybody = [(fields(password=PASSWORD), unique()) for _ in range(8)]
    requests = [
        api.message("POST", "/users", [JSON, ("idempotency-key", key)], render(sent))
        for sent, key in everybody
    ]
    answers = api.at_once(requests)
    assert sorted(answer.status for answer in answers) == [201] * 3 + [503] * 5
    refused = []
    for (sent, key), answer in zip(everybody, answers, strict=True):
        if answer.status == 201:
            user(answer, 201, name=sent["name"], email=sent["email"])
        else:
            problem(answer, "overloaded")
            users(api.get(f"/users?q={sent['email']}"), [], next=False)
            refused.append((sent, key))
    sent, key = refused[0]
    again = api.post("/users", json=sent, headers={"idempotency-key": key})
    ada = user(again, 201, name=sent["name"], email=sent["email"])
    # Nothing that has no password to hash is refused, and of a change that is nothing is kept.
    path = f"/users/{ada['id']}"
    change = api.message("PATCH", path, [JSON], render({"name": "B", "password": PASSWORD}))
    other = api.message("PUT", NOBODY, [JSON], render(fields()))
    answers = api.at_once([change] * 5 + [other])
    problem(answers.pop(), "user-not-found")
    assert sorted(answer.status for answer in answers) == [200] * 3 + [503] * 2
    assert api.get(path).json()["version"] == 4


@pytest.mark.clause("PASSWORD-17", "LIMIT-04")
@pytest.mark.engine("sqlite")
@pytest.mark.settings(**CROWDED)
def test_a_grant_that_finds_no_room_is_no_failure(service: Service) -> None:
    api = service.api
    ada = created(api, password=PASSWORD)
    # Whoever is nobody finds as little room as somebody (LOGIN-04).
    for email in (ada["email"], unique_email()):
        form = f"grant_type=password&username={email}&password=wrong".encode()
        kind = ("content-type", "application/x-www-form-urlencoded")
        answers = api.at_once([api.message("POST", "/auth/token", [kind], form)] * 8)
        assert sorted(answer.status for answer in answers) == [400] * 3 + [503] * 5
        for answer in answers:
            if answer.status == 503:
                problem(answer, "overloaded")
    assert api.log_in(ada["email"], PASSWORD).status == 200


@pytest.mark.clause("PASSWORD-18", "PASSWORD-14")
@pytest.mark.engine("sqlite")
def test_no_token_waits_for_a_hash(launched: Launch) -> None:
    api = launched(**services.SECURED | COSTLY | {"ARGON2_ITERATIONS": "16"}).api
    mine = api.asking(f"Bearer {api.token(*services.ADMIN)}")
    with contextlib.ExitStack() as stack:
        hashing = [stack.enter_context(api.connect(60.0)) for _ in range(12)]
        for connection in hashing:
            sent = mine.message("POST", "/users", [JSON], render(fields(password=PASSWORD)))
            connection.send(mine.message("GET", "/healthz") + sent)
            body(connection.read(), 200, b'{"status":"ok"}')
        for _ in range(3):
            assert mine.get("/users/me").json()["role"] == "admin"
        # It is read from the disk, and Node does that in a thread.
        assert mine.get("/docs/swagger-ui-bundle.js").status == 200
        assert not any(connection.readable(0) for connection in hashing)


@pytest.mark.clause("PASSWORD-18")
@pytest.mark.engine("sqlite")
def test_no_hash_waits_for_a_provider(launched: Launch) -> None:
    with contextlib.ExitStack() as stack:
        # It takes connections and says nothing.
        provider = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=100))
        url = f"http://127.0.0.1:{provider.getsockname()[1]}/keys"
        api = launched(AUTH_JWKS_URL=url).api
        token = tokens.token(tokens.claims(1), alg="RS256", kid="one")
        asking = [stack.enter_context(api.connect(60.0)) for _ in range(40)]
        for connection in asking:
            sent = api.message("GET", "/users/1", [("authorization", f"Bearer {token}")])
            connection.send(api.message("GET", "/healthz") + sent)
            body(connection.read(), 200, b'{"status":"ok"}')
        created(api, password=PASSWORD)
        assert not any(connection.readable(0) for connection in asking)
