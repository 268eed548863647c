"""Histories of concurrent requests about one user, and whether the contract allows them.

A history is linearizable if its requests can be put in an order in which each takes effect at one
moment between its being sent and its answer's coming in, and in which every answer is the one that
a service without any concurrency would have given (Herlihy and Wing, 1990). `order` looks for such
an order as Wing and Gong (1993) do: of the requests that are not yet placed, only one that was sent
before any of the others was answered can be the next; each of these is tried, and taken back where
no order follows. What was placed and what it led to is remembered, so that no situation is searched
twice (Lowe, 2017): without it the search would be exponential.

Linearizability holds of a whole if it holds of each of its objects, so it is enough to look at one
user at a time: whoever has a certain email, under whichever ids, and the idempotency keys that
creations with this email were sent under.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal


@dataclass(frozen=True)
class Event:
    """A request and its answer: what was asked and answered, from when to when, and by whom.

    The id is that of the path, of a creation that of its answer; the name is what a creation or a
    change asks for and what a read is answered; the version is the answer's.
    """

    what: Literal["create", "read", "change", "delete"]
    status: int
    sent: float
    answered: float
    id: int = 0
    name: str = ""
    version: int = 0
    if_match: int | None = None
    key: str = ""
    replayed: bool = False
    by: str = ""

    def __str__(self) -> str:
        asked = f"{self.what} {self.name!r}" if self.name and self.what != "read" else self.what
        asked += f" of {self.id}" if self.id and self.what != "create" else ""
        asked += f" if version {self.if_match}" if self.if_match is not None else ""
        asked += f" under {self.key}" if self.key else ""
        seen = f" user {self.id}, {self.name!r}, version {self.version}" if self.version else ""
        again = " (replayed)" if self.replayed else ""
        times = f"{self.sent * 1000:10.2f} to {self.answered * 1000:10.2f} ms"
        return f"{times}  {self.by}: {asked}: {self.status}{seen}{again}"


@dataclass(frozen=True)
class State:
    """Who has the email now (an id, 0 for nobody), which ids were given, what each key created.

    Ids need not grow in the order of the creations: PostgreSQL gives one before it waits for who
    has the email.
    """

    id: int = 0
    name: str = ""
    version: int = 0
    given: frozenset[int] = frozenset()
    keys: frozenset[tuple[str, int, str]] = frozenset()  # key, id, name


def after(state: State, event: Event) -> State | None:
    """The state that the event leads to; None where it can't be answered so in this state."""
    if event.what == "create":
        return _after_creation(state, event)
    if state.id == 0 or event.id != state.id:
        return state if event.status == 404 else None
    if event.if_match not in (None, state.version):
        return state if event.status == 412 else None
    match event.what, event.status:
        case "read", 200:
            return state if (event.name, event.version) == (state.name, state.version) else None
        case "delete", 204:
            return replace(state, id=0, name="", version=0)
        case "change", 200:
            version = state.version + (event.name != state.name)
            changed = replace(state, name=event.name, version=version)
            return changed if event.version == version else None
    return None


def _after_creation(state: State, event: Event) -> State | None:
    for key, id_, name in state.keys:
        if key == event.key and name != event.name:
            return state if event.status == 422 else None
        if key == event.key:
            same = (event.status, event.replayed, event.id, event.version) == (201, True, id_, 1)
            return state if same else None
    if state.id:
        return state if event.status == 409 else None
    if event.id in state.given or (event.status, event.replayed, event.version) != (201, False, 1):
        return None
    kept = {(event.key, event.id, event.name)} if event.key else set()
    given = state.given | {event.id}
    return State(event.id, event.name, 1, given=given, keys=state.keys | kept)


def order(history: Iterable[Event]) -> tuple[list[Event], list[Event]]:
    """As many of the events as can be put in order, in that order, and the rest.

    The history is linearizable if there is no rest. It begins when nobody has the email.
    """
    events = sorted(history, key=lambda event: event.sent)
    placed: list[int] = []
    longest: list[int] = []
    states = [State()]
    done = 0  # a bit for each event that is placed
    dead: set[tuple[int, State]] = set()
    tries = [_next(events, done)]
    while len(placed) < len(events):
        for index in tries[-1]:
            led_to = after(states[-1], events[index])
            if led_to is not None and (done | 1 << index, led_to) not in dead:
                placed.append(index)
                states.append(led_to)
                done |= 1 << index
                tries.append(_next(events, done))
                break
        else:
            dead.add((done, states.pop()))
            tries.pop()
            if not placed:
                break
            done ^= 1 << placed.pop()
        longest = max(longest, placed[:], key=len)
    rest = [event for index, event in enumerate(events) if index not in longest]
    return [events[index] for index in longest], rest


def _next(events: Sequence[Event], done: int) -> Iterator[int]:
    """Those that can be the next: sent before any other that is left was answered."""
    left = [index for index in range(len(events)) if not done >> index & 1]
    end = min((events[index].answered for index in left), default=0.0)
    yield from (index for index in left if events[index].sent <= end)


def lost_updates(history: Iterable[Event]) -> list[str]:
    """Changes that were said to be done and that another one wrote over."""
    events = [event for event in history if event.status == 200]
    changes = [event for event in events if event.what == "change"]
    found = []
    for one, other in combinations(changes, 2):
        if one.id != other.id:
            continue
        if one.version == other.version and one.name != other.name:
            found.append(f"two changes made version {one.version}:\n{one}\n{other}")
        elif one.if_match is not None and one.if_match == other.if_match and one.name != other.name:
            found.append(f"two changes replaced version {one.if_match}:\n{one}\n{other}")
    found += [
        f"a change of version {change.if_match} changed a later one:\n{change}"
        for change in changes
        if change.if_match is not None and change.version > change.if_match + 1
    ]
    return [f"lost update: {text}" for text in found]


def stale_answers(history: Iterable[Event]) -> list[str]:
    """Versions that were answered to who asked when a later one had been answered already."""
    events = [event for event in history if event.version and not event.replayed]
    found = []
    for event in events:
        later = [
            other
            for other in events
            if (other.id, other.version > event.version) == (event.id, True)
            and other.answered < event.sent
        ]
        if later:
            known = min(later, key=lambda other: other.answered)
            found.append(f"a version was answered, and later an older one:\n{known}\n{event}")
    return [f"stale: {text}" for text in found]


def double_creations(history: Iterable[Event]) -> list[str]:
    """Users that were created although there was one already, or the key had created one."""
    events = [*history]
    creations = [event for event in events if event.status == 201 and not event.replayed]
    deletions = {event.id: event for event in events if event.status == 204}
    found = []
    for one, other in combinations(creations, 2):
        if one.key and one.key == other.key:
            found.append(f"one key created two users:\n{one}\n{other}")
        # Either was gone before the other came: its deletion began before that was answered.
        if not any(
            first.id in deletions and deletions[first.id].sent <= second.answered
            for first, second in ((one, other), (other, one))
        ):
            found.append(f"two users had one email at the same time:\n{one}\n{other}")
    return [f"double creation: {text}" for text in found]


def faults(history: Iterable[Event]) -> list[str]:
    """What the contract does not allow of the history, by name; nothing if all of it is allowed."""
    events = [*history]
    found = lost_updates(events) + double_creations(events) + stale_answers(events)
    placed, rest = order(events)
    if rest:
        lines = ["not linearizable. As far as there is an order:", *map(str, placed)]
        found.append("\n".join([*lines, "What has no place in it:", *map(str, rest)]))
    return found
