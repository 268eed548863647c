/** Deliveries without a foreign key to their event: who forgets events waits for no delivery. */

import { type Kysely, sql } from "kysely";
import { isPostgres } from "../tables.ts";

/** From version 0005 to version 0006. @clauses HOOK-29, OPS-05, OPS-13 */
export async function up(db: Kysely<unknown>): Promise<void> {
  if (isPostgres(db)) {
    await db.schema.alterTable("deliveries").dropConstraint("deliveries_position_fkey").execute();
    return;
  }
  // SQLite can only make a table anew.
  await db.schema
    .createTable("new_deliveries")
    .addColumn("webhook_id", "integer", (column) =>
      column.notNull().references("webhooks.id").onDelete("cascade"),
    )
    .addColumn("position", "integer", (column) => column.notNull())
    .addColumn("user_id", "integer", (column) => column.notNull())
    .addColumn("attempts", "integer", (column) => column.notNull())
    .addColumn("outcome", "text")
    .addColumn("due_at", "text")
    .addPrimaryKeyConstraint("deliveries_pkey", ["webhook_id", "position"])
    .execute();
  await sql`INSERT INTO new_deliveries SELECT * FROM deliveries`.execute(db);
  await db.schema.dropTable("deliveries").execute();
  await db.schema.alterTable("new_deliveries").renameTo("deliveries").execute();
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
