"""Tokens: JSON Web Tokens (RFC 7519) that tell who calls, signed by a service or by a provider."""

import hmac
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import jwt

from python_api.auth.keys import ProviderKeys
from python_api.auth.store import Credentials
from python_api.http.problems import Problem
from python_api.http.requests import MAX_INTEGER, integer_rule, parse_base64url, parse_json
from python_api.settings import Settings

OWN_HEADER = {"alg": "HS256", "typ": "JWT"}
PROVIDER_ALGORITHMS = ("RS256", "ES256")
WHOLE = re.compile("0|[1-9][0-9]{0,15}")


Payload = Mapping[str, object]


class TokenError(Exception):
    """A token that proves nothing."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says: whose it is, and what the user's `token_epoch` was."""

    user_id: int
    token_epoch: int | None
    """None of a provider's token, which knows nothing of it."""
    expires_at: int
    """Seconds since 1970; from then on the token is void."""


def issue_token(user: Credentials, now: datetime, settings: Settings) -> str:
    """A token for this user, good for `AUTH_TOKEN_TTL` seconds from `now`.

    Clauses: AUTH-01, AUTH-02, AUTH-09.
    """
    claims = {
        "iss": settings.auth_issuer,
        "aud": settings.auth_audience,
        "sub": str(user.id),
        "role": user.role,
        "epoch": user.token_epoch,
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(seconds=settings.auth_token_ttl)).timestamp()),
    }
    return jwt.encode(claims, settings.auth_secret, "HS256")


async def read_token(token: str, settings: Settings, keys: ProviderKeys | None) -> Claims:
    """What the token says, once it is known to be true. Raises TokenError if it isn't.

    Raises provider-unavailable where the provider's keys are needed and can't be had.

    Clauses: AUTH-05, AUTH-24.
    """
    text, _, signature = token.rpartition(".")
    try:
        header, payload = (_parse_object(part) for part in text.split("."))
        signed, proof = text.encode("ascii"), parse_base64url(signature)
    except ValueError:
        raise TokenError from None
    # What the token says comes first: the provider isn't asked about one that is void anyway
    # (AUTH-34).
    claims = _parse_claims(payload, settings, has_epoch=keys is None)
    if keys:
        true = await _is_a_providers(header, signed, proof, keys)
    else:
        true = _is_our_own(header, signed, proof, settings)
    if not true:
        raise TokenError
    return claims


def _parse_object(part: str) -> Payload:
    """The header or the payload. Raises ValueError if it is no JSON object. Clauses: AUTH-24."""
    try:
        value = parse_json(parse_base64url(part), _whole)
    except Problem:
        raise ValueError(part) from None
    if not isinstance(value, dict):
        raise ValueError(part)  # noqa: TRY004 (it is the token that is wrong)
    return value


def _whole(text: str) -> int | None:
    """The whole number that is written here, None if it is none. Clauses: AUTH-25."""
    number = int(text) if WHOLE.fullmatch(text) else None
    return number if number is not None and number <= MAX_INTEGER else None


def _parse_claims(payload: Payload, settings: Settings, *, has_epoch: bool) -> Claims:
    """What the payload says. Raises TokenError where it isn't all there, or not for here and now.

    Clauses: AUTH-07, AUTH-18.
    """
    subject, now = payload.get("sub"), time.time()
    expires_at, issued_at = _number(payload, "exp"), _number(payload, "iat")
    not_before = _number(payload, "nbf") if "nbf" in payload else 0
    epoch = _number(payload, "epoch") if has_epoch else 0
    if (
        payload.get("iss") != settings.auth_issuer
        or not _is_for(settings.auth_audience, payload.get("aud"))
        or not isinstance(subject, str)
        or integer_rule(subject, MAX_INTEGER)
        or expires_at is None
        or expires_at <= now
        or issued_at is None
        or not_before is None
        or not_before > now
        or epoch is None
    ):
        raise TokenError
    return Claims(int(subject), epoch if has_epoch else None, expires_at)


def _is_for(name: str, audience: object) -> bool:
    audiences = audience if isinstance(audience, list) else [audience]
    return name in audiences and all(isinstance(one, str) for one in audiences)


def _number(payload: Payload, name: str) -> int | None:
    """A moment in seconds; None for what is no number.

    Clauses: AUTH-25.
    """
    value = payload.get(name)
    # In Python true and false are numbers, too.
    return value if type(value) is int else None


def _is_our_own(header: Payload, signed: bytes, proof: bytes, settings: Settings) -> bool:
    """Whether one of the service's secrets has signed it.

    Clauses: AUTH-05, AUTH-06, AUTH-08, AUTH-23.
    """
    secrets = filter(None, (settings.auth_secret, settings.auth_secret_previous))
    signatures = (hmac.digest(secret.encode("ascii"), signed, "sha256") for secret in secrets)
    return header == OWN_HEADER and any(hmac.compare_digest(one, proof) for one in signatures)


async def _is_a_providers(header: Payload, signed: bytes, proof: bytes, keys: ProviderKeys) -> bool:
    """Whether the key that the header names has signed it. Raises provider-unavailable.

    Clauses: AUTH-05, AUTH-19, AUTH-29.
    """
    algorithm, key_id = header.get("alg"), header.get("kid")
    if (
        not isinstance(algorithm, str)
        or algorithm not in PROVIDER_ALGORITHMS
        or not isinstance(key_id, str)
        or not isinstance(header.get("typ", "JWT"), str)
        # RFC 7515, 4.1.11, RFC 7797, 3
        or header.keys() & {"b64", "crit"}
    ):
        return False
    key = await keys.find(algorithm, key_id)
    return key is not None and jwt.get_algorithm_by_name(algorithm).verify(signed, key, proof)
