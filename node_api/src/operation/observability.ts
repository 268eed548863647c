/** What an operator sees: request ids, the log (one JSON object a line), and the metrics. */

import cluster, { type Worker } from "node:cluster";
import { randomUUID } from "node:crypto";
import {
  AggregatorRegistry,
  Counter,
  collectDefaultMetrics,
  Histogram,
  register,
} from "prom-client";
import { Output } from "./output.ts";

export const REQUEST_ID = /^[A-Za-z0-9._-]{1,128}$/;

// A label's values are all known beforehand, so no client can add to them (LOG-03, METRICS-04).
const METHODS = new Set(["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]);
export const OTHER_METHOD = "other";
export const NO_ROUTE = "none";
const LABELS = ["method", "route", "status"] as const;
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

export const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

collectDefaultMetrics();
const REQUESTS = new Counter({
  name: "http_requests_total",
  help: "Requests answered.",
  labelNames: LABELS,
});
const DURATIONS = new Histogram({
  name: "http_request_duration_seconds",
  help: "Seconds from a request's head to its answer's.",
  labelNames: LABELS,
  buckets: BUCKETS,
});

/**
 * The id of a request: the one in its `X-Request-Id`, when it is alone and valid, or a UUID.
 *
 * @clauses HDR-02, HDR-03
 */
export function requestId(sent: string | undefined): string {
  return sent !== undefined && REQUEST_ID.test(sent) ? sent : randomUUID();
}

/** A moment as RFC 3339 text with three fraction digits and `Z`. @clauses REP-04 */
export function timestamp(moment: Date): string {
  return moment.toISOString();
}

/** Write one line to the log. @clauses LOG-01, OPS-01, OPS-12 */
export function log(level: string, message: string, fields: Fields): void {
  LINES.write(line(level, message, fields));
}

/** The error and where it arose, for the log. */
export function trace(error: unknown): string {
  return (error instanceof Error && error.stack) || String(error);
}

type Fields = Readonly<Record<string, string | number>>;

function line(level: string, message: string, fields: Fields): string {
  return JSON.stringify({ time: timestamp(new Date()), level, message, ...fields });
}

const LINES = new Output((count) => line("warning", "log lines dropped", { count }));
process.once("exit", () => LINES.end());

// Whether there is something to tell the first process.
let counted = false;

/** A request under way, timed from here on. */
export class Observation {
  readonly #method: string;
  readonly #requestId: string;
  readonly #start = performance.now();

  /** Begin to measure an answer. @clauses LOG-03, METRICS-04 */
  constructor(method: string, thisRequest: string) {
    this.#method = METHODS.has(method) ? method : OTHER_METHOD;
    this.#requestId = thisRequest;
  }

  /**
   * Count the request, and log it, as its answer leaves; `route` is the path's template.
   *
   * @clauses LOG-01, LOG-04, METRICS-02, METRICS-03
   */
  end(route: string, status: number): void {
    const milliseconds = performance.now() - this.#start;
    const labels = { method: this.#method, route, status };
    counted = true;
    REQUESTS.inc(labels);
    DURATIONS.observe(labels, milliseconds / 1000);
    log("info", "request", {
      request_id: this.#requestId,
      ...labels,
      duration_ms: Math.round(milliseconds * 1000) / 1000,
    });
  }
}

// What a process has counted.
type Counts = Awaited<ReturnType<typeof register.getMetricsAsJSON>>;
// What it tells the first one: now and then (the question is 0), because that one asks for it, or as
// it asks for what all have counted. And what the first one says to it.
type Told = { type: "told" | "asks"; question: number; counts: Counts };
type Said = { type: "tell"; question: number } | { type: "all"; question: number; text: string };

const TELL_SECONDS = 1;
// The others are waited for so long, and the first one itself.
const WAIT_SECONDS = 0.9;
const WAIT_FOR_FIRST_SECONDS = 1.5;

/**
 * Have the processes that are started from here on answer together for the metrics.
 *
 * @clauses METRICS-05, METRICS-07, METRICS-08
 */
export function shareMetrics(): void {
  // What each has told last, and what those that are gone have counted.
  const told = new Map<number, Counts>();
  let gone: Counts = [];
  // Whose answers a question waits for, and what is to be done when all are there.
  const waiting = new Map<number, { workers: Set<number>; done: () => void }>();
  let questions = 0;

  async function askAllBut(asking: Worker): Promise<void> {
    const others = Object.values(cluster.workers ?? {}).filter(
      (worker) => worker !== undefined && worker !== asking && worker.isConnected(),
    ) as Worker[];
    questions += 1;
    const question = questions;
    const { promise, resolve } = Promise.withResolvers<void>();
    waiting.set(question, { workers: new Set(others.map(({ id }) => id)), done: resolve });
    for (const worker of others) {
      worker.send({ type: "tell", question } satisfies Said, () => undefined);
    }
    const timer = setTimeout(resolve, others.length > 0 ? WAIT_SECONDS * 1000 : 0);
    await promise;
    clearTimeout(timer);
    waiting.delete(question);
  }

  function answered(worker: Worker, question: number): void {
    const { workers, done } = waiting.get(question) ?? {};
    if (workers?.delete(worker.id) && workers.size === 0) {
      done?.();
    }
  }

  cluster.on("message", async (worker, { type, question, counts }: Told) => {
    told.set(worker.id, counts);
    if (type === "asks") {
      await askAllBut(worker);
      const text = await AggregatorRegistry.aggregate([gone, ...told.values()]).metrics();
      // To all, as each may be asked while this process stands still. The one that asks comes last:
      // what it answers the others have been told by then.
      for (const each of Object.values(cluster.workers ?? {})) {
        if (each !== worker) {
          each?.send({ type: "all", question: 0, text } satisfies Said, () => undefined);
        }
      }
      worker.send({ type: "all", question, text } satisfies Said, () => undefined);
    } else {
      answered(worker, question);
    }
  });
  cluster.on("disconnect", (worker) => {
    const together = AggregatorRegistry.aggregate([gone, told.get(worker.id) ?? []]);
    // What else was measured of a process has gone with it.
    gone = (together.getMetricsAsArray() as Counts).filter(({ type }) =>
      ["counter", "histogram"].includes(String(type)),
    );
    told.delete(worker.id);
    for (const question of waiting.keys()) {
      answered(worker, question);
    }
  });
}

async function tell(type: Told["type"], question: number): Promise<void> {
  const counts = await register.getMetricsAsJSON();
  const message: Told = { type, question, counts };
  process.send?.(message, undefined, undefined, () => undefined);
}

// What is to be done with the answers that this process waits for.
const awaited = new Map<number, (text: string) => void>();
// What the first process has said last, to anybody.
let latest: string | null = null;

if (cluster.isWorker) {
  process.on("message", (said: Said) => {
    if (said.type === "tell") {
      void tell("told", said.question);
    } else {
      latest = said.text;
      awaited.get(said.question)?.(said.text);
    }
  });
  // `kill -9` takes along no more than was counted since (METRICS-07).
  setInterval(() => {
    if (counted) {
      counted = false;
      void tell("told", 0);
    }
  }, TELL_SECONDS * 1000).unref();
}

let asked = 0;

/**
 * The metrics in Prometheus' text format, of all processes behind one port together.
 *
 * @clauses METRICS-05, METRICS-08
 */
export async function renderMetrics(): Promise<string> {
  if (!cluster.isWorker) {
    return register.metrics();
  }
  asked += 1;
  const question = asked;
  const { promise, resolve } = Promise.withResolvers<string | null>();
  awaited.set(question, resolve);
  const timer = setTimeout(() => resolve(latest), WAIT_FOR_FIRST_SECONDS * 1000);
  await tell("asks", question);
  const text = await promise;
  awaited.delete(question);
  clearTimeout(timer);
  // The first process may have stood still since before anybody asked: then there is none so far.
  return text ?? (await register.metrics());
}
