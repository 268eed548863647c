/** CORS (Fetch standard): one table of what an allowed origin gets, off without `CORS_ORIGINS`. */

const EXPOSED = "ETag, Idempotency-Replayed, Link, Location, Retry-After, X-Request-Id";
const ACCEPTED = "Content-Type, Idempotency-Key, If-Match, If-None-Match, X-Request-Id";
const MAX_AGE = "600";

/**
 * The header fields to add to an answer.
 *
 * `origins` and `requested` are the request's `Origin` and `Access-Control-Request-Method` field
 * lines; `allow` is the answer's `Allow` if it is the 204 of an OPTIONS.
 */
export function corsHeaders(
  allowed: readonly string[],
  origins: readonly string[],
  requested: readonly string[],
  allow: string | null,
): Record<string, string> {
  if (allowed.length === 0) {
    return {};
  }
  const fields: Record<string, string> = { Vary: "Origin" };
  const [origin] = origins;
  if (origin === undefined || origins.length !== 1 || !allowed.includes(origin)) {
    return fields;
  }
  fields["Access-Control-Allow-Origin"] = origin;
  if (allow && requested.length > 0) {
    fields["Access-Control-Allow-Methods"] = allow;
    fields["Access-Control-Allow-Headers"] = ACCEPTED;
    fields["Access-Control-Max-Age"] = MAX_AGE;
  } else {
    fields["Access-Control-Expose-Headers"] = EXPOSED;
  }
  return fields;
}
