/** The opening handshake of the WebSocket of events: who asks, and whether it is one. */

import type { Context } from "hono";
import { GUARDED, type GuardEnv } from "../auth/guard.ts";
import type { Piece } from "../http/openapi.ts";
import { Problem } from "../http/problems.ts";
import { type Env, reader } from "../http/readers.ts";
import { type Fields, malformedHeader, TOKEN, trim } from "../http/requests.ts";

export const SUBPROTOCOL = "events.v1";
// Of this subprotocol, what follows is a token.
const BEARER = "bearer.";

const VERSION = "13";
// 16 bytes in base64 (RFC 6455, 4.1)
const KEY = /^[A-Za-z0-9+/]{22}==$/;
const TOKENS = new RegExp(`^${TOKEN}(?:[ \\t]*,[ \\t]*${TOKEN})*$`);

/** The caller, by the token in `Authorization` or in a subprotocol. Throws unauthorized. */
export const socketCaller = reader(
  "caller",
  (c: Context<GuardEnv>) => c.get("guard").caller(withToken(c.req)),
  GUARDED,
);

/**
 * The request's fields, as `Authorization` the token of a subprotocol where there is no such field.
 *
 * @clauses SOCK-04
 */
function withToken(request: Fields): Fields {
  const token = subprotocols(request).find((name) => name.startsWith(BEARER));
  if (token === undefined || request.header("authorization") !== undefined) {
    return request;
  }
  return { header: () => `Bearer ${token.slice(BEARER.length)}` };
}

/** The subprotocols that the client offers. */
function subprotocols(request: Fields): string[] {
  const offered = request.header("sec-websocket-protocol") ?? "";
  return offered.split(",").map((name) => trim(name, " \t"));
}

/**
 * What opens the socket, as `openSocket`.
 *
 * Throws foreign-origin, upgrade-required and malformed-header.
 *
 * @clauses SOCK-01, SOCK-02, SOCK-03, SOCK-05, SOCK-06
 */
export const handshake = reader(
  "openSocket",
  (c: Context<Env>) => {
    const origin = c.req.header("origin");
    if (origin !== undefined && !c.get("settings").corsOrigins.includes(origin)) {
      throw new Problem("foreign-origin");
    }
    const openSocket = c.get("below").socketOpener(c);
    if (!openSocket || c.req.header("sec-websocket-version") !== VERSION) {
      throw upgradeRequired();
    }
    if (!KEY.test(c.req.header("sec-websocket-key") ?? "")) {
      throw malformedHeader("Sec-WebSocket-Key");
    }
    const offered = c.req.header("sec-websocket-protocol") ?? "";
    if (!(TOKENS.test(offered) && subprotocols(c.req).includes(SUBPROTOCOL))) {
      throw malformedHeader("Sec-WebSocket-Protocol");
    }
    return openSocket;
  },
  {
    "x-problems": [
      "foreign-origin",
      upgradeRequired(),
      malformedHeader("Sec-WebSocket-Key"),
      malformedHeader("Sec-WebSocket-Protocol"),
    ],
  } satisfies Piece,
);

/** 426, with the protocol and its version (RFC 9110, 15.5.22; RFC 6455, 4.4). */
function upgradeRequired(): Problem {
  const headers = { Upgrade: "websocket", "Sec-WebSocket-Version": VERSION };
  return new Problem("upgrade-required", [], headers);
}
