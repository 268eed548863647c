"""Runs both sides of every case, checks that they answer the same, and times them in turn."""

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx

from benchmarks.article.sales_csv import sales_csv
from contract_tests.harness.services import ROOT, Kind, node, run_code

Language = Literal["python", "typescript"]

HERE = Path(__file__).parent
TSC = ROOT / "node_api" / "node_modules" / "typescript" / "bin" / "tsc"
OUT_OF_MEMORY = "out of memory"
NO_MEMORY = re.compile("heap out of memory|MemoryError")
# What a case may take in all, ten million rows included.
TIMEOUT = 300
# The heap that V8 may have: by itself it takes no more than 4 GiB, whatever the machine has.
HEAP_MIB = 6144


@dataclass(slots=True)
class Variant:
    """One way to do it, in one language; its times by round, in seconds per iteration."""

    language: Language
    variant: str
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peak_mib: list[float] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The same work, done in several ways."""

    topic: str
    case: str
    variants: list[Variant]


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen beside the times."""

    topic: str
    text: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """What to compare: for each language the names under which its file has it in CASES."""

    topic: str
    name: str
    size: int
    python: tuple[str, ...]
    typescript: tuple[str, ...]
    note: str = ""

    @property
    def variants(self) -> list[tuple[Language, str]]:
        """Both languages' variants, Python's first."""
        return [
            *(("python", name) for name in self.python),
            *(("typescript", name) for name in self.typescript),
        ]


def _same(topic: str, name: str, size: int, variant: str, note: str = "") -> Case:
    return Case(topic, name, size, (variant,), (variant,), note)


PARENT_ALONE = "CPU and memory are those of the process that waits for the others"
SALES = (("pandas", "Polars"), ("lodash", "plain"))
IN_MEMORY = (("pandas in memory", "Polars in memory"), ("lodash in memory",))
HTTP = (("httpx.get", "httpx.Client"), ("fetch", "http.Agent"))

QUICK = [
    Case("http_requests", "one user", 1, *HTTP),
    Case("http_requests", "a list of 50 users", 50, *HTTP),
    *(
        Case("fetch_all", f"{urls:,} at once", urls, ("TaskGroup",), ("Promise.all",))
        for urls in (1, 10, 100, 1000)
    ),
    *(
        _same("json_documents", f"{verb} {what}", size, f"{verb} {kind}")
        for kind, what, size in (
            ("users", "one user", 1),
            ("users", "10,000 users", 10_000),
            ("nested", "500 levels", 250),
        )
        for verb in ("parse", "write")
    ),
    _same("cpu", "integers", 10_000, "integers"),
    _same("cpu", "integers above 2 ** 31", 10_000, "large integers"),
    _same("cpu", "floats", 100, "floats"),
    _same("cpu", "strings", 100_000, "strings"),
    _same("cpu", "hashes", 50_000, "hashes"),
    _same("cpu", "integers four times, in turn", 20_000, "in turn"),
    _same("cpu", "integers four times, in threads", 20_000, "in threads"),
    _same("cpu", "integers four times, in processes", 20_000, "in processes", PARENT_ALONE),
    _same("files", "1,000 timers of 10 ms", 1000, "timers"),
    _same("files", "copies of 100 files of 100 KB", 100, "copies"),
    Case("sales", "1,000 rows", 1000, *SALES),
    Case("sales", "100,000 rows", 100_000, *SALES),
    Case("sales", "100,000 rows in memory", 100_000, *IN_MEMORY),
]
FULL = [
    *QUICK,
    Case("sales", "1,000,000 rows", 1_000_000, *SALES),
    Case("sales", "1,000,000 rows in memory", 1_000_000, *IN_MEMORY),
    Case("sales", "10,000,000 rows", 10_000_000, *SALES),
]
OBSERVED = 2

# In fetch_all, "a failure, ..."; the last is the article's own, which lets the others run on.
FAILURES: list[tuple[Language, str]] = [
    ("python", "TaskGroup"),
    ("typescript", "AbortController"),
    ("typescript", "Promise.all"),
]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the cases find the server, and room for their files."""

    url: str
    room: Path


class OutOfMemoryError(Exception):
    """A case needs more memory than its runtime has."""


@dataclass(frozen=True, slots=True)
class Checker:
    """What checks the types of a language."""

    name: str
    file: str
    suppression: re.Pattern[str]
    mistakes: str
    command: Callable[[], list[str]]


CHECKERS: dict[Kind, Checker] = {
    "python": Checker(
        "mypy",
        "greeting.py",
        re.compile("  # type: ignore.*"),
        "import json\n"
        "from benchmarks.article.greeting import mistakes\n"
        "print(json.dumps(mistakes()))",
        lambda: [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-incremental"],
    ),
    "node": Checker(
        "tsc",
        "greeting.ts",
        re.compile(" *// @ts-expect-error\n"),
        'import { mistakes } from "../benchmarks/article/greeting.ts";\n'
        "console.log(JSON.stringify(mistakes()));",
        lambda: [node(), str(TSC), "--strict", "--noEmit", "--ignoreConfig"],
    ),
}


def count(full: bool) -> int:
    """How often `measure` will call `advance`."""
    cases, rounds, _ = _plan(full)
    return sum(len(case.variants) for case in cases) * (rounds + 1) + OBSERVED


def measure(
    full: bool, room: Path, advance: Callable[[str], None]
) -> tuple[list[Comparison], list[Observation]]:
    """Check and time all cases, with files in `room`; `advance` is told what was just done.

    Raises AssertionError where two variants of a case answer differently.
    """
    cases, rounds, seconds = _plan(full)
    with server() as url:
        comparisons = [compare(case, rounds, seconds, Place(url, room), advance) for case in cases]
        observations = [observe_failures(Place(url, room))]
        advance("fetch_all: what becomes of the others when one fails")
    observations.append(observe_mistakes(room))
    advance("greeting: what the checkers say")
    return comparisons, observations


def _plan(full: bool) -> tuple[list[Case], int, float]:
    """The cases, the rounds of each, and the seconds of a round."""
    return (FULL, 5, 0.5) if full else (QUICK, 3, 0.2)


def compare(
    case: Case, rounds: int, seconds: float, place: Place, advance: Callable[[str], None]
) -> Comparison:
    """Check that all variants answer the same; then time them, each round in the other order."""
    if case.topic == "sales":
        sales_csv(place.room, case.size)
    what = f"{case.topic}, {case.name}"
    variants = [Variant(language, name, note=case.note) for language, name in case.variants]
    answers = {}
    for variant in variants:
        if said := _run_or_note(case, variant, 0, place):
            answers[variant.language, variant.variant] = said["answer"]
        advance(f"{what}: {variant.variant} checked")
    assert len(set(answers.values())) == 1, f"{what}: {answers}"
    for number in range(rounds):
        for variant in variants[:: -1 if number % 2 else 1]:
            if said := _run_or_note(case, variant, seconds, place):
                variant.seconds.append(said["seconds"])
                variant.cpu_seconds.append(said["cpu_seconds"])
                variant.peak_mib.append(said["peak_mib"])
            advance(f"{what}: {variant.variant}")
    return Comparison(case.topic, case.name, variants)


def _run_or_note(
    case: Case, variant: Variant, seconds: float, place: Place
) -> dict[str, Any] | None:
    """What the runner says; None once it ran out of memory, which the variant's note tells."""
    if variant.note == OUT_OF_MEMORY:
        return None
    try:
        return run(case, variant.language, variant.variant, seconds, place)
    except OutOfMemoryError:
        variant.note = OUT_OF_MEMORY
        return None


def run(
    case: Case, language: Language, variant: str, seconds: float, place: Place
) -> dict[str, Any]:
    """What a side's runner says of a variant; OutOfMemoryError if its runtime had too little."""
    runners = {
        "python": [sys.executable, "-m", "benchmarks.article.run"],
        "typescript": [node(), f"--max-old-space-size={HEAP_MIB}", str(HERE / "run.ts")],
    }
    asked = {
        "topic": case.topic,
        "variant": variant,
        "size": case.size,
        "seconds": seconds,
        "url": place.url,
        "directory": str(place.room),
    }
    ended = _ended([*runners[language], json.dumps(asked)], ROOT)
    if ended.returncode == -signal.SIGKILL or NO_MEMORY.search(ended.stderr):
        raise OutOfMemoryError
    assert ended.returncode == 0, f"{case.topic}, {case.name}, {variant}: {ended.stderr}"
    said: dict[str, Any] = json.loads(ended.stdout)
    return said


@contextlib.contextmanager
def server() -> Iterator[str]:
    """The URL of a server for the requests, for as long as the block runs."""
    with subprocess.Popen(
        [node(), HERE / "server.ts"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def observe_failures(place: Place) -> Observation:
    """Of ten requests the first fails: how many of them the server finished nevertheless."""
    case = Case("fetch_all", "a failure", 10, (), ())
    values = {}
    for language, variant in FAILURES:
        before = httpx.get(f"{place.url}/counts").json()
        answer = run(case, language, f"a failure, {variant}", 0, place)["answer"]
        after = httpx.get(f"{place.url}/counts").json()
        counts = {name: after[name] - before[name] for name in after}
        values[f"{language}, {variant}"] = {"failure": json.loads(answer)} | counts
    return Observation("fetch_all", "ten requests of which the first fails", values)


def observe_mistakes(room: Path) -> Observation:
    """What comes of the mistakes in `greeting`, and what mypy and tsc say of them.

    The checkers get a copy without the comments that tell them to leave these lines alone.
    """
    values = {}
    for kind, checker in CHECKERS.items():
        source = HERE / checker.file
        text = checker.suppression.sub("", source.read_text("utf-8"))
        (room / checker.file).write_text(text, "utf-8")
        begin = time.perf_counter()
        said = _ended([*checker.command(), checker.file], room).stdout
        values[checker.name] = {
            "seconds": time.perf_counter() - begin,
            "messages": [line for line in said.splitlines() if ": error" in line],
            "greetings": json.loads(run_code({kind: checker.mistakes}, kind)),
        }
    return Observation("greeting", "the same two mistakes, run and checked", values)


def _ended(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
