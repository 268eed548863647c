/** What the readers of the users' operations don't say of them in the OpenAPI document. */

import { content, headers, modelSchema, type Piece } from "../http/openapi.ts";
import { MAX_LIMIT } from "../http/pages.ts";
import { NewUser, User, UserChanges } from "./schemas.ts";

export const SCHEMAS = {
  NewUser: modelSchema(NewUser),
  User: modelSchema(User),
  UserChanges: modelSchema(UserChanges),
};

export const NEW_USER = { name: "Ada Lovelace", email: "ada@example.com" };
export const CHANGES = { name: "Ada King" };
export const USER = {
  id: 1,
  ...NEW_USER,
  role: "member",
  created_at: "2026-11-23T01:02:03.456Z",
  updated_at: "2026-11-23T01:02:03.456Z",
  version: 1,
};

export const USER_SCHEMA = { $ref: "#/components/schemas/User" };
const USERS_SCHEMA = { type: "array" as const, maxItems: MAX_LIMIT, items: USER_SCHEMA };
const ANSWERED = {
  description: "The user.",
  headers: headers("ETag"),
  content: content(USER_SCHEMA, USER),
};
// Of a change; "overloaded" for its password.
const NOT_CHANGED = ["user-not-found", "version-mismatch", "email-taken", "overloaded"] as const;

export const CREATE_USER: Piece = {
  operationId: "createUser",
  summary: "Create a user",
  description: "The email must not be another user's, in any letter case.",
  responses: {
    "201": {
      description: "The user was created.",
      headers: headers("ETag", "Idempotency-Replayed", "Location"),
      content: content(USER_SCHEMA, USER),
    },
  },
  "x-problems": ["idempotency-key-reused", "too-many-registrations", "email-taken", "overloaded"],
};
export const LIST_USERS: Piece = {
  operationId: "listUsers",
  summary: "List users",
  description: "A page of users; `Link` leads to the next one.",
  responses: {
    "200": {
      description: "The users.",
      headers: headers("Link"),
      content: content(USERS_SCHEMA, [USER]),
    },
  },
};
export const GET_USER: Piece = {
  operationId: "getUser",
  summary: "Get a user",
  description: "With `If-None-Match`, only if it has changed.",
  responses: {
    "200": ANSWERED,
    "304": { description: "The user has not changed.", headers: headers("ETag") },
  },
  "x-problems": ["user-not-found"],
};
export const REPLACE_USER: Piece = {
  operationId: "replaceUser",
  summary: "Replace a user",
  description: "Name and email, and what else is named; does not create a user.",
  responses: { "200": ANSWERED },
  "x-problems": NOT_CHANGED,
};
export const PATCH_USER: Piece = {
  operationId: "patchUser",
  summary: "Change a user",
  description: "A JSON Merge Patch (RFC 7396); only a password can be removed.",
  responses: { "200": ANSWERED },
  "x-problems": NOT_CHANGED,
};
export const DELETE_USER: Piece = {
  operationId: "deleteUser",
  summary: "Delete a user",
  description: "Its id is never used again.",
  responses: { "204": { description: "The user is gone.", headers: headers() } },
  "x-problems": ["user-not-found", "version-mismatch"],
};
