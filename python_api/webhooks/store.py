"""All SQL of webhooks: functions that take the connection first.

Whoever works on a delivery holds its row and passes over those that others hold (`SKIP LOCKED`), so
all processes share the work; and before that they hold the webhook's number, so that nobody waits in a
circle (decision 0011). SQLite, which has one writer at a time, has no words for it and needs none.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    tuple_,
    update,
)

from python_api.events.schemas import Event
from python_api.operation.observability import timestamp
from python_api.storage.database import Connection
from python_api.storage.tables import deliveries, event_positions, events, webhooks
from python_api.webhooks.schemas import Delivery, Webhook

# How many events get their deliveries in one transaction.
MAX_ADDED = 1000
# How many deliveries of forgotten events go in one transaction.
MAX_FORGOTTEN = 5000

COLUMNS = (
    webhooks.c.id,
    webhooks.c.url,
    webhooks.c.types,
    webhooks.c.created_at,
    webhooks.c.ended_at,
)
COUNT = select(func.count()).select_from(webhooks)
CREATE = (
    insert(webhooks)
    .values(
        {name: bindparam(name) for name in ("url", "types", "secret", "created_at")}
        | {"position": select(event_positions.c.last).scalar_subquery()}
    )
    .returning(*COLUMNS)
)
LIST = select(*COLUMNS).order_by(webhooks.c.id)
OF_ID = webhooks.c.id == bindparam("id")
READ = select(*COLUMNS).where(OF_ID)
HOLD = READ.with_for_update()
DELETE = delete(webhooks).where(OF_ID)
LIST_ACTIVE = (
    select(webhooks.c.id, webhooks.c.url, webhooks.c.secret, webhooks.c.position)
    .where(webhooks.c.ended_at.is_(None))
    .order_by(webhooks.c.id)
)
HOLD_IF_FREE = (
    select(webhooks.c.position, webhooks.c.types)
    .where(OF_ID, webhooks.c.ended_at.is_(None))
    .with_for_update(skip_locked=True)
)
OLDEST = select(func.min(events.c.position)).correlate(None).scalar_subquery()
ADD = insert(deliveries).from_select(
    ["webhook_id", "position", "user_id", "attempts", "due_at"],
    select(
        bindparam("id", type_=webhooks.c.id.type),
        events.c.position,
        events.c.user_id,
        literal(0),
        # Not before what it has to wait for anyway: an event of the user that is to be tried again.
        func.coalesce(
            select(func.max(deliveries.c.due_at))
            .where(
                deliveries.c.webhook_id == bindparam("id"),
                deliveries.c.user_id == events.c.user_id,
                deliveries.c.position >= OLDEST,
                deliveries.c.outcome.is_not(None),
                deliveries.c.due_at > bindparam("now"),
            )
            .scalar_subquery(),
            bindparam("now", type_=deliveries.c.due_at.type),
        ),
    ).where(
        events.c.position > bindparam("after"),
        events.c.position <= bindparam("upto"),
        events.c.type.in_(bindparam("types", expanding=True)),
    ),
)
ADVANCE = update(webhooks).where(OF_ID).values(position=bindparam("upto"))

gone = deliveries.alias("gone")
OF_FORGOTTEN = gone.c.position < OLDEST
IS_ANY_FORGOTTEN = select(exists().where(OF_FORGOTTEN))
FORGET = delete(deliveries).where(
    tuple_(deliveries.c.webhook_id, deliveries.c.position).in_(
        select(gone.c.webhook_id, gone.c.position)
        .where(OF_FORGOTTEN)
        .limit(MAX_FORGOTTEN)
        .with_for_update(skip_locked=True)
    )
)

DUE = deliveries.c.due_at <= bindparam("now")
# Each webhook's own: an index leads to it, however many others wait.
LIST_DUE = select(webhooks.c.id).where(
    exists().where(deliveries.c.webhook_id == webhooks.c.id, DUE)
)
earlier = deliveries.alias("earlier")
OF_WEBHOOK = deliveries.c.webhook_id == bindparam("id")
CLAIM = (
    select(
        deliveries.c.attempts,
        events.c.type,
        events.c.user_id,
        events.c.time,
        events.c.data,
        events.c.position,
    )
    .join_from(deliveries, events, events.c.position == deliveries.c.position)
    .where(
        OF_WEBHOOK,
        DUE,
        ~exists().where(
            earlier.c.webhook_id == deliveries.c.webhook_id,
            earlier.c.user_id == deliveries.c.user_id,
            earlier.c.position < deliveries.c.position,
            earlier.c.position >= OLDEST,
            earlier.c.due_at.is_not(None),
        ),
    )
    .order_by(deliveries.c.due_at, deliveries.c.position)
    .limit(bindparam("limit"))
    .with_for_update(of=deliveries, skip_locked=True)
)
ONE = and_(OF_WEBHOOK, deliveries.c.position == bindparam("event"))
BEGIN = (
    update(deliveries)
    .where(OF_WEBHOOK, deliveries.c.position.in_(bindparam("events", expanding=True)))
    .values(
        attempts=deliveries.c.attempts + 1,
        outcome=null(),
        due_at=bindparam("until"),
    )
)
# Changes nothing where the time for the attempt is over, and another one has begun.
SAME_ATTEMPT = and_(ONE, deliveries.c.attempts == bindparam("attempt"))
FINISH = delete(deliveries).where(SAME_ATTEMPT)
FAIL = (
    update(deliveries)
    .where(SAME_ATTEMPT)
    .values(outcome=bindparam("outcome"), due_at=bindparam("due_at"))
)
# The user's later ones have to wait anyway. Were they due meanwhile, each look would find them.
LATER = and_(
    OF_WEBHOOK,
    deliveries.c.user_id == bindparam("user_id"),
    deliveries.c.position > bindparam("event"),
    deliveries.c.attempts == 0,
)
HOLD_BACK = (
    update(deliveries)
    .where(LATER, deliveries.c.due_at < bindparam("then"))
    .values(due_at=bindparam("then"))
)
LET_GO = (
    update(deliveries)
    .where(LATER, deliveries.c.due_at > bindparam("then"))
    .values(due_at=bindparam("then"))
)
END = update(webhooks).where(OF_ID, webhooks.c.ended_at.is_(None)).values(ended_at=bindparam("now"))
DROP = delete(deliveries).where(OF_WEBHOOK)

SHOWN = (
    deliveries.c.position,
    deliveries.c.attempts,
    deliveries.c.outcome,
    deliveries.c.due_at,
)
LIST_DELIVERIES = (
    select(*SHOWN)
    .where(OF_WEBHOOK, deliveries.c.position > bindparam("after"))
    .order_by(deliveries.c.position)
    .limit(bindparam("limit"))
)
READ_DELIVERY = select(*SHOWN).where(ONE)
# Not one whose attempt is under way: it has begun, and has no outcome.
MAKE_DUE = (
    update(deliveries)
    .where(
        ONE,
        or_(
            deliveries.c.due_at.is_(None),
            deliveries.c.attempts == 0,
            deliveries.c.outcome.is_not(None),
        ),
    )
    .values(due_at=bindparam("now"))
)


@dataclass(frozen=True, slots=True)
class ActiveWebhook:
    """A webhook that has not ended, as whoever delivers needs it."""

    id: int
    url: str
    secret: str
    position: int
    """Up to where events have deliveries."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that begins."""

    number: int
    """Its number, from 1."""
    until: datetime
    """When it counts as given up."""
    event: Event


async def count_webhooks(connection: Connection) -> int:
    """How many there are, with those that have ended."""
    ((count,),) = await connection.fetch(COUNT)
    return int(count)


async def create_webhook(
    connection: Connection, url: str, types: Sequence[str], secret: str, now: datetime
) -> Webhook:
    """Create a webhook of the events behind the last position. Clauses: HOOK-01, HOOK-09."""
    values = {
        "url": url,
        "types": json.dumps(types),
        "secret": secret,
        "created_at": timestamp(now),
    }
    (row,) = await connection.fetch(CREATE, values)
    return _webhook(row)


async def list_webhooks(connection: Connection) -> list[Webhook]:
    """All webhooks. Clauses: HOOK-07."""
    return [_webhook(row) for row in await connection.fetch(LIST)]


async def read_webhook(connection: Connection, webhook_id: int) -> Webhook | None:
    """The webhook with this id, if there is one."""
    rows = await connection.fetch(READ, {"id": webhook_id})
    return _webhook(rows[0]) if rows else None


async def hold_webhook(connection: Connection, webhook_id: int) -> Webhook | None:
    """As `read_webhook`; nobody else does anything with it until the transaction ends.

    Clauses: HOOK-29.
    """
    await connection.hold(-webhook_id)
    rows = await connection.fetch(HOLD, {"id": webhook_id})
    return _webhook(rows[0]) if rows else None


async def delete_webhook(connection: Connection, webhook_id: int) -> bool:
    """Delete the webhook, and with it its deliveries; whether there was one.

    Clauses: HOOK-08, HOOK-29.
    """
    await connection.hold(-webhook_id)
    return await connection.execute(DELETE, {"id": webhook_id}) > 0


async def list_active(connection: Connection) -> list[ActiveWebhook]:
    """The webhooks that have not ended."""
    return [ActiveWebhook(*row) for row in await connection.fetch(LIST_ACTIVE)]


async def add_deliveries(connection: Connection, webhook_id: int, last: int, now: datetime) -> None:
    """Give the next events, up to the position `last`, their deliveries, unless somebody else does.

    Clauses: HOOK-09.
    """
    held = await connection.fetch(HOLD_IF_FREE, {"id": webhook_id})
    for after, types in held:
        upto = min(last, after + MAX_ADDED)
        if upto > after:
            places = {"id": webhook_id, "after": after, "upto": upto}
            await connection.execute(
                ADD, {**places, "types": json.loads(types), "now": timestamp(now)}
            )
            await connection.execute(ADVANCE, {"id": webhook_id, "upto": upto})


async def is_any_forgotten(connection: Connection) -> bool:
    """Whether there are deliveries of events that were forgotten."""
    ((is_any,),) = await connection.fetch(IS_ANY_FORGOTTEN)
    return bool(is_any)


async def forget_deliveries(connection: Connection) -> None:
    """Forget some of the deliveries whose events were forgotten. Clauses: HOOK-25, HOOK-29."""
    await connection.execute(FORGET)


async def list_due(connection: Connection, now: datetime) -> set[int]:
    """The ids of webhooks that have a delivery due."""
    return {row[0] for row in await connection.fetch(LIST_DUE, {"now": timestamp(now)})}


async def claim(
    connection: Connection, webhook_id: int, limit: int, now: datetime, until: datetime
) -> list[Attempt]:
    """Begin attempts of what is due, at most `limit`; nobody else begins them before `until`.

    Clauses: HOOK-15, HOOK-16, HOOK-18, HOOK-29.
    """
    # Whoever ends it, or makes an earlier one of a user due, has done so by then, or does so later.
    await connection.hold(-webhook_id, shared=True)
    asked = {"id": webhook_id, "limit": limit, "now": timestamp(now)}
    rows = await connection.fetch(CLAIM, asked)
    attempts = [Attempt(before + 1, until, Event(*event)) for before, *event in rows]
    if attempts:
        positions = [attempt.event.position for attempt in attempts]
        begun = {"id": webhook_id, "events": positions, "until": timestamp(until)}
        await connection.execute(BEGIN, begun)
    return attempts


async def finish(connection: Connection, webhook_id: int, attempt: Attempt, now: datetime) -> None:
    """The event has arrived, and the user's next one is due. Clauses: HOOK-13, HOOK-15."""
    await connection.hold(-webhook_id, shared=True)
    await connection.execute(FINISH, _keys(webhook_id, attempt))
    await connection.execute(LET_GO, _later(webhook_id, attempt, now))


async def postpone(
    connection: Connection, webhook_id: int, attempt: Attempt, outcome: str, due_at: datetime
) -> None:
    """The attempt has failed; the next one is due then, and so are the user's later events.

    Clauses: HOOK-14, HOOK-15.
    """
    await connection.hold(-webhook_id, shared=True)
    failed = {"outcome": outcome, "due_at": timestamp(due_at)}
    if await connection.execute(FAIL, {**_keys(webhook_id, attempt), **failed}) > 0:
        await connection.execute(HOLD_BACK, _later(webhook_id, attempt, due_at))


async def let_die(
    connection: Connection, webhook_id: int, attempt: Attempt, outcome: str, now: datetime
) -> bool:
    """The last attempt has failed, and the user's next event is due. Whether it was the last.

    Clauses: HOOK-14, HOOK-15.
    """
    await connection.hold(-webhook_id, shared=True)
    failed = {"outcome": outcome, "due_at": None}
    is_dead = await connection.execute(FAIL, {**_keys(webhook_id, attempt), **failed}) > 0
    if is_dead:
        await connection.execute(LET_GO, _later(webhook_id, attempt, now))
    return is_dead


async def end_webhook(connection: Connection, webhook_id: int, now: datetime) -> bool:
    """End the webhook, and drop its deliveries; whether it had not ended yet. Clauses: HOOK-17."""
    await connection.hold(-webhook_id)
    has_ended = await connection.execute(END, {"id": webhook_id, "now": timestamp(now)}) > 0
    await connection.execute(DROP, {"id": webhook_id})
    return has_ended


async def list_deliveries(
    connection: Connection, webhook_id: int, limit: int, after: int
) -> list[Delivery]:
    """The webhook's deliveries behind the position `after`. Clauses: HOOK-19."""
    asked = {"id": webhook_id, "limit": limit, "after": after}
    return [_delivery(row) for row in await connection.fetch(LIST_DELIVERIES, asked)]


async def make_due(
    connection: Connection, webhook_id: int, event: int, now: datetime
) -> Delivery | None:
    """Make this event's delivery due, if there is one and no attempt is under way.

    Clauses: HOOK-21.
    """
    asked = {"id": webhook_id, "event": event}
    await connection.execute(MAKE_DUE, {**asked, "now": timestamp(now)})
    rows = await connection.fetch(READ_DELIVERY, asked)
    return _delivery(rows[0]) if rows else None


def _later(webhook_id: int, attempt: Attempt, then: datetime) -> dict[str, int | str]:
    event = attempt.event
    keys = {"id": webhook_id, "user_id": event.user_id, "event": event.position}
    return {**keys, "then": timestamp(then)}


def _keys(webhook_id: int, attempt: Attempt) -> dict[str, int]:
    return {"id": webhook_id, "event": attempt.event.position, "attempt": attempt.number}


def _webhook(row: tuple[Any, ...]) -> Webhook:
    webhook_id, url, types, *moments = row
    return Webhook(webhook_id, url, json.loads(types), *moments)


def _delivery(row: tuple[Any, ...]) -> Delivery:
    position, attempts, outcome, due_at = row
    return Delivery(str(position), "waiting" if due_at else "dead", attempts, outcome, due_at)
