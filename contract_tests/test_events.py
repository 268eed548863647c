"""EVENT: what happened to users, as a log that anybody can follow."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contract_tests.harness import expect, services
from contract_tests.harness.client import Client
from contract_tests.harness.databases import Session
from contract_tests.harness.services import Service

Event = dict[str, Any]

TTL = 1


def newest(api: Client) -> int:
    """The position of the newest event; 0 if there is none."""
    found, _ = expect.events(api.get("/events?sort=-id&limit=1"))
    return int(found[0]["id"]) if found else 0


def since(api: Client, position: int, limit: int = 100) -> list[Event]:
    """All events behind this position, page by page."""
    found: list[Event] = []
    path: str | None = f"/events?limit={limit}&after={position}"
    while path:
        page, path = expect.events(api.get(path))
        assert len(page) == limit or path is None
        found += page
    assert [int(event["id"]) for event in found] == [
        *range(position + 1, position + 1 + len(found))
    ]
    return found


def of_user(events: list[Event], user_id: int) -> list[tuple[str, Any]]:
    """Type and data of the events of one user."""
    subject = f"/users/{user_id}"
    return [(event["type"], event["data"]) for event in events if event["subject"] == subject]


def names(events: list[Event]) -> list[str]:
    """The positions, as they are shown."""
    return [event["id"] for event in events]


@pytest.mark.clause("EVENT-01", "EVENT-05", "EVENT-06", "EVENT-13")
def test_each_change_has_its_event(api: Client) -> None:
    before = newest(api)
    ada = api.create(name='Ada Zoë 😀 "\\/', password="correct horse battery staple")
    path = f"/users/{ada['id']}"
    changed = api.patch(path, json={"name": "Ada King"}).json()
    secret = api.patch(path, json={"password": None}).json()
    replaced = api.put(path, json={"name": "Ada", "email": ada["email"], "role": "admin"}).json()
    expect.empty(api.delete(path))
    assert [ada["version"], changed["version"], secret["version"], replaced["version"]] == [
        1,
        2,
        3,
        4,
    ]
    assert of_user(since(api, before), ada["id"]) == [
        ("user.created", ada),
        ("user.changed", changed),
        ("user.changed", secret),
        ("user.changed", replaced),
        ("user.deleted", {"id": ada["id"], "version": 4}),
    ]


@pytest.mark.clause("EVENT-06")
def test_data_are_the_bytes_of_the_answer(api: Client) -> None:
    before = newest(api)
    fields: expect.Fields = {
        "name": "\u2028 é <b>&\u007f"[:-1] + "'",
        "email": expect.unique_email(),
    }
    answer = api.post("/users", json=fields)
    created = expect.user(answer, 201, **fields)
    page = api.get(f"/events?after={before}").body
    assert b'"data":' + answer.body + b"}" in page
    assert of_user(since(api, before), created["id"]) == [("user.created", created)]


@pytest.mark.clause("EVENT-02")
def test_what_changes_nothing_has_no_event(api: Client) -> None:
    before = newest(api)
    ada, eve = api.create(), api.create()
    path = f"/users/{ada['id']}"
    taken = {"name": "Ada", "email": eve["email"]}
    expect.problem(api.post("/users", json=taken), "email-taken")
    expect.problem(api.put(path, json=taken), "email-taken")
    same = {"name": f" {ada['name']} ", "email": ada["email"].upper()}
    expect.user(api.put(path, json=same), 200, **ada)
    expect.user(api.patch(path, json={}), 200, **ada)
    stale = {"if-match": '"2"'}
    expect.problem(api.patch(path, json={"name": "X"}, headers=stale), "version-mismatch")
    expect.problem(api.delete(path, headers=stale), "version-mismatch")
    expect.problem(api.delete(f"/users/{expect.MAX_ID}"), "user-not-found")
    key = {"idempotency-key": expect.unique()}
    fields = expect.somebody()
    first = api.post("/users", json=fields, headers=key)
    expect.replay(api.post("/users", json=fields, headers=key), first)
    found = since(api, before)
    assert of_user(found, ada["id"]) == [("user.created", ada)]
    assert of_user(found, eve["id"]) == [("user.created", eve)]
    assert of_user(found, first.json()["id"]) == [("user.created", first.json())]


@pytest.mark.clause("EVENT-02")
def test_a_login_has_no_event(guarded: Client) -> None:
    before = newest(guarded)
    ada = guarded.create(password="correct horse battery staple")
    assert guarded.log_in(ada["email"], "correct horse battery staple").status == 200
    assert of_user(since(guarded, before), ada["id"]) == [("user.created", ada)]


@pytest.mark.clause("EVENT-01")
def test_no_change_without_its_event(launched: Callable[..., Service]) -> None:
    service = launched()
    api = service.api
    ada, fields = api.create(), expect.somebody()
    path = f"/users/{ada['id']}"
    with Session(service.database_url) as session:
        session.execute("ALTER TABLE events RENAME TO elsewhere")
        try:
            expect.problem(api.post("/users", json=fields), "internal")
            expect.problem(api.patch(path, json={"name": "Eve"}), "internal")
            expect.problem(api.delete(path), "internal")
        finally:
            session.execute("ALTER TABLE elsewhere RENAME TO events")
    expect.users(api.get("/users"), [ada], next=False)
    found, _ = expect.events(api.get("/events"), next=False)
    assert of_user(found, ada["id"]) == [("user.created", ada)]


@pytest.mark.clause("EVENT-01", "RIGHT-16")
@pytest.mark.settings(**services.SECURED)
def test_the_first_admin_has_an_event(service: Service) -> None:
    found, _ = expect.events(service.api.get("/events?limit=1"))
    (admin,) = service.api.get(f"/users?q={services.ADMIN[0]}").json()
    assert [(event["id"], event["type"], event["data"]) for event in found] == [
        ("1", "user.created", admin)
    ]


@pytest.mark.clause("EVENT-03", "EVENT-13")
def test_who_follows_misses_nothing_and_sees_nothing_twice(api: Client) -> None:
    before = newest(api)
    writers, each = 8, 6
    created: list[int] = []

    def write(_: int) -> None:
        for _ in range(each):
            ada = api.create()
            assert api.patch(f"/users/{ada['id']}", json={"name": "Ada King"}).status == 200
            created.append(ada["id"])

    seen: list[Event] = []
    with ThreadPoolExecutor(writers) as pool:
        writing = [pool.submit(write, number) for number in range(writers)]
        while not all(one.done() for one in writing):
            seen += since(api, before + len(seen), limit=7)
        for one in writing:
            one.result()
    seen += since(api, before + len(seen))
    again = since(api, before)
    assert again[: len(seen)] == seen
    for user_id in created:
        assert [type_ for type_, _ in of_user(seen, user_id)] == ["user.created", "user.changed"]


@pytest.mark.clause("EVENT-03")
def test_a_write_that_fails_leaves_no_gap(launched: Callable[..., Service]) -> None:
    service = launched()
    first = service.api.create()
    with Session(service.database_url) as session:
        session.execute(
            "INSERT INTO events (type, user_id, time, data)"
            " VALUES ('user.created', 9, '2026-11-30T01:02:03.456Z', '{}')"
        )
        session.execute("DELETE FROM events WHERE user_id = 9")
    second = service.api.create()
    assert of_user(since(service.api, 0)[:1], first["id"]) == [("user.created", first)]
    assert of_user(since(service.api, 1), second["id"]) == [("user.created", second)]


@pytest.mark.clause("EVENT-04")
def test_events_of_one_user_stand_in_the_order_of_its_versions(api: Client) -> None:
    before = newest(api)
    ada = api.create()
    path = f"/users/{ada['id']}"
    with ThreadPoolExecutor(8) as pool:
        answers = [*pool.map(lambda n: api.patch(path, json={"name": f"Ada {n}"}), range(16))]
    expect.empty(api.delete(path))
    assert {answer.status for answer in answers} == {200}
    *changes, (last, data) = of_user(since(api, before), ada["id"])
    assert [user["version"] for _, user in changes] == [*range(1, 18)]
    assert (last, data) == ("user.deleted", {"id": ada["id"], "version": 17})
    by_version = {answer.json()["version"]: answer.json() for answer in answers}
    assert [user for _, user in changes[1:]] == [by_version[n] for n in range(2, 18)]


@pytest.mark.clause("EVENT-07", "EVENT-08", "EVENT-09", "EVENT-10")
def test_pages(launched: Callable[..., Service]) -> None:
    api = launched().api
    assert expect.events(api.get("/events"), next=False)[0] == []
    assert expect.events(api.get("/events?sort=-id&after=5"), next=False)[0] == []
    for _ in range(5):
        api.create()

    def page(query: str, link: str | None, *expected: str) -> None:
        found, target = expect.events(api.get(f"/events{query}"), next=link is not None)
        assert (names(found), target) == ([*expected], link), query

    page("", None, "1", "2", "3", "4", "5")
    page("?sort=id&after=0", None, "1", "2", "3", "4", "5")
    page("?after=3", None, "4", "5")
    page("?after=5", None)
    page(f"?after={expect.MAX_ID}", None)
    page("?limit=2", "/events?limit=2&sort=id&after=2", "1", "2")
    page("?limit=2&after=2", "/events?limit=2&sort=id&after=4", "3", "4")
    page("?limit=2&after=3", None, "4", "5")
    page("?sort=-id", None, "5", "4", "3", "2", "1")
    page("?sort=-id&limit=2", "/events?limit=2&sort=-id&after=4", "5", "4")
    page("?sort=-id&limit=2&after=3", None, "2", "1")
    page("?sort=-id&after=1", None)
    page("?sort=-id&after=0", None)


@pytest.mark.clause("EVENT-07")
def test_50_without_a_limit(api: Client) -> None:
    before = newest(api)
    for _ in range(51):
        api.create()
    found, target = expect.events(api.get(f"/events?after={before}"), next=True)
    assert len(found) == 50
    assert target == f"/events?limit=50&sort=id&after={before + 50}"


def wrong(parameter: str, code: str) -> dict[str, str]:
    """What is wrong with this parameter."""
    return expect.error(code, parameter=parameter)


WRONG: dict[str, list[dict[str, str]]] = {
    "limit=0": [wrong("limit", "too-small")],
    "limit=101": [wrong("limit", "too-large")],
    "limit=01": [wrong("limit", "malformed")],
    "limit=": [wrong("limit", "malformed")],
    "limit=1&limit=1": [wrong("limit", "malformed")],
    "sort=": [wrong("sort", "malformed")],
    "sort=name": [wrong("sort", "malformed")],
    "sort=%2Bid": [wrong("sort", "malformed")],
    "sort=--id": [wrong("sort", "malformed")],
    "sort=id&sort=id": [wrong("sort", "malformed")],
    "after=": [wrong("after", "malformed")],
    "after=-1": [wrong("after", "malformed")],
    "after=00": [wrong("after", "malformed")],
    "after=01": [wrong("after", "malformed")],
    "after=1.0": [wrong("after", "malformed")],
    "after=1e3": [wrong("after", "malformed")],
    "after=%201": [wrong("after", "malformed")],
    "after=9007199254740992": [wrong("after", "too-large")],
    f"after={'9' * 5000}": [wrong("after", "too-large")],
    "after=1&after=1": [wrong("after", "malformed")],
    "after=9007199254740992&after=1": [wrong("after", "malformed")],
    "after=x&sort=y&limit=0": [
        wrong("limit", "too-small"),
        wrong("sort", "malformed"),
        wrong("after", "malformed"),
    ],
}


@pytest.mark.clause("EVENT-07", "EVENT-08", "EVENT-09", "EVENT-11")
@pytest.mark.storeless
@pytest.mark.parametrize("query", WRONG, ids=lambda query: query[:40])
def test_422(api: Client, query: str) -> None:
    expect.problem(api.get(f"/events?{query}"), "validation", WRONG[query])


@pytest.mark.clause("EVENT-07")
def test_other_parameters_are_ignored(api: Client) -> None:
    query = f"after={expect.MAX_ID}&cursor=x&q=&After=x&limit[]=0"
    assert expect.events(api.get(f"/events?{query}"), next=False)[0] == []


@pytest.mark.clause("EVENT-07", "QUERY-01")
@pytest.mark.storeless
@pytest.mark.parametrize("query", ["%", "after=%FF", "%zz=1"])
def test_malformed_query(api: Client, query: str) -> None:
    expect.problem(api.get(f"/events?{query}"), "malformed-query")


@pytest.mark.clause("EVENT-12")
def test_head(api: Client) -> None:
    before = newest(api)
    api.create(), api.create()
    path = f"/events?limit=1&after={before}"
    expect.head_of(api.request("HEAD", path), api.get(path))


def old_and_new(service: Service) -> tuple[int, int]:
    """Positions of an event whose time is over, and of one whose isn't."""
    api = service.api
    api.create()
    old = newest(api)
    time.sleep(TTL + 0.1)
    api.create()
    return old, old + 1


@pytest.mark.clause("EVENT-14", "EVENT-15")
@pytest.mark.settings(EVENTS_TTL=f"{TTL}")
def test_what_is_forgotten_is_told(service: Service) -> None:
    api = service.api
    old, new = old_and_new(service)
    kept, _ = expect.events(api.get("/events"), next=False)
    assert names(kept) == [f"{new}"]
    for path in ("/events?after=0", f"/events?after={old - 1}", f"/events?after={old - 1}&sort=id"):
        expect.problem(api.get(path), "events-gone")
    assert names(expect.events(api.get(f"/events?after={old}"))[0]) == [f"{new}"]
    assert names(expect.events(api.get("/events?sort=-id"), next=False)[0]) == [f"{new}"]
    assert expect.events(api.get(f"/events?sort=-id&after={new}"), next=False)[0] == []


@pytest.mark.clause("EVENT-14")
@pytest.mark.settings(EVENTS_TTL=f"{TTL}")
def test_the_newest_stays(service: Service) -> None:
    api = service.api
    before = newest(api)
    ada = api.create()
    time.sleep(TTL + 0.1)
    assert of_user(since(api, before), ada["id"]) == [("user.created", ada)]


@pytest.mark.clause("EVENT-14")
@pytest.mark.settings(EVENTS_TTL="3")
def test_what_is_young_is_kept(service: Service) -> None:
    api = service.api
    before = newest(api)
    api.create()
    time.sleep(1)
    api.create()
    assert len(since(api, before)) == 2


@pytest.mark.clause("EVENT-14")
def test_much_that_is_old_is_forgotten_bit_by_bit(launched: Callable[..., Service]) -> None:
    service = launched(EVENTS_TTL="86400")
    old = (datetime.now(UTC) - timedelta(days=2)).isoformat(timespec="milliseconds")
    with Session(service.database_url) as session:
        session.execute(
            "WITH RECURSIVE numbers (n) AS"
            " (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 2500)"
            " INSERT INTO events (type, user_id, time, data)"
            f" SELECT 'user.deleted', 1, '{old[:-6]}Z', '{{\"id\":1,\"version\":1}}'"
            " FROM numbers"
        )
        for left in (1500, 501, 2):
            newest(service.api)
            assert session.execute("SELECT COUNT(*) FROM events") == [(left,)]
            service.api.create()


@pytest.mark.clause("EVENT-14")
@pytest.mark.settings(EVENTS_TTL=f"{TTL}")
def test_where_nobody_reads_they_are_forgotten_too(service: Service) -> None:
    api = service.api
    old, _ = old_and_new(service)
    for _ in range(64):
        api.create()
    with Session(service.database_url) as session:
        ((first,),) = session.execute("SELECT MIN(position) FROM events")
        ((last,),) = session.execute("SELECT last FROM event_positions")
    assert old < first <= last


@pytest.mark.clause("EVENT-15")
@pytest.mark.settings(EVENTS_TTL=f"{TTL}")
def test_where_all_is_forgotten_positions_go_on(service: Service) -> None:
    api = service.api
    old, new = old_and_new(service)
    assert newest(api) == new
    with Session(service.database_url) as session:
        session.execute("DELETE FROM events")
    assert expect.events(api.get("/events"), next=False)[0] == []
    assert expect.events(api.get(f"/events?after={new}"), next=False)[0] == []
    expect.problem(api.get(f"/events?after={old}"), "events-gone")
    api.create()
    assert newest(api) == new + 1


@pytest.mark.clause("RIGHT-16", "EVENT-10")
def test_a_member_sees_what_happened_to_them(guarded: Client) -> None:
    before = newest(guarded)
    ada, eve = (guarded.create(password="correct horse battery staple") for _ in range(2))
    renamed = guarded.patch(f"/users/{ada['id']}", json={"name": "Ada King"}).json()
    member = guarded.asking(f"Bearer {guarded.token(ada['email'], 'correct horse battery staple')}")
    found, _ = expect.events(member.get("/events"), next=False, dense=False)
    assert of_user(found, ada["id"]) == [("user.created", ada), ("user.changed", renamed)]
    assert len(found) == 2
    found, target = expect.events(member.get("/events?sort=-id&limit=1"), next=True)
    assert of_user(found, ada["id"]) == [("user.changed", renamed)]
    assert target is not None
    found, _ = expect.events(member.get(target), next=False)
    assert of_user(found, ada["id"]) == [("user.created", ada)]
    assert of_user(since(guarded, before), eve["id"]) == [("user.created", eve)]
    expect.problem(guarded.asking("").get("/events"), "unauthorized")
