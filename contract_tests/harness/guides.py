"""The commands that README, contract and guides show, as they stand there."""

import re
from collections.abc import Iterator
from pathlib import Path

from contract_tests.harness.services import ROOT

FOLDERS = (
    *(".", "contract_tests", "contract_tests/differential", "decisions"),
    *("python_api", "node_api", "gateway", "benchmarks"),
)

# What a command begins with, where it stands within a sentence.
_PROGRAMS = r"(?:make|docker|pytest|python3?|node|npm|pip|git|grep|curl|\.venv/\S+|\.ci/\S+)"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)", re.MULTILINE)
_CODE = re.compile(r"(`+)(.+?)\1")
_WITHIN = re.compile(rf"{_PROGRAMS} .+|ARGS=.+")


def files() -> list[Path]:
    """Every text in Markdown."""
    return sorted(file for folder in FOLDERS for file in (ROOT / folder).glob("*.md"))


def blocks(file: Path) -> list[list[str]]:
    """The commands of each block of them, one after the other."""
    found = _BLOCK.findall(file.read_text("utf-8"))
    return [_COMMAND.findall(text) for language, text in found if language == "console"]


def commands() -> set[str]:
    """All that are shown, in blocks and within sentences."""
    return {command for file in files() for command in _commands(file)}


def _commands(file: Path) -> Iterator[str]:
    for block in blocks(file):
        for command in block:
            yield re.sub(r" +# .*$", "", command)
    for _, code in _CODE.findall(_BLOCK.sub("", file.read_text("utf-8"))):
        if _WITHIN.fullmatch(code):
            yield code
