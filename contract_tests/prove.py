"""The long proof, `make prove`: what nobody thought of, asked of all targets until it is enough.

    python -m contract_tests.prove                                  50,000 and more requests
    python -m contract_tests.prove --examples 5000 --seed 7         fewer, and others
    python -m contract_tests.prove -- --target NAME=URL             options for pytest

It shows how far it is, and tells in the end what came of it. The exit code is pytest's.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from contract_tests.harness import differential
from contract_tests.harness.databases import ENGINES
from contract_tests.harness.processes import die_with_parent
from contract_tests.harness.progress import advanced
from contract_tests.harness.services import ROOT

# In this order, one test after the other: what is soon done comes first, and what takes long is
# not what everything waits for in the end.
READERS = "contract_tests/test_faults.py::test_readers_miss_nothing_whatever_happens_to_"
FILES = [
    f"{READERS}instances_and_postgres",
    f"{READERS}the_only_instance",
    *(f"contract_tests/test_{name}.py" for name in ("histories", "stateful", "differential")),
]
OPTIONS = ["-n", "auto", "--maxprocesses", "4", "--maxschedchunk", "1", "-p", "no:randomly"]
KINDS_OF_HISTORIES = 3
LOOK_SECONDS = 0.5
TELL_SECONDS = 60  # where there is no terminal for bars


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make prove", description=__doc__.partition("\n")[0])
    parser.add_argument("--examples", type=int, default=50_000, help="a request or a few each")
    parser.add_argument("--sequences", type=int, default=2_000, help="of the state machine")
    parser.add_argument("--histories", type=int, default=100, help="of each kind, on each engine")
    parser.add_argument(
        "--followed", type=int, default=60, help="seconds of readers of events, in each of 5 ways"
    )
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same")
    parser.add_argument("pytest", nargs="*", metavar="OPTION", help="of pytest, after --")
    given = parser.parse_args(arguments)
    totals = {
        "corpus": sum(1 for kind in differential.kinds() for _ in differential.entries(kind)),
        "examples": given.examples,
        "sequences": given.sequences,
        "histories": given.histories * KINDS_OF_HISTORIES * len(ENGINES),
    }
    counts = {
        "DIFFERENTIAL": given.examples,
        "STATEFUL": given.sequences,
        "HISTORIES": given.histories,
    }
    env = {name: str(count) for name, count in counts.items()}
    env |= {f"{name}_SEED": str(given.seed) for name in counts}
    env["FOLLOWED"] = str(given.followed)
    with TemporaryDirectory() as room:
        directory, output = Path(room), Path(room, "output")
        begin = time.monotonic()
        with output.open("w") as file, _started(given.pytest, env, directory, file) as process:
            _watch(process, directory, totals)
            code = process.wait()
        print(_summary(directory, time.monotonic() - begin, given.seed, code))
        print(_rest(output.read_text("utf-8", "replace"), code))
    return code


def _started(
    options: Sequence[str], env: Mapping[str, str], directory: Path, output: IO[str]
) -> subprocess.Popen[bytes]:
    """Pytest, which writes down in the directory how far it is."""
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *OPTIONS, *FILES, *options],
        cwd=ROOT,
        env=os.environ | env | {"PROGRESS": str(directory)},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        preexec_fn=die_with_parent,  # noqa: PLW1509 (no thread runs here)
    )


def _watch(process: subprocess.Popen[bytes], directory: Path, totals: Mapping[str, int]) -> None:
    """Show how far it is until it ends: a bar each, and where they can't be seen a line a minute."""
    console = Console()
    columns = (
        TextColumn("{task.description:>10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    told = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks = {what: bars.add_task(what, total=total) for what, total in totals.items()}
        while process.poll() is None:
            time.sleep(LOOK_SECONDS)
            done = {what: min(advanced(directory, what), total) for what, total in totals.items()}
            for what, task in tasks.items():
                bars.update(task, completed=done[what])
            if not console.is_terminal and time.monotonic() > told + TELL_SECONDS:
                told = time.monotonic()
                parts = [f"{what} {done[what]:,}/{total:,}" for what, total in totals.items()]
                print(", ".join(parts), flush=True)


def _summary(directory: Path, seconds: float, seed: int, code: int) -> str:
    """What was asked, and whether all is well."""
    done = {
        what: advanced(directory, what)
        for what in ("corpus", "requests", "sequences", "steps", "histories", "events")
    }
    asked = done["corpus"] + done["requests"]
    return "\n".join(
        [
            f"{asked:>9,} requests to all targets at once: {done['corpus']:,} of the corpus, the rest generated",
            f"{done['sequences']:>9,} sequences, held against the model: {done['steps']:,} requests",
            f"{done['histories']:>9,} histories of concurrent clients, checked for an order",
            f"{done['events']:>9,} events, each seen once by each of 4 readers, whatever was killed and replaced",
            f"{seconds:>9,.0f} seconds, seed {seed}",
            "No difference that CONTRACT.md doesn't explain." if code == 0 else "NOT PROVEN:",
        ]
    )


def _rest(output: str, code: int) -> str:
    """Pytest's last line; if something failed, all from the failures on."""
    if code == 0:
        return output.rstrip().rpartition("\n")[2]
    begin = max(output.find("= FAILURES ="), output.find("= ERRORS ="), 0)
    return output[output.rfind("\n", 0, begin) + 1 :]


if __name__ == "__main__":
    sys.exit(main())
