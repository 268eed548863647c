"""SOCK: events as they happen, by WebSocket."""

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from contract_tests.harness import browser, expect, services
from contract_tests.harness.client import Client
from contract_tests.harness.databases import Engine, Session, locked
from contract_tests.harness.network import Proxy
from contract_tests.harness.services import Kind, Service
from contract_tests.harness.sockets import (
    BINARY,
    CLOSE,
    CONTINUATION,
    KEY,
    PATH,
    PING,
    PONG,
    PROTOCOL,
    TEXT,
    Changes,
    Socket,
    check_begun,
    closing,
    fragments,
    framed,
    handshake,
    opened,
)
from contract_tests.harness.streams import streamed
from contract_tests.harness.tokens import claims, token
from contract_tests.harness.wire import Answer
from contract_tests.test_connections import memory, send_until_full, settled, silent
from contract_tests.test_events import TTL, newest, old_and_new, since
from contract_tests.test_metrics import counted
from contract_tests.test_streams import BEAT, PASSWORD, SECURED, fill, of_user, unsent

Launch = Callable[..., Service]

GREATEST = expect.MAX_ID
ORIGIN = "https://app.example"
UNAUTHORIZED = (4401, "unauthorized")

# What has nothing to do with the store, or is about what no gateway hands on.
once_a_side = pytest.mark.engine("sqlite")
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells it in /proc")


def someone(api: Client, role: str = "member") -> tuple[dict[str, Any], str]:
    """A new user of this role, and a token of theirs."""
    fields: Any = {**expect.somebody(), "role": role, "password": PASSWORD}
    user = api.post("/users", json=fields).json()
    return user, api.token(fields["email"], PASSWORD)


# The handshake


@once_a_side
@pytest.mark.clause("SOCK-01", "SOCK-03")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"Upgrade": "WebSocket", "Connection": "upgrade"},
        {"Upgrade": "WEBSOCKET", "Connection": "UPGRADE"},
        {"Connection": "keep-alive, Upgrade"},
        {"Connection": "Upgrade ,\tkeep-alive"},
        {"Connection": ["keep-alive", "Upgrade"]},
        {"Upgrade": "foo, websocket"},
        {"Upgrade": ["foo/2", "websocket"]},
        {"Content-Length": "0"},
        {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"},
        {"Sec-WebSocket-Extensions": ["x-foo", "permessage-deflate"]},
        {"Sec-WebSocket-Protocol": "chat, events.v1"},
        {"Sec-WebSocket-Protocol": "events.v1 ,\tevents.v2,!#$%&'*+-.^_`|~09"},
        {"Sec-WebSocket-Protocol": ["chat", "x, events.v1", "bearer.x"]},
        {"X-Request-Id": "mine"},
        {"Accept": "text/html", "Range": "bytes=0-1", "If-None-Match": "*"},
    ],
    ids=str,
)
def test_a_handshake_in_any_spelling(service: Service, changes: Changes) -> None:
    with opened(service.api, changes) as asking:
        assert asking.ask(after=GREATEST) == GREATEST


@pytest.mark.storeless
@pytest.mark.clause("SOCK-01", "QUERY-01", "HTTP-20", "HTTP-11")
def test_a_handshake_whatever_stands_around_it(api: Client) -> None:
    """Other targets, byte by byte, behind other requests; what follows it is taken for frames."""
    message = framed(TEXT, b"[]")
    for before, target in (
        (b"", f"{PATH}?after=x&%"),
        (b"", f"http://{api.host}{PATH}"),
        (api.message("GET", "/healthz"), PATH),
        (api.message("POST", "/users", body=b"{}"), PATH),
    ):
        with api.connect() as connection:
            connection.send(before + handshake(api, target=target) + message)
            assert not before or connection.read().status in (200, 415)
            head = connection.read_head()
            check_begun(head)
            assert Socket(connection).closed() == (1008, "validation")
    with api.connect() as connection:
        for byte in handshake(api) + message:
            connection.send(bytes([byte]))
        assert Socket.begun(connection).closed() == (1008, "validation")


NOT_ONE: dict[str, dict[str, Any]] = {
    "no Upgrade": {"changes": {"Upgrade": None}},
    "no Connection": {"changes": {"Connection": None}},
    "neither": {"changes": {"Upgrade": None, "Connection": None}},
    "nothing": {
        "changes": dict.fromkeys(
            ("Upgrade", "Connection", *(f"Sec-WebSocket-{n}" for n in ("Key", "Version")))
        )
    },
    "another Connection": {"changes": {"Connection": "keep-alive"}},
    "part of one": {"changes": {"Connection": "keep-alive, Upgrades"}},
    "h2c": {"changes": {"Upgrade": "h2c"}},
    "part of websocket": {"changes": {"Upgrade": "websockets, web socket"}},
    "HEAD": {"method": "HEAD"},
    "HEAD alone": {"method": "HEAD", "changes": {"Upgrade": None}},
    "a body": {"body": b"{}"},
    "a body in chunks": {"changes": {"Transfer-Encoding": "chunked"}},
    "no version": {"changes": {"Sec-WebSocket-Version": None}},
    "two of it": {"changes": {"Sec-WebSocket-Version": ["13", "13"]}},
    **{
        f"version {version}": {"changes": {"Sec-WebSocket-Version": version}}
        for version in ("", "8", "12", "14", "013", "13.0", "+13", "13, 8", "x")
    },
}


@once_a_side
@pytest.mark.clause("SOCK-02", "HTTP-11", "HTTP-12", "HTTP-19")
@pytest.mark.parametrize("kind", NOT_ONE)
def test_426_what_is_no_handshake(service: Service, kind: str) -> None:
    api = service.api
    data = handshake(api, **NOT_ONE[kind])
    data += b"2\r\n{}\r\n0\r\n\r\n" if "chunks" in kind else b""
    is_head = "HEAD" in kind
    asks = b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" in data
    asks = asks and not is_head and "body" not in kind
    with api.connect() as connection:
        connection.send(data + api.message("GET", "/healthz"))
        answer = connection.read("HEAD" if is_head else "GET")
        expect.problem(answer, "upgrade-required", head=is_head)
        if asks:
            assert connection.closed()
        else:
            expect.body(connection.read(), 200, b'{"status":"ok"}')


@pytest.mark.storeless
@pytest.mark.clause("SOCK-02", "HTTP-12")
@pytest.mark.parametrize(
    "changes",
    [{"Connection": None}, {"Connection": "Upgrades"}, {"Upgrade": None}, {"Upgrade": "h2c"}],
)
def test_426_whatever_stands_in_between(api: Client, changes: Changes) -> None:
    """A gateway must make no handshake of what is none."""
    expect.problem(api.raw(handshake(api, changes)), "upgrade-required")


@once_a_side
@pytest.mark.clause("SOCK-02", "HTTP-11", "HTTP-22")
@pytest.mark.parametrize("connection_field", [None, "close", "x"])
def test_426_behind_as_many_as_wait(service: Service, connection_field: str | None) -> None:
    before = service.api.message("GET", "/healthz")
    last = handshake(service.api, {"Connection": connection_field})
    for count in range(15, 20):
        with service.api.connect() as connection:
            connection.send(before * count + last)
            for _ in range(count):
                expect.body(connection.read(), 200, b'{"status":"ok"}')
            expect.problem(connection.read(), "upgrade-required")


@once_a_side
@pytest.mark.clause("SOCK-02", "ROUTE-02")
def test_other_versions_and_methods_have_no_handshake(service: Service) -> None:
    api = service.api
    data = handshake(api)
    with api.connect() as connection:
        connection.send(data.replace(b"HTTP/1.1", b"HTTP/1.0"))
        expect.problem(connection.read(), "upgrade-required")
        assert connection.closed()
    expect.problem(api.get(PATH), "upgrade-required")
    expect.problem(api.head(PATH), "upgrade-required", head=True)
    answer = api.raw(handshake(api, method="POST"), method="POST")
    expect.problem(answer, "method-not-allowed", allow="GET, HEAD, OPTIONS")


NO_KEYS = """
x dGhlIHNhbXBsZSBub25j dGhlIHNhbXBsZSBub25jZQ dGhlIHNhbXBsZSBub25jZTE= dGhlIHNhbXBsZSBub25jZTEy
dGhlIHNhbXBsZSBub25jZTEyMw== dGhlIHNhbXBsZSBub25jZ?== ____IHNhbXBsZSBub25jZQ==
"""
NO_PROTOCOLS = """
events|events.v2|events.v11|EVENTS.V1|bearer.events.v1|events.v1 chat|events.v1, a b|events.v1/1
|events.v1, "a"|events.v1, (a)|events.v1; q=1|events.v1, é
"""


@pytest.mark.storeless
@pytest.mark.clause("SOCK-03")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("Sec-WebSocket-Key", key) for key in (None, "", [KEY, KEY], "dGhlIHNh XBsZSBub25jZQ==")),
        *(("Sec-WebSocket-Key", key) for key in NO_KEYS.split()),
        *(("Sec-WebSocket-Protocol", name) for name in (None, "", ["events", "v1"])),
        *(("Sec-WebSocket-Protocol", name.strip("\n")) for name in NO_PROTOCOLS.split("|")),
    ],
    ids=str,
)
def test_400_a_key_or_subprotocols_that_are_none(
    api: Client, field: str, value: str | Sequence[str] | None
) -> None:
    errors = [expect.error("malformed", header=field)]
    changes = {"Sec-WebSocket-Protocol": "x", field: value}
    expect.problem(api.raw(handshake(api, changes)), "malformed-header", errors)


@pytest.mark.clause("SOCK-04", "AUTH-03", "AUTH-04")
def test_a_token_as_a_subprotocol(guarded: Client) -> None:
    _, good = someone(guarded)
    nobody = guarded.asking("")
    for taken in (
        f"{PROTOCOL}, bearer.{good}",
        f"bearer.{good} ,{PROTOCOL}",
        f"x, {PROTOCOL}, bearer.{good}, bearer.x, bearer.",
        [PROTOCOL, f"bearer.{good}"],
    ):
        with opened(nobody, {"Sec-WebSocket-Protocol": taken}) as asking:
            assert asking.ask(after=GREATEST) == GREATEST
    for refused in ("bearer.", "bearer.x", f"bearer.{good[:-1]}", f"bearer.x, bearer.{good}"):
        answer = nobody.raw(handshake(nobody, protocols=(PROTOCOL, refused)))
        expect.problem(answer, "unauthorized", invalid_token=True)
    for none in ("x", f"xbearer.{good}", "bearer"):
        answer = nobody.raw(handshake(nobody, protocols=(PROTOCOL, none)))
        expect.problem(answer, "unauthorized")


@pytest.mark.clause("SOCK-04", "AUTH-03", "AUTH-04")
def test_authorization_is_taken_before_it(guarded: Client) -> None:
    _, good = someone(guarded)
    asking = guarded.asking(f"Bearer {good}")
    with opened(asking, protocols=(PROTOCOL, "bearer.x")) as socket_:
        socket_.ask()
    for authorization in ("Bearer x", "Basic x", "Bearer"):
        other = guarded.asking(authorization)
        data = handshake(other, protocols=(PROTOCOL, f"bearer.{good}"))
        invalid = authorization.startswith("Bearer")
        expect.problem(other.raw(data), "unauthorized", invalid_token=invalid)


@once_a_side
@pytest.mark.clause("SOCK-04", "AUTH-13")
def test_an_open_service_asks_for_no_token(service: Service) -> None:
    with opened(service.api, protocols=(PROTOCOL, "bearer.x")) as asking:
        assert asking.ask(after=GREATEST) == GREATEST


@once_a_side
@pytest.mark.clause("SOCK-05", "CORS-01")
def test_403_an_origin_where_none_is_allowed(service: Service) -> None:
    api = service.api
    for origin in (ORIGIN, service.url, "null", ""):
        answer = api.raw(handshake(api, {"Origin": origin}))
        expect.problem(answer, "foreign-origin")


@once_a_side
@pytest.mark.clause("SOCK-05", "CORS-01", "CORS-02", "CORS-03", "CORS-05")
@pytest.mark.settings(CORS_ORIGINS=f"{ORIGIN},http://localhost:5173")
def test_403_a_foreign_origin(service: Service) -> None:
    api, vary = service.api, {"vary": "Origin"}
    for origin in (ORIGIN, "http://localhost:5173", None):
        with opened(api, {"Origin": origin}) as asking:
            assert asking.ask(after=GREATEST) == GREATEST
    for foreign in ("https://app.example.org", "HTTPS://app.example", "null", "", [ORIGIN, ORIGIN]):
        answer = api.raw(handshake(api, {"Origin": foreign}))
        expect.problem(answer, "foreign-origin", also=vary)
    expect.problem(api.raw(handshake(api, {"Upgrade": None})), "upgrade-required", also=vary)


@pytest.mark.clause("SOCK-06", "PROB-20", "PROB-21")
def test_what_is_wrong_in_order(guarded: Client) -> None:
    wrong: dict[str, str | None] = {"Sec-WebSocket-Protocol": "x", "Sec-WebSocket-Key": "x"}
    wrong |= {"Upgrade": None, "Origin": "https://elsewhere.example"}
    nobody = guarded.asking("")
    expect.problem(nobody.raw(handshake(nobody, wrong)), "unauthorized")
    expect.problem(guarded.raw(handshake(guarded, wrong)), "foreign-origin")
    del wrong["Origin"]
    expect.problem(guarded.raw(handshake(guarded, wrong)), "upgrade-required")
    del wrong["Upgrade"]
    for field in ("Sec-WebSocket-Key", "Sec-WebSocket-Protocol"):
        errors = [expect.error("malformed", header=field)]
        expect.problem(guarded.raw(handshake(guarded, wrong)), "malformed-header", errors)
        del wrong[field]


def await_free(api: Client) -> None:
    """Wait until a socket can be opened."""
    deadline = time.monotonic() + 3
    while api.raw(handshake(api)).status != 101:
        assert time.monotonic() < deadline, "there is no room for another one"
        time.sleep(0.05)


@pytest.mark.engine("postgres")
@pytest.mark.clause("SOCK-01", "LOG-01", "METRICS-02", "STREAM-08")
@pytest.mark.settings(**services.SECURED, EVENTS_STREAMS="1")
@pytest.mark.parametrize("resets", [True, False])
def test_who_leaves_during_the_handshake_is_let_go(service: Service, resets: bool) -> None:
    """By a reset, or saying that nothing more will be sent, while it waits for the database."""
    with service.api.connect() as connection:
        with Session(service.database_url) as session:
            session.execute("BEGIN")
            session.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
            connection.send(handshake(service.api))
            time.sleep(0.3)
            if resets:
                abort = struct.pack("ii", 1, 0)
                connection._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, abort)
                connection.close()
            else:
                connection.half_close()
            time.sleep(0.2)
            session.execute("ROLLBACK")
        assert resets or connection.closed(ignore_rest=True)
    await_free(service.api)
    lines = map(json.loads, service.stdout().splitlines())
    assert [line for line in lines if line["level"] == "error"] == []
    assert service.stderr() == ""


@once_a_side
@pytest.mark.clause("SOCK-06")
@pytest.mark.direct("SOCK-06")
def test_a_refusal_is_read_whatever_follows_the_handshake(service: Service) -> None:
    early = framed(TEXT, b"{}") * 60_000
    with service.api.connect() as connection:
        connection.send(handshake(service.api, {"Sec-WebSocket-Version": "8"}) + early)
        time.sleep(0.5)
        expect.problem(connection.read(), "upgrade-required", closed=True)
        # No reset, which might have come before the answer.
        assert connection._socket.recv(1) == b""


@once_a_side
@pytest.mark.direct("SOCK-06")
@pytest.mark.clause("SOCK-06", "HTTP-06")
@pytest.mark.settings(**services.SECURED, EVENTS_STREAMS="1")
def test_the_connection_ends_behind_a_refusal(service: Service) -> None:
    api, nobody = service.api, service.api.asking("")
    key = "Sec-WebSocket-Key"
    with opened(api):
        for asking, changes, code in (
            (nobody, {}, "unauthorized"),
            (api, {"Origin": ORIGIN}, "foreign-origin"),
            (api, {"Sec-WebSocket-Version": "8"}, "upgrade-required"),
            (api, {key: "x"}, "malformed-header"),
            (api, {}, "too-many-streams"),
        ):
            errors = [expect.error("malformed", header=key)] if key in changes else []
            with asking.connect() as connection:
                connection.send(handshake(asking, changes) + framed(TEXT, b"{}"))
                expect.problem(connection.read(), code, errors, closed=True)
                assert connection.closed()


@contextlib.contextmanager
def opened_once_there_is_room(api: Client) -> Iterator[Socket]:
    """A socket, two heartbeats after others have gone at the latest."""
    deadline = time.monotonic() + 3 * BEAT
    with contextlib.ExitStack() as stack:
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                asking = stack.enter_context(opened(api))
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield asking


@once_a_side
@pytest.mark.clause("SOCK-06", "STREAM-08")
@pytest.mark.settings(EVENTS_STREAMS="1", EVENTS_HEARTBEAT=f"{BEAT}")
def test_503_streams_and_sockets_count_together(service: Service) -> None:
    api = service.api
    for says_so in (True, False):
        with opened_once_there_is_room(api) as asking:
            expect.problem(api.raw(handshake(api)), "too-many-streams")
            expect.problem(api.get("/events/stream"), "too-many-streams")
            assert api.raw(handshake(api, key="x")).status == 400
            expect.problem(api.get(PATH), "upgrade-required")
            asking.ask()
            if says_so:
                asking.close(1000)
                assert asking.closed(answer=False) == (1000, "")
    with opened_once_there_is_room(api):
        pass
    deadline = time.monotonic() + 3 * BEAT
    while api.head("/events/stream").status == 503:
        assert time.monotonic() < deadline
    with streamed(api):
        expect.problem(api.raw(handshake(api)), "too-many-streams")


@once_a_side
@pytest.mark.clause("OPS-28", "STREAM-08")
def test_sockets_leave_connections_to_others_and_are_left_theirs(launched: Launch) -> None:
    api = launched(MAX_CONNECTIONS="4").api
    with contextlib.ExitStack() as stack:
        two = [stack.enter_context(opened(api)) for _ in range(2)]
        expect.problem(api.raw(handshake(api)), "too-many-streams")
        for _ in range(6):
            stack.enter_context(api.connect())
        answer = api.raw(api.message("GET", "/healthz"))
        expect.body(answer, 200, b'{"status":"ok"}')
        for one in two:
            one.ask(after=GREATEST)


# What is asked for


NO_JSON = r"""
{ {"after":"1" {"after":"1",} {'after':'1'} {after:"1"} {"after":"1"}} {}{} {}x {}//x NaN undefined
{"users":[NaN]} {"users":[Infinity]} {"users":[01]} {"users":[+1]} {"users":[1.]} {"users":[0x1]}
{"users":[1_0]} {"users":[1,]} {"after":"\x31"} {"after":"\u003"} {"after""1"} {"after"}
"""


@pytest.mark.storeless
@pytest.mark.clause("SOCK-07", "SOCK-15")
@pytest.mark.parametrize(
    "message",
    [
        *("", " ", "\ufeff{}", "\x0b{}", "\xa0{}", "{\u2028}", '{"after":"\n"}', *NO_JSON.split()),
        *(
            "{}".encode("utf-16-le"),
            "[" * 33 + "]" * 33,
            '{"x":' * 32 + "[]" + "}" * 32,
            "[" * 4096,
        ),
    ],
    ids=lambda text: ascii(text)[:40],
)
def test_1008_what_is_not_json(api: Client, message: str | bytes) -> None:
    with opened(api) as asking:
        asking.send(message)
        assert asking.closed() == (1008, "malformed-json")


NO_WISH = r"""
[] null true "x" 1 1e999 ["after"] {"x":1} {"After":"1"} {"":1} {"__proto__":{}} {"\ud800":1}
{"after\u0000":"1"} {"after":"1","toString":1} {"x":"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["}
{"after":41} {"after":null} {"after":true} {"after":["1"]} {"after":{}} {"after":""}
{"after":"041"} {"after":"00"} {"after":"-1"} {"after":"-0"} {"after":"+1"} {"after":"\u00201"}
{"after":"1\n"} {"after":"1.0"} {"after":"1e3"} {"after":"1_0"} {"after":"１"} {"after":"\ud800"}
{"after":"9007199254740992"} {"after":"1","after":1}
{"types":null} {"types":[]} {"types":4} {"types":"user.created"} {"types":{"0":"user.created"}}
{"types":[["user.created"]]} {"types":["user.renamed"]} {"types":["User.created"]} {"types":[""]}
{"types":["user.created\u0020"]} {"types":["*"]} {"types":[null]} {"types":["user.created",4]}
{"types":["user.created","constructor"]} {"types":["user.created"],"types":["created"]}
{"types":["user.created","user.created","user.created","user.created"]}
{"users":null} {"users":[]} {"users":7} {"users":"7"} {"users":{"7":7}} {"users":[[7]]}
{"users":["7"]} {"users":[0]} {"users":[-0]} {"users":[-7]} {"users":[1.5]} {"users":[0.5]}
{"users":[true]} {"users":[null]} {"users":[{}]} {"users":[7,"7"]} {"users":[7,0]}
{"users":[9007199254740992]} {"users":[9007199254740993]} {"users":[1e16]} {"users":[1e999]}
{"after":"0","types":[],"users":[7]} {"after":"0","types":["user.created"],"users":[]}
"""


@pytest.mark.storeless
@pytest.mark.clause("SOCK-07", "SOCK-15")
@pytest.mark.parametrize(
    "message",
    [
        *(*NO_WISH.split(), "[" * 32 + "]" * 32, f'{{"users":[{",".join("7" * 101)}]}}'),
        *(f'{{"after":"{"9" * 400}"}}', f'{{"users":[{"9" * 4000}]}}'),
    ],
    ids=lambda text: ascii(text)[:40],
)
def test_1008_what_nobody_can_ask_for(api: Client, message: str) -> None:
    with opened(api) as asking:
        asking.send(message)
        assert asking.closed() == (1008, "validation")


@pytest.mark.clause("SOCK-07", "SOCK-08", "SOCK-12")
def test_what_can_be_asked_for(api: Client) -> None:
    """Each behind the last position there can be, so that nothing else is sent."""
    after = f'"after":"{GREATEST}"'
    answer = b'{"after":"9007199254740991"}'
    types = [f'"user.{one}"' for one in ("created", "changed", "deleted")]
    with opened(api) as asking:
        for message in (
            f"{{{after}}}",
            f' \r\n\t{{ "after"\t:\n"{GREATEST}"\r}} ',
            '{"\\u0061fter":"9007199254740991"}',
            '{"after":"900719925474099\\u0031"}',
            f'{{"after":41,{after}}}',
            f'{{"types":[],"types":[{types[0]}],{after}}}',
            *(f'{{{after},"types":[{",".join(types[:n])}]}}' for n in (1, 2, 3)),
            f'{{{after},"types":["\\u0075ser.created"]}}',
            *(f'{{{after},"users":[{user}]}}' for user in ("7", "7.0", "7e0", "70e-1", "0.7E+1")),
            f'{{{after},"users":[7,7,7]}}',
            f'{{{after},"users":[{GREATEST}]}}',
            f'{{{after},"users":[{",".join(map(str, range(1, 101)))}]}}',
            f'{{"users":[1,2],"types":[{types[0]}],{after}}}',
        ):
            asking.send(message)
            assert asking.message() == answer, message
        # Without `after` it goes on there.
        for message in ("{}", '{"users":[7]}', f'{{"types":[{",".join(types)}]}}'):
            asking.send(message)
            assert asking.message() == answer, message


# What is told


@pytest.mark.clause("SOCK-08", "SOCK-09")
def test_what_happens_is_told_at_once(api: Client) -> None:
    before = newest(api)
    with opened(api) as asking:
        assert asking.ask() >= before
        ada = api.create(name="Zoë 😀")
        path = f"/users/{ada['id']}"
        told = [of_user(asking, ada)]
        begin = time.monotonic()
        renamed = api.patch(path, json={"name": "Ada King"}).json()
        told.append(of_user(asking, ada))
        expect.empty(api.delete(path))
        told.append(of_user(asking, ada))
        assert time.monotonic() - begin < 2
    assert [(event["type"], event["data"]) for event in told] == [
        ("user.created", ada),
        ("user.changed", renamed),
        ("user.deleted", {"id": ada["id"], "version": 2}),
    ]
    assert [event for event in since(api, before) if event["subject"] == path] == told


@pytest.mark.clause("SOCK-07", "SOCK-09")
def test_what_is_wanted_is_told_and_nothing_else(api: Client) -> None:
    before = newest(api)
    ada, eve, bob = (api.create()["id"] for _ in range(3))
    for user in (ada, eve):
        assert api.patch(f"/users/{user}", json={"name": "New"}).status == 200
    for user in (eve, bob):
        expect.empty(api.delete(f"/users/{user}"))
    listed = since(api, before)
    wishes: list[dict[str, Any]] = [
        {},
        {"types": ["user.changed"]},
        {"types": ["user.deleted", "user.created", "user.changed"]},
        {"types": ["user.created", "user.created"]},
        {"users": [eve]},
        {"users": [bob, float(ada), bob, GREATEST]},
        {"types": ["user.changed", "user.deleted"], "users": [ada, bob]},
    ]
    with opened(api) as asking:
        for wanted in wishes:
            expected = [
                event
                for event in listed
                if event["type"] in wanted.get("types", [event["type"]])
                and event["data"]["id"] in wanted.get("users", [event["data"]["id"]])
            ]
            assert asking.ask(after=before, **wanted) == before
            assert [asking.event() for _ in expected] == expected


@pytest.mark.clause("SOCK-08", "SOCK-09")
@pytest.mark.settings(EVENTS_HEARTBEAT="60")
def test_one_message_after_another(service: Service) -> None:
    """Nobody else writes there."""
    api = service.api
    before = newest(api)
    ada, eve = api.create(), api.create()
    with opened(api) as asking:
        assert asking.ask(after=before, users=[ada["id"]]) == before
        assert asking.event()["data"] == ada
        api.delete(f"/users/{ada['id']}")
        assert asking.event()["type"] == "user.deleted"
        # It goes on behind what was reached, also where that was not wanted.
        assert asking.ask(types=["user.created"]) == before + 3
        bob = api.create()
        assert asking.event()["data"] == bob
        # It begins anew.
        assert asking.ask(after=before + 1, types=["user.created"]) == before + 1
        assert [asking.event()["data"], asking.event()["data"]] == [eve, bob]
        assert asking.ask(after=0, users=[GREATEST]) == 0
        # As many answers as messages, and in their order.
        positions = [before + 2, before, before + 4, 0, GREATEST]
        asking.put(
            *(
                framed(TEXT, b'{"after":"%d","users":[%d]}' % (position, GREATEST))
                for position in positions
            )
        )
        answers = [json.loads(asking.message())["after"] for _ in positions]
        assert [*map(int, answers)] == positions


@pytest.mark.clause("SOCK-09")
def test_sockets_agree_with_the_list(api: Client) -> None:
    before, writers, readers, each = newest(api), 6, 4, 8
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(writers) as pool:
        sockets = [stack.enter_context(opened(api)) for _ in range(readers)]
        for one in sockets:
            one.ask(after=before)
        created = [*pool.map(lambda _: api.create()["id"], range(writers * each))]
        last = newest(api)
        seen = [[one.event() for _ in range(last - before)] for one in sockets]
    assert seen == [since(api, before)[: last - before]] * readers
    assert {*created} <= {event["data"]["id"] for event in seen[0]}


@pytest.mark.clause("SOCK-08", "SOCK-09")
def test_who_asks_again_and_again_misses_nothing(api: Client) -> None:
    before, seen = newest(api), []
    with opened(api) as asking, ThreadPoolExecutor(4) as pool:
        asking.ask(after=before)
        created = [pool.submit(api.create) for _ in range(60)]
        while not all(one.done() for one in created):
            asking.send("{}")
            while event := asking.follow():
                seen.append(event)
        last = newest(api)
        seen += [asking.event() for _ in range(last - before - len(seen))]
    assert seen == since(api, before)[: last - before]


@pytest.mark.clause("SOCK-08", "SOCK-09")
def test_who_moves_between_services_misses_nothing(pair: tuple[Client, Client]) -> None:
    position = newest(pair[0])
    created: list[Any] = []
    seen: list[Any] = []
    for turn in range(6):
        here, there = pair if turn % 2 else pair[::-1]
        created.append(there.create())
        with opened(here) as asking:
            asking.ask(after=position)
            created += [here.create(), there.create()]
            while len(seen) < len(created):
                seen.append(asking.event()["data"])
            position = asking.position
    assert seen == created


@pytest.mark.clause("PAIR-10", "SOCK-01", "SOCK-08", "SOCK-09", "SOCK-12")
def test_both_send_the_same_bytes(pair: tuple[Client, Client]) -> None:
    """Of a frame's bytes there is but one form that `Socket` takes."""
    before = newest(pair[0])
    for api in pair:
        user = api.create(name='Zoë 😀 "Ada"')
        api.patch(f"/users/{user['id']}", json={"name": "\\/é"})
        api.delete(f"/users/{user['id']}")
    sent = []
    for api in pair:
        with api.connect() as connection:
            connection.send(handshake(api, {"X-Request-Id": "x"}))
            head = connection.read_head()
            asking = Socket(connection)
            asking.put(framed(PING, b"x"), framed(TEXT, b'{"after":"%d"}' % before))
            frames = [asking.read_frame() for _ in range(8)]
            asking.send("{}")
            frames.append(asking.read_frame())
            asking.close(3000, "é")
            frames.append(asking.read_frame())
        sent.append((sorted(field for field in head.headers if field[0] != "date"), frames))
    assert sent[0] == sent[1]


@pytest.mark.clause("SOCK-09", "RIGHT-16")
def test_a_member_is_told_what_happens_to_them(guarded: Client) -> None:
    ada, good = someone(guarded)
    eve = guarded.create()
    member = guarded.asking(f"Bearer {good}")
    with opened(member) as of_all, opened(member) as of_eve:
        of_all.ask(after=0)
        assert of_all.event()["data"] == ada
        of_eve.ask(after=0, users=[eve["id"]])
        assert guarded.patch(f"/users/{eve['id']}", json={"name": "New"}).status == 200
        renamed = guarded.patch(f"/users/{ada['id']}", json={"name": "New"}).json()
        assert of_all.event()["data"] == renamed
        # Nothing comes before the answer.
        of_eve.send(expect.render({"users": [ada["id"], eve["id"]]}))
        of_eve.beat()
        guarded.patch(f"/users/{ada['id']}", json={"name": "Newer"})
        assert of_eve.event()["subject"] == f"/users/{ada['id']}"


# Heartbeats


@once_a_side
@pytest.mark.clause("SOCK-10", "STREAM-06")
@pytest.mark.settings(EVENTS_HEARTBEAT=f"{BEAT}")
def test_heartbeats(service: Service) -> None:
    api = service.api
    with opened(api) as asking:
        begin = time.monotonic()
        position = asking.ask(types=["user.deleted"])
        for _ in range(3):
            assert asking.beat() == position
        assert 2 * BEAT < time.monotonic() - begin < 5 * BEAT
        ada = api.create()
        asking.beat()
        assert asking.beat() == position + 1
        expect.empty(api.delete(f"/users/{ada['id']}"))
        assert of_user(asking, ada)["type"] == "user.deleted"


@once_a_side
@pytest.mark.clause("SOCK-10", "SOCK-17")
@pytest.mark.settings(EVENTS_HEARTBEAT=f"{BEAT}", EVENTS_TTL=f"{TTL}")
def test_who_wants_little_does_not_fall_behind(service: Service) -> None:
    api = service.api
    with opened(api) as asking:
        asking.ask(types=["user.deleted"])
        api.create()
        time.sleep(TTL + 0.1)
        ada = api.create()
        last = newest(api)
        asking.beat()
        assert asking.beat() == last
        expect.empty(api.delete(f"/users/{ada['id']}"))
        assert asking.event()["data"] == {"id": ada["id"], "version": 1}


@once_a_side
@pytest.mark.clause("SOCK-08", "SOCK-10", "SOCK-11")
@pytest.mark.settings(EVENTS_HEARTBEAT=f"{BEAT}")
def test_until_the_first_message_there_are_pings_alone(service: Service) -> None:
    with opened(service.api) as asking:
        begin = time.monotonic()
        for _ in range(4):
            service.api.create()
            assert asking.read_frame() == (PING, b"")
            asking.put(framed(PONG))
        assert 3 * BEAT < time.monotonic() - begin < 6 * BEAT


@once_a_side
@pytest.mark.clause("SOCK-11")
@pytest.mark.settings(EVENTS_HEARTBEAT=f"{BEAT}")
@pytest.mark.parametrize("has_asked", [False, True])
def test_who_does_not_answer_a_ping_is_cut(service: Service, has_asked: bool) -> None:
    with opened(service.api) as asking:
        if has_asked:
            asking.ask()
        while asking.read_frame()[0] != PING:
            pass
        begin = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while asking.read_frame()[0] == TEXT:
                pass
            raise AssertionError("it is asked, or told, something else")
        assert time.monotonic() - begin < BEAT + 2


@once_a_side
@pytest.mark.clause("SOCK-10", "SOCK-11", "OPS-25", "OPS-26", "OPS-27")
@pytest.mark.settings(EVENTS_HEARTBEAT=f"{BEAT}", REQUEST_TIMEOUT="1", KEEP_ALIVE_TIMEOUT="1")
def test_a_socket_lives_as_long_as_both_sides_do(service: Service) -> None:
    with opened(service.api) as asking:
        asking.ask()
        asking.put(framed(PONG, b"nobody has asked for it"))
        for _ in range(5):
            asking.beat()


# Frames


@pytest.mark.storeless
@pytest.mark.clause("SOCK-12")
@pytest.mark.parametrize("data", [b"", b"x", b"\x00\xff" * 62 + b"\x80"], ids=len)
def test_a_ping_is_answered(api: Client, data: bytes) -> None:
    with opened(api) as asking:
        asking.put(framed(PING, data), framed(PONG, data), framed(PING, data[:1]))
        assert asking.next_frame() == (PONG, data)
        assert asking.next_frame() == (PONG, data[:1])


@pytest.mark.clause("SOCK-12")
@pytest.mark.parametrize(
    "parts",
    [
        [b'{"after":', b'"9007199254740991"}'],
        [b"", b'{"after":"9007199254740991"}'],
        [b"", b"", b'{"after":"90071', b"", b'99254740991"}', b""],
        [bytes([byte]) for byte in b'{"after":"9007199254740991"}'],
    ],
    ids=len,
)
def test_fragments(api: Client, parts: list[bytes]) -> None:
    frames = fragments(*parts)
    with opened(api) as asking:
        for _ in range(2):
            asking.put(*frames)
            assert asking.message() == b'{"after":"9007199254740991"}'
        asking.put(*(framed(PING, b"%d" % n) + frame for n, frame in enumerate(frames)))
        for n in range(len(frames)):
            assert asking.next_frame() == (PONG, b"%d" % n)
        assert asking.message() == b'{"after":"9007199254740991"}'
        asking.put(frames[0], framed(CLOSE, closing(1000, "enough")))
        assert asking.next_frame() == (CLOSE, closing(1000, "enough"))
        asking.ends()


@pytest.mark.storeless
@pytest.mark.clause("SOCK-12")
@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (None, ""),
        *((code, "") for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011)),
        *((code, "") for code in (3000, 3999, 4000, 4401, 4999)),
        (1000, "enough"),
        (4999, "é😀" * 20 + "xyz"),
    ],
)
def test_a_close_is_answered_with_the_same(
    api: Client, code: int | None, reason: str, asks: bool
) -> None:
    with opened(api) as asking:
        if asks:
            asking.ask(after=GREATEST)
        asking.close(code, reason)
        assert asking.next_frame() == (CLOSE, closing(code, reason))
        asking.ends()


@once_a_side
@pytest.mark.clause("SOCK-12", "OPS-27")
def test_a_close_is_answered_behind_a_backlog(launched: Launch) -> None:
    """Longer than a Close of the service's own is waited for."""
    service = launched(EVENTS_TTL="31536000", EVENTS_HEARTBEAT="3600")
    fill(service, 10_000, 1000)
    with unread(service, ALL) as asking:
        time.sleep(0.5)
        asking.close(1000)
        time.sleep(3)
        asking.connection._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
        assert asking.closed(answer=False) == (1000, "")


@once_a_side
@pytest.mark.clause("SOCK-12", "SOCK-14")
@pytest.mark.parametrize("first", [4000, 4096])
def test_what_comes_within_a_message_is_no_part_of_it(service: Service, first: int) -> None:
    data = b"{}".ljust(first)
    with opened(service.api) as asking:
        asking.put(framed(TEXT, data, fin=False), framed(PING, b"x" * 125), framed(CLOSE))
        assert asking.next_frame() == (PONG, b"x" * 125)
        assert asking.next_frame() == (CLOSE, b"")


NOBODY_SENDS = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
BROKEN = {
    "text unmasked": framed(TEXT, b"{}", mask=False),
    "Ping unmasked": framed(PING, mask=False),
    "Close unmasked": framed(CLOSE, closing(1000), mask=False),
    **{f"a reserved bit {bit}": framed(TEXT, b"{}", rsv=bit) for bit in (1, 2, 4, 7)},
    "a Ping with one": framed(PING, rsv=4),
    "a continuation with one": framed(TEXT, b"{", fin=False) + framed(0, b"}", rsv=4),
    **{f"opcode {code}": framed(code, b"x") for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "half a Ping": framed(PING, fin=False),
    "half a Pong": framed(PONG, b"x", fin=False),
    "half a Close": framed(CLOSE, closing(1000), fin=False),
    "a Ping of 126": framed(PING, bytes(126)),
    "a Pong of 126": framed(PONG, bytes(126)),
    "a Close of 126": framed(CLOSE, closing(1000, "x" * 124)),
    "a Ping of 4096": framed(PING, bytes(4096)),
    "a continuation of nothing": framed(CONTINUATION, b"{}"),
    "half a one of nothing": framed(CONTINUATION, b"{", fin=False),
    "one after a message": b"".join(fragments(b"{", b"}")) + framed(CONTINUATION, b"{}"),
    "text within text": framed(TEXT, b"{", fin=False) + framed(TEXT, b"}"),
    "fragments within text": framed(TEXT, b"{", fin=False) * 2,
    "binary within text": framed(TEXT, b"{", fin=False) + framed(BINARY, b"}"),
    "a Close of one byte": framed(CLOSE, b"\x03"),
    **{f"a Close with {code}": framed(CLOSE, closing(code)) for code in NOBODY_SENDS},
    "a Close with 1005 and a reason": framed(CLOSE, closing(1005, "x")),
}


@pytest.mark.storeless
@pytest.mark.clause("SOCK-13", "SOCK-18")
@pytest.mark.parametrize("kind", BROKEN)
def test_1002_what_breaks_the_protocol(api: Client, kind: str) -> None:
    with opened(api) as asking:
        asking.put(BROKEN[kind])
        assert asking.closed() == (1002, "")


NO_TEXT = (
    b"\xff",
    b"\x80",
    b"\xc0\x80",
    b"\xe0\x80\xaf",
    b"\xed\xa0\x80",
    b"\xed\xa0\xbd\xed\xb8\x80",
    b"\xf4\x90\x80\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xe2\x82",
    b"\xf0\x9f\x98",
)


@pytest.mark.storeless
@pytest.mark.clause("SOCK-14", "SOCK-18")
@pytest.mark.parametrize("data", NO_TEXT, ids=bytes.hex)
def test_1007_what_is_not_utf_8(api: Client, data: bytes) -> None:
    for frames in (
        [framed(TEXT, data)],
        [framed(TEXT, b'{"after":"%b"}' % data)],
        fragments(b"{}", data),
        fragments(data[:1], data[1:], b" "),
        [framed(CLOSE, closing(1000, data))],
        [framed(CLOSE, closing(4000, b"x" + data))],
    ):
        with opened(api) as asking:
            asking.put(*frames)
            assert asking.closed() == (1007, "")


LARGE: dict[str, list[bytes]] = {
    "one frame": [framed(TEXT, b"{}".ljust(4097))],
    "a large one": [framed(TEXT, b"x" * 70_000)],
    "characters": [framed(TEXT, ("é" * 2049).encode())],
    "what isn't sent yet": [framed(TEXT, length=4097)],
    "what never can be": [framed(TEXT, length=2**40)],
    "fragments": fragments(b"{}".ljust(4096), b" "),
    "many": fragments(*[b" " * 100] * 41),
    "without an end": fragments(*[b"x" * 1000] * 5, b"")[:5],
    "the second": fragments(b"{}".ljust(2000), b" " * 2097),
}


@pytest.mark.storeless
@pytest.mark.clause("SOCK-14", "SOCK-18")
@pytest.mark.parametrize("kind", LARGE)
def test_1009_what_is_too_large(api: Client, kind: str) -> None:
    with opened(api) as asking:
        asking.put(*LARGE[kind])
        assert asking.closed() == (1009, "")


@pytest.mark.storeless
@pytest.mark.clause("SOCK-14", "SOCK-18")
def test_1008_a_message_in_too_many_fragments(api: Client) -> None:
    parts = [b'{"after":', *[b""] * 62, b'"0"}']
    with opened(api) as asking:
        asking.put(*fragments(*parts))
        assert asking.message() == b'{"after":"0"}'
        asking.put(*fragments(*parts, b""))
        assert asking.closed() == (1008, "")
    with opened(api) as asking:
        asking.put(*fragments(*parts, b"", b"")[:65])
        assert asking.closed() == (1008, "")


@pytest.mark.storeless
@pytest.mark.clause("SOCK-14", "SOCK-18")
def test_1003_what_is_binary(api: Client) -> None:
    for frames in (
        [framed(BINARY, b"{}")],
        [framed(BINARY)],
        [framed(BINARY, b"\xff")],
        fragments(b"{", b"", b"}", opcode=BINARY),
    ):
        with opened(api) as asking:
            asking.put(*frames)
            assert asking.closed() == (1003, "")


@pytest.mark.clause("SOCK-14")
def test_4096_bytes_are_taken(api: Client) -> None:
    text = b'{"after":"9007199254740991"}'.ljust(4096)
    whole = ['{"x":"' + "é" * 2000 + '"}', "é" * 2048]
    with opened(api) as asking:
        for frames in ([framed(TEXT, text)], fragments(text[:4000], b"", text[4000:], b"")):
            asking.put(*frames)
            assert asking.message() == b'{"after":"9007199254740991"}'
    # A character may be cut in two.
    for one, reason in zip(whole, ("validation", "malformed-json"), strict=True):
        data = one.encode()
        with opened(api) as asking:
            asking.put(*fragments(data[:7], data[7:9], data[9:]))
            assert asking.closed() == (1008, reason)


# The end


@once_a_side
@pytest.mark.clause("SOCK-15")
@pytest.mark.settings(REQUEST_TIMEOUT="1")
@pytest.mark.parametrize(
    "sent",
    [b"", framed(PING), framed(TEXT, b"{", fin=False), b"\x81"],
    ids=["nothing", "a Ping", "a fragment", "half a frame"],
)
def test_1008_who_asks_for_nothing(service: Service, sent: bytes) -> None:
    begin = time.monotonic()
    with opened(service.api) as asking:
        for _ in range(3 if sent == framed(PING) else 1):
            asking.put(sent)
            time.sleep(0.3)
        assert asking.closed(answer=False) == (1008, "timeout")
        assert 0.9 < time.monotonic() - begin < 3.5
        asking.ends(4)


Change = Callable[[Client, str], Answer]
VOID: dict[str, tuple[str, Change]] = {
    "another password": (
        "member",
        lambda api, path: api.patch(path, json={"password": PASSWORD + "2"}),
    ),
    "deleted": ("member", lambda api, path: api.delete(path)),
    "an admin now": ("member", lambda api, path: api.patch(path, json={"role": "admin"})),
    "an admin no more": ("admin", lambda api, path: api.patch(path, json={"role": "member"})),
}


@once_a_side
@pytest.mark.clause("SOCK-16", "AUTH-09", "AUTH-10")
@pytest.mark.settings(**SECURED)
@pytest.mark.parametrize("kind", VOID)
def test_4401_behind_a_heartbeat(service: Service, kind: str) -> None:
    api, (role, change) = service.api, VOID[kind]
    user, good = someone(api, role)
    path = f"/users/{user['id']}"
    with opened(api.asking(f"Bearer {good}")) as asking:
        asking.ask(types=["user.created"])
        assert api.patch(path, json={"name": "New"}).status == 200
        for _ in range(2):
            asking.beat()
        assert change(api, path).status in (200, 204)
        assert asking.closed() == UNAUTHORIZED


@pytest.mark.clause("SOCK-16", "AUTH-09", "AUTH-10")
@pytest.mark.parametrize("kind", VOID)
def test_4401_with_the_next_message(guarded: Client, kind: str) -> None:
    role, change = VOID[kind]
    user, good = someone(guarded, role)
    caller, path = guarded.asking(f"Bearer {good}"), f"/users/{user['id']}"
    with opened(caller) as first, opened(caller) as second:
        second.ask(types=["user.created"])
        assert guarded.patch(path, json={"name": "New"}).status == 200
        second.ask(after=GREATEST)
        assert change(guarded, path).status in (200, 204)
        for one in (first, second):
            one.send("{}")
            assert one.closed() == UNAUTHORIZED


@once_a_side
@pytest.mark.clause("SOCK-16", "AUTH-07")
@pytest.mark.settings(**SECURED)
def test_4401_behind_the_heartbeat_after_a_token_has_ended(service: Service) -> None:
    api, ends = service.api, int(time.time()) + 2
    ending = token(claims(api.create()["id"], exp=ends))
    with opened(api.asking(f"Bearer {ending}")) as asking:
        asking.ask()
        assert asking.closed() == UNAUTHORIZED
        assert time.time() >= ends


@pytest.mark.usefixtures("known_secret")
@pytest.mark.clause("SOCK-16", "AUTH-07")
def test_4401_with_the_first_message_after_a_token_has_ended(guarded: Client) -> None:
    ends = int(time.time()) + 2
    ending = token(claims(guarded.create()["id"], exp=ends))
    with opened(guarded.asking(f"Bearer {ending}")) as asking:
        time.sleep(max(0, ends - time.time()) + 0.1)
        asking.send("{}")
        assert asking.closed() == UNAUTHORIZED


@pytest.mark.clause("SOCK-17")
@pytest.mark.settings(EVENTS_TTL=f"{TTL}")
def test_4410_what_is_forgotten(service: Service) -> None:
    old, new = old_and_new(service)
    with opened(service.api) as asking:
        asking.ask(after=old)
        assert asking.event()["id"] == f"{new}"
        asking.ask(after=new)
        asking.send(f'{{"after":"{old - 1}"}}')
        assert asking.closed() == (4410, "events-gone")
    with opened(service.api) as asking:
        asking.send('{"after":"0"}')
        assert asking.closed() == (4410, "events-gone")


@contextlib.contextmanager
def unread(service: Service, *frames: bytes) -> Iterator[Socket]:
    """A socket whose client sends these and takes as little as it can."""
    with service.api.connect() as connection:
        connection.close()
        # A buffer that is made smaller later on may keep the client from sending, too.
        connection._socket = silent(service, 4096)
        connection.send(handshake(service.api))
        asking = Socket.begun(connection)
        asking.put(*frames)
        yield asking


ALL = framed(TEXT, b'{"after":"0"}')


@once_a_side
@pytest.mark.clause("SOCK-17")
def test_4410_who_lags_behind_what_is_kept(launched: Launch) -> None:
    service = launched(EVENTS_TTL="31536000")
    fill(service, 10_000, 1000)
    with unread(service, ALL) as asking:
        assert asking.message() == b'{"after":"0"}'
        time.sleep(0.5)
        with Session(service.database_url) as session:
            session.execute("DELETE FROM events WHERE position < 10000")
        asking.connection._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
        assert asking.closed() == (4410, "events-gone")


@once_a_side
@pytest.mark.clause("SOCK-18", "OPS-06", "OPS-07")
@pytest.mark.parametrize("processes", ["1", "2"])
def test_1001_at_sigterm(launched: Launch, processes: str) -> None:
    service = launched(WEB_CONCURRENCY=processes)
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(opened(service.api)) for _ in range(8)]
        for one in sockets[::2]:
            one.ask()
        begin = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        for one in sockets:
            assert one.closed() == (1001, "")
            one.connection.close()
        assert time.monotonic() - begin < 2
        assert service.wait(2) == 0
        assert service.stderr() == ""


@once_a_side
@pytest.mark.clause("SOCK-18", "OPS-07")
def test_1001_to_who_asks_on_and_on(launched: Launch) -> None:
    service = launched()
    with opened(service.api) as asking, asking.connection._socket.dup() as sender:

        def ask_on() -> None:
            with contextlib.suppress(OSError):
                while True:
                    sender.sendall(framed(TEXT, b"{}") * 100)

        with ThreadPoolExecutor(1) as pool:
            pool.submit(ask_on)
            for _ in range(100):
                asking.message()
            service.process.send_signal(signal.SIGTERM)
            begin = time.monotonic()
            while (frame := asking.next_frame())[0] != CLOSE:
                assert frame == (TEXT, b'{"after":"0"}')
            assert frame[1] == closing(1001)
            assert time.monotonic() - begin < 2
            assert service.wait(5) == 0
    assert service.stderr() == ""


@once_a_side
@pytest.mark.clause("SOCK-18", "SOCK-19", "OPS-07")
def test_sigterm_waits_for_no_close_for_long(launched: Launch) -> None:
    service = launched()
    with opened(service.api) as waiting, opened(service.api) as other:
        other.ask()
        service.process.send_signal(signal.SIGTERM)
        assert other.closed() == (1001, "")
        assert waiting.closed(answer=False) == (1001, "")
        assert service.wait(5) == 0


@once_a_side
@pytest.mark.clause("SOCK-18", "SOCK-20", "OPS-07")
def test_sigterm_ends_who_takes_nothing(launched: Launch) -> None:
    service = launched(EVENTS_TTL="31536000")
    fill(service, 10_000, 1000)
    with unread(service, ALL):
        time.sleep(0.5)
        assert service.stop() == 0


@once_a_side
@pytest.mark.clause("SOCK-18")
def test_1001_while_the_database_stands_still(launched: Launch) -> None:
    """Positions can't be given while another process holds the lock for writing."""
    service = launched()
    with opened(service.api) as asking:
        asking.ask()
        service.process.send_signal(signal.SIGSTOP)
        fill(service, 1, 1)
        with locked(service.database_url):
            service.process.send_signal(signal.SIGCONT)
            time.sleep(0.2)
            begin = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            assert asking.closed() == (1001, "")
            assert time.monotonic() - begin < 2


@pytest.mark.clause("SOCK-18", "OPS-11")
def test_1011_where_it_fails_itself(launched: Launch) -> None:
    service = launched()
    with opened(service.api) as asking, opened(service.api) as other:
        with Session(service.database_url) as session:
            session.execute("ALTER TABLE events RENAME TO elsewhere")
            try:
                asking.send("{}")
                assert asking.closed() == (1011, "")
            finally:
                session.execute("ALTER TABLE elsewhere RENAME TO events")
        other.ask()
        ada = service.api.create()
        assert other.event()["data"] == ada
    lines = map(json.loads, service.stdout().splitlines())
    assert [line for line in lines if line["level"] == "error" and "elsewhere" not in line]


@pytest.mark.storeless
@pytest.mark.clause("SOCK-19")
def test_nothing_is_taken_behind_a_close(api: Client) -> None:
    with opened(api) as asking:
        asking.put(framed(TEXT, b"["), framed(TEXT, b"{}"), framed(PING, b"x"))
        while (frame := asking.next_frame())[0] == PONG:
            pass
        assert frame == (CLOSE, closing(1008, "malformed-json"))
        with contextlib.suppress(OSError):
            asking.put(framed(TEXT, b"{}"), framed(PING, b"x"), framed(TEXT, b"{", fin=False))
        asking.ends(4)


# Clients that take nothing


@linux
@once_a_side
@pytest.mark.clause("SOCK-20")
def test_who_reads_nothing_holds_little(launched: Launch) -> None:
    service = launched(EVENTS_TTL="31536000", EVENTS_HEARTBEAT="3600")
    fill(service, 10_000, 1000)
    clients = 30
    with contextlib.ExitStack() as stack:
        # What the first ones take the process keeps for others.
        for _ in range(clients):
            stack.enter_context(unread(service, ALL))
        before = settled(service)
        for _ in range(clients):
            stack.enter_context(unread(service, ALL))
        grown = settled(service) - before
        # Beside what they hold there is what the process has yet to collect.
        assert grown < (clients + 64) * 2**20, f"{grown / 2**20:.1f} MiB"
        with opened(service.api, timeout=20.0) as asking:
            asking.ask()
            ada = service.api.create()
            assert of_user(asking, ada)["data"] == ada
    assert service.stderr() == ""


# What is sent again and again, how much of it, and what the process may take for work, in MiB.
FLOODS = {
    "Pings": (framed(PING, bytes(125)), 8, 25),
    "messages": (framed(TEXT, b'{"users":[7]}'), 4, 50),
}


@linux
@once_a_side
@pytest.mark.clause("SOCK-20")
@pytest.mark.parametrize("kind", FLOODS)
def test_who_sends_and_reads_nothing_holds_little(launched: Launch, kind: str) -> None:
    """Five at once, after three that have had the process take what it keeps to work with."""
    service = launched(EVENTS_HEARTBEAT="3600")
    frame, size, work = FLOODS[kind]
    with contextlib.ExitStack() as stack:
        before = 0
        for count in range(8):
            before = memory(service) if count == 3 else before
            asking = stack.enter_context(unread(service, framed(TEXT, b"{}")))
            send_until_full(asking.connection._socket, frame * 500, size * 2**20)
            expect.body(service.api.get("/healthz"), 200, b'{"status":"ok"}')
        grown = memory(service) - before
    assert grown < (work + 5) * 2**20, f"{grown / 2**20:.1f} MiB"


@linux
@once_a_side
@pytest.mark.clause("SOCK-20", "OPS-27")
@pytest.mark.parametrize("kind", ["events", "Pings"])
def test_who_takes_nothing_is_cut(launched: Launch, kind: str) -> None:
    service = launched(EVENTS_TTL="31536000", EVENTS_HEARTBEAT="3600", REQUEST_TIMEOUT="2")
    if kind == "events":
        fill(service, 10_000, 1000)
    with unread(service, ALL) as asking:
        client = asking.connection._socket
        if kind == "Pings":
            # As long as any are taken, and not as long as all that are sent at once.
            client.settimeout(1)
            flood = left = memoryview(FLOODS[kind][0] * 500)
            with contextlib.suppress(TimeoutError, ConnectionError):
                while True:
                    left = left[client.send(left) :] or flood
        else:
            time.sleep(0.5)
        deadline = time.monotonic() + 8
        while unsent(service, client) is not None:
            assert time.monotonic() < deadline, "it is still connected"
            time.sleep(0.1)


@once_a_side
@pytest.mark.clause("SOCK-11", "OPS-27")
def test_no_pong_is_missed_behind_a_backlog(launched: Launch) -> None:
    """Who takes nothing for a while can't have seen the Pings, of which three are due."""
    service = launched(EVENTS_TTL="31536000", EVENTS_HEARTBEAT="1")
    fill(service, 10_000, 1000)
    with unread(service, ALL) as asking:
        time.sleep(3.5)
        asking.connection._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
        while b'"id":"10000"' not in asking.message():
            pass


@once_a_side
@pytest.mark.clause("LIMIT-11", "SOCK-09", "SOCK-12")
def test_a_backlog_is_told_a_page_at_a_time(launched: Launch) -> None:
    """Whatever comes meanwhile has its turn: a Ping has its Pong behind a few pages of 100."""
    service = launched(EVENTS_TTL="31536000", EVENTS_HEARTBEAT="3600")
    fill(service, 40_000, 200)
    with opened(service.api, timeout=20.0) as asking:
        taking = asking.connection._socket
        asking.send('{"after":"0"}')
        for n in range(10):
            # Taken as fast as it comes: who waits for the client turns to others anyway.
            taken = 0
            while taken < 200_000:
                taken += len(taking.recv(2**20))
            # How fast the client is plays no part in what it does until it has its Ping.
            service.process.send_signal(signal.SIGSTOP)
            os.waitpid(service.process.pid, os.WUNTRACED)
            taking.settimeout(0.1)
            with contextlib.suppress(TimeoutError):
                while taking.recv(2**20):
                    pass
            data = b"the Ping with the number %d" % n
            asking.put(framed(PING, data))
            service.process.send_signal(signal.SIGCONT)
            behind = b""
            while framed(PONG, data, mask=False) not in behind:
                behind += taking.recv(2**20)
            assert behind.partition(data)[0].count(b'"specversion"') <= 500


@once_a_side
@pytest.mark.clause("LIMIT-11", "STREAM-05")
def test_a_backlog_keeps_nobody_waiting(launched: Launch) -> None:
    service = launched(EVENTS_TTL="31536000", EVENTS_HEARTBEAT="3600")
    fill(service, 40_000, 200)
    api = service.api

    def read_all() -> None:
        with streamed(api, "?after=0", timeout=20.0) as stream:
            taken = b""
            while b'"id":"40000"' not in taken:
                taken = taken[-100:] + stream._connection._socket.recv(2**20)

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_all)
        answered = 0
        while not reading.done():
            expect.body(api.get("/healthz"), 200, b'{"status":"ok"}')
            answered += 1
        reading.result()
    # Whoever has to wait for all of it is answered before it and behind it.
    assert answered > 5


@once_a_side
@pytest.mark.clause("SOCK-20", "STREAM-08", "LIMIT-11")
def test_nothing_is_done_for_who_is_gone(launched: Launch) -> None:
    service = launched(EVENTS_TTL="31536000", EVENTS_STREAMS="1")
    fill(service, 15_000, 500)
    with opened(service.api) as asking:
        asking.put(framed(TEXT, b'{"after":"0"}') * 100)
        asking.message()
        abort = struct.pack("ii", 1, 0)
        asking.connection._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, abort)
    await_free(service.api)


# A database that is away


@pytest.mark.clause("SOCK-21")
def test_4503_what_is_asked_while_the_database_is_locked(launched: Launch) -> None:
    """The position of an event can't be given meanwhile."""
    service = launched(DATABASE_TIMEOUT="1", DATABASE_STATEMENT_TIMEOUT="1", EVENTS_HEARTBEAT="60")
    with opened(service.api, timeout=10.0) as asking:
        fill(service, 1, 1)
        with locked(service.database_url, "events"):
            asking.send("{}")
            assert asking.closed() == (4503, "unavailable")
    with opened(service.api) as asking:
        assert asking.ask() == 1


class Leading(Proxy):
    """Leads nowhere while `is_away`."""

    is_away = False

    def _begin(self, client: socket.socket) -> None:
        if self.is_away:
            client.close()
        else:
            super()._begin(client)


@pytest.mark.clause("SOCK-21")
@pytest.mark.parametrize("kind", services.KINDS)
def test_4503_what_is_asked_while_postgres_is_away(
    kind: Kind, new_database: Callable[[Engine, Path], str], tmp_path: Path
) -> None:
    url = new_database("postgres", tmp_path)
    env = {"DATABASE_TIMEOUT": "2", "EVENTS_HEARTBEAT": "60"}
    with contextlib.closing(Leading(url)) as proxy, contextlib.ExitStack() as stack:
        service = services.launch(kind, env=env, directory=tmp_path, database_url=proxy.url)
        stack.callback(service.kill)
        api = service.api
        asking, first, following = (stack.enter_context(opened(api)) for _ in range(3))
        ada = api.create()
        for one in (asking, following):
            assert one.ask(after=0) == 0
            assert one.event()["data"] == ada
        proxy.is_away = True
        proxy.cut()
        expect.problem(api.get("/events"), "unavailable")
        for one in (asking, first):
            one.send('{"types":["user.created"]}')
        assert first.closed() == (4503, "unavailable")
        with Session(url) as session:
            again = "SELECT type, user_id, time, data FROM events"
            session.execute(f"INSERT INTO events (type, user_id, time, data) {again}")
        # Of the position reached the database knows no more.
        assert asking.beat() == 1
        for one in (asking, following):
            assert not one.connection.readable(0.5)
        proxy.is_away = False
        for one in (asking, following):
            assert one.event()["data"] == ada
        eve = api.create()
        assert [one.event()["data"] for one in (asking, following)] == [eve] * 2


@pytest.mark.clause("SOCK-21", "STREAM-11")
@pytest.mark.parametrize("way", ["socket", "stream"])
@pytest.mark.parametrize("kind", services.KINDS)
def test_who_lags_behind_is_kept_while_postgres_is_away(
    kind: Kind, way: str, new_database: Callable[[Engine, Path], str], tmp_path: Path
) -> None:
    """What the client has yet to read the process has yet to ask the database for."""
    count, url = 10_000, new_database("postgres", tmp_path)
    env = {"DATABASE_TIMEOUT": "2", "EVENTS_HEARTBEAT": "60", "EVENTS_TTL": "31536000"}
    with contextlib.closing(Leading(url)) as proxy, contextlib.ExitStack() as stack:
        service = services.launch(kind, env=env, directory=tmp_path, database_url=proxy.url)
        stack.callback(service.kill)
        fill(service, count, 1000)
        if way == "socket":
            asking = stack.enter_context(unread(service, ALL))
            assert asking.follow() is None
            connection = asking.connection
        else:
            following = stack.enter_context(streamed(service.api, "?after=0"))
            connection = following._connection

        def read() -> bytes | str:
            return asking.message() if way == "socket" else following.block().splitlines()[1][6:]

        told = [json.loads(read())["id"]]
        time.sleep(0.5)
        proxy.is_away = True
        proxy.cut()
        expect.problem(service.api.get("/events"), "unavailable")
        while connection._received or connection.readable(1):
            told.append(json.loads(read())["id"])
        assert len(told) < count
        proxy.is_away = False
        while len(told) < count:
            told.append(json.loads(read())["id"])
        assert told == [str(position) for position in range(1, count + 1)]


# Who watches, and who else asks


@once_a_side
@pytest.mark.clause("LOG-01", "LOG-02", "LOG-03", "LOG-04", "METRICS-02", "SOCK-01", "SOCK-04")
def test_a_socket_has_one_line(launched: Launch) -> None:
    service = launched(**SECURED)
    user, good = someone(service.api)

    def lines() -> list[dict[str, Any]]:
        every = map(json.loads, service.stdout().splitlines())
        return [line for line in every if line.get("route") == PATH]

    protocols = (PROTOCOL, f"bearer.{good}")
    changes = {"X-Request-Id": "mine"}
    with opened(service.api.asking(""), changes, protocols=protocols) as asking:
        (line,) = lines()
        assert [*line] == [
            *("time", "level", "message", "request_id", "method", "route", "status", "duration_ms")
        ]
        assert (line["request_id"], line["method"], line["status"]) == ("mine", "GET", 101)
        assert line["duration_ms"] < 5000
        asking.ask(users=[user["id"]])
        assert service.api.patch(f"/users/{user['id']}", json={"name": "Zoë 😀"}).status == 200
        asking.event()
        asking.send('{"nonsense":"rubbish"}')
        assert asking.closed() == (1008, "validation")
    assert lines() == [line]
    assert counted(service.api)["GET", PATH, 101] == 1
    assert not [one for one in (good, "nonsense", "rubbish", "Zoë") if one in service.log()]


@once_a_side
@pytest.mark.clause("SOCK-01", "SOCK-04", "SOCK-09", "SOCK-11", "SOCK-12")
@pytest.mark.settings(**SECURED)
def test_a_client_in_python_follows(service: Service) -> None:
    api = service.api
    user, good = someone(api)
    protocols = [Subprotocol(PROTOCOL), Subprotocol(f"bearer.{good}")]
    url = f"ws://{api.host}{PATH}"
    with connect(url, subprotocols=protocols, proxy=None, close_timeout=2) as client:
        assert client.subprotocol == PROTOCOL
        client.send('{"after":"0"}')
        assert client.recv(5) == '{"after":"0"}'
        assert json.loads(client.recv(5))["data"] == user
        for _ in range(3):
            assert json.loads(client.recv(5)).keys() == {"after"}
        client.close(4000, "enough")
        assert (client.close_code, client.close_reason) == (4000, "enough")


NODE = """
const [url, protocol, token] = process.argv.slice(1);
const socket = new WebSocket(url, [protocol, `bearer.${token}`]);
const seen = [];
socket.onopen = () => socket.send(JSON.stringify({ after: "0" }));
socket.onmessage = ({ data }) => {
  seen.push(JSON.parse(data));
  if (seen.length === 5) socket.close(4000, "enough");
};
socket.onclose = ({ code, reason, wasClean }) => {
  const { protocol, extensions } = socket;
  console.log(JSON.stringify({ seen, protocol, extensions, code, reason, wasClean }));
};
"""


@once_a_side
@pytest.mark.clause("SOCK-01", "SOCK-04", "SOCK-09", "SOCK-11", "SOCK-12")
@pytest.mark.settings(**SECURED)
def test_a_client_in_node_follows(service: Service) -> None:
    user, good = someone(service.api)
    url = f"ws://{service.api.host}{PATH}"
    command = [services.node(), "-e", NODE, url, PROTOCOL, good]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    begin, event, *beats = said.pop("seen")
    assert (begin, event["data"]) == ({"after": "0"}, user)
    assert [beat.keys() for beat in beats] == [{"after"}] * 3
    assert said == {
        "protocol": PROTOCOL,
        "extensions": "",
        "code": 4000,
        "reason": "enough",
        "wasClean": True,
    }


FOLLOW = """
const [url, protocol, token] = arguments;
window.seen = [];
window.ended = [];
const socket = new WebSocket(url, [protocol, `bearer.${token}`]);
socket.onopen = () => socket.send(JSON.stringify({ after: "0" }));
socket.onmessage = ({ data }) => seen.push(JSON.parse(data));
socket.onclose = ({ code, reason }) => ended.push([code, reason, socket.protocol]);
"""


@once_a_side
@pytest.mark.clause("SOCK-01", "SOCK-04", "SOCK-05", "SOCK-11", "SOCK-16")
def test_a_browser_follows_where_its_origin_is_named(launched: Launch, tmp_path: Path) -> None:
    port = services.free_port()
    origin = f"http://127.0.0.1:{port}"
    service = launched(PORT=f"{port}", CORS_ORIGINS=origin, **SECURED)
    user, good = someone(service.api)
    begin = [f"ws://127.0.0.1:{port}{PATH}", PROTOCOL, good]
    with browser.chromium(tmp_path / "profile") as chrome:

        def waits_for(what: Callable[[], bool]) -> None:
            browser.waiting(chrome).until(lambda _: what())

        chrome.get(f"http://localhost:{port}/healthz")
        chrome.execute_script(FOLLOW, *begin)
        waits_for(lambda: chrome.execute_script("return ended") == [[1006, "", ""]])
        chrome.get(f"{origin}/healthz")
        chrome.execute_script(FOLLOW, *begin)
        waits_for(lambda: chrome.execute_script("return seen.length") > 4)
        seen = chrome.execute_script("return seen")
        assert (seen[0], seen[1]["data"]) == ({"after": "0"}, user)
        assert service.api.delete(f"/users/{user['id']}").status == 204
        ended = [[*UNAUTHORIZED, PROTOCOL]]
        waits_for(lambda: chrome.execute_script("return ended") == ended)
