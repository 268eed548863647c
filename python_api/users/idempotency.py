"""Idempotency keys: the first 201 to a key is kept, in the same commit as the user it created.

The table gives nothing away to someone who guesses at bodies: of the key only a hash is kept,
and the hash of the body is keyed with the key itself.
"""

import hashlib
import hmac
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert

from python_api.auth.guard import Caller
from python_api.database import Connection
from python_api.observability import timestamp
from python_api.problems import Problem
from python_api.tables import idempotency_keys
from python_api.users.schemas import User

SWEPT = 10


# IDEM-18
def scoped_key(key: str | None, caller: Caller | None) -> str | None:
    """The key as it is kept, so that everybody has their own: no key that is sent has a space."""
    return f"{caller.id} {key}" if key and caller else key


# IDEM-15, OPS-23
async def claim_key(
    connection: Connection, key: str, body: bytes, now: datetime, ttl: int
) -> User | None:
    """Claim the key for `ttl` seconds from `now`; gives the user that was created under it, if any.

    Raises idempotency-key-reused when that was done with another body. Of concurrent requests
    with one key the first holds the row until its commit, and the others wait for it here.
    """
    table = idempotency_keys
    key_hash, body_hash = _hashes(key, body)
    claim = {
        "key_hash": key_hash,
        "body_hash": body_hash,
        "response": "",
        # IDEM-12
        "expires_at": timestamp(now + timedelta(seconds=ttl)),
    }
    # SQLite's dialect writes PostgreSQL's ON CONFLICT as its own: the two are the same.
    statement = insert(table).values(claim)
    # IDEM-12, IDEM-13
    # A key whose time is over is as free as one that nobody used.
    statement = statement.on_conflict_do_update(
        index_elements=["key_hash"], set_=claim, where=table.c.expires_at <= timestamp(now)
    )
    result = await connection.execute(statement)
    # IDEM-17
    if result.rowcount:
        await _sweep(connection, now)
        return None
    kept = await connection.execute(select(table).where(table.c.key_hash == key_hash))
    row = kept.one()
    # IDEM-05, PROB-17
    if row.body_hash != body_hash:
        raise Problem("idempotency-key-reused")
    # IDEM-02, IDEM-04
    return User.model_validate_json(row.response)


# IDEM-04, IDEM-15
async def keep_response(connection: Connection, key: str, user: User) -> None:
    """Keep the user that was created under a claimed key, as it is now, to be given again."""
    key_hash, _ = _hashes(key, b"")
    table = idempotency_keys
    kept = update(table).where(table.c.key_hash == key_hash)
    await connection.execute(kept.values(response=user.model_dump_json()))


# IDEM-17
async def _sweep(connection: Connection, now: datetime) -> None:
    """Forget some keys whose time is over: a few more than one, so that they never pile up.

    Those that another transaction holds are left to it: waiting for each other, two could wait
    for ever. SQLite, which has one writer at a time, has no word for that and needs none.
    """
    table = idempotency_keys
    over = select(table.c.key_hash).where(table.c.expires_at <= timestamp(now))
    some = over.order_by(table.c.expires_at).limit(SWEPT).with_for_update(skip_locked=True)
    await connection.execute(delete(table).where(table.c.key_hash.in_(some)))


# IDEM-06, IDEM-16
def _hashes(key: str, body: bytes) -> tuple[str, str]:
    name = key.encode("ascii")
    return (
        hashlib.sha256(name).hexdigest(),
        hmac.new(name, body, hashlib.sha256).hexdigest(),
    )
