"""Which services a run is about: options, markers and the fixtures that hand them to the tests.

    pytest                                    starts services by itself, see below
    pytest --target mine=http://127.0.0.1:9   asks that one instead (any number)
    pytest --gateway lb=http://127.0.0.1:8    one behind a gateway, without the clauses that only
                                              hold directly

It lies in the root since pytest, which may take an option's value for a path before it knows the
option, then has read it whatever stands on the command line.

The fixture `api` is a `Client` of a target, once for each. Without one given there are six: each
of our services on SQLite and on PostgreSQL, and `mixed`, which is both on one PostgreSQL, each
request sent to one of them at random. All of these run open; `secured` is as `mixed`, and asks
for a token. With --secured all of them do, and with ADMIN_EMAIL and ADMIN_PASSWORD in the
environment (or the file that ADMIN_PASSWORD_FILE names) those that are given are taken to.

What a service decides before it asks its store (a test that is marked `storeless`) is asked of each
language once, and of `secured`; of targets that are given it is asked of all.

A test that needs a service with other settings, or to stop one, takes `service`, `launched` or
`pair`. Whatever does not ask a target is left out where targets are given.
"""

import contextlib
import functools
import gc
import os
import random
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest

pytest.register_assert_rewrite("contract_tests.harness.expect")

# The assertions of `expect` are to be explained as a test's are, so this comes first.
from contract_tests.harness import clauses, databases, services, verdict  # noqa: E402
from contract_tests.harness.client import Client  # noqa: E402
from contract_tests.harness.databases import Engine, OwnPostgres, Postgres  # noqa: E402
from contract_tests.harness.services import Kind, NotStartedError, Service  # noqa: E402
from contract_tests.report import record  # noqa: E402

# Our services, by the names of the targets that they are.
OURS: dict[str, tuple[Kind, Engine]] = {
    f"{kind}-{engine}": (kind, engine) for engine in databases.ENGINES for kind in services.KINDS
}
MIXED = "mixed"
# As `mixed`, with everybody asked for a token: the tests come as an admin.
SECURED = "secured"
# Whom we ask what has nothing to do with the store: each language once, and with a token.
STORELESS = ("python-sqlite", "node-postgres", SECURED)

_targets = pytest.StashKey[dict[str, str]]()
_foreign = pytest.StashKey[bool]()
_gateways = pytest.StashKey[set[str]]()
_seed = pytest.StashKey[str]()
_postgres = pytest.StashKey[str]()
_started = pytest.StashKey[dict[str, list[Service]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("contract")
    for option, what in (
        ("--target", "a running service to hold to the contract"),
        ("--gateway", "the same behind a gateway, without the clauses that are marked direct"),
    ):
        group.addoption(
            option,
            action="append",
            default=[],
            metavar="NAME=URL",
            help=f"{what}, NAME=http://host:port; with commas, several that act as one; any number "
            "(without one, our own are started)",
        )
    group.addoption(
        "--compose", action="store_true", help="docker-compose.yml's tests, alone; needs Docker"
    )
    group.addoption(
        "--secured",
        action="store_true",
        help="start our own services with everybody asked for a token",
    )
    group.addoption(
        "--as-proxy",
        action="store_true",
        help="the targets trust us as a proxy (TRUSTED_PROXIES), and hear of each login that it "
        "comes from an address of its own: they need not let one address fail as often as we do",
    )
    verdict.add_options(group)
    record.add_options(group)
    group.addoption("--seed", help="of the choice among several services that act as one")


def pytest_configure(config: pytest.Config) -> None:
    services.forget_proxies()
    config.pluginmanager.register(verdict.Verdict(config))
    if config.getoption("--record"):
        config.pluginmanager.register(record.Recorder(config))
    config.addinivalue_line("markers", "clause(*ids): the clauses of CONTRACT.md that it proves")
    config.addinivalue_line(
        "markers", "settings(**env): the settings that the fixture `service` starts with"
    )
    config.addinivalue_line(
        "markers", "direct(id): of a clause, what no gateway can keep; CONTRACT.md has the reason"
    )
    config.addinivalue_line("markers", "storeless: what is decided before the store is asked")
    config.addinivalue_line(
        "markers", "engine(name): the only engine of database that the test is about"
    )
    targets, gateways = (
        dict(map(_named, config.getoption(option))) for option in ("--target", "--gateway")
    )
    try:
        services.secret("ADMIN_PASSWORD"), services.secret("AUTH_SECRET")
    except (OSError, UnicodeDecodeError) as error:
        raise pytest.UsageError(f"A secret cannot be read: {error}") from None
    worker = getattr(config, "workerinput", None)
    config.stash[_foreign] = bool(targets or gateways)
    config.stash[_gateways] = set(gateways)
    config.stash[_targets] = targets | gateways or dict.fromkeys([*OURS, MIXED, SECURED], "")
    config.stash[_seed] = config.getoption("--seed") or str(random.randrange(10**6))
    config.stash[_started] = {}
    if worker:
        config.stash[_targets] = worker["targets"]
        config.stash[_seed] = worker["seed"]
        config.stash[_postgres] = worker["postgres"]


def pytest_report_header(config: pytest.Config) -> str:
    names = [*config.stash[_targets]]
    return f"targets: {', '.join(names)}; --seed {config.stash[_seed]}"


def pytest_sessionstart(session: pytest.Session) -> None:
    """In the plain process or the controller: check the markers, see to the targets."""
    config = session.config
    if hasattr(config, "workerinput"):
        return
    if found := clauses.complaints():
        raise pytest.UsageError("\n".join(found))
    if config.option.collectonly or config.option.compose:
        return
    if config.stash[_foreign]:
        for name, urls in config.stash[_targets].items():
            client = Client(
                urls, name, _login(config, name), as_proxy=config.getoption("--as-proxy")
            )
            with contextlib.closing(client):
                _reach(client)
    else:
        _start(config)
        if config.getoption("dist", "no") != "no":
            _await_ready(config)  # workers are told where everything is


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect while our services start. What is collected stays: looking for garbage takes a tenth."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """In the plain process: nothing is asked before our services are ready."""
    if session.items:
        _await_ready(session.config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Of pytest-xdist, in the controller: tell a worker where everything is."""
    stash = node.config.stash
    node.workerinput["targets"] = stash[_targets]
    node.workerinput["seed"] = stash[_seed]
    node.workerinput["postgres"] = stash.get(_postgres, "")


def pytest_unconfigure(config: pytest.Config) -> None:
    running = _running(config)
    for service in running:
        service.process.terminate()  # all of them, before the first is waited for
    for service in running:
        try:
            service.wait()
        except AssertionError as error:  # the tests of OPS judge it, a run does not
            print(f"\n{error}")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for service in _running(config):
        if service.process.poll() is not None:
            terminalreporter.section(f"the {service.kind} service has died")
            terminalreporter.write(service.log()[-10_000:])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "api" in metafunc.fixturenames:
        config = metafunc.config
        targets = [*config.stash[_targets]]
        if not config.stash[_foreign] and metafunc.definition.get_closest_marker("storeless"):
            targets = [*STORELESS]
        metafunc.parametrize("api", targets, ids=targets, indirect=True)
    if "guarded" in metafunc.fixturenames:
        names = _guarded(metafunc.config)
        metafunc.parametrize("guarded", names, ids=names, indirect=True)
    if "_ours" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("engine")
        names = [name for name in OURS if not marker or OURS[name][1] == marker.args[0]]
        metafunc.parametrize("_ours", names, ids=names, indirect=True)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Of the files with tests only Compose's with --compose, and all others without it."""
    if not collection_path.match("test_*.py"):
        return None
    return (collection_path.name == "test_compose.py") != config.option.compose or None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not about a target where targets are given."""
    if config.stash[_foreign]:
        about = [item for item in items if "_clients" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(about)])
        items[:] = about


@pytest.fixture(scope="session")
def _clients(pytestconfig: pytest.Config) -> Iterator[dict[str, Client]]:
    targets = pytestconfig.stash[_targets]
    as_proxy = pytestconfig.getoption("--as-proxy")
    clients = {
        name: Client(urls, name, _login(pytestconfig, name), as_proxy=as_proxy)
        for name, urls in targets.items()
    }
    yield clients
    for client in clients.values():
        client.close()


@pytest.fixture
def api(
    request: pytest.FixtureRequest, pytestconfig: pytest.Config, _clients: dict[str, Client]
) -> Client:
    """A client of the target; the test runs once for each target."""
    _skip_what_is_direct(request)
    client = _clients[request.param]
    client.begin(f"{pytestconfig.stash[_seed]} {request.node.nodeid}")
    return client


@pytest.fixture(scope="session")
def _of_the_secured(pytestconfig: pytest.Config) -> Iterator[dict[str, Client]]:
    urls = pytestconfig.stash[_targets].get(SECURED, "").split(",")
    clients = {}
    if not pytestconfig.stash[_foreign]:
        clients = {
            f"{SECURED}-{kind}": Client(url, f"{SECURED}-{kind}", services.ADMIN)
            for kind, url in zip(services.KINDS, urls, strict=True)
        }
    yield clients
    for client in clients.values():
        client.close()


@pytest.fixture
def guarded(
    request: pytest.FixtureRequest,
    _clients: dict[str, Client],
    _of_the_secured: dict[str, Client],
) -> Client:
    """A client of a secured target, which comes as an admin; once for each, and each service."""
    _skip_what_is_direct(request)
    client = (_clients | _of_the_secured)[request.param]
    client.begin(request.node.nodeid)
    return client


@pytest.fixture
def known_secret(pytestconfig: pytest.Config) -> None:
    """Skips a test that signs tokens itself, where a target's AUTH_SECRET isn't known."""
    if pytestconfig.stash[_foreign] and not services.secret("AUTH_SECRET"):
        pytest.skip("its secret is not known")


@pytest.fixture
def _ours(request: pytest.FixtureRequest) -> tuple[Kind, Engine]:
    return OURS[request.param]


@pytest.fixture
def started_by_us(_ours: tuple[Kind, Engine]) -> Kind:
    """Which of our services a test is about that starts it; once for each and each engine."""
    return _ours[0]


@pytest.fixture(scope="session")
def new_database(pytestconfig: pytest.Config) -> Iterator[Callable[[Engine, Path], str]]:
    """A function that gives the URL of a new database; SQLite's lies in the directory given."""
    server = Postgres(pytestconfig.stash[_postgres])
    created: list[str] = []

    def create(engine: Engine, directory: Path) -> str:
        if engine == "sqlite":
            return databases.sqlite_url(directory / "users.db")
        created.append(server.create())
        return created[-1]

    yield create
    for url in created:
        server.drop(url)


@pytest.fixture
def spawned(
    _ours: tuple[Kind, Engine], new_database: Callable[[Engine, Path], str], tmp_path: Path
) -> Iterator[Callable[..., Service]]:
    """A function that starts a service of the test's own and does not wait for it.

    Each has its own database. Whatever still runs at the end of the test is killed.
    """
    kind, engine = _ours
    running: list[Service] = []

    def spawn(**env: str) -> Service:
        directory = tmp_path / f"{len(running)}"
        service = Service(kind, directory, env, new_database(engine, directory))
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
    request: pytest.FixtureRequest,
    _ours: tuple[Kind, Engine],
    new_database: Callable[[Engine, Path], str],
    _shared: dict[Any, Service],
    _room: Path,
) -> Service:
    """A service with the settings of `@pytest.mark.settings(NAME="value")`.

    Tests with the same settings share it, so they share no state, as with `api`: for a service
    that a test stops or breaks, take `launched`.
    """
    marker = request.node.get_closest_marker("settings")
    env = dict(marker.kwargs) if marker else {}
    key = (*_ours, *sorted(env.items()))
    if key not in _shared:
        (kind, engine), directory = _ours, _room / f"{len(_shared)}"
        url = new_database(engine, directory)
        _shared[key] = services.launch(kind, env=env, directory=directory, database_url=url)
    return _shared[key]


@pytest.fixture(params=databases.ENGINES)
def pair(
    request: pytest.FixtureRequest,
    new_database: Callable[[Engine, Path], str],
    _shared: dict[Any, Service],
    _room: Path,
) -> tuple[Client, Client]:
    """Clients of both our services, Python's and Node's, on one and the same database."""
    engine = request.param
    if ("pair", "python", engine) not in _shared:
        directory = _room / f"pair-{engine}"
        url = new_database(engine, directory)
        started = [Service(kind, directory, database_url=url) for kind in services.KINDS]
        for service in started:
            _shared["pair", service.kind, engine] = service
            service.start()
        for service in started:
            service.await_ready()
    python, node = (_shared["pair", kind, engine].api for kind in services.KINDS)
    return python, node


@pytest.fixture(scope="session")
def _shared() -> Iterator[dict[Any, Service]]:
    running: dict[Any, Service] = {}
    yield running
    for service in running.values():
        service.kill()


@pytest.fixture(scope="session")
def _room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("services")


def _skip_what_is_direct(request: pytest.FixtureRequest) -> None:
    """Where the target is behind a gateway, which can't keep what the test is about."""
    if request.param in request.config.stash[_gateways]:
        for mark in request.node.iter_markers("direct"):
            pytest.skip(f"{mark.args[0]} without a gateway only: {clauses.direct()[mark.args[0]]}")


def _login(config: pytest.Config, target: str) -> tuple[str, str] | None:
    """The admin as whom a target is asked, if it is secured."""
    if config.stash[_foreign]:
        email, password = os.environ.get("ADMIN_EMAIL", ""), services.secret("ADMIN_PASSWORD")
        return (email, password) if email and password else None
    return services.ADMIN if target == SECURED or config.getoption("--secured") else None


def _guarded(config: pytest.Config) -> list[str]:
    """The secured targets; of `secured` each of its services."""
    names = [name for name in config.stash[_targets] if _login(config, name) and name != SECURED]
    return (
        names if config.stash[_foreign] else [*names, *(f"{SECURED}-{k}" for k in services.KINDS)]
    )


def _named(text: str) -> tuple[str, str]:
    name, equals, urls = text.partition("=")
    if not name or not equals:
        raise pytest.UsageError(f"{text}: a target must be NAME=URL")
    try:
        with contextlib.closing(Client(urls, name)) as client:
            return name, ",".join(client.urls)
    except ValueError as error:
        raise pytest.UsageError(f"{text}: {error}") from None


def _reach(client: Client) -> None:
    """UsageError unless something at each of the URLs answers HTTP at all, and lets us in."""
    name = client.name
    for url in client.urls:
        try:
            status = client.at(url).get("/users").status
        except AssertionError:
            raise pytest.UsageError(f"The target {name} gives no token to ADMIN_EMAIL.") from None
        except (httpx.TransportError, OSError) as error:
            raise pytest.UsageError(
                f"The target {name} cannot be reached at {url}: {error}"
            ) from None
        if status in (401, 403):
            raise pytest.UsageError(
                f"The target {name} asks for a token: put an admin's ADMIN_EMAIL and "
                "ADMIN_PASSWORD into the environment."
            )


def _running(config: pytest.Config) -> list[Service]:
    several = config.stash.get(_started, {}).values()
    return [service for some in several for service in some if hasattr(service, "process")]


def _start(config: pytest.Config) -> None:
    """Start our services side by side."""
    room = tempfile.TemporaryDirectory(prefix="contract-")
    config.add_cleanup(room.cleanup)
    server = _server(config)
    targets = {name: [one] for name, one in OURS.items()}
    targets[MIXED] = targets[SECURED] = [OURS["python-postgres"], OURS["node-postgres"]]
    started = config.stash[_started]
    for name, some in targets.items():
        url = None
        if some[0][1] == "postgres":
            url = server.create()
            config.add_cleanup(functools.partial(server.drop, url))
        env = services.SECURED if _login(config, name) else None
        started[name] = [Service(kind, Path(room.name, name), env, url) for kind, _ in some]
    try:
        for several in started.values():
            for service in several:
                service.start()
    except NotStartedError as error:
        _give_up(config, error)


def _await_ready(config: pytest.Config) -> None:
    """Wait until our services serve; UsageError with the log of one that does not start."""
    try:
        for service in _running(config):
            service.await_ready()
    except NotStartedError as error:
        _give_up(config, error)
    for name, some in config.stash[_started].items():
        config.stash[_targets][name] = ",".join(service.url for service in some)


def _give_up(config: pytest.Config, error: NotStartedError) -> NoReturn:
    for service in _running(config):
        service.kill()
    config.stash[_started].clear()
    raise pytest.UsageError(str(error)) from None


def _server(config: pytest.Config) -> Postgres:
    """The PostgreSQL of TEST_DATABASE_URL, or one of our own for as long as this run takes."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        server = Postgres(given)
    else:
        server = own = OwnPostgres()
        config.add_cleanup(own.close)
        own.start()
    config.stash[_postgres] = server.url
    return server
