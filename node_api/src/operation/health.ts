/** What an operator asks: whether the service is alive, whether it can serve, what it has done. */

import { Hono } from "hono";
import { content, describe, headers, type Piece } from "../http/openapi.ts";
import type { Env } from "../http/readers.ts";
import { METRICS_TYPE, renderMetrics } from "./observability.ts";

const STATUS = { $ref: "#/components/schemas/Status" };
const OK = { description: "Yes.", headers: headers(), content: content(STATUS, { status: "ok" }) };

const HEALTHZ: Piece = {
  operationId: "healthz",
  summary: "Is the service alive?",
  description: "Asks nothing else.",
  responses: { "200": OK },
};
const READYZ: Piece = {
  operationId: "readyz",
  summary: "Can the service serve?",
  description: "Asks the database.",
  responses: { "200": OK },
  "x-problems": ["unavailable"],
};
const SAMPLE = 'http_requests_total{method="GET",route="/users/{id}",status="200"} 1\n';
const METRICS: Piece = {
  operationId: "metrics",
  summary: "What has the service done?",
  description: "Requests and their durations, in Prometheus' text format.",
  responses: {
    "200": {
      description: "The metrics.",
      headers: headers(),
      content: content({ type: "string" }, SAMPLE, "text/plain"),
    },
  },
};

export const healthRoutes = new Hono<Env>()
  /** Whether the service is alive. @clauses HEALTH-01, HEALTH-04 */
  .get("/healthz", describe(HEALTHZ), (c) => c.json({ status: "ok" }))

  /** Whether it can serve. @clauses HEALTH-02, HEALTH-03 */
  .get("/readyz", describe(READYZ), async (c) => {
    await c.get("database").ping();
    return c.json({ status: "ok" });
  })

  /** What it has done. @clauses METRICS-01 */
  .get("/metrics", describe(METRICS), async (c) =>
    c.body(await renderMetrics(), 200, { "Content-Type": METRICS_TYPE }),
  );
