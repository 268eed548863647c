"""PAIR: every command that README, contract and guides show, run as it stands there.

Other than there are the ports, which a test of ours can't choose, and a token or a secret.
"""

import contextlib
import json
import os
import re
import runpy
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Timer

import pytest

from contract_tests.harness import guides, services

THIRD = services.ROOT / "contract_tests" / "third"

# What no test runs, and why. Of what takes long the recipe is proven: each does with `--help`.
LONG = {
    "make test": "runs the tests that this one is of",
    "make prove": "takes half an hour",
    "make pictures": "needs the report of a whole run",
    "make report": "takes as long as `make test` and `make mutants`",
    "make mutants": "takes a quarter of an hour; test_mutants.py runs some of them",
    "make fuzz": "takes minutes; test_fuzz.py is a part of it",
    "make attack": "takes minutes of a machine that does nothing else",
    "make timing": "takes a minute of a machine that does nothing else",
    "make scale": "makes a million users",
    'make scale ARGS="--rounds 9"': "makes a million users",
    "make bench": "takes some ten minutes of a machine that does nothing else",
    'make bench ARGS="--against main"': "takes some six minutes of a machine that does nothing else",
    "make runtimes": "fetches 300 MB, and takes some fifteen minutes",
    'make runtimes ARGS="--core deno bun express"': "fetches 220 MB; CI runs it",
    'make runtimes ARGS="pip uv poetry npm pnpm yarn"': "fetches 300 MB",
    "make bench-full": "takes an hour of a machine that does nothing else",
    "make compose": "takes minutes, and Docker; CI runs it",
}
NOT_RUN = LONG | {"docker inspect": "is only named: it is one of Docker's"}


def some(*names: str) -> str:
    """Options that leave out other files with tests, and don't even read most of them.

    All of the contract is asked of our services in this very run.
    """
    initials = "".join({name.removeprefix("test_")[0] for name in names})
    return f"--ignore-glob='*/test_[!{initials}]*.py' -k '{' or '.join(names)}'"


# Those of `make contract`, with what bounds them.
CONTRACT = {
    'make contract TARGETS="go=http://127.0.0.1:9000"': some("test_delete"),
    'make contract TARGETS="python=http://127.0.0.1:8000 node=http://127.0.0.1:3000 '
    'go=http://127.0.0.1:9000" ARGS="-k patch"': some("test_patch"),
    'make contract TARGETS="go=http://127.0.0.1:9000,http://127.0.0.1:9001" '
    'ARGS="--gateway lb=http://127.0.0.1:8080 --seed 7"': some("test_delete"),
}
CORE = (
    'make contract TARGETS="go=http://127.0.0.1:9000" ARGS="--level core '
    '--known-failures gaps.txt --json verdict.json --junitxml report.xml"'
)
AS_PROXY = "ARGS=--as-proxy"
CREATE = next(one for one in guides.commands() if one.startswith(r"curl -w '\n'"))
FOLLOW = next(one for one in guides.commands() if one.startswith("curl -N "))
SECURED = next(
    block for file in guides.files() for block in guides.blocks(file) if "make setup" in block
)
HOOK = next(
    block for file in guides.files() for block in guides.blocks(file) if "/webhooks" in block[-1]
)
HELP = "make help"
GREP = "grep -rn UNIQ-03 contract_tests python_api node_api/src"


@pytest.mark.clause("PAIR-15")
def test_every_command_that_is_shown_is_run_or_has_a_reason() -> None:
    run = {
        "make up",
        "make watch",
        CREATE,
        FOLLOW,
        *SECURED,
        *HOOK,
        *CONTRACT,
        CORE,
        AS_PROXY,
        HELP,
        GREP,
        *NOT_RUN,
    }
    # test_compose.py knows these.
    shown = {one for one in guides.commands() if not one.startswith("docker compose")}
    assert sorted(shown - run) == []
    assert sorted(run - shown) == []


def outside(**settings: str) -> dict[str, str]:
    """The environment as a shell of one's own has it: pytest has said nothing in it."""
    ours = re.compile("PYTEST_|PROGRESS|MAKE|MFLAGS|ARGS|AUTH|ADMIN_|HYPOTHESIS")
    given = {name: value for name, value in os.environ.items() if not ours.match(name)}
    return given | settings


def run(command: str, *, directory: Path = services.ROOT, **settings: str) -> tuple[int, str]:
    """The exit code of a command, and what it prints."""
    ended = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=directory,
        env=outside(**settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout


def with_ports(command: str, urls: Mapping[str, str]) -> str:
    """The command, with the services that run here in place of those on the ports named."""
    return re.sub(
        r"(http|ws)://127\.0\.0\.1:(\d+)",
        lambda match: urls[match[2]].replace("http", match[1], 1),
        command,
    )


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Services of ours, by the ports under which the guides have them."""
    tmp_path = tmp_path_factory.mktemp("commands")
    with contextlib.ExitStack() as stack:
        found: dict[str, str] = {}
        for kind, ports in (("python", ("8000", "9000", "8080")), ("node", ("3000",))):
            service = services.launch("python" if kind == "python" else "node", directory=tmp_path)
            stack.callback(service.kill)
            found |= dict.fromkeys(ports, service.url)
        # One target of two instances; on SQLite the same is as good as another.
        yield found | {"9001": found["9000"]}


@pytest.mark.clause("PAIR-15", "PAIR-09")
@pytest.mark.parametrize("command", CONTRACT)
def test_contract(urls: Mapping[str, str], command: str) -> None:
    code, said = run(
        with_ports(command, urls), PYTEST_ADDOPTS=f"-p no:cacheprovider {CONTRACT[command]}"
    )
    assert code == 0, said
    assert re.search(r"= [1-9]\d* passed", said), said
    assert ("--seed 7\n" in said) == ("--seed 7" in command)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The repository as it is, in a folder of its own to which files can be added."""
    folder = tmp_path / "clone"
    folder.mkdir()
    for entry in services.ROOT.iterdir():
        if entry.name not in (".git", ".data"):
            (folder / entry.name).symlink_to(entry)
    return folder


@pytest.mark.clause("PAIR-15", "PAIR-09")
def test_contract_of_a_service_on_its_way(clone: Path) -> None:
    (clone / "gaps.txt").symlink_to(THIRD / "gaps.txt")
    with subprocess.Popen(
        [sys.executable, str(THIRD / "service.py"), "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as third:
        assert third.stdout is not None
        url = f"http://127.0.0.1:{third.stdout.readline().strip()}"
        command = with_ports(CORE, {"9000": url})
        # test_third.py asks for all of them.
        bounds = some("test_create", "test_read.py", "test_delete")
        code, said = run(command, directory=clone, PYTEST_ADDOPTS=bounds)
        assert code == 0, said
        verdict = json.loads((clone / "verdict.json").read_text("utf-8"))
        assert (verdict["level"], [*verdict["targets"]]) == ("core", ["go"])
        assert "<testsuite " in (clone / "report.xml").read_text("utf-8")
        # What is there already is taken for no test.
        code, again = run(command, directory=clone, PYTEST_ADDOPTS=f"--collect-only {bounds}")
        assert code == 0, again
        third.kill()


@pytest.mark.clause("PAIR-15")
def test_contract_as_a_proxy(tmp_path: Path) -> None:
    """A service that locks out whoever fails twice: the tests fail more often, each elsewhere."""
    env = services.SECURED | {"LOGIN_FAILURES_PER_ADDRESS": "2"}
    with contextlib.closing(_Killed(services.launch("node", env=env, directory=tmp_path))) as one:
        command = f'make contract TARGETS="x={one.service.url}"'
        for option, expected in ((AS_PROXY, 0), ("", 1)):
            code, said = run(
                f"{command} {option}",
                ADMIN_EMAIL=env["ADMIN_EMAIL"],
                ADMIN_PASSWORD=env["ADMIN_PASSWORD"],
                PYTEST_ADDOPTS=f"{some('test_login')} -k test_whatever_the_password_is",
            )
            assert (code != 0) == expected, said


class _Killed:
    def __init__(self, service: services.Service) -> None:
        self.service = service
        self.close = service.kill


@pytest.mark.clause("PAIR-15")
def test_what_is_asked_of_make_contract_wrongly() -> None:
    code, said = run("make contract")
    assert (code, said.splitlines()[0]) == (2, 'make contract needs TARGETS="NAME=URL ..."')
    code, said = run('make contract TARGETS="x=http://127.0.0.1:1" ARGS="--seed 7"')
    assert code == 2
    assert "The target x cannot be reached at http://127.0.0.1:1" in said


@pytest.mark.clause("PAIR-15", "PAIR-09")
@pytest.mark.parametrize(
    "command",
    [
        "python -m pytest --target x=http://127.0.0.1:1",
        "pytest --gateway x=http://127.0.0.1:1 --seed 7",
        "pytest --json v.json --target x=http://127.0.0.1:1",
        "pytest contract_tests/test_read.py --level core --target x=http://127.0.0.1:1",
    ],
)
def test_pytest_knows_the_options_wherever_they_stand(command: str) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    code, said = run(command, PATH=path)
    assert (code, "The target x cannot be reached" in said) == (4, True), said


def shown(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """The first line that the process prints and that is like this."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if match := re.search(pattern, line):
            return match
    raise AssertionError("".join(said))


@contextlib.contextmanager
def begun(
    command: str, *, directory: Path = services.ROOT, **settings: str
) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on until Ctrl-C, which it gets in the end; after two minutes it is killed."""
    with subprocess.Popen(
        ["/bin/sh", "-c", f"exec {command}"],
        cwd=directory,
        env=outside(**settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        late = Timer(120, os.killpg, (process.pid, signal.SIGKILL))
        late.start()
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):  # it got it before
                os.killpg(process.pid, signal.SIGINT)
            process.wait()
            late.cancel()


def snippets(chapter: str) -> list[tuple[str, str]]:
    """Languages and code of a chapter of the guide."""
    guide = (services.ROOT / "python_api" / "README.md").read_text("utf-8")
    text = guide.partition(f"## {chapter}\n")[2].partition("\n## ")[0]
    return re.findall(r"```(python|javascript)\n(.*?)```", text, re.DOTALL)


@pytest.mark.clause("PAIR-15", "PAIR-07")
def test_make_up_and_who_asks(tmp_path: Path) -> None:
    data = str(tmp_path / "a" / "b")
    with begun("make up", PYTHON_PORT="0", NODE_PORT="0", DATA_DIR=data) as process:
        urls = {
            port: shown(process, rf"{name}_api +(http\S+)")[1]
            for port, name in (("8000", "python"), ("3000", "node"))
        }
        code, said = run(f"{with_ports(CREATE, urls)} --silent")
        assert code == 0
        users = [json.loads(line) for line in said.splitlines()]
        assert [user["email"] for user in users] == ["ada@example.com"] * 2
        with begun(f"{with_ports(FOLLOW, urls)} --silent") as curl:
            assert json.loads(shown(curl, "^data: (.+)")[1])["data"] == users[0]
        # What stands first there is a page's: test_streams.py.
        _, *followers = snippets("Follow what happens")
        assert len(followers) == 4
        for language, snippet in followers:
            python, node = (
                [sys.executable, "-u", "-c"],
                [services.node(), "--input-type=module", "-e"],
            )
            interpreter = python if language == "python" else node
            with begun(shlex.join([*interpreter, with_ports(snippet, urls)])) as follower:
                assert shown(follower, "^.+")[0] == "user.created /users/1"
        os.killpg(process.pid, signal.SIGINT)
        rest, _ = process.communicate(timeout=20)
        assert "Both services are stopped.\n" in rest
    assert sorted(path.name for path in (tmp_path / "a" / "b").glob("*.db")) == [
        "node.db",
        "python.db",
    ]


@pytest.mark.clause("PAIR-15", "HOOK-11")
def test_events_are_sent_to_the_receivers_that_are_shown(tmp_path: Path) -> None:
    """Each verifies, with its language's library, what the service of the other one has signed."""
    start, create = HOOK
    # Where Node looks for the library from a file of one's own.
    (tmp_path / "node_modules").symlink_to(services.ROOT / "node_api" / "node_modules")
    receivers = snippets("Have it sent")
    assert [language for language, _ in receivers] == ["python", "javascript"]
    with begun(start, PYTHON_PORT="0", NODE_PORT="0", DATA_DIR=str(tmp_path)) as process:
        urls = [shown(process, rf"{name}_api +(http\S+)")[1] for name in ("python", "node")]
        for url, (language, code) in zip(reversed(urls), receivers, strict=True):
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = str(free.getsockname()[1])
            receiver = f"http://127.0.0.1:{port}"
            asked = with_ports(create, {"8000": url, "9000": receiver})
            secret = json.loads(run(f"{asked} --silent")[1])["secret"]
            file = tmp_path / f"receiver.{'py' if language == 'python' else 'mjs'}"
            file.write_text(code.replace("9000", port), "utf-8")
            interpreter = sys.executable if language == "python" else services.node()
            with begun(shlex.join([interpreter, str(file), secret])) as told:
                with_url = with_ports(CREATE, {"8000": url, "3000": url})
                run(f"{with_url} --silent")
                assert shown(told, "^user.+")[0] == "user.created /users/1"


@pytest.mark.clause("PAIR-15")
def test_make_watch_runs_the_tests_of_what_is_saved(clone: Path) -> None:
    # Files of its own, where what is saved is nobody else's.
    for folder in ("python_api", "contract_tests"):
        (clone / folder).unlink()
        shutil.copytree(services.ROOT / folder, clone / folder)
    with begun("make watch", directory=clone, PYTHON_PORT="0", NODE_PORT="0") as process:
        shown(process, "^Save a file: its tests run")
        (clone / "contract_tests" / "test_delete.py").touch()
        shown(process, r"^contract_tests/test_delete\.py:")
        shown(process, r"^[1-9]\d* passed")
        # A source: its service is another one then, and the tests are those of its clauses.
        routes = clone / "python_api" / "operation" / "health.py"
        routes.write_text(routes.read_text("utf-8").replace('"ok"', '"fine"'), "utf-8")
        shown(process, r"python_api +http")
        shown(process, r"^FAILED contract_tests/test_health\.py::test_it_is_alive\[python\]")
        shown(process, r"^[1-9]\d* failed")


@pytest.mark.clause("PAIR-15", "LOGIN-01")
def test_a_secured_service(tmp_path: Path) -> None:
    """The block as a shell gets it, line by line."""
    set_up, export, start, log_in, me = SECURED
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    where = {"PORT": str(port), "DATABASE_URL": f"sqlite:///{tmp_path}/users.db"}
    with subprocess.Popen(
        ["sh"],
        cwd=services.ROOT,
        env=outside(**where),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as shell:
        try:
            assert shell.stdin is not None
            print(set_up, export, start, sep="\n", file=shell.stdin, flush=True)
            shown(shell, '"listening"')
            print(f"{with_ports(log_in, {'8000': url})}; echo", file=shell.stdin, flush=True)
            # The service's log may stand on the same line.
            token = shown(shell, '{"access_token":"([^"]+)"')[1]
            asked = with_ports(me, {"8000": url}).replace("eyJhbGciOi...", token)
            assert asked != me
            print(f"{asked}; echo", file=shell.stdin, flush=True)
            user = json.loads(shown(shell, '{"id":[^}]+}')[0])
            assert (user["email"], user["role"]) == ("root@example.com", "admin")
        finally:
            os.killpg(shell.pid, signal.SIGKILL)


@pytest.mark.clause("PAIR-15")
def test_make_help_lists_every_target() -> None:
    code, said = run(HELP)
    makefile = (services.ROOT / "Makefile").read_text("utf-8")
    assert code == 0
    assert re.findall(r"^  make ([a-z-]+) ", said, re.MULTILINE) == re.findall(
        r"^\.PHONY: ([a-z-]+)$", makefile, re.MULTILINE
    )


@pytest.mark.clause("PAIR-15", "PAIR-12")
def test_a_clause_leads_to_contract_code_and_tests() -> None:
    code, said = run(GREP)
    assert code == 0
    found = {line.partition(":")[0] for line in said.splitlines()}
    assert {"contract_tests/CONTRACT.md", "contract_tests/test_concurrency.py"} <= found
    for folder in ("python_api/", "node_api/src/"):
        assert any(file.startswith(folder) for file in found)


@pytest.mark.clause("PAIR-15")
@pytest.mark.parametrize("command", sorted({one.partition(" ARGS")[0] for one in LONG}))
def test_what_takes_long_begins(command: str) -> None:
    code, said = run(f"{command} ARGS=--help")
    assert code == 0, said
    assert "usage: " in said


@pytest.mark.clause("PAIR-15")
def test_every_option_of_the_table_stands_in_a_command() -> None:
    guide = (services.ROOT / "contract_tests" / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| `(--[^`]+)` \|", guide, re.MULTILINE)
    assert rows
    assert [row for row in rows if row not in CORE] == []


# Whatever stands in the environment for other projects.
SURROUNDINGS = {
    "CDPATH": "/",
    "GIT_DIR": "/nowhere",
    "HOME": "/proc/nowhere",
    "HTTP_PROXY": "http://127.0.0.1:1",
    "http_proxy": "http://127.0.0.1:1",
    "LANG": "C",
    "LC_ALL": "C",
    "MAKEFLAGS": "-j",
    "NODE_ENV": "production",
    "NODE_OPTIONS": "--require /nowhere",
    "PIP_USER": "1",
    "PYTHONHOME": "/nowhere",
    "PYTHONOPTIMIZE": "2",
    "PYTHONPATH": "/nowhere",
    "PYTHONSAFEPATH": "1",
    "PYTHONWARNINGS": "error",
    "TZ": "Asia/Kathmandu",
    "VIRTUAL_ENV": "/nowhere",
}


@pytest.mark.clause("PAIR-18")
def test_surroundings_change_nothing(clone: Path, urls: Mapping[str, str]) -> None:
    """In a folder with a space in its name, and with what is set for other projects."""
    clone = clone.rename(clone.with_name("a b"))
    settings = SURROUNDINGS | {"FUZZ": "20", "PYTEST_ADDOPTS": some("test_delete", "test_fuzz")}
    command = f'make setup && make contract TARGETS="node={urls["3000"]}"'
    code, said = run(command, directory=clone, **settings)
    assert code == 0, said
    assert re.search(r"= [1-9]\d* passed", said), said


@pytest.mark.clause("PAIR-18")
@pytest.mark.parametrize("part", ["biome", "tsc", "node"])
def test_the_tools_of_node_are_found_in_any_folder(clone: Path, part: str) -> None:
    clone = clone.rename(clone.with_name("a b"))
    (clone / "ask.mk").write_text(
        f"include Makefile\nask:\n\t@cd node_api && $({part}) --version\n"
    )
    code, said = run("make -f ask.mk ask", directory=clone, **SURROUNDINGS)
    assert code == 0, said
    assert re.search(r"\d+\.\d+\.\d+", said), said


@pytest.mark.clause("PAIR-18")
def test_the_set_up_listens_to_where_packages_come_from_alone() -> None:
    code = runpy.run_path(str(services.ROOT / ".ci" / "setup.py"))
    is_for_others = code["is_for_others"]
    for name in (
        *("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_NO_BINARY", "PIP_REQUIRE_VIRTUALENV"),
        *("PIP_CONSTRAINT", "PIP_DRY_RUN", "NODE_ENV", "NODE_OPTIONS", "npm_config_omit"),
        *("npm_config_global", "NPM_CONFIG_PRODUCTION", "npm_config_prefix", "PYTHONHOME"),
    ):
        assert is_for_others(name), name
    for name in (
        *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT", "PIP_TRUSTED_HOST", "PIP_PROXY"),
        *("PIP_CONFIG_FILE", "PIP_CACHE_DIR", "npm_config_registry", "NPM_CONFIG_CAFILE"),
        *("npm_config_//a.example/:_authToken", "npm_config_cache", "NODE_EXTRA_CA_CERTS"),
        *("npm_config_https_proxy", "PATH", "HOME", "HTTPS_PROXY", "SSL_CERT_FILE"),
    ):
        assert not is_for_others(name), name


@pytest.mark.clause("PAIR-18")
def test_a_folder_that_cannot_be_made_is_one_line() -> None:
    command = f"{shlex.quote(sys.executable)} .ci/up.py"
    code, said = run(command, DATA_DIR="/dev/null/a")
    assert (code, said) == (1, "DATA_DIR cannot be made: Not a directory: /dev/null/a\n")


@pytest.mark.clause("PAIR-18")
def test_a_clone_has_the_line_ends_that_shells_can_read(tmp_path: Path) -> None:
    if not (services.ROOT / ".git").exists():
        pytest.skip("this is no clone")
    folder = tmp_path / "clone"
    source = shlex.quote(str(services.ROOT))
    code, said = run(f"git clone -q --depth 1 -c core.autocrlf=true file://{source} {folder}")
    assert code == 0, said
    assert [
        file for file in (".ci/setup", "Makefile") if b"\r" in (folder / file).read_bytes()
    ] == []


@pytest.mark.clause("PAIR-19")
def test_what_no_browser_could_prove_is_said(urls: Mapping[str, str], tmp_path: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m pytest contract_tests/test_docs.py"
    code, said = run(f"{command} --target node={urls['3000']}", PATH=str(tmp_path))
    assert code == 0, said
    line = r"(\d+) tests of pages were left out: .+: sudo apt-get install chromium chromium-driver"
    match = re.search(line, said)
    assert match, said
    assert f" {match[1]} skipped" in said
