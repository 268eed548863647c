"""CORS: off by default; with CORS_ORIGINS, which answer carries what."""

import pytest

from contract_tests.harness import expect
from contract_tests.harness.client import Client
from contract_tests.harness.services import Service

# Which database there is says nothing about origins.
pytestmark = pytest.mark.engine("sqlite")

ORIGIN = "https://app.example"
OTHER = "http://localhost:5173"
ALLOWED = pytest.mark.settings(CORS_ORIGINS=f"{ORIGIN},{OTHER}")

FOREIGN = [
    "http://app.example",
    "https://app.example:443",
    "https://app.example:8443",
    "https://APP.example",
    "https://app.example/",
    "https://app.example.evil.example",
    "https://evil-app.example",
    "https://sub.app.example",
    "app.example",
    "null",
    "*",
    "",
    f"{ORIGIN},{OTHER}",
    f"{ORIGIN}, {OTHER}",
    f"{ORIGIN} {ORIGIN}",
    "http://localhost",
    "http://localhost:51730",
]

VARY = {"vary": "Origin"}
EXPOSED = (
    "Accept-Patch, ETag, Idempotency-Replayed, Link, Location, Retry-After, WWW-Authenticate, "
    "X-Request-Id"
)


def plain(origin: str) -> dict[str, str]:
    """What an answer to an allowed origin carries."""
    return {
        "vary": "Origin",
        "access-control-allow-origin": origin,
        "access-control-expose-headers": EXPOSED,
    }


def preflight(origin: str, allow: str) -> dict[str, str]:
    """What the answer to its preflight carries."""
    headers = "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, X-Request-Id"
    return {
        "vary": "Origin",
        "access-control-allow-origin": origin,
        "access-control-allow-methods": allow,
        "access-control-allow-headers": headers,
        "access-control-max-age": "600",
    }


def assert_every_kind(api: Client, headers: dict[str, str], also: dict[str, str]) -> None:
    """Answers of many kinds carry exactly these fields besides their own."""
    fields = expect.somebody()
    keyed = {**headers, "Idempotency-Key": fields["name"]}
    first = api.post("/users", json=fields, headers=keyed)
    user = expect.user(first, 201, **fields, also=also)
    expect.replay(api.post("/users", json=fields, headers=keyed), first, also=also)
    path = f"/users/{user['id']}"
    expect.user(api.get(path, headers=headers), 200, **fields, also=also)
    answer = api.get(path, headers={**headers, "If-None-Match": '"1"'})
    expect.not_modified(answer, '"1"', also=also)
    answer = api.get(f"/users?q={fields['name']}", headers=headers)
    expect.users(answer, [user], next=False, also=also)
    answer = api.delete(path, headers={**headers, "If-Match": '"2"'})
    expect.problem(answer, "version-mismatch", also=also)
    expect.empty(api.delete(path, headers=headers), also=also)
    expect.problem(api.get(path, headers=headers), "user-not-found", also=also)
    expect.problem(api.get("/nowhere", headers=headers), "not-found", also=also)
    answer = api.request("TRACE", "/healthz", headers=headers)
    expect.problem(answer, "method-not-allowed", allow="GET, HEAD, OPTIONS", also=also)
    answer = api.post("/users", content=b"", headers=headers)
    expect.problem(answer, "unsupported-media-type", also=also)
    answer = api.post("/users", json="x" * 65536, headers=headers)
    expect.problem(answer, "body-too-large", also=also)
    errors = [expect.error("wrong-type", pointer="#")]
    answer = api.post("/users", json=1, headers=headers)
    expect.problem(answer, "validation", errors, also=also)
    expect.body(api.get("/healthz", headers=headers), 200, b'{"status":"ok"}', also=also)
    for page in ("/openapi.json", "/docs", "/docs/init.js"):
        answer = api.get(page, headers=headers)
        assert answer.status == 200
        of_cors = {name: value for name, value in answer.headers if name in also}
        assert of_cors == also


def ask_first(origin: str, method: str = "PATCH") -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "content-type,if-match",
    }


@pytest.mark.clause("CORS-01")
def test_it_is_off_without_origins(api: Client) -> None:
    assert_every_kind(api, {"Origin": ORIGIN}, {})
    answer = api.options("/users", headers=ask_first(ORIGIN))
    expect.empty(answer, allow="GET, HEAD, OPTIONS, POST")


@ALLOWED
@pytest.mark.clause("CORS-02")
def test_without_an_origin_every_answer_varies(service: Service) -> None:
    assert_every_kind(service.api, {}, VARY)
    answer = service.api.options("/users/1")
    expect.empty(answer, allow="DELETE, GET, HEAD, OPTIONS, PATCH, PUT", also=VARY)


@ALLOWED
@pytest.mark.clause("CORS-02", "CORS-03", "CORS-04")
@pytest.mark.parametrize("origin", [ORIGIN, OTHER])
def test_an_allowed_origin_is_named(service: Service, origin: str) -> None:
    assert_every_kind(service.api, {"Origin": origin}, plain(origin))


@ALLOWED
@pytest.mark.clause("CORS-03", "ROUTE-10")
def test_head_carries_what_get_does(service: Service) -> None:
    for path in ("/healthz", "/nowhere", "/users/0"):
        for headers in ({"Origin": ORIGIN}, {}):
            expect.head_of(
                service.api.head(path, headers=headers), service.api.get(path, headers=headers)
            )


@ALLOWED
@pytest.mark.clause("CORS-02", "CORS-05", "CORS-07")
@pytest.mark.parametrize("origin", FOREIGN)
def test_a_foreign_origin_is_none(service: Service, origin: str) -> None:
    headers = {"Origin": origin}
    answer = service.api.get("/healthz", headers=headers)
    expect.body(answer, 200, b'{"status":"ok"}', also=VARY)
    expect.problem(service.api.get("/nowhere", headers=headers), "not-found", also=VARY)
    answer = service.api.options("/users", headers=ask_first(origin))
    expect.empty(answer, allow="GET, HEAD, OPTIONS, POST", also=VARY)


@ALLOWED
@pytest.mark.clause("CORS-07")
def test_a_foreign_origin_is_served_all_the_same(service: Service) -> None:
    assert_every_kind(service.api, {"Origin": "https://elsewhere.example"}, VARY)


@ALLOWED
@pytest.mark.clause("CORS-05")
@pytest.mark.parametrize("origins", [[ORIGIN, ORIGIN], [ORIGIN, OTHER], [ORIGIN, ""], ["", ORIGIN]])
def test_two_origins_are_none(service: Service, origins: list[str]) -> None:
    api = service.api
    headers = [("Origin", origin) for origin in origins]
    answer = api.raw(api.message("GET", "/healthz", headers))
    expect.body(answer, 200, b'{"status":"ok"}', also=VARY)
    headers.append(("Access-Control-Request-Method", "POST"))
    answer = api.raw(api.message("OPTIONS", "/users", headers), method="OPTIONS")
    expect.empty(answer, allow="GET, HEAD, OPTIONS, POST", also=VARY)


@ALLOWED
@pytest.mark.clause("CORS-06")
@pytest.mark.parametrize("origin", [ORIGIN, OTHER])
@pytest.mark.parametrize("method", ["PATCH", "GET", "TRACE", "nonsense", ""])
def test_a_preflight_is_answered(service: Service, origin: str, method: str) -> None:
    for path, allow in (
        ("/users", "GET, HEAD, OPTIONS, POST"),
        ("/users/1", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
        ("/users/abc", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
        ("/healthz", "GET, HEAD, OPTIONS"),
    ):
        answer = service.api.options(path, headers=ask_first(origin, method))
        expect.empty(answer, allow=allow, also=preflight(origin, allow))


@ALLOWED
@pytest.mark.clause("CORS-04", "CORS-06")
def test_options_that_asks_for_no_method_is_no_preflight(service: Service) -> None:
    answer = service.api.options("/users", headers={"Origin": ORIGIN})
    expect.empty(answer, allow="GET, HEAD, OPTIONS, POST", also=plain(ORIGIN))


@ALLOWED
@pytest.mark.clause("CORS-03", "CORS-06")
def test_an_unknown_path_has_no_preflight(service: Service) -> None:
    answer = service.api.options("/nowhere", headers=ask_first(ORIGIN))
    expect.problem(answer, "not-found", also=plain(ORIGIN))


@ALLOWED
@pytest.mark.clause("CORS-03", "CORS-06")
def test_only_options_is_a_preflight(service: Service) -> None:
    answer = service.api.get("/healthz", headers=ask_first(ORIGIN))
    expect.body(answer, 200, b'{"status":"ok"}', also=plain(ORIGIN))


@ALLOWED
@pytest.mark.clause("CORS-08")
def test_a_refusal_carries_none(service: Service) -> None:
    api = service.api
    two_hosts = [("Host", "b"), ("Origin", ORIGIN)]
    answer = api.raw(api.message("GET", "/healthz", two_hosts))
    expect.problem(answer, "bad-request", closed=True)
    many = [("Origin", ORIGIN), *[("X", "")] * 100]
    answer = api.raw(api.message("GET", "/healthz", many))
    expect.problem(answer, "headers-too-large", closed=True)
