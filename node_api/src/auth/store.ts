/** All SQL of logins: functions that take the connection first. */

import { type Connection, parameter, prepared } from "../storage/database.ts";
import { isPostgres } from "../storage/tables.ts";
import type { Role } from "../users/schemas.ts";

const COLUMNS = ["id", "role", "password_hash", "token_epoch"] as const;

// What each request with a token asks.
const BY_ID = prepared(byId);
// SQLite, which has one writer at a time, has no word for these and needs none.
const FOR_SHARE = prepared((connection) =>
  byId(connection).$if(isPostgres(connection), (query) => query.forShare()),
);
const FOR_UPDATE = prepared((connection) =>
  byId(connection).$if(isPostgres(connection), (query) => query.forUpdate()),
);

/** What a user's login and rights depend on. */
export type Credentials = Readonly<{
  id: number;
  role: Role;
  password_hash: string | null;
  token_epoch: number;
}>;

function byId(connection: Connection) {
  return connection.selectFrom("users").select(COLUMNS).where("id", "=", parameter<number>("id"));
}

/** The user with this email, in lower case, if there is one. */
export async function findByEmail(
  connection: Connection,
  email: string,
): Promise<Credentials | undefined> {
  const statement = connection.selectFrom("users").select(COLUMNS).where("email", "=", email);
  return await statement.executeTakeFirst();
}

/** The user with this id, if there is one. */
export async function findById(
  connection: Connection,
  id: number,
): Promise<Credentials | undefined> {
  const [user] = await BY_ID(connection, { id });
  return user;
}

/**
 * The caller, if there still is one, who can't be changed until the transaction ends.
 *
 * `targetId` is the user whom the transaction will change. Rows are locked in the order of their
 * ids, so that two admins who change each other can't wait for each other for ever.
 *
 * @clauses RIGHT-15
 */
export async function holdCaller(
  connection: Connection,
  callerId: number,
  targetId: number | null,
): Promise<Credentials | undefined> {
  if (targetId !== null && targetId < callerId) {
    await FOR_UPDATE(connection, { id: targetId });
  }
  const hold = targetId === callerId ? FOR_UPDATE : FOR_SHARE;
  const [caller] = await hold(connection, { id: callerId });
  return caller;
}

/**
 * Keep another hash of the same password, unless that has been changed meanwhile.
 *
 * @clauses LOGIN-08
 */
export async function renewHash(
  connection: Connection,
  user: Credentials,
  passwordHash: string,
): Promise<void> {
  // Nothing of the user changes by that, so neither does its version.
  await connection
    .updateTable("users")
    .set({ password_hash: passwordHash })
    .where("id", "=", user.id)
    .where("password_hash", "=", user.password_hash)
    .execute();
}
