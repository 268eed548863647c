"""Histories: both services on one database, several clients at once, one user.

    HISTORIES=200 pytest contract_tests/test_histories.py        so many of each kind
    HISTORIES_SEED=7 pytest contract_tests/test_histories.py     with other requests

Between the services and PostgreSQL lies a network on which some answers take their time, so that
much can happen between what the database says and what a client is told of it.

What is asked and answered is written down with its times, and then has to have an order in which
one service alone could have answered it: see harness/history.py. UNIQ's own tests fire N equal
requests; here the requests differ, and each client goes on with what the last answers told it.
"""

import contextlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from contract_tests.harness import expect, progress, services
from contract_tests.harness.client import Client, Headers
from contract_tests.harness.databases import ENGINES, Engine
from contract_tests.harness.history import (
    Event,
    double_creations,
    faults,
    lost_updates,
    order,
    stale_answers,
)
from contract_tests.harness.network import Proxy
from contract_tests.harness.wire import Answer

HISTORIES = int(os.environ.get("HISTORIES", "4"))
SEED = int(os.environ.get("HISTORIES_SEED", "1"))

CLIENTS = 6  # half of them ask Python's service, half of them Node's
REQUESTS = 15  # of each client
DELAYED = 0.25  # of the database's answers, where it is reached over a network
DELAY = 0.02  # seconds at most

PROBLEMS = {
    404: "user-not-found",
    409: "email-taken",
    412: "version-mismatch",
    422: "idempotency-key-reused",
}


class Recorder:
    """Sends requests about whoever has one email, checks the answers, and writes both down."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.id = 0  # of the last user that was created
        self._token = expect.unique()
        self._email = f"{self._token}@example.com"
        self._begin = time.monotonic()

    def create(self, by: str, api: Client, name: str, key: str = "") -> Event:
        headers = {"Idempotency-Key": f"{key}-{self._token}"} if key else {}
        body = {"name": name, "email": self._email}
        event = self._record(
            Event("create", 0, 0, 0, name=name, key=key, by=by),
            lambda: api.post("/users", json=body, headers=headers),
        )
        if event.status == 201:
            self.id = max(self.id, event.id)
        return event

    def read(self, by: str, api: Client, id_: int) -> Event:
        return self._record(Event("read", 0, 0, 0, id=id_, by=by), lambda: api.get(f"/users/{id_}"))

    def change(
        self, by: str, api: Client, id_: int, *, name: str, if_match: int | None, method: str
    ) -> Event:
        body = {"name": name} if method == "PATCH" else {"name": name, "email": self._email}
        headers = condition(if_match)
        return self._record(
            Event("change", 0, 0, 0, id=id_, name=name, if_match=if_match, by=by),
            lambda: api.request(method, f"/users/{id_}", json=body, headers=headers),
        )

    def delete(self, by: str, api: Client, id_: int, if_match: int | None) -> Event:
        return self._record(
            Event("delete", 0, 0, 0, id=id_, if_match=if_match, by=by),
            lambda: api.delete(f"/users/{id_}", headers=condition(if_match)),
        )

    def _record(self, asked: Event, ask: Callable[[], Answer]) -> Event:
        sent = time.monotonic() - self._begin
        answer = ask()
        answered = time.monotonic() - self._begin
        event = replace(self._told(asked, answer), sent=sent, answered=answered)
        self.events.append(event)
        return event

    def _told(self, asked: Event, answer: Answer) -> Event:
        """The event with what the answer says, which is checked but for what it depends on."""
        if answer.status == 204:
            expect.empty(answer)
            return replace(asked, status=204)
        if answer.status >= 400:
            expect.problem(answer, PROBLEMS[answer.status])
            return replace(asked, status=answer.status)
        got = answer.json()
        replayed = answer.header("idempotency-replayed") == "true"
        expect.user(
            answer,
            201 if asked.what == "create" else 200,
            name=got["name"] if asked.what == "read" else asked.name,
            email=self._email,
            version=got["version"],
            id=got["id"] if asked.what == "create" else asked.id,
            also={"idempotency-replayed": "true"} if replayed else None,
        )
        return replace(
            asked,
            status=answer.status,
            id=got["id"],
            name=got["name"],
            version=got["version"],
            replayed=replayed,
        )


class Delays(Proxy):
    """A network that takes its time with some of the server's answers."""

    def answered(self, data: bytes) -> tuple[bytes, bool]:
        if random.random() < DELAYED:
            time.sleep(random.uniform(0, DELAY))
        return data, True


@pytest.fixture(scope="module", params=ENGINES)
def pair(
    request: pytest.FixtureRequest,
    new_database: Callable[[Engine, Path], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Client, Client]]:
    """Both our services on one database; what PostgreSQL tells each of them may be late."""
    with contextlib.ExitStack() as stack:
        directory = tmp_path_factory.mktemp("pair")
        database_url = new_database(request.param, directory)
        started = []
        for kind in services.KINDS:
            url = database_url
            if request.param == "postgres":
                url = stack.enter_context(contextlib.closing(Delays(database_url))).url
            started.append(services.launch(kind, directory=directory, database_url=url))
            stack.callback(started[-1].kill)
        yield started[0].api, started[1].api


def condition(version: int | None) -> dict[str, str]:
    """The header field for this version."""
    return {} if version is None else {"If-Match": f'"{version}"'}


def everybody(
    pair: tuple[Client, Client], seed: str, work: Callable[[str, Client, random.Random], None]
) -> None:
    """Let all clients work at the same time; each has its own random numbers."""
    barrier = threading.Barrier(CLIENTS)

    def one(number: int) -> None:
        api = pair[number % 2]
        barrier.wait()
        work(f"{api.name} {number}", api, random.Random(f"{SEED} {seed} {number}"))

    with ThreadPoolExecutor(CLIENTS) as pool:
        for done in [pool.submit(one, number) for number in range(CLIENTS)]:
            done.result()


def written_down(pair: tuple[Client, Client], seed: str, actions: Sequence[str]) -> list[Event]:
    """The history of clients that each draw from these actions, and then see what has become."""
    recorder = Recorder()

    def work(by: str, api: Client, draw: random.Random) -> None:
        seen = Event("read", 0, 0, 0)
        for number in range(REQUESTS):
            action, name = draw.choice(actions), f"{by}, {number}"
            if not recorder.id or action.startswith("create"):
                key = draw.choice(("one", "other")) if action == "create with a key" else ""
                told = recorder.create(by, api, "Ada" if key else name, key)
            else:
                if_match = seen.version if action.endswith("what was seen") else None
                target = seen.id if if_match else recorder.id
                match action.partition(" ")[0]:
                    case "read":
                        told = recorder.read(by, api, recorder.id)
                    case "delete":
                        told = recorder.delete(by, api, target, if_match)
                    case method:
                        told = recorder.change(
                            by, api, target, name=name, if_match=if_match, method=method
                        )
            if told.version:
                seen = told

    everybody(pair, seed, work)
    for api in pair:
        recorder.read(f"{api.name} at the end", api, recorder.id)
    progress.advance("histories")
    return recorder.events


def at_once(history: Sequence[Event]) -> int:
    """How many requests were sent before the one that was sent before them was answered."""
    events = sorted(history, key=lambda event: event.sent)
    return sum(later.sent < event.answered for event, later in pairwise(events))


def proven(
    test: pytest.FixtureRequest, pair: tuple[Client, Client], actions: Sequence[str]
) -> Iterator[list[Event]]:
    """Histories that turned out as the contract has them, so many as are asked for."""
    for number in range(HISTORIES):
        history = written_down(pair, f"{test.node.originalname} {number}", actions)
        if found := faults(history):
            again = f"{test.node.originalname} and {test.node.callspec.id}"
            repeat = (
                "The same requests again, until they meet again as they did here:\n"
                f"HISTORIES={max(HISTORIES, 100)} HISTORIES_SEED={SEED} make test "
                f"""ARGS='contract_tests/test_histories.py -k "{again}"'"""
            )
            pytest.fail("\n\n".join([*found, repeat]), pytrace=False)
        assert at_once(history) > len(history) // 4
        yield history


CHANGING = ("read", "PATCH", "PUT", "PATCH what was seen", "PUT what was seen")
DELETING = ("delete", "delete what was seen", "create")
CREATING = ("create", "create with a key", "create with a key", "read", "delete", "delete")


@pytest.mark.clause("UNIQ-03", "UNIQ-05", "UNIQ-08", "UNIQ-09", "OPS-14")
def test_changes_lose_nothing(request: pytest.FixtureRequest, pair: tuple[Client, Client]) -> None:
    """With only changes the last version also counts them."""
    for history in proven(request, pair, CHANGING):
        done = [event for event in history if event.what == "change" and event.status == 200]
        assert history[-1].version == 1 + len(done), "lost update: more changes than versions"


@pytest.mark.clause("UNIQ-03", "UNIQ-04", "UNIQ-06", "UNIQ-07", "UNIQ-08", "UNIQ-09", "OPS-14")
def test_changes_and_deletions_have_an_order(
    request: pytest.FixtureRequest, pair: tuple[Client, Client]
) -> None:
    for _ in proven(request, pair, CHANGING * 2 + DELETING):
        pass


@pytest.mark.clause("UNIQ-01", "UNIQ-07", "IDEM-02", "IDEM-04", "IDEM-13", "UNIQ-09", "OPS-14")
def test_creations_create_nobody_twice(
    request: pytest.FixtureRequest, pair: tuple[Client, Client]
) -> None:
    for _ in proven(request, pair, CREATING):
        pass


class Forgetful(Client):
    """Sends neither conditions nor keys: it makes of a service one that takes no notice of them."""

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: bytes | None = None,
        headers: Headers | None = None,  # noqa: ARG002 (they are what it forgets)
    ) -> Answer:
        return super().request(method, path, json=json, content=content)


@pytest.mark.clause("PAIR-04")
def test_a_service_that_forgets_is_found_by_name(pair: tuple[Client, Client]) -> None:
    python, node = pair
    changes, creations = Recorder(), Recorder()
    with contextlib.closing(Forgetful(node.url, "forgetful")) as forgetful:
        user = changes.create("first", python, "Ada").id
        for by, api in (("second", python), ("third", forgetful)):
            changes.change(by, api, user, name=by, if_match=1, method="PATCH")
        for by, api in (("first", python), ("second", forgetful)):
            user = creations.create(by, api, "Ada", "key").id
            creations.delete(by, api, user, None)
    lost, double = "\n".join(faults(changes.events)), "\n".join(faults(creations.events))
    assert "lost update: two changes replaced version 1" in lost
    assert "double creation: one key created two users" in double


def created(sent: float, answered: float, id_: int = 1, key: str = "", status: int = 201) -> Event:
    version = int(status == 201)
    return Event("create", status, sent, answered, id=id_, name="Ada", version=version, key=key)


def read(sent: float, answered: float, version: int, name: str) -> Event:
    return Event("read", 200, sent, answered, id=1, name=name, version=version)


def changed(
    sent: float, answered: float, version: int, name: str, if_match: int | None = None
) -> Event:
    return Event("change", 200, sent, answered, id=1, name=name, version=version, if_match=if_match)


def refused(what: str, sent: float, answered: float, status: int, if_match: int = 0) -> Event:
    asked = created(sent, answered) if what == "create" else changed(sent, answered, 0, "Zoe")
    return replace(asked, status=status, version=0, if_match=if_match or None)


DELETED = Event("delete", 204, 6, 7, id=1)

ALLOWED = {
    "nothing": [],
    "one after the other": [
        created(0, 1),
        changed(2, 3, 2, "Bea", if_match=1),
        read(4, 5, 2, "Bea"),
        DELETED,
        refused("change", 8, 9, 404),
    ],
    "the answers in another order": [
        created(0, 1),
        changed(2, 9, 3, "Bea"),
        changed(3, 8, 2, "Cid"),
        read(4, 7, 1, "Ada"),
    ],
    "one that is refused for what was not yet answered": [
        created(0, 1),
        changed(2, 9, 2, "Bea", if_match=1),
        refused("change", 3, 4, 412, if_match=1),
    ],
    "an id that waited for the email while a later one came and went": [
        created(1, 2, id_=3),
        replace(DELETED, id=3),
        created(0, 9, id_=2),
    ],
    "an email that is free again": [created(0, 1), DELETED, created(6.5, 8, id_=2)],
    "a replay": [
        created(0, 1, key="k"),
        changed(2, 3, 2, "Bea"),
        replace(created(4, 5, key="k"), replayed=True),
    ],
    "another body under a key": [
        created(0, 1, key="k"),
        replace(created(2, 3, key="k", status=422), name="Bea"),
    ],
}

FORBIDDEN = {
    "a stale read": [created(0, 1), changed(2, 3, 2, "Bea"), read(4, 5, 1, "Ada")],
    "a read of half a change": [created(0, 1), changed(2, 3, 2, "Bea"), read(2, 5, 2, "Ada")],
    "two reads the wrong way round": [
        created(0, 1),
        changed(2, 9, 2, "Bea"),
        read(3, 4, 2, "Bea"),
        read(5, 6, 1, "Ada"),
    ],
    "a lost update": [
        created(0, 1),
        changed(2, 4, 2, "Bea", if_match=1),
        changed(3, 5, 3, "Cid", if_match=1),
    ],
    "a version that is given twice": [
        created(0, 1),
        changed(2, 4, 2, "Bea"),
        changed(3, 5, 2, "Cid"),
    ],
    "a version that is left out": [created(0, 1), changed(2, 3, 3, "Bea")],
    "a change that nobody made": [created(0, 1), read(2, 3, 2, "Bea")],
    "a refusal without a reason": [created(0, 1), refused("change", 2, 3, 412, if_match=1)],
    "a change of who is deleted": [created(0, 1), DELETED, changed(8, 9, 2, "Bea")],
    "a refusal before the deletion": [created(0, 1), refused("change", 2, 3, 404), DELETED],
    "a double creation": [created(0, 2), created(1, 3, id_=2)],
    "a double creation under a key": [
        created(0, 1, key="k"),
        DELETED,
        created(8, 9, id_=2, key="k"),
    ],
    "an id that is given again": [created(0, 1), DELETED, created(8, 9)],
    "a refusal of an email that is free": [refused("create", 0, 1, 409)],
}


@pytest.mark.clause("PAIR-04")
@pytest.mark.parametrize("name", ALLOWED)
def test_the_checker_accepts(name: str) -> None:
    assert faults(ALLOWED[name]) == []
    assert faults(reversed(ALLOWED[name])) == []


@pytest.mark.clause("PAIR-04")
@pytest.mark.parametrize("name", FORBIDDEN)
def test_the_checker_rejects(name: str) -> None:
    placed, rest = order(FORBIDDEN[name])
    assert rest
    assert "not linearizable" in faults(FORBIDDEN[name])[-1]
    assert len(placed) + len(rest) == len(FORBIDDEN[name])


@pytest.mark.clause("PAIR-04")
def test_the_checker_names_what_it_finds() -> None:
    lost = {name for name, history in FORBIDDEN.items() if lost_updates(history)}
    assert lost == {"a lost update", "a version that is given twice"}
    stale = {name for name, history in FORBIDDEN.items() if stale_answers(history)}
    assert stale == {"a stale read", "two reads the wrong way round"}
    double = {name for name, history in FORBIDDEN.items() if double_creations(history)}
    assert double == {"a double creation", "a double creation under a key"}


@pytest.mark.clause("PAIR-04")
def test_the_checker_copes_with_many_at_the_same_time() -> None:
    """Twelve changes that overlap have 479,001,600 orders; a read that fits none has to be told."""
    changes = [changed(2, 9, n + 2, f"Name {n}") for n in range(12)]
    history = [created(0, 1), *reversed(changes)]
    assert faults([*history, read(10, 11, 13, "Name 11")]) == []
    _, rest = order([*history, read(10, 11, 13, "Name 3")])
    assert rest
