"""The database: URL to engine, transactions, and the one seam that knows the drivers.

Every transaction begins with a write. SQLite then takes its write lock at once, waiting for
another process's, where a read that turns into a write would fail at once instead.
"""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.schema import CreateIndex, CreateTable

from python_api.tables import metadata

# A power cut loses nothing that was answered: FULL syncs the log at each commit.
PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}

# SQLite's primary result codes for a database that can't be had at the moment.
LOST = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOTADB,
}


class Database:
    """A database whose schema is ready."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    def transaction(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection in a transaction: committed at the end, rolled back on an exception."""
        return self._engine.begin()

    def connection(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection for a single read, which needs no transaction: sqlite3 begins none."""
        return self._engine.connect()

    async def ping(self) -> None:
        """Ask the database for an answer. Raises a driver's error when there is none."""
        async with self.connection() as connection:
            await connection.execute(text("SELECT 1 FROM users LIMIT 1"))


@asynccontextmanager
async def open_database(url: str, timeout: int) -> AsyncIterator[Database]:
    """Open the database at `url` and prepare its schema; `timeout` (seconds) bounds every wait.

    Raises a driver's error when it can't be opened.
    """
    # One connection, because SQLite has one writer: requests queue here, in order, and fairly.
    engine = create_async_engine(
        url.replace("sqlite:", "sqlite+aiosqlite:", 1),
        pool_size=1,
        max_overflow=0,
        pool_timeout=timeout,
        connect_args={"timeout": timeout},
    )
    event.listen(engine.sync_engine, "connect", _configure)
    try:
        async with engine.begin() as connection:
            for table in metadata.sorted_tables:
                await connection.execute(CreateTable(table, if_not_exists=True))
                for index in table.indexes:
                    await connection.execute(CreateIndex(index, if_not_exists=True))
        yield Database(engine)
    finally:
        await engine.dispose()


def is_unique_violation(error: Exception) -> bool:
    """Whether a unique constraint refused the statement."""
    return _sqlite_code(error) == sqlite3.SQLITE_CONSTRAINT_UNIQUE


def is_unavailable(error: Exception) -> bool:
    """Whether the database couldn't be had: lost, locked by another process, full, broken."""
    code = _sqlite_code(error)
    return isinstance(error, PoolTimeout) or (code is not None and code & 0xFF in LOST)


def _sqlite_code(error: Exception) -> int | None:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return getattr(cause, "sqlite_errorcode", None)


def _configure(connection: sqlite3.Connection, _record: object) -> None:
    for name, value in PRAGMAS.items():
        connection.execute(f"PRAGMA {name} = {value}")
        (actual,) = connection.execute(f"PRAGMA {name}").fetchone()
        if actual != value:
            raise RuntimeError(f"SQLite refused PRAGMA {name} = {value}: it is {actual}")
