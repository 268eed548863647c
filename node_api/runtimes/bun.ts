/** The service on Bun's own server: `bun runtimes/bun.ts`. */

import { getConnInfo } from "hono/bun";
import { logListening, onSignal } from "../src/http/server.ts";
import { start } from "./start.ts";

/** The part of Bun that is used here. */
declare const Bun: {
  serve(options: {
    hostname: string;
    port: number;
    idleTimeout: number;
    maxRequestBodySize: number;
    fetch: (request: Request, server: object) => Response | Promise<Response>;
  }): { hostname: string; port: number; stop(closeActive?: boolean): Promise<void> };
};
// Bun takes no more.
const MAX_IDLE_SECONDS = 255;

const { settings, database, app, stop } = await start(getConnInfo);
const server = Bun.serve({
  hostname: settings.host,
  port: settings.port,
  idleTimeout: Math.min(settings.keepAliveTimeout, MAX_IDLE_SECONDS),
  // What is too large is for the application to say.
  maxRequestBodySize: Number.MAX_SAFE_INTEGER,
  fetch: app.fetch,
});
logListening({ address: server.hostname, port: server.port }, settings);
await new Promise<void>(onSignal);
const cut = setTimeout(() => server.stop(true), settings.shutdownTimeout * 1000);
await Promise.all([stop(), server.stop()]);
clearTimeout(cut);
await database.close();
process.exit();
