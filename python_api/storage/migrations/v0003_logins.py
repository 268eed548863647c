"""Failed logins."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"

# Sorted by code point (USR-LIST-08).
TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
TIMESTAMP = sa.Text().with_variant(postgresql.TIMESTAMP(timezone=True, precision=3), "postgresql")


def upgrade() -> None:
    """From version 0002 to version 0003. Clauses: LIMIT-09, OPS-05, OPS-13."""
    op.create_table(
        "login_failures",
        sa.Column("key_hash", TEXT, primary_key=True, nullable=False),
        sa.Column("failed_at", TEXT, nullable=False),
        sa.Column("expires_at", TIMESTAMP, nullable=False),
    )
    op.create_index("ix_login_failures_expires_at", "login_failures", ["expires_at"])
