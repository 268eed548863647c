"""Clients that write while a service is under way: `Load` creates until it is acknowledged.

`Writers` create, change and delete, and know of each write that was acknowledged.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from contract_tests.harness import expect
from contract_tests.harness.client import Client
from contract_tests.harness.wire import Answer

PAUSE = 0.05  # seconds before a creation is repeated, and before the next one
GIVEN_UP = 30.0
HANG = 5.0


class Clients:
    """Clients of services that act as one, each in a thread, while the `with` block runs.

    Every request goes to one of `urls`, which may change under way. What fails in a thread is told
    at the end.
    """

    def __init__(self, urls: list[str], clients: int) -> None:
        """So many clients at the same time."""
        self._client = Client.of(urls, type(self).__name__.lower())
        self._failures: list[str] = []
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()
        self._client.close()
        if error is None:
            assert self._failures == []

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 (it is told in the test's own thread)
            self._failures.append(f"{type(error).__name__}: {error}")

    def _work(self) -> None:
        """What each client does until `_end` is set."""
        raise NotImplementedError

    def _await(self, done: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait until that is so, or something has failed."""
        deadline = time.monotonic() + seconds
        while not (done() or self._failures):
            assert time.monotonic() < deadline, f"{what} within {seconds:g} s"
            time.sleep(0.01)


class Load(Clients):
    """Clients that create one user after the other, each until it is acknowledged.

    A client whose creation is answered 503 or not at all repeats it, under the same
    Idempotency-Key. Whatever else is answered, or takes too long, is a failure.
    """

    def __init__(self, urls: list[str], clients: int = 8) -> None:
        """So many clients at the same time."""
        super().__init__(urls, clients)
        self.urls = urls
        self.token = expect.unique()
        self.acknowledged: list[dict[str, Any]] = []
        self.repeated = 0

    def await_more(self, seconds: float = HANG) -> None:
        """Wait until as many creations as there are clients were acknowledged since now."""
        enough = len(self.acknowledged) + len(self._threads)
        self._await(lambda: len(self.acknowledged) >= enough, seconds, "not served again")

    def await_repeats(self, seconds: float = HANG) -> None:
        """Wait until as many creations as there are clients had to be repeated since now."""
        enough = self.repeated + len(self._threads)
        self._await(lambda: self.repeated >= enough, seconds, "nothing failed")

    def _work(self) -> None:
        while not self._end.is_set():
            self.acknowledged.append(self._create())
            self._end.wait(PAUSE)

    def _create(self) -> dict[str, Any]:
        fields = expect.somebody()
        fields["name"] = f"{self.token}-{fields['name']}"
        deadline = time.monotonic() + GIVEN_UP
        while time.monotonic() < deadline:
            answer = self._ask(fields)
            if answer is not None and answer.status != 503:
                replayed = answer.header("idempotency-replayed")
                also = {"idempotency-replayed": replayed} if replayed else {}
                return expect.user(answer, 201, **fields, also=also)
            if answer is not None:
                expect.problem(answer, "unavailable")
            self.repeated += 1
            time.sleep(PAUSE)
        raise AssertionError(f"not acknowledged within {GIVEN_UP:g} s")

    def _ask(self, fields: expect.Fields) -> Answer | None:
        start = time.monotonic()
        try:
            return self._client.post(
                "/users", json=fields, headers={"Idempotency-Key": fields["name"]}
            )
        except httpx.TransportError:
            return None
        finally:
            taken = time.monotonic() - start
            assert taken < HANG, f"a request took {taken:.1f} s"


class Writers(Clients):
    """Clients that create, change and delete users of their own.

    Whoever is answered 503 or not at all can't know what was done, and leaves that user alone from
    then on. Whatever else is answered, or takes too long, is a failure.
    """

    def __init__(self, urls: list[str], clients: int = 6) -> None:
        """So many clients at the same time."""
        super().__init__(urls, clients)
        self.acknowledged: list[tuple[str, dict[str, Any]]] = []
        """The type of the event that each write was to have, and the user as it was answered."""

    def await_more(self, seconds: float = HANG) -> None:
        """Wait until as many writes as there are clients were acknowledged since now."""
        enough = len(self.acknowledged) + len(self._threads)
        self._await(lambda: len(self.acknowledged) >= enough, seconds, "not served again")

    def _work(self) -> None:
        users: list[dict[str, Any]] = []
        while not self._end.is_set():
            before = users.pop(random.randrange(len(users))) if len(users) > 2 else None
            if after := self._write(before):
                users.append(after)
            self._end.wait(PAUSE)

    def _write(self, user: dict[str, Any] | None) -> dict[str, Any] | None:
        """Create a user, or change or delete this one; gives the user, if there is one then."""
        fields = expect.somebody()
        if user is None:
            answer = self._ask("POST", "/users", fields)
            return (
                self._told("user.created", expect.user(answer, 201, **fields)) if answer else None
            )
        path = f"/users/{user['id']}"
        if random.random() < 1 / 3:
            if answer := self._ask("DELETE", path):
                expect.empty(answer)
                self._told("user.deleted", user)
            return None
        answer = self._ask("PATCH", path, {"name": fields["name"]})
        if not answer:
            return None
        changed = {"name": fields["name"], "version": user["version"] + 1, "updated_at": None}
        return self._told("user.changed", expect.user(answer, 200, **(user | changed)))

    def _told(self, kind: str, user: dict[str, Any]) -> dict[str, Any]:
        self.acknowledged.append((kind, user))
        return user

    def _ask(self, method: str, path: str, fields: object = None) -> Answer | None:
        """The answer; None where it can't be known what was done."""
        start = time.monotonic()
        try:
            answer = self._client.request(method, path, json=fields)
        except httpx.TransportError:
            return None
        finally:
            taken = time.monotonic() - start
            assert taken < HANG, f"a request took {taken:.1f} s"
        if answer.status != 503:
            return answer
        expect.problem(answer, "unavailable")
        return None


def assert_each_once(
    api: Client, acknowledged: Sequence[dict[str, Any]], q: str | None = None
) -> None:
    """The users (those that `q` finds) are exactly these, each once and as it was answered."""
    found: list[dict[str, Any]] = []
    target: str | None = "/users?limit=100" + (f"&q={q}" if q else "")
    while target:
        answer = api.get(target)
        page = answer.json()
        target = expect.users(answer, page, next=answer.header("link") is not None)
        found += page
    assert found == sorted(acknowledged, key=lambda user: int(user["id"]))
