"""Sequences that nobody thought of: a state machine makes them, and every target has to follow.

    STATEFUL=2000 pytest contract_tests/test_stateful.py       so many sequences
    STATEFUL_SEED=7 pytest contract_tests/test_stateful.py     others; the same seed makes the same

Hypothesis draws creations, reads, pages, changes, deletions, conditions and idempotency keys. Every
step goes to all targets at the same time; each answer is held, whole, against the model of
harness/model.py and against the other targets' answers. Where they come apart the sequence is
shortened until no step can go, and printed: as curl commands for each target, and as a test.

Each sequence has a token on each target that every name, email and key of it holds, so it shares a
database with whatever else is in it.
"""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import combinations
from types import TracebackType
from typing import Any, cast
from urllib.parse import quote

import httpx
import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, Verbosity, strategies as st
from hypothesis.errors import FlakyFailure
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from contract_tests.harness import expect, progress
from contract_tests.harness.client import Client
from contract_tests.harness.model import SORTS, Expected, Model, Page, Step
from contract_tests.harness.wire import Answer

STATEFUL = int(os.environ.get("STATEFUL", "25"))
SEED = int(os.environ.get("STATEFUL_SEED", "1"))
STEPS = 25

# Few of each, so that they meet; TOKEN is each target's own, N the user's version. What stands first
# is the simplest, what stands twice is drawn more often.
TOKEN = "{token}"
NAMES = (*(f"{name} {TOKEN}" for name in ("Ada", "Bea", "Zoë", "ada") * 2), f"\tAda {TOKEN} ", "")
EMAILS = (*(f"{name}.{TOKEN}@example.com" for name in "abcdef" * 2 + "A"), "nobody")
ROLES = (*("member", "admin") * 2, "Admin")
PASSWORDS = (*(f"password of {TOKEN}", f"other password of {TOKEN}") * 2, "short")
KEYS = ("", "", f"k1-{TOKEN}", f"k2-{TOKEN}")
CONDITIONS = ("", "", "", '"N"', '"N"', '"1"', '"9", "N"', "*", 'W/"N"', "N")
KINDS = (
    *(("POST",) * 3 + ("again", "DELETE")),
    *(("PATCH",) * 4 + ("PUT",) * 2 + ("GET",)),
    *(("page",) * 2 + ("follow",) * 2),
)

# What a member may be; null takes a password away.
VALUES: dict[str, Sequence[str | None]] = {
    "name": NAMES,
    "email": EMAILS,
    "role": ROLES,
    "password": (*PASSWORDS, None, None),
}
BODIES: dict[str, st.SearchStrategy[str | None]] = {
    "name": st.sampled_from(NAMES),
    "email": st.sampled_from(EMAILS),
}
# Roles and passwords, now and then.
OPTIONAL = {"role": st.sampled_from(ROLES), "password": st.sampled_from(PASSWORDS)}
WHOLE = st.fixed_dictionaries(BODIES) | st.fixed_dictionaries(BODIES, optional=OPTIONAL)
SOME = st.fixed_dictionaries(
    {},
    optional={
        **BODIES,
        **{name: st.sampled_from(VALUES[name]) for name in OPTIONAL},
    },
)
NAMED = ("", "", "ADA ", "zoë ")
PAGES = st.builds(Page, st.sampled_from(SORTS), st.integers(1, 3), st.sampled_from(NAMED))

_GENERATED = (
    (re.compile(r'"\d{4}-\d\d-\d\dT[\d:.]+Z"'), '"<time>"'),
    (re.compile(r"cursor=[\w-]+"), "cursor=<cursor>"),
)
_OF_ITS_OWN = {"date", "connection", "keep-alive", "x-request-id", "content-length"}


class Disagreement(AssertionError):
    """A target that does not do as the model or as another one; the message has all of it."""

    def __init__(self, run: "Run", message: str) -> None:
        super().__init__(message)
        self.run = run


# Where our services are found when the run is over: after `make up` on SQLite, after
# `docker compose up` on PostgreSQL, and both on the same there, which is `mixed`.
PYTHON, NODE = "http://127.0.0.1:8000", "http://127.0.0.1:3000"
UP = {"python": [PYTHON], "node": [NODE], "mixed": [PYTHON, NODE], "secured": [PYTHON, NODE]}


@dataclass(frozen=True)
class Target:
    """A target, with a client for each of its URLs: what is printed has to name the one asked."""

    name: str
    clients: list[Client]
    urls: list[str]
    """What is printed."""


class Side:
    """A target during one sequence: its own ids, links and first answers."""

    def __init__(self, target: Target) -> None:
        self.name = target.name
        self.urls = target.urls
        self.answers: list[Answer] = []
        self._token = expect.unique()
        self._clients = target.clients
        self._last: Answer | None = None
        self._users: dict[int, dict[str, Any]] = {}  # as last seen, by the model's numbers
        self._next = ""
        self._latest = ""  # the last time that any answer has shown

    def take(self, step: Step, expected: Expected) -> str:
        """Send the request and check the answer; returns what is wrong with it, or nothing."""
        self._last = None
        client = self._clients[step.at % len(self._clients)]
        headers = {name: self._own(text) for name, text in step.headers.items()}
        body = step.body and {name: text and self._own(text) for name, text in step.body.items()}
        try:
            answer = client.request(step.method, self._path(step), json=body, headers=headers)
            self._last = answer
            self.answers.append(answer)
            self._check(answer, expected)
        except (AssertionError, LookupError, ValueError, TypeError, httpx.TransportError) as error:
            return f"{type(error).__name__}: {error}"
        return ""

    def shown(self) -> str:
        """The last answer in the model's terms, so that it can be compared with another target's."""
        if (answer := self._last) is None:
            return "none"
        numbers = {user["id"]: number for number, user in self._users.items()}

        def masked(text: str) -> str:
            for pattern, mask in _GENERATED:
                text = pattern.sub(mask, text)
            text = text.replace(self._token, TOKEN)
            return re.sub(
                r'("id":|^/users/)(\d+)',
                lambda match: f"{match[1]}<{numbers.get(int(match[2]), 'new')}>",
                text,
            )

        fields = sorted(field for field in answer.headers if field[0] not in _OF_ITS_OWN)
        lines = [f"{name}: {masked(value)}" for name, value in fields]
        return "\n".join(
            [str(answer.status), *lines, masked(answer.body.decode("utf-8", "replace"))]
        )

    def _path(self, step: Step) -> str:
        if step.user:
            return f"/users/{self._users[step.user]['id']}"
        return self._next if step.follow else _path(step, self._token)

    def _own(self, text: str) -> str:
        return text.replace(TOKEN, self._token)

    def _check(self, answer: Answer, expected: Expected) -> None:
        if expected.problem:
            expect.problem(answer, expected.problem, expected.errors)
        elif expected.replayed is not None:
            expect.replay(answer, self.answers[expected.replayed])
        elif expected.status == 204:
            expect.empty(answer)
        elif expected.status == 304 and expected.user:
            expect.not_modified(answer, f'"{expected.user.version}"')
        elif expected.user:
            self._check_user(answer, expected)
        else:
            users = [self._users[user.number] for user in expected.page]
            self._next = expect.users(answer, users, next=expected.more) or ""

    def _check_user(self, answer: Answer, expected: Expected) -> None:
        """The members from the model; those that are generated, from the last time it was seen."""
        assert expected.user
        number = expected.user.number
        known = self._users.get(number, {})
        generated: dict[str, Any] = {
            name: known.get(name) for name in ("id", "created_at", "updated_at")
        }
        if expected.changed:
            generated["updated_at"] = None
        user = expect.user(
            answer,
            expected.status,
            name=self._own(expected.user.name),
            email=self._own(expected.user.email),
            role=expected.user.role,
            version=expected.user.version,
            **generated,
        )
        if expected.changed or expected.status == 201:
            # Clocks go on; those of several services may differ.
            assert user["updated_at"] >= self._latest or len(self._clients) > 1, self._latest
            self._latest = user["updated_at"]
        if expected.status == 201:
            earlier = [other["id"] for other in self._users.values()]
            assert all(user["id"] > other for other in earlier), f"{user['id']} after {earlier}"
        self._users[number] = user


class Run:
    """One sequence on all targets, and the model beside them."""

    def __init__(self, targets: Sequence[Target], pool: ThreadPoolExecutor) -> None:
        self.model = Model()
        self.steps: list[tuple[Step, Expected]] = []
        self.sides = [Side(target) for target in targets]
        self._targets = targets
        self._pool = pool

    def played(self, steps: Iterable[Step]) -> Disagreement | None:
        """What comes of these steps on the same targets, if anything does."""
        run = Run(self._targets, self._pool)
        try:
            for step in steps:
                run.take(step)
        except Disagreement as error:
            return error
        except LookupError:  # what the step is about was left out
            pass
        return None

    def take(self, step: Step) -> Expected:
        """Take the step everywhere; Disagreement unless all is as expected, and alike."""
        expected = self.model.answer(step)
        self.steps.append((step, expected))
        found = [*self._pool.map(lambda side: side.take(step, expected), self.sides)]
        if any(found) or len({side.shown() for side in self.sides}) > 1:
            raise Disagreement(self, report(self, found))
        return expected


class Machine(RuleBasedStateMachine):
    """What is asked next.

    There is but one rule. Of several, Hypothesis would leave out some in every sequence, and then
    half of the sequences create nobody.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self.creations: list[Step] = []

    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        step = self.drawn(data, data.draw(st.sampled_from(KINDS)))
        # Of several services that are one target any may be asked.
        self.run.take(replace(step, at=data.draw(st.integers(0, 59))))

    def drawn(self, data: st.DataObject, kind: str) -> Step:
        """A step of the kind, or of another one where there is nothing yet that it could be about."""
        model = self.run.model
        if kind == "again" and self.creations:  # as of a client that has lost the answer
            return data.draw(st.sampled_from(self.creations))
        if kind in ("POST", "again") or not model.created:
            key = data.draw(st.sampled_from(KEYS))
            self.creations.append(Step("POST", field=key, body=data.draw(WHOLE)))
            return self.creations[-1]
        if kind == "follow" and model.link:
            return Step("GET", follow=True)
        if kind in ("page", "follow"):
            return Step("GET", page=data.draw(PAGES))
        everybody = [*range(1, model.created + 1), *model.users, *model.users, *model.users]
        user = data.draw(st.sampled_from(everybody))
        condition = data.draw(st.sampled_from(CONDITIONS)).replace("N", str(model.version(user)))
        bodies = {"PUT": WHOLE, "PATCH": SOME}
        body = data.draw(bodies[kind]) if kind in bodies else None
        return Step(kind, user, field=condition, body=body)

    def teardown(self) -> None:
        """Show whoever is there at the end: what was only said to be done comes out."""
        if sys.exc_info()[0] is None:
            self.run.take(Step("GET", page=Page("id", 100)))
            progress.advance("sequences")
            progress.advance("steps", len(self.run.steps))


def search(clients: Iterable[Client], sequences: int, seed: int, *, ours: bool = False) -> None:
    """Let so many sequences run; raises the Disagreement of the first that has one, shortened.

    What is printed leads to the targets' URLs, of `ours` to where they are `UP`.
    """
    targets = [
        Target(
            client.name,
            [client.at(url) for url in client.urls],
            UP[client.name.partition("-")[0]] if ours else client.urls,
        )
        for client in clients
    ]
    settings = hypothesis.settings(
        max_examples=sequences,
        stateful_step_count=STEPS,
        database=None,
        deadline=None,
        phases=[Phase.generate],  # see `shortened`
        report_multiple_bugs=False,
        suppress_health_check=[*HealthCheck],
        verbosity=Verbosity.quiet,
    )
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(len(targets)))
        for target in targets:
            for client in target.clients:
                stack.callback(client.close)

        @hypothesis.seed(seed)
        def machine() -> Machine:
            return Machine(Run(targets, pool))

        try:
            # It takes whatever gives a machine, but is annotated as if that had to be a class.
            run_state_machine_as_test(cast(type[Machine], machine), settings=settings)
        except Disagreement as error:
            raise shortened(error) from None
        except FlakyFailure as error:  # it did not come again when Hypothesis asked once more
            for one in error.exceptions:
                if isinstance(one, Disagreement):
                    raise shortened(one) from None
            raise


def shortened(found: Disagreement) -> Disagreement:
    """One that neither a step nor two can be taken from, with the first value wherever any will do.

    Hypothesis would shorten what it drew, and not what was asked: that took a minute, and left steps
    that could go.
    """
    while better := next(filter(None, map(found.run.played, smaller(found.run))), None):
        found = better
    return found


def smaller(run: Run) -> Iterator[list[Step]]:
    """The same steps without many of them, without two or one, and then with one made simpler."""
    steps = [step for step, _ in run.steps]
    for size in (8, 4):
        for begin in range(len(steps) - size, -1, -size):
            yield without(run, range(begin, begin + size))
    for number in reversed(range(len(steps))):
        yield without(run, (number,))
    for pair in combinations(range(len(steps)), 2):
        yield without(run, pair)
    for number, step in enumerate(steps):
        for simpler in simplifications(step):
            yield [*steps[:number], simpler, *steps[number + 1 :]]


def without(run: Run, gone: Container[int]) -> list[Step]:
    """The steps but for these and for those about users whom these created."""
    numbers: dict[int, int] = {}  # of the users that stay: what they are then
    steps = []
    for number, (step, expected) in enumerate(run.steps):
        if number in gone or (step.user and step.user not in numbers):
            continue
        if expected.status == 201 and expected.user:
            numbers[expected.user.number] = len(numbers) + 1
        steps.append(replace(step, user=numbers.get(step.user, 0)))
    return steps


def simplifications(step: Step) -> Iterator[Step]:
    """The step without its header field, or with a value that stands earlier in its list."""
    if step.field:
        yield replace(step, field="")
    if step.page:
        if step.page.limit > 1:
            yield replace(step, page=replace(step.page, limit=1))
        if step.page.sort != "id":
            yield replace(step, page=replace(step.page, sort="id"))
        if step.page.named:
            yield replace(step, page=replace(step.page, named=""))
    for member, text in (step.body or {}).items():
        if member in OPTIONAL or step.method == "PATCH":
            yield replace(step, body={k: v for k, v in (step.body or {}).items() if k != member})
        for value in VALUES[member][: VALUES[member].index(text)]:
            yield replace(step, body={**(step.body or {}), member: value})


def report(run: Run, found: Sequence[str]) -> str:
    """All that somebody needs who wants to see it again: who said what, the commands, the test."""
    _, expected = run.steps[-1]
    alike = len({side.shown() for side in run.sides}) == 1
    who = "All targets answer alike, and not as" if alike else "Not every target answers as"
    lines = [f"{who} the model after {len(run.steps)} requests (STATEFUL_SEED={SEED})."]
    lines += ["", f"The last one is to be answered {expected}. What was answered:"]
    for side, wrong in zip(run.sides, found, strict=True):
        lines += ["", f"{side.name}, {'wrong' if wrong else 'as expected'}:"]
        lines += [f"    {line}" for line in side.shown().splitlines()]
        lines += [f"    {line}" for line in wrong.splitlines()[:12]]
    for side in run.sides:
        lines += ["", f"# The requests to {side.name}", as_curl(run, side)]
    lines += ["", "# The test", as_test(run)]
    return "\n".join(lines)


def as_curl(run: Run, side: Side) -> str:
    """The sequence as commands of a shell; each prints its answer, and new names are drawn."""
    names = ["URL"] if len(side.urls) == 1 else [f"URL{n}" for n in range(1, len(side.urls) + 1)]
    lines = [f"{name}={url}" for name, url in zip(names, side.urls, strict=True)]
    lines.append(f"T=u{run.sides.index(side)}-$(date +%s)$$")
    for number, (step, expected) in enumerate(run.steps, 1):
        target = f"${names[step.at % len(names)]}{_path(step, '$T', '$U{}', '$NEXT')}"
        words = [f"curl -si -w '\\n' -X {step.method} \"{target}\""]
        words += [f"-H {_quoted(f'{name}: {text}')}" for name, text in step.headers.items()]
        if step.body is not None:
            body = expect.render(step.body).decode()
            words += ["-H 'Content-Type: application/json'", f"-d {_quoted(body)}"]
        command = " ".join(words)
        if expected.status == 201 and expected.user:
            command = _captured(f"U{expected.user.number}", command, r"location: /users/\([0-9]*\)")
        elif expected.more:
            command = _captured("NEXT", command, r"link: <\([^>]*\)>")
        lines += [f"# {number}. {expected}", command]
    return "\n".join(lines)


def _captured(name: str, command: str, field: str) -> str:
    """The command with what the field holds put into a variable, and its answer shown as well."""
    pattern = f"[{field[0].upper()}{field[0]}]{field[1:]}"
    return f"{name}=$({command} | tee /dev/stderr | sed -n 's|^{pattern}.*|\\1|p')"


def _quoted(text: str) -> str:
    return shlex.quote(text).replace(TOKEN, "'\"$T\"'").removesuffix("''")


def as_test(run: Run) -> str:
    """The sequence as a test of the suite."""
    last = run.steps[-1][0]
    lines = [
        "import pytest",
        "",
        "from contract_tests.harness import expect",
        "from contract_tests.harness.client import Client",
        "",
        "",
        f'@pytest.mark.clause("{_clause(last)}")',
        "def test_what_the_machine_found(api: Client) -> None:",
        "    token = expect.unique()",
    ]
    for number, (step, expected) in enumerate(run.steps):
        lines += [f"    {line}" for line in _statements(number, step, expected)]
    return "\n".join(lines)


def _clause(step: Step) -> str:
    """The clause that says, of what the step does, that it is done."""
    if step.page or step.follow:
        return "USR-LIST-19"
    return {
        "POST": "USR-CREATE-01",
        "GET": "USR-READ-01",
        "PUT": "USR-REPLACE-01",
        "PATCH": "USR-PATCH-01",
        "DELETE": "USR-DELETE-03",
    }[step.method]


def _statements(number: int, step: Step, expected: Expected) -> Iterator[str]:
    """Ask, and expect: a few statements of the test."""
    target = _path(step, TOKEN, "{{user_{}['id']}}")
    given = ["link" if step.follow else f'f"{target}"' if "{" in target else f'"{target}"']
    if step.body is not None:
        given.append(f"json={_members(step.body)}")
    if step.headers:
        given.append(f"headers={_members(step.headers)}")
    yield f"answer_{number} = api.{step.method.lower()}({', '.join(given)})"
    answer, user = f"answer_{number}", expected.user
    if expected.problem:
        errors = f", {[*expected.errors]}" if expected.errors else ""
        yield f'expect.problem({answer}, "{expected.problem}"{errors})'
    elif expected.replayed is not None:
        yield f"expect.replay({answer}, answer_{expected.replayed})"
    elif expected.status == 204:
        yield f"expect.empty({answer})"
    elif expected.status == 304 and user:
        yield f"expect.not_modified({answer}, '\"{user.version}\"')"
    elif user:
        known = f"user_{user.number}"
        if expected.status == 201:
            fields = f"name={_literal(user.name)}, email={_literal(user.email)}"
            fields += f", role={_literal(user.role)}"
            yield f"{known} = expect.user({answer}, 201, {fields})"
            yield f'latest = {known}["updated_at"]'
        elif expected.changed:
            generated = f'"version": {user.version}, "updated_at": None'
            members = _members({"name": user.name, "email": user.email, "role": user.role})[1:-1]
            changed = f"{{**{known}, {members}, {generated}}}"
            yield f"{known} = expect.user({answer}, 200, **{changed})"
            yield f'assert latest <= {known}["updated_at"]'
            yield f'latest = {known}["updated_at"]'
        else:
            yield f"expect.user({answer}, 200, **{known})"
    else:
        users = ", ".join(f"user_{user.number}" for user in expected.page)
        checked = f"expect.users({answer}, [{users}], next={expected.more})"
        yield f'link = {checked} or ""' if expected.more else checked


def _members(members: Mapping[str, str | None]) -> str:
    pairs = [f'"{name}": {_literal(text)}' for name, text in members.items()]
    return f"{{{', '.join(pairs)}}}"


def _literal(text: str | None) -> str:
    """The text as Python has it, with the token in it as a variable."""
    if text is None:
        return "None"
    literal = repr(text) if '"' in text else json.dumps(text, ensure_ascii=False)
    return f"f{literal}" if TOKEN in text else literal


def _path(step: Step, token: str, user: str = "", link: str = "") -> str:
    """The step's path, with the user's number put into `user`."""
    if step.user:
        return f"/users/{user.format(step.user)}"
    if step.page:
        q = f"{quote(step.page.named)}{token}"
        return f"/users?limit={step.page.limit}&sort={step.page.sort}&q={q}"
    return link if step.follow else "/users"


@pytest.fixture
def targets(_clients: dict[str, Client]) -> list[Client]:
    """Clients of all targets, but for what is secured where others are not."""
    clients = [*_clients.values()]
    return [client for client in clients if client.login == clients[0].login]


@pytest.mark.clause("OPS-14", "OPS-15", "USR-LIST-19", "CURSOR-04", "COND-02", "IDEM-04", "PAIR-10")
def test_after_any_sequence_every_target_answers_as_the_model(
    pytestconfig: pytest.Config, targets: list[Client]
) -> None:
    ours = not (pytestconfig.getoption("--target") or pytestconfig.getoption("--gateway"))
    found = ""
    try:
        search(targets, STATEFUL, SEED, ours=ours)
    except Disagreement as error:
        found = str(error)
    if found:
        there = "`make up` (on SQLite) or `docker compose up --wait` (on PostgreSQL)"
        where = f"# The services are at these URLs after {there}.\n" if ours else ""
        pytest.fail(f"{where}{found}", pytrace=False)  # as it stands, so that it can be copied


# What a proxy does to a request on its way: pass it on, changed or not, and answer, truly or not.
Lie = Callable[[Client, "Request"], Answer]


@dataclass(frozen=True)
class Request:
    """A request that came in at the proxy."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes | None

    def ask(self, api: Client, without: str = "") -> Answer:
        """Pass it on, if need be without one of its header fields."""
        headers = {name: text for name, text in self.headers.items() if name != without}
        return api.request(self.method, self.path, content=self.body, headers=headers)


def forgets_if_match(api: Client, request: Request) -> Answer:
    """A stale writer overwrites what it has not seen: the lost update."""
    return request.ask(api, without="if-match")


def forgets_the_key(api: Client, request: Request) -> Answer:
    return request.ask(api, without="idempotency-key")


def forgets_the_cursor(api: Client, request: Request) -> Answer:
    """The first page again, and again."""
    return replace(request, path=request.path.partition("&cursor=")[0]).ask(api)


def stops_counting(api: Client, request: Request) -> Answer:
    """Two changes, and one version for both."""
    answer = request.ask(api)
    if answer.header("etag") != '"3"':
        return answer
    headers = [(name, '"2"' if name == "etag" else text) for name, text in answer.headers]
    return Answer(answer.status, headers, answer.body.replace(b'"version":3', b'"version":2'))


def never_deletes(api: Client, request: Request) -> Answer:
    """Says that it did: only what is asked afterwards can tell."""
    if request.method != "DELETE" or "if-match" in request.headers:
        return request.ask(api)
    answer = api.get(request.path)
    if answer.status != 200:
        return request.ask(api)
    kept = [field for field in answer.headers if field[0].startswith("x-")]
    return Answer(204, [("cache-control", "no-store"), *kept], b"")


class Proxy:
    """A server in front of a target that tells one lie; `with Proxy(api, lie) as url`."""

    def __init__(self, api: Client, lie: Lie) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                headers = {
                    name.lower(): text for name, text in self.headers.items() if name != "Host"
                }
                length = headers.pop("content-length", None)
                body = self.rfile.read(int(length)) if length else None
                answer = lie(api, Request(self.command, self.path, headers, body))
                self.send_response_only(answer.status)
                for name, text in answer.headers:
                    if name not in ("connection", "keep-alive"):
                        self.send_header(name, text)
                self.end_headers()
                self.wfile.write(answer.body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def statuses(commands: str) -> list[int]:
    """What the printed commands are answered when a shell runs them."""
    done = subprocess.run(
        ["sh", "-c", commands],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
        timeout=60,
    )
    return [int(status) for status in re.findall(r"^HTTP/1.1 (\d+)", done.stdout, re.MULTILINE)]


# How many requests it takes to show the lie.
LIES: dict[Lie, int] = {
    forgets_if_match: 2,
    forgets_the_key: 2,
    stops_counting: 3,
    forgets_the_cursor: 4,
    never_deletes: 3,
}


@pytest.mark.clause("PAIR-04")
@pytest.mark.parametrize("pair", ["sqlite"], indirect=True)  # the database tells no lies
@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_a_lie_is_found_shortened_and_printed(pair: tuple[Client, Client], lie: Lie) -> None:
    honest, behind = pair
    with Proxy(behind, lie) as url, contextlib.closing(Client(f"{url},{url}", "liar")) as liar:
        with pytest.raises(Disagreement) as caught:
            search([honest, liar], 100, seed=1)
        run, message = caught.value.run, str(caught.value)
        print(message)
        assert len(run.steps) == LIES[lie]
        commands = [as_curl(run, side) for side in run.sides]
        assert all(text in message for text in (*commands, as_test(run)))
        truth, lied = map(statuses, commands)
        assert truth == [expected.status for _, expected in run.steps]
        assert lied == [answer.status for answer in run.sides[1].answers]
        names: dict[str, Any] = {}
        exec(as_test(run), names)
        names["test_what_the_machine_found"](honest)
        with pytest.raises(AssertionError):
            names["test_what_the_machine_found"](liar)
