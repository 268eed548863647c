"""Failed logins, counted in the database so that all services count together.

Of each email and each address the moments of its last failures are kept, under a hash of it: the
table gives away neither whom somebody tried nor who did.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import BindParameter, bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from python_api.http.problems import Problem
from python_api.operation.observability import timestamp
from python_api.settings import Settings
from python_api.storage.database import Connection
from python_api.storage.tables import login_failures

SWEPT = 10

TABLE = login_failures
KEY_HASH: BindParameter[str] = bindparam("key_hash")
FAILED_AT = select(TABLE.c.key_hash, TABLE.c.failed_at).where(
    TABLE.c.key_hash.in_(bindparam("hashes", expanding=True))
)
# Locks the row until the commit, without a change; creates it if need be.
HOLD = (
    insert(TABLE)
    .values(key_hash=KEY_HASH, failed_at="[]", expires_at=bindparam("over"))
    .on_conflict_do_update(index_elements=["key_hash"], set_={"key_hash": KEY_HASH})
    .returning(TABLE.c.failed_at)
)
KEEP = (
    update(TABLE)
    .where(TABLE.c.key_hash == KEY_HASH)
    .values(failed_at=bindparam("failed_at"), expires_at=bindparam("over"))
)
# Rows that another transaction has locked are skipped, as with idempotency keys (LIMIT-09).
EXPIRED_ROWS = (
    select(TABLE.c.key_hash)
    .where(TABLE.c.expires_at <= bindparam("now"))
    .order_by(TABLE.c.expires_at)
    .limit(SWEPT)
    .with_for_update(skip_locked=True)
)
DELETE_EXPIRED = delete(TABLE).where(TABLE.c.key_hash.in_(EXPIRED_ROWS))


@dataclass(frozen=True, slots=True)
class Suspect:
    """Who is counted, an email or an address, and how many within how long are too many."""

    key_hash: str
    limit: int
    window: int
    """Seconds."""
    problem: str = "too-many-failures"


def suspects(email: str, address: str, settings: Settings) -> list[Suspect]:
    """Whom a failed login counts against; rows are locked in this order, so no two deadlock.

    Clauses: LIMIT-01, LIMIT-02, LIMIT-10.
    """
    window = settings.login_failures_window
    return [
        Suspect(_hash(f"email {email}"), settings.login_failures_per_email, window),
        Suspect(_hash(f"address {address}"), settings.login_failures_per_address, window),
    ]


def registrant(address: str, settings: Settings) -> Suspect:
    """Whom a creation without a token counts against; counted like a failed login.

    Clauses: LIMIT-12, LIMIT-16.
    """
    return Suspect(
        _hash(f"registration {address}"),
        settings.registrations_per_address,
        settings.registrations_window,
        "too-many-registrations",
    )


async def refuse_locked(connection: Connection, whom: Sequence[Suspect], now: datetime) -> None:
    """Raise the suspect's problem if one of them has failed too often. Clauses: LIMIT-05."""
    hashes = [suspect.key_hash for suspect in whom]
    kept = dict(await connection.fetch(FAILED_AT, {"hashes": hashes}))
    for suspect in whom:
        _recent(kept.get(suspect.key_hash, "[]"), suspect, now)


async def refuse_guess(connection: Connection, whom: Sequence[Suspect], now: datetime) -> None:
    """Raise too-many-failures if one of them has failed too often by the end of what is under way.

    For the right password, which is a guess as well: failures that are being counted come first.

    Clauses: LIMIT-06.
    """
    for suspect in whom:
        await _hold(connection, suspect, now)


async def count_failure(connection: Connection, whom: Sequence[Suspect], now: datetime) -> None:
    """Lay a failure to them. Raises their problem, and counts none, where it is one too many.

    Each one's row is held until the commit, so of concurrent failures none is lost, and no more
    than the limit are told from a success.

    Clauses: LIMIT-01, LIMIT-03, LIMIT-04, LIMIT-06.
    """
    for suspect in whom:
        failed = [*await _hold(connection, suspect, now), _milliseconds(now)]
        kept = {"failed_at": json.dumps(failed), "over": _over(now, suspect)}
        await connection.execute(KEEP, {"key_hash": suspect.key_hash, **kept})
    await connection.execute(DELETE_EXPIRED, {"now": timestamp(now)})


async def _hold(connection: Connection, suspect: Suspect, now: datetime) -> list[int]:
    """Hold the suspect's row, and give the failures that count. Raises the suspect's problem."""
    row = {"key_hash": suspect.key_hash, "over": _over(now, suspect)}
    ((failed_at,),) = await connection.fetch(HOLD, row)
    return _recent(failed_at, suspect, now)


def _over(now: datetime, suspect: Suspect) -> str:
    return timestamp(now + timedelta(seconds=suspect.window))


def _recent(failed_at: str, suspect: Suspect, now: datetime) -> list[int]:
    """The failures that still count, as milliseconds. Raises the suspect's problem.

    Clauses: LIMIT-01, LIMIT-05, LIMIT-14.
    """
    window = suspect.window * 1000
    failed: list[int] = [
        moment for moment in json.loads(failed_at) if moment > _milliseconds(now) - window
    ]
    if len(failed) >= suspect.limit:
        free = failed[-suspect.limit] + window
        # At most the window: the last failure may have been counted after this one was judged.
        seconds = min(math.ceil((free - _milliseconds(now)) / 1000), suspect.window)
        raise Problem(suspect.problem, headers={"Retry-After": str(seconds)})
    return failed


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
