"""The servers that are measured, and what the operating system says of them."""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import psutil

from benchmarks.load import OPERATIONS
from benchmarks.peers.commands import command as peer
from contract_tests.harness.databases import Engine
from contract_tests.harness.processes import die_with_parent
from contract_tests.harness.services import ROOT, SECURED, command as service

Language = Literal["python", "typescript"]

START_TIMEOUT = 30.0
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
POOL_SIZE = "10"


@dataclass(frozen=True)
class Contender:
    """A server that can be started."""

    name: str
    language: Language
    command: tuple[str, ...]
    secured: bool = False
    root: Path = ROOT
    """Where it is started: the root of a checkout."""
    operations: tuple[str, ...] = OPERATIONS
    """What it is asked for."""


def contenders() -> list[Contender]:
    """All that are measured in one run: first one that makes the tables and the admin, user 1."""
    python, node = tuple(service("python")), tuple(service("node"))
    return [
        Contender("FastAPI, secured", "python", python, secured=True),
        Contender("FastAPI", "python", python),
        Contender("bare ASGI", "python", tuple(peer("bare.py"))),
        Contender("plain FastAPI", "python", tuple(peer("plain.py"))),
        Contender("observed FastAPI", "python", tuple(peer("observed.py"))),
        Contender("Hono", "typescript", node),
        Contender("Hono, secured", "typescript", node, secured=True),
        Contender("node:http", "typescript", tuple(peer("bare.ts"))),
        Contender("plain Hono", "typescript", tuple(peer("plain.ts"))),
        Contender("observed Hono", "typescript", tuple(peer("observed.ts"))),
        Contender("Express", "typescript", tuple(peer("express.ts"))),
    ]


class Server:
    """A contender that runs on a database; `stop` ends it."""

    def __init__(
        self, contender: Contender, engine: Engine, url: str, room: Path, *, apart: bool = False
    ) -> None:
        """Start it, with its log in `room`, and wait until it listens. Raises RuntimeError.

        Where it is `apart`, it keeps to the first core.
        """
        self.contender = contender
        self.engine = engine
        log = room / f"{contender.name}-{engine}.log"
        deadline = time.monotonic() + START_TIMEOUT
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                contender.command,
                cwd=contender.root,
                env=_environment(url, SECURED if contender.secured else {}),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                preexec_fn=_apart if apart else die_with_parent,  # noqa: PLW1509 (no thread runs here)
            )
        self.system = psutil.Process(self._process.pid)
        self.url = ""
        while not (found := _listening(log)):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{contender.name} didn't start:\n{log.read_text()}")
            time.sleep(0.002)
        self.url = found

    def cpu_seconds(self) -> float:
        """The CPU time that it has taken so far, its processes together, in the kernel and out of it."""
        times = [process.cpu_times() for process in self._processes()]
        return sum(one.user + one.system for one in times)

    def memory_mib(self) -> float:
        """The memory that its processes hold (resident sets)."""
        return sum(process.memory_info().rss for process in self._processes()) / 2**20

    def _processes(self) -> list[psutil.Process]:
        """The one that was started, and those that it has started."""
        return [self.system, *self.system.children(recursive=True)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(START_TIMEOUT)


def _apart() -> None:
    """In the child: on the first core, and dead when we are."""
    die_with_parent()
    _keep_to(CORES[:1])


@contextmanager
def first_core_left() -> Iterator[None]:
    """Meanwhile this process, and those that it starts, keep to the other cores (on Linux)."""
    _keep_to(CORES[1:])
    try:
        yield
    finally:
        _keep_to(CORES)


def _keep_to(cores: list[int]) -> None:
    if cores:
        os.sched_setaffinity(0, cores)


def _listening(log: Path) -> str:
    for line in log.read_text().splitlines():
        if '"listening"' in line:
            return str(json.loads(line)["url"])
    return ""


def _environment(url: str, more: Mapping[str, str]) -> dict[str, str]:
    """All that a server gets to see: nothing of ours leaks into it."""
    path = {"PATH": os.environ.get("PATH", "")}
    return {**path, "PORT": "0", "DATABASE_URL": url, "DATABASE_POOL_SIZE": POOL_SIZE, **more}
