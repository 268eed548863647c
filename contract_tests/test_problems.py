"""Problems (RFC 9457): how they are written, and which comes first."""

import itertools
import json
from collections.abc import Sequence
from typing import Any

import pytest

from contract_tests.harness.client import Client
from contract_tests.harness.expect import MAX_ID, error, problem, unique, unique_email, user
from contract_tests.harness.wire import Answer

NOBODY = f"/users/{MAX_ID}"
JSON = {"content-type": "application/json"}
MALFORMED_ID = error("malformed", parameter="id")


def post(api: Client, **members: Any) -> Answer:
    """The answer to a body with escapes only, so that it may hold unpaired surrogates."""
    return api.post("/users", content=json.dumps(members).encode(), headers=JSON)


@pytest.mark.clause("PROB-01", "PROB-02")
def test_problem_is_canonical_json(api: Client) -> None:
    answer = api.get(NOBODY)
    problem(answer, "user-not-found")
    assert answer.body == (
        b'{"type":"/problems/user-not-found","title":"User not found","status":404,'
        b'"detail":"There is no user with this id."}'
    )


@pytest.mark.storeless
@pytest.mark.clause("PROB-01", "PROB-02", "PROB-03")
def test_validation_is_canonical_json(api: Client) -> None:
    answer = post(api, name="", email="ada@example.com")
    problem(answer, "validation", [error("too-short", pointer="#/name")])
    assert answer.body == (
        b'{"type":"/problems/validation","title":"Validation failed","status":422,'
        b'"detail":"The request breaks the rules listed in errors.",'
        b'"errors":[{"pointer":"#/name","code":"too-short","detail":"This text is too short."}]}'
    )


@pytest.mark.storeless
@pytest.mark.clause("PROB-02", "PROB-03")
def test_each_place_of_an_error_has_its_name(api: Client) -> None:
    answer = api.get("/users?limit=0")
    assert answer.body.endswith(
        b',"errors":[{"parameter":"limit","code":"too-small",'
        b'"detail":"This number is too small."}]}'
    )
    problem(answer, "validation", [error("too-small", parameter="limit")])
    answer = api.delete(NOBODY, headers={"if-match": "1"})
    assert answer.body.endswith(
        b',"errors":[{"header":"If-Match","code":"malformed",'
        b'"detail":"This value does not have the required form."}]}'
    )
    problem(answer, "malformed-header", [error("malformed", header="If-Match")])


@pytest.mark.clause("PROB-01", "PROB-02")
def test_every_other_problem_has_no_errors(api: Client) -> None:
    email = api.create()["email"]
    ada = api.create()
    path = f"/users/{ada['id']}"
    problem(api.get("/nothing"), "not-found")
    problem(api.get(NOBODY), "user-not-found")
    problem(api.post(path), "method-not-allowed", allow="DELETE, GET, HEAD, OPTIONS, PATCH, PUT")
    problem(api.post("/users", content=b"{", headers=JSON), "malformed-json")
    problem(api.get("/users?%"), "malformed-query")
    problem(api.post("/users", json={"name": "Eve", "email": email}), "email-taken")
    problem(api.delete(path, headers={"if-match": '"9"'}), "version-mismatch")
    problem(api.post("/users", content=b" " * 65_537, headers=JSON), "body-too-large")
    problem(api.post("/users", content=b"{}"), "unsupported-media-type")
    key = {"idempotency-key": unique()}
    members = {"name": "Eve", "email": unique_email()}
    user(api.post("/users", json=members, headers=key), 201, name="Eve", email=members["email"])
    reused = api.post("/users", json={**members, "name": "Eva"}, headers=key)
    problem(reused, "idempotency-key-reused")


@pytest.mark.storeless
@pytest.mark.clause("PROB-04")
@pytest.mark.parametrize(
    "value",
    ["<script>alert(1)</script>", "secret-0123456789", "\ud800 alone", "é\u2028", "\x00\x1b[31m"],
    ids=ascii,
)
def test_no_value_is_repeated(api: Client, value: str) -> None:
    answer = post(api, name=[value], email=value, role=value, password=[value], secret=value)
    errors = [
        error("wrong-type", pointer="#/name"),
        error("malformed", pointer="#/email"),
        error("malformed", pointer="#/role"),
        error("wrong-type", pointer="#/password"),
        error("unknown", pointer="#/secret"),
    ]
    problem(answer, "validation", errors)


@pytest.mark.storeless
@pytest.mark.clause("PROB-04")
def test_neither_path_nor_query_nor_header_is_repeated(api: Client) -> None:
    problem(api.get("/secret"), "not-found")
    problem(api.get("/users/secret"), "validation", [MALFORMED_ID])
    answer = api.get("/users?limit=secret&sort=secret&cursor=secret")
    errors = [error("malformed", parameter=name) for name in ("limit", "sort", "cursor")]
    problem(answer, "validation", errors)
    answer = api.delete("/users/1", headers={"if-match": "secret"})
    problem(answer, "malformed-header", [error("malformed", header="If-Match")])


@pytest.mark.storeless
@pytest.mark.clause("PROB-05")
@pytest.mark.parametrize(
    ("name", "pointer"),
    [
        ("", "#/"),
        ("age", "#/age"),
        ("A-Za-z0-9-._", "#/A-Za-z0-9-._"),
        ("~", "#/~0"),
        ("/", "#/~1"),
        ("~1", "#/~01"),
        ("/~", "#/~1~0"),
        ("a/b", "#/a~1b"),
        (" ", "#/%20"),
        ("+", "#/%2B"),
        ("%", "#/%25"),
        ("%41", "#/%2541"),
        ("#", "#/%23"),
        ('"\\', "#/%22%5C"),
        ("!$&'()*,;=:@", "#/%21%24%26%27%28%29%2A%2C%3B%3D%3A%40"),
        ("?<>[]^`{|}", "#/%3F%3C%3E%5B%5D%5E%60%7B%7C%7D"),
        ("\x00\n\x7f", "#/%00%0A%7F"),
        ("é", "#/%C3%A9"),
        ("e\u0301", "#/e%CC%81"),
        ("\u2028\ufeff", "#/%E2%80%A8%EF%BB%BF"),
        ("\U0001f600", "#/%F0%9F%98%80"),
        ("\ud800", "#/%EF%BF%BD"),
        ("a\udc00b", "#/a%EF%BF%BDb"),
        ("\ud83d\U0001f600\ude00", "#/%EF%BF%BD%F0%9F%98%80%EF%BF%BD"),
        ("x" * 10_000, "#/" + "x" * 10_000),
    ],
    ids=lambda text: ascii(text)[1:-1][:30],
)
def test_pointer_to_an_unknown_member(api: Client, name: str, pointer: str) -> None:
    members = {"name": "Ada", "email": unique_email(), name: 1}
    errors = [error("unknown", pointer=pointer)]
    problem(post(api, **members), "validation", errors)
    content = json.dumps({name: 1}).encode()
    problem(api.patch(NOBODY, content=content, headers=JSON), "validation", errors)


@pytest.mark.storeless
@pytest.mark.clause("PROB-06")
def test_one_error_for_a_member_the_first(api: Client) -> None:
    # Too long and malformed, both of them; a parameter that is malformed three times over.
    answer = post(api, name="\x00" * 101, email="@" * 255)
    errors = [error("too-long", pointer=f"#/{member}") for member in ("name", "email")]
    problem(answer, "validation", errors)
    answer = api.get("/users?limit=x&limit=0&limit=")
    problem(answer, "validation", [error("malformed", parameter="limit")])


@pytest.mark.storeless
@pytest.mark.clause("PROB-07")
@pytest.mark.parametrize(
    "names",
    [
        ["10", "9", "a"],
        ["0", "A", "Z", "_", "a", "z", "~", "é"],
        ["", " ", "a", "aa", "b"],
        ["E", "e", "e\u0301", "é"],
        ["\uff5e", "\U0001f600"],
        ["\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0010ffff"],
        ["a\uff5e", "a\U0001f600", "b"],
        ["\ud800", "\udfff", "\ue000", "\U00010000"],
        ["\ud800a", "\ud801", "\U0001f600"],
        ["-", "/", "0", "=", "~"],
    ],
    ids=ascii,
)
def test_errors_stand_in_the_order_of_code_points(api: Client, names: list[str]) -> None:
    members = {"password": "x", "role": "x", "email": "x", "name": 1}
    for order in (names, names[::-1], names[1:] + names[:1]):
        answer = post(api, **dict.fromkeys(order, 1), **members)
        errors = [
            error("wrong-type", pointer="#/name"),
            error("malformed", pointer="#/email"),
            error("malformed", pointer="#/role"),
            error("too-short", pointer="#/password"),
            *(error("unknown", pointer=_pointer(name)) for name in names),
        ]
        problem(answer, "validation", errors)


def _pointer(name: str) -> str:
    spared = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
    token = name.replace("~", "~0").replace("/", "~1")
    raw = token.encode("utf-8", "surrogatepass")
    for surrogate in {character for character in name if "\ud800" <= character <= "\udfff"}:
        raw = raw.replace(surrogate.encode("utf-8", "surrogatepass"), b"\xef\xbf\xbd")
    return "#/" + "".join(chr(byte) if chr(byte) in spared else f"%{byte:02X}" for byte in raw)


@pytest.mark.storeless
@pytest.mark.clause("PROB-08")
@pytest.mark.parametrize(
    ("id_", "code"), [("abc", "malformed"), ("0", "too-small"), ("9" * 20, "too-large")]
)
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_wrong_id_is_told_alone(api: Client, method: str, id_: str, code: str) -> None:
    path = f"/users/{id_}"
    errors = [error(code, parameter="id")]
    bodies = [{"email": "x", "a": 1, "name": None}, [], {"name": "Ada", "email": unique_email()}]
    for body in bodies:
        problem(api.request(method, path, json=body), "validation", errors)


@pytest.mark.clause("PROB-09")
@pytest.mark.parametrize("count", [17, 18, 19, 1000])
def test_the_first_twenty_errors_are_given(api: Client, count: int) -> None:
    names = [f"x{number:04}" for number in range(count)]
    unknown = [error("unknown", pointer=f"#/{name}") for name in names]
    schema = [error("missing", pointer="#/name"), error("missing", pointer="#/email")]
    problem(post(api, **dict.fromkeys(reversed(names), 1)), "validation", (schema + unknown)[:20])
    user = api.create()
    answer = api.patch(f"/users/{user['id']}", json=dict.fromkeys(names, 1))
    problem(answer, "validation", unknown[:20])


# Which comes first: every pair of things wrong with one request, and all of them together.

PUT = {
    "path": ("not-found", []),
    "method": ("method-not-allowed", []),
    "id": ("validation", [MALFORMED_ID]),
    "header": ("malformed-header", [error("malformed", header="If-Match")]),
    "media-type": ("unsupported-media-type", []),
    "size": ("body-too-large", []),
    "json": ("malformed-json", []),
    "validation": ("validation", [error("unknown", pointer="#/x")]),
    "user": ("user-not-found", []),
    "version": ("version-mismatch", []),
    "email": ("email-taken", []),
}
POST = {
    "header": ("malformed-header", [error("malformed", header="Idempotency-Key")]),
    "media-type": ("unsupported-media-type", []),
    "size": ("body-too-large", []),
    "json": ("malformed-json", []),
    "validation": ("validation", [error("unknown", pointer="#/x")]),
    "key": ("idempotency-key-reused", []),
    "email": ("email-taken", []),
}
ALLOWED = "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"


def in_pairs(faults: Sequence[str]) -> list[tuple[str, ...]]:
    return [*itertools.combinations(faults, 2), *(tuple(faults[at:]) for at in range(len(faults)))]


def broken_body(faults: Sequence[str], members: dict[str, Any]) -> bytes:
    if "validation" in faults:
        members = {**members, "x": 1}
    content = json.dumps(members).encode() + (b"}" if "json" in faults else b"")
    return content.ljust(65_537) if "size" in faults else content


@pytest.mark.clause(
    "PROB-08",
    "PROB-10",
    "PROB-11",
    "PROB-12",
    "PROB-13",
    "PROB-14",
    "PROB-15",
    "PROB-16",
    "PROB-18",
    "PROB-19",
)
@pytest.mark.parametrize("faults", in_pairs([*PUT]), ids="+".join)
def test_order_of_a_change(api: Client, faults: tuple[str, ...]) -> None:
    ada = api.create()
    path = f"/users/{'01' if 'id' in faults else MAX_ID if 'user' in faults else ada['id']}"
    email = api.create()["email"] if "email" in faults else unique_email()
    headers = [("content-type", "text/plain" if "media-type" in faults else "application/json")]
    tags = [tag for fault, tag in (("version", '"9"'), ("header", "9")) if fault in faults]
    if tags:
        headers.append(("if-match", ", ".join(tags)))
    code, errors = PUT[faults[0]]
    for method in ("PUT", "PATCH"):
        answer = api.request(
            "POST" if "method" in faults else method,
            f"{path}/x" if "path" in faults else path,
            content=broken_body(faults, {"name": "New", "email": email}),
            headers=headers,
        )
        allow = ALLOWED if code == "method-not-allowed" else None
        problem(answer, code, errors, allow=allow, patch=method == "PATCH")
    user(api.get(f"/users/{ada['id']}"), 200, **ada)


@pytest.mark.clause(
    "PROB-12", "PROB-13", "PROB-14", "PROB-15", "PROB-16", "PROB-17", "IDEM-09", "IDEM-10"
)
@pytest.mark.parametrize("faults", in_pairs([*POST]), ids="+".join)
def test_order_of_a_creation(api: Client, faults: tuple[str, ...]) -> None:
    key, first = unique(), {"name": "Ada", "email": unique_email()}
    answer = api.post("/users", json=first, headers={"idempotency-key": key})
    user(answer, 201, name="Ada", email=first["email"])
    email = first["email"] if "email" in faults else unique_email()
    headers = [("content-type", "text/plain" if "media-type" in faults else "application/json")]
    if "key" in faults:
        headers.append(("idempotency-key", key))
    if "header" in faults:
        headers.append(("idempotency-key", "not a key"))
    content = broken_body(faults, {"name": "New", "email": email})
    code, errors = POST[faults[0]]
    problem(api.post("/users", content=content, headers=headers), code, errors)


@pytest.mark.storeless
@pytest.mark.clause("PROB-08", "PROB-10", "PROB-14", "PROB-15", "PROB-16")
@pytest.mark.parametrize(
    ("method", "path", "header", "code"),
    [
        ("GET", "/users/?%", "", "not-found"),
        ("GET", "/users?%&limit=0", "", "malformed-query"),
        ("GET", "/users/abc", "If-None-Match", "validation"),
        ("GET", NOBODY, "If-None-Match", "malformed-header"),
        ("GET", "/users/abc", "If-Match", "validation"),
        ("DELETE", "/users/abc/", "If-Match", "not-found"),
        ("DELETE", "/users/abc", "If-Match", "validation"),
        ("DELETE", NOBODY, "If-Match", "malformed-header"),
        ("DELETE", "/users/abc", "If-None-Match", "validation"),
        ("PUT", "/users/abc", "If-None-Match", "validation"),
        ("PUT", NOBODY, "If-None-Match", "malformed-json"),
        ("PATCH", "/users/abc", "If-Match", "validation"),
        ("PATCH", NOBODY, "If-Match", "malformed-header"),
    ],
)
def test_order_of_path_query_and_header(
    api: Client, method: str, path: str, header: str, code: str
) -> None:
    headers = {**JSON, **({header: "malformed"} if header else {})}
    in_header = error("malformed", header=header or "-")
    errors = {"malformed-header": [in_header], "validation": [MALFORMED_ID]}.get(code, [])
    problem(api.request(method, path, content=b"{", headers=headers), code, errors)
