"""One runtime held to the contract, and to its list of gaps."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.runtimes.rows import Runtime, gaps
from benchmarks.servers import Contender, Server
from contract_tests.harness import clauses
from contract_tests.harness.databases import Engine, OwnPostgres, sqlite_url
from contract_tests.harness.services import ROOT

PYTEST = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", "contract_tests", "--quiet"]
OPTIONS = ["-n", "2", "--dist", "worksteal", "-p", "no:randomly", "-p", "no:cacheprovider"]
# What would be about the pytest that this runs in, or about a target that asks for tokens.
OURS = re.compile("PYTEST_|AUTH|ADMIN_")
# How much of the contract is asked on which database.
LEVELS: Mapping[Engine, str] = {"postgres": "full", "sqlite": "core"}
CORE: Mapping[Engine, str] = {"sqlite": "core"}


@dataclass
class Held:
    """What came of it on one database."""

    engine: Engine
    level: str
    asked: int
    """Clauses of which a test ran."""
    tests: str
    """What pytest counted."""
    broken: list[str]
    """Clauses that fail and are no gap, or are one and don't fail."""
    evidence: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of each gap a test that shows it, and what was said."""


def hold(row: Runtime, levels: Mapping[Engine, str] = LEVELS) -> list[Held]:
    """Ask it each of these levels on a database of its own."""
    found = []
    for engine, level in levels.items():
        with TemporaryDirectory() as directory:
            room = Path(directory)
            with _database(engine, room) as url, Server(_contender(row), engine, url, room) as one:
                found.append(_ask(row, one.url, engine, level, room))
    return found


@contextmanager
def _database(engine: Engine, room: Path) -> Iterator[str]:
    """The URL of an empty one."""
    if engine == "sqlite":
        yield sqlite_url(room / "users.db")
        return
    with closing(OwnPostgres()) as postgres:
        postgres.start()
        yield postgres.url


def _contender(row: Runtime) -> Contender:
    return Contender(row.name, row.language, row.command, root=row.root)


def _ask(row: Runtime, url: str, engine: Engine, level: str, room: Path) -> Held:
    known, verdict, evidence = room / "gaps.txt", room / "verdict.json", room / "evidence"
    asked = clauses.core() if level == "core" else {*clauses.clauses()}
    listed = {one: cause for one, cause in gaps(row).items() if one in asked}
    known.write_text("".join(f"{one} {cause}\n" for one, cause in listed.items()), "utf-8")
    evidence.touch()
    options = [f"--target={row.name}={url}", f"--level={level}"]
    options += [f"--known-failures={known}", f"--json={verdict}"]
    ended = subprocess.run(
        [*PYTEST, *OPTIONS, *options, "-p", "benchmarks.runtimes.evidence"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not OURS.match(name)}
        | {"EVIDENCE": str(evidence)}
        | ({"FORGIVE_SERVER": "1"} if row.names_itself else {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if not verdict.exists():
        raise RuntimeError(ended.stdout + ended.stderr)
    said = json.loads(verdict.read_text("utf-8"))
    verdicts: dict[str, str] = said["targets"][row.name]
    shown = [json.loads(line) for line in evidence.read_text("utf-8").splitlines()]
    return Held(
        engine,
        level,
        sum(one != "skipped" for one in verdicts.values()),
        ended.stdout.rstrip().rpartition("\n")[2].strip("= "),
        # Some gaps show only where the application waits for its database.
        sorted(
            {one for one, what in verdicts.items() if what == "failed"}
            | (set() if engine == "sqlite" else {*said["unexpected"]})
        ),
        {
            clause: {"test": one["test"], "said": one["said"]}
            for clause in listed
            # The last one counts: a test that names this clause first, if there is one.
            for one in sorted(shown, key=lambda one: one["clauses"][:1] == [clause])
            if clause in one["clauses"]
        },
    )
