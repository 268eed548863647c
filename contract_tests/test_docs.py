"""DOC: the page over the document, as it is sent and as a browser shows it."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from contract_tests.harness import browser, expect, services
from contract_tests.harness.browser import complaints, found, requested
from contract_tests.harness.client import Client
from contract_tests.harness.services import Kind

CONTENT_TYPES = {
    "/docs": "text/html; charset=utf-8",
    "/docs/swagger-ui.css": "text/css; charset=utf-8",
    "/docs/swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "/docs/init.js": "text/javascript; charset=utf-8",
    "/openapi.json": "application/json",
}


PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; connect-src 'self'; img-src 'self' data:; "
    "script-src 'self'; style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """A browser that nobody used before."""
    with browser.chromium(tmp_path_factory.mktemp("chromium")) as chrome:
        yield chrome


@pytest.fixture
def page(api: Client, chrome: Chrome) -> Chrome:
    """The browser with the page open, and with no log of earlier ones."""
    chrome.get("about:blank")
    for log in ("browser", "performance"):
        chrome.get_log(log)
    chrome.get(f"{api.url}/docs")
    found(chrome, "#operations-default-createUser")
    return chrome


@pytest.mark.storeless
@pytest.mark.clause("DOC-06", "DOC-07", "DOC-09", "DOC-10")
@pytest.mark.parametrize("path", CONTENT_TYPES)
def test_page_and_assets(api: Client, path: str) -> None:
    answer = api.get(path)
    assert answer.body
    expect._check(
        answer,
        200,
        {"cache-control": "no-store"},
        answer.body,
        CONTENT_TYPES[path],
        request_id=None,
        also=PAGE_HEADERS if path == "/docs" else None,
    )
    expect.head_of(api.head(path), answer)


@pytest.mark.storeless
@pytest.mark.clause("DOC-06", "DOC-08")
def test_it_shows_every_operation(api: Client, page: Chrome) -> None:
    paths = api.get("/openapi.json").json()["paths"]
    expected = {
        (method.upper(), path, described["summary"])
        for path, methods in paths.items()
        for method, described in methods.items()
    }
    shown = [
        tuple(
            # Where a line may be broken, the page has a character that is not seen.
            block.find_element(By.CLASS_NAME, f"opblock-summary-{part}").text.replace("\u200b", "")
            for part in ("method", "path", "description")
        )
        for block in page.find_elements(By.CLASS_NAME, "opblock")
    ]
    assert sorted(shown) == sorted(expected)
    assert complaints(page) == []


@pytest.mark.storeless
@pytest.mark.clause("DOC-07", "DOC-08")
def test_it_asks_nobody_but_the_service(api: Client, page: Chrome) -> None:
    urls = {url for url in requested(page) if not url.startswith("data:")}
    assert urls == {api.url + path for path in CONTENT_TYPES}
    assert complaints(page) == []


@pytest.mark.storeless
@pytest.mark.clause("DOC-08")
def test_an_operation_can_be_tried_out(api: Client, page: Chrome) -> None:
    operation = "#operations-default-healthz"
    found(page, f"{operation} .opblock-summary-control").click()
    found(page, f"{operation} .try-out__btn").click()
    found(page, f"{operation} .execute").click()
    answer = f"{operation} .live-responses-table .response"
    assert found(page, f"{answer} .response-col_status").text.startswith("200")
    body = found(page, f"{answer} .response-col_description pre").text
    assert json.loads(body) == {"status": "ok"}
    assert f"{api.url}/healthz" in requested(page)
    assert complaints(page) == []


# The style sheet, asked for while the process may open no more files, and when it may again.
NO_FILES: dict[Kind, str] = {
    "python": """
from fastapi.testclient import TestClient
from python_api.app import create_app
from python_api.settings import read_settings

with TestClient(create_app(read_settings({}), None), raise_server_exceptions=False) as client:
    held = []
    while True:
        try:
            held.append(open("/dev/null"))
        except OSError:
            break
    print(client.get("/docs/swagger-ui.css").status_code)
    for file in held:
        file.close()
    print(client.get("/docs/swagger-ui.css").status_code)
""",
    "node": """
import { closeSync, openSync } from "node:fs";
import { createApp } from "./src/app.ts";
import { readSettings } from "./src/settings.ts";

const app = createApp(readSettings({}), null);
await app.request("/docs");
const held = [];
try {
  while (true) held.push(openSync("/dev/null"));
} catch {}
console.log((await app.request("/docs/swagger-ui.css")).status);
for (const file of held) closeSync(file);
console.log((await app.request("/docs/swagger-ui.css")).status);
""",
}


@pytest.mark.clause("DOC-07")
@pytest.mark.parametrize("kind", services.KINDS)
def test_what_could_not_be_read_once_is_read_the_next_time(kind: Kind) -> None:
    python, node = [sys.executable, "-c"], [services.node(), "-e"]
    ended = subprocess.run(
        [
            "sh",
            "-c",
            'ulimit -n 100; exec "$@"',
            "sh",
            *(python if kind == "python" else node),
            NO_FILES[kind],
        ],
        cwd=services.ROOT / ("." if kind == "python" else "node_api"),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    lines = ended.stdout.splitlines()
    assert [line for line in lines if not line.startswith("{")] == ["500", "200"]
