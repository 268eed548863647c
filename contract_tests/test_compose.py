"""OPS: what docker-compose.yml starts, for real. `make compose` runs these; they need Docker."""

import contextlib
import functools
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from contract_tests.harness import expect, services
from contract_tests.harness.client import Client
from contract_tests.harness.load import Load, assert_each_once

OK = b'{"status":"ok"}'
PYTHON, NODE, GATEWAY = (f"http://127.0.0.1:{port}" for port in (8000, 3000, 8080))
PROJECT = "contract-tests"
SETTINGS = {
    # The whole suite comes from one address.
    "LOGIN_FAILURES_PER_ADDRESS": "1000000",
    "REGISTRATIONS_PER_ADDRESS": "1000000",
    # Another one than that of the stack that somebody has, up or not.
    "SUBNET": "10.213.98",
}
START_TIMEOUT = 300
STOP_TIMEOUT = 10


def make_env(directory: Path) -> Path:
    """What `make env` writes where there is nothing but this; a `.env` that is there stays."""
    (directory / ".ci").mkdir(exist_ok=True)
    script = shutil.copy(services.ROOT / ".ci" / "env", directory / ".ci")
    subprocess.run([script], check=True, stdout=subprocess.PIPE)
    return directory / ".env"


def read_env(file: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in file.read_text("utf-8").splitlines())


@functools.cache
def room() -> tempfile.TemporaryDirectory[str]:
    """Where the stack's `.env` is: that of whoever runs this is not touched."""
    directory = tempfile.TemporaryDirectory(prefix="compose-")
    make_env(Path(directory.name))
    return directory


def own_env() -> Path:
    return Path(room().name, ".env")


@functools.cache
def secrets() -> dict[str, str]:
    return read_env(own_env())


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """What the Docker client prints."""
    return subprocess.run(
        ["docker", *arguments],
        cwd=services.ROOT,
        # What stands in the environment would go before what `.env` says.
        env={name: value for name, value in os.environ.items() if name not in secrets()} | SETTINGS,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=check,
    )


def compose(
    *arguments: str, check: bool = True, env: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """What Compose prints, under a project name of our own, so that nobody's users are touched."""
    own = (f"--project-name={PROJECT}", f"--env-file={env or own_env()}")
    return docker("compose", *own, *arguments, check=check)


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


def await_log(name: str, sign: str) -> str:
    """What a container has logged, once this is in it."""
    deadline = time.monotonic() + 10
    while sign not in (log := compose("logs", "--no-log-prefix", name).stdout):
        assert time.monotonic() < deadline, log
        time.sleep(0.1)
    return log


def asking(url: str) -> contextlib.closing[Client]:
    """A client for as long as it is needed, which comes as the admin."""
    login = secrets()["ADMIN_EMAIL"], secrets()["ADMIN_PASSWORD"]
    return contextlib.closing(Client(url, login=login))


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


@pytest.mark.clause("COMPOSE-08")
def test_everybody_is_asked_for_a_token() -> None:
    for url in (PYTHON, NODE, GATEWAY):
        with asking(url) as api:
            expect.problem(api.asking("").get("/users"), "unauthorized")
            authorization = api.authorization
        for other in (PYTHON, NODE, GATEWAY):
            with asking(other) as api:
                me = api.asking(authorization).get("/users/me").json()
                assert (me["email"], me["role"]) == (secrets()["ADMIN_EMAIL"], "admin")


@pytest.mark.clause("COMPOSE-08")
@pytest.mark.parametrize(
    "name", ["AUTH_SECRET", "ADMIN_EMAIL", "ADMIN_PASSWORD", "POSTGRES_PASSWORD"]
)
def test_without_a_secret_it_does_not_start(tmp_path: Path, name: str) -> None:
    others = (f"{key}={value}\n" for key, value in secrets().items() if key != name)
    for text in ("".join(others), ""):
        env = tmp_path / ".env"
        env.write_text(text, "utf-8")
        ended = compose("up", check=False, env=env)
        assert ended.returncode != 0
        (line,) = ended.stdout.splitlines()
        assert line.endswith('is missing a value: run "make env" (or .ci/env) first'), line
        assert not text or name in line


@pytest.mark.clause("COMPOSE-08")
def test_secrets_are_made_once_and_for_nobody_else(tmp_path: Path) -> None:
    assert ".env" in (services.ROOT / ".gitignore").read_text("utf-8").splitlines()
    env = make_env(tmp_path)
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    made = read_env(env)
    assert {key for key in made if made[key] == secrets()[key]} == {"ADMIN_EMAIL"}
    assert re.fullmatch("[0-9a-f]{64}", made["AUTH_SECRET"])
    before = env.read_bytes()
    assert make_env(tmp_path).read_bytes() == before
    env.write_text("ADMIN_PASSWORD=\nPOSTGRES_PASSWORD=my own", "utf-8")
    assert (
        make_env(tmp_path)
        .read_text("utf-8")
        .startswith("ADMIN_PASSWORD=\nPOSTGRES_PASSWORD=my own\n")
    )
    assert read_env(env).keys() == made.keys()
    assert read_env(env)["POSTGRES_PASSWORD"] == "my own"
    assert read_env(env)["ADMIN_PASSWORD"]


@pytest.mark.clause("COMPOSE-09")
def test_it_tells_how_to_get_the_first_token() -> None:
    command = re.findall(r"\(.*curl.*\)", await_log("ports", "curl"))[-1]
    done = subprocess.run(
        ["sh", "-c", command], cwd=room().name, check=True, capture_output=True, text=True
    )
    token = json.loads(done.stdout)["access_token"]
    with asking(GATEWAY) as api:
        me = api.asking(f"Bearer {token}").get("/users/me").json()
        assert (me["email"], me["role"]) == (secrets()["ADMIN_EMAIL"], "admin")
    log = compose("logs").stdout
    assert [name for name, value in secrets().items() if value in log] == []


@pytest.mark.clause("COMPOSE-11", "LOG-04")
def test_nobody_logs_what_a_client_sent() -> None:
    taken, name = secrets()["ADMIN_EMAIL"], expect.unique()
    sent = [taken, name]
    for url in (PYTHON, NODE):
        with asking(url) as api:
            ada = api.create(name=name)
            sent.append(ada["email"])
            for answer in (
                api.post("/users", json={"name": name, "email": taken}),
                api.patch(f"/users/{ada['id']}", json={"email": taken}),
            ):
                expect.problem(answer, "email-taken")
    await_log("postgres", "users_email_key")
    log = compose("logs").stdout
    assert [text for text in sent if text in log] == []


# Fails to log in from the container it runs in, as somebody who says to be elsewhere.
GUESS = """
const [url, forged, chunked] = process.argv.slice(1);
const form = new URLSearchParams({ grant_type: "password", username: crypto.randomUUID(), password: "x" });
const answer = await fetch(`${url}/auth/token?x=y`, {
  method: "POST",
  headers: { "Content-Type": "application/x-www-form-urlencoded", "X-Forwarded-For": forged },
  body: chunked ? new Blob([form.toString()]).stream() : form.toString(),
  duplex: "half",
});
console.log(answer.status);
"""


@pytest.mark.clause("COMPOSE-10", "LIMIT-07", "LIMIT-08")
def test_the_gateway_alone_says_who_asks() -> None:
    forged = "203.0.113.9"
    (ports,), (gateway,) = containers("ports"), containers("gateway")
    address = ports["NetworkSettings"]["Networks"][f"{PROJECT}_default"]["IPAddress"]
    before = failures(address)
    # `ports` is a client of its own here, whose address is known, and not the host's alone.
    for url in ("http://gateway:8080", "http://python_api:8000", "http://node_api:8000"):
        for chunked in ((), ("chunked",)):
            guess = ("node", "--input-type=module", "--eval", GUESS, url, forged, *chunked)
            assert compose("exec", "-T", "ports", *guess).stdout == "400\n"
    assert failures(address) == before + 6
    # What is sent to the services' own ports it passes on, and nobody believes it either.
    for url in (GATEWAY, PYTHON, NODE):
        with asking(url) as api:
            headers = {"X-Forwarded-For": forged}
            assert api.asking("").log_in(expect.unique_email(), "x", headers=headers).status == 400
    assert failures(address) == before + 8
    for other in gateway["NetworkSettings"]["Networks"].values():
        assert failures(other["IPAddress"]) == 0
    assert failures(forged) == 0


def failures(address: str) -> int:
    """How often somebody failed to log in from there, as the database has it."""
    key = hashlib.sha256(f"address {address}".encode()).hexdigest()
    kept = ask_postgres(f"SELECT failed_at FROM login_failures WHERE key_hash = '{key}'")
    return len(json.loads(kept or "[]"))


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


@pytest.mark.clause("COMPOSE-06", "COMPOSE-11")
def test_an_instance_that_is_not_ready_is_passed_over() -> None:
    """One whose database takes no connection any more: all that it says is 503."""
    ask_postgres("CREATE DATABASE elsewhere")
    url = f"postgresql://users:{secrets()['POSTGRES_PASSWORD']}@postgres/elsewhere"
    run = ("run", "--detach", "--use-aliases", "--env", f"DATABASE_URL={url}", "node_api")
    with asking(PYTHON) as api:
        authorization = api.authorization  # it could be the one that is asked for a token
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
            admin = api.asking(authorization)
            answers = [admin.get("/users?limit=1").status for _ in range(60)]
        assert answers == [200] * 60
        await_log("gateway", '"status":"503, 200"')
        refused = [line for line in docker("logs", lost).stdout.splitlines() if ":503" in line]
        assert refused, "it was never asked"
    finally:
        docker("rm", "--force", lost)
        ask_postgres("DROP DATABASE elsewhere WITH (FORCE)")


def ask_postgres(statement: str) -> str:
    """What it answers, without a frame."""
    asked = compose("exec", "-T", "postgres", "psql", "-U", "users", "-A", "-t", "-c", statement)
    return asked.stdout.strip()


@pytest.mark.clause("COMPOSE-06", "COMPOSE-11")
def test_with_nobody_left_the_gateway_says_so() -> None:
    with asking(GATEWAY) as api:
        assert api.authorization  # as long as there is a token to be had
        compose("stop", "python_api", "node_api")
        for method in ("GET", "POST"):
            mine = expect.unique()
            target = f"/users?q={(sent := expect.unique())}"
            answer = api.request(method, target, headers={"X-Request-Id": mine})
            expect.problem(answer, "unavailable", request_id=mine, closed=True)
            assert sent not in await_log("gateway", f'"passed over","request_id":"{mine}"')
        compose("start", "python_api", "node_api")
        deadline = time.monotonic() + 60
        # `ports` and the gateway were not healthy meanwhile, and `up` would not wait for that.
        while {one["State"]["Health"]["Status"] for one in containers()} != {"healthy"}:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        expect.body(api.get("/readyz"), 200, OK)


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
