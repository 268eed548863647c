/** The routes of webhooks: HTTP only. */

import { Hono } from "hono";
import { admin, type GuardEnv } from "../auth/guard.ts";
import { describe } from "../http/openapi.ts";
import { idInPath, ignoredBody, jsonBody } from "../http/readers.ts";
import * as docs from "./docs.ts";
import { deliveryPageQuery, nextLink } from "./pages.ts";
import { NewWebhook } from "./schemas.ts";
import type { Webhooks } from "./service.ts";

/** An application with a guard, and webhooks. */
export type WebhooksEnv = GuardEnv & { Variables: { webhooks: Webhooks } };

export const webhookId = idInPath("id", "The webhook's id, in canonical decimal.");
export const eventId = idInPath("event", "The event's id, in canonical decimal.");
export const wholeWebhook = jsonBody("NewWebhook", NewWebhook, {
  example: docs.NEW_WEBHOOK,
  malformedMember: "url",
});

export const webhooksRoutes = new Hono<WebhooksEnv>()
  /** Create a webhook; nobody is shown its secret again. @clauses HOOK-01 */
  .post("/webhooks", admin, wholeWebhook, describe(docs.CREATE_WEBHOOK), async (c) => {
    const { fields } = c.get("sent");
    const webhook = await c.get("webhooks").create(c.get("caller"), fields);
    return c.json(webhook, 201, { Location: `/webhooks/${webhook.id}` });
  })

  /** List all webhooks: a bare array. @clauses HOOK-07 */
  .get("/webhooks", admin, describe(docs.LIST_WEBHOOKS), async (c) =>
    c.json(await c.get("webhooks").listAll()),
  )

  /** Get a webhook. @clauses HOOK-07 */
  .get("/webhooks/:id", admin, webhookId, describe(docs.GET_WEBHOOK), async (c) =>
    c.json(await c.get("webhooks").read(c.get("id"))),
  )

  /** Delete a webhook. @clauses HOOK-08 */
  .delete(
    "/webhooks/:id",
    admin,
    webhookId,
    ignoredBody,
    describe(docs.DELETE_WEBHOOK),
    async (c) => {
      await c.get("webhooks").delete(c.get("caller"), c.get("id"));
      return c.body(null, 204);
    },
  )

  /**
   * List what is still to be sent: a bare array, with a link to the next page if there is one.
   *
   * @clauses HOOK-19, HOOK-20
   */
  .get(
    "/webhooks/:id/deliveries",
    admin,
    webhookId,
    deliveryPageQuery,
    describe(docs.LIST_DELIVERIES),
    async (c) => {
      const id = c.get("id");
      const page = c.get("page");
      const found = await c.get("webhooks").listDeliveries(id, page);
      const shown = found.slice(0, page.limit);
      const last = found.length > page.limit ? shown.at(-1) : undefined;
      return c.json(shown, 200, last ? { Link: nextLink(id, page, last.event) } : {});
    },
  )

  /** Send an event at once that is waiting or dead. @clauses HOOK-21 */
  .post(
    "/webhooks/:id/deliveries/:event",
    admin,
    webhookId,
    eventId,
    ignoredBody,
    describe(docs.SEND_AGAIN),
    async (c) => {
      const delivery = await c
        .get("webhooks")
        .sendAgain(c.get("caller"), c.get("id"), c.get("event"));
      return c.json(delivery, 202);
    },
  );
