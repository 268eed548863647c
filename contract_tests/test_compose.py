"""OPS: what docker-compose.yml starts, for real. `make compose` runs these; they need Docker."""

import contextlib
import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from contract_tests.harness import expect, guides, services
from contract_tests.harness.client import Client
from contract_tests.harness.load import Load, assert_each_once

OK = b'{"status":"ok"}'
PYTHON, NODE, GATEWAY = (f"http://127.0.0.1:{port}" for port in (8000, 3000, 8080))
GUIDE = services.ROOT / "gateway" / "README.md"
PROJECT = "contract-tests"
SETTINGS = {
    # So that nobody's users are touched, nor the secrets that stand in somebody's `.env` are taken.
    "COMPOSE_PROJECT_NAME": PROJECT,
    "COMPOSE_DISABLE_ENV_FILE": "1",
    # What makes load creates users without a token, from one address.
    "REGISTRATIONS_PER_ADDRESS": "1000000",
    # Another one than that of the stack that somebody has, up or not.
    "SUBNET": "10.213.98",
}
EMAIL = "admin@example.com"
# What can be given, and is made otherwise; where it is kept.
SECRETS = {
    "AUTH_SECRET": "/secrets/auth/auth_secret",
    "ADMIN_PASSWORD": "/secrets/auth/admin_password",
    "POSTGRES_PASSWORD": "/secrets/database/password",
}
START_TIMEOUT = 300
STOP_TIMEOUT = 10


def environment() -> dict[str, str]:
    """What stands in the environment, but for what is about the stack; and our settings."""
    ours = {*SECRETS, *SETTINGS, "ADMIN_EMAIL", "LOGIN_FAILURES_PER_ADDRESS"}
    given = {name: value for name, value in os.environ.items() if name not in ours}
    return given | SETTINGS


def run(
    *command: str, check: bool = True, settings: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What a command prints."""
    return subprocess.run(
        command,
        cwd=services.ROOT,
        env=environment() | dict(settings or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=check,
    )


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """What the Docker client prints."""
    return run("docker", *arguments, check=check)


def compose(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """What Compose prints."""
    return docker("compose", *arguments, check=check)


def secret(name: str) -> str:
    """One of the stack's secrets."""
    return compose("exec", "-T", "python_api", "cat", SECRETS[name]).stdout


def kept(file: str, settings: Mapping[str, str] | None = None) -> str:
    """A secret as it lies in its volume, whether or not a service runs."""
    show = ("--no-deps", "--user=10001", "--entrypoint=cat", "secrets", file)
    command = shlex.join(("docker", "compose", "run", "--rm", *show))
    return run("sh", "-c", f"{command} 2>/dev/null", settings=settings).stdout


def containers(*names: str) -> list[dict[str, Any]]:
    """The containers of these services, of all without a name, as Docker describes them."""
    ids = compose("ps", "--all", "--quiet", *names).stdout.split()
    found: list[dict[str, Any]] = json.loads(docker("inspect", *ids).stdout)
    return found


def running() -> list[dict[str, Any]]:
    """The containers but the one that has made the secrets and ended."""
    return [one for one in containers() if one["State"]["Running"]]


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


def assert_proven(ended: subprocess.CompletedProcess[str]) -> None:
    """The suite, in its container, found nothing wrong in the running stack."""
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
    login = EMAIL, secret("ADMIN_PASSWORD")
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
                assert (me["email"], me["role"]) == (EMAIL, "admin")


@pytest.mark.clause("COMPOSE-08")
def test_secrets_are_made_once_and_those_that_are_given_count() -> None:
    other = {"COMPOSE_PROJECT_NAME": f"{PROJECT}-other", "SUBNET": "10.213.99"}

    def made(**given: str) -> dict[str, str]:
        run("docker", "compose", "run", "--rm", "secrets", settings=other | given)
        found = {name: kept(file, settings=other) for name, file in SECRETS.items()}
        return found | {"url": kept("/secrets/database/url", settings=other)}

    try:
        first = made()
        assert {name: len(first[name]) for name in SECRETS} == {
            "AUTH_SECRET": 64,
            "ADMIN_PASSWORD": 24,
            "POSTGRES_PASSWORD": 32,
        }
        assert first["url"] == f"postgresql://users:{first['POSTGRES_PASSWORD']}@postgres/users"
        assert [name for name in SECRETS if first[name] == secret(name)] == []
        assert all(re.fullmatch("[0-9a-f]+", first[name]) for name in SECRETS)
        assert made() == first
        given = {"ADMIN_PASSWORD": "correct horse", "POSTGRES_PASSWORD": "a b'/@é"}
        url = {"url": "postgresql://users:a%20b'%2F%40%C3%A9@postgres/users"}
        assert made(**given) == first | given | url
        assert made() == first | given | url
    finally:
        run("docker", "compose", "down", "--volumes", "--remove-orphans", settings=other)


# Which volumes of secrets a container sees.
MOUNTED = {
    "python_api": {"/secrets/auth", "/secrets/database"},
    "node_api": {"/secrets/auth", "/secrets/database"},
    "postgres": {"/secrets/database"},
    "gateway": set(),
    "ports": set(),
}


@pytest.mark.clause("COMPOSE-12")
def test_nobody_has_a_secret_that_they_do_not_need() -> None:
    for name, folders in MOUNTED.items():
        (container,) = containers(name)
        mounts = {mount["Destination"]: mount["RW"] for mount in container["Mounts"]}
        assert {folder for folder in mounts if folder.startswith("/secrets")} == folders, name
        assert not any(mounts[folder] for folder in folders), name
    modes = ("sh", "-c", "stat -c '%a %u' /secrets/*/*")
    assert compose("exec", "-T", "python_api", *modes).stdout == "400 10001\n" * 4
    shown = json.dumps(containers())
    assert [name for name in SECRETS if secret(name) in shown] == []


@pytest.mark.clause("COMPOSE-13")
def test_no_log_fills_the_disk() -> None:
    for container in containers():
        assert container["HostConfig"]["LogConfig"] == {
            "Type": "json-file",
            "Config": {"max-file": "3", "max-size": "10m"},
        }, container["Name"]


@pytest.mark.clause("COMPOSE-09")
def test_it_tells_how_to_get_the_first_token() -> None:
    # Once for each time that the stack came up.
    (command,) = {*re.findall(r"docker compose exec.*curl.*", await_log("ports", "Bearer"))}
    assert_token(run("sh", "-c", f"{command} 2>/dev/null").stdout)
    log = compose("logs").stdout
    assert [name for name in SECRETS if secret(name) in log] == []


def assert_token(answer: str) -> None:
    """What the token endpoint answered is a token of the admin."""
    token = json.loads(answer)["access_token"]
    with asking(GATEWAY) as api:
        me = api.asking(f"Bearer {token}").get("/users/me").json()
        assert (me["email"], me["role"]) == (EMAIL, "admin")


@pytest.mark.clause("COMPOSE-11", "LOG-04")
def test_nobody_logs_what_a_client_sent() -> None:
    with asking(PYTHON) as api:
        taken, name = api.create()["email"], expect.unique()
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


@pytest.mark.clause("COMPOSE-01", "COMPOSE-14", "OPS-15")
def test_the_running_stack_holds_the_contract() -> None:
    assert_proven(compose("run", "--rm", "contract_tests", check=False))


# The block of the guide, in its order; three of each are then asked.
BLOCK = next(block for block in guides.blocks(GUIDE) if "docker compose up --wait" in block[0])
OTHERS = {
    "docker compose up",
    "docker compose logs ports",
    "docker compose up --wait --force-recreate",
    "docker compose down --volumes",
}
(NEW_PASSWORD,) = {one for one in guides.commands() if "ALTER USER" in one}


@pytest.mark.clause("PAIR-15")
def test_every_command_that_is_shown_is_run() -> None:
    shown = {one for one in guides.commands() if one.startswith("docker compose")}
    assert shown == {re.sub(" +#.*", "", one) for one in BLOCK} | OTHERS | {NEW_PASSWORD}


@pytest.mark.clause("COMPOSE-05", "COMPOSE-14", "OPS-15", "PAIR-15")
def test_three_of_each_hold_it_as_one_service_as_the_guide_has_it() -> None:
    begin, log_in, scale, prove_ = BLOCK
    run("sh", "-c", begin)
    assert_token(run("sh", "-c", f"({log_in}) 2>/dev/null").stdout)
    run("sh", "-c", scale)
    for name in ("python_api", "node_api"):
        states = [one["State"]["Health"]["Status"] for one in containers(name)]
        assert states == ["healthy"] * 3
    assert_proven(run("sh", "-c", prove_, check=False))


@pytest.mark.clause("COMPOSE-08", "PAIR-15")
def test_another_secret_is_taken_over() -> None:
    """The services sign with it, and PostgreSQL's user has the password once it is given one."""
    given = {"AUTH_SECRET": "s" * 40, "POSTGRES_PASSWORD": "another one"}
    before = secret("POSTGRES_PASSWORD")
    with asking(PYTHON) as api:
        old = api.authorization
    again = ("sh", "-c", "docker compose up --wait --force-recreate")
    assert run(*again, check=False, settings=given).returncode != 0  # it has the one of its start
    assert kept(SECRETS["POSTGRES_PASSWORD"]) == "another one" != before
    run("sh", "-c", NEW_PASSWORD)
    run(*again, settings=given)
    with asking(NODE) as api:
        assert api.get("/users/me").status == 200
        assert api.asking(old).get("/users/me").status == 401
    up()  # whatever was given stays
    assert secret("AUTH_SECRET") == "s" * 40


@pytest.mark.clause("COMPOSE-08", "COMPOSE-09", "PAIR-15")
def test_up_alone_is_all_it_takes() -> None:
    """From nothing, in the foreground as a newcomer has it, until Ctrl-C; and it is forgotten."""
    run("sh", "-c", "docker compose down --volumes")
    with subprocess.Popen(
        ["sh", "-c", "exec docker compose up"],
        cwd=services.ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert any("It goes along with" in line for line in process.stdout)
            assert "docker compose exec" in run("sh", "-c", "docker compose logs ports").stdout
            with asking(GATEWAY) as api:
                assert api.get("/users/me").json()["email"] == EMAIL
        finally:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


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
    password = urllib.parse.quote(secret("POSTGRES_PASSWORD"), safe="")
    url = f"postgresql://users:{password}@postgres/elsewhere"
    env = ("--env", f"DATABASE_URL={url}", "--env", "DATABASE_URL_FILE=")
    with asking(PYTHON) as api:
        authorization = api.authorization  # it could be the one that is asked for a token
    lost = compose("run", "--detach", "--use-aliases", *env, "node_api").stdout.split()[-1]
    try:
        deadline = time.monotonic() + 30
        while "listening" not in (said := docker("logs", lost).stdout):
            assert time.monotonic() < deadline, said
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
        while {one["State"]["Health"]["Status"] for one in running()} != {"healthy"}:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        expect.body(api.get("/readyz"), 200, OK)


@pytest.mark.clause("COMPOSE-06", "OPS-23", "OPS-19")
@pytest.mark.parametrize(("before", "after"), [("python", "node"), ("node", "python")])
def test_a_rolling_change_over_behind_the_gateway(before: str, after: str) -> None:
    up(f"--scale={before}_api=3", f"--scale={after}_api=1", "--no-recreate")
    with asking(GATEWAY) as api:
        with Load([GATEWAY]) as load:
            load.await_more()
            for count in (2, 3):
                left = f"--scale={before}_api={4 - count}"
                up(left, f"--scale={after}_api={count}", "--no-recreate")
                load.await_more()
            compose("stop", f"{before}_api")
            load.await_more()
        assert_each_once(api, load.acknowledged, load.token)


@pytest.mark.clause("COMPOSE-07", "OPS-07")
def test_everything_stops_in_time_and_well() -> None:
    start = time.monotonic()
    compose("stop")
    assert time.monotonic() < start + STOP_TIMEOUT
    ended = {one["Name"]: one["State"]["ExitCode"] for one in containers()}
    assert len(ended) >= 6
    assert set(ended.values()) == {0}, ended
