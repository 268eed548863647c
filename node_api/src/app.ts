/** The application: what every answer carries, problems, and the routers, in reading order. */

import { type Context, Hono, type MiddlewareHandler } from "hono";
import { matchedRoutes } from "hono/route";
import type { RouterRoute } from "hono/types";
import * as authDocs from "./auth/docs.ts";
import { Guard } from "./auth/guard.ts";
import { authRoutes } from "./auth/routes.ts";
import * as eventsDocs from "./events/docs.ts";
import { Feed } from "./events/feed.ts";
import { type EventsEnv, eventsRoutes } from "./events/routes.ts";
import { Events } from "./events/service.ts";
import { corsHeaders } from "./http/cors.ts";
import { docsRoutes } from "./http/docs.ts";
import { Problem, renderProblem } from "./http/problems.ts";
import type { Below } from "./http/readers.ts";
import { ACCEPT_PATCH, ClientGone, MAX_BODY, routePath, splitUrl } from "./http/requests.ts";
import { healthRoutes } from "./operation/health.ts";
import { log, NO_ROUTE, Observation, requestId } from "./operation/observability.ts";
import type { Settings } from "./settings.ts";
import { type Database, isUnavailable } from "./storage/database.ts";
import * as usersDocs from "./users/docs.ts";
import { type UsersEnv, usersRoutes } from "./users/routes.ts";
import { Users } from "./users/service.ts";
import * as webhooksDocs from "./webhooks/docs.ts";
import { type WebhooksEnv, webhooksRoutes } from "./webhooks/routes.ts";
import { Webhooks } from "./webhooks/service.ts";

const METHODS = ["DELETE", "GET", "PATCH", "POST", "PUT"];
const PARAMETER = /:(\w+)/g;

type AppEnv = UsersEnv & EventsEnv & WebhooksEnv;
type Routed = Hono<AppEnv>;
/** The application with its routes, as `hc<App>` knows them. */
export type App = ReturnType<typeof createApp>;

/**
 * For `app.request()`: nobody is at the other end, header fields are set on the answer, and there is
 * no connection to open a WebSocket on.
 */
export const NO_SERVER: Below = {
  getConnInfo: () => ({ remote: {} }),
  addFields: ({ res: { headers } }, fields) => {
    for (const [name, value] of Object.entries(fields)) {
      if (!headers.has(name)) {
        headers.set(name, value);
      }
    }
  },
  readBody: async (c) => {
    if (c.req.raw.bodyUsed) {
      // Hono keeps what was read of it before.
      return new Uint8Array(await c.req.arrayBuffer());
    }
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of readable(c)) {
      chunks.push(chunk);
      size += chunk.byteLength;
      if (size > MAX_BODY) {
        break;
      }
    }
    return Buffer.concat(chunks);
  },
  readToEnd: async (c) => {
    if (!c.req.raw.bodyUsed) {
      for await (const _ of readable(c)) {
        // It is ignored.
      }
    }
  },
  socketOpener: () => null,
  stopping: new AbortController().signal,
};

/** The chunks of the body. Throws ClientGone. */
async function* readable(c: Context): AsyncIterable<Uint8Array> {
  try {
    yield* c.req.raw.body ?? [];
  } catch {
    throw new ClientGone();
  }
}

/**
 * The service over this database, to be served by whatever can serve a `fetch`.
 *
 * @clauses OPS-11, RIGHT-13, ROUTE-04, ROUTE-05, ROUTE-06, ROUTE-09, ROUTE-15
 */
export function createApp(settings: Settings, database: Database, below = NO_SERVER) {
  const app = new Hono<AppEnv>({ getPath: ({ url }) => routePath(splitUrl(url)[0]) });
  const guard = new Guard(settings, database);
  const users = new Users(settings, database, guard);
  const events = new Events(settings, database);
  const feed = new Feed(settings, events, guard, below.stopping);
  const webhooks = new Webhooks(settings, database, guard);
  app.use(async (c, next) => {
    c.set("settings", settings);
    c.set("database", database);
    c.set("below", below);
    c.set("guard", guard);
    c.set("users", users);
    c.set("events", events);
    c.set("feed", feed);
    c.set("webhooks", webhooks);
    await next();
  });
  app.use(commonHeaders(app, settings.corsOrigins, below));
  app.onError(answerError);
  app.notFound((c) => answerUnrouted(app, c));
  return app
    .route("/", authRoutes)
    .route("/", usersRoutes)
    .route("/", eventsRoutes)
    .route("/", webhooksRoutes)
    .route("/", healthRoutes)
    .route(
      "/",
      docsRoutes(app, {
        ...authDocs.SCHEMAS,
        ...usersDocs.SCHEMAS,
        ...eventsDocs.SCHEMAS,
        ...webhooksDocs.SCHEMAS,
      }),
    );
}

/**
 * Middleware: the header fields that every answer carries.
 *
 * @clauses CORS-02, CORS-03, HDR-01, HDR-05, HDR-06, IDEM-03
 */
function commonHeaders(
  app: Routed,
  corsOrigins: readonly string[],
  below: Below,
): MiddlewareHandler<AppEnv> {
  return async (c, next) => {
    const thisRequest = requestId(c.req.header("x-request-id"));
    const observation = new Observation(c.req.method, thisRequest);
    c.set("requestId", thisRequest);
    await next();
    below.addFields(c, {
      "X-Request-Id": thisRequest,
      "X-Content-Type-Options": "nosniff",
      // In lower case, as `Headers` has it: a route's own comes in its place where it is spelled so.
      "cache-control": "no-store",
      ...corsHeaders(
        corsOrigins,
        c.req.header("origin"),
        c.req.header("access-control-request-method"),
        c.res.status === 204 ? c.res.headers.get("Allow") : null,
      ),
    });
    // Hono answers HEAD as GET, and drops the body, and with it its length (ROUTE-10, ROUTE-11,
    // USR-READ-03, USR-LIST-21, COND-12, METRICS-06).
    if (c.req.method === "HEAD" && !c.res.headers.has("Content-Length") && c.res.body) {
      const { byteLength } = await c.res.arrayBuffer();
      c.res.headers.set("Content-Length", String(byteLength));
    }
    // Where the client has gone before its request was read, nothing is answered (LOG-01,
    // METRICS-02, METRICS-03).
    if (!(c.error instanceof ClientGone)) {
      observation.end(routeTemplate(app, c), c.res.status);
    }
  };
}

/**
 * The template of the path, such as `/users/{id}`, whatever its method.
 *
 * @clauses LOG-02, METRICS-04
 */
function routeTemplate(app: Routed, c: Context<AppEnv>): string {
  const matched = matchedRoutes(c).at(-1);
  const method = c.req.method === "HEAD" ? "GET" : c.req.method;
  const route = matched?.method === method ? matched : routesOf(app, c.req.path)[0];
  return route ? template(route.path) : NO_ROUTE;
}

const templates = new Map<string, string>();

/** `/users/{id}` of Hono's `/users/:id`, made once. */
function template(path: string): string {
  const known = templates.get(path);
  if (known !== undefined) {
    return known;
  }
  const made = path.replace(PARAMETER, "{$1}");
  templates.set(path, made);
  return made;
}

/** Render a problem that was thrown; any other error is a failure. */
function answerError(error: Error, c: Context<AppEnv>): Response {
  return error instanceof Problem ? renderProblem(error) : answerFailure(error, c);
}

/**
 * 503 if the database is unavailable, else 500; the cause goes into the log.
 *
 * @clauses HEALTH-03, HEALTH-05, OPS-11, OPS-12
 */
function answerFailure(error: Error, c: Context<AppEnv>): Response {
  if (error instanceof ClientGone) {
    return c.body(null);
  }
  const cause = error.stack ?? String(error);
  log("error", "request failed", { request_id: c.get("requestId"), error: cause });
  return renderProblem(new Problem(isUnavailable(error) ? "unavailable" : "internal"));
}

/**
 * 404 for a path that has no route; else 204 for OPTIONS and 405 for any other method.
 *
 * @clauses BODY-07, PROB-10, PROB-11, ROUTE-01, ROUTE-03, ROUTE-12, ROUTE-13, ROUTE-16
 */
function answerUnrouted(app: Routed, c: Context<AppEnv>): Response {
  const methods = allowedMethods(app, c.req.path);
  if (methods.length === 0) {
    return renderProblem(new Problem("not-found"));
  }
  const allow = { Allow: methods.join(", ") };
  if (c.req.method === "OPTIONS") {
    const accept = methods.includes("PATCH") ? { "Accept-Patch": ACCEPT_PATCH } : {};
    return c.body(null, 204, { ...allow, ...accept });
  }
  return renderProblem(new Problem("method-not-allowed", [], allow));
}

/** The path's methods, in alphabetical order; none if it has no route. @clauses ROUTE-02 */
function allowedMethods(app: Routed, path: string): string[] {
  const methods = routesOf(app, path).map((route) => route.method);
  if (methods.includes("GET")) {
    methods.push("HEAD");
  }
  return methods.length > 0 ? [...methods, "OPTIONS"].sort() : [];
}

/** The path's routes. */
function routesOf(app: Routed, path: string): RouterRoute[] {
  return METHODS.flatMap((method) => {
    const routes = app.router.match(method, path)[0].map(([[, route]]) => route);
    return routes.find((route) => route.method === method) ?? [];
  });
}
