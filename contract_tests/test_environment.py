"""OPS: what surrounds a service changes nothing: variables, locale, limits, streams."""

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from contract_tests.harness import services
from contract_tests.harness.databases import sqlite_url
from contract_tests.harness.services import KINDS, Kind, NotStartedError, Service

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the shell's limits are Linux's")


@dataclass(frozen=True)
class Surroundings:
    """Variables, and what a shell does before it becomes the service."""

    env: dict[str, str] = field(default_factory=dict)
    before: str = ""


def variables(**env: str) -> Surroundings:
    """Surroundings of these variables."""
    return Surroundings(env)


# Since none may change anything, many can be tried at once.
SURROUNDINGS = {
    "what libraries would read": variables(
        PROMETHEUS_MULTIPROC_DIR="/nonexistent",
        prometheus_multiproc_dir="/nonexistent",
        PROMETHEUS_DISABLE_CREATED_SERIES="no",
        PROMETHEUS_LEGACY_NAME_VALIDATION="1",
        WEB_CONCURRENCY="",
        FORWARDED_ALLOW_IPS="*",
        FASTAPI_ENV="development",
        FASTAPI_OTEL_AUTO_CONFIGURE="true",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1",
        PGHOST="127.0.0.1",
        PGPORT="1",
        PGSSLMODE="verify-full",
        PGOPTIONS="-x",
        NODE_PG_FORCE_NATIVE="1",
        NAPI_RS_FORCE_WASI="error",
        NAPI_RS_NATIVE_LIBRARY_PATH="/nonexistent",
        HTTP_PROXY="http://127.0.0.1:1",
        ALL_PROXY="http://127.0.0.1:1",
        NODE_USE_ENV_PROXY="1",
        SSL_CERT_FILE="/nonexistent",
        SSL_CERT_DIR="/nonexistent",
        SSLKEYLOGFILE="/nonexistent/keys",
        UV_THREADPOOL_SIZE="1",
    ),
    "two processes": Surroundings(
        {
            "WEB_CONCURRENCY": "2",
            "": "1",
            "PATH": "",
            "TMPDIR": "/nonexistent",
            "PROMETHEUS_MULTIPROC_DIR": "/nonexistent",
            "PYTHONWARNINGS": "error",
        }
    ),
    "no name": Surroundings({"": "1"}),
    # What the interpreters read, where it can be made good
    "interpreters": variables(
        PYTHONWARNINGS="error",
        PYTHONASYNCIODEBUG="1",
        PYTHONUNBUFFERED="1",
        PYTHONHASHSEED="0",
        PYTHONIOENCODING="utf-16",
        PYTHONUTF8="0",
        NODE_PENDING_DEPRECATION="1",
    ),
    "production": variables(NODE_ENV="production", NODE_NO_WARNINGS="1", FORCE_COLOR="3"),
    # Places and languages
    "C, nowhere": variables(
        LC_ALL="C",
        LANG="C",
        PYTHONCOERCECLOCALE="0",
        TZ="Nowhere/At_All",
        HOME="/nonexistent",
        XDG_CACHE_HOME="/nonexistent",
        USER="nobody",
    ),
    "a locale and a zone that are none": variables(
        LC_ALL="xx_YY.UTF-8", LANG="\u00e4", TZ=":/etc/passwd"
    ),
    "tr_TR": variables(LC_ALL="tr_TR.UTF-8"),
    # The process
    "no streams": Surroundings(before="exec <&- >&- 2>&-"),
    "limits": Surroundings(
        before="exec <&-; ulimit -n 64; ulimit -s 1024; umask 0177; "
        "renice -n 5 $$ >/dev/null; trap '' PIPE HUP USR1 USR2"
    ),
    # It doesn't start
    "a wrong setting": variables(PORT="http", PYTHONWARNINGS="error", LC_ALL="C"),
    "a wrong setting, no stdout": Surroundings({"PORT": "http"}, "exec >&-"),
}

REQUESTS = [
    ("POST", "/users", '{"name": "\u0130stanbul \u00e4", "email": "I@example.com"}'),
    ("POST", "/users", '{"name": "Ada", "email": "i@EXAMPLE.com"}'),
    ("POST", "/users", '{"name": 1' + "0" * 5000 + "}"),
    ("GET", "/users", ""),
    ("GET", "/users?q=%C4%B0&sort=-name", ""),
    ("GET", "/users/1", ""),
    ("GET", "/readyz", ""),
    ("GET", "/nowhere", ""),
]
# Theirs, and that of the metrics.
STATUSES = [201, 409, 422, 200, 200, 200, 200, 404, 200]
# The answers, the exit code, and stderr.
Told = tuple[list[Any], int, str]
OF_A_HOP = {"connection", "date", "keep-alive"}
MOMENT = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def told(kind: Kind, directory: Path, surroundings: Surroundings) -> Told:
    """All that a service does in these surroundings: answers, how it ends, what it says then."""
    port = services.free_port()
    env = {"PORT": str(port), **surroundings.env}
    service = Service(kind, directory / kind, env)
    if surroundings.before:
        service.through(f'{surroundings.before}; exec "$@"')
    service.start()
    answers: list[Any] = []
    try:
        if not env["PORT"].isdecimal():
            return [], service.wait(services.START_TIMEOUT), service.stderr()
        try:
            service.await_ready(f"http://127.0.0.1:{port}")
        except NotStartedError as error:
            raise AssertionError(f"It does not serve: {error}") from error
        for method, path, body in REQUESTS:
            headers = [("Content-Type", "application/json"), ("X-Request-Id", "mine")]
            answer = service.api.raw(service.api.message(method, path, headers, body.encode()))
            fields = {name: value for name, value in answer.headers if name not in OF_A_HOP}
            answers.append((answer.status, fields, MOMENT.sub(b"", answer.body)))
        metrics = service.api.get("/metrics")
        counted = re.findall(rb"^http_requests_total{.*/users.*$", metrics.body, re.MULTILINE)
        answers.append((metrics.status, len(counted)))
        return answers, service.stop(), service.stderr()
    finally:
        service.kill()


@pytest.mark.clause("OPS-45")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("processes", ["1", "2"])
def test_settings_are_utf_8_whatever_the_locale(kind: Kind, processes: str, tmp_path: Path) -> None:
    admin = {"ADMIN_EMAIL": "a@b.example", "ADMIN_PASSWORD": "p\u00e4ssword \u0130 \U0001f511"}
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    more = {"AUTH_SECRET": "s" * 32, "WEB_CONCURRENCY": processes}
    file = tmp_path / "\u00e4.db"
    service = services.launch(
        kind, env=ascii_only | admin | more, directory=tmp_path, database_url=sqlite_url(file)
    )
    try:
        assert file.is_file()
        assert service.api.token(*admin.values())
        assert service.stop() == 0
        assert service.stderr() == ""
    finally:
        service.kill()


@pytest.mark.clause("OPS-45", "PAIR-10")
@pytest.mark.parametrize("name", SURROUNDINGS)
def test_surroundings_change_nothing(name: str, tmp_path: Path) -> None:
    def of(kind: Kind) -> Told:
        return told(kind, tmp_path, SURROUNDINGS[name])

    with ThreadPoolExecutor(2) as threads:
        python, node = threads.map(of, KINDS)
    assert python == node
    answers, code, said = python
    if SURROUNDINGS[name].env.get("PORT"):
        assert (code, said) == (1, "PORT must be an integer from 0 to 65535\n")
    else:
        assert [answer[0] for answer in answers] == STATUSES
        assert (code, said) == (0, "")
