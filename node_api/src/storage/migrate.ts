/**
 * The schema's version: one record for both services, one lock, and the steps that are missing.
 *
 * The steps are Kysely's migrations. They are run from here and not by its Migrator, because its
 * twin has to keep the same record, and that one is Alembic's table under a name that favours
 * nobody.
 */

import { type Kysely, sql } from "kysely";
import type { Migration } from "kysely/migration";
import * as users from "./migrations/v0001_users.ts";
import * as roles from "./migrations/v0002_roles.ts";
import * as logins from "./migrations/v0003_logins.ts";
import * as events from "./migrations/v0004_events.ts";
import * as webhooks from "./migrations/v0005_webhooks.ts";
import * as deliveries from "./migrations/v0006_deliveries.ts";

const VERSION_TABLE = "schema_version";
// In their order, by the version that each leads to.
const STEPS = new Map<string, Migration>([
  ["0001", users],
  ["0002", roles],
  ["0003", logins],
  ["0004", events],
  ["0005", webhooks],
  ["0006", deliveries],
]);

// The advisory lock that whoever prepares a PostgreSQL database holds; any number will do, if it
// is the same in all services (OPS-16).
export const LOCK = 7_249_811_404;

/** The database's schema is newer than this service knows. */
export class SchemaError extends Error {}

/**
 * Run the steps that are missing, in the transaction that holds the lock.
 *
 * Throws SchemaError if the database is newer than the newest step.
 *
 * @clauses OPS-05, OPS-17, OPS-37
 */
export async function migrate<T>(transaction: Kysely<T>): Promise<void> {
  const connection = transaction as unknown as Kysely<{ schema_version: { version_num: string } }>;
  const tables = await connection.introspection.getTables();
  if (
    !tables.some(({ name, schema }) => name === VERSION_TABLE && (schema ?? "public") === "public")
  ) {
    await connection.schema
      .createTable(VERSION_TABLE)
      .addColumn("version_num", sql`VARCHAR(32)`, (column) => column.notNull())
      .addPrimaryKeyConstraint("schema_version_pkc", ["version_num"])
      .execute();
  }
  const record = await connection.selectFrom(VERSION_TABLE).selectAll().executeTakeFirst();
  const versions = [...STEPS.keys()];
  const newest = versions.at(-1) ?? "";
  if (record && !STEPS.has(record.version_num)) {
    throw new SchemaError(
      `The database has the schema version ${record.version_num}, ` +
        `this service knows ${newest} at most.`,
    );
  }
  const missing = versions.slice(record ? versions.indexOf(record.version_num) + 1 : 0);
  for (const version of missing) {
    await STEPS.get(version)?.up(connection);
  }
  if (missing.length > 0) {
    await connection.deleteFrom(VERSION_TABLE).execute();
    await connection.insertInto(VERSION_TABLE).values({ version_num: newest }).execute();
  }
}
