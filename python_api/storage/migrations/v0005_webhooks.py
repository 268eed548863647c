"""Webhooks."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"

BIG_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
TIMESTAMP = sa.Text().with_variant(postgresql.TIMESTAMP(timezone=True, precision=3), "postgresql")


def upgrade() -> None:
    """From version 0004 to version 0005. Clauses: HOOK-01, HOOK-25, OPS-05, OPS-13."""
    op.create_table(
        "webhooks",
        sa.Column("id", BIG_INTEGER, sa.Identity(always=True), primary_key=True, nullable=False),
        sa.Column("url", TEXT, nullable=False),
        sa.Column("types", TEXT, nullable=False),
        sa.Column("secret", TEXT, nullable=False),
        sa.Column("position", BIG_INTEGER, nullable=False),
        sa.Column("created_at", TIMESTAMP, nullable=False),
        sa.Column("ended_at", TIMESTAMP),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "deliveries",
        sa.Column(
            "webhook_id",
            BIG_INTEGER,
            sa.ForeignKey("webhooks.id", ondelete="CASCADE"),
            primary_key=True,
            nullable=False,
        ),
        sa.Column(
            "position",
            BIG_INTEGER,
            sa.ForeignKey("events.position", ondelete="CASCADE"),
            primary_key=True,
            nullable=False,
        ),
        sa.Column("user_id", BIG_INTEGER, nullable=False),
        sa.Column("attempts", BIG_INTEGER, nullable=False),
        sa.Column("outcome", TEXT),
        sa.Column("due_at", TIMESTAMP),
    )
    op.create_index("ix_deliveries_due", "deliveries", ["webhook_id", "due_at", "position"])
    op.create_index("ix_deliveries_user", "deliveries", ["webhook_id", "user_id", "position"])
    op.create_index("ix_deliveries_position", "deliveries", ["position"])
    op.create_index(
        "ix_deliveries_failed",
        "deliveries",
        ["webhook_id", "user_id", "due_at"],
        sqlite_where=sa.text("outcome IS NOT NULL"),
        postgresql_where=sa.text("outcome IS NOT NULL"),
    )
