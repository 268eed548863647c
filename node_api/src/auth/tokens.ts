/** Tokens: JSON Web Tokens (RFC 7519) that tell who calls, signed by a service or by a provider. */

import { createHmac, timingSafeEqual, verify } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { SignJWT } from "jose";
import { integerRule, MAX_INTEGER, parseBase64Url, parseJson } from "../http/requests.ts";
import type { Settings } from "../settings.ts";
import type { ProviderKeys } from "./keys.ts";
import type { Credentials } from "./store.ts";

const OWN_HEADER = { alg: "HS256", typ: "JWT" };
const PROVIDER_ALGORITHMS = ["RS256", "ES256"];
const WHOLE = /^(?:0|[1-9][0-9]{0,15})$/;

type Payload = Readonly<Record<string, unknown>>;

/** A token that proves nothing. */
export class TokenError extends Error {}

/** What a token says: whose it is, and what the user's `token_epoch` was. */
export type Claims = Readonly<{
  userId: number;
  /** null of a provider's token, which knows nothing of it. */
  tokenEpoch: number | null;
  /** Seconds since 1970; from then on the token is void. */
  expiresAt: number;
}>;

/**
 * A token for this user, good for `AUTH_TOKEN_TTL` seconds from `now`.
 *
 * @clauses AUTH-01, AUTH-02, AUTH-09
 */
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
    epoch: user.token_epoch,
    iat: seconds,
    exp: seconds + settings.authTokenTtl,
  };
  const token = new SignJWT(claims).setProtectedHeader(OWN_HEADER);
  return await token.sign(new TextEncoder().encode(settings.authSecret));
}

/**
 * What the token says, once it is known to be true. Throws TokenError if it isn't.
 *
 * Throws provider-unavailable where the provider's keys are needed and can't be had.
 *
 * @clauses AUTH-05, AUTH-24
 */
export async function readToken(
  token: string,
  settings: Settings,
  keys: ProviderKeys | null,
): Promise<Claims> {
  const end = token.lastIndexOf(".");
  const text = token.slice(0, Math.max(end, 0));
  let parts: Payload[];
  let proof: Buffer;
  try {
    parts = text.split(".", 3).map(parseObject);
    proof = parseBase64Url(token.slice(end + 1));
  } catch {
    throw new TokenError();
  }
  const [header, payload] = parts;
  if (parts.length !== 2 || !header || !payload) {
    throw new TokenError();
  }
  // What the token says comes first: the provider isn't asked about one that is void anyway
  // (AUTH-34).
  const claims = parseClaims(payload, settings, keys === null);
  const signed = keys
    ? await isAProviders(header, text, proof, keys)
    : isOurOwn(header, text, proof, settings);
  if (!signed) {
    throw new TokenError();
  }
  return claims;
}

/** The header or the payload. Throws an Error if it is no JSON object. @clauses AUTH-24 */
function parseObject(part: string): Payload {
  const value = parseJson(parseBase64Url(part), whole);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new TypeError("no object");
  }
  return value as Payload;
}

/** The whole number that is written here, null if it is none. @clauses AUTH-25 */
function whole(text: string): number | null {
  return WHOLE.test(text) && Number(text) <= MAX_INTEGER ? Number(text) : null;
}

/**
 * What the payload says. Throws TokenError where it isn't all there, or not for here and now.
 *
 * @clauses AUTH-07, AUTH-18
 */
function parseClaims(payload: Payload, settings: Settings, hasEpoch: boolean): Claims {
  const now = Date.now() / 1000;
  const { iss, aud, sub } = payload;
  const [expiresAt, issuedAt] = [number(payload, "exp"), number(payload, "iat")];
  const notBefore = Object.hasOwn(payload, "nbf") ? number(payload, "nbf") : 0;
  const epoch = hasEpoch ? number(payload, "epoch") : 0;
  if (
    iss !== settings.authIssuer ||
    !isFor(settings.authAudience, aud) ||
    typeof sub !== "string" ||
    integerRule(sub, MAX_INTEGER) ||
    expiresAt === null ||
    expiresAt <= now ||
    issuedAt === null ||
    notBefore === null ||
    notBefore > now ||
    epoch === null
  ) {
    throw new TokenError();
  }
  return { userId: Number(sub), tokenEpoch: hasEpoch ? epoch : null, expiresAt };
}

function isFor(name: string, audience: unknown): boolean {
  const audiences: unknown[] = Array.isArray(audience) ? audience : [audience];
  return audiences.includes(name) && audiences.every((one) => typeof one === "string");
}

/** A moment in seconds; null for what is no number. @clauses AUTH-25 */
function number(payload: Payload, name: string): number | null {
  const value = payload[name];
  return typeof value === "number" ? value : null;
}

/**
 * Whether one of the service's secrets has signed it.
 *
 * @clauses AUTH-05, AUTH-06, AUTH-08, AUTH-23
 */
function isOurOwn(header: Payload, text: string, proof: Buffer, settings: Settings): boolean {
  const secrets = [settings.authSecret, settings.authSecretPrevious].filter(Boolean);
  const signatures = secrets.map((secret) => createHmac("sha256", secret).update(text).digest());
  return (
    isDeepStrictEqual(header, OWN_HEADER) &&
    signatures.some((one) => one.length === proof.length && timingSafeEqual(one, proof))
  );
}

/**
 * Whether the key that the header names has signed it. Throws provider-unavailable.
 *
 * @clauses AUTH-05, AUTH-19, AUTH-29
 */
async function isAProviders(
  header: Payload,
  text: string,
  proof: Buffer,
  keys: ProviderKeys,
): Promise<boolean> {
  const { alg, kid, typ = "JWT" } = header;
  if (
    typeof alg !== "string" ||
    !PROVIDER_ALGORITHMS.includes(alg) ||
    typeof kid !== "string" ||
    typeof typ !== "string" ||
    // RFC 7515, 4.1.11, RFC 7797, 3
    Object.hasOwn(header, "b64") ||
    Object.hasOwn(header, "crit")
  ) {
    return false;
  }
  const key = await keys.find(alg, kid);
  return (
    key !== undefined &&
    // Not jose's, which has a thread of Node's pool do it: there it waits for whatever is ahead.
    verify("sha256", Buffer.from(text), { key, dsaEncoding: "ieee-p1363" }, proof)
  );
}
