"""All SQL of logins: functions that take the connection first."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, bindparam, select, update

from python_api.database import Connection
from python_api.tables import users

COLUMNS = (users.c.id, users.c.role, users.c.password_hash, users.c.token_epoch)
BY_EMAIL = select(*COLUMNS).where(users.c.email == bindparam("email"))
BY_ID = select(*COLUMNS).where(users.c.id == bindparam("id"))


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a user's login and rights hang on."""

    id: int
    role: str
    password_hash: str | None
    token_epoch: int


async def find_by_email(connection: Connection, email: str) -> Credentials | None:
    """The user with this email, in lower case, if there is one."""
    result = await connection.execute(BY_EMAIL, {"email": email})
    return _credentials(result.one_or_none())


async def find_by_id(connection: Connection, user_id: int) -> Credentials | None:
    """The user with this id, if there is one."""
    result = await connection.execute(BY_ID, {"id": user_id})
    return _credentials(result.one_or_none())


# LOGIN-08
async def renew_hash(connection: Connection, user: Credentials, password_hash: str) -> None:
    """Keep another hash of the same password, unless that has been changed meanwhile."""
    # Nothing of the user changes by that, so neither does its version.
    same = (users.c.id == user.id, users.c.password_hash == user.password_hash)
    await connection.execute(update(users).where(*same).values(password_hash=password_hash))


def _credentials(row: Row[Any] | None) -> Credentials | None:
    if row is None:
        return None
    return Credentials(row.id, row.role, row.password_hash, row.token_epoch)
