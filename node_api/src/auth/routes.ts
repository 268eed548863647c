/** The token endpoint (RFC 6749): HTTP only. */

import { type Context, Hono } from "hono";
import { content, describe } from "../http/openapi.ts";
import { clientAddress, type Env, type Reading, reader } from "../http/readers.ts";
import { FORM, parseQuery, readBody } from "../http/requests.ts";
import type { Settings } from "../settings.ts";
import type { Database } from "../storage/database.ts";
import { emailRule } from "../users/schemas.ts";
import * as docs from "./docs.ts";
import { countFailure, refuseGuess, refuseLocked, suspects } from "./failures.ts";
import { hashPassword, isOutdated, isPassword } from "./passwords.ts";
import { type Credentials, findByEmail, renewHash } from "./store.ts";
import { issueToken } from "./tokens.ts";

/** A failure of the token endpoint, as RFC 6749 has it. */
export class GrantError extends Error {
  readonly code: keyof typeof docs.ERRORS;

  constructor(code: keyof typeof docs.ERRORS) {
    super(code);
    this.code = code;
  }
}

/** What a client sends to log in. */
type Grant = { grant_type: "password"; username: string; password: string };

/** The bytes of a form, as `form`. Throws unsupported-media-type and body-too-large. */
const formBody: Reading<"form", Uint8Array, { form: Grant }> = reader(
  "form",
  (c: Context<Env>) => readBody(c.req, FORM, () => c.get("below").readBody(c)),
  {
    requestBody: {
      required: true,
      content: content({ $ref: "#/components/schemas/TokenRequest" }, docs.FORM, ...FORM),
    },
    "x-problems": ["unsupported-media-type", "body-too-large"],
  },
);

/** Give a token for an email and a password. @clauses LOGIN-01 */
export const authRoutes = new Hono<Env>().post(
  "/auth/token",
  formBody,
  clientAddress,
  describe(docs.CREATE_TOKEN),
  async (c) => {
    const { form, address, settings, database } = c.var;
    try {
      const [email, password] = parseGrant(form, settings);
      const user = await logIn(database, settings, email, password, address);
      const token = await issueToken(user, new Date(), settings);
      return c.json({
        access_token: token,
        token_type: "Bearer",
        expires_in: settings.authTokenTtl,
      });
    } catch (error) {
      if (error instanceof GrantError) {
        return refused(c, error);
      }
      throw error;
    }
  },
);

/**
 * The user with this email, if this is the password.
 *
 * Throws GrantError and too-many-failures. Whoever is locked out is told so again at the end: of
 * guesses that are under way at the same time no more than the limit are judged.
 *
 * @clauses LOGIN-04, LOGIN-07, LOGIN-08
 */
async function logIn(
  database: Database,
  settings: Settings,
  email: string,
  password: string,
  address: string,
): Promise<Credentials> {
  const whom = suspects(email, address, settings);
  await refuseLocked(database.connection, whom, new Date());
  // Nobody has what isn't an email, and PostgreSQL may not take it as text.
  const user = emailRule(email) ? undefined : await findByEmail(database.connection, email);
  const kept = user?.password_hash ?? null;
  const isRight = await isPassword(password, kept, settings);
  const now = new Date();
  if (!(user && kept && isRight)) {
    await database.transaction((connection) => countFailure(connection, whom, now));
    throw new GrantError("invalid_grant");
  }
  await database.transaction((connection) => refuseGuess(connection, whom, now));
  if (isOutdated(kept, settings)) {
    const renewed = await hashPassword(password, settings);
    await database.transaction((connection) => renewHash(connection, user, renewed));
  }
  return user;
}

/**
 * The email, in lower case, and the password that the form holds. Throws GrantError.
 *
 * @clauses LOGIN-02, LOGIN-05, LOGIN-06
 */
function parseGrant(body: Uint8Array, settings: Settings): [email: string, password: string] {
  let parameters: [name: string, value: string][];
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body);
    parameters = parseQuery(text);
  } catch {
    throw new GrantError("invalid_request");
  }
  const grantType = only(parameters, "grant_type");
  const username = only(parameters, "username");
  const password = only(parameters, "password");
  if (!grantType) {
    throw new GrantError("invalid_request");
  }
  // An open service needs no tokens, and a provider gives its own (AUTH-15).
  const givesTokens = settings.auth && !settings.authJwksUrl;
  if (grantType !== docs.GRANT_TYPE || !givesTokens) {
    throw new GrantError("unsupported_grant_type");
  }
  if (!(username && password)) {
    throw new GrantError("invalid_request");
  }
  // What isn't an email must not become one by lower case (LOGIN-02).
  return [emailRule(username) ? username : username.toLowerCase(), password];
}

/**
 * The parameter's value; an empty one is none (RFC 6749, 3.2). Throws GrantError.
 *
 * @clauses LOGIN-05
 */
function only(parameters: readonly [name: string, value: string][], name: string): string {
  const values = parameters.filter(([key]) => key === name).map(([, value]) => value);
  if (values.length > 1) {
    throw new GrantError("invalid_request");
  }
  return values[0] ?? "";
}

/** The answer that tells why there is no token (RFC 6749, 5.2). @clauses LOGIN-05 */
function refused(c: Context, { code }: GrantError) {
  return c.json({ error: code, error_description: docs.ERRORS[code] }, 400);
}
