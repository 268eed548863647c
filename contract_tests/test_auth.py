"""AUTH: which tokens are given, which are taken, and what a service is that asks for none."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from contract_tests.harness import expect, services, tokens
from contract_tests.harness.client import Client
from contract_tests.harness.databases import Engine
from contract_tests.harness.services import KINDS, Kind, Service
from contract_tests.harness.tokens import claims, encoded, sealed, token

# Which database there is says nothing about tokens.
pytestmark = pytest.mark.engine("sqlite")

PASSWORD = "a password of a member"
OTHER_SECRET = "another-secret-for-the-tests-and-no-other-use"

User = dict[str, Any]


@pytest.fixture
def user(guarded: Client) -> User:
    """A new member with a password."""
    return guarded.create(password=PASSWORD)


def me(api: Client, token_: str, scheme: str = "Bearer") -> Client:
    """The client with this token."""
    return api.asking(f"{scheme} {token_}")


def assert_taken(api: Client, user: User, token_: str) -> None:
    answer = me(api, token_).get("/users/me")
    assert answer.status == 200, answer
    shown = {name: user[name] for name in ("name", "email", "id")}
    expect.user(answer, 200, **shown, role=answer.json()["role"], version=answer.json()["version"])


def assert_not_taken(api: Client, token_: str) -> None:
    for path in ("/users/me", "/users", "/users/1"):
        expect.problem(me(api, token_).get(path), "unauthorized", invalid_token=True)
    # Nor where none is needed.
    answer = me(api, token_).post("/users", json=expect.somebody())
    expect.problem(answer, "unauthorized", invalid_token=True)


# Tokens that are given


@pytest.mark.clause("AUTH-01", "AUTH-02")
def test_what_a_token_says(guarded: Client, user: User) -> None:
    before = int(time.time())
    header, payload = tokens.decoded(guarded.token(user["email"], PASSWORD))
    assert header == {"alg": "HS256", "typ": "JWT"}
    iat = payload["iat"]
    assert before <= iat <= time.time()
    expected = claims(user["id"], iat=iat, exp=iat + 900)
    assert payload == expected
    assert [*payload] == [*expected]


@pytest.mark.usefixtures("known_secret")
@pytest.mark.clause("AUTH-01", "AUTH-11")
def test_a_token_is_signed_with_the_secret(guarded: Client, user: User) -> None:
    given = guarded.token(user["email"], PASSWORD)
    jwt.decode(given, tokens.SECRET, ["HS256"], audience="users", issuer="users")


@pytest.mark.clause("AUTH-01", "AUTH-02", "AUTH-07", "LOGIN-01")
@pytest.mark.settings(
    **services.SECURED, AUTH_ISSUER="https://one.example", AUTH_AUDIENCE="two", AUTH_TOKEN_TTL="2"
)
def test_issuer_audience_and_time_are_settings(service: Service) -> None:
    api = service.api
    user = api.asking("").post("/users", json={**expect.somebody(), "password": PASSWORD}).json()
    answer = api.log_in(user["email"], PASSWORD)
    given = answer.json()["access_token"]
    body = {"access_token": given, "token_type": "Bearer", "expires_in": 2}
    expect.body(answer, 200, expect.render(body))
    _, payload = tokens.decoded(given)
    assert (payload["iss"], payload["aud"]) == ("https://one.example", "two")
    assert payload["exp"] - payload["iat"] == 2
    assert_taken(api, user, given)
    assert_not_taken(api, token(claims(user["id"])))
    time.sleep(2)
    assert_not_taken(api, given)


# Tokens that are taken, and those that aren't


@pytest.mark.clause("AUTH-04", "AUTH-03")
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR", "Bearer "])
def test_the_scheme_in_any_letter_case(guarded: Client, user: User, scheme: str) -> None:
    given = guarded.token(user["email"], PASSWORD)
    assert me(guarded, given, scheme).get("/users/me").status == 200


@pytest.mark.clause("AUTH-03")
@pytest.mark.parametrize(
    "authorization",
    [
        "Basic YTpi",
        "Digest",
        "Bearers abc",
        "bear er",
        "Token token=1",
        'Digest a="b; c" d = "\xe4"',
        "x \xe4",
    ],
)
def test_another_scheme_is_as_none(guarded: Client, authorization: str) -> None:
    stranger = guarded.asking(authorization)
    expect.problem(stranger.get("/users"), "unauthorized")
    fields = expect.somebody()
    expect.user(stranger.post("/users", json=fields), 201, **fields)


@pytest.mark.clause("AUTH-04")
@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer",
        "Bearer a b",
        "Bearer a,b",
        'Bearer "a.b.c"',
        "Bearer \xe4",
        "Bearer a.b.c, Bearer a.b.c",
        "Bearer\ta.b.c",
        ", Basic",
        "Digest a=b, c=d",
        "Basic YTpi,",
        "=",
        "",
    ],
)
def test_what_is_no_token_is_not_valid(guarded: Client, authorization: str) -> None:
    for path in ("/users/me", "/users"):
        answer = guarded.asking("").get(path, headers={"Authorization": authorization})
        expect.problem(answer, "unauthorized", invalid_token=True)


@pytest.mark.direct("AUTH-04")
@pytest.mark.clause("AUTH-04")
def test_more_than_one_is_not_valid(guarded: Client, user: User) -> None:
    given = f"Bearer {guarded.token(user['email'], PASSWORD)}"
    for two in (
        (given, given),
        (given, "Basic YTpi"),
        ("Basic YTpi", given),
        ("Basic YTpi", "Basic YTpi"),
        ("Basic a=b", given),
        ("Digest a=b", "c=d"),
        ('Digest a="x', 'y"'),
        ("Basic YTpi", ""),
        ("", given),
    ):
        headers = [("Authorization", one) for one in two]
        answer = guarded.asking("").get("/users/me", headers=headers)
        expect.problem(answer, "unauthorized", invalid_token=True)


def with_signature(given: str, change: Callable[[str], str]) -> str:
    text, _, signature = given.rpartition(".")
    return f"{text}.{change(signature)}"


BROKEN: dict[str, Callable[[str], str]] = {
    "without a signature": lambda given: with_signature(given, lambda _: ""),
    "without a dot": lambda given: given.rpartition(".")[0],
    "half a signature": lambda given: with_signature(given, lambda text: text[:21]),
    "one character of the signature": lambda given: with_signature(
        given, lambda text: ("A" if text[0] != "A" else "B") + text[1:]
    ),
    "a longer signature": lambda given: given + "AAAA",
    "padding": lambda given: given + "=",
    "a fourth part": lambda given: given + ".e30",
    "an empty header": lambda given: given[given.index(".") :],
    "a slash in the signature": lambda given: with_signature(given, lambda text: "/" + text[1:]),
    "another payload": lambda given: ".".join(
        [given.split(".")[0], encoded(claims(1, role="admin")), given.split(".")[2]]
    ),
    "a header that is no JSON": lambda given: ".".join([encoded(b"\xff{"), *given.split(".")[1:]]),
    "a header of many brackets": lambda given: ".".join(
        [encoded(b"[" * 5000), *given.split(".")[1:]]
    ),
    "a header of a long number": lambda given: ".".join(
        [encoded(b"9" * 5000), *given.split(".")[1:]]
    ),
    "a header that is a list": lambda given: ".".join([encoded([]), *given.split(".")[1:]]),
}


@pytest.mark.clause("AUTH-05", "AUTH-04", "OPS-11")
@pytest.mark.parametrize("how", BROKEN)
def test_a_token_that_was_changed_is_not_valid(guarded: Client, user: User, how: str) -> None:
    given = guarded.token(user["email"], PASSWORD)
    assert_taken(guarded, user, given)
    assert_not_taken(guarded, BROKEN[how](given))


@pytest.mark.usefixtures("known_secret")
@pytest.mark.clause("AUTH-06", "AUTH-05")
@pytest.mark.parametrize(
    ("digest", "header"),
    [
        ("sha256", {"alg": "none"}),
        ("sha256", {"alg": "None"}),
        ("sha256", {"alg": "hs256"}),
        ("sha384", {"alg": "HS384"}),
        ("sha512", {"alg": "HS512"}),
        ("sha256", {"alg": "RS256"}),
        ("sha256", {"alg": "ES256"}),
        ("sha256", {"alg": ["HS256"]}),
        ("sha256", {"alg": None}),
        ("sha384", {"alg": "HS256"}),
        ("sha256", {"crit": ["exp"], "exp": 1}),
        ("sha256", {"b64": False, "crit": ["b64"]}),
    ],
    ids=str,
)
def test_another_algorithm_is_not_taken(
    guarded: Client, user: User, digest: str, header: dict[str, Any]
) -> None:
    assert_taken(guarded, user, token(claims(user["id"])))
    assert_not_taken(guarded, token(claims(user["id"]), digest=digest, **header))


@pytest.mark.usefixtures("known_secret")
@pytest.mark.clause("AUTH-06")
def test_a_key_that_the_token_brings_is_not_taken(guarded: Client, user: User) -> None:
    secret = b"a key of the token's own, long enough"
    key = {"kty": "oct", "k": encoded(secret), "alg": "HS256"}
    for header in ({"jwk": key}, {"jku": "http://127.0.0.1:1/keys"}, {"kid": "/dev/null"}):
        assert_not_taken(guarded, token(claims(user["id"]), secret, **header))
    assert_not_taken(guarded, token(claims(user["id"]), b"", kid="../../dev/null"))


@pytest.mark.usefixtures("known_secret")
@pytest.mark.clause("AUTH-07", "AUTH-18")
@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1},
        {"exp": None},
        {"iat": None},
        {"sub": None},
        {"iss": None},
        {"iss": "others"},
        {"iss": "user"},
        {"aud": None},
        {"aud": "others"},
        {"aud": ["others", "user"]},
        {"aud": ""},
        {"sub": ""},
        {"sub": "0"},
        {"sub": "01"},
        {"sub": "abc"},
        {"sub": "1 OR 1=1"},
        {"sub": "9007199254740992"},
        {"epoch": None},
        {"epoch": "1"},
        {"epoch": 2},
        {"epoch": 0},
        {"exp": "soon"},
        {"exp": "9999999999"},
        {"exp": float("inf")},
        {"iat": "1"},
        {"nbf": "1"},
        {"sub": 1},
        {"epoch": True},
        {"nbf": 9999999999},
    ],
    ids=str,
)
def test_a_token_of_other_claims_is_not_taken(
    guarded: Client, user: User, changes: dict[str, Any]
) -> None:
    if changes == {"sub": 1}:  # the right one, as a number
        changes = {"sub": user["id"]}
    assert_not_taken(guarded, token(claims(user["id"], **changes)))


@pytest.mark.usefixtures("known_secret")
@pytest.mark.clause("AUTH-05", "OPS-11")
@pytest.mark.parametrize(
    "payload", [[], "users", None, 1, b"{", b"[" * 5000], ids=lambda p: str(p)[:9]
)
def test_a_payload_that_is_no_object_is_not_taken(guarded: Client, payload: object) -> None:
    assert_not_taken(guarded, token(payload))


@pytest.mark.usefixtures("known_secret")
@pytest.mark.clause("AUTH-07")
@pytest.mark.parametrize(
    "changes",
    [{"aud": ["others", "users"]}, {"iat": 9999999999}, {"jti": "1"}, {"nbf": 1}],
    ids=str,
)
def test_what_else_a_token_may_say(guarded: Client, user: User, changes: dict[str, Any]) -> None:
    assert_taken(guarded, user, token(claims(user["id"], **changes)))


@pytest.mark.usefixtures("known_secret")
@pytest.mark.clause("AUTH-17")
def test_the_role_is_the_databases(guarded: Client, user: User) -> None:
    forged = me(guarded, token(claims(user["id"], role="admin")))
    expect.problem(forged.get("/users"), "forbidden")
    expect.problem(forged.patch("/users/me", json={"role": "admin"}), "forbidden")


@pytest.mark.clause("AUTH-09", "PASSWORD-16")
@pytest.mark.parametrize(
    "change",
    [
        {"password": "another password"},
        {"password": PASSWORD},
        {"password": None},
        {"role": "admin"},
    ],
    ids=str,
)
def test_a_change_of_password_or_role_voids(
    guarded: Client, user: User, change: dict[str, Any]
) -> None:
    given = guarded.token(user["email"], PASSWORD)
    assert guarded.patch(f"/users/{user['id']}", json=change).status == 200
    assert_not_taken(guarded, given)


@pytest.mark.clause("AUTH-09")
def test_any_other_change_voids_nothing(guarded: Client, user: User) -> None:
    given = guarded.token(user["email"], PASSWORD)
    email = expect.unique_email()
    for change in ({"name": "Ada King"}, {"email": email}, {"role": "member"}, {}):
        assert guarded.patch(f"/users/{user['id']}", json=change).status == 200
    assert_taken(guarded, user | {"name": "Ada King", "email": email}, given)
    # The password that was set before the login neither.
    assert_taken(
        guarded, user | {"name": "Ada King", "email": email}, guarded.token(email, PASSWORD)
    )


@pytest.mark.clause("AUTH-10")
def test_the_users_end_voids(guarded: Client, user: User) -> None:
    given = guarded.token(user["email"], PASSWORD)
    expect.empty(guarded.delete(f"/users/{user['id']}"))
    assert_not_taken(guarded, given)
    again = guarded.create(email=user["email"], password=PASSWORD)
    assert_not_taken(guarded, given)
    assert_taken(guarded, again, guarded.token(user["email"], PASSWORD))


# Two secrets, two services


@pytest.fixture
def together(new_database: Callable[[Engine, Path], str], tmp_path: Path) -> Iterator["Together"]:
    """A function that starts secured services on one database, each with settings of its own."""
    running: list[Service] = []
    url = ""

    def start(kind: Kind, engine: Engine = "sqlite", **env: str) -> Client:
        nonlocal url
        url = url or new_database(engine, tmp_path)
        env = services.SECURED | env
        running.append(
            services.launch(kind, env=env, directory=tmp_path / f"{len(running)}", database_url=url)
        )
        return running[-1].api

    yield start
    for service in running:
        service.kill()


Together = Callable[..., Client]


@pytest.mark.clause("AUTH-08")
@pytest.mark.parametrize("kind", KINDS)
def test_a_secret_is_replaced_without_an_end(together: Together, kind: Kind) -> None:
    before = together(kind)
    user = before.create(password=PASSWORD)
    old = before.token(user["email"], PASSWORD)
    after = together(kind, AUTH_SECRET=OTHER_SECRET, AUTH_SECRET_PREVIOUS=tokens.SECRET)
    assert_taken(after, user, old)
    new = after.token(user["email"], PASSWORD)
    jwt.decode(new, OTHER_SECRET, ["HS256"], audience="users")
    assert_taken(after, user, new)
    assert_not_taken(before, new)
    assert_not_taken(after, token(claims(user["id"]), "x" * 40))
    assert_not_taken(after, token(claims(user["id"], exp=1)))
    assert_not_taken(together(kind, AUTH_SECRET=OTHER_SECRET), old)


@pytest.mark.clause("AUTH-11", "LOGIN-03", "OPS-14", "PASSWORD-13")
@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
@pytest.mark.parametrize(("giver", "taker"), [KINDS, KINDS[::-1]])
def test_what_one_gives_the_other_takes(
    together: Together, engine: Engine, giver: Kind, taker: Kind
) -> None:
    """A password is set through one and good at the other; a token of one is good at the other."""
    one, other = together(giver, engine), together(taker, engine)
    for password in (
        PASSWORD,
        "p\u00e4ssw\u00f6rd \U0001f511 & = + %",
        "\x00" * 12,
        "a" * 128,
        " " * 12,
    ):
        user = one.create(password=password)
        given = other.token(user["email"], password)
        assert_taken(one, user, given)
        assert_taken(other, user, given)
        assert (
            other.patch(f"/users/{user['id']}", json={"password": f"{password[:100]}!"}).status
            == 200
        )
        assert_not_taken(one, given)
        assert_not_taken(other, given)
        assert one.log_in(user["email"], password).status == 400
        assert_taken(one, user, one.token(user["email"], f"{password[:100]}!"))


# A service that runs open


@pytest.mark.clause("AUTH-13", "AUTH-16")
@pytest.mark.settings
def test_an_open_service_asks_nobody(service: Service) -> None:
    api = service.api
    user = api.create()
    for authorization in ("Bearer a.b.c", "Basic YTpi", "\xe4", token(claims(user["id"]))):
        headers = {"Authorization": authorization}
        assert api.get("/users", headers=headers).status == 200
        expect.problem(api.get("/users/me", headers=headers), "unauthorized")
    two = [("Authorization", "Bearer a"), ("Authorization", "Bearer b")]
    assert api.get("/users", headers=two).status == 200
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        expect.problem(api.request(method, "/users/me"), "unauthorized")


@pytest.mark.clause("AUTH-13", "OPS-01")
def test_an_open_service_says_so(launched: Callable[..., Service]) -> None:
    for env, said in (({}, 1), ({**services.SECURED, "AUTH": "off"}, 1), (services.SECURED, 0)):
        service = launched(**env)
        assert service.stop() == 0
        lines = [json.loads(line) for line in service.stdout().splitlines()]
        warnings = [line for line in lines if line["level"] == "warning"]
        assert [line["message"] for line in warnings] == [
            "open to everybody: AUTH_SECRET is not set, or AUTH is off"
        ] * said


@pytest.mark.clause("AUTH-15")
@pytest.mark.settings
def test_an_open_service_gives_no_tokens(service: Service) -> None:
    user = service.api.create(password=PASSWORD)
    for password in (PASSWORD, "wrong"):
        answer = service.api.log_in(user["email"], password)
        expect.body(answer, 400, UNSUPPORTED)


UNSUPPORTED = (
    b'{"error":"unsupported_grant_type",'
    b'"error_description":"This service does not give tokens for this grant type."}'
)


@pytest.mark.clause("AUTH-14", "OPS-03")
def test_none_runs_open_by_accident(spawned: Callable[..., Service]) -> None:
    service = spawned(HOST="0.0.0.0")
    assert service.wait(services.START_TIMEOUT) == 1
    assert service.stderr() == f"{NOT_OPEN}\n"


NOT_OPEN = "AUTH_SECRET must be set, or AUTH be off, where HOST is no loopback"


@pytest.mark.clause("AUTH-14", "OPS-03")
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_loopback_is_not_open(kind: Kind) -> None:
    hosts = ["0.0.0.0", "::", "192.0.2.1", "example.com"]
    assert services.refusals(kind, [{"HOST": host} for host in hosts]) == [NOT_OPEN] * 4


@pytest.mark.clause("AUTH-14", "OPS-03")
@pytest.mark.parametrize("kind", KINDS)
def test_none_runs_open_that_is_told_not_to(kind: Kind) -> None:
    assert services.refusals(kind, [{"AUTH": "on"}]) == ["AUTH_SECRET must be set where AUTH is on"]


@pytest.mark.clause("AUTH-14")
def test_it_runs_open_where_it_is_told_to(launched: Callable[..., Service]) -> None:
    service = launched(HOST="0.0.0.0", AUTH="off")
    port = service.url.rpartition(":")[2]
    api = Client(f"http://127.0.0.1:{port}")
    assert api.get("/users").status == 200
    api.close()
    secured = launched(HOST="0.0.0.0", **services.SECURED)
    port = secured.url.rpartition(":")[2]
    api = Client(f"http://127.0.0.1:{port}")
    expect.problem(api.get("/users"), "unauthorized")
    api.close()


@pytest.mark.clause("AUTH-12", "OPS-03")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["AUTH_SECRET", "AUTH_SECRET_PREVIOUS"])
def test_a_secret_that_is_none_is_refused(kind: Kind, name: str) -> None:
    wrong = ["x" * 31, "x" * 1025, "x" * 32 + " ", "x" * 32 + "\xe4"]
    said = services.refusals(kind, [services.SECURED | {name: secret} for secret in wrong])
    assert said == [f"{name} must be 32 or more visible ASCII characters"] * len(wrong)


@pytest.mark.clause("LOG-04")
def test_the_log_has_no_secret(launched: Callable[..., Service]) -> None:
    service = launched(**services.SECURED, AUTH_SECRET_PREVIOUS=OTHER_SECRET)
    api = service.api
    user = api.create(password=PASSWORD)
    given = api.token(user["email"], PASSWORD)
    forged = token(claims(user["id"]), "x" * 40)
    for one in (given, forged, "x" + given, f"{given}.x"):
        api.asking(f"Bearer {one}").get("/users/me")
    api.log_in(user["email"], "a wrong password", headers={"Authorization": f"Bearer {given}"})
    api.post(
        "/auth/token",
        content=b"password=%FF" + PASSWORD.encode(),
        headers={"Content-Type": "text/x"},
    )
    assert service.stop() == 0
    said = service.log()
    assert "/auth/token" in said
    unsaid = [
        PASSWORD,
        PASSWORD.replace(" ", "+"),
        "a wrong password",
        given,
        given.rpartition(".")[2],
        forged.rpartition(".")[2],
        services.ADMIN[1],
        tokens.SECRET,
        OTHER_SECRET,
        user["email"],
        "$argon2id$",
    ]
    assert [text for text in unsaid if text in said] == []


# A provider's tokens


class Provider:
    """An identity provider: its key set over HTTP, and tokens that it signs."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {}
        self.late: set[str] = set()  # of these, those that the first who asks isn't shown
        self.answer: tuple[int, bytes] | None = None
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                status, body = outer.answer or (200, json.dumps(outer.set()).encode())
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/keys"
        Thread(target=self._server.serve_forever, daemon=True).start()
        self.add("rsa")
        self.add("ec")

    def add(self, name: str) -> None:
        """Another key: an RSA one, unless it is named `ec…`."""
        self.keys[name] = (
            ec.generate_private_key(ec.SECP256R1())
            if name.startswith("ec")
            else rsa.generate_private_key(public_exponent=65537, key_size=2048)
        )

    def set(self) -> dict[str, Any]:
        """The JSON Web Key Set."""
        shown = []
        for name, key in self.keys.items():
            if name in self.late and self.asked == 1:
                continue
            algorithm = self.algorithm(name)
            kind = jwt.get_algorithm_by_name(algorithm)
            jwk = json.loads(kind.to_jwk(key.public_key()))
            shown.append(jwk | {"kid": name, "alg": algorithm, "use": "sig"})
        return {"keys": shown}

    def algorithm(self, name: str) -> str:
        return "ES256" if name.startswith("ec") else "RS256"

    def token(self, name: str, payload: tokens.Claims, **header: Any) -> str:
        """A token signed by this key, which the header names."""
        fields = {"kid": name} | header
        fields = {key: value for key, value in fields.items() if value is not None}
        return jwt.encode(payload, self.keys[name], self.algorithm(name), headers=fields)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A provider of the test's own."""
    provider = Provider()
    yield provider
    provider.close()


def outside(user: User, **changes: object) -> tokens.Claims:
    """What a provider says of a user: it knows neither role nor epoch."""
    return claims(user["id"], **({"role": None, "epoch": None} | changes))


@pytest.fixture
def behind(provider: Provider, launched: Callable[..., Service]) -> tuple[Client, User]:
    """A client of a service that takes the provider's tokens, and a member."""
    service = launched(AUTH_JWKS_URL=provider.url)
    api = service.api
    return api, api.create()


@pytest.mark.clause("AUTH-19", "AUTH-20")
def test_a_providers_tokens_are_taken(provider: Provider, behind: tuple[Client, User]) -> None:
    api, user = behind
    expect.problem(api.get("/users"), "unauthorized")
    assert provider.asked == 0
    for _ in range(3):
        for name in provider.keys:
            given = me(api, provider.token(name, outside(user)))
            shown = {name: user[name] for name in ("name", "email", "id")}
            expect.user(given.get("/users/me"), 200, **shown)
            expect.problem(given.get("/users"), "forbidden")
            expect.problem(given.get("/users/0"), "forbidden")
    assert provider.asked == 1
    expect.body(api.log_in(user["email"], PASSWORD), 400, UNSUPPORTED)


@pytest.mark.clause("AUTH-19", "AUTH-06", "AUTH-21")
def test_what_a_provider_has_not_signed_is_not_taken(
    provider: Provider, behind: tuple[Client, User]
) -> None:
    api, user = behind
    good, other = outside(user), Provider()
    other.close()
    public = json.dumps(provider.set()["keys"][0]).encode()
    for bad in (
        other.token("rsa", good),
        other.token("ec", good),
        provider.token("rsa", good, kid="ec"),
        provider.token("ec", good, kid="rsa"),
        provider.token("rsa", good, kid=None),
        provider.token("rsa", good, kid="unknown"),
        provider.token("rsa", outside(user, exp=1)),
        provider.token("rsa", outside(user, aud="others")),
        provider.token("rsa", outside(user, iss="others")),
        provider.token("rsa", outside(user, sub="abc")),
        provider.token("rsa", outside(user, sub=str(expect.MAX_ID))),
        token(good, kid="rsa"),
        token(good, public, kid="rsa"),
        token(good, alg="none", kid="rsa"),
        sealed({"alg": "RS256", "kid": ["rsa"]}, good, "x"),
        "a.b.c",
    ):
        assert_not_taken(api, bad)
    assert me(api, provider.token("rsa", good)).get("/users/me").status == 200


@pytest.mark.clause("AUTH-21")
def test_a_new_key_is_looked_up_but_not_at_once(
    provider: Provider, behind: tuple[Client, User]
) -> None:
    api, user = behind
    provider.add("new")
    given = me(api, provider.token("rsa", outside(user)))
    assert given.get("/users/me").status == 200
    provider.add("newer")
    late = me(api, provider.token("newer", outside(user)))
    for _ in range(5):
        expect.problem(late.get("/users/me"), "unauthorized", invalid_token=True)
    assert provider.asked == 1


# A key that isn't there, is looked up too soon, and then with the clock put forward.
COOLDOWN: dict[Kind, str] = {
    "python": """
import asyncio, sys, time
from python_api.auth.keys import ProviderKeys
from python_api.settings import read_settings

keys = ProviderKeys(read_settings({"AUTH_JWKS_URL": sys.argv[1]}))
now = time.monotonic

def found(name):
    return asyncio.run(keys.find("RS256", name)) is not None

print(found("rsa"), found("new"))
for seconds in (29, 31):
    time.monotonic = lambda: now() + seconds
    print(found("new"))
""",
    "node": """
import { ProviderKeys } from "./src/auth/keys.ts";
import { readSettings } from "./src/settings.ts";

const keys = new ProviderKeys(readSettings({ AUTH_JWKS_URL: process.argv[1] }));
const now = performance.now.bind(performance);
const found = (kid) => keys.find("RS256", kid).then((key) => (key ? "True" : "False"));
console.log(await found("rsa"), await found("new"));
for (const seconds of [29, 31]) {
  performance.now = () => now() + seconds * 1000;
  console.log(await found("new"));
}
""",
}


@pytest.mark.clause("AUTH-21")
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_key_is_looked_up_after_half_a_minute(provider: Provider, kind: Kind) -> None:
    provider.add("new")
    provider.late = {"new"}
    said = services.run_code(COOLDOWN, kind, provider.url).split()
    assert said == ["True", "False", "False", "True"]
    assert provider.asked == 2


@pytest.mark.clause("AUTH-22")
@pytest.mark.parametrize(
    "answer", [(500, b""), (404, b"{}"), (200, b"not JSON"), (200, b"[]"), (302, b"")], ids=str
)
def test_a_provider_that_has_no_keys_to_give(
    provider: Provider, behind: tuple[Client, User], answer: tuple[int, bytes]
) -> None:
    api, user = behind
    given = me(api, provider.token("rsa", outside(user)))
    provider.answer = answer
    for path in ("/users/me", "/users"):
        expect.problem(given.get(path), "provider-unavailable")
    assert provider.asked == 1


@pytest.mark.clause("AUTH-22", "AUTH-13")
def test_a_provider_that_is_not_there(launched: Callable[..., Service]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    api = launched(AUTH_JWKS_URL=f"http://127.0.0.1:{port}/keys").api
    provider = Provider()
    provider.close()
    given = me(api, provider.token("rsa", claims(1)))
    expect.problem(given.get("/users"), "provider-unavailable")
    expect.problem(api.get("/users"), "unauthorized")
    fields = expect.somebody()
    expect.user(api.post("/users", json=fields), 201, **fields)


@pytest.mark.clause("AUTH-19", "OPS-03")
@pytest.mark.parametrize("kind", KINDS)
def test_a_provider_stands_in_place_of_own_logins(kind: Kind) -> None:
    env = services.SECURED | {"AUTH_JWKS_URL": "http://127.0.0.1:1/keys"}
    said = services.refusals(kind, [env])
    assert said == ["AUTH_JWKS_URL must be empty where AUTH_SECRET is set"]
