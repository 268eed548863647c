"""METRICS and LOG: what an operator sees of the requests."""

import json
import os
import re
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from contract_tests.harness import expect
from contract_tests.harness.client import Client
from contract_tests.harness.services import Service
from contract_tests.harness.wire import Answer, message
from contract_tests.test_lifecycle import await_end, await_workers

Launch = Callable[..., Service]

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"]
COUNTER = "http_requests_total"
HISTOGRAM = "http_request_duration_seconds"

# Method, route and status, as the log and the metrics have them.
Labels = tuple[str, str, int]


def ask_everything(api: Client) -> list[tuple[Answer, Labels]]:
    """One request of each sort, with what is to be told of it."""
    somebody = expect.somebody()
    created = api.post("/users", json=somebody)
    path = f"/users/{created.json()['id']}"
    many = [(f"X-{n}", "") for n in range(100)]
    one = "/users/{id}"
    return [
        (created, ("POST", "/users", 201)),
        (api.post("/users", json=somebody), ("POST", "/users", 409)),
        (api.post("/users", content=b"{}"), ("POST", "/users", 415)),
        (api.get("/users?q=Ada%20Lovelace&limit=1"), ("GET", "/users", 200)),
        (api.get("/users?limit=0"), ("GET", "/users", 422)),
        (api.delete("/users"), ("DELETE", "/users", 405)),
        (api.options("/users"), ("OPTIONS", "/users", 204)),
        (api.get(path), ("GET", one, 200)),
        (api.get(path, headers={"If-None-Match": "*"}), ("GET", one, 304)),
        (api.head(path), ("HEAD", one, 200)),
        (api.get("/users/Ada"), ("GET", one, 422)),
        (api.head("/users/0"), ("HEAD", one, 422)),
        (api.put(path, json=somebody), ("PUT", one, 200)),
        (api.patch(path, json={"name": "New"}), ("PATCH", one, 200)),
        (api.options(path), ("OPTIONS", one, 204)),
        (api.request("PROPFIND", path), ("other", one, 405)),
        (api.request("LOCK", "/nowhere"), ("other", "none", 404)),
        (api.delete(path), ("DELETE", one, 204)),
        (api.get(path), ("GET", one, 404)),
        (api.get(f"{path}/"), ("GET", "none", 404)),
        (api.get("/Ada"), ("GET", "none", 404)),
        (api.get("/users/%41"), ("GET", "none", 404)),
        (api.options("/nowhere"), ("OPTIONS", "none", 404)),
        (api.get("/healthz"), ("GET", "/healthz", 200)),
        (api.get("/readyz"), ("GET", "/readyz", 200)),
        (api.get("/openapi.json"), ("GET", "/openapi.json", 200)),
        (api.get("/docs"), ("GET", "/docs", 200)),
        (api.get("/docs/init.js"), ("GET", "/docs/init.js", 200)),
        (api.raw(message("GET", "/healthz", [])), ("other", "none", 400)),
        (api.raw(api.message("PUT", "/healthz", many)), ("other", "none", 431)),
        (api.raw(b"GET\r\n\r\n"), ("other", "none", 400)),
    ]


def families(api: Client) -> dict[str, Any]:
    """The metrics, family by family."""
    answer = api.get("/metrics")
    expect.body(answer, 200, answer.body, kind=METRICS_TYPE)
    return {family.name: family for family in text_string_to_metric_families(answer.body.decode())}


def labels(sample: Sample) -> Labels:
    return sample.labels["method"], sample.labels["route"], int(sample.labels["status"])


def counted(api: Client) -> dict[Labels, int]:
    """What http_requests_total says."""
    return {labels(sample): int(sample.value) for sample in families(api)["http_requests"].samples}


@pytest.mark.clause("METRICS-01", "METRICS-02", "METRICS-03", "METRICS-04")
def test_every_answer_is_counted_and_measured(launched: Launch) -> None:
    api = launched().api
    asked = Counter(told for _, told in ask_everything(api))
    found = families(api)
    counter, histogram = found["http_requests"], found[HISTOGRAM]
    assert (counter.type, counter.documentation) == ("counter", "Requests answered.")
    assert histogram.type == "histogram"
    assert histogram.documentation == "Seconds from a request's head to its answer's."
    # Of our own waiting for readiness nothing is said.
    waiting = [sample for sample in counter.samples if labels(sample)[1] == "/readyz"]
    asked["GET", "/readyz", 200] = int(waiting[0].value)
    assert {labels(sample): sample.value for sample in counter.samples} == asked
    assert {sample.name for sample in counter.samples} == {COUNTER}
    assert all(set(sample.labels) == {"method", "route", "status"} for sample in counter.samples)
    for told, times in asked.items():
        measured = [sample for sample in histogram.samples if labels(sample) == told]
        buckets = {
            sample.labels["le"].removesuffix(".0"): sample.value
            for sample in measured
            if sample.name == f"{HISTOGRAM}_bucket"
        }
        assert list(buckets) == BUCKETS
        assert list(buckets.values()) == sorted(buckets.values())
        assert buckets["+Inf"] == times
        (total,) = (one.value for one in measured if one.name == f"{HISTOGRAM}_count")
        (seconds,) = (one.value for one in measured if one.name == f"{HISTOGRAM}_sum")
        assert total == times
        assert 0 < seconds < 30
    assert {labels(sample) for sample in histogram.samples} == set(asked)


@pytest.mark.engine("sqlite")
@pytest.mark.clause("METRICS-01", "METRICS-02", "METRICS-06")
def test_the_metrics_count_themselves(launched: Launch) -> None:
    api = launched().api
    of_get, of_head = api.get("/metrics"), api.head("/metrics")
    for answer in (of_get, of_head):
        fields = dict(answer.headers)
        assert answer.status == 200
        assert fields["content-type"] == METRICS_TYPE
        assert int(fields["content-length"]) > 0
    assert of_head.body == b""
    names = {name for name, _ in of_get.headers}
    assert names == {name for name, _ in of_head.headers}
    first = counted(api)
    assert first["GET", "/metrics", 200] == 1
    assert first["HEAD", "/metrics", 200] == 1
    assert counted(api)["GET", "/metrics", 200] == 2


@pytest.mark.engine("sqlite")
@pytest.mark.clause("METRICS-02", "METRICS-05")
def test_all_processes_are_counted_together(launched: Launch) -> None:
    api = launched(WEB_CONCURRENCY="3").api
    for _ in range(2):
        # Each on a connection of its own, so that every process gets some.
        answers = api.at_once([api.message("GET", "/users/0")] * 30)
        assert [answer.status for answer in answers] == [422] * 30
    for _ in range(5):
        assert counted(api)["GET", "/users/{id}", 422] == 60
    found = families(api)[HISTOGRAM].samples
    (total,) = (
        one.value
        for one in found
        if one.name == f"{HISTOGRAM}_count" and one.labels["route"] == "/users/{id}"
    )
    assert total == 60


def failed_reads(api: Client) -> int:
    """How often `GET /users/0` was asked, as the metrics have it, over a new connection."""
    answer = api.raw(api.message("GET", "/metrics"))
    expect.body(answer, 200, answer.body, kind=METRICS_TYPE)
    for family in text_string_to_metric_families(answer.body.decode()):
        if family.name == "http_requests":
            for sample in family.samples:
                if labels(sample) == ("GET", "/users/{id}", 422):
                    return int(sample.value)
    return 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process' children so")
@pytest.mark.engine("sqlite")
@pytest.mark.clause("METRICS-07")
@pytest.mark.parametrize("asked", [True, False], ids=["asked", "unasked"])
def test_no_counter_falls_when_a_process_is_killed(launched: Launch, asked: bool) -> None:
    """What was never asked for is not forgotten either, when a moment has passed."""
    service = launched(WEB_CONCURRENCY="2")
    victim = min(await_workers(service))
    answers = service.api.at_once([service.api.message("GET", "/users/0")] * 60)
    assert [answer.status for answer in answers] == [422] * 60
    if asked:
        assert failed_reads(service.api) == 60
    else:
        time.sleep(2)
    os.kill(victim, signal.SIGKILL)
    await_end({victim})
    await_workers(service)
    assert failed_reads(service.api) == 60


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process' children so")
@pytest.mark.engine("sqlite")
@pytest.mark.clause("METRICS-08")
@pytest.mark.parametrize("which", ["one", "the first"])
def test_a_process_that_stands_still_keeps_nobody_waiting(launched: Launch, which: str) -> None:
    service = launched(WEB_CONCURRENCY="2")
    workers = await_workers(service)
    still = min(workers) if which == "one" else service.process.pid
    answers = service.api.at_once([service.api.message("GET", "/users/0")] * 60)
    assert [answer.status for answer in answers] == [422] * 60
    assert failed_reads(service.api) == 60
    os.kill(still, signal.SIGSTOP)
    try:
        for _ in range(4):
            start = time.monotonic()
            assert failed_reads(service.api) == 60
            assert time.monotonic() < start + 3
    finally:
        os.kill(still, signal.SIGCONT)
    assert failed_reads(service.api) == 60


def counted_in(pids: set[int]) -> list[Path]:
    """The directories that these processes count in, if they have any."""
    variables = [
        variable.partition("=")
        for pid in pids
        for variable in Path(f"/proc/{pid}/environ").read_text("utf-8").split("\0")
    ]
    return [Path(value) for name, _, value in variables if name == "PROMETHEUS_MULTIPROC_DIR"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process' environment so")
@pytest.mark.clause("METRICS-05")
@pytest.mark.engine("sqlite")
def test_a_process_that_has_yet_to_count_stops_nothing(launched: Launch) -> None:
    """It has made its file, and nothing is in it so far."""
    service = launched(WEB_CONCURRENCY="2")
    api = service.api
    for directory in counted_in(await_workers(service)):
        (directory / "counter_1.db").touch()
    assert [api.get("/users/0").status for _ in range(12)] == [422] * 12
    assert failed_reads(api) == 12
    assert service.stop() == 0
    assert service.stderr() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process' environment so")
@pytest.mark.clause("METRICS-05")
@pytest.mark.engine("sqlite")
def test_a_file_that_is_gone_as_it_is_read_stops_nothing(launched: Launch) -> None:
    """Whoever clears up takes it between a look at the directory and one at the file."""
    service = launched(WEB_CONCURRENCY="2")
    api = service.api
    for directory in {*counted_in(await_workers(service))}:
        (directory / "counter_1.db").symlink_to("nowhere")
    answers = [api.raw(api.message("GET", "/metrics")) for _ in range(8)]
    assert [answer.status for answer in answers] == [200] * 8
    assert service.stop() == 0
    assert service.stderr() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process' environment so")
@pytest.mark.clause("METRICS-05", "OPS-45")
@pytest.mark.engine("sqlite")
@pytest.mark.parametrize("asked", [False, True])
def test_whoever_clears_up_stops_nothing(launched: Launch, tmp_path: Path, asked: bool) -> None:
    """A directory for what the processes count, if they have one, is deleted under way."""
    service = launched(WEB_CONCURRENCY="2", TMPDIR=str(tmp_path))
    api = service.api
    directories = counted_in(await_workers(service))
    if asked:
        assert [api.get("/users/0").status for _ in range(12)] == [422] * 12
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)
    for path, status in {
        "/users/0": 422,
        "/nowhere": 404,
        "/healthz": 200,
        "/metrics": 200,
    }.items():
        answers = [api.raw(api.message("GET", path)) for _ in range(12)]
        assert [answer.status for answer in answers] == [status] * 12
    assert service.stop() == 0
    assert service.stderr() == ""


@pytest.mark.clause("METRICS-05")
@pytest.mark.engine("sqlite")
def test_any_number_may_ask_at_once(launched: Launch) -> None:
    service = launched(WEB_CONCURRENCY="2")
    api = service.api
    answers = api.at_once([api.message("GET", "/metrics")] * 40)
    assert [answer.status for answer in answers] == [200] * 40
    assert service.stop() == 0
    assert service.stderr() == ""


# As if nothing could be written but the database, which nobody can forbid the tests' own user.
NOWHERE = """exec "$1" -c "
import python_api.environment, tempfile
from python_api.operation import workers
from python_api.main import main

tempfile.tempdir = workers.SHARED_MEMORY = '/nowhere'
main()
"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process' children so")
@pytest.mark.clause("METRICS-05", "OPS-45")
def test_without_a_place_each_process_counts_for_itself(tmp_path: Path) -> None:
    service = Service("python", tmp_path, {"WEB_CONCURRENCY": "2"})
    service.through(NOWHERE)
    service.start()
    try:
        service.await_ready()
        api = service.api
        for pid in await_workers(service):
            os.kill(pid, signal.SIGKILL)
            await_end({pid})
            await_workers(service)
            assert [api.raw(api.message("GET", "/metrics")).status for _ in range(8)] == [200] * 8
        assert service.stop() == 0
        assert service.stderr() == ""
    finally:
        service.kill()


@pytest.mark.engine("sqlite")
@pytest.mark.clause("LOG-01", "LOG-02", "LOG-03")
def test_every_answer_is_one_line_of_the_log(launched: Launch) -> None:
    service = launched()
    asked = ask_everything(service.api)
    lines = logged(service)
    for answer, told in asked:
        line = lines[answer.header("x-request-id") or ""]
        assert (line["method"], line["route"], line["status"]) == told
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert 0 <= line["duration_ms"] < 30_000
        assert set(line) == {
            *("time", "level", "message", "request_id"),
            *("method", "route", "status", "duration_ms"),
        }
        assert line["level"] == "info"


@pytest.mark.engine("sqlite")
@pytest.mark.clause("LOG-01")
def test_the_line_has_the_id_that_was_sent(launched: Launch) -> None:
    service = launched()
    mine = expect.unique()
    answer = service.api.get("/users/1", headers={"X-Request-Id": mine})
    expect.problem(answer, "user-not-found", request_id=mine)
    assert logged(service)[mine]["status"] == 404


@pytest.mark.engine("sqlite")
@pytest.mark.clause("LOG-01")
def test_the_duration_is_in_milliseconds(launched: Launch) -> None:
    """Of a request whose body comes a third of a second after its head."""
    service = launched()
    fields = expect.render(expect.somebody())
    whole = service.api.message("POST", "/users", [("Content-Type", "application/json")], fields)
    with service.api.connect() as connection:
        connection.send(whole[:-10])
        assert not connection.readable(0.35)
        connection.send(whole[-10:])
        answer = connection.read("POST")
    assert answer.status == 201
    assert 300 < logged(service)[answer.header("x-request-id") or ""]["duration_ms"] < 5000


@pytest.mark.clause("LOG-04")
def test_nothing_that_a_client_sent_is_in_the_log(launched: Launch) -> None:
    service = launched()
    api, secret = service.api, expect.unique()
    fields: expect.Fields = {"name": secret, "email": f"{secret}@example.com"}
    sent = {**fields, "password": secret}
    created = api.post("/users", json=sent, headers={"Idempotency-Key": secret})
    path = f"/users/{expect.user(created, 201, **fields)['id']}"
    headers = {"User-Agent": secret, "Cookie": secret, "X-Request-Id": f"({secret})"}
    api.post("/users", json=fields, headers=headers)
    api.patch(path, json={"name": f"{secret}2", "email": "wrong"}, headers={"If-Match": secret})
    api.patch(path, json={"password": secret, "role": secret})
    api.get(f"/users?q={secret}&{secret}={secret}")
    api.get(f"/{secret}")
    api.get(f"/users/{secret}")
    api.put(path, content=secret.encode(), headers={"Content-Type": secret})
    api.raw(api.message("GET", "/", [("Host", secret)]))
    api.raw(f"{secret} / HTTP/1.1\r\n\r\n".encode())
    expect.empty(api.delete(path))
    assert len(logged(service)) >= 9
    assert secret not in service.log()


def logged(service: Service) -> dict[str, dict[str, Any]]:
    """The log's lines about requests, by request id; every line is one JSON object."""
    lines = [json.loads(line) for line in service.stdout().splitlines()]
    return {line["request_id"]: line for line in lines if line["message"] == "request"}
