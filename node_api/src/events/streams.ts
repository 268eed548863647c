/**
 * Streams of events (Server-Sent Events).
 *
 * One loop reads new events for all streams of a process, and keeps the last of them, so that streams
 * that are up to date don't ask the database. One that lags behind reads a page of older events, when
 * its client has taken the page before.
 */

import { setTimeout as sleep } from "node:timers/promises";
import type { Caller, Guard } from "../auth/guard.ts";
import { Problem } from "../http/problems.ts";
import { log } from "../operation/observability.ts";
import type { Settings } from "../settings.ts";
import { isUnavailable } from "../storage/database.ts";
import { type Event, toJson } from "./schemas.ts";
import { type Events, maySee } from "./service.ts";

// How often there is a look for new events, while there is a stream.
const LOOK_MILLISECONDS = 20;
// How long to wait while the database is unavailable.
const AWAY_MILLISECONDS = 500;
// How many events are kept for the streams, and sent at once.
const RECENT = 200;
const PAGE = 100;

// How long a client that has lost its stream waits until it asks again, in milliseconds.
const RETRY = 1000;

/** The streams of a process. */
export class Streams {
  readonly #settings: Settings;
  readonly #events: Events;
  readonly #guard: Guard;
  readonly #stopping: AbortSignal;
  readonly #most: number;
  #open = 0;
  #recent: Event[] = [];
  /** The position up to which there was a look. */
  #seen = 0;
  /** What wakes the streams that wait. */
  readonly #waiting = new Set<() => void>();
  #isLooking = false;

  /**
   * Streams of these events, which end when `stopping` is aborted; connections are left for whoever
   * asks for something else.
   */
  constructor(settings: Settings, events: Events, guard: Guard, stopping: AbortSignal) {
    this.#settings = settings;
    this.#events = events;
    this.#guard = guard;
    this.#stopping = stopping;
    this.#most = Math.max(
      1,
      Math.min(settings.eventsStreams, Math.floor(settings.maxConnections / 2)),
    );
  }

  /**
   * A stream of what the caller may see, behind the position `after` or from now on.
   *
   * Throws events-gone and too-many-streams.
   *
   * @clauses STREAM-03, STREAM-04, STREAM-08
   */
  async open(caller: Caller | null, after: number | null): Promise<ReadableStream<Uint8Array>> {
    const position = await this.#events.lastPosition();
    if (after !== null) {
      await this.#events.checkKept(after);
    }
    if (this.#open >= this.#most) {
      throw new Problem("too-many-streams");
    }
    this.#open += 1;
    if (!this.#isLooking) {
      this.#recent = [];
      this.#seen = position;
      void this.#look();
    }
    return this.#stream(caller, after ?? position);
  }

  /**
   * What a client takes chunk by chunk; it counts as open until it has ended, however it does.
   *
   * @clauses STREAM-08
   */
  #stream(caller: Caller | null, position: number): ReadableStream<Uint8Array> {
    const encoder = new TextEncoder();
    const gone = new AbortController();
    const end = AbortSignal.any([this.#stopping, gone.signal]);
    const chunks = this.#chunks(caller, position, end);
    const close = () => {
      if (!gone.signal.aborted) {
        gone.abort();
        this.#open -= 1;
      }
    };
    // Not Hono's streamSSE, which names fields of the connection, tells clients of errors, and goes
    // on until its next write where the client is gone.
    return new ReadableStream(
      {
        pull: async (controller) => {
          const { done, value } = await chunks.next().catch((error: Error) => {
            log("error", "stream failed", { error: trace(error) });
            return { done: true, value: undefined };
          });
          if (gone.signal.aborted) {
            return;
          }
          if (done || value === undefined) {
            close();
            controller.close();
          } else {
            controller.enqueue(encoder.encode(value));
          }
        },
        cancel: close,
      },
      { highWaterMark: 0 },
    );
  }

  /**
   * Look for new events again and again, and tell the streams, as long as there are any.
   *
   * @clauses STREAM-05, STREAM-10, STREAM-11
   */
  async #look(): Promise<void> {
    this.#isLooking = true;
    try {
      while (this.#open > 0 && !this.#stopping.aborted) {
        await this.#lookOnce();
      }
    } finally {
      this.#isLooking = false;
    }
  }

  async #lookOnce(): Promise<void> {
    let found: Event[] = [];
    let milliseconds = LOOK_MILLISECONDS;
    try {
      found = await this.#events.listBehind(this.#seen, PAGE);
    } catch (error) {
      if (!isUnavailable(error)) {
        log("error", "events cannot be read", { error: trace(error) });
      }
      milliseconds = AWAY_MILLISECONDS;
    }
    const [first] = found;
    const last = found.at(-1);
    if (first && last) {
      const isNext = first.position === this.#seen + 1;
      this.#recent = [...(isNext ? this.#recent : []), ...found].slice(-RECENT);
      this.#seen = last.position;
      this.#tell();
    }
    if (found.length < PAGE) {
      await pause(milliseconds, this.#stopping);
    }
  }

  #tell(): void {
    for (const wake of [...this.#waiting]) {
      wake();
    }
  }

  /** Wait for something new, for so many milliseconds at most, or until the stream is to end. */
  #waitForNews(milliseconds: number, end: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        this.#waiting.delete(wake);
        end.removeEventListener("abort", wake);
        resolve();
      };
      const timer = setTimeout(wake, Math.max(0, milliseconds));
      this.#waiting.add(wake);
      end.addEventListener("abort", wake);
    });
  }

  /**
   * What is sent, block by block, until the stream has to end.
   *
   * @clauses STREAM-02, STREAM-05, STREAM-06, STREAM-07, STREAM-09, STREAM-10, STREAM-11
   */
  async *#chunks(
    caller: Caller | null,
    begin: number,
    end: AbortSignal,
  ): AsyncGenerator<string, undefined> {
    yield `retry: ${RETRY}\nid: ${begin}\n\n`;
    const heartbeat = this.#settings.eventsHeartbeat * 1000;
    let beat = performance.now() + heartbeat;
    let position = begin;
    while (!end.aborted) {
      if (performance.now() >= beat) {
        beat = performance.now() + heartbeat;
        // First: the database may take its time.
        yield `:\nid: ${position}\n\n`;
        if (!(await this.#mayGoOn(caller))) {
          return;
        }
      }
      let found: Event[];
      try {
        [found, position] = await this.#next(caller, position);
      } catch (error) {
        if (error instanceof Problem) {
          return;
        }
        if (!isUnavailable(error)) {
          throw error;
        }
        await pause(AWAY_MILLISECONDS, end);
        continue;
      }
      if (found.length > 0) {
        yield found.map(block).join("");
      } else if (position >= this.#seen && !end.aborted) {
        await this.#waitForNews(beat - performance.now(), end);
      }
    }
  }

  /**
   * The next events for the caller, some at most, and the position that is reached with them.
   *
   * Throws events-gone.
   *
   * @clauses RIGHT-16, STREAM-04
   */
  async #next(
    caller: Caller | null,
    position: number,
  ): Promise<[found: Event[], position: number]> {
    const seen = this.#seen;
    if (position >= seen) {
      return [[], position];
    }
    const [oldest] = this.#recent;
    if (oldest && oldest.position <= position + 1) {
      const start = position + 1 - oldest.position;
      const fresh = this.#recent.slice(start, start + PAGE);
      return [fresh.filter((event) => maySee(caller, event)), position + fresh.length];
    }
    const found = await this.#events.listBehind(position, PAGE, caller);
    await this.#events.checkKept(position);
    // What lies between the last one found and `seen` is somebody else's.
    const reached = found.at(-1)?.position ?? position;
    return [found, found.length === PAGE ? reached : Math.max(reached, seen)];
  }

  /**
   * Whether the caller may still see it; who can't be judged at the moment may.
   *
   * @clauses STREAM-07
   */
  async #mayGoOn(caller: Caller | null): Promise<boolean> {
    try {
      return await this.#guard.isStill(caller);
    } catch (error) {
      if (!isUnavailable(error)) {
        throw error;
      }
      return true;
    }
  }
}

/** Wait for so many milliseconds, or until the signal is aborted. */
async function pause(milliseconds: number, until: AbortSignal): Promise<void> {
  await sleep(milliseconds, undefined, { signal: until }).catch(() => undefined);
}

/** An event as it is sent (HTML, 9.2.5). @clauses STREAM-02 */
function block(event: Event): string {
  return `event: ${event.type}\ndata: ${toJson(event)}\nid: ${event.position}\n\n`;
}

function trace(error: unknown): string {
  return (error instanceof Error && error.stack) || String(error);
}
