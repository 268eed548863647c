"""SQLite: one connection, on the event loop's own thread, and what its errors mean.

A transaction takes the write lock at once, waiting for another process that holds it: a read that
turns into a write would fail instead.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy
from sqlalchemy import URL, CursorResult, Executable, create_engine, event, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import StaticPool

from python_api.migrate import migrate
from python_api.settings import Settings

# OPS-08, OPS-09
# A power cut loses nothing that was answered: FULL syncs the log at each commit.
PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}

# OPS-10, OPS-22
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

POLL_SECONDS = 0.01


class SqliteConnection:
    """The connection, as an asynchronous one.

    It runs on the event loop's own thread, as better-sqlite3 does: SQLite answers sooner than
    another thread could be asked.
    """

    def __init__(self, connection: sqlalchemy.Connection) -> None:
        self._connection = connection

    async def execute(
        self, statement: Executable, parameters: Mapping[str, Any] | None = None
    ) -> CursorResult[Any]:
        """Run the statement."""
        return self._connection.execute(statement, parameters)


class SqliteDatabase:
    """A database in a file."""

    def __init__(self, connection: sqlalchemy.Connection, timeout: int) -> None:
        # One connection, because SQLite has one writer: requests queue here, in order, and fairly.
        self._connection = connection
        self._turn = asyncio.Lock()
        self._timeout = timeout

    # UNIQ-09, OPS-08, OPS-14
    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqliteConnection]:
        """The connection in a transaction."""
        async with self._turn:
            await self._begin()
            try:
                yield SqliteConnection(self._connection)
                self._connection.exec_driver_sql("COMMIT")
            except BaseException:
                self._roll_back()
                raise

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[SqliteConnection]:
        """The connection for a single read."""
        async with self._turn:
            yield SqliteConnection(self._connection)

    async def ping(self) -> None:
        """Ask for an answer."""
        async with self.connection() as connection:
            await connection.execute(text("SELECT 1 FROM users LIMIT 1"))

    # OPS-10
    async def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        while not self._has_begun(last_try=loop.time() >= deadline):  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)

    def _has_begun(self, *, last_try: bool) -> bool:
        try:
            self._connection.exec_driver_sql("BEGIN IMMEDIATE")
        except OperationalError as error:
            if last_try or _sqlite_code(error) != sqlite3.SQLITE_BUSY:
                raise
            return False
        return True

    # OPS-22
    def _roll_back(self) -> None:
        # Where the disk is full or broken, SQLite has rolled back by itself.
        driver = self._connection.connection.driver_connection
        if isinstance(driver, sqlite3.Connection) and driver.in_transaction:
            self._connection.exec_driver_sql("ROLLBACK")


@asynccontextmanager
async def open_sqlite(settings: Settings) -> AsyncIterator[SqliteDatabase]:
    """Open the file that the settings name, and prepare its schema."""
    # The path is taken as it stands: of a URL, SQLAlchemy would decode it.
    path = settings.database_url.removeprefix("sqlite:///")
    engine = create_engine(
        URL.create("sqlite", database=path),
        poolclass=StaticPool,
        # LOG-04
        hide_parameters=True,
        # Transactions begin and end where this module says so, not where sqlite3 guesses.
        isolation_level="AUTOCOMMIT",
        connect_args={"timeout": settings.database_timeout},
    )
    event.listen(engine, "connect", _configure)
    with engine.connect() as connection:
        database = SqliteDatabase(connection, settings.database_timeout)
        # OPS-05, OPS-16
        async with database.transaction():
            migrate(connection)
        yield database
    engine.dispose()


def is_unique_violation(error: Exception) -> bool:
    """Whether a unique constraint refused the statement."""
    return _sqlite_code(error) == sqlite3.SQLITE_CONSTRAINT_UNIQUE


def is_unavailable(error: Exception) -> bool:
    """Whether the database couldn't be had: lost, locked by another process, full, broken."""
    code = _sqlite_code(error)
    return code is not None and code & 0xFF in LOST


def _sqlite_code(error: Exception) -> int | None:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return getattr(cause, "sqlite_errorcode", None)


# OPS-09
def _configure(connection: sqlite3.Connection, _record: object) -> None:
    for name, value in PRAGMAS.items():
        connection.execute(f"PRAGMA {name} = {value}")
        (actual,) = connection.execute(f"PRAGMA {name}").fetchone()
        if actual != value:
            raise RuntimeError(f"SQLite refused PRAGMA {name} = {value}: it is {actual}")
    # From now on only the begin of a transaction waits: sqlite3 would block the event loop.
    connection.execute("PRAGMA busy_timeout = 0")
