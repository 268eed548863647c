"""CORS (Fetch standard): one table of what an allowed origin gets, off without `CORS_ORIGINS`."""

from collections.abc import Sequence

# CORS-04
EXPOSED = (
    "Accept-Patch, ETag, Idempotency-Replayed, Link, Location, Retry-After, WWW-Authenticate, "
    "X-Request-Id"
)
# CORS-06
ACCEPTED = "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, X-Request-Id"
MAX_AGE = "600"


def cors_headers(
    allowed: Sequence[str], origins: Sequence[str], requested: Sequence[str], allow: str | None
) -> dict[str, str]:
    """The header fields to add to an answer.

    `origins` and `requested` are the request's `Origin` and `Access-Control-Request-Method` field
    lines; `allow` is the answer's `Allow` if it is the 204 of an OPTIONS.
    """
    # CORS-01
    if not allowed:
        return {}
    # CORS-02
    fields = {"Vary": "Origin"}
    # CORS-05, CORS-07
    if len(origins) != 1 or origins[0] not in allowed:
        return fields
    # CORS-03
    fields["Access-Control-Allow-Origin"] = origins[0]
    # CORS-04, CORS-06
    if allow and requested:
        fields["Access-Control-Allow-Methods"] = allow
        fields["Access-Control-Allow-Headers"] = ACCEPTED
        fields["Access-Control-Max-Age"] = MAX_AGE
    else:
        fields["Access-Control-Expose-Headers"] = EXPOSED
    return fields
