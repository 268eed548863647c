"""PostgreSQL: a bounded pool of connections, and what its errors mean."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from functools import lru_cache
from typing import Any, cast

import asyncpg
from asyncpg import IntegrityConstraintViolationError as IntegrityError, PostgresError
from sqlalchemy import ClauseElement, text
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.sql.compiler import SQLCompiler

from python_api.migrate import LOCK, migrate
from python_api.observability import timestamp
from python_api.settings import Settings

__all__ = [
    "IntegrityError",
    "LostError",
    "PostgresError",
    "is_unavailable",
    "is_unique_violation",
    "open_postgres",
]

# OPS-18, OPS-21
# The beginnings of SQLSTATEs (PostgreSQL, appendix A) that tell of a database that can't be had at
# the moment: connection, read-only, serialization and deadlock, resources, lock not available,
# intervention (a time limit among them), system. Whatever refuses a connection does so too.
LOST = ("08", "25006", "40", "53", "55P03", "57", "58")

# What is raised where a connection can't be had, breaks, or takes too long (an OSError).
BROKEN = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)

# How much longer the service waits for an answer than the server works on it: only a server that
# is gone or stands still lets it come to that.
GRACE_SECONDS = 1


class LostError(Exception):
    """There was no connection to be had, or it broke; the cause tells how."""


DIALECT = dialect()  # type: ignore[no-untyped-call]
PING = text("SELECT 1 FROM users LIMIT 1")


class PostgresConnection:
    """A connection of the pool. asyncpg prepares each statement once on each."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def fetch(
        self, statement: ClauseElement, parameters: Mapping[str, Any] | None = None
    ) -> Sequence[tuple[Any, ...]]:
        """The rows that the statement gives."""
        run = _compiled(statement).construct_expanded_state(parameters)
        rows: Sequence[tuple[Any, ...]] = await self._connection.fetch(
            run.statement, *run.positional_parameters
        )
        return rows

    async def execute(
        self, statement: ClauseElement, parameters: Mapping[str, Any] | None = None
    ) -> int:
        """The number of rows that the statement has changed."""
        run = _compiled(statement).construct_expanded_state(parameters)
        status = await self._connection.execute(run.statement, *run.positional_parameters)
        # Such as `DELETE 1` (PostgreSQL, 54.7, CommandComplete).
        return int(status.rpartition(" ")[2])


@lru_cache(256)
def _compiled(statement: ClauseElement) -> SQLCompiler:
    return cast(SQLCompiler, statement.compile(dialect=DIALECT))


class PostgresDatabase:
    """A database on a server."""

    def __init__(self, pool: asyncpg.Pool, timeout: int) -> None:
        self._pool = pool
        self._timeout = timeout

    # OPS-08
    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresConnection]:
        """A connection in a transaction. Waits for a free one as long as the settings allow."""
        async with self._borrowed() as connection, connection.transaction():
            yield PostgresConnection(connection)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[PostgresConnection]:
        """A connection for a single read. Waits for a free one as long as the settings allow."""
        async with self._borrowed() as connection:
            yield PostgresConnection(connection)

    async def ping(self) -> None:
        """Ask for an answer."""
        async with self.connection() as connection:
            await connection.fetch(PING)

    # OPS-18, OPS-20
    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of the pool; what is lost of it is a LostError."""
        connection = None
        try:
            async with asyncio.timeout(self._timeout):
                connection = await self._pool.acquire()
            yield connection
        except BROKEN as error:
            if connection:
                # Not closed, and nothing cancelled: a server that stands still would not answer.
                with suppress(asyncpg.InterfaceError):
                    connection.terminate()
            raise LostError(str(error)) from error
        except PostgresError as error:
            # LOG-04
            # Its text would have the refused row, and goes into the log; that of Node's driver hasn't.
            error.detail = None
            raise
        finally:
            if connection:
                await self._pool.release(connection)


@asynccontextmanager
async def open_postgres(settings: Settings) -> AsyncIterator[PostgresDatabase]:
    """Connect to the database that the settings name, and prepare its schema."""
    await _prepare(settings)
    pool = asyncpg.create_pool(
        connect=_connector(settings, settings.database_statement_timeout),
        # OPS-20
        min_size=0,
        max_size=settings.database_pool_size,
        # Connections stay, and nothing here changes a session that would have to be reset.
        max_inactive_connection_lifetime=0,
        reset=_leave,
    )
    async with pool:
        yield PostgresDatabase(pool, settings.database_timeout)


async def _leave(_connection: asyncpg.Connection) -> None:
    pass


# OPS-05, OPS-16
async def _prepare(settings: Settings) -> None:
    """Bring the schema up to date, one service at a time; a long step may take its time."""
    creator = _connector(settings, statement_timeout=None)
    engine = create_async_engine("postgresql+asyncpg://", async_creator=creator, poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        await connection.run_sync(migrate)


def _connector(
    settings: Settings, statement_timeout: int | None
) -> Callable[[], Awaitable[asyncpg.Connection]]:
    """A function that opens a connection whose statements are limited, in seconds."""
    limits = {"application_name": "python_api", "timezone": "UTC"}
    # OPS-10, OPS-21
    if statement_timeout:
        limits["statement_timeout"] = f"{statement_timeout}s"
        # A service that stands still doesn't hold its locks for ever.
        limits["idle_in_transaction_session_timeout"] = f"{2 * statement_timeout}s"

    async def connect(*_dsn: object, **_options: object) -> asyncpg.Connection:
        try:
            connection = await asyncpg.connect(
                settings.database_url,
                timeout=settings.database_timeout,
                # OPS-21
                command_timeout=statement_timeout and statement_timeout + GRACE_SECONDS,
                server_settings=limits,
            )
        except (OSError, PostgresError) as error:
            raise LostError(str(error) or "no answer in time") from error
        # REP-04, OPS-15
        # A moment comes and goes as the text that SQLite keeps.
        await connection.set_type_codec(
            "timestamptz", schema="pg_catalog", encoder=str, decoder=_moment, format="text"
        )
        return connection

    return connect


def _moment(text: str) -> str:
    return timestamp(datetime.fromisoformat(text))


def is_unique_violation(error: Exception) -> bool:
    """Whether a unique constraint refused the statement."""
    return isinstance(error, asyncpg.UniqueViolationError)


def is_unavailable(error: Exception) -> bool:
    """Whether the database couldn't be had: lost, busy for too long, full, broken."""
    return isinstance(error, LostError) or (
        isinstance(error, PostgresError) and error.sqlstate.startswith(LOST)
    )
