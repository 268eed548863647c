/** Passwords: of each only an Argon2id hash is kept, in the PHC format that both services read. */

import { hash, verify } from "@node-rs/argon2";
import type { Settings } from "../settings.ts";

// PASSWORD-11
// The salt has 16 bytes and the algorithm is Argon2id, without being asked.
const SALT_BYTES = 16;
const HASH_BYTES = 32;

// PASSWORD-11, PASSWORD-13
/** The password's hash, with a new salt, at the cost that the settings name. */
export async function hashPassword(password: string, settings: Settings): Promise<string> {
  // PASSWORD-14
  // In a thread of its own making: the event loop has others to serve.
  return await hash(password, {
    // PASSWORD-12
    memoryCost: settings.argon2Memory,
    timeCost: settings.argon2Iterations,
    parallelism: settings.argon2Parallelism,
    outputLen: HASH_BYTES,
  });
}

// LOGIN-03
/** Whether it is the password that was hashed; without a hash as much work, and never. */
export async function isPassword(
  password: string,
  passwordHash: string | null,
  settings: Settings,
): Promise<boolean> {
  // LOGIN-04
  return await verify(passwordHash ?? nobodysHash(settings), password);
}

// LOGIN-08
/** Whether it was made at another cost than the settings name now. */
export function isOutdated(passwordHash: string, settings: Settings): boolean {
  return !passwordHash.startsWith(prefix(settings));
}

// LOGIN-04
/** A hash of no known password, which costs as much to verify as any. */
function nobodysHash(settings: Settings): string {
  const [salt, digest] = [SALT_BYTES, HASH_BYTES].map((size) =>
    Buffer.alloc(size).toString("base64").replaceAll("=", ""),
  );
  return `${prefix(settings)}${salt}$${digest}`;
}

// The library reads it and doesn't tell.
function prefix(settings: Settings): string {
  const { argon2Memory, argon2Iterations, argon2Parallelism } = settings;
  return `$argon2id$v=19$m=${argon2Memory},t=${argon2Iterations},p=${argon2Parallelism}$`;
}
