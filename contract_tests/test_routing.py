"""ROUTE: which requests reach an operation, and what the others get."""

import pytest

from contract_tests.harness import clauses, expect
from contract_tests.harness.client import Client
from contract_tests.harness.wire import Answer

ROUTES = clauses.routes()
PATHS = sorted({path for _, path in ROUTES})
ALLOW = dict.fromkeys(PATHS, "GET, HEAD, OPTIONS") | {
    "/users": "GET, HEAD, OPTIONS, POST",
    "/auth/token": "OPTIONS, POST",
    "/users/{id}": "DELETE, GET, HEAD, OPTIONS, PATCH, PUT",
    "/webhooks": "GET, HEAD, OPTIONS, POST",
    "/webhooks/{id}": "DELETE, GET, HEAD, OPTIONS",
    "/webhooks/{id}/deliveries/{event}": "OPTIONS, POST",
}

# Those that llhttp knows, the parser below Node and below httptools, but for CONNECT.
LLHTTP = (
    "DELETE GET HEAD POST PUT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK "
    "BIND REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE "
    "PATCH PURGE MKCALENDAR LINK UNLINK SOURCE QUERY"
)
METHODS = LLHTTP.split()
BAD_PERCENT = pytest.mark.direct("ROUTE-06")
ABOVE_ROOT = pytest.mark.direct("ROUTE-07")


def at(path: str, text: int | str) -> str:
    """The path with this for each of its parameters."""
    return path.format(id=text, event=text)


def ask(api: Client, methods: list[str], target: str) -> list[tuple[str, Answer]]:
    """The answers to these methods, asked on one connection, unless an answer ends it."""
    answers: list[tuple[str, Answer]] = []
    while len(answers) < len(methods):
        with api.connect() as connection:
            for method in methods[len(answers) :]:
                connection.send(api.message(method, target))
                answers.append((method, connection.read(method)))
                if answers[-1][1].header("connection") == "close":
                    break
    return answers


def assert_not_found(api: Client, target: str, methods: list[str] | None = None) -> None:
    for method, answer in ask(api, methods or ["GET", "OPTIONS", "DELETE"], target):
        expect.problem(answer, "not-found", head=method == "HEAD")


@pytest.mark.storeless
@pytest.mark.clause("ROUTE-01", "ROUTE-02", "ROUTE-13")
@pytest.mark.parametrize("path", PATHS)
def test_a_method_without_a_row_is_405(api: Client, path: str) -> None:
    for target in {at(path, 1), at(path, "abc")}:
        others = [method for method in METHODS if (method, path) not in ROUTES]
        for method, answer in ask(api, others, target):
            head = method == "HEAD"
            expect.problem(answer, "method-not-allowed", allow=ALLOW[path], head=head)


@pytest.mark.storeless
@pytest.mark.clause("ROUTE-02", "ROUTE-12", "ROUTE-13")
@pytest.mark.parametrize("path", PATHS)
def test_options_tells_the_methods(api: Client, path: str) -> None:
    for target in (at(path, 1), at(path, "abc"), at(path, "0") + "?x=%"):
        ((_, answer),) = ask(api, ["OPTIONS"], target)
        expect.empty(answer, allow=ALLOW[path])


@pytest.mark.storeless
@pytest.mark.clause("ROUTE-03")
@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/nowhere",
        "/user",
        "/userss",
        "/users/1/x",
        "/users/1/users",
        "/favicon.ico",
        "/docs/x",
    ],
)
def test_an_unknown_path_is_404_whatever_the_method(api: Client, target: str) -> None:
    assert_not_found(api, target, METHODS)


@pytest.mark.storeless
@pytest.mark.clause("ROUTE-03")
@pytest.mark.parametrize(
    "target",
    ["/redoc", "/docs/oauth2-redirect", "/openapi.yaml", "/metrics/", "/health", "/static"],
)
def test_what_frameworks_bring_along_is_not_there(api: Client, target: str) -> None:
    assert_not_found(api, target)


@pytest.mark.storeless
@pytest.mark.clause("ROUTE-04")
@pytest.mark.parametrize("path", PATHS)
def test_a_trailing_slash_is_another_path(api: Client, path: str) -> None:
    assert_not_found(api, at(path, 1) + "/", ["GET", "HEAD", "POST", "DELETE", "OPTIONS"])
    assert_not_found(api, at(path, 1) + "/?limit=1")


@pytest.mark.storeless
@pytest.mark.clause("ROUTE-05")
@pytest.mark.parametrize("path", PATHS)
def test_an_empty_segment_matches_nothing(api: Client, path: str) -> None:
    assert_not_found(api, "/" + at(path, 1))
    assert_not_found(api, at(path, 1) + "//")


@pytest.mark.storeless
@pytest.mark.clause("ROUTE-05")
@pytest.mark.parametrize("target", ["//", "///", "/users//1", "/users//", "//users/1", "//a/users"])
def test_two_slashes_are_not_one(api: Client, target: str) -> None:
    assert_not_found(api, target)


@pytest.mark.storeless
@pytest.mark.clause("ROUTE-06")
@pytest.mark.parametrize(
    "target",
    [
        "/%75sers",
        "/user%73",
        "/users%2F1",
        "/users%2f1",
        "/users/%31",
        "/users/1%2F",
        "/users/1%0A",
        "/users/1%0a",
        pytest.param("/users/1%00", marks=BAD_PERCENT),
        "/users/1%20",
        pytest.param("/users/%", marks=BAD_PERCENT),
        pytest.param("/users/%zz", marks=BAD_PERCENT),
        "/users/%FF",
        "/users/%2e%2e",
        "/users/%2E%2E/users",
        "/users/1%3Fx",
        "/users%3Flimit=1",
        "/%68ealthz",
        pytest.param("/healthz%", marks=BAD_PERCENT),
        "/docs%2Finit.js",
        "/docs/%69nit.js",
        pytest.param("/%", marks=BAD_PERCENT),
        "/%2F",
    ],
)
def test_a_percent_sign_matches_nothing(api: Client, target: str) -> None:
    assert_not_found(api, target, ["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"])


@pytest.mark.storeless
@pytest.mark.clause("ROUTE-07")
@pytest.mark.parametrize(
    "target",
    [
        "/.",
        pytest.param("/..", marks=ABOVE_ROOT),
        "/./users",
        pytest.param("/../users", marks=ABOVE_ROOT),
        "/users/.",
        "/users/..",
        "/users/./1",
        "/users/../users",
        "/users/1/.",
        "/users/1/..",
        "/docs/../users",
        "/docs/./init.js",
        "/docs/..",
        pytest.param("/docs/../../python_api/app.py", marks=ABOVE_ROOT),
    ],
)
def test_a_dot_segment_is_not_resolved(api: Client, target: str) -> None:
    assert_not_found(api, target)


@pytest.mark.storeless
@pytest.mark.clause("ROUTE-08")
@pytest.mark.parametrize("character", '"<>\\^`[]{|}')
def test_a_character_outside_pchar_matches_nothing(api: Client, character: str) -> None:
    for path in PATHS:
        assert_not_found(api, at(path, 1) + character, ["GET", "OPTIONS"])
    assert_not_found(api, f"/users/{character}", ["GET", "PATCH", "OPTIONS"])
    assert_not_found(api, f"/{character}users")


@pytest.mark.storeless
@pytest.mark.clause("ROUTE-09")
@pytest.mark.parametrize(
    "target", ["/Users", "/USERS", "/users/1/X", "/Users/1", "/Healthz", "/READYZ", "/Docs"]
)
def test_a_path_has_a_letter_case(api: Client, target: str) -> None:
    assert_not_found(api, target)


# What is the same a moment later; the others' `HEAD` has tests of its own.
STILL = [path for path in PATHS if path not in ("/users", "/users/{id}", "/metrics")]


@pytest.mark.clause("ROUTE-10")
@pytest.mark.parametrize("path", STILL)
def test_head_is_answered_as_get(api: Client, path: str) -> None:
    expect.head_of(api.head(path), api.get(path))


@pytest.mark.clause("ROUTE-10", "USR-READ-03", "USR-LIST-21")
def test_head_of_users_is_answered_as_get(api: Client) -> None:
    token = expect.unique()
    api.create(name=f"{token} é")
    user = api.create(name=f"{token} 😀")
    for target in (f"/users/{user['id']}", f"/users?q={token}", f"/users?q={token}&limit=1"):
        expect.head_of(api.head(target), api.get(target))


@pytest.mark.clause("ROUTE-11")
@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/nowhere", {}),
        ("/users/", {}),
        ("/users/abc", {}),
        ("/users/9007199254740991", {}),
        ("/users?limit=0", {}),
        ("/users?q=%", {}),
        ("/users/1", {"If-None-Match": "x"}),
    ],
)
def test_a_failing_head_is_answered_as_the_get(
    api: Client, target: str, headers: dict[str, str]
) -> None:
    get = api.get(target, headers=headers)
    assert get.status >= 400
    expect.head_of(api.head(target, headers=headers), get)


@pytest.mark.clause("ROUTE-14")
@pytest.mark.parametrize(
    "query",
    ["?", "??", "?/", "?/users", "?a/../b", "?%2F", "?x=1?y=2", "?;", "?//", "?&&", "?a=[]"],
)
def test_the_path_ends_at_the_first_question_mark(api: Client, query: str) -> None:
    expect.body(api.get(f"/healthz{query}"), 200, b'{"status":"ok"}')
    user = api.create()
    answer = api.get(f"/users/{user['id']}{query}")
    expect.user(answer, 200, name=user["name"], email=user["email"])
    assert api.get(f"/users{query}").status == 200
    expect.problem(api.get(f"/nowhere{query}"), "not-found")
    expect.problem(api.get(f"/users/{query}"), "not-found")


@pytest.mark.clause("ROUTE-15")
@pytest.mark.parametrize(
    "headers",
    [
        {"X-HTTP-Method-Override": "DELETE"},
        {"X-HTTP-Method": "DELETE"},
        {"X-Method-Override": "DELETE"},
        {"X-Forwarded-Prefix": "/api"},
        {"X-Forwarded-Host": "elsewhere"},
        {"X-Forwarded-Proto": "https"},
        {"X-Original-URL": "/nowhere"},
        {"X-Rewrite-URL": "/nowhere"},
        {"Forwarded": "for=192.0.2.1;host=elsewhere;proto=https"},
    ],
)
def test_no_header_changes_method_or_path(api: Client, headers: dict[str, str]) -> None:
    user = api.create()
    path = f"/users/{user['id']}"
    for answer in (api.get(path, headers=headers), api.get(path)):
        expect.user(answer, 200, name=user["name"], email=user["email"])
    fields = expect.somebody()
    expect.user(api.post("/users", json=fields, headers=headers), 201, **fields)
    expect.problem(api.get("/nowhere", headers=headers), "not-found")


@pytest.mark.storeless
@pytest.mark.clause("ROUTE-16", "ROUTE-12")
@pytest.mark.parametrize("path", ["/users/1", "/users/me", "/users/abc"])
def test_options_tells_what_a_patch_takes(api: Client, path: str) -> None:
    answer = api.options(path)
    assert answer.header("accept-patch") == "application/json, application/merge-patch+json"
    expect.empty(answer, allow="DELETE, GET, HEAD, OPTIONS, PATCH, PUT")


@pytest.mark.storeless
@pytest.mark.clause("ROUTE-16")
@pytest.mark.parametrize("path", ["/users", "/healthz", "/auth/token", "/nowhere"])
def test_options_tells_it_nowhere_else(api: Client, path: str) -> None:
    assert api.options(path).header("accept-patch") is None


@pytest.mark.clause("ROUTE-17", "CTYPE-01")
def test_a_415_tells_what_a_patch_takes(api: Client) -> None:
    path = f"/users/{api.create()['id']}"
    headers = {"content-type": "text/plain"}
    answer = api.patch(path, content=b"{}", headers=headers)
    expect.problem(answer, "unsupported-media-type", patch=True)
    assert answer.header("accept-patch") == "application/json, application/merge-patch+json"
    for other in (api.put(path, content=b"{}", headers=headers), api.post("/users", content=b"{}")):
        expect.problem(other, "unsupported-media-type")
