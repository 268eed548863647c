"""What happened to a user, and how clients see it: CloudEvents 1.0 in JSON."""

from dataclasses import dataclass
from datetime import datetime

from python_api.operation.observability import timestamp
from python_api.users.schemas import User, UserJson

# All the types there are (EVENT-05).
TYPES = ("user.created", "user.changed", "user.deleted")


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to a user, in an order yet to be given."""

    type: str
    user_id: int
    time: str
    data: str
    """JSON."""


@dataclass(frozen=True, slots=True)
class Event(Change):
    """A change at its place in the log."""

    position: int


def to_json(event: Event) -> str:
    """The event as clients see it (CloudEvents 1.0.2, JSON format). Clauses: EVENT-05."""
    return (
        f'{{"specversion":"1.0","id":"{event.position}","source":"/users"'
        f',"type":"{event.type}","subject":"/users/{event.user_id}"'
        f',"time":"{event.time}","data":{event.data}}}'
    )


def user_created(user: User) -> Change:
    """The creation of this user. Clauses: EVENT-06."""
    return Change("user.created", user.id, user.created_at, _json(user))


def user_changed(user: User) -> Change:
    """The change that led to this user. Clauses: EVENT-06."""
    return Change("user.changed", user.id, user.updated_at, _json(user))


def user_deleted(user_id: int, version: int, now: datetime) -> Change:
    """The deletion of a user in this version. Clauses: EVENT-06."""
    data = f'{{"id":{user_id},"version":{version}}}'
    return Change("user.deleted", user_id, timestamp(now), data)


def _json(user: User) -> str:
    return UserJson.dump_json(user).decode("utf-8")
