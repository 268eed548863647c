/** The keys of an outside identity provider, from its JSON Web Key Set (RFC 7517). */

import { createRemoteJWKSet, errors, type JWTVerifyGetKey } from "jose";
import { Problem } from "../problems.ts";
import type { Settings } from "../settings.ts";

// AUTH-20
const CACHED_SECONDS = 600;
// AUTH-21
const COOLDOWN_SECONDS = 30;
const TIMEOUT_SECONDS = 5;

type Key = Awaited<ReturnType<JWTVerifyGetKey>>;

/** The provider has no such key. */
export class KeyNotFoundError extends Error {}

/** The keys at `AUTH_JWKS_URL`, kept for a while, and looked up again for one that is new. */
export class ProviderKeys {
  readonly #keys: JWTVerifyGetKey;

  constructor(settings: Settings) {
    this.#keys = createRemoteJWKSet(new URL(settings.authJwksUrl), {
      // AUTH-20
      cacheMaxAge: CACHED_SECONDS * 1000,
      // AUTH-21
      cooldownDuration: COOLDOWN_SECONDS * 1000,
      timeoutDuration: TIMEOUT_SECONDS * 1000,
    });
  }

  /** The key that a token's header names. Throws KeyNotFoundError, and provider-unavailable. */
  async find(...[header, token]: Parameters<JWTVerifyGetKey>): Promise<Key> {
    // AUTH-21
    // Without an id any key of the right kind would do.
    if (typeof header.kid !== "string") {
      throw new KeyNotFoundError();
    }
    // AUTH-22
    try {
      return await this.#keys(header, token);
    } catch (error) {
      if (
        error instanceof errors.JWKSNoMatchingKey ||
        error instanceof errors.JWKSMultipleMatchingKeys
      ) {
        throw new KeyNotFoundError();
      }
      throw new Problem("provider-unavailable", [], { "Retry-After": "1" });
    }
  }
}
