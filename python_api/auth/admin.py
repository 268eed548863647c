"""The first admin, without whom nobody could make another one."""

from datetime import UTC, datetime

from sqlalchemy import literal, select

from python_api.auth.passwords import hash_password
from python_api.auth.store import find_by_email
from python_api.events.schemas import user_created
from python_api.events.store import write_event
from python_api.http.problems import Problem
from python_api.operation.observability import log
from python_api.settings import Settings
from python_api.storage.database import Database
from python_api.storage.tables import users
from python_api.users.store import create_user

NAME = "Admin"
ADMINS = select(literal(1)).select_from(users).where(users.c.role == "admin").limit(1)


class AdminError(Exception):
    """The first admin can't be created."""


async def create_first_admin(database: Database, settings: Settings) -> None:
    """Create the user of `ADMIN_EMAIL` where there is no admin yet.

    Raises AdminError if the email is somebody's who is none: whoever came first may have set the
    password.

    Clauses: EVENT-01, RIGHT-11, RIGHT-12.
    """
    if not settings.admin_email or await _has_admin(database):
        return
    fields = {
        "name": NAME,
        "email": settings.admin_email,
        "role": "admin",
        "password_hash": await hash_password(settings.admin_password, settings),
    }
    now = datetime.now(UTC)
    try:
        async with database.transaction() as connection:
            admin = await create_user(connection, fields, now)
            await write_event(connection, user_created(admin), now, settings.events_ttl)
    except Problem:
        # Another service may have been faster.
        async with database.connection() as connection:
            user = await find_by_email(connection, settings.admin_email)
        if user is None or user.role != "admin":
            raise AdminError("ADMIN_EMAIL is the email of a user who is no admin") from None
        return
    log("info", "first admin created")


async def _has_admin(database: Database) -> bool:
    async with database.connection() as connection:
        return bool(await connection.fetch(ADMINS))
