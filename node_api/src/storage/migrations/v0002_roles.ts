/**
 * Roles and passwords.
 *
 * What is there already gets the columns' defaults. They stay, so that a service of version 0001
 * that still runs can go on creating users.
 */

import { type Kysely, sql } from "kysely";
import { isPostgres } from "../tables.ts";

// The answers that are kept for idempotency keys have a role from now on, too. No name or email can
// hold what is looked for: a quotation mark in a text is written with a backslash (IDEM-04).
const ADD_ROLE = sql`
UPDATE idempotency_keys
SET response = replace(response, ',"created_at":', ',"role":"member","created_at":')
`;

/**
 * From version 0001 to version 0002.
 *
 * @clauses OPS-05, OPS-13, PASSWORD-11, PASSWORD-16, ROLE-03, USR-LIST-08
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  const postgres = isPostgres(db);
  const integer = postgres ? "bigint" : "integer";
  const text = postgres ? sql`text collate "C"` : "text";
  await db.schema
    .alterTable("users")
    .addColumn("role", text, (column) => column.notNull().defaultTo("member"))
    .execute();
  await db.schema.alterTable("users").addColumn("password_hash", text).execute();
  await db.schema
    .alterTable("users")
    .addColumn("token_epoch", integer, (column) => column.notNull().defaultTo(1))
    .execute();
  await ADD_ROLE.execute(db);
}
