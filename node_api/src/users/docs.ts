/** The users' operations, as the OpenAPI document describes them. */

import {
  content,
  headers,
  modelSchema,
  OPTIONAL,
  type Operation,
  problems,
  REQUEST_ID,
  SECURED,
} from "../openapi.ts";
import { issue, Problem } from "../problems.ts";
import { MAX_INTEGER } from "../requests.ts";
import { MAX_LIMIT, SORTS } from "./pages.ts";
import { NewUser, TEXT_PATTERN, User, UserChanges } from "./schemas.ts";

export const SCHEMAS = {
  NewUser: modelSchema(NewUser),
  User: modelSchema(User),
  UserChanges: modelSchema(UserChanges),
};

const NEW_USER = { name: "Ada Lovelace", email: "ada@example.com" };
const USER = {
  id: 1,
  ...NEW_USER,
  role: "member",
  created_at: "2026-11-23T01:02:03.456Z",
  updated_at: "2026-11-23T01:02:03.456Z",
  version: 1,
};

const ID = {
  name: "id",
  in: "path" as const,
  required: true,
  description: "The user's id, in canonical decimal.",
  schema: {
    anyOf: [
      { type: "integer" as const, minimum: 1, maximum: MAX_INTEGER },
      { type: "string" as const, enum: ["me"], description: "The token's owner." },
    ],
  },
  example: 1,
};
const LIMIT = {
  name: "limit",
  in: "query" as const,
  description: "How many users a page has at most.",
  schema: { type: "integer" as const, minimum: 1, maximum: MAX_LIMIT, default: 50 },
};
const SORT = {
  name: "sort",
  in: "query" as const,
  description: "The order, `-` for descending; text by code point, ties by ascending id.",
  schema: {
    type: "string" as const,
    enum: [...SORTS, ...SORTS.map((sort) => `-${sort}`)],
    default: "id",
  },
};
const Q = {
  name: "q",
  in: "query" as const,
  description: "Only users whose name or email contains this, compared in lower case.",
  schema: { type: "string" as const, pattern: TEXT_PATTERN },
  example: "ada",
};
const CURSOR = {
  name: "cursor",
  in: "query" as const,
  description: "Where the page begins: opaque, from the `Link` of the page before.",
  schema: { type: "string" as const, pattern: "^[A-Za-z0-9_-]+$" },
};
const IF_MATCH = {
  name: "If-Match",
  in: "header" as const,
  description: "Only if one of these ETags, or `*`, is the user's (RFC 9110, 13.1.1).",
  schema: { type: "string" as const },
  example: '"1"',
};
const IF_NONE_MATCH = {
  name: "If-None-Match",
  in: "header" as const,
  description: "Only if none of these ETags is the user's (RFC 9110, 13.1.2).",
  schema: { type: "string" as const },
  example: '"1"',
};
const IDEMPOTENCY_KEY = {
  name: "Idempotency-Key",
  in: "header" as const,
  description: "The first 201 to this key is given again to the same body for a while.",
  schema: { type: "string" as const, pattern: "^[!-~]{0,254}[!-+\\--~]$" },
  example: "9f1c6f0e-0b0a-4c55-8f6e-6a1f4f0c2f37",
};

const NEW_USER_SCHEMA = { $ref: "#/components/schemas/NewUser" };
const USER_SCHEMA = { $ref: "#/components/schemas/User" };
const CHANGES_SCHEMA = { $ref: "#/components/schemas/UserChanges" };

const ANSWERED = {
  description: "The user.",
  headers: headers("ETag"),
  content: content(USER_SCHEMA, USER),
};
// What the guard and the database have to say.
const GUARDED = ["unauthorized", "forbidden", "unavailable", "provider-unavailable"] as const;
const WRONG_ID = new Problem("validation", [issue("parameter", "id", "malformed")]);
const WRONG_BODY = [
  "unsupported-media-type",
  "body-too-large",
  "malformed-json",
  new Problem("validation", [issue("pointer", "#/email", "malformed")]),
  // For its password.
  "overloaded",
] as const;

// DOC-04
export const CREATE_USER: Operation = {
  operationId: "createUser",
  summary: "Create a user",
  description: "The email must not be another user's, in any letter case.",
  security: OPTIONAL,
  parameters: [IDEMPOTENCY_KEY, REQUEST_ID],
  requestBody: { required: true, content: content(NEW_USER_SCHEMA, NEW_USER) },
  responses: {
    "201": {
      description: "The user was created.",
      headers: headers("ETag", "Idempotency-Replayed", "Location"),
      content: content(USER_SCHEMA, USER),
    },
    ...problems(
      ...WRONG_BODY,
      new Problem("malformed-header", [issue("header", "Idempotency-Key", "malformed")]),
      "idempotency-key-reused",
      "too-many-registrations",
      "email-taken",
      ...GUARDED,
    ),
  },
};
export const LIST_USERS: Operation = {
  operationId: "listUsers",
  summary: "List users",
  description: "A page of users; `Link` leads to the next one.",
  security: SECURED,
  parameters: [LIMIT, SORT, Q, CURSOR, REQUEST_ID],
  responses: {
    "200": {
      description: "The users.",
      headers: headers("Link"),
      content: content({ type: "array" as const, maxItems: MAX_LIMIT, items: USER_SCHEMA }, [USER]),
    },
    ...problems(
      "malformed-query",
      new Problem("validation", [issue("parameter", "limit", "malformed")]),
      ...GUARDED,
    ),
  },
};
export const GET_USER: Operation = {
  operationId: "getUser",
  summary: "Get a user",
  description: "With `If-None-Match`, only if it has changed.",
  security: SECURED,
  parameters: [ID, IF_NONE_MATCH, REQUEST_ID],
  responses: {
    "200": ANSWERED,
    "304": { description: "The user has not changed.", headers: headers("ETag") },
    ...problems(
      new Problem("malformed-header", [issue("header", "If-None-Match", "malformed")]),
      WRONG_ID,
      "user-not-found",
      ...GUARDED,
    ),
  },
};
const WRONG_IF_MATCH = new Problem("malformed-header", [issue("header", "If-Match", "malformed")]);
const CHANGE = [
  ...WRONG_BODY,
  WRONG_IF_MATCH,
  "user-not-found",
  "version-mismatch",
  "email-taken",
] as const;
export const REPLACE_USER: Operation = {
  operationId: "replaceUser",
  summary: "Replace a user",
  description: "Name and email, and what else is named; does not create a user.",
  security: SECURED,
  parameters: [ID, IF_MATCH, REQUEST_ID],
  requestBody: { required: true, content: content(NEW_USER_SCHEMA, NEW_USER) },
  responses: { "200": ANSWERED, ...problems(...CHANGE, ...GUARDED) },
};
const NOT_CHANGED = problems(...CHANGE, ...GUARDED);
export const PATCH_USER: Operation = {
  operationId: "patchUser",
  summary: "Change a user",
  description: "A JSON Merge Patch (RFC 7396); only a password can be removed.",
  security: SECURED,
  parameters: [ID, IF_MATCH, REQUEST_ID],
  requestBody: {
    required: true,
    content: {
      ...content(CHANGES_SCHEMA, { name: "Ada King" }, "application/merge-patch+json"),
      ...content(CHANGES_SCHEMA, { name: "Ada King" }),
    },
  },
  responses: {
    "200": ANSWERED,
    ...NOT_CHANGED,
    // ROUTE-17
    "415": { description: "A problem.", ...NOT_CHANGED["415"], headers: headers("Accept-Patch") },
  },
};
export const DELETE_USER: Operation = {
  operationId: "deleteUser",
  summary: "Delete a user",
  description: "Its id is never used again.",
  security: SECURED,
  parameters: [ID, IF_MATCH, REQUEST_ID],
  responses: {
    "204": { description: "The user is gone.", headers: headers() },
    ...problems(WRONG_IF_MATCH, WRONG_ID, "user-not-found", "version-mismatch", ...GUARDED),
  },
};
