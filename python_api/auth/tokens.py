"""Tokens: JSON Web Tokens (RFC 7519) that tell who calls, signed by a service or by a provider."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import jwt

from python_api.auth.keys import KeyNotFoundError, ProviderKeys
from python_api.auth.store import Credentials
from python_api.requests import MAX_INTEGER, integer_rule
from python_api.settings import Settings

# AUTH-06
OWN_ALGORITHMS = ["HS256"]
# AUTH-19
PROVIDER_ALGORITHMS = ["RS256", "ES256"]
# AUTH-05
# RFC 7515, 3.1. The libraries' own decoders skip what isn't in the alphabet, each in its own way.
TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class TokenError(Exception):
    """A token that proves nothing."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says: whose it is, and what the user's `token_epoch` was."""

    user_id: int
    token_epoch: int | None
    """None of a provider's token, which knows nothing of it."""
    expires_at: int
    """Seconds since 1970."""


# AUTH-01, AUTH-02
def issue_token(user: Credentials, now: datetime, settings: Settings) -> str:
    """A token for this user, good for `AUTH_TOKEN_TTL` seconds from `now`."""
    claims = {
        "iss": settings.auth_issuer,
        "aud": settings.auth_audience,
        "sub": str(user.id),
        "role": user.role,
        # AUTH-09
        "epoch": user.token_epoch,
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(seconds=settings.auth_token_ttl)).timestamp()),
    }
    return jwt.encode(claims, settings.auth_secret, "HS256")


async def read_token(token: str, settings: Settings, keys: ProviderKeys | None) -> Claims:
    """What the token says, once it is known to be true. Raises TokenError if it isn't.

    Raises provider-unavailable where the provider's keys are needed and can't be had.
    """
    if not TOKEN.fullmatch(token):
        raise TokenError
    # What is nested deeply enough is no error of PyJWT's but Python's own.
    try:
        if keys:
            key = await keys.find(jwt.get_unverified_header(token).get("kid") or "")
            payload = _verified(token, key, PROVIDER_ALGORITHMS, settings)
        else:
            payload = _verified_with_a_secret(token, settings)
    except (jwt.InvalidTokenError, KeyNotFoundError, RecursionError) as error:
        raise TokenError from error
    # AUTH-07
    # PyJWT takes a text of digits for a number, and jose doesn't.
    if not all(_is_number(payload.get(name, 0)) for name in ("exp", "iat", "nbf")):
        raise TokenError
    epoch = None if keys else payload.get("epoch")
    # AUTH-18
    if integer_rule(payload["sub"], MAX_INTEGER) or not (keys or _is_number(epoch)):
        raise TokenError
    return Claims(int(payload["sub"]), epoch, payload["exp"])


# In Python true and false are numbers, too.
def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# AUTH-08
def _verified_with_a_secret(token: str, settings: Settings) -> dict[str, Any]:
    try:
        return _verified(token, settings.auth_secret, OWN_ALGORITHMS, settings)
    except jwt.InvalidSignatureError:
        if not settings.auth_secret_previous:
            raise
        return _verified(token, settings.auth_secret_previous, OWN_ALGORITHMS, settings)


# AUTH-05, AUTH-06, AUTH-07
def _verified(
    token: str, key: str | jwt.PyJWK, algorithms: list[str], settings: Settings
) -> dict[str, Any]:
    return jwt.decode(
        token,
        key,
        algorithms,
        audience=settings.auth_audience,
        issuer=settings.auth_issuer,
        # The clock of who signed it may be ahead of this one.
        options={"require": ["exp", "iat", "sub"], "verify_iat": False},
    )
