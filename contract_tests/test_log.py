"""LOG: what becomes of a service whose log can't be written, and of the lines then."""

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract_tests.harness import expect, services
from contract_tests.harness.client import Client
from contract_tests.harness.services import Kind, NotStartedError, Service

pytestmark = [
    pytest.mark.engine("sqlite"),
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /dev/full"),
]

# Starts a service whose stdout, and stderr if one is given, are these descriptors.
Start = Callable[..., Service]


@contextlib.contextmanager
def serving() -> Iterator[None]:
    """That what is asked within is answered, is what a test is about."""
    try:
        yield
    except (NotStartedError, OSError, httpx.TransportError) as error:
        raise AssertionError(f"It does not serve: {error}") from error


@pytest.fixture
def logging_to(started_by_us: Kind, tmp_path: Path) -> Iterator[Start]:
    """A function that starts a service with these as its stdout and stderr, and closes ours."""
    running: list[Service] = []

    def start(stdout: int, stderr: int | None = None, **env: str) -> Service:
        port = services.free_port()
        service = Service(started_by_us, tmp_path, {"PORT": str(port), **env})
        service.start(stdout, stderr)
        running.append(service)
        for descriptor in {stdout, stderr} - {None}:
            os.close(descriptor or 0)
        with serving():
            service.await_ready(f"http://127.0.0.1:{port}")
        return service

    yield start
    for service in running:
        service.kill()


def full() -> int:
    """A disk that is full."""
    return os.open("/dev/full", os.O_WRONLY)


def abandoned() -> int:
    """A pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def ask(api: Client, count: int, name: str = "ask") -> list[str]:
    """The ids of so many requests, each of which was answered; their lines are of 300 bytes."""
    sent = [f"{name}-{number}-".ljust(128, "x") for number in range(count)]
    with serving(), api.connect(10.0) as connection:
        for start in range(0, count, 50):
            batch = sent[start : start + 50]
            one = [api.message("GET", "/healthz", [("X-Request-Id", each)]) for each in batch]
            connection.send(b"".join(one))
            for each in batch:
                expect.body(connection.read(), 200, b'{"status":"ok"}', request_id=each)
    return sent


class Reader(threading.Thread):
    """Reads a pipe to its end."""

    def __init__(self, pipe: int) -> None:
        super().__init__()
        self._pipe = pipe
        self._parts: list[bytes] = []

    def run(self) -> None:
        """Read until nobody can write any more."""
        while part := os.read(self._pipe, 65536):
            self._parts.append(part)
        os.close(self._pipe)

    def lines(self) -> list[dict[str, Any]]:
        """All lines; each is one JSON object."""
        self.join(services.STOP_TIMEOUT)
        return [json.loads(line) for line in b"".join(self._parts).splitlines()]


def asked(lines: list[dict[str, Any]], name: str = "ask") -> list[str]:
    """The ids of the lines' requests."""
    return [one["request_id"] for one in lines if one.get("request_id", "").startswith(f"{name}-")]


def check_that_it_serves(service: Service) -> None:
    """More requests than the lines of which a pipe can hold; what was created is there."""
    ask(service.api, 500)
    with serving():
        created = [service.api.create() for _ in range(20)]
        for user in created:
            assert service.api.get(f"/users/{user['id']}").json() == user


@pytest.mark.clause("LOG-05")
@pytest.mark.parametrize(
    ("output", "reason", "processes"),
    [(full, "ENOSPC", "1"), (full, "ENOSPC", "2"), (abandoned, "EPIPE", "1")],
    ids=["full", "full for two", "abandoned"],
)
def test_a_log_that_cannot_be_written_stops_nothing(
    logging_to: Start, output: Callable[[], int], reason: str, processes: str
) -> None:
    service = logging_to(output(), WEB_CONCURRENCY=processes)
    check_that_it_serves(service)
    assert service.stop() == 0
    said = service.stderr().splitlines()
    assert set(said) == {f"The log cannot be written ({reason})."}
    assert len(said) <= (1 if processes == "1" else 3), "it is said once, by each process"


@pytest.mark.clause("LOG-05")
@pytest.mark.parametrize("output", [full, abandoned])
def test_nor_does_one_that_cannot_be_told_of(logging_to: Start, output: Callable[[], int]) -> None:
    service = logging_to(output(), output())
    check_that_it_serves(service)
    assert service.stop() == 0


@pytest.mark.clause("LOG-05", "OPS-07")
@pytest.mark.parametrize(
    ("stream", "processes"),
    [(stream, processes) for stream in ("pipe", "socket", "terminal") for processes in "12"],
)
def test_nor_does_one_that_nobody_reads(logging_to: Start, stream: str, processes: str) -> None:
    if stream == "pipe":
        reader, writer = os.pipe()
    elif stream == "socket":
        reader, writer = (one.detach() for one in socket.socketpair())
    else:
        reader, writer = os.openpty()
    try:
        # As the one of a container: one for both.
        service = logging_to(writer, writer, WEB_CONCURRENCY=processes)
        check_that_it_serves(service)
        if processes == "2" and sys.platform == "linux":
            before = service.workers()
            os.kill(min(before), signal.SIGKILL)
            deadline = time.monotonic() + services.START_TIMEOUT
            while len(service.workers()) < 2 or service.workers() == before:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            check_that_it_serves(service)
        assert service.stop() == 0
    finally:
        os.close(reader)


@pytest.mark.clause("LOG-05", "OPS-03")
@pytest.mark.parametrize("output", [full, abandoned])
def test_the_exit_code_is_the_same_when_nobody_can_be_told(
    started_by_us: Kind, tmp_path: Path, output: Callable[[], int]
) -> None:
    service = Service(started_by_us, tmp_path, {"PORT": "http"})
    streams = [output(), output()]
    service.start(*streams)
    for stream in streams:
        os.close(stream)
    assert service.wait(services.START_TIMEOUT) == 1


@pytest.mark.clause("LOG-05")
def test_a_log_that_is_closed_is_no_other_file(started_by_us: Kind, tmp_path: Path) -> None:
    """A shell's `>&-`: the next file that is opened would be given stdout's number."""
    port = services.free_port()
    service = Service(started_by_us, tmp_path, {"PORT": str(port)})
    service.through('exec "$@" <&- >&- 2>&-')
    service.start()
    try:
        service.await_ready(f"http://127.0.0.1:{port}")
        check_that_it_serves(service)
        assert service.stop() == 0
    finally:
        service.kill()
    assert b"request_id" not in service.file.read_bytes()


@pytest.mark.clause("LOG-06")
@pytest.mark.parametrize("processes", ["1", "2"])
def test_nothing_is_missing_after_a_normal_end(logging_to: Start, processes: str) -> None:
    """The pipe holds a fifth of the lines; it is read when the service is told to end."""
    reader, writer = os.pipe()
    service = logging_to(writer, WEB_CONCURRENCY=processes)
    sent = ask(service.api, 1000)
    reading = Reader(reader)
    service.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    reading.start()
    assert service.wait() == 0
    assert asked(reading.lines()) == sent


@pytest.mark.clause("LOG-06")
def test_kill_9_takes_along_no_line_of_an_earlier_answer(launched: Callable[..., Service]) -> None:
    service = launched()
    sent = [f"ask-{number}" for number in range(30)]
    with service.api.connect() as connection:
        for each in sent:
            connection.send(service.api.message("GET", "/readyz", [("X-Request-Id", each)]))
            assert connection.read().status == 200
    service.kill()
    lines = [json.loads(line) for line in service.stdout().splitlines()]
    assert asked(lines)[: len(sent) - 1] == sent[:-1]


@pytest.mark.clause("LOG-07")
def test_what_is_dropped_is_counted(logging_to: Start) -> None:
    """1.5 MB of lines for a pipe that nobody reads; then it is read."""
    reader, writer = os.pipe()
    service = logging_to(writer)
    sent = ask(service.api, 5000, "early")
    reading = Reader(reader)
    reading.start()
    time.sleep(1)
    later = ask(service.api, 3, "later")
    assert service.stop() == 0
    lines = reading.lines()
    places = [at for at, line in enumerate(lines) if line["message"] == "log lines dropped"]
    assert len(places) == 1
    (place,) = places
    told = lines[place]
    assert set(told) == {"time", "level", "message", "count"}
    assert told["level"] == "warning"
    kept = asked(lines[:place], "early")
    # Besides these, our own waiting for readiness is logged, before them.
    assert kept == sent[: len(kept)]
    assert told["count"] == len(sent) - len(kept)
    assert asked(lines[place:], "later") == later
    bytes_kept = sum(len(json.dumps(line)) + 1 for line in lines[:place])
    assert 2**20 < bytes_kept < 2**20 + 2**18


@pytest.mark.clause("LOG-07", "LOG-05")
def test_a_reader_that_is_slow_loses_nothing(logging_to: Start) -> None:
    """What waits in memory is written as soon as there is room, without another request."""
    reader, writer = os.pipe()
    service = logging_to(writer)
    sent = ask(service.api, 1000)
    reading = Reader(reader)
    reading.start()
    time.sleep(1)
    service.kill()
    with contextlib.closing(service.api):
        assert asked(reading.lines()) == sent


REFUSED = (
    b"GET /users HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"POST /users HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    b"GET /events#x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % (b"a" * 20_000),
    b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % (b"a" * 200_000),
    b"CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"x\r\n\r\n",
)


@pytest.mark.engine("sqlite")
@pytest.mark.clause("LOG-01", "METRICS-02")
def test_a_refusal_has_one_line(launched: Callable[..., Service]) -> None:
    """Whichever of the server's parts finds first that it won't do, the others add none."""
    service = launched()
    for data in REFUSED:
        expect.problem(
            service.api.raw(data),
            "headers-too-large" if len(data) > 10_000 else "bad-request",
            closed=True,
        )
    lines = map(json.loads, service.stdout().splitlines())
    refused = [line["status"] for line in lines if line.get("route") == "none"]
    assert len(refused) == len(REFUSED)
