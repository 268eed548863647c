/**
 * The database: URL to engine, transactions, and the one seam that knows the drivers.
 *
 * A transaction takes the write lock at once, waiting for another process that holds it: a read that
 * turns into a write would fail instead.
 */

import { setTimeout as sleep } from "node:timers/promises";
import Sqlite from "better-sqlite3";
import {
  CompiledQuery,
  type DatabaseConnection,
  Kysely,
  SqliteDialect,
  SqliteDriver,
  sql,
  type Transaction,
} from "kysely";
import { createTables, type Tables } from "./tables.ts";

// A power cut loses nothing that was answered: FULL syncs the log at each commit.
const PRAGMAS = { journal_mode: "wal", synchronous: 2, foreign_keys: 1 };

// SQLite's primary result codes for a database that can't be had at the moment.
const LOST = /^SQLITE_(?:BUSY|LOCKED|READONLY|IOERR|CORRUPT|FULL|CANTOPEN|NOTADB)(?:_|$)/;

const POLL_MILLISECONDS = 10;

/** What a statement runs on: a connection, in a transaction or not. */
export type Connection = Kysely<Tables>;

/** A database whose schema is ready. */
export class Database {
  /** A connection for a single read, which needs no transaction. */
  readonly connection: Connection;

  constructor(connection: Connection) {
    this.connection = connection;
  }

  /** What `work` gives, in a transaction: committed at the end, rolled back on an exception. */
  transaction<T>(work: (connection: Transaction<Tables>) => Promise<T>): Promise<T> {
    return this.connection.transaction().execute(work);
  }

  /** Ask the database for an answer. Throws a driver's error when there is none. */
  async ping(): Promise<void> {
    await sql`SELECT 1 FROM users LIMIT 1`.execute(this.connection);
  }

  /** Close the connection. */
  close(): Promise<void> {
    return this.connection.destroy();
  }
}

/**
 * Open the database at `url` and prepare its schema; `timeout` (seconds) bounds every wait.
 *
 * Throws a driver's error when it can't be opened.
 */
export async function openDatabase(url: string, timeout: number): Promise<Database> {
  // One connection, because SQLite has one writer: requests queue here, in order, and fairly.
  const database = new Sqlite(url.slice("sqlite:///".length), { timeout: timeout * 1000 });
  configure(database);
  const connection = new Kysely<Tables>({ dialect: new WaitingDialect(database, timeout) });
  await connection.transaction().execute(createTables);
  return new Database(connection);
}

/** Whether a unique constraint refused the statement. */
export function isUniqueViolation(error: unknown): boolean {
  return sqliteCode(error) === "SQLITE_CONSTRAINT_UNIQUE";
}

/** Whether the database couldn't be had: lost, locked by another process, full, broken. */
export function isUnavailable(error: unknown): boolean {
  return LOST.test(sqliteCode(error));
}

function sqliteCode(error: unknown): string {
  return error instanceof Sqlite.SqliteError ? error.code : "";
}

/** SQLite, whose wait for another process's write lock doesn't stop everything else in this one. */
class WaitingDialect extends SqliteDialect {
  readonly #database: Sqlite.Database;
  readonly #timeout: number;

  constructor(database: Sqlite.Database, timeout: number) {
    super({ database });
    this.#database = database;
    this.#timeout = timeout;
  }

  override createDriver(): WaitingDriver {
    return new WaitingDriver(this.#database, this.#timeout);
  }
}

class WaitingDriver extends SqliteDriver {
  readonly #database: Sqlite.Database;
  readonly #timeout: number;

  constructor(database: Sqlite.Database, timeout: number) {
    super({ database });
    this.#database = database;
    this.#timeout = timeout;
  }

  override async beginTransaction(connection: DatabaseConnection): Promise<void> {
    const deadline = Date.now() + this.#timeout * 1000;
    while (true) {
      try {
        await connection.executeQuery(CompiledQuery.raw("begin immediate"));
        return;
      } catch (error) {
        if (sqliteCode(error) !== "SQLITE_BUSY" || Date.now() >= deadline) {
          throw error;
        }
      }
      await sleep(POLL_MILLISECONDS);
    }
  }

  override async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    // Where the disk is full or broken, SQLite has rolled back by itself.
    if (this.#database.inTransaction) {
      await super.rollbackTransaction(connection);
    }
  }
}

function configure(database: Sqlite.Database): void {
  for (const [name, value] of Object.entries(PRAGMAS)) {
    database.pragma(`${name} = ${value}`);
    const actual = database.pragma(name, { simple: true });
    if (actual !== value) {
      throw new Error(`SQLite refused PRAGMA ${name} = ${value}: it is ${actual}`);
    }
  }
  // From now on only the begin of a transaction waits: better-sqlite3 would block the event loop.
  database.pragma("busy_timeout = 0");
}
