"""What a client asks a token for: the form of the token endpoint (RFC 6749, 4.3.2)."""

from python_api.http.pages import named_values, repeated
from python_api.http.problems import Problem
from python_api.http.requests import parse_query
from python_api.settings import Settings
from python_api.users.schemas import email_rule

GRANT_TYPE = "password"
# RFC 6749, 5.2 (LOGIN-05, LOGIN-06, LOGIN-07)
ERRORS = {
    "invalid_request": "The body is not a form with grant_type, username and password, once each.",
    "unsupported_grant_type": "This service does not give tokens for this grant type.",
    "invalid_grant": "The username or the password is wrong.",
}


class GrantError(Exception):
    """A failure of the token endpoint, as RFC 6749 has it: one of `ERRORS`."""


def parse_grant(body: bytes, settings: Settings) -> tuple[str, str]:
    """The email, in lower case, and the password that the form holds. Raises GrantError.

    Clauses: LOGIN-02, LOGIN-05, LOGIN-06.
    """
    try:
        parameters = parse_query(body.decode("utf-8"))
    except (UnicodeDecodeError, Problem):
        raise GrantError("invalid_request") from None
    sent = named_values(parameters, ("grant_type", "username", "password"))
    # An empty one is none (RFC 6749, 3.2).
    grant_type, username, password = (values[0] if values else "" for values in sent.values())
    if repeated(sent) or not grant_type:
        raise GrantError("invalid_request")
    # An open service needs no tokens, and a provider gives its own (AUTH-15).
    gives_tokens = settings.auth and not settings.auth_jwks_url
    if grant_type != GRANT_TYPE or not gives_tokens:
        raise GrantError("unsupported_grant_type")
    if not (username and password):
        raise GrantError("invalid_request")
    # What isn't an email must not become one by lower case (LOGIN-02).
    return username if email_rule(username) else username.lower(), password
