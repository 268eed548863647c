"""Load from wrk: what a number of clients got to see of a server, and what it cost them and it."""

import json
import resource
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("load.lua")
OPERATIONS = ("get", "list", "create", "conditional", "mixed")
CONNECTIONS = 16


class MissingToolError(Exception):
    """A program is missing; the message says how to get it."""


@dataclass(frozen=True)
class Load:
    """What came of it: all requests together, in milliseconds the time of one."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    generator_us: float
    """Microseconds of CPU that wrk took a request."""


def find_wrk() -> str:
    """The program. Raises MissingToolError."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise MissingToolError(
            "wrk, which makes the load, is missing: apt-get install wrk, or brew install wrk."
        )
    return wrk


def generate(
    url: str,
    operation: str,
    users: int,
    seconds: int,
    *,
    token: str = "",
    connections: int = CONNECTIONS,
    think_ms: float = 0,
) -> Load:
    """Ask the server at `url` for so many whole seconds, as wrk takes no others; the operations are those of load.lua.

    Ids are drawn from 1 to `users`; each client pauses between two requests, `think_ms` in the
    mean. Raises RuntimeError where a request failed.
    """
    command = [find_wrk(), "--threads=1", f"--connections={connections}"]
    command += [f"--duration={seconds}s", "--timeout=30s", f"--script={SCRIPT}", url, "--"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.run(
        [*command, operation, str(users), f"{think_ms:g}", token],
        capture_output=True,
        text=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = process.stdout.strip().splitlines()
    if process.returncode != 0 or not said or not said[-1].startswith("{"):
        raise RuntimeError(f"wrk failed: {process.stdout}{process.stderr}")
    told = json.loads(said[-1])
    if told.pop("failed") or not told["requests"]:
        raise RuntimeError(f"Not every request for {operation} at {url} got an answer that is one.")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Load(**told, generator_us=cpu * 1e6 / told["requests"])
