"""The limit of Python: an ASGI application and the database's driver, with nothing between them.

After asyncpg's documentation (a pool, whose connections prepare statements once and keep them) and
SQLite's (the log in WAL; no server to wait for, so no other thread to ask).
"""

import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from json import JSONEncoder, loads
from typing import Any

import asyncpg

from benchmarks.peers.server import serve

COLUMNS = "id, name, email, role, created_at, updated_at, version"
READ = f"SELECT {COLUMNS} FROM users WHERE id = $1"
LIST = f"SELECT {COLUMNS} FROM users ORDER BY id LIMIT 50"
CREATE = f"""
INSERT INTO users
  (name, name_lower, email, created_at, updated_at, role, password_hash, version, token_epoch)
VALUES ($1, $2, $3, $4, $5, 'member', NULL, 1, 1)
ON CONFLICT (email) DO NOTHING
RETURNING {COLUMNS}
"""

# A statement and its values in, rows out.
Fetch = Callable[..., Awaitable[Sequence[Any]]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def timestamp(moment: datetime) -> str:
    return f"{moment.isoformat(timespec='milliseconds')[:-6]}Z"


encode = JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=timestamp).encode


@asynccontextmanager
async def open_postgres(url: str) -> AsyncIterator[Fetch]:
    size = int(os.environ.get("DATABASE_POOL_SIZE", "10"))
    pool = asyncpg.create_pool(
        url,
        min_size=size,
        max_size=size,
        # Connections stay, so none has to be timed.
        max_inactive_connection_lifetime=0,
        reset=leave,
    )
    async with pool:
        yield pool.fetch


async def leave(_: object) -> None:
    """Nothing here changes a session, so nothing has to be reset."""


@asynccontextmanager
async def open_sqlite(url: str) -> AsyncIterator[Fetch]:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    sqlite3.register_adapter(datetime, timestamp)

    async def fetch(statement: str, *values: object) -> Sequence[Any]:
        return connection.execute(statement.replace("$", "?"), values).fetchall()

    yield fetch
    connection.close()


def open_database(url: str) -> AbstractAsyncContextManager[Fetch]:
    return open_sqlite(url) if url.startswith("sqlite:") else open_postgres(url)


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """The ASGI application."""
    state = scope["state"]
    if scope["type"] == "lifespan":
        async with open_database(os.environ["DATABASE_URL"]) as state["fetch"]:
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    status, headers, body = await answer(scope, receive, state["fetch"])
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


Answer = tuple[int, list[tuple[bytes, bytes]], bytes]


async def answer(scope: dict[str, Any], receive: Receive, fetch: Fetch) -> Answer:
    match scope["method"], scope["path"].split("/"):
        case "GET", ["", "users", user_id] if user_id.isdecimal():
            rows = await fetch(READ, int(user_id))
            if not rows:
                return rendered(404, {"detail": "User not found"})
            tag = etag(rows[0])
            if dict(scope["headers"]).get(b"if-none-match") == tag:
                return 304, [(b"etag", tag)], b""
            return rendered(200, dict(rows[0]), (b"etag", tag))
        case "GET", ["", "users"]:
            return rendered(200, [dict(row) for row in await fetch(LIST)])
        case "POST", ["", "users"]:
            new = loads(await read(receive))
            now = datetime.now(UTC)
            rows = await fetch(CREATE, new["name"], new["name"].lower(), new["email"], now, now)
            if not rows:
                return rendered(409, {"detail": "Email taken"})
            return rendered(201, dict(rows[0]), (b"etag", etag(rows[0])))
    return rendered(404, {"detail": "Not found"})


async def read(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message["body"]
    while message["more_body"]:
        message = await receive()
        body += message["body"]
    return body


def etag(row: Any) -> bytes:
    return b'"%d"' % row["version"]


def rendered(status: int, value: object, *headers: tuple[bytes, bytes]) -> Answer:
    body = encode(value).encode()
    length = b"%d" % len(body)
    fields = [(b"content-type", b"application/json"), (b"content-length", length), *headers]
    return status, fields, body


if __name__ == "__main__":
    serve(app)
