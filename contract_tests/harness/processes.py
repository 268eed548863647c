"""What the operating system knows of the processes that the tests start."""

import ctypes
import signal
import sys
from pathlib import Path

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent() -> None:
    """In the child: die when the process that started us does, however it ends (Linux)."""
    if _libc is not None:
        pr_set_pdeathsig = 1
        _libc.prctl(pr_set_pdeathsig, signal.SIGKILL)


def children(pid: int) -> list[int]:
    """The ids of the processes that this one has started (Linux)."""
    return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split())]
