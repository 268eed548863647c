/** All SQL of users: functions that take the connection first. */

import {
  type Expression,
  type ExpressionBuilder,
  type ExpressionWrapper,
  type SqlBool,
  sql,
} from "kysely";
import { Problem } from "../http/problems.ts";
import type { EntityTags } from "../http/requests.ts";
import { timestamp } from "../operation/observability.ts";
import { type Connection, isUniqueViolation, parameter, prepared } from "../storage/database.ts";
import type { Tables } from "../storage/tables.ts";
import type { Cursor, Page } from "./pages.ts";
import { etag, type NewUser, type Stored, type User, type UserChanges } from "./schemas.ts";

// The members of a user, in their order (REP-03, REP-10).
const COLUMNS = ["id", "name", "email", "role", "created_at", "updated_at", "version"] as const;
// What `LIKE` would read as something else (USR-LIST-12).
const WILDCARD = /[%_/]/g;

// Changing one of these voids all tokens (PASSWORD-16).
const GRANTED = ["role", "password_hash"] as const;

// Prepared: most requests need these.
/** Creates a user, in version 1. @clauses PASSWORD-16, REP-07 */
const CREATE = prepared((connection) =>
  connection
    .insertInto("users")
    .values({
      name: parameter("name"),
      name_lower: parameter("name_lower"),
      email: parameter("email"),
      role: parameter("role"),
      password_hash: parameter("password_hash"),
      created_at: parameter("now"),
      updated_at: parameter("now"),
      version: 1,
      token_epoch: 1,
    })
    .returning(COLUMNS),
);
const READ = prepared((connection) =>
  connection.selectFrom("users").select(COLUMNS).where("id", "=", parameter<number>("id")),
);

type Where = ExpressionBuilder<Tables, "users">;
// What a write gives the columns that a client has a say in.
type Fields = Stored<UserChanges>;

/**
 * Create a user. Throws email-taken: the constraint decides, so no look before the insert.
 *
 * @clauses REP-06, ROLE-03, UNIQ-01, USR-CREATE-07, USR-LIST-11
 */
export async function createUser(
  connection: Connection,
  fields: Stored<NewUser>,
  now: Date,
): Promise<User> {
  const values = {
    role: "member",
    password_hash: null,
    ...fields,
    name_lower: fields.name.toLowerCase(),
    now: timestamp(now),
  };
  try {
    return existing(await CREATE(connection, values));
  } catch (error) {
    throw emailTaken(error);
  }
}

/** The user with this id. Throws user-not-found. @clauses OPS-14, UNIQ-08 */
export async function readUser(connection: Connection, id: number): Promise<User> {
  return existing(await READ(connection, { id }));
}

/**
 * The page's users, and one more if there is a further page.
 *
 * @clauses CURSOR-03, USR-LIST-05, USR-LIST-06, USR-LIST-07, USR-LIST-10, USR-LIST-11, USR-LIST-13,
 * USR-LIST-18
 */
export async function listUsers(connection: Connection, page: Page): Promise<User[]> {
  const { q, after } = page;
  return await connection
    .selectFrom("users")
    .select(COLUMNS)
    .orderBy(page.column, page.descending ? "desc" : "asc")
    .$if(page.column !== "id", (query) => query.orderBy("id", "asc"))
    .limit(page.limit + 1)
    .$if(q !== null, (query) =>
      query.where((eb) => {
        const text = (q ?? "").toLowerCase();
        return eb.or([contains(eb, "name_lower", text), contains(eb, "email", text)]);
      }),
    )
    .$if(after !== null, (query) => query.where((eb) => beyond(eb, after as Cursor, page)))
    .execute();
}

/**
 * Give the user's columns the values of `changes`; gives the user, and whether in a new version.
 *
 * Equal values change nothing. Throws user-not-found, version-mismatch and email-taken. The update
 * itself holds the condition, so of several writers with one version only the first gets through.
 * Whoever finds nothing to update looks why, and tries again if the reason is gone by then.
 *
 * @clauses COND-15, COND-16, PASSWORD-16, PROB-19, REP-07, REP-11, ROLE-05, UNIQ-02, UNIQ-03,
 * UNIQ-04, UNIQ-05, UNIQ-09, USR-LIST-11, USR-PATCH-02, USR-PATCH-03, USR-PATCH-05, USR-PATCH-06,
 * USR-PATCH-08, USR-REPLACE-03, USR-REPLACE-04, USR-REPLACE-05
 */
export async function changeUser(
  connection: Connection,
  id: number,
  changes: Fields,
  condition: EntityTags | null,
  now: Date,
): Promise<[user: User, isNew: boolean]> {
  const statement = connection
    .updateTable("users")
    .set((eb) => ({
      ...changes,
      ...(changes.name !== undefined && { name_lower: changes.name.toLowerCase() }),
      updated_at: timestamp(now),
      version: eb("version", "+", 1),
      token_epoch: eb(
        "token_epoch",
        "+",
        eb
          .case()
          .when(differs(eb, changes, GRANTED))
          .then(eb.lit(1))
          .else(eb.lit(0))
          .end(),
      ),
    }))
    .where((eb) => differs(eb, changes))
    .where((eb) => matches(eb, id, condition))
    .returning(COLUMNS);
  const look = connection
    .selectFrom("users")
    .select(COLUMNS)
    .select((eb) => differs(eb, changes).as("differs"))
    .where("id", "=", id);
  while (true) {
    if (Object.keys(changes).length > 0) {
      try {
        const user = await statement.executeTakeFirst();
        if (user) {
          return [user, true];
        }
      } catch (error) {
        throw emailTaken(error);
      }
    }
    const { differs: isOther, ...current } = existing(await look.execute());
    check(condition, current);
    if (!isOther) {
      return [current, false];
    }
  }
}

/**
 * Delete the user; gives its last version. Throws user-not-found and version-mismatch.
 *
 * @clauses COND-15, UNIQ-06, UNIQ-07, USR-DELETE-02
 */
export async function deleteUser(
  connection: Connection,
  id: number,
  condition: EntityTags | null,
): Promise<number> {
  const statement = connection
    .deleteFrom("users")
    .where((eb) => matches(eb, id, condition))
    .returning("version");
  while (true) {
    const deleted = await statement.executeTakeFirst();
    if (deleted) {
      return deleted.version;
    }
    check(condition, await readUser(connection, id));
  }
}

/**
 * Whether a user has other values; a new hash always differs, as its salt is new.
 *
 * @clauses PASSWORD-07, PASSWORD-09, ROLE-05, USR-PATCH-03, USR-REPLACE-04
 */
function differs(
  eb: Where,
  values: Fields,
  columns: readonly (keyof Fields)[] = Object.keys(values) as (keyof Fields)[],
): ExpressionWrapper<Tables, "users", SqlBool> {
  const named = columns.filter((name) => name in values);
  return eb.or(named.map((name) => eb(name, "is distinct from", values[name] ?? null)));
}

/** The row. Throws user-not-found if there is none. @clauses ID-04, PROB-18, USR-READ-02 */
function existing<Row>([row]: readonly Row[]): Row {
  if (!row) {
    throw new Problem("user-not-found");
  }
  return row;
}

/**
 * Whether a row is the user's, in a version that the condition allows.
 *
 * @clauses COND-02, COND-03
 */
function matches(eb: Where, id: number, condition: EntityTags | null): Expression<SqlBool> {
  const versions = condition?.versions ?? null;
  const found = eb("id", "=", id);
  if (versions === null) {
    return found;
  }
  // PostgreSQL knows no empty list.
  return found.and(versions.length > 0 ? eb("version", "in", versions) : eb.lit(false));
}

/** Throw version-mismatch if the condition is not the user's. @clauses COND-02, PROB-19 */
function check(condition: EntityTags | null, user: User): void {
  if (condition && !condition.match(etag(user))) {
    throw new Problem("version-mismatch");
  }
}

/**
 * The problem that a broken constraint stands for; any other error as it is.
 *
 * @clauses USR-CREATE-07, USR-PATCH-06, USR-REPLACE-05
 */
function emailTaken(error: unknown): unknown {
  return isUniqueViolation(error) ? new Problem("email-taken") : error;
}

/** Whether the column contains the text as it stands. @clauses USR-LIST-12 */
function contains(eb: Where, column: "name_lower" | "email", text: string): Expression<SqlBool> {
  const pattern = `%${text.replace(WILDCARD, "/$&")}%`;
  return sql<SqlBool>`${eb.ref(column)} LIKE ${pattern} ESCAPE '/'`;
}

/** Which users come after the cursor. @clauses CURSOR-03, CURSOR-04 */
function beyond(eb: Where, cursor: Cursor, page: Page): Expression<SqlBool> {
  // It was checked to be of the column's type.
  const key = cursor.key as never;
  const further = eb(page.column, page.descending ? "<" : ">", key);
  if (page.column === "id") {
    return further;
  }
  // The same as "further, or equal with a higher id", but so that an index leads to the place.
  const within = eb(page.column, page.descending ? "<=" : ">=", key);
  return within.and(eb.or([further, eb("id", ">", cursor.id)]));
}
