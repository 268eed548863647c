/** Start the service: read the settings, open the database, listen, and stop gracefully. */

// First: no library that is imported may read it (OPS-45).
import "./environment.ts";
import cluster from "node:cluster";
import type { AddressInfo } from "node:net";
import { createApp } from "./app.ts";
import { AdminError, createFirstAdmin } from "./auth/admin.ts";
import { ENVIRONMENT } from "./environment.ts";
import { SOCKETS } from "./events/routes.ts";
import { Events } from "./events/service.ts";
import {
  answering,
  endWellOnSignals,
  listen,
  logListening,
  NODE_SERVER,
  serve,
  withinOpenFiles,
} from "./http/server.ts";
import { letStderrFail } from "./operation/output.ts";
import { givenSettings, stopWithFirst, supervise } from "./operation/workers.ts";
import { readSettings, type Settings, SettingsError } from "./settings.ts";
import { type Database, openDatabase } from "./storage/database.ts";
import { SchemaError } from "./storage/migrate.ts";
import { Deliveries } from "./webhooks/deliveries.ts";

/**
 * Serve until told to stop. Exits with one clear line when that can't even begin.
 *
 * @clauses OPS-04, OPS-17, RIGHT-12
 */
async function run(settings: Settings): Promise<void> {
  let database: Database;
  try {
    database = await openDatabase(settings);
    if (cluster.isPrimary) {
      await createFirstAdmin(database, settings);
    }
  } catch (error) {
    const { message } = error as Error;
    const saysItAll = error instanceof SchemaError || error instanceof AdminError;
    exit(saysItAll ? message : `The database cannot be opened: ${message}`);
  }
  if (settings.webConcurrency > 1 && cluster.isPrimary) {
    await database.close();
    await supervise(settings);
    return;
  }
  try {
    const app = createApp(settings, database, NODE_SERVER);
    const events = new Events(settings, database);
    const deliveries = new Deliveries(settings, database, events, NODE_SERVER.stopping);
    const server = await listen(settings).catch((error: NodeJS.ErrnoException) =>
      exit(
        error.code === "EADDRINUSE"
          ? `Port ${settings.port} on ${settings.host} is in use.`
          : `Cannot listen on port ${settings.port} of ${settings.host}.`,
      ),
    );
    if (cluster.worker) {
      stopWithFirst(cluster.worker);
    } else {
      logListening(server.address() as AddressInfo, settings);
    }
    await Promise.all([serve(answering(app), settings, server, SOCKETS), deliveries.run()]);
  } finally {
    await database.close();
  }
}

function exit(line: string): never {
  process.stderr.write(`${line}\n`);
  end(1);
}

/**
 * End the process. Node waits for names that are being looked up, which nothing can end, so it becomes
 * another one that ends.
 *
 * @clauses OPS-07
 */
function end(code = Number(process.exitCode ?? 0)): never {
  if (process.getActiveResourcesInfo().includes("GetAddrInfoReqWrap")) {
    const script = `process.exit(${code})`;
    process.execve?.(process.execPath, [process.execPath, "--eval", script], {});
  }
  // Left to itself, Node stops handling signals before it ends, and a further one would kill it
  // (OPS-06).
  process.exit(code);
}

/** Run the service as the environment says. @clauses OPS-03 */
async function main(): Promise<void> {
  endWellOnSignals();
  // Node would open a debugger (OPS-46).
  process.on("SIGUSR1", () => undefined);
  letStderrFail();
  await run(cluster.isPrimary ? withinOpenFiles(settingsOrExit()) : await givenSettings());
}

function settingsOrExit(): Settings {
  try {
    return readSettings(ENVIRONMENT);
  } catch (error) {
    if (error instanceof SettingsError) {
      exit(error.message);
    }
    throw error;
  }
}

await main();
end();
