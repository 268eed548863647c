"""Deliveries without a foreign key to their event: who forgets events waits for no delivery."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """From version 0005 to version 0006. Clauses: HOOK-29, OPS-05, OPS-13."""
    if op.get_context().dialect.name == "postgresql":
        op.drop_constraint("deliveries_position_fkey", "deliveries")
        return
    # SQLite can only make a table anew.
    op.create_table(
        "new_deliveries",
        sa.Column(
            "webhook_id",
            sa.Integer,
            sa.ForeignKey("webhooks.id", ondelete="CASCADE"),
            primary_key=True,
            nullable=False,
        ),
        sa.Column("position", sa.Integer, primary_key=True, nullable=False),
        sa.Column("user_id", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("outcome", sa.Text),
        sa.Column("due_at", sa.Text),
    )
    op.execute("INSERT INTO new_deliveries SELECT * FROM deliveries")
    op.drop_table("deliveries")
    op.rename_table("new_deliveries", "deliveries")
    op.create_index("ix_deliveries_due", "deliveries", ["webhook_id", "due_at", "position"])
    op.create_index("ix_deliveries_user", "deliveries", ["webhook_id", "user_id", "position"])
    op.create_index("ix_deliveries_position", "deliveries", ["position"])
    op.create_index(
        "ix_deliveries_failed",
        "deliveries",
        ["webhook_id", "user_id", "due_at"],
        sqlite_where=sa.text("outcome IS NOT NULL"),
    )
