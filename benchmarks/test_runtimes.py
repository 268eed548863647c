"""The matrix of runtimes: its lists of gaps, what is shown of it, and the rows that need no fetching."""

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from benchmarks.runtimes import page
from benchmarks.runtimes.hold import CORE, hold
from benchmarks.runtimes.installers import INSTALLERS
from benchmarks.runtimes.rows import HERE, RUNTIMES, gaps
from contract_tests.harness import clauses
from contract_tests.harness.services import ROOT

README = ROOT / "benchmarks" / "README.md"
FAULTS = HERE / "faults.md"


@pytest.fixture(scope="module")
def matrix() -> Any:
    """The one that the guide shows."""
    return json.loads((ROOT / "benchmarks" / "results" / "runtimes.json").read_text("utf-8"))


def test_each_gap_is_a_clause_with_a_cause() -> None:
    known = {*clauses.clauses()}
    for row in RUNTIMES.values():
        assert row.command or row.why, row.name
        for clause, cause in gaps(row).items():
            assert clause in known, (row.name, clause)
            assert len(cause.split()) > 3, (row.name, clause)
    assert {file.stem for file in (HERE / "gaps").iterdir()} <= {*RUNTIMES}


def test_what_is_shown_is_what_was_seen(matrix: Any) -> None:
    assert [row["name"] for row in matrix["rows"]] == [*RUNTIMES]
    for row in matrix["rows"]:
        assert row["gaps"] == gaps(RUNTIMES[row["name"]]), row["name"]
        assert all(held["broken"] == [] for held in row["held"])
    assert page.markdown(matrix) in README.read_text("utf-8")


def test_what_is_shown_of_installers_is_what_was_seen() -> None:
    results = ROOT / "benchmarks" / "results" / "installers.json"
    rows = json.loads(results.read_text("utf-8"))
    assert [(row["name"], row["what"]) for row in rows] == [
        (row.name, row.what) for row in INSTALLERS.values()
    ]
    assert all(row["broken"] == [] for row in rows)
    assert page.installers(rows) in README.read_text("utf-8")


class Tags(HTMLParser):
    """The tags of a page, and the text of its cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, _: Any) -> None:
        """Note it."""
        self.tags.append(tag)


def test_the_page_has_a_column_a_runtime_and_what_was_said_behind_each_gap(matrix: Any) -> None:
    text = page.render(matrix)
    tags = Tags(text).tags
    ran = [row for row in matrix["rows"] if not row["why"]]
    assert "script" not in tags
    assert tags.count("details") == sum(len(row["gaps"]) for row in ran)
    assert text.count('<th scope="col">') == len(ran) + 1
    assert all(clause in text for row in ran for clause in row["gaps"])


def test_express_keeps_the_core() -> None:
    """All of the contract is asked of it by `make runtimes`; it is to have no gap at all."""
    assert gaps(RUNTIMES["express"]) == {}
    (held,) = hold(RUNTIMES["express"], CORE)
    assert held.broken == []
    assert held.asked > 100


def test_each_fault_of_a_runtime_can_be_reported() -> None:
    """What was sent, what came back, what is right by which RFC, and the version that did it."""
    sections = FAULTS.read_text("utf-8").split("\n## ")[1:]
    assert len(sections) > 3
    for section in sections:
        assert re.search(r"^Sent: ", section, re.MULTILINE), section
        assert re.search(r"^Came back: ", section, re.MULTILINE), section
        assert re.search(r"RFC \d+, \d", section), section
        assert re.match(r"[\w.]+ \d+\.\d+", section), section
