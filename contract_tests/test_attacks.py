"""Input that attacks. The clauses are others'; here is what somebody who means harm would send."""

import json
import time
from typing import Any

import pytest

from contract_tests.harness import expect
from contract_tests.harness.client import Client
from contract_tests.harness.expect import error, problem, somebody, unique

SQL = [
    "'; DROP TABLE users; --",
    "' OR '1'='1",
    '" OR ""="',
    "1; SELECT pg_sleep(9)",
    "') UNION SELECT password_hash FROM users --",
    "\\'; --",
    "$1",
    "?1",
    ":name",
    "%(name)s",
    "{{7*7}}${7*7}",
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "=cmd|' /C calc'!A0",
]


@pytest.mark.clause("USR-CREATE-01", "USR-CREATE-05", "USR-LIST-10", "USR-LIST-12", "REP-02")
@pytest.mark.parametrize("text", SQL)
def test_a_name_is_only_a_name(api: Client, text: str) -> None:
    name = f"{text} {unique()}"
    user = api.create(name=name)
    expect.user(api.get(f"/users/{user['id']}"), 200, **user)
    q = "".join(f"%{byte:02X}" for byte in name.encode())
    expect.users(api.get(f"/users?q={q}"), [user], next=False)
    changed = api.patch(f"/users/{user['id']}", json={"name": f"{name}!"})
    expect.user(changed, 200, **{**user, "name": f"{name}!", "version": 2, "updated_at": None})


@pytest.mark.clause("EMAIL-02", "ROLE-01", "USR-CREATE-06")
@pytest.mark.parametrize("text", SQL)
def test_no_other_member_takes_it(api: Client, text: str) -> None:
    fields = somebody()
    sent = {**fields, "email": text}
    problem(api.post("/users", json=sent), "validation", [error("malformed", pointer="#/email")])
    sent = {**fields, "role": text}
    problem(api.post("/users", json=sent), "validation", [error("malformed", pointer="#/role")])
    expect.users(api.get(f"/users?q={fields['name']}"), [], next=False)


@pytest.mark.storeless
@pytest.mark.clause("ID-01", "USR-LIST-04", "USR-LIST-05", "CURSOR-08", "ROUTE-08")
@pytest.mark.parametrize(
    "text", ["1'--", "1;DROP", "1+OR+1=1", "-1", "id,name", "id;--", "$1", "*"]
)
def test_no_parameter_takes_it(api: Client, text: str) -> None:
    errors = [error("malformed", parameter="id")]
    problem(api.get(f"/users/{text}"), "validation", errors)
    for name in ("limit", "sort", "cursor"):
        errors = [error("malformed", parameter=name)]
        problem(api.get(f"/users?{name}={text}"), "validation", errors)


@pytest.mark.clause("IDEM-02", "IDEM-06", "COND-08", "COND-09")
def test_no_header_field_does_more_than_it_says(api: Client) -> None:
    for text in (text.replace(" ", "/**/") for text in SQL):
        fields, key = somebody(), {"Idempotency-Key": f"{text}{unique()}"}
        first = api.post("/users", json=fields, headers=key)
        user = expect.user(first, 201, **fields)
        expect.replay(api.post("/users", json=fields, headers=key), first)
        path = f"/users/{user['id']}"
        quoted = {"If-Match": '"1\' OR 1=1 --"'.replace(" ", "")}
        problem(api.delete(path, headers=quoted), "version-mismatch")
        bare = {"If-Match": "1' OR 1=1 --"}
        errors = [error("malformed", header="If-Match")]
        problem(api.delete(path, headers=bare), "malformed-header", errors)
        expect.user(api.get(path), 200, **user)


@pytest.mark.storeless
@pytest.mark.clause("HDR-03", "HDR-08")
@pytest.mark.parametrize(
    "text",
    [
        "a%0d%0aSet-Cookie: x=1",
        "a\\r\\nSet-Cookie: x=1",
        "a\xc4\x8dSet-Cookie: x=1",
        "a b",
        "<script>",
        "${jndi:ldap://x}",
        "a;b",
        "x" * 129,
        "../" * 9,
    ],
)
def test_a_request_id_brings_no_header_field(api: Client, text: str) -> None:
    answer = api.get("/healthz", headers={"X-Request-Id": text})
    expect.body(answer, 200, b'{"status":"ok"}')


@pytest.mark.storeless
@pytest.mark.clause("HDR-02", "HDR-08")
def test_a_line_of_its_own_is_a_field_of_the_request(api: Client) -> None:
    fields = [("X-Request-Id", "a\r\nSet-Cookie: x=1\r\nLocation: http://evil.example")]
    answer = api.raw(api.message("GET", "/healthz", fields))
    expect.body(answer, 200, b'{"status":"ok"}', request_id="a")


FORWARDED = [
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-For", "127.0.0.1"),
    ("X-Forwarded-Prefix", "/evil"),
    ("Forwarded", "for=127.0.0.1;host=evil.example;proto=https"),
    ("X-Real-IP", "127.0.0.1"),
    ("X-Original-URL", "/users/1"),
    ("X-Rewrite-URL", "/users/1"),
    ("X-Original-Host", "evil.example"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("X-Method-Override", "DELETE"),
]


@pytest.mark.clause("ROUTE-15", "USR-CREATE-02", "USR-LIST-16")
def test_nothing_that_is_forwarded_is_believed(api: Client) -> None:
    name = unique()
    users = []
    for header in FORWARDED:
        fields: dict[str, Any] = {"name": name, "email": expect.unique_email()}
        users.append(expect.user(api.post("/users", json=fields, headers=[header]), 201, **fields))
        answer = api.get(f"/users?q={name}&limit=1", headers=[header])
        expect.users(answer, users[:1], next=len(users) > 1)
        expect.user(api.get(f"/users/{users[-1]['id']}", headers=[header]), 200, **users[-1])


@pytest.mark.clause("USR-CREATE-02", "HTTP-02")
@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "[::1]:1", "169.254.169.254"])
def test_another_host_changes_nothing(guarded: Client, host: str) -> None:
    api, fields = guarded, somebody()
    body = json.dumps(fields).encode()
    head = f"POST /users HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    data = head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
    expect.user(api.raw(data), 201, **fields)


@pytest.mark.storeless
@pytest.mark.clause("ROUTE-06", "ROUTE-07", "ROUTE-08")
@pytest.mark.parametrize(
    "path",
    [
        "/users/../users",
        "/users/..%2fhealthz",
        "/users/%2e%2e/healthz",
        "/users/1/../2",
        "/users/.",
        "/.git/config",
        "/docs/../openapi.json",
        "/docs/%2e%2e/app.py",
        "/docs/..;/x",
        "/users;id=1",
        "/users/1;x",
        "/users%3fq=a",
        "/users/1%3b",
        "/users%c0%af1",
        pytest.param("/static/../../etc/passwd", marks=pytest.mark.direct("ROUTE-07")),
        "/docs/swagger-ui.css/..",
        "/users\\1",
    ],
)
def test_paths_lead_nowhere_else(api: Client, path: str) -> None:
    answer = api.get(path)
    if path == "/users/1;x":
        problem(answer, "validation", [error("malformed", parameter="id")])
    else:
        problem(answer, "not-found")


DEEP: dict[str, bytes] = {
    "arrays": b"[" * 65536,
    "objects": b'{"a":' * 13107,
    "closed": b"[" * 32768 + b"]" * 32768,
    "both": b'[{"a":' * 10922,
    "in a member": b'{"name":' + b"[" * 60000 + b'"}',
}


@pytest.mark.storeless
@pytest.mark.clause("JSON-10", "JSON-12", "BODY-01")
@pytest.mark.parametrize("how", DEEP)
def test_depth_costs_nothing(api: Client, how: str) -> None:
    begin = time.monotonic()
    headers = {"Content-Type": "application/json"}
    for _ in range(10):
        problem(api.post("/users", content=DEEP[how], headers=headers), "malformed-json")
    assert time.monotonic() - begin < 5
    expect.body(api.get("/healthz"), 200, b'{"status":"ok"}')


@pytest.mark.storeless
@pytest.mark.clause("PROB-04", "PROB-09", "JSON-16")
def test_many_and_strange_members_are_told_of_and_no_more(api: Client) -> None:
    members: dict[str, Any] = {f"x{number:05}": 1 for number in range(5000)}
    members |= {
        "__proto__": {"role": "admin"},
        "constructor": 1,
        "toString": 1,
        "hasOwnProperty": 1,
    }
    answer = api.post("/users", json={**somebody(), **members})
    shown = sorted(members)[:20]
    problem(answer, "validation", [error("unknown", pointer=f"#/{name}") for name in shown])
