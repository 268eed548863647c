/**
 * Idempotency keys: the first 201 to a key is kept, in the same commit as the user it created.
 *
 * The table gives nothing away to someone who guesses at bodies: of the key only a hash is kept,
 * and the hash of the body is keyed with the key itself.
 */

import { createHash, createHmac } from "node:crypto";
import type { Context } from "hono";
import type { Caller } from "../auth/guard.ts";
import { Problem } from "../http/problems.ts";
import { type Env, type Reading, reader } from "../http/readers.ts";
import { malformedHeader } from "../http/requests.ts";
import { timestamp } from "../operation/observability.ts";
import type { Connection } from "../storage/database.ts";
import { isPostgres } from "../storage/tables.ts";
import type { User } from "./schemas.ts";

// The last is no comma: a second field that is empty would leave one there (IDEM-07).
const KEY = /^[!-~]{0,254}[!-+\--~]$/;
const SWEPT = 10;

/**
 * The `Idempotency-Key` as `key`, if one was sent. Throws malformed-header.
 *
 * @clauses IDEM-07, IDEM-11, PROB-14
 */
export const idempotencyKey: Reading<
  "key",
  string | null,
  { header: { "Idempotency-Key"?: string } }
> = reader(
  "key",
  (c: Context<Env>) => {
    const key = c.req.header("idempotency-key");
    if (key !== undefined && !KEY.test(key)) {
      throw malformedHeader("Idempotency-Key");
    }
    return key ?? null;
  },
  {
    parameters: [
      {
        name: "Idempotency-Key",
        in: "header",
        description: "The first 201 to this key is given again to the same body for a while.",
        schema: { type: "string", pattern: KEY.source },
        example: "9f1c6f0e-0b0a-4c55-8f6e-6a1f4f0c2f37",
      },
    ],
    "x-problems": [malformedHeader("Idempotency-Key")],
  },
);

/**
 * The key as it is kept, so that everybody has their own: no key that is sent has a space.
 *
 * @clauses IDEM-18
 */
export function scopedKey(key: string | null, caller: Caller | null): string | null {
  return key && caller ? `${caller.id} ${key}` : key;
}

/** Whether there is an answer to this key. @clauses LIMIT-15 */
export async function isKept(connection: Connection, key: string, now: Date): Promise<boolean> {
  const [keyHash] = hashes(key, Buffer.of());
  const kept = await connection
    .selectFrom("idempotency_keys")
    .select((eb) => eb.lit(1).as("one"))
    .where("key_hash", "=", keyHash)
    .where("expires_at", ">", timestamp(now))
    .executeTakeFirst();
  return kept !== undefined;
}

/**
 * Claim the key for `ttl` seconds from `now`; gives the user that was created under it, if any.
 *
 * Throws idempotency-key-reused when that was done with another body. Of concurrent requests with
 * one key the first holds the row until its commit, and the others wait for it here.
 *
 * @clauses IDEM-02, IDEM-04, IDEM-05, IDEM-12, IDEM-15, OPS-23, PROB-17
 */
export async function claimKey(
  connection: Connection,
  key: string,
  body: Uint8Array,
  now: Date,
  ttl: number,
): Promise<User | null> {
  const [keyHash, bodyHash] = hashes(key, body);
  const claim = {
    key_hash: keyHash,
    body_hash: bodyHash,
    response: "",
    expires_at: timestamp(new Date(now.getTime() + ttl * 1000)),
  };
  // A key whose time is over is as free as one that nobody used (IDEM-12, IDEM-13).
  const claimed = await connection
    .insertInto("idempotency_keys")
    .values(claim)
    .onConflict((conflict) =>
      conflict
        .column("key_hash")
        .doUpdateSet(claim)
        .where("idempotency_keys.expires_at", "<=", timestamp(now)),
    )
    .executeTakeFirst();
  if (claimed.numInsertedOrUpdatedRows) {
    await sweep(connection, now);
    return null;
  }
  const row = await connection
    .selectFrom("idempotency_keys")
    .selectAll()
    .where("key_hash", "=", keyHash)
    .executeTakeFirstOrThrow();
  if (row.body_hash !== bodyHash) {
    throw new Problem("idempotency-key-reused");
  }
  return JSON.parse(row.response);
}

/**
 * Keep the user that was created under a claimed key, as it is now, to be given again.
 *
 * @clauses IDEM-04, IDEM-15
 */
export async function keepResponse(connection: Connection, key: string, user: User): Promise<void> {
  const [keyHash] = hashes(key, Buffer.of());
  await connection
    .updateTable("idempotency_keys")
    .set({ response: JSON.stringify(user) })
    .where("key_hash", "=", keyHash)
    .execute();
}

/**
 * Forget some keys whose time is over: a few more than one, so that they never pile up.
 *
 * Those that another transaction holds are left to it: waiting for each other, two could wait for
 * ever. SQLite, which has one writer at a time, has no word for that and needs none.
 *
 * @clauses IDEM-17
 */
async function sweep(connection: Connection, now: Date): Promise<void> {
  const some = connection
    .selectFrom("idempotency_keys")
    .select("key_hash")
    .where("expires_at", "<=", timestamp(now))
    .orderBy("expires_at")
    .limit(SWEPT)
    .$if(isPostgres(connection), (query) => query.forUpdate().skipLocked());
  await connection.deleteFrom("idempotency_keys").where("key_hash", "in", some).execute();
}

/** What is kept of the key and of the body. @clauses IDEM-06, IDEM-16 */
function hashes(key: string, body: Uint8Array): [keyHash: string, bodyHash: string] {
  return [
    createHash("sha256").update(key).digest("hex"),
    createHmac("sha256", key).update(body).digest("hex"),
  ];
}
