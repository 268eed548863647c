"""All SQL of logins: functions that take the connection first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select, update

from python_api.database import Connection
from python_api.tables import users

COLUMNS = (users.c.id, users.c.role, users.c.password_hash, users.c.token_epoch)
BY_EMAIL = select(*COLUMNS).where(users.c.email == bindparam("email"))
BY_ID = select(*COLUMNS).where(users.c.id == bindparam("id"))
RENEW = (
    update(users)
    .where(users.c.id == bindparam("id"), users.c.password_hash == bindparam("old"))
    .values(password_hash=bindparam("new"))
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a user's login and rights hang on."""

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


# LOGIN-08
async def renew_hash(connection: Connection, user: Credentials, password_hash: str) -> None:
    """Keep another hash of the same password, unless that has been changed meanwhile."""
    # Nothing of the user changes by that, so neither does its version.
    hashes = {"old": user.password_hash, "new": password_hash}
    await connection.execute(RENEW, {"id": user.id, **hashes})


def _credentials(rows: Sequence[tuple[Any, ...]]) -> Credentials | None:
    return Credentials(*rows[0]) if rows else None
