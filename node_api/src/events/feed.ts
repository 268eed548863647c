/**
 * The feed: new events, for all who follow them in a process.
 *
 * One loop reads new events for all followers, and keeps the last of them, so that whoever is up to
 * date doesn't ask the database. One that lags behind reads a page of older events, when its client
 * has taken the page before.
 */

import { setImmediate as immediate, setTimeout as sleep } from "node:timers/promises";
import { type Caller, type Guard, unauthorized } from "../auth/guard.ts";
import { Problem } from "../http/problems.ts";
import { log, trace } from "../operation/observability.ts";
import type { Settings } from "../settings.ts";
import { isUnavailable } from "../storage/database.ts";
import type { Event } from "./schemas.ts";
import { type Events, maySee } from "./service.ts";

// How often there is a look for new events, while somebody follows.
const LOOK_MILLISECONDS = 20;
// How long to wait while the database is unavailable.
const AWAY_MILLISECONDS = 500;
// How many events are kept for the followers, and given at once.
const RECENT = 200;
const PAGE = 100;

/** Somebody who follows: as whom, and how far they have come. */
export class Follower {
  readonly caller: Caller | null;
  position: number;
  /** When the next heartbeat is due, by the clock of `performance`. */
  beat: number;
  isInterrupted = false;
  #woken = Promise.withResolvers<void>();

  constructor(caller: Caller | null, position: number, beat: number) {
    this.caller = caller;
    this.position = position;
    this.beat = beat;
  }

  /** End the pages under way, and those that are asked for meanwhile. */
  interrupt(): void {
    this.isInterrupted = true;
    this.wake();
  }

  /** End the wait: there is something new. */
  wake(): void {
    this.#woken.resolve();
  }

  /** Wait for so long, unless there has been something new since the last wait. */
  async wait(milliseconds: number): Promise<void> {
    const timer = setTimeout(this.#woken.resolve, Math.max(0, milliseconds));
    await this.#woken.promise;
    clearTimeout(timer);
    this.#woken = Promise.withResolvers();
  }
}

/** The events of a process's followers. */
export class Feed {
  readonly #settings: Settings;
  readonly #events: Events;
  readonly #guard: Guard;
  readonly #stopping: AbortSignal;
  readonly #most: number;
  readonly #followers = new Set<Follower>();
  #recent: Event[] = [];
  /** The position up to which there was a look. */
  #seen = 0;
  #isLooking = false;

  /**
   * A feed of these events, whose pages end when `stopping` is aborted; connections are left for
   * whoever asks for something else.
   *
   * @clauses SOCK-18, STREAM-10
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
    stopping.addEventListener("abort", () => this.#tell());
  }

  /** Whether the service stops. */
  get stopping(): boolean {
    return this.#stopping.aborted;
  }

  /** Somebody who follows, behind this position. Throws too-many-streams. @clauses STREAM-08 */
  join(caller: Caller | null, position = 0): Follower {
    if (this.#followers.size >= this.#most) {
      throw new Problem("too-many-streams");
    }
    const follower = new Follower(caller, position, this.#nextBeat());
    this.#followers.add(follower);
    return follower;
  }

  /** Count a follower no more. @clauses STREAM-08 */
  leave(follower: Follower): void {
    this.#followers.delete(follower);
  }

  /**
   * The position behind which to follow: `after`, or the last there is.
   *
   * Throws events-gone.
   *
   * @clauses SOCK-08, SOCK-17, STREAM-03, STREAM-04
   */
  async begin(after: number | null): Promise<number> {
    const position = await this.#events.lastPosition();
    if (after !== null) {
      await this.#events.checkKept(after);
    }
    if (!this.#isLooking) {
      this.#recent = [];
      this.#seen = position;
      void this.#look();
    }
    return after ?? position;
  }

  /**
   * Throw unauthorized where the caller may not go on; who can't be judged now may.
   *
   * The next heartbeat is due a while after it.
   *
   * @clauses SOCK-16, STREAM-07
   */
  async confirm(follower: Follower): Promise<void> {
    follower.beat = this.#nextBeat();
    try {
      if (await this.#guard.isStill(follower.caller)) {
        return;
      }
    } catch (error) {
      if (!isUnavailable(error)) {
        throw error;
      }
      return;
    }
    throw unauthorized(true);
  }

  /**
   * Pages of what the follower may see, and an empty one for each heartbeat.
   *
   * They end where the service stops, or the follower is interrupted. The follower's position is
   * set behind each page that was taken. Throws events-gone and unauthorized.
   *
   * @clauses LIMIT-11, SOCK-09, SOCK-10, SOCK-21, STREAM-05, STREAM-06, STREAM-09, STREAM-11
   */
  async *pages(follower: Follower): AsyncGenerator<readonly Event[], undefined> {
    while (!(this.stopping || follower.isInterrupted)) {
      if (performance.now() >= follower.beat) {
        // First: the database may take its time.
        yield [];
        await this.confirm(follower);
      }
      let found: Event[];
      let reached: number;
      try {
        [found, reached] = await this.#next(follower);
      } catch (error) {
        if (!isUnavailable(error)) {
          throw error;
        }
        await follower.wait(AWAY_MILLISECONDS);
        continue;
      }
      if (found.length > 0) {
        yield found;
      }
      if (found.length === PAGE) {
        // There is more: SQLite and a fast client would let nobody else have a turn.
        await immediate();
      }
      follower.position = reached;
      if (found.length === 0 && reached >= this.#seen) {
        await follower.wait(follower.beat - performance.now());
      }
    }
  }

  #nextBeat(): number {
    return performance.now() + this.#settings.eventsHeartbeat * 1000;
  }

  /**
   * Look for new events again and again, as long as anybody follows.
   *
   * @clauses STREAM-05, STREAM-10, STREAM-11
   */
  async #look(): Promise<void> {
    this.#isLooking = true;
    try {
      // A stream joins only behind its first look: the loop doesn't wait for that, as a task would.
      do {
        await this.#lookOnce();
      } while (this.#followers.size > 0 && !this.stopping);
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
      await sleep(milliseconds, undefined, { signal: this.#stopping }).catch(() => undefined);
    }
  }

  #tell(): void {
    for (const follower of this.#followers) {
      follower.wake();
    }
  }

  /**
   * The next events for the follower, some at most, and the position reached with them.
   *
   * Throws events-gone.
   *
   * @clauses RIGHT-16, SOCK-17, STREAM-04
   */
  async #next({ caller, position }: Follower): Promise<[found: Event[], position: number]> {
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
}
