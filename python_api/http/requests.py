"""What comes in, read strictly: the target, media types, bodies, JSON, queries, conditions.

Each function takes what was sent and gives what it means, or raises the `Problem` that says why
it can't. Frameworks' own readers are lenient, each in its own way, so none is used here.
"""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Container
from dataclasses import dataclass
from heapq import nsmallest
from itertools import accumulate
from typing import TypeVar
from urllib.parse import quote, unquote_to_bytes

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers

from python_api.http.problems import MAX_ERRORS, Problem, issue

MAX_BODY = 65536
MAX_NESTING = 32
MAX_INTEGER = 2**53 - 1

# RFC 3986, 3.3: the characters of a path, but for `%` (ROUTE-06, ROUTE-08).
PLAIN_PATH = re.compile(r"/[A-Za-z0-9\-._~!$&'()*+,;=:@/]*")
DOT_SEGMENT = re.compile(r"/\.\.?(?:/|$)")

# RFC 9110, 5.6.2, 5.6.4, 5.6.6
TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# Without a comma: of several fields the values are one, with commas between.
QUOTED = r'"(?:[\t !#-+\--\[\]-~\x80-\xff]|\\[\t -+\--~\x80-\xff])*"'
# One parameter, with or without white space around it (CTYPE-03).
PARAMETER = re.compile(rf"[ \t]*;(?:[ \t]*({TOKEN})=({TOKEN}|{QUOTED}))?")
# A type, and its parameters (CTYPE-03, CTYPE-04, CTYPE-10).
MEDIA_TYPE = re.compile(rf"({TOKEN}/{TOKEN})((?:{PARAMETER.pattern})*)[ \t]*")

# RFC 9110, 8.8.3 and 5.6.1 (COND-08)
ENTITY_TAG = re.compile(r'(?:W/)?"[!#-~\x80-\xff]*"')
# No part of it can match in two ways, so thousands of tags take no time (COND-08, COND-09,
# COND-18).
ENTITY_TAGS = re.compile(
    rf"[ \t,]*{ENTITY_TAG.pattern}(?:[ \t]*,(?:[ \t]*{ENTITY_TAG.pattern})?)*[ \t]*"
)

NATURAL = re.compile(r"[1-9][0-9]*")
# A `%` that begins no escape (QUERY-04).
ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")

STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
OPENING = re.compile(rb"[\[{]{%d}" % (MAX_NESTING + 1))
STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}

# What the body of a creation or a replacement may be (CTYPE-07, CTYPE-08).
JSON = frozenset({"application/json"})
# What the body of a change may be (CTYPE-08).
MERGE_PATCH = frozenset({"application/json", "application/merge-patch+json"})
ACCEPT_PATCH = ", ".join(sorted(MERGE_PATCH))
# What the body of a login has to be (LOGIN-09).
FORM = frozenset({"application/x-www-form-urlencoded"})

Model = TypeVar("Model", bound=BaseModel)


def route_path(path: str) -> str:
    """The path to match against the routes; empty, which matches none, if it isn't plain.

    Nothing is decoded or resolved: `/%75sers` and `/./users` are not other names of `/users`.

    Clauses: ROUTE-06, ROUTE-07, ROUTE-08.
    """
    return path if PLAIN_PATH.fullmatch(path) and not DOT_SEGMENT.search(path) else ""


def header(headers: Headers, name: str) -> str | None:
    """The value of a header field: those of several lines, with commas between (RFC 9110, 5.3).

    White space at its ends is none of it, so an empty last line leaves a comma there.

    Clauses: AUTH-04, COND-07, CTYPE-06, IDEM-07.
    """
    lines = headers.getlist(name)
    return ", ".join(lines).strip(" \t") if lines else None


async def read_body(request: Request, accepted: Container[str]) -> bytes:
    """The body, if its media type is one of `accepted`.

    Raises unsupported-media-type and, at 65,537 bytes or as soon as Content-Length promises as
    much, body-too-large; the server below reads the rest and forgets it.

    Clauses: BODY-01, BODY-02, BODY-03, BODY-05, PROB-12, PROB-13.
    """
    if not _has_media_type(request, accepted):
        raise unsupported_media_type(accepted)
    # int() takes no more than 4,300 digits, zeros at their head among them.
    length = request.headers.get("content-length", "").lstrip("0") or "0"
    if int(length) > MAX_BODY:
        raise Problem("body-too-large")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise Problem("body-too-large")
    return bytes(body)


def unsupported_media_type(accepted: Container[str]) -> Problem:
    """415, with the types that a `PATCH` may have (RFC 5789, 2.2). Clauses: ROUTE-17."""
    headers = {"Accept-Patch": ACCEPT_PATCH} if "application/merge-patch+json" in accepted else None
    return Problem("unsupported-media-type", headers=headers)


async def read_to_end(request: Request) -> None:
    """Read a body that is ignored: only then is it known that all of the request can be read.

    Clauses: HTTP-26.
    """
    async for _ in request.stream():
        pass


def _has_media_type(request: Request, accepted: Container[str]) -> bool:
    """Whether there is one Content-Type, one of these, in UTF-8 and not encoded.

    Clauses: CTYPE-01, CTYPE-02, CTYPE-04, CTYPE-05, CTYPE-06, CTYPE-07, CTYPE-09.
    """
    match = MEDIA_TYPE.fullmatch(header(request.headers, "content-type") or "")
    if not match or match[1].lower() not in accepted or "content-encoding" in request.headers:
        return False
    return all(
        name.lower() != "charset" or _unquote(value).lower() == "utf-8"
        for name, value in PARAMETER.findall(match[2])
    )


def _unquote(value: str) -> str:
    """The value of a parameter, a quoted string or a token. Clauses: CTYPE-03."""
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def parse_json(body: bytes, number: Callable[[str], object] = lambda _: 0) -> object:
    """The value that the body is JSON of (RFC 8259). Raises malformed-json.

    Of members with one name the last counts; `number` makes something of a number as it is
    written. By default a number becomes 0: no body has a place for one, and to convert 5,000
    digits would cost time.

    Clauses: JSON-01, JSON-02, JSON-03, JSON-04, JSON-05, JSON-06, JSON-07, JSON-08, JSON-09,
    JSON-10, JSON-12, JSON-13, JSON-17.
    """
    try:
        if _nests_too_deep(body):
            raise Problem("malformed-json")
        return json.loads(
            body.decode("utf-8"),
            parse_int=number,
            parse_float=number,
            # NaN, Infinity and -Infinity, which Python would take, are no integers (JSON-02).
            parse_constant=int,
        )
    except ValueError:
        raise Problem("malformed-json") from None


def _nests_too_deep(body: bytes) -> bool:
    """Whether arrays and objects go too deep, seen before parsing: a parser may run out of stack.

    Clauses: JSON-10, JSON-11, LIMIT-11.
    """
    # One step of Python for each bracket or string would take too long.
    if body.count(b"[") + body.count(b"{") <= MAX_NESTING:
        return False
    brackets = STRING.sub(b"", body).translate(None, NOT_BRACKETS)
    if OPENING.search(brackets):
        return True
    return max(accumulate(map(STEPS.__getitem__, brackets)), default=0) > MAX_NESTING


def parse_base64url(text: str) -> bytes:
    """The bytes that the text stands for (RFC 4648, 5), if it is the one that does: without padding
    and unused bits. Raises ValueError.

    Clauses: AUTH-24, AUTH-26.
    """
    data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    # Python skips what isn't in the alphabet.
    if urlsafe_b64encode(data).rstrip(b"=") != text.encode("ascii"):
        raise ValueError(text)
    return data


def parse_body(model: type[Model], document: object) -> Model:
    """The document as a `model`. Raises validation. Clauses: JSON-14, JSON-16, PROB-06, PROB-07."""
    if not isinstance(document, dict):
        raise Problem("validation", [issue("pointer", "#", "wrong-type")])
    # Unknown members are found here: pydantic fails on a name with an unpaired surrogate.
    known = {name: document[name] for name in model.model_fields if name in document}
    unknown = nsmallest(MAX_ERRORS, document.keys() - known.keys())
    broken = [issue("pointer", _pointer(name), "unknown") for name in unknown]
    try:
        fields = model.model_validate(known)
    except ValidationError as error:
        rules = [issue("pointer", f"#/{one['loc'][0]}", one["type"]) for one in error.errors()]
        raise Problem("validation", [*rules, *broken]) from None
    if broken:
        raise Problem("validation", broken)
    return fields


def _pointer(name: str) -> str:
    """The member's JSON Pointer as a URI fragment (RFC 6901, 6). Clauses: PROB-05."""
    token = name.replace("~", "~0").replace("/", "~1")
    return "#/" + percent_encode(re.sub("[\ud800-\udfff]", "\ufffd", token))


def percent_encode(text: str) -> str:
    """The text with everything but RFC 3986's unreserved characters percent-encoded.

    Clauses: PROB-05, USR-LIST-17.
    """
    return quote(text, safe="")


def path_id(text: str, name: str = "id") -> int:
    """The id that a path has as `name`, in canonical decimal, 1 to 2^53-1. Raises validation.

    Clauses: ID-01, ID-02, ID-03, ID-04.
    """
    if code := integer_rule(text, MAX_INTEGER):
        raise Problem("validation", [issue("parameter", name, code)])
    return int(text)


def integer_rule(text: str, highest: int) -> str | None:
    """Which rule of a canonical decimal from 1 to `highest` the text breaks, if any.

    Clauses: ID-01, ID-02, ID-03, USR-LIST-04.
    """
    if text == "0":
        return "too-small"
    if not NATURAL.fullmatch(text):
        return "malformed"
    too_large = len(text) > len(str(highest)) or int(text) > highest
    return "too-large" if too_large else None


def read_query(request: Request) -> list[tuple[str, str]]:
    """The request's query, parsed. Raises malformed-query."""
    return parse_query(request.scope["query_string"].decode("latin-1"))


def parse_query(query: str) -> list[tuple[str, str]]:
    """The query's parameters in the order sent, `+` being a space. Raises malformed-query.

    Clauses: LIMIT-11, QUERY-02, QUERY-06.
    """
    if ESCAPE.search(query):
        raise Problem("malformed-query")
    pieces = (piece.partition("=") for piece in query.replace("+", " ").split("&") if piece)
    return [(_decode(name), _decode(value)) for name, _, value in pieces]


def _decode(text: str) -> str:
    """The text without its percent-encoding. Raises malformed-query.

    Clauses: QUERY-03, QUERY-04, QUERY-05, QUERY-10.
    """
    # Most have nothing to decode, and a form may have thirty thousand of them.
    if "%" not in text:
        return text
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise Problem("malformed-query") from None


@dataclass(frozen=True, slots=True)
class EntityTags:
    """The value of `If-Match` or `If-None-Match` (RFC 9110, 13.1.1 and 13.1.2)."""

    tags: frozenset[str] | None
    """The tags as sent, the weak ones with their `W/`; None stands for `*`."""

    def match(self, etag: str) -> bool:
        """Strong comparison: whether a tag that isn't weak is `etag`.

        Clauses: COND-03, COND-04, COND-05, COND-06.
        """
        return self.tags is None or etag in self.tags

    def match_weakly(self, etag: str) -> bool:
        """Weak comparison: whether a tag, weak or not, is `etag`. Clauses: COND-11."""
        return self.match(etag) or self.match(f"W/{etag}")

    @property
    def versions(self) -> list[int] | None:
        """The versions that match strongly; None stands for all.

        Clauses: COND-04, COND-05, COND-06.
        """
        if self.tags is None:
            return None
        texts = (tag[1:-1] for tag in self.tags if not tag.startswith("W/"))
        return [int(text) for text in texts if integer_rule(text, MAX_INTEGER) is None]


def entity_tags(request: Request, name: str) -> EntityTags | None:
    """The condition in the header field `name`, if there is one. Raises malformed-header.

    Clauses: COND-03, COND-04, COND-07, COND-09, COND-10.
    """
    value = header(request.headers, name)
    if value is None:
        return None
    if value == "*":
        return EntityTags(None)
    if not ENTITY_TAGS.fullmatch(value):
        raise malformed_header(name)
    return EntityTags(frozenset(ENTITY_TAG.findall(value)))


def malformed_header(name: str) -> Problem:
    """400 for this header field."""
    return Problem("malformed-header", [issue("header", name, "malformed")])
