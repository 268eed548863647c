"""OPS: what docker-compose.yml starts, for real. `make compose` runs these; they need Docker."""

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from contract_tests.harness import expect, services
from contract_tests.harness.client import Client
from contract_tests.harness.load import Load, assert_each_once

OK = b'{"status":"ok"}'
PYTHON, NODE, GATEWAY = (f"http://127.0.0.1:{port}" for port in (8000, 3000, 8080))
PROJECT = "contract-tests"
START_TIMEOUT = 300
STOP_TIMEOUT = 10


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """What the Docker client prints."""
    return subprocess.run(
        ["docker", *arguments],
        cwd=services.ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=check,
    )


def compose(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """What Compose prints, under a project name of our own, so that nobody's users are touched."""
    return docker("compose", "--project-name", PROJECT, *arguments, check=check)


def containers(*names: str) -> list[dict[str, Any]]:
    """The containers of these services, of all without a name, as Docker describes them."""
    ids = compose("ps", "--all", "--quiet", *names).stdout.split()
    found: list[dict[str, Any]] = json.loads(docker("inspect", *ids).stdout)
    return found


def up(*arguments: str) -> None:
    started = compose("up", "--wait", f"--wait-timeout={START_TIMEOUT}", *arguments, check=False)
    assert started.returncode == 0, started.stdout + compose("logs", "--tail=50").stdout


@pytest.fixture(scope="module", autouse=True)
def stack() -> Iterator[None]:
    """The images, and in the end nothing of it left."""
    compose("down", "--volumes", "--remove-orphans")
    compose("--profile=test", "build", "--quiet")
    yield
    compose("--profile=test", "down", "--volumes", "--remove-orphans")


@pytest.fixture(autouse=True)
def one_of_each() -> None:
    """Before each test one instance of each service is there, whatever the last one left."""
    up()


@pytest.fixture
def three_of_each() -> None:
    """The same with three instances of each service."""
    up("--scale=python_api=3", "--scale=node_api=3", "--no-recreate")
    for name in ("python_api", "node_api"):
        states = [one["State"]["Health"]["Status"] for one in containers(name)]
        assert states == ["healthy"] * 3


def prove(*arguments: str) -> None:
    """Run the suite in its container against the running stack."""
    ended = compose("run", "--rm", "contract_tests", *arguments, check=False)
    print(ended.stdout[-10_000:])
    assert ended.returncode == 0
    passed = re.search(r"(\d+) passed", ended.stdout)
    assert passed, "no summary"
    assert int(passed[1]) > 2000


def asking(url: str) -> contextlib.closing[Client]:
    """A client for as long as it is needed."""
    return contextlib.closing(Client(url))


def published() -> Sequence[tuple[str, str]]:
    """Where the stack's ports can be reached."""
    bindings = [one["NetworkSettings"]["Ports"] for one in containers()]
    return sorted(
        (binding["HostIp"], binding["HostPort"])
        for ports in bindings
        for some in ports.values()
        for binding in some or ()
    )


@pytest.mark.clause("COMPOSE-01", "COMPOSE-02")
def test_it_is_up_on_the_loopback_alone() -> None:
    ports = [("127.0.0.1", port) for port in ("3000", "8000", "8080")]
    assert published() == ports
    for url in (PYTHON, NODE, GATEWAY):
        with asking(url) as api:
            expect.body(api.get("/readyz"), 200, OK)
            ada = api.create()
        for other in (PYTHON, NODE, GATEWAY):
            with asking(other) as api:
                expect.user(api.get(f"/users/{ada['id']}"), 200, **ada)


TOOLS = {
    "python_api": "pip pip3 gcc cc make",
    "node_api": "npm npx yarn corepack gcc cc make",
}


@pytest.mark.clause("COMPOSE-03")
@pytest.mark.parametrize("name", TOOLS)
def test_a_service_may_do_no_more_than_it_needs(name: str) -> None:
    (container,) = containers(name)
    assert container["HostConfig"]["ReadonlyRootfs"] is True
    assert container["HostConfig"]["CapDrop"] == ["ALL"]
    assert container["Config"]["User"].split(":")[0] not in ("", "0", "root")
    script = f"for tool in {TOOLS[name]}; do command -v $tool; done; id -u; touch /app/x 2>&1"
    said = compose("exec", "-T", name, "sh", "-c", script, check=False).stdout.splitlines()
    assert said[0] == "10001", said
    assert "Read-only file system" in said[1]


@pytest.mark.clause("COMPOSE-04")
def test_the_known_password_is_refused_elsewhere() -> None:
    for name in ("python_api", "node_api"):
        without = ("-e", "ALLOW_EXAMPLE_PASSWORD=")
        ended = compose("run", "--rm", "--no-deps", *without, name, check=False)
        assert ended.returncode == 1
        assert "DATABASE_URL must be a URL with a password of its own" in ended.stdout


@pytest.mark.clause("COMPOSE-01", "OPS-15")
def test_the_running_stack_holds_the_contract() -> None:
    prove()


@pytest.mark.clause("COMPOSE-05", "OPS-15")
@pytest.mark.usefixtures("three_of_each")
def test_three_of_each_hold_it_as_one_service() -> None:
    prove(f"--gateway=gateway={GATEWAY.replace('127.0.0.1', 'gateway')}")


@pytest.mark.clause("COMPOSE-06", "OPS-19")
@pytest.mark.parametrize("name", ["python_api", "node_api"])
@pytest.mark.usefixtures("three_of_each")
def test_an_instance_is_killed_behind_the_gateway(name: str) -> None:
    with Load([GATEWAY]) as load:
        load.await_more()
        victim = containers(name)[0]["Id"]
        docker("kill", victim)
        for _ in range(5):
            load.await_more()
        docker("start", victim)
        load.await_more()
    with asking(GATEWAY) as api:
        assert_each_once(api, load.acknowledged, load.token)


@pytest.mark.clause("COMPOSE-06")
def test_an_instance_that_is_not_ready_is_passed_over() -> None:
    """One whose database takes no connection any more: all that it says is 503."""
    ask_postgres("CREATE DATABASE elsewhere")
    url = "postgresql://users:not-a-secret@postgres/elsewhere"
    run = ("run", "--detach", "--use-aliases", "--env", f"DATABASE_URL={url}", "node_api")
    lost = compose(*run).stdout.split()[-1]
    try:
        deadline = time.monotonic() + 30
        while "listening" not in docker("logs", lost).stdout:
            assert time.monotonic() < deadline
        ask_postgres("ALTER DATABASE elsewhere ALLOW_CONNECTIONS false")
        ask_postgres(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'elsewhere'"
        )
        with asking(GATEWAY) as api:
            answers = [api.get("/users?limit=1").status for _ in range(60)]
        assert answers == [200] * 60
        refused = [line for line in docker("logs", lost).stdout.splitlines() if ":503" in line]
        assert refused, "it was never asked"
    finally:
        docker("rm", "--force", lost)
        ask_postgres("DROP DATABASE elsewhere WITH (FORCE)")


def ask_postgres(statement: str) -> None:
    compose("exec", "-T", "postgres", "psql", "-U", "users", "-c", statement)


@pytest.mark.clause("COMPOSE-06")
def test_with_nobody_left_the_gateway_says_so() -> None:
    compose("stop", "python_api", "node_api")
    with asking(GATEWAY) as api:
        for method in ("GET", "POST"):
            mine = expect.unique()
            answer = api.request(method, "/users", headers={"X-Request-Id": mine})
            expect.problem(answer, "unavailable", request_id=mine, closed=True)
        compose("start", "python_api", "node_api")
        deadline = time.monotonic() + 60
        while api.get("/readyz").status != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.clause("COMPOSE-06", "OPS-23", "OPS-19")
@pytest.mark.parametrize(("before", "after"), [("python", "node"), ("node", "python")])
def test_a_rolling_change_over_behind_the_gateway(before: str, after: str) -> None:
    up(f"--scale={before}_api=3", f"--scale={after}_api=1", "--no-recreate")
    with Load([GATEWAY]) as load:
        load.await_more()
        for count in (2, 3):
            up(f"--scale={before}_api={4 - count}", f"--scale={after}_api={count}", "--no-recreate")
            load.await_more()
        compose("stop", f"{before}_api")
        load.await_more()
    with asking(GATEWAY) as api:
        assert_each_once(api, load.acknowledged, load.token)


@pytest.mark.clause("COMPOSE-07", "OPS-07")
def test_everything_stops_in_time_and_well() -> None:
    start = time.monotonic()
    compose("stop")
    assert time.monotonic() < start + STOP_TIMEOUT
    ended = {one["Name"]: one["State"]["ExitCode"] for one in containers()}
    assert len(ended) >= 4
    assert set(ended.values()) == {0}, ended
