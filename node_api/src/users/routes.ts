/**
 * The users' routes: HTTP only. A handler's chain says who may call it and what it reads, in the
 * order in which the contract lets a request fail; what is done then is in `service`.
 *
 * Variables are taken by `c.get`: each `c.var` makes an object of all of them.
 */

import { Hono, type TypedResponse } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { admin, anyUser, type GuardEnv, mayRegister, ownUser } from "../auth/guard.ts";
import { describe } from "../http/openapi.ts";
import { clientAddress, ifMatch, ifNoneMatch, ignoredBody, jsonBody } from "../http/readers.ts";
import { MERGE_PATCH } from "../http/requests.ts";
import * as docs from "./docs.ts";
import { idempotencyKey } from "./idempotency.ts";
import { nextLink, pageQuery } from "./pages.ts";
import { etag, NewUser, type User, UserChanges } from "./schemas.ts";
import type { Users } from "./service.ts";

/** An application with a guard, and users. */
export type UsersEnv = GuardEnv & { Variables: { users: Users } };

// A creation and a replacement take the same body (USR-CREATE-04, USR-REPLACE-02).
const wholeUser = jsonBody("NewUser", NewUser, {
  example: docs.NEW_USER,
  malformedMember: "email",
});
// A change takes any of the members (CTYPE-08).
const changes = jsonBody("UserChanges", UserChanges, {
  example: docs.CHANGES,
  malformedMember: "email",
  accepted: MERGE_PATCH,
});

export const usersRoutes = new Hono<UsersEnv>()
  /**
   * Create a user; for a key that was used before, repeat the first answer.
   *
   * @clauses IDEM-09, USR-CREATE-01, USR-CREATE-02, USR-CREATE-03
   */
  .post(
    "/users",
    mayRegister,
    idempotencyKey,
    wholeUser,
    clientAddress,
    describe(docs.CREATE_USER),
    async (c) => {
      const [user, replayed] = await c
        .get("users")
        .create(c.get("caller"), c.get("key"), c.get("sent"), c.get("address"));
      return answered(user, 201, {
        Location: `/users/${user.id}`,
        ...(replayed && { "Idempotency-Replayed": "true" }),
      });
    },
  )

  /**
   * List users: a bare array, with a link to the next page if there is one.
   *
   * @clauses CURSOR-12, REP-10, USR-LIST-01, USR-LIST-02, USR-LIST-03, USR-LIST-18
   */
  .get("/users", admin, pageQuery, describe(docs.LIST_USERS), async (c) => {
    const page = c.get("page");
    const found = await c.get("users").listPage(page);
    const shown = found.slice(0, page.limit);
    const last = found.length > page.limit ? shown.at(-1) : undefined;
    return json(shown, 200, last ? { Link: nextLink(page, last) } : {});
  })

  /**
   * Get a user, unless it is still as the client knows it.
   *
   * @clauses COND-11, COND-13, HDR-11, HDR-12, USR-READ-01
   */
  .get("/users/:id", ownUser, ifNoneMatch, describe(docs.GET_USER), async (c) => {
    const user = await c.get("users").read(c.get("target").id);
    if (c.get("condition")?.matchWeakly(etag(user))) {
      return c.body(null, 304, tagged(user));
    }
    return answered(user, 200);
  })

  /** Replace a user. @clauses USR-REPLACE-01 */
  .put("/users/:id", ownUser, ifMatch, wholeUser, describe(docs.REPLACE_USER), async (c) => {
    const { fields } = c.get("sent");
    return answered(await c.get("users").change(c.get("target"), c.get("condition"), fields), 200);
  })

  /** Change a user: a JSON Merge Patch (RFC 7396). @clauses USR-PATCH-01, USR-PATCH-02 */
  .patch("/users/:id", ownUser, ifMatch, changes, describe(docs.PATCH_USER), async (c) => {
    const { fields } = c.get("sent");
    return answered(await c.get("users").change(c.get("target"), c.get("condition"), fields), 200);
  })

  /** Delete a user. @clauses USR-DELETE-01 */
  .delete("/users/:id", anyUser, ifMatch, ignoredBody, describe(docs.DELETE_USER), async (c) => {
    await c.get("users").delete(c.get("target"), c.get("condition"));
    return c.body(null, 204);
  });

/** A response whose status and value Hono's client knows. */
type JsonResponse<Value, Status extends ContentfulStatusCode> = Response &
  TypedResponse<Value, Status, "json">;

/** The user, with its version as entity tag. @clauses COND-01, HDR-09, HDR-10, REP-01, REP-02 */
function answered<Status extends ContentfulStatusCode>(
  user: User,
  status: Status,
  headers: Record<string, string> = {},
): JsonResponse<User, Status> {
  return json(user, status, { ...tagged(user), ...headers });
}

// Python looks for the ETag in the middleware; here that would make a copy of the fields (HDR-06).
function tagged(user: User): Record<string, string> {
  return { ETag: etag(user), "cache-control": "no-cache" };
}

/** As `c.json`, which would copy the header fields where there are several. @clauses REP-01 */
function json<Value extends object, Status extends ContentfulStatusCode>(
  value: Value,
  status: Status,
  headers: Record<string, string>,
): JsonResponse<Value, Status> {
  const fields = { "Content-Type": "application/json", ...headers };
  const response = new Response(JSON.stringify(value), { status, headers: fields });
  return response as JsonResponse<Value, Status>;
}
