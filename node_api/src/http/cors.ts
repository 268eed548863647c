/** CORS (Fetch standard): one table of what an allowed origin gets, off without `CORS_ORIGINS`. */

const EXPOSED =
  "Accept-Patch, ETag, Idempotency-Replayed, Link, Location, Retry-After, WWW-Authenticate, " +
  "X-Request-Id";
const ACCEPTED =
  "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, X-Request-Id";
const MAX_AGE = "600";

/**
 * The header fields to add to an answer.
 *
 * `origin` and `requested` are the request's `Origin` and `Access-Control-Request-Method`, if it
 * has them; `allow` is the answer's `Allow` if it is the 204 of an OPTIONS.
 *
 * @clauses CORS-01, CORS-02, CORS-03, CORS-04, CORS-05, CORS-06, CORS-07
 */
export function corsHeaders(
  allowed: readonly string[],
  origin: string | undefined,
  requested: string | undefined,
  allow: string | null,
): Record<string, string> {
  if (allowed.length === 0) {
    return {};
  }
  const fields: Record<string, string> = { Vary: "Origin" };
  if (origin === undefined || !allowed.includes(origin)) {
    return fields;
  }
  fields["Access-Control-Allow-Origin"] = origin;
  if (allow && requested !== undefined) {
    fields["Access-Control-Allow-Methods"] = allow;
    fields["Access-Control-Allow-Headers"] = ACCEPTED;
    fields["Access-Control-Max-Age"] = MAX_AGE;
  } else {
    fields["Access-Control-Expose-Headers"] = EXPOSED;
  }
  return fields;
}
