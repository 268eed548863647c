/**
 * SQLite: a connection that writes and one that reads, and what its errors mean.
 *
 * Both run on the event loop's own thread. A transaction takes the write lock at once, waiting for
 * another process that holds it: a read that turns into a write would fail instead. Reads go on
 * meanwhile.
 */

import { closeSync, constants, openSync, realpathSync, statSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import Sqlite from "better-sqlite3";
import {
  CompiledQuery,
  type DatabaseConnection,
  Kysely,
  type SqliteDatabase,
  SqliteDialect,
  SqliteDriver,
  type SqliteStatement,
  sql,
} from "kysely";
import type { Settings, SqliteUrl } from "../settings.ts";
import { migrate } from "./migrate.ts";
import type { Tables } from "./tables.ts";

// A power cut loses nothing that was answered: FULL syncs the log at each commit (OPS-08, OPS-09).
const PRAGMAS = { journal_mode: "wal", synchronous: 2, foreign_keys: 1 };

// SQLite's primary result codes for a database that can't be had at the moment (OPS-10, OPS-22).
const LOST = /^SQLITE_(?:BUSY|LOCKED|READONLY|IOERR|CORRUPT|FULL|CANTOPEN|NOTADB)(?:_|$)/;

const POLL_MILLISECONDS = 10;

const HERE = /^\.\//;

// More than the service has, but for those with a list, of which there is one a length.
const MAX_PREPARED = 128;

/** The file can't be opened, or is no longer where it was. */
export class FileError extends Error {}

type Opened = {
  writer: Kysely<Tables>;
  reader: Kysely<Tables>;
  /** Throws FileError where the files are not where they were. */
  checkFiles: () => void;
};

/** Open the file at the URL, and prepare its schema. @clauses OPS-05, OPS-16, OPS-41 */
export async function openSqlite(settings: Settings, url: SqliteUrl): Promise<Opened> {
  // As it is: `:memory:` is a word of SQLite's at a path's beginning only (OPS-38).
  const path = url.path.startsWith("/") ? url.path : `./${url.path}`;
  make(path);
  const paths = pathsOf(path);
  let files = "";
  let checked = false;
  const checkFiles = () => {
    // Once a turn of the event loop: a look for each write would take up to a tenth of its CPU.
    if (files && !checked) {
      if (files !== identities(paths)) {
        throw new FileError("The database's file is not where it was.");
      }
      checked = true;
      setImmediate(() => {
        checked = false;
      });
    }
  };
  const timeout = settings.databaseTimeout;
  // One that writes, because SQLite has one writer: transactions queue there, in order, and fairly.
  const database = await connect(path, timeout);
  // With another driver than its own.
  const dialect = Object.assign(new SqliteDialect({ database }), {
    createDriver: () => new WaitingDriver(database, timeout, checkFiles),
  });
  const writer = new Kysely<Tables>({ dialect });
  const reader = new Kysely<Tables>({
    dialect: new SqliteDialect({ database: prepareOnce(await connect(path, timeout)) }),
  });
  // Kysely closes a connection only if it has been asked for something.
  await sql`SELECT 1`.execute(reader);
  await writer.transaction().execute(migrate);
  // From now on, refuse to write and to be ready unless the files are still the same.
  files = identities(paths);
  return { writer, reader, checkFiles };
}

/**
 * The file, if it isn't there yet: for its owner alone, as SQLite then makes those beside it.
 *
 * @clauses OPS-39, OPS-40
 */
function make(path: string): void {
  try {
    closeSync(openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600));
  } catch (cause) {
    throw new FileError(reason(cause), { cause });
  }
}

/** The database's files: those of the log lie beside the file that a symbolic link leads to. */
function pathsOf(path: string): string[] {
  // Not without `native`: that takes `..` for the directory before it, whatever a link says.
  const real = realpathSync.native(path);
  return [path, `${real}-wal`, `${real}-shm`];
}

/** Which files are at the paths. Throws FileError if one is missing. */
function identities(paths: string[]): string {
  try {
    return paths
      .map((path) => statSync(path, { bigint: true }))
      .map((file) => `${file.dev} ${file.ino}`)
      .join();
  } catch (cause) {
    throw new FileError(`The database's file is not where it was: ${reason(cause)}`, { cause });
  }
}

function reason(error: unknown): string {
  const { code, path = "" } = error as NodeJS.ErrnoException;
  return `${code} at the file ${path.replace(HERE, "")}`;
}

export function isUniqueViolation(error: unknown): boolean {
  return sqliteCode(error) === "SQLITE_CONSTRAINT_UNIQUE";
}

/** Whether the database is unavailable: lost, locked by another process, full or broken. */
export function isUnavailable(error: unknown): boolean {
  return error instanceof FileError || LOST.test(sqliteCode(error));
}

function sqliteCode(error: unknown): string {
  return error instanceof Sqlite.SqliteError ? error.code : "";
}

/** SQLite, whose wait for another process's write lock doesn't stop everything else in this one. */
class WaitingDriver extends SqliteDriver {
  readonly #database: Sqlite.Database;
  readonly #timeout: number;
  readonly #checkFiles: () => void;

  constructor(database: Sqlite.Database, timeout: number, checkFiles: () => void) {
    super({ database: prepareOnce(database) });
    this.#database = database;
    this.#timeout = timeout;
    this.#checkFiles = checkFiles;
  }

  /** Begin a transaction as the one writer. @clauses OPS-10, OPS-14, UNIQ-09 */
  override async beginTransaction(connection: DatabaseConnection): Promise<void> {
    await patiently(this.#timeout, async () => {
      // Not behind it: Kysely rolls nothing back that has not begun well.
      this.#checkFiles();
      await connection.executeQuery(CompiledQuery.raw("begin immediate"));
    });
  }

  /** Undo what the transaction did. @clauses OPS-22 */
  override async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    // Where the disk is full or broken, SQLite has rolled back by itself.
    if (this.#database.inTransaction) {
      await super.rollbackTransaction(connection);
    }
  }
}

/**
 * Do it when no other process is in its way any more, within so many seconds.
 *
 * @clauses OPS-10, OPS-16
 */
async function patiently(timeout: number, attempt: () => unknown): Promise<void> {
  const deadline = performance.now() + timeout * 1000;
  while (true) {
    try {
      await attempt();
      return;
    } catch (error) {
      if (!sqliteCode(error).startsWith("SQLITE_BUSY") || performance.now() >= deadline) {
        throw error;
      }
    }
    await sleep(POLL_MILLISECONDS);
  }
}

/** The database, which prepares a statement once: that takes it longer than to find a row. */
function prepareOnce(database: Sqlite.Database): SqliteDatabase {
  const prepared = new Map<string, SqliteStatement>();
  return {
    prepare: (text) => {
      const statement = prepared.get(text) ?? database.prepare(text);
      if (prepared.size < MAX_PREPARED) {
        prepared.set(text, statement);
      }
      return statement;
    },
    close: () => database.close(),
  };
}

/** A connection, as every one of them is set. @clauses OPS-09 */
async function connect(path: string, timeout: number): Promise<Sqlite.Database> {
  // Without better-sqlite3's own waiting, which would block the event loop.
  const database = new Sqlite(path, { timeout: 0 });
  for (const [name, value] of Object.entries(PRAGMAS)) {
    await patiently(timeout, () => database.pragma(`${name} = ${value}`));
    const actual = database.pragma(name, { simple: true });
    if (actual !== value) {
      throw new Error(`SQLite refused PRAGMA ${name} = ${value}: it is ${actual}`);
    }
  }
  const encoding = database.pragma("encoding", { simple: true });
  if (encoding !== "UTF-8") {
    throw new FileError(`Its encoding is ${encoding}, and must be UTF-8.`);
  }
  return database;
}
