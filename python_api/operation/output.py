"""stdout and stderr, which nobody waits for: serving doesn't depend on the log."""

import asyncio
import contextlib
import errno
import os
import stat
import sys
import time
from collections.abc import Callable
from typing import TextIO, cast

# At most so many bytes wait while nobody reads.
MAX_WAITING = 1024 * 1024
# What is written to a pipe at once is kept in one piece up to this size, whoever else writes to it.
PIPE_BUF = 4096
RETRY_SECONDS = 0.02
LAST_SECONDS = 1


class Output:
    """The lines of stdout.

    Those of a turn of the event loop are written at its end. What can't be written then waits,
    up to a limit; beyond it lines are dropped, and counted.
    """

    def __init__(self, dropped: Callable[[int], str]) -> None:
        """`dropped` makes the line that says how many there are not."""
        self._dropped_line = dropped
        self._descriptor = _unblocked(1)
        # Lines whose writing has not begun, and their bytes: JSON is ASCII here.
        self._lines: list[str] = []
        self._size = 0
        # What is being written.
        self._waiting = bytearray()
        self._dropped = 0
        self._turn_will_end = False
        self._retry: asyncio.TimerHandle | None = None
        self._complained = False

    def write(self, line: str) -> None:
        """Write a line: without an event loop at once, else at the end of its turn.

        Clauses: LOG-05, LOG-06.
        """
        # Once a line is dropped, none follows until the log can say how many were (LOG-07).
        if self._dropped or self._size + len(self._waiting) > MAX_WAITING:
            self._dropped += 1
        else:
            self._append(line)
        if self._turn_will_end:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._write_waiting()
        else:
            self._turn_will_end = True
            loop.call_soon(self._end_turn, loop)

    def end(self) -> None:
        """Write what still waits, as the process ends; a reader that is slow is given a moment.

        Clauses: LOG-06.
        """
        deadline = time.monotonic() + LAST_SECONDS
        while not self._write_waiting() and time.monotonic() < deadline:
            time.sleep(0.01)

    def _append(self, line: str) -> None:
        self._lines.append(line + "\n")
        self._size += len(line) + 1

    def _end_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._turn_will_end = False
        self._write_waiting()
        if self._waiting and self._retry is None:
            self._retry = loop.call_later(RETRY_SECONDS, self._try_again, loop)

    def _try_again(self, loop: asyncio.AbstractEventLoop) -> None:
        self._retry = None
        self._end_turn(loop)

    def _write_waiting(self) -> bool:
        """Write what can be written now; gives whether that was all. Clauses: LOG-05, LOG-07."""
        while self._take_lines():
            try:
                written = os.write(self._descriptor, self._first_lines())
            except BlockingIOError:
                return False
            except OSError as error:
                self._complain(error)
                return True
            del self._waiting[:written]
        return True

    def _take_lines(self) -> bool:
        """Once nothing is left from before, take all lines; gives whether there is any to write."""
        if not self._waiting:
            if not self._lines and self._dropped:
                self._append(self._dropped_line(self._dropped))
                self._dropped = 0
            self._waiting += "".join(self._lines).encode("utf-8", "replace")
            self._lines.clear()
            self._size = 0
        return bool(self._waiting)

    def _first_lines(self) -> bytearray:
        """As many lines as a pipe keeps together; at least one."""
        if len(self._waiting) <= PIPE_BUF:
            return self._waiting
        end = self._waiting.rfind(b"\n", 0, PIPE_BUF)
        return self._waiting[: (self._waiting.index(b"\n") if end < 0 else end) + 1]

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            reason = errno.errorcode.get(error.errno or 0, "unknown")
            print(f"The log cannot be written ({reason}).", file=sys.stderr)


class _Stderr:
    """What can't be written, for want of room or of a reader, is dropped."""

    def __init__(self) -> None:
        self._descriptor = _unblocked(2)

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            os.write(self._descriptor, text.encode("utf-8", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        """Nothing waits."""


def let_stderr_fail() -> None:
    """Let nobody fail who writes to stderr when nobody can read it. Clauses: LOG-05."""
    sys.stderr = cast(TextIO, _Stderr())


def _unblocked(number: int) -> int:
    """A descriptor of the same file on which nothing waits.

    Whether writes wait belongs to all processes that share an open file, and they may not be ours.
    So it is opened once more, but for one on a disk: that has a place where all of them write next.
    """
    if stat.S_ISREG(os.fstat(number).st_mode):
        return number
    try:
        return os.open(f"/proc/self/fd/{number}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        # A socket, or not Linux; Node does the same.
        os.set_blocking(number, False)
        return number
