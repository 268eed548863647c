/** The keys of an outside identity provider, from its JSON Web Key Set (RFC 7517). */

import { createPublicKey, type KeyObject } from "node:crypto";
import type { SecureContext } from "node:tls";
import { Problem } from "../http/problems.ts";
import { parseBase64Url, parseJson } from "../http/requests.ts";
import { log } from "../operation/observability.ts";
import type { Settings } from "../settings.ts";
import { fetchDocument, tlsContext } from "./provider.ts";

// How long a provider's keys are used without asking again (AUTH-20).
const CACHED_SECONDS = 600;
const COOLDOWN_SECONDS = 30;

// RFC 7518, 6.2.2 and 6.3.2 (AUTH-26)
const PRIVATE_MEMBERS = ["d", "p", "q", "dp", "dq", "qi", "oth"];
const [MIN_RSA_BITS, MAX_RSA_BITS] = [2048, 8192];
const [MIN_RSA_EXPONENT, MAX_RSA_EXPONENT] = [3n, 2n ** 31n - 1n];
const COORDINATE_BYTES = 32;

// By the algorithm and the id.
type Keys = ReadonlyMap<string, KeyObject>;
type Jwk = Readonly<Record<string, unknown>>;

/** The keys at `AUTH_JWKS_URL`, kept for a while, and looked up again for one that is new. */
export class ProviderKeys {
  readonly #url: string;
  readonly #context: SecureContext | null;
  #keys: Keys = new Map();
  #keptUntil = Number.NEGATIVE_INFINITY;
  #askedFrom = Number.NEGATIVE_INFINITY;
  #failed = false;
  #asking: Promise<void> | null = null;

  constructor(settings: Settings) {
    this.#url = settings.authJwksUrl;
    this.#context = this.#url.startsWith("https:") ? tlsContext(settings.authJwksCa) : null;
  }

  /**
   * The key of this algorithm with this id, if there is one. Throws provider-unavailable.
   *
   * @clauses AUTH-22
   */
  async find(algorithm: string, keyId: string): Promise<KeyObject | undefined> {
    let key = this.#kept(algorithm, keyId);
    if (key === undefined) {
      await this.#renew();
      key = this.#kept(algorithm, keyId);
    }
    if (this.#failed && !key) {
      throw new Problem("provider-unavailable");
    }
    return key;
  }

  /** The key, if it was fetched and is still kept. @clauses AUTH-20, AUTH-30 */
  #kept(algorithm: string, keyId: string): KeyObject | undefined {
    return performance.now() < this.#keptUntil
      ? this.#keys.get(nameOf(algorithm, keyId))
      : undefined;
  }

  /** Fetch the set again, once for all who wait for it. @clauses AUTH-21, AUTH-30 */
  async #renew(): Promise<void> {
    if (this.#asking === null && performance.now() >= this.#askedFrom) {
      this.#asking = this.#ask();
    }
    await this.#asking;
  }

  /** Ask the provider for its keys; a failure is told to the log. @clauses AUTH-35 */
  async #ask(): Promise<void> {
    try {
      this.#keys = parseKeySet(await fetchDocument(this.#url, this.#context));
      this.#keptUntil = performance.now() + CACHED_SECONDS * 1000;
      this.#failed = false;
    } catch (error) {
      this.#failed = true;
      log("warning", "provider unavailable", { error: (error as Error).message });
    } finally {
      this.#askedFrom = performance.now() + COOLDOWN_SECONDS * 1000;
      this.#asking = null;
    }
  }
}

/** The keys of the set that count. Throws TypeError if it is no set. @clauses AUTH-27, AUTH-28 */
export function parseKeySet(document: Buffer): Keys {
  let jwks: unknown;
  try {
    jwks = asObject(parseJson(document))["keys"];
  } catch {
    throw new TypeError("no JSON object");
  }
  if (!Array.isArray(jwks)) {
    throw new TypeError("no JSON Web Key Set");
  }
  const keys = new Map<string, KeyObject>();
  for (const jwk of jwks) {
    try {
      const [name, key] = parseKey(asObject(jwk));
      if (!keys.has(name)) {
        keys.set(name, key);
      }
    } catch {
      // It doesn't count.
    }
  }
  return keys;
}

/** The key, and what names it. Throws an Error if it doesn't count. @clauses AUTH-26 */
function parseKey(jwk: Jwk): [name: string, key: KeyObject] {
  const algorithm = jwk["kty"] === "EC" ? "ES256" : "RS256";
  // A default stands for what isn't there, but not for null.
  const { kty, kid, use = "sig", key_ops: operations = ["verify"], alg = algorithm } = jwk;
  if (
    !(kty === "RSA" || kty === "EC") ||
    typeof kid !== "string" ||
    use !== "sig" ||
    !Array.isArray(operations) ||
    !operations.includes("verify") ||
    alg !== algorithm ||
    PRIVATE_MEMBERS.some((member) => Object.hasOwn(jwk, member))
  ) {
    throw new TypeError("no key for these tokens");
  }
  return [nameOf(algorithm, kid), kty === "EC" ? ecKey(jwk) : rsaKey(jwk)];
}

function rsaKey(jwk: Jwk): KeyObject {
  const [modulus, exponent] = [natural(jwk, "n"), natural(jwk, "e")];
  const bits = modulus.toString(2).length;
  if (
    bits < MIN_RSA_BITS ||
    bits > MAX_RSA_BITS ||
    modulus % 2n === 0n ||
    exponent < MIN_RSA_EXPONENT ||
    exponent > MAX_RSA_EXPONENT ||
    exponent % 2n === 0n
  ) {
    throw new TypeError("no such RSA key");
  }
  const { n, e } = jwk as Record<"n" | "e", string>;
  return createPublicKey({ key: { kty: "RSA", n, e }, format: "jwk" });
}

function ecKey(jwk: Jwk): KeyObject {
  const sizes = [octets(jwk, "x").length, octets(jwk, "y").length];
  if (jwk["crv"] !== "P-256" || sizes.some((size) => size !== COORDINATE_BYTES)) {
    throw new TypeError("no point of P-256");
  }
  const { x, y } = jwk as Record<"x" | "y", string>;
  return createPublicKey({ key: { kty: "EC", crv: "P-256", x, y }, format: "jwk" });
}

function natural(jwk: Jwk, name: string): bigint {
  const digits = octets(jwk, name).toString("hex");
  // RFC 7518, 2: Base64urlUInt
  if (digits.startsWith("00")) {
    throw new RangeError("more octets than it takes");
  }
  return BigInt(`0x${digits}`);
}

function octets(jwk: Jwk, name: string): Buffer {
  const text = jwk[name];
  if (typeof text !== "string") {
    throw new TypeError(name);
  }
  return parseBase64Url(text);
}

function asObject(value: unknown): Jwk {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new TypeError("no object");
  }
  return value as Jwk;
}

function nameOf(algorithm: string, keyId: string): string {
  return `${algorithm} ${keyId}`;
}
