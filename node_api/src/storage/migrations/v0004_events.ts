/** Events. */

import { type Kysely, sql } from "kysely";
import { isPostgres } from "../tables.ts";

/** From version 0003 to version 0004. @clauses EVENT-03, OPS-05, OPS-13 */
export async function up(db: Kysely<{ event_positions: { last: number } }>): Promise<void> {
  const postgres = isPostgres(db);
  const integer = postgres ? "bigint" : "integer";
  const text = postgres ? sql`text collate "C"` : "text";
  const timestamp = postgres ? "timestamptz(3)" : "text";
  await db.schema
    .createTable("events")
    .addColumn("number", integer, (column) =>
      (postgres ? column.generatedAlwaysAsIdentity() : column.autoIncrement())
        .notNull()
        .primaryKey(),
    )
    .addColumn("position", integer, (column) => column.unique())
    .addColumn("type", text, (column) => column.notNull())
    .addColumn("user_id", integer, (column) => column.notNull())
    .addColumn("time", timestamp, (column) => column.notNull())
    .addColumn("data", text, (column) => column.notNull())
    .execute();
  await db.schema
    .createIndex("ix_events_user_id")
    .on("events")
    .columns(["user_id", "position"])
    .execute();
  await db.schema
    .createIndex("ix_events_waiting")
    .on("events")
    .column("number")
    .where(sql.ref("position"), "is", null)
    .execute();
  await db.schema
    .createTable("event_positions")
    .addColumn("last", integer, (column) => column.notNull())
    .execute();
  await db.insertInto("event_positions").values({ last: 0 }).execute();
}
