/**
 * The users' routes, in the contract's order: HTTP only.
 *
 * Each handler reads the request in the order in which the contract lets it fail (415, 413, 400,
 * 422), then asks the store, which knows 404, 412 and 409. A write's transaction is committed
 * before its answer leaves.
 */

import type { HttpBindings } from "@hono/node-server";
import { type Context, Hono } from "hono";
import { describeRoute } from "hono-openapi";
import type { Database } from "../database.ts";
import {
  entityTags,
  idempotencyKey,
  idIssues,
  JSON_ONLY,
  MERGE_PATCH,
  parseBody,
  parseJson,
  parseQuery,
  pathId,
  readBody,
} from "../requests.ts";
import type { Settings } from "../settings.ts";
import * as docs from "./docs.ts";
import { claimKey, keepResponse } from "./idempotency.ts";
import { nextLink, parsePage } from "./pages.ts";
import { etag, NewUser, type User, UserChanges } from "./schemas.ts";
import * as store from "./store.ts";

type Env = { Bindings: HttpBindings };

/** The routes under `/users`. */
export function usersRoutes(database: Database, settings: Settings): Hono<Env> {
  const router = new Hono<Env>();

  router.post("/users", describeRoute(docs.CREATE_USER), async (c) => {
    const body = await readBody(c.env.incoming, JSON_ONLY);
    const key = idempotencyKey(c.env.incoming.headersDistinct);
    const fields = parseBody(NewUser, parseJson(body));
    const now = new Date();
    return await database.transaction(async (connection) => {
      if (key) {
        const kept = await claimKey(connection, key, body, now, settings.idempotencyTtl);
        if (kept) {
          return created(c, kept, { "Idempotency-Replayed": "true" });
        }
      }
      const user = await store.createUser(connection, fields, now);
      if (key) {
        await keepResponse(connection, key, user);
      }
      return created(c, user, {});
    });
  });

  router.get("/users", describeRoute(docs.LIST_USERS), async (c) => {
    const page = parsePage(parseQuery(c.env.incoming.rawQuery));
    const users = await store.listUsers(database.connection, page);
    const shown = users.slice(0, page.limit);
    const last = users.length > page.limit ? shown.at(-1) : undefined;
    return c.json(shown, 200, last ? { Link: nextLink(page, last) } : {});
  });

  router.get("/users/:id", describeRoute(docs.GET_USER), async (c) => {
    const condition = entityTags(c.env.incoming.headersDistinct, "If-None-Match");
    const id = pathId(c.req.param("id"));
    const user = await store.readUser(database.connection, id);
    if (condition?.matchWeakly(etag(user))) {
      return c.body(null, 304, { ETag: etag(user) });
    }
    return answered(c, user);
  });

  router.put("/users/:id", describeRoute(docs.REPLACE_USER), async (c) => {
    const body = await readBody(c.env.incoming, JSON_ONLY);
    const condition = entityTags(c.env.incoming.headersDistinct, "If-Match");
    const document = parseJson(body);
    const issues = idIssues(c.req.param("id"));
    const changes = parseBody(NewUser, document, issues);
    const id = Number(c.req.param("id"));
    const now = new Date();
    const user = await database.transaction((connection) =>
      store.changeUser(connection, id, changes, condition, now),
    );
    return answered(c, user);
  });

  router.patch("/users/:id", describeRoute(docs.PATCH_USER), async (c) => {
    const body = await readBody(c.env.incoming, MERGE_PATCH);
    const condition = entityTags(c.env.incoming.headersDistinct, "If-Match");
    const document = parseJson(body);
    const issues = idIssues(c.req.param("id"));
    const changes = parseBody(UserChanges, document, issues);
    const id = Number(c.req.param("id"));
    const now = new Date();
    const user = await database.transaction((connection) =>
      store.changeUser(connection, id, changes, condition, now),
    );
    return answered(c, user);
  });

  router.delete("/users/:id", describeRoute(docs.DELETE_USER), async (c) => {
    const condition = entityTags(c.env.incoming.headersDistinct, "If-Match");
    const id = pathId(c.req.param("id"));
    await database.transaction((connection) => store.deleteUser(connection, id, condition));
    return c.body(null, 204);
  });

  return router;
}

function created(c: Context<Env>, user: User, headers: Record<string, string>): Response {
  return c.json(user, 201, { Location: `/users/${user.id}`, ETag: etag(user), ...headers });
}

function answered(c: Context<Env>, user: User): Response {
  return c.json(user, 200, { ETag: etag(user) });
}
