/** Passwords: of each only an Argon2id hash is kept, in the PHC format that both services read. */

import { hash } from "@node-rs/argon2";
import type { Settings } from "../settings.ts";

// PASSWORD-11
// The salt has 16 bytes and the algorithm is Argon2id, without being asked.
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
