/** CORS (Fetch standard): one table of what an allowed origin gets, off without `CORS_ORIGINS`. */

// CORS-04
const EXPOSED =
  "Accept-Patch, ETag, Idempotency-Replayed, Link, Location, Retry-After, WWW-Authenticate, " +
  "X-Request-Id";
// CORS-06
const ACCEPTED =
  "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, X-Request-Id";
const MAX_AGE = "600";

/**
 * The header fields to add to an answer.
 *
 * `origin` and `requested` are the request's `Origin` and `Access-Control-Request-Method`, if it
 * has them; `allow` is the answer's `Allow` if it is the 204 of an OPTIONS.
 */
export function corsHeaders(
  allowed: readonly string[],
  origin: string | undefined,
  requested: string | undefined,
  allow: string | null,
): Record<string, string> {
  // CORS-01
  if (allowed.length === 0) {
    return {};
  }
  // CORS-02
  const fields: Record<string, string> = { Vary: "Origin" };
  // CORS-05, CORS-07
  if (origin === undefined || !allowed.includes(origin)) {
    return fields;
  }
  // CORS-03
  fields["Access-Control-Allow-Origin"] = origin;
  // CORS-04, CORS-06
  if (allow && requested !== undefined) {
    fields["Access-Control-Allow-Methods"] = allow;
    fields["Access-Control-Allow-Headers"] = ACCEPTED;
    fields["Access-Control-Max-Age"] = MAX_AGE;
  } else {
    fields["Access-Control-Expose-Headers"] = EXPOSED;
  }
  return fields;
}
