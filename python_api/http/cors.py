"""CORS (Fetch standard): one table of what an allowed origin gets, off without `CORS_ORIGINS`."""

from collections.abc import Collection

EXPOSED = (
    "Accept-Patch, ETag, Idempotency-Replayed, Link, Location, Retry-After, WWW-Authenticate, "
    "X-Request-Id"
)
ACCEPTED = "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, X-Request-Id"
MAX_AGE = "600"


def cors_headers(
    allowed: Collection[str], origin: str | None, requested: str | None, allow: str | None
) -> dict[str, str]:
    """The header fields to add to an answer.

    `origin` and `requested` are the request's `Origin` and `Access-Control-Request-Method`, if it
    has them; `allow` is the answer's `Allow` if it is the 204 of an OPTIONS.

    Clauses: CORS-01, CORS-02, CORS-03, CORS-04, CORS-05, CORS-06, CORS-07.
    """
    if not allowed:
        return {}
    fields = {"Vary": "Origin"}
    if origin is None or origin not in allowed:
        return fields
    fields["Access-Control-Allow-Origin"] = origin
    if allow and requested is not None:
        fields["Access-Control-Allow-Methods"] = allow
        fields["Access-Control-Allow-Headers"] = ACCEPTED
        fields["Access-Control-Max-Age"] = MAX_AGE
    else:
        fields["Access-Control-Expose-Headers"] = EXPOSED
    return fields
