"""SQLite: a connection that writes and one that reads, and what its errors mean.

Both run on the event loop's own thread. A transaction takes the write lock at once, waiting for
another process that holds it: a read that turns into a write would fail instead. Reads go on
meanwhile.
"""

import asyncio
import errno
import os
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import ClauseElement, create_engine, text
from sqlalchemy.dialects.sqlite.pysqlite import dialect
from sqlalchemy.pool import StaticPool
from sqlalchemy.sql.compiler import SQLCompiler

from python_api.settings import Settings, SqliteUrl
from python_api.storage.migrate import migrate

# A power cut loses nothing that was answered: FULL syncs the log at each commit (OPS-08, OPS-09).
PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}

# SQLite's primary result codes for a database that can't be had at the moment (OPS-10, OPS-22).
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


class FileError(Exception):
    """The file can't be opened, or is no longer where it was."""


ERRORS = (sqlite3.Error, FileError)

DIALECT = dialect()
PING = text("SELECT 1 FROM users LIMIT 1")


class SqliteConnection:
    """A connection, as an asynchronous one.

    It runs on the event loop's own thread, as better-sqlite3 does: SQLite answers sooner than
    another thread could be asked.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def fetch(
        self, statement: ClauseElement, parameters: Mapping[str, Any] | None = None
    ) -> Sequence[tuple[Any, ...]]:
        return self._run(statement, parameters).fetchall()

    async def execute(
        self, statement: ClauseElement, parameters: Mapping[str, Any] | None = None
    ) -> int:
        return self._run(statement, parameters).rowcount

    async def hold(self, number: int, *, shared: bool = False) -> None:
        pass

    def _run(
        self, statement: ClauseElement, parameters: Mapping[str, Any] | None
    ) -> sqlite3.Cursor:
        run = _compiled(statement).construct_expanded_state(parameters)
        return self._connection.execute(run.statement, run.positional_parameters)


@lru_cache(256)
def _compiled(statement: ClauseElement) -> SQLCompiler:
    return cast(SQLCompiler, statement.compile(dialect=DIALECT))


class SqliteDatabase:
    """A database in a file."""

    def __init__(
        self, writer: sqlite3.Connection, reader: sqlite3.Connection, path: str, timeout: int
    ) -> None:
        # One that writes, because SQLite has one writer: transactions queue here, and fairly.
        self._writer = writer
        self._turn = asyncio.Lock()
        self._reader = SqliteConnection(reader)
        self._paths = _paths(path)
        self._timeout = timeout
        self._files: list[tuple[int, int]] | None = None
        self._checked = False

    def remember_files(self) -> None:
        """From now on, refuse to write and to be ready unless the files are still the same.

        Clauses: OPS-41.
        """
        self._files = _identities(self._paths)

    def _check_files(self) -> None:
        # Once a turn of the event loop: a look for each write would take a twentieth of its CPU.
        if self._files is None or self._checked:
            return
        if self._files != _identities(self._paths):
            raise FileError("The database's file is not where it was.")
        self._checked = True
        asyncio.get_running_loop().call_soon(self._check_again)

    def _check_again(self) -> None:
        self._checked = False

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqliteConnection]:
        """The writer in a transaction. Clauses: OPS-08, OPS-10, OPS-14, UNIQ-09."""
        async with self._turn:
            await _execute_patiently(self._writer, "BEGIN IMMEDIATE", self._timeout)
            try:
                self._check_files()
                yield SqliteConnection(self._writer)
                self._writer.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[SqliteConnection]:
        """The reader, for a single read. Clauses: OPS-10."""
        yield self._reader

    async def ping(self) -> None:
        self._check_files()
        async with self.connection() as connection:
            await connection.fetch(PING)

    def _roll_back(self) -> None:
        """Undo what the transaction did. Clauses: OPS-22."""
        # Where the disk is full or broken, SQLite has rolled back by itself.
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")


@asynccontextmanager
async def open_sqlite(settings: Settings, url: SqliteUrl) -> AsyncIterator[SqliteDatabase]:
    """Open the file at the URL, and prepare its schema."""
    # `./` keeps SQLite from reading a path's `:memory:` or `file:` as words of its own (OPS-38).
    path = url.path if url.path.startswith("/") else f"./{url.path}"
    _make(path)
    timeout = settings.database_timeout
    async with _connect(path, timeout) as writer, _connect(path, timeout) as reader:
        database = SqliteDatabase(writer, reader, path, timeout)
        # The steps are SQLAlchemy's, so it is lent the connection (OPS-05, OPS-16).
        engine = create_engine("sqlite://", creator=lambda: writer, poolclass=StaticPool)
        with engine.connect() as lent:
            async with database.transaction():
                migrate(lent)
        database.remember_files()
        yield database


def _make(path: str) -> None:
    """The file, if it isn't there yet: for its owner alone, as SQLite then makes those beside it.

    Clauses: OPS-39, OPS-40.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise FileError(_reason(error)) from error


def _paths(path: str) -> list[str]:
    """The database's files: those of the log lie beside the file that a symbolic link leads to."""
    real = os.path.realpath(path)
    return [path, f"{real}-wal", f"{real}-shm"]


def _identities(paths: list[str]) -> list[tuple[int, int]]:
    """Which files are at the paths. Raises FileError if one is missing."""
    try:
        found = [os.stat(path) for path in paths]  # noqa: PTH116 (ten times as fast)
    except OSError as error:
        raise FileError(f"The database's file is not where it was: {_reason(error)}") from error
    return [(file.st_dev, file.st_ino) for file in found]


def _reason(error: OSError) -> str:
    code = errno.errorcode.get(error.errno or 0, "")
    return f"{code} at the file {error.filename.removeprefix('./')}"


def is_unique_violation(error: Exception) -> bool:
    return _sqlite_code(error) == sqlite3.SQLITE_CONSTRAINT_UNIQUE


def is_unavailable(error: Exception) -> bool:
    """Whether the database is unavailable: lost, locked by another process, full or broken."""
    code = _sqlite_code(error)
    return isinstance(error, FileError) or (code is not None and code & 0xFF in LOST)


def _sqlite_code(error: Exception) -> int | None:
    return getattr(error, "sqlite_errorcode", None)


@asynccontextmanager
async def _connect(path: str, timeout: int) -> AsyncIterator[sqlite3.Connection]:
    """A connection, as every one of them is set. Clauses: OPS-09."""
    # Without SQLite's own waiting, which would block the event loop. Transactions begin and end where
    # this module says so, not where sqlite3 guesses. Starlette's TestClient has a thread of its own.
    with closing(
        sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    ) as connection:
        for name, value in PRAGMAS.items():
            await _execute_patiently(connection, f"PRAGMA {name} = {value}", timeout)
            (actual,) = connection.execute(f"PRAGMA {name}").fetchone()
            if actual != value:
                raise RuntimeError(f"SQLite refused PRAGMA {name} = {value}: it is {actual}")
        (encoding,) = connection.execute("PRAGMA encoding").fetchone()
        if encoding != "UTF-8":
            raise FileError(f"Its encoding is {encoding}, and must be UTF-8.")
        yield connection


async def _execute_patiently(connection: sqlite3.Connection, statement: str, timeout: int) -> None:
    """Execute it when no other process is in its way any more, within so many seconds.

    Clauses: OPS-10, OPS-16.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while True:
        try:
            connection.execute(statement)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or loop.time() >= deadline:
                raise
        else:
            return
        await asyncio.sleep(POLL_SECONDS)
