"""Roles and passwords.

What is there already gets the columns' defaults. They stay, so that a service of version 0001 that
still runs can go on creating users.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

BIG_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# Sorted by code point (USR-LIST-08).
TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")

# The answers that are kept for idempotency keys have a role from now on, too. No name or email can
# hold what is looked for: a quotation mark in a text is written with a backslash (IDEM-04).
ADD_ROLE = """
UPDATE idempotency_keys
SET response = replace(response, ',"created_at":', ',"role":"member","created_at":')
"""


def upgrade() -> None:
    """From version 0001 to version 0002.

    Clauses: OPS-05, OPS-13, PASSWORD-11, PASSWORD-16, ROLE-03.
    """
    op.add_column("users", sa.Column("role", TEXT, nullable=False, server_default="member"))
    op.add_column("users", sa.Column("password_hash", TEXT, nullable=True))
    op.add_column(
        "users",
        sa.Column("token_epoch", BIG_INTEGER, nullable=False, server_default=sa.text("1")),
    )
    op.execute(ADD_ROLE)
