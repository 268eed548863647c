/** Whether the service is alive, and whether it can serve. */

import { Hono } from "hono";
import { describeRoute } from "hono-openapi";
import type { Database } from "./database.ts";
import { content, headers, type Operation, problems, REQUEST_ID } from "./openapi.ts";

const STATUS = { $ref: "#/components/schemas/Status" };
const OK = { description: "Yes.", headers: headers(), content: content(STATUS, { status: "ok" }) };

const HEALTHZ: Operation = {
  operationId: "healthz",
  summary: "Is the service alive?",
  description: "Asks nothing else.",
  parameters: [REQUEST_ID],
  responses: { "200": OK, ...problems() },
};
const READYZ: Operation = {
  operationId: "readyz",
  summary: "Can the service serve?",
  description: "Asks the database.",
  parameters: [REQUEST_ID],
  responses: { "200": OK, ...problems("unavailable") },
};

/** `/healthz` and `/readyz`. */
export function healthRoutes(database: Database): Hono {
  const router = new Hono();

  router.get("/healthz", describeRoute(HEALTHZ), (c) => c.json({ status: "ok" }));

  router.get("/readyz", describeRoute(READYZ), async (c) => {
    await database.ping();
    return c.json({ status: "ok" });
  });

  return router;
}
