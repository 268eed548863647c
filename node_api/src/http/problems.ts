/**
 * Problems (RFC 9457): the catalogue, and the one place that renders them.
 *
 * A failure is thrown as a `Problem` where it is known. Titles and details are the contract's own
 * words: no library's message and nothing that the client sent ever reaches an answer, but for the
 * name of an unknown member in a pointer.
 */

export const CATALOGUE = {
  "malformed-json": [
    400,
    "Malformed JSON",
    "The body is not JSON (RFC 8259) in UTF-8 with at most 32 levels of nesting.",
  ],
  "malformed-query": [400, "Malformed query", "The query is not percent-encoded UTF-8."],
  "malformed-header": [400, "Malformed header", "A header field does not have the required form."],
  "bad-request": [400, "Bad request", "The request is not one that this service can read."],
  unauthorized: [401, "Unauthorized", "This needs a valid bearer token."],
  forbidden: [403, "Forbidden", "The token's owner may not do this."],
  "foreign-origin": [
    403,
    "Foreign origin",
    "Scripts of this origin may not open a WebSocket here.",
  ],
  "not-found": [404, "Not found", "There is nothing at this path."],
  "user-not-found": [404, "User not found", "There is no user with this id."],
  "webhook-not-found": [404, "Webhook not found", "There is no webhook with this id."],
  "delivery-not-found": [
    404,
    "Delivery not found",
    "No delivery of this event to this webhook is waiting or dead.",
  ],
  "method-not-allowed": [405, "Method not allowed", "This path does not support the method."],
  "email-taken": [409, "Email taken", "Another user has this email."],
  "too-many-webhooks": [409, "Too many webhooks", "There are 50 webhooks, and can't be more."],
  "events-gone": [410, "Events gone", "Some events after this position are no longer kept."],
  "version-mismatch": [
    412,
    "Version mismatch",
    "The user's current version does not match If-Match.",
  ],
  "body-too-large": [413, "Body too large", "The body is larger than 65536 bytes."],
  "unsupported-media-type": [
    415,
    "Unsupported media type",
    "The body must be of the right type, in UTF-8, declared by one Content-Type, not encoded.",
  ],
  "upgrade-required": [
    426,
    "Upgrade required",
    "This path speaks WebSocket (RFC 6455), version 13, alone.",
  ],
  "headers-too-large": [
    431,
    "Headers too large",
    "The request target and header fields are larger than 16384 bytes or more than 100.",
  ],
  validation: [422, "Validation failed", "The request breaks the rules listed in errors."],
  "idempotency-key-reused": [
    422,
    "Idempotency key reused",
    "This Idempotency-Key was used with another body.",
  ],
  "too-many-failures": [
    429,
    "Too many failures",
    "Too many logins have failed with this username or from this address.",
  ],
  "too-many-registrations": [
    429,
    "Too many registrations",
    "Too many users have been created from this address.",
  ],
  internal: [500, "Internal error", "The service failed unexpectedly."],
  unavailable: [503, "Service unavailable", "The database cannot be reached."],
  overloaded: [503, "Overloaded", "The service has too many passwords to hash at the moment."],
  "too-many-streams": [
    503,
    "Too many streams",
    "The service has too many streams and sockets of events open at the moment.",
  ],
  "provider-unavailable": [503, "Provider unavailable", "The identity provider cannot be reached."],
} as const;

export const RULES = {
  missing: "This member is required.",
  "wrong-type": "This value has the wrong type.",
  "too-short": "This text is too short.",
  "too-long": "This text is too long.",
  "too-small": "This number is too small.",
  "too-large": "This number is too large.",
  malformed: "This value does not have the required form.",
  unknown: "This member is not known.",
  forbidden: "This service may not call this address.",
} as const;

export const MAX_ERRORS = 20;

export type Code = keyof typeof CATALOGUE;
export type Rule = keyof typeof RULES;
export type Issue = Readonly<Record<string, string>>;

/**
 * A request's failure, as the client gets to see it.
 *
 * Takes a code of the catalogue, the issues that stand in `errors`, and further header fields;
 * where another try may help, `Retry-After: 1` by default.
 */
export class Problem extends Error {
  readonly code: Code;
  readonly issues: readonly Issue[];
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    code: Code,
    issues: readonly Issue[] = [],
    headers?: Readonly<Record<string, string>>,
  ) {
    super(code);
    this.code = code;
    this.issues = issues;
    const [status] = CATALOGUE[code];
    this.headers = headers ?? (status === 429 || status === 503 ? { "Retry-After": "1" } : {});
  }
}

/**
 * One entry of `errors`: the place, the rule that is broken there, and the rule's text.
 *
 * @clauses PROB-03
 */
export function issue(place: "pointer" | "parameter" | "header", name: string, code: Rule): Issue {
  return { [place]: name, code, detail: RULES[code] };
}

/**
 * The answer that tells the client of a problem (RFC 9457, 3).
 *
 * @clauses HDR-10, PROB-01, PROB-02, PROB-04, PROB-09, REP-01, REP-02
 */
export function renderProblem(problem: Problem): Response {
  const [status, title, detail] = CATALOGUE[problem.code];
  const document = {
    type: `/problems/${problem.code}`,
    title,
    status,
    detail,
    ...(problem.issues.length > 0 && { errors: problem.issues.slice(0, MAX_ERRORS) }),
  };
  const headers = { ...problem.headers, "Content-Type": "application/problem+json" };
  return new Response(JSON.stringify(document), { status, headers });
}
