/** PostgreSQL: a bounded pool of connections, and what its errors mean. */

import type { Duplex } from "node:stream";
import type { ConnectionOptions } from "node:tls";
import { Kysely, PostgresDialect, type PostgresPool, sql } from "kysely";
import {
  Client,
  type ClientBase,
  type ClientConfig,
  DatabaseError,
  Pool,
  type PoolClient,
  type PoolConfig,
  type QueryResult,
  types,
} from "pg";
import { certificatesIn, type PostgresUrl, type Settings } from "../settings.ts";
import { LOCK, migrate } from "./migrate.ts";
import type { Tables } from "./tables.ts";

const UNIQUE_VIOLATION = "23505";

// The beginnings of SQLSTATEs (PostgreSQL, appendix A) that tell of a database that can't be had at
// the moment: connection, read-only, a transaction's time limit, serialization and deadlock, a right
// that is missing, resources, lock not available, intervention (a time limit among them), system.
// Whatever refuses a connection does so too (OPS-18, OPS-21, OPS-37).
const LOST = /^(?:08|25006|25P0|40|42501|53|55P03|57|58)/;

// What is thrown where a statement was prepared for tables that have changed since: the first of
// these with "cached plan" in its text (OPS-35).
const STALE_PLAN = "0A000";
const STALE_NAME = "26000";

/**
 * What every session is set to, whatever server, database and role are set to.
 *
 * @clauses OPS-08, OPS-32
 */
const SESSION = {
  client_encoding: "UTF8",
  datestyle: "ISO",
  default_transaction_isolation: "read committed",
  gin_fuzzy_search_limit: "0",
  idle_session_timeout: "0",
  lock_timeout: "0",
  search_path: "public",
  standard_conforming_strings: "on",
  synchronous_commit: "on",
  timezone: "UTC",
};
// PostgreSQL knows it from version 17 on.
const NEWER_SESSION = { ...SESSION, transaction_timeout: "0" };
const UNDEFINED_OBJECT = "42704";
type SessionParameters = Readonly<Record<string, string>>;

// Behind a pooler another process answers than the one that took the connection.
const CHECK = "SELECT pg_backend_pid() AS pid, current_setting('server_encoding') AS encoding";
const POOLER =
  "DATABASE_URL must lead to PostgreSQL itself, and this is a pooler such as PgBouncer.";
const SAYS_NOTHING = "The server refuses, and says nothing.";

// Seconds that a connection is silent before its other end is asked; Node asks again each second,
// and gives it up after ten (OPS-36).
const KEEP_ALIVE_SECONDS = 30;

const OTHER_HOST = "ERR_TLS_CERT_ALTNAME_INVALID";
// OpenSSL's names for what is wrong with a certificate, as Node gives them.
// Those for which it has no name of OpenSSL's are UNSPECIFIED: a key that is too small, say.
const UNTRUSTED = /^(?:(?:CERT|DEPTH|ERROR_IN_CERT|INVALID|PATH|SELF|UNABLE)_|UNSPECIFIED$)/;
const OF_TLS = /SSL|TLS/;

// How much longer the service waits for an answer than the server works on it: only a server that
// is gone or stands still lets it come to that.
const GRACE_SECONDS = 1;

// A statement with more parameters than this is one with a list of any length, which would leave
// one prepared statement a length behind.
const PREPARED_PARAMETERS = 16;

const { INT8, TIMESTAMPTZ } = types.builtins;
// Such as 2026-11-23 01:02:03.456+00, where zeros at the end of the fraction are left out.
const MOMENT = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(\.\d+)?\+00$/;
// Integers are numbers, up to 2^53-1 (REP-04, REP-08, OPS-15).
const PARSERS = new Map<number, (text: string) => unknown>([
  [INT8, Number],
  [TIMESTAMPTZ, parseMoment],
]);

// One for each connection: Kysely remembers each that it is lent.
const sessions = new WeakMap<ClientBase, Session>();

/** There was no connection to be had, or it broke; the cause tells how. */
export class LostError extends Error {}

/** Connect to the database at the URL, and prepare its schema. @clauses OPS-10, OPS-20, OPS-21 */
export async function openPostgres(settings: Settings, url: PostgresUrl): Promise<Kysely<Tables>> {
  let session: SessionParameters = NEWER_SESSION;
  try {
    await prepare(settings, url, session);
  } catch (error) {
    if (!(error instanceof LostError && sqlState(error.cause) === UNDEFINED_OBJECT)) {
      throw error;
    }
    session = SESSION;
    await prepare(settings, url, session);
  }
  const limit = settings.databaseStatementTimeout;
  const limits = {
    statement_timeout: `${limit}s`,
    // A service that stands still doesn't hold its locks for ever.
    idle_in_transaction_session_timeout: `${2 * limit}s`,
  };
  const pool = connect(
    settings,
    url,
    { ...session, ...limits },
    { max: settings.databasePoolSize, query_timeout: (limit + GRACE_SECONDS) * 1000 },
  );
  return overPool(pool);
}

function parseMoment(text: string): string {
  const [, date, time, fraction = "."] = MOMENT.exec(text) ?? [];
  return `${date}T${time}${fraction.padEnd(4, "0")}Z`;
}

/**
 * Bring the schema up to date, one service at a time; a long step may take its time.
 *
 * Throws LostError for a server that will not do, or doesn't know what the session is to have.
 *
 * @clauses OPS-05, OPS-16
 */
async function prepare(
  settings: Settings,
  url: PostgresUrl,
  session: SessionParameters,
): Promise<void> {
  const unlimited = { statement_timeout: "0", idle_in_transaction_session_timeout: "0" };
  const pool = connect(settings, url, { ...session, ...unlimited }, { max: 1 });
  const connection = overPool(pool);
  try {
    const first = await pool.connect();
    await check(first).finally(() => first.release());
    await connection.transaction().execute(async (transaction) => {
      await sql`SELECT pg_advisory_xact_lock(${sql.lit(LOCK)})`.execute(transaction);
      await migrate(transaction);
    });
  } catch (error) {
    if (error instanceof LostError && error.cause) {
      lost(error.cause, url);
    }
    throw error;
  } finally {
    await pool.end();
  }
}

/** LostError for a server that will not do. @clauses OPS-33, OPS-34 */
async function check(session: Session): Promise<void> {
  const { pid, encoding } = (await session.query(CHECK, [])).rows[0];
  if (pid !== session.processId) {
    throw new LostError(POOLER);
  }
  if (encoding !== "UTF8") {
    throw new LostError(`Its encoding is ${encoding}, and must be UTF8.`);
  }
}

/** The pool for Kysely, whose type also asks for cursors, which only streams use. */
function overPool(pool: Lender): Kysely<Tables> {
  const dialect = new PostgresDialect({ pool: pool as unknown as PostgresPool });
  return new Kysely<Tables>({ dialect });
}

/**
 * pg's client, but for a server that says what pg can't read, such as that it wants Kerberos: that
 * breaks the connection, where pg would throw at nobody, which ends the process.
 *
 * @clauses OPS-39
 */
class SteadyClient extends Client {
  constructor(config?: ClientConfig) {
    super(config);
    const connection = this.connection as unknown as { attachListeners(stream: Duplex): void };
    const attach = connection.attachListeners.bind(connection);
    connection.attachListeners = (stream) => {
      attach(stream);
      const [read] = stream.rawListeners("data").slice(-1) as [(data: Buffer) => void];
      stream.off("data", read).on("data", (data) => {
        try {
          read(data);
        } catch (error) {
          stream.destroy(error as Error);
        }
      });
    };
  }
}

/** What lends connections. */
type Lender = Pick<Pool, "end" | "options"> & { connect: () => Promise<Session> };

/**
 * A pool of connections with such a session, which are made when they are needed.
 *
 * Throws LostError where the certificates of the URL can't be read.
 *
 * @clauses OPS-07, OPS-20, OPS-32, OPS-36
 */
function connect(
  settings: Settings,
  url: PostgresUrl,
  session: SessionParameters,
  limits: PoolConfig,
): Lender {
  // All that pg would look for in the environment and in files, if it weren't told (OPS-30).
  const config = {
    host: url.host,
    port: url.port,
    user: url.user,
    // An empty one would be none.
    password: () => url.password,
    database: url.database,
    ssl: tls(url),
    sslnegotiation: "postgres" as const,
    // Of all that pg asks the environment for this alone has no type.
    replication: "false",
    application_name: "node_api",
    Client: SteadyClient,
    options: Object.entries(session)
      .map(([name, value]) => `-c ${name}=${value.replaceAll(" ", "\\ ")}`)
      .join(" "),
    connectionTimeoutMillis: settings.databaseTimeout * 1000,
    // Connections stay.
    idleTimeoutMillis: 0,
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEP_ALIVE_SECONDS * 1000,
    types: {
      getTypeParser: ((type, format) =>
        PARSERS.get(type) ?? types.getTypeParser(type, format)) as typeof types.getTypeParser,
    },
    ...limits,
  };
  const pool = new Pool(config);
  const losses = new Losses();
  // A connection may break while nobody uses it, and while it is handed over: who uses it finds out
  // (OPS-18).
  pool.on("error", () => undefined);
  const clients = new Set<ClientBase>();
  pool.on("connect", (client) => {
    sessions.set(client, new Session(client, losses));
    clients.add(client);
  });
  pool.on("remove", (client) => clients.delete(client));
  return {
    connect: () => lend(pool, url, losses).catch((error: unknown) => lost(error, url)),
    end: async () => {
      const ended = pool.end();
      clients.forEach(cut);
      await ended;
    },
    options: pool.options,
  };
}

/** Whom to trust by TLS; none without TLS. @clauses OPS-31 */
function tls(url: PostgresUrl): ConnectionOptions | false {
  if (url.sslmode === "disable") {
    return false;
  }
  if (!url.sslrootcert) {
    return { rejectUnauthorized: false };
  }
  const ca = certificatesIn(url.sslrootcert);
  if (!ca) {
    throw new LostError(`${url.sslrootcert} is no file of certificates.`);
  }
  const anyHost = url.sslmode === "verify-full" ? {} : { checkServerIdentity: () => undefined };
  return { ca, rejectUnauthorized: true, ...anyHost };
}

/**
 * A connection made after the last loss: whatever broke that one broke all older ones.
 *
 * @clauses OPS-35, OPS-36
 */
async function lend(pool: Pool, url: PostgresUrl, losses: Losses): Promise<Session> {
  while (true) {
    const session = sessions.get(await byTlsOrNot(pool, url)) as Session;
    if (session.born > losses.lastAt) {
      return session;
    }
    session.destroy();
  }
}

/**
 * A client of the pool; with `prefer` one without TLS, where that didn't come about.
 *
 * @clauses OPS-31
 */
async function byTlsOrNot(pool: Pool, url: PostgresUrl): Promise<PoolClient> {
  const { options } = pool;
  const { ssl: asked = false } = options;
  try {
    return await pool.connect();
  } catch (error) {
    if (url.sslmode !== "prefer" || !refusesTls(error)) {
      throw error;
    }
    // The pool makes clients for whoever waits, so it has one choice for all: what was found last.
    options.ssl = error instanceof DatabaseError && !asked ? tls(url) : false;
  }
  return await pool.connect();
}

function refusesTls(error: unknown): boolean {
  if (error instanceof DatabaseError) {
    // Of a server that lets this user in with TLS only, or without only.
    return error.code === "28000";
  }
  const { code = "", message } = error as NodeJS.ErrnoException;
  return OF_TLS.test(code + message) || code === "ECONNRESET";
}

/** When a connection of the pool was lost that was in use. */
class Losses {
  lastAt = 0;
}

/**
 * A connection of the pool: prepares its statements, and isn't used again once it is lost.
 *
 * @clauses OPS-18
 */
class Session {
  readonly born = performance.now();
  readonly #client: PoolClient;
  readonly #losses: Losses;
  /** Why it isn't used again. */
  #loss: unknown;

  constructor(client: PoolClient, losses: Losses) {
    this.#client = client;
    this.#losses = losses;
    client.on("error", (error) => {
      this.#loss = error;
    });
  }

  /** The server's process, as the connection began. */
  get processId(): unknown {
    return (this.#client as unknown as { processID: unknown }).processID;
  }

  /**
   * Run the statement. Throws DatabaseError, and LostError if there is no answer to it.
   *
   * @clauses OPS-35
   */
  async query(text: string, values: readonly unknown[]): Promise<QueryResult> {
    if (this.#loss) {
      throw new LostError("The connection is lost.", { cause: this.#loss });
    }
    try {
      // A statement without parameters, such as COMMIT, is one message; a prepared one takes four.
      if (values.length === 0) {
        return await this.#client.query(text);
      }
      const name = values.length > PREPARED_PARAMETERS ? undefined : statementName(text);
      return await this.#client.query({ name, text, values: [...values] });
    } catch (error) {
      if (error instanceof DatabaseError && !isStale(error)) {
        throw error;
      }
      this.#loss = error;
      this.#losses.lastAt = performance.now();
      if (isStalePlan(error) && this.#client.getTransactionStatus() === "I") {
        return await this.#client.query({ text, values: [...values] });
      }
      throw new LostError(error instanceof Error ? error.message : String(error), { cause: error });
    }
  }

  /** Give the connection back to the pool, or have it closed. */
  release(destroy = false): void {
    this.#client.release(destroy || this.#loss !== undefined);
  }

  /** End the connection. */
  destroy(): void {
    this.release(true);
    cut(this.#client);
  }
}

/** Not waiting for the other end: a server that is gone would not answer. */
function cut(client: ClientBase): void {
  (client as Client).connection.stream.destroy();
}

const names = new Map<string, string>();

/** The name that a statement is prepared under, the same for the same text. */
function statementName(text: string): string {
  const name = names.get(text) ?? `s${names.size}`;
  names.set(text, name);
  return name;
}

/** Why there is no connection, in the server's words or in the contract's. @clauses OPS-17 */
function lost(error: unknown, url: PostgresUrl): never {
  throw new LostError(reason(error, url), { cause: error });
}

function reason(error: unknown, url: PostgresUrl): string {
  const { code = "", message, syscall } = error as NodeJS.ErrnoException;
  // What pg says of itself has no severity.
  if (error instanceof DatabaseError && error.severity) {
    const [line] = message.replaceAll("\r", "\n").split("\n");
    return message.includes("unsupported startup parameter") ? POOLER : line || SAYS_NOTHING;
  }
  // What PostgreSQL says to an empty password, which pg doesn't send.
  if (message.startsWith("SASL") && !url.password) {
    return `password authentication failed for user "${url.user}"`;
  }
  if (code === OTHER_HOST) {
    return `The server's certificate is not for ${url.host}.`;
  }
  if (code && UNTRUSTED.test(code)) {
    return "The server's certificate is not trusted.";
  }
  const withoutTls = url.sslmode === "disable" || url.sslmode === "prefer";
  if (!withoutTls && refusesTls(error)) {
    return `The server offers no TLS, which sslmode=${url.sslmode} asks for.`;
  }
  if (syscall === "getaddrinfo") {
    return `There is no host ${url.host}.`;
  }
  return `Nobody answers at port ${url.port} of ${url.host}.`;
}

function isStale(error: unknown): boolean {
  return isStalePlan(error) || sqlState(error) === STALE_NAME;
}

function isStalePlan(error: unknown): boolean {
  return sqlState(error) === STALE_PLAN && (error as Error).message.includes("cached plan");
}

export function isUniqueViolation(error: unknown): boolean {
  return sqlState(error) === UNIQUE_VIOLATION;
}

export function isUnavailable(error: unknown): boolean {
  return error instanceof LostError || LOST.test(sqlState(error));
}

function sqlState(error: unknown): string {
  return (error instanceof DatabaseError && error.code) || "";
}
