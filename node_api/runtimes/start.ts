/** What the service does on every runtime before a server of its own takes over. */

// First: no library that is imported may read it (OPS-45).
import "../src/environment.ts";
import type { GetConnInfo } from "hono/conninfo";
import { type App, createApp, NO_SERVER } from "../src/app.ts";
import { createFirstAdmin } from "../src/auth/admin.ts";
import { ENVIRONMENT } from "../src/environment.ts";
import { Events } from "../src/events/service.ts";
import { readSettings, type Settings } from "../src/settings.ts";
import { type Database, openDatabase } from "../src/storage/database.ts";
import { Deliveries } from "../src/webhooks/deliveries.ts";

/**
 * What a runtime is given to serve; `stop` tells the application that it is about to end, and is
 * fulfilled when nothing is delivered any more.
 */
type Started = { settings: Settings; database: Database; app: App; stop: () => Promise<void> };

/** The settings, the open database, and the application over it. Rejects if one can't be had. */
export async function start(getConnInfo: GetConnInfo): Promise<Started> {
  const settings = readSettings(ENVIRONMENT);
  const database = await openDatabase(settings);
  await createFirstAdmin(database, settings);
  const stopping = new AbortController();
  const below = { ...NO_SERVER, getConnInfo, stopping: stopping.signal };
  const app = createApp(settings, database, below);
  const events = new Events(settings, database);
  const delivering = new Deliveries(settings, database, events, stopping.signal).run();
  const stop = async () => {
    stopping.abort();
    await delivering;
  };
  return { settings, database, app, stop };
}
