/** Tokens: JSON Web Tokens (RFC 7519) that tell who calls, signed by a service or by a provider. */

import { errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify, SignJWT } from "jose";
import { Problem } from "../problems.ts";
import { integerRule, MAX_INTEGER } from "../requests.ts";
import type { Settings } from "../settings.ts";
import type { ProviderKeys } from "./keys.ts";
import type { Credentials } from "./store.ts";

// AUTH-06
const OWN_ALGORITHMS = ["HS256"];
// AUTH-19
const PROVIDER_ALGORITHMS = ["RS256", "ES256"];
// AUTH-05
// RFC 7515, 3.1. The libraries' own decoders skip what isn't in the alphabet, each in its own way.
const TOKEN = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;

/** A token that proves nothing. */
export class TokenError extends Error {}

/** What a token says: whose it is, and what the user's `token_epoch` was. */
export type Claims = Readonly<{
  userId: number;
  /** null of a provider's token, which knows nothing of it. */
  tokenEpoch: number | null;
  /** Seconds since 1970. */
  expiresAt: number;
}>;

// AUTH-01, AUTH-02
/** A token for this user, good for `AUTH_TOKEN_TTL` seconds from `now`. */
export async function issueToken(
  user: Credentials,
  now: Date,
  settings: Settings,
): Promise<string> {
  const seconds = Math.floor(now.getTime() / 1000);
  const claims = {
    iss: settings.authIssuer,
    aud: settings.authAudience,
    sub: String(user.id),
    role: user.role,
    // AUTH-09
    epoch: user.token_epoch,
    iat: seconds,
    exp: seconds + settings.authTokenTtl,
  };
  const token = new SignJWT(claims).setProtectedHeader({ alg: "HS256", typ: "JWT" });
  return await token.sign(bytes(settings.authSecret));
}

/**
 * What the token says, once it is known to be true. Throws TokenError if it isn't.
 *
 * Throws provider-unavailable where the provider's keys are needed and can't be had.
 */
export async function readToken(
  token: string,
  settings: Settings,
  keys: ProviderKeys | null,
): Promise<Claims> {
  if (!TOKEN.test(token)) {
    throw new TokenError();
  }
  let payload: JWTPayload;
  try {
    payload = keys
      ? await verified(token, keys.find.bind(keys), PROVIDER_ALGORITHMS, settings)
      : await verifiedWithASecret(token, settings);
  } catch (error) {
    throw error instanceof Problem ? error : new TokenError();
  }
  const { sub, epoch, exp = 0 } = payload;
  // AUTH-07, AUTH-18
  // jose takes a number for a text, and PyJWT doesn't.
  if (typeof sub !== "string" || integerRule(sub, MAX_INTEGER)) {
    throw new TokenError();
  }
  // AUTH-18
  if (!(keys || typeof epoch === "number")) {
    throw new TokenError();
  }
  return { userId: Number(sub), tokenEpoch: keys ? null : (epoch as number), expiresAt: exp };
}

// AUTH-08
async function verifiedWithASecret(token: string, settings: Settings): Promise<JWTPayload> {
  try {
    return await verified(token, () => bytes(settings.authSecret), OWN_ALGORITHMS, settings);
  } catch (error) {
    if (!(error instanceof errors.JWSSignatureVerificationFailed && settings.authSecretPrevious)) {
      throw error;
    }
    const previous = bytes(settings.authSecretPrevious);
    return await verified(token, () => previous, OWN_ALGORITHMS, settings);
  }
}

// AUTH-05, AUTH-06, AUTH-07
async function verified(
  token: string,
  key: JWTVerifyGetKey,
  algorithms: string[],
  settings: Settings,
): Promise<JWTPayload> {
  const { payload } = await jwtVerify(token, key, {
    algorithms,
    audience: settings.authAudience,
    issuer: settings.authIssuer,
    requiredClaims: ["exp", "iat", "sub"],
  });
  return payload;
}

function bytes(secret: string): Uint8Array {
  return new TextEncoder().encode(secret);
}
