/**
 * What a good team writes in Hono: @hono/zod-openapi's routes, and Drizzle.
 *
 * After Drizzle's documentation ("Performance": queries prepared once) and Hono's ("Zod OpenAPI":
 * routes with schemas, which validate what comes in; "Node.js").
 */

import { serve } from "@hono/node-server";
import { createRoute, OpenAPIHono, z } from "@hono/zod-openapi";
import Sqlite from "better-sqlite3";
import { eq, sql } from "drizzle-orm";
import { drizzle as drizzleSqlite } from "drizzle-orm/better-sqlite3";
import { drizzle as drizzlePostgres } from "drizzle-orm/node-postgres";
import * as pg from "drizzle-orm/pg-core";
import * as lite from "drizzle-orm/sqlite-core";
import { Pool } from "pg";

const User = z
  .object({
    id: z.int(),
    name: z.string(),
    email: z.string(),
    role: z.string(),
    created_at: z.iso.datetime(),
    updated_at: z.iso.datetime(),
    version: z.int(),
  })
  .openapi("User");

const NewUser = z
  .object({
    name: z.string().trim().min(1).max(100),
    email: z.email().max(254).toLowerCase(),
  })
  .openapi("NewUser");
type NewUser = z.infer<typeof NewUser>;

const Failure = z.object({ detail: z.string() }).openapi("Failure");

function openPostgres(connectionString: string) {
  const users = pg.pgTable("users", {
    id: pg.bigint({ mode: "number" }).primaryKey().generatedAlwaysAsIdentity(),
    name: pg.text().notNull(),
    name_lower: pg.text().notNull(),
    email: pg.text().notNull().unique(),
    role: pg.text().notNull().default("member"),
    created_at: pg.timestamp({ precision: 3, withTimezone: true }).notNull(),
    updated_at: pg.timestamp({ precision: 3, withTimezone: true }).notNull(),
    version: pg.bigint({ mode: "number" }).notNull(),
    password_hash: pg.text(),
    token_epoch: pg.bigint({ mode: "number" }).notNull().default(1),
  });
  const { id, name, email, role, created_at, updated_at, version } = users;
  const columns = { id, name, email, role, created_at, updated_at, version };
  const max = Number(process.env["DATABASE_POOL_SIZE"] ?? 10);
  const db = drizzlePostgres({ client: new Pool({ connectionString, max }) });
  const one = db
    .select(columns)
    .from(users)
    .where(eq(id, sql.placeholder("id")));
  const first = db.select(columns).from(users).orderBy(id).limit(50);
  return {
    read: one.prepare("read_user"),
    list: first.prepare("list_users"),
    create: (fields: NewUser, now: Date) =>
      db
        .insert(users)
        .values({ ...fields, ...preset(fields), created_at: now, updated_at: now })
        .onConflictDoNothing()
        .returning(columns),
  };
}

function openSqlite(file: string) {
  const users = lite.sqliteTable("users", {
    id: lite.integer().primaryKey({ autoIncrement: true }),
    name: lite.text().notNull(),
    name_lower: lite.text().notNull(),
    email: lite.text().notNull().unique(),
    role: lite.text().notNull().default("member"),
    created_at: lite.text().notNull(),
    updated_at: lite.text().notNull(),
    version: lite.integer().notNull(),
    password_hash: lite.text(),
    token_epoch: lite.integer().notNull().default(1),
  });
  const { id, name, email, role, created_at, updated_at, version } = users;
  const columns = { id, name, email, role, created_at, updated_at, version };
  const client = new Sqlite(file);
  client.pragma("journal_mode = WAL");
  client.pragma("synchronous = FULL");
  const db = drizzleSqlite({ client });
  const one = db
    .select(columns)
    .from(users)
    .where(eq(id, sql.placeholder("id")));
  const first = db.select(columns).from(users).orderBy(id).limit(50);
  return {
    read: one.prepare(),
    list: first.prepare(),
    create: (fields: NewUser, now: Date) => {
      const moment = now.toISOString();
      return db
        .insert(users)
        .values({ ...fields, ...preset(fields), created_at: moment, updated_at: moment })
        .onConflictDoNothing()
        .returning(columns);
    },
  };
}

function preset({ name }: NewUser) {
  return { name_lower: name.toLowerCase(), version: 1 };
}

const url = process.env["DATABASE_URL"] ?? "";
const store = url.startsWith("sqlite:")
  ? openSqlite(url.slice("sqlite:///".length))
  : openPostgres(url);

function json<Schema extends z.ZodType>(schema: Schema, description: string) {
  return { description, content: { "application/json": { schema } } };
}

const readUser = createRoute({
  method: "get",
  path: "/users/{id}",
  request: {
    params: z.object({ id: z.coerce.number().int().positive() }),
    headers: z.object({ "if-none-match": z.string().optional() }),
  },
  responses: {
    200: json(User, "The user"),
    304: { description: "The user has not changed" },
    404: json(Failure, "There is no such user"),
  },
});

const listUsers = createRoute({
  method: "get",
  path: "/users",
  responses: { 200: json(z.array(User), "The first users") },
});

const createUser = createRoute({
  method: "post",
  path: "/users",
  request: { body: { ...json(NewUser, "The user"), required: true } },
  responses: {
    201: json(User, "The user"),
    409: json(Failure, "Another user has this email"),
  },
});

export const app = new OpenAPIHono();

app.openapi(readUser, async (c) => {
  const { id } = c.req.valid("param");
  const [user] = await store.read.execute({ id });
  if (!user) {
    return c.json({ detail: "User not found" }, 404);
  }
  const headers = { ETag: `"${user.version}"` };
  if (c.req.valid("header")["if-none-match"] === headers.ETag) {
    return c.body(null, 304, headers);
  }
  return c.json(user, 200, headers);
});

app.openapi(listUsers, async (c) => c.json(await store.list.execute(), 200));

app.openapi(createUser, async (c) => {
  const [user] = await store.create(c.req.valid("json"), new Date());
  if (!user) {
    return c.json({ detail: "Email taken" }, 409);
  }
  return c.json(user, 201, { ETag: `"${user.version}"` });
});

/** Serve an application until SIGTERM. */
export function listen({ fetch }: Pick<typeof app, "fetch">): void {
  const port = Number(process.env["PORT"] ?? 0);
  serve({ fetch, hostname: "127.0.0.1", port }, (address) => {
    const line = { message: "listening", url: `http://127.0.0.1:${address.port}` };
    process.stdout.write(`${JSON.stringify(line)}\n`);
  });
  process.on("SIGTERM", () => process.exit());
}

if (import.meta.main) {
  listen(app);
}
