"""Idempotency keys: the first 201 to a key is kept, in the same commit as the user it created.

The table gives nothing away to someone who guesses at bodies: of the key only a hash is kept,
and the hash of the body is keyed with the key itself.
"""

import hashlib
import hmac
import re
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import Request
from sqlalchemy import bindparam, delete, literal, select, update
from sqlalchemy.dialects.postgresql import insert

from python_api.auth.guard import Caller
from python_api.http.problems import Problem
from python_api.http.readers import Reader
from python_api.http.requests import header, malformed_header
from python_api.operation.observability import timestamp
from python_api.storage.database import Connection
from python_api.storage.tables import idempotency_keys
from python_api.users.schemas import User, UserJson

# The last is no comma: a second field that is empty would leave one there (IDEM-07).
KEY = re.compile(r"[!-~]{0,254}[!-+\--~]")
SWEPT = 10

TABLE = idempotency_keys
SAME_KEY = TABLE.c.key_hash == bindparam("key_hash")
EXPIRED = TABLE.c.expires_at <= bindparam("now")
NEW_KEY: dict[Any, Any] = {column: bindparam(column.name) for column in TABLE.c}
# A key whose time is over is as free as one that nobody used. SQLite's dialect writes PostgreSQL's
# ON CONFLICT as its own: the two are the same (IDEM-12, IDEM-13).
CLAIM_KEY = (
    insert(TABLE)
    .values(NEW_KEY)
    .on_conflict_do_update(index_elements=["key_hash"], set_=NEW_KEY, where=EXPIRED)
)
KEPT_ANSWER = select(TABLE.c.body_hash, TABLE.c.response).where(SAME_KEY)
IS_KEPT = select(literal(1)).where(SAME_KEY, ~EXPIRED)
KEEP_ANSWER = update(TABLE).where(SAME_KEY).values(response=bindparam("response"))
# Those that another transaction holds are left to it: waiting for each other, two could wait for
# ever. SQLite, which has one writer at a time, has no word for that and needs none (IDEM-17).
EXPIRED_KEYS = (
    select(TABLE.c.key_hash)
    .where(EXPIRED)
    .order_by(TABLE.c.expires_at)
    .limit(SWEPT)
    .with_for_update(skip_locked=True)
)
DELETE_EXPIRED = delete(TABLE).where(TABLE.c.key_hash.in_(EXPIRED_KEYS))


async def _read_key(request: Request) -> str | None:
    """The `Idempotency-Key`, if one was sent. Raises malformed-header.

    Clauses: IDEM-07, IDEM-11, PROB-14.
    """
    key = header(request.headers, "idempotency-key")
    if key is not None and not KEY.fullmatch(key):
        raise malformed_header("Idempotency-Key")
    return key


IdempotencyKey = Annotated[
    str | None,
    Reader(
        _read_key,
        {
            "parameters": [
                {
                    "name": "Idempotency-Key",
                    "in": "header",
                    "description": "The first 201 to this key is given again to the same body "
                    "for a while.",
                    "schema": {"type": "string", "pattern": f"^{KEY.pattern}$"},
                    "example": "9f1c6f0e-0b0a-4c55-8f6e-6a1f4f0c2f37",
                }
            ],
            "x-problems": [malformed_header("Idempotency-Key")],
        },
    ),
]


def scoped_key(key: str | None, caller: Caller | None) -> str | None:
    """The key as it is kept, so that everybody has their own: no key that is sent has a space.

    Clauses: IDEM-18.
    """
    return f"{caller.id} {key}" if key and caller else key


async def is_kept(connection: Connection, key: str, now: datetime) -> bool:
    """Whether there is an answer to this key. Clauses: LIMIT-15."""
    key_hash, _ = _hashes(key, b"")
    return bool(await connection.fetch(IS_KEPT, {"key_hash": key_hash, "now": timestamp(now)}))


async def claim_key(
    connection: Connection, key: str, body: bytes, now: datetime, ttl: int
) -> User | None:
    """Claim the key for `ttl` seconds from `now`; gives the user that was created under it, if any.

    Raises idempotency-key-reused when that was done with another body. Of concurrent requests
    with one key the first holds the row until its commit, and the others wait for it here.

    Clauses: IDEM-02, IDEM-04, IDEM-05, IDEM-12, IDEM-15, OPS-23, PROB-17.
    """
    key_hash, body_hash = _hashes(key, body)
    claim = {
        "key_hash": key_hash,
        "body_hash": body_hash,
        "response": "",
        "expires_at": timestamp(now + timedelta(seconds=ttl)),
        "now": timestamp(now),
    }
    if await connection.execute(CLAIM_KEY, claim):
        # A few more than one, so that they never pile up (IDEM-17).
        await connection.execute(DELETE_EXPIRED, {"now": timestamp(now)})
        return None
    ((kept_body, response),) = await connection.fetch(KEPT_ANSWER, {"key_hash": key_hash})
    if kept_body != body_hash:
        raise Problem("idempotency-key-reused")
    return UserJson.validate_json(response)


async def keep_response(connection: Connection, key: str, user: User) -> None:
    """Keep the user that was created under a claimed key, as it is now, to be given again.

    Clauses: IDEM-04, IDEM-15.
    """
    key_hash, _ = _hashes(key, b"")
    response = UserJson.dump_json(user).decode("utf-8")
    await connection.execute(KEEP_ANSWER, {"key_hash": key_hash, "response": response})


def _hashes(key: str, body: bytes) -> tuple[str, str]:
    """What is kept of the key and of the body. Clauses: IDEM-06, IDEM-16."""
    name = key.encode("ascii")
    return hashlib.sha256(name).hexdigest(), hmac.new(name, body, hashlib.sha256).hexdigest()
