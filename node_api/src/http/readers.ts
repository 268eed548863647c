/**
 * Readers: what a handler reads of its request stands before it in its chain, in the order of
 * failures.
 *
 * A reader is a middleware that takes one thing out of a request and sets it as a variable, or
 * throws the problem that says why it can't, and brings its piece of the OpenAPI document along.
 * Hono's own validators would read the body before the caller is known, and take much that the
 * contract refuses.
 */

import type { Context, MiddlewareHandler } from "hono";
import type { GetConnInfo } from "hono/conninfo";
import { uniqueSymbol } from "hono-openapi";
import type { z } from "zod";
import type { Settings } from "../settings.ts";
import type { Database } from "../storage/database.ts";
import * as addresses from "./addresses.ts";
import { content, type Piece } from "./openapi.ts";
import { issue, Problem } from "./problems.ts";
import {
  entityTags,
  JSON_ONLY,
  malformedHeader,
  parseBody,
  parseJson,
  readBody,
  unsupportedMediaType,
} from "./requests.ts";

/** What an application asks of the server below it, beside its requests; ASGI has it all itself. */
export type Below = {
  /** Who is at the other end of the connection. */
  getConnInfo: GetConnInfo;
  /** Give the answer these header fields, but for those that it has. */
  addFields: (c: Context, fields: Readonly<Record<string, string>>) => void;
  /**
   * Read a body that is ignored: only then is it known that all of the request can be read.
   *
   * @clauses HTTP-26
   */
  readToEnd: (c: Context) => Promise<void>;
};

/** What the application was made with, and the id of the request. */
export type Env = {
  Variables: { settings: Settings; database: Database; below: Below; requestId: string };
};

/** A variable that a reader sets. */
type Read<Name extends string, Value> = { Variables: { [name in Name]: Value } };

/**
 * A reader of the variable `name`.
 *
 * `piece` is what it adds to an OpenAPI operation, in `x-problems` the problems that it throws.
 */
export function reader<Name extends string, Value, E extends Env = Env>(
  name: Name,
  read: (c: Context<E>) => Value | Promise<Value>,
  piece: Piece = {},
): MiddlewareHandler<E & Read<Name, Value>> {
  const middleware: MiddlewareHandler = async (c, next) => {
    c.set(name, await read(c));
    await next();
  };
  return Object.assign(middleware, { [uniqueSymbol]: { spec: piece } });
}

/** A JSON body: its bytes, and what they say. */
export type Sent<Value> = Readonly<{ content: Uint8Array; fields: Value }>;

/**
 * The body as `sent`; `broken` is a member that may be malformed.
 *
 * Throws unsupported-media-type, body-too-large, malformed-json and validation.
 *
 * @clauses PROB-12, PROB-13, PROB-15, PROB-16
 */
export function jsonBody<Shape extends z.ZodRawShape>(
  name: string,
  model: z.ZodObject<Shape>,
  example: object,
  broken: string,
  accepted: ReadonlySet<string> = JSON_ONLY,
): MiddlewareHandler<Env & Read<"sent", Sent<z.infer<z.ZodObject<Shape>>>>> {
  const schema = { $ref: `#/components/schemas/${name}` };
  const bodies = [...accepted].map((mediaType) => content(schema, example, mediaType));
  return reader(
    "sent",
    async (c: Context<Env>) => {
      const body = await readBody(c.req, accepted);
      return { content: body, fields: parseBody(model, parseJson(body)) };
    },
    {
      requestBody: { required: true, content: Object.assign({}, ...bodies) },
      "x-problems": [
        unsupportedMediaType(accepted),
        "body-too-large",
        "malformed-json",
        new Problem("validation", [issue("pointer", `#/${broken}`, "malformed")]),
      ],
    },
  );
}

/** A conditional header field as `condition`. Throws malformed-header. @clauses PROB-14 */
function conditional(name: string, description: string) {
  const parameter = {
    name,
    in: "header" as const,
    description,
    schema: { type: "string" as const },
    example: '"1"',
  };
  return reader("condition", (c: Context<Env>) => entityTags(c.req, name), {
    parameters: [parameter],
    "x-problems": [malformedHeader(name)],
  });
}

// Only a change looks at it (COND-02, COND-14, COND-17).
export const ifMatch = conditional(
  "If-Match",
  "Only if one of these ETags, or `*`, is the user's (RFC 9110, 13.1.1).",
);
// Only a read looks at it (COND-11, COND-14, COND-17).
export const ifNoneMatch = conditional(
  "If-None-Match",
  "Only if none of these ETags is the user's (RFC 9110, 13.1.2).",
);

/** Where the request comes from. @clauses LIMIT-07 */
export const clientAddress = reader("address", (c: Context<Env>) => {
  const peer = c.get("below").getConnInfo(c).remote.address ?? "";
  const forwarded = c.req.header("x-forwarded-for") ?? "";
  return addresses.clientAddress(peer, forwarded, c.get("settings").trustedProxies);
});

export const ignoredBody = reader("ignored", (c: Context<Env>) => c.get("below").readToEnd(c));
