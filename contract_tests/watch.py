"""Both services, and the tests of each file as it is saved: `make watch`, until Ctrl-C.

Of a file with tests these are its own, of a source those of the clauses that it names. A service is
started anew when one of its sources is saved. Their databases are SQLite's, and gone in the end;
their ports are PYTHON_PORT and NODE_PORT (8000 and 3000).
"""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from watchfiles import watch

from contract_tests.harness import clauses, services
from contract_tests.harness.services import KINDS, ROOT, Kind, NotStartedError, Service

PORTS: dict[Kind, str] = {
    "python": os.environ.get("PYTHON_PORT") or "8000",
    "node": os.environ.get("NODE_PORT") or "3000",
}
SOURCES: dict[Kind, Path] = {"python": ROOT / "python_api", "node": ROOT / "node_api" / "src"}
CLAUSE = re.compile(r"\b[A-Z]+(?:-[A-Z]+)*-\d\d+\b")


def main() -> int:
    """Serve and watch; returns the exit code."""
    services.forget_proxies()
    running: dict[Kind, Service] = {}
    with TemporaryDirectory(prefix="watch-") as room, contextlib.suppress(KeyboardInterrupt):
        try:
            _start(running, KINDS, Path(room))
            for files in _saved():
                sides = [
                    kind
                    for kind in KINDS
                    if any(file.is_relative_to(SOURCES[kind]) for file in files)
                ]
                _start(running, sides, Path(room))
                _test(running, files)
        finally:
            for service in running.values():
                service.kill()
    return 0


def _saved() -> Iterator[list[Path]]:
    """The files that were saved at once, as often as some are."""
    begun = False
    for changes in watch(*SOURCES.values(), clauses.TESTS, rust_timeout=200, yield_on_timeout=True):
        if not begun:  # from now on nothing is missed
            begun = True
            print("Save a file: its tests run. Ctrl-C ends it.", flush=True)
        found = sorted({Path(name) for _, name in changes})
        if files := [one for one in found if one.suffix in (".py", ".ts") and one.is_file()]:
            yield files


def _start(running: dict[Kind, Service], kinds: Iterable[Kind], room: Path) -> None:
    """Start these services, in place of those that run; say of one that can't start why."""
    started = []
    for kind in kinds:
        if kind in running:
            running.pop(kind).kill()
        running[kind] = Service(kind, room / kind, {"PORT": PORTS[kind]})
        running[kind].start()
        started.append(running[kind])
    for service in started:
        try:
            service.await_ready()
        except NotStartedError as error:
            running.pop(service.kind)
            print(error, flush=True)
        else:
            print(f"  {service.kind}_api  {service.url}", flush=True)


def _test(running: dict[Kind, Service], files: Iterable[Path]) -> None:
    """Run the tests of these files, against the services that run; those of their own otherwise."""
    tests = _tests_of(files)
    names = ", ".join(str(file.relative_to(ROOT)) for file in files)
    print(f"\n{names}: {'' if tests else 'no tests are about it'}", flush=True)
    targets = [f"--target={kind}={service.url}" for kind, service in running.items()]
    if tests and targets and _run(*targets, *tests) == pytest.ExitCode.NO_TESTS_COLLECTED:
        _run(*tests)


def _tests_of(files: Iterable[Path]) -> list[str]:
    """What pytest is to run: files with tests, and tests of the clauses that sources name."""
    found: list[str] = []
    for file in files:
        if file.parent == clauses.TESTS and file.name.startswith("test_"):
            found.append(str(file))
        elif any(file.is_relative_to(source) for source in SOURCES.values()):
            named = {*CLAUSE.findall(file.read_text("utf-8"))}
            found += [
                str(clauses.TESTS / test.id)
                for test in clauses.tests()
                if named.intersection(test.clauses)
            ]
    return [*dict.fromkeys(found)]


def _run(*arguments: str) -> int:
    command = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", "-q", "--no-header"]
    return subprocess.run([*command, *arguments], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
