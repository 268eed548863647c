/** Several processes behind one port (`WEB_CONCURRENCY`), each a service of its own. */

import cluster, { type Address, type Worker } from "node:cluster";
import { once } from "node:events";
import { constants } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { ENVIRONMENT } from "../environment.ts";
import { networksAgain } from "../http/addresses.ts";
import { logListening, onSignal } from "../http/server.ts";
import type { Settings } from "../settings.ts";
import { log, shareMetrics } from "./observability.ts";
import { WORKERS_STREAMS } from "./output.ts";

const RESTART_SECONDS = 1;
// A signal to all may end a worker before it is seen here: so long no end is taken for a death.
const SIGNAL_SECONDS = 0.1;

/**
 * Keep `settings.webConcurrency` processes serving until SIGTERM or SIGINT; then stop them.
 *
 * One that ends by itself is replaced. The first begins alone: if it can't listen, it has said so,
 * and its status is ours.
 *
 * @clauses OPS-04, OPS-24
 */
export async function supervise(settings: Settings): Promise<void> {
  const stop = new AbortController();
  onSignal(() => stop.abort());
  shareMetrics();
  // Each takes connections itself, as Python's do: one that stands still is given none
  // (METRICS-08).
  cluster.schedulingPolicy = cluster.SCHED_NONE;
  cluster.setupPrimary({ stdio: [...WORKERS_STREAMS] });
  const first = fork(settings);
  const listening = await Promise.race([once(first, "listening"), endOf(first)]);
  if (!listening) {
    process.exitCode = first.process.exitCode ?? 0;
    return;
  }
  logListening(listening[0] as Address, settings);
  const others = Array.from({ length: settings.webConcurrency - 1 }, () => fork(settings));
  await Promise.all([first, ...others].map((worker) => keepOne(worker, settings, stop.signal)));
}

/**
 * In a worker: stop as on SIGTERM once the first process is gone, however it ended.
 *
 * @clauses OPS-47
 */
export function stopWithFirst(worker: Worker): void {
  // It would end at once by itself.
  worker.exitedAfterDisconnect = true;
  worker.once("disconnect", () => process.kill(process.pid, "SIGTERM"));
}

/**
 * In a worker: the settings of the first process.
 *
 * Read anew they might be others: a file may have gone, or have another secret in it.
 *
 * @clauses OPS-24
 */
export async function givenSettings(): Promise<Settings> {
  const [given] = await once(process, "message");
  return {
    ...given,
    trustedProxies: networksAgain(given.trustedProxies),
    webhooksNetworks: networksAgain(given.webhooksNetworks),
  };
}

/** Start a worker. @clauses LOG-05, OPS-24 */
function fork(settings: Settings): Worker {
  const worker = cluster.fork(ENVIRONMENT);
  const { pid = 0, stderr } = worker.process;
  worker.send(settings, () => undefined);
  stderr?.on("data", (text) => process.stderr.write(text));
  worker.once("listening", () => log("info", "worker started", { pid }));
  return worker;
}

/** Wait until a worker has ended, and what it said last has been passed on. */
async function endOf(worker: Worker): Promise<void> {
  const { stderr } = worker.process;
  if (!worker.isDead()) {
    await once(worker, "exit");
  }
  if (stderr && !stderr.closed) {
    await once(stderr, "close");
  }
}

/** Start a worker anew whenever it dies, until all are to stop. @clauses OPS-24 */
async function keepOne(begun: Worker, settings: Settings, stop: AbortSignal): Promise<void> {
  let worker = begun;
  while (true) {
    const terminate = () => worker.process.kill("SIGTERM");
    stop.addEventListener("abort", terminate);
    if (stop.aborted) {
      terminate();
    }
    await endOf(worker);
    stop.removeEventListener("abort", terminate);
    await pause(SIGNAL_SECONDS, stop);
    if (!stop.aborted) {
      const { pid = 0, exitCode, signalCode } = worker.process;
      // As Python has it: of one that a signal ended, the signal's number, negative.
      const status = signalCode ? -constants.signals[signalCode] : (exitCode ?? 0);
      log("error", "worker died", { pid, status });
      await pause(RESTART_SECONDS, stop);
    }
    if (stop.aborted) {
      return;
    }
    worker = fork(settings);
  }
}

/** Wait so long, or until all are to stop. */
async function pause(seconds: number, stop: AbortSignal): Promise<void> {
  await sleep(seconds * 1000, undefined, { signal: stop }).catch(() => undefined);
}
