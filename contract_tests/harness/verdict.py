"""What a run says of each target, clause by clause, beside pytest's own summary.

    --level core            only what the core of the contract asks for (CONTRACT.md, Levels)
    --known-failures FILE   clauses that are known to fail; a line each: `IDEM-05 the reason`
    --json FILE             the verdict on every clause, for programs

A test that fails is forgiven if one of its clauses is known to fail. A clause that is known to fail
and of which no test failed makes the run fail: the list is to stay as true as the code.
"""

import json
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from contract_tests.harness import clauses

LEVELS = ("core", "full")
# Why a test is skipped that asks for a browser, and what brings one.
NO_BROWSER = "there is no Chromium with its chromedriver on this machine"
BRINGS_ONE = "sudo apt-get install chromium chromium-driver"


def add_options(group: pytest.OptionGroup) -> None:
    """The options, in pytest's own form."""
    group.addoption(
        "--level", choices=LEVELS, default="full", help="how much of the contract is asked for"
    )
    group.addoption("--known-failures", type=Path, metavar="FILE", help="clauses known to fail")
    group.addoption("--json", type=Path, metavar="FILE", help="write the verdict on each clause")


class Verdict:
    """The plugin; the controller of pytest-xdist hears of all tests, its workers judge each."""

    def __init__(self, config: pytest.Config) -> None:
        """Read the options. Raises UsageError for a list of known failures that can't be read."""
        self._level: str = config.getoption("--level")
        self._json: Path | None = config.getoption("--json")
        self._known = _known(config.getoption("--known-failures"))
        # Of each target and clause the outcomes of its tests.
        self._outcomes: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Leave out what the level doesn't ask for."""
        if self._level == "core":
            core = clauses.core()
            left = [item for item in items if core.issuperset(_clauses(item))]
            config.hook.pytest_deselected(items=[item for item in items if item not in set(left)])
            items[:] = left

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Write the clauses and the target down, and forgive what is known."""
        report = yield
        report.user_properties += [("target", target_of(item)), ("clauses", _clauses(item))]
        known = [clause for clause in _clauses(item) if clause in self._known]
        if report.failed and known:
            report.outcome = "skipped"
            report.wasxfail = f"known failure: {', '.join(known)}"
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the outcome for each of the test's clauses."""
        if report.when == "call" or not report.passed:
            properties: dict[str, Any] = dict(report.user_properties)
            outcome = "known failure" if hasattr(report, "wasxfail") else str(report.outcome)
            for clause in properties.get("clauses", ()):
                self._outcomes[str(properties["target"])][clause].add(outcome)

    def unexpected(self) -> list[str]:
        """The clauses that are known to fail and did not."""
        ran = {clause for found in self._outcomes.values() for clause in found}
        failed = {
            clause
            for found in self._outcomes.values()
            for clause, outcomes in found.items()
            if "known failure" in outcomes
        }
        return sorted((set(self._known) & ran) - failed)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the file, and fail for a known failure that is none."""
        if hasattr(session.config, "workerinput"):
            return
        if self._json:
            self._json.write_text(json.dumps(self._as_json(), indent=2) + "\n", "utf-8")
        if self.unexpected() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name the known failures that are none, and how much was left out for want of a browser."""
        for clause in self.unexpected():
            terminalreporter.write_line(f"{clause} is known to fail, and did not: strike it out.")
        skipped = terminalreporter.stats.get("skipped", ())
        if count := sum(NO_BROWSER in str(report.longrepr) for report in skipped):
            terminalreporter.write_line(
                f"{count} tests of pages were left out: {NO_BROWSER}. Debian has both: {BRINGS_ONE}"
            )

    def _as_json(self) -> dict[str, Any]:
        targets = {
            target: {
                clause: _verdict(outcomes)
                for clause in clauses.clauses()
                if (outcomes := found.get(clause))
            }
            for target, found in sorted(self._outcomes.items())
        }
        return {"level": self._level, "targets": targets, "unexpected": self.unexpected()}


def target_of(item: pytest.Item) -> str:
    """The name of the target that the test asks; "both" if it is about our services together."""
    params = item.callspec.params if hasattr(item, "callspec") else {}
    return str(params.get("api") or params.get("guarded") or params.get("_ours") or "both")


def _clauses(item: pytest.Item) -> list[str]:
    marker = item.get_closest_marker("clause")
    return [*marker.args] if marker else []


def _verdict(outcomes: set[str]) -> str:
    """The worst there is; a clause of which every test was skipped is "skipped"."""
    return next(one for one in ("failed", "known failure", "passed", "skipped") if one in outcomes)


def _known(file: Path | None) -> dict[str, str]:
    try:
        lines = file.read_text("utf-8").splitlines() if file else []
    except OSError as error:
        raise pytest.UsageError(f"--known-failures: {error}") from None
    known = {}
    for line in lines:
        clause, _, reason = line.partition(" ")
        if clause and not clause.startswith("#"):
            if clause not in clauses.clauses() or not reason.strip():
                raise pytest.UsageError(f"--known-failures: not a clause and a reason: {line!r}")
            known[clause] = reason.strip()
    return known
