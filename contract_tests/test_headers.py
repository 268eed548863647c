"""HDR: the header fields that every answer has, and those that none has."""

from collections.abc import Callable

import pytest

from contract_tests.harness import expect
from contract_tests.harness.client import Client
from contract_tests.harness.wire import Answer, message

Pairs = list[tuple[str, str]]


def created(api: Client, headers: Pairs) -> Answer:
    return api.post("/users", json=expect.somebody(), headers=headers)


def replayed(api: Client, headers: Pairs) -> Answer:
    key = [("Idempotency-Key", expect.unique())]
    fields = expect.somebody()
    api.post("/users", json=fields, headers=key)
    return api.post("/users", json=fields, headers=[*headers, *key])


def of_a_user(method: str, content: bytes | None, *more: tuple[str, str]) -> "Kind":
    def ask(api: Client, headers: Pairs) -> Answer:
        path = f"/users/{api.create()['id']}"
        return api.request(method, path, content=content, headers=[*headers, *more])

    return ask


def plain(method: str, target: str, content: bytes | None = None) -> "Kind":
    def ask(api: Client, headers: Pairs) -> Answer:
        return api.request(method, target, content=content, headers=headers)

    return ask


Kind = Callable[[Client, Pairs], Answer]
JSON = ("Content-Type", "application/json")

# One of each: status -> how to get it, with these header fields in the request.
KINDS: dict[str, Kind] = {
    "200 user": of_a_user("GET", None),
    "200 users": plain("GET", "/users?limit=2"),
    "200 replaced": of_a_user("PATCH", b'{"name":"New"}', JSON),
    "200 health": plain("GET", "/healthz"),
    "200 ready": plain("GET", "/readyz"),
    "200 metrics": plain("GET", "/metrics"),
    "200 document": plain("GET", "/openapi.json"),
    "200 page": plain("GET", "/docs"),
    "200 script": plain("GET", "/docs/init.js"),
    "200 style": plain("GET", "/docs/swagger-ui.css"),
    "200 head": of_a_user("HEAD", None),
    "201 created": created,
    "201 replayed": replayed,
    "204 deleted": of_a_user("DELETE", None),
    "204 options": plain("OPTIONS", "/users"),
    "304 user": of_a_user("GET", None, ("If-None-Match", "*")),
    "400 header": of_a_user("GET", None, ("If-None-Match", "")),
    "400 query": plain("GET", "/users?%"),
    "400 json": of_a_user("PUT", b"{", JSON),
    "404 path": plain("GET", "/nowhere"),
    "404 path options": plain("OPTIONS", "/nowhere"),
    "404 path percent": plain("GET", "/users/%31"),
    "404 user": plain("GET", "/users/9007199254740991"),
    "405 method": plain("POST", "/users/1"),
    "405 unusual method": plain("PROPFIND", "/users/1"),
    "412 version": of_a_user("DELETE", None, ("If-Match", '"0"')),
    "415 type": plain("POST", "/users", b"{}"),
    "413 body": of_a_user("PUT", b"x" * 65537, JSON),
    "422 body": of_a_user("PUT", b"{}", JSON),
    "422 query": plain("GET", "/users?limit=0"),
    "422 path": plain("GET", "/users/0"),
}

# What the contract names; what belongs to the connection is outside of it.
KNOWN = {
    "allow",
    "cache-control",
    "content-length",
    "content-security-policy",
    "content-type",
    "etag",
    "idempotency-replayed",
    "link",
    "location",
    "referrer-policy",
    "retry-after",
    "www-authenticate",
    "x-content-type-options",
    "x-request-id",
}
OF_THE_CONNECTION = {"connection", "date", "keep-alive"}


@pytest.mark.clause("HDR-01", "HDR-02", "HDR-05", "HDR-06", "HDR-07", "HDR-08", "HDR-09", "HDR-10")
@pytest.mark.parametrize("kind", KINDS)
def test_every_answer_has_its_headers_and_no_others(api: Client, kind: str) -> None:
    token = expect.unique()
    answer = KINDS[kind](api, [("X-Request-Id", token)])
    assert str(answer.status) == kind[:3]
    names = [name for name, _ in answer.headers]
    assert len(names) == len(set(names)), names
    assert set(names) <= KNOWN | OF_THE_CONNECTION
    assert answer.header("x-request-id") == token
    assert answer.header("x-content-type-options") == "nosniff"
    cache = "no-store" if answer.header("etag") is None else "no-cache"
    assert answer.header("cache-control") == cache
    if answer.status in (204, 304):
        assert answer.body == b""
        assert not {"content-length", "content-type"} & set(names)
    elif kind == "200 head":
        assert answer.body == b""
    else:
        assert answer.header("content-length") == str(len(answer.body))
    if answer.status >= 400:
        assert answer.header("content-type") == "application/problem+json"
    elif answer.body[:1] in (b"{", b"["):
        assert answer.header("content-type") == "application/json"


@pytest.mark.clause("HDR-01", "HDR-03")
@pytest.mark.parametrize("kind", KINDS)
def test_every_answer_has_a_generated_id_without_one(api: Client, kind: str) -> None:
    ids = {KINDS[kind](api, []).header("x-request-id") for _ in range(2)}
    assert len(ids) == 2
    for generated in ids:
        assert expect.is_uuid(generated)


@pytest.mark.storeless
@pytest.mark.clause("HDR-02")
@pytest.mark.parametrize(
    "request_id",
    ["a", "0", "-", ".", "_", "..", "A" * 128, "abcXYZ019._-", "null", "__proto__"],
)
def test_a_valid_request_id_is_given_back(api: Client, request_id: str) -> None:
    headers = {"X-Request-Id": request_id}
    answer = api.get("/healthz", headers=headers)
    expect.body(answer, 200, b'{"status":"ok"}', request_id=request_id)
    expect.problem(api.get("/nowhere", headers=headers), "not-found", request_id=request_id)


@pytest.mark.storeless
@pytest.mark.clause("HDR-03")
@pytest.mark.parametrize(
    "request_id",
    [
        "",
        "A" * 129,
        "A" * 2000,
        "a b",
        "a,b",
        "a/b",
        "a:b",
        "a+b",
        "a~b",
        '"a"',
        "a=",
        "\xe4",
        "a\tb",
    ],
)
def test_any_other_request_id_is_replaced(api: Client, request_id: str) -> None:
    answer = api.raw(api.message("GET", "/healthz", [("X-Request-Id", request_id)]))
    expect.body(answer, 200, b'{"status":"ok"}')


@pytest.mark.storeless
@pytest.mark.clause("HDR-03")
@pytest.mark.parametrize("ids", [["a", "a"], ["a", "b"], ["", "a"], ["a", ""]])
def test_a_request_id_sent_twice_is_replaced(api: Client, ids: list[str]) -> None:
    headers = [("X-Request-Id", value) for value in ids]
    answer = api.raw(api.message("GET", "/healthz", headers))
    expect.body(answer, 200, b'{"status":"ok"}')


@pytest.mark.storeless
@pytest.mark.clause("HDR-04", "HDR-05", "HDR-07", "HDR-10")
def test_a_refusal_generates_its_request_id(api: Client) -> None:
    mine = ("X-Request-Id", "mine")
    expect.problem(api.raw(message("GET", "/healthz", [mine])), "bad-request", closed=True)
    many = [mine, *[("X", "")] * 100]
    expect.problem(api.raw(api.message("GET", "/healthz", many)), "headers-too-large", closed=True)


@pytest.mark.clause("HDR-11")
@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": "text/html"},
        {"Accept": "application/xml;q=0.9, */*;q=0"},
        {"Accept": "nonsense"},
        {"Accept": ""},
        {"Accept-Encoding": "gzip, br, deflate, zstd"},
        {"Accept-Encoding": "identity;q=0, *;q=0"},
        {"Accept-Charset": "utf-16"},
        {"Accept-Language": "de"},
    ],
)
def test_there_is_one_representation(api: Client, headers: dict[str, str]) -> None:
    user = api.create()
    answer = api.get(f"/users/{user['id']}", headers=headers)
    expect.user(answer, 200, name=user["name"], email=user["email"])
    expect.users(api.get(f"/users?q={user['email']}", headers=headers), [user], next=False)
    expect.problem(api.get("/nowhere", headers=headers), "not-found")
    fields = expect.somebody()
    expect.user(api.post("/users", json=fields, headers=headers), 201, **fields)
    for path in ("/openapi.json", "/docs", "/docs/swagger-ui-bundle.js"):
        answer = api.get(path, headers=headers)
        assert answer.status == 200
        assert answer.header("content-length") == str(len(answer.body))
        assert answer.header("content-encoding") is None


@pytest.mark.clause("HDR-12")
@pytest.mark.parametrize(
    "headers",
    [
        {"Range": "bytes=0-3"},
        {"Range": "bytes=-1"},
        {"Range": "bytes=999999-"},
        {"Range": "bytes=5-2"},
        {"Range": "nonsense"},
        {"Range": "bytes=0-3", "If-Range": '"1"'},
    ],
)
def test_a_range_is_ignored(api: Client, headers: dict[str, str]) -> None:
    user = api.create()
    answer = api.get(f"/users/{user['id']}", headers=headers)
    expect.user(answer, 200, name=user["name"], email=user["email"])
    for path in ("/openapi.json", "/docs", "/docs/swagger-ui.css", "/docs/init.js"):
        answer = api.get(path, headers=headers)
        assert answer.status == 200
        assert answer.header("content-length") == str(len(answer.body)) != "4"
        assert answer.header("accept-ranges") is None
