"""Tokens as a service gives them, and as nobody should: signed by the tests themselves."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

from contract_tests.harness import services

# That of somebody else's service can be told by the environment.
SECRET = services.secret("AUTH_SECRET") or services.SECURED["AUTH_SECRET"]
Claims = dict[str, Any]


def claims(user_id: int, **changes: object) -> Claims:
    """What a service's token says of a user who has never changed; None leaves a claim out."""
    now = int(time.time())
    ours: Claims = {
        "iss": "users",
        "aud": "users",
        "sub": str(user_id),
        "role": "member",
        "epoch": 1,
        "iat": now,
        "exp": now + 900,
    }
    return {name: value for name, value in (ours | changes).items() if value is not None}


def token(
    payload: object, secret: str | bytes = SECRET, digest: str = "sha256", **header: Any
) -> str:
    """A token of this payload, signed by HMAC, whatever the header says; no library would."""
    return sealed({"alg": "HS256", "typ": "JWT"} | header, payload, secret, digest)


def sealed(header: object, payload: object, secret: str | bytes, digest: str = "sha256") -> str:
    """Header and payload, signed by HMAC."""
    key = secret.encode() if isinstance(secret, str) else secret
    text = f"{encoded(header)}.{encoded(payload)}"
    signature = hmac.new(key, text.encode(), getattr(hashlib, digest)).digest()
    return f"{text}.{_base64url(signature)}"


def decoded(token_: str) -> tuple[Any, Any]:
    """Header and payload of a token, unverified."""
    header, payload = (
        json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        for part in token_.split(".")[:2]
    )
    return header, payload


def encoded(part: object) -> str:
    """A part of a token: bytes as they are, all else as JSON."""
    return _base64url(part if isinstance(part, bytes) else json.dumps(part).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
