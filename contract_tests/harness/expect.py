"""What an answer of the contract looks like, whole: status, every header field, every body byte.

This is the only place that knows the canonical user and the canonical problem. Every function
takes an answer and raises AssertionError where it differs. A header field that the contract does
not name fails too, but for `Date`, `Connection` and `Keep-Alive`, which belong to the connection.

In each of them `request_id` is the X-Request-Id to expect (a generated one, so a UUID, without),
and `also` are further header fields to expect (of CORS), names in lower case.
"""

import itertools
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

from contract_tests.harness.wire import Answer


@dataclass(frozen=True)
class Problem:
    """One row of the contract's table of problems."""

    status: int
    title: str
    detail: str


PROBLEMS = {
    "malformed-json": Problem(
        400,
        "Malformed JSON",
        "The body is not JSON (RFC 8259) in UTF-8 with at most 32 levels of nesting.",
    ),
    "malformed-query": Problem(400, "Malformed query", "The query is not percent-encoded UTF-8."),
    "malformed-header": Problem(
        400, "Malformed header", "A header field does not have the required form."
    ),
    "bad-request": Problem(
        400, "Bad request", "The request is not one that this service can read."
    ),
    "not-found": Problem(404, "Not found", "There is nothing at this path."),
    "unauthorized": Problem(401, "Unauthorized", "This needs a valid bearer token."),
    "forbidden": Problem(403, "Forbidden", "The token's owner may not do this."),
    "foreign-origin": Problem(
        403, "Foreign origin", "Scripts of this origin may not open a WebSocket here."
    ),
    "user-not-found": Problem(404, "User not found", "There is no user with this id."),
    "webhook-not-found": Problem(404, "Webhook not found", "There is no webhook with this id."),
    "delivery-not-found": Problem(
        404,
        "Delivery not found",
        "No delivery of this event to this webhook is waiting or dead.",
    ),
    "method-not-allowed": Problem(
        405, "Method not allowed", "This path does not support the method."
    ),
    "email-taken": Problem(409, "Email taken", "Another user has this email."),
    "too-many-webhooks": Problem(
        409, "Too many webhooks", "There are 50 webhooks, and can't be more."
    ),
    "events-gone": Problem(
        410, "Events gone", "Some events after this position are no longer kept."
    ),
    "version-mismatch": Problem(
        412, "Version mismatch", "The user's current version does not match If-Match."
    ),
    "body-too-large": Problem(413, "Body too large", "The body is larger than 65536 bytes."),
    "unsupported-media-type": Problem(
        415,
        "Unsupported media type",
        "The body must be of the right type, in UTF-8, declared by one Content-Type, not encoded.",
    ),
    "upgrade-required": Problem(
        426, "Upgrade required", "This path speaks WebSocket (RFC 6455), version 13, alone."
    ),
    "headers-too-large": Problem(
        431,
        "Headers too large",
        "The request target and header fields are larger than 16384 bytes or more than 100.",
    ),
    "validation": Problem(
        422, "Validation failed", "The request breaks the rules listed in errors."
    ),
    "idempotency-key-reused": Problem(
        422, "Idempotency key reused", "This Idempotency-Key was used with another body."
    ),
    "too-many-failures": Problem(
        429,
        "Too many failures",
        "Too many logins have failed with this username or from this address.",
    ),
    "too-many-registrations": Problem(
        429, "Too many registrations", "Too many users have been created from this address."
    ),
    "internal": Problem(500, "Internal error", "The service failed unexpectedly."),
    "unavailable": Problem(503, "Service unavailable", "The database cannot be reached."),
    "overloaded": Problem(
        503, "Overloaded", "The service has too many passwords to hash at the moment."
    ),
    "too-many-streams": Problem(
        503,
        "Too many streams",
        "The service has too many streams and sockets of events open at the moment.",
    ),
    "provider-unavailable": Problem(
        503, "Provider unavailable", "The identity provider cannot be reached."
    ),
}

CHALLENGES = {
    "unauthorized": 'Bearer realm="users"',
    "forbidden": 'Bearer realm="users", error="insufficient_scope"',
}

DETAILS = {
    "missing": "This member is required.",
    "wrong-type": "This value has the wrong type.",
    "too-short": "This text is too short.",
    "too-long": "This text is too long.",
    "too-small": "This number is too small.",
    "too-large": "This number is too large.",
    "malformed": "This value does not have the required form.",
    "unknown": "This member is not known.",
    "forbidden": "This service may not call this address.",
}

MAX_ID = 2**53 - 1
ACCEPT_PATCH = "application/json, application/merge-patch+json"


class Fields(TypedDict):
    """What a creation or a replacement sends."""

    name: str
    email: str


_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_NEXT = re.compile(
    r"<(/users\?limit=[1-9][0-9]{0,2}&sort=-?(?:id|name|email|created_at)"
    r"(?:&q=(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})+)?&cursor=[A-Za-z0-9_-]+)>; rel=\"next\""
)
_NEXT_EVENTS = re.compile(
    r"<(/events\?limit=[1-9][0-9]{0,2}&sort=-?id&after=[1-9][0-9]*)>; rel=\"next\""
)
_OF_THE_CONNECTION = {"date", "connection", "keep-alive"}
_CLOCK_SKEW = timedelta(minutes=5)


def user(
    answer: Answer,
    status: int,
    *,
    name: str,
    email: str,
    role: str = "member",
    version: int = 1,
    id: int | None = None,  # noqa: A002 (the member's name)
    created_at: str | None = None,
    updated_at: str | None = None,
    request_id: str | None = None,
    also: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A user, on its own; what is not given is checked by form. Returns the user, decoded."""
    assert answer.status == status, _shown(answer)
    got = answer.json()
    expected: dict[str, Any] = {
        "id": got["id"] if id is None else id,
        "name": name,
        "email": email,
        "role": role,
        "created_at": got["created_at"] if created_at is None else created_at,
        "updated_at": got["updated_at"] if updated_at is None else updated_at,
        "version": version,
    }
    assert type(expected["id"]) is int, _shown(answer)
    assert 1 <= expected["id"] <= MAX_ID, _shown(answer)
    created, updated = _moment(expected["created_at"]), _moment(expected["updated_at"])
    assert created == updated if version == 1 else created <= updated, _shown(answer)
    if status == 201:
        assert abs(datetime.now(UTC) - created) < _CLOCK_SKEW, _shown(answer)
    headers = {"cache-control": "no-cache", "etag": f'"{version}"'}
    if status == 201:
        headers["location"] = f"/users/{expected['id']}"
    _check(
        answer,
        status,
        headers,
        render(expected),
        "application/json",
        request_id=request_id,
        also=also,
    )
    return expected


def users(
    answer: Answer,
    expected: Sequence[Mapping[str, Any]],
    *,
    next: bool,  # noqa: A002 (the link's name)
    request_id: str | None = None,
    also: Mapping[str, str] | None = None,
) -> str | None:
    """A page of exactly these users; returns path and query of its `Link`, None without one."""
    headers = {"cache-control": "no-store"}
    target = None
    if next:
        link = answer.header("link")
        match = _NEXT.fullmatch(link or "")
        assert match, f"Link is {link!r}\n{_shown(answer)}"
        headers["link"], target = match[0], match[1]
    _check(
        answer,
        200,
        headers,
        render(list(expected)),
        "application/json",
        request_id=request_id,
        also=also,
    )
    return target


def events(
    answer: Answer,
    *,
    next: bool | None = None,  # noqa: A002 (the link's name)
    dense: bool = True,
    head: bytes | None = None,
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of events in the form of the contract; gives them, and path and query of its `Link`.

    Without `next` there may be one or not. Their positions follow each other, up or down, where it
    is `dense`. Of a HEAD, `head` is the body that it stands for.
    """
    headers = {"cache-control": "no-store"}
    link = answer.header("link")
    target = None
    assert next in (None, link is not None), _shown(answer)
    if link is not None:
        match = _NEXT_EVENTS.fullmatch(link)
        assert match, f"Link is {link!r}\n{_shown(answer)}"
        headers["link"], target = match[0], match[1]
    found: list[dict[str, Any]] = json.loads(head if head is not None else answer.body)
    for one in found:
        event(one)
    positions = [int(one["id"]) for one in found]
    steps = {later - earlier for earlier, later in itertools.pairwise(positions)}
    assert not dense or steps in (set(), {1}, {-1}), _shown(answer)
    kind = "application/json"
    _check(
        answer, 200, headers, render(found), kind, request_id=None, also=None, head=head is not None
    )
    return found, target


def stream(head: Answer) -> None:
    """The head of a stream of events."""
    framing = ("transfer-encoding", "chunked")
    assert head.headers.count(framing) == 1, _shown(head)
    rest = Answer(head.status, [field for field in head.headers if field != framing], b"")
    headers = {
        "cache-control": "no-store",
        "content-type": "text/event-stream",
        "x-accel-buffering": "no",
    }
    _check(rest, 200, headers, None, None, request_id=None, also=None)


def event(event: dict[str, Any]) -> None:
    """One event, member by member; of a user's data the bytes are checked with the page's."""
    assert [*event] == ["specversion", "id", "source", "type", "subject", "time", "data"], event
    assert (event["specversion"], event["source"]) == ("1.0", "/users"), event
    assert isinstance(event["id"], str), event
    assert re.fullmatch("[1-9][0-9]*", event["id"]), event
    data = event["data"]
    assert event["subject"] == f"/users/{data['id']}", event
    assert abs(datetime.now(UTC) - _moment(event["time"])) < timedelta(days=8), event
    if event["type"] == "user.deleted":
        assert [*data] == ["id", "version"], event
    else:
        members = ["id", "name", "email", "role", "created_at", "updated_at", "version"]
        assert [*data] == members, event
        assert event["time"] == data["updated_at"], event
        assert event["type"] == ("user.created" if data["version"] == 1 else "user.changed"), event
    assert type(data["id"]) is int, event
    assert type(data["version"]) is int, event


def problem(
    answer: Answer,
    code: str,
    errors: Sequence[Mapping[str, str]] = (),
    *,
    allow: str | None = None,
    head: bool = False,
    closed: bool = False,
    invalid_token: bool = False,
    patch: bool = False,
    retry_after: int | None = None,
    request_id: str | None = None,
    also: Mapping[str, str] | None = None,
) -> None:
    """The problem with this code and these errors (see `error`).

    `allow` is the Allow of a 405; with `head` it answers a HEAD, so without its body; with
    `closed` it says that the connection ends here (`Connection: close`). With `invalid_token` a 401
    says so; with `patch` it answers a PATCH, whose 415 has an `Accept-Patch`; `retry_after` are
    the seconds of a 429.
    """
    row = PROBLEMS[code]
    body: dict[str, Any] = {
        "type": f"/problems/{code}",
        "title": row.title,
        "status": row.status,
        "detail": row.detail,
    }
    if errors:
        body["errors"] = list(errors)
    headers = {"cache-control": "no-store"}
    if allow is not None:
        headers["allow"] = allow
    if code == "upgrade-required":
        headers |= {"upgrade": "websocket", "sec-websocket-version": "13"}
    if PROBLEMS[code].status == 503:
        headers["retry-after"] = "1"
    if code in CHALLENGES:
        headers["www-authenticate"] = CHALLENGES[code]
    if invalid_token:
        headers["www-authenticate"] = 'Bearer realm="users", error="invalid_token"'
    if patch and code == "unsupported-media-type":
        headers["accept-patch"] = ACCEPT_PATCH
    if retry_after:
        headers["retry-after"] = str(retry_after)
    kind = "application/problem+json"
    _check(
        answer, row.status, headers, render(body), kind, request_id=request_id, also=also, head=head
    )
    if closed:
        assert (answer.header("connection") or "").lower() == "close", _shown(answer)


def error(
    code: str,
    *,
    pointer: str | None = None,
    parameter: str | None = None,
    header: str | None = None,
) -> dict[str, str]:
    """One of a problem's errors: where (exactly one of the three) and what is wrong there."""
    places = {"pointer": pointer, "parameter": parameter, "header": header}
    where = {key: place for key, place in places.items() if place is not None}
    assert len(where) == 1, f"an error has one place, not {where}"
    return {**where, "code": code, "detail": DETAILS[code]}


def body(
    answer: Answer,
    status: int,
    content: bytes,
    *,
    kind: str = "application/json",
    head: bool = False,
    request_id: str | None = None,
    also: Mapping[str, str] | None = None,
) -> None:
    """What is neither a user nor a problem (of /healthz, say), exactly these bytes of this type."""
    headers = {"cache-control": "no-store"}
    _check(
        answer,
        status,
        headers,
        content,
        kind,
        request_id=request_id,
        also=also,
        head=head,
    )


def empty(
    answer: Answer,
    status: int = 204,
    *,
    allow: str | None = None,
    request_id: str | None = None,
    also: Mapping[str, str] | None = None,
) -> None:
    """An answer without content: a DELETE's, or with `allow` an OPTIONS's."""
    headers = {"cache-control": "no-store"}
    if allow is not None:
        headers["allow"] = allow
        if "PATCH" in allow:
            headers["accept-patch"] = ACCEPT_PATCH
    _check(answer, status, headers, None, None, request_id=request_id, also=also)


def not_modified(
    answer: Answer,
    etag: str,
    *,
    request_id: str | None = None,
    also: Mapping[str, str] | None = None,
) -> None:
    """304 with this ETag."""
    headers = {"cache-control": "no-cache", "etag": etag}
    _check(answer, 304, headers, None, None, request_id=request_id, also=also)


def replay(
    answer: Answer,
    first: Answer,
    *,
    request_id: str | None = None,
    also: Mapping[str, str] | None = None,
) -> None:
    """The answer `first` (a 201) given again to its Idempotency-Key."""
    headers = {"cache-control": "no-cache", "idempotency-replayed": "true"}
    for field in ("etag", "location"):
        value = first.header(field)
        assert value is not None, _shown(first)
        headers[field] = value
    assert first.header("idempotency-replayed") is None, _shown(first)
    _check(answer, 201, headers, first.body, "application/json", request_id=request_id, also=also)
    assert request_id or answer.header("x-request-id") != first.header("x-request-id")


def head_of(answer_head: Answer, answer_get: Answer) -> None:
    """A HEAD's answer: the GET's status and header fields (Content-Length too), no body.

    A stream's has no Transfer-Encoding: there is nothing to encode.
    """
    assert answer_head.body == b"", _shown(answer_head)
    assert answer_head.status == answer_get.status, _shown(answer_head)
    generated = _OF_THE_CONNECTION | {"x-request-id", "transfer-encoding"}
    of_head, of_get = (
        sorted(field for field in answer.headers if field[0] not in generated)
        for answer in (answer_head, answer_get)
    )
    assert of_head == of_get
    for answer in (answer_head, answer_get):
        assert is_uuid(answer.header("x-request-id")), _shown(answer)


def unique() -> str:
    """A token that no other test has: 12 lower-case ASCII letters and digits, a letter first."""
    return f"u{secrets.token_hex(6)[1:]}"


def unique_email() -> str:
    """An email address that no other test has, in lower case."""
    return f"{unique()}@example.com"


def somebody() -> Fields:
    """The fields of a user that no other test creates; the name is a token to find it by (`q`)."""
    return {"name": unique(), "email": unique_email()}


def is_uuid(text: str | None) -> bool:
    """Whether it is a UUID in lower case, as a generated X-Request-Id is."""
    return _UUID.fullmatch(text or "") is not None


def render(value: Any) -> bytes:
    """Canonical JSON: compact, UTF-8, non-ASCII as it is, members in the order given."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _check(
    answer: Answer,
    status: int,
    headers: Mapping[str, str],
    content: bytes | None,
    kind: str | None,
    *,
    request_id: str | None,
    also: Mapping[str, str] | None,
    head: bool = False,
) -> None:
    """The whole answer; `headers` are those that differ from answer to answer."""
    assert answer.status == status, _shown(answer)
    expected = {"x-content-type-options": "nosniff", **headers, **(also or {})}
    if content is not None and kind is not None:
        expected |= {"content-type": kind, "content-length": str(len(content))}
    received = answer.header("x-request-id") or ""
    if request_id is None:
        assert is_uuid(received), f"X-Request-Id is {received!r}"
    expected["x-request-id"] = received if request_id is None else request_id
    fields = sorted(field for field in answer.headers if field[0] not in _OF_THE_CONNECTION)
    # The body first: where both differ, it tells more than its Content-Length.
    assert answer.body == (b"" if head or content is None else content)
    assert fields == sorted(expected.items())


def _moment(text: str) -> datetime:
    assert _TIMESTAMP.fullmatch(text), f"not a timestamp of the contract: {text!r}"
    return datetime.fromisoformat(text)


def _shown(answer: Answer) -> str:
    return f"{answer.status} {answer.headers} {answer.body[:2000]!r}"
