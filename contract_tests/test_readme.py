"""What the README shows works, and what it lists is all there is."""

import dataclasses
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from contract_tests.harness import clauses, guides, services

README = (services.ROOT / "README.md").read_text(encoding="utf-8")
SERVICES = services.ROOT / "python_api" / "README.md"
UP = [sys.executable, str(services.ROOT / ".ci" / "up.py")]


@contextmanager
def up(data: Path, python_port: str, node_port: str) -> Iterator[subprocess.Popen[str]]:
    """`make up`, without make: its set-up is done, or this would not run."""
    ports = {"PYTHON_PORT": python_port, "NODE_PORT": node_port, "DATA_DIR": str(data)}
    with subprocess.Popen(
        UP,
        env=os.environ | ports,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def urls(process: subprocess.Popen[str]) -> dict[str, str]:
    """Where the services are, as it prints it."""
    assert process.stdout is not None
    found: dict[str, str] = {}
    for line in process.stdout:
        if match := re.fullmatch(r" +(python|node)_api +(http://127\.0\.0\.1:\d+)\n", line):
            found[match[1]] = match[2]
        if len(found) == 2:
            return found
    raise AssertionError(found)


def snippet(language: str, url: str) -> str:
    """The README's snippet as it stands, but for the port."""
    (code,) = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    asked, times = re.subn(r"http://127\.0\.0\.1:\d+", url, code)
    assert times == 1
    return asked


def printed(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


@pytest.mark.clause("PAIR-07")
def test_both_start_answer_the_snippets_and_stop(tmp_path: Path) -> None:
    node = services.command("node")[0]
    with up(tmp_path, "0", "0") as process:
        found = urls(process)
        for url in found.values():
            user = {"name": "Ada Lovelace", "email": "ada@example.com"}
            assert httpx.post(f"{url}/users", json=user).status_code == 201
        for url in found.values():
            assert printed(sys.executable, "-c", snippet("python", url)) == "Ada Lovelace\n"
            script = snippet("javascript", url)
            assert printed(node, "--input-type=module", "-e", script) == "Ada Lovelace\n"
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)
        assert output.endswith("Both services are stopped.\n")
        assert process.returncode == 0
    for url in found.values():
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)


@pytest.mark.clause("PAIR-07")
@pytest.mark.parametrize("kind", services.KINDS)
def test_a_taken_port_is_one_line(tmp_path: Path, kind: services.Kind) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        ports = (port, "0") if kind == "python" else ("0", port)
        with up(tmp_path, *ports) as process:
            output, _ = process.communicate(timeout=60)
    assert output == (
        f"{kind}: Port {port} on 127.0.0.1 is in use. {kind.upper()}_PORT sets another.\n"
    )
    assert process.returncode == 1


def rows(header: str, text: str) -> list[list[str]]:
    """The cells of the table under this header."""
    _, found, rest = text.partition(f"\n| {header}")
    assert found, header
    lines = rest.splitlines()[2:]
    table = lines[: next(i for i, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


@pytest.mark.clause("PAIR-08")
def test_the_table_of_settings_is_complete() -> None:
    from python_api.settings import Settings  # noqa: PLC0415 (not where only the tests are)

    names = [row[0].strip("`") for row in rows("variable", SERVICES.read_text("utf-8"))]
    assert names == [field.name.upper() for field in dataclasses.fields(Settings)]


@pytest.mark.clause("PAIR-08")
def test_the_tour_leads_through_every_file_and_its_twin() -> None:
    table = rows("Python |", SERVICES.read_text("utf-8"))
    listed = [re.findall(r"\]\((.+?)\)", cell) for row in table for cell in row[:2]]
    found = [(SERVICES.parent / path).resolve() for cell in listed for path in cell]
    assert sorted(found) == sorted(path.resolve() for path in sources())


def sources() -> list[Path]:
    python = (services.ROOT / "python_api").rglob("*.py")
    typescript = (services.ROOT / "node_api" / "src").rglob("*.ts")
    return [path for path in (*python, *typescript) if path.name != "__init__.py"]


@pytest.mark.clause("PAIR-08")
@pytest.mark.parametrize("guide", guides.files(), ids=str)
def test_every_link_leads_somewhere(guide: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", guide.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\((?!https?:)(.+?)\)", text):
        path, _, anchor = target.partition("#")
        file = guide.parent / path if path else guide
        assert file.exists(), target
        assert not anchor or re.search(
            rf"^#+ {anchor.replace('-', ' ')}$",
            file.read_text(encoding="utf-8"),
            re.MULTILINE | re.IGNORECASE,
        )


@pytest.mark.clause("PAIR-08")
def test_the_routes_are_those_of_the_contract() -> None:
    cells = " ".join(row[0] for row in rows("request |", README))
    listed = {tuple(route.split()) for route in re.findall(r"[A-Z]+ /[a-z./{}]*", cells)}
    assert listed == {
        (method, path)
        for method, path in clauses.routes()
        if method not in ("HEAD", "OPTIONS") and not path.startswith("/docs/")
    }


@pytest.mark.clause("PAIR-08")
def test_the_walk_shows_the_code_as_it_stands() -> None:
    blocks = re.findall(r"```(py|ts)\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 4
    for language, block in blocks:
        suffix = ".py" if language == "py" else ".ts"
        texts = [path.read_text("utf-8") for path in sources() if path.suffix == suffix]
        words = " ".join(block.split())
        # Without its doc, and whatever comes behind it.
        bare = (re.sub(r'"""[^"]*"""', "", text) for text in texts)
        assert any(words.rstrip(";)") in " ".join(text.split()) for text in bare), block


@pytest.mark.clause("PAIR-08")
def test_the_readme_is_read_in_minutes() -> None:
    assert len(README.split()) <= 1500


@pytest.mark.clause("PAIR-08")
@pytest.mark.parametrize("guide", guides.files(), ids=str)
def test_a_table_is_read_at_a_glance(guide: Path) -> None:
    lines = [line for line in guide.read_text("utf-8").splitlines() if line.startswith("|")]
    cells = [cell for line in lines for cell in re.sub(r"\]\(\S+\)", "]", line).split(" | ")]
    assert [cell for cell in cells if len(cell.split()) > 25] == []
