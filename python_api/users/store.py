"""All SQL of users: functions that take the connection first."""

import re
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    and_,
    bindparam,
    case,
    delete,
    false,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from python_api.database import Connection, is_unique_violation
from python_api.observability import timestamp
from python_api.problems import Problem
from python_api.requests import EntityTags
from python_api.tables import users
from python_api.users.pages import Cursor, Page
from python_api.users.schemas import User

# REP-10
COLUMNS = [users.c[name] for name in User.model_fields]
# Built once: SQLAlchemy finds what it compiled of these fastest.
CREATE = insert(users).returning(*COLUMNS)
READ = select(*COLUMNS).where(users.c.id == bindparam("id"))
# USR-LIST-12
WILDCARD = re.compile("[%_/]")
# PASSWORD-16
# With another one of these, what was granted before has to be granted anew.
GRANTED = ("role", "password_hash")

# What a write gives the columns that a client has a say in; None is for a `password_hash` alone.
Fields = Mapping[str, Any]


async def create_user(connection: Connection, fields: Fields, now: datetime) -> User:
    """Create a user. Raises email-taken: the constraint decides, so no look before the insert."""
    # REP-06
    values = {
        # ROLE-03
        "role": "member",
        "password_hash": None,
        **fields,
        # USR-LIST-11
        "name_lower": fields["name"].lower(),
        "created_at": timestamp(now),
        "updated_at": timestamp(now),
        # REP-07
        "version": 1,
        # PASSWORD-16
        "token_epoch": 1,
    }
    # USR-CREATE-07, UNIQ-01
    try:
        result = await connection.execute(CREATE, values)
    except IntegrityError as error:
        raise _email_taken(error) from error
    return User.model_validate(result.one())


# UNIQ-08, OPS-14
async def read_user(connection: Connection, user_id: int) -> User:
    """The user with this id. Raises user-not-found."""
    result = await connection.execute(READ, {"id": user_id})
    return User.model_validate(_existing(result.one_or_none()))


async def list_users(connection: Connection, page: Page) -> list[User]:
    """The page's users, and one more if there is a further page."""
    # USR-LIST-18
    statement = select(*COLUMNS).order_by(*_order(page)).limit(page.limit + 1)
    # USR-LIST-10, USR-LIST-13
    if page.q is not None:
        # USR-LIST-11, USR-LIST-12
        text = WILDCARD.sub(r"/\g<0>", page.q.lower())
        pattern = f"%{text}%"
        statement = statement.where(
            or_(
                users.c.name_lower.like(pattern, escape="/"),
                users.c.email.like(pattern, escape="/"),
            )
        )
    if page.after:
        statement = statement.where(_after(page.after, page))
    result = await connection.execute(statement)
    return [User.model_validate(row) for row in result]


async def change_user(
    connection: Connection,
    user_id: int,
    changes: Fields,
    condition: EntityTags | None,
    now: datetime,
) -> User:
    """Give the user's columns the values of `changes`; equal values change nothing.

    Raises user-not-found, version-mismatch and email-taken. The update itself holds the
    condition, so of several writers with one version only the first gets through. Whoever finds
    nothing to update looks why, and tries again if the reason is gone by then.
    """
    # USR-REPLACE-04, USR-PATCH-03, ROLE-05
    differs = _differs(changes)
    # REP-11
    values: dict[str, object] = {
        **changes,
        "updated_at": timestamp(now),
        # REP-07, USR-PATCH-08, UNIQ-05
        "version": users.c.version + 1,
        # PASSWORD-16
        "token_epoch": users.c.token_epoch + case((_differs(changes, GRANTED), 1), else_=0),
    }
    # USR-LIST-11
    if "name" in changes:
        values["name_lower"] = changes["name"].lower()
    # UNIQ-03, PROB-19
    statement = update(users).where(differs, *_is(user_id, condition)).values(values)
    look = select(*COLUMNS, differs.label("differs")).where(users.c.id == user_id)
    # UNIQ-09
    while True:
        # USR-PATCH-02
        if changes:
            # USR-REPLACE-05, USR-PATCH-06, UNIQ-02
            try:
                result = await connection.execute(statement.returning(*COLUMNS))
            except IntegrityError as error:
                raise _email_taken(error) from error
            if row := result.one_or_none():
                return User.model_validate(row)
        # USR-REPLACE-03, USR-PATCH-05, COND-15, UNIQ-04
        result = await connection.execute(look)
        row = _existing(result.one_or_none())
        current = User.model_validate(row)
        # COND-16
        _check(condition, current)
        if not row.differs:
            return current


async def delete_user(connection: Connection, user_id: int, condition: EntityTags | None) -> None:
    """Delete the user. Raises user-not-found and version-mismatch."""
    # UNIQ-07
    statement = delete(users).where(*_is(user_id, condition))
    while True:
        result = await connection.execute(statement)
        # UNIQ-06
        if result.rowcount:
            return
        # USR-DELETE-02, COND-15
        _check(condition, await read_user(connection, user_id))


# USR-REPLACE-04, USR-PATCH-03, ROLE-05, PASSWORD-07, PASSWORD-09
def _differs(values: Fields, columns: Collection[str] | None = None) -> ColumnElement[bool]:
    """Whether a user has other values; a hash is never that of before, for it has a new salt."""
    named = [name for name in columns or values if name in values]
    return or_(false(), *(users.c[name].is_distinct_from(values[name]) for name in named))


# ID-04, USR-READ-02, PROB-18
def _existing(row: Row[Any] | None) -> Row[Any]:
    if row is None:
        raise Problem("user-not-found")
    return row


# COND-02, COND-03
def _is(user_id: int, condition: EntityTags | None) -> list[ColumnElement[bool]]:
    versions = condition.versions if condition else None
    found = [users.c.id == user_id]
    return found if versions is None else [*found, users.c.version.in_(versions)]


# COND-02, PROB-19
def _check(condition: EntityTags | None, user: User) -> None:
    if condition and not condition.match(user.etag):
        raise Problem("version-mismatch")


# USR-CREATE-07, USR-REPLACE-05, USR-PATCH-06
def _email_taken(error: IntegrityError) -> Exception:
    return Problem("email-taken") if is_unique_violation(error) else error


# USR-LIST-05, USR-LIST-06, USR-LIST-07, CURSOR-03
def _order(page: Page) -> list[ColumnElement[object]]:
    column = users.c[page.column]
    first = column.desc() if page.descending else column.asc()
    return [first] if page.column == "id" else [first, users.c.id.asc()]


# CURSOR-03, CURSOR-04
def _after(cursor: Cursor, page: Page) -> ColumnElement[bool]:
    column = users.c[page.column]
    beyond = column < cursor.key if page.descending else column > cursor.key
    if page.column == "id":
        return beyond
    # The same as "beyond, or equal with a higher id", but so that an index leads to the place.
    within = column <= cursor.key if page.descending else column >= cursor.key
    return and_(within, or_(beyond, users.c.id > cursor.id))
