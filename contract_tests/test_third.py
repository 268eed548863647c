"""PAIR: a service that isn't ours is told, clause by clause, what it breaks."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contract_tests.harness import services

THIRD = services.ROOT / "contract_tests" / "third"
FILES = [
    f"contract_tests/test_{name}.py"
    for name in ("create", "read", "replace", "patch", "delete", "fields", "role")
]


@pytest.fixture(scope="module")
def third() -> Iterator[str]:
    """The URL of a service on a third stack, with the gaps of gaps.txt."""
    with subprocess.Popen(
        [sys.executable, str(THIRD / "service.py"), "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.kill()


@pytest.fixture
def judge(third: str, tmp_path: Path) -> Any:
    """A function that runs the core against it with these known failures; exit code and verdict."""

    def run(known: str, *arguments: str) -> tuple[int, dict[str, Any], str]:
        list_, verdict = tmp_path / "known.txt", tmp_path / "verdict.json"
        list_.write_text(known, "utf-8")
        options = [f"--target=third={third}", "--level=core", f"--known-failures={list_}"]
        plain = ["-n0", "-pno:randomly", "-pno:cacheprovider", f"--json={verdict}"]
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *plain, *(arguments or FILES)],
            cwd=services.ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return ended.returncode, json.loads(verdict.read_text("utf-8")), ended.stdout

    return run


def gaps() -> dict[str, str]:
    lines = (THIRD / "gaps.txt").read_text("utf-8").splitlines()
    return {line.split()[0]: line for line in lines if not line.startswith("#")}


@pytest.mark.clause("PAIR-09")
def test_it_shows_up_with_exactly_its_gaps(judge: Any) -> None:
    code, verdict, output = judge("\n".join(gaps().values()))
    assert code == 0, output[-3000:]
    assert (verdict["level"], verdict["unexpected"]) == ("core", [])
    clauses = verdict["targets"]["third"]
    assert {clause for clause, one in clauses.items() if one == "known failure"} == set(gaps())
    others = {one for clause, one in clauses.items() if clause not in gaps()}
    assert others == {"passed"}
    assert len(clauses) > 60


@pytest.mark.clause("PAIR-09")
def test_a_gap_that_is_not_known_fails_the_run(judge: Any) -> None:
    known = "\n".join(line for clause, line in gaps().items() if clause != "ID-03")
    code, verdict, _ = judge(known, "contract_tests/test_read.py", "contract_tests/test_fields.py")
    assert code == 1
    clauses = verdict["targets"]["third"]
    assert [clause for clause, one in clauses.items() if one == "failed"] == ["ID-03"]


@pytest.mark.clause("PAIR-09")
def test_a_known_failure_that_is_none_fails_the_run(judge: Any) -> None:
    known = "\n".join([*gaps().values(), "USR-DELETE-01 It was mended long ago."])
    code, verdict, output = judge(known)
    assert code == 1
    assert verdict["unexpected"] == ["USR-DELETE-01"]
    assert "USR-DELETE-01 is known to fail, and did not: strike it out." in output


@pytest.mark.clause("PAIR-09")
def test_a_list_that_cannot_be_read_ends_the_run(judge: Any) -> None:
    for line in ("USR-READ-01", "USR-READ-99 There is no such clause."):
        with pytest.raises(FileNotFoundError):
            judge(line)


@pytest.mark.clause("PAIR-09", "AUTH-03")
@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("", "The target it asks for a token: put an admin's ADMIN_EMAIL and ADMIN_PASSWORD into"),
        ("wrong", "The target it gives no token to ADMIN_EMAIL."),
        (services.ADMIN[1], "2 passed"),
    ],
    ids=["none", "wrong", "right"],
)
def test_a_target_that_asks_for_a_token_is_told_apart(
    tmp_path: Path, password: str, said: str
) -> None:
    with contextlib.ExitStack() as stack:
        service = services.launch("node", env=services.SECURED, directory=tmp_path)
        stack.callback(service.kill)
        login = {"ADMIN_EMAIL": services.ADMIN[0], "ADMIN_PASSWORD": password}
        plain = ["-n0", "-pno:randomly", "-pno:cacheprovider", f"--target=it={service.url}"]
        tests = ["contract_tests/test_login.py", "-k", "test_200_the_token or who_fails"]
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", *plain, *tests],
            cwd=services.ROOT,
            env=os.environ | login,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    assert said in ended.stdout + ended.stderr
    assert ended.returncode == (0 if password == services.ADMIN[1] else 4)
