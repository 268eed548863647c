"""All SQL of users: functions that take the connection first."""

import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    Update,
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

from python_api.http.problems import Problem
from python_api.http.requests import EntityTags
from python_api.operation.observability import timestamp
from python_api.storage.database import Connection, is_unique_violation
from python_api.storage.tables import users
from python_api.users.pages import Page
from python_api.users.schemas import User

# The members of a user, in their order (REP-10).
COLUMNS = [users.c[field.name] for field in dataclasses.fields(User)]

# Each statement is built and compiled once, with parameters in place of values.
SAME_ID = users.c.id == bindparam("id")
# Whether the version is one of those (COND-02, COND-03).
SAME_VERSION = users.c.version.in_(bindparam("versions", expanding=True))
CREATE = (
    insert(users)
    .values({column: bindparam(column.name) for column in users.c if column.name != "id"})
    .returning(*COLUMNS)
)
READ = select(*COLUMNS).where(SAME_ID)
DELETE = delete(users).where(SAME_ID).returning(users.c.version)
DELETE_VERSION = DELETE.where(SAME_VERSION)
# What `LIKE` would read as something else (USR-LIST-12).
WILDCARD = re.compile("[%_/]")
# Changing one of these voids all tokens (PASSWORD-16).
GRANTED = ("role", "password_hash")

# What a write gives the columns that a client has a say in; None is for a `password_hash` alone.
Fields = Mapping[str, Any]


async def create_user(connection: Connection, fields: Fields, now: datetime) -> User:
    """Create a user. Raises email-taken: the constraint decides, so no look before the insert.

    Clauses: PASSWORD-16, REP-06, REP-07, ROLE-03, UNIQ-01, USR-CREATE-07, USR-LIST-11.
    """
    values = {
        "role": "member",
        "password_hash": None,
        **fields,
        "name_lower": fields["name"].lower(),
        "created_at": timestamp(now),
        "updated_at": timestamp(now),
        "version": 1,
        "token_epoch": 1,
    }
    with _email_taken():
        (row,) = await connection.fetch(CREATE, values)
    return User(*row)


async def read_user(connection: Connection, user_id: int) -> User:
    """The user with this id. Raises user-not-found. Clauses: OPS-14, UNIQ-08."""
    return User(*_existing(await connection.fetch(READ, {"id": user_id})))


async def list_users(connection: Connection, page: Page) -> list[User]:
    """The page's users, and one more if there is a further page.

    Clauses: USR-LIST-10, USR-LIST-11, USR-LIST-12, USR-LIST-13, USR-LIST-18.
    """
    parameters: dict[str, object] = {"limit": page.limit + 1}
    if page.q is not None:
        text = WILDCARD.sub(r"/\g<0>", page.q.lower())
        parameters["pattern"] = f"%{text}%"
    if page.after:
        parameters |= {"key": page.after.key, "id": page.after.id}
    statement = _list(
        page.column,
        descending=page.descending,
        searched="pattern" in parameters,
        continued="key" in parameters,
    )
    return [User(*row) for row in await connection.fetch(statement, parameters)]


async def change_user(
    connection: Connection,
    user_id: int,
    changes: Fields,
    condition: EntityTags | None,
    now: datetime,
) -> tuple[User, bool]:
    """Give the user's columns the values of `changes`; gives the user, and whether in a new version.

    Equal values change nothing. Raises user-not-found, version-mismatch and email-taken. The update
    itself holds the condition, so of several writers with one version only the first gets through.
    Whoever finds nothing to update looks why, and tries again if the reason is gone by then.

    Clauses: COND-15, COND-16, PROB-19, REP-11, UNIQ-02, UNIQ-03, UNIQ-04, UNIQ-09, USR-LIST-11,
    USR-PATCH-02, USR-PATCH-05, USR-PATCH-06, USR-REPLACE-03, USR-REPLACE-05.
    """
    versions = condition.versions if condition else None
    update_one, look = _change(tuple(changes), conditional=versions is not None)
    parameters = {**changes, "id": user_id, "versions": versions, "updated_at": timestamp(now)}
    if "name" in changes:
        parameters["name_lower"] = changes["name"].lower()
    while True:
        if changes:
            with _email_taken():
                rows = await connection.fetch(update_one, parameters)
            if rows:
                return User(*rows[0]), True
        *row, differs = _existing(await connection.fetch(look, parameters))
        current = User(*row)
        _check(condition, current)
        if not differs:
            return current, False


async def delete_user(connection: Connection, user_id: int, condition: EntityTags | None) -> int:
    """Delete the user; gives its last version. Raises user-not-found and version-mismatch.

    Clauses: COND-15, UNIQ-06, USR-DELETE-02.
    """
    versions = condition.versions if condition else None
    statement = DELETE if versions is None else DELETE_VERSION
    while True:
        rows = await connection.fetch(statement, {"id": user_id, "versions": versions})
        if rows:
            ((version,),) = rows
            return int(version)
        _check(condition, await read_user(connection, user_id))


@cache
def _change(names: tuple[str, ...], *, conditional: bool) -> tuple[Update, Select[Any]]:
    """The update of these columns where they differ, and the look at whether they do.

    Clauses: PASSWORD-16, REP-07, ROLE-05, UNIQ-05, USR-LIST-11, USR-PATCH-03, USR-PATCH-08,
    USR-REPLACE-04.
    """
    differs = _differs(names)
    granted = [name for name in GRANTED if name in names]
    values: dict[str, object] = {
        **{name: bindparam(name) for name in (*names, "updated_at")},
        "version": users.c.version + 1,
        "token_epoch": users.c.token_epoch + case((_differs(granted), 1), else_=0),
    }
    if "name" in names:
        values["name_lower"] = bindparam("name_lower")
    changed = update(users).where(SAME_ID, differs).values(values).returning(*COLUMNS)
    look = select(*COLUMNS, differs).where(SAME_ID)
    return changed.where(SAME_VERSION) if conditional else changed, look


def _differs(names: Collection[str]) -> ColumnElement[bool]:
    """Whether a user has other values; a new hash always differs, as its salt is new.

    Clauses: PASSWORD-07, PASSWORD-09.
    """
    return or_(false(), *(users.c[name].is_distinct_from(bindparam(name)) for name in names))


def _existing(rows: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """The row. Raises user-not-found if there is none. Clauses: ID-04, PROB-18, USR-READ-02."""
    if not rows:
        raise Problem("user-not-found")
    return rows[0]


def _check(condition: EntityTags | None, user: User) -> None:
    """Raise version-mismatch if the condition is not the user's. Clauses: COND-02, PROB-19."""
    if condition and not condition.match(user.etag):
        raise Problem("version-mismatch")


@contextmanager
def _email_taken() -> Iterator[None]:
    """Raise email-taken where the constraint refuses a statement.

    Clauses: USR-CREATE-07, USR-PATCH-06, USR-REPLACE-05.
    """
    try:
        yield
    except Exception as error:
        if is_unique_violation(error):
            raise Problem("email-taken") from error
        raise


@cache
def _list(column: str, *, descending: bool, searched: bool, continued: bool) -> Select[Any]:
    """The statement that lists a page.

    Clauses: CURSOR-03, USR-LIST-05, USR-LIST-06, USR-LIST-07.
    """
    statement = select(*COLUMNS).limit(bindparam("limit"))
    if searched:
        pattern: BindParameter[str] = bindparam("pattern")
        statement = statement.where(
            or_(
                users.c.name_lower.like(pattern, escape="/"),
                users.c.email.like(pattern, escape="/"),
            )
        )
    if continued:
        statement = statement.where(_after(column, descending=descending))
    statement = statement.order_by(users.c[column].desc() if descending else users.c[column].asc())
    return statement if column == "id" else statement.order_by(users.c.id.asc())


def _after(name: str, *, descending: bool) -> ColumnElement[bool]:
    """Which users come after the cursor. Clauses: CURSOR-03, CURSOR-04."""
    column = users.c[name]
    key: BindParameter[str | int] = bindparam("key")
    beyond = column < key if descending else column > key
    if name == "id":
        return beyond
    # The same as "beyond, or equal with a higher id", but so that an index leads to the place.
    within = column <= key if descending else column >= key
    return and_(within, or_(beyond, users.c.id > bindparam("id")))
