"""The database: what the service asks of one, whichever it is, and URL to database.

`sqlite` and `postgres` are the two there are, and all that knows their drivers.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from sqlalchemy import ClauseElement
from sqlalchemy.exc import DBAPIError

from python_api.settings import Settings, SqliteUrl
from python_api.storage import postgres, sqlite
from python_api.storage.migrate import SchemaError

# What a database raises when it fails; SQLAlchemy's own comes from the schema's steps.
DATABASE_ERRORS = (DBAPIError, *sqlite.ERRORS, *postgres.ERRORS)
OPENING_ERRORS = (SchemaError, *DATABASE_ERRORS)


class Connection(Protocol):
    """What a statement runs on: a connection, in a transaction or not.

    SQLAlchemy builds and compiles it, the driver itself runs it: its values go in and come out as
    they are kept, and its errors are raised.
    """

    async def fetch(
        self, statement: ClauseElement, parameters: Mapping[str, Any] | None = None
    ) -> Sequence[tuple[Any, ...]]:
        """The rows that the statement gives."""

    async def execute(
        self, statement: ClauseElement, parameters: Mapping[str, Any] | None = None
    ) -> int:
        """The number of rows that the statement has changed."""

    async def hold(self, number: int, *, shared: bool = False) -> None:
        """Hold this number until the transaction ends, alone or with others who share it.

        Whoever asks first gets it first; whoever waits for a row can be passed over for ever by those
        who share it. SQLite has one writer at a time, who needs no number.
        """


class Database(Protocol):
    """A database whose schema is ready."""

    def transaction(self) -> AbstractAsyncContextManager[Connection]:
        """A connection in a transaction: committed at the end, rolled back on an exception."""

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """A connection for a single read, which needs no transaction."""

    async def ping(self) -> None:
        """Ask the database for an answer. Raises a driver's error when there is none."""


def open_database(settings: Settings) -> AbstractAsyncContextManager[Database]:
    """Open the database that the settings name and prepare its schema.

    Raises a driver's error when it can't be opened, and SchemaError when it is newer.

    Clauses: OPS-15.
    """
    if isinstance(settings.database_url, SqliteUrl):
        return sqlite.open_sqlite(settings, settings.database_url)
    return postgres.open_postgres(settings, settings.database_url)


def is_unique_violation(error: Exception) -> bool:
    """Whether a unique constraint refused the statement."""
    return sqlite.is_unique_violation(error) or postgres.is_unique_violation(error)


def is_unavailable(error: Exception) -> bool:
    """Whether the database is unavailable: lost, busy for too long, full or broken."""
    return sqlite.is_unavailable(error) or postgres.is_unavailable(error)


def why_not_opened(error: Exception) -> str:
    """The line that ends the start with one of `OPENING_ERRORS`. Clauses: OPS-17."""
    if isinstance(error, SchemaError):
        return str(error)
    cause = (isinstance(error, DBAPIError) and error.orig) or error
    # Without the further lines that a driver adds.
    return f"The database cannot be opened: {cause.args[0]}"
