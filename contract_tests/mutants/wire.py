"""Faults on the wire. Each is one function: its name, the clause that forbids it, what it does.

Those of `@on_answer` change an answer, those of `@on_request` a request's head before the service
sees it (a service that is too lenient looks as if somebody had tidied the request up), those of
`@on_body` its body.
"""

import json
import posixpath
import re
import unicodedata
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, unquote, unquote_plus

from contract_tests.mutants.exchange import Exchange, Request

OnAnswer = Callable[[Exchange], None]
OnRequest = Callable[[Request], None]
OnBody = Callable[[Request, bytes], bytes]


@dataclass(frozen=True)
class Fault:
    """One fault; exactly one of the functions is given."""

    name: str
    clause: str
    what: str
    on_answer: OnAnswer | None = None
    on_request: OnRequest | None = None
    on_body: OnBody | None = None


WIRE: dict[str, Fault] = {}


def _add(function: Callable[..., Any], clause: str, where: str) -> None:
    name = function.__name__
    assert name not in WIRE, name
    what = (function.__doc__ or "").strip()
    WIRE[name] = Fault(name, clause, what, **{where: function})


def on_answer(clause: str) -> Callable[[OnAnswer], OnAnswer]:
    """Plant it in the answers."""

    def add(function: OnAnswer) -> OnAnswer:
        _add(function, clause, "on_answer")
        return function

    return add


def on_request(clause: str) -> Callable[[OnRequest], OnRequest]:
    """Plant it in the heads of the requests."""

    def add(function: OnRequest) -> OnRequest:
        _add(function, clause, "on_request")
        return function

    return add


def on_body(clause: str) -> Callable[[OnBody], OnBody]:
    """Plant it in the requests' bodies; the head may be changed as well."""

    def add(function: OnBody) -> OnBody:
        _add(function, clause, "on_body")
        return function

    return add


def code(x: Exchange) -> str:
    """The code of the problem that is answered; empty where it is none."""
    if "problem" not in x.answer.get("content-type") or not x.answer.body:
        return ""
    return str(x.answer.json()["type"]).removeprefix("/problems/")


def change_users(x: Exchange, change: Callable[[dict[str, Any]], None], **style: Any) -> None:
    """Change every user of an answer, alone or in a list."""
    value = x.answer.json() if x.answer.status < 300 and x.request.path[:6] == "/users" else None
    for user in value if isinstance(value, list) else [value] if value else []:
        change(user)
    if value:
        x.answer.write(value, **style)


def change_query(request: Request, change: Callable[[str, str], tuple[str, str] | None]) -> None:
    """Change name and value of each parameter of a list's query, as they are encoded."""
    if request.path != "/users" or not request.query:
        return
    pairs = [piece.partition("=") for piece in request.query.split("&") if piece]
    changed = [change(name, value) for name, _, value in pairs]
    request.target = "/users?" + "&".join("=".join(pair) for pair in changed if pair)


def change_member(body: bytes, name: str, change: Callable[[Any], Any]) -> bytes:
    """The JSON body with one member changed; as it is where it has none."""
    try:
        value = json.loads(body.decode())
    except (ValueError, RecursionError):
        return body
    if not isinstance(value, dict) or name not in value:
        return body
    changed = change(value[name])
    if changed == value[name] and type(changed) is type(value[name]):
        return body
    value[name] = changed
    return json.dumps(value).encode()


def parsed(body: bytes) -> dict[str, Any] | None:
    """The JSON object that the body is; None where it is none."""
    try:
        value = json.loads(body.decode())
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def drop_null(body: bytes, name: str) -> bytes:
    """The JSON body without this member, where that is null."""
    value = parsed(body) or {}
    if value.get(name, "") is not None:
        return body
    return json.dumps({other: value[other] for other in value if other != name}).encode()


def set_default(body: bytes, **members: str) -> bytes:
    """The JSON body with these members, but for those that it has."""
    value = parsed(body)
    return body if value is None else json.dumps({**members, **value}).encode()


# HTTP


@on_request("HTTP-01")
def missing_host_is_forgiven(request: Request) -> None:
    """A request without Host is served."""
    if not request.all("host"):
        request.fields.append(("Host", "localhost"))


@on_request("HTTP-02")
def broken_host_is_forgiven(request: Request) -> None:
    """A Host that isn't one is served."""
    if re.search(r"[^\w.:\[\]-]", request.get("host")):
        request.set("Host", "localhost")


@on_request("HTTP-03")
def any_scheme_is_served(request: Request) -> None:
    """https://host/path is taken for /path."""
    request.target = re.sub("^(?i:https)://[^/]*/", "/", request.target)


@on_request("HTTP-04")
def large_header_is_dropped(request: Request) -> None:
    """A field that makes the block too large is dropped."""
    if sum(len(name) + len(value) + 4 for name, value in request.fields) > 16384:
        request.fields = [pair for pair in request.fields if len(pair[1]) < 1000]


@on_request("HTTP-05")
def fields_beyond_a_hundred_are_dropped(request: Request) -> None:
    """Of more than 100 fields the first 100 count."""
    request.fields = request.fields[:100]


@on_answer("HTTP-06")
def refusal_without_close(x: Exchange) -> None:
    """A refusal doesn't say that the connection ends."""
    if code(x) in ("bad-request", "headers-too-large"):
        x.answer.drop("connection")


@on_answer("HTTP-11")
def pipelined_answers_swapped(x: Exchange) -> None:
    """Of pipelined requests the second is answered before the first."""
    x.hold = x.pending > 0


@on_answer("HTTP-12")
def upgrade_is_required(x: Exchange) -> None:
    """An Upgrade is answered with 426."""
    if x.request.all("upgrade"):
        x.answer.status = 426


@on_answer("HTTP-15")
def unknown_expectation_is_417(x: Exchange) -> None:
    """An Expect other than 100-continue fails."""
    if x.request.get("expect").lower() not in ("", "100-continue"):
        x.answer.status = 417


@on_request("HTTP-17")
def field_names_have_a_letter_case(request: Request) -> None:
    """A Content-Type in capitals is not seen."""
    request.fields = [pair for pair in request.fields if pair[0] != "CONTENT-TYPE"]


@on_answer("HTTP-18")
def obs_text_is_refused(x: Exchange) -> None:
    """A byte from 0x80 in a field that nobody asked for is 400."""
    if any(max(value, default="") > "\x7f" for _, value in x.request.fields):
        x.answer.status = 400


# ROUTE


@on_answer("ROUTE-01")
def unknown_method_is_501(x: Exchange) -> None:
    """PROPFIND and the like are 501."""
    if x.request.method == "PROPFIND" and x.answer.status == 405:
        x.answer.status = 501


@on_answer("ROUTE-02")
def allow_short_of_a_method(x: Exchange) -> None:
    """Allow doesn't name the last method."""
    if allow := x.answer.get("allow"):
        x.answer.set("Allow", allow.rpartition(", ")[0])


@on_answer("ROUTE-03")
def options_of_nowhere_is_204(x: Exchange) -> None:
    """OPTIONS of an unknown path is answered as if it were known."""
    if x.request.method == "OPTIONS" and x.answer.status == 404:
        x.answer.status, x.answer.body = 204, b""


@on_request("ROUTE-04")
def trailing_slash_is_forgiven(request: Request) -> None:
    """/users/ is served as /users."""
    if len(request.path) > 1 and request.path.endswith("/"):
        request.target = request.path.rstrip("/")


@on_request("ROUTE-05")
def slashes_are_merged(request: Request) -> None:
    """//users is served as /users."""
    request.target = request.target.replace("//", "/")


@on_request("ROUTE-06")
def path_is_decoded(request: Request) -> None:
    """/%75sers is served as /users."""
    request.target = re.sub("%([3-7][0-9A-Fa-f])", lambda m: chr(int(m[1], 16)), request.target)


@on_request("ROUTE-07")
def dot_segments_are_resolved(request: Request) -> None:
    """/./users is served as /users."""
    if "/." in request.path:
        request.target = posixpath.normpath(request.path).replace("//", "/")


@on_request("ROUTE-08")
def strange_characters_are_ignored(request: Request) -> None:
    """/users^ is served as /users."""
    path = re.sub(r'["<>\\^`{|}\[\]]', "", request.path)
    if path != request.path:
        request.target = path


@on_request("ROUTE-09")
def path_has_no_letter_case(request: Request) -> None:
    """/Users is served as /users."""
    if request.path != request.path.lower():
        request.target = request.path.lower()


@on_answer("ROUTE-10")
def head_without_its_length(x: Exchange) -> None:
    """HEAD has no Content-Length."""
    if x.request.method == "HEAD" and x.answer.status == 200:
        x.answer.drop("content-length")


@on_answer("ROUTE-11")
def failing_head_without_its_type(x: Exchange) -> None:
    """A failing HEAD has no Content-Type."""
    if x.request.method == "HEAD" and x.answer.status >= 400:
        x.answer.drop("content-type")


@on_answer("ROUTE-12")
def options_is_200(x: Exchange) -> None:
    """OPTIONS is answered 200, with no content."""
    if x.request.method == "OPTIONS" and x.answer.status == 204:
        x.answer.status = 200
        x.answer.fields.append(("Content-Length", "0"))


@on_answer("ROUTE-13")
def options_judges_the_id(x: Exchange) -> None:
    """OPTIONS /users/abc is 404."""
    if x.request.method == "OPTIONS" and x.request.path == "/users/abc":
        x.answer.status = 404
        x.answer.fields.append(("Content-Length", "0"))


@on_request("ROUTE-15")
def method_override_is_obeyed(request: Request) -> None:
    """X-HTTP-Method-Override stands in for the method."""
    request.method = request.get("x-http-method-override") or request.method


# HDR


@on_answer("HDR-01")
def no_request_id_on_a_304(x: Exchange) -> None:
    """A 304 has no X-Request-Id."""
    if x.answer.status == 304:
        x.answer.drop("x-request-id")


@on_answer("HDR-02")
def request_id_is_always_new(x: Exchange) -> None:
    """The client's X-Request-Id isn't given back."""
    x.answer.set("X-Request-Id", str(uuid.uuid4()))


@on_answer("HDR-03")
def generated_id_is_always_the_same(x: Exchange) -> None:
    """The generated X-Request-Id is a constant."""
    if not x.request.all("x-request-id"):
        x.answer.set("X-Request-Id", "00000000-0000-4000-8000-000000000000")


@on_answer("HDR-03")
def any_request_id_is_given_back(x: Exchange) -> None:
    """An X-Request-Id is given back however long it is."""
    if len(x.request.get("x-request-id")) > 128:
        x.answer.set("X-Request-Id", x.request.get("x-request-id"))


@on_answer("HDR-04")
def refusal_gives_the_id_back(x: Exchange) -> None:
    """A refusal gives back the client's X-Request-Id."""
    if code(x) in ("bad-request", "headers-too-large") and x.request.all("x-request-id"):
        x.answer.set("X-Request-Id", x.request.get("x-request-id"))


@on_answer("HDR-05")
def problem_without_nosniff(x: Exchange) -> None:
    """A problem has no X-Content-Type-Options."""
    if x.answer.status >= 400:
        x.answer.drop("x-content-type-options")


@on_answer("HDR-06")
def list_may_be_cached(x: Exchange) -> None:
    """What has no ETag is no-cache too."""
    x.answer.set("Cache-Control", "no-cache")


@on_answer("HDR-07")
def server_is_told(x: Exchange) -> None:
    """Server is sent."""
    x.answer.fields.append(("Server", "mutant"))


@on_answer("HDR-08")
def runtime_is_told(x: Exchange) -> None:
    """X-Runtime is sent."""
    x.answer.fields.append(("X-Runtime", "0.01"))


@on_answer("HDR-09")
def body_is_chunked(x: Exchange) -> None:
    """A body comes in chunks."""
    x.answer.chunked = bool(x.answer.body)


@on_answer("HDR-10")
def json_has_a_charset(x: Exchange) -> None:
    """JSON is application/json; charset=utf-8."""
    if x.answer.get("content-type") == "application/json":
        x.answer.set("Content-Type", "application/json; charset=utf-8")


@on_answer("HDR-11")
def other_accept_is_406(x: Exchange) -> None:
    """An Accept without JSON is 406."""
    if x.request.get("accept") == "text/html":
        x.answer.status = 406


@on_answer("HDR-12")
def range_is_served(x: Exchange) -> None:
    """A Range is 206."""
    if x.request.get("range").startswith("bytes=0-"):
        x.answer.status, x.answer.body = 206, x.answer.body[:4]


# REP


@on_answer("REP-01")
def newline_at_the_end(x: Exchange) -> None:
    """A user ends with a newline."""
    if x.answer.get("etag") and x.answer.body:
        x.answer.body += b"\n"


@on_answer("REP-02")
def non_ascii_is_escaped(x: Exchange) -> None:
    r"""An é is written \\u00e9."""
    change_users(x, lambda _: None, ensure_ascii=True)


@on_answer("REP-01")
def latin_1(x: Exchange) -> None:
    """A list is sent in Latin-1, with ? for what that doesn't have."""
    if of_list(x):
        x.answer.body = x.answer.body.decode().encode("latin-1", "replace")


@on_answer("REP-03")
def version_comes_first(x: Exchange) -> None:
    """A user's members stand in another order."""

    def turn(user: dict[str, Any]) -> None:
        for name in ("id", "name", "email", "role", "created_at", "updated_at"):
            user[name] = user.pop(name)

    change_users(x, turn)


@on_answer("REP-04")
def microseconds(x: Exchange) -> None:
    """A timestamp has six fraction digits."""
    change_users(x, lambda user: user.update(updated_at=f"{user['updated_at'][:-1]}123Z"))


@on_answer("REP-04")
def offset_in_place_of_z(x: Exchange) -> None:
    """A timestamp ends with +00:00."""
    change_users(x, lambda user: user.update(created_at=f"{user['created_at'][:-1]}+00:00"))


@on_answer("REP-05")
def local_time(x: Exchange) -> None:
    """Timestamps are those of Nepal."""

    def move(text: str) -> str:
        moved = datetime.fromisoformat(text) + timedelta(hours=5, minutes=45)
        return moved.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    change_users(
        x,
        lambda user: user.update(
            created_at=move(user["created_at"]), updated_at=move(user["updated_at"])
        ),
    )


@on_answer("REP-06")
def clock_is_read_twice(x: Exchange) -> None:
    """A new user was updated a year after the creation."""
    if x.answer.status == 201:
        change_users(x, lambda user: user.update(updated_at=f"2999{user['updated_at'][4:]}"))


@on_answer("REP-07")
def versions_begin_at_zero(x: Exchange) -> None:
    """A user's version is one less."""
    change_users(x, lambda user: user.update(version=user["version"] - 1))


@on_answer("REP-08")
def id_is_a_float(x: Exchange) -> None:
    """An id is written 1.0."""
    change_users(x, lambda user: user.update(id=float(user["id"])))


@on_answer("REP-10")
def list_shows_another_time(x: Exchange) -> None:
    """A list rounds updated_at to seconds."""
    if x.request.path == "/users" and x.request.method == "GET":
        change_users(x, lambda user: user.update(updated_at=user["updated_at"][:-4] + "000Z"))


@on_answer("REP-11")
def change_is_a_creation(x: Exchange) -> None:
    """A change sets created_at too."""
    if x.request.method in ("PUT", "PATCH"):
        change_users(x, lambda user: user.update(created_at=user["updated_at"]))


# JSON, CTYPE, BODY


@on_body("JSON-01")
def empty_body_is_an_object(_: Request, body: bytes) -> bytes:
    """White space alone is taken for {}."""
    return body if body.strip(b" \t\r\n") else b"{}"


@on_body("JSON-02")
def trailing_comma_is_forgiven(_: Request, body: bytes) -> bytes:
    """A comma before a closing brace is skipped."""
    return re.sub(rb",\s*}", b"}", body)


@on_body("JSON-04")
def other_white_space_is_skipped(_: Request, body: bytes) -> bytes:
    """A form feed or U+0085 around the value is skipped."""
    return body.strip(b"\x0b\x0c\x00")


@on_body("JSON-05")
def byte_order_mark_is_skipped(_: Request, body: bytes) -> bytes:
    """U+FEFF before the value is skipped."""
    return body.removeprefix(b"\xef\xbb\xbf")


@on_body("JSON-06")
def utf_16_is_guessed(_: Request, body: bytes) -> bytes:
    """UTF-16 is recognised by its byte-order mark."""
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return body.decode("utf-16", "replace").encode()
    return body


@on_body("JSON-07")
def broken_utf_8_is_replaced(_: Request, body: bytes) -> bytes:
    """What isn't UTF-8 becomes U+FFFD."""
    return body if body[:1] in (b"\xff", b"\xfe") else body.decode("utf-8", "replace").encode()


@on_body("JSON-08")
def first_duplicate_counts(_: Request, body: bytes) -> bytes:
    """Of two members with one name the first counts."""
    try:
        value = json.loads(body.decode(), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
        plain = json.loads(body.decode())
    except (ValueError, RecursionError):
        return body
    return body if value == plain else json.dumps(value).encode()


@on_answer("JSON-14")
def array_is_malformed(x: Exchange) -> None:
    """JSON that is no object is 400."""
    if b'"pointer":"#",' in x.answer.body:
        x.answer.status = 400


@on_body("JSON-15")
def number_becomes_a_text(_: Request, body: bytes) -> bytes:
    """A number as a name is taken for its digits."""
    return change_member(body, "name", lambda name: str(name) if type(name) is int else name)


KNOWN = {"name", "email", "role", "password"}


@on_body("JSON-16")
def unknown_members_are_ignored(_: Request, body: bytes) -> bytes:
    """Members that nobody knows are ignored."""
    try:
        value = json.loads(body.decode())
    except (ValueError, RecursionError):
        return body
    if not isinstance(value, dict) or value.keys() <= KNOWN:
        return body
    return json.dumps({name: value[name] for name in KNOWN & value.keys()}).encode()


@on_request("CTYPE-01")
def missing_type_is_json(request: Request) -> None:
    """A body without Content-Type is taken for JSON."""
    if request.method in ("POST", "PUT", "PATCH") and not request.all("content-type"):
        request.fields.append(("Content-Type", "application/json"))


@on_answer("CTYPE-02")
def media_type_has_a_letter_case(x: Exchange) -> None:
    """Application/JSON is 415."""
    kind = x.request.get("content-type")
    if kind != kind.lower():
        x.answer.status = 415


@on_request("CTYPE-05")
def utf8_is_a_charset(request: Request) -> None:
    """charset=utf8 is taken for utf-8."""
    kind = request.get("content-type")
    if "utf8" in kind:
        request.set("Content-Type", kind.replace("utf8", "utf-8"))


@on_request("CTYPE-06")
def second_type_is_ignored(request: Request) -> None:
    """Of two Content-Type the first counts."""
    if len(kinds := request.all("content-type")) > 1:
        request.set("Content-Type", kinds[0])


@on_request("CTYPE-07")
def text_json_is_json(request: Request) -> None:
    """text/json is taken for JSON."""
    if request.get("content-type").startswith("text/json"):
        request.set("Content-Type", "application/json")


@on_request("CTYPE-08")
def merge_patch_is_taken_everywhere(request: Request) -> None:
    """application/merge-patch+json is taken by POST and PUT."""
    if request.get("content-type") == "application/merge-patch+json":
        request.set("Content-Type", "application/json")


@on_request("CTYPE-09")
def identity_is_no_encoding(request: Request) -> None:
    """Content-Encoding: identity is ignored."""
    if request.get("content-encoding") == "identity":
        request.drop("content-encoding")


@on_answer("BODY-02")
def too_large_is_400(x: Exchange) -> None:
    """A body that is too large is 400."""
    if x.answer.status == 413:
        x.answer.status = 400


@on_answer("BODY-06")
def body_of_a_get_is_400(x: Exchange) -> None:
    """A GET with a body is 400."""
    if x.request.method == "GET" and x.request.get("content-length") not in ("", "0"):
        x.answer.status = 400


# NAME, EMAIL, ID


@on_body("NAME-01")
def name_is_trimmed_of_all_space(_: Request, body: bytes) -> bytes:
    """U+00A0 and the like are trimmed from a name."""
    return change_member(body, "name", lambda name: name.strip() if type(name) is str else name)


@on_answer("NAME-02")
def empty_name_is_missing(x: Exchange) -> None:
    """An empty name is told as missing."""
    x.answer.body = x.answer.body.replace(b'"code":"too-short"', b'"code":"missing"')


@on_body("NAME-04")
def control_characters_are_dropped(_: Request, body: bytes) -> bytes:
    """A name is cleaned of control characters."""

    def clean(name: Any) -> Any:
        return re.sub("[\x00-\x1f\x7f-\x9f]", "", name) if type(name) is str else name

    return change_member(body, "name", clean)


@on_body("NAME-07")
def name_is_normalised(_: Request, body: bytes) -> bytes:
    """A name is stored in NFC."""

    def compose(name: Any) -> Any:
        return unicodedata.normalize("NFC", name) if type(name) is str else name

    return change_member(body, "name", compose)


@on_body("EMAIL-05")
def kelvin_is_a_letter(_: Request, body: bytes) -> bytes:
    """An email is lower-cased before it is judged."""
    return change_member(body, "email", lambda e: e.lower() if type(e) is str else e)


@on_body("EMAIL-09")
def email_is_trimmed(_: Request, body: bytes) -> bytes:
    """White space around an email is trimmed."""
    return change_member(body, "email", lambda e: e.strip() if type(e) is str else e)


@on_answer("EMAIL-10")
def email_keeps_its_case(x: Exchange) -> None:
    """An email is given back in capitals."""
    change_users(x, lambda user: user.update(email=user["email"].upper()))


# ROLE, PASSWORD


@on_body("ROLE-01")
def role_has_no_letter_case(_: Request, body: bytes) -> bytes:
    """Admin is admin."""
    return change_member(body, "role", lambda role: role.lower() if type(role) is str else role)


@on_body("ROLE-01")
def unknown_role_is_a_member(_: Request, body: bytes) -> bytes:
    """A role that isn't one is taken for member."""

    def known(role: Any) -> Any:
        return role if role == "admin" or type(role) is not str else "member"

    return change_member(body, "role", known)


@on_body("ROLE-02")
def null_is_no_role(_: Request, body: bytes) -> bytes:
    """A role that is null is as none."""
    return drop_null(body, "role")


@on_body("ROLE-03")
def new_user_is_an_admin(request: Request, body: bytes) -> bytes:
    """A user who is created without a role is an admin."""
    return set_default(body, role="admin") if request.method == "POST" else body


@on_body("ROLE-04")
def replacement_makes_a_member(request: Request, body: bytes) -> bytes:
    """A PUT without a role makes a member of an admin."""
    return set_default(body, role="member") if request.method == "PUT" else body


@on_body("PASSWORD-01")
def password_is_trimmed(_: Request, body: bytes) -> bytes:
    """White space around a password is trimmed."""
    return change_member(body, "password", lambda p: p.strip() if type(p) is str else p)


@on_body("PASSWORD-04")
def unpaired_surrogate_is_replaced(_: Request, body: bytes) -> bytes:
    """Half a surrogate pair in a password becomes a question mark."""

    def replaced(password: Any) -> Any:
        plain = type(password) is str
        return re.sub("[\ud800-\udfff]", "?", password) if plain else password

    return change_member(body, "password", replaced)


@on_body("PASSWORD-06")
def null_is_no_password(request: Request, body: bytes) -> bytes:
    """On POST and PUT a password that is null is as none."""
    return body if request.method == "PATCH" else drop_null(body, "password")


@on_body("PASSWORD-07")
def null_leaves_the_password(request: Request, body: bytes) -> bytes:
    """A PATCH with null leaves the password."""
    return drop_null(body, "password") if request.method == "PATCH" else body


@on_answer("PASSWORD-10")
def whether_there_is_a_password_is_told(x: Exchange) -> None:
    """A user shows whether there is a password."""
    change_users(x, lambda user: user.update(has_password=False))


@on_answer("PASSWORD-10")
def password_is_echoed(x: Exchange) -> None:
    """A user shows the password."""
    change_users(x, lambda user: user.update(password="correct horse battery staple"))


@on_request("ID-01")
def id_is_converted(request: Request) -> None:
    """An id is taken as a language's int() has it: 01, +1, 1.0."""
    if match := re.fullmatch(r"/users/\+?0*([1-9]\d*)(\.0)?", request.path):
        request.target = f"/users/{match[1]}"


@on_answer("ID-02")
def zero_is_nobody(x: Exchange) -> None:
    """The id 0 is 404."""
    if x.request.path == "/users/0" and x.answer.status == 422:
        x.answer.status = 404


@on_answer("ID-03")
def large_id_is_nobody(x: Exchange) -> None:
    """An id above 2^53-1 is 404."""
    if b'"too-large"' in x.answer.body and x.request.path != "/users":
        x.answer.status = 404


@on_answer("ID-04")
def id_has_32_bits(x: Exchange) -> None:
    """An id above 2^31-1 is 422."""
    if code(x) == "user-not-found" and len(x.request.path) > len("/users/2147483647"):
        x.answer.status = 422


# USR-CREATE, USR-READ


@on_answer("USR-CREATE-01")
def creation_is_200(x: Exchange) -> None:
    """A creation is 200."""
    if x.answer.status == 201:
        x.answer.status = 200


@on_answer("USR-CREATE-02")
def location_has_a_host(x: Exchange) -> None:
    """Location is absolute."""
    if location := x.answer.get("location"):
        x.answer.set("Location", f"http://{x.request.get('host')}{location}")


@on_answer("USR-CREATE-03")
def creation_without_etag(x: Exchange) -> None:
    """A creation has no ETag."""
    if x.answer.status == 201:
        x.answer.drop("etag")


@on_answer("USR-CREATE-04")
def first_missing_member_is_told(x: Exchange) -> None:
    """Of two missing members one is told."""
    if x.answer.body.count(b'"missing"') == 2:
        value = x.answer.json()
        x.answer.write({**value, "errors": value["errors"][:1]})


@on_answer("USR-CREATE-07")
def taken_email_is_422(x: Exchange) -> None:
    """A taken email is 422."""
    if code(x) == "email-taken":
        x.answer.status = 422


@on_answer("USR-READ-01")
def stale_read(x: Exchange) -> None:
    """A user is shown as he was created."""
    if x.answer.status == 201:
        x.memory[x.answer.get("location")] = (x.answer.get("etag"), x.answer.body)
    elif x.request.method == "GET" and x.answer.status == 200 and x.request.path in x.memory:
        etag, x.answer.body = x.memory[x.request.path]
        x.answer.set("ETag", etag)


@on_answer("USR-READ-02")
def deleted_user_is_410(x: Exchange) -> None:
    """A user who is no more is 410."""
    if code(x) == "user-not-found" and x.request.method == "GET":
        x.answer.status = 410


@on_answer("USR-READ-03")
def head_without_etag(x: Exchange) -> None:
    """HEAD of a user has no ETag."""
    if x.request.method == "HEAD":
        x.answer.drop("etag")


# USR-LIST, CURSOR, QUERY


def of_list(x: Exchange) -> bool:
    """Whether it is the answer to a list that was given."""
    asked = x.request.method == "GET" and x.request.path == "/users"
    return asked and x.answer.status == 200


@on_answer("USR-LIST-01")
def list_in_an_object(x: Exchange) -> None:
    """A list is wrapped in an object."""
    if of_list(x):
        x.answer.write({"users": x.answer.json()})


@on_answer("USR-LIST-02")
def empty_list_is_404(x: Exchange) -> None:
    """A list of nobody is 404."""
    if of_list(x) and x.answer.body == b"[]":
        x.answer.status = 404


@on_answer("USR-LIST-03")
def list_is_one_short(x: Exchange) -> None:
    """A page with a limit lacks its last user."""
    if of_list(x) and x.answer.all("link"):
        x.answer.write(x.answer.json()[:-1])


@on_request("USR-LIST-04")
def limit_is_clamped(request: Request) -> None:
    """A limit above 100 is taken for 100."""
    change_query(
        request,
        lambda name, value: (
            (name, "100")
            if name == "limit" and re.fullmatch("[1-9][0-9]{2,}", value)
            else (name, value)
        ),
    )


@on_request("USR-LIST-06")
def order_is_always_ascending(request: Request) -> None:
    """The - of a sort is ignored."""
    change_query(
        request,
        lambda name, value: (name, value.removeprefix("-") if name == "sort" else value),
    )


@on_answer("USR-LIST-08")
def order_has_no_letter_case(x: Exchange) -> None:
    """Names are sorted as a dictionary has them."""
    if of_list(x) and "sort=name" in x.request.query:
        x.answer.write(sorted(x.answer.json(), key=lambda user: user["name"].casefold()))


@on_request("USR-LIST-09")
def unknown_sort_is_ignored(request: Request) -> None:
    """A sort that nobody knows is ignored."""
    change_query(
        request,
        lambda name, value: (
            None if name == "sort" and value.lstrip("-") in ("version", "Name") else (name, value)
        ),
    )


@on_request("USR-LIST-13")
def q_is_normalised(request: Request) -> None:
    """A q is composed (NFC) before it is compared."""
    change_query(
        request,
        lambda name, value: (
            (name, quote(unicodedata.normalize("NFC", unquote_plus(value)), safe=""))
            if name == "q" and "%CC%81" in value.upper()
            else (name, value)
        ),
    )


@on_answer("USR-LIST-16")
def link_without_sort(x: Exchange) -> None:
    """Link doesn't name the sort."""
    if link := x.answer.get("link"):
        x.answer.set("Link", re.sub("&sort=[^&]*", "", link))


@on_answer("USR-LIST-17")
def link_in_lower_case(x: Exchange) -> None:
    """Link is percent-encoded in lower-case digits."""
    if link := x.answer.get("link"):
        x.answer.set("Link", re.sub("%..", lambda found: found[0].lower(), link))


@on_answer("USR-LIST-18")
def last_page_has_a_link(x: Exchange) -> None:
    """A list without a next page links to itself."""
    if of_list(x) and not x.answer.all("link"):
        x.answer.set("Link", '</users?limit=50&sort=id&cursor=WyJpZCIsbnVsbCwxLDFd>; rel="next"')


@on_answer("USR-LIST-19")
def stale_list(x: Exchange) -> None:
    """A list is given again as it was at first."""
    if of_list(x):
        x.answer.body = x.memory.setdefault(x.request.target, x.answer.body)


@on_answer("USR-LIST-20")
def errors_of_the_query_backwards(x: Exchange) -> None:
    """What is wrong with a list is told from the end."""
    if b'"parameter"' in x.answer.body and x.request.path == "/users":
        value = x.answer.json()
        x.answer.write({**value, "errors": value["errors"][::-1]})


@on_answer("USR-LIST-21")
def head_without_link(x: Exchange) -> None:
    """HEAD of a list has no Link."""
    if x.request.method == "HEAD":
        x.answer.drop("link")


def events_of(x: Exchange) -> list[dict[str, Any]] | None:
    """The events that a list of them was answered with."""
    asked = x.request.method == "GET" and x.request.path == "/events"
    return x.answer.json() if asked and x.answer.status == 200 else None


@on_answer("EVENT-05")
def position_is_a_number(x: Exchange) -> None:
    """The id of an event is a number."""
    if events := events_of(x):
        x.answer.write([{**event, "id": int(event["id"])} for event in events])


@on_answer("EVENT-06")
def deleted_user_without_version(x: Exchange) -> None:
    """Of a deleted user only the id is told."""
    if events := events_of(x):
        for event in events:
            if event["type"] == "user.deleted":
                del event["data"]["version"]
        x.answer.write(events)


@on_answer("EVENT-07")
def events_in_an_object(x: Exchange) -> None:
    """A list of events is wrapped in an object."""
    if (events := events_of(x)) is not None:
        x.answer.write({"events": events})


@on_request("EVENT-08")
def newest_event_is_last(request: Request) -> None:
    """sort=-id is ignored."""
    if request.path == "/events":
        request.target = request.target.replace("sort=-id", "sort=id")


@on_request("EVENT-09")
def position_is_shown_again(request: Request) -> None:
    """A page begins with the event at the position that was reached."""
    if request.path == "/events":
        request.target = re.sub(
            r"after=([1-9][0-9]{0,14})(?![0-9])",
            lambda found: f"after={int(found[1]) - 1}",
            request.target,
        )


@on_answer("EVENT-10")
def events_without_a_link(x: Exchange) -> None:
    """A page of events doesn't link the next one."""
    if x.request.path == "/events":
        x.answer.drop("link")


@on_answer("EVENT-11")
def errors_of_events_backwards(x: Exchange) -> None:
    """What is wrong with a list of events is told from the end."""
    if b'"parameter"' in x.answer.body and x.request.path == "/events":
        value = x.answer.json()
        x.answer.write({**value, "errors": value["errors"][::-1]})


@on_answer("EVENT-12")
def head_of_events_without_link(x: Exchange) -> None:
    """HEAD of a list of events has no Link."""
    if x.request.method == "HEAD" and x.request.path == "/events":
        x.answer.drop("link")


@on_answer("EVENT-13")
def stale_events(x: Exchange) -> None:
    """A list of events is given again as it was at first."""
    if events_of(x) is not None:
        x.answer.body = x.memory.setdefault(x.request.target, x.answer.body)


@on_answer("CURSOR-01")
def cursor_is_padded(x: Exchange) -> None:
    """The cursor of a link ends with =."""
    if link := x.answer.get("link"):
        x.answer.set("Link", link.replace(">;", "=>;"))


@on_answer("CURSOR-03")
def entry_twice(x: Exchange) -> None:
    """A page begins with the last user of the page before."""
    if of_list(x):
        page = x.answer.json()
        before = x.memory.get(x.request.target)
        if before:
            x.answer.write([before, *page[: len(page) - 1]])
        if link := x.answer.get("link"):
            x.memory[link[1:].partition(">")[0]] = page[-1]


@on_answer("CURSOR-03")
def page_skipped(x: Exchange) -> None:
    """The link of a page leads to the page after the next one."""
    if of_list(x) and (link := x.answer.get("link")):
        beyond = x.ask(link[1:].partition(">")[0]).get("link")
        if beyond:
            x.answer.set("Link", beyond)


@on_request("CURSOR-05")
def cursor_of_another_sort_is_dropped(request: Request) -> None:
    """A cursor that begins like another sort's is ignored."""
    if "sort=name" in request.query and "cursor=WyJpZ" in request.query:
        change_query(request, lambda name, value: None if name == "cursor" else (name, value))


@on_request("CURSOR-08")
def padding_is_forgiven(request: Request) -> None:
    """A cursor may end with =."""
    change_query(
        request,
        lambda name, value: (
            name,
            re.sub("(=|%3D)+$", "", value) if name == "cursor" else value,
        ),
    )


@on_answer("CURSOR-12")
def end_is_404(x: Exchange) -> None:
    """A page that nobody is on is 404."""
    if of_list(x) and x.answer.body == b"[]" and "cursor=" in x.request.query:
        x.answer.status = 404


@on_answer("QUERY-01")
def query_is_judged_everywhere(x: Exchange) -> None:
    """A broken query is 400 with every path."""
    if x.request.path != "/users" and x.request.query.endswith("%"):
        x.answer.status = 400


@on_request("QUERY-03")
def plus_stays_a_plus(request: Request) -> None:
    """+ is a plus."""
    request.target = request.path + request.target[len(request.path) :].replace("+", "%2B")


@on_request("QUERY-04")
def lonely_percent_is_forgiven(request: Request) -> None:
    """% without two digits stands for itself."""
    change_query(
        request,
        lambda name, value: (
            re.sub("%(?![0-9A-Fa-f]{2})", "%25", name),
            re.sub("%(?![0-9A-Fa-f]{2})", "%25", value),
        ),
    )


@on_request("QUERY-05")
def broken_query_is_replaced(request: Request) -> None:
    """%FF becomes U+FFFD."""
    request.target = re.sub("%ff", "%EF%BF%BD", request.target, flags=re.IGNORECASE)


@on_answer("QUERY-07")
def unknown_parameter_is_422(x: Exchange) -> None:
    """A parameter that nobody knows is 422."""
    names = {piece.partition("=")[0] for piece in x.request.query.split("&") if piece}
    if of_list(x) and not names <= {"limit", "sort", "q", "cursor"}:
        x.answer.status = 422


@on_request("QUERY-08")
def last_parameter_counts(request: Request) -> None:
    """Of a parameter given twice the last counts."""
    pieces = request.query.split("&")
    names = [piece.partition("=")[0] for piece in pieces]
    if request.path == "/users" and len(names) != len(set(names)):
        request.target = "/users?" + "&".join(dict(zip(names, pieces, strict=True)).values())


@on_request("QUERY-09")
def empty_parameter_is_ignored(request: Request) -> None:
    """An empty parameter is as none."""
    change_query(request, lambda name, value: (name, value) if value else None)


# AUTH, RIGHT, LOGIN, LIMIT, DOC


@on_answer("AUTH-03")
def nobody_is_challenged(x: Exchange) -> None:
    """A 401 has no challenge."""
    if x.answer.status == 401:
        x.answer.drop("www-authenticate")


@on_answer("AUTH-04")
def wrong_token_is_as_none(x: Exchange) -> None:
    """It isn't told that a token is wrong."""
    if "invalid_token" in x.answer.get("www-authenticate"):
        x.answer.set("WWW-Authenticate", 'Bearer realm="users"')


@on_answer("RIGHT-05")
def others_are_not_found(x: Exchange) -> None:
    """A member is told that somebody isn't there."""
    if code(x) == "forbidden" and x.request.path == "/users/9007199254740991":
        x.answer.status = 404


@on_answer("RIGHT-10")
def refusal_is_no_challenge(x: Exchange) -> None:
    """A 403 has no challenge."""
    if x.answer.status == 403:
        x.answer.drop("www-authenticate")


@on_answer("LOGIN-01")
def token_type_in_small_letters(x: Exchange) -> None:
    """The token's type is `bearer`."""
    if b'"token_type":"Bearer"' in x.answer.body:
        x.answer.body = x.answer.body.replace(b'"Bearer"', b'"bearer"')


@on_answer("LIMIT-05")
def nobody_is_told_when(x: Exchange) -> None:
    """A 429 has no Retry-After."""
    if x.answer.status == 429:
        x.answer.drop("retry-after")


@on_answer("DOC-10")
def page_may_be_framed(x: Exchange) -> None:
    """The page has no policy."""
    if x.request.path == "/docs":
        x.answer.drop("content-security-policy")


# USR-REPLACE, USR-PATCH, USR-DELETE


@on_body("USR-CREATE-05")
def sql_is_taken_out(_: Request, body: bytes) -> bytes:
    """What looks like SQL is taken out of what is sent."""
    return body.replace(b"DROP TABLE", b"")


@on_answer("USR-REPLACE-01")
def replacement_has_a_location(x: Exchange) -> None:
    """A PUT has a Location."""
    if x.request.method == "PUT" and x.answer.status == 200:
        x.answer.set("Location", x.request.path)


@on_answer("USR-REPLACE-03")
def replacement_of_nobody_is_204(x: Exchange) -> None:
    """A PUT of nobody is 204."""
    if x.request.method == "PUT" and code(x) == "user-not-found":
        x.answer.status, x.answer.body = 204, b""
        x.answer.drop("content-length")


@on_answer("USR-PATCH-01")
def change_has_a_location(x: Exchange) -> None:
    """A PATCH has a Location."""
    if x.request.method == "PATCH" and x.answer.status == 200:
        x.answer.set("Location", x.request.path)


@on_answer("USR-PATCH-02")
def empty_patch_is_204(x: Exchange) -> None:
    """A PATCH with {} is 204."""
    if x.request.method == "PATCH" and x.request.get("content-length") == "2":
        x.answer.status, x.answer.body = 204, b""
        x.answer.drop("content-length")


@on_body("USR-PATCH-04")
def null_is_ignored(request: Request, body: bytes) -> bytes:
    """A null of a PATCH is as no member."""
    if request.method != "PATCH" or b"null" not in body:
        return body
    try:
        value = json.loads(body.decode())
    except (ValueError, RecursionError):
        return body
    if not isinstance(value, dict):
        return body
    return json.dumps({name: one for name, one in value.items() if one is not None}).encode()


@on_answer("USR-DELETE-01")
def deletion_tells_something(x: Exchange) -> None:
    """A DELETE is 200 with {}."""
    if x.request.method == "DELETE" and x.answer.status == 204:
        x.answer.status, x.answer.body = 200, b"{}"
        x.answer.set("Content-Type", "application/json")
        x.answer.set("Content-Length", "2")


@on_answer("USR-DELETE-02")
def second_deletion_is_204(x: Exchange) -> None:
    """A DELETE of nobody is 204."""
    if x.request.method == "DELETE" and code(x) == "user-not-found":
        x.answer.status, x.answer.body = 204, b""
        x.answer.drop("content-length")
        x.answer.drop("content-type")


@on_answer("USR-DELETE-03")
def deleted_user_is_still_shown(x: Exchange) -> None:
    """A user is shown after the deletion too."""
    if x.answer.status == 201:
        x.memory[x.answer.get("location")] = x.answer
    elif x.request.method == "GET" and code(x) == "user-not-found" and x.request.path in x.memory:
        kept = x.memory[x.request.path]
        x.answer.status, x.answer.fields, x.answer.body = 200, kept.fields, kept.body


# COND


@on_answer("COND-01")
def etag_without_quotes(x: Exchange) -> None:
    """An ETag has no quotes."""
    if etag := x.answer.get("etag"):
        x.answer.set("ETag", etag.strip('"'))


@on_request("COND-02")
def if_match_is_ignored(request: Request) -> None:
    """If-Match is ignored."""
    request.drop("if-match")


@on_answer("COND-03")
def star_is_a_tag(x: Exchange) -> None:
    """If-Match: * matches nothing."""
    if x.request.get("if-match") == "*" and x.answer.status < 300:
        x.answer.status = 412


@on_request("COND-05")
def weak_tag_matches(request: Request) -> None:
    """If-Match compares weakly."""
    if 'W/"' in request.get("if-match"):
        request.set("If-Match", request.get("if-match").replace('W/"', '"'))


@on_request("COND-06")
def tags_are_numbers(request: Request) -> None:
    """Tags are compared as numbers."""
    if request.get("if-match") == '"02"':
        request.set("If-Match", '"2"')


@on_request("COND-07")
def first_condition_counts(request: Request) -> None:
    """Of several If-Match the first counts."""
    if len(values := request.all("if-match")) > 1:
        request.set("If-Match", values[0])


@on_request("COND-09")
def malformed_if_match_is_ignored(request: Request) -> None:
    """An If-Match without quotes is ignored."""
    if request.all("if-match") and '"' not in request.get("if-match") != "*":
        request.drop("if-match")


@on_request("COND-10")
def malformed_if_none_match_is_ignored(request: Request) -> None:
    """An If-None-Match without quotes is ignored."""
    if request.all("if-none-match") and '"' not in request.get("if-none-match") != "*":
        request.drop("if-none-match")


@on_request("COND-11")
def if_none_match_is_ignored(request: Request) -> None:
    """If-None-Match is ignored."""
    request.drop("if-none-match")


@on_answer("COND-13")
def not_modified_without_etag(x: Exchange) -> None:
    """A 304 has no ETag."""
    if x.answer.status == 304:
        x.answer.drop("etag")


@on_answer("COND-14")
def if_match_holds_for_reading(x: Exchange) -> None:
    """GET is held to If-Match."""
    if x.request.method == "GET" and x.request.get("if-match") == '"1"':
        x.answer.status = 412


@on_answer("COND-17")
def dates_are_judged(x: Exchange) -> None:
    """If-Modified-Since is judged."""
    if x.request.method == "GET" and " 2100 " in x.request.get("if-modified-since"):
        x.answer.status, x.answer.body = 304, b""


# IDEM, UNIQ


@on_answer("IDEM-01")
def first_answer_is_marked(x: Exchange) -> None:
    """The first answer to a key says that it isn't replayed."""
    if x.answer.status == 201 and not x.answer.all("idempotency-replayed"):
        x.answer.set("Idempotency-Replayed", "false")


@on_request("IDEM-02")
def idempotency_ignored(request: Request) -> None:
    """Idempotency-Key is ignored."""
    request.drop("idempotency-key")


@on_answer("IDEM-03")
def replay_repeats_the_id(x: Exchange) -> None:
    """A replay has the X-Request-Id of the first answer."""
    if x.answer.status == 201 and (key := x.request.get("idempotency-key")):
        first = x.memory.setdefault(key, x.answer.get("x-request-id"))
        x.answer.set("X-Request-Id", first)


@on_answer("IDEM-05")
def reused_key_is_409(x: Exchange) -> None:
    """A key with another body is 409."""
    if code(x) == "idempotency-key-reused":
        x.answer.status = 409


@on_request("IDEM-06")
def keys_have_no_letter_case(request: Request) -> None:
    """Keys are compared in lower case."""
    if key := request.get("idempotency-key"):
        request.set("Idempotency-Key", key.lower())


@on_request("IDEM-07")
def long_key_is_cut(request: Request) -> None:
    """A key of more than 255 characters is cut."""
    if len(key := request.get("idempotency-key")) > 255:
        request.set("Idempotency-Key", key[:255])


@on_answer("IDEM-11")
def key_is_judged_everywhere(x: Exchange) -> None:
    """A malformed key is 400 with PATCH too."""
    if x.request.method == "PATCH" and " " in x.request.get("idempotency-key"):
        x.answer.status = 400


@on_request("UNIQ-03")
def lost_update(request: Request) -> None:
    """Whoever writes last wins, whatever version he had seen."""
    if request.method in ("PUT", "PATCH"):
        request.drop("if-match")


@on_answer("UNIQ-06")
def every_deletion_succeeds(x: Exchange) -> None:
    """Whoever deletes at the same time is told 204."""
    if x.request.method == "DELETE" and x.answer.status == 404:
        x.answer.status, x.answer.body = 204, b""
        x.answer.drop("content-length")
        x.answer.drop("content-type")


# PROB


@on_answer("PROB-01")
def problem_without_title(x: Exchange) -> None:
    """A problem has no title."""
    if code(x):
        value = x.answer.json()
        del value["title"]
        x.answer.write(value)


@on_answer("PROB-02")
def every_problem_has_errors(x: Exchange) -> None:
    """A problem without errors has an empty list of them."""
    if code(x):
        x.answer.write({**x.answer.json(), "errors": x.answer.json().get("errors", [])})


@on_answer("PROB-03")
def every_place_is_a_pointer(x: Exchange) -> None:
    """A parameter is told as pointer."""
    x.answer.body = x.answer.body.replace(b'"parameter":', b'"pointer":')


@on_answer("PROB-04")
def problem_repeats_the_path(x: Exchange) -> None:
    """A problem has the path as its instance."""
    if code(x):
        x.answer.write({**x.answer.json(), "instance": x.request.path})


@on_answer("PROB-05")
def pointer_is_no_fragment(x: Exchange) -> None:
    """A pointer is not percent-encoded."""
    if code(x) == "validation" and b"%" in x.answer.body:
        x.answer.body = unquote(x.answer.body.decode()).encode()


@on_answer("PROB-07")
def errors_in_another_order(x: Exchange) -> None:
    """Errors are sorted the other way round."""
    if x.answer.body.count(b'"pointer"') > 1:
        value = x.answer.json()
        x.answer.write({**value, "errors": value["errors"][::-1]})


@on_answer("PROB-09")
def nineteen_errors_at_most(x: Exchange) -> None:
    """The first 19 errors are given."""
    if x.answer.body.count(b'"pointer"') == 20:
        value = x.answer.json()
        x.answer.write({**value, "errors": value["errors"][:19]})


# CORS


@on_answer("CORS-01")
def everybody_may_read(x: Exchange) -> None:
    """Access-Control-Allow-Origin: * is sent."""
    x.answer.set("Access-Control-Allow-Origin", "*")


@on_answer("CORS-02")
def no_vary(x: Exchange) -> None:
    """Vary isn't sent."""
    x.answer.drop("vary")


@on_answer("CORS-03")
def star_for_an_origin(x: Exchange) -> None:
    """Every allowed origin is called *."""
    if x.answer.all("access-control-allow-origin"):
        x.answer.set("Access-Control-Allow-Origin", "*")


@on_answer("CORS-04")
def etag_is_not_exposed(x: Exchange) -> None:
    """Access-Control-Expose-Headers lacks ETag."""
    if exposed := x.answer.get("access-control-expose-headers"):
        x.answer.set("Access-Control-Expose-Headers", exposed.replace("ETag, ", ""))


@on_answer("CORS-06")
def preflight_is_200(x: Exchange) -> None:
    """A preflight is 200."""
    if x.answer.all("access-control-max-age"):
        x.answer.status = 200
        x.answer.fields.append(("Content-Length", "0"))


@on_answer("CORS-07")
def foreign_preflight_is_403(x: Exchange) -> None:
    """A foreign origin is 403."""
    if x.request.all("origin") and not x.answer.all("access-control-allow-origin"):
        x.answer.status = 403


@on_answer("CORS-08")
def refusal_varies(x: Exchange) -> None:
    """A refusal has Vary too."""
    if code(x) in ("bad-request", "headers-too-large"):
        x.answer.set("Vary", "Origin")


# HEALTH, DOC, METRICS


@on_answer("HEALTH-01")
def health_in_capitals(x: Exchange) -> None:
    """/healthz says OK."""
    if x.request.path == "/healthz":
        x.answer.body = x.answer.body.replace(b"ok", b"OK")


@on_answer("HEALTH-02")
def ready_without_content(x: Exchange) -> None:
    """/readyz is 204."""
    if x.request.path == "/readyz" and x.answer.status == 200:
        x.answer.status, x.answer.body = 204, b""
        x.answer.drop("content-length")


@on_answer("HEALTH-03")
def unavailable_without_retry_after(x: Exchange) -> None:
    """A 503 has no Retry-After."""
    if x.answer.status == 503:
        x.answer.drop("retry-after")


@on_answer("DOC-01")
def document_is_elsewhere(x: Exchange) -> None:
    """The document is an empty object."""
    if x.request.path == "/openapi.json" and x.answer.body:
        x.answer.write({})


@on_answer("DOC-03")
def document_is_of_3_0(x: Exchange) -> None:
    """The document says that it is of OpenAPI 3.0."""
    if x.request.path == "/openapi.json" and x.answer.body:
        x.answer.write({**x.answer.json(), "openapi": "3.0.3"})


@on_answer("DOC-04")
def deletion_is_not_documented(x: Exchange) -> None:
    """The document leaves DELETE out."""
    if x.request.path == "/openapi.json" and x.answer.body:
        value = x.answer.json()
        del value["paths"]["/users/{id}"]["delete"]
        x.answer.write(value)


@on_answer("DOC-06")
def page_without_charset(x: Exchange) -> None:
    """The page is text/html alone."""
    if x.request.path == "/docs":
        x.answer.set("Content-Type", "text/html")


@on_answer("DOC-09")
def script_is_an_application(x: Exchange) -> None:
    """A script is application/javascript."""
    if x.request.path.endswith(".js"):
        x.answer.set("Content-Type", "application/javascript")


@on_answer("OPS-11")
def strange_name_is_500(x: Exchange) -> None:
    """What is refused for its form is 500, with a text."""
    if x.answer.status == 422 and b'"malformed"' in x.answer.body:
        x.answer.status, x.answer.body = 500, b"Internal Server Error"
        x.answer.set("Content-Type", "text/plain")


@on_answer("OPS-15")
def changed_user_is_not_listed(x: Exchange) -> None:
    """A list leaves out who was changed."""
    if of_list(x):
        x.answer.write([user for user in x.answer.json() if user["version"] == 1])


@on_answer("METRICS-01")
def metrics_are_openmetrics(x: Exchange) -> None:
    """The metrics are application/openmetrics-text."""
    if x.request.path == "/metrics":
        x.answer.set("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8")


@on_answer("METRICS-03")
def bucket_left_out(x: Exchange) -> None:
    """The bucket of 2.5 seconds is left out."""
    if x.request.path == "/metrics":
        x.answer.body = re.sub(rb"[^\n]*le=\"2.5\"[^\n]*\n", b"", x.answer.body)


@on_answer("METRICS-06")
def head_of_metrics_is_405(x: Exchange) -> None:
    """HEAD /metrics is 405."""
    if x.request.path == "/metrics" and x.request.method == "HEAD":
        x.answer.status = 405
