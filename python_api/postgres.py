"""PostgreSQL: a bounded pool of connections, and what its errors mean."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from python_api.migrate import LOCK, migrate
from python_api.settings import Settings

UNIQUE_VIOLATION = "23505"

# OPS-18, OPS-21
# The beginnings of SQLSTATEs (PostgreSQL, appendix A) that tell of a database that can't be had at
# the moment: connection, read-only, serialization and deadlock, resources, lock not available,
# intervention (a time limit among them), system. Whatever refuses a connection does so too.
LOST = ("08", "25006", "40", "53", "55P03", "57", "58")

# How much longer the service waits for an answer than the server works on it: only a server that
# is gone or stands still lets it come to that.
GRACE_SECONDS = 1


class LostError(Exception):
    """There was no connection to be had, or it broke; the cause tells how."""


class PostgresDatabase:
    """A database on a server."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")

    # OPS-08
    def transaction(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection in a transaction. Waits for a free one as long as the settings allow."""
        return _borrowed(self._engine.begin())

    def connection(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection for a single read. Waits for a free one as long as the settings allow."""
        return _borrowed(self._autocommit.connect())

    async def ping(self) -> None:
        """Ask for an answer."""
        async with self.connection() as connection:
            await connection.execute(text("SELECT 1 FROM users LIMIT 1"))


@asynccontextmanager
async def open_postgres(settings: Settings) -> AsyncIterator[PostgresDatabase]:
    """Connect to the database that the settings name, and prepare its schema."""
    await _prepare(settings)
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=_connector(settings, settings.database_statement_timeout),
        # LOG-04
        hide_parameters=True,
        # OPS-20
        pool_size=settings.database_pool_size,
        max_overflow=0,
        # OPS-20
        pool_timeout=settings.database_timeout,
    )
    yield PostgresDatabase(engine)
    await engine.dispose()


# OPS-05, OPS-16
async def _prepare(settings: Settings) -> None:
    """Bring the schema up to date, one service at a time; a long step may take its time."""
    creator = _connector(settings, statement_timeout=None)
    engine = create_async_engine("postgresql+asyncpg://", async_creator=creator, poolclass=NullPool)
    async with _borrowed(engine.begin()) as connection:
        await connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        await connection.run_sync(migrate)


def _connector(
    settings: Settings, statement_timeout: int | None
) -> Callable[[], Awaitable[asyncpg.Connection]]:
    """A function that opens a connection whose statements are limited, in seconds."""
    limits = {"application_name": "python_api"}
    # OPS-10, OPS-21
    if statement_timeout:
        limits["statement_timeout"] = f"{statement_timeout}s"
        # A service that stands still doesn't hold its locks for ever.
        limits["idle_in_transaction_session_timeout"] = f"{2 * statement_timeout}s"

    async def connect() -> asyncpg.Connection:
        try:
            return await asyncpg.connect(
                settings.database_url,
                timeout=settings.database_timeout,
                # OPS-21
                command_timeout=statement_timeout and statement_timeout + GRACE_SECONDS,
                server_settings=limits,
            )
        except asyncpg.PostgresError as error:
            raise LostError(str(error)) from error

    return connect


# OPS-18, OPS-20
@asynccontextmanager
async def _borrowed(
    connecting: AbstractAsyncContextManager[AsyncConnection],
) -> AsyncIterator[AsyncConnection]:
    """The connection; what is lost of it is a LostError."""
    try:
        async with connecting as connection:
            yield connection
    except (OSError, PoolTimeoutError) as error:
        raise LostError(str(error)) from error


def is_unique_violation(error: Exception) -> bool:
    """Whether a unique constraint refused the statement."""
    return _sqlstate(error) == UNIQUE_VIOLATION


def is_unavailable(error: Exception) -> bool:
    """Whether the database couldn't be had: lost, busy for too long, full, broken."""
    lost = isinstance(error, LostError)
    if isinstance(error, DBAPIError):
        lost = error.connection_invalidated or _sqlstate(error).startswith(LOST)
    return lost


def _sqlstate(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else None
    return getattr(cause, "sqlstate", None) or ""
