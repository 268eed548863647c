/** The application: what every answer carries, problems, and the routers, in reading order. */

import type { HttpBindings } from "@hono/node-server";
import { type Context, Hono, type MiddlewareHandler } from "hono";
import { matchedRoutes } from "hono/route";
import type { RouterRoute } from "hono/types";
import * as authDocs from "./auth/docs.ts";
import { Guard } from "./auth/guard.ts";
import { authRoutes } from "./auth/routes.ts";
import { corsHeaders } from "./cors.ts";
import { type Database, isUnavailable } from "./database.ts";
import { docsRoutes } from "./docs.ts";
import { healthRoutes } from "./health.ts";
import { log, NO_ROUTE, Observation, requestId } from "./observability.ts";
import { Problem, renderProblem } from "./problems.ts";
import { ACCEPT_PATCH } from "./requests.ts";
import type { Settings } from "./settings.ts";
import * as usersDocs from "./users/docs.ts";
import { usersRoutes } from "./users/routes.ts";

const METHODS = ["DELETE", "GET", "PATCH", "POST", "PUT"];
const PARAMETER = /:(\w+)/g;

type Env = { Bindings: HttpBindings; Variables: { requestId: string } };
export type App = Hono<Env>;

/** The service over this database, ready to be served. */
export function createApp(settings: Settings, database: Database): App {
  // ROUTE-04, ROUTE-05, ROUTE-09, ROUTE-15
  const app = new Hono<Env>({ getPath: (_, options) => options?.env?.incoming.routePath ?? "" });
  app.use(commonHeaders(app, settings.corsOrigins));
  // OPS-11
  app.onError(answerError);
  app.notFound((c) => answerUnrouted(app, c));
  app.route("/", authRoutes(database, settings));
  app.route("/", usersRoutes(database, settings, new Guard(settings, database)));
  // RIGHT-13
  app.route("/", healthRoutes(database));
  app.route("/", docsRoutes(app, { ...authDocs.SCHEMAS, ...usersDocs.SCHEMAS }, settings));
  return app;
}

/** Middleware: the header fields that every answer carries. */
function commonHeaders(app: App, corsOrigins: readonly string[]): MiddlewareHandler<Env> {
  return async (c, next) => {
    const { incoming, outgoing } = c.env;
    const sent = incoming.headersDistinct;
    const thisRequest = requestId(sent["x-request-id"] ?? []);
    const observation = new Observation(incoming.sentMethod, thisRequest);
    c.set("requestId", thisRequest);
    // On Node's own answer, where the adapter adds those of Hono's: these would be copied first.
    // HDR-01, IDEM-03
    outgoing.setHeader("X-Request-Id", thisRequest);
    // HDR-05
    outgoing.setHeader("X-Content-Type-Options", "nosniff");
    // HDR-06
    outgoing.setHeader("Cache-Control", "no-store");
    await next();
    // CORS-02, CORS-03
    const cors = corsHeaders(
      corsOrigins,
      sent["origin"] ?? [],
      sent["access-control-request-method"] ?? [],
      c.res.status === 204 ? c.res.headers.get("Allow") : null,
    );
    for (const [name, value] of Object.entries(cors)) {
      outgoing.setHeader(name, value);
    }
    // LOG-01, METRICS-02, METRICS-03
    // Where the client has gone before its request was read, nothing is answered.
    if (!incoming.readableAborted) {
      observation.end(routeTemplate(app, c), c.res.status);
    }
  };
}

// LOG-02, METRICS-04
/** The template of the path, such as `/users/{id}`, whatever its method. */
function routeTemplate(app: App, c: Context<Env>): string {
  const matched = matchedRoutes(c).at(-1);
  const route = matched?.method === c.req.method ? matched : routesOf(app, c.req.path)[0];
  return route ? route.path.replace(PARAMETER, "{$1}") : NO_ROUTE;
}

/** Render a problem that was thrown, or what its lack means. */
function answerError(error: Error, c: Context<Env>): Response {
  return error instanceof Problem ? renderProblem(error) : answerFailure(error, c);
}

/** 503 when the database couldn't be had, 500 for what nobody expected; the log has the cause. */
function answerFailure(error: Error, c: Context<Env>): Response {
  if (c.env.incoming.readableAborted) {
    // The client has gone: nobody reads the answer.
    return c.body(null);
  }
  const cause = error.stack ?? String(error);
  // OPS-12
  log("error", "request failed", { request_id: c.get("requestId"), error: cause });
  // HEALTH-03, HEALTH-05
  if (isUnavailable(error)) {
    return renderProblem(new Problem("unavailable", [], { "Retry-After": "1" }));
  }
  // OPS-11
  return renderProblem(new Problem("internal"));
}

// ROUTE-13, BODY-07
/** 404 for a path that has no route; else 204 for OPTIONS and 405 for any other method. */
function answerUnrouted(app: App, c: Context<Env>): Response {
  const methods = allowedMethods(app, c.req.path);
  // ROUTE-03, PROB-10
  if (methods.length === 0) {
    return renderProblem(new Problem("not-found"));
  }
  const allow = { Allow: methods.join(", ") };
  // ROUTE-12
  if (c.req.method === "OPTIONS") {
    // ROUTE-16
    const accept = methods.includes("PATCH") ? { "Accept-Patch": ACCEPT_PATCH } : {};
    return c.body(null, 204, { ...allow, ...accept });
  }
  // ROUTE-01, PROB-11
  return renderProblem(new Problem("method-not-allowed", [], allow));
}

// ROUTE-02
/** The path's methods, in alphabetical order; none if it has no route. */
function allowedMethods(app: App, path: string): string[] {
  const methods = routesOf(app, path).map((route) => route.method);
  if (methods.includes("GET")) {
    methods.push("HEAD");
  }
  return methods.length > 0 ? [...methods, "OPTIONS"].sort() : [];
}

/** The path's routes. */
function routesOf(app: App, path: string): RouterRoute[] {
  return METHODS.flatMap((method) => {
    const routes = app.router.match(method, path)[0].map(([[, route]]) => route);
    return routes.find((route) => route.method === method) ?? [];
  });
}
