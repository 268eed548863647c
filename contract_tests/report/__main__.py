"""Run the suite and the mutants, and write the page: `make report`.

    python -m contract_tests.report                          all of it, about ten minutes
    python -m contract_tests.report --no-mutants -- -k patch some tests alone; options for pytest
    python -m contract_tests.report --no-run                 the page anew, of what was recorded last

The page is `.data/report.html`. The exit code is 0 if all tests passed and all mutants were killed.
"""

import argparse
import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from contract_tests.harness import clauses, services
from contract_tests.harness.progress import advanced
from contract_tests.report import page, record
from contract_tests.report.page import Mutant
from contract_tests.report.record import Test

DATA = services.ROOT / ".data"
PAGE = "report.html"
RECORDED = "report"
TESTS = "tests.json"
MUTANTS = "mutants.json"

PYTHON_PACKAGES = ("fastapi", "uvicorn", "pydantic", "sqlalchemy", "asyncpg")
NODE_PACKAGES = ("hono", "@hono/node-server", "zod", "kysely", "better-sqlite3", "pg")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for, and write the page."""
    parser = argparse.ArgumentParser(prog="make report", description=__doc__.partition("\n")[0])
    parser.add_argument("--no-run", action="store_true", help="show what was recorded last")
    parser.add_argument("--no-mutants", action="store_true", help="plant no mutants")
    parser.add_argument("pytest", nargs="*", metavar="OPTION", help="of pytest, after --")
    parser.add_argument("--to", type=Path, default=DATA, metavar="FOLDER", help="not .data")
    given = parser.parse_args(arguments)
    recorded, file = given.to / RECORDED, given.to / PAGE
    code = 0 if given.no_run else _run(recorded, given.pytest, with_mutants=not given.no_mutants)
    if not (recorded / TESTS).exists():
        parser.error(f"nothing is recorded in {recorded}")
    file.write_text(build(recorded), "utf-8")
    print(f"\n{file.absolute().as_uri()}")
    return code


def _run(directory: Path, options: Sequence[str], *, with_mutants: bool) -> int:
    """Run the tests and the mutants, and have them write down in the directory what came of it."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    pytest = ["pytest", "-n", "auto", "--maxprocesses", "4", f"--record={directory / TESTS}"]
    code = _python(*pytest, *options, PROGRESS=str(directory))
    if with_mutants and (directory / TESTS).exists():
        code = max(code, _python("contract_tests.mutants", "--json", str(directory / MUTANTS)))
    return code


def _python(*module: str, **env: str) -> int:
    command = [sys.executable, "-m", *module]
    return subprocess.run(command, cwd=services.ROOT, env=os.environ | env, check=False).returncode


def build(directory: Path) -> str:
    """The page of what was recorded in the directory."""
    tests = record.read(directory / TESTS)
    found = directory / MUTANTS
    mutants = (
        [Mutant(**one) for one in json.loads(found.read_text("utf-8"))] if found.exists() else []
    )
    made = datetime.fromtimestamp((directory / TESTS).stat().st_mtime, UTC)
    return page.render(
        tests,
        mutants,
        made=f"{made:%Y-%m-%d %H:%M} UTC",
        numbers=_numbers(tests, mutants, directory),
        versions=_versions(),
    )


def _numbers(
    tests: Sequence[Test], mutants: Sequence[Mutant], directory: Path
) -> list[tuple[str, str, str]]:
    cells = [cell for test in tests for cell in test.cells.values()]
    passed, ran = (sum(column) for column in zip(*cells, strict=True)) if cells else (0, 0)
    corpus, generated = (advanced(directory, what) for what in ("corpus", "requests"))
    killed = sum(bool(one.python and one.node) for one in mutants)
    return [
        (f"{len(clauses.clauses())}", "clauses", "each with its tests, and named in both sources"),
        (f"{passed:,}", "test cases passed", f"of {ran:,}, of {len(tests):,} tests"),
        (
            f"{corpus + generated:,}",
            "requests to all at once",
            f"{corpus:,} of the corpus, {generated:,} generated",
        ),
        (f"{killed} of {len(mutants)}", "mutants killed", "planted one by one in each service"),
    ]


def _versions() -> list[tuple[str, str]]:
    """What the services ran on."""
    lock = json.loads((services.ROOT / "node_api" / "package-lock.json").read_text("utf-8"))
    node = subprocess.run(
        [services.node(), "-v"], capture_output=True, text=True, check=True
    ).stdout
    return [
        ("Python", platform.python_version()),
        *((name, metadata.version(name)) for name in PYTHON_PACKAGES),
        ("Node", node.strip().removeprefix("v")),
        *((name, lock["packages"][f"node_modules/{name}"]["version"]) for name in NODE_PACKAGES),
        ("SQLite", sqlite3.sqlite_version),
    ]


if __name__ == "__main__":
    sys.exit(main())
