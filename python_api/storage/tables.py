"""The tables, as statements need them; `migrations` makes them. Text sorts by code point."""

from sqlalchemy import BigInteger, Column, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import TIMESTAMP

# RFC 3339 text in UTC, which SQLite keeps as it is and PostgreSQL as a moment (REP-04, OPS-15).
MOMENT = Text().with_variant(TIMESTAMP(timezone=True, precision=3), "postgresql")

metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("name", Text),
    # The name as `q` is compared with it, in the application's lower case.
    Column("name_lower", Text),
    Column("email", Text),
    Column("created_at", MOMENT),
    Column("updated_at", MOMENT),
    Column("version", BigInteger),
    Column("role", Text),
    # A PHC string; null where there is no password.
    Column("password_hash", Text),
    # How often the password or the role has changed, from 1.
    Column("token_epoch", BigInteger),
)

login_failures = Table(
    "login_failures",
    metadata,
    # Of an email or an address.
    Column("key_hash", Text, primary_key=True),
    # JSON: the moments of the last failures, in milliseconds.
    Column("failed_at", Text),
    Column("expires_at", MOMENT),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key_hash", Text, primary_key=True),
    Column("body_hash", Text),
    # The user as it was answered; empty only inside the transaction that creates it.
    Column("response", Text),
    Column("expires_at", MOMENT),
)

# What happened to users. An event is written without a position and gets it when it is read.
events = Table(
    "events",
    metadata,
    # In the order in which they were written; where writes failed, numbers are missing.
    Column("number", BigInteger, primary_key=True),
    # In the order in which they are read, without a gap; null as long as nobody has.
    Column("position", BigInteger),
    Column("type", Text),
    Column("user_id", BigInteger),
    Column("time", MOMENT),
    # JSON, as clients see it.
    Column("data", Text),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("url", Text),
    # JSON: the types of events that are sent.
    Column("types", Text),
    Column("secret", Text),
    # Up to where events have deliveries.
    Column("position", BigInteger),
    Column("created_at", MOMENT),
    # Null until the endpoint wants no more.
    Column("ended_at", MOMENT),
)

# What is still to be sent.
deliveries = Table(
    "deliveries",
    metadata,
    Column("webhook_id", BigInteger, primary_key=True),
    # Of the event.
    Column("position", BigInteger, primary_key=True),
    Column("user_id", BigInteger),
    Column("attempts", BigInteger),
    # Of the last attempt; null before its end.
    Column("outcome", Text),
    # When the next attempt may begin, or the one under way is given up; null when it is dead.
    Column("due_at", MOMENT),
)

# One row, whose lock whoever gives positions holds.
event_positions = Table(
    "event_positions",
    metadata,
    # The highest that was given, whether or not that event is still kept.
    Column("last", BigInteger),
)
