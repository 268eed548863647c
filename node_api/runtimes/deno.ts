/** The service on Deno's own server: `deno run --allow-all runtimes/deno.ts`. */

import { getConnInfo } from "hono/deno";
import { logListening, onSignal } from "../src/http/server.ts";
import { start } from "./start.ts";

/** The part of Deno that is used here. */
declare const Deno: {
  serve(
    options: {
      hostname: string;
      port: number;
      onListen: (address: { hostname: string; port: number }) => void;
    },
    handler: (request: Request, info: object) => Response | Promise<Response>,
  ): { shutdown(): Promise<void> };
};

const { settings, database, app, stop } = await start(getConnInfo);
const server = Deno.serve(
  {
    hostname: settings.host,
    port: settings.port,
    onListen: ({ hostname, port }) => logListening({ address: hostname, port }, settings),
  },
  app.fetch,
);
await new Promise<void>(onSignal);
// A while behind what is still being delivered, so that the database is closed.
setTimeout(() => process.exit(), (settings.shutdownTimeout + 1) * 1000);
await Promise.all([stop(), server.shutdown()]);
await database.close();
process.exit();
