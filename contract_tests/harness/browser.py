"""A real browser, for what is a page."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.remote_connection import RemoteConnection
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from contract_tests.harness.verdict import NO_BROWSER

SECONDS = 30.0


@contextmanager
def chromium(profile: Path) -> Iterator[Chrome]:
    """A headless Chromium with this empty profile, that calls nobody by itself; else it skips."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if not browser or not driver:
        pytest.skip(NO_BROWSER)
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
        "disable-ipc-flooding-protection",  # which lets a page go to 200 places in 10 s
        "disable-sync",
        "window-size=1200,2000",
        f"user-data-dir={profile}",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # With the paths of both given, Selenium looks for nothing and downloads nothing.
    chrome = Chrome(options=options, service=ChromeService(driver))
    # A script has a limit of its own, which decides.
    assert isinstance(chrome.command_executor, RemoteConnection)
    chrome.command_executor.client_config.timeout = 360
    try:
        yield chrome
    finally:
        chrome.quit()


def waiting(chrome: Chrome) -> WebDriverWait[Chrome]:
    """Something to wait with until what is expected is there."""
    return WebDriverWait(chrome, SECONDS, poll_frequency=0.02)


def found(chrome: Chrome, selector: str) -> WebElement:
    """What the selector finds, as soon as it is there."""
    return waiting(chrome).until(lambda _: chrome.find_element(By.CSS_SELECTOR, selector))


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
