"""What takes longest to read: the worst case of every pattern and every parser, of allowed size."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from pygments.lexers import TypeScriptLexer
from pygments.token import String

from contract_tests.harness import services, tokens
from contract_tests.harness.services import KINDS, Kind, Service
from contract_tests.harness.wire import Answer, message

MOST_MILLISECONDS = 50.0
# A collection of garbage, or code that isn't compiled yet, is no fault of a pattern.
TRIES = 5

BODY = 65536
# Of the 16,384 bytes of a head, what is left to one of its parts.
HEAD = 15800


def filled(head: str, unit: str, tail: str = "", size: int = BODY) -> str:
    """As many units as there is room for, between head and tail."""
    used = len((head + tail).encode())
    return head + unit * ((size - used) // len(unit.encode())) + tail


def members(form: str, size: int = BODY, step: int = 1) -> str:
    """An object of as many members as there is room for, each of another name."""
    found, used, number = [], 2, 0
    while used + len((member := form.format(number * step % 10007)).encode()) < size:
        found.append(member)
        used += len(member.encode()) + 1
        number += 1
    return "{" + ",".join(found) + "}"


def bearer(payload: bytes) -> str:
    """The value of `Authorization` for a token of this payload, which nobody has signed."""
    header = tokens.encoded({"alg": "HS256", "typ": "JWT"})
    return f"Bearer {header}.{tokens.encoded(payload)}.AAAA"


JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
USER = '{"name":"Ada","email":"ada@example.com"}'

# Bodies of `POST /users`.
BODIES = {
    "name: spaces inside": filled('{"name":"x', " ", 'y","email":"a@b.c"}'),
    "name: tabs inside": filled('{"name":"x', r"\t", 'y","email":"a@b.c"}'),
    "name: surrogates": filled('{"name":"', r"\ud800", '","email":"a@b.c"}'),
    "name: controls": filled('{"name":"', r"\u0001", '","email":"a@b.c"}'),
    "name: controls, short": filled('{"name":"', r"\u0001", '","email":"a@b.c"}', 500),
    "email: letters": filled('{"name":"x","email":"', "a", '"}'),
    "email: at signs": filled('{"name":"x","email":"', "@", '"}'),
    "email: labels": '{"name":"x","email":"a@' + "a." * 125 + '!"}',
    "email: long labels": '{"name":"x","email":"a@' + ("a" * 63 + ".") * 3 + "a" * 59 + '!"}',
    "email: hyphens": '{"name":"x","email":"a@a' + "-" * 251 + '"}',
    "email: local part": '{"name":"x","email":"' + "a" * 64 + "!" * 190 + '"}',
    "password: surrogates": filled('{"name":"x","email":"a@b.c","password":"', r"\ud800", '"}'),
    "password: a surrogate": '{"name":"x","email":"a@b.c","password":"' + "x" * 127 + r'\ud800"}',
    "unknown members": members('"{:x}":0'),
    "unknown members: digits": members('"{}":0'),
    "unknown members: shuffled": members('"' + "a" * 60 + '{}":0', step=7919),
    "unknown members: long": members('"' + "a" * 2000 + '{}":0', step=7919),
    "unknown members: pairs": members('"' + "\U0001f600" * 15 + '{}":0', step=7919),
    "unknown members: surrogates": members('"' + r"\ud800" * 500 + '{}":0'),
    "unknown members: to escape": members('"' + "~/!" * 1000 + '{}":0'),
    "unknown members: objects": members('"{:x}":{{}}'),
    "one member again and again": "{" + '"name":"x",' * 5900 + '"email":"a@b.c"}',
    "__proto__ again and again": "{" + '"__proto__":{},' * 4000 + '"email":"a@b.c"}',
    "arrays: open": "[" * BODY,
    "arrays: beside each other": filled("[", "[],", "[]]"),
    "arrays: deep, beside each other": filled("[" * 30, "[],", "[]" + "]" * 30),
    "arrays: as deep as may be, beside each other": filled("[", "[" * 31 + "]" * 31 + ",", "[]]"),
    "arrays: many, then quotation marks": "[[]," * 33 + '"' * (BODY - 33 * 4),
    "arrays: many, then backslashes": "[[]," * 33 + '"' + "\\" * (BODY - 33 * 4 - 1),
    "quotation marks": '"' * BODY,
    "quotation marks, odd": '"' * (BODY - 1),
    "backslashes": '"' + "\\" * (BODY - 1),
    "backslashes, odd": '"' + "\\" * (BODY - 2),
    "an open string": '"' + "a" * (BODY - 1),
    "strings": filled("[", '"a",', '""]'),
    "escapes": filled('"', r"\u00e9", '"'),
    "digits": "1" * BODY,
    "digits in a member": filled('{"name":', "1", "}"),
    "digits of a fraction": "0." + "1" * (BODY - 2),
    "digits of an exponent": "1e" + "9" * (BODY - 2),
    "numbers": filled("[", "1,", "1]"),
    "long numbers": filled("[", "1" * 4000 + ",", "1]"),
    "white space": " " * BODY,
    "letters of two bytes": filled('"', "\xe9", '"'),
}

# Bodies of `POST /webhooks`; a longer URL is judged by its length alone.
WEBHOOKS = {
    "url: letters": f'{{"url":"https://{"a" * 1990}"}}',
    "url: labels": f'{{"url":"https://{"a." * 126}!"}}',
    "url: long labels": f'{{"url":"https://{("a" * 63 + ".") * 3}{"a" * 59}!"}}',
    "url: hyphens": f'{{"url":"https://a{"-" * 251}"}}',
    "url: digits": f'{{"url":"https://{"1" * 1990}"}}',
    "url: numbers": f'{{"url":"https://{"1." * 990}"}}',
    "url: colons": f'{{"url":"https://[{":" * 1980}"}}',
    "url: a path": f'{{"url":"https://a/{"?" * 1980}\\n"}}',
    "types": filled('{"url":"https://a","types":[', '"user.created",', '""]}'),
    "types: others": filled('{"url":"https://a","types":[', '"x",', '""]}'),
}

# Values of header fields: the field, its value, and whether the request has a body.
# A key and subprotocols, with room for the fields beside them.
HANDSHAKES = {
    "websocket key": ("a" * (HEAD - 200), "a"),
    "subprotocols": ("dGhlIHNhbXBsZSBub25jZQ==", filled("", "a,", "", HEAD - 200)),
    "subprotocols: spaces": ("dGhlIHNhbXBsZSBub25jZQ==", filled("a", " ", ";", HEAD - 200)),
    "subprotocols: a token": ("dGhlIHNhbXBsZSBub25jZQ==", filled("", "a", ";", HEAD - 200)),
}
FIELDS = {
    "media type: empty parameters": ("Content-Type", filled(JSON, "; ", "=", HEAD)),
    "media type: tabs": ("Content-Type", filled(JSON, ";\t \t ", "=", HEAD)),
    "media type: spaces": ("Content-Type", filled(JSON, " ", "=", HEAD)),
    "media type: one token": ("Content-Type", "a" * HEAD),
    "media type: parameters": ("Content-Type", filled(JSON, ";a=b", "=", HEAD)),
    "media type: a long parameter": ("Content-Type", filled(f"{JSON};", "a", "", HEAD)),
    "media type: an open quote": ("Content-Type", filled(f'{JSON};a="', r"\a", "", HEAD)),
    "media type: quoted pairs": ("Content-Type", filled(f'{JSON};charset="', r"\a", '"', HEAD)),
    "tags": ("If-None-Match", filled("", '"1",', '"1"', HEAD)),
    "tags: all different": ("If-None-Match", ",".join(f'"{n}"' for n in range(2200))),
    "tags: one wrong": ("If-None-Match", filled("", '"1",', "x", HEAD)),
    "tags: commas": ("If-None-Match", "," * HEAD),
    "tags: spaces and commas": ("If-None-Match", filled("", " ,", "x", HEAD)),
    "tags: spaces": ("If-None-Match", filled('""', " ", "x", HEAD)),
    "tags: an open quote": ("If-None-Match", filled('"', "a", "", HEAD)),
    "tags: quotes": ("If-None-Match", '"' * (HEAD - 1)),
    "tags: weak": ("If-None-Match", filled("", 'W/"1", ', "W", HEAD)),
    "tags: weak, unquoted": ("If-None-Match", filled("", "W/", "", HEAD)),
    "versions: digits": ("If-Match", filled('"', "1", '"', HEAD)),
    "versions: all different": ("If-Match", ",".join(f'"{n}"' for n in range(1, 2200))),
    "token: letters": ("Authorization", filled("Bearer ", "a", "", HEAD)),
    "token: letters, wrong": ("Authorization", filled("Bearer ", "a", "!", HEAD)),
    "token: spaces": ("Authorization", filled("Bearer", " ", "!", HEAD)),
    "token: padding": ("Authorization", filled("Bearer a", "=", "!", HEAD)),
    "token: dots": ("Authorization", filled("Bearer ", "a.", "", HEAD)),
    "token: three parts": ("Authorization", "Bearer " + ".".join(["a" * 5200] * 3)),
    "token: a long number": ("Authorization", bearer(b'{"exp":' + b"1" * 11000 + b"}")),
    "token: nesting": ("Authorization", bearer(b"[" * 11000)),
    "token: members": ("Authorization", bearer(members('"{:x}":0', 11000).encode())),
    "another scheme": ("Authorization", "a" * HEAD),
    "another scheme: more": ("Authorization", filled("Basic ", "a", ",", HEAD)),
    "request id": ("X-Request-Id", "a" * HEAD),
    "origin": ("Origin", "a" * HEAD),
}

# What stands in the target.
TARGETS = {
    "target: an authority": filled("http://", "a.", "", HEAD),
    "target: a path": filled("http://127.0.0.1", "/a", "", HEAD),
    "target: a query": filled("HTTP://localhost?", "a&", "", HEAD),
    "path: letters": "/" + "a" * HEAD,
    "path: slashes": "/" * HEAD,
    "path: dots": filled("", "/.", "x", HEAD),
    "path: names with dots": filled("", "/.x", "", HEAD),
    "path: escapes": filled("/", "%41", "", HEAD),
    "id: digits": filled("/users/", "1", "", HEAD),
    "id: zeros": filled("/users/", "0", "", HEAD),
    "query: empty pieces": filled("/users?", "&", "", HEAD),
    "query: pieces": filled("/users?", "a&", "", HEAD),
    "query: equals signs": filled("/users?", "=", "", HEAD),
    "query: escapes": filled("/users?", "%41", "", HEAD),
    "query: escapes, one wrong": filled("/users?", "%41", "%4", HEAD),
    "query: letters of two bytes": filled("/users?", "%C3%A9=", "", HEAD),
    "query: limit": filled("/users?limit=", "1", "", HEAD),
    "query: limits": filled("/users?", "limit=1&", "", HEAD),
    "query: sort": filled("/users?sort=", "-", "", HEAD),
    "q: spaces inside": filled("/users?q=x", "+", "y", HEAD),
    "q: wildcards": "/users?q=" + "%25_" * 50,
    "cursor: letters": filled("/users?cursor=", "W", "", HEAD),
    "cursor: nesting": "/users?cursor=" + tokens.encoded(b"[" * 5900 + b"]" * 5900),
    "cursor: digits": "/users?cursor=" + tokens.encoded(b'["id",null,' + b"1" * 11000 + b",1]"),
    "cursor: elements": "/users?cursor=" + tokens.encoded(b"[" + b"1," * 5800 + b"1]"),
    "cursor: a name": "/users?sort=name&cursor="
    + tokens.encoded(b'["name",null,"' + b"a" * 11000 + b'",1]'),
    "cursor: a moment": "/users?sort=created_at&cursor="
    + tokens.encoded(b'["created_at",null,"' + b"1" * 11000 + b'Z",1]'),
}

# Bodies of `POST /auth/token`.
WHO = "grant_type=password&password=x&username="
FORMS = {
    "form: empty pieces": "&" * BODY,
    "form: pieces": filled("", "a&"),
    "form: parameters": filled("", "a=b&"),
    "form: escapes": filled("", "%41"),
    "form: escapes, one wrong": filled("", "%41", "%"),
    "form: spaces": "+" * BODY,
    "form: one parameter again and again": filled("", "grant_type=x&"),
    "form: a long email": filled(WHO, "a"),
    "form: at signs": filled(WHO, "@"),
    "form: an email of two bytes a letter": filled(WHO, "%C3%A9"),
    "form: a long password": filled("grant_type=password&username=x&password=", "a"),
}

# Values of `X-Forwarded-For`, from a proxy that is trusted.
HOPS = {
    "hops: commas": "," * HEAD,
    "hops: trusted ones": filled("", "127.0.0.1,", "127.0.0.1", HEAD - 200),
    "hops: trusted ones, in IPv6": filled("", "::ffff:7f00:1,", "127.0.0.1", HEAD - 200),
    "hops: spaces inside": filled("1", " ", "1", HEAD - 200),
    "hops: tabs inside": filled("1", "\t", "1", HEAD - 200),
    "hops: colons": filled("", "1:", "", HEAD - 200),
    "hops: digits": "1" * (HEAD - 200),
}

# Settings, which aren't read from the network, of the length that a variable may have.
SETTINGS = {
    "setting: PORT": ("PORT", "1" * BODY),
    "setting: a file": ("DATABASE_URL", filled("sqlite:///", "a", "\n")),
    "setting: a user": ("DATABASE_URL", filled("postgresql://", "a", "")),
    "setting: a password": ("DATABASE_URL", filled("postgresql://a:", "%41", "")),
    "setting: a host": ("DATABASE_URL", filled("postgresql://a@", "a.", "")),
    "setting: options": ("DATABASE_URL", filled("postgresql://a@b/c?sslrootcert=", "%41", "!")),
    "setting: times": ("WEBHOOKS_RETRY", filled("1", ",1", "!")),
    "setting: a secret": ("AUTH_SECRET", "s" * BODY),
    "setting: a word": ("AUTH_ISSUER", "a" * BODY),
    "setting: a host to listen on": ("HOST", "127." * (BODY // 4)),
    "setting: keys": ("AUTH_JWKS_URL", filled("https://", "a.", "\n")),
    "setting: keys' path": ("AUTH_JWKS_URL", filled("https://a/", "a", "\n")),
    "setting: networks": ("TRUSTED_PROXIES", filled("1", " ", "1")),
    "setting: a network": ("TRUSTED_PROXIES", filled("1:", "1:", "/")),
    "setting: origins": ("CORS_ORIGINS", filled("https://a", " ", "b")),
    "setting: an origin": ("CORS_ORIGINS", filled("https://", "a.", "\n")),
}

# Of every pattern in the sources, by module and name (or function), the cases that it reads
# slowest; or why nobody can give it any. A new one fails the test until it stands here.
PATTERNS: dict[str, tuple[str, ...] | str] = {
    "app.PARAMETER": "reads our own paths",
    "http/addresses.ADDRESS": ("hops: colons", "hops: digits"),
    "http/addresses.MAPPED_ADDRESS": ("hops: trusted ones, in IPv6",),
    "http/addresses.NETWORK": ("setting: a network",),
    "auth/guard.BEARER": ("token: letters, wrong", "token: spaces", "token: padding"),
    "auth/guard.OTHER_SCHEME": ("another scheme", "another scheme: more"),
    "auth/provider.BRACKETS": "reads a setting, AUTH_JWKS_URL, in one step a character",
    "auth/provider.URL": "reads AUTH_JWKS_URL, which settings.JWKS_URL has read",
    "auth/provider.URL_PARTS": "reads AUTH_JWKS_URL, which settings.JWKS_URL has read",
    "auth/tokens.WHOLE": ("token: a long number",),
    "operation/observability.REQUEST_ID": ("request id",),
    "storage/postgres.LOST": "reads the five characters of an SQLSTATE",
    "storage/postgres.OF_TLS": "reads what the driver says of a failed connection",
    "storage/postgres.UNTRUSTED": "reads what TLS says of a certificate",
    "storage/postgres.MOMENT": "reads what PostgreSQL writes of a moment",
    "events/handshake.KEY": ("websocket key",),
    "events/handshake.TOKENS": ("subprotocols", "subprotocols: spaces", "subprotocols: a token"),
    "http/requests.DOT_SEGMENT": ("path: dots", "path: names with dots", "path: slashes"),
    "http/requests.ENTITY_TAG": ("tags", "tags: quotes", "tags: weak, unquoted"),
    "http/requests.ENTITY_TAGS": ("tags: one wrong", "tags: spaces and commas", "tags: spaces"),
    "http/requests.ESCAPE": ("query: escapes, one wrong", "form: escapes, one wrong"),
    "users/idempotency.KEY": ("idempotency key",),
    "http/requests.MEDIA_TYPE": ("media type: empty parameters", "media type: an open quote"),
    "http/requests.NATURAL": ("id: digits", "query: limit", "versions: digits"),
    "http/requests.NOT_BRACKETS": ("arrays: beside each other", "quotation marks", "backslashes"),
    "http/requests.OPENING": (
        "arrays: beside each other",
        "arrays: as deep as may be, beside each other",
    ),
    "http/requests.PARAMETER": ("media type: parameters", "media type: tabs"),
    "http/requests.PLAIN_PATH": ("path: letters", "path: escapes"),
    "http/requests.PLUS": ("form: spaces",),
    "http/requests.QUOTED_PAIR": ("media type: quoted pairs",),
    "http/requests.RESERVED": ("unknown members: to escape",),
    "http/requests.pointer": ("unknown members: surrogates",),
    "http/requests.unquote": ("media type: quoted pairs",),
    "http/requests.STRING": (
        "arrays: many, then quotation marks",
        "arrays: many, then backslashes",
    ),
    "http/server.ABSOLUTE_FORM": ("target: an authority", "target: a path", "target: a query"),
    "http/server.LOCAL_HOST": ("host: letters", "host: colons"),
    "http/server.HOST": ("host: letters", "host: colons"),
    "http/server.NO_HOST": "reads a setting, of a single character",
    "storage/sqlite.HERE": "reads a path of our own making",
    "settings.CERTIFICATE": "reads a file of the operator's",
    "settings.CONTROLS": ("setting: a user", "setting: a password"),
    "settings.OPTION": ("setting: options",),
    "settings.decoded": ("setting: a user", "setting: a password"),
    "settings.DIGITS": ("setting: PORT",),
    "settings.JWKS_URL": ("setting: keys", "setting: keys' path"),
    "settings.LINE_BREAK": "reads a file of the operator's",
    "settings.LOOPBACK": ("setting: a host to listen on",),
    "settings.NOT_UTF_8": ("setting: a host to listen on",),
    "settings.ORIGIN": ("setting: an origin",),
    "settings.POSTGRES_URL": ("setting: a user", "setting: a password", "setting: a host"),
    "settings.RETRY": ("setting: times",),
    "settings.SECRET": ("setting: a secret",),
    "settings.SQLITE_URL": ("setting: a file",),
    "settings.WORD": ("setting: a word",),
    "settings.integer": ("setting: PORT",),
    "storage/sqlite.LOST": "reads a name of SQLite's own",
    "users/pages.MINUS": ("query: sort",),
    "users/schemas.EMAIL": ("email: labels", "email: long labels", "email: hyphens"),
    "users/schemas.FORBIDDEN": ("name: controls, short", "cursor: a name"),
    "users/schemas.SURROGATE": ("password: a surrogate",),
    "users/schemas.TIMESTAMP": "describes what is answered",
    "users/schemas.emailRule": ("email: labels", "email: long labels", "email: hyphens"),
    "users/store.WILDCARD": ("q: wildcards",),
    "webhooks/endpoints.DOTTED": ("url: digits", "url: numbers"),
    "webhooks/endpoints.NAME": ("url: labels", "url: long labels", "url: hyphens"),
    "webhooks/endpoints.URL_PARTS": ("url: letters", "url: colons", "url: a path"),
    "webhooks/schemas.NATURAL": "describes what is answered",
    "webhooks/schemas.OUTCOME": "describes what is answered",
    "webhooks/schemas.SECRET": "describes what is answered",
}

Request = tuple[str, str, list[tuple[str, str]], str | None]


def requests() -> dict[str, Request]:
    """All cases that come by HTTP: method, target, header fields, body."""
    found: dict[str, Request] = {}
    for name, text in BODIES.items():
        found[name] = ("POST", "/users", [("Content-Type", JSON)], text)
    for name, text in WEBHOOKS.items():
        found[name] = ("POST", "/webhooks", [("Content-Type", JSON)], text)
    for name, (field, value) in FIELDS.items():
        method = {"If-Match": "PATCH", "Content-Type": "POST"}.get(field, "GET")
        path = "/users" if method == "POST" else "/users/1"
        fields = [] if method != "PATCH" else [("Content-Type", JSON)]
        body = None if method == "GET" else '{"name":"Ada"}'
        found[name] = (method, path, [*fields, (field, value)], body)
    for name, target in TARGETS.items():
        found[name] = ("GET", target, [], None)
    for name, form in FORMS.items():
        found[name] = ("POST", "/auth/token", [("Content-Type", FORM)], form)
    for name, hops in HOPS.items():
        fields = [("Content-Type", FORM), ("X-Forwarded-For", hops)]
        found[name] = ("POST", "/auth/token", fields, f"{WHO}nobody%40example.com")
    key = ("Idempotency-Key", "a" * HEAD)
    found["idempotency key"] = ("POST", "/users", [("Content-Type", JSON), key], USER)
    for name, (nonce, offered) in HANDSHAKES.items():
        fields = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", nonce),
            ("Sec-WebSocket-Protocol", offered),
        ]
        found[name] = ("GET", "/events/socket", fields, None)
    found["host: letters"] = ("GET", "/healthz", [("Host", "a" * HEAD)], None)
    found["host: colons"] = ("GET", "/healthz", [("Host", filled("[", ":", "", HEAD))], None)
    fields = [(f"X-{number}", "a" * 150) for number in range(96)]
    found["fields"] = ("GET", "/users/1", fields, None)
    found["forwarded lines"] = (
        "POST",
        "/auth/token",
        [("Content-Type", FORM), *[("X-Forwarded-For", "127.0.0.1," * 15)] * 90],
        f"{WHO}nobody%40example.com",
    )
    return found


REQUESTS = requests()


def milliseconds(service: Service) -> float:
    """What all threads of the service's process have had of a processor so far (Linux)."""
    threads = Path(f"/proc/{service.process.pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text("ascii").split()[0]) for thread in threads) / 1e6


def cost(service: Service, data: bytes) -> tuple[Answer, float]:
    """The answer to these bytes, and the milliseconds that it cost the service."""
    with service.api.connect(60.0) as connection:
        before = milliseconds(service)
        connection.send(data)
        answer = connection.read()
        return answer, milliseconds(service) - before


def assert_cheap(service: Service, data: bytes) -> None:
    """One of some tries costs less than may be."""
    costs = []
    for _ in range(TRIES):
        answer, spent = cost(service, data)
        assert answer.status < 500, answer
        assert answer.status != 431, "so it was not read"
        costs.append(round(spent, 1))
        if spent < MOST_MILLISECONDS:
            return
        if spent > 10 * MOST_MILLISECONDS:
            break
    raise AssertionError(f"{costs} ms")


MANY = {"LOGIN_FAILURES_PER_EMAIL": "1000"}


@pytest.mark.clause("LIMIT-11")
@pytest.mark.engine("sqlite")
@pytest.mark.settings(**services.SECURED | MANY)
@pytest.mark.parametrize("name", REQUESTS)
def test_nothing_of_allowed_size_takes_long_to_read(service: Service, name: str) -> None:
    method, target, fields, body = REQUESTS[name]
    names = {field.lower() for field, _ in fields}
    if "host" not in names:
        fields = [("Host", service.api.host), *fields]
    if target == "/webhooks":
        fields = [*fields, ("Authorization", service.api.authorization)]
    if body is not None:
        fields = [*fields, ("Content-Length", str(len(body.encode())))]
    assert_cheap(service, message(method, target, fields, (body or "").encode()))


@pytest.mark.clause("LIMIT-11", "BODY-05")
@pytest.mark.engine("sqlite")
@pytest.mark.settings(**services.SECURED | MANY)
def test_a_body_in_many_small_chunks_takes_no_longer(service: Service) -> None:
    api = service.api
    fields = [("Content-Type", JSON), ("Transfer-Encoding", "chunked")]
    for size in (1, 10):
        chunk = b"%x\r\n%b\r\n" % (size, b" " * size)
        # As many as fit into what may stand between two others' requests.
        body = chunk * (8192 // size) + b"0\r\n\r\n"
        assert_cheap(service, api.message("POST", "/users", fields) + body)


# Reads the settings, again and again, and prints what the fastest took.
READ_SETTINGS: dict[Kind, str] = {
    "python": """
import json, sys, time
from python_api.settings import SettingsError, read_settings

for name, value in json.load(sys.stdin):
    costs = []
    for _ in range(3):
        begin = time.process_time()
        try:
            read_settings({name: value})
        except SettingsError:
            pass
        costs.append((time.process_time() - begin) * 1000)
    print(min(costs))
""",
    "node": """
import { readFileSync } from "node:fs";
import { readSettings, SettingsError } from "./src/settings.ts";

for (const [name, value] of JSON.parse(readFileSync(0, "utf8"))) {
  const costs = [];
  for (let number = 0; number < 3; number += 1) {
    const begin = process.cpuUsage();
    try {
      readSettings({ [name]: value });
    } catch (error) {
      if (!(error instanceof SettingsError)) throw error;
    }
    const { user, system } = process.cpuUsage(begin);
    costs.push((user + system) / 1000);
  }
  console.log(Math.min(...costs));
}
""",
}


@pytest.mark.clause("LIMIT-11")
@pytest.mark.parametrize("kind", KINDS)
def test_no_setting_takes_long_to_read(kind: Kind) -> None:
    printed = services.run_code(READ_SETTINGS, kind, given=json.dumps([*SETTINGS.values()]))
    costs = dict(zip(SETTINGS, map(float, printed.split()), strict=True))
    assert {name: cost for name, cost in costs.items() if cost >= MOST_MILLISECONDS} == {}


# The guard


def camel_case(name: str) -> str:
    first, *others = name.strip("_").split("_")
    return name if name.isupper() else first + "".join(word.title() for word in others)


def python_patterns(text: str) -> Iterator[str]:
    """Of each pattern the constant that it is, or the function that it stands in."""
    for node in ast.parse(text).body:
        calls = (each for each in ast.walk(node) if isinstance(each, ast.Call))
        functions = (call.func for call in calls)
        for function in functions:
            if isinstance(function, ast.Attribute) and ast.unparse(function.value) == "re":
                named = node.targets[0] if isinstance(node, ast.Assign) else node
                name = named.id if isinstance(named, ast.Name) else cast(Any, named).name
                yield camel_case(name)


def node_patterns(text: str) -> Iterator[str]:
    """As `python_patterns`; a literal, or what is made of a text."""
    named = re.compile(r"^(?:export )?(?:const|(?:async )?function|class) (\w+)", re.MULTILINE)
    found = [
        place
        for place, token, value in TypeScriptLexer().get_tokens_unprocessed(text)
        if token in String.Regex and value.startswith("/")
    ]
    found += [match.start() for match in re.finditer(r"\bRegExp\(", text)]
    for place in found:
        yield named.findall(text, 0, place)[-1]


def patterns(kind: Kind) -> list[str]:
    """The names of all patterns in a side's sources."""
    directory, suffix = {
        "python": (services.ROOT / "python_api", ".py"),
        "node": (services.ROOT / "node_api" / "src", ".ts"),
    }[kind]
    find = python_patterns if kind == "python" else node_patterns
    return [
        f"{file.relative_to(directory).with_suffix('').as_posix()}.{name}"
        for file in sorted(directory.rglob(f"*{suffix}"))
        for name in find(file.read_text("utf-8"))
    ]


@pytest.mark.clause("PAIR-16")
def test_every_pattern_has_a_worst_case() -> None:
    found = {kind: patterns(kind) for kind in KINDS}
    for kind in KINDS:
        assert len(found[kind]) > 20
        assert len(set(found[kind])) == len(found[kind]), "two in one function"
    assert {*found["python"], *found["node"]} == set(PATTERNS)
    cases = {case for cases in PATTERNS.values() if isinstance(cases, tuple) for case in cases}
    assert cases <= {*REQUESTS, *SETTINGS}
