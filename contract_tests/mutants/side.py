"""One service's run: pytest, once, over every test that the mutants' clauses name.

pytest collects as always; then, in place of its own loop, the tests of each mutant run with the
mutant planted, file by file, each file up to the first test that minds.

    python -m contract_tests.mutants.side node latin_1 unordered_ties

What came of each is printed as one JSON object a line, at the end the control: which of the tests
that minded fail on what is shipped, too.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from contract_tests.harness import clauses, services
from contract_tests.harness.databases import OwnPostgres
from contract_tests.harness.processes import die_with_parent
from contract_tests.harness.services import ROOT, Kind, NotStartedError, Service
from contract_tests.mutants.inside import INSIDE, Inside, copied
from contract_tests.mutants.wire import WIRE, Fault

# Tests of what takes another machine: a browser.
NOT_HERE = {"chrome"}
# Of processes and how they end: there nothing can stand in between.
WITHOUT_PROXY = {"test_faults.py", "test_lifecycle.py"}


class Proxy:
    """The proxy, as a process that is told what to do; see `proxy`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "contract_tests.mutants.proxy"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 (no thread runs here)
        )

    def tell(self, **order: Any) -> Any:
        """Give an order, and wait until it is obeyed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(order), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def fired(self) -> int:
        """How often the fault has changed something."""
        return int(self.tell()["fired"])

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


class Side:
    """A plugin of pytest: the loop over mutants in place of the one over tests."""

    def __init__(
        self,
        kind: Kind,
        mutants: list[str],
        out: Any,
        *,
        stop_early: bool = False,
        control_alone: bool = False,
    ) -> None:
        self.kind = kind
        self.mutants: list[Fault | Inside] = [WIRE.get(name) or INSIDE[name] for name in mutants]
        self.out = out
        self.stop_early = stop_early
        self.control_alone = control_alone
        self.items: list[pytest.Item] = []
        self.proxied = False
        self.raised: list[pytest.ExceptionInfo[BaseException]] = []

    # Before: a PostgreSQL, a service, the proxy before it, and all tests

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Start them; the target is the proxy."""
        room = TemporaryDirectory(prefix="mutants-")
        config.add_cleanup(room.cleanup)
        self.room = Path(room.name)
        self.postgres = OwnPostgres()
        config.add_cleanup(self.postgres.close)
        self.postgres.start()
        self.proxy = Proxy()
        config.add_cleanup(self.proxy.close)
        directory = self.room / "shipped"
        self.service = services.launch(self.kind, env=services.SECURED, directory=directory)
        config.add_cleanup(self.service.kill)
        url = self.proxy.tell(listen=self.service.url)["url"]
        config.option.target = [f"{self.kind}={url}"]
        os.environ.update(services.SECURED)
        self._have_services_proxied()

    def _have_services_proxied(self) -> None:
        """Put a proxy before the services that tests start too, while a fault of the wire is on."""
        listening = Service._listening
        proxies: dict[str, str] = {}

        def behind(service: Service) -> str | None:
            url = listening(service)
            if url is None or not self.proxied:
                return url
            if url not in proxies:
                proxies[url] = self.proxy.tell(listen=url)["url"]
            return proxies[url]

        Service._listening = behind  # type: ignore[method-assign, assignment]

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Keep what is left out where targets are given."""
        self.items = [*items]
        conftest = next(
            plugin
            for plugin in config.pluginmanager.get_plugins()
            if getattr(plugin, "__name__", "").endswith("conftest") and hasattr(plugin, "_postgres")
        )
        config.stash[conftest._postgres] = self.postgres.url

    # The loop

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> bool:
        """Run the tests of every mutant, and those that minded once more without it."""
        minded: dict[str, pytest.Item] = {}
        # What minds a fault of the wire is behind the proxy once more.
        wired: set[str] = set()
        if self.control_alone:
            for mutant in self.mutants:
                found = {name_of(item): item for item in self._selected(mutant)}
                minded |= found
                wired |= set() if isinstance(mutant, Inside) else set(found)
        for mutant in [] if self.control_alone else self.mutants:
            begin = time.monotonic()
            killers, ran, others = self._try(mutant, minded)
            wired |= set() if isinstance(mutant, Inside) else set(killers)
            self._tell(
                mutant=mutant.name,
                killers=killers,
                ran=ran,
                others=others,
                seconds=time.monotonic() - begin,
            )
        begin = time.monotonic()
        control = {}
        for node, item in minded.items():
            self.proxied = node in wired
            if (said := self._run(item)) not in ("", "skipped"):
                control[node] = said
        self.proxied = False
        self._forget()
        self._tell(control=control, ran=[*minded], seconds=time.monotonic() - begin)
        return True

    def _tell(self, **what: Any) -> None:
        print(json.dumps(what), file=self.out, flush=True)

    def _forget(self) -> None:
        """End what the tests share, their services and clients: the next begins with its own."""
        self.items[0].session._setupstate.teardown_exact(None)

    def _try(
        self, mutant: Fault | Inside, minded: dict[str, pytest.Item]
    ) -> tuple[list[str], int, list[str]]:
        """The tests that mind, how many ran, and what went wrong in another way."""
        killers: list[str] = []
        others: list[str] = []
        ran = 0
        with contextlib.suppress(NotStartedError), self._planted(mutant):
            done: set[str] = set()
            for item in self._selected(mutant):
                file = item.path.name
                if file in done:
                    continue
                before = self.proxy.fired()
                said = self._run(item)
                ran += 1
                if not said:
                    continue
                fired = isinstance(mutant, Inside) or self.proxy.fired() > before
                if said == "AssertionError" and fired:
                    node = name_of(item)
                    killers.append(node)
                    minded[node] = item
                    done.add(file)
                    if self.stop_early:
                        break
                else:
                    others.append(f"{name_of(item)}: {said}{'' if fired else ' (not fired)'}")
            self._forget()
        return killers, ran, others

    def _selected(self, mutant: Fault | Inside) -> list[pytest.Item]:
        """The tests of its clause that can run here.

        Those that ask a target come first, and those on PostgreSQL last: most mutants are killed
        before these, which then cost nothing. Of the others first those that name the clause first.
        """
        places = {
            item: marker.args.index(mutant.clause)
            for item in self.items
            for marker in item.iter_markers("clause")
            if mutant.clause in marker.args
            and self._is_about(item, inside=isinstance(mutant, Inside))
        }
        return sorted(
            places, key=lambda item: (not asks_target(item), is_on_postgres(item), places[item])
        )

    def _is_about(self, item: pytest.Item, *, inside: bool) -> bool:
        if not inside and item.path.name in WITHOUT_PROXY:
            return False
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & NOT_HERE:
            return False
        if asks_target(item):
            return True
        if "_ours" in fixtures:
            return str(params(item)["_ours"]).startswith(f"{self.kind}-")
        return inside and params(item).get("kind", self.kind) == self.kind

    def _run(self, item: pytest.Item) -> str:
        """Empty where it passes, else the kind of error, `AssertionError` where it is the test's."""
        self.raised.clear()
        # As if a test of another file came next: what lasts as long as the session is kept.
        ends = (self.items[0], self.items[-1])
        following = next((one for one in ends if one.path != item.path), None)
        reports = runtestprotocol(item, log=False, nextitem=following)
        failed = [report for report in reports if report.failed]
        if not failed:
            return "" if all(report.passed for report in reports) else "skipped"
        if failed[0].when != "call" or not self.raised:
            return f"error in {failed[0].when}: {failed[0].longreprtext[-300:]}"
        if self.raised[0].errisinstance((AssertionError, pytest.fail.Exception)):
            return "AssertionError"
        return self.raised[0].exconly()[:300]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> Iterator[Any]:
        """Remember what a test has raised."""
        if call.when == "call" and call.excinfo:
            self.raised.append(call.excinfo)
        return (yield)

    # Planting

    @contextlib.contextmanager
    def _planted(self, mutant: Fault | Inside) -> Iterator[None]:
        if isinstance(mutant, Fault):
            self.proxy.tell(fault=mutant.name)
            self.proxied = True
            try:
                yield
            finally:
                self.proxied = False
                self.proxy.tell(fault=None)
            return
        with copied(self.kind, mutant.patches(self.kind)) as root, self._moved(root):
            service = None
            if any(map(asks_target, self._selected(mutant))):
                directory = self.room / mutant.name
                service = services.launch(self.kind, env=services.SECURED, directory=directory)
                self.proxy.tell(upstream=service.url)
            try:
                yield
            finally:
                if service:
                    service.kill()
                    self.proxy.tell(upstream=self.service.url)

    @contextlib.contextmanager
    def _moved(self, root: Path) -> Iterator[None]:
        """Have the tests find the services, and their sources, below this root."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(services, "ROOT", root)
            for module in {getattr(item, "module", None) for item in self.items} - {None}:
                for name, value in vars(module).items():
                    if isinstance(value, Path) and value.is_relative_to(ROOT):
                        patch.setattr(module, name, root / value.relative_to(ROOT))
            yield


def name_of(item: pytest.Item) -> str:
    """How the test is called in what is printed."""
    return f"{item.path.name}::{item.name}"


def asks_target(item: pytest.Item) -> bool:
    """Whether the test is about the run's target, and not about a service of its own."""
    return "_clients" in getattr(item, "fixturenames", ())


def is_on_postgres(item: pytest.Item) -> bool:
    """Whether the test is about a service of its own on PostgreSQL."""
    own = {"instances", "server"} & set(getattr(item, "fixturenames", ()))
    return bool(own) or any(str(value).endswith("postgres") for value in params(item).values())


def params(item: pytest.Item) -> dict[str, Any]:
    """What the test is about, where it runs once for each of several."""
    callspec = getattr(item, "callspec", None)
    return dict(callspec.params) if callspec else {}


def files(mutants: list[str]) -> list[str]:
    """The files with tests of the mutants' clauses."""
    wanted = {(WIRE.get(name) or INSIDE[name]).clause for name in mutants}
    return sorted(
        {test.id.partition("::")[0] for test in clauses.tests() if wanted & {*test.clauses}}
        - {"test_compose.py"}
    )


def main(kind: Kind, *words: str) -> int:
    """Run the mutants named against one service; with --stop-early each up to the first killer."""
    mutants = [word for word in words if not word.startswith("--")]
    # Of the fuzzer's requests a few show what is planted.
    os.environ.setdefault("FUZZ", "60")
    arguments = ["-q", "-p", "no:randomly", "-p", "no:cacheprovider"]
    # A test that fails amid its work may leave something open.
    arguments += ["-p", "no:unraisableexception"]
    # What explains a failed assertion is not read here.
    arguments += ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]
    arguments += ["--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml")]
    arguments += [str(ROOT / "contract_tests" / file) for file in files(mutants)]
    out = os.fdopen(os.dup(1), "w")
    side = Side(
        kind,
        mutants,
        out,
        stop_early="--stop-early" in words,
        control_alone="--control" in words,
    )
    said = io.StringIO()
    with out, contextlib.redirect_stdout(said):
        code = pytest.main(arguments, plugins=[side])
    if code not in (0, 5):
        print(said.getvalue(), file=sys.stderr)
    return 0 if code == 5 else int(code)


if __name__ == "__main__":
    sys.exit(main("python" if sys.argv[1] == "python" else "node", *sys.argv[2:]))
