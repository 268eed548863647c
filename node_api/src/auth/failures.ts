/**
 * Failed logins, counted in the database so that all services count together.
 *
 * Of each email and each address the moments of its last failures are kept, under a hash of it: the
 * table gives away neither whom somebody tried nor who did.
 */

import { createHash } from "node:crypto";
import { type Code, Problem } from "../http/problems.ts";
import { timestamp } from "../operation/observability.ts";
import type { Settings } from "../settings.ts";
import type { Connection } from "../storage/database.ts";
import { isPostgres } from "../storage/tables.ts";

const SWEPT = 10;

/** Who is counted, an email or an address, and how many within how long are too many. */
export type Suspect = Readonly<{
  keyHash: string;
  limit: number;
  /** Seconds. */
  window: number;
  problem: Code;
}>;

/**
 * Whom a failed login counts against; rows are locked in this order, so no two deadlock.
 *
 * @clauses LIMIT-01, LIMIT-02, LIMIT-10
 */
export function suspects(email: string, address: string, settings: Settings): Suspect[] {
  const { loginFailuresPerEmail, loginFailuresPerAddress } = settings;
  const common = { window: settings.loginFailuresWindow, problem: "too-many-failures" } as const;
  return [
    { ...common, keyHash: hash(`email ${email}`), limit: loginFailuresPerEmail },
    { ...common, keyHash: hash(`address ${address}`), limit: loginFailuresPerAddress },
  ];
}

/**
 * Whom a creation without a token counts against; counted like a failed login.
 *
 * @clauses LIMIT-12, LIMIT-16
 */
export function registrant(address: string, settings: Settings): Suspect {
  return {
    keyHash: hash(`registration ${address}`),
    limit: settings.registrationsPerAddress,
    window: settings.registrationsWindow,
    problem: "too-many-registrations",
  };
}

/** Throw the suspect's problem if one of them has failed too often. @clauses LIMIT-05 */
export async function refuseLocked(
  connection: Connection,
  whom: readonly Suspect[],
  now: Date,
): Promise<void> {
  const hashes = whom.map((suspect) => suspect.keyHash);
  const rows = await connection
    .selectFrom("login_failures")
    .select(["key_hash", "failed_at"])
    .where("key_hash", "in", hashes)
    .execute();
  const kept = new Map(rows.map((row) => [row.key_hash, row.failed_at]));
  for (const suspect of whom) {
    recent(kept.get(suspect.keyHash) ?? "[]", suspect, now);
  }
}

/**
 * Throw too-many-failures if one of them has failed too often by the end of what is under way.
 *
 * For the right password, which is a guess as well: failures that are being counted come first.
 *
 * @clauses LIMIT-06
 */
export async function refuseGuess(
  connection: Connection,
  whom: readonly Suspect[],
  now: Date,
): Promise<void> {
  for (const suspect of whom) {
    await hold(connection, suspect, now);
  }
}

/**
 * Lay a failure to them. Throws their problem, and counts none, where it is one too many.
 *
 * Each one's row is held until the commit, so of concurrent failures none is lost, and no more than
 * the limit are told from a success.
 *
 * @clauses LIMIT-01, LIMIT-03, LIMIT-04, LIMIT-06
 */
export async function countFailure(
  connection: Connection,
  whom: readonly Suspect[],
  now: Date,
): Promise<void> {
  for (const suspect of whom) {
    const failed = [...(await hold(connection, suspect, now)), now.getTime()];
    await connection
      .updateTable("login_failures")
      .set({ failed_at: JSON.stringify(failed), expires_at: over(now, suspect) })
      .where("key_hash", "=", suspect.keyHash)
      .execute();
  }
  // Rows that another transaction has locked are skipped, as with idempotency keys (LIMIT-09).
  const some = connection
    .selectFrom("login_failures")
    .select("key_hash")
    .where("expires_at", "<=", timestamp(now))
    .orderBy("expires_at")
    .limit(SWEPT)
    .$if(isPostgres(connection), (query) => query.forUpdate().skipLocked());
  await connection.deleteFrom("login_failures").where("key_hash", "in", some).execute();
}

/** Hold the suspect's row, and give the failures that count. Throws the suspect's problem. */
async function hold(connection: Connection, suspect: Suspect, now: Date): Promise<number[]> {
  const { keyHash } = suspect;
  // Locks the row until the commit, without a change; creates it if need be.
  const { failed_at } = await connection
    .insertInto("login_failures")
    .values({ key_hash: keyHash, failed_at: "[]", expires_at: over(now, suspect) })
    .onConflict((conflict) => conflict.column("key_hash").doUpdateSet({ key_hash: keyHash }))
    .returning("failed_at")
    .executeTakeFirstOrThrow();
  return recent(failed_at, suspect, now);
}

function over(now: Date, suspect: Suspect): string {
  return timestamp(new Date(now.getTime() + suspect.window * 1000));
}

/**
 * The failures that still count, as milliseconds. Throws the suspect's problem.
 *
 * @clauses LIMIT-01, LIMIT-05, LIMIT-14
 */
function recent(failedAt: string, suspect: Suspect, now: Date): number[] {
  const window = suspect.window * 1000;
  const moments: number[] = JSON.parse(failedAt);
  const failed = moments.filter((moment) => moment > now.getTime() - window);
  const oldest = failed.at(-suspect.limit);
  if (failed.length >= suspect.limit && oldest !== undefined) {
    // At most the window: the last failure may have been counted after this one was judged.
    const seconds = Math.min(Math.ceil((oldest + window - now.getTime()) / 1000), suspect.window);
    throw new Problem(suspect.problem, [], { "Retry-After": String(seconds) });
  }
  return failed;
}

function hash(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
