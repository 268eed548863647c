"""The contract's users as plain Python: one request after the other, and what each must be answered.

No target gives the same ids as another, so here a user is a number: the first to be created is 1.
A `Step` is a request in these terms, `Model.answer` what every target owes it. Of what a request
can hold the model knows only what test_stateful.py sends; the rest is for the tests of one request.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from contract_tests.harness import expect

ROLES = ("member", "admin")
LONG_ENOUGH = "x" * 12
SORTS = ("id", "-id", "name", "-name", "email", "-email")

# What a request holds; null is there only as the password of a PATCH.
Body = Mapping[str, str | None]

# The one header field that a step may have, by its method.
FIELDS = {
    "POST": "Idempotency-Key",
    "GET": "If-None-Match",
    "PUT": "If-Match",
    "PATCH": "If-Match",
    "DELETE": "If-Match",
}
_CONDITION = re.compile(r'\*|(?:W/)?"\d+"(?:, (?:W/)?"\d+")*')


@dataclass(frozen=True)
class Page:
    """What a list is asked for; `q` narrows each to one run's users, of one name if it is `named`."""

    sort: str
    limit: int
    named: str = ""


@dataclass(frozen=True)
class Step:
    """A request: to one user, for a page, or for the page that the last one links to (`follow`).

    `at` says which of several services is asked that are one target, counted round and round.
    """

    method: str
    user: int = 0
    page: Page | None = None
    follow: bool = False
    field: str = ""
    body: Body | None = None
    at: int = 0

    @property
    def headers(self) -> dict[str, str]:
        """The step's header field."""
        return {FIELDS[self.method]: self.field} if self.field else {}


@dataclass(frozen=True)
class User:
    """A user as it is at one moment."""

    number: int
    name: str
    email: str
    role: str = "member"
    version: int = 1
    has_password: bool = False


@dataclass(frozen=True)
class Expected:
    """The answer that is owed: a status, and what the others say of its content."""

    status: int
    problem: str = ""
    errors: Sequence[Mapping[str, str]] = ()
    user: User | None = None
    changed: bool = False
    page: Sequence[User] = ()
    more: bool = False
    replayed: int | None = None  # the step, counted from 0, whose answer is given again

    def __str__(self) -> str:
        content = [self.problem, "replayed" * (self.replayed is not None), "and more" * self.more]
        if self.user:
            content.append(f"version {self.user.version}")
        return " ".join([str(self.status), *filter(None, content)])


class Model:
    """A service without HTTP, without a database, and without anybody else."""

    def __init__(self) -> None:
        self.users: dict[int, User] = {}  # those that there are, by number
        self.created = 0  # how many there ever were
        self.link: tuple[Page, User] | None = None  # of the last page: its own terms, its last user
        self._steps = 0
        self._keys: dict[str, tuple[Body, int]] = {}  # the body, and which step

    def version(self, number: int) -> int:
        """The user's version; of one that is gone, 1."""
        return self.users[number].version if number in self.users else 1

    def answer(self, step: Step) -> Expected:
        """Take the step; LookupError for one about a user or a page that there never was."""
        if step.user > self.created or (step.follow and not self.link):
            raise LookupError(step)
        expected = self._answer(step)
        self._steps += 1
        return expected

    def _answer(self, step: Step) -> Expected:
        """What the step breaks is answered in the order of PROB-10 to PROB-19."""
        if step.method == "POST":
            return self._create(step)
        if step.page or step.follow:
            return self._list(step)
        if step.field and not _CONDITION.fullmatch(step.field):
            return _problem(
                "malformed-header", expect.error("malformed", header=step.headers.popitem()[0])
            )
        if errors := _errors(step.body or {}):
            return _problem("validation", *errors)
        user = self.users.get(step.user)
        if user is None:
            return _problem("user-not-found")
        if step.method == "GET":
            unmodified = step.field and _matches(step.field.replace("W/", ""), user)
            return Expected(304 if unmodified else 200, user=user)
        if step.field and not _matches(step.field, user):
            return _problem("version-mismatch")
        if step.method == "DELETE":
            del self.users[step.user]
            return Expected(204)
        return self._change(user, step.body or {})

    def _create(self, step: Step) -> Expected:
        body = step.body or {}
        if errors := _errors(body):
            return _problem("validation", *errors)
        if step.field in self._keys:
            kept, first = self._keys[step.field]
            if [*kept.items()] != [*body.items()]:
                return _problem("idempotency-key-reused")
            return Expected(201, replayed=first)
        user = User(self.created + 1, **_stored(body))
        if self._taken(user):
            return _problem("email-taken")
        self.created += 1
        self.users[user.number] = user
        if step.field:
            self._keys[step.field] = body, self._steps
        return Expected(201, user=user, changed=True)

    def _change(self, user: User, body: Body) -> Expected:
        changed = replace(user, **_stored(body))
        if self._taken(changed):
            return _problem("email-taken")
        if changed == user and not body.get("password"):
            return Expected(200, user=user)
        changed = replace(changed, version=user.version + 1)
        self.users[user.number] = changed
        return Expected(200, user=changed, changed=True)

    def _list(self, step: Step) -> Expected:
        """A page is what stands behind a key and an id, and not behind a number of users."""
        terms, last = (step.page, None) if step.page else self.link or (None, None)
        assert terms
        rows = [user for user in self.users.values() if _is_found(user, terms)]
        rows.sort(key=lambda user: user.number)
        rows.sort(key=lambda user: _key(user, terms), reverse=terms.sort.startswith("-"))
        if last:
            rows = [user for user in rows if _stands_behind(user, last, terms)]
        page, more = rows[: terms.limit], len(rows) > terms.limit
        self.link = (terms, page[-1]) if more else None
        return Expected(200, page=page, more=more)

    def _taken(self, user: User) -> bool:
        return any(
            other.email == user.email and other.number != user.number
            for other in self.users.values()
        )


def _problem(code: str, *errors: Mapping[str, str]) -> Expected:
    return Expected(expect.PROBLEMS[code].status, problem=code, errors=errors)


def _errors(body: Body) -> list[dict[str, str]]:
    """Of the rules for values only a few, so that something is refused now and then."""
    errors = []
    if body.get("name") == "":
        errors.append(expect.error("too-short", pointer="#/name"))
    if "email" in body and "@" not in (body["email"] or ""):
        errors.append(expect.error("malformed", pointer="#/email"))
    if body.get("role", "member") not in ROLES:
        errors.append(expect.error("malformed", pointer="#/role"))
    if len(body.get("password") or LONG_ENOUGH) < len(LONG_ENOUGH):
        errors.append(expect.error("too-short", pointer="#/password"))
    return errors


def _stored(body: Body) -> dict[str, Any]:
    """The members as they are kept; of a password, that there is one."""
    stored: dict[str, Any] = dict(body)
    if "name" in stored:
        stored["name"] = stored["name"].strip(" \t\r\n")
    if "email" in stored:
        stored["email"] = stored["email"].lower()
    if "password" in stored:
        stored["has_password"] = stored.pop("password") is not None
    return stored


def _matches(condition: str, user: User) -> bool:
    return condition == "*" or f'"{user.version}"' in condition.split(", ")


def _is_found(user: User, terms: Page) -> bool:
    """Without a name everybody of the run is: the token stands in every email."""
    return user.name.lower().startswith(terms.named.lower())


def _key(user: User, terms: Page) -> str | int:
    keys: dict[str, str | int] = {"id": user.number, "name": user.name, "email": user.email}
    return keys[terms.sort.removeprefix("-")]


def _stands_behind(user: User, last: User, terms: Page) -> bool:
    """Whether the user comes later; of equal keys by the id, in descending order too."""
    one, other = _key(user, terms), _key(last, terms)
    if one == other:
        return user.number > last.number
    return (one < other) == terms.sort.startswith("-")  # type: ignore[operator]
