/** The guard: who calls, and whether they may. Where the service runs open, everybody may. */

import type { Context } from "hono";
import { OPTIONAL, type Piece, SECURED } from "../http/openapi.ts";
import { issue, Problem } from "../http/problems.ts";
import { type Env, reader } from "../http/readers.ts";
import { type Fields, MAX_INTEGER, pathId, TOKEN } from "../http/requests.ts";
import type { Settings } from "../settings.ts";
import type { Connection, Database } from "../storage/database.ts";
import type { Role } from "../users/schemas.ts";
import { ProviderKeys } from "./keys.ts";
import { type Credentials, findById, holdCaller } from "./store.ts";
import { type Claims, readToken, TokenError } from "./tokens.ts";

// RFC 6750, 2.1 (AUTH-03, AUTH-04)
const BEARER = /^bearer +([A-Za-z0-9._~+/-]+=*)$/i;
// Without a comma: of several fields the values are one, with commas between.
const OTHER_SCHEME = new RegExp(`^(?!bearer(?: |$))${TOKEN}(?: [^,]*)?$`, "i");
const REALM = 'Bearer realm="users"';

/** The owner of a request's token. */
export type Caller = Readonly<{ id: number; isAdmin: boolean; claims: Claims }>;

/** The user whom a path names, there or not, and who asks for them. */
export type Target = Readonly<{ id: number; caller: Caller | null }>;

/**
 * Tells who calls, by the request's token, and refuses whoever may not.
 *
 * Where the service runs open there is no caller, and everybody may.
 */
export class Guard {
  readonly #settings: Settings;
  readonly #database: Database;
  readonly #keys: ProviderKeys | null;

  constructor(settings: Settings, database: Database) {
    this.#settings = settings;
    this.#database = database;
    this.#keys = settings.authJwksUrl ? new ProviderKeys(settings) : null;
  }

  /**
   * The caller, who may create a user: anybody may, unless registration is closed.
   *
   * Throws unauthorized, and where it is closed forbidden.
   *
   * @clauses PROB-20, PROB-21, RIGHT-02, RIGHT-09
   */
  registration(request: Fields): Promise<Caller | null> {
    return this.#settings.registration ? this.#owner(request) : this.admin(request);
  }

  /**
   * An admin. Throws unauthorized and forbidden.
   *
   * @clauses PROB-20, PROB-21, RIGHT-01, RIGHT-03, RIGHT-14, RIGHT-17
   */
  async admin(request: Fields): Promise<Caller | null> {
    const caller = await this.caller(request);
    if (caller && !caller.isAdmin) {
      throw forbidden();
    }
    return caller;
  }

  /** The caller, whoever it is. Throws unauthorized. @clauses PROB-20, RIGHT-14, RIGHT-16 */
  async caller(request: Fields): Promise<Caller | null> {
    const owner = await this.#owner(request);
    return this.#settings.auth ? required(owner) : null;
  }

  /**
   * The user with this id, or with `me` the caller, for whoever may see and change them.
   *
   * Throws unauthorized, forbidden (without a look at whether there is such a user) and
   * validation.
   *
   * @clauses PROB-08, PROB-20, PROB-21, RIGHT-04, RIGHT-05, RIGHT-14
   */
  async user(request: Fields, id: string): Promise<Target> {
    const caller = await this.caller(request);
    const meant = named(id, caller);
    if (caller && !caller.isAdmin && meant !== String(caller.id)) {
      throw forbidden();
    }
    return { id: pathId(meant), caller };
  }

  /**
   * The user with this id, for whoever may delete them.
   *
   * Throws unauthorized, forbidden and validation.
   *
   * @clauses PROB-08, RIGHT-03
   */
  async deletion(request: Fields, id: string): Promise<Target> {
    const caller = await this.admin(request);
    return { id: pathId(named(id, caller)), caller };
  }

  /**
   * Only an admin may give the role `admin`. Throws unauthorized and forbidden.
   *
   * @clauses RIGHT-07, RIGHT-08
   */
  checkRole(caller: Caller | null, role: Role | undefined): void {
    if (this.#settings.auth && role === "admin" && !required(caller).isAdmin) {
      throw forbidden();
    }
  }

  /**
   * Judge the caller of a write once more, in its transaction: the body may have come late.
   *
   * `targetId` is the user whom it changes, if any. Throws unauthorized where the token has ended
   * or become void by now, and forbidden where the caller is an admin no more.
   *
   * @clauses RIGHT-15
   */
  async confirm(
    connection: Connection,
    caller: Caller | null,
    targetId: number | null = null,
  ): Promise<void> {
    if (!caller) {
      return;
    }
    const user = notVoid(await holdCaller(connection, caller.id, targetId), caller.claims);
    if (caller.claims.expiresAt <= Date.now() / 1000) {
      throw unauthorized(true);
    }
    if (caller.isAdmin && user.role !== "admin") {
      throw forbidden();
    }
  }

  /**
   * Whether the caller's token is still good, and they are an admin or not as before.
   *
   * @clauses SOCK-16, STREAM-07
   */
  async isStill(caller: Caller | null): Promise<boolean> {
    if (!caller) {
      return true;
    }
    if (caller.claims.expiresAt <= Date.now() / 1000) {
      return false;
    }
    const user = await findById(this.#database.connection, caller.id);
    return isGood(user, caller.claims) && (user.role === "admin") === caller.isAdmin;
  }

  /**
   * Whose token it is; null without one. Throws unauthorized for one that is not valid.
   *
   * @clauses AUTH-03, AUTH-04, AUTH-11, AUTH-13, AUTH-17
   */
  async #owner(request: Fields): Promise<Caller | null> {
    const sent = request.header("authorization");
    if (!this.#settings.auth || sent === undefined || OTHER_SCHEME.test(sent)) {
      return null;
    }
    const [, token] = BEARER.exec(sent) ?? [];
    if (token === undefined) {
      throw unauthorized(true);
    }
    let claims: Claims;
    try {
      claims = await readToken(token, this.#settings, this.#keys);
    } catch (error) {
      throw error instanceof TokenError ? unauthorized(true) : error;
    }
    const user = notVoid(await findById(this.#database.connection, claims.userId), claims);
    return { id: user.id, isAdmin: user.role === "admin", claims };
  }
}

/** The token's owner. Throws unauthorized if they are gone, or have voided it since. */
function notVoid(user: Credentials | undefined, claims: Claims): Credentials {
  if (!isGood(user, claims)) {
    throw unauthorized(true);
  }
  return user;
}

/**
 * Whether the token's owner is there, and has not voided it since.
 *
 * @clauses AUTH-09, AUTH-10
 */
function isGood(user: Credentials | undefined, claims: Claims): user is Credentials {
  return (
    user !== undefined && (claims.tokenEpoch === null || claims.tokenEpoch === user.token_epoch)
  );
}

/** The id that is meant: for `me` the caller's. Throws unauthorized. @clauses AUTH-16, RIGHT-06 */
function named(id: string, caller: Caller | null): string {
  return id === "me" ? String(required(caller).id) : id;
}

function required(caller: Caller | null): Caller {
  if (!caller) {
    throw unauthorized();
  }
  return caller;
}

/** 401, with the challenge of RFC 6750, 3. @clauses AUTH-03, AUTH-04 */
export function unauthorized(invalidToken = false): Problem {
  const challenge = invalidToken ? `${REALM}, error="invalid_token"` : REALM;
  return new Problem("unauthorized", [], { "WWW-Authenticate": challenge });
}

/** 403, with the challenge of RFC 6750, 3.1. @clauses RIGHT-10 */
export function forbidden(): Problem {
  return new Problem("forbidden", [], {
    "WWW-Authenticate": `${REALM}, error="insufficient_scope"`,
  });
}

const USER_ID = {
  name: "id",
  in: "path" as const,
  required: true,
  description: "The user's id, in canonical decimal.",
  schema: {
    anyOf: [
      { type: "integer" as const, minimum: 1, maximum: MAX_INTEGER },
      { type: "string" as const, enum: ["me"], description: "The token's owner." },
    ],
  },
  example: 1,
};
// What the guard, the database and the provider have to say.
const REFUSALS = [unauthorized(), forbidden(), "unavailable", "provider-unavailable"] as const;
const WRONG_ID = new Problem("validation", [issue("parameter", "id", "malformed")]);
const OPEN_TO_ALL: Piece = { security: OPTIONAL, "x-problems": REFUSALS };
export const GUARDED: Piece = { security: SECURED, "x-problems": REFUSALS };
const OF_A_USER: Piece = {
  security: SECURED,
  parameters: [USER_ID],
  "x-problems": [...REFUSALS, WRONG_ID],
};

/** An application with a guard. */
export type GuardEnv = Env & { Variables: { guard: Guard } };
type Asked = Context<GuardEnv>;

export const mayRegister = reader(
  "caller",
  (c: Asked) => c.get("guard").registration(c.req),
  OPEN_TO_ALL,
);
export const admin = reader("caller", (c: Asked) => c.get("guard").admin(c.req), GUARDED);
export const anyCaller = reader("caller", (c: Asked) => c.get("guard").caller(c.req), GUARDED);
export const ownUser = reader(
  "target",
  (c: Asked) => c.get("guard").user(c.req, c.req.param("id") ?? ""),
  OF_A_USER,
);
export const anyUser = reader(
  "target",
  (c: Asked) => c.get("guard").deletion(c.req, c.req.param("id") ?? ""),
  OF_A_USER,
);
