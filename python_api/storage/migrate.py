"""The schema's version: one record for both services, one lock, and the steps that are missing.

The record is Alembic's own table under a name that favours nobody. The steps are run from here and
not by Alembic's command line, because its twin has to keep the same record.
"""

from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

VERSION_TABLE = "schema_version"
STEPS = Path(__file__).parent / "migrations"

# The advisory lock that whoever prepares a PostgreSQL database holds; any number will do, if it
# is the same in all services (OPS-16).
LOCK = 7_249_811_404


class SchemaError(Exception):
    """The database's schema is newer than this service knows."""


def migrate(connection: Connection) -> None:
    """Run the steps that are missing, in the transaction that holds the lock.

    Raises SchemaError if the database is newer than the newest step.

    Clauses: OPS-05, OPS-17.
    """
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    script = ScriptDirectory(STEPS, version_locations=[str(STEPS)])
    newest = script.get_current_head()
    version = context.get_current_revision()
    known = [step.revision for step in script.walk_revisions()]
    if version is not None and version not in known:
        raise SchemaError(
            f"The database has the schema version {version}, this service knows {newest} at most."
        )
    missing = [*script.iterate_revisions("head", version or "base")]
    with Operations.context(context):
        for step in reversed(missing):
            step.module.upgrade()
    # Changes nothing where nothing is missing (OPS-37).
    context.stamp(script, "head")
