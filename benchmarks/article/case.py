"""What a section gives to be timed."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Given:
    """What a case may work with; whatever it enters into the stack is closed in the end."""

    size: int
    url: str
    directory: Path
    stack: AsyncExitStack


# What is timed; it returns its answer, or an awaitable of it.
Work = Callable[[], object]
# Prepares, which isn't timed, and returns the work.
Case = Callable[[Given], Work | Awaitable[Work]]
