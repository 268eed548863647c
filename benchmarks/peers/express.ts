/**
 * Express 5 in Hono's place: the whole service on node_api's own modules, in another framework.
 *
 * Readers, store, problems and the server below are node_api's; Express brings the routes, the chain
 * and the answers. Only the OpenAPI document comes from Hono's routes, which describe themselves.
 */

// First: no library that is imported may read it (OPS-45).
import "../../node_api/src/environment.ts";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import express, {
  type ErrorRequestHandler,
  type Response as ExpressResponse,
  type Request,
  type RequestHandler,
} from "express";
import type { Context, MiddlewareHandler } from "hono";
import { createApp } from "../../node_api/src/app.ts";
import { createFirstAdmin } from "../../node_api/src/auth/admin.ts";
import * as authDocs from "../../node_api/src/auth/docs.ts";
import { ERRORS, GrantError, parseGrant } from "../../node_api/src/auth/grants.ts";
import {
  admin,
  anyCaller,
  anyUser,
  type Caller,
  Guard,
  mayRegister,
  ownUser,
  type Target,
} from "../../node_api/src/auth/guard.ts";
import { logIn } from "../../node_api/src/auth/routes.ts";
import { issueToken } from "../../node_api/src/auth/tokens.ts";
import { ENVIRONMENT } from "../../node_api/src/environment.ts";
import * as eventsDocs from "../../node_api/src/events/docs.ts";
import { Feed } from "../../node_api/src/events/feed.ts";
import { handshake, SUBPROTOCOL, socketCaller } from "../../node_api/src/events/handshake.ts";
import {
  type EventPage,
  eventPageQuery,
  nextLink as nextEventsLink,
  streamStart,
} from "../../node_api/src/events/pages.ts";
import { SOCKETS } from "../../node_api/src/events/routes.ts";
import { toJson } from "../../node_api/src/events/schemas.ts";
import { Events } from "../../node_api/src/events/service.ts";
import { Conversation } from "../../node_api/src/events/sockets.ts";
import { Stream } from "../../node_api/src/events/streams.ts";
import { corsHeaders } from "../../node_api/src/http/cors.ts";
import { docsRoutes } from "../../node_api/src/http/docs.ts";
import { asItRuns, openapiDocument } from "../../node_api/src/http/openapi.ts";
import { Problem, renderProblem } from "../../node_api/src/http/problems.ts";
import {
  type Below,
  clientAddress,
  ifMatch,
  ifNoneMatch,
  ignoredBody,
  jsonBody,
  reader,
  type Sent,
  type SocketOpener,
} from "../../node_api/src/http/readers.ts";
import {
  ACCEPT_PATCH,
  ClientGone,
  type EntityTags,
  FORM,
  MERGE_PATCH,
  readBody,
  routePath,
  splitUrl,
} from "../../node_api/src/http/requests.ts";
import { listen, logListening, NODE_SERVER, serve } from "../../node_api/src/http/server.ts";
import {
  log,
  METRICS_TYPE,
  NO_ROUTE,
  Observation,
  renderMetrics,
  requestId,
} from "../../node_api/src/operation/observability.ts";
import { readSettings, type Settings } from "../../node_api/src/settings.ts";
import { isUnavailable, openDatabase } from "../../node_api/src/storage/database.ts";
import * as usersDocs from "../../node_api/src/users/docs.ts";
import { idempotencyKey } from "../../node_api/src/users/idempotency.ts";
import { nextLink, type Page, pageQuery } from "../../node_api/src/users/pages.ts";
import { etag, NewUser, type User, UserChanges } from "../../node_api/src/users/schemas.ts";
import { Users } from "../../node_api/src/users/service.ts";
import { Deliveries } from "../../node_api/src/webhooks/deliveries.ts";
import * as webhooksDocs from "../../node_api/src/webhooks/docs.ts";
import {
  type DeliveryPage,
  deliveryPageQuery,
  nextLink as nextDeliveriesLink,
} from "../../node_api/src/webhooks/pages.ts";
import { eventId, webhookId, wholeWebhook } from "../../node_api/src/webhooks/routes.ts";
import type { NewWebhook } from "../../node_api/src/webhooks/schemas.ts";
import { Webhooks } from "../../node_api/src/webhooks/service.ts";

const PARAMETER = /:(\w+)/g;

type Fields = Record<string, string | number>;
/** What Express' router keeps of a route, and its types don't tell. */
type Layer = {
  match(path: string): boolean;
  route?: { path: string; methods: Record<string, boolean> };
};

/** What readers set, by its name. */
type Values = {
  settings: Settings;
  below: Below;
  guard: Guard;
  caller: Caller | null;
  target: Target;
  page: Page;
  condition: EntityTags | null;
  key: string | null;
  sent: Sent<NewUser>;
  address: string;
  form: Uint8Array;
  after: number | null;
  openSocket: SocketOpener;
  id: number;
  event: number;
};

/** As much of Hono's context as node_api's readers ask for, made of Express' request. */
class Asked {
  readonly requestId: string;
  readonly observation: Observation;
  readonly env: { incoming: Request; outgoing: ExpressResponse };
  readonly #values: Partial<Values> = { settings, guard, below: NODE_SERVER };

  constructor(incoming: Request, outgoing: ExpressResponse) {
    this.env = { incoming, outgoing };
    this.requestId = requestId(this.req.header("x-request-id"));
    this.observation = new Observation(incoming.method, this.requestId);
  }

  get req() {
    const { incoming } = this.env;
    return {
      url: `http://localhost${incoming.url}`,
      header: (name: string) => incoming.headersDistinct[name.toLowerCase()]?.join(", "),
      param: (name: string) => incoming.params[name],
    };
  }

  get<Name extends keyof Values>(name: Name): Values[Name] {
    return this.#values[name] as Values[Name];
  }

  set<Name extends keyof Values>(name: Name, value: Values[Name]): void {
    this.#values[name] = value;
  }
}

const settings = readSettings(ENVIRONMENT);
const database = await openDatabase(settings);
await createFirstAdmin(database, settings);
const guard = new Guard(settings, database);
const users = new Users(settings, database, guard);
const events = new Events(settings, database);
const feed = new Feed(settings, events, guard, NODE_SERVER.stopping);
const webhooks = new Webhooks(settings, database, guard);
const deliveries = new Deliveries(settings, database, events, NODE_SERVER.stopping);
const asked = new WeakMap<Request, Asked>();

const wholeUser = jsonBody("NewUser", NewUser, {
  example: usersDocs.NEW_USER,
  malformedMember: "email",
});
const changes = jsonBody("UserChanges", UserChanges, {
  example: usersDocs.CHANGES,
  malformedMember: "email",
  accepted: MERGE_PATCH,
});
const form = reader("form", (c) => readBody(c.req, FORM, () => NODE_SERVER.readBody(c)));

const app = express();
app.enable("case sensitive routing").enable("strict routing").disable("x-powered-by");

app.use((request, response, next) => {
  asked.set(request, new Asked(request, response));
  next();
});

app
  .route("/users")
  .post(
    reads(mayRegister, idempotencyKey, wholeUser, clientAddress),
    handle(async (c) => {
      const [user, replayed] = await users.create(
        c.get("caller"),
        c.get("key"),
        c.get("sent"),
        c.get("address"),
      );
      answerUser(c, user, 201, {
        Location: `/users/${user.id}`,
        ...(replayed && { "Idempotency-Replayed": "true" }),
      });
    }),
  )
  .get(
    reads(admin, pageQuery),
    handle(async (c) => {
      const page = c.get("page");
      const found = await users.listPage(page);
      const shown = found.slice(0, page.limit);
      const last = found.length > page.limit ? shown.at(-1) : undefined;
      answerJson(c, 200, shown, last ? { Link: nextLink(page, last) } : {});
    }),
  );

app
  .route("/users/:id")
  .get(
    reads(ownUser, ifNoneMatch),
    handle(async (c) => {
      const user = await users.read(c.get("target").id);
      if (c.get("condition")?.matchWeakly(etag(user))) {
        answer(c, 304, tagged(user));
      } else {
        answerUser(c, user, 200);
      }
    }),
  )
  .put(reads(ownUser, ifMatch, wholeUser), handle(change))
  .patch(reads(ownUser, ifMatch, changes), handle(change))
  .delete(
    reads(anyUser, ifMatch, ignoredBody),
    handle(async (c) => {
      await users.delete(c.get("target"), c.get("condition"));
      answer(c, 204, {});
    }),
  );

app.route("/events").get(
  reads(anyCaller, eventPageQuery),
  handle(async (c) => {
    const page = c.get("page") as unknown as EventPage;
    const found = await events.listPage(c.get("caller"), page);
    const shown = found.slice(0, page.limit);
    const last = found.length > page.limit ? shown.at(-1) : undefined;
    const link = last ? { Link: nextEventsLink(page, last.position) } : {};
    answer(
      c,
      200,
      { "Content-Type": "application/json", ...link },
      `[${shown.map(toJson).join()}]`,
    );
  }),
);

app.route("/events/stream").get(
  reads(anyCaller, streamStart),
  handle(async (c) => {
    const position = await feed.begin(c.get("after"));
    const follower = feed.join(c.get("caller"), position);
    const { incoming, outgoing } = c.env;
    begin(c, 200, { "Content-Type": "text/event-stream", "X-Accel-Buffering": "no" });
    if (incoming.method === "HEAD") {
      feed.leave(follower);
      outgoing.end();
    } else {
      // It fails where the client is gone.
      await pipeline(new Stream(feed, follower), outgoing).catch(() => undefined);
    }
  }),
);

app.route("/events/socket").get(
  reads(socketCaller, handshake),
  handle((c) => {
    const follower = feed.join(c.get("caller"));
    c.get("openSocket")(SUBPROTOCOL, async (socket) => {
      await new Conversation(socket, feed, follower, settings.requestTimeout).run();
      feed.leave(follower);
    });
    c.observation.end("/events/socket", 101);
    // The server below answers, with these fields, once the handler is done, which it is told so.
    Object.assign(c.env.outgoing, { fields: { "X-Request-Id": c.requestId } }).emit("close");
  }),
);

app
  .route("/webhooks")
  .post(
    reads(admin, wholeWebhook),
    handle(async (c) => {
      const fields = c.get("sent").fields as unknown as NewWebhook;
      const webhook = await webhooks.create(c.get("caller"), fields);
      answerJson(c, 201, webhook, { Location: `/webhooks/${webhook.id}` });
    }),
  )
  .get(
    reads(admin),
    handle(async (c) => answerJson(c, 200, await webhooks.listAll())),
  );

app
  .route("/webhooks/:id")
  .get(
    reads(admin, webhookId),
    handle(async (c) => answerJson(c, 200, await webhooks.read(c.get("id")))),
  )
  .delete(
    reads(admin, webhookId, ignoredBody),
    handle(async (c) => {
      await webhooks.delete(c.get("caller"), c.get("id"));
      answer(c, 204, {});
    }),
  );

app.route("/webhooks/:id/deliveries").get(
  reads(admin, webhookId, deliveryPageQuery),
  handle(async (c) => {
    const id = c.get("id");
    const page = c.get("page") as unknown as DeliveryPage;
    const found = await webhooks.listDeliveries(id, page);
    const shown = found.slice(0, page.limit);
    const last = found.length > page.limit ? shown.at(-1) : undefined;
    answerJson(c, 200, shown, last ? { Link: nextDeliveriesLink(id, page, last.event) } : {});
  }),
);

app.route("/webhooks/:id/deliveries/:event").post(
  reads(admin, webhookId, eventId, ignoredBody),
  handle(async (c) => {
    const delivery = await webhooks.sendAgain(c.get("caller"), c.get("id"), c.get("event"));
    answerJson(c, 202, delivery);
  }),
);

app.route("/auth/token").post(
  reads(form, clientAddress),
  handle(async (c) => {
    try {
      const [email, password] = parseGrant(c.get("form"), settings);
      const user = await logIn(database, settings, email, password, c.get("address"));
      answerJson(c, 200, {
        access_token: await issueToken(user, new Date(), settings),
        token_type: "Bearer",
        expires_in: settings.authTokenTtl,
      });
    } catch (error) {
      if (!(error instanceof GrantError)) {
        throw error;
      }
      answerJson(c, 400, { error: error.code, error_description: ERRORS[error.code] });
    }
  }),
);

app.route("/healthz").get(handle((c) => answerJson(c, 200, { status: "ok" })));
app.route("/readyz").get(
  handle(async (c) => {
    await database.ping();
    answerJson(c, 200, { status: "ok" });
  }),
);
app
  .route("/metrics")
  .get(
    handle(async (c) => answer(c, 200, { "Content-Type": METRICS_TYPE }, await renderMetrics())),
  );

const documented = createApp(settings, database);
const schemas = {
  ...authDocs.SCHEMAS,
  ...usersDocs.SCHEMAS,
  ...eventsDocs.SCHEMAS,
  ...webhooksDocs.SCHEMAS,
};
const page = docsRoutes(documented, schemas);
app.route("/openapi.json").get(
  handle(async (c) => {
    answerJson(c, 200, asItRuns(await openapiDocument(documented, schemas), settings));
  }),
);
for (const path of [
  "/docs",
  "/docs/init.js",
  "/docs/swagger-ui-bundle.js",
  "/docs/swagger-ui.css",
]) {
  app.route(path).get(handle(async (c) => answerWith(c, await page.request(path))));
}

app.use(handle(answerUnrouted));
app.use((async (error: Error, request, _response, _next) => {
  const c = asked.get(request);
  if (c && !(error instanceof ClientGone)) {
    await answerWith(c, renderProblem(error instanceof Problem ? error : failure(c, error)));
  }
}) as ErrorRequestHandler);

const server = await listen(settings);
logListening(server.address() as AddressInfo, settings);
const serving = serve(
  (incoming, outgoing) =>
    new Promise((resolve) => {
      outgoing.once("close", resolve);
      app(incoming as Request, outgoing as ExpressResponse);
    }),
  settings,
  server,
  SOCKETS,
);
await Promise.all([serving, deliveries.run()]);
await database.close();
process.exit();

/** node_api's readers, one after the other: they throw what refuses the request. */
function reads(...readers: MiddlewareHandler[]): RequestHandler {
  return async (request, _response, next) => {
    const c = asked.get(request) as unknown as Context;
    for (const read of readers) {
      await read(c, async () => undefined);
    }
    next();
  };
}

/** A handler of what the readers have read. */
function handle(act: (c: Asked) => void | Promise<void>): RequestHandler {
  return async (request) => await act(asked.get(request) as Asked);
}

async function change(c: Asked): Promise<void> {
  const user = await users.change(c.get("target"), c.get("condition"), c.get("sent").fields);
  answerUser(c, user, 200);
}

function answerUser(c: Asked, user: User, status: number, headers: Fields = {}): void {
  answerJson(c, status, user, { ...tagged(user), ...headers });
}

function tagged(user: User): Fields {
  return { ETag: etag(user), "Cache-Control": "no-cache" };
}

function answerJson(c: Asked, status: number, value: object, headers: Fields = {}): void {
  answer(c, status, { "Content-Type": "application/json", ...headers }, JSON.stringify(value));
}

/** 404 for a path that has no route; else 204 for OPTIONS and 405 for any other method. */
function answerUnrouted(c: Asked): void {
  const methods = Object.keys(routeOf(c)?.methods ?? {}).map((method) => method.toUpperCase());
  if (methods.length === 0) {
    throw new Problem("not-found");
  }
  if (methods.includes("GET")) {
    methods.push("HEAD");
  }
  const allow = { Allow: [...methods, "OPTIONS"].sort().join(", ") };
  if (c.env.incoming.method !== "OPTIONS") {
    throw new Problem("method-not-allowed", [], allow);
  }
  answer(c, 204, { ...allow, ...(methods.includes("PATCH") && { "Accept-Patch": ACCEPT_PATCH }) });
}

/** What is told of an error that is no problem; its cause goes into the log. */
function failure(c: Asked, error: Error): Problem {
  const cause = error.stack ?? String(error);
  log("error", "request failed", { request_id: c.requestId, error: cause });
  return new Problem(isUnavailable(error) ? "unavailable" : "internal");
}

async function answerWith(c: Asked, { status, headers, body }: globalThis.Response): Promise<void> {
  answer(c, status, Object.fromEntries(headers), body ? await buffer(body) : "");
}

/** Answer with this body. */
function answer(c: Asked, status: number, headers: Fields, body: string | Uint8Array = ""): void {
  const { incoming, outgoing } = c.env;
  const length =
    status === 204 || status === 304 ? {} : { "Content-Length": Buffer.byteLength(body) };
  begin(c, status, { ...length, ...headers });
  outgoing.end(incoming.method === "HEAD" ? undefined : body);
}

/** Begin an answer, with the header fields that every answer carries. */
function begin(c: Asked, status: number, headers: Fields): void {
  const { outgoing } = c.env;
  outgoing.statusCode = status;
  const all = {
    "X-Request-Id": c.requestId,
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    ...corsHeaders(
      settings.corsOrigins,
      c.req.header("origin"),
      c.req.header("access-control-request-method"),
      status === 204 ? String(headers["Allow"] ?? "") : null,
    ),
  };
  for (const [name, value] of Object.entries({ ...all, ...headers })) {
    outgoing.setHeader(name, value);
  }
  const path = routeOf(c)?.path;
  c.observation.end(path?.replace(PARAMETER, "{$1}") ?? NO_ROUTE, status);
}

/** The route of the request's path, whatever its method. */
function routeOf(c: Asked) {
  const path = routePath(splitUrl(c.req.url)[0]);
  return (app.router.stack as unknown as Layer[]).find((layer) => layer.route && layer.match(path))
    ?.route;
}
