/**
 * The database: what the service asks of one, whichever it is, and URL to database.
 *
 * `sqlite` and `postgres` are the two there are, and all that knows their drivers.
 */

import { type Compilable, type CompiledQuery, type Kysely, sql, type Transaction } from "kysely";
import type { Settings } from "../settings.ts";
import * as postgres from "./postgres.ts";
import * as sqlite from "./sqlite.ts";
import { isPostgres, type Tables } from "./tables.ts";

/** What a statement runs on: a connection, in a transaction or not. */
export type Connection = Kysely<Tables>;

class Parameter {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
}

/** What stands in a prepared statement for the value of this name. */
export function parameter<Value>(name: string): Value {
  return new Parameter(name) as Value;
}

type Run<Row> = (
  connection: Connection,
  parameters: Readonly<Record<string, unknown>>,
) => Promise<Row[]>;

/** A statement that is built and compiled once for each dialect, with parameters for its values. */
export function prepared<Row>(build: (connection: Connection) => Compilable<Row>): Run<Row> {
  const compiled = new Map<boolean, CompiledQuery<Row>>();
  return async (connection, parameters) => {
    const onPostgres = isPostgres(connection);
    const query = compiled.get(onPostgres) ?? build(connection).compile();
    compiled.set(onPostgres, query);
    const values = query.parameters.map((value) =>
      value instanceof Parameter ? parameters[value.name] : value,
    );
    const { rows } = await connection.executeQuery<Row>({ ...query, parameters: values });
    return rows;
  };
}

/**
 * Hold this number until the transaction ends, alone or with others who share it.
 *
 * Whoever asks first gets it first; whoever waits for a row can be passed over for ever by those who
 * share it. SQLite has one writer at a time, who needs no number.
 */
export async function hold(connection: Connection, number: number, shared = false): Promise<void> {
  if (isPostgres(connection)) {
    const lock = shared ? sql`pg_advisory_xact_lock_shared` : sql`pg_advisory_xact_lock`;
    await sql`SELECT ${lock}(${number})`.execute(connection);
  }
}

/** A database whose schema is ready. */
export class Database {
  /** A connection for a single read, which needs no transaction. */
  readonly connection: Connection;
  readonly #writer: Connection;
  readonly #check: () => void;

  /** `check` throws where the database is not to be asked at all. */
  constructor(reader: Connection, writer = reader, check: () => void = () => undefined) {
    this.connection = reader;
    this.#writer = writer;
    this.#check = check;
  }

  /**
   * What `work` gives, in a transaction: committed at the end, rolled back on an exception.
   *
   * @clauses OPS-08
   */
  transaction<T>(work: (connection: Transaction<Tables>) => Promise<T>): Promise<T> {
    return this.#writer.transaction().execute(work);
  }

  /** Ask the database for an answer. Throws a driver's error when there is none. */
  async ping(): Promise<void> {
    this.#check();
    await sql`SELECT 1 FROM users LIMIT 1`.execute(this.connection);
  }

  /** Close the connections. */
  async close(): Promise<void> {
    await this.connection.destroy();
    await this.#writer.destroy();
  }
}

/**
 * Open the database that the settings name and prepare its schema.
 *
 * Throws a driver's error when it can't be opened, and SchemaError when it is newer.
 *
 * @clauses OPS-15
 */
export async function openDatabase(settings: Settings): Promise<Database> {
  const url = settings.databaseUrl;
  if ("path" in url) {
    const { reader, writer, checkFiles } = await sqlite.openSqlite(settings, url);
    return new Database(reader, writer, checkFiles);
  }
  return new Database(await postgres.openPostgres(settings, url));
}

/** Whether a unique constraint refused the statement. */
export function isUniqueViolation(error: unknown): boolean {
  return sqlite.isUniqueViolation(error) || postgres.isUniqueViolation(error);
}

/** Whether the database is unavailable: lost, busy for too long, full or broken. */
export function isUnavailable(error: unknown): boolean {
  return sqlite.isUnavailable(error) || postgres.isUnavailable(error);
}
