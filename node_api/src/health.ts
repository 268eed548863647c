/** What an operator asks: whether the service is alive, whether it can serve, what it has done. */

import { Hono } from "hono";
import { describeRoute } from "hono-openapi";
import type { Database } from "./database.ts";
import { METRICS_TYPE, renderMetrics } from "./observability.ts";
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
const SAMPLE = 'http_requests_total{method="GET",route="/users/{id}",status="200"} 1\n';
const METRICS: Operation = {
  operationId: "metrics",
  summary: "What has the service done?",
  description: "Requests and their durations, in Prometheus' text format.",
  parameters: [REQUEST_ID],
  responses: {
    "200": {
      description: "The metrics.",
      headers: headers(),
      content: content({ type: "string" }, SAMPLE, "text/plain"),
    },
    ...problems(),
  },
};

/** `/healthz`, `/readyz` and `/metrics`. */
export function healthRoutes(database: Database) {
  return (
    new Hono()
      // HEALTH-01, HEALTH-04
      .get("/healthz", describeRoute(HEALTHZ), (c) => c.json({ status: "ok" }))

      // HEALTH-02, HEALTH-03
      .get("/readyz", describeRoute(READYZ), async (c) => {
        await database.ping();
        return c.json({ status: "ok" });
      })

      // METRICS-01
      .get("/metrics", describeRoute(METRICS), async (c) =>
        c.body(await renderMetrics(), 200, { "Content-Type": METRICS_TYPE }),
      )
  );
}
