"""The installers that the article names: each puts a service into an empty folder, and it is asked the core."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.runtimes.hold import CORE, hold
from benchmarks.runtimes.rows import FETCHED, NODE, PYTHON, Runtime, version
from benchmarks.servers import Language
from contract_tests.harness.services import ROOT, command as service, node

INSTALL_SECONDS = 300
# What there is to install from, as it stands in the repository.
FILES: Mapping[Language, tuple[str, ...]] = {
    "python": ("pyproject.toml", "README.md", "python_api"),
    "typescript": ("node_api",),
}
INSTALLED = FETCHED / "installed"
NPM = str(ROOT / ".venv" / "bin" / "npm")
REGISTRY = "YARN_NPM_REGISTRY_SERVER"
PNPM = (node(), str(NODE / "node_modules/pnpm/bin/pnpm.mjs"))
YARN = (node(), str(NODE / "node_modules/@yarnpkg/cli-dist/bin/yarn.js"))
POETRY = ("env", f"PYTHONPATH={PYTHON}", sys.executable, "-m", "poetry")


@dataclass(frozen=True)
class Installer:
    """One row: how it installs what a service needs, from the folder that has its files."""

    name: str
    language: Language
    steps: tuple[tuple[str, ...], ...]
    version: tuple[str, ...]
    """The command that prints its version."""
    what: str
    """Which file it goes by."""
    env: Mapping[str, str] = field(default_factory=dict)
    needs: Path | None = None
    """The folder of what has to be fetched for it: PYTHON or NODE."""

    @property
    def room(self) -> Path:
        """The folder."""
        return INSTALLED / self.name

    def install(self) -> float:
        """Install it anew; gives how many seconds that took. Raises SubprocessError."""
        shutil.rmtree(self.room, ignore_errors=True)
        self.room.mkdir(parents=True)
        tracked = subprocess.run(
            ["git", "ls-files", "-z", *FILES[self.language]],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
        for name in tracked.stdout.decode().rstrip("\0").split("\0"):
            (self.room / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.room / name)
        begin = time.monotonic()
        for step in self.steps:
            subprocess.run(
                step,
                cwd=self.room if self.language == "python" else self.room / "node_api",
                env={**_environment(), **self.env},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                check=True,
                timeout=INSTALL_SECONDS,
            )
        return time.monotonic() - begin

    def runtime(self) -> Runtime:
        """The service that it has installed."""
        if self.language == "python":
            command = [str(self.room / ".venv" / "bin" / "python"), "-m", "python_api"]
        else:
            command = service("node")
        return Runtime(self.name, self.what, self.language, tuple(command), root=self.room)


def _environment() -> dict[str, str]:
    """Ours, less what would lead an installer into the environment that we run in."""
    return {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "CI")}


INSTALLERS = {
    row.name: row
    for row in (
        Installer(
            "pip",
            "python",
            (
                (sys.executable, "-m", "venv", "--upgrade-deps", ".venv"),
                (
                    *(".venv/bin/python", "-m", "pip", "install", "--quiet", "--no-deps"),
                    *("--require-hashes", "--requirement", "python_api/requirements.lock"),
                ),
            ),
            (str(INSTALLED / "pip" / ".venv" / "bin" / "pip"), "--version"),
            "`python_api/requirements.lock`",
        ),
        Installer(
            "uv",
            "python",
            (
                (sys.executable, "-m", "uv", "venv", "--quiet", "--python", sys.executable),
                (sys.executable, "-m", "uv", "sync", "--quiet", "--no-dev"),
            ),
            (sys.executable, "-m", "uv", "--version"),
            "`pyproject.toml`",
        ),
        Installer(
            "poetry",
            "python",
            ((*POETRY, "install", "--quiet", "--no-interaction", "--only", "main", "--no-root"),),
            (*POETRY, "--version"),
            "`pyproject.toml`",
            env={"POETRY_VIRTUALENVS_IN_PROJECT": "true"},
            needs=PYTHON,
        ),
        Installer(
            "npm",
            "typescript",
            ((NPM, "ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund"),),
            (NPM, "--version"),
            "`node_api/package-lock.json`",
        ),
        Installer(
            "pnpm",
            "typescript",
            (
                (*PNPM, "import"),
                (*PNPM, "install", "--frozen-lockfile", "--prod", "--ignore-scripts"),
            ),
            (*PNPM, "--version"),
            "`node_api/package-lock.json`, which it imports",
            needs=NODE,
        ),
        Installer(
            "yarn",
            "typescript",
            # Yarn has a name of its own for the registry.
            (
                (
                    "sh",
                    "-c",
                    f'{REGISTRY}="$("{NPM}" config get registry)" "$@"',
                    "sh",
                    *YARN,
                    "install",
                ),
            ),
            (*YARN, "--version"),
            "`node_api/package.json`",
            env={
                "YARN_NODE_LINKER": "node-modules",
                "YARN_ENABLE_SCRIPTS": "false",
                "YARN_ENABLE_TELEMETRY": "false",
            },
            needs=NODE,
        ),
    )
}


def installed(row: Installer) -> dict[str, Any]:
    """The row, once it was installed and asked the core. Raises SubprocessError."""
    seconds = row.install()
    (held,) = hold(row.runtime(), CORE)
    broken = f"; LACKS {', '.join(held.broken)}" if held.broken else ""
    print(f"{row.name}: {seconds:.1f} s; {held.tests}{broken}", flush=True)
    return {
        "name": row.name,
        "language": row.language,
        "version": version(row.version),
        "what": row.what,
        "seconds": seconds,
        "tests": held.tests,
        "broken": held.broken,
    }
