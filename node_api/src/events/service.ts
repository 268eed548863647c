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
    const userId = caller && !caller.isAdmin ? caller.id : null;
    await this.#givePositions();
    const { connection } = this.#database;
    const found = await store.listEvents(connection, page, userId);
    // Only now: what is forgotten while the page is read is missing in it.
    if (
      page.after !== null &&
      !page.descending &&
      page.after < (await store.forgotten(connection))
    ) {
      throw new Problem("events-gone");
    }
    return found;
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
