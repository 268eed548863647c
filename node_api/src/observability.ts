/** What an operator sees: request ids, the log (one JSON object a line), and the metrics. */

import cluster from "node:cluster";
import { randomUUID } from "node:crypto";
import {
  AggregatorRegistry,
  Counter,
  collectDefaultMetrics,
  Histogram,
  register,
} from "prom-client";

// HDR-02
const REQUEST_ID = /^[A-Za-z0-9._-]{1,128}$/;

// LOG-03, METRICS-04
// Every value that a label can have is known beforehand: no client can make them grow.
const METHODS = new Set(["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]);
export const OTHER_METHOD = "other";
export const NO_ROUTE = "none";
const LABELS = ["method", "route", "status"] as const;
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

// METRICS-01
export const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

collectDefaultMetrics();
// METRICS-02
const REQUESTS = new Counter({
  name: "http_requests_total",
  help: "Requests answered.",
  labelNames: LABELS,
});
// METRICS-03
const DURATIONS = new Histogram({
  name: "http_request_duration_seconds",
  help: "Seconds from a request's head to its answer's.",
  labelNames: LABELS,
  buckets: BUCKETS,
});

// HDR-02, HDR-03
/** The id of a request: the one in its `X-Request-Id`, when it is alone and valid, or a UUID. */
export function requestId(sent: readonly string[]): string {
  const [first] = sent;
  return first !== undefined && sent.length === 1 && REQUEST_ID.test(first) ? first : randomUUID();
}

// REP-04
/** A moment as RFC 3339 text with three fraction digits and `Z`. */
export function timestamp(moment: Date): string {
  return moment.toISOString();
}

// OPS-01, OPS-12, LOG-01
/** Write one line to the log. */
export function log(
  level: string,
  message: string,
  fields: Readonly<Record<string, string | number>>,
): void {
  const line = { time: timestamp(new Date()), level, message, ...fields };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/** A request under way: its time begins with it. */
export class Observation {
  readonly #method: string;
  readonly #requestId: string;
  readonly #start = performance.now();

  constructor(method: string, thisRequest: string) {
    // LOG-03, METRICS-04
    this.#method = METHODS.has(method) ? method : OTHER_METHOD;
    this.#requestId = thisRequest;
  }

  /** Count the request, and log it, as its answer leaves; `route` is the path's template. */
  end(route: string, status: number): void {
    const milliseconds = performance.now() - this.#start;
    const labels = { method: this.#method, route, status };
    // METRICS-02
    REQUESTS.inc(labels);
    // METRICS-03
    DURATIONS.observe(labels, milliseconds / 1000);
    // LOG-01, LOG-04
    log("info", "request", {
      request_id: this.#requestId,
      ...labels,
      duration_ms: Math.round(milliseconds * 1000) / 1000,
    });
  }
}

// What a process asks the first one, and what that one answers; without a text, it has none.
type Metrics = { type: "metrics"; id: number; text?: string | null };
const workers = new AggregatorRegistry();
let asked = 0;

// METRICS-05
/** Have the processes that are started from here on answer together for the metrics. */
export function shareMetrics(): void {
  cluster.on("message", async (worker, message: Metrics) => {
    if (message.type === "metrics") {
      // A process that dies meanwhile leaves the others' answer incomplete.
      const text = await workers.clusterMetrics().catch(() => null);
      worker.send({ ...message, text } satisfies Metrics, () => undefined);
    }
  });
}

// METRICS-05
/** The metrics in Prometheus' text format, of all processes behind one port together. */
export function renderMetrics(): Promise<string> {
  if (!cluster.isWorker) {
    return register.metrics();
  }
  asked += 1;
  const id = asked;
  return new Promise((resolve, reject) => {
    const take = ({ type, id: answered, text }: Metrics) => {
      if (type === "metrics" && answered === id) {
        process.off("message", take);
        if (text) {
          resolve(text);
        } else {
          reject(new Error("Not every process answered for its metrics."));
        }
      }
    };
    process.on("message", take);
    process.send?.({ type: "metrics", id } satisfies Metrics);
  });
}
