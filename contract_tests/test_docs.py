"""DOC: the page over the document, as it is sent and as a browser shows it."""

import json
import shutil
from collections.abc import Iterator

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from contract_tests.harness import expect
from contract_tests.harness.client import Client

CONTENT_TYPES = {
    "/docs": "text/html; charset=utf-8",
    "/docs/swagger-ui.css": "text/css; charset=utf-8",
    "/docs/swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "/docs/init.js": "text/javascript; charset=utf-8",
    "/openapi.json": "application/json",
}

SECONDS = 30.0


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """A headless Chromium that nobody used before and that calls nobody by itself."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if not browser or not driver:
        pytest.skip("there is no Chromium with its chromedriver on this machine")
    options = ChromeOptions()
    options.binary_location = browser
    for argument in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-dev-shm-usage",
        "disable-quic",
        "no-first-run",
        "no-proxy-server",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "window-size=1200,2000",
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # With the paths of both given, Selenium looks for nothing and downloads nothing.
    chrome = Chrome(options=options, service=ChromeService(driver))
    yield chrome
    chrome.quit()


@pytest.fixture
def page(api: Client, chrome: Chrome) -> Chrome:
    """The browser with the page open, and with no log of earlier ones."""
    chrome.get("about:blank")
    for log in ("browser", "performance"):
        chrome.get_log(log)
    chrome.get(f"{api.url}/docs")
    found(chrome, "#operations-default-createUser")
    return chrome


def found(chrome: Chrome, selector: str) -> WebElement:
    """What the selector finds, as soon as it is there."""
    wait = WebDriverWait(chrome, SECONDS, poll_frequency=0.02)
    return wait.until(lambda _: chrome.find_element(By.CSS_SELECTOR, selector))


def complaints(chrome: Chrome) -> list[str]:
    """What stands in the console, and is more than a remark."""
    return [
        entry["message"]
        for entry in chrome.get_log("browser")
        if entry["level"] in ("WARNING", "SEVERE")
    ]


def requested(chrome: Chrome) -> list[str]:
    """The URLs that the page asked for, whatever came of it."""
    entries = (json.loads(entry["message"])["message"] for entry in chrome.get_log("performance"))
    return [
        entry["params"]["request"]["url"]
        for entry in entries
        if entry["method"] == "Network.requestWillBeSent"
    ]


@pytest.mark.clause("DOC-06", "DOC-07", "DOC-09")
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
        also=None,
    )
    expect.head_of(api.head(path), answer)


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


@pytest.mark.clause("DOC-07", "DOC-08")
def test_it_asks_nobody_but_the_service(api: Client, page: Chrome) -> None:
    urls = {url for url in requested(page) if not url.startswith("data:")}
    assert urls == {api.url + path for path in CONTENT_TYPES}
    assert complaints(page) == []


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
