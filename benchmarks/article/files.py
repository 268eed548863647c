"""Waiting for many timers, or for many files, at once."""

import asyncio
import os
from hashlib import sha256
from pathlib import Path

from benchmarks.article.case import Case, Given, Work

SECONDS = 0.01
FILE_BYTES = 100_000


async def wait_for_all(timers: int) -> int:
    """How many timers have run out, all started at once."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(asyncio.sleep(SECONDS, True)) for _ in range(timers)]
    return sum(task.result() for task in tasks)


async def copy_all(source: Path, target: Path) -> list[str]:
    """Copy the files of a folder at once; the hash of each, in the order of their names."""
    names = sorted(await asyncio.to_thread(os.listdir, source))
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(asyncio.to_thread(_copy, source / name, target / name))
            for name in names
        ]
    return [task.result() for task in tasks]


def _copy(source: Path, target: Path) -> str:
    content = source.read_bytes()
    target.write_bytes(content)
    return sha256(content).hexdigest()


def _copies(given: Given) -> Work:
    source, target = given.directory / "files", given.directory / "copies"
    source.mkdir(exist_ok=True)
    target.mkdir(exist_ok=True)
    for number in range(given.size):
        (source / f"{number:04}.bin").write_bytes(bytes([number % 256]) * FILE_BYTES)
    return lambda: copy_all(source, target)


CASES: dict[str, Case] = {
    "timers": lambda given: lambda: wait_for_all(given.size),
    "copies": _copies,
}
