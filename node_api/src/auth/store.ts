/** All SQL of logins: functions that take the connection first. */

import { type Connection, parameter, prepared } from "../database.ts";
import type { Role } from "../users/schemas.ts";

const COLUMNS = ["id", "role", "password_hash", "token_epoch"] as const;

// What each request with a token asks.
const BY_ID = prepared((connection) =>
  connection.selectFrom("users").select(COLUMNS).where("id", "=", parameter<number>("id")),
);

/** What a user's login and rights hang on. */
export type Credentials = Readonly<{
  id: number;
  role: Role;
  password_hash: string | null;
  token_epoch: number;
}>;

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

// LOGIN-08
/** Keep another hash of the same password, unless that has been changed meanwhile. */
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
