/** What is done with webhooks, but for the sending: each write is one transaction. */

import { randomBytes } from "node:crypto";
import type { Caller, Guard } from "../auth/guard.ts";
import { TYPES } from "../events/schemas.ts";
import { forgotten, givePositions } from "../events/store.ts";
import { parseAddress } from "../http/addresses.ts";
import { issue, Problem } from "../http/problems.ts";
import type { Settings } from "../settings.ts";
import type { Database } from "../storage/database.ts";
import { type Endpoint, parseUrl } from "./endpoints.ts";
import { mayCall } from "./networks.ts";
import type { DeliveryPage } from "./pages.ts";
import type { CreatedWebhook, Delivery, NewWebhook, Webhook } from "./schemas.ts";
import * as store from "./store.ts";

const MAX_WEBHOOKS = 50;
const SECRET_BYTES = 32;

/** The webhooks of a database. */
export class Webhooks {
  readonly #settings: Settings;
  readonly #database: Database;
  readonly #guard: Guard;

  constructor(settings: Settings, database: Database, guard: Guard) {
    this.#settings = settings;
    this.#database = database;
    this.#guard = guard;
  }

  /**
   * Create a webhook of the events from now on.
   *
   * Throws validation, unauthorized, forbidden and too-many-webhooks.
   *
   * @clauses HOOK-01, HOOK-02, HOOK-06, HOOK-09
   */
  async create(caller: Caller | null, sent: NewWebhook): Promise<CreatedWebhook> {
    this.#checkAddress(sent.url);
    const types = TYPES.filter((type) => sent.types?.includes(type) ?? true);
    const secret = `whsec_${randomBytes(SECRET_BYTES).toString("base64")}`;
    const now = new Date();
    return await this.#database.transaction(async (connection) => {
      await this.#guard.confirm(connection, caller);
      // Holds back other creations until this one is done.
      await givePositions(connection, now, this.#settings.eventsTtl);
      if ((await store.countWebhooks(connection)) >= MAX_WEBHOOKS) {
        throw new Problem("too-many-webhooks");
      }
      const webhook = await store.createWebhook(connection, sent.url, types, secret, now);
      return { ...webhook, secret };
    });
  }

  /** All webhooks. @clauses HOOK-07 */
  listAll(): Promise<Webhook[]> {
    return store.listWebhooks(this.#database.connection);
  }

  /** The webhook. Throws webhook-not-found. @clauses HOOK-07 */
  async read(id: number): Promise<Webhook> {
    return existing(await store.readWebhook(this.#database.connection, id));
  }

  /**
   * Delete the webhook. Throws unauthorized, forbidden and webhook-not-found.
   *
   * @clauses HOOK-08
   */
  async delete(caller: Caller | null, id: number): Promise<void> {
    await this.#database.transaction(async (connection) => {
      await this.#guard.confirm(connection, caller);
      if (!(await store.deleteWebhook(connection, id))) {
        throw new Problem("webhook-not-found");
      }
    });
  }

  /**
   * The deliveries of a page, and one more if there is another page. Throws webhook-not-found.
   *
   * @clauses HOOK-07, HOOK-19, HOOK-25
   */
  async listDeliveries(id: number, page: DeliveryPage): Promise<Delivery[]> {
    const { connection } = this.#database;
    existing(await store.readWebhook(connection, id));
    const after = Math.max(page.after, await forgotten(connection));
    return await store.listDeliveries(connection, id, page.limit + 1, after);
  }

  /**
   * Make the event's delivery due at once.
   *
   * Throws unauthorized, forbidden, webhook-not-found and delivery-not-found.
   *
   * @clauses HOOK-21, HOOK-25
   */
  async sendAgain(caller: Caller | null, id: number, event: number): Promise<Delivery> {
    return await this.#database.transaction(async (connection) => {
      await this.#guard.confirm(connection, caller);
      // Else what is added meanwhile would wait for the time that the event had before.
      existing(await store.holdWebhook(connection, id));
      if (event > (await forgotten(connection))) {
        const delivery = await store.makeDue(connection, id, event, new Date());
        if (delivery) {
          return delivery;
        }
      }
      throw new Problem("delivery-not-found");
    });
  }

  /** Throw validation for what could never be called. @clauses HOOK-06 */
  #checkAddress(url: string): void {
    const endpoint = parseUrl(url);
    if (!(endpoint && this.#mayEverCall(endpoint))) {
      throw new Problem("validation", [issue("pointer", "#/url", "forbidden")]);
    }
  }

  /** Whether it may be called; where a name leads is judged when it is. */
  #mayEverCall({ host, isSecure }: Endpoint): boolean {
    const allowed = this.#settings.webhooksNetworks;
    return parseAddress(host) ? mayCall(host, isSecure, allowed) : isSecure || allowed !== null;
  }
}

/** The webhook. Throws webhook-not-found where there is none. */
function existing(webhook: Webhook | null): Webhook {
  if (!webhook) {
    throw new Problem("webhook-not-found");
  }
  return webhook;
}
