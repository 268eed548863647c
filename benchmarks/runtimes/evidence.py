"""A plugin of pytest: what each gap looks like, as a line of JSON in the file that EVIDENCE names.

Each request has a connection of its own, unless the test is about connections: some servers close
one after an answer without a word, and the next request would be the victim. With FORGIVE_SERVER, a
`Server` field counts for its own clause alone: of a server that can't do without, every answer would
be wrong.
"""

import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

MOST = 1200  # characters: enough for an answer
NO_SERVER = "HDR-07"


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart() -> None:
    """Have no connection used again."""
    # Imported before, its assertions would not be explained.
    from contract_tests.harness import client  # noqa: PLC0415

    client.POOL = httpx.Limits(max_keepalive_connections=0)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Forgive, if that is asked for."""
    from contract_tests.harness.wire import listeners  # noqa: PLC0415

    marker = item.get_closest_marker("clause")
    listeners[:] = [one for one in listeners if one is not _forgive]
    if "FORGIVE_SERVER" in os.environ and not (marker and NO_SERVER in marker.args):
        listeners.append(_forgive)


def _forgive(_target: str, _request: bytes, answer: Any) -> None:
    answer.headers[:] = [field for field in answer.headers if field[0] != "server"]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write down a failure, known or not."""
    # The processes of pytest-xdist tell the first one of theirs.
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    if report.failed or hasattr(report, "wasxfail"):
        clauses = dict(report.user_properties).get("clauses", [])
        lines = [line[4:] for line in report.longreprtext.splitlines() if line.startswith("E   ")]
        found = {"test": report.nodeid, "clauses": clauses, "said": "\n".join(lines)[:MOST]}
        with Path(os.environ["EVIDENCE"]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
