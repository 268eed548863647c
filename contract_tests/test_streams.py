"""STREAM: events as they happen, by Server-Sent Events."""

import contextlib
import json
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from contract_tests.harness import browser, expect, services
from contract_tests.harness.client import Client
from contract_tests.harness.databases import Session, locked
from contract_tests.harness.services import Service
from contract_tests.harness.sockets import Socket
from contract_tests.harness.streams import Stream, streamed
from contract_tests.harness.tokens import claims, token
from contract_tests.harness.wire import Answer
from contract_tests.test_connections import settled
from contract_tests.test_events import TTL, newest, old_and_new

Event = dict[str, Any]
PASSWORD = "correct horse battery staple"
BEAT = 1
MALFORMED = expect.error("malformed", header="Last-Event-ID")
AFTER = [expect.error("malformed", parameter="after")]


def of_user(stream: Stream | Socket, user: dict[str, Any]) -> Event:
    """The next event of this user; others may have theirs meanwhile."""
    while (event := stream.event())["subject"] != f"/users/{user['id']}":
        pass
    return event


@pytest.mark.clause("STREAM-01", "STREAM-02", "STREAM-05", "EVENT-05", "EVENT-06")
def test_what_happens_is_told_at_once(api: Client) -> None:
    before = newest(api)
    with streamed(api) as stream:
        ada = api.create(name="Zoë 😀")
        path = f"/users/{ada['id']}"
        told = [of_user(stream, ada)]
        begin = time.monotonic()
        renamed = api.patch(path, json={"name": "Ada King"}).json()
        told.append(of_user(stream, ada))
        expect.empty(api.delete(path))
        told.append(of_user(stream, ada))
        assert time.monotonic() - begin < 2
    assert [(event["type"], event["data"]) for event in told] == [
        ("user.created", ada),
        ("user.changed", renamed),
        ("user.deleted", {"id": ada["id"], "version": 2}),
    ]
    listed, _ = expect.events(api.get(f"/events?limit=100&after={before}"))
    assert [event for event in listed if event["subject"] == path] == told


@pytest.mark.clause("STREAM-03", "STREAM-05")
def test_a_stream_begins_where_it_is_to(api: Client) -> None:
    before = newest(api)
    ada, eve = api.create(), api.create()
    listed, _ = expect.events(api.get(f"/events?limit=2&after={before}"))
    for query, last in (
        (f"?after={before}", None),
        ("", before),
        (f"?after={before + 1}", before),
        (f"?after={expect.MAX_ID}&limit=0&sort=x", before),
    ):
        with streamed(api, query, last) as stream:
            assert [stream.event(), stream.event()] == listed
    with streamed(api, "?after=0", newest(api)) as stream, streamed(api) as other:
        bob = api.create()
        assert of_user(stream, bob)["data"] == of_user(other, bob)["data"] == bob
    assert ada["id"] < eve["id"]


@pytest.mark.clause("STREAM-03", "PROB-14", "PROB-16")
@pytest.mark.storeless
@pytest.mark.parametrize("last", ["", "x", "01", "-1", "1.0", "+1", "1,2", "9" * 17, '"1"', "é"])
def test_400_another_last_event_id(api: Client, last: str) -> None:
    for query in ("", "?%", "?after=x"):
        answer = api.get(f"/events/stream{query}", headers={"Last-Event-ID": last})
        expect.problem(answer, "malformed-header", [MALFORMED])


@pytest.mark.clause("STREAM-03", "PROB-14")
@pytest.mark.storeless
def test_400_two_of_them(api: Client) -> None:
    fields = [("Last-Event-ID", "1"), ("Last-Event-ID", "1")]
    expect.problem(api.get("/events/stream", headers=fields), "malformed-header", [MALFORMED])


@pytest.mark.clause("STREAM-03", "QUERY-01")
@pytest.mark.storeless
@pytest.mark.parametrize("headers", [{}, {"Last-Event-ID": "1"}], ids=["alone", "beside"])
def test_422_another_after(api: Client, headers: dict[str, str]) -> None:
    for query, code in (
        ("after=", "malformed"),
        ("after=01", "malformed"),
        ("after=x", "malformed"),
        ("after=1&after=1", "malformed"),
        ("after=9007199254740992", "too-large"),
    ):
        answer = api.get(f"/events/stream?{query}", headers=headers)
        expect.problem(answer, "validation", [expect.error(code, parameter="after")])
    expect.problem(api.get("/events/stream?%", headers=headers), "malformed-query")


@pytest.mark.clause("STREAM-04", "EVENT-15")
@pytest.mark.settings(EVENTS_TTL=f"{TTL}")
def test_410_what_is_forgotten(service: Service) -> None:
    api = service.api
    old, new = old_and_new(service)
    expect.problem(api.get(f"/events/stream?after={old - 1}"), "events-gone")
    last = {"Last-Event-ID": f"{old - 1}"}
    expect.problem(api.get("/events/stream", headers=last), "events-gone")
    with streamed(api, f"?after={old}") as stream:
        assert stream.event()["id"] == f"{new}"


def fill(service: Service, count: int, size: int) -> None:
    """Have the log hold so many events, each of about so many bytes."""
    data = json.dumps({"id": 1, "name": "x" * size})
    with Session(service.database_url) as session:
        session.execute(
            "WITH RECURSIVE numbers (n) AS"
            f" (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})"
            " INSERT INTO events (type, user_id, time, data)"
            f" SELECT 'user.changed', 1, '2026-11-30T01:02:03.456Z', '{data}' FROM numbers"
        )


@contextlib.contextmanager
def unread(api: Client, query: str) -> Iterator[socket.socket]:
    """A stream whose client takes as little as it can."""
    parts = urlsplit(api.url)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((parts.hostname, parts.port))
        client.sendall(api.message("GET", f"/events/stream{query}"))
        yield client


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process holds so")
@pytest.mark.engine("sqlite")
@pytest.mark.clause("STREAM-09")
def test_who_reads_nothing_holds_little(launched: Callable[..., Service]) -> None:
    service = launched(EVENTS_TTL="31536000")
    fill(service, 10_000, 1000)
    clients = 30
    with contextlib.ExitStack() as stack:
        # What the first ones take the process keeps for others.
        for _ in range(clients):
            stack.enter_context(unread(service.api, "?after=0"))
        before = settled(service)
        for _ in range(clients):
            stack.enter_context(unread(service.api, "?after=0"))
        grown = settled(service) - before
        # Beside what they hold there is what the process has yet to collect.
        assert grown < (clients + 64) * 2**20
        with streamed(service.api, timeout=20.0) as stream:
            ada = service.api.create()
            assert of_user(stream, ada)["data"] == ada
    assert service.stderr() == ""


@pytest.mark.clause("STREAM-04")
def test_who_lags_behind_what_is_kept_is_let_go(launched: Callable[..., Service]) -> None:
    service = launched(EVENTS_TTL="31536000")
    fill(service, 10_000, 1000)
    with unread(service.api, "?after=0") as client:
        client.settimeout(5)
        beginning = client.recv(16)
        time.sleep(0.5)
        with Session(service.database_url) as session:
            session.execute("DELETE FROM events WHERE position < 10000")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
        end = beginning
        with contextlib.suppress(TimeoutError):
            while not end.endswith(b"\r\n0\r\n\r\n") and (data := client.recv(2**20)):
                end = (end + data)[-100:]
        assert end.endswith(b"\n\n\r\n0\r\n\r\n")
        assert b"id: 10000" not in end


@pytest.mark.clause("STREAM-05", "EVENT-03")
def test_streams_agree_with_the_list(api: Client) -> None:
    before, writers, readers, each = newest(api), 6, 4, 8
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(writers) as pool:
        streams = [stack.enter_context(streamed(api, f"?after={before}")) for _ in range(readers)]
        created = [*pool.map(lambda _: api.create()["id"], range(writers * each))]
        last = newest(api)
        seen = [[stream.event() for _ in range(last - before)] for stream in streams]
    listed: list[Event] = []
    path: str | None = f"/events?limit=100&after={before}"
    while path and len(listed) < last - before:
        page, path = expect.events(api.get(path))
        listed += page
    assert seen == [listed[: last - before]] * readers
    assert {*created} <= {event["data"]["id"] for event in listed}


@pytest.mark.clause("STREAM-05", "STREAM-03")
def test_who_moves_between_services_misses_nothing(pair: tuple[Client, Client]) -> None:
    position = newest(pair[0])
    created: list[Any] = []
    seen: list[Any] = []
    for turn in range(6):
        here, there = pair if turn % 2 else pair[::-1]
        created.append(there.create())
        with streamed(here, last=position) as stream:
            created += [here.create(), there.create()]
            while len(seen) < len(created):
                event = stream.event()
                seen.append(event["data"])
                position = int(event["id"])
    assert seen == created


@pytest.mark.clause("PAIR-10", "STREAM-02", "EVENT-05")
def test_both_send_the_same_bytes(pair: tuple[Client, Client]) -> None:
    position = newest(pair[0])
    for api in pair:
        user = api.create(name='Zoë 😀 "Ada"')
        path = f"/users/{user['id']}"
        api.patch(path, json={"name": "\\/é"})
        api.delete(path)
    sent = []
    for api in pair:
        with streamed(api, last=position) as stream:
            sent.append([stream.block() for _ in range(6)])
    assert sent[0] == sent[1]


@pytest.mark.clause("STREAM-05", "RIGHT-16")
def test_a_member_is_told_what_happens_to_them(guarded: Client) -> None:
    ada, eve = (guarded.create(password=PASSWORD) for _ in range(2))
    member = guarded.asking(f"Bearer {guarded.token(ada['email'], PASSWORD)}")
    with streamed(member, "?after=0") as stream, streamed(member) as new:
        assert stream.event()["data"] == ada
        guarded.patch(f"/users/{eve['id']}", json={"name": "Eve"})
        renamed = guarded.patch(f"/users/{ada['id']}", json={"name": "Ada King"}).json()
        assert stream.event()["data"] == new.event()["data"] == renamed


@pytest.mark.clause("STREAM-02", "STREAM-03")
def test_a_stream_tells_where_it_begins(api: Client) -> None:
    """So that whoever loses it before there is an event misses none."""
    before = newest(api)
    with streamed(api) as stream:
        begin = stream.position
        assert begin >= before
    with streamed(api, "?after=0", before) as stream:
        assert stream.position == before
    ada = api.create()
    with streamed(api, last=begin) as stream:
        assert of_user(stream, ada)["data"] == ada


@pytest.mark.clause("STREAM-06", "STREAM-04")
@pytest.mark.settings(**services.SECURED, EVENTS_HEARTBEAT=f"{BEAT}", EVENTS_TTL=f"{TTL}")
def test_who_sees_little_does_not_fall_behind(service: Service) -> None:
    api = service.api
    ada = api.create(password=PASSWORD)
    member = api.asking(f"Bearer {api.token(ada['email'], PASSWORD)}")
    with streamed(member, last=newest(api)) as stream:
        api.create()
        time.sleep(TTL + 0.1)
        api.create()
        last = newest(api)
        stream.heartbeat()
        stream.heartbeat()
        assert stream.position == last
    with streamed(member, last=stream.position) as stream:
        renamed = api.patch(f"/users/{ada['id']}", json={"name": "Ada King"}).json()
        assert stream.event()["data"] == renamed


@pytest.mark.clause("STREAM-06")
@pytest.mark.settings(EVENTS_HEARTBEAT=f"{BEAT}")
def test_heartbeats(service: Service) -> None:
    with streamed(service.api) as stream:
        begin = time.monotonic()
        for _ in range(3):
            stream.heartbeat()
        assert 2 * BEAT < time.monotonic() - begin < 5 * BEAT
        ada = service.api.create()
        assert of_user(stream, ada)["data"] == ada


SECURED = services.SECURED | {"EVENTS_HEARTBEAT": f"{BEAT}"}


def ends(stream: Stream) -> None:
    """The stream ends, with heartbeats before at most, soon after two of them."""
    assert stream.rest(2 * BEAT + 3) == []


@pytest.mark.clause("STREAM-07")
@pytest.mark.settings(**SECURED)
def test_a_void_token_ends_its_stream(service: Service) -> None:
    api = service.api
    ada, eve = (api.create(password=PASSWORD) for _ in range(2))
    members = [api.asking(f"Bearer {api.token(user['email'], PASSWORD)}") for user in (ada, eve)]
    with streamed(members[0]) as of_ada, streamed(members[1]) as of_eve:
        assert api.patch(f"/users/{ada['id']}", json={"password": f"{PASSWORD} 2"}).status == 200
        assert of_ada.event()["data"]["version"] == 2
        ends(of_ada)
        of_eve.heartbeat()
        expect.empty(api.delete(f"/users/{eve['id']}"))
        assert of_eve.event()["type"] == "user.deleted"
        ends(of_eve)


@pytest.mark.clause("STREAM-07")
@pytest.mark.settings(**SECURED)
def test_a_token_that_ends_ends_its_stream(service: Service) -> None:
    ada = service.api.create()
    ending = token(claims(ada["id"], exp=int(time.time()) + 2))
    with streamed(service.api.asking(f"Bearer {ending}")) as stream:
        assert stream.rest() == []


@pytest.mark.clause("STREAM-07")
@pytest.mark.settings(**SECURED)
def test_who_is_an_admin_no_more_sees_no_more(service: Service) -> None:
    api = service.api
    fields: Any = {**expect.somebody(), "role": "admin", "password": PASSWORD}
    admin = api.post("/users", json=fields).json()
    with streamed(api.asking(f"Bearer {api.token(fields['email'], PASSWORD)}")) as stream:
        assert api.patch(f"/users/{admin['id']}", json={"role": "member"}).status == 200
        assert stream.event()["data"]["role"] == "member"
        ends(stream)


@pytest.mark.clause("STREAM-08")
@pytest.mark.settings(MAX_CONNECTIONS="4")
def test_streams_leave_connections_to_others(service: Service) -> None:
    with streamed(service.api), streamed(service.api):
        expect.problem(service.api.get("/events/stream"), "too-many-streams")


@pytest.mark.clause("STREAM-08")
@pytest.mark.settings(EVENTS_STREAMS="2", EVENTS_HEARTBEAT=f"{BEAT}")
def test_503_too_many_streams(service: Service) -> None:
    api = service.api
    for _ in range(3):
        assert api.head("/events/stream").status == 200
    with streamed(api):
        with streamed(api):
            expect.problem(api.get("/events/stream"), "too-many-streams")
            expect.problem(api.head("/events/stream"), "too-many-streams", head=True)
            expect.problem(api.get("/events/stream?after=x"), "validation", AFTER)
        deadline = time.monotonic() + 3 * BEAT
        while api.head("/events/stream").status == 503:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with streamed(api) as stream:
            ada = api.create()
            assert of_user(stream, ada)["data"] == ada


@pytest.mark.engine("sqlite")
@pytest.mark.clause("LOG-01", "METRICS-02", "STREAM-08")
@pytest.mark.parametrize(
    "behind", [b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", b"x\r\n\r\n"]
)
def test_who_leaves_with_more_asked_behind_a_stream_has_left(
    launched: Callable[..., Service], behind: bytes
) -> None:
    service = launched(EVENTS_HEARTBEAT=f"{BEAT}")
    with service.api.connect() as connection:
        connection.send(service.api.message("GET", "/events/stream") + behind)
        Stream(connection)
    time.sleep(4.5 * BEAT)
    lines = map(json.loads, service.stdout().splitlines())
    streams = [line for line in lines if line.get("route") == "/events/stream"]
    assert [line["status"] for line in streams] == [200]
    assert service.stderr() == ""


@pytest.mark.engine("sqlite")
@pytest.mark.clause("STREAM-06", "OPS-26", "HTTP-21")
@pytest.mark.settings(EVENTS_HEARTBEAT=f"{BEAT}", REQUEST_TIMEOUT="2")
@pytest.mark.parametrize("sent", ["a body that nobody reads", "what can't be read"])
def test_a_stream_goes_on_whatever_is_sent_beside(service: Service, sent: str) -> None:
    body = b"x" * 10**6 if "body" in sent else None
    with service.api.connect(10.0) as connection:
        connection.send(service.api.message("GET", "/events/stream", body=body))
        stream = Stream(connection)
        if body is None:
            connection.send(b"GARBAGE\r\n\r\n")
        for _ in range(5):
            stream.heartbeat()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a socket holds so")
@pytest.mark.engine("sqlite")
@pytest.mark.clause("OPS-27", "STREAM-09")
def test_heartbeats_keep_nobody_who_takes_nothing(launched: Callable[..., Service]) -> None:
    """A client whose socket is full, with less behind it than would stop the service."""
    service = launched(EVENTS_HEARTBEAT=f"{BEAT}", REQUEST_TIMEOUT="3", EVENTS_TTL="31536000")
    with unread(service.api, "") as client:
        time.sleep(0.5)
        queued: list[int | None] = []
        while len(queued) < 3 or len(set(queued[-3:])) > 1:
            assert len(queued) < 500
            fill(service, 1, 15_000)
            time.sleep(0.1)
            queued.append(unsent(service, client))
        deadline = time.monotonic() + 8
        while unsent(service, client) is not None:
            assert time.monotonic() < deadline, "it is still connected"
            time.sleep(0.1)


def unsent(service: Service, client: socket.socket) -> int | None:
    """The bytes that the system still has for this client; None where it is connected no more."""
    ends = [f":{port:04X}" for port in (urlsplit(service.url).port, client.getsockname()[1])]
    for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]:
        _, local, remote, state, queues, *_ = line.split()
        if [local[-5:], remote[-5:], state] == [*ends, "01"]:
            return int(queues.partition(":")[0], 16)
    return None


@pytest.mark.clause("STREAM-10", "OPS-06", "OPS-07")
@pytest.mark.parametrize("processes", ["1", "2"])
def test_sigterm_ends_streams(launched: Callable[..., Service], processes: str) -> None:
    service = launched(WEB_CONCURRENCY=processes)
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(streamed(service.api)) for _ in range(4)]
        ada = service.api.create()
        begin = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        for stream in streams:
            assert [event["data"] for event in stream.rest()] in ([ada], [])
        assert time.monotonic() - begin < 2
        assert service.wait(2) == 0
        assert service.stderr() == ""


@pytest.mark.clause("STREAM-10")
@pytest.mark.engine("sqlite")
def test_sigterm_ends_streams_while_the_database_stands_still(
    launched: Callable[..., Service],
) -> None:
    """Positions can't be given while another process holds the lock for writing."""
    service = launched()
    with streamed(service.api) as stream:
        service.process.send_signal(signal.SIGSTOP)
        fill(service, 1, 1)
        with locked(service.database_url):
            service.process.send_signal(signal.SIGCONT)
            time.sleep(0.2)
            begin = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            assert stream.rest() == []
            assert time.monotonic() - begin < 2


@pytest.mark.clause("STREAM-13")
@pytest.mark.parametrize("version", [b"1.0", b"0.9", b"2.0"])
def test_who_does_not_speak_http_1_1_has_no_chunks(service: Service, version: bytes) -> None:
    ada = service.api.create()
    (event,), _ = expect.events(service.api.get("/events?sort=-id&limit=1"))
    parts = urlsplit(service.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=5) as client:
        path = f"/events/stream?after={int(event['id']) - 1}"
        client.sendall(b"GET %b HTTP/%b\r\nHost: localhost\r\n\r\n" % (path.encode(), version))
        received = b""
        while b"\r\n\r\n" not in received:
            received += client.recv(65536)
        head = received.partition(b"\r\n\r\n")[0].lower()
        assert b"transfer-encoding" not in head
        assert b"connection: close" in head
        while not received.endswith(b"id: %b\n\n" % event["id"].encode()):
            received += client.recv(65536)
    body = received.partition(b"\r\n\r\n")[2]
    data = expect.render(event)
    assert event["data"] == ada
    assert body == (
        b"retry: 1000\nid: %d\n\nevent: user.created\ndata: %b\nid: %d\n\n"
        % (int(event["id"]) - 1, data, int(event["id"]))
    )


@pytest.mark.clause("STREAM-12")
def test_head(api: Client) -> None:
    with api.connect() as connection:
        connection.send(api.message("HEAD", "/events/stream"))
        assert connection.readable(2)
        head = connection.read("HEAD")
        connection.send(api.message("GET", "/healthz"))
        assert connection.readable(2)
        assert connection.read().body == b'{"status":"ok"}'
    for each in (head, api.head("/events/stream")):
        fields = [field for field in each.headers if field[0] != "transfer-encoding"]
        expect.stream(Answer(each.status, [*fields, ("transfer-encoding", "chunked")], each.body))


@pytest.mark.clause("STREAM-01", "STREAM-03")
def test_a_browser_follows_and_comes_back(launched: Callable[..., Service], tmp_path: Path) -> None:
    """`EventSource` in a page of the service; the service is started again under it."""
    service = launched(PORT=f"{services.free_port()}", EVENTS_HEARTBEAT="1")
    first = service.api.create()
    with browser.chromium(tmp_path / "profile") as chrome:
        chrome.get(f"{service.url}/docs")
        chrome.execute_script(
            """
            window.seen = [];
            const source = new EventSource("/events/stream?after=0");
            for (const type of ["user.created", "user.changed", "user.deleted"]) {
              source.addEventListener(type, (event) => {
                seen.push([event.type, event.lastEventId, JSON.parse(event.data).data.id]);
              });
            }
            """
        )
        told = [["user.created", "1", first["id"]]]
        browser.waiting(chrome).until(lambda _: chrome.execute_script("return seen") == told)
        assert service.stop() == 0
        service.restart()
        second = service.api.create()
        told.append(["user.created", "2", second["id"]])
        browser.waiting(chrome).until(lambda _: chrome.execute_script("return seen") == told)
        expect.empty(service.api.delete(f"/users/{first['id']}"))
        told.append(["user.deleted", "3", first["id"]])
        browser.waiting(chrome).until(lambda _: chrome.execute_script("return seen") == told)
