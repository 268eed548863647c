"""The contract and the tests' markers, read as text: nothing is imported and nothing runs.

CONTRACT.md holds one clause a line, `- **USR-CREATE-07** MUST ...`, a table of routes (`POST /users`
and its clauses), one of problems (code, status, title, detail) and one of the details of errors.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1]
CONTRACT = TESTS / "CONTRACT.md"

_CLAUSE = re.compile(r"- \*\*([A-Z]+(?:-[A-Z]+)*-\d\d+)\*\* ")
_ROUTE = re.compile(r"`([A-Z]+) (/[^` ]*)`")


@dataclass(frozen=True)
class Test:
    """A test function (`file::name`) and the clauses that its marker names."""

    id: str
    clauses: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """Clauses under one heading of the contract, and the text above them, in Markdown."""

    name: str
    title: str
    intro: str
    clauses: tuple[str, ...]


def clauses() -> list[str]:
    """The ids of all clauses, in the contract's order (one that stands twice, twice)."""
    return [match[1] for line in _lines() if (match := _CLAUSE.match(line))]


def texts() -> dict[str, str]:
    """The clauses' words, in Markdown."""
    text = CONTRACT.read_text("utf-8")
    return dict(re.findall(r"^- \*\*([A-Z0-9-]+)\*\* (.*(?:\n  .*)*)", text, re.MULTILINE))


def groups() -> list[Group]:
    """The groups of clauses, in the contract's order."""
    sections = re.split(r"^## ", CONTRACT.read_text("utf-8"), flags=re.MULTILINE)[1:]
    found = []
    for section in sections:
        title, _, text = section.partition("\n")
        members = _CLAUSE.findall(text)
        if members:
            intro = text[: text.index("- **")].strip()
            found.append(Group(members[0].rpartition("-")[0], title, intro, tuple(members)))
    return found


def direct() -> dict[str, str]:
    """The clauses that a gateway can't keep in every case, and why."""
    return {
        clause: " ".join(reason.split())
        for clause, words in texts().items()
        if (reason := words.partition("Direct: ")[2])
    }


def marked_direct() -> set[str]:
    """The clauses of which some test, or some case of one, is marked so."""
    mark = re.compile(r'pytest\.mark\.direct\("([A-Z0-9-]+)"\)')
    sources = [file.read_text("utf-8") for file in TESTS.glob("test_*.py")]
    return {clause for source in sources for clause in mark.findall(source)}


def core() -> set[str]:
    """The clauses of the level "core": those of the groups that its line names."""
    (line,) = (line for line in _lines() if line.startswith("- `core`: "))
    groups = set(line.removeprefix("- `core`: ").split(", "))
    return {clause for clause in clauses() if clause.rpartition("-")[0] in groups}


def routes() -> dict[tuple[str, str], list[str]]:
    """The table of routes: method and path -> the clauses and groups of clauses that govern it."""
    return {
        (match[1], match[2]): cells[1].split(", ")
        for cells in _rows()
        if (match := _ROUTE.fullmatch(cells[0]))
    }


def problems() -> dict[str, tuple[int, str, str]]:
    """The table of problems: code -> status, title, detail."""
    return {
        cells[0].strip("`"): (int(cells[1]), cells[2], cells[3])
        for cells in _rows()
        if len(cells) >= 4 and re.fullmatch(r"[45]\d\d", cells[1])
    }


def details() -> dict[str, str]:
    """The table of details: code of an error -> detail."""
    return {
        cells[0].strip("`"): cells[1]
        for cells in _rows()
        if len(cells) == 2 and re.fullmatch(r"`[a-z-]+`", cells[0])
    }


def tests() -> list[Test]:
    """Every test function of the suite, with the clauses of its `clause` marker."""
    return [
        Test(f"{file.name}::{name}", tuple(_markers(function)))
        for file in sorted(TESTS.glob("test_*.py"))
        for name, function in _functions(ast.parse(file.read_text("utf-8"), str(file)))
    ]


def complaints() -> list[str]:
    """What is wrong with the markers, a sentence each: a test without clause, an unknown one."""
    known = set(clauses())
    found = []
    for test in tests():
        if not test.clauses:
            found.append(f"{test.id} names no clause (@pytest.mark.clause).")
        found += [
            f"{test.id} names {clause}, which CONTRACT.md does not have."
            for clause in test.clauses
            if clause not in known
        ]
    return found


def _lines() -> list[str]:
    return CONTRACT.read_text("utf-8").splitlines() if CONTRACT.exists() else []


def _rows() -> Iterator[list[str]]:
    """The cells of every row of every table."""
    for line in _lines():
        if line.startswith("|"):
            yield [cell.strip() for cell in line.strip().strip("|").split("|")]


def _functions(module: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in module.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
            yield node.name, node
        elif isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            for member in node.body:
                if isinstance(member, ast.FunctionDef) and member.name.startswith("test"):
                    yield f"{node.name}::{member.name}", member


def _markers(function: ast.FunctionDef) -> Iterator[str]:
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.clause":
            for argument in decorator.args:
                yield ast.literal_eval(argument)
