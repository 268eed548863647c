/** The tables, once. Text sorts by code point; timestamps are RFC 3339 text in UTC. */

import type { Generated, Kysely } from "kysely";

export interface Tables {
  users: {
    id: Generated<number>;
    name: string;
    /** The name as `q` is compared with it, in the application's lower case. */
    name_lower: string;
    email: string;
    created_at: string;
    updated_at: string;
    version: number;
  };
  idempotency_keys: {
    key_hash: string;
    body_hash: string;
    /** The user as it was answered; empty only inside the transaction that creates it. */
    response: string;
    expires_at: string;
  };
}

/** Create what isn't there yet. */
export async function createTables(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable("idempotency_keys")
    .ifNotExists()
    .addColumn("key_hash", "text", (column) => column.notNull().primaryKey())
    .addColumn("body_hash", "text", (column) => column.notNull())
    .addColumn("response", "text", (column) => column.notNull())
    .addColumn("expires_at", "text", (column) => column.notNull())
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
    // An id is never used again, not even that of the last user after its deletion.
    .addColumn("id", "integer", (column) => column.notNull().primaryKey().autoIncrement())
    .addColumn("name", "text", (column) => column.notNull())
    .addColumn("name_lower", "text", (column) => column.notNull())
    .addColumn("email", "text", (column) => column.notNull().unique())
    .addColumn("created_at", "text", (column) => column.notNull())
    .addColumn("updated_at", "text", (column) => column.notNull())
    .addColumn("version", "integer", (column) => column.notNull())
    .execute();
}
