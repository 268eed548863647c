"""Events."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"

BIG_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
TIMESTAMP = sa.Text().with_variant(postgresql.TIMESTAMP(timezone=True, precision=3), "postgresql")


def upgrade() -> None:
    """From version 0003 to version 0004. Clauses: EVENT-03, OPS-05, OPS-13."""
    op.create_table(
        "events",
        sa.Column(
            "number", BIG_INTEGER, sa.Identity(always=True), primary_key=True, nullable=False
        ),
        sa.Column("position", BIG_INTEGER, unique=True),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("user_id", BIG_INTEGER, nullable=False),
        sa.Column("time", TIMESTAMP, nullable=False),
        sa.Column("data", TEXT, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_user_id", "events", ["user_id", "position"])
    op.create_index(
        "ix_events_waiting",
        "events",
        ["number"],
        sqlite_where=sa.text("position IS NULL"),
        postgresql_where=sa.text("position IS NULL"),
    )
    positions = op.create_table("event_positions", sa.Column("last", BIG_INTEGER, nullable=False))
    op.bulk_insert(positions, [{"last": 0}])
