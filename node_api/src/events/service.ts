/** What is done with the log of events. */

import type { Caller } from "../auth/guard.ts";
import { Problem } from "../http/problems.ts";
import type { Settings } from "../settings.ts";
import type { Database } from "../storage/database.ts";
import type { EventPage } from "./pages.ts";
import type { Event } from "./schemas.ts";
import * as store from "./store.ts";

/** The events of a database. */
export class Events {
  readonly #settings: Settings;
  readonly #database: Database;

  constructor(settings: Settings, database: Database) {
    this.#settings = settings;
    this.#database = database;
  }

  /**
   * The events of a page that the caller may see, and one more if there is another page.
   *
   * Throws events-gone.
   *
   * @clauses EVENT-13, EVENT-15, RIGHT-16
   */
  async listPage(caller: Caller | null, page: EventPage): Promise<Event[]> {
    await this.#givePositions();
    const { limit, after, descending } = page;
    const listed = { limit: limit + 1, after, descending, userId: onlyOf(caller) };
    const found = await store.listEvents(this.#database.connection, listed);
    // Only now: what is forgotten while the page is read is missing in it.
    if (after !== null && !descending) {
      await this.checkKept(after);
    }
    return found;
  }

  /** The next events behind the position, of those that the caller may see. */
  async listBehind(
    position: number,
    limit: number,
    caller: Caller | null = null,
  ): Promise<Event[]> {
    await this.#givePositions();
    const listed = { limit, after: position, userId: onlyOf(caller) };
    return await store.listEvents(this.#database.connection, listed);
  }

  /** The position of the newest event; 0 if there never was one. */
  async lastPosition(): Promise<number> {
    await this.#givePositions();
    return await store.lastPosition(this.#database.connection);
  }

  /** Throw events-gone where an event behind the position was forgotten. @clauses EVENT-15 */
  async checkKept(position: number): Promise<void> {
    if (position < (await store.forgotten(this.#database.connection))) {
      throw new Problem("events-gone");
    }
  }

  /** See to it that every event that has been written has a position. */
  async #givePositions(): Promise<void> {
    if (await store.isAnyWaiting(this.#database.connection)) {
      const now = new Date();
      await this.#database.transaction((connection) =>
        store.givePositions(connection, now, this.#settings.eventsTtl),
      );
    }
  }
}

/** Whether the caller may see this event. @clauses RIGHT-16 */
export function maySee(caller: Caller | null, event: Event): boolean {
  const only = onlyOf(caller);
  return only === null || only === event.user_id;
}

/** The user whose events alone the caller may see; null for all. @clauses RIGHT-16 */
function onlyOf(caller: Caller | null): number | null {
  return caller && !caller.isAdmin ? caller.id : null;
}
