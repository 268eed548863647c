"""The keys of an outside identity provider, from its JSON Web Key Set (RFC 7517)."""

import asyncio
import contextlib
import time
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from python_api.auth.provider import ProviderError, fetch_document, tls_context
from python_api.http.problems import Problem
from python_api.http.requests import parse_base64url, parse_json
from python_api.operation.observability import log
from python_api.settings import Settings

# How long a provider's keys are used without asking again (AUTH-20).
CACHED_SECONDS = 600
COOLDOWN_SECONDS = 30

# RFC 7518, 6.2.2 and 6.3.2 (AUTH-26)
PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})
RSA_BITS = range(2048, 8192 + 1)
RSA_EXPONENTS = range(3, 2**31, 2)
# The prime of P-256's field (SP 800-186, 3.2.1.3).
P_256 = 2**256 - 2**224 + 2**192 + 2**96 - 1
COORDINATE_BYTES = 32

Key = RSAPublicKey | EllipticCurvePublicKey
# By the algorithm and the id.
Keys = dict[tuple[str, str], Key]
Jwk = Mapping[str, object]


class ProviderKeys:
    """The keys at `AUTH_JWKS_URL`, kept for a while, and looked up again for one that is new."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.auth_jwks_url
        is_tls = self._url.startswith("https:")
        self._context = tls_context(settings.auth_jwks_ca) if is_tls else None
        self._keys: Keys = {}
        self._kept_until = self._asked_from = float("-inf")
        self._failed = False
        self._asking: asyncio.Task[None] | None = None

    async def find(self, algorithm: str, key_id: str) -> Key | None:
        """The key of this algorithm with this id, if there is one. Raises provider-unavailable.

        Clauses: AUTH-22.
        """
        key = self._kept(algorithm, key_id)
        if key is None:
            await self._renew()
            key = self._kept(algorithm, key_id)
        if self._failed and not key:
            raise Problem("provider-unavailable")
        return key

    def _kept(self, algorithm: str, key_id: str) -> Key | None:
        """The key, if it was fetched and is still kept. Clauses: AUTH-20, AUTH-30."""
        return self._keys.get((algorithm, key_id)) if time.monotonic() < self._kept_until else None

    async def _renew(self) -> None:
        """Fetch the set again, once for all who wait for it. Clauses: AUTH-21, AUTH-30."""
        if self._asking is None and time.monotonic() >= self._asked_from:
            self._asking = asyncio.create_task(self._ask())
        if self._asking:
            # One that stops waiting doesn't stop the others.
            await asyncio.shield(self._asking)

    async def _ask(self) -> None:
        """Ask the provider for its keys; a failure is told to the log. Clauses: AUTH-35."""
        try:
            self._keys = parse_key_set(await fetch_document(self._url, self._context))
            self._kept_until = time.monotonic() + CACHED_SECONDS
            self._failed = False
        except (ProviderError, ValueError) as error:
            self._failed = True
            log("warning", "provider unavailable", error=str(error))
        finally:
            self._asked_from = time.monotonic() + COOLDOWN_SECONDS
            self._asking = None


def parse_key_set(document: bytes) -> Keys:
    """The keys of the set that count. Raises ValueError if it is no set.

    Clauses: AUTH-27, AUTH-28.
    """
    try:
        key_set = parse_json(document)
    except Problem:
        raise ValueError("no JSON") from None
    jwks = key_set.get("keys") if isinstance(key_set, dict) else None
    if not isinstance(jwks, list):
        raise ValueError("no JSON Web Key Set")  # noqa: TRY004 (it is the document that is wrong)
    keys: Keys = {}
    for jwk in jwks:
        with contextlib.suppress(ValueError):
            name, key = _parse_key(jwk)
            keys.setdefault(name, key)
    return keys


def _parse_key(jwk: object) -> tuple[tuple[str, str], Key]:
    """The key, and the algorithm and the id that name it. Raises ValueError if it doesn't count.

    Clauses: AUTH-26.
    """
    if not isinstance(jwk, dict) or PRIVATE_MEMBERS & jwk.keys():
        raise ValueError("no public key")
    kind, key_id, operations = jwk.get("kty"), jwk.get("kid"), jwk.get("key_ops", ["verify"])
    algorithm = "ES256" if kind == "EC" else "RS256"
    if (
        kind not in ("RSA", "EC")
        or not isinstance(key_id, str)
        or jwk.get("use", "sig") != "sig"
        or not isinstance(operations, list)
        or "verify" not in operations
        or jwk.get("alg", algorithm) != algorithm
    ):
        raise ValueError("no key for these tokens")
    return (algorithm, key_id), _ec_key(jwk) if kind == "EC" else _rsa_key(jwk)


def _rsa_key(jwk: Jwk) -> Key:
    modulus, exponent = _natural(jwk, "n"), _natural(jwk, "e")
    if modulus.bit_length() not in RSA_BITS or modulus % 2 == 0 or exponent not in RSA_EXPONENTS:
        raise ValueError("no such RSA key")
    return RSAPublicNumbers(exponent, modulus).public_key()


def _ec_key(jwk: Jwk) -> Key:
    x, y = _octets(jwk, "x"), _octets(jwk, "y")
    if jwk.get("crv") != "P-256" or len(x) != COORDINATE_BYTES or len(y) != COORDINATE_BYTES:
        raise ValueError("no point of P-256")
    numbers = (int.from_bytes(x, "big"), int.from_bytes(y, "big"))
    # `cryptography` would take off the prime; Node refuses such a point by itself.
    if max(numbers) >= P_256:
        raise ValueError("no number of P-256's field")
    return EllipticCurvePublicNumbers(numbers[0], numbers[1], SECP256R1()).public_key()


def _natural(jwk: Jwk, name: str) -> int:
    octets = _octets(jwk, name)
    # RFC 7518, 2: Base64urlUInt
    if octets.startswith(b"\0"):
        raise ValueError("more octets than it takes")
    return int.from_bytes(octets, "big")


def _octets(jwk: Jwk, name: str) -> bytes:
    text = jwk.get(name)
    if not isinstance(text, str):
        raise ValueError(name)  # noqa: TRY004 (it is the key that is wrong)
    return parse_base64url(text)
