"""HOOK: events sent to who asked for it.

Whatever is sent here goes to addresses of this machine, and nowhere else: where a webhook's `url`
leads further, nothing happens while there is that webhook.
"""

import base64
import contextlib
import functools
import ipaddress
import itertools
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from contract_tests.harness import expect, services
from contract_tests.harness.client import Client
from contract_tests.harness.databases import ENGINES, Engine, OwnPostgres, Session, locked
from contract_tests.harness.provider import rsa_key
from contract_tests.harness.receiver import (
    FAILED,
    OK,
    Attempt,
    Authority,
    Behaviour,
    Pour,
    Receiver,
    answer,
    choose,
    hang,
    hold,
    receiving,
)
from contract_tests.harness.services import KINDS, Kind, Service
from contract_tests.harness.wire import Answer
from contract_tests.test_events import newest
from contract_tests.test_keys import token
from contract_tests.test_rights import PASSWORD, TAKEN_BACK, bearer, new_admin

T = TypeVar("T")
Json = dict[str, Any]
Start = Callable[..., Service]

TYPES = ["user.created", "user.changed", "user.deleted"]
# A name that no host has (RFC 2606), for services on which others write.
NOWHERE = "https://receiver.invalid/hook"
SECRET = re.compile(r"whsec_[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")

# What sends to this machine, and soon gives up: in the table of outcomes each second counts.
TIMEOUT = 3
# After a first failure nothing happens by itself, so that a test can look; and after a second one soon.
RETRY = (60, 1)
SENDING = {
    "WEBHOOKS_NETWORKS": "127.0.0.0/8,::1",
    "WEBHOOKS_RETRY": ",".join(map(str, RETRY)),
    "WEBHOOKS_TIMEOUT": f"{TIMEOUT}",
}
# Until a service has begun what it begins "at once", and a little for a machine that is busy.
SOON = 3.0


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whom the services of these tests trust."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """An endpoint."""
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def sender(
    _ours: tuple[Kind, Engine],
    new_database: Callable[[Engine, Path], str],
    _shared: dict[Any, Service],
    _room: Path,
    authority: Authority,
) -> Iterator[Service]:
    """A service that sends to this machine, without a webhook; these tests share it."""
    key = ("webhooks", *_ours)
    if key not in _shared:
        (kind, engine), directory = _ours, _room / f"webhooks-{len(_shared)}"
        env = SENDING | {"WEBHOOKS_CA": str(authority.file)}
        url = new_database(engine, directory)
        _shared[key] = services.launch(kind, env=env, directory=directory, database_url=url)
    service = _shared[key]
    yield service
    for one in service.api.get("/webhooks").json():
        expect.empty(service.api.delete(path(one)))
    assert service.stderr() == ""


@pytest.fixture
def start(
    new_database: Callable[[Engine, Path], str], tmp_path: Path, authority: Authority
) -> Iterator[Start]:
    """A function that starts a service of the test's own, on a new SQLite database if none is given.

    `through` is a script that it is started through; it may open so many `files`.
    """
    running: list[Service] = []
    numbers = itertools.count()

    def begin(
        kind: Kind, url: str = "", through: str = "", files: int | None = None, **env: str
    ) -> Service:
        directory = tmp_path / f"{next(numbers)}"
        trusted = {"WEBHOOKS_CA": str(authority.file)}
        url = url or new_database("sqlite", directory)
        service = Service(kind, directory, SENDING | trusted | env, url, files=files)
        if through:
            service.through(through)
        service.start()
        running.append(service)
        return service

    yield begin
    for service in running:
        service.kill()


def path(webhook: Json) -> str:
    return f"/webhooks/{webhook['id']}"


def shown(webhook: Json) -> Json:
    """As it is shown from its creation on."""
    return {name: value for name, value in webhook.items() if name != "secret"}


def seconds(timestamp: str) -> float:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", timestamp), timestamp
    return datetime.fromisoformat(timestamp).timestamp()


def created(given: Answer, url: str, types: Sequence[str] = TYPES) -> Json:
    """The answer to a creation, whole; gives the webhook."""
    assert given.status == 201, given
    got = given.json()
    expected: Json = {
        "id": got["id"],
        "url": url,
        "types": [one for one in TYPES if one in types],
        "created_at": got["created_at"],
        "ended_at": None,
        "secret": got["secret"],
    }
    assert type(got["id"]) is int
    assert 1 <= got["id"] <= expect.MAX_ID
    assert abs(seconds(got["created_at"]) - time.time()) < 300
    assert SECRET.fullmatch(got["secret"])
    location = {"location": f"/webhooks/{got['id']}"}
    expect.body(given, 201, expect.render(expected), also=location)
    return expected


def hook(api: Client, url: str, *types: str) -> Json:
    """A new webhook."""
    sent: Json = {"url": url, "types": types} if types else {"url": url}
    return created(api.post("/webhooks", json=sent), url, types or TYPES)


def deliveries(api: Client, webhook: Json, query: str = "", link: str = "") -> list[Json]:
    """A page of its deliveries, in the form of the contract; `link` is where the next one is."""
    given = api.get(f"{path(webhook)}/deliveries{query}")
    assert given.status == 200, given
    found: list[Json] = given.json()
    for one in found:
        well_formed(one)
    positions = [int(one["event"]) for one in found]
    assert positions == sorted({*positions})
    also = {"link": f'<{link}>; rel="next"'} if link else {}
    expect.body(given, 200, expect.render(found), also=also)
    return found


def well_formed(delivery: Json) -> None:
    assert [*delivery] == ["event", "status", "attempts", "outcome", "due_at"], delivery
    assert re.fullmatch("[1-9][0-9]*", delivery["event"]), delivery
    assert type(delivery["attempts"]) is int, delivery
    assert delivery["status"] in ("waiting", "dead"), delivery
    assert (delivery["due_at"] is None) == (delivery["status"] == "dead"), delivery
    if delivery["due_at"] is not None:
        seconds(delivery["due_at"])


def again(api: Client, webhook: Json, event: str) -> Json:
    """Have it sent again; the delivery that is answered with."""
    given = api.post(f"{path(webhook)}/deliveries/{event}")
    assert given.status == 202, given
    delivery: Json = given.json()
    well_formed(delivery)
    assert delivery["event"] == event
    expect.body(given, 202, expect.render(delivery))
    return delivery


def until(condition: Callable[[], T], limit: float = 10.0) -> T:
    """What the function gives, once that is something; AssertionError if it takes too long."""
    deadline = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < deadline, "it has not come about in time"
        time.sleep(0.03)
    return found


def failed(api: Client, webhook: Json, attempts: int = 1) -> list[Json]:
    """Its deliveries, once there is one and as many attempts of each have come to an end."""

    def over() -> list[Json]:
        found = deliveries(api, webhook)
        done = all(one["outcome"] and one["attempts"] == attempts for one in found)
        return found if done else []

    return until(over)


def none_left(api: Client, webhook: Json) -> None:
    """What was to be delivered to it has been."""
    until(lambda: deliveries(api, webhook) == [])


def told(attempts: Sequence[Attempt]) -> list[tuple[str, int]]:
    """Type and user of the events that were sent."""
    events = [json.loads(one.body) for one in attempts]
    return [(event["type"], event["data"]["id"]) for event in events]


def entry(api: Client, event: str) -> bytes:
    """The bytes of an event in the list of events."""
    return api.get(f"/events?limit=1&after={int(event) - 1}").body[1:-1]


def lines(service: Service) -> list[Json]:
    """Those of the log, without their time."""
    found: list[Json] = [json.loads(line) for line in service.stdout().splitlines()]
    for line in found:
        seconds(line.pop("time"))
    return found


def logged(service: Service, webhook: Json) -> list[Json]:
    """What the log says of this webhook."""
    return [line for line in lines(service) if line.get("webhook") == webhook["id"]]


# Creating, seeing, deleting


@pytest.mark.clause("HOOK-01", "HOOK-02", "HOOK-07", "HOOK-08", "HOOK-19", "ROUTE-10", "ROUTE-11")
def test_a_webhook_from_its_creation_to_its_deletion(api: Client) -> None:
    one, two = (hook(api, f"{NOWHERE}?{expect.unique()}") for _ in range(2))
    try:
        assert one["id"] < two["id"]
        assert one["secret"] != two["secret"]
        for webhook in (one, two):
            expect.body(api.get(path(webhook)), 200, expect.render(shown(webhook)))
            expect.head_of(api.head(path(webhook)), api.get(path(webhook)))
        given = api.get("/webhooks")
        # Other tests may have theirs.
        expect.body(given, 200, expect.render(given.json()))
        ids = [webhook["id"] for webhook in given.json()]
        assert ids == sorted({*ids})
        assert [w for w in given.json() if w["id"] in (one["id"], two["id"])] == [
            shown(one),
            shown(two),
        ]
        assert one["secret"].encode() not in given.body
        assert api.head("/webhooks").status == 200
        behind = f"?after={expect.MAX_ID}"
        assert deliveries(api, one, behind) == []
        target = f"{path(one)}/deliveries{behind}"
        expect.head_of(api.head(target), api.get(target))
    finally:
        expect.empty(api.delete(path(one)))
        expect.empty(api.delete(path(two)))
    for webhook in (one, two):
        gone(api, webhook["id"])
    three = hook(api, NOWHERE)
    expect.empty(api.delete(path(three)))
    assert three["id"] > two["id"]


@pytest.mark.clause("PAIR-10", "OPS-14", "HOOK-01", "HOOK-07", "HOOK-08")
def test_what_one_service_answers_the_other_one_shows(pair: tuple[Client, Client]) -> None:
    made = [hook(api, f"{NOWHERE}?{name}", TYPES[2], TYPES[0]) for name in "ab" for api in pair]
    ids = [one["id"] for one in made]
    assert ids == sorted({*ids})
    for api in pair:
        expect.body(api.get("/webhooks"), 200, expect.render([shown(one) for one in made]))
        for one in made:
            expect.body(api.get(path(one)), 200, expect.render(shown(one)))
    for one, api in zip(made, pair * 2, strict=True):
        expect.empty(api.delete(path(one)))
    for api in pair:
        assert api.get("/webhooks").body == b"[]"
        gone(api, ids[0])


def gone(api: Client, webhook_id: int) -> None:
    """There is no webhook with this id, whatever is asked of it."""
    here = f"/webhooks/{webhook_id}"
    for given in (
        api.get(here),
        api.delete(here),
        api.get(f"{here}/deliveries"),
        api.post(f"{here}/deliveries/1"),
        api.post(f"{here}/deliveries/{expect.MAX_ID}", content=b"{", headers={"Expect": "x"}),
    ):
        expect.problem(given, "webhook-not-found")
    expect.head_of(api.head(here), api.get(here))
    expect.head_of(api.head(f"{here}/deliveries"), api.get(f"{here}/deliveries"))


@pytest.mark.clause("HOOK-07", "HOOK-08", "HOOK-21", "ID-04")
def test_404_where_there_is_none(api: Client) -> None:
    gone(api, expect.MAX_ID)


@pytest.mark.clause("HOOK-21")
def test_404_where_there_is_no_such_delivery(api: Client) -> None:
    before = newest(api) or 1  # What happens from now on, others' doing included, it may well get.
    one = hook(api, NOWHERE)
    try:
        for event in (before, expect.MAX_ID):
            given = api.post(f"{path(one)}/deliveries/{event}")
            expect.problem(given, "delivery-not-found")
    finally:
        expect.empty(api.delete(path(one)))


@pytest.mark.clause("HOOK-03", "HOOK-05", "HOOK-01", "JSON-08", "JSON-09", "IDEM-11", "CTYPE-02")
def test_what_is_taken_for_a_webhook(api: Client) -> None:
    some: list[tuple[str, list[str]]] = [
        ('{"url":"%s"}', TYPES),
        ('{"types":["user.deleted","user.created","user.changed"],"url":"%s"}', TYPES),
        ('{"url":"%s","types":["user.deleted"]}', TYPES[2:]),
        ('{"url":"%s","types":["user.changed","user.created"]}', TYPES[:2]),
        ('{"types":1,"url":null,"url":"%s","types":["user.cr\\u0065ated"]}', TYPES[:1]),
        ('{"u\\u0072l":"%s"}', TYPES),
    ]
    made = []
    try:
        for body, types in some:
            fields = {"Content-Type": "Application/JSON; Charset=UTF-8", "Idempotency-Key": "a b"}
            given = api.post("/webhooks", content=(body % NOWHERE).encode(), headers=fields)
            made.append(created(given, NOWHERE, types))
    finally:
        for one in made:
            expect.empty(api.delete(path(one)))
    assert len({one["id"] for one in made}) == len(some)


@pytest.mark.clause("HOOK-06", "HOOK-17")
def test_there_are_fifty_at_most(sender: Service, receiver: Receiver) -> None:
    api = sender.api
    receiver.say("/ends", answer("410 Gone"))
    first = hook(api, receiver.url("/ends"))
    api.create()
    until(lambda: api.get(path(first)).json()["ended_at"])
    for _ in range(45):
        hook(api, receiver.url("/fifty"))
    sent = expect.render({"url": receiver.url("/fifty")})
    request = api.message("POST", "/webhooks", [("Content-Type", "application/json")], sent)
    answers = api.at_once([request] * 12)
    for given in answers:
        if given.status == 201:
            created(given, receiver.url("/fifty"))
        else:
            expect.problem(given, "too-many-webhooks")
    assert sum(given.status == 201 for given in answers) == 4
    assert len(api.get("/webhooks").json()) == 50
    wrong = api.post("/webhooks", json={"url": "x"})
    expect.problem(wrong, "validation", [expect.error("malformed", pointer="#/url")])
    expect.empty(api.delete(path(first)))
    hook(api, receiver.url("/fifty"))
    expect.problem(api.post("/webhooks", content=sent, headers=JSON), "too-many-webhooks")


JSON = {"Content-Type": "application/json"}
ACCEPTED, MALFORMED, TOO_LONG, FORBIDDEN, WRONG_TYPE = (
    *("accepted", "malformed", "too-long", "forbidden", "wrong-type"),
)

# HOOK-22, as it stands there.
NETWORKS = [
    *["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"],
    *["172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"],
    *["198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"],
]
GLOBAL = "2000::/3"
WITHIN = ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"]

V4 = [ipaddress.IPv4Network(network) for network in NETWORKS]
V6 = [ipaddress.IPv6Network(network) for network in WITHIN]


def borders(first: int, last: int, most: int) -> list[int]:
    """Of a network: the last address before it, its first and its last, and the first behind."""
    return [n for n in (first - 1, first, last, last + 1) if 0 <= n <= most]


def addresses() -> Iterator[tuple[str, bool]]:
    """Hosts that are addresses, and whether HOOK-22 forbids them."""
    for network in V4:
        for number in borders(int(network[0]), int(network[-1]), 2**32 - 1):
            address = ipaddress.IPv4Address(number)
            forbidden = any(address in other for other in V4)
            yield f"{address}", forbidden
            yield f"[::ffff:{address}]", forbidden
            yield f"[::FFFF:{number >> 16:x}:{number & 0xFFFF:x}]", forbidden
            # What leads to an IPv4 address by way of others, or would once have.
            yield f"[64:ff9b::{address}]", True
            yield f"[2002:{number >> 16:x}:{number & 0xFFFF:x}::1]", True
            yield f"[::{address}]", True
            yield f"[::ffff:0:{address}]", True
    whole = ipaddress.IPv6Network(GLOBAL)
    for wide in (whole, *V6):
        for number in borders(int(wide[0]), int(wide[-1]), 2**128 - 1):
            six = ipaddress.IPv6Address(number)
            forbidden = six not in whole or any(six in other for other in V6)
            yield f"[{six}]", forbidden
            yield f"[{six.exploded.upper()}]", forbidden
    for text in (
        *("::", "::1", "0:0:0:0:0:0:0:1", "::2", "100::", "64:ff9b:1::1", "5f00::1", "fc00::"),
        *("fd00::1", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe80::1", "fec0::1", "ff02::1"),
        *("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::fffe:8.8.8.8", "0:0:0:0:1:ffff:8.8.8.8"),
        *("4000::1", "8000::", "2001:0:0:1::1", "2001:2::1", "2001:10::1", "2001:20::1"),
    ):
        yield f"[{text}]", True
    for text in ("2606:4700::1111", "2a00:1450:4001:80b::200e", "2001:4860:4860::8.8.8.8"):
        yield f"[{text}]", False


LABEL = "a" * 63
NAME = ".".join([*(LABEL,) * 3, "b" * 61])
TAKEN_URLS = r"""
    https://example.com https://example.com/ https://EXAMPLE.Com/A https://a/ https://localhost/
    https://a-b.c--d.e1/ https://xn--bcher-kva.example/ https://1.2.3.a/ https://0x7f.x0/
    https://1a.b/ https://example.com:1 https://example.com:65535/ https://example.com:443/
    https://example.com:80 https://example.com/? https://example.com/a?b=c&d=%zz
    https://a/b?c?d/e https://example.com// https://example.com/a/../b/./c https://a/%2F%00%
    https://a/!$%&'()*+,-./0:;=?@AZ[]_az~ https://8.8.8.8:1/a https://[2606:4700::1111]:65535
"""
MALFORMED_URLS = r"""
    x / //example.com/ example.com https: https:/ https:// https:/// https:///a https:/a/
    https:a https://?a https://a?b https://a:1?b https://:1/ HTTPS://a/ Https://a/ ftp://a/ ws://a/ wss://a/ file:///
    javascript:x data:,x unix:/a httpss://a/ xhttps://a/ http+unix://a/ http:// http://a:0/
    https://a/# https://a/#b https://a#b https://a/?# https://a/?b#c http://a/#
    https://a@b/ https://a:b@c/ https://@a/ https://:@a/ https://a:@b:1/ https://127.0.0.1@a/
    https://a%40b/ https://a\@b/ https://a/\ https:\\a https://[::1]@a/ http://a@b/
    https://a:/ https://a:0/ https://a:00/ https://a:080/ https://a:65536/ https://a:99999/
    https://a:-1/ https://a:+1/ https://a:a/ https://a:1a/ https://a:0x50/ https://a:1.0/
    https://a:1e3/ https://a:1:1/ https://a:٨/ https://a:0443/ https://1.2.3.4:0/
    https://bücher.example/ https://a/é https://a/?é https://ⓐ/ https://a。b/ https://１.2.3.4/
    https://a/😀 https://./ https://a./ https://.a/ https://a..b/ https://1.2.3.4./
    https://-a/ https://a-/ https://a.-b/ https://a-.b/ https://-/ https://a.1/ https://a.1b/
    https://1/ https://0/ https://12/ https://1b/ https://127.1/ https://127.0.1/
    https://2130706433/ https://0x7f000001/ https://0x7f.0.0.1/ https://0x7f.1/
    https://017700000001/ https://0177.0.0.1/ https://127.0.0.01/ https://127.00.0.1/
    https://127.0.0.0x1/ https://0x0/ https://127.0.0.256/ https://256.0.0.1/
    https://1.2.3.4.5/ https://1.2.3./ https://1.2.3.4a/ https://127.0.0.1%00/
    https://%31.2.3.4/ https://1.2.3.-4/ http://127.1/ https://::1/ https://2606:4700::1111/
    https://[]/ https://[/ https://]/ https://[::1/ https://::1]/ https://[[::1]]/
    https://[1.2.3.4]/ https://[a]/ https://[::g]/ https://[:::]/ https://[1::2::3]/
    https://[1:2:3:4:5:6:7]/ https://[1:2:3:4:5:6:7:8:9]/ https://[12345::]/
    https://[::ffff:1.2.3]/ https://[::ffff:01.2.3.4]/ https://[::ffff:1.2.3.256]/
    https://[::1.2.3.4:5]/ https://[fe80::1%eth0]/ https://[fe80::1%25eth0]/
    https://[2606:4700::1111%1]/ https://[v1.a]/ https://[::1]a/ https://[::1]:/
    https://[::1]:0/ https://a[::1]/ https://[2606:4700::1111]x/ https://[2606:4700::1111].a/
"""
FORBIDDEN_URLS = r"""
    http://example.com/ http://localhost/ http://a http://8.8.8.8/ http://[2606:4700::1111]/
    http://127.0.0.1/ http://a:443/ http://a:1/b?c https://127.0.0.1 https://127.0.0.1:443/
    https://127.0.0.1:8000/a?b https://169.254.169.254/latest/meta-data/ https://[::1]:443/
    https://[::] https://[0000:0000:0000:0000:0000:0000:0000:0001]/ https://[::7F00:1]
"""
# With what comes of each.
URLS: dict[str, list[str]] = {
    ACCEPTED: [
        *TAKEN_URLS.split(),
        *(f"https://{NAME}/", f"https://{LABEL}.b", f"https://a/{'b' * 1990}"),
        f"https://a/?{'?' * 1989}",
    ],
    TOO_LONG: [
        *(f"https://a/{'b' * 1991}", "x" * 2001, f"https://a/{'😀' * 1991}", "😀" * 2001),
        *(f"https://{'a.' * 1000}b/", f"http://127.0.0.1/{'b' * 2000}"),
    ],
    MALFORMED: [
        *MALFORMED_URLS.split(),
        *("", " ", "https ://a/", " https://a/", "https://a/ ", "https://a/b c", "https://a/\t"),
        *("https://a/\n", "\thttps://a/", "https://a/\r\nHost: b", "https://a\n/", "https://a/\0"),
        *(
            "https://a/\x7f",
            "https://a/\u2028",
            "https://a:1 /",
            "https://[ ::1]/",
            "https://[::1 ]/",
        ),
        *(f"https://a/{'😀' * 1990}", f"https://a:{'1' * 400}/"),
        *(f"https://a/{character}" for character in '"<>^`{|}'),
        *(f"https://a/?{character}" for character in '"<>^`{|}\\'),
        *(f"https://a{character}b/" for character in "!$&'()*+,;=_~%|^ \"<>`{}"),
        *(f"https://{host}/" for host in (f"a{LABEL}", f"a.{LABEL}a", f"{NAME}b", f"{NAME}.b")),
    ],
    FORBIDDEN: FORBIDDEN_URLS.split(),
}
# What isn't a text; each as JSON.
NO_TEXTS = ["null", "1", "1e999", "true", "[]", '["https://a/"]', "{}", '{"url":"https://a/"}']
ENTRIES: dict[str, str] = {
    '["user.created","user.created"]': MALFORMED,
    '["user.created","user.changed","user.deleted","user.created"]': MALFORMED,
    "[]": MALFORMED,
    '["user.x"]': MALFORMED,
    '["User.created"]': MALFORMED,
    '["user.created "]': MALFORMED,
    '["user.created","user.x"]': MALFORMED,
    '[""]': MALFORMED,
    '["user.*"]': MALFORMED,
    '["\\ud800"]': MALFORMED,
    '["__proto__"]': MALFORMED,
    "null": WRONG_TYPE,
    "1": WRONG_TYPE,
    "true": WRONG_TYPE,
    "{}": WRONG_TYPE,
    '{"0":"user.created","length":1}': WRONG_TYPE,
    '"user.created"': WRONG_TYPE,
    '"user.created,user.deleted"': WRONG_TYPE,
    "[1]": WRONG_TYPE,
    "[null]": WRONG_TYPE,
    '[["user.created"]]': WRONG_TYPE,
    '["user.created",1]': WRONG_TYPE,
    '[{"0":"user.created"}]': WRONG_TYPE,
}


def verdict(api: Client, body: bytes) -> str:
    """What comes of a creation: whether it is accepted, or what is wrong with its one member."""
    given = api.post("/webhooks", content=body, headers=JSON)
    if given.status == 201:
        webhook = created(given, json.loads(body)["url"])
        expect.empty(api.delete(path(webhook)))
        return ACCEPTED
    assert given.status == 422, given
    (error,) = given.json()["errors"]
    pointer, code = error["pointer"], error["code"]
    expect.problem(given, "validation", [expect.error(code, pointer=pointer)])
    return f"{code}" if pointer == "#/url" else f"{pointer} {code}"


def unlike(api: Client, rows: Mapping[str, str]) -> list[str]:
    """Those of the urls with another verdict than they should have."""
    found = []
    for url, right in rows.items():
        got = verdict(api, json.dumps({"url": url}).encode())
        if got != right:
            found.append(f"{url[:100]!r}: {got}, should be {right}")
    return found


@pytest.mark.clause("HOOK-04", "HOOK-06", "HOOK-22")
@pytest.mark.engine("sqlite")
def test_which_urls_are_taken(launched: Start) -> None:
    """Nobody is created there, so nothing is sent to any of these."""
    api = launched().api
    rows = {url: right for right, urls in URLS.items() for url in urls}
    assert len(rows) == sum(map(len, URLS.values()))
    for host, forbidden in addresses():
        rows[f"https://{host}/a"] = FORBIDDEN if forbidden else ACCEPTED
    assert sum(right == FORBIDDEN for right in rows.values()) > 150
    assert not (wrong := unlike(api, rows)), "\n".join(wrong)
    assert verdict(api, b'{"url":"https://a/\\ud800"}') == MALFORMED
    assert api.get("/webhooks").body == b"[]"


@pytest.mark.clause("HOOK-04", "HOOK-06", "HOOK-22", "LIMIT-20")
@pytest.mark.engine("sqlite")
def test_which_urls_are_taken_where_networks_are_named(launched: Start) -> None:
    """As before, nobody is created there."""
    named = "127.0.0.0/8, ::1,::ffff:10.1.0.0/112,fd00::/8,203.0.113.7"
    api = launched(WEBHOOKS_NETWORKS=named).api
    rows = {"http://a/": ACCEPTED, "http://localhost:8000/a": ACCEPTED, "http://a@b/": MALFORMED}
    for host, right in {
        "127.0.0.0": ACCEPTED,
        "127.255.255.255": ACCEPTED,
        "[::ffff:127.0.0.1]": ACCEPTED,
        "[::1]": ACCEPTED,
        "[::2]": FORBIDDEN,
        "[::]": FORBIDDEN,
        "[::127.0.0.1]": FORBIDDEN,
        "10.0.255.255": FORBIDDEN,
        "10.1.0.0": ACCEPTED,
        "10.1.255.255": ACCEPTED,
        "[::ffff:a01:0]": ACCEPTED,
        "10.2.0.0": FORBIDDEN,
        "[fd12::1]": ACCEPTED,
        "[fe00::1]": FORBIDDEN,
        "203.0.113.6": FORBIDDEN,
        "203.0.113.7": ACCEPTED,
        "203.0.113.8": FORBIDDEN,
        "169.254.169.254": FORBIDDEN,
        "192.168.0.1": FORBIDDEN,
    }.items():
        rows |= {f"http://{host}/": right, f"https://{host}:1/a": right}
    # What is allowed anyway, but not without TLS.
    for host in ("8.8.8.8", "126.255.255.255", "128.0.0.0", "[2606:4700::1111]"):
        rows |= {f"http://{host}/": FORBIDDEN, f"https://{host}/": ACCEPTED}
    assert not (wrong := unlike(api, rows)), "\n".join(wrong)
    assert api.get("/webhooks").body == b"[]"


@pytest.mark.clause("HOOK-03", "HOOK-05", "JSON-15", "PROB-06")
@pytest.mark.storeless
def test_422_what_is_no_webhook(api: Client) -> None:
    rows = {b'{"url":%b}' % text.encode(): WRONG_TYPE for text in NO_TEXTS}
    for types, code in ENTRIES.items():
        rows[b'{"url":"%b","types":%b}' % (NOWHERE.encode(), types.encode())] = f"#/types {code}"
    rows[b"{}"] = rows[b'{"types":["user.created"]}'] = "missing"
    for body, right in rows.items():
        assert verdict(api, body) == right, body


@pytest.mark.clause("PROB-07", "JSON-14", "JSON-16", "HOOK-03", "HOOK-06")
@pytest.mark.storeless
def test_422_the_order_of_errors(api: Client) -> None:
    body = b'{"z":1,"types":[],"\\u0061":null,"id":7,"secret":"x","__proto__":{},"url":"%b"}'
    errors = [
        expect.error("malformed", pointer="#/types"),
        *(expect.error("unknown", pointer=f"#/{name}") for name in ("__proto__", "a", "id")),
        *(expect.error("unknown", pointer=f"#/{name}") for name in ("secret", "z")),
    ]
    malformed = expect.error("malformed", pointer="#/url")
    given = api.post("/webhooks", content=body % b"http://a@b", headers=JSON)
    expect.problem(given, "validation", [malformed, *errors])
    # That it is forbidden is told where nothing else is wrong.
    given = api.post("/webhooks", content=body % b"http://a", headers=JSON)
    expect.problem(given, "validation", errors)
    body = b'{"URL":"https://a/","types":"","description":"x"}'
    errors = [
        expect.error("missing", pointer="#/url"),
        expect.error("wrong-type", pointer="#/types"),
        *(expect.error("unknown", pointer=f"#/{name}") for name in ("URL", "description")),
    ]
    expect.problem(api.post("/webhooks", content=body, headers=JSON), "validation", errors)
    for content in (b"[]", b"null", b'"https://a/"', b"1"):
        given = api.post("/webhooks", content=content, headers=JSON)
        expect.problem(given, "validation", [expect.error("wrong-type", pointer="#")])


@pytest.mark.clause("PROB-12", "PROB-13", "PROB-15", "CTYPE-01", "CTYPE-08", "BODY-02", "JSON-01")
@pytest.mark.storeless
def test_the_order_of_problems(api: Client) -> None:
    large = b'{"url":"%b"' % (b"x" * 65536)
    for headers in ({}, {"Content-Type": "application/merge-patch+json"}):
        given = api.post("/webhooks", content=large, headers=headers)
        expect.problem(given, "unsupported-media-type")
    expect.problem(api.post("/webhooks", content=large, headers=JSON), "body-too-large")
    for body in (b"", b"{", b'{"url":}', b'{"types":[],}', b"\xff"):
        expect.problem(api.post("/webhooks", content=body, headers=JSON), "malformed-json")


IDS = {
    **dict.fromkeys(["01", "00", "abc", "-1", "+1", "1.0", "1e3", "0x1", "1_0", "1;a=b"], 0),
    "0": 1,
    f"{expect.MAX_ID + 1}": 2,
    "9" * 500: 2,
}
CODES = ["malformed", "too-small", "too-large"]


@pytest.mark.clause("ID-01", "ID-02", "ID-03", "PROB-08", "HOOK-21")
@pytest.mark.storeless
@pytest.mark.parametrize("text", IDS, ids=lambda text: text[:20])
def test_422_what_is_no_id(api: Client, text: str) -> None:
    code, here = CODES[IDS[text]], f"/webhooks/{text}"
    for given in (
        api.get(here),
        api.delete(here),
        api.get(f"{here}/deliveries"),
        api.get(f"{here}/deliveries?limit=0&after=%"),
        api.post(f"{here}/deliveries/1"),
        api.post(f"{here}/deliveries/0"),
        api.post(f"{here}/deliveries/{text}"),
    ):
        expect.problem(given, "validation", [expect.error(code, parameter="id")])
    given = api.post(f"/webhooks/{expect.MAX_ID}/deliveries/{text}", content=b"{")
    expect.problem(given, "validation", [expect.error(code, parameter="event")])


def wrong(parameter: str, code: str) -> Json:
    return expect.error(code, parameter=parameter)


@pytest.mark.clause("HOOK-19", "QUERY-01", "QUERY-04", "PROB-14", "PROB-16")
@pytest.mark.storeless
def test_422_the_query_of_deliveries(api: Client) -> None:
    here = f"/webhooks/{expect.MAX_ID}/deliveries"
    for query, errors in {
        "limit=0": [wrong("limit", "too-small")],
        "limit=101": [wrong("limit", "too-large")],
        "limit=01": [wrong("limit", "malformed")],
        "limit=": [wrong("limit", "malformed")],
        "limit=1&limit=1": [wrong("limit", "malformed")],
        "after=": [wrong("after", "malformed")],
        "after=-1": [wrong("after", "malformed")],
        "after=01": [wrong("after", "malformed")],
        "after=9007199254740992": [wrong("after", "too-large")],
        "after=1&after=1": [wrong("after", "malformed")],
        "after=x&sort=y&limit=0": [wrong("limit", "too-small"), wrong("after", "malformed")],
    }.items():
        expect.problem(api.get(f"{here}?{query}"), "validation", errors)
    expect.problem(api.get(f"{here}?limit=0&x=%"), "malformed-query")
    expect.problem(api.get(f"{here}?after=%FF"), "malformed-query")
    for query in ("limit=100&after=0", "sort=x", "cursor=", f"after={expect.MAX_ID}"):
        expect.problem(api.get(f"{here}?{query}"), "webhook-not-found")
    # Nobody reads the query of these.
    expect.problem(api.get(f"/webhooks/{expect.MAX_ID}?limit=0&%"), "webhook-not-found")
    assert api.get("/webhooks?limit=0&%").status == 200


@pytest.mark.clause("RIGHT-17", "PROB-20", "PROB-21")
def test_webhooks_are_for_admins(guarded: Client) -> None:
    ada = guarded.create(password=PASSWORD)
    member = guarded.asking(bearer(guarded.token(ada["email"], PASSWORD)))
    one = hook(guarded, NOWHERE)
    try:
        here = path(one)
        for api, code in ((member, "forbidden"), (guarded.asking(""), "unauthorized")):
            for given in (
                api.post("/webhooks", json={"url": NOWHERE}),
                api.post("/webhooks", content=b"{"),
                api.get("/webhooks"),
                api.get(here),
                api.get("/webhooks/0"),
                api.delete(here),
                api.get(f"{here}/deliveries"),
                api.get(f"{here}/deliveries?limit=%"),
                api.post(f"{here}/deliveries/1"),
                api.post("/webhooks/x/deliveries/y"),
            ):
                expect.problem(given, code)
        expect.body(guarded.get(here), 200, expect.render(shown(one)))
        # No webhook is the caller.
        malformed = [expect.error("malformed", parameter="id")]
        expect.problem(guarded.get("/webhooks/me"), "validation", malformed)
    finally:
        expect.empty(guarded.delete(path(one)))


@pytest.mark.clause("RIGHT-15", "RIGHT-17", "HOOK-01")
@pytest.mark.parametrize("taken_back", TAKEN_BACK)
def test_who_is_an_admin_no_more_creates_none(guarded: Client, taken_back: str) -> None:
    """The body is withheld until its sender has lost the right to send it."""
    admin = new_admin(guarded)
    theirs = guarded.asking(bearer(guarded.token(admin["email"], PASSWORD)))
    body = expect.render({"url": f"{NOWHERE}?{expect.unique()}"})
    fields = [("Content-Type", "application/json"), ("Expect", "100-continue")]
    request = theirs.message("POST", "/webhooks", fields, body)
    with theirs.connect() as connection:
        connection.send(request.removesuffix(body))
        # Their token is looked at before the body is awaited; so it has been when this is answered.
        for _ in range(3):
            assert theirs.get("/users/me").status == 200
        TAKEN_BACK[taken_back](guarded, admin)
        connection.send(body)
        expect.problem(connection.read("POST"), "unauthorized", invalid_token=True)
    assert json.loads(body)["url"] not in [one["url"] for one in guarded.get("/webhooks").json()]


@pytest.mark.clause("RIGHT-15", "RIGHT-17", "HOOK-08", "HOOK-21")
@pytest.mark.settings(**services.SECURED)
@pytest.mark.parametrize("write", ["POST /webhooks", "DELETE {one}", "POST {one}/deliveries/1"])
def test_who_is_an_admin_no_more_at_that_moment_does_nothing(service: Service, write: str) -> None:
    """The role is taken in a transaction that ends when the write is about to be done."""
    api = service.api
    one = hook(api, NOWHERE)
    admin = new_admin(api)
    theirs = api.asking(bearer(api.token(admin["email"], PASSWORD)))
    method, _, target = write.format(one=path(one)).partition(" ")
    before = api.get("/webhooks").body
    with ThreadPoolExecutor(1) as pool, Session(service.database_url) as session:
        is_sqlite = service.database_url.startswith("sqlite:")
        session.execute("BEGIN IMMEDIATE" if is_sqlite else "BEGIN")
        session.execute(
            "UPDATE users SET role = 'member', token_epoch = token_epoch + 1 "
            f"WHERE id = {admin['id']}"
        )
        given = pool.submit(theirs.request, method, target, json={"url": NOWHERE})
        time.sleep(0.3)  # by now it waits for this transaction
        session.execute("COMMIT")
        expect.problem(given.result(), "unauthorized", invalid_token=True)
    assert api.get("/webhooks").body == before
    expect.empty(api.delete(path(one)))


# What is sent


def assert_well_sent(attempt: Attempt, api: Client, url: str, secret: str) -> None:
    """The request, whole: its line, its fields and their order, its body."""
    host, slash, rest = url.partition("://")[2].partition("/")
    assert attempt.line == f"POST {slash + rest or '/'} HTTP/1.1"
    stamp, signature = (
        dict(attempt.fields)[f"webhook-{name}"] for name in ("timestamp", "signature")
    )
    assert attempt.fields == [
        ("Host", host),
        ("Content-Type", "application/cloudevents+json"),
        ("Content-Length", f"{len(attempt.body)}"),
        ("User-Agent", "users"),
        ("Connection", "close"),
        ("webhook-id", attempt.event),
        ("webhook-timestamp", stamp),
        ("webhook-signature", signature),
    ]
    assert re.fullmatch("[1-9][0-9]{9}", stamp)
    assert -1 <= attempt.time - int(stamp) < 2
    assert attempt.body == entry(api, attempt.event)
    expect.event(json.loads(attempt.body))
    try:
        Webhook(secret).verify(attempt.body, dict(attempt.fields))
    except WebhookVerificationError as error:
        raise AssertionError(error) from None


@pytest.mark.clause("HOOK-09", "HOOK-10", "HOOK-11", "HOOK-12", "HOOK-13", "EVENT-05", "EVENT-06")
def test_what_is_sent(sender: Service, receiver: Receiver) -> None:
    api = sender.api
    api.create()
    url = receiver.url("/a/b?c=d&e=%zz")
    one = hook(api, url)
    target = "/a/b?c=d&e=%zz"
    ada = api.create(name='Zoë 😀 "\\/\u2028<é>')
    answered = time.monotonic()
    receiver.wait(target)
    renamed = api.patch(f"/users/{ada['id']}", json={"name": "Ada King"}).json()
    receiver.wait(target, 2)
    expect.empty(api.delete(f"/users/{ada['id']}"))
    attempts = receiver.wait(target, 3)
    assert attempts[0].at - answered < 1
    for attempt in attempts:
        assert_well_sent(attempt, api, url, one["secret"])
    assert [json.loads(attempt.body)["data"] for attempt in attempts] == [
        ada,
        renamed,
        {"id": ada["id"], "version": 2},
    ]
    none_left(api, one)
    assert len(receiver.attempts(target)) == 3


# The targets of requests: what stands in the url behind the host, and what is asked for.
TARGETS = {
    "": "/",
    "/": "/",
    "/?": "/?",
    "//a": "//a",
    "/a/../b/./c": "/a/../b/./c",
    "/%2e%2E/%61%00": "/%2e%2E/%61%00",
    "/a?b?c/d:@!$&'()*+,;=~[]": "/a?b?c/d:@!$&'()*+,;=~[]",
    "/x" * 900: "/x" * 900,
}


def signed(webhook: Json, receiver: Receiver, target: str) -> list[Attempt]:
    """The attempts that were made for this webhook, of those that have come in there."""
    found = []
    for attempt in receiver.attempts(target):
        with contextlib.suppress(WebhookVerificationError):
            Webhook(webhook["secret"]).verify(attempt.body, dict(attempt.fields))
            found.append(attempt)
    return found


@pytest.mark.clause("HOOK-10", "HOOK-22", "HOOK-23")
@pytest.mark.engine("sqlite")
def test_where_it_is_sent(sender: Service, receiver: Receiver) -> None:
    api, six = sender.api, Receiver("::1")
    mapped = receiver.origin.replace("127.0.0.1", "[::ffff:127.0.0.1]")
    places = [(receiver, receiver.origin, rest) for rest in TARGETS]
    places += [(six, six.origin, "/"), (six, six.origin, ""), (receiver, mapped, "/a")]
    hooks = [hook(api, origin + rest) for _, origin, rest in places]
    api.create()
    for one, (where, _, rest) in zip(hooks, places, strict=True):
        target = TARGETS.get(rest, rest)
        (attempt,) = until(functools.partial(signed, one, where, target))
        assert_well_sent(attempt, api, one["url"], one["secret"])
        none_left(api, one)
    six.close()


def nobodys_address() -> str:
    """An address of this machine with all of its ports free, where it has more than one."""
    return f"127.1.{random.randrange(256)}.{random.randrange(1, 255)}"


@pytest.mark.clause("HOOK-10")
@pytest.mark.engine("sqlite")
def test_a_port_is_named_where_the_url_names_it(sender: Service, authority: Authority) -> None:
    here = nobodys_address()
    try:
        plain, secured = Receiver(here, port=80), Receiver(here, authority.context(here), 443)
    except OSError as error:
        pytest.skip(f"ports 80 and 443 can't be had: {error}")
    for where, scheme, port in ((plain, "http", 80), (secured, "https", 443)):
        hosts = [here, f"{here}:{port}"]
        for host in hosts:
            hook(sender.api, f"{scheme}://{host}/")
        sender.api.create()
        attempts = where.wait("/", 2)
        assert sorted(dict(one.fields)["Host"] for one in attempts) == hosts
        where.close()
        for one in sender.api.get("/webhooks").json():
            expect.empty(sender.api.delete(path(one)))


# Of each line: secret, fields and body of an attempt. Prints what the library makes of it.
VERIFY: dict[Kind, str] = {
    "python": """
import json, sys
from standardwebhooks import Webhook, WebhookVerificationError

for secret, fields, body in json.load(sys.stdin):
    try:
        print(json.dumps(Webhook(secret).verify(body.encode(), fields)))
    except WebhookVerificationError as error:
        print(json.dumps("refused"))
""",
    "node": """
import { readFileSync } from "node:fs";
import { Webhook, WebhookVerificationError } from "standardwebhooks";

for (const [secret, fields, body] of JSON.parse(readFileSync(0))) {
  try {
    console.log(JSON.stringify(new Webhook(secret).verify(body, fields)));
  } catch (error) {
    if (!(error instanceof WebhookVerificationError)) throw error;
    console.log(JSON.stringify("refused"));
  }
}
""",
}


@pytest.mark.clause("HOOK-11", "HOOK-02")
@pytest.mark.engine("sqlite")
def test_both_libraries_verify_what_is_sent(sender: Service, receiver: Receiver) -> None:
    api = sender.api
    hooks = [hook(api, receiver.url(f"/{number}")) for number in range(5)]
    api.create(name="Zoë 😀 \u2028")
    cases, expected = [], []
    for number, one in enumerate(hooks):
        (attempt,) = receiver.wait(f"/{number}")
        fields, body = dict(attempt.fields), attempt.body.decode()
        event = json.loads(body)
        stamp = int(fields["webhook-timestamp"])
        for secret, changes, data, right in (
            (one["secret"], {}, body, event),
            (hooks[number - 1]["secret"], {}, body, "refused"),
            (one["secret"], {}, body.replace("Zoë", "Zoe"), "refused"),
            (one["secret"], {"webhook-id": f"{attempt.event}0"}, body, "refused"),
            (one["secret"], {"webhook-timestamp": f"{stamp + 1}"}, body, "refused"),
        ):
            cases.append([secret, fields | changes, data])
            expected.append(right)
        assert len(base64.b64decode(one["secret"].removeprefix("whsec_"))) == 32
    for kind in KINDS:
        printed = services.run_code(VERIFY, kind, given=json.dumps(cases)).split("\n")
        assert [json.loads(line) for line in printed[:-1]] == expected, kind


@pytest.mark.clause("HOOK-12")
@pytest.mark.engine("sqlite")
def test_it_is_sent_within_a_second(sender: Service, receiver: Receiver) -> None:
    """Nobody reads events meanwhile."""
    one = hook(sender.api, receiver.url("/soon"), "user.created")
    took = []
    for number in range(1, 6):
        ada = sender.api.create()
        answered = time.monotonic()
        attempt = receiver.wait("/soon", number)[-1]
        took.append(attempt.at - answered)
        assert told([attempt]) == [("user.created", ada["id"])]
        time.sleep(random.random() * 0.2)
    assert max(took) < 1, took
    none_left(sender.api, one)


@pytest.mark.clause("HOOK-03", "HOOK-05", "HOOK-09")
def test_only_what_was_asked_for_is_sent(sender: Service, receiver: Receiver) -> None:
    api = sender.api
    before = api.create()
    wanted = {
        "/created": TYPES[:1],
        "/changed": TYPES[1:2],
        "/deleted": TYPES[2:],
        "/two": TYPES[1:],
    }
    hooks = {target: hook(api, receiver.url(target), *types) for target, types in wanted.items()}
    expect.empty(api.delete(f"/users/{before['id']}"))
    users = []
    for _ in range(2):
        ada = api.create()
        api.patch(f"/users/{ada['id']}", json={"name": "Ada King"})
        expect.empty(api.delete(f"/users/{ada['id']}"))
        users.append(ada["id"])
    for target, types in wanted.items():
        expected = [(type_, user_id) for user_id in users for type_ in types]
        expected += [("user.deleted", before["id"])] if "user.deleted" in types else []
        attempts = receiver.wait(target, len(expected))
        none_left(api, hooks[target])
        assert sorted(told(attempts)) == sorted(expected)
    for target in wanted:
        receiver.quiet(target, len(receiver.attempts(target)), 0.1)


@pytest.mark.clause("HOOK-09")
def test_of_what_was_before_nothing_and_of_what_comes_everything(
    sender: Service, receiver: Receiver
) -> None:
    """Others write all the while."""
    api, writers = sender.api, 4
    changes: list[tuple[float, float, int]] = []
    enough = threading.Event()

    def write() -> None:
        while not enough.is_set():
            sent = time.monotonic()
            ada = api.create()
            changes.append((sent, time.monotonic(), ada["id"]))

    with ThreadPoolExecutor(writers) as pool:
        writing = [pool.submit(write) for _ in range(writers)]
        try:
            until(lambda: len(changes) > 20)
            asked = time.monotonic()
            one = hook(api, receiver.url("/all"), "user.created")
            there, behind = time.monotonic(), len(changes)
            until(lambda: len(changes) > behind + 30)
        finally:
            enough.set()
        for each in writing:
            each.result()
    before = {user_id for _, answered, user_id in changes if answered < asked}
    after = {user_id for sent, _, user_id in changes if sent > there}
    assert len(before) >= 20
    receiver.wait("/all", len(after))
    last = api.create()["id"]
    until(lambda: last in [user_id for _, user_id in told(receiver.attempts("/all"))])
    none_left(api, one)
    came = [user_id for _, user_id in told(receiver.attempts("/all"))]
    assert len({*came}) == len(came)
    assert {*came} >= after | {last}
    assert not {*came} & before


@pytest.mark.clause("HOOK-09", "HOOK-12")
@pytest.mark.engine("sqlite")
def test_much_that_is_not_for_it_keeps_back_nothing(sender: Service, receiver: Receiver) -> None:
    one = hook(sender.api, receiver.url("/few"), "user.created")
    now = datetime.fromtimestamp(time.time()).astimezone().isoformat(timespec="milliseconds")
    with Session(sender.database_url) as session:
        session.execute(
            "WITH RECURSIVE numbers (n) AS"
            " (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 2500)"
            " INSERT INTO events (type, user_id, time, data)"
            f" SELECT 'user.deleted', 1, '{now[:-6]}Z', '{{\"id\":1,\"version\":1}}' FROM numbers"
        )
    ada = sender.api.create()
    (attempt,) = receiver.wait("/few", seconds=5)
    assert told([attempt]) == [("user.created", ada["id"])]
    none_left(sender.api, one)


# What comes of it


@pytest.mark.clause(
    "HOOK-13", "HOOK-14", "HOOK-15", "HOOK-16", "HOOK-20", "HOOK-21", "HOOK-27", "LOG-02", "LOG-04"
)
def test_the_life_of_a_delivery_that_fails(sender: Service, receiver: Receiver) -> None:
    api, gate, last = sender.api, threading.Event(), threading.Event()
    receiver.say("/life", hold(gate, FAILED), FAILED, FAILED, OK, FAILED, hold(last))
    one = hook(api, receiver.url("/life"))
    ada = api.create()
    (first,) = receiver.wait("/life")
    event = first.event
    # Under way.
    under_way = deliveries(api, one)
    expected: Json = {"event": event, "status": "waiting", "attempts": 1, "outcome": None}
    assert under_way == [expected | {"due_at": under_way[0]["due_at"]}]
    assert 0 < seconds(under_way[0]["due_at"]) - first.time <= TIMEOUT + 10
    assert again(api, one, event) == under_way[0]
    receiver.quiet("/life", 1)
    # Failed, for the first time.
    gate.set()
    (waiting,) = failed(api, one)
    due = seconds(waiting["due_at"]) - time.time()
    assert waiting == expected | {"outcome": "500", "due_at": waiting["due_at"]}
    assert RETRY[0] - 2 < due < RETRY[0] * 1.2 + 1
    # Sent again when that is asked for, and then by itself.
    sent = again(api, one, event)
    assert abs(seconds(sent["due_at"]) - time.time()) < 1
    assert sent == waiting | {"due_at": sent["due_at"]}
    second = receiver.wait("/life", 2, SOON)[1]
    third = receiver.wait("/life", 3)[2]
    assert second.ended
    assert RETRY[1] <= third.at - second.ended <= RETRY[1] * 1.2 + 1 + 0.2
    # Dead.
    dead = expected | {"status": "dead", "attempts": 3, "outcome": "500", "due_at": None}
    until(lambda: deliveries(api, one) == [dead])
    line = {"level": "error", "message": "delivery died", "webhook": one["id"], "event": event}
    line["outcome"] = "500"
    until(lambda: logged(sender, one) == [line])
    # It keeps back nothing of the same user,
    renamed = api.patch(f"/users/{ada['id']}", json={"name": "Ada King"}).json()
    fourth = receiver.wait("/life", 4)[3]
    assert json.loads(fourth.body)["data"] == renamed
    until(lambda: deliveries(api, one) == [dead])
    # and has one attempt more, each time that is asked for.
    sent = again(api, one, event)
    assert abs(seconds(sent["due_at"]) - time.time()) < 1
    assert sent == dead | {"status": "waiting", "due_at": sent["due_at"]}
    receiver.wait("/life", 5, SOON)
    until(lambda: deliveries(api, one) == [dead | {"attempts": 4}])
    again(api, one, event)
    receiver.wait("/life", 6, SOON)
    # Under way, so what became of the one before is not told any more.
    (under_way_again,) = deliveries(api, one)
    expected |= {"attempts": 5, "due_at": under_way_again["due_at"]}
    assert under_way_again == expected
    last.set()
    none_left(api, one)
    expect.problem(api.post(f"{path(one)}/deliveries/{event}"), "delivery-not-found")
    attempts = receiver.attempts("/life")
    assert [attempt.event for attempt in attempts] == [event] * 3 + [fourth.event] + [event] * 2
    assert len({attempt.body for attempt in attempts}) == 2
    for attempt in attempts:
        assert_well_sent(attempt, api, receiver.url("/life"), one["secret"])
    assert logged(sender, one) == [line] * 2
    asked = {(each["method"], each["route"]) for each in lines(sender) if "route" in each}
    assert asked >= {
        ("POST", "/webhooks"),
        ("GET", "/webhooks/{id}/deliveries"),
        ("POST", "/webhooks/{id}/deliveries/{event}"),
    }
    # Of what a client has sent nothing is logged, nor whom it is for.
    assert one["secret"] not in sender.log()
    assert receiver.url("/life") not in sender.log()


@pytest.mark.clause("HOOK-15", "HOOK-21", "HOOK-14", "HOOK-20")
def test_events_of_one_user_wait_for_each_other(sender: Service, receiver: Receiver) -> None:
    api, refuses = sender.api, threading.Event()
    refuses.set()
    receiver.say("/order", choose(lambda _: FAILED if refuses.is_set() else OK))
    one = hook(api, receiver.url("/order"))
    ada = api.create()
    (first,) = receiver.wait("/order")
    (failing,) = failed(api, one)
    refuses.clear()
    api.patch(f"/users/{ada['id']}", json={"name": "Ada King"})
    expect.empty(api.delete(f"/users/{ada['id']}"))
    eve = api.create()
    assert told(receiver.wait("/order", 2)[1:]) == [("user.created", eve["id"])]
    second, third = f"{int(first.event) + 1}", f"{int(first.event) + 2}"
    until(lambda: [each["event"] for each in deliveries(api, one)] == [first.event, second, third])
    found = deliveries(api, one)
    assert found[0] == failing
    for each in found[1:]:
        assert (each["status"], each["attempts"], each["outcome"]) == ("waiting", 0, None)
    # What waits for another one isn't sent before it, whoever asks for that.
    for event in (second, third):
        assert again(api, one, event)["attempts"] == 0
    receiver.quiet("/order", 2)
    again(api, one, first.event)
    attempts = receiver.wait("/order", 5, SOON + 1)[2:]
    assert told(attempts) == [(type_, ada["id"]) for type_ in TYPES]
    for before, behind in itertools.pairwise(attempts):
        assert before.ended
        assert before.ended < behind.at
    none_left(api, one)


@pytest.mark.clause("HOOK-14", "HOOK-19", "HOOK-20")
def test_pages_of_deliveries_and_when_they_are_due(sender: Service, receiver: Receiver) -> None:
    api, count = sender.api, 12
    receiver.say("/pages", FAILED)
    one = hook(api, receiver.url("/pages"))
    for _ in range(count):
        api.create()
    receiver.wait("/pages", count)
    until(lambda: len(deliveries(api, one)) == count)
    found = failed(api, one)
    attempts = {attempt.event: attempt for attempt in receiver.attempts("/pages")}
    events = [each["event"] for each in found]
    assert events == sorted(attempts, key=int)
    # Each is put off by as much as it is to be, and by something at random.
    delays = [seconds(each["due_at"]) - attempts[each["event"]].time for each in found]
    assert min(delays) >= RETRY[0] - 0.1
    assert max(delays) <= RETRY[0] * 1.2 + 1
    assert max(delays) - min(delays) > 0.5
    here = f"{path(one)}/deliveries"
    assert deliveries(api, one, f"?limit={count}") == found
    link = f"{here}?limit=5&after={events[4]}"
    assert deliveries(api, one, "?limit=5", link) == found[:5]
    further = f"{here}?limit=5&after={events[9]}"
    assert deliveries(api, one, link.removeprefix(here), further) == found[5:10]
    assert deliveries(api, one, further.removeprefix(here)) == found[10:]
    last = f"{here}?limit=11&after={events[10]}"
    assert deliveries(api, one, "?after=0&limit=11", last) == found[:11]
    assert deliveries(api, one, f"?after={events[-1]}") == []
    assert deliveries(api, one, f"?sort=-id&after={events[0]}") == found[1:]
    target = f"{here}?limit=1"
    expect.head_of(api.head(target), api.get(target))


@pytest.mark.clause("HOOK-19")
@pytest.mark.engine("sqlite")
def test_50_deliveries_without_a_limit(sender: Service, receiver: Receiver) -> None:
    api = sender.api
    one = hook(api, receiver.url("/one"))
    receiver.say("/one", FAILED)
    ada = api.create()
    failed(api, one)
    first = int(receiver.attempts("/one")[0].event)
    for number in range(50):
        api.patch(f"/users/{ada['id']}", json={"name": f"Ada {number}"})
    link = f"{path(one)}/deliveries?limit=50&after={first + 49}"
    until(lambda: len(api.get(f"{path(one)}/deliveries?limit=100").json()) == 51)
    assert [int(each["event"]) for each in deliveries(api, one, "", link)] == [
        *range(first, first + 50)
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere other files are open, too")
@pytest.mark.clause("HOOK-16", "OPS-28")
@pytest.mark.parametrize("kind", KINDS)
def test_attempts_leave_files_to_clients(start: Start, receiver: Receiver, kind: Kind) -> None:
    """Where a process may open 80 files: of 30 for connections clients have 20; three endpoints hang."""
    env = {"DATABASE_POOL_SIZE": "10", "WEBHOOKS_TIMEOUT": "20", "WEBHOOKS_RETRY": "3600"}
    service = start(kind, files=80, **env)
    service.await_ready()
    api, gate = service.api, threading.Event()
    receiver.say("/hangs", hold(gate))
    for _ in range(3):
        hook(api, receiver.url("/hangs"), "user.created")
    for _ in range(10):
        api.create()
    receiver.wait("/hangs", 10)
    receiver.quiet("/hangs", 10, 1)
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            silent = stack.enter_context(api.connect(5.0))
            silent.send(b"GET /users HT")
        with api.connect(5.0) as fresh:
            fresh.send(api.message("GET", "/healthz"))
            assert fresh.read().status == 200
    gate.set()
    receiver.wait("/hangs", 30, 2 * SOON)
    assert service.stderr() == ""


@pytest.mark.clause("HOOK-17", "HOOK-07", "HOOK-21", "HOOK-27")
@pytest.mark.engine("sqlite")
def test_410_ends_a_webhook(sender: Service, receiver: Receiver) -> None:
    api, gate = sender.api, threading.Event()
    receiver.say("/ends", FAILED, hold(gate), answer("410 Gone"))
    one, other = hook(api, receiver.url("/ends")), hook(api, receiver.url("/stays"))
    api.create()
    failed(api, one)
    api.create()  # its attempt is under way when the webhook ends
    receiver.wait("/ends", 2)
    api.create()
    third = receiver.wait("/ends", 3)[2]
    ended = until(lambda: api.get(path(one)).json()["ended_at"])
    assert abs(seconds(ended) - third.time) < 1
    expected = shown(one) | {"ended_at": ended}
    expect.body(api.get(path(one)), 200, expect.render(expected))
    expect.body(api.get("/webhooks"), 200, expect.render([expected, shown(other)]))
    assert deliveries(api, one) == []
    gate.set()
    api.create()
    receiver.wait("/stays", 4)
    none_left(api, other)
    receiver.quiet("/ends", 3, 0.3)
    assert deliveries(api, one) == []
    for attempt in receiver.attempts("/ends"):
        given = api.post(f"{path(one)}/deliveries/{attempt.event}")
        expect.problem(given, "delivery-not-found")
    expect.body(api.get(path(one)), 200, expect.render(expected))
    line = {"level": "error", "message": "webhook ended", "webhook": one["id"]}
    assert logged(sender, one) == [line]
    expect.empty(api.delete(path(one)))
    gone(api, one["id"])


@pytest.mark.clause("HOOK-08")
def test_a_webhook_that_is_deleted_is_sent_nothing(sender: Service, receiver: Receiver) -> None:
    api, gate = sender.api, threading.Event()
    receiver.say("/deleted", FAILED, hold(gate, FAILED), OK)
    one, other = hook(api, receiver.url("/deleted")), hook(api, receiver.url("/other"))
    ada = api.create()
    failed(api, one)
    api.create()
    receiver.wait("/deleted", 2)
    event = receiver.attempts("/deleted")[0].event
    expect.empty(api.delete(path(one)))
    gone(api, one["id"])
    given = api.post(f"{path(one)}/deliveries/{event}")
    expect.problem(given, "webhook-not-found")
    gate.set()
    api.patch(f"/users/{ada['id']}", json={"name": "Ada King"})
    receiver.wait("/other", 3)
    receiver.quiet("/deleted", 2)
    none_left(api, other)
    expect.body(api.get("/webhooks"), 200, expect.render([shown(other)]))


@pytest.mark.clause("HOOK-16", "HOOK-12")
@pytest.mark.engine("sqlite")
def test_who_is_slow_holds_up_nobody_else(sender: Service, receiver: Receiver) -> None:
    api, gate, count = sender.api, threading.Event(), 14
    receiver.say("/slow", hold(gate))
    slow, other = (hook(api, receiver.url(target)) for target in ("/slow", "/other"))
    late = []

    def create(heard: int, target: str) -> None:
        """One more user, and how long it takes until that is heard of."""
        api.create()
        answered = time.monotonic()
        late.append(receiver.wait(target, heard)[-1].at - answered)

    began = time.monotonic()
    # Its own others neither, as long as there are fewer than ten of them,
    for number in range(1, 4):
        create(number, "/slow")
    for _ in range(4, count):
        api.create()
    # and then no more.
    receiver.wait("/slow", 10)
    create(count, "/other")
    receiver.quiet("/slow", 10, 0.3)
    assert time.monotonic() - began < TIMEOUT, "too late to tell: they are given up"
    gate.set()
    receiver.wait("/slow", count)
    for one in (slow, other):
        none_left(api, one)
    assert len({attempt.event for attempt in receiver.attempts("/slow")}) == count
    assert max(late) < 1, late


def head_of(size: int, status: str = "200 OK") -> bytes:
    """One whose reason, name and value are so large."""
    return answer(status, f"X: {'x' * (size - len(status) + 3)}")


OK_WITH = functools.partial(answer, "200 OK")
SWITCH = answer("101 Switching Protocols", "Upgrade: x", "Connection: upgrade")
DELIVERED = "delivered"


def outcomes(elsewhere: str) -> Iterator[tuple[str, bytes | Behaviour, str]]:
    """What an endpoint does, and what comes of it; `elsewhere` nobody is to ask."""
    for status in (200, 201, 202, 203, 204, 205, 206, 226, 299):
        yield f"{status}", answer(f"{status} Fine", "Content-Length: 0"), DELIVERED
    for status in (301, 302, 303, 307, 308):
        yield f"{status}", answer(f"{status} X", f"Location: {elsewhere}"), f"{status}"
    more = ["Retry-After: 1", f"Refresh: 0; url={elsewhere}", f"Content-Location: {elsewhere}"]
    for status in (300, 304, 400, 401, 404, 407, 426, 429, 500, 503, 600, 999):
        yield f"{status}", answer(f"{status} X", *more, "Content-Length: 0"), f"{status}"
    yield "too little of a body", OK_WITH("Content-Length: 10", body=b"x"), DELIVERED
    yield "a head, and silence", hang(OK_WITH("Content-Length: 10")), DELIVERED
    yield "a head, and a slow body", hang(OK_WITH("Content-Length: 1000"), b"x"), DELIVERED
    yield "an error, and silence", hang(FAILED.replace(b": 0", b": 9")), "500"
    yield "chunks that are none", OK_WITH("Transfer-Encoding: chunked", body=b"x\r\n"), DELIVERED
    yield "no reason", b"HTTP/1.1 200 \r\n\r\n", DELIVERED
    yield "HTTP/1.0", b"HTTP/1.0 200 OK\r\n\r\nhello", DELIVERED
    yield "100 before", answer("100 Continue") + OK, DELIVERED
    yield "103 before", answer("103 Early Hints", f"Link: <{elsewhere}>") * 20 + OK, DELIVERED
    yield "103 before an error", answer("103 Early Hints") + FAILED, "500"
    yield "103 for ever", hang(b"", answer("103 Early Hints")), "timeout"
    yield "101", SWITCH, "101"
    yield "101, and silence", hang(SWITCH), "101"
    yield "a long head", head_of(16383), DELIVERED
    yield "a head of short fields", OK_WITH(*["A:b"] * 8000), DELIVERED
    yield "a long head before", head_of(16383, "103 X") * 2 + head_of(16383), DELIVERED
    refusal = answer("503 X", "Content-Length: 0")
    yield "another answer behind it", OK + refusal, DELIVERED
    yield "410 behind it", OK + answer("410 X", "Content-Length: 0"), DELIVERED
    yield "200 behind a 503", refusal + answer("200 X", "Content-Length: 0"), "503"
    yield "a long reason", answer(f"200 {'x' * 16383}"), DELIVERED
    yield "too long a head", head_of(16385), "unreachable"
    yield "too long a head of short fields", OK_WITH(*["A:b"] * 8200), "unreachable"
    yield "too long a head before", head_of(16385, "103 X") + OK, "unreachable"
    yield "too long a head by far", head_of(110_000), "unreachable"
    yield "too long a reason", answer(f"200 {'x' * 16385}"), "unreachable"
    yield "silence", hang(), "timeout"
    yield "half a head, and silence", hang(b"HTTP/1.1 200 OK\r\nX: y\r\n"), "timeout"
    yield "a slow head", hang(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", 0.2), "timeout"
    yield "a slow line", hang(b"HTTP/1.1 200 ", b"x"), "timeout"
    yield "nothing", b"", "unreachable"
    yield "half a head", b"HTTP/1.1 200 OK\r\nX: y\r\n", "unreachable"
    yield "no HTTP", b"220 mail.example.com ESMTP\r\n\r\n", "unreachable"
    yield "bytes", bytes(range(256)) * 4, "unreachable"
    yield "100 alone", answer("100 Continue"), "unreachable"
    yield "another version", b"HTTP/2 200 OK\r\n\r\n", "unreachable"
    yield "lines that end with LF", b"HTTP/1.1 200 OK\nX: y\n\n", "unreachable"
    for line in ("20 OK", "2000 OK", "200OK", " 200 OK", "099 OK", "000 OK"):
        yield f"status {line}", answer(line), "unreachable"
    for line in ("x", " X: y", "X : y", "X: y\r\n z", ": y", "X@: y", "X: \0", "X: \1"):
        yield f"field {line!a}", OK_WITH(line), "unreachable"
    length = "Content-Length: 0"
    for other in ("Content-Length: 1", "Transfer-Encoding: chunked"):
        yield f"a length and {other}", OK_WITH(length, other), "unreachable"
    for value in ("x", "-1", "9" * 30):
        yield f"length {value}", OK_WITH(f"Content-Length: {value}"), "unreachable"
    yield "a coding that is unknown", OK_WITH("Transfer-Encoding: gzip"), DELIVERED
    yield "bytes in a field", OK_WITH("X: \xe4\xff"), DELIVERED


def endless() -> list[tuple[str, Pour, str]]:
    """As before, of what has no end."""
    return [
        ("a body", Pour(OK_WITH("Content-Length: 99999999999"), b"x" * 65536), DELIVERED),
        ("chunks", Pour(OK_WITH("Transfer-Encoding: chunked"), b"1\r\nx\r\n" * 9000), DELIVERED),
        ("a body of an error", Pour(answer("500 X"), b"x" * 65536), "500"),
        ("fields", Pour(b"HTTP/1.1 200 OK\r\n", b"X-Field: y\r\n" * 5000), "unreachable"),
        ("a field", Pour(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 65536), "unreachable"),
        ("a line", Pour(b"HTTP/1.1 200 ", b"x" * 65536), "unreachable"),
    ]


def outcome(api: Client, webhook: Json, target: str, *receivers: Receiver) -> str:
    """What has come of the only delivery there is, once it is known; heard of there, if at all."""

    def known() -> str:
        found = deliveries(api, webhook)
        if found:
            return found[0]["outcome"] or ""
        return DELIVERED if any(one.attempts(target) for one in receivers) else ""

    return until(known)


@pytest.mark.clause("HOOK-13", "HOOK-14", "HOOK-28")
@pytest.mark.engine("sqlite")
def test_outcomes(sender: Service, receiver: Receiver) -> None:
    api, elsewhere, pours = sender.api, Receiver(), endless()
    rows = [*outcomes(elsewhere.url()), *pours]
    wrong = []
    # There are fifty webhooks at most; those that take long come together.
    rows.sort(key=lambda row: row[2] != "timeout")
    assert len(rows) < 98
    for batch in (rows[:49], rows[49:]):
        nobody = hook(api, f"http://127.0.0.1:{services.free_port()}/")
        hooks: list[tuple[str, Json]] = []
        for what, behaviour, _ in batch:
            target = f"/{re.sub('[^a-zA-Z0-9]', '-', what)}/{len(hooks)}"
            receiver.say(target, behaviour)
            hooks.append((target, hook(api, receiver.url(target))))
        api.create()
        for (what, _, right), (target, one) in zip(batch, hooks, strict=True):
            got = outcome(api, one, target, receiver)
            if got != right:
                wrong.append(f"{what}: {got}, should be {right}")
            for delivery in deliveries(api, one):
                due = seconds(delivery["due_at"]) - time.time()
                assert RETRY[0] - 15 < due < RETRY[0] * 1.2 + 1, what
        assert [each["outcome"] for each in failed(api, nobody)] == ["unreachable"]
        for _, one in hooks:
            expect.empty(api.delete(path(one)))
    # And it goes on as before.
    one = hook(api, receiver.url("/next"))
    api.create()
    receiver.wait("/next", 1, SOON)
    none_left(api, one)
    assert not wrong, "\n".join(wrong)
    assert elsewhere.connections == 0
    elsewhere.close()
    for what, pour, _ in pours:
        assert pour.over.wait(5), what
        # What has gone lies in buffers of the system, but for a little.
        assert pour.taken < 4 * 2**20, what


@pytest.mark.clause("HOOK-28", "HOOK-10")
@pytest.mark.engine("sqlite")
def test_an_answer_has_no_say_in_what_is_sent_next(sender: Service, receiver: Receiver) -> None:
    elsewhere = Receiver()
    fields = [
        *("Set-Cookie: a=b; Path=/", "Set-Cookie: c=d; Max-Age=9999", "ETag: x", "Vary: *"),
        *(f'Alt-Svc: http/1.1="127.0.0.1:{elsewhere.port}"; ma=9999', "Connection: keep-alive"),
        *("WWW-Authenticate: Basic realm=x", "Accept-CH: DPR", "Content-Length: 0", "Upgrade: h2c"),
        f"Location: {elsewhere.url()}",
    ]
    receiver.say("/say", answer("401 X", *fields), answer("302 X", *fields), OK_WITH(*fields), OK)
    one = hook(sender.api, receiver.url("/say"))
    sender.api.create()
    (delivery,) = failed(sender.api, one)
    again(sender.api, one, delivery["event"])
    receiver.wait("/say", 3)
    none_left(sender.api, one)
    sender.api.create()
    attempts = receiver.wait("/say", 4)
    names = [[name for name, _ in attempt.fields] for attempt in attempts]
    assert names == [names[0]] * 4
    for attempt in attempts:
        assert_well_sent(attempt, sender.api, receiver.url("/say"), one["secret"])
    assert (elsewhere.connections, receiver.connections) == (0, 4)
    elsewhere.close()


@pytest.mark.clause("HOOK-24", "HOOK-13", "HOOK-10")
@pytest.mark.engine("sqlite")
def test_who_is_spoken_to_by_tls(
    sender: Service, authority: Authority, tmp_path: Path, receiver: Receiver
) -> None:
    api, stranger = sender.api, Authority(tmp_path)
    here = "127.0.0.1"
    rows: dict[str, tuple[Receiver, str]] = {
        "its own": (Receiver(here, authority.context(here)), DELIVERED),
        "one of several": (Receiver(here, authority.context("a.test", here)), DELIVERED),
        "IPv6": (Receiver("::1", authority.context("::1")), DELIVERED),
        "another's": (Receiver(here, authority.context("127.0.0.2")), "unreachable"),
        "a name": (Receiver(here, authority.context("localhost")), "unreachable"),
        "the address as a name": (Receiver(here, authority.context(name=here)), "unreachable"),
        "nobody's": (Receiver(here, authority.context()), "unreachable"),
        "an old one": (Receiver(here, authority.context(here, days=-1)), "unreachable"),
        "a stranger's": (Receiver(here, stranger.context(here)), "unreachable"),
    }
    silent = socket.create_server((here, 0))  # takes connections, and says nothing
    hooks = {what: hook(api, where.url("/tls")) for what, (where, _) in rows.items()}
    plain = hook(api, receiver.url("/").replace("http:", "https:"))
    reverse = hook(api, rows["its own"][0].url("/").replace("https:", "http:"))
    waiting = hook(api, f"https://127.0.0.1:{silent.getsockname()[1]}/")
    api.create()
    got = {what: outcome(api, hooks[what], "/tls", where) for what, (where, _) in rows.items()}
    assert got == {what: right for what, (_, right) in rows.items()}
    for what, (where, right) in rows.items():
        for attempt in where.attempts("/tls"):
            assert right == DELIVERED
            assert_well_sent(attempt, api, where.url("/tls"), hooks[what]["secret"])
            assert attempt.sni is None  # RFC 6066, 3: an address isn't told
    others = [outcome(api, one, "/", receiver) for one in (plain, reverse, waiting)]
    assert others == ["unreachable", "unreachable", "timeout"]
    assert receiver.attempts("/") == []
    for where, _ in rows.values():
        where.close()
    silent.close()


# Of TLS 1.2 what RFC 9325, 4.2 recommends, and the like with ChaCha20 (RFC 7905).
SPOKEN = [
    f"ECDHE-{key}-{cipher}"
    for key in ("ECDSA", "RSA")
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
]
UNSPOKEN = [
    *["ECDHE-ECDSA-AES128-CCM", "ECDHE-ECDSA-AES256-CCM8", "ECDHE-ECDSA-AES128-SHA256"],
    *["ECDHE-ECDSA-AES256-SHA", "ECDHE-ECDSA-ARIA128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256"],
    *["ECDHE-RSA-AES256-SHA384", "ECDHE-RSA-AES128-SHA", "ECDHE-ARIA256-GCM-SHA384"],
    *["AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-CCM", "AES256-SHA256", "AES128-SHA"],
]


@pytest.mark.clause("HOOK-24")
@pytest.mark.engine("sqlite")
def test_which_suites_of_tls_are_spoken(sender: Service, authority: Authority) -> None:
    api, got = sender.api, {}
    endpoints = {
        suite: Receiver("127.0.0.1", authority.context("127.0.0.1", suite=suite))
        for suite in (*SPOKEN, *UNSPOKEN)
    }
    hooks = {suite: hook(api, where.url("/tls")) for suite, where in endpoints.items()}
    api.create()
    for suite, where in endpoints.items():
        got[suite] = outcome(api, hooks[suite], "/tls", where)
        where.close()
    assert got == dict.fromkeys(SPOKEN, DELIVERED) | dict.fromkeys(UNSPOKEN, "unreachable")


@pytest.mark.clause("HOOK-24", "HOOK-28", "OPS-45")
@pytest.mark.parametrize("kind", KINDS)
def test_the_environment_has_no_say(
    start: Start, kind: Kind, authority: Authority, receiver: Receiver
) -> None:
    """Neither whom to trust nor who is asked."""
    proxy, secured = Receiver(), Receiver("127.0.0.1", authority.context("127.0.0.1"))
    names = ["http_proxy", "https_proxy", "all_proxy"]
    env = {name: proxy.origin for each in names for name in (each, each.upper())}
    env |= {"SSL_CERT_FILE": str(authority.file), "SSL_CERT_DIR": str(authority.file.parent)}
    env |= {"NODE_TLS_REJECT_UNAUTHORIZED": "0", "NODE_USE_ENV_PROXY": "1", "no_proxy": "a"}
    service = start(kind, **env, WEBHOOKS_CA="")
    service.await_ready()
    plain, other = (hook(service.api, one.url("/env")) for one in (receiver, secured))
    service.api.create()
    receiver.wait("/env")
    none_left(service.api, plain)
    assert [each["outcome"] for each in failed(service.api, other)] == ["unreachable"]
    assert (proxy.connections, len(secured.attempts("/env"))) == (0, 0)
    for one in (proxy, secured):
        one.close()


# Names

ISOLATED = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]


def with_names(directory: Path, server: str = "") -> str:
    """A script that starts what it is given where the names of its file `hosts` are all there are.

    Of others it asks the server, if one is given.
    """
    resolver = f"nameserver {server or '127.0.0.1'}\noptions timeout:30 attempts:1\n"
    (directory / "nsswitch.conf").write_text(f"hosts: files {'dns' if server else ''}\n", "ascii")
    (directory / "resolv.conf").write_text(resolver, "ascii")
    (directory / "hosts").touch()
    files = ("hosts", "nsswitch.conf", "resolv.conf")
    binds = " && ".join(f"mount --bind '{directory}/{name}' /etc/{name}" for name in files)
    return f"""exec {" ".join(ISOLATED)} sh -c "{binds} && exec \\"\\$@\\"" sh "$@\""""


@pytest.fixture
def names(tmp_path: Path) -> Path:
    """A directory for the names of a service, unless a process can't be given names of its own."""
    if not Path("/etc/nsswitch.conf").exists():
        pytest.skip("names are looked up in another way here")
    command = ["sh", "-c", with_names(tmp_path), "sh", "true"]
    try:
        tried = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError as error:
        pytest.skip(f"a process can't have names of its own here: {error}")
    if tried.returncode:
        pytest.skip(f"a process can't have names of its own here: {tried.stderr.strip()}")
    return tmp_path


@pytest.fixture
def silent_names() -> Iterator[tuple[str, socket.socket]]:
    """The address of a server of names that says nothing, and the socket on which it is asked."""
    server = nobodys_address()
    with socket.socket(type=socket.SOCK_DGRAM) as silent:
        try:
            silent.bind((server, 53))
        except OSError as error:
            pytest.skip(f"port 53 can't be had: {error}")
        yield server, silent


def lead(names: Path, *lines: str) -> None:
    """From now on these names lead there."""
    (names / "hosts").write_text("".join(f"{line}\n" for line in lines), "ascii")


# Of each name the addresses that it leads to, what comes of it, and at which of them.
LEADS: dict[str, tuple[list[str], str, str]] = {
    "allowed.test": (["127.0.0.2"], DELIVERED, "127.0.0.2"),
    "ALLOWED.Test": ([], DELIVERED, "127.0.0.2"),
    "six.test": (["::1"], DELIVERED, "::1"),
    "mapped.test": (["::ffff:127.0.0.2"], DELIVERED, "127.0.0.2"),
    "several.test": (["127.0.0.3", "127.0.0.2", "127.0.0.1"], DELIVERED, "127.0.0.2"),
    "last.test": (["0.0.0.0", "127.0.0.3", "::2", "::1"], DELIVERED, "::1"),
    "both.test": (["::1", "127.0.0.2"], DELIVERED, "127.0.0.2"),
    "mapped.both.test": (["::1", "::ffff:127.0.0.2"], DELIVERED, "127.0.0.2"),
    "closed.test": (["127.0.0.4", "::1"], "unreachable", ""),
    "forbidden.test": (["127.0.0.3"], "forbidden-address", ""),
    "all.test": (["127.0.0.1", "127.0.0.3", "0.0.0.0", "::"], "forbidden-address", ""),
    "mapped.forbidden.test": (["::ffff:127.0.0.3"], "forbidden-address", ""),
    "localhost": (["127.0.0.1"], "forbidden-address", ""),
    "nowhere.test": ([], "unreachable", ""),
}


@pytest.mark.clause("HOOK-22", "HOOK-23", "HOOK-13", "HOOK-10")
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives a process names of its own")
@pytest.mark.parametrize("kind", KINDS)
def test_where_names_lead(start: Start, kind: Kind, names: Path) -> None:
    hosts = [f"{address} {name}" for name, (found, _, _) in LEADS.items() for address in found]
    lead(names, *hosts, "127.0.0.2 leaves.test", "127.0.0.3 comes.test")
    allowed = "127.0.0.2,127.0.0.4,::1"
    service = start(kind, through=with_names(names), WEBHOOKS_NETWORKS=allowed)
    service.await_ready()
    api = service.api
    with receiving("127.0.0.1", "127.0.0.2", "127.0.0.3", "::1") as receivers:
        at = dict(zip(["127.0.0.1", "127.0.0.2", "127.0.0.3", "::1"], receivers, strict=True))
        port = receivers[0].port
        hooks = {name: hook(api, f"http://{name}:{port}/{name}") for name in LEADS}
        leaves, comes = (
            hook(api, f"http://{name}.test:{port}/{name}") for name in ("leaves", "comes")
        )
        at["127.0.0.2"].say("/leaves", FAILED)
        api.create()
        got = {name: outcome(api, one, f"/{name}", *receivers) for name, one in hooks.items()}
        assert got == {name: right for name, (_, right, _) in LEADS.items()}
        for name, (_, right, where) in LEADS.items():
            for attempt in at[where].attempts(f"/{name}") if right == DELIVERED else ():
                url, secret = hooks[name]["url"], hooks[name]["secret"]
                assert_well_sent(attempt, api, url, secret)
        # They are looked up anew, and what was found is judged anew.
        (gone_, there) = (failed(api, one) for one in (leaves, comes))
        assert [each["outcome"] for each in (*gone_, *there)] == ["500", "forbidden-address"]
        lead(names, "127.0.0.3 leaves.test", "127.0.0.2 comes.test")
        for one, (delivery,) in ((leaves, gone_), (comes, there)):
            again(api, one, delivery["event"])
        at["127.0.0.2"].wait("/comes")
        none_left(api, comes)
        until(lambda: deliveries(api, leaves)[0]["outcome"] == "forbidden-address")
        assert len(at["127.0.0.2"].attempts("/leaves")) == 1
        # Nobody else was connected to at all.
        assert (at["127.0.0.1"].connections, at["127.0.0.3"].connections) == (0, 0)
        wanted = [where for _, right, where in LEADS.values() if right == DELIVERED]
        assert at["127.0.0.2"].connections == wanted.count("127.0.0.2") + 2
        assert at["::1"].connections == wanted.count("::1")
    assert service.stderr() == ""


@pytest.mark.clause("HOOK-13", "HOOK-16", "HOOK-26")
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives a process names of its own")
@pytest.mark.parametrize("kind", KINDS)
def test_a_name_that_nobody_tells_of(
    start: Start,
    kind: Kind,
    names: Path,
    silent_names: tuple[str, socket.socket],
    receiver: Receiver,
) -> None:
    """The server of names says nothing, for longer than the service may take to stop."""
    server, silent = silent_names
    env = {"WEBHOOKS_TIMEOUT": "1", "SHUTDOWN_TIMEOUT": "1"}
    service = start(kind, through=with_names(names, server), **env)
    service.await_ready()
    api = service.api
    lost = [hook(api, f"http://lost{number}.test:{receiver.port}/") for number in range(3)]
    hook(api, receiver.url("/there"))
    api.create()
    answered = time.monotonic()
    assert receiver.wait("/there")[0].at - answered < 1
    # There are threads left for others.
    for _ in range(3):
        api.create(password=PASSWORD)
    assert time.monotonic() - answered < SOON
    assert [outcome(api, one, "/") for one in lost] == ["timeout"] * 3
    # One at a time: the others are yet to be asked for.
    asked = set(re.findall(rb"lost\d", b"".join(waiting(silent))))
    assert len(asked) == 1, asked
    service.process.send_signal(signal.SIGTERM)
    assert service.wait(1 + SOON) == 0
    assert service.stderr() == ""


def waiting(silent: socket.socket) -> Iterator[bytes]:
    """The datagrams that have come in."""
    silent.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            yield silent.recv(512)


@pytest.mark.clause("OPS-07", "AUTH-31")
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives a process names of its own")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rests", [0, 12], ids=["at once", "when it is given up"])
def test_the_end_does_not_wait_for_the_providers_name(
    start: Start, kind: Kind, names: Path, silent_names: tuple[str, socket.socket], rests: float
) -> None:
    """Nor does anything but the log tell that it isn't found."""
    server, silent = silent_names
    env = {"AUTH_JWKS_URL": "http://lost.test/keys", "SHUTDOWN_TIMEOUT": "1"}
    service = start(kind, through=with_names(names, server), **env)
    service.await_ready()
    given = service.api.get(
        "/users/me", headers={"Authorization": bearer(token(rsa_key(), "rsa", 1))}
    )
    expect.problem(given, "provider-unavailable")
    assert silent.recv(512)
    time.sleep(rests)
    service.process.send_signal(signal.SIGTERM)
    assert service.wait(1 + SOON) == 0
    assert service.stderr() == ""


@pytest.mark.clause("OPS-17", "OPS-07")
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives a process names of its own")
@pytest.mark.parametrize("kind", KINDS)
def test_nor_does_a_start_that_fails_for_the_databases_name(
    start: Start, kind: Kind, names: Path, silent_names: tuple[str, socket.socket]
) -> None:
    server, _ = silent_names
    url = "postgresql://u@lost.test/users"
    service = start(kind, url, with_names(names, server), DATABASE_TIMEOUT="1")
    assert service.wait(2 + SOON) == 1
    assert re.fullmatch("The database cannot be opened: .+\n", service.stderr())


@pytest.mark.clause("HOOK-24", "HOOK-23", "HOOK-10")
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives a process names of its own")
@pytest.mark.parametrize("kind", KINDS)
def test_whose_certificate_is_for_a_name(
    start: Start, kind: Kind, names: Path, authority: Authority
) -> None:
    # Of each name for whom its certificate is, and what comes of it.
    rows: dict[str, tuple[list[str], str]] = {
        "own.test": (["own.test"], DELIVERED),
        "OTHER.Case.test": (["other.case.test"], DELIVERED),
        "a.wild.test": (["*.wild.test"], DELIVERED),
        "b.a.wild.test": (["*.wild.test"], "unreachable"),
        "wild.test": (["*.wild.test"], "unreachable"),
        "part.wild.test": (["pa*.wild.test"], "unreachable"),
        "another.test": (["own.test"], "unreachable"),
        "address.test": (["127.0.0.1"], "unreachable"),
        "common.test": ([], "unreachable"),
    }
    lead(names, *(f"127.0.0.1 {name}" for name in rows))
    service = start(kind, through=with_names(names))
    service.await_ready()
    api = service.api
    receivers = {
        name: Receiver("127.0.0.1", authority.context(*hosts, name=name))
        for name, (hosts, _) in rows.items()
    }
    hooks = {name: hook(api, receivers[name].url("/").replace("127.0.0.1", name)) for name in rows}
    api.create()
    got = {name: outcome(api, one, "/", receivers[name]) for name, one in hooks.items()}
    assert got == {name: right for name, (_, right) in rows.items()}
    for name, one in hooks.items():
        for attempt in receivers[name].attempts("/"):
            assert_well_sent(attempt, api, one["url"], one["secret"])
            assert (attempt.sni or "").lower() == name.lower()
    for where in receivers.values():
        where.close()


# Of each address and networks, whether it may be called with TLS, and without.
MAY_CALL: dict[Kind, str] = {
    "python": """
import ipaddress, json, sys
from python_api.http.addresses import parse_networks
from python_api.webhooks.networks import may_call

for address, networks in json.load(sys.stdin):
    allowed = parse_networks(networks)
    print(json.dumps([may_call(address, allowed, is_secure=one) for one in (True, False)]))
""",
    "node": """
import { readFileSync } from "node:fs";
import { parseNetworks } from "./src/http/addresses.ts";
import { mayCall } from "./src/webhooks/networks.ts";

for (const [address, networks] of JSON.parse(readFileSync(0))) {
  const allowed = parseNetworks(networks);
  console.log(JSON.stringify([true, false].map((secure) => mayCall(address, secure, allowed))));
}
""",
}


@pytest.mark.clause("HOOK-22", "LIMIT-20")
@pytest.mark.parametrize("kind", KINDS)
def test_which_addresses_may_be_called(kind: Kind) -> None:
    """As a name leads to them: here nothing would be connected to."""
    named = ["10.1.0.0/16", "fd00::/8", "::ffff:8.8.8.0/120", "2001:db8::1"]
    inside = {"10.1.2.3", "::ffff:10.1.2.3", "fd00::1", "8.8.8.8", "::ffff:8.8.8.8", "2001:db8::1"}
    cases: list[tuple[str, list[str], list[bool]]] = []
    for host, forbidden in addresses():
        cases.append((host.strip("[]"), [], [not forbidden, False]))
    cases += [(address, named, [True, True]) for address in sorted(inside)]
    for address, allowed in {
        *(("10.2.0.0", False), ("10.0.255.255", False), ("8.8.9.0", True), ("fc00::1", False)),
        *(("2001:db8::2", False), ("2606:4700::1111", True), ("::ffff:10.2.0.0", False)),
        *(("fe80::1%lo", False), ("127.0.0.1", False), ("::10.1.2.3", False)),
    }:
        cases.append((address, named, [allowed, False]))
    given = json.dumps([[address, networks] for address, networks, _ in cases])
    printed = services.run_code(MAY_CALL, kind, given=given).splitlines()
    wrong = [
        f"{address}, {networks}: {line}, should be {right}"
        for (address, networks, right), line in zip(cases, printed, strict=True)
        if json.loads(line) != right
    ]
    assert not wrong, "\n".join(wrong)


# Both services


def masked(attempt: Attempt) -> bytes:
    """What was sent, but for what each attempt has of its own."""
    return re.sub(rb"(webhook-(?:timestamp|signature): )[^\r]+", rb"\1...", attempt.raw)


@pytest.mark.clause("PAIR-10", "HOOK-10", "HOOK-18", "OPS-14")
@pytest.mark.parametrize("first", KINDS)
def test_both_send_the_same_bytes(
    start: Start, first: Kind, authority: Authority, receiver: Receiver
) -> None:
    """An event that the one has sent in vain is sent again by the other."""
    secured = Receiver("127.0.0.1", authority.context("127.0.0.1"))
    targets = ["/", "/a/b?c=d&%zz", "//", "/secured"]
    one = start(first)
    one.await_ready()
    hooks = []
    for target in targets:
        where = secured if target == "/secured" else receiver
        where.say(target, FAILED, OK)
        hooks.append(hook(one.api, where.url(target)))
    one.api.create(name='Zoë 😀 "\\/\u2028<é>')
    events = [failed(one.api, each)[0] for each in hooks]
    assert one.stop() == 0
    other = start("node" if first == "python" else "python", one.database_url)
    other.await_ready()
    for each, delivery in zip(hooks, events, strict=True):
        assert deliveries(other.api, each) == [delivery]
        again(other.api, each, delivery["event"])
        none_left(other.api, each)
    for target in targets:
        where = secured if target == "/secured" else receiver
        before, behind = where.wait(target, 2)
        assert masked(before) == masked(behind)
    secured.close()


def overlaps(attempts: Sequence[Attempt]) -> list[str]:
    """Of which of these events an attempt began while another one went on."""
    found = []
    last: dict[str, Attempt] = {}
    for attempt in sorted(attempts, key=lambda one: one.at):
        before = last.get(attempt.event)
        if before and (before.ended is None or before.ended > attempt.at):
            found.append(attempt.event)
        last[attempt.event] = attempt
    return found


@pytest.mark.clause("HOOK-09", "HOOK-15", "HOOK-16", "HOOK-18", "OPS-15")
@pytest.mark.parametrize("engine", ENGINES)
def test_many_processes_share_what_is_to_be_sent(
    start: Start,
    receiver: Receiver,
    new_database: Callable[[Engine, Path], str],
    tmp_path: Path,
    engine: Engine,
) -> None:
    """Of both services, before an endpoint that often fails."""
    url = new_database(engine, tmp_path)
    env = {"WEBHOOKS_RETRY": "1,1,1,1,1,1,1,1", "WEB_CONCURRENCY": "2", "DATABASE_POOL_SIZE": "3"}
    running = [start(kind, url, **env) for kind in KINDS]
    for service in running:
        service.await_ready()
    dice = random.Random(1)

    def decide(_: Attempt) -> bytes:
        time.sleep(dice.random() * 0.05)
        return FAILED if dice.random() < 0.1 else OK

    targets = ["/one", "/two"]
    hooks = []
    for service, target in zip(running, targets, strict=True):
        receiver.say(target, choose(decide))
        hooks.append(hook(service.api, receiver.url(target)))
    for service in running:
        expect.body(service.api.get("/webhooks"), 200, expect.render([shown(one) for one in hooks]))

    def live(number: int) -> list[tuple[str, int]]:
        """A life of a user, at one service after the other."""
        apis = [running[(number + turn) % 2].api for turn in range(4)]
        ada = apis[0].create()
        for turn in (1, 2):
            renamed = apis[turn].patch(f"/users/{ada['id']}", json={"name": f"Ada {turn}"})
            assert renamed.status == 200
        expect.empty(apis[3].delete(f"/users/{ada['id']}"))
        types = ["user.created", "user.changed", "user.changed", "user.deleted"]
        return [(type_, ada["id"]) for type_ in types]

    with ThreadPoolExecutor(8) as pool:
        lives = [*pool.map(live, range(16))]
    for target in targets:
        receiver.wait(target, 4 * len(lives))
    for one in hooks:
        until(functools.partial(lambda one: deliveries(running[0].api, one) == [], one), 30)
    for target in targets:
        attempts = receiver.attempts(target)
        delivered = [one for one in attempts if one.answered == OK.partition(b"\r\n")[0]]
        assert len({one.event for one in delivered}) == len(delivered) == 4 * len(lives)
        assert sorted(told(delivered)) == sorted(event for life in lives for event in life)
        assert overlaps(attempts) == []
        # What came of one of a user's events was known before the next one was begun.
        for life in lives:
            own = [int(one.event) for one in attempts if told([one])[0][1] == life[0][1]]
            assert own == sorted(own)
    for service in running:
        assert service.stop() == 0
        assert service.stderr() == ""


# What happens to services, and to the database


@pytest.mark.clause("HOOK-18", "HOOK-09", "HOOK-16")
def test_what_a_killed_process_was_at_is_begun_again(
    start: Start, receiver: Receiver, new_database: Callable[[Engine, Path], str], tmp_path: Path
) -> None:
    """By a process of the other service, and by one that is started in its place."""
    limit = 2

    def dies(victim: Kind, heir: Kind | None) -> None:
        url = new_database("postgres", tmp_path) if heir else ""
        env = {"WEBHOOKS_TIMEOUT": f"{limit}"}
        target = f"/{victim}-{heir}"
        receiver.say(target, hang(), OK)
        one = start(victim, url, **env)
        one.await_ready()
        other = one
        if heir:
            other = start(heir, url, **env)
            other.await_ready()
            # It is there, and looks away until the other one has begun.
            other.process.send_signal(signal.SIGSTOP)
        webhook = hook(one.api, receiver.url(target))
        first = one.api.create()
        (attempt,) = receiver.wait(target)
        second = one.api.create()
        one.kill()
        killed = time.monotonic()
        if heir:
            other.process.send_signal(signal.SIGCONT)
        else:
            one.restart()
        api = other.api
        receiver.wait(target, 3, limit + 10 + SOON)
        assert time.monotonic() - killed < limit + 10 + 1
        none_left(api, webhook)
        attempts = receiver.wait(target, 3)
        assert [one.event for one in attempts].count(attempt.event) == 2
        assert {user for _, user in told(attempts)} == {first["id"], second["id"]}
        assert len(attempts) == 3

    ways: list[tuple[Kind, Kind | None]] = [
        *(("python", "node"), ("node", "python"), ("python", None), ("node", None)),
    ]
    with ThreadPoolExecutor(len(ways)) as pool:
        for each in [pool.submit(dies, *way) for way in ways]:
            each.result()


@pytest.mark.clause("HOOK-26", "OPS-07", "HOOK-13", "HOOK-16")
@pytest.mark.parametrize("kind", KINDS)
def test_sigterm(start: Start, receiver: Receiver, kind: Kind) -> None:
    service = start(kind, WEBHOOKS_TIMEOUT="30", SHUTDOWN_TIMEOUT="2")
    service.await_ready()
    gate = threading.Event()
    receiver.say("/stops", hold(gate))
    one = hook(service.api, receiver.url("/stops"))
    for _ in range(12):
        service.api.create()
    receiver.wait("/stops", 10)
    service.process.send_signal(signal.SIGTERM)
    receiver.quiet("/stops", 10, 0.3)
    gate.set()
    assert service.wait(SOON) == 0
    # What was answered meanwhile counts, and no other was begun.
    assert len(receiver.attempts("/stops")) == 10
    service.restart()
    attempts = receiver.wait("/stops", 12, SOON)
    none_left(service.api, one)
    assert len({attempt.event for attempt in attempts}) == 12
    # Whoever doesn't answer is not waited for.
    receiver.say("/stops", hang(), hang(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"))
    for count in (13, 14):
        service.api.create()
        receiver.wait("/stops", count)
    began = time.monotonic()
    service.process.send_signal(signal.SIGTERM)
    assert service.wait(2 + SOON) == 0
    assert time.monotonic() - began >= 2 - 0.2
    service.restart()
    found = deliveries(service.api, one)
    assert [(each["status"], each["attempts"]) for each in found] == [("waiting", 1)] * 2
    assert service.stderr() == ""


@pytest.fixture(scope="module")
def server() -> Iterator[OwnPostgres]:
    """A server for these tests alone, which they may stop."""
    with contextlib.closing(OwnPostgres()) as server:
        server.start()
        yield server


@pytest.mark.clause("HOOK-09", "HOOK-13", "HOOK-12")
def test_the_database_may_be_away(start: Start, receiver: Receiver, server: OwnPostgres) -> None:
    env = {"WEBHOOKS_TIMEOUT": "20", "WEBHOOKS_RETRY": "1"}
    running = [start(kind, server.create(), **env) for kind in KINDS]
    gate = threading.Event()
    hooks = []
    for service in running:
        service.await_ready()
        receiver.say(f"/{service.kind}", hold(gate), OK)
        hooks.append(hook(service.api, receiver.url(f"/{service.kind}")))
        service.api.create()
        receiver.wait(f"/{service.kind}")
    server.stop()
    gate.set()
    for service in running:
        expect.problem(service.api.get("/webhooks"), "unavailable")
        expect.problem(service.api.post("/webhooks", json={"url": NOWHERE}), "unavailable")
    time.sleep(0.5)  # what is asked for and asked for again is asked for in vain
    server.start()
    for service, one in zip(running, hooks, strict=True):
        until(functools.partial(lambda api: api.get("/readyz").status == 200, service.api))
        # What was answered meanwhile has been delivered, and is not sent again.
        none_left(service.api, one)
        service.api.create()
        receiver.wait(f"/{service.kind}", 2, SOON)
        none_left(service.api, one)
        attempts = receiver.attempts(f"/{service.kind}")
        assert len({attempt.event for attempt in attempts}) == len(attempts) == 2
        assert service.stderr() == ""


@pytest.mark.clause("HOOK-09", "HOOK-13")
@pytest.mark.engine("sqlite")
def test_the_database_may_be_locked(sender: Service, receiver: Receiver) -> None:
    api, gate = sender.api, threading.Event()
    receiver.say("/locked", hold(gate), OK)
    one = hook(api, receiver.url("/locked"))
    api.create()
    receiver.wait("/locked")
    with locked(sender.database_url) as unlock:
        gate.set()
        time.sleep(1)  # what it was answered can't be written down
        assert [each["outcome"] for each in deliveries(api, one)] == [None]
        unlock()
    none_left(api, one)
    api.create()
    receiver.wait("/locked", 2, SOON)
    none_left(api, one)
    assert len({attempt.event for attempt in receiver.attempts("/locked")}) == 2


@pytest.mark.clause("HOOK-25", "EVENT-14")
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_forgotten_is_not_sent(start: Start, receiver: Receiver, kind: Kind) -> None:
    """A dead delivery, one that waits, and one with an attempt under way."""
    service = start(kind, EVENTS_TTL="1", WEBHOOKS_RETRY="1", WEBHOOKS_TIMEOUT="20")
    service.await_ready()
    api, gate = service.api, threading.Event()
    receiver.say("/dies", FAILED)
    receiver.say("/waits", hold(gate, FAILED), OK)
    dies, waits = (
        hook(api, receiver.url(target), "user.created") for target in ("/dies", "/waits")
    )
    ada = api.create()
    until(lambda: [each["status"] for each in deliveries(api, dies)] == ["dead"])
    assert [each["attempts"] for each in deliveries(api, waits)] == [1]
    event = receiver.attempts("/dies")[0].event
    # The newest event is kept, however old.
    api.patch(f"/users/{ada['id']}", json={"name": "Ada King"})
    assert newest(api) == int(event) + 1
    for one in (dies, waits):
        assert deliveries(api, one) == []
        given = api.post(f"{path(one)}/deliveries/{event}")
        expect.problem(given, "delivery-not-found")
    gate.set()
    eve = api.create()
    assert told(receiver.wait("/waits", 2, SOON)[1:]) == [("user.created", eve["id"])]
    none_left(api, waits)
    assert service.stderr() == ""


# Who waits for whom, which PostgreSQL alone tells


@contextlib.contextmanager
def holding(service: Service, statement: str) -> Iterator[Session]:
    """A session that holds what this statement does."""
    with Session(service.database_url) as session:
        session.execute("BEGIN")
        session.execute(statement)
        yield session
        session.execute("COMMIT")


def somebody_waits(service: Service) -> None:
    """Wait until somebody waits for a lock on the service's database."""
    waiting = (
        "SELECT FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with Session(service.database_url) as session:
        until(lambda: session.execute(waiting))


@pytest.mark.clause("HOOK-29", "HOOK-25", "EVENT-14")
@pytest.mark.parametrize("kind", KINDS)
def test_who_forgets_events_waits_for_no_delivery(
    start: Start, receiver: Receiver, server: OwnPostgres, kind: Kind
) -> None:
    service = start(kind, server.create(), EVENTS_TTL="1")
    service.await_ready()
    api = service.api
    receiver.say("/fails", FAILED)
    one = hook(api, receiver.url("/fails"))
    ada = api.create()
    (old,) = failed(api, one)
    of_old = f"SELECT FROM deliveries WHERE position = {old['event']}"
    with holding(service, f"{of_old} FOR UPDATE"):
        time.sleep(1.1)
        begin = time.monotonic()
        api.create()
        newest(api)
        assert time.monotonic() - begin < 2
        expect.problem(api.get(f"/events?after={int(old['event']) - 1}"), "events-gone")
        receiver.wait("/fails", 2, SOON)
        # Nor does the user's next one.
        api.patch(f"/users/{ada['id']}", json={"name": "Ada King"})
        receiver.wait("/fails", 3, SOON)
        assert old["event"] not in [each["event"] for each in deliveries(api, one)]
        given = api.post(f"{path(one)}/deliveries/{old['event']}")
        expect.problem(given, "delivery-not-found")
    with Session(service.database_url) as session:
        until(lambda: session.execute(of_old) == [])


def alone(webhook: Json) -> str:
    """What holds a webhook as whoever ends it does; `shared` as whoever works on its deliveries."""
    return f"SELECT pg_advisory_xact_lock({-webhook['id']})"


def shared(webhook: Json) -> str:
    return f"SELECT pg_advisory_xact_lock_shared({-webhook['id']})"


@pytest.mark.clause("HOOK-29", "HOOK-17", "HOOK-09")
@pytest.mark.engine("postgres")
def test_who_ends_a_webhook_waits_for_who_works_on_it(sender: Service, receiver: Receiver) -> None:
    """And meanwhile holds no delivery; further ones come and go."""
    api, gate = sender.api, threading.Event()
    receiver.say("/ends", hold(gate, answer("410 Gone")), OK)
    one = hook(api, receiver.url("/ends"))
    api.create()
    receiver.wait("/ends")
    with holding(sender, shared(one)) as session:
        api.create()
        receiver.wait("/ends", 2, SOON)
        until(lambda: len(deliveries(api, one)) == 1)
        gate.set()
        somebody_waits(sender)
        waiting = f"SELECT FROM deliveries WHERE webhook_id = {one['id']} FOR UPDATE NOWAIT"
        assert len(session.execute(waiting)) == 1
    until(lambda: api.get(path(one)).json()["ended_at"])
    assert deliveries(api, one) == []


@pytest.mark.clause("HOOK-29", "HOOK-08", "HOOK-21")
@pytest.mark.engine("postgres")
@pytest.mark.parametrize("method", ["DELETE", "POST"])
def test_who_waits_for_a_webhook_is_not_passed_over(
    sender: Service, receiver: Receiver, method: str
) -> None:
    api = sender.api
    receiver.say("/waits", FAILED, OK)
    one = hook(api, receiver.url("/waits"))
    api.create()
    (delivery,) = failed(api, one)
    target = path(one) if method == "DELETE" else f"{path(one)}/deliveries/{delivery['event']}"
    with ThreadPoolExecutor(1) as pool:
        with holding(sender, shared(one)), Session(sender.database_url) as session:
            asked = pool.submit(api.request, method, target)
            somebody_waits(sender)
            as_well = shared(one).replace("_advisory", "_try_advisory")
            assert session.execute(as_well) == [(False,)]
            assert not asked.done()
        assert asked.result().status == (204 if method == "DELETE" else 202)


@pytest.mark.clause("HOOK-29", "HOOK-15", "HOOK-08")
@pytest.mark.engine("postgres")
def test_no_attempt_begins_while_somebody_has_the_webhook_alone(
    sender: Service, receiver: Receiver
) -> None:
    """Else it may have looked before an earlier event was made due, and begin after that."""
    api = sender.api
    receiver.say("/begins", FAILED, OK)
    one = hook(api, receiver.url("/begins"))
    api.create()
    (delivery,) = failed(api, one)
    make_due = f"UPDATE deliveries SET due_at = now() WHERE position = {delivery['event']}"
    with holding(sender, alone(one)), Session(sender.database_url) as session:
        session.execute(make_due)
        somebody_waits(sender)
        receiver.quiet("/begins", 1, 1)
    receiver.wait("/begins", 2)
    none_left(api, one)


@pytest.mark.clause("HOOK-29", "HOOK-13", "HOOK-14")
@pytest.mark.engine("postgres")
@pytest.mark.parametrize(
    ("tries", "last"), [(1, OK), (1, FAILED), (3, FAILED)], ids=["arrives", "fails", "dies"]
)
def test_nor_is_an_outcome_recorded(
    sender: Service, receiver: Receiver, tries: int, last: bytes
) -> None:
    api, gate = sender.api, threading.Event()
    receiver.say("/recorded", *[FAILED] * (tries - 1), hold(gate, last))
    one = hook(api, receiver.url("/recorded"))
    api.create()
    for number in range(1, tries):
        (delivery,) = failed(api, one, number)
        again(api, one, delivery["event"])
    receiver.wait("/recorded", tries)
    with holding(sender, alone(one)) as session:
        gate.set()
        time.sleep(1)
        outcomes = (
            f"SELECT outcome FROM deliveries WHERE webhook_id = {one['id']} FOR UPDATE NOWAIT"
        )
        assert session.execute(outcomes) == [(None,)]
    if last == OK:
        none_left(api, one)
    else:
        failed(api, one, tries)


@pytest.mark.clause("HOOK-16", "HOOK-18")
@pytest.mark.engine("postgres")
def test_what_could_not_be_claimed_is_not_sent(sender: Service, receiver: Receiver) -> None:
    """Where the claim fails as it is committed, somebody else may have it."""
    api = sender.api
    receiver.say("/claimed", FAILED, OK)
    one = hook(api, receiver.url("/claimed"))
    api.create()
    (delivery,) = failed(api, one)
    with Session(sender.database_url) as session:
        session.execute(
            "CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql"
            " AS 'BEGIN RAISE disk_full; END'"
        )
        session.execute(
            "CREATE CONSTRAINT TRIGGER fails AFTER UPDATE ON deliveries"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
            " WHEN (NEW.attempts > OLD.attempts) EXECUTE FUNCTION fail()"
        )
        again(api, one, delivery["event"])
        receiver.quiet("/claimed", 1, 1)
        session.execute("DROP TRIGGER fails ON deliveries")
        receiver.wait("/claimed", 2)
    none_left(api, one)


# Settings

NETWORKS_LINE = "WEBHOOKS_NETWORKS must be addresses or networks such as 10.0.0.0/8, with commas"
RETRY_LINE = "WEBHOOKS_RETRY must be 1 to 20 integers from 1 to 604800, with commas"
TIMEOUT_LINE = "WEBHOOKS_TIMEOUT must be an integer from 1 to 60"
CA_LINE = "WEBHOOKS_CA must be the path of a file of certificates in PEM"
REFUSED: dict[str, dict[str, list[str]]] = {
    NETWORKS_LINE: {
        "WEBHOOKS_NETWORKS": [
            *["x", "localhost", "10.0.0.0/33", "10.0.0.256", "::/129", "10.0.0.1,", ",", "[::1]"],
            *["10.0.0.0/255.0.0.0", "fe80::1%lo", "010.0.0.1", "10.0.0.0-10.0.0.9", "*"],
        ]
    },
    RETRY_LINE: {
        "WEBHOOKS_RETRY": [
            *["0", "x", "-1", "+1", "1.0", "1e3", "604801", "1,", ",1", "1,,2", ",", "1, 2", " 1"],
            *["1 ", "1;2", "5,0", "5,604801", "٣", "1_0", "0x1", "9" * 5000, "1\n", "1,\t2"],
            ",".join(["1"] * 21),
        ]
    },
    TIMEOUT_LINE: {"WEBHOOKS_TIMEOUT": ["0", "61", "-1", "x", "1.5", "1e1", "9" * 5000]},
    CA_LINE: {"WEBHOOKS_CA": ["/nowhere/ca.pem", "/", __file__]},
}


@pytest.mark.clause("OPS-03", "PAIR-03", "HOOK-14", "HOOK-22", "HOOK-24")
@pytest.mark.parametrize("kind", KINDS)
def test_settings_that_are_wrong_are_told_in_one_line(kind: Kind) -> None:
    cases = [
        ({name: value}, line)
        for line, settings in REFUSED.items()
        for name, values in settings.items()
        for value in values
    ]
    right = {"WEBHOOKS_NETWORKS": "10.0.0.0/8", "WEBHOOKS_RETRY": "1", "WEBHOOKS_TIMEOUT": "1"}
    cases += [(right, "")]
    cases += [({"WEBHOOKS_RETRY": value}, "") for value in ("604800", ",".join(["604800"] * 20))]
    cases += [({"WEBHOOKS_TIMEOUT": "60"}, ""), ({"WEBHOOKS_NETWORKS": " ::1 , 10.0.0.0/8"}, "")]
    cases += [({name: ""}, "") for name in (*right, "WEBHOOKS_CA")]
    # The first that is wrong is named.
    wrong = {name: values[-1] for settings in REFUSED.values() for name, values in settings.items()}
    cases += [({"EVENTS_STREAMS": "x", **wrong}, "EVENTS_STREAMS must be an integer from")]
    for line in REFUSED:
        cases += [(dict(wrong), line)]
        wrong.pop(line.partition(" ")[0])
    said = services.refusals(kind, [env for env, _ in cases])
    for (env, line), got in zip(cases, said, strict=True):
        assert got.startswith(line) if line.endswith("from") else got == line, env
