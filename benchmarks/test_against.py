"""A service against itself in another commit: what is checked out serves, and what is printed."""

from pathlib import Path

import httpx
import pytest

from benchmarks import against
from benchmarks.servers import Server
from benchmarks.services import Cell
from contract_tests.harness.databases import sqlite_url
from contract_tests.harness.services import ROOT

a_clone = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no clone")


@a_clone
@pytest.mark.parametrize("name", ["FastAPI", "Hono"])
def test_the_services_of_a_commit_serve(name: str, tmp_path: Path) -> None:
    with against.checked_out("HEAD") as root:
        (before,) = (one for one in against.entered(root) if one.name == name + against.BEFORE)
        assert before.root == root
        url = sqlite_url(tmp_path / "users.db")
        with (
            httpx.Client(trust_env=False) as client,
            Server(before, "sqlite", url, tmp_path) as server,
        ):
            assert client.get(f"{server.url}/users").json() == []
    assert not root.exists()


@a_clone
@pytest.mark.parametrize("revision", ["no-such-commit", "--help"])
def test_what_is_no_commit_is_told(revision: str) -> None:
    with pytest.raises(against.NoRevisionError), against.checked_out(revision):
        pass


def test_each_version_is_asked_next_to_the_other() -> None:
    names = [one.name for one in against.entered(ROOT)]
    assert names[1::2] == [name + against.BEFORE for name in names[::2]]
    assert sorted(names[::2]) == sorted(against.NAMES)


def test_the_table_has_medians_and_ratios_of_each_round() -> None:
    cells = [
        Cell("Hono", "typescript", "sqlite", "get", cpu_us=[10.0, 20.0, 30.0]),
        Cell("Hono before", "typescript", "sqlite", "get", cpu_us=[20.0, 20.0, 20.0]),
        Cell("FastAPI", "python", "sqlite", "get", cpu_us=[1.0]),
    ]
    assert against.table(cells, "abc").splitlines()[2:] == [
        "| sqlite: Hono, get | 20.0 | 20.0 | 1.00× (0.50–1.50) |"
    ]
