/** What a client asks a token for: the form of the token endpoint (RFC 6749, 4.3.2). */

import { namedValues, repeated } from "../http/pages.ts";
import { parseQuery, UTF_8 } from "../http/requests.ts";
import type { Settings } from "../settings.ts";
import { emailRule } from "../users/schemas.ts";

export const GRANT_TYPE = "password";
// RFC 6749, 5.2 (LOGIN-05, LOGIN-06, LOGIN-07)
export const ERRORS = {
  invalid_request: "The body is not a form with grant_type, username and password, once each.",
  unsupported_grant_type: "This service does not give tokens for this grant type.",
  invalid_grant: "The username or the password is wrong.",
};

/** What a client sends to log in. */
export type Grant = { grant_type: typeof GRANT_TYPE; username: string; password: string };

/** A failure of the token endpoint, as RFC 6749 has it: one of `ERRORS`. */
export class GrantError extends Error {
  readonly code: keyof typeof ERRORS;

  constructor(code: keyof typeof ERRORS) {
    super(code);
    this.code = code;
  }
}

/**
 * The email, in lower case, and the password that the form holds. Throws GrantError.
 *
 * @clauses LOGIN-02, LOGIN-05, LOGIN-06
 */
export function parseGrant(
  body: Uint8Array,
  settings: Settings,
): [email: string, password: string] {
  let parameters: [name: string, value: string][];
  try {
    parameters = parseQuery(UTF_8.decode(body));
  } catch {
    throw new GrantError("invalid_request");
  }
  const sent = namedValues(parameters, ["grant_type", "username", "password"]);
  // An empty one is none (RFC 6749, 3.2).
  const [grantType = ""] = sent.grant_type;
  const [username = ""] = sent.username;
  const [password = ""] = sent.password;
  if (Object.keys(repeated(sent)).length > 0 || !grantType) {
    throw new GrantError("invalid_request");
  }
  // An open service needs no tokens, and a provider gives its own (AUTH-15).
  const givesTokens = settings.auth && !settings.authJwksUrl;
  if (grantType !== GRANT_TYPE || !givesTokens) {
    throw new GrantError("unsupported_grant_type");
  }
  if (!(username && password)) {
    throw new GrantError("invalid_request");
  }
  // What isn't an email must not become one by lower case (LOGIN-02).
  return [emailRule(username) ? username : username.toLowerCase(), password];
}
