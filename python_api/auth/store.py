"""All SQL of logins: functions that take the connection first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select, update

from python_api.storage.database import Connection
from python_api.storage.tables import users

COLUMNS = (users.c.id, users.c.role, users.c.password_hash, users.c.token_epoch)
BY_EMAIL = select(*COLUMNS).where(users.c.email == bindparam("email"))
BY_ID = select(*COLUMNS).where(users.c.id == bindparam("id"))
# SQLite, which has one writer at a time, has no word for these and needs none.
FOR_SHARE = BY_ID.with_for_update(read=True)
FOR_UPDATE = BY_ID.with_for_update()
RENEW = (
    update(users)
    .where(users.c.id == bindparam("id"), users.c.password_hash == bindparam("old"))
    .values(password_hash=bindparam("new"))
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a user's login and rights depend on."""

    id: int
    role: str
    password_hash: str | None
    token_epoch: int


async def find_by_email(connection: Connection, email: str) -> Credentials | None:
    """The user with this email, in lower case, if there is one."""
    return _credentials(await connection.fetch(BY_EMAIL, {"email": email}))


async def find_by_id(connection: Connection, user_id: int) -> Credentials | None:
    """The user with this id, if there is one."""
    return _credentials(await connection.fetch(BY_ID, {"id": user_id}))


async def hold_caller(
    connection: Connection, caller_id: int, target_id: int | None
) -> Credentials | None:
    """The caller, if there still is one, who can't be changed until the transaction ends.

    `target_id` is the user whom the transaction will change. Rows are locked in the order of their
    ids, so that two admins who change each other can't wait for each other for ever.

    Clauses: RIGHT-15.
    """
    if target_id is not None and target_id < caller_id:
        await connection.fetch(FOR_UPDATE, {"id": target_id})
    held = FOR_UPDATE if target_id == caller_id else FOR_SHARE
    return _credentials(await connection.fetch(held, {"id": caller_id}))


async def renew_hash(connection: Connection, user: Credentials, password_hash: str) -> None:
    """Keep another hash of the same password, unless that has been changed meanwhile.

    Clauses: LOGIN-08.
    """
    # Nothing of the user changes by that, so neither does its version.
    hashes = {"old": user.password_hash, "new": password_hash}
    await connection.execute(RENEW, {"id": user.id, **hashes})


def _credentials(rows: Sequence[tuple[Any, ...]]) -> Credentials | None:
    return Credentials(*rows[0]) if rows else None
