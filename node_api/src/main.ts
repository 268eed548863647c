/** Start the service: read the settings, open the database, listen, and stop gracefully. */

// OPS-45
// First: no library that is imported may read it.
import "./environment.ts";
import cluster from "node:cluster";
import type { AddressInfo } from "node:net";
import { createApp } from "./app.ts";
import { AdminError, createFirstAdmin } from "./auth/admin.ts";
import { ENVIRONMENT } from "./environment.ts";
import { endWellOnSignals, listen, logListening, NODE_SERVER, serve } from "./http/server.ts";
import { letStderrFail } from "./operation/output.ts";
import { stopWithFirst, supervise } from "./operation/workers.ts";
import { readSettings, type Settings, SettingsError } from "./settings.ts";
import { openDatabase } from "./storage/database.ts";
import { SchemaError } from "./storage/migrate.ts";

/** Serve until told to stop. Exits with one clear line when that can't even begin. */
async function run(settings: Settings): Promise<void> {
  // OPS-17
  const database = await openDatabase(settings).catch((error: Error) =>
    exit(
      error instanceof SchemaError
        ? error.message
        : `The database cannot be opened: ${error.message}`,
    ),
  );
  // RIGHT-12
  await createFirstAdmin(database, settings).catch((error: Error) =>
    exit(
      error instanceof AdminError
        ? error.message
        : `The database cannot be opened: ${error.message}`,
    ),
  );
  if (settings.webConcurrency > 1 && cluster.isPrimary) {
    await database.close();
    await supervise(settings);
    return;
  }
  try {
    const app = createApp(settings, database, NODE_SERVER);
    // OPS-04
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
    await serve(app, settings, server);
  } finally {
    await database.close();
    cluster.worker?.disconnect();
  }
}

function exit(line: string): never {
  process.stderr.write(`${line}\n`);
  process.exit(1);
}

/** Run the service as the environment says. */
function main(): Promise<void> {
  endWellOnSignals();
  // OPS-46
  // Node would open a debugger.
  process.on("SIGUSR1", () => undefined);
  letStderrFail();
  // OPS-03
  try {
    return run(readSettings(ENVIRONMENT));
  } catch (error) {
    if (error instanceof SettingsError) {
      exit(error.message);
    }
    throw error;
  }
}

await main();
// OPS-06
// Left to itself, Node stops handling signals before it ends, and a further one would kill it.
process.exit();
