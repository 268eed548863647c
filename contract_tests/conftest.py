"""Which services a run is about: options, markers and the fixtures that hand them to the tests.

    pytest contract_tests                                    starts both services by itself
    pytest contract_tests --target mine=http://127.0.0.1:9   asks that one instead (any number)

The fixture `api` is a `Client` of a target, once for each. A test that needs a service with other
settings, or to stop one, takes `service`, `launched` or `pair`; it is skipped with `--target`,
since only our own services can be started from here.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.register_assert_rewrite("contract_tests.harness.expect")

# The assertions of `expect` are to be explained as a test's are, so this comes first.
from contract_tests.harness import clauses, services  # noqa: E402
from contract_tests.harness.client import Client  # noqa: E402
from contract_tests.harness.services import Kind, Service  # noqa: E402

_targets = pytest.StashKey[dict[str, str]]()
_foreign = pytest.StashKey[bool]()
_started = pytest.StashKey[list[Service]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("contract").addoption(
        "--target",
        action="append",
        default=[],
        metavar="NAME=URL",
        help="a running service to hold to the contract, NAME=http://host:port; any number "
        "(without one, our own two are started)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "clause(*ids): the clauses of CONTRACT.md that it proves")
    config.addinivalue_line(
        "markers", "settings(**env): the settings that the fixture `service` starts with"
    )
    options = config.getoption("--target")
    worker = getattr(config, "workerinput", None)
    given: dict[str, str] = worker["targets"] if worker else dict(map(_named, options))
    config.stash[_foreign] = bool(options)
    config.stash[_targets] = given or dict.fromkeys(map(str, services.KINDS), "")
    config.stash[_started] = []


def pytest_sessionstart(session: pytest.Session) -> None:
    """In the plain process or the controller: check the markers, see to the targets."""
    config = session.config
    if hasattr(config, "workerinput"):
        return
    if found := clauses.complaints():
        raise pytest.UsageError("\n".join(found))
    if config.option.collectonly:
        return
    if config.stash[_foreign]:
        for name, url in config.stash[_targets].items():
            _reach(name, url)
    else:
        _start(config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Of pytest-xdist, in the controller: tell a worker where the targets are."""
    node.workerinput["targets"] = node.config.stash[_targets]


def pytest_unconfigure(config: pytest.Config) -> None:
    for service in config.stash.get(_started, []):
        try:
            service.stop()
        except AssertionError as error:  # the tests of OPS judge it, a run does not
            print(f"\n{error}")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for service in config.stash[_started]:
        if service.process.poll() is not None:
            terminalreporter.section(f"the {service.kind} service has died")
            terminalreporter.write(service.log()[-10_000:])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "api" in metafunc.fixturenames:
        targets = [*metafunc.config.stash[_targets]]
        metafunc.parametrize("api", targets, ids=targets, indirect=True)
    if "started_by_us" in metafunc.fixturenames:
        metafunc.parametrize("started_by_us", services.KINDS, ids=services.KINDS, indirect=True)


@pytest.fixture(scope="session")
def _clients(pytestconfig: pytest.Config) -> Iterator[dict[str, Client]]:
    targets = pytestconfig.stash[_targets]
    clients = {name: Client(url, name) for name, url in targets.items()}
    yield clients
    for client in clients.values():
        client.close()


@pytest.fixture
def api(request: pytest.FixtureRequest, _clients: dict[str, Client]) -> Client:
    """A client of the target; the test runs once for each target."""
    return _clients[request.param]


@pytest.fixture
def started_by_us(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Kind:
    """Which of our services a test is about that starts it; the test runs once for each."""
    if pytestconfig.stash[_foreign]:
        pytest.skip("a target that was given cannot be started from here")
    kind: Kind = request.param
    return kind


@pytest.fixture
def spawned(started_by_us: Kind, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """A function that starts a service of the test's own and does not wait for it.

    Each has its own database. Whatever still runs at the end of the test is killed.
    """
    running: list[Service] = []

    def spawn(**env: str) -> Service:
        service = Service(started_by_us, tmp_path / f"{len(running)}", env)
        running.append(service)
        service.start()
        return service

    yield spawn
    for service in running:
        service.kill()


@pytest.fixture
def launched(spawned: Callable[..., Service]) -> Callable[..., Service]:
    """As `spawned`, but the service is ready: `launched(IDEMPOTENCY_TTL="1")`."""

    def launch(**env: str) -> Service:
        service = spawned(**env)
        service.await_ready()
        return service

    return launch


@pytest.fixture
def service(
    request: pytest.FixtureRequest, started_by_us: Kind, _shared: dict[Any, Service], _room: Path
) -> Service:
    """A service with the settings of `@pytest.mark.settings(NAME="value")`.

    Tests with the same settings share it, so they share no state, as with `api`: for a service
    that a test stops or breaks, take `launched`.
    """
    marker = request.node.get_closest_marker("settings")
    env = dict(marker.kwargs) if marker else {}
    key = (started_by_us, *sorted(env.items()))
    if key not in _shared:
        _shared[key] = services.launch(started_by_us, env=env, directory=_room / f"{len(_shared)}")
    return _shared[key]


@pytest.fixture
def pair(
    pytestconfig: pytest.Config, _shared: dict[Any, Service], _room: Path
) -> tuple[Client, Client]:
    """Clients of both our services, Python's and Node's, on one and the same database."""
    if pytestconfig.stash[_foreign]:
        pytest.skip("a target that was given cannot be started from here")
    for kind in services.KINDS:
        if ("pair", kind) not in _shared:
            _shared["pair", kind] = services.launch(kind, directory=_room / "pair")
    return _shared["pair", "python"].api, _shared["pair", "node"].api


@pytest.fixture(scope="session")
def _shared() -> Iterator[dict[Any, Service]]:
    running: dict[Any, Service] = {}
    yield running
    for service in running.values():
        service.kill()


@pytest.fixture(scope="session")
def _room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("services")


def _named(text: str) -> tuple[str, str]:
    name, equals, url = text.partition("=")
    if not name or not equals:
        raise pytest.UsageError(f"--target {text}: must be NAME=URL")
    try:
        with contextlib.closing(Client(url, name)) as client:
            return name, client.url
    except ValueError as error:
        raise pytest.UsageError(f"--target {text}: {error}") from None


def _reach(name: str, url: str) -> None:
    """UsageError unless something at the URL answers HTTP at all."""
    try:
        with contextlib.closing(Client(url, name)) as client:
            client.get("/healthz")
    except (httpx.TransportError, OSError) as error:
        raise pytest.UsageError(f"The target {name} cannot be reached at {url}: {error}") from None


def _start(config: pytest.Config) -> None:
    """Start our two services side by side; UsageError with the log of one that does not start."""
    room = tempfile.TemporaryDirectory(prefix="contract-")
    config.add_cleanup(room.cleanup)
    for kind in services.KINDS:
        service = Service(kind, Path(room.name, kind))
        config.stash[_started].append(service)
    try:
        for service in config.stash[_started]:
            service.start()
        for service in config.stash[_started]:
            service.await_ready()
            config.stash[_targets][service.kind] = service.url
    except services.NotStartedError as error:
        for service in config.stash[_started]:
            if hasattr(service, "process"):
                service.kill()
        config.stash[_started].clear()
        raise pytest.UsageError(str(error)) from None
