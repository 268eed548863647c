"""How far a long run is: several processes write it down, `prove` shows it."""

import os
from pathlib import Path


def advance(what: str, by: int = 1) -> None:
    """So many more of these are done. Nothing happens unless the variable PROGRESS names a folder."""
    if directory := os.environ.get("PROGRESS"):
        with Path(directory, what).open("ab") as file:  # what is appended at once stays together
            file.write(b"." * by)


def advanced(directory: Path, what: str) -> int:
    """How many of these are done."""
    file = directory / what
    return file.stat().st_size if file.exists() else 0
