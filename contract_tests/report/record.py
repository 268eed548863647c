"""What a run has to say to the report: of every test its outcomes, of one case each its exchanges.

pytest contract_tests --record FILE
"""

import json
from collections import defaultdict
from collections.abc import Generator, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from contract_tests.harness import wire
from contract_tests.harness.verdict import target_of

# More than this of a test or a message shows nobody anything.
MAX_EXCHANGES = 6
MAX_BYTES = 1500

TARGETS = {"api", "_ours"}


@dataclass
class Test:
    """A test function: its place, its clauses, and of each target how many cases passed of how many.

    `case` is the one of which `exchanges` holds, for each target, what was said on the wire, and
    `failed` the targets on which it failed.
    """

    id: str
    file: str
    line: int
    doc: str
    clauses: list[str]
    cells: dict[str, tuple[int, int]] = field(default_factory=dict)
    case: str = ""
    exchanges: dict[str, list["Exchange"]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)


@dataclass
class Exchange:
    """A request to somebody, its bytes as Latin-1, and the answer."""

    to: str
    request: str
    status: int
    headers: list[tuple[str, str]]
    body: str


def add_options(group: pytest.OptionGroup) -> None:
    """The option, in pytest's own form."""
    group.addoption("--record", type=Path, metavar="FILE", help="write down what the report shows")


def read(file: Path) -> list[Test]:
    """What was written down."""
    tests = []
    for fields in json.loads(file.read_text("utf-8")):
        heard = fields.pop("exchanges").items()
        exchanges = {target: [Exchange(**one) for one in some] for target, some in heard}
        tests.append(Test(**fields, exchanges=exchanges))
    return tests


class Recorder:
    """The plugin; the workers of pytest-xdist listen, the controller writes."""

    def __init__(self, config: pytest.Config) -> None:
        """Record for the file that the option names."""
        self._file: Path = config.getoption("--record")
        self._chosen: set[str] = set()
        self._heard: list[dict[str, Any]] | None = None
        self._tests: dict[tuple[str, ...], Test] = {}
        wire.listeners.append(self._listen)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Choose of every test the case that is to be shown: its first, on all targets."""
        cases: dict[tuple[str, ...], dict[tuple[int, ...], list[str]]] = defaultdict(dict)
        for item in items:
            case = tuple(index for name, index in _indices(item) if name not in TARGETS)
            cases[_key(item)].setdefault(case, []).append(item.nodeid)
        self._chosen = {nodeid for found in cases.values() for nodeid in found[min(found)]}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None]:
        """Listen while a chosen test runs."""
        self._heard = [] if item.nodeid in self._chosen else None
        try:
            yield
        finally:
            item.user_properties.append(("exchanges", self._heard or []))
            self._heard = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add what only the test itself knows to its report."""
        report = yield
        function = getattr(item, "function", None)
        doc = (getattr(function, "__doc__", None) or "").partition("\n")[0]
        facts = {
            "test": _key(item)[0],
            "doc": doc,
            "case": _case(item),
            "chosen": item.nodeid in self._chosen,
        }
        report.user_properties.append(("facts", facts))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count the outcome; keep what was heard."""
        if report.when != "call" and report.passed:
            return
        properties: dict[str, Any] = dict(report.user_properties)
        facts, target = properties["facts"], properties["target"]
        file, line, _ = report.location
        key = (facts["test"], *properties["clauses"])
        test = self._tests.setdefault(
            key, Test(facts["test"], file, (line or 0) + 1, facts["doc"], [*properties["clauses"]])
        )
        passed, ran = test.cells.get(target, (0, 0))
        test.cells[target] = (passed + report.passed, ran + (not report.skipped))
        if facts["chosen"]:
            test.case = facts["case"]
            if report.failed:
                test.failed.append(target)
            test.exchanges.setdefault(target, []).extend(
                Exchange(**heard) for heard in properties.get("exchanges", ())
            )

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write it all down."""
        wire.listeners.remove(self._listen)
        if not hasattr(session.config, "workerinput"):
            tests = sorted(self._tests.values(), key=lambda test: (test.file, test.line))
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(json.dumps([asdict(test) for test in tests]), "utf-8")

    def _listen(self, to: str, request: bytes, answer: wire.Answer) -> None:
        if self._heard is not None and len(self._heard) < MAX_EXCHANGES:
            exchange = Exchange(
                to,
                _shortened(request).decode("latin-1"),
                answer.status,
                answer.headers,
                _shortened(answer.body).decode("utf-8", "backslashreplace"),
            )
            self._heard.append(asdict(exchange))


def _key(item: pytest.Item) -> tuple[str, ...]:
    """The test without its parameters, and the clauses that this case of it is about."""
    name = item.nodeid.partition("::")[2].partition("[")[0]
    marker = item.get_closest_marker("clause")
    return (f"{item.path.name}::{name}", *(marker.args if marker else ()))


def _indices(item: pytest.Item) -> Iterable[tuple[str, int]]:
    return sorted(item.callspec.indices.items()) if hasattr(item, "callspec") else ()


def _case(item: pytest.Item) -> str:
    """The case's own name, without the target's."""
    if not hasattr(item, "callspec"):
        return ""
    parts = [part.strip("-") for part in str(item.callspec.id).split(target_of(item))]
    return "-".join(filter(None, parts))


def _shortened(data: bytes) -> bytes:
    if len(data) <= MAX_BYTES:
        return data
    return data[:MAX_BYTES] + b" ... (%d bytes)" % len(data)
