/** What the readers of the webhooks' operations don't say of them in the OpenAPI document. */

import { TYPES } from "../events/schemas.ts";
import { content, headers, modelSchema, type Piece } from "../http/openapi.ts";
import { MAX_LIMIT } from "../http/pages.ts";
import { CreatedWebhook, Delivery, NewWebhook, Webhook } from "./schemas.ts";

export const SCHEMAS = {
  NewWebhook: modelSchema(NewWebhook),
  Webhook: modelSchema(Webhook),
  CreatedWebhook: modelSchema(CreatedWebhook),
  Delivery: modelSchema(Delivery),
};

export const NEW_WEBHOOK = { url: "https://example.com/hooks/users" };
const WEBHOOK = {
  id: 1,
  ...NEW_WEBHOOK,
  types: TYPES,
  created_at: "2026-11-23T01:02:03.456Z",
  ended_at: null,
};
const CREATED_WEBHOOK = { ...WEBHOOK, secret: `whsec_${"A".repeat(43)}=` };
const DELIVERY = {
  event: "41",
  status: "waiting",
  attempts: 1,
  outcome: "503",
  due_at: "2026-11-23T01:02:08.456Z",
};
const WEBHOOK_SCHEMA = { $ref: "#/components/schemas/Webhook" };
const DELIVERY_SCHEMA = { $ref: "#/components/schemas/Delivery" };

export const CREATE_WEBHOOK: Piece = {
  operationId: "createWebhook",
  summary: "Create a webhook",
  description: "Events from now on are sent to the URL (Standard Webhooks).",
  responses: {
    "201": {
      description: "The webhook was created. Its secret is shown this once.",
      headers: headers("Location"),
      content: content({ $ref: "#/components/schemas/CreatedWebhook" }, CREATED_WEBHOOK),
    },
  },
  "x-problems": ["too-many-webhooks"],
};
export const LIST_WEBHOOKS: Piece = {
  operationId: "listWebhooks",
  summary: "List webhooks",
  description: "All of them.",
  responses: {
    "200": {
      description: "The webhooks.",
      headers: headers(),
      content: content({ type: "array" as const, maxItems: 50, items: WEBHOOK_SCHEMA }, [WEBHOOK]),
    },
  },
};
export const GET_WEBHOOK: Piece = {
  operationId: "getWebhook",
  summary: "Get a webhook",
  description: "Without its secret.",
  responses: {
    "200": {
      description: "The webhook.",
      headers: headers(),
      content: content(WEBHOOK_SCHEMA, WEBHOOK),
    },
  },
  "x-problems": ["webhook-not-found"],
};
export const DELETE_WEBHOOK: Piece = {
  operationId: "deleteWebhook",
  summary: "Delete a webhook",
  description: "Nothing more is sent, not even what waits.",
  responses: { "204": { description: "The webhook is gone.", headers: headers() } },
  "x-problems": ["webhook-not-found"],
};
export const LIST_DELIVERIES: Piece = {
  operationId: "listDeliveries",
  summary: "List deliveries",
  description: "A page of what is still to be sent, or could not be; `Link` leads to the next one.",
  responses: {
    "200": {
      description: "The deliveries.",
      headers: headers("Link"),
      content: content({ type: "array" as const, maxItems: MAX_LIMIT, items: DELIVERY_SCHEMA }, [
        DELIVERY,
      ]),
    },
  },
  "x-problems": ["webhook-not-found"],
};
export const SEND_AGAIN: Piece = {
  operationId: "sendDeliveryAgain",
  summary: "Send an event again",
  description: "One that is waiting, or could not be delivered, is sent at once.",
  responses: {
    "202": {
      description: "The delivery, which is waiting.",
      headers: headers(),
      content: content(DELIVERY_SCHEMA, DELIVERY),
    },
  },
  "x-problems": ["webhook-not-found", "delivery-not-found"],
};
