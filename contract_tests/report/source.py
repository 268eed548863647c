"""The services' sources, read as text: which clause is named where, and what stands beside what.

The doc of a function or a class ends with the clauses that it keeps (`Clauses: JSON-05, JSON-06.`,
`@clauses JSON-05, JSON-06`); a comment that names one tells of the statement that follows, with
whatever stands deeper. Both sides are formatted, so indentation tells, in Python as in TypeScript.
"""

import ast
import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from contract_tests.harness import clauses
from contract_tests.harness.services import ROOT

SIDES = {"python": ("python_api", ".py"), "node": ("node_api/src", ".ts")}
# What is neither one's code: what `docker compose up` starts.
COMMON = (
    *("docker-compose.yml", "gateway/nginx.conf"),
    *("python_api/Dockerfile", "node_api/Dockerfile"),
)

_CLAUSE = r"[A-Z]+(?:-[A-Z]+)*-\d\d"
_COMMENT = re.compile(r" *(?:#|//|/\*\*| \*)")
_GOES_ON = re.compile(r"[)\]}]|else\b|elif\b|except\b|finally\b|catch\b")
_TITLE = re.compile(
    r"""(?x)
    \s*@?router\.(?P<method>\w+)\(\s*"(?P<path>[^"]+)"
    | (?:export\ )?(?:default\ )?(?:declare\ )?(?:async\ )?
      (?:def|class|function|const|type|interface|module)\ (?P<name>\w+|"[^"]+")
    | (?P<import>import\ |from\ )
    | (?P<variable>[A-Za-z_]\w*)(?::[^=]+)?\ =
    | \s+(?:async\ )?def\ (?P<method_name>\w+)
    | \s+(?:(?:readonly|override|async|static|get)\ )*(?P<member>\#?[a-z]\w*)(?:<.*>)?\(
    """
)
# A part with more lines than this is shown in parts itself.
LONG = 40
IMPORTS = "imports"


@dataclass(frozen=True)
class Block:
    """Lines of a file, from 1, both included."""

    file: str
    first: int
    last: int


@dataclass(frozen=True)
class Section:
    """A part of a file and of its twin; either may be missing."""

    title: str
    python: Block | None
    node: Block | None


def files(side: str) -> list[Path]:
    """The sources of a side."""
    folder, suffix = SIDES[side]
    return sorted(file for file in (ROOT / folder).rglob(f"*{suffix}"))


def named() -> dict[str, dict[str, list[Block]]]:
    """Of every clause that is named anywhere the code that keeps it: `python`, `node`, `common`."""
    found: dict[str, dict[str, list[Block]]] = {}
    places = {side: files(side) for side in SIDES} | {"common": [ROOT / name for name in COMMON]}
    for side, sources in places.items():
        for source in sources:
            for clause, block in _named_in(source):
                found.setdefault(clause, {}).setdefault(side, []).append(block)
    return found


def _named_in(source: Path) -> Iterator[tuple[str, Block]]:
    text, file = source.read_text("utf-8"), str(source.relative_to(ROOT))
    lines = text.splitlines()
    for first, last in _comments(lines):
        block = Block(file, first + 1, _end(lines, last) + 1)
        yield from ((clause, block) for clause in _clauses(lines[first : last + 1]))
    for node in ast.walk(ast.parse(text)) if source.suffix == ".py" else ():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = min(one.lineno for one in (node, *node.decorator_list))
            block = Block(file, first, node.end_lineno or first)
            yield from ((clause, block) for clause in _clauses([ast.get_docstring(node) or ""]))


def _comments(lines: list[str]) -> Iterator[tuple[int, int]]:
    """The first and the last line of each comment, but for the one that the file begins with."""
    first = 0
    for number, line in enumerate([*lines, ""]):
        if not _COMMENT.match(line):
            if first and first < number:
                yield first, number - 1
            first = number + 1


def _clauses(lines: list[str]) -> list[str]:
    """The clauses that are named there, once each."""
    groups = {clause.rpartition("-")[0] for clause in clauses.clauses()}
    named = dict.fromkeys(re.findall(_CLAUSE, " ".join(lines)))
    return [clause for clause in named if clause.rpartition("-")[0] in groups]


def _end(lines: list[str], begin: int) -> int:
    """The last line of the statement that follows, by its number from 0."""
    depth = _depth(lines[begin])
    end = _after_the_lead(lines, begin)
    for number in range(end + 1, len(lines)):
        line = lines[number]
        if not line.strip():
            continue
        if _depth(line) < depth or (_depth(line) == depth and not _GOES_ON.match(line.strip())):
            break
        end = number
    return end


def _after_the_lead(lines: list[str], begin: int) -> int:
    """The statement's own first line, behind comments and decorators."""
    number, depth = begin, _depth(lines[begin])
    while number < len(lines) - 1:
        line = lines[number]
        leads = line.strip().startswith(("#", "//", "@", "/**", "*"))
        deeper = _depth(line) > depth or line.strip().startswith(")")
        if not leads and not deeper:
            break
        number += 1
    return number


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


def sections(python: str, node: str) -> list[Section]:
    """The two files' parts beside each other, in their order: by their names, else by clauses."""
    left, right = _parts(python), _parts(node)
    keys = [[part.key for part in parts] for parts in (left, right)]
    matcher = difflib.SequenceMatcher(None, keys[0], keys[1], autojunk=False)
    found: list[Section] = []
    for _, begin, end, begin_right, end_right in matcher.get_opcodes():
        found += _beside(left[begin:end], right[begin_right:end_right])
    return found


def _beside(left: list["_Part"], right: list["_Part"]) -> Iterator[Section]:
    """As many as there are on both sides go together; of others those with a clause in common."""
    if len(left) == len(right):
        for ours, theirs in zip(left, right, strict=True):
            title = ours.title if ours.title == theirs.title else f"{ours.title} · {theirs.title}"
            yield Section(title, ours.block, theirs.block)
        return
    pairs = (
        (m, n)
        for m, ours in enumerate(left)
        for n, theirs in enumerate(right)
        if ours.clauses & theirs.clauses
    )
    if pair := next(pairs, None):
        m, n = pair
        yield from _beside(left[:m], right[:n])
        yield from _beside(left[m : m + 1], right[n : n + 1])
        yield from _beside(left[m + 1 :], right[n + 1 :])
        return
    for ours in left:
        yield Section(ours.title, ours.block, None)
    for theirs in right:
        yield Section(theirs.title, None, theirs.block)


@dataclass(frozen=True)
class _Part:
    """What blank lines divide on the outermost level; of what is long on the next level, too."""

    title: str
    block: Block
    clauses: frozenset[str]

    @property
    def key(self) -> str:
        """The title without what the languages' customs make of it."""
        return re.sub(r"[_#{}:]", "", self.title).lower()


def _parts(name: str) -> list[_Part]:
    """The parts of a file; what it is about and what it imports are one."""
    lines = (ROOT / name).read_text("utf-8").splitlines()
    step = 4 if name.endswith(".py") else 2
    found: list[_Part] = []
    for first, last in _divided(lines, 0, len(lines), 0):
        inner = _divided(lines, first, last, step) if last - first > LONG else [(first, last)]
        for begin, end in inner:
            at_the_top = not found or found[-1].title == IMPORTS
            title = _title(lines[begin:end]) or (IMPORTS if at_the_top else lines[begin].strip())
            goes_on = bool(found) and title == found[-1].title == IMPORTS
            start = found.pop().block.first - 1 if goes_on else begin
            block = Block(name, start + 1, end)
            found.append(_Part(title, block, frozenset(_clauses(lines[start:end]))))
    return found


def _divided(lines: list[str], begin: int, end: int, depth: int) -> Iterator[tuple[int, int]]:
    """From where to where the parts reach; a blank line ends one if no deeper line follows."""
    first = begin
    for number in range(begin + 1, end):
        line = lines[number]
        if line.strip() and not lines[number - 1].strip() and _depth(line) <= depth:
            yield first, _without_blanks(lines, first, number)
            first = number
    yield first, _without_blanks(lines, first, end)


def _without_blanks(lines: list[str], first: int, last: int) -> int:
    while last > first + 1 and not lines[last - 1].strip():
        last -= 1
    return last


def _title(lines: list[str]) -> str:
    """The name of the first thing that has one; empty if nothing has."""
    for number in range(len(lines)):
        if match := _TITLE.match("\n".join(lines[number : number + 2])):
            found = {name: value for name, value in match.groupdict().items() if value}
            if "path" in found:
                return f"{found['method'].upper()} {found['path']}"
            return IMPORTS if "import" in found else next(iter(found.values()))
    return ""
