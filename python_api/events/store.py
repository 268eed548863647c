"""All SQL of events: functions that take the connection first.

A write only adds its event, so writers don't wait for each other. Positions are given to what has
been committed, by whoever reads next, one reader at a time; none can be filled in later (decision
0009).
"""

import dataclasses
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    Select,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)

from python_api.events.schemas import Change, Event
from python_api.operation.observability import timestamp
from python_api.storage.database import Connection
from python_api.storage.tables import event_positions, events

# A writer whose event's number is a multiple of this gives positions, in case nobody reads
# (EVENT-14).
MAX_WAITING = 64
# How many are forgotten at a time, so that no list and no write waits for the rest.
MAX_FORGOTTEN = 1000

WRITE = (
    insert(events)
    .values({name: bindparam(name) for name in ("type", "user_id", "time", "data")})
    .returning(events.c.number)
)
WAITS = events.c.position.is_(None)
IS_ANY_WAITING = select(exists().where(WAITS))
LAST_POSITION = select(event_positions.c.last)
HOLD_LAST_POSITION = LAST_POSITION.with_for_update()
NUMBERED = (
    select(
        events.c.number,
        (
            bindparam("last", type_=events.c.position.type)
            + func.row_number().over(order_by=events.c.number)
        ).label("position"),
    )
    .where(WAITS)
    .subquery("numbered")
)
GIVE_POSITIONS = (
    update(events).values(position=NUMBERED.c.position).where(events.c.number == NUMBERED.c.number)
)
KEEP_LAST = update(event_positions).values(last=bindparam("last"))
# The end of what is forgotten at a time.
BEYOND = select(func.min(events.c.position) + MAX_FORGOTTEN).correlate(None).scalar_subquery()
OLDEST_KEPT = (
    select(func.min(events.c.position))
    .where(events.c.time > bindparam("expired"), events.c.position < BEYOND)
    .scalar_subquery()
)
FORGET = delete(events).where(
    events.c.position < func.coalesce(OLDEST_KEPT, bindparam("last")),
    events.c.position < BEYOND,
)
# The position of the last event that was forgotten: 0 if none was.
FORGOTTEN = select(
    func.coalesce(
        select(func.min(events.c.position) - 1).scalar_subquery(),
        select(event_positions.c.last).scalar_subquery(),
    )
)


async def write_event(connection: Connection, change: Change, now: datetime, ttl: int) -> None:
    """Write the event of this change, in the change's own transaction.

    Now and then it also gives positions and forgets what is older than `ttl` seconds.

    Clauses: EVENT-01, EVENT-14.
    """
    ((number,),) = await connection.fetch(WRITE, dataclasses.asdict(change))
    if number % MAX_WAITING == 0:
        await give_positions(connection, now, ttl)


async def is_any_waiting(connection: Connection) -> bool:
    """Whether an event has no position yet."""
    ((waiting,),) = await connection.fetch(IS_ANY_WAITING)
    return bool(waiting)


async def give_positions(connection: Connection, now: datetime, ttl: int) -> None:
    """Give positions to the events that have none, and forget those older than `ttl` seconds.

    Whoever holds the row of the last position sees all that was committed before they got it. Events
    of one user are written one after the other, as each change holds the user's row.

    Clauses: EVENT-03, EVENT-04, EVENT-14.
    """
    ((last,),) = await connection.fetch(HOLD_LAST_POSITION)
    given = await connection.execute(GIVE_POSITIONS, {"last": last})
    # Else somebody else came first.
    if given == 0:
        return
    last += given
    await connection.execute(KEEP_LAST, {"last": last})
    expired = timestamp(now - timedelta(seconds=ttl))
    await connection.execute(FORGET, {"last": last, "expired": expired})


async def list_events(
    connection: Connection,
    *,
    limit: int,
    after: int | None,
    descending: bool = False,
    user_id: int | None = None,
) -> list[Event]:
    """Events behind the position `after` in their order, of this user if one is named.

    Clauses: EVENT-07, EVENT-08, EVENT-09, EVENT-10, RIGHT-16.
    """
    statement = _list(
        descending=descending, continued=after is not None, of_one=user_id is not None
    )
    parameters = {"after": after, "limit": limit, "user_id": user_id}
    return [Event(*row) for row in await connection.fetch(statement, parameters)]


async def last_position(connection: Connection) -> int:
    """The highest position that was given; 0 if none was."""
    ((position,),) = await connection.fetch(LAST_POSITION)
    return int(position)


async def forgotten(connection: Connection) -> int:
    """The position of the last event that was forgotten; 0 if none was."""
    ((position,),) = await connection.fetch(FORGOTTEN)
    return int(position)


@cache
def _list(*, descending: bool, continued: bool, of_one: bool) -> Select[Any]:
    """The statement that lists a page. Clauses: EVENT-08, EVENT-09."""
    position = events.c.position
    statement = select(
        events.c.type, events.c.user_id, events.c.time, events.c.data, position
    ).where(position.is_not(None))
    after: BindParameter[int] = bindparam("after")
    if continued:
        statement = statement.where(position < after if descending else position > after)
    if of_one:
        statement = statement.where(events.c.user_id == bindparam("user_id"))
    order = position.desc() if descending else position.asc()
    return statement.order_by(order).limit(bindparam("limit"))
