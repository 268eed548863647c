"""The page: what was recorded, the contract, the mutants and the sources, put together as HTML."""

import base64
import gzip
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename

from contract_tests.harness import clauses
from contract_tests.harness.services import ROOT
from contract_tests.report import exchange, source
from contract_tests.report.record import Test
from contract_tests.report.source import Block

HERE = Path(__file__).parent
GUIDE = ROOT / "python_api" / "README.md"
README = ROOT / "README.md"
WALK = "## One request, through both\n"

TARGETS = {
    "python-sqlite": "FastAPI on SQLite",
    "node-sqlite": "Hono on SQLite",
    "python-postgres": "FastAPI on PostgreSQL",
    "node-postgres": "Hono on PostgreSQL",
    "mixed": "both on one PostgreSQL, each request sent to one of them at random",
    "both": "both together: what is about the pair",
}
MAX_EXAMPLES = 3
# What the style sheet gives no colour: punctuation, spaces, plain names. It is half of the page.
UNCOLOURED = re.compile(r'<span class="(?:p|w|n|nx|o|nv|no)">([^<]*)</span>')

Cells = dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Mutant:
    """A fault that was planted: what it does, and whether a test minded, on either side."""

    name: str
    clause: str
    what: str
    python: bool | None
    node: bool | None


def render(
    tests: Sequence[Test],
    mutants: Sequence[Mutant],
    *,
    made: str,
    numbers: Sequence[tuple[str, str, str]],
    versions: Sequence[tuple[str, str]],
) -> str:
    """The page as HTML; `numbers` are what stands at its top: a number, what it counts, a remark."""
    known = {target: index for index, target in enumerate(TARGETS)}
    targets = sorted(
        {target for test in tests for target in test.cells},
        key=lambda target: (known.get(target, -1), target),
    )
    lines = _Lines()
    data = {
        "made": made,
        "numbers": numbers,
        "versions": versions,
        "targets": targets,
        "about": {target: TARGETS.get(target, target) for target in targets},
        "groups": [
            {
                "name": group.name,
                "title": group.title,
                "intro": MarkdownIt().render(group.intro),
                "clauses": group.clauses,
            }
            for group in clauses.groups()
        ],
        "clauses": _clauses(tests, mutants, targets, lines),
        "lines": lines.all,
        "files": _files(),
        "walk": _walk(),
        "read": _tour(),
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    # A fifth of its size; `mtime`, so that the same data make the same page.
    packed = base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
    page = (HERE / "page.html").read_text("utf-8")
    for mark, part in (
        ("/*CSS*/", (HERE / "page.css").read_text("utf-8")),
        ("/*JS*/", (HERE / "page.js").read_text("utf-8")),
        ("/*DATA*/", packed),
    ):
        page = page.replace(mark, part, 1)
    return page


class _Lines:
    """Lines by their numbers: most stand in many places."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, line: str | None) -> int:
        """The line's number; -1 for none."""
        if line is None:
            return -1
        number = self._numbers.setdefault(line, len(self.all))
        if number == len(self.all):
            self.all.append(line)
        return number


def _clauses(
    tests: Sequence[Test], mutants: Iterable[Mutant], targets: Sequence[str], lines: _Lines
) -> dict[str, Any]:
    named = source.named()
    texts = clauses.texts()
    found = {}
    for clause in clauses.clauses():
        its = [test for test in tests if clause in test.clauses]
        # What is about nothing else shows it best.
        shown = sorted((test for test in its if test.exchanges), key=lambda test: len(test.clauses))
        found[clause] = {
            "text": _markdown(texts[clause]),
            "cells": _sum(its),
            "tests": [_test(test) for test in its],
            "mutants": [
                {"name": one.name, "what": one.what, "python": one.python, "node": one.node}
                for one in mutants
                if one.clause == clause
            ],
            "examples": [_example(test, targets, lines) for test in shown[:MAX_EXAMPLES]],
            "code": {
                side: [
                    [block.file, block.first, block.last]
                    for block in named.get(clause, {}).get(side, [])
                ]
                for side in (*source.SIDES, "common")
            },
        }
    return found


def _markdown(text: str) -> str:
    """A clause as HTML; its reason and what holds without a gateway stand on their own."""
    html: str = MarkdownIt().render(re.sub(r"\s+(Why|Direct): ", r"\n\n*\1:* ", text))
    return html


def _sum(tests: Iterable[Test]) -> Cells:
    """Of each target how many cases passed, of how many that ran."""
    cells: Cells = {}
    for test in tests:
        for target, (passed, ran) in test.cells.items():
            if ran:
                before = cells.get(target, (0, 0))
                cells[target] = (before[0] + passed, before[1] + ran)
    return cells


def _test(test: Test) -> dict[str, Any]:
    return {
        "name": test.id,
        "file": test.file,
        "line": test.line,
        "doc": test.doc,
        "cells": _sum([test]),
    }


def _example(test: Test, targets: Sequence[str], lines: _Lines) -> dict[str, Any]:
    said = {target: test.exchanges[target] for target in targets if test.exchanges.get(target)}
    return {
        "test": f"{test.id}[{test.case}]" if test.case else test.id,
        "targets": [*said],
        "rows": [
            [kind, *map(lines.number, cells)]
            for kind, cells in exchange.rows(said, failed=bool(test.failed))
        ],
    }


def _files() -> dict[str, list[str]]:
    """The sources as HTML, line by line."""
    paths = [path for side in source.SIDES for path in source.files(side)]
    paths += [ROOT / name for name in source.COMMON]
    return {str(path.relative_to(ROOT)): _coloured(path) for path in paths}


def _coloured(path: Path) -> list[str]:
    return _highlighted(path.read_text("utf-8"), path.name).split("\n")[:-1]


def _highlighted(text: str, name: str) -> str:
    lexer = get_lexer_for_filename(name, stripnl=False)
    html: str = highlight(text, lexer, HtmlFormatter(nowrap=True))
    return UNCOLOURED.sub(r"\1", html)


def _walk() -> str:
    """README's walk of one request through both, as HTML: Python's lines beside TypeScript's."""

    def block(code: str, language: str, _attributes: str) -> str:
        return f'<pre class="code">{_highlighted(code, f"code.{language}")}</pre>'

    def link(match: re.Match[str]) -> str:
        file = re.fullmatch(r"python_api/(.+)\.py", match[1])
        return f'<a href="#read/{file[1]}">{match[2]}</a>' if file else match[2]

    _, _, rest = README.read_text("utf-8").partition(WALK)
    html = MarkdownIt(options_update={"highlight": block}).render(rest.partition("\n## ")[0])
    html = re.sub(r'<a href="([^"]+)">(.*?)</a>', link, html)
    pair = r'(<pre class="code">(?:(?!</pre>).)*</pre>\s*){2}'
    return re.sub(pair, lambda match: f'<div class="sides">{match[0]}</div>', html, flags=re.DOTALL)


def _tour() -> list[dict[str, Any]]:
    """The pairs of files in the order of the guide's table, part beside part."""
    cell = r"\[`[^`]+`\]\((\S+)\)"
    rows = re.findall(rf"^\| {cell} \| {cell} \| (.+) \|$", GUIDE.read_text("utf-8"), re.MULTILINE)
    return [
        {
            "python": python,
            "node": node,
            "what": MarkdownIt().renderInline(what),
            "sections": [
                {
                    "title": section.title,
                    "python": _range(section.python),
                    "node": _range(section.node),
                }
                for section in source.sections(python, node)
            ],
        }
        for python, node, what in ((f"python_api/{row[0]}", row[1][3:], row[2]) for row in rows)
    ]


def _range(block: Block | None) -> tuple[int, int] | None:
    return (block.first, block.last) if block else None
