/**
 * Express on our own store: all that Hono's routes do, by the same functions, in another framework.
 *
 * After Express's production guide (NODE_ENV, no `X-Powered-By`), and with the entity tags that our
 * functions make in place of its own.
 */

import type { IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { arrayBuffer } from "node:stream/consumers";
import express, { type NextFunction, type Request, type Response } from "express";
import { Guard } from "../../node_api/src/auth/guard.ts";
import { Problem, renderProblem } from "../../node_api/src/http/problems.ts";
import {
  entityTags,
  JSON_ONLY,
  parseBody,
  parseJson,
  parseQuery,
  readBody,
} from "../../node_api/src/http/requests.ts";
import {
  log,
  NO_ROUTE,
  Observation,
  requestId,
} from "../../node_api/src/operation/observability.ts";
import { readSettings } from "../../node_api/src/settings.ts";
import { openDatabase } from "../../node_api/src/storage/database.ts";
import { nextLink, parsePage } from "../../node_api/src/users/pages.ts";
import { etag, NewUser } from "../../node_api/src/users/schemas.ts";
import * as store from "../../node_api/src/users/store.ts";

const Fields = NewUser.omit({ password: true });

const settings = readSettings(process.env);
const database = await openDatabase(settings);
const guard = new Guard(settings, database);

const app = express().set("env", "production").disable("x-powered-by").disable("etag");

app.use((request: Request, response: Response, next: NextFunction) => {
  const thisRequest = requestId(request.header("x-request-id"));
  const observation = new Observation(request.method, thisRequest);
  response.set({
    "X-Request-Id": thisRequest,
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
  });
  response.on("finish", () => {
    observation.end(request.route?.path ?? NO_ROUTE, response.statusCode);
  });
  next();
});

app.get("/users/:id", async (request, response) => {
  const { id } = await guard.user(request, request.params.id);
  const condition = entityTags(request, "If-None-Match");
  const user = await store.readUser(database.connection, id);
  response.set({ ETag: etag(user), "Cache-Control": "no-cache" });
  if (condition?.matchWeakly(etag(user))) {
    response.status(304).end();
  } else {
    response.json(user);
  }
});

app.get("/users", async (request, response) => {
  await guard.admin(request);
  const page = parsePage(parseQuery(query(request)));
  const users = await store.listUsers(database.connection, page);
  const shown = users.slice(0, page.limit);
  const last = users.length > page.limit ? shown.at(-1) : undefined;
  if (last) {
    response.set("Link", nextLink(page, last));
  }
  response.json(shown);
});

app.post("/users", async (request, response) => {
  const caller = await guard.registration(request);
  const fields = parseBody(
    Fields,
    parseJson(await readBody(request, JSON_ONLY, () => bytes(request))),
  );
  guard.checkRole(caller, fields.role);
  const now = new Date();
  const user = await database.transaction((connection) =>
    store.createUser(connection, fields, now),
  );
  response.status(201).set({ ETag: etag(user), "Cache-Control": "no-cache" });
  response.location(`/users/${user.id}`).json(user);
});

app.use(async (error: unknown, _: Request, response: Response, next: NextFunction) => {
  if (!(error instanceof Problem)) {
    next(error);
    return;
  }
  const answer = renderProblem(error);
  response
    .status(answer.status)
    .setHeaders(answer.headers)
    .end(await answer.text());
});

async function bytes(request: Request): Promise<Uint8Array> {
  return new Uint8Array(await arrayBuffer(request));
}

function query({ url = "" }: IncomingMessage): string {
  return url.split("?")[1] ?? "";
}

const server = app.listen({ host: settings.host, port: settings.port, backlog: 2048 }, () => {
  const { port } = server.address() as AddressInfo;
  log("info", "listening", { url: `http://127.0.0.1:${port}` });
});
process.on("SIGTERM", () => process.exit());
