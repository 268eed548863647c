/** Passwords: of each only an Argon2id hash is kept, in the PHC format that both services read. */

import { once } from "node:events";
import { availableParallelism, setPriority } from "node:os";
import { isMainThread, parentPort, Worker } from "node:worker_threads";
import { hashSync, type Options, verifySync } from "@node-rs/argon2";
import { Problem } from "../http/problems.ts";
import type { Settings } from "../settings.ts";

// The salt has 16 bytes and the algorithm is Argon2id, without being asked (PASSWORD-11).
const SALT_BYTES = 16;
const HASH_BYTES = 32;

const MAX_THREADS = 4;
const LOWER_PRIORITY = 15;

/** A password to hash with these options, or to hold against a hash that is kept. */
type Work = Readonly<{ password: string; options: Options } | { password: string; kept: string }>;

/**
 * Threads for hashing alone, so that nothing else waits behind a hash.
 *
 * Node's own, in which the library would hash, are four for everything: names, files, signatures.
 *
 * @clauses PASSWORD-14, PASSWORD-18
 */
class Threads {
  readonly #count = Math.min(availableParallelism(), MAX_THREADS);
  readonly #idle: Worker[] = [];
  readonly #waiting: ((thread: Worker) => void)[] = [];
  #underWay = 0;

  /**
   * The work's result, once a thread is free. Throws overloaded if too many are waiting.
   *
   * @clauses PASSWORD-17
   */
  async run<Result>(work: Work, settings: Settings): Promise<Result> {
    if (this.#underWay >= settings.hashQueue) {
      throw new Problem("overloaded");
    }
    this.#underWay += 1;
    try {
      return await this.#runInTurn(work);
    } finally {
      this.#underWay -= 1;
    }
  }

  async #runInTurn<Result>(work: Work): Promise<Result> {
    let thread = await this.#free();
    try {
      thread.postMessage(work);
      const [result] = await once(thread, "message");
      return result;
    } catch (error) {
      // It has ended with that.
      thread = startThread();
      throw error;
    } finally {
      const next = this.#waiting.shift() ?? ((free) => this.#idle.push(free));
      next(thread);
    }
  }

  /** A thread that does nothing, as soon as there is one. */
  async #free(): Promise<Worker> {
    const idle = this.#idle.pop();
    if (idle) {
      return idle;
    }
    return this.#underWay <= this.#count
      ? startThread()
      : await new Promise((resolve) => this.#waiting.push(resolve));
  }
}

function startThread(): Worker {
  const thread = new Worker(new URL(import.meta.url));
  // From its first result on it keeps no process from ending.
  thread.once("message", () => thread.unref());
  return thread;
}

/** What a thread does: this module is what it runs. */
function serveThread(): void {
  // On Linux each thread has a priority of its own: the one that answers requests goes first.
  if (process.platform === "linux") {
    setPriority(LOWER_PRIORITY);
  }
  parentPort?.on("message", (asked: Work) => {
    const { password } = asked;
    const result =
      "kept" in asked ? verifySync(asked.kept, password) : hashSync(password, asked.options);
    parentPort?.postMessage(result);
  });
}

const threads = new Threads();

/**
 * The password's hash, with a new salt, at the cost that the settings name. Throws overloaded.
 *
 * @clauses PASSWORD-11, PASSWORD-12, PASSWORD-13
 */
export async function hashPassword(password: string, settings: Settings): Promise<string> {
  const options = {
    memoryCost: settings.argon2Memory,
    timeCost: settings.argon2Iterations,
    parallelism: settings.argon2Parallelism,
    outputLen: HASH_BYTES,
  };
  return await threads.run<string>({ password, options }, settings);
}

/**
 * Whether it is the password that was hashed; without a hash as much work, and never.
 *
 * Throws overloaded.
 *
 * @clauses LOGIN-03, LOGIN-04
 */
export async function isPassword(
  password: string,
  passwordHash: string | null,
  settings: Settings,
): Promise<boolean> {
  const kept = passwordHash ?? nobodysHash(settings);
  return await threads.run<boolean>({ password, kept }, settings);
}

/** Whether it was made at another cost than the settings' current one. @clauses LOGIN-08 */
export function isOutdated(passwordHash: string, settings: Settings): boolean {
  return !passwordHash.startsWith(prefix(settings));
}

/** A hash that no password has, which takes as long to verify as any other. @clauses LOGIN-04 */
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

if (!isMainThread) {
  serveThread();
}
