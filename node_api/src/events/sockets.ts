/** The WebSocket of events: what the client wants, and what it is told. */

import { Problem } from "../http/problems.ts";
import type { Socket } from "../http/readers.ts";
import { MAX_INTEGER, parseJson } from "../http/requests.ts";
import { log, trace } from "../operation/observability.ts";
import { isUnavailable } from "../storage/database.ts";
import type { Feed, Follower } from "./feed.ts";
import { positionRule } from "./pages.ts";
import { type Event, TYPES, toJson } from "./schemas.ts";

const MAX_USERS = 100;
const MEMBERS = ["after", "types", "users"];

// RFC 6455, 7.4.1
const GOING_AWAY = 1001;
const BINARY = 1003;
const POLICY = 1008;
const FAILED = 1011;
// Of our own (7.4.2), by the problem: 4000 and the status that a request would be answered with.
const CODES: Readonly<Record<string, number>> = {
  unauthorized: 4401,
  "events-gone": 4410,
  unavailable: 4503,
};

/** The reason for which a socket is closed, and its code. */
class Close extends Error {
  readonly code: number;
  readonly reason: string;

  constructor(code: number, reason = "") {
    super(`${code} ${reason}`);
    this.code = code;
    this.reason = reason;
  }
}

/** What a client wants to be told. */
class Wanted {
  /** The position behind which it begins; null where it isn't said. */
  readonly after: number | null;
  /** Of these types alone; null for all. */
  readonly types: ReadonlySet<string> | null;
  /** Of these users alone; null for all. */
  readonly users: ReadonlySet<number> | null;

  constructor(
    after: number | null,
    types: ReadonlySet<string> | null,
    users: ReadonlySet<number> | null,
  ) {
    this.after = after;
    this.types = types;
    this.users = users;
  }

  /** Whether it is wanted. @clauses SOCK-09 */
  includes({ type, user_id }: Event): boolean {
    return (this.types?.has(type) ?? true) && (this.users?.has(user_id) ?? true);
  }
}

/**
 * What the client's message says. Throws malformed-json and validation.
 *
 * @clauses SOCK-07, SOCK-15
 */
export function parseWanted(text: string): Wanted {
  const document = parseJson(Buffer.from(text));
  if (typeof document !== "object" || document === null || Array.isArray(document)) {
    throw new Problem("validation");
  }
  if (!Object.keys(document).every((name) => MEMBERS.includes(name))) {
    throw new Problem("validation");
  }
  return new Wanted(
    "after" in document ? position(document.after) : null,
    "types" in document ? setOf(document.types, TYPES.length, isType) : null,
    "users" in document ? setOf(document.users, MAX_USERS, isId) : null,
  );
}

/** The position that the value is. Throws validation. */
function position(value: unknown): number {
  if (typeof value !== "string" || positionRule(value)) {
    throw new Problem("validation");
  }
  return Number(value);
}

/** The members of a list of one to `most`. Throws validation. */
function setOf<One>(
  value: unknown,
  most: number,
  isOne: (one: unknown) => one is One,
): ReadonlySet<One> {
  if (!Array.isArray(value) || value.length < 1 || value.length > most || !value.every(isOne)) {
    throw new Problem("validation");
  }
  return new Set(value);
}

function isType(value: unknown): value is string {
  return (TYPES as readonly unknown[]).includes(value);
}

function isId(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) >= 1 && Number(value) <= MAX_INTEGER;
}

/** What is said on an open socket, until either side closes it. */
export class Conversation {
  readonly #socket: Socket;
  readonly #feed: Feed;
  readonly #follower: Follower;
  readonly #firstSeconds: number;
  #hasBegun = false;

  /** With the client of this socket, whose first message is waited for so long at most. */
  constructor(socket: Socket, feed: Feed, follower: Follower, firstSeconds: number) {
    this.#socket = socket;
    this.#feed = feed;
    this.#follower = follower;
    this.#firstSeconds = firstSeconds;
  }

  /**
   * Tell the client what it wants to know, and close when there is a reason to. Never fails.
   *
   * @clauses SOCK-16, SOCK-17, SOCK-18, SOCK-21
   */
  async run(): Promise<void> {
    try {
      await this.#converse();
    } catch (error) {
      const { code, reason } = asClose(error);
      this.#socket.close(code, reason);
    }
  }

  /**
   * Take messages, and send what was asked for last, until the client is gone.
   *
   * Throws Close, unauthorized, events-gone and unavailable.
   *
   * @clauses SOCK-08
   */
  async #converse(): Promise<void> {
    let sending = this.#awaitFirst();
    try {
      for (;;) {
        const ended = sending.then(() => Promise.reject(new Close(GOING_AWAY)));
        const message = await Promise.race([this.#socket.receive(), ended]);
        if (this.#feed.stopping) {
          await ended;
        }
        if (message === null) {
          return;
        }
        const wanted = read(message);
        this.#follower.interrupt();
        await sending;
        this.#follower.isInterrupted = false;
        sending = this.#send(wanted);
      }
    } finally {
      this.#follower.interrupt();
      await sending;
    }
  }

  /** Wait for the first message. Throws Close. @clauses SOCK-15 */
  async #awaitFirst(): Promise<void> {
    const deadline = performance.now() + this.#firstSeconds * 1000;
    while (!(this.#feed.stopping || this.#follower.isInterrupted)) {
      if (performance.now() >= deadline) {
        throw new Close(POLICY, "timeout");
      }
      await this.#follower.wait(deadline - performance.now());
    }
  }

  /**
   * Send what is wanted, until another message comes or the service stops.
   *
   * Throws unauthorized, events-gone and unavailable.
   *
   * @clauses SOCK-08, SOCK-09, SOCK-10, SOCK-16, SOCK-17, SOCK-21
   */
  async #send(wanted: Wanted): Promise<void> {
    await this.#feed.confirm(this.#follower);
    if (wanted.after !== null || !this.#hasBegun) {
      this.#follower.position = await this.#begin(wanted.after);
      this.#hasBegun = true;
    }
    await this.#tellPosition();
    for await (const page of this.#feed.pages(this.#follower)) {
      if (page.length === 0) {
        await this.#tellPosition();
      }
      for (const event of page) {
        if (wanted.includes(event)) {
          await this.#socket.send(toJson(event));
        }
        this.#follower.position = event.position;
      }
    }
  }

  /** The position behind which to begin. Throws events-gone and unavailable. @clauses SOCK-21 */
  async #begin(after: number | null): Promise<number> {
    try {
      return await this.#feed.begin(after);
    } catch (error) {
      throw isUnavailable(error) ? new Problem("unavailable") : error;
    }
  }

  async #tellPosition(): Promise<void> {
    await this.#socket.send(`{"after":"${this.#follower.position}"}`);
  }
}

/** The reason to close that the error is; a failure is logged. @clauses OPS-11, SOCK-18 */
function asClose(error: unknown): Close {
  if (error instanceof Close) {
    return error;
  }
  const code = error instanceof Problem ? CODES[error.code] : undefined;
  if (error instanceof Problem && code !== undefined) {
    return new Close(code, error.code);
  }
  log("error", "socket failed", { error: trace(error) });
  return new Close(FAILED);
}

/** What the client's message says. Throws Close. @clauses SOCK-14, SOCK-15 */
function read(message: string | Uint8Array): Wanted {
  if (typeof message !== "string") {
    throw new Close(BINARY);
  }
  try {
    return parseWanted(message);
  } catch (error) {
    throw error instanceof Problem ? new Close(POLICY, error.code) : error;
  }
}
