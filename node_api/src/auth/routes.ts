/** The token endpoint (RFC 6749): HTTP only. */

import { type Context, Hono } from "hono";
import { content, describe } from "../http/openapi.ts";
import { clientAddress, type Env, type Reading, reader } from "../http/readers.ts";
import { FORM, readBody } from "../http/requests.ts";
import type { Settings } from "../settings.ts";
import type { Database } from "../storage/database.ts";
import { emailRule } from "../users/schemas.ts";
import * as docs from "./docs.ts";
import { countFailure, refuseGuess, refuseLocked, suspects } from "./failures.ts";
import { ERRORS, type Grant, GrantError, parseGrant } from "./grants.ts";
import { hashPassword, isOutdated, isPassword } from "./passwords.ts";
import { type Credentials, findByEmail, renewHash } from "./store.ts";
import { issueToken } from "./tokens.ts";

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

/**
 * Give a token for an email and a password, or tell why there is none (RFC 6749, 5.2).
 *
 * @clauses LOGIN-01, LOGIN-05
 */
export const authRoutes = new Hono<Env>().post(
  "/auth/token",
  formBody,
  clientAddress,
  describe(docs.CREATE_TOKEN),
  async (c) => {
    const settings = c.get("settings");
    try {
      const [email, password] = parseGrant(c.get("form"), settings);
      const user = await logIn(c.get("database"), settings, email, password, c.get("address"));
      const token = await issueToken(user, new Date(), settings);
      return c.json({
        access_token: token,
        token_type: "Bearer",
        expires_in: settings.authTokenTtl,
      });
    } catch (error) {
      if (error instanceof GrantError) {
        const { code } = error;
        return c.json({ error: code, error_description: ERRORS[code] }, 400);
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
export async function logIn(
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
