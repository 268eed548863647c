/**
 * Users and idempotency keys.
 *
 * Databases of the time before versions were kept have these tables already.
 */

import { type Kysely, sql } from "kysely";
import { isPostgres } from "../tables.ts";

// An index that finds a `q` in the middle of a text: only where the extension is at hand, and may
// be installed by the owner of the database.
const HAS_TRIGRAMS = sql<{ exists: boolean }>`
SELECT EXISTS (
  SELECT FROM pg_available_extension_versions
  WHERE name = 'pg_trgm' AND trusted AND has_database_privilege(current_database(), 'CREATE')
)
`;

/**
 * From an empty database to version 0001.
 *
 * @clauses OPS-13, REP-09, UNIQ-01, UNIQ-07, USR-CREATE-08, USR-LIST-08
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  const postgres = isPostgres(db);
  const integer = postgres ? "bigint" : "integer";
  const text = postgres ? sql`text collate "C"` : "text";
  const timestamp = postgres ? "timestamptz(3)" : "text";
  await db.schema
    .createTable("idempotency_keys")
    .ifNotExists()
    .addColumn("key_hash", text, (column) => column.notNull().primaryKey())
    .addColumn("body_hash", text, (column) => column.notNull())
    .addColumn("response", text, (column) => column.notNull())
    .addColumn("expires_at", timestamp, (column) => column.notNull())
    .execute();
  await db.schema
    .createIndex("ix_idempotency_keys_expires_at")
    .ifNotExists()
    .on("idempotency_keys")
    .column("expires_at")
    .execute();
  await db.schema
    .createTable("users")
    .ifNotExists()
    .addColumn("id", integer, (column) =>
      // SQLite would give the id of the newest user again after its deletion.
      (postgres ? column.generatedAlwaysAsIdentity() : column.autoIncrement())
        .notNull()
        .primaryKey(),
    )
    .addColumn("name", text, (column) => column.notNull())
    .addColumn("name_lower", text, (column) => column.notNull())
    .addColumn("email", text, (column) => column.notNull().unique())
    .addColumn("created_at", timestamp, (column) => column.notNull())
    .addColumn("updated_at", timestamp, (column) => column.notNull())
    .addColumn("version", integer, (column) => column.notNull())
    .execute();
  for (const name of ["name", "created_at"]) {
    await db.schema
      .createIndex(`ix_users_${name}`)
      .ifNotExists()
      .on("users")
      .columns([name, "id"])
      .execute();
  }
  if (postgres && (await HAS_TRIGRAMS.execute(db)).rows[0]?.exists) {
    await sql`CREATE EXTENSION IF NOT EXISTS pg_trgm`.execute(db);
    await sql`
      CREATE INDEX IF NOT EXISTS ix_users_q ON users
      USING gin (name_lower gin_trgm_ops, email gin_trgm_ops)
    `.execute(db);
  }
}
