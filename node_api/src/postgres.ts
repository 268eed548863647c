/** PostgreSQL: a bounded pool of connections, and what its errors mean. */

import { Kysely, PostgresDialect, type PostgresPool, sql } from "kysely";
import {
  type ClientBase,
  DatabaseError,
  Pool,
  type PoolClient,
  type PoolConfig,
  type QueryResult,
  types,
} from "pg";
import { LOCK, migrate } from "./migrate.ts";
import type { Settings } from "./settings.ts";
import type { Tables } from "./tables.ts";

const UNIQUE_VIOLATION = "23505";

// OPS-18, OPS-21
// The beginnings of SQLSTATEs (PostgreSQL, appendix A) that tell of a database that can't be had at
// the moment: connection, read-only, serialization and deadlock, resources, lock not available,
// intervention (a time limit among them), system. Whatever refuses a connection does so too.
const LOST = /^(?:08|25006|40|53|55P03|57|58)/;

// How much longer the service waits for an answer than the server works on it: only a server that
// is gone or stands still lets it come to that.
const GRACE_SECONDS = 1;

// A statement with more parameters than this is one with a list of any length, which would leave
// one prepared statement a length behind.
const PREPARED_PARAMETERS = 16;

const { INT8, TIMESTAMPTZ } = types.builtins;
// Such as 2026-11-23 01:02:03.456+00, where zeros at the end of the fraction are left out.
const MOMENT = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(\.\d+)?\+00$/;
// REP-04, REP-08, OPS-15
const PARSERS = new Map<number, (text: string) => unknown>([
  [INT8, Number],
  [TIMESTAMPTZ, parseMoment],
]);

// One for each connection: Kysely remembers each that it is lent.
const sessions = new WeakMap<ClientBase, Session>();

/** There was no connection to be had, or it broke; the cause tells how. */
export class LostError extends Error {}

/** Connect to the database that the settings name, and prepare its schema. */
export async function openPostgres(settings: Settings): Promise<Kysely<Tables>> {
  await prepare(settings);
  const limit = settings.databaseStatementTimeout * 1000;
  return connect(settings, {
    // OPS-20
    max: settings.databasePoolSize,
    // OPS-10, OPS-21
    statement_timeout: limit,
    // OPS-21
    query_timeout: limit + GRACE_SECONDS * 1000,
    // A service that stands still doesn't hold its locks for ever.
    idle_in_transaction_session_timeout: 2 * limit,
  });
}

function parseMoment(text: string): string {
  const [, date, time, fraction = "."] = MOMENT.exec(text) ?? [];
  return `${date}T${time}${fraction.padEnd(4, "0")}Z`;
}

// OPS-05, OPS-16
/** Bring the schema up to date, one service at a time; a long step may take its time. */
async function prepare(settings: Settings): Promise<void> {
  const connection = connect(settings, { max: 1 });
  try {
    await connection.transaction().execute(async (transaction) => {
      await sql`SELECT pg_advisory_xact_lock(${sql.lit(LOCK)})`.execute(transaction);
      await migrate(transaction);
    });
  } finally {
    await connection.destroy();
  }
}

/** A pool of connections to the database, which are made when they are needed. */
function connect(settings: Settings, limits: PoolConfig): Kysely<Tables> {
  const pool = new Pool({
    connectionString: settings.databaseUrl,
    // OPS-20
    connectionTimeoutMillis: settings.databaseTimeout * 1000,
    // Connections stay.
    idleTimeoutMillis: 0,
    application_name: "node_api",
    types: {
      getTypeParser: (type, format) => PARSERS.get(type) ?? types.getTypeParser(type, format),
    },
    ...limits,
  });
  // OPS-18
  // A connection may break while nobody uses it, and while it is handed over: who uses it finds out.
  pool.on("error", () => undefined);
  pool.on("connect", (client) => sessions.set(client, new Session(client)));
  const lender = {
    // OPS-20
    connect: async () => sessions.get(await pool.connect().catch(lost)),
    end: () => pool.end(),
    options: pool.options,
  };
  // Kysely's type also asks for cursors, which only streams use.
  const dialect = new PostgresDialect({ pool: lender as unknown as PostgresPool });
  return new Kysely<Tables>({ dialect });
}

// OPS-18
/** A connection of the pool: prepares its statements, and isn't used again once it is lost. */
class Session {
  readonly #client: PoolClient;
  #lost = false;

  constructor(client: PoolClient) {
    this.#client = client;
    client.on("error", this.#lose);
    client.query("SET timezone = 'UTC'").catch(this.#lose);
  }

  /** Run the statement. Throws DatabaseError, and LostError if there is no answer to it. */
  async query(text: string, values: readonly unknown[]): Promise<QueryResult> {
    if (this.#lost) {
      throw new LostError("The connection is lost.");
    }
    try {
      const name = values.length > PREPARED_PARAMETERS ? undefined : statementName(text);
      return await this.#client.query({ name, text, values: [...values] });
    } catch (error) {
      if (error instanceof DatabaseError) {
        throw error;
      }
      this.#lose();
      return lost(error);
    }
  }

  /** Give the connection back to the pool, or have it closed. */
  release(destroy = false): void {
    this.#client.release(destroy || this.#lost);
  }

  readonly #lose = (): void => {
    this.#lost = true;
  };
}

const names = new Map<string, string>();

/** The name that a statement is prepared under, the same for the same text. */
function statementName(text: string): string {
  const name = names.get(text) ?? `s${names.size}`;
  names.set(text, name);
  return name;
}

function lost(error: unknown): never {
  // The refusals of all of a host's addresses have no message of their own.
  const [cause] = error instanceof AggregateError ? error.errors : [error];
  throw new LostError(cause instanceof Error ? cause.message : String(cause), { cause });
}

/** Whether a unique constraint refused the statement. */
export function isUniqueViolation(error: unknown): boolean {
  return sqlState(error) === UNIQUE_VIOLATION;
}

/** Whether the database couldn't be had: lost, busy for too long, full, broken. */
export function isUnavailable(error: unknown): boolean {
  return error instanceof LostError || LOST.test(sqlState(error));
}

function sqlState(error: unknown): string {
  return (error instanceof DatabaseError && error.code) || "";
}
