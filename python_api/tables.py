"""The tables, once. Text sorts by code point; timestamps are RFC 3339 text in UTC."""

from sqlalchemy import Column, Integer, MetaData, Table, Text

metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    # The name as `q` is compared with it, in the application's lower case.
    Column("name_lower", Text, nullable=False),
    Column("email", Text, nullable=False, unique=True),
    Column("created_at", Text, nullable=False),
    Column("updated_at", Text, nullable=False),
    Column("version", Integer, nullable=False),
    # An id is never used again, not even that of the last user after its deletion.
    sqlite_autoincrement=True,
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key_hash", Text, primary_key=True, nullable=False),
    Column("body_hash", Text, nullable=False),
    # The user as it was answered; empty only inside the transaction that creates it.
    Column("response", Text, nullable=False),
    Column("expires_at", Text, nullable=False, index=True),
)
