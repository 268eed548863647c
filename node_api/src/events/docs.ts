/** What the readers of the events' operations don't say of them in the OpenAPI document. */

import { content, headers, type Piece } from "../http/openapi.ts";
import { MAX_LIMIT } from "../http/pages.ts";
import { MAX_INTEGER } from "../http/requests.ts";
import { USER, USER_SCHEMA } from "../users/docs.ts";
import { TIMESTAMP } from "../users/schemas.ts";
import { TYPES } from "./schemas.ts";

const DELETED_SCHEMA = {
  type: "object",
  properties: {
    id: { type: "integer", minimum: 1, maximum: MAX_INTEGER },
    version: { type: "integer", minimum: 1, maximum: MAX_INTEGER },
  },
  required: ["id", "version"],
  additionalProperties: false,
};
const EVENT_SCHEMA = {
  type: "object",
  properties: {
    specversion: { type: "string", enum: ["1.0"] },
    id: { type: "string", pattern: "^[1-9][0-9]*$" },
    source: { type: "string", enum: ["/users"] },
    type: { type: "string", enum: TYPES },
    subject: { type: "string", pattern: "^/users/[1-9][0-9]*$" },
    time: { type: "string", pattern: TIMESTAMP.source },
    data: { anyOf: [USER_SCHEMA, DELETED_SCHEMA] },
  },
  required: ["specversion", "id", "source", "type", "subject", "time", "data"],
  additionalProperties: false,
};
export const SCHEMAS = { Event: EVENT_SCHEMA };

const EVENT = {
  specversion: "1.0",
  id: "1",
  source: "/users",
  type: "user.created",
  subject: "/users/1",
  time: USER.created_at,
  data: USER,
};

export const LIST_EVENTS: Piece = {
  operationId: "listEvents",
  summary: "List events",
  description: "What happened to users (CloudEvents 1.0); `Link` leads to the next page.",
  responses: {
    "200": {
      description: "The events.",
      headers: headers("Link"),
      content: content(
        {
          type: "array" as const,
          maxItems: MAX_LIMIT,
          items: { $ref: "#/components/schemas/Event" },
        },
        [EVENT],
      ),
    },
  },
  "x-problems": ["events-gone"],
};
export const STREAM_EVENTS: Piece = {
  operationId: "streamEvents",
  summary: "Follow events",
  description: "Server-Sent Events, for `EventSource`: what happens to users, as it does.",
  responses: {
    "200": {
      description: "The stream, which begins with `retry` and the position as `id`.",
      headers: headers("X-Accel-Buffering"),
      content: content(
        { type: "string" as const },
        'retry: 1000\nid: 40\n\nevent: user.deleted\ndata: {"specversion":"1.0", ...}\nid: 41\n\n',
        "text/event-stream",
      ),
    },
  },
  "x-problems": ["events-gone", "too-many-streams"],
};
export const FOLLOW_EVENTS: Piece = {
  operationId: "followEvents",
  summary: "Follow events by WebSocket",
  description:
    "WebSocket (RFC 6455) under the subprotocol `events.v1`: what happens to users, as it does.",
  responses: {
    "101": {
      description: "The socket is open.",
      headers: { "X-Request-Id": { $ref: "#/components/headers/X-Request-Id" } },
    },
  },
  "x-problems": ["too-many-streams"],
};
