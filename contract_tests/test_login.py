"""LOGIN and LIMIT: `POST /auth/token`, and who guesses."""

import hashlib
import itertools
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from contract_tests.harness import expect, services
from contract_tests.harness.client import Client
from contract_tests.harness.databases import Engine, Session, locked
from contract_tests.harness.services import KINDS, Kind, Service
from contract_tests.harness.wire import Answer

PASSWORD = "a password of a member"
FORM = "application/x-www-form-urlencoded"

User = dict[str, Any]


def error(code: str) -> bytes:
    """The body that tells why there is no token."""
    texts = {
        "invalid_request": "The body is not a form with grant_type, username and password, once each.",
        "unsupported_grant_type": "This service does not give tokens for this grant type.",
        "invalid_grant": "The username or the password is wrong.",
    }
    return expect.render({"error": code, "error_description": texts[code]})


def sent(api: Client, body: bytes | str, kind: str = FORM) -> Answer:
    """The answer to this form."""
    content = body if isinstance(body, bytes) else body.encode()
    return api.asking("").post("/auth/token", content=content, headers={"Content-Type": kind})


def assert_token(answer: Answer) -> None:
    """A token, which is a new one each time or not, and looks like one."""
    assert answer.status == 200, answer
    token = answer.json()["access_token"]
    assert token.count(".") == 2
    body = {"access_token": token, "token_type": "Bearer", "expires_in": 900}
    expect.body(answer, 200, expect.render(body))


@pytest.fixture
def user(guarded: Client) -> User:
    """A new member with a password."""
    return guarded.create(password=PASSWORD)


@pytest.mark.clause("LOGIN-01", "LOGIN-02")
def test_200_the_token(guarded: Client, user: User) -> None:
    answer = guarded.log_in(user["email"], PASSWORD)
    assert_token(answer)
    token = answer.json()["access_token"]
    mine = guarded.asking(f"Bearer {token}").get("/users/me")
    expect.user(mine, 200, name=user["name"], email=user["email"], id=user["id"])


@pytest.mark.clause("LOGIN-02", "LOGIN-09")
def test_whatever_else_the_form_says(guarded: Client, user: User) -> None:
    email, password = quote(user["email"]), PASSWORD.replace(" ", "+")
    for form in (
        f"grant_type=password&username={email}&password={password}",
        f"password={password}&username={email}&grant_type=password",
        f"username={email.upper().replace('%40', '@')}&grant_type=pass%77ord&password={quote(PASSWORD)}",
        f"&&grant_type=password&username={email}&password={password}&",
        f"grant_type=password&username={email}&password={password}&scope=a+b&client_id=x&x&x=1&x=2",
        f"grant_type=password&username={email}&password={password}&Username=x&PASSWORD=y",
    ):
        assert_token(sent(guarded, form))
    plain = f"grant_type=password&username={user['email']}&password={password}"
    for kind in (f"{FORM};charset=UTF-8", FORM.upper(), f'{FORM} ; charset="utf-8"', f"{FORM};a=b"):
        assert_token(sent(guarded, plain, kind))


@pytest.mark.clause("LOGIN-03", "PASSWORD-13")
@pytest.mark.parametrize(
    "password",
    [
        "  spaces all around  ",
        "\x00" * 12,
        "+%26=%00;&&&&",
        "\U0001f511" * 12,
        "e\u0301" * 6,
        "\ufeff" * 12,
        "x" * 128,
    ],
    ids=ascii,
)
def test_whatever_the_password_is(guarded: Client, password: str) -> None:
    user = guarded.create(password=password)
    assert_token(guarded.log_in(user["email"], password))
    for other in (password[:-1], f"{password}x", password.swapcase() + " "):
        expect.body(guarded.log_in(user["email"], other), 400, error("invalid_grant"))


@pytest.mark.clause("LOGIN-03")
def test_bytes_that_are_not_encoded_are_taken(guarded: Client) -> None:
    user = guarded.create(password="p\u00e4ssw\u00f6rd \u2713 \U0001f511")
    form = f"grant_type=password&username={user['email']}&password=p\u00e4ssw%C3%B6rd \u2713+\U0001f511"
    assert_token(sent(guarded, form))


@pytest.mark.clause("LOGIN-04", "LOGIN-07")
def test_who_fails_learns_nothing(guarded: Client, user: User) -> None:
    without = guarded.create()
    for email, password in (
        (user["email"], "another password"),
        (user["email"], "x"),
        (user["email"], "x" * 5000),
        (without["email"], PASSWORD),
        (expect.unique_email(), PASSWORD),
        ("no email", PASSWORD),
        (f"{expect.unique()}\x00@example.com", PASSWORD),
        ("\u212aelvin@example.com", PASSWORD),
        ("' OR 1=1 --", PASSWORD),
        ("%", PASSWORD),
        ("x" * 300 + "@example.com", PASSWORD),
    ):
        answer = guarded.log_in(email, password)
        expect.body(answer, 400, error("invalid_grant"))


@pytest.mark.clause("LOGIN-03", "LOGIN-04", "EMAIL-10")
def test_a_letter_that_only_looks_like_one_is_another(guarded: Client) -> None:
    name = expect.unique()
    guarded.create(email=f"{name}k@example.com", password=PASSWORD)
    for letter, status in (("k", 200), ("K", 200), ("\u212a", 400)):
        assert guarded.log_in(f"{name}{letter}@example.com", PASSWORD).status == status


@pytest.mark.clause("LOGIN-05")
@pytest.mark.parametrize(
    "form",
    [
        b"",
        b"&",
        b"grant_type=&username=a&password=b",
        b"username=a&password=b",
        b"grant_type=password",
        b"grant_type=password&username=a",
        b"grant_type=password&password=b",
        b"grant_type=password&username=&password=b",
        b"grant_type=password&username=a&password=",
        b"grant_type=password&username=a&password",
        b"grant_type=password&grant_type=password&username=a&password=b",
        b"grant_type=password&username=a&username=a&password=b",
        b"grant_type=password&username=a&password=b&password=",
        b"grant_type=other&username=a&username=b",
        b"grant_type=password&username=%FF&password=b",
        b"grant_type=password&username=%&password=b",
        b"grant_type=password&username=a&password=%zz",
        b"grant_type=password&username=a&password=\xff",
        b"grant_type=password&username=a&password=\xc3%A4",
        b"grant_type=password&username=a&password=%ED%A0%80",
        b"grant_type=password&username=a&password=b&x=%",
        b"\xef\xbb\xbfgrant_type=password&username=a&password=b",
        b'{"grant_type":"password","username":"a","password":"b"}',
    ],
    ids=ascii,
)
def test_400_a_form_that_is_none(guarded: Client, form: bytes) -> None:
    expect.body(sent(guarded, form), 400, error("invalid_request"))


@pytest.mark.clause("LOGIN-06")
@pytest.mark.parametrize(
    "grant_type",
    ["client_credentials", "authorization_code", "refresh_token", "Password", "password+", "x"],
)
@pytest.mark.parametrize("rest", ["", "&username=a&password=b"])
def test_400_another_grant_type(guarded: Client, grant_type: str, rest: str) -> None:
    answer = sent(guarded, f"grant_type={grant_type}{rest}")
    expect.body(answer, 400, error("unsupported_grant_type"))


@pytest.mark.clause("LOGIN-09", "CTYPE-01", "CTYPE-02", "BODY-01", "PROB-13")
def test_what_is_wrong_with_the_request_is_a_problem(guarded: Client) -> None:
    for kind in (
        "application/json",
        "text/plain",
        "multipart/form-data; boundary=x",
        f"{FORM};charset=latin1",
        f"{FORM},",
    ):
        expect.problem(sent(guarded, b"grant_type=password", kind), "unsupported-media-type")
    expect.problem(guarded.asking("").post("/auth/token"), "unsupported-media-type")
    expect.problem(sent(guarded, b"x" * 65537), "body-too-large")
    expect.body(sent(guarded, b"x" * 65536), 400, error("invalid_request"))
    expect.problem(guarded.get("/auth/token"), "method-not-allowed", allow="OPTIONS, POST")
    expect.problem(guarded.get("/auth"), "not-found")
    expect.empty(guarded.options("/auth/token"), allow="OPTIONS, POST")


def state(service: Service, user_id: int) -> tuple[Any, ...]:
    """What is kept of the user: hash, version, epoch, moment of the last change."""
    statement = (
        f"SELECT password_hash, version, token_epoch, updated_at FROM users WHERE id = {user_id}"
    )
    with Session(service.database_url) as session:
        return session.execute(statement)[0]


@pytest.mark.engine("sqlite")
@pytest.mark.clause("LOGIN-08")
def test_a_hash_of_another_cost_is_renewed(launched: Callable[..., Service]) -> None:
    service = launched(**services.SECURED)
    user = service.api.create(password=PASSWORD)
    (old, *rest) = state(service, user["id"])
    assert old.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    token = service.api.token(user["email"], PASSWORD)
    assert state(service, user["id"]) == (old, *rest)
    service.stop()
    env = services.SECURED | {"ARGON2_MEMORY": "64", "ARGON2_ITERATIONS": "2"}
    again = services.launch(
        service.kind,
        env=env,
        directory=service.directory / "again",
        database_url=service.database_url,
    )
    try:
        assert again.api.log_in(user["email"], "wrong").status == 400
        assert state(again, user["id"]) == (old, *rest)
        assert again.api.token(user["email"], PASSWORD)
        (new, *same) = state(again, user["id"])
        assert new.startswith("$argon2id$v=19$m=64,t=2,p=1$")
        assert same == rest
        assert again.api.token(user["email"], PASSWORD)
        assert state(again, user["id"]) == (new, *rest)
        mine = again.api.asking(f"Bearer {token}").get("/users/me")
        expect.user(
            mine, 200, name=user["name"], email=user["email"], updated_at=user["updated_at"]
        )
    finally:
        again.kill()


# Guessing

LIMITS = {
    "LOGIN_FAILURES_PER_EMAIL": "3",
    "LOGIN_FAILURES_PER_ADDRESS": "6",
    "LOGIN_FAILURES_WINDOW": "3600",
}
SHORT = LIMITS | {"LOGIN_FAILURES_WINDOW": "2"}


def from_(address: str, *more: str) -> dict[str, str]:
    """The header field by which a trusted proxy says where a request comes from."""
    return {"X-Forwarded-For": ", ".join([address, *more])}


_addresses = itertools.count(secrets.randbits(20))


def new_address() -> str:
    """An address that no other test comes from."""
    number = next(_addresses) % 2**24
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def fail(api: Client, email: str, headers: dict[str, str], times: int = 1) -> None:
    for _ in range(times):
        answer = api.log_in(email, "a wrong password", headers=headers)
        expect.body(answer, 400, error("invalid_grant"))


def assert_locked(answer: Answer, window: int = 3600) -> int:
    """429; returns the seconds to wait."""
    assert answer.status == 429, answer
    seconds = int(answer.header("retry-after") or 0)
    assert 0 < seconds <= window
    expect.problem(answer, "too-many-failures", retry_after=seconds)
    return seconds


@pytest.fixture
def limited(service: Service) -> Client:
    """A client of the service with the test's limits."""
    return service.api


@pytest.mark.clause("LIMIT-01", "LIMIT-05", "LIMIT-10")
@pytest.mark.settings(**services.SECURED | LIMITS)
def test_an_email_is_locked_and_no_other(limited: Client) -> None:
    victim, other = limited.create(password=PASSWORD), limited.create(password=PASSWORD)
    fail(limited, victim["email"], from_(new_address()), 2)
    assert_token(limited.log_in(victim["email"], PASSWORD, headers=from_(new_address())))
    fail(limited, victim["email"].upper(), from_(new_address()))
    begin = time.time()
    for password in (PASSWORD, "a wrong password", ""):
        answer = limited.log_in(victim["email"], password, headers=from_(new_address()))
        if password:
            assert assert_locked(answer) > 3600 - 10 - (time.time() - begin)
        else:
            expect.body(answer, 400, error("invalid_request"))
    assert_token(limited.log_in(other["email"], PASSWORD, headers=from_(new_address())))
    nobody = expect.unique_email()
    fail(limited, nobody, from_(new_address()), 3)
    assert_locked(limited.log_in(nobody, PASSWORD, headers=from_(new_address())))


@pytest.mark.clause("LIMIT-01", "LIMIT-02")
@pytest.mark.settings(**{k: v for k, v in services.SECURED.items() if not k.startswith("LOGIN")})
def test_ten_failures_are_too_many(limited: Client) -> None:
    user, address = limited.create(password=PASSWORD), new_address()
    fail(limited, user["email"], from_(address), 10)
    seconds = assert_locked(
        limited.log_in(user["email"], PASSWORD, headers=from_(new_address())), 900
    )
    assert seconds > 880
    other = limited.create(password=PASSWORD)
    assert_locked(limited.log_in(other["email"], PASSWORD, headers=from_(address)), 900)


@pytest.mark.clause("LIMIT-02", "LIMIT-05")
@pytest.mark.settings(**services.SECURED | LIMITS)
def test_an_address_is_locked_and_no_other(limited: Client) -> None:
    user, address = limited.create(password=PASSWORD), new_address()
    for _ in range(6):
        fail(limited, expect.unique_email(), from_(address))
    assert_locked(limited.log_in(user["email"], PASSWORD, headers=from_(address)))
    assert_locked(limited.log_in(expect.unique_email(), PASSWORD, headers=from_(address)))
    assert_token(limited.log_in(user["email"], PASSWORD, headers=from_(new_address())))


@pytest.mark.clause("LIMIT-04")
@pytest.mark.settings(**services.SECURED | LIMITS)
def test_only_failures_count(limited: Client) -> None:
    user, address = limited.create(password=PASSWORD), new_address()
    for _ in range(8):
        assert_token(limited.log_in(user["email"], PASSWORD, headers=from_(address)))
        answer = limited.log_in(user["email"], "", headers=from_(address))
        expect.body(answer, 400, error("invalid_request"))
        form = urlencode({"grant_type": "x", "username": user["email"], "password": "x"})
        expect.body(sent(limited, form), 400, error("unsupported_grant_type"))
    fail(limited, user["email"], from_(address), 2)
    assert_token(limited.log_in(user["email"], PASSWORD, headers=from_(address)))
    # A success takes no failure back.
    fail(limited, user["email"], from_(address))
    assert_locked(limited.log_in(user["email"], PASSWORD, headers=from_(address)))


@pytest.mark.clause("LIMIT-01", "LIMIT-04", "LIMIT-05", "LIMIT-09")
@pytest.mark.settings(**services.SECURED | SHORT)
def test_a_lock_opens_and_refusals_do_not_prolong_it(service: Service) -> None:
    api, address = service.api, new_address()
    user = api.create(password=PASSWORD)
    fail(api, user["email"], from_(address), 3)
    begin = time.monotonic()
    answer = api.log_in(user["email"], PASSWORD, headers=from_(address))
    while answer.status == 429:
        assert assert_locked(answer, 2) <= 2
        assert time.monotonic() - begin < 4
        time.sleep(0.1)
        answer = api.log_in(user["email"], PASSWORD, headers=from_(address))
    assert time.monotonic() - begin > 1.5
    assert_token(answer)
    # Of what is over, everything is forgotten with the next failures.
    time.sleep(2)
    fail(api, expect.unique_email(), from_(new_address()))
    kept = rows(service)
    assert hashed(f"email {user['email']}") not in kept
    assert hashed(f"address {address}") not in kept


@pytest.mark.clause("LIMIT-09")
@pytest.mark.settings(**services.SECURED | LIMITS)
def test_of_whom_it_is_only_a_hash_is_kept(service: Service) -> None:
    email, address = expect.unique_email(), new_address()
    fail(service.api, email, from_(address), 2)
    kept = rows(service)
    for what in (f"email {email}", f"address {address}"):
        assert len(kept.get(hashed(what), [])) == 2
    assert email not in str(kept)
    assert address not in str(kept)


def rows(service: Service) -> dict[str, list[int]]:
    """What is kept of failures."""
    with Session(service.database_url) as session:
        found = session.execute("SELECT key_hash, failed_at FROM login_failures")
    return {key: [int(part) for part in text.strip("[]").split(",") if part] for key, text in found}


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def several(
    new_database: Callable[[Engine, Path], str], tmp_path: Path
) -> Iterator[Callable[..., list[Service]]]:
    """A function that starts both services on one database, limited if nothing else is said."""
    running: list[Service] = []

    def start(engine: Engine, env: dict[str, str] = services.SECURED | LIMITS) -> list[Service]:
        url = new_database(engine, tmp_path)
        for kind in KINDS:
            directory = tmp_path / kind
            running.append(services.launch(kind, env=env, directory=directory, database_url=url))
        return running

    yield start
    for service in running:
        service.kill()


@pytest.mark.clause("LIMIT-03", "OPS-14")
@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_all_services_count_together(
    several: Callable[[Engine], list[Service]], engine: Engine
) -> None:
    python, node = (service.api for service in several(engine))
    for first, second in ((python, node), (node, python)):
        user = first.create(password=PASSWORD)
        fail(first, user["email"], from_(new_address()), 2)
        fail(second, user["email"], from_(new_address()))
        for api in (first, second):
            assert_locked(api.log_in(user["email"], PASSWORD, headers=from_(new_address())))
        address = new_address()
        for api in (first, second) * 3:
            fail(api, expect.unique_email(), from_(address))
        other = first.create(password=PASSWORD)
        for api in (first, second):
            assert_locked(api.log_in(other["email"], PASSWORD, headers=from_(address)))
            assert_token(api.log_in(other["email"], PASSWORD, headers=from_(new_address())))


@pytest.mark.clause("LIMIT-06", "LIMIT-03")
@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_guesses_at_the_same_time_are_no_more(
    several: Callable[[Engine], list[Service]], engine: Engine
) -> None:
    both = several(engine)
    user = both[0].api.create(password=PASSWORD)

    def guess(number: int) -> int:
        headers = from_(new_address())
        return both[number % 2].api.log_in(user["email"], f"wrong {number}", headers=headers).status

    with ThreadPoolExecutor(24) as pool:
        # As long as no failure can be counted, every password is judged.
        with locked(both[0].database_url, "login_failures"):
            guesses = [pool.submit(guess, number) for number in range(48)]
            time.sleep(1)
        statuses = [one.result() for one in guesses]
    assert sorted(statuses) == [400] * 3 + [429] * 45
    assert_locked(both[1].api.log_in(user["email"], PASSWORD, headers=from_(new_address())))


@pytest.mark.clause("LIMIT-06", "LIMIT-01")
@pytest.mark.settings(**services.SECURED | LIMITS)
@pytest.mark.parametrize("known", [True, False], ids=["failed before", "never failed"])
def test_the_right_password_is_a_guess_as_well(service: Service, *, known: bool) -> None:
    """It is judged while others' failures are being counted, and comes when they have been."""
    api, user = service.api, service.api.create(password=PASSWORD)
    if known:
        fail(api, user["email"], from_(new_address()))
    key, now = hashed(f"email {user['email']}"), int(time.time() * 1000)
    expires = "9999-12-31T00:00:00.000Z"
    with ThreadPoolExecutor(1) as pool, Session(service.database_url) as session:
        begin = "BEGIN IMMEDIATE" if service.database_url.startswith("sqlite:") else "BEGIN"
        session.execute(begin)
        session.execute(
            "INSERT INTO login_failures (key_hash, failed_at, expires_at) "
            f"VALUES ('{key}', '{[now] * 3}', '{expires}') "
            "ON CONFLICT (key_hash) DO UPDATE SET failed_at = excluded.failed_at"
        )
        answer = pool.submit(api.log_in, user["email"], PASSWORD, headers=from_(new_address()))
        time.sleep(0.5)
        session.execute("COMMIT")
        assert_locked(answer.result())


# Creating too many

CROWD = services.SECURED | {"REGISTRATIONS_PER_ADDRESS": "3"}


def register(api: Client, address: str, **members: Any) -> Answer:
    """The answer to a creation without a token, from this address; with a `key`, under it."""
    headers = from_(address)
    if key := members.pop("key", ""):
        headers["Idempotency-Key"] = key
    return api.asking("").post("/users", json={**expect.somebody(), **members}, headers=headers)


def assert_too_many(answer: Answer, window: int = 3600) -> int:
    """429; returns the seconds to wait."""
    assert answer.status == 429, answer
    seconds = int(answer.header("retry-after") or 0)
    assert 0 < seconds <= window
    expect.problem(answer, "too-many-registrations", retry_after=seconds)
    return seconds


@pytest.mark.clause("LIMIT-12", "LIMIT-13", "LIMIT-14", "RIGHT-02")
@pytest.mark.settings(**CROWD)
def test_an_address_registers_so_many_and_no_more(limited: Client) -> None:
    taken, address = limited.create()["email"], new_address()
    assert register(limited, address).status == 201
    expect.problem(register(limited, address, email=taken.upper()), "email-taken")
    for _ in range(4):
        assert register(limited, address, email="no email").status == 422
        assert register(limited, address, role="admin").status == 401
    assert register(limited, address).status == 201
    sent = expect.somebody()
    for members in ({**sent}, {"email": taken}, {"password": PASSWORD}):
        assert assert_too_many(register(limited, address, **members)) > 3500
    expect.users(limited.get(f"/users?q={sent['email']}"), [], next=False)
    # What is wrong with it is told all the same, others create, and so does whoever has a token.
    assert register(limited, address, email="no email").status == 422
    assert register(limited, address, role="admin").status == 401
    for _ in range(2):
        assert register(limited, new_address()).status == 201
    for _ in range(4):
        fields = expect.somebody()
        answer = limited.post("/users", json=fields, headers=from_(address))
        expect.user(answer, 201, **fields)


@pytest.mark.clause("LIMIT-12", "LIMIT-14")
@pytest.mark.engine("sqlite")
@pytest.mark.settings(**services.SECURED | {"REGISTRATIONS_PER_ADDRESS": ""})
def test_twenty_creations_are_enough(limited: Client) -> None:
    address = new_address()
    assert [register(limited, address).status for _ in range(20)] == [201] * 20
    assert assert_too_many(register(limited, address)) > 3500


@pytest.mark.clause("LIMIT-13", "LIMIT-15", "IDEM-02", "IDEM-05", "IDEM-08")
@pytest.mark.settings(**CROWD)
def test_who_repeats_a_creation_is_answered_as_before(limited: Client) -> None:
    address, key, fields = new_address(), expect.unique(), expect.somebody()
    first = register(limited, address, key=key, **fields)
    expect.user(first, 201, **fields)
    for _ in range(4):
        expect.replay(register(limited, address, key=key, **fields), first)
    for _ in range(2):
        assert register(limited, address).status == 201
    other = expect.unique()
    assert_too_many(register(limited, address, key=other))
    expect.replay(register(limited, address, key=key, **fields), first)
    expect.problem(register(limited, address, key=key), "idempotency-key-reused")
    # Of what was refused nothing is kept, its key neither.
    assert register(limited, new_address(), key=other).status == 201


@pytest.mark.clause("LIMIT-12", "LIMIT-14", "LIMIT-16")
@pytest.mark.settings(**CROWD | {"REGISTRATIONS_WINDOW": "2"})
def test_after_a_while_an_address_registers_again(service: Service) -> None:
    api, address = service.api, new_address()
    assert [register(api, address).status for _ in range(3)] == [201] * 3
    assert len(rows(service)[hashed(f"registration {address}")]) == 3
    assert address not in str(rows(service))
    begin = time.monotonic()
    while (answer := register(api, address)).status == 429:
        assert assert_too_many(answer, 2) <= 2
        assert time.monotonic() - begin < 4
        time.sleep(0.1)
    assert answer.status == 201
    time.sleep(2.1)
    assert register(api, new_address()).status == 201
    assert hashed(f"registration {address}") not in rows(service)


@pytest.mark.clause("LIMIT-15", "PASSWORD-15")
@pytest.mark.engine("sqlite")
@pytest.mark.settings(**CROWD | {"ARGON2_MEMORY": "65536", "ARGON2_ITERATIONS": "16"})
def test_who_registers_too_many_orders_no_work(limited: Client) -> None:
    address = new_address()
    begin = time.monotonic()
    assert register(limited, address, password=PASSWORD).status == 201
    costs = time.monotonic() - begin
    for _ in range(2):
        assert register(limited, address).status == 201
    begin = time.monotonic()
    for _ in range(3):
        assert_too_many(register(limited, address, password=PASSWORD))
    assert time.monotonic() - begin < costs


@pytest.mark.clause("LIMIT-12", "LIMIT-13", "RIGHT-02")
@pytest.mark.engine("sqlite")
def test_creations_are_limited_where_it_is_secured(launched: Callable[..., Service]) -> None:
    few = {"REGISTRATIONS_PER_ADDRESS": "1"}
    api = launched(**few).api
    for _ in range(3):
        api.create()
    api = launched(**few, AUTH_JWKS_URL="http://127.0.0.1:9/keys").api
    api.create()
    assert_too_many(api.post("/users", json=expect.somebody()))


@pytest.mark.clause("LIMIT-14", "LIMIT-12", "OPS-14")
@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_creations_at_the_same_time_are_no_more(
    several: Callable[..., list[Service]], engine: Engine
) -> None:
    both = several(engine, CROWD)
    taken = both[0].api.create()["email"]
    for members, status in (({}, 201), ({"email": taken}, 409)):
        address = new_address()

        def create(
            number: int, address: str = address, members: dict[str, str] = members
        ) -> Answer:
            return register(both[number % 2].api, address, **members)

        with ThreadPoolExecutor(12) as pool:
            # As long as none can be counted, all of them look and find no reason to be refused.
            with locked(both[0].database_url, "login_failures"):
                creations = [pool.submit(create, number) for number in range(12)]
                time.sleep(1)
            answers = [one.result() for one in creations]
        assert sorted(answer.status for answer in answers) == [status] * 3 + [429] * 9
        for answer in answers:
            if answer.status == 429:
                assert_too_many(answer)
        assert_too_many(register(both[1].api, address))


# Where a request comes from


def assert_same_address(api: Client, one: dict[str, str], other: dict[str, str]) -> None:
    """Failures from the one lock the other."""
    for _ in range(6):
        fail(api, expect.unique_email(), one)
    assert_locked(api.log_in(expect.unique_email(), PASSWORD, headers=other))


@pytest.mark.engine("sqlite")
@pytest.mark.clause("LIMIT-07")
def test_who_is_not_trusted_says_nothing(launched: Callable[..., Service]) -> None:
    env = services.SECURED | LIMITS | {"TRUSTED_PROXIES": ""}
    api = launched(**env).api
    for _ in range(6):
        fail(api, expect.unique_email(), from_(new_address()))
    assert_locked(api.log_in(expect.unique_email(), PASSWORD, headers=from_(new_address())))
    assert_locked(api.log_in(expect.unique_email(), PASSWORD))


@pytest.mark.clause("LIMIT-08")
@pytest.mark.settings(
    **services.SECURED | LIMITS | {"TRUSTED_PROXIES": "127.0.0.1, 192.0.2.0/24,2001:db8::/32"}
)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["{a}"], ["{b}", "{a}"]),
        (["{a}"], ["{a}", "192.0.2.7"]),
        (["{a}"], ["{b}", "{a}", "192.0.2.1", "2001:DB8::1"]),
        (["{a}"], ["192.0.2.9", "{a}"]),
        (["{a}"], ["::ffff:{a}"]),
        (["{a}"], ["{b}", "unknown", "{a}"]),
        (["192.0.2.77", "{b}x", "192.0.2.88"], ["{a}", "_hidden", "192.0.2.88"]),
        (["fd00:{h}:0:0::1"], ["FD00:{h}:0000:0:0:0:0.0.0.1"]),
    ],
    ids=str,
)
def test_behind_trusted_proxies(limited: Client, one: list[str], other: list[str]) -> None:
    names = {"a": new_address(), "b": new_address(), "h": f"{secrets.randbits(15) + 1:x}"}
    first, second = ([part.format(**names) for part in parts] for parts in (one, other))
    assert_same_address(limited, from_(*first), from_(*second))
    names = {"a": new_address(), "b": new_address(), "h": f"{secrets.randbits(15) + 1:x}"}
    if "{a}" in one[0]:
        third = [part.format(**names) for part in one]
        fail(limited, expect.unique_email(), from_(*third))


@pytest.mark.clause("LIMIT-08")
@pytest.mark.settings(**services.SECURED | LIMITS)
def test_the_lines_of_the_field_are_one_list(limited: Client) -> None:
    address = new_address()
    lines = [
        ("X-Forwarded-For", new_address()),
        ("X-Forwarded-For", f"{new_address()} ,\t{address}"),
    ]
    for _ in range(6):
        answer = limited.log_in(expect.unique_email(), "a wrong password", headers=lines)
        expect.body(answer, 400, error("invalid_grant"))
    assert_locked(limited.log_in(expect.unique_email(), PASSWORD, headers=from_(address)))


@pytest.mark.clause("LIMIT-08", "OPS-03")
@pytest.mark.parametrize("kind", KINDS)
def test_proxies_that_are_no_addresses_are_refused(kind: Kind) -> None:
    wrong = [
        *["x", "10.0.0.0/33", "10.0.0.256", "::/129", "10.0.0.1,", "10.0.0.0/255.0.0.0"],
        *["fe80::1%lo", "gateway"],
    ]
    line = "TRUSTED_PROXIES must be addresses or networks such as 10.0.0.0/8, with commas"
    said = services.refusals(kind, [{"TRUSTED_PROXIES": proxies} for proxies in wrong])
    assert said == [line] * len(wrong)
