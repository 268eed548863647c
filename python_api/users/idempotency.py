"""Idempotency keys: the first 201 to a key is kept, in the same commit as the user it created.

The table gives nothing away to someone who guesses at bodies: of the key only a hash is kept,
and the hash of the body is keyed with the key itself.
"""

import hashlib
import hmac
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.sqlite import insert

from python_api.database import Connection
from python_api.observability import timestamp
from python_api.problems import Problem
from python_api.tables import idempotency_keys
from python_api.users.schemas import User


async def claim_key(
    connection: Connection, key: str, body: bytes, now: datetime, ttl: int
) -> User | None:
    """Claim the key for `ttl` seconds from `now`; gives the user that was created under it, if any.

    Raises idempotency-key-reused when that was done with another body. Of concurrent requests
    with one key the first holds the row until its commit, and the others wait for it here.
    """
    table = idempotency_keys
    key_hash, body_hash = _hashes(key, body)
    await connection.execute(delete(table).where(table.c.expires_at <= timestamp(now)))
    claim = insert(table).on_conflict_do_nothing()
    result = await connection.execute(
        claim.values(
            key_hash=key_hash,
            body_hash=body_hash,
            response="",
            expires_at=timestamp(now + timedelta(seconds=ttl)),
        )
    )
    if result.rowcount:
        return None
    kept = await connection.execute(select(table).where(table.c.key_hash == key_hash))
    row = kept.one()
    if row.body_hash != body_hash:
        raise Problem("idempotency-key-reused")
    return User.model_validate_json(row.response)


async def keep_response(connection: Connection, key: str, user: User) -> None:
    """Keep the user that was created under a claimed key, as it is now, to be given again."""
    key_hash, _ = _hashes(key, b"")
    table = idempotency_keys
    kept = update(table).where(table.c.key_hash == key_hash)
    await connection.execute(kept.values(response=user.model_dump_json()))


def _hashes(key: str, body: bytes) -> tuple[str, str]:
    name = key.encode("ascii")
    return (
        hashlib.sha256(name).hexdigest(),
        hmac.new(name, body, hashlib.sha256).hexdigest(),
    )
