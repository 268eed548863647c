/**
 * The limit of Node: its own HTTP server and the database's driver, with nothing between them.
 *
 * After the documentation of pg (a pool, and statements with a name, which each connection prepares
 * once) and of better-sqlite3 (the log in WAL, statements prepared once).
 */

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import Sqlite from "better-sqlite3";
import { Pool, types } from "pg";

type Row = Record<string, unknown>;
/** Values in, rows out. */
type Query = (...values: unknown[]) => Row[] | Promise<Row[]>;

const COLUMNS = "id, name, email, role, created_at, updated_at, version";
const READ = `SELECT ${COLUMNS} FROM users WHERE id = $1`;
const LIST = `SELECT ${COLUMNS} FROM users ORDER BY id LIMIT 50`;
const CREATE = `
INSERT INTO users
  (name, name_lower, email, created_at, updated_at, role, password_hash, version, token_epoch)
VALUES ($1, $2, $3, $4, $5, 'member', NULL, 1, 1)
ON CONFLICT (email) DO NOTHING
RETURNING ${COLUMNS}
`;

const PARAMETER = /\$\d/g;
const USER = /^\/users\/(\d+)$/;

/** The functions that run these statements. */
function openPostgres(url: string, statements: readonly string[]): Query[] {
  const max = Number(process.env["DATABASE_POOL_SIZE"] ?? 10);
  const pool = new Pool({ connectionString: url, max });
  types.setTypeParser(types.builtins.INT8, Number);
  return statements.map((text, index) => async (...values) => {
    const { rows } = await pool.query<Row>({ name: `s${index}`, text, values });
    return rows;
  });
}

/** The functions that run these statements. */
function openSqlite(url: string, statements: readonly string[]): Query[] {
  const database = new Sqlite(url.slice("sqlite:///".length));
  database.pragma("journal_mode = WAL");
  database.pragma("synchronous = FULL");
  return statements.map((text) => {
    const statement = database.prepare<unknown[], Row>(text.replace(PARAMETER, "?"));
    return (...values) => statement.all(...values);
  });
}

const databaseUrl = process.env["DATABASE_URL"] ?? "";
const open = databaseUrl.startsWith("sqlite:") ? openSqlite : openPostgres;
const [read, list, create] = open(databaseUrl, [READ, LIST, CREATE]) as [Query, Query, Query];

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { method, url: path = "" } = request;
  const id = USER.exec(path)?.[1];
  if (method === "GET" && id) {
    const [user] = await read(Number(id));
    if (!user) {
      send(response, 404, { detail: "User not found" });
    } else if (request.headers["if-none-match"] === etag(user)) {
      response.writeHead(304, { ETag: etag(user) }).end();
    } else {
      send(response, 200, user, { ETag: etag(user) });
    }
  } else if (method === "GET" && path === "/users") {
    send(response, 200, await list());
  } else if (method === "POST" && path === "/users") {
    const { name, email } = JSON.parse(await readBody(request));
    const now = new Date().toISOString();
    const [user] = await create(name, name.toLowerCase(), email, now, now);
    if (user) {
      send(response, 201, user, { ETag: etag(user) });
    } else {
      send(response, 409, { detail: "Email taken" });
    }
  } else {
    send(response, 404, { detail: "Not found" });
  }
}

function etag(user: Row): string {
  return `"${user["version"]}"`;
}

function send(response: ServerResponse, status: number, value: unknown, headers = {}): void {
  const body = JSON.stringify(value);
  response
    .writeHead(status, {
      "Content-Type": "application/json",
      "Content-Length": Buffer.byteLength(body),
      ...headers,
    })
    .end(body);
}

function readBody(request: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    let body = "";
    request.setEncoding("utf8");
    request.on("data", (chunk: string) => {
      body += chunk;
    });
    request.on("end", () => resolve(body));
    request.on("error", reject);
  });
}

const server = createServer((request, response) => {
  answer(request, response).catch(() => send(response, 500, { detail: "Internal error" }));
});
server.listen({ host: "127.0.0.1", port: Number(process.env["PORT"] ?? 0), backlog: 2048 }, () => {
  const { port } = server.address() as AddressInfo;
  const line = { message: "listening", url: `http://127.0.0.1:${port}` };
  process.stdout.write(`${JSON.stringify(line)}\n`);
});
process.on("SIGTERM", () => process.exit());
