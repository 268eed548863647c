"""Passwords: of each only an Argon2id hash is kept, in the PHC format that both services read."""

import asyncio
from base64 import b64encode

from argon2 import PasswordHasher, Type
from argon2.exceptions import VerifyMismatchError

from python_api.settings import Settings

# PASSWORD-11
SALT_BYTES = 16
HASH_BYTES = 32


# PASSWORD-11, PASSWORD-13
async def hash_password(password: str, settings: Settings) -> str:
    """The password's hash, with a new salt, at the cost that the settings name."""
    hasher = _hasher(settings)
    # PASSWORD-14
    # In a thread: it takes as long as dozens of requests, and the event loop has others to serve.
    return await asyncio.to_thread(hasher.hash, password)


# LOGIN-03
async def is_password(password: str, password_hash: str | None, settings: Settings) -> bool:
    """Whether it is the password that was hashed; without a hash as much work, and never."""
    hasher = _hasher(settings)
    # LOGIN-04
    kept = password_hash or _nobodys_hash(settings)
    try:
        return await asyncio.to_thread(hasher.verify, kept, password)
    except VerifyMismatchError:
        return False


# LOGIN-08
def is_outdated(password_hash: str, settings: Settings) -> bool:
    """Whether it was made at another cost than the settings name now."""
    return _hasher(settings).check_needs_rehash(password_hash)


def _hasher(settings: Settings) -> PasswordHasher:
    return PasswordHasher(
        # PASSWORD-12
        memory_cost=settings.argon2_memory,
        time_cost=settings.argon2_iterations,
        parallelism=settings.argon2_parallelism,
        salt_len=SALT_BYTES,
        hash_len=HASH_BYTES,
        type=Type.ID,
    )


# LOGIN-04
def _nobodys_hash(settings: Settings) -> str:
    """A hash of no known password, which costs as much to verify as any."""
    salt, digest = (
        b64encode(bytes(size)).decode().rstrip("=") for size in (SALT_BYTES, HASH_BYTES)
    )
    cost = (
        f"m={settings.argon2_memory},t={settings.argon2_iterations},p={settings.argon2_parallelism}"
    )
    return f"$argon2id$v=19${cost}${salt}${digest}"
