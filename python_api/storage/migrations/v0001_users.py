"""Users and idempotency keys.

Databases of the time before versions were kept have these tables already.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

BIG_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# Sorted by code point (USR-LIST-08).
TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
TIMESTAMP = sa.Text().with_variant(postgresql.TIMESTAMP(timezone=True, precision=3), "postgresql")

# An index that finds a `q` in the middle of a text: only where the extension is at hand, and may
# be installed by the owner of the database.
HAS_TRIGRAMS = """
SELECT EXISTS (
  SELECT FROM pg_available_extension_versions
  WHERE name = 'pg_trgm' AND trusted AND has_database_privilege(current_database(), 'CREATE')
)
"""


def upgrade() -> None:
    """From an empty database to version 0001.

    Clauses: OPS-13, REP-09, UNIQ-01, UNIQ-07, USR-CREATE-08.
    """
    op.create_table(
        "idempotency_keys",
        sa.Column("key_hash", TEXT, primary_key=True, nullable=False),
        sa.Column("body_hash", TEXT, nullable=False),
        sa.Column("response", TEXT, nullable=False),
        sa.Column("expires_at", TIMESTAMP, nullable=False),
        if_not_exists=True,
    )
    op.create_index(
        "ix_idempotency_keys_expires_at", "idempotency_keys", ["expires_at"], if_not_exists=True
    )
    op.create_table(
        "users",
        sa.Column("id", BIG_INTEGER, sa.Identity(always=True), primary_key=True, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("name_lower", TEXT, nullable=False),
        sa.Column("email", TEXT, nullable=False, unique=True),
        sa.Column("created_at", TIMESTAMP, nullable=False),
        sa.Column("updated_at", TIMESTAMP, nullable=False),
        sa.Column("version", BIG_INTEGER, nullable=False),
        if_not_exists=True,
        # SQLite would give the id of the newest user again after its deletion (REP-09).
        sqlite_autoincrement=True,
    )
    op.create_index("ix_users_name", "users", ["name", "id"], if_not_exists=True)
    op.create_index("ix_users_created_at", "users", ["created_at", "id"], if_not_exists=True)
    connection = op.get_bind()
    if connection.dialect.name == "postgresql" and connection.scalar(sa.text(HAS_TRIGRAMS)):
        op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        op.execute(
            "CREATE INDEX IF NOT EXISTS ix_users_q ON users "
            "USING gin (name_lower gin_trgm_ops, email gin_trgm_ops)"
        )
