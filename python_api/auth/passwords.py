"""Passwords: of each only an Argon2id hash is kept, in the PHC format that both services read."""

import asyncio

from argon2 import PasswordHasher, Type

from python_api.settings import Settings

# PASSWORD-11
SALT_BYTES = 16
HASH_BYTES = 32


# PASSWORD-11, PASSWORD-13
async def hash_password(password: str, settings: Settings) -> str:
    """The password's hash, with a new salt, at the cost that the settings name."""
    hasher = PasswordHasher(
        # PASSWORD-12
        memory_cost=settings.argon2_memory,
        time_cost=settings.argon2_iterations,
        parallelism=settings.argon2_parallelism,
        salt_len=SALT_BYTES,
        hash_len=HASH_BYTES,
        type=Type.ID,
    )
    # PASSWORD-14
    # In a thread: it takes as long as dozens of requests, and the event loop has others to serve.
    return await asyncio.to_thread(hasher.hash, password)
