/**
 * `plain`, with what a good team adds before others depend on it: ids, a log, and metrics.
 *
 * A request id (Hono's own middleware), a line of JSON a request (pino), and Prometheus' metrics
 * (`@hono/prometheus`): what our services do for every request, by the libraries that are used for
 * it.
 */

import { prometheus } from "@hono/prometheus";
import { Hono } from "hono";
import { createMiddleware } from "hono/factory";
import { type RequestIdVariables, requestId } from "hono/request-id";
import { routePath } from "hono/route";
import { pino } from "pino";
import { listen, app as plain } from "./plain.ts";

type Env = { Variables: RequestIdVariables };

const logger = pino({
  base: null,
  messageKey: "message",
  timestamp: pino.stdTimeFunctions.isoTime,
});
const { printMetrics, registerMetrics } = prometheus();

/** A line for each request, once it is answered. */
const logged = createMiddleware<Env>(async (c, next) => {
  const start = performance.now();
  await next();
  const line = {
    request_id: c.get("requestId"),
    method: c.req.method,
    route: routePath(c, -1),
    status: c.res.status,
    duration_ms: Math.round((performance.now() - start) * 1000) / 1000,
  };
  logger.info(line, "request");
});

const app = new Hono<Env>()
  .use(requestId(), logged, registerMetrics)
  .get("/metrics", printMetrics)
  .route("/", plain);

listen(app);
