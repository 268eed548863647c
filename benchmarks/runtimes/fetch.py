"""What the rows need beyond the ordinary set-up, fetched into .data/runtimes by its lock files."""

import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from benchmarks.runtimes.rows import FETCHED, HERE, NODE, PYTHON
from contract_tests.harness.services import ROOT

PIP = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
# No package here needs an install script, and what none needs none gets to run.
NPM = [str(ROOT / ".venv" / "bin" / "npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]

FETCH_SECONDS = 240


def fetch(needed: Collection[Path | None]) -> None:
    """Fetch what is needed and isn't there as the lock files say.

    Raises SubprocessError where it can't be had, or not in time.
    """
    if PYTHON in needed:
        lock = HERE / "requirements.lock"
        _make(PYTHON, lock, [*PIP, "--target", str(PYTHON), "--requirement", str(lock)], FETCHED)
    if NODE in needed:
        NODE.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, NODE)
        _make(NODE / "node_modules", NODE / "package-lock.json", [*NPM, "--loglevel=error"], NODE)


def _make(directory: Path, lock: Path, command: Sequence[str], where: Path) -> None:
    """Run the command, unless the directory was made by this lock file."""
    ready = directory / ".ready"
    # What is compiled is for one version of Python.
    made = f"{sys.version}\n{lock.read_text('utf-8')}"
    if ready.exists() and ready.read_text("utf-8") == made:
        return
    print(f"Fetching {directory.relative_to(ROOT)} ...", flush=True)
    shutil.rmtree(directory, ignore_errors=True)
    where.mkdir(parents=True, exist_ok=True)
    subprocess.run(command, cwd=where, check=True, timeout=FETCH_SECONDS)
    ready.write_text(made, "utf-8")
