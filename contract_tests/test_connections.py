"""HTTP, OPS and AUTH: how much a client can have of a service that it keeps waiting."""

import contextlib
import json
import os
import runpy
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from contract_tests.harness import expect, services
from contract_tests.harness.client import Client
from contract_tests.harness.databases import locked
from contract_tests.harness.services import Kind, Service
from contract_tests.harness.streams import streamed
from contract_tests.harness.wire import Connection, message

Launch = Callable[..., Service]

JSON = ("Content-Type", "application/json")
OK = b'{"status":"ok"}'
BUNDLE = "/docs/swagger-ui-bundle.js"
MIB = 2**20

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells it in /proc")
# What is about connections is the same on every database.
once_a_side = pytest.mark.engine("sqlite")


def memory(service: Service) -> int:
    """The bytes that the service's process has in memory."""
    pages = Path(f"/proc/{service.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def settled(service: Service) -> int:
    """The same, once it grows no more: a busy machine takes its time."""
    found, deadline = memory(service), time.monotonic() + 20
    while time.monotonic() < deadline:
        time.sleep(1)
        before, found = found, memory(service)
        if found - before < MIB:
            break
    return found


def sockets(service: Service) -> int:
    """How many sockets the service's process has open."""
    found = 0
    for entry in Path(f"/proc/{service.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += entry.readlink().name.startswith("socket:")
    return found


def silent(service: Service, buffer: int = 0) -> socket.socket:
    """A connection of which nothing is read, with a small buffer if one is given."""
    parts = urlsplit(service.url)
    client = socket.socket()
    if buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client.settimeout(5)
    client.connect((parts.hostname, parts.port))
    return client


def send_until_full(client: socket.socket, data: bytes, most: int = 4 * MIB) -> None:
    """Send this again and again, until the other side has taken nothing for a while."""
    client.settimeout(0.5)
    with contextlib.suppress(TimeoutError):
        for _ in range(most // len(data) + 1):
            client.sendall(data)


def receive(client: socket.socket, size: int) -> bytes:
    """So many bytes; AssertionError where the connection ends before."""
    received = bytearray()
    while len(received) < size:
        data = client.recv(min(MIB, size - len(received)))
        assert data, f"cut after {len(received)} bytes"
        received += data
    return bytes(received)


# How much


def flood_of(kind: str, api: Client) -> bytes:
    """More answers than a socket's buffers hold, and behind them many requests."""
    behind = {
        "large answers": api.message("GET", BUNDLE) * 1200,
        "small requests": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3000,
        "upgrades": api.message("GET", "/", [("Connection", "upgrade"), ("Upgrade", "a")]) * 1000,
        "bodies": api.message("POST", "/users", [JSON], b"x" * 60000) * 20,
    }
    return api.message("GET", BUNDLE) * 10 + behind[kind]


@linux
@once_a_side
@pytest.mark.clause("HTTP-22")
@pytest.mark.parametrize("flood", ["large answers", "small requests", "upgrades", "bodies"])
def test_a_client_that_does_not_read_holds_little(launched: Launch, flood: str) -> None:
    """Six at once, after two that have had the process take what it keeps to work with."""
    service = launched()
    api = service.api
    data = flood_of(flood, api)
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            send_until_full(stack.enter_context(silent(service, 65536)), data)
        before = memory(service)
        for _ in range(6):
            send_until_full(stack.enter_context(silent(service, 65536)), data)
        expect.body(api.get("/healthz"), 200, OK)
        grown = memory(service) - before
    assert grown < 20 * MIB, f"{grown / MIB:.1f} MiB"


@linux
@once_a_side
@pytest.mark.clause("HTTP-22", "BODY-05")
def test_a_body_in_chunks_of_a_byte_holds_little(launched: Launch) -> None:
    """22 without an end, after two that have had the process take what it keeps to work with.

    Most of what it takes is garbage; a list of the chunks was 24 MiB of each.
    """
    service = launched()
    head = [("Host", "localhost"), JSON, ("Transfer-Encoding", "chunked")]
    data = message("POST", "/users", head, b"1\r\na\r\n" * 65000)
    with contextlib.ExitStack() as stack:
        before = 0
        for count in range(24):
            before = memory(service) if count == 2 else before
            stack.enter_context(service.api.connect(30.0)).send(data)
            expect.body(service.api.get("/healthz"), 200, OK)
        grown = memory(service) - before
    assert grown < 150 * MIB, f"{grown / MIB:.1f} MiB"


@once_a_side
@pytest.mark.clause("HTTP-22", "HTTP-10", "HTTP-11")
def test_nothing_is_done_before_the_answers_before_it_are_taken(launched: Launch) -> None:
    api, fields = launched().api, expect.somebody()
    creation = api.message("POST", "/users", [JSON], expect.render(fields))
    with api.connect(30.0) as connection:
        whole = api.get(BUNDLE)
        connection.send(api.message("GET", BUNDLE) * 40 + creation)
        time.sleep(1)
        expect.users(api.get("/users"), [], next=False)
        for _ in range(40):
            assert connection.read().body == whole.body
        user = expect.user(connection.read("POST"), 201, **fields)
    expect.users(api.get("/users"), [user], next=False)


@once_a_side
@pytest.mark.clause("HTTP-11", "HTTP-22")
def test_any_number_of_requests_is_answered_in_order(launched: Launch) -> None:
    """More than are looked at together; some with a body, one that can't be read at the end."""
    api = launched().api
    data = b""
    for number in range(2000):
        head = [("X-Request-Id", f"n-{number}")]
        body = b"x" * number if number % 7 == 0 else None
        data += api.message("GET" if body is None else "POST", "/nowhere", head, body)
    with api.connect(30.0) as connection:
        connection.send(data + b"GARBAGE\r\n\r\n")
        for number in range(2000):
            expect.problem(connection.read(), "not-found", request_id=f"n-{number}")
        expect.problem(connection.read(), "bad-request", closed=True)
        assert connection.closed()


# How long


@linux
@once_a_side
@pytest.mark.clause("OPS-27")
@pytest.mark.parametrize("each", [0, 1], ids=["nothing", "a byte now and then"])
def test_who_takes_nothing_of_an_answer_is_cut(launched: Launch, each: int) -> None:
    service = launched(REQUEST_TIMEOUT="1", KEEP_ALIVE_TIMEOUT="60")
    api = service.api
    before = sockets(service)
    with contextlib.closing(silent(service, 4096)) as client:
        client.sendall(api.message("GET", BUNDLE) * 20)
        time.sleep(0.5)
        assert sockets(service) > before
        deadline = time.monotonic() + 6
        while sockets(service) > before:
            assert time.monotonic() < deadline, "it is still connected"
            client.recv(each or 1, socket.MSG_PEEK if not each else 0)
            time.sleep(0.2)
    expect.body(api.get("/healthz"), 200, OK)


@once_a_side
@pytest.mark.clause("OPS-27")
def test_who_takes_some_of_an_answer_gets_all_of_it(launched: Launch) -> None:
    """A megabyte or two every half second, for longer than REQUEST_TIMEOUT."""
    service = launched(REQUEST_TIMEOUT="2", KEEP_ALIVE_TIMEOUT="60")
    api = service.api
    whole = api.get(BUNDLE).body
    with contextlib.closing(silent(service, 65536)) as client:
        client.sendall(api.message("GET", BUNDLE) * 12 + api.message("GET", "/healthz"))
        received = []
        for _ in range(6):
            received.append(receive(client, 2 * MIB))
            time.sleep(0.6)
        received.append(receive(client, 12 * len(whole) - 12 * MIB))
        assert b"".join(received).count(whole[:-1000]) >= 11


@once_a_side
@pytest.mark.clause("OPS-26")
@pytest.mark.parametrize("now_and_then", [b"", b"\r\n"], ids=["nothing", "empty lines"])
def test_who_asks_nothing_is_cut_in_time(launched: Launch, now_and_then: bytes) -> None:
    service = launched(REQUEST_TIMEOUT="1", KEEP_ALIVE_TIMEOUT="60")
    with service.api.connect(20.0) as connection:
        assert_closed_in_time(connection, now_and_then)


@once_a_side
@pytest.mark.clause("OPS-25")
@pytest.mark.parametrize(
    "now_and_then", [b"", b"\r\n", b"\r\n" * 3], ids=["nothing", "one", "more"]
)
def test_empty_lines_keep_no_connection(launched: Launch, now_and_then: bytes) -> None:
    service = launched(REQUEST_TIMEOUT="60", KEEP_ALIVE_TIMEOUT="1")
    with service.api.connect(20.0) as connection:
        connection.send(service.api.message("GET", "/healthz"))
        expect.body(connection.read(), 200, OK)
        assert_closed_in_time(connection, now_and_then)


def assert_closed_in_time(connection: Connection, now_and_then: bytes) -> None:
    """It is closed after a second and before the fourth, without a word."""
    start = time.monotonic()
    while not connection.readable(0.2):
        assert time.monotonic() < start + 4, "still open"
        if now_and_then:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.send(now_and_then)
    assert connection.closed()
    assert time.monotonic() > start + 0.9


@once_a_side
@pytest.mark.clause("OPS-25", "OPS-26")
def test_a_request_that_begins_late_has_its_time(launched: Launch) -> None:
    """It begins before KEEP_ALIVE_TIMEOUT is over, and is there before REQUEST_TIMEOUT is."""
    api = launched(REQUEST_TIMEOUT="60", KEEP_ALIVE_TIMEOUT="1").api
    data = api.message("GET", "/healthz")
    with api.connect(20.0) as connection:
        connection.send(data)
        expect.body(connection.read(), 200, OK)
        time.sleep(0.4)
        connection.send(data[:10])
        assert not connection.readable(2.5)
        connection.send(data[10:])
        expect.body(connection.read(), 200, OK)


@once_a_side
@pytest.mark.clause("OPS-26")
@pytest.mark.parametrize("size", [2, 30_000, 70_000])
def test_a_stream_ends_whose_request_never_comes_whole(launched: Launch, size: int) -> None:
    service = launched(REQUEST_TIMEOUT="1", EVENTS_HEARTBEAT="1")
    length = [("Host", service.api.host), ("Content-Length", "100000")]
    with service.api.connect(20.0) as connection:
        connection.send(message("GET", "/events/stream", length, b"x" * size))
        start = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            while connection._socket.recv(65536):
                assert time.monotonic() < start + 4, "still open"


@once_a_side
@pytest.mark.clause("OPS-26")
def test_who_waits_for_us_is_not_late(launched: Launch) -> None:
    """Requests that wait for one before them are not read; their time begins when they are."""
    waits = {"DATABASE_TIMEOUT": "20", "DATABASE_STATEMENT_TIMEOUT": "20"}
    service = launched(**waits, REQUEST_TIMEOUT="1")
    api, planned = service.api, [expect.somebody() for _ in range(30)]
    bodies = [expect.render(fields).ljust(60000) for fields in planned]
    data = b"".join(api.message("POST", "/users", [JSON], body) for body in bodies)
    with api.connect(30.0) as connection:
        with locked(service.database_url):
            connection._socket.setblocking(False)
            sent = connection._socket.send(data)
            assert not connection.readable(3)
        connection.send(data[sent:])
        for fields in planned:
            expect.user(connection.read("POST"), 201, **fields)


# How many


def assert_served(one: Connection, data: bytes) -> None:
    """The connection is there, and this request for /healthz or /readyz is answered on it."""
    try:
        one.send(data)
        answer = one.read()
    except (ConnectionError, BrokenPipeError) as error:
        raise AssertionError(f"shut out: {error}") from None
    expect.body(answer, 200, OK)


@once_a_side
@pytest.mark.clause("OPS-28")
@pytest.mark.parametrize("head", [b"", b"\r\n", b"GET /users HTTP/1.1\r\nHost"])
def test_who_has_waited_longest_makes_room(launched: Launch, head: bytes) -> None:
    service = launched(MAX_CONNECTIONS="5")
    api = service.api
    alive = api.message("GET", "/healthz")
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connection(service)) for _ in range(4)]
        for one in connections:
            assert_served(one, alive)
        if head:
            connections[1].send(head)
        # The first comes to have waited for a shorter time than the others.
        assert_served(connections[0], alive)
        further = [stack.enter_context(connection(service)) for _ in range(3)]
        for one in (*further, connections[0]):
            assert_served(one, alive)
        assert connections[1].closed()
        assert connections[2].closed()
        assert not connections[3].readable(0)


def connection(service: Service) -> contextlib.closing[Connection]:
    """A connection of which it is known that the service has it."""
    one = service.api.connect(20.0)
    time.sleep(0.1)
    return contextlib.closing(one)


@once_a_side
@pytest.mark.clause("OPS-28")
def test_no_request_under_way_makes_room(launched: Launch) -> None:
    waits = {"DATABASE_TIMEOUT": "20", "DATABASE_STATEMENT_TIMEOUT": "20"}
    service = launched(**waits, MAX_CONNECTIONS="3")
    api, planned = service.api, [expect.somebody() for _ in range(2)]
    whole = api.get(BUNDLE).body
    api.close()
    time.sleep(0.2)
    with contextlib.ExitStack() as stack:
        unlock = stack.enter_context(locked(service.database_url))
        # One takes its time with an answer, which isn't taken from it either.
        reader = stack.enter_context(contextlib.closing(silent(service, 65536)))
        reader.sendall(api.message("GET", BUNDLE) * 20)
        reader.recv(1, socket.MSG_PEEK)
        busy = [stack.enter_context(connection(service)) for _ in planned]
        for one, fields in zip(busy, planned, strict=True):
            one.send(api.message("POST", "/users", [JSON], expect.render(fields)))
        time.sleep(0.3)
        for _ in range(3):
            with connection(service) as further:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    further.send(api.message("GET", "/healthz"))
                assert further.closed()
        unlock()
        for one, fields in zip(busy, planned, strict=True):
            expect.user(one.read("POST"), 201, **fields)
        assert len(receive(reader, 20 * len(whole))) == 20 * len(whole)


@linux
@pytest.mark.engine("sqlite")
@pytest.mark.clause("OPS-28")
@pytest.mark.parametrize("processes", ["1", "2"])
def test_silent_connections_shut_nobody_out(
    started_by_us: Kind, tmp_path: Path, processes: str
) -> None:
    """200 of them, where a process may open 128 files; and MAX_CONNECTIONS is 1000."""
    service = Service(started_by_us, tmp_path, {"WEB_CONCURRENCY": processes}, files=128)
    service.start()
    try:
        service.await_ready()
        with contextlib.ExitStack() as stack:
            for number in range(200):
                client = stack.enter_context(contextlib.closing(silent(service)))
                if number % 2:
                    client.sendall(b"GET /users HT")
                if number % 50 == 49:
                    with service.api.connect(20.0) as fresh:
                        assert_served(fresh, service.api.message("GET", "/readyz"))
        assert service.stderr() == ""
        assert service.stop() == 0
    finally:
        service.kill()


@linux
@pytest.mark.engine("sqlite")
@pytest.mark.clause("OPS-28")
def test_only_the_hard_limit_of_files_counts(started_by_us: Kind, tmp_path: Path) -> None:
    """Where a process may open 60 files, and may allow itself 600."""
    service = Service(started_by_us, tmp_path)
    service.through('ulimit -Sn 60; ulimit -Hn 600; exec "$@"')
    service.start()
    try:
        service.await_ready()
        with contextlib.ExitStack() as stack:
            alive = service.api.message("GET", "/healthz")
            connections = [stack.enter_context(connection(service)) for _ in range(100)]
            for one in connections:
                assert_served(one, alive)
    finally:
        service.kill()


@linux
@pytest.mark.engine("sqlite")
@pytest.mark.clause("OPS-28", "STREAM-08")
def test_streams_leave_files_to_others(started_by_us: Kind, tmp_path: Path) -> None:
    """Where a process may open 80 files, streams take half of the connections that this leaves."""
    service = Service(started_by_us, tmp_path, files=80)
    service.start()
    try:
        service.await_ready()
        with contextlib.ExitStack() as stack:
            opened = 0
            while opened < 80:
                try:
                    stack.enter_context(streamed(service.api))
                except ConnectionRefusedError:
                    break
                opened += 1
            assert 5 <= opened <= 20
            expect.problem(service.api.get("/events/stream"), "too-many-streams")
    finally:
        service.kill()


# Whose


LOOPBACK = [
    "localhost",
    "LOCALHOST:80",
    "a.b.localhost:1",
    "127.0.0.1",
    "127.9.8.7:65535",
    "[::1]:9",
]
ELSEWHERE = [
    "evil.example",
    "evil.example:80",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evillocalhost",
    "10.0.0.1",
    "128.0.0.1",
    "127.0.0.1.",
    "1127.0.0.1",
    "[::2]",
    "[::]",
    "0.0.0.0",
]


def asked(host: str, target: str = "/healthz") -> bytes:
    """A creation that a page of another origin could send, once its name has been rebound."""
    return message("GET", target, [("Host", host), ("Origin", f"http://{host}")])


@once_a_side
@pytest.mark.clause("AUTH-40")
def test_open_on_a_loopback_it_answers_to_no_other_name(service: Service) -> None:
    api = service.api
    for host in LOOPBACK:
        expect.body(api.raw(asked(host)), 200, OK)
        expect.body(api.raw(asked("localhost", f"http://{host}/healthz")), 200, OK)
    for host in ELSEWHERE:
        expect.problem(api.raw(asked(host)), "bad-request", closed=True)
        target = f"http://{host}/healthz"
        expect.problem(api.raw(asked("localhost", target)), "bad-request", closed=True)
        fields = expect.somebody()
        body = expect.render(fields)
        head = [("Host", host), JSON, ("Content-Length", str(len(body)))]
        answer = api.raw(message("POST", "/users", head, body))
        expect.problem(answer, "bad-request", closed=True)
        expect.users(api.get(f"/users?q={fields['email']}"), [], next=False)


@once_a_side
@pytest.mark.clause("AUTH-40", "HTTP-02")
@pytest.mark.parametrize(
    "settings",
    [{"HOST": "0.0.0.0", "AUTH": "off"}, {"AUTH_SECRET": "x" * 32}],
    ids=["elsewhere", "secured"],
)
def test_elsewhere_or_secured_it_answers_to_every_name(
    launched: Launch, settings: dict[str, str]
) -> None:
    api = launched(**settings).api
    for host in (*LOOPBACK, *ELSEWHERE):
        expect.body(api.raw(asked(host)), 200, OK)


@once_a_side
@pytest.mark.clause("AUTH-40")
def test_with_a_secret_that_is_not_used_it_is_open(launched: Launch) -> None:
    api = launched(AUTH="off", AUTH_SECRET="x" * 32).api
    expect.problem(api.raw(asked("evil.example")), "bad-request", closed=True)


# Where


def reachable(service: Service, *hosts: str) -> list[str]:
    """At which of these addresses the service answers, and no other one that has the port there."""
    port = urlsplit(service.url).port or 0
    email = service.api.create()["email"].encode()
    found = []
    for host in hosts:
        with contextlib.suppress(OSError), contextlib.closing(Connection(host, port, 20.0)) as one:
            one.send(message("GET", "/users", [("Host", "localhost")]))
            if email in one.read().body:
                found.append(host)
    return found


def has_ipv6() -> bool:
    """Whether this machine has a loopback address of IPv6."""
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


@linux
@once_a_side
@pytest.mark.clause("OPS-29", "OPS-02", "OPS-01")
@pytest.mark.parametrize(
    ("host", "shown", "answers", "processes"),
    [
        ("localhost", "127.0.0.1", ["127.0.0.1"], "1"),
        ("localhost", "127.0.0.1", ["127.0.0.1"], "2"),
        ("0.0.0.0", "0.0.0.0", ["127.0.0.1", "127.0.0.2"], "1"),
        ("::1", "[::1]", ["::1"], "1"),
        ("::", "[::]", ["127.0.0.1", "127.0.0.2", "::1"], "1"),
        ("::", "[::]", ["127.0.0.1", "127.0.0.2", "::1"], "2"),
    ],
)
def test_it_listens_at_these_and_no_other_addresses(
    launched: Launch, host: str, shown: str, answers: list[str], processes: str
) -> None:
    if ":" in host and not has_ipv6():
        pytest.skip("no IPv6 here")
    service = launched(HOST=host, AUTH="off", WEB_CONCURRENCY=processes)
    assert service.url == f"http://{shown}:{urlsplit(service.url).port}"
    assert reachable(service, "127.0.0.1", "127.0.0.2", "::1") == answers


@once_a_side
@pytest.mark.clause("OPS-29", "OPS-03")
def test_a_host_that_is_none_ends_the_start_with_one_line(spawned: Callable[..., Service]) -> None:
    service = spawned(HOST="nowhere.invalid", PORT="8000", AUTH="off")
    assert service.wait(services.START_TIMEOUT) == 1
    assert service.stderr() == "Cannot listen on port 8000 of nowhere.invalid.\n"
    assert service.stdout() == ""


# Which of these hosts can be listened at.
LISTEN: dict[Kind, str] = {
    "python": """
import sys
from python_api.http.server import listen
from python_api.settings import read_settings

for host in sys.argv[1:]:
    try:
        listen(read_settings({"HOST": host, "AUTH": "off", "PORT": "0"})).close()
        print(host)
    except OSError:
        pass
""",
    "node": """
import { listen } from "./src/http/server.ts";
import { readSettings } from "./src/settings.ts";

for (const host of process.argv.slice(1)) {
  await listen(readSettings({ HOST: host, AUTH: "off", PORT: "0" })).then(
    (server) => { console.log(host); server.close(); },
    (error) => { if (!error.code && !/name of a host/.test(error.message)) throw error; },
  );
}
""",
}


@pytest.mark.clause("OPS-29")
@pytest.mark.parametrize("kind", services.KINDS)
def test_what_is_no_host_is_not_listened_at(kind: Kind) -> None:
    none = ["nowhere.invalid", "256.1.1.1", "192.0.2.1", "a..b", "::g"]
    none += ["<broadcast>", "<any>", "::1%lo", "::1%1", "\u3002", "\u00ad", "127\u20240.0.1"]
    none += ["\uff11\uff12\uff17.0.0.1", "localhost\u3002"]
    assert services.run_code(LISTEN, kind, *none, "127.0.0.1").split() == ["127.0.0.1"]


# Signals


@once_a_side
@pytest.mark.clause("OPS-06", "OPS-07")
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_another_signal_changes_nothing(
    launched: Launch, first: signal.Signals, second: signal.Signals
) -> None:
    waits = {"DATABASE_TIMEOUT": "20", "DATABASE_STATEMENT_TIMEOUT": "20"}
    service = launched(**waits, SHUTDOWN_TIMEOUT="9")
    api, fields = service.api, expect.somebody()
    with api.connect(20.0) as connection, locked(service.database_url) as unlock:
        creation = api.message("POST", "/users", [JSON], expect.render(fields))
        connection.send(api.message("GET", "/healthz") + creation)
        expect.body(connection.read(), 200, OK)
        for signum in (first, second, second):
            service.process.send_signal(signum)
            assert not connection.readable(0.3)
        unlock()
        expect.user(connection.read("POST"), 201, **fields)
        assert service.wait() == 0


# Node


@pytest.mark.clause("HTTP-27")
@pytest.mark.parametrize(
    ("version", "taken"),
    [
        ("22.22.2", False),
        ("24.13.0", False),
        ("24.14.0", False),
        ("24.14.1", True),
        ("24.19.0", True),
        ("25.8.1", False),
        ("25.8.2", True),
        ("26.0.0", True),
    ],
)
def test_no_node_is_taken_that_a_field_name_ends(
    version: str, taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = tmp_path / "node"
    node.write_text(f"#!/bin/sh\necho {version} {node}\n")
    node.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    setup = runpy.run_path(str(services.ROOT / ".ci" / "setup.py"))
    assert setup["node_on_path"]() == (node if taken else None)
    assert services.is_new_enough(version) == taken
    engines = json.loads((services.ROOT / "node_api" / "package.json").read_text())["engines"]
    assert engines == {"node": ">=24.14.1 <25 || >=25.8.2"}
