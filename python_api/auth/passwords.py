"""Passwords: of each only an Argon2id hash is kept, in the PHC format that both services read."""

import asyncio
import os
import sys
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import VerifyMismatchError

from python_api.http.problems import Problem
from python_api.settings import Settings

SALT_BYTES = 16
HASH_BYTES = 32

MAX_THREADS = 4
LOWER_PRIORITY = 15

Result = TypeVar("Result")


class Threads:
    """Threads for hashing alone, so that nothing else waits behind a hash.

    Clauses: PASSWORD-14, PASSWORD-18.
    """

    def __init__(self) -> None:
        count = min(os.cpu_count() or 1, MAX_THREADS)
        self._pool = ThreadPoolExecutor(count, initializer=_step_back)
        self._under_way = 0

    async def run(self, work: Callable[[], Result], settings: Settings) -> Result:
        """The work's result, once a thread is free. Raises overloaded if too many are waiting.

        Clauses: PASSWORD-17.
        """
        if self._under_way >= settings.hash_queue:
            raise Problem("overloaded")
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._under_way -= 1


def _step_back() -> None:
    # On Linux each thread has a priority of its own: the one that answers requests goes first.
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, 0, LOWER_PRIORITY)


threads = Threads()


async def hash_password(password: str, settings: Settings) -> str:
    """The password's hash, with a new salt, at the cost that the settings name.

    Raises overloaded.

    Clauses: PASSWORD-11, PASSWORD-13.
    """
    hasher = _hasher(settings)
    return await threads.run(partial(hasher.hash, password), settings)


async def is_password(password: str, password_hash: str | None, settings: Settings) -> bool:
    """Whether it is the password that was hashed; without a hash as much work, and never.

    Raises overloaded.

    Clauses: LOGIN-03, LOGIN-04.
    """
    hasher = _hasher(settings)
    kept = password_hash or _nobodys_hash(settings)
    try:
        return await threads.run(partial(hasher.verify, kept, password), settings)
    except VerifyMismatchError:
        return False


def is_outdated(password_hash: str, settings: Settings) -> bool:
    """Whether it was made at another cost than the settings' current one. Clauses: LOGIN-08."""
    return _hasher(settings).check_needs_rehash(password_hash)


def _hasher(settings: Settings) -> PasswordHasher:
    """What hashes as the settings say. Clauses: PASSWORD-12."""
    return PasswordHasher(
        memory_cost=settings.argon2_memory,
        time_cost=settings.argon2_iterations,
        parallelism=settings.argon2_parallelism,
        salt_len=SALT_BYTES,
        hash_len=HASH_BYTES,
        type=Type.ID,
    )


def _nobodys_hash(settings: Settings) -> str:
    """A hash that no password has, which takes as long to verify as any other.

    Clauses: LOGIN-04.
    """
    salt, digest = (
        b64encode(bytes(size)).decode().rstrip("=") for size in (SALT_BYTES, HASH_BYTES)
    )
    cost = (
        f"m={settings.argon2_memory},t={settings.argon2_iterations},p={settings.argon2_parallelism}"
    )
    return f"$argon2id$v=19${cost}${salt}${digest}"
