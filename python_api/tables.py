"""The tables, as statements need them; `migrations` makes them. Text sorts by code point."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Dialect, MetaData, Table, Text, TypeDecorator
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.types import TypeEngine

from python_api.observability import timestamp


# REP-04, OPS-15
class Timestamp(TypeDecorator[str]):
    """RFC 3339 text in UTC, which SQLite keeps as it is and PostgreSQL as a moment."""

    impl = Text  # type: ignore[mutable-override]
    cache_ok = True  # type: ignore[mutable-override]

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The database's own type."""
        moments = dialect.name == "postgresql"
        return TIMESTAMP(timezone=True, precision=3) if moments else Text()

    def process_bind_param(self, value: str | None, dialect: Dialect) -> datetime | str | None:
        """What the driver gets."""
        moments = dialect.name == "postgresql"
        return datetime.fromisoformat(value) if moments and value else value

    def process_result_value(self, value: datetime | str | None, _: Dialect) -> str | None:
        """What the application gets."""
        return timestamp(value) if isinstance(value, datetime) else value


metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("name", Text),
    # The name as `q` is compared with it, in the application's lower case.
    Column("name_lower", Text),
    Column("email", Text),
    Column("created_at", Timestamp),
    Column("updated_at", Timestamp),
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
    Column("expires_at", Timestamp),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key_hash", Text, primary_key=True),
    Column("body_hash", Text),
    # The user as it was answered; empty only inside the transaction that creates it.
    Column("response", Text),
    Column("expires_at", Timestamp),
)
