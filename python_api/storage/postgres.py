"""PostgreSQL: a bounded pool of connections, and what its errors mean."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from functools import lru_cache
from typing import Any, cast

import asyncpg
from asyncpg import PostgresError
from sqlalchemy import ClauseElement, text
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.sql.compiler import SQLCompiler

from python_api.operation.observability import timestamp
from python_api.settings import PostgresUrl, Settings, certificates_in
from python_api.storage.migrate import LOCK, migrate

# The beginnings of SQLSTATEs (PostgreSQL, appendix A) that tell of a database that can't be had at
# the moment: connection, read-only, a transaction's time limit, serialization and deadlock, a right
# that is missing, resources, lock not available, intervention (a time limit among them), system.
# Whatever refuses a connection does so too (OPS-18, OPS-21, OPS-37).
LOST = ("08", "25006", "25P0", "40", "42501", "53", "55P03", "57", "58")

# Raised for a prepared statement whose tables have changed since (OPS-35).
STALE = (asyncpg.InvalidCachedStatementError, asyncpg.InvalidSQLStatementNameError)

# Raised when a connection can't be made, breaks, or takes too long (an OSError).
BROKEN = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError, *STALE)

# What a session has whatever the server, the database and the role are set to, but for the encoding,
# which asyncpg asks for itself (OPS-32).
SESSION = {
    "application_name": "python_api",
    "datestyle": "ISO",
    "default_transaction_isolation": "read committed",
    "gin_fuzzy_search_limit": "0",
    "idle_session_timeout": "0",
    "lock_timeout": "0",
    "search_path": "public",
    "standard_conforming_strings": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
}

# PostgreSQL knows it from version 17 on.
NEWER_SESSION = SESSION | {"transaction_timeout": "0"}

# Behind a pooler another process answers than the one that took the connection.
CHECK = "SELECT pg_backend_pid(), current_setting('server_encoding')"
POOLER = "DATABASE_URL must lead to PostgreSQL itself, and this is a pooler such as PgBouncer."
SAYS_NOTHING = "The server refuses, and says nothing."

# Seconds that a connection is silent before its other end is asked, and between two questions; and
# how many stay without an answer until it is given up. As Node asks them (OPS-36).
KEEP_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 10}

# What asyncpg says when the server hangs up on being asked for TLS.
HUNG_UP = "unexpected connection_lost() call"

# OpenSSL's codes for a certificate of another host or address.
OTHER_HOST = (62, 64)

# How much longer the service waits for an answer than the server works on it: only a server that
# is gone or stands still lets it come to that.
GRACE_SECONDS = 1


class LostError(Exception):
    """There was no connection to be had, or it broke; the cause tells how."""


ERRORS = (PostgresError, LostError)

DIALECT = dialect()  # type: ignore[no-untyped-call]
PING = text("SELECT 1 FROM users LIMIT 1")
HOLD = "SELECT pg_advisory_xact_lock($1)"
SHARE = "SELECT pg_advisory_xact_lock_shared($1)"


class PostgresConnection:
    """A connection of the pool. asyncpg prepares each statement once on each."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def fetch(
        self, statement: ClauseElement, parameters: Mapping[str, Any] | None = None
    ) -> Sequence[tuple[Any, ...]]:
        run = _compiled(statement).construct_expanded_state(parameters)
        rows: Sequence[tuple[Any, ...]] = await self._connection.fetch(
            run.statement, *run.positional_parameters
        )
        return rows

    async def execute(
        self, statement: ClauseElement, parameters: Mapping[str, Any] | None = None
    ) -> int:
        run = _compiled(statement).construct_expanded_state(parameters)
        status = await self._connection.execute(run.statement, *run.positional_parameters)
        # Such as `DELETE 1` (PostgreSQL, 54.7, CommandComplete).
        return int(status.rpartition(" ")[2])

    async def hold(self, number: int, *, shared: bool = False) -> None:
        await self._connection.fetch(SHARE if shared else HOLD, number)


@lru_cache(256)
def _compiled(statement: ClauseElement) -> SQLCompiler:
    return cast(SQLCompiler, statement.compile(dialect=DIALECT))


class PostgresDatabase:
    """A database on a server."""

    def __init__(self, pool: asyncpg.Pool, timeout: int) -> None:
        self._pool = pool
        self._timeout = timeout
        # When a connection in use was last lost.
        self._lost_at = 0.0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresConnection]:
        """A connection in a transaction. Waits for a free one as long as the settings allow.

        Clauses: OPS-08.
        """
        async with self._borrowed() as connection, connection.transaction():
            yield PostgresConnection(connection)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[PostgresConnection]:
        """A connection for a single read. Waits for a free one as long as the settings allow."""
        async with self._borrowed() as connection:
            yield PostgresConnection(connection)

    async def ping(self) -> None:
        async with self.connection() as connection:
            await connection.fetch(PING)

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of the pool; what is lost of it is a LostError. Clauses: OPS-18, OPS-20."""
        connection = None
        try:
            async with asyncio.timeout(self._timeout):
                connection = await self._acquire()
            yield connection
        except BROKEN as error:
            if connection:
                self._lost_at = asyncio.get_running_loop().time()
                # Not closed, and nothing cancelled: a server that stands still would not answer.
                with suppress(asyncpg.InterfaceError):
                    connection.terminate()
            raise LostError(str(error)) from error
        except PostgresError as error:
            # Its text would have the refused row, and goes into the log; that of Node's driver
            # hasn't (LOG-04).
            error.detail = None
            raise
        finally:
            if connection:
                await self._pool.release(connection)

    async def _acquire(self) -> asyncpg.Connection:
        """A connection made after the last loss: whatever broke that one broke all older ones.

        Clauses: OPS-35, OPS-36.
        """
        while True:
            connection = await self._pool.acquire()
            if connection.born > self._lost_at:
                return connection
            connection.terminate()
            await self._pool.release(connection)


class Session(asyncpg.Connection):  # type: ignore[misc]
    """asyncpg's connection, with TCP keepalive."""

    def __init__(
        self, protocol: Any, transport: asyncio.Transport, *others: Any, **named: Any
    ) -> None:
        """Prepare a connection for what is asked of it. Clauses: OPS-36."""
        super().__init__(protocol, transport, *others, **named)
        self.born = asyncio.get_running_loop().time()
        own = transport.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEP_ALIVE.items():
            # Each system has its own choice of them.
            if hasattr(socket, name):
                own.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


@asynccontextmanager
async def open_postgres(settings: Settings, url: PostgresUrl) -> AsyncIterator[PostgresDatabase]:
    """Connect to the database at the URL, and prepare its schema.

    Clauses: OPS-10, OPS-20, OPS-21.
    """
    session = NEWER_SESSION
    try:
        await _prepare(settings, url, session)
    except LostError as error:
        if not isinstance(error.__cause__, asyncpg.UndefinedObjectError):
            raise
        session = SESSION
        await _prepare(settings, url, session)
    limit = settings.database_statement_timeout
    limits = {
        "statement_timeout": f"{limit}s",
        # A service that stands still doesn't hold its locks for ever.
        "idle_in_transaction_session_timeout": f"{2 * limit}s",
    }
    pool = asyncpg.create_pool(
        connect=_connector(settings, url, session | limits, limit + GRACE_SECONDS),
        min_size=0,
        max_size=settings.database_pool_size,
        # Connections stay, and nothing here changes a session that would have to be reset.
        max_inactive_connection_lifetime=0,
        reset=_leave,
    )
    await pool
    try:
        yield PostgresDatabase(pool, settings.database_timeout)
    finally:
        # Not closed: a server that is gone would not answer (OPS-07).
        pool.terminate()


async def _leave(_connection: asyncpg.Connection) -> None:
    pass


async def _prepare(settings: Settings, url: PostgresUrl, session: dict[str, str]) -> None:
    """Bring the schema up to date, one service at a time; a long step may take its time.

    Raises LostError for a server that will not do, or doesn't know what the session is to have.

    Clauses: OPS-05, OPS-16.
    """
    unlimited = {"statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}
    connect = _connector(settings, url, session | unlimited)

    async def create(*dsn: object, **options: object) -> asyncpg.Connection:
        connection = await connect(*dsn, **options)
        await _check(connection)
        return connection

    engine = create_async_engine("postgresql+asyncpg://", async_creator=create, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
            await connection.run_sync(migrate)
    except DBAPIError as error:
        # SQLAlchemy's own text has more than what the server said.
        cause = error.orig and error.orig.__cause__
        raise LostError(_reason(cause or error, url)) from error


async def _check(connection: asyncpg.Connection) -> None:
    """LostError for a server that will not do. Clauses: OPS-33, OPS-34."""
    pid, encoding = await connection.fetchrow(CHECK)
    if pid != connection.get_server_pid():
        raise LostError(POOLER)
    if encoding != "UTF8":
        raise LostError(f"Its encoding is {encoding}, and must be UTF8.")


def _connector(
    settings: Settings,
    url: PostgresUrl,
    session: dict[str, str],
    command_timeout: int | None = None,
) -> Callable[..., Awaitable[asyncpg.Connection]]:
    """A function that opens a connection with such a session.

    Raises LostError where the certificates of the URL can't be read.

    Clauses: OPS-21.
    """
    tls = _tls(url)

    # All that asyncpg would look for in the environment and in files, if it weren't told (OPS-30).
    async def attempt(tls: ssl.SSLContext | None) -> asyncpg.Connection:
        return await asyncpg.connect(
            host=url.host,
            port=url.port,
            user=url.user,
            password=url.password,
            database=url.database,
            ssl=tls or False,
            direct_tls=False,
            target_session_attrs="any",
            gsslib="gssapi",
            timeout=settings.database_timeout,
            command_timeout=command_timeout,
            server_settings=session,
            connection_class=Session,
        )

    async def connect(*_dsn: object, **_options: object) -> asyncpg.Connection:
        try:
            connection = await _by_tls_or_not(url, attempt, tls)
        except (*BROKEN, UnicodeError, PostgresError) as error:
            raise LostError(_reason(error, url)) from error
        # A moment comes and goes as the text that SQLite keeps (REP-04, OPS-15).
        await connection.set_type_codec(
            "timestamptz", schema="pg_catalog", encoder=str, decoder=_moment, format="text"
        )
        return connection

    return connect


def _tls(url: PostgresUrl) -> ssl.SSLContext | None:
    """Whom to trust by TLS; none without TLS. Clauses: OPS-31."""
    if url.sslmode == "disable":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = url.sslmode == "verify-full"
    if not url.sslrootcert:
        context.verify_mode = ssl.CERT_NONE
        return context
    certificates = certificates_in(url.sslrootcert)
    if not certificates:
        raise LostError(f"{url.sslrootcert} is no file of certificates.")
    context.load_verify_locations(cadata=certificates)
    return context


async def _by_tls_or_not(
    url: PostgresUrl,
    attempt: Callable[[ssl.SSLContext | None], Awaitable[asyncpg.Connection]],
    tls: ssl.SSLContext | None,
) -> asyncpg.Connection:
    """With `prefer`, once more without TLS if TLS failed. Clauses: OPS-31."""
    try:
        return await attempt(tls)
    except (OSError, PostgresError) as error:
        if url.sslmode != "prefer" or not _refuses_tls(error):
            raise
    return await attempt(None)


def _refuses_tls(error: BaseException) -> bool:
    if isinstance(error, PostgresError):
        # The server lets this user in without TLS only.
        return bool(error.sqlstate == "28000")
    if isinstance(error, ConnectionRefusedError) or error.args == (HUNG_UP,):
        return False
    return isinstance(error, ssl.SSLError | ConnectionError)


def _reason(error: BaseException, url: PostgresUrl) -> str:
    """Why there is no connection, in the server's words or in the contract's. Clauses: OPS-17."""
    # What asyncpg says of itself has no severity.
    if isinstance(error, PostgresError) and error.severity:
        said = str(error.args[0])
        line = said.replace("\r", "\n").partition("\n")[0]
        return POOLER if "unsupported startup parameter" in said else line or SAYS_NOTHING
    if isinstance(error, ssl.SSLCertVerificationError):
        other_host = error.verify_code in OTHER_HOST
        return f"The server's certificate is not {f'for {url.host}' if other_host else 'trusted'}."
    if url.sslmode not in ("disable", "prefer") and _refuses_tls(error):
        return f"The server offers no TLS, which sslmode={url.sslmode} asks for."
    # The latter for what can't be a name.
    if isinstance(error, socket.gaierror | UnicodeError):
        return f"There is no host {url.host}."
    return f"Nobody answers at port {url.port} of {url.host}."


def _moment(text: str) -> str:
    return timestamp(datetime.fromisoformat(text))


def is_unique_violation(error: Exception) -> bool:
    return isinstance(error, asyncpg.UniqueViolationError)


def is_unavailable(error: Exception) -> bool:
    return isinstance(error, LostError) or (
        isinstance(error, PostgresError) and error.sqlstate.startswith(LOST)
    )
