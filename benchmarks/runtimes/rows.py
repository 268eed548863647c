"""The rows of the matrix: each a way to run one of the two applications, or why there is none."""

import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.commands import command as peer
from benchmarks.servers import Language
from contract_tests.harness.services import ROOT, command as service, node

HERE = Path(__file__).parent
# What `fetch` puts there, and the ordinary set-up never does.
FETCHED = ROOT / ".data" / "runtimes"
PYTHON = FETCHED / "python"
NODE = FETCHED / "node"
DENO = PYTHON / "bin" / "deno"
MACHINE = "aarch64" if platform.machine() in ("aarch64", "arm64") else "x64"
BUN = NODE / f"node_modules/@oven/bun-{platform.system().lower()}-{MACHINE}/bin/bun"


@dataclass(frozen=True)
class Runtime:
    """One row; without a command it can't run, and `why` says so."""

    name: str
    """What it is asked for by, and the name of its list of gaps."""
    what: str
    language: Language
    command: tuple[str, ...] = ()
    version: tuple[str, ...] = ()
    """The command that prints its version."""
    needs: Path | None = None
    """The folder of what has to be fetched for it: PYTHON or NODE."""
    why: str = ""
    root: Path = ROOT
    """Where the command is run."""
    names_itself: bool = False
    """Whether it always sends a `Server` field, which then counts for its own clause alone."""

    @property
    def gaps(self) -> Path:
        """The clauses that it doesn't keep, a line each with the cause: `HTTP-12 the reason`."""
        return HERE / "gaps" / f"{self.name}.txt"


def _asgi(name: str) -> Runtime:
    """python_api's application on another server."""
    script = f"import sys; sys.path.append({str(PYTHON)!r}); from importlib.metadata import version; print(version({name!r}))"
    return Runtime(
        name,
        f"FastAPI on plain {name}",
        "python",
        (
            "env",
            f"PYTHONPATH={PYTHON}",
            sys.executable,
            "-m",
            "benchmarks.runtimes.asgi_server",
            name,
        ),
        (sys.executable, "-c", script),
        needs=None if name == "uvicorn" else PYTHON,
        names_itself=name == "granian",
    )


RUNTIMES = {
    row.name: row
    for row in (
        Runtime(
            "python",
            "FastAPI, as python_api serves it",
            "python",
            tuple(service("python")),
            (sys.executable, "--version"),
        ),
        _asgi("uvicorn"),
        _asgi("granian"),
        _asgi("hypercorn"),
        Runtime(
            "pypy",
            "FastAPI on PyPy 3.11",
            "python",
            why="asyncpg, httptools and uvloop, on which python_api stands, have no wheels for it",
        ),
        Runtime(
            "node",
            "Hono, as node_api serves it",
            "typescript",
            tuple(service("node")),
            (node(), "--version"),
        ),
        Runtime(
            "deno",
            "Hono on `Deno.serve`",
            "typescript",
            (
                *("env", f"DENO_DIR={FETCHED / 'deno'}"),
                *(str(DENO), "run", "--quiet", "--allow-all", "node_api/runtimes/deno.ts"),
            ),
            (str(DENO), "--version"),
            needs=PYTHON,
        ),
        Runtime(
            "bun",
            "Hono on `Bun.serve`",
            "typescript",
            (str(BUN), "node_api/runtimes/bun.ts"),
            (str(BUN), "--version"),
            needs=NODE,
        ),
        Runtime(
            "express",
            "Express 5 on node_api's own modules",
            "typescript",
            tuple(peer("express.ts")),
            (node(), "-p", "require('./benchmarks/node_modules/express/package.json').version"),
        ),
    )
}


def version(command: Sequence[str]) -> str:
    """The version, of what the command says of itself."""
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = re.search(r"\d[\w.]*", said.stdout)
    assert found, said.stdout
    return found[0]


def gaps(row: Runtime) -> dict[str, str]:
    """Its gaps: a cause for each clause."""
    lines = row.gaps.read_text("utf-8").splitlines() if row.gaps.exists() else []
    return {
        clause: cause
        for clause, _, cause in (line.partition(" ") for line in lines if line[:1].isalpha())
    }
