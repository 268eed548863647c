"""What can one client do to the others? `make attack` tries, and measures another client's wait.

Each service runs secured, with its defaults, and is attacked in one way after the other. Meanwhile
somebody else asks for `/healthz` and for a user, in a process of their own. An attack has worked
where their p99 is more than 5 times what it is without one (and more than anybody would put down
to chance), or where the service keeps more than 20 MiB afterwards that it didn't have at work.
"""

import argparse
import contextlib
import itertools
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from contract_tests.harness import expect, services
from contract_tests.harness.client import Client
from contract_tests.harness.services import Service
from contract_tests.harness.wire import Connection, message

MOST_TIMES = 5.0
MOST_MIB = 20.0
# A wait that nobody notices, whatever it is a multiple of.
UNNOTICED_MS = 10.0
SETTLE_SECONDS = 2.0
TIMEOUT = 5.0

JSON = ("Content-Type", "application/json")
BUNDLE = "/docs/swagger-ui-bundle.js"
DEFAULTS = {"ARGON2_MEMORY": "", "ARGON2_ITERATIONS": "", "REGISTRATIONS_PER_ADDRESS": ""}

_addresses = itertools.count(1)


def someone() -> tuple[str, str]:
    """The header field of a client who comes from a new address, through a proxy."""
    number = next(_addresses)
    return "X-Forwarded-For", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


# The attacks: each goes on until it is told that the time is over.

Attack = Callable[[Client, Callable[[], bool]], None]


def bodies(api: Client, over: Callable[[], bool]) -> None:
    """Bodies of 64 KB that are slow to read, one after the other."""
    name = f"x{' ' * 65_000}y"
    slow = [expect.render({"name": name}), b"[" * 65536, b'{"a":' * 13107]
    slow.append(expect.render({f"{number:x}": 0 for number in range(7000)}))
    with api.connect(TIMEOUT) as connection:
        for body in itertools.cycle(slow):
            if over():
                return
            connection.send(api.message("POST", "/users", [JSON], body))
            connection.read("POST")


def pipelined(api: Client, over: Callable[[], bool]) -> None:
    """1,200 requests for half a gigabyte on one connection, and nothing read."""
    with api.connect(TIMEOUT) as connection:
        with contextlib.suppress(OSError):
            connection.send(api.message("GET", BUNDLE) * 1200)
        wait(over)


def slow_readers(api: Client, over: Callable[[], bool]) -> None:
    """50 clients who read an answer at one byte a second."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(api.connect(TIMEOUT)) for _ in range(50)]
        for connection in connections:
            connection.send(api.message("GET", BUNDLE))
        while not over():
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection._socket.recv(1)
            time.sleep(1)


def silent(api: Client, over: Callable[[], bool]) -> None:
    """200 connections that say nothing, or only that a line is empty."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(api.connect(TIMEOUT)) for _ in range(200)]
        while not over():
            for connection in connections[::2]:
                with contextlib.suppress(OSError):
                    connection.send(b"\r\n")
            time.sleep(1)


def passwords(api: Client, over: Callable[[], bool]) -> None:
    """50 registrations with passwords at once, from as many addresses, again and again."""
    while not over():
        api.at_once(
            [registration(api, someone(), password="a long enough password") for _ in range(50)]
        )


def registrations(api: Client, over: Callable[[], bool]) -> None:
    """Creations from one address, as many as it likes."""
    address, created = someone(), 0
    with api.connect(TIMEOUT) as connection:
        while not over():
            connection.send(registration(api, address))
            created += connection.read("POST").status == 201
    assert created <= 20, f"{created} users from one address"


def registration(api: Client, address: tuple[str, str], **members: str) -> bytes:
    """A creation without a token."""
    content = expect.render({**expect.somebody(), **members})
    length = ("Content-Length", str(len(content)))
    return message("POST", "/users", [("Host", api.host), JSON, address, length], content)


def wait(over: Callable[[], bool]) -> None:
    """Do nothing more."""
    while not over():
        time.sleep(0.1)


def _over(end: float) -> bool:
    return time.monotonic() > end


ATTACKS: dict[str, Attack] = {
    "slow bodies": bodies,
    "pipelined, not read": pipelined,
    "slow readers": slow_readers,
    "silent connections": silent,
    "passwords": passwords,
    "registrations": registrations,
}


# The other client


def work(api: Client, over: Callable[[], bool]) -> None:
    """What an admin may do, 50 users at once: it has the heap grow to what a busy service keeps."""
    while not over():
        somebodies = [expect.render(expect.somebody()) for _ in range(50)]
        api.at_once([api.message("POST", "/users", [JSON], one) for one in somebodies])


def waits(url: str, authorization: str, path: str, seconds: float) -> dict[str, list[float]]:
    """The milliseconds that answers took, by path; one that took too long counts as that long."""
    found: dict[str, list[float]] = {"/healthz": [], path: []}
    parts = urlsplit(url)
    end = time.monotonic() + seconds
    with contextlib.ExitStack() as stack:
        connection = None
        for asked in itertools.cycle(found):
            if time.monotonic() > end:
                break
            begin = time.perf_counter()
            try:
                if connection is None:
                    connection = Connection(parts.hostname or "", parts.port or 80, TIMEOUT)
                    stack.callback(connection.close)
                fields = [("Host", parts.netloc), ("Authorization", authorization)]
                connection.send(message("GET", asked, fields))
                connection.read()
            except OSError:
                connection = None
            found[asked].append((time.perf_counter() - begin) * 1000)
            time.sleep(0.005)
    return found


def quantile(values: list[float], percent: int) -> float:
    """So many percent of the values are at most this."""
    return statistics.quantiles(values, n=100)[percent - 1] if len(values) > 1 else values[0]


def mebibytes(service: Service) -> float:
    """What the service has of the memory (Linux)."""
    status = Path(f"/proc/{service.process.pid}/status").read_text("ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


# All of it


def rows(service: Service, attacks: list[str], seconds: float) -> Iterator[tuple[str, bool]]:
    """The table's rows for one service, and of each whether the attack has worked."""
    api = service.api
    user = f"/users/{api.create()['id']}"
    # The attackers have no token.
    attacker = Client(service.url, "attacker")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:

        def other(how_long: float) -> dict[str, list[float]]:
            return pool.submit(waits, service.url, api.authorization, user, how_long).result()

        other(1)
        work(api, partial(_over, time.monotonic() + seconds))
        for name in attacks:
            # Anew for each: what else the machine does changes.
            # What the service makes once and keeps (the threads that hash, say) is no growth.
            ATTACKS[name](attacker, partial(_over, time.monotonic() + seconds / 5))
            idle = other(seconds / 2)
            before = mebibytes(service)
            end = time.monotonic() + seconds
            asking = pool.submit(waits, service.url, api.authorization, user, seconds)
            broken = ""
            try:
                ATTACKS[name](attacker, partial(_over, end))
            except AssertionError as error:
                broken = f"  {error}"
            except OSError:  # a service that cuts an attacker off is right
                time.sleep(max(0.0, end - time.monotonic()))
            attacked = asking.result()
            time.sleep(SETTLE_SECONDS)
            grown = mebibytes(service) - before
            for path, label in (("/healthz", "/healthz"), (user, "/users/{id}")):
                was, now = (quantile(found[path], 99) for found in (idle, attacked))
                times = now / was
                waited = times > MOST_TIMES and now > UNNOTICED_MS
                worked = waited or grown > MOST_MIB or broken != ""
                row = f"{name:20} {service.kind:7} {label:12} {was:8.1f} {now:8.1f} {times:7.1f}"
                row += f" {before:8.1f} {before + grown:8.1f}{'  WORKED' if worked else ''}{broken}"
                yield row, worked
    attacker.close()


def main() -> int:
    """Attack both; the exit code is 1 where an attack has worked."""
    parser = argparse.ArgumentParser(prog="make attack", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10, help="how long each attack lasts")
    parser.add_argument("--only", nargs="+", choices=ATTACKS, default=[*ATTACKS], help="some")
    options = parser.parse_args()
    print(
        f"{'attack':20} {'service':7} {'asked':12} {'p99 idle':>8} {'attacked':>8} {'times':>7}"
        f" {'MiB':>8} {'after':>8}"
    )
    code = 0
    with contextlib.ExitStack() as stack:
        room = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for kind in services.KINDS:
            env = services.SECURED | DEFAULTS
            service = services.launch(kind, env=env, directory=room / kind)
            stack.callback(service.kill)
            for row, worked in rows(service, options.only, options.seconds):
                print(row, flush=True)
                code |= worked
            service.kill()
    return code


if __name__ == "__main__":
    sys.exit(main())
