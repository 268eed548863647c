"""Runs both services on SQLite, side by side, until Ctrl-C.

Their databases stay in .data/ (or DATA_DIR, which is made). Their ports are PYTHON_PORT and NODE_PORT (8000 and 3000); all other
settings but HOST and DATABASE_URL reach them from the environment.
"""

import asyncio
import json
import os
import signal
import sys
from asyncio import FIRST_COMPLETED
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NODE = Path(sys.executable).parent / "node"
DATA = Path(os.environ.get("DATA_DIR") or ".data")  # from ROOT, where the services run
READY_WITHIN = 60.0  # seconds
STOPPED_WITHIN = 15.0

READY = """\
Both services are up; Ctrl-C stops them.

  python_api  {python}
  node_api    {node}

Three commands to try, in another terminal:

  curl -w '\\n' {python}/users {node}/users \
-H 'Content-Type: application/json' -d '{{"name": "Ada", "email": "ada@example.com"}}'
  curl -w '\\n' {python}/users {node}/users
  python3 -m webbrowser {python}/docs
"""


class Service:
    """One service: its process and what it says."""

    def __init__(self, name: str, process: Process) -> None:
        self.name = name
        self.process = process
        self.url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.create_task(process.wait())
        self._held: list[str] | None = []  # what it says until show() is called
        self._heard = asyncio.create_task(self._hear())

    @classmethod
    async def start(cls, name: str, port: str, *command: str) -> "Service":
        url = f"sqlite:///{DATA / name}.db"
        settings = {"HOST": "127.0.0.1", "PORT": port, "DATABASE_URL": url}
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            env=os.environ | settings,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            limit=2**24,  # bytes a line: a traceback is one line
            start_new_session=True,  # Ctrl-C is for this script alone, which then stops the services
        )
        return cls(name, process)

    def show(self) -> None:
        """Print what it said so far, and from now on what it says."""
        held, self._held = self._held or [], None
        for line in held:
            self._print(line)

    async def failure(self) -> str | None:
        """One line or more on how it ended by itself, if it did."""
        if not self.ended.done():
            return None
        await self._heard
        status = f"{self.name} ended with status {self.process.returncode}"
        if self._held is None:  # its log stands on the screen
            return f"{status}."
        log = "\n".join(self._held)
        hint = f" {self.name.upper()}_PORT sets another." if "in use" in log else ""
        return f"{self.name}: {log}{hint}" if log else f"{status} and said nothing."

    async def stop(self) -> None:
        if not self.ended.done():
            self.process.terminate()
            await asyncio.wait([self.ended], timeout=STOPPED_WITHIN)
        if not self.ended.done():
            print(f"{self.name} does not stop, so it is killed.", file=sys.stderr)
            self.process.kill()
        await self._heard

    async def _hear(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            text = line.decode(errors="replace").rstrip()
            if not self.url.done() and (url := _listening_at(text)):
                self.url.set_result(url)
            elif self._held is not None:
                self._held.append(text)
            else:
                self._print(text)

    def _print(self, line: str) -> None:
        print(f"{self.name:6} | {line}", flush=True)


def _listening_at(line: str) -> str | None:
    """The URL in a service's message that it is listening."""
    try:
        message = json.loads(line)
    except ValueError:
        return None
    if isinstance(message, dict) and message.get("message") == "listening":
        return str(message["url"])
    return None


@contextmanager
def foreground() -> Iterator[None]:
    """Take the terminal for this process alone while the context lasts.

    Ctrl-C would otherwise reach make as well, and make reports any interrupt as an error.
    """
    try:
        terminal = os.open("/dev/tty", os.O_RDWR)
    except OSError:
        yield
        return
    before = os.getpgrp()
    if os.tcgetpgrp(terminal) != before or before == os.getpid():
        yield  # in the background, or started without make
        return
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # else it stops whoever gives the terminal back
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # Ctrl-Z would leave make waiting unseen
    os.setpgid(0, 0)
    os.tcsetpgrp(terminal, os.getpgrp())
    try:
        yield
    finally:
        os.tcsetpgrp(terminal, before)


async def parent_gone() -> None:
    """Return when make, or whatever else started this script, was killed."""
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110 - nothing tells, so ask
        await asyncio.sleep(1)


async def main() -> int:
    """Start both, wait, stop both. The exit status is 0 if it ended because somebody asked."""
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_stop.set)
    asked = asyncio.create_task(asked_to_stop.wait())
    orphaned = asyncio.create_task(parent_gone())

    try:
        (ROOT / DATA).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"DATA_DIR cannot be made: {error.strerror}: {DATA}", file=sys.stderr)
        return 1
    port = os.environ.get("PYTHON_PORT") or "8000"
    python = await Service.start("python", port, sys.executable, "-m", "python_api")
    port = os.environ.get("NODE_PORT") or "3000"
    node = await Service.start(
        "node", port, str(NODE), "--max-semi-space-size=8", "node_api/src/main.ts"
    )

    over: list[asyncio.Future[Any]] = [asked, orphaned, python.ended, node.ended]
    ready = asyncio.gather(python.url, node.url)
    await asyncio.wait([ready, *over], timeout=READY_WITHIN, return_when=FIRST_COMPLETED)
    if ready.done():
        print(READY.format(python=python.url.result(), node=node.url.result()), flush=True)
        python.show()
        node.show()
        await asyncio.wait(over, return_when=FIRST_COMPLETED)

    wanted = asked.done() or orphaned.done()
    failures = [] if wanted else [await python.failure(), await node.failure()]
    await asyncio.gather(python.stop(), node.stop())
    if wanted:
        print("Both services are stopped.")
        return 0
    if not any(failures):
        python.show()
        node.show()
        failures = [f"The services were not both ready within {READY_WITHIN:.0f} seconds."]
    for failure in filter(None, failures):
        print(failure, file=sys.stderr)
    return 1


if __name__ == "__main__":
    with foreground():
        status = asyncio.run(main())
    sys.exit(status)
