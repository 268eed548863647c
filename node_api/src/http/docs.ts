/** `/openapi.json`, and `/docs`: a page over it, whose assets come from the service itself. */

import { readFile } from "node:fs/promises";
import { type Context, Hono } from "hono";
import { asItRuns, openapiDocument } from "./openapi.ts";
import type { Env } from "./readers.ts";

const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Users</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/init.js"></script>
</body>
</html>
`;
const SCRIPT = 'SwaggerUIBundle({ url: "/openapi.json", dom_id: "#swagger-ui" });\n';

const HTML = {
  "Content-Type": "text/html; charset=utf-8",
  "Content-Security-Policy":
    "default-src 'none'; connect-src 'self'; img-src 'self' data:; " +
    "script-src 'self'; style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'; " +
    "frame-ancestors 'none'",
  "Referrer-Policy": "no-referrer",
};
const JAVASCRIPT = { "Content-Type": "text/javascript; charset=utf-8" };
const CSS = { "Content-Type": "text/css; charset=utf-8" };

/** The document of `app`, and the page over it; none of these routes stands in it itself. */
export function docsRoutes<E extends Env>(app: Hono<E>, schemas: Record<string, object>) {
  return (
    new Hono<Env>()
      /** The document of the service as it runs. @clauses DOC-01 */
      .get("/openapi.json", async (c) =>
        c.json(asItRuns(await openapiDocument(app, schemas), c.get("settings"))),
      )

      /** The page. @clauses DOC-06, DOC-08, DOC-10 */
      .get("/docs", (c) => c.body(PAGE, 200, HTML))

      /** The script that starts Swagger UI. @clauses DOC-09 */
      .get("/docs/init.js", (c) => c.body(SCRIPT, 200, JAVASCRIPT))

      /** Swagger UI. @clauses DOC-09, HDR-12 */
      .get("/docs/swagger-ui-bundle.js", (c) => sendAsset(c, "swagger-ui-bundle.js", JAVASCRIPT))

      /** Swagger UI's style sheet. @clauses DOC-09 */
      .get("/docs/swagger-ui.css", (c) => sendAsset(c, "swagger-ui.css", CSS))
  );
}

async function sendAsset(c: Context, name: string, type: Record<string, string>) {
  const content = await asset(name);
  // So that a HEAD, which has the length too, doesn't copy the file to count it.
  return c.body(content, 200, { ...type, "Content-Length": String(content.byteLength) });
}

const assets = new Map<string, Promise<Uint8Array<ArrayBuffer>>>();

/**
 * A file of the page, read once: however many slow clients there are, they share its bytes.
 *
 * @clauses DOC-07, HTTP-22
 */
function asset(name: string): Promise<Uint8Array<ArrayBuffer>> {
  const known = assets.get(name);
  if (known !== undefined) {
    return known;
  }
  const file = new URL(import.meta.resolve(`swagger-ui-dist/${name}`));
  const content = readFile(file).then((read) => Uint8Array.from(read));
  assets.set(name, content);
  // What can't be read now may be read the next time.
  content.catch(() => assets.delete(name));
  return content;
}
