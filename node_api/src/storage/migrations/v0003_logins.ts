/** Failed logins. */

import { type Kysely, sql } from "kysely";
import { isPostgres } from "../tables.ts";

/** From version 0002 to version 0003. @clauses LIMIT-09, OPS-05, OPS-13, USR-LIST-08 */
export async function up(db: Kysely<unknown>): Promise<void> {
  const postgres = isPostgres(db);
  const text = postgres ? sql`text collate "C"` : "text";
  const timestamp = postgres ? "timestamptz(3)" : "text";
  await db.schema
    .createTable("login_failures")
    .addColumn("key_hash", text, (column) => column.notNull().primaryKey())
    .addColumn("failed_at", text, (column) => column.notNull())
    .addColumn("expires_at", timestamp, (column) => column.notNull())
    .execute();
  await db.schema
    .createIndex("ix_login_failures_expires_at")
    .on("login_failures")
    .column("expires_at")
    .execute();
}
