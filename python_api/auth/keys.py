"""The keys of an outside identity provider, from its JSON Web Key Set (RFC 7517)."""

import asyncio

import jwt

from python_api.problems import Problem
from python_api.settings import Settings

# AUTH-20
CACHED_SECONDS = 600
# AUTH-21
COOLDOWN_SECONDS = 30
TIMEOUT_SECONDS = 5


class KeyNotFoundError(Exception):
    """The provider has no such key."""


class ProviderKeys:
    """The keys at `AUTH_JWKS_URL`, kept for a while, and looked up again for one that is new."""

    def __init__(self, settings: Settings) -> None:
        self._client = jwt.PyJWKClient(
            settings.auth_jwks_url,
            # AUTH-20
            lifespan=CACHED_SECONDS,
            # AUTH-21
            cooldown_duration=COOLDOWN_SECONDS,
            timeout=TIMEOUT_SECONDS,
        )

    async def find(self, key_id: str) -> jwt.PyJWK:
        """The key with this id. Raises KeyNotFoundError, and provider-unavailable."""
        return await asyncio.to_thread(self._find, key_id)

    def _find(self, key_id: str) -> jwt.PyJWK:
        # AUTH-22
        try:
            self._client.get_jwk_set()
        except (jwt.PyJWTError, ValueError) as error:
            raise _unavailable() from error
        # AUTH-21
        try:
            return self._client.get_signing_key(key_id)
        except (jwt.PyJWKClientConnectionError, jwt.PyJWKSetError, ValueError) as error:
            raise _unavailable() from error
        except jwt.PyJWKClientError as error:
            raise KeyNotFoundError from error


def _unavailable() -> Problem:
    return Problem("provider-unavailable", headers={"Retry-After": "1"})
