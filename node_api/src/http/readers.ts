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
  type EntityTags,
  entityTags,
  JSON_ONLY,
  MAX_INTEGER,
  malformedHeader,
  parseBody,
  parseJson,
  pathId,
  readBody,
  unsupportedMediaType,
} from "./requests.ts";

/** What the application needs of the server below it beside requests; ASGI has it all itself. */
export type Below = {
  /** Who is at the other end of the connection. */
  getConnInfo: GetConnInfo;
  /** Add these header fields to the answer, but for those that it has, spelled the same. */
  addFields: (c: Context, fields: Readonly<Record<string, string>>) => void;
  /** The body, or of one above MAX_BODY a byte more than that. Throws ClientGone. */
  readBody: (c: Context) => Promise<Uint8Array>;
  /** Read a body that nobody needs to its end. Throws ClientGone. */
  readToEnd: (c: Context) => Promise<void>;
  /** What opens a WebSocket on the request's connection; null where that isn't asked for. */
  socketOpener: (c: Context) => SocketOpener | null;
  /** Aborted as the server begins to stop. */
  stopping: AbortSignal;
};

/** A WebSocket (RFC 6455). */
export type Socket = {
  /** The next message, a text or bytes; null once the client has closed or is gone. */
  receive: () => Promise<string | Uint8Array | null>;
  /** Send a text. Fulfilled once the system has taken it, or nobody will. */
  send: (text: string) => Promise<void>;
  /** Close for this reason, and take nothing else any more. */
  close: (code: number, reason: string) => void;
};
/** What is said on a WebSocket that is open, or was. Never fails. */
export type Converse = (socket: Socket) => Promise<void>;
/** Gives the answer that opens a WebSocket of this subprotocol, on which `converse` is called then. */
export type SocketOpener = (protocol: string, converse: Converse) => Response;

/** What the application was made with, and the id of the request. */
export type Env = {
  Variables: { settings: Settings; database: Database; below: Below; requestId: string };
};

/** A variable that a reader sets. */
type Read<Name extends string, Value> = { Variables: { [name in Name]: Value } };
/** A reader of something that `hc` can send: as `json`, `query`, `header` or `form`. */
export type Reading<Name extends string, Value, Sendable extends object> = MiddlewareHandler<
  Env & Read<Name, Value>,
  string,
  { in: Sendable; out: Sendable }
>;

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
  // As any: TypeScript can't tell that `name` is the name of one of its variables.
  const middleware: MiddlewareHandler = async (c, next) => {
    c.set(name, await read(c));
    await next();
  };
  // Where hono-openapi looks for a validator's piece, too: `describeRoute` would be one more call.
  return Object.assign(middleware, { [uniqueSymbol]: { spec: piece } });
}

/** An example of a body, a member that may be malformed, and the media types that it may have. */
type JsonBody = { example: object; malformedMember: string; accepted?: ReadonlySet<string> };

/** A JSON body: its bytes, and what they say. */
export type Sent<Value> = Readonly<{ raw: Uint8Array; fields: Value }>;

/**
 * The body as `sent`; the example of a malformed one breaks `malformedMember`.
 *
 * Throws unsupported-media-type, body-too-large, malformed-json and validation.
 *
 * @clauses PROB-12, PROB-13, PROB-15, PROB-16
 */
export function jsonBody<Shape extends z.ZodRawShape>(
  name: string,
  model: z.ZodObject<Shape>,
  { example, malformedMember, accepted = JSON_ONLY }: JsonBody,
): Reading<"sent", Sent<z.infer<z.ZodObject<Shape>>>, { json: z.input<z.ZodObject<Shape>> }> {
  const schema = { $ref: `#/components/schemas/${name}` };
  return reader(
    "sent",
    async (c: Context<Env>) => {
      const body = await readBody(c.req, accepted, () => c.get("below").readBody(c));
      return { raw: body, fields: parseBody(model, parseJson(body)) };
    },
    {
      requestBody: { required: true, content: content(schema, example, ...accepted) },
      "x-problems": [
        unsupportedMediaType(accepted),
        "body-too-large",
        "malformed-json",
        new Problem("validation", [issue("pointer", `#/${malformedMember}`, "malformed")]),
      ],
    },
  );
}

/** Reads a conditional header field into `condition`. Throws malformed-header. @clauses PROB-14 */
function conditional<Name extends string>(
  name: Name,
  description: string,
): Reading<"condition", EntityTags | null, { header: { [name in Name]?: string } }> {
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

/** `If-Match`, for a change or a deletion of one user. @clauses COND-02, COND-14, COND-17 */
export const ifMatch = conditional(
  "If-Match",
  "Only if one of these ETags, or `*`, is the user's (RFC 9110, 13.1.1).",
);
/** `If-None-Match`, for a read of one user. @clauses COND-11, COND-14, COND-17 */
export const ifNoneMatch = conditional(
  "If-None-Match",
  "Only if none of these ETags is the user's (RFC 9110, 13.1.2).",
);

/** The id in the path that the route has as `name`. Throws validation. @clauses PROB-08 */
export function idInPath<Name extends string>(
  name: Name,
  description: string,
): MiddlewareHandler<Env & Read<Name, number>> {
  const parameter = {
    name,
    in: "path" as const,
    required: true,
    description,
    schema: { type: "integer" as const, minimum: 1, maximum: MAX_INTEGER },
    example: 1,
  };
  return reader(name, (c: Context<Env>) => pathId(c.req.param(name) ?? "", name), {
    parameters: [parameter],
    "x-problems": [new Problem("validation", [issue("parameter", name, "malformed")])],
  });
}

/** Where the request comes from. @clauses LIMIT-07 */
export const clientAddress = reader("address", (c: Context<Env>) => {
  const peer = c.get("below").getConnInfo(c).remote.address ?? "";
  const forwarded = c.req.header("x-forwarded-for") ?? "";
  return addresses.clientAddress(peer, forwarded, c.get("settings").trustedProxies);
});

/**
 * Reads a body that is ignored: nothing is done for a request that doesn't come in whole.
 *
 * @clauses BODY-06, HTTP-26
 */
export const ignoredBody = reader("ignored", (c: Context<Env>) => c.get("below").readToEnd(c));
