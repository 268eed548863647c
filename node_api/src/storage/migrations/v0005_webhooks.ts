/** Webhooks. */

import { type Kysely, sql } from "kysely";
import { isPostgres } from "../tables.ts";

/** From version 0004 to version 0005. @clauses HOOK-01, HOOK-25, OPS-05, OPS-13 */
export async function up(db: Kysely<unknown>): Promise<void> {
  const postgres = isPostgres(db);
  const integer = postgres ? "bigint" : "integer";
  const text = postgres ? sql`text collate "C"` : "text";
  const timestamp = postgres ? "timestamptz(3)" : "text";
  await db.schema
    .createTable("webhooks")
    .addColumn("id", integer, (column) =>
      (postgres ? column.generatedAlwaysAsIdentity() : column.autoIncrement())
        .notNull()
        .primaryKey(),
    )
    .addColumn("url", text, (column) => column.notNull())
    .addColumn("types", text, (column) => column.notNull())
    .addColumn("secret", text, (column) => column.notNull())
    .addColumn("position", integer, (column) => column.notNull())
    .addColumn("created_at", timestamp, (column) => column.notNull())
    .addColumn("ended_at", timestamp)
    .execute();
  await db.schema
    .createTable("deliveries")
    .addColumn("webhook_id", integer, (column) =>
      column.notNull().references("webhooks.id").onDelete("cascade"),
    )
    .addColumn("position", integer, (column) =>
      column.notNull().references("events.position").onDelete("cascade"),
    )
    .addColumn("user_id", integer, (column) => column.notNull())
    .addColumn("attempts", integer, (column) => column.notNull())
    .addColumn("outcome", text)
    .addColumn("due_at", timestamp)
    .addPrimaryKeyConstraint("deliveries_pkey", ["webhook_id", "position"])
    .execute();
  const indexes = {
    due: ["webhook_id", "due_at", "position"],
    user: ["webhook_id", "user_id", "position"],
    position: ["position"],
  };
  for (const [name, columns] of Object.entries(indexes)) {
    await db.schema
      .createIndex(`ix_deliveries_${name}`)
      .on("deliveries")
      .columns(columns)
      .execute();
  }
  await db.schema
    .createIndex("ix_deliveries_failed")
    .on("deliveries")
    .columns(["webhook_id", "user_id", "due_at"])
    .where(sql.ref("outcome"), "is not", null)
    .execute();
}
