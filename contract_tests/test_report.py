"""PAIR: the report, as a browser shows it: every view, every link, every filter, every key.

REPORT=.data/report.html pytest contract_tests/test_report.py     that one, made before
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome

from contract_tests.harness import browser, clauses, services

# A run of these is soon done, and is about targets, services of a test's own, and both together.
RUN = (
    "contract_tests/test_read.py",
    "contract_tests/test_cors.py",
    "contract_tests/test_schema.py",
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run of some tests."""
    if given := os.environ.get("REPORT"):
        return Path(given)
    room = tmp_path_factory.mktemp("report")
    options = ["-q", "-n0", "-pno:randomly", "-pno:cacheprovider"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "contract_tests.report",
            "--no-mutants",
            f"--to={room}",
            "--",
            *options,
            *RUN,
        ],
        cwd=services.ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return room / "report.html"


@pytest.fixture(scope="module")
def data(report: Path) -> Any:
    """What the page shows."""
    text = report.read_text("utf-8")
    (found,) = re.findall(
        r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL
    )
    return json.loads(found)


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """A browser that nobody used before."""
    with browser.chromium(tmp_path_factory.mktemp("chromium")) as chrome:
        yield chrome


@pytest.mark.clause("PAIR-13")
def test_every_clause_is_there_with_its_code_on_both_sides(data: Any) -> None:
    assert list(data["clauses"]) == clauses.clauses()
    for clause, shown in data["clauses"].items():
        group = clause.rpartition("-")[0]
        sides = {"PAIR": [], "COMPOSE": ["common"]}.get(group, ["python", "node"])
        for side in sides:
            for file, first, last in shown["code"][side]:
                assert any(line.strip() for line in data["files"][file][first - 1 : last]), clause


@pytest.mark.clause("PAIR-13")
def test_it_shows_what_was_said_to_every_target(data: Any) -> None:
    shown = data["clauses"]["USR-READ-01"]
    assert set(data["targets"]) > set(shown["examples"][0]["targets"]) >= {"python-sqlite", "mixed"}
    assert all(proven == ran > 0 for proven, ran in shown["cells"].values())
    (request, *_), *answers = (
        [data["lines"][number] for number in cells]
        for kind, *cells in shown["examples"][0]["rows"]
        if kind in "qs"
    )
    assert request.startswith("POST /users HTTP/1.1")
    assert next(set(cells) for cells in answers if cells[0].isdigit()) == {"201"}
    # What differs may differ.
    assert not any("<b>" in line for line in data["lines"])
