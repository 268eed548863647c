/**
 * The users' routes, in the contract's order: HTTP only.
 *
 * Each handler asks the guard, which knows 401 and 403, reads the request in the order in which the
 * contract lets it fail (415, 413, 400, 422), then asks the store, which knows 404, 412 and 409. A
 * write's transaction begins with a second look at the caller, whose body may have come late, and is
 * committed before the answer leaves.
 */

import { type Context, Hono, type TypedResponse } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { describeRoute } from "hono-openapi";
import { countFailure, refuseLocked, registrant, type Suspect } from "../auth/failures.ts";
import type { Guard } from "../auth/guard.ts";
import { hashPassword } from "../auth/passwords.ts";
import type { Connection, Database } from "../database.ts";
import { Problem } from "../problems.ts";
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
  splitUrl,
} from "../requests.ts";
import type { Settings } from "../settings.ts";
import * as docs from "./docs.ts";
import { claimKey, isKept, keepResponse, scopedKey } from "./idempotency.ts";
import { nextLink, parsePage } from "./pages.ts";
import { etag, NewUser, type Stored, type User, UserChanges } from "./schemas.ts";
import * as store from "./store.ts";

/** A response whose status and value Hono's client knows. */
type JsonResponse<Value, Status extends ContentfulStatusCode> = Response &
  TypedResponse<Value, Status, "json">;

/** The routes under `/users`; `below` is what they ask of the server. */
export function usersRoutes(
  database: Database,
  settings: Settings,
  guard: Guard,
  below: { addressOf: (c: Context) => string; readToEnd: (c: Context) => Promise<void> },
) {
  return (
    new Hono()
      // IDEM-09, PROB-14, PROB-15, PROB-16
      .post("/users", describeRoute(docs.CREATE_USER), async (c) => {
        const caller = await guard.registration(c.req);
        const body = await readBody(c.req, JSON_ONLY);
        // IDEM-11
        const key = scopedKey(idempotencyKey(c.req), caller);
        const fields = parseBody(NewUser, parseJson(body));
        // PROB-22
        guard.checkRole(caller, fields.role);
        // LIMIT-13
        const whom = settings.auth && !caller ? [registrant(below.addressOf(c), settings)] : [];
        await refuseCrowd(database, whom, key);
        const stored = await toStored(fields, settings);
        // REP-05, REP-06
        const now = new Date();
        // USR-CREATE-05, USR-CREATE-06, IDEM-08, IDEM-14, OPS-19
        return await counted(database, whom, now, async (connection) => {
          await guard.confirm(connection, caller);
          // IDEM-10, PROB-17
          if (key) {
            const kept = await claimKey(connection, key, body, now, settings.idempotencyTtl);
            // IDEM-02
            if (kept) {
              return created(kept, { "Idempotency-Replayed": "true" });
            }
          }
          if (whom.length > 0) {
            await countFailure(connection, whom, now);
          }
          const user = await store.createUser(connection, stored, now);
          if (key) {
            await keepResponse(connection, key, user);
          }
          // IDEM-01
          return created(user, {});
        });
      })

      .get("/users", describeRoute(docs.LIST_USERS), async (c) => {
        await guard.admin(c.req);
        // QUERY-01, PROB-14
        const [, query] = splitUrl(c.req.url);
        const page = parsePage(parseQuery(query));
        // USR-LIST-19
        const users = await store.listUsers(database.connection, page);
        // USR-LIST-03
        const shown = users.slice(0, page.limit);
        // USR-LIST-02, USR-LIST-18, CURSOR-12
        const last = users.length > page.limit ? shown.at(-1) : undefined;
        // REP-10, USR-LIST-01
        return json(shown, 200, last ? { Link: nextLink(page, last) } : {});
      })

      // HDR-11, HDR-12
      .get("/users/:id", describeRoute(docs.GET_USER), async (c) => {
        const [, sentId] = await guard.user(c.req, c.req.param("id"));
        // COND-14, COND-17
        const condition = entityTags(c.req, "If-None-Match");
        const id = pathId(sentId);
        // USR-READ-04, COND-15
        const user = await store.readUser(database.connection, id);
        // COND-11, COND-13
        if (condition?.matchWeakly(etag(user))) {
          return c.body(null, 304, tagged(user));
        }
        // USR-READ-01
        return answered(user);
      })

      // USR-REPLACE-01, PROB-14, PROB-15, PROB-16
      .put("/users/:id", describeRoute(docs.REPLACE_USER), async (c) => {
        const [caller, sentId] = await guard.user(c.req, c.req.param("id"));
        const body = await readBody(c.req, JSON_ONLY);
        // COND-14, COND-17
        const condition = entityTags(c.req, "If-Match");
        const document = parseJson(body);
        // PROB-08
        const issues = idIssues(sentId);
        // USR-REPLACE-02
        const sent = parseBody(NewUser, document, issues);
        // PROB-22
        guard.checkRole(caller, sent.role);
        const changes = await toStored(sent, settings);
        const id = Number(sentId);
        const now = new Date();
        // USR-REPLACE-06, USR-REPLACE-07
        const user = await database.transaction(async (connection) => {
          await guard.confirm(connection, caller, id);
          return await store.changeUser(connection, id, changes, condition, now);
        });
        return answered(user);
      })

      .patch("/users/:id", describeRoute(docs.PATCH_USER), async (c) => {
        const [caller, sentId] = await guard.user(c.req, c.req.param("id"));
        // CTYPE-08
        const body = await readBody(c.req, MERGE_PATCH);
        const condition = entityTags(c.req, "If-Match");
        const document = parseJson(body);
        const issues = idIssues(sentId);
        // USR-PATCH-01, USR-PATCH-02
        const sent = parseBody(UserChanges, document, issues);
        // PROB-22
        guard.checkRole(caller, sent.role);
        const changes = await toStored(sent, settings);
        const id = Number(sentId);
        const now = new Date();
        // USR-PATCH-07, USR-PATCH-09
        const user = await database.transaction(async (connection) => {
          await guard.confirm(connection, caller, id);
          return await store.changeUser(connection, id, changes, condition, now);
        });
        return answered(user);
      })

      // BODY-06
      .delete("/users/:id", describeRoute(docs.DELETE_USER), async (c) => {
        const [caller, sentId] = await guard.deletion(c.req, c.req.param("id"));
        const condition = entityTags(c.req, "If-Match");
        const id = pathId(sentId);
        await below.readToEnd(c);
        // USR-DELETE-03
        await database.transaction(async (connection) => {
          await guard.confirm(connection, caller, id);
          await store.deleteUser(connection, id, condition);
        });
        // USR-DELETE-01
        return c.body(null, 204);
      })
  );
}

// LIMIT-15
/** Throw too-many-registrations before there is work, unless there is an answer already. */
async function refuseCrowd(
  database: Database,
  whom: readonly Suspect[],
  key: string | null,
): Promise<void> {
  if (whom.length === 0) {
    return;
  }
  const now = new Date();
  if (!(key && (await isKept(database.connection, key, now)))) {
    await refuseLocked(database.connection, whom, now);
  }
}

// LIMIT-12, LIMIT-14
/**
 * What `work` gives, in a transaction, and where it ends with email-taken, one more that counts that.
 *
 * Whoever is told that an email is taken has learned who has an account.
 */
async function counted(
  database: Database,
  whom: readonly Suspect[],
  now: Date,
  work: (connection: Connection) => Promise<JsonResponse<User, 201>>,
): Promise<JsonResponse<User, 201>> {
  try {
    return await database.transaction(work);
  } catch (error) {
    if (whom.length > 0 && error instanceof Problem && error.code === "email-taken") {
      await database.transaction((connection) => countFailure(connection, whom, now));
    }
    throw error;
  }
}

// USR-PATCH-01, ROLE-04, PASSWORD-08, PASSWORD-15
/**
 * The members that were sent, as they are kept: in place of a password its hash.
 *
 * Comes before the transaction, which would hold a connection, or SQLite's only one, meanwhile.
 */
async function toStored<Sent extends UserChanges>(
  sent: Sent,
  settings: Settings,
): Promise<Stored<Sent>> {
  const { password, ...fields } = sent;
  if (password === undefined) {
    return fields;
  }
  // PASSWORD-07
  return { ...fields, password_hash: password && (await hashPassword(password, settings)) };
}

// USR-CREATE-01, USR-CREATE-02, USR-CREATE-03, COND-01
function created(user: User, headers: Record<string, string>): JsonResponse<User, 201> {
  return json(user, 201, { Location: `/users/${user.id}`, ...tagged(user), ...headers });
}

// HDR-09, HDR-10, REP-01, REP-02, COND-01
function answered(user: User): JsonResponse<User, 200> {
  return json(user, 200, tagged(user));
}

// HDR-06
// Python looks for the ETag in the middleware; here that would make a copy of the fields.
function tagged(user: User): Record<string, string> {
  return { ETag: etag(user), "Cache-Control": "no-cache" };
}

// REP-01, REP-02
/** What `c.json` gives, but for the copy that it makes of more than one header field. */
function json<Value extends object, Status extends ContentfulStatusCode>(
  value: Value,
  status: Status,
  headers: Record<string, string>,
): JsonResponse<Value, Status> {
  const fields = { "Content-Type": "application/json", ...headers };
  const response = new Response(JSON.stringify(value), { status, headers: fields });
  return response as JsonResponse<Value, Status>;
}
