"""RIGHT: who may do what, for every operation of the document and every kind of caller."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from contract_tests.harness import expect, services
from contract_tests.harness.client import Client
from contract_tests.harness.databases import Engine, Session
from contract_tests.harness.services import NotStartedError, Service
from contract_tests.harness.tokens import claims, token
from contract_tests.harness.wire import Answer

PASSWORD = "a password of a member"

Expected = Literal["ok", "unauthorized", "invalid token", "forbidden"]
User = dict[str, Any]


def bearer(token_: str) -> str:
    """The value of `Authorization` for a token."""
    return f"Bearer {token_}"


def member(api: Client, **fields: str) -> User:
    """A new user with a password."""
    return api.create(password=PASSWORD, **fields)


def new_admin(api: Client) -> User:
    """A new admin with a password."""
    fields: dict[str, Any] = {**expect.somebody(), "role": "admin"}
    answer = api.post("/users", json={**fields, "password": PASSWORD})
    return expect.user(answer, 201, **fields)


def public_key() -> bytes:
    """A public key as text, which HS256 would take for a secret."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def void(api: Client, user: User) -> str:
    """A token that was good until the user's password was changed."""
    token = api.token(user["email"], PASSWORD)
    changed = api.patch(f"/users/{user['id']}", json={"password": f"{PASSWORD} too"})
    assert changed.status == 200
    return token


# Who calls, and with what `Authorization`; the caller is a member, if nothing else is said.
CALLERS: dict[str, Callable[[Client, User], str]] = {
    "nobody": lambda _api, _user: "",
    "another scheme": lambda _api, _user: "Basic YTpi",
    "an expired token": lambda _, user: bearer(token(claims(user["id"], exp=int(time.time())))),
    "a wrong signature": lambda _, user: bearer(token(claims(user["id"]), "x" * 40)),
    "alg: none": lambda _, user: bearer(token(claims(user["id"]), alg="none")),
    "HS256 with a public key": lambda _, user: bearer(token(claims(user["id"]), public_key())),
    "a wrong audience": lambda _, user: bearer(token(claims(user["id"], aud="others"))),
    "a void token": lambda api, user: bearer(void(api, user)),
    "a member": lambda api, user: bearer(api.token(user["email"], PASSWORD)),
    "an admin": lambda api, _user: api.authorization,
}
INVALID = [
    name for name in CALLERS if name.startswith(("an expired", "a w", "alg", "HS", "a void"))
]

# For every operation whom it lets in; a route that has no row here fails the test.
ADMIN_ONLY: dict[str, Expected] = {
    "nobody": "unauthorized",
    "another scheme": "unauthorized",
    **dict.fromkeys(INVALID, "invalid token"),
    "a member": "forbidden",
    "an admin": "ok",
}
THEMSELVES = ADMIN_ONLY | {"a member": "ok"}
WHO_COMES = ADMIN_ONLY | {"nobody": "ok", "another scheme": "ok", "a member": "ok"}
EVERYBODY: dict[str, Expected] = dict.fromkeys(CALLERS, "ok")

RIGHTS: dict[tuple[str, str, str], dict[str, Expected]] = {
    ("POST", "/auth/token", ""): EVERYBODY,
    ("POST", "/users", ""): WHO_COMES,
    ("GET", "/users", ""): ADMIN_ONLY,
    ("GET", "/users/{id}", "self"): THEMSELVES,
    ("GET", "/users/{id}", "other"): ADMIN_ONLY,
    ("PUT", "/users/{id}", "self"): THEMSELVES,
    ("PUT", "/users/{id}", "other"): ADMIN_ONLY,
    ("PATCH", "/users/{id}", "self"): THEMSELVES,
    ("PATCH", "/users/{id}", "other"): ADMIN_ONLY,
    ("DELETE", "/users/{id}", "self"): ADMIN_ONLY,
    ("DELETE", "/users/{id}", "other"): ADMIN_ONLY,
    ("GET", "/events", ""): THEMSELVES,
    ("GET", "/events/stream", ""): THEMSELVES,
    ("GET", "/events/socket", ""): THEMSELVES,
    ("POST", "/webhooks", ""): ADMIN_ONLY,
    ("GET", "/webhooks", ""): ADMIN_ONLY,
    ("GET", "/webhooks/{id}", ""): ADMIN_ONLY,
    ("DELETE", "/webhooks/{id}", ""): ADMIN_ONLY,
    ("GET", "/webhooks/{id}/deliveries", ""): ADMIN_ONLY,
    ("POST", "/webhooks/{id}/deliveries/{event}", ""): ADMIN_ONLY,
    ("GET", "/healthz", ""): EVERYBODY,
    ("GET", "/readyz", ""): EVERYBODY,
    ("GET", "/metrics", ""): EVERYBODY,
}
SUCCESS = {"POST": 201, "GET": 200, "PUT": 200, "PATCH": 200, "DELETE": 204}
# A login, no handshake, and what is no webhook, or of one that nobody has.
OTHERWISE = {
    ("POST", "/auth/token"): 200,
    ("GET", "/events/socket"): 426,
    ("POST", "/webhooks"): 422,
    ("GET", "/webhooks/{id}"): 404,
    ("DELETE", "/webhooks/{id}"): 404,
    ("GET", "/webhooks/{id}/deliveries"): 404,
    ("POST", "/webhooks/{id}/deliveries/{event}"): 404,
}


def operations(api: Client) -> list[tuple[str, str, str]]:
    """Those of the document, each that is about a user once for oneself and once for others."""
    paths = api.get("/openapi.json").json()["paths"]
    return [
        (method.upper(), path, whom)
        for path, methods in paths.items()
        for method in methods
        for whom in (("self", "other") if path == "/users/{id}" else ("",))
    ]


def asked(api: Client, method: str, path: str, user: User) -> Answer:
    """What this operation answers, about the user if it is about any."""
    if path == "/auth/token":
        return api.log_in(user["email"], PASSWORD)
    fields = expect.somebody() if method in ("POST", "PUT", "PATCH") else None
    about = user["id"] if path.startswith("/users") else expect.MAX_ID
    return api.request(method, path.format(id=about, event=1), json=fields)


def assert_as_expected(answer: Answer, expected: Expected, status: int) -> None:
    match expected:
        case "ok":
            assert answer.status == status, answer
        case "forbidden":
            expect.problem(answer, "forbidden")
        case "unauthorized":
            expect.problem(answer, "unauthorized")
        case "invalid token":
            expect.problem(answer, "unauthorized", invalid_token=True)


@pytest.mark.clause(
    "RIGHT-01",
    "RIGHT-02",
    "RIGHT-03",
    "RIGHT-04",
    "RIGHT-05",
    "RIGHT-10",
    "RIGHT-13",
    "RIGHT-14",
    "RIGHT-17",
    "AUTH-03",
    "AUTH-04",
    "AUTH-06",
    "AUTH-07",
    "AUTH-09",
)
@pytest.mark.usefixtures("known_secret")
@pytest.mark.parametrize("caller", CALLERS)
def test_every_operation_asks_every_caller(guarded: Client, caller: str) -> None:
    """The table: every operation of the document, whoever calls."""
    for method, path, whom in operations(guarded):
        user, other = member(guarded), member(guarded)
        authorization = CALLERS[caller](guarded, user)
        about = other if whom == "other" or path == "/auth/token" else user
        expected = RIGHTS[method, path, whom][caller]
        answer = asked(guarded.asking(authorization), method, path, about)
        status = OTHERWISE.get((method, path), SUCCESS[method])
        assert_as_expected(answer, expected, status)
        if expected != "ok" and path == "/users/{id}":
            expect.user(
                guarded.get(f"/users/{about['id']}"),
                200,
                name=about["name"],
                email=about["email"],
                version=2 if caller == "a void token" and whom == "self" else 1,
            )


@pytest.mark.clause("RIGHT-01")
def test_the_table_has_every_operation_and_no_other(guarded: Client) -> None:
    assert set(operations(guarded)) == set(RIGHTS)


@pytest.fixture
def mine(guarded: Client) -> tuple[User, Client]:
    """A new member, and the client that comes as them."""
    user = member(guarded)
    return user, guarded.asking(f"Bearer {guarded.token(user['email'], PASSWORD)}")


@pytest.mark.clause("RIGHT-05", "PROB-21")
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_a_member_learns_nothing_of_others(
    guarded: Client, mine: tuple[User, Client], method: str
) -> None:
    _, me = mine
    answers = [
        me.request(method, f"/users/{id_}", headers={"X-Request-Id": "same"})
        for id_ in (guarded.create()["id"], expect.MAX_ID, "0", "abc", "01", "9" * 40)
    ]
    for answer in answers:
        expect.problem(answer, "forbidden", request_id="same")
        assert answer.body == answers[0].body


@pytest.mark.clause("RIGHT-06", "RIGHT-04")
def test_me_is_the_caller(mine: tuple[User, Client]) -> None:
    user, me = mine
    seen = expect.user(me.get("/users/me"), 200, **_known(user))
    expect.head_of(me.head("/users/me"), me.get("/users/me"))
    expect.not_modified(me.get("/users/me", headers={"If-None-Match": '"1"'}), '"1"')
    changed = me.patch("/users/me", json={"name": "Ada King"}, headers={"If-Match": '"1"'})
    expect.user(changed, 200, **_known(seen) | {"name": "Ada King", "version": 2})
    fields = {"name": "Countess", "email": user["email"]}
    expect.user(me.put("/users/me", json=fields), 200, **fields, version=3, id=user["id"])
    expect.problem(me.delete("/users/me"), "forbidden")
    expect.problem(me.get("/users/ME"), "forbidden")


@pytest.mark.clause("RIGHT-06", "RIGHT-03", "RIGHT-14", "AUTH-10")
def test_me_is_an_admin_too_until_they_are_gone(guarded: Client) -> None:
    user = member(guarded)
    promoted = guarded.patch(f"/users/{user['id']}", json={"role": "admin"})
    expect.user(promoted, 200, **_known(user) | {"role": "admin", "version": 2})
    me = guarded.asking(f"Bearer {guarded.token(user['email'], PASSWORD)}")
    expect.user(me.get("/users/me"), 200, **_known(user) | {"role": "admin", "version": 2})
    expect.empty(me.delete("/users/me"))
    expect.problem(me.get("/users/me"), "unauthorized", invalid_token=True)
    expect.problem(me.get(f"/users/{user['id']}"), "unauthorized", invalid_token=True)


@pytest.mark.clause("RIGHT-07", "PROB-22")
def test_a_member_makes_no_admins(guarded: Client, mine: tuple[User, Client]) -> None:
    user, me = mine
    fields = expect.somebody()
    path = f"/users/{user['id']}"
    expect.problem(me.patch(path, json={"role": "admin"}), "forbidden")
    expect.problem(me.put(path, json={**fields} | {"role": "admin"}), "forbidden")
    expect.problem(me.post("/users", json={**fields} | {"role": "admin"}), "forbidden")
    expect.user(guarded.get(path), 200, **_known(user))
    assert guarded.get(f"/users?q={fields['name']}").body == b"[]"
    expect.user(me.patch(path, json={"role": "member"}), 200, **_known(user))


@pytest.mark.clause("RIGHT-08", "PROB-22")
def test_nobody_makes_no_admins(guarded: Client) -> None:
    nobody = guarded.asking("")
    fields = expect.somebody()
    expect.problem(nobody.post("/users", json={**fields} | {"role": "admin"}), "unauthorized")
    assert guarded.get(f"/users?q={fields['name']}").body == b"[]"
    expect.user(nobody.post("/users", json={**fields} | {"role": "member"}), 201, **fields)


@pytest.mark.clause("PROB-22", "PROB-16", "PROB-17")
def test_a_role_that_is_not_to_be_given_comes_after_what_is_malformed(
    mine: tuple[User, Client],
) -> None:
    user, me = mine
    sent = {"name": "", "role": "admin"}
    errors = [expect.error("too-short", pointer="#/name")]
    expect.problem(me.patch(f"/users/{user['id']}", json=sent), "validation", errors)
    key = {"Idempotency-Key": expect.unique()}
    one = expect.somebody()
    expect.user(me.post("/users", json=one, headers=key), 201, **one)
    other = {**expect.somebody()} | {"role": "admin"}
    expect.problem(me.post("/users", json=other, headers=key), "forbidden")
    condition = {"If-Match": '"7"'}
    answer = me.patch(f"/users/{user['id']}", json={"role": "admin"}, headers=condition)
    expect.problem(answer, "forbidden")


@pytest.mark.clause("PROB-20", "PROB-21", "PROB-10", "PROB-11", "PROB-12")
def test_who_calls_comes_after_the_route_and_before_the_request(
    guarded: Client, mine: tuple[User, Client]
) -> None:
    nobody, (user, me) = guarded.asking(""), mine
    text = {"Content-Type": "text/plain"}
    for api, code in ((nobody, "unauthorized"), (me, "forbidden")):
        expect.problem(api.get("/nowhere"), "not-found")
        expect.problem(api.delete("/users"), "method-not-allowed", allow="GET, HEAD, OPTIONS, POST")
        expect.problem(api.get("/users?limit=%FF"), code)
        expect.problem(api.put("/users/0", content=b"{", headers=text), code)
        condition = {"If-Match": "malformed"}
        expect.problem(api.delete("/users/1", headers=condition), code)
        expect.empty(api.options("/users"), allow="GET, HEAD, OPTIONS, POST")
    expect.problem(
        me.put(f"/users/{user['id']}", content=b"{", headers=text), "unsupported-media-type"
    )


@pytest.mark.clause("IDEM-18")
def test_everybody_has_their_own_keys(guarded: Client) -> None:
    callers = [guarded, guarded.asking("")]
    for _ in range(2):
        user = member(guarded)
        callers.append(guarded.asking(f"Bearer {guarded.token(user['email'], PASSWORD)}"))
    key = {"Idempotency-Key": expect.unique()}
    for api in callers:
        fields = expect.somebody()
        first = api.post("/users", json=fields, headers=key)
        expect.user(first, 201, **fields)
        expect.replay(api.post("/users", json=fields, headers=key), first)
        expect.problem(
            api.post("/users", json=expect.somebody(), headers=key), "idempotency-key-reused"
        )


# What happens to the caller between a request's head and its body
TAKEN_BACK: dict[str, Callable[[Client, User], object]] = {
    "the password is changed": lambda api, user: api.patch(
        f"/users/{user['id']}", json={"password": f"{PASSWORD} too"}
    ),
    "the role is taken": lambda api, user: api.patch(
        f"/users/{user['id']}", json={"role": "member"}
    ),
    "the user is deleted": lambda api, user: api.delete(f"/users/{user['id']}"),
}
# What is under way then, of an admin; `{id}` is their own and `{other}` another user's.
WRITES = {
    "a creation": ("POST", "/users", {"name": "Ada", "role": "admin"}),
    "a replacement": ("PUT", "/users/{other}", {"name": "Eve"}),
    "a change": ("PATCH", "/users/{other}", {"role": "admin"}),
    "a change of themselves": ("PATCH", "/users/me", {"password": "a password of a thief"}),
    "a change by their id": ("PATCH", "/users/{id}", {"name": "Eve"}),
}


@pytest.mark.clause("RIGHT-15", "AUTH-09", "AUTH-10")
@pytest.mark.parametrize("taken_back", TAKEN_BACK)
@pytest.mark.parametrize("write", WRITES)
def test_what_is_taken_back_under_way_does_nothing(
    guarded: Client, write: str, taken_back: str
) -> None:
    """The body is withheld until its sender has lost the right to send it."""
    other, email = guarded.create(), expect.unique_email()
    admin = new_admin(guarded)
    theirs = guarded.asking(bearer(guarded.token(admin["email"], PASSWORD)))
    method, path, fields = WRITES[write]
    if method in ("POST", "PUT"):
        fields = {**fields, "email": email}
    request = theirs.message(
        method,
        path.format(id=admin["id"], other=other["id"]),
        [("Content-Type", "application/json"), ("Expect", "100-continue")],
        body := expect.render(fields),
    )
    with theirs.connect() as connection:
        connection.send(request.removesuffix(body))
        # Their token is looked at before the body is awaited; so it has been when this is answered.
        for _ in range(3):
            assert theirs.get("/users/me").status == 200
        done = TAKEN_BACK[taken_back](guarded, admin)
        assert isinstance(done, Answer)
        assert done.status in (200, 204)
        connection.send(body)
        expect.problem(connection.read(method), "unauthorized", invalid_token=True)
    expect.user(guarded.get(f"/users/{other['id']}"), 200, **other)
    expect.users(guarded.get(f"/users?q={email}"), [], next=False)
    if taken_back != "the user is deleted":
        assert isinstance(done, Answer)
        expect.user(guarded.get(f"/users/{admin['id']}"), 200, **done.json())


@pytest.mark.clause("RIGHT-15", "AUTH-07")
@pytest.mark.usefixtures("known_secret")
def test_a_token_that_ends_under_way_does_nothing(guarded: Client) -> None:
    user = member(guarded)
    ends = int(time.time()) + 2
    theirs = guarded.asking(bearer(token(claims(user["id"], exp=ends))))
    body = expect.render({"name": "Eve"})
    request = theirs.message("PATCH", "/users/me", [("Content-Type", "application/json")], body)
    with theirs.connect() as connection:
        connection.send(request.removesuffix(body))
        assert theirs.get("/users/me").status == 200
        time.sleep(ends - time.time() + 0.05)
        connection.send(body)
        expect.problem(connection.read("PATCH"), "unauthorized", invalid_token=True)
    expect.user(guarded.get(f"/users/{user['id']}"), 200, **user)


@pytest.mark.clause("RIGHT-15")
@pytest.mark.settings(**services.SECURED)
@pytest.mark.parametrize("write", [*WRITES, "a deletion"])
def test_what_is_taken_back_at_the_same_time_does_nothing(service: Service, write: str) -> None:
    """The role is taken in a transaction that ends when the write is about to be done."""
    api, email = service.api, expect.unique_email()
    other = api.create()
    admin = new_admin(api)
    theirs = api.asking(bearer(api.token(admin["email"], PASSWORD)))
    method, path, fields = {**WRITES, "a deletion": ("DELETE", "/users/{other}", None)}[write]
    if fields and method in ("POST", "PUT"):
        fields = {**fields, "email": email}
    path = path.format(id=admin["id"], other=other["id"])
    with ThreadPoolExecutor(1) as pool, Session(service.database_url) as session:
        begin = "BEGIN IMMEDIATE" if service.database_url.startswith("sqlite:") else "BEGIN"
        session.execute(begin)
        session.execute(
            "UPDATE users SET role = 'member', token_epoch = token_epoch + 1 "
            f"WHERE id = {admin['id']}"
        )
        answer = pool.submit(theirs.request, method, path, json=fields)
        time.sleep(0.3)  # by now it waits for this transaction
        session.execute("COMMIT")
        expect.problem(answer.result(), "unauthorized", invalid_token=True)
    expect.user(api.get(f"/users/{other['id']}"), 200, **other)
    expect.user(api.get(f"/users/{admin['id']}"), 200, **{**admin, "role": "member"})
    expect.users(api.get(f"/users?q={email}"), [], next=False)


@pytest.mark.clause("RIGHT-15", "UNIQ-05")
def test_admins_who_change_each_other_wait_for_nobody_for_ever(guarded: Client) -> None:
    one, two = (new_admin(guarded) for _ in range(2))
    headers = [bearer(guarded.token(user["email"], PASSWORD)) for user in (one, two)]
    requests = [
        guarded.asking(headers[n % 2]).message(
            "PATCH",
            f"/users/{(two, one)[n % 2]['id']}",
            [("Content-Type", "application/json")],
            expect.render({"name": f"Name {n}"}),
        )
        for n in range(60)
    ]
    assert {answer.status for answer in guarded.at_once(requests)} == {200}
    for user in (one, two):
        assert guarded.get(f"/users/{user['id']}").json()["version"] == 31


@pytest.mark.engine("sqlite")
@pytest.mark.clause("RIGHT-09", "RIGHT-14")
@pytest.mark.settings(**services.SECURED, REGISTRATION="closed")
def test_registration_can_be_closed(service: Service) -> None:
    api, fields = service.api, expect.somebody()
    expect.problem(api.asking("").post("/users", json=fields), "unauthorized")
    expect.problem(api.asking("").post("/users", content=b"{"), "unauthorized")
    user = member(api)
    me = api.asking(f"Bearer {api.token(user['email'], PASSWORD)}")
    expect.problem(me.post("/users", json=fields), "forbidden")
    expect.user(api.post("/users", json=fields), 201, **fields)


@pytest.mark.clause("RIGHT-11")
def test_the_first_admin_is_made_once(launched: Callable[..., Service]) -> None:
    service = launched(**services.SECURED)
    api = service.api
    (admin,) = api.get("/users").json()
    assert (admin["name"], admin["email"], admin["role"]) == ("Admin", services.ADMIN[0], "admin")
    changed = api.patch("/users/me", json={"email": "root@example.com", "password": PASSWORD})
    assert changed.status == 200
    assert service.stop() == 0
    service.restart()
    root = service.api.asking(f"Bearer {service.api.token('root@example.com', PASSWORD)}")
    assert [user["id"] for user in root.get("/users").json()] == [admin["id"]]


@pytest.mark.clause("RIGHT-11", "OPS-16")
def test_many_services_make_one_first_admin(
    new_database: Callable[[Engine, Path], str], tmp_path: Path
) -> None:
    url = new_database("postgres", tmp_path)
    running = [
        Service(kind, tmp_path / f"{n}", services.SECURED, url)
        for n, kind in enumerate(services.KINDS * 2)
    ]
    try:
        for service in running:
            service.start()
        for service in running:
            service.await_ready()
        for service in running:
            assert len(service.api.get("/users").json()) == 1
    finally:
        for service in running:
            service.kill()


@pytest.mark.clause("RIGHT-12")
def test_an_email_that_is_somebodys_makes_no_admin(launched: Callable[..., Service]) -> None:
    service = launched()
    service.api.create(email=services.ADMIN[0])
    assert service.stop() == 0
    env = services.SECURED
    again = Service(service.kind, service.directory / "again", env, service.database_url)
    again.start()
    with pytest.raises(NotStartedError, match="ended with 1 before"):
        again.await_ready()
    assert again.stderr() == "ADMIN_EMAIL is the email of a user who is no admin\n"


def _known(user: User) -> dict[str, Any]:
    return {name: user[name] for name in ("name", "email", "version", "id", "role")}
