/**
 * Deliveries: events are sent to endpoints, by all processes of all services of the database.
 *
 * Each process looks, again and again, for what is due, and claims some of it for as long as an
 * attempt may take; whoever dies meanwhile has left it to be claimed again. Each webhook has a courier
 * in each process, so that none waits for another's endpoint.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { aborted } from "node:util";
import { Webhook as Signer } from "standardwebhooks";
import { toJson } from "../events/schemas.ts";
import type { Events } from "../events/service.ts";
import { log, trace } from "../operation/observability.ts";
import type { Settings } from "../settings.ts";
import { type Database, isUnavailable } from "../storage/database.ts";
import { AttemptError, Client, type Endpoint, parseUrl } from "./endpoints.ts";
import type { ActiveWebhook, Attempt } from "./store.ts";
import * as store from "./store.ts";

// How often there is a look for what is due.
const LOOK_MILLISECONDS = 250;
// How long to wait while the database is unavailable.
const AWAY_MILLISECONDS = 500;
// How many attempts for one webhook are under way at a time.
const AT_ONCE = 10;
// How much longer than it may take an attempt counts as under way, to be recorded meanwhile.
const SPARE_SECONDS = 5;
// How much longer than it has to a delivery waits, at most, as a part of that.
const JITTER = 0.2;

const GONE = "410";

/** A process's share of the deliveries. */
export class Deliveries {
  readonly #settings: Settings;
  readonly #database: Database;
  readonly #events: Events;
  readonly #stopping: AbortSignal;
  readonly #client: Client;
  readonly #couriers = new Map<number, Promise<void>>();
  /** How many attempts may begin: each needs a file. */
  #free: number;
  #isCut = false;

  /** No attempt begins once `stopping` is aborted. */
  constructor(settings: Settings, database: Database, events: Events, stopping: AbortSignal) {
    this.#settings = settings;
    this.#database = database;
    this.#events = events;
    this.#stopping = stopping;
    this.#client = new Client(settings);
    this.#free = Math.max(1, Math.floor(settings.maxConnections / 2));
  }

  /**
   * Deliver until told to stop; then what is under way gets a while to end. Never fails.
   *
   * @clauses HOOK-12, HOOK-18, HOOK-26
   */
  async run(): Promise<void> {
    const looking = this.#lookOn();
    await aborted(this.#stopping, this);
    const ended = Promise.all([looking, ...this.#couriers.values()]);
    await Promise.race([ended, sleep(this.#settings.shutdownTimeout * 1000)]);
    this.#isCut = true;
  }

  /** Look again and again. @clauses HOOK-12, HOOK-18 */
  async #lookOn(): Promise<void> {
    while (!this.#stopping.aborted) {
      let milliseconds = LOOK_MILLISECONDS;
      try {
        await this.#look();
      } catch (error) {
        milliseconds = AWAY_MILLISECONDS;
        this.#tell(error);
      }
      await sleep(milliseconds, undefined, { signal: this.#stopping }).catch(() => undefined);
    }
  }

  /** Give new events their deliveries, and what is due a courier; forget what is to go. */
  async #look(): Promise<void> {
    const { connection } = this.#database;
    const webhooks = await store.listActive(connection);
    // Mostly there are none, and this is all.
    if (webhooks.length === 0) {
      return;
    }
    const last = await this.#events.lastPosition();
    for (const { id, position } of webhooks) {
      if (position < last) {
        await this.#database.transaction((held) => store.addDeliveries(held, id, last, new Date()));
      }
    }
    if (await store.isAnyForgotten(connection)) {
      await this.#database.transaction((held) => store.forgetDeliveries(held));
    }
    const due = await store.listDue(connection, new Date());
    for (const webhook of webhooks) {
      if (due.has(webhook.id) && !this.#couriers.has(webhook.id)) {
        const serving = this.#serve(webhook).then(() => {
          this.#couriers.delete(webhook.id);
        });
        this.#couriers.set(webhook.id, serving);
      }
    }
  }

  /**
   * Attempt what is due for this webhook, some at a time, until there is nothing more. Never fails.
   *
   * Each attempt that ends makes room for the next one: an endpoint that keeps one event waiting
   * keeps no other one waiting.
   *
   * @clauses HOOK-12, HOOK-15, HOOK-16
   */
  async #serve(webhook: ActiveWebhook): Promise<void> {
    const endpoint = parseUrl(webhook.url) as Endpoint;
    const underWay = new Set<Promise<void>>();
    while (!this.#stopping.aborted) {
      const attempts = await this.#claim(webhook.id, AT_ONCE - underWay.size);
      const [first] = attempts;
      if (first) {
        // Whoever stood still for a while may not have all of the time left.
        const left = first.until.getTime() - Date.now() - SPARE_SECONDS * 1000;
        const signal = AbortSignal.timeout(Math.max(left, 0));
        // One lookup for all of them.
        const finding = this.#client.findAddress(endpoint, signal);
        for (const attempt of attempts) {
          const sending = this.#send(webhook, endpoint, finding, attempt, signal);
          const attempting = this.#attempt(webhook, attempt, sending).then(() => {
            underWay.delete(attempting);
          });
          underWay.add(attempting);
        }
      }
      if (underWay.size === 0) {
        return;
      }
      await Promise.race([...underWay, sleep(LOOK_MILLISECONDS)]);
    }
    await Promise.all(underWay);
  }

  /**
   * Begin attempts of what is due for this webhook, so many at most. Never fails.
   *
   * @clauses HOOK-16
   */
  async #claim(webhookId: number, most: number): Promise<readonly Attempt[]> {
    const limit = Math.min(most, this.#free);
    if (limit === 0) {
      return [];
    }
    let attempts: readonly Attempt[] = [];
    this.#free -= limit;
    const seconds = this.#settings.webhooksTimeout + SPARE_SECONDS;
    try {
      attempts = await this.#database.transaction(async (connection) => {
        // Only here: SQLite may have let it wait.
        const now = new Date();
        const until = new Date(now.getTime() + seconds * 1000);
        const isStopping = this.#stopping.aborted;
        return isStopping ? [] : await store.claim(connection, webhookId, limit, now, until);
      });
    } catch (error) {
      this.#tell(error);
    }
    this.#free += limit - attempts.length;
    return attempts;
  }

  /** Have an event sent, and record what became of it, however long that takes. Never fails. */
  async #attempt(
    webhook: ActiveWebhook,
    attempt: Attempt,
    sending: Promise<string | null>,
  ): Promise<void> {
    const outcome = await sending;
    this.#free += 1;
    while (!this.#isCut) {
      try {
        await this.#record(webhook.id, attempt, outcome);
        return;
      } catch (error) {
        this.#tell(error);
      }
      if (this.#stopping.aborted) {
        return;
      }
      await sleep(AWAY_MILLISECONDS);
    }
  }

  /**
   * Send an event; gives what became of it, null if it has arrived. Never fails.
   *
   * @clauses HOOK-10, HOOK-11, HOOK-13
   */
  async #send(
    webhook: ActiveWebhook,
    endpoint: Endpoint,
    finding: Promise<string>,
    { event }: Attempt,
    signal: AbortSignal,
  ): Promise<string | null> {
    const id = String(event.position);
    const body = toJson(event);
    try {
      const address = await finding;
      const now = new Date();
      const fields = {
        "Content-Type": "application/cloudevents+json",
        "Content-Length": String(Buffer.byteLength(body)),
        "User-Agent": "users",
        Connection: "close",
        "webhook-id": id,
        "webhook-timestamp": String(Math.floor(now.getTime() / 1000)),
        "webhook-signature": new Signer(webhook.secret).sign(id, now, body),
      };
      const status = await this.#client.post(endpoint, address, fields, body, signal);
      return status >= 200 && status < 300 ? null : String(status);
    } catch (error) {
      if (error instanceof AttemptError) {
        return error.message;
      }
      // A failed attempt, too: else it would be made again and again, and never be the last.
      this.#tell(error);
      return "unreachable";
    }
  }

  /** @clauses HOOK-13, HOOK-14, HOOK-17, HOOK-27 */
  async #record(webhookId: number, attempt: Attempt, outcome: string | null): Promise<void> {
    const now = new Date();
    if (outcome === null) {
      await this.#database.transaction((held) => store.finish(held, webhookId, attempt, now));
    } else if (outcome === GONE) {
      const hasEnded = await this.#database.transaction((held) =>
        store.endWebhook(held, webhookId, now),
      );
      if (hasEnded) {
        log("error", "webhook ended", { webhook: webhookId });
      }
    } else {
      const dueAt = this.#next(attempt.number, now);
      const isDead = await this.#database.transaction(async (held) => {
        if (dueAt) {
          await store.postpone(held, webhookId, attempt, outcome, dueAt);
          return false;
        }
        return await store.letDie(held, webhookId, attempt, outcome, now);
      });
      if (isDead) {
        const event = String(attempt.event.position);
        log("error", "delivery died", { webhook: webhookId, event, outcome });
      }
    }
  }

  /** When the attempt after so many is due; null if there is none. @clauses HOOK-14 */
  #next(attempts: number, now: Date): Date | null {
    const wait = this.#settings.webhooksRetry[attempts - 1];
    if (wait === undefined) {
      return null;
    }
    return new Date(now.getTime() + wait * 1000 * (1 + JITTER * Math.random()));
  }

  #tell(error: unknown): void {
    if (!(this.#isCut || isUnavailable(error))) {
      log("error", "events cannot be delivered", { error: trace(error) });
    }
  }
}
