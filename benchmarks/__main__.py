"""`make bench` and `make bench-full`: measure all there is, keep it as JSON, and draw one page.

python -m benchmarks                      the quick run, some fourteen minutes
python -m benchmarks --full               all sizes, more rounds, a million requests
python -m benchmarks --only services      without the article's sections; or `--only article`
python -m benchmarks --against e53a702    both services against themselves as they were there
"""

import argparse
import json
import os
import platform
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks import against, page, services, streams
from benchmarks.article import compare
from benchmarks.claims import OURS
from benchmarks.load import OPERATIONS, MissingToolError, find_wrk
from benchmarks.results import Results
from benchmarks.servers import contenders
from contract_tests.harness.databases import ENGINES
from contract_tests.harness.services import ROOT, forget_proxies, node

PYTHON_PACKAGES = [
    "asyncpg",
    "fastapi",
    "httpx",
    "numpy",
    "pandas",
    "polars",
    "pydantic",
    "sqlalchemy",
    "uvicorn",
    "uvloop",
]
NODE_PACKAGES = [
    "better-sqlite3",
    "drizzle-orm",
    "express",
    "hono",
    "kysely",
    "lodash",
    "pg",
    "zod",
]
WITH_THEIR_LIMITS = (*OURS, *page.LIMITS.values())
TELL_SECONDS = 30  # where there is no terminal for a bar

Advance = Callable[[str], None]


@dataclass(frozen=True)
class Effort:
    """How much is measured: seconds are those of one run of the load."""

    name: str
    rounds: int
    warm_up: int
    seconds: int
    starts: int
    half_loaded: tuple[str, ...]
    half_rounds: int
    half_seconds: int
    stream_rounds: int
    stream_seconds: int
    soak_requests: int


QUICK = Effort("make bench", 3, 0, 1, 1, OURS, 1, 3, 1, 2, 0)
FULL = Effort("make bench-full", 3, 3, 2, 5, WITH_THEIR_LIMITS, 5, 4, 3, 10, 1_000_000)


def main() -> int:
    """Measure; returns the exit code, 1 if a tool is missing."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", choices=("services", "article"))
    parser.add_argument("--against", metavar="REV", help="a commit to be compared with, alone")
    parser.add_argument("--out", type=Path, default=ROOT / ".data" / "benchmarks")
    given = parser.parse_args()
    forget_proxies()
    effort = FULL if given.full else QUICK
    try:
        find_wrk()
    except MissingToolError as error:
        print(error, file=sys.stderr)
        return 1
    if given.against:
        return run_against(given.against)
    start = time.monotonic()
    with TemporaryDirectory() as directory, progress(steps(effort, given.only)) as advance:
        room = Path(directory)
        parts: Parts = ([], [], [], [])
        deliveries: list[streams.Delivery] = []
        sections: Sections = ([], [])
        if given.only != "article":
            parts = run_services(effort, advance)
            with closing(services.Field("postgres", streams.contenders())) as field:
                deliveries = streams.measure(
                    field, effort.stream_rounds, effort.stream_seconds, advance
                )
        if given.only != "services":
            sections = compare.measure(full=effort is FULL, room=room, advance=advance)
    made = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "command": effort.name,
        "minutes": f"{(time.monotonic() - start) / 60:.1f}",
        **surroundings(),
    }
    results = Results(made, *parts, *sections, deliveries)
    file = given.out / ("full.json" if given.full else "quick.json")
    results.write(file)
    drawn = file.with_suffix(".html")
    drawn.write_text(page.render(results), "utf-8")
    print(f"{made['minutes']} minutes. The figures: {file}\nThe page: {drawn}")
    return 0


def run_against(revision: str) -> int:
    """Print what a request costs of both services, and how many times what it did in that commit."""
    try:
        with against.checked_out(revision) as root, progress(against.STEPS) as advance:
            cells = against.measure(root, advance)
    except against.NoRevisionError as error:
        print(error, file=sys.stderr)
        return 1
    print(against.table(cells, revision))
    print(f"{processor()}, {os.cpu_count()} cores")
    return 0


def steps(effort: Effort, only: str | None) -> int:
    """How many there are, for the bar."""
    asked = 0
    if only != "article":
        rounds = len(OPERATIONS) * effort.rounds + effort.starts
        asked += len(ENGINES) * len(contenders()) * rounds
        half_loaded = len(effort.half_loaded) * len(services.HALF_LOADED)
        asked += len(ENGINES) * half_loaded * effort.half_rounds
        asked += len(OURS) * bool(effort.soak_requests)
        asked += streams.MEASURED * effort.stream_rounds
    if only != "services":
        asked += compare.count(full=effort is FULL)
    return asked


@contextmanager
def progress(total: int) -> Iterator[Advance]:
    """A bar, or where there is no terminal a line now and then; call what is given at each step."""
    console = Console()
    bar = Progress(
        TextColumn("{task.percentage:>3.0f} %"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
        console=console,
        disable=not console.is_terminal,
    )
    told = time.monotonic()
    with bar:
        task = bar.add_task("", total=total)

        def advance(what: str) -> None:
            nonlocal told
            bar.update(task, advance=1, description=what)
            if not console.is_terminal and time.monotonic() > told + TELL_SECONDS:
                told = time.monotonic()
                print(f"{bar.tasks[task].percentage:3.0f} %  {what}", flush=True)

        yield advance


Sections = tuple[list[compare.Comparison], list[compare.Observation]]
Parts = tuple[
    list[services.Cell], list[services.Start], list[services.HalfLoad], list[services.Soak]
]


def run_services(effort: Effort, advance: Advance) -> Parts:
    """The services, their limits and their peers, on both engines."""
    cells: list[services.Cell] = []
    starts: list[services.Start] = []
    half_loads: list[services.HalfLoad] = []
    soaks: list[services.Soak] = []
    for engine in ENGINES:
        with closing(services.Field(engine, contenders(), apart=True)) as field:
            cells += services.measure(field, effort.rounds, effort.warm_up, effort.seconds, advance)
        with closing(services.Field(engine, contenders())) as field:
            starts += services.measure_starts(field, effort.starts, advance)
            half_loads += services.measure_half_load(
                field,
                effort.half_loaded,
                rounds=effort.half_rounds,
                seconds=effort.half_seconds,
                advance=advance,
            )
            if engine == "postgres" and effort.soak_requests:
                soaks += services.soak(field, OURS, "get", effort.soak_requests, advance)
    return cells, starts, half_loads, soaks


def surroundings() -> dict[str, str]:
    """The machine, and the versions of what was measured and of what measured it."""
    memory = psutil.virtual_memory().total / 2**30
    lock = json.loads((ROOT / "benchmarks" / "package-lock.json").read_text("utf-8"))["packages"]
    ours = json.loads((ROOT / "node_api" / "package-lock.json").read_text("utf-8"))["packages"]
    locked = {**lock, **ours}
    return {
        "machine": f"{processor()}, {os.cpu_count()} cores, {memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "commit": said("git", "rev-parse", "--short", "HEAD"),
        "Python": platform.python_version(),
        "Node": said(node(), "--version"),
        "PostgreSQL": services.postgres_version(),
        "SQLite": sqlite3.sqlite_version,
        "wrk": said(find_wrk(), "--version").split()[1],
        **{name: version(name) for name in PYTHON_PACKAGES},
        **{name: locked[f"node_modules/{name}"]["version"] for name in NODE_PACKAGES},
    }


def processor() -> str:
    """What the processor is called."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def said(*command: str) -> str:
    """What the program printed."""
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
