"""PAIR: the report, as a browser shows it: every view, every link, every filter, every key.

REPORT=.data/report.html pytest contract_tests/test_report.py     that one, made before
"""

import base64
import gzip
import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from contract_tests import pictures
from contract_tests.harness import browser, clauses, services
from contract_tests.harness.browser import complaints, found, requested
from contract_tests.report import exchange
from contract_tests.report.record import Exchange

# A run of these is soon done, and is about targets, services of a test's own, and both together.
RUN = (
    "contract_tests/test_read.py",
    "contract_tests/test_cors.py",
    "contract_tests/test_mirror.py",
)


@pytest.mark.clause("PAIR-08")
def test_a_picture_shows_the_part_that_it_is_of(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    boxes = "".join(f'<p id="p{n}" style="margin:0;height:{n}00px">{n}</p>' for n in range(1, 30))
    page.write_text(f'<!doctype html><body style="margin:0;width:700px">{boxes}', "utf-8")
    taken = pictures.picture(page, "#p2", "#p3")
    # PNG, 11.2.1: the width and the height
    assert struct.unpack(">8s8xII", taken[:24]) == (b"\x89PNG\r\n\x1a\n", 700, 500)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run of some tests."""
    if given := os.environ.get("REPORT"):
        return Path(given)
    room = tmp_path_factory.mktemp("report")
    options = ["-q", "-n0", "-pno:randomly", "-pno:cacheprovider"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "contract_tests.report",
            "--no-mutants",
            f"--to={room}",
            "--",
            *options,
            *RUN,
        ],
        cwd=services.ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return room / "report.html"


@pytest.fixture(scope="module")
def data(report: Path) -> Any:
    """What the page shows."""
    text = report.read_text("utf-8")
    (packed,) = re.findall(r'<script id="data" type="application/gzip;base64">(.*?)</script>', text)
    return json.loads(gzip.decompress(base64.b64decode(packed)))


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """A browser that nobody used before."""
    with browser.chromium(tmp_path_factory.mktemp("chromium")) as chrome:
        yield chrome


@pytest.fixture
def page(report: Path, chrome: Chrome) -> Chrome:
    """The browser with the matrix open, as on a wide screen, in the light."""
    screen(chrome, 1400)
    chrome.get("about:blank")
    for log in ("browser", "performance"):
        chrome.get_log(log)
    chrome.get(report.absolute().as_uri())
    found(chrome, "#shares tr[data-clause]")
    return chrome


def screen(chrome: Chrome, width: int, *, dark: bool = False) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def press(page: Chrome, *keys: str) -> None:
    ActionChains(page).send_keys(*keys).perform()


def eventually(page: Chrome, condition: str) -> Any:
    """What the expression gives, as soon as that is something."""
    wait = browser.waiting(page)
    return wait.until(lambda _: page.execute_script(f"return {condition}"), condition)


def at(page: Chrome, place: str) -> None:
    """The view is the one of this hash, and its heading has the focus."""
    eventually(page, f"location.hash === '{place}'")


def rows(page: Chrome) -> list[str]:
    """The clauses that the matrix shows."""
    script = """return [...document.querySelectorAll('#shares tr[data-clause]')]
      .filter((row) => row.checkVisibility()).map((row) => row.dataset.clause)"""
    return list(page.execute_script(script))


@pytest.mark.clause("PAIR-13")
def test_every_clause_is_there_with_its_code_on_both_sides(data: Any) -> None:
    assert list(data["clauses"]) == clauses.clauses()
    for clause, shown in data["clauses"].items():
        group = clause.rpartition("-")[0]
        sides = {"PAIR": [], "COMPOSE": ["common"]}.get(group, ["python", "node"])
        for side in sides:
            for file, first, last in shown["code"][side]:
                assert any(line.strip() for line in data["files"][file][first - 1 : last]), clause


@pytest.mark.clause("PAIR-13")
def test_the_page_is_small(report: Path) -> None:
    # The sources are the same in each; a run of everything has more to say.
    assert report.stat().st_size < (4_500_000 if os.environ.get("REPORT") else 2_000_000)


@pytest.mark.clause("PAIR-13")
def test_it_shows_what_was_said_to_every_target(data: Any) -> None:
    shown = data["clauses"]["USR-READ-01"]
    assert (
        set(data["targets"]) >= set(shown["examples"][0]["targets"]) >= {"python-sqlite", "mixed"}
    )
    assert all(proven == ran > 0 for proven, ran in shown["cells"].values())
    (request, *_), *answers = (
        [data["lines"][number] for number in cells]
        for kind, *cells in shown["examples"][0]["rows"]
        if kind in "qs"
    )
    assert request.startswith("POST /users HTTP/1.1")
    assert next(set(cells) for cells in answers if cells[0].isdigit()) == {"201"}
    # What differs may differ.
    assert not any("<b>" in line for line in data["lines"])


@pytest.mark.clause("PAIR-13")
def test_what_must_not_differ_is_marked_where_a_test_failed() -> None:
    def said(status: int, etag: str, id_: int) -> list[Exchange]:
        headers = [("etag", etag), ("date", f"{id_}")]
        return [Exchange("to", "GET / HTTP/1.1\r\n\r\n", status, headers, f'{{"id":{id_}}}')]

    exchanges = {"one": said(200, '"1"', 7), "other": said(201, '"12"', 8)}
    cells = [cells for _, cells in exchange.rows(exchanges, failed=True)]
    assert cells == [
        ["GET / HTTP/1.1", "GET / HTTP/1.1"],
        ["20<b>0</b>", "20<b>1</b>"],
        ["date: <i>7</i>", "date: <i>8</i>"],
        ['etag: "1<b></b>"', 'etag: "1<b>2</b>"'],
        ['{"id":<i>7</i>}', '{"id":<i>8</i>}'],
    ]
    quiet = [cells for _, cells in exchange.rows(exchanges, failed=False)]
    assert quiet == [
        [cell and re.sub("(?<=[</])b(?=>)", "i", cell) for cell in row] for row in cells
    ]


# Goes to each view that anything leads to; where one is missing, or wider than the screen, is told.
WALK = """
const [left, done] = arguments;
const leaveOut = new RegExp(left);
const files = new Set();
const wrong = [], todo = ["#matrix"], seen = new Set(todo);
while (todo.length > 0) {
  const place = todo.pop();
  history.replaceState(null, "", place);
  dispatchEvent(new HashChangeEvent("hashchange"));
  const views = [...document.querySelectorAll("#matrix-view, #page-view")].filter((view) => !view.hidden);
  const heading = views[0]?.querySelector("h1");
  if (views.length !== 1 || !heading?.checkVisibility() || heading.textContent.startsWith("Not in")) {
    wrong.push(`${place}: nothing there`);
  }
  const clause = /^#([A-Z-]+-[0-9]+)$/.exec(place)?.[1];
  if (clause && heading.textContent !== clause) wrong.push(`${place}: another clause`);
  if (/(python|node):/.test(place) && !document.querySelector(".line.aim")) wrong.push(`${place}: no line`);
  if (document.documentElement.scrollWidth > innerWidth) wrong.push(`${place}: too wide`);
  for (const link of document.querySelectorAll("a[href^='#']")) {
    const next = link.getAttribute("href");
    // Of the places in one file the first will do.
    const [file, line] = next.split(/:(?=[0-9])/);
    if (next !== "#main" && !seen.has(next) && !leaveOut.test(next) && !(line && files.has(file))) {
      todo.push(next);
      seen.add(next);
      files.add(file);
    }
  }
}
done([seen.size, wrong]);
"""


@pytest.mark.clause("PAIR-13")
@pytest.mark.parametrize(
    ("width", "left_out"),
    [
        # Of the clauses' views, which are alike, all of a page that was made before, and else a few.
        (1400, "^$" if os.environ.get("REPORT") else "^#[A-Z-]+-[0-9][2-9]"),
        (360, "^#[A-Z-]+-[0-9][^5]|^#read/(?!users)"),
    ],
)
def test_every_link_leads_to_something_that_fits(
    page: Chrome, data: Any, width: int, left_out: str
) -> None:
    screen(page, width, dark=width == 360)
    page.set_script_timeout(300)
    seen, wrong = page.execute_async_script(WALK, left_out)
    assert wrong == []
    assert seen > (len(data["read"]) if width == 1400 else 40)
    assert left_out != "^$" or seen > len(data["clauses"]) + len(data["read"])
    assert complaints(page) == []
    assert all(url.startswith(("file:", "data:", "about:")) for url in requested(page))


@pytest.mark.clause("PAIR-13")
def test_every_filter(page: Chrome, data: Any) -> None:
    everything = len(data["clauses"])
    count = found(page, "#count")
    assert count.text == f"{everything} of {everything} clauses"
    found(page, "#search").send_keys("etag")
    at(page, "#matrix?q=etag")
    texts = [json.dumps([data["clauses"][name], name]).lower() for name in rows(page)]
    assert 0 < len(texts) < everything
    assert all("etag" in text for text in texts)
    Select(found(page, "#group")).select_by_value("COND")
    at(page, "#matrix?q=etag&group=COND")
    shown = rows(page)
    assert 0 < len(shown) < len(texts)
    assert all(name.startswith("COND-") for name in shown)
    page.refresh()
    assert rows(page) == shown
    found(page, "#search").send_keys("there is no such text")
    eventually(page, "document.querySelector('#nothing').checkVisibility()")
    found(page, "#clear").click()
    assert len(rows(page)) == everything
    found(page, "#open").click()
    unproven = [
        name
        for name, clause in data["clauses"].items()
        if any(proven < ran for proven, ran in clause["cells"].values())
    ]
    assert rows(page) == unproven
    asked = [name for name, clause in data["clauses"].items() if clause["cells"]]
    title = found(page, "#matrix-title").text
    share = 100 * (len(asked) - len(unproven)) // len(asked)
    proven = f"{len(asked) - len(unproven)} of {len(asked)}" if unproven else f"all {len(asked)}"
    assert title == f"{share} % proven: {proven} clauses that this run asks"
    assert f"{everything - len(asked)}\nclauses not asked" in found(page, "#numbers").text
    assert complaints(page) == []


@pytest.mark.clause("PAIR-13")
def test_every_key(page: Chrome) -> None:
    focus = "document.activeElement"
    press(page, "j")
    eventually(page, f"{focus}.getAttribute('href') === '#HTTP-01'")
    press(page, "j", "j", "k")
    eventually(page, f"{focus}.getAttribute('href') === '#HTTP-02'")
    press(page, Keys.ENTER)
    at(page, "#HTTP-02")
    eventually(page, f"{focus}.matches('h1') && document.title.startsWith('HTTP-02')")
    press(page, "j")
    at(page, "#HTTP-03")
    press(page, "k")
    at(page, "#HTTP-02")
    press(page, Keys.ESCAPE)
    eventually(page, "document.querySelector('#matrix-view').checkVisibility()")
    press(page, "/")
    eventually(page, f"{focus}.id === 'search'")
    press(page, "jr")
    eventually(page, f"{focus}.value === 'jr'")
    press(page, Keys.ESCAPE)
    eventually(page, f"{focus}.value === ''")
    press(page, Keys.ESCAPE, "r")
    at(page, "#read")
    press(page, "m")
    eventually(page, "document.querySelector('#matrix-view').checkVisibility()")
    press(page, "?")
    eventually(page, "document.querySelector('#help').open")
    press(page, Keys.ESCAPE)
    eventually(page, "!document.querySelector('#help').open")
    press(page, Keys.TAB)
    assert page.execute_script(f"return {focus} !== document.body")
    assert complaints(page) == []


@pytest.mark.clause("PAIR-13")
def test_a_clause_begins_at_its_top_while_the_matrix_still_scrolls(page: Chrome) -> None:
    page.execute_script("scrollTo(0, 400)")
    eventually(page, "history.state?.y === 400")
    page.execute_script("location.hash = '#USR-READ-01'; dispatchEvent(new Event('scrollend'))")
    eventually(page, "document.title.startsWith('USR-READ-01')")
    assert page.execute_script("return scrollY") == 0
    assert complaints(page) == []


@pytest.mark.clause("PAIR-13")
def test_a_clause_shows_what_was_said_and_the_code(page: Chrome, data: Any) -> None:
    found(page, "#shares tr[data-clause=USR-READ-01] a").click()
    at(page, "#USR-READ-01")
    targets = data["clauses"]["USR-READ-01"]["examples"][0]["targets"]
    columns = "table.wire thead th.column"
    assert len(page.find_elements(By.CSS_SELECTOR, columns)) == len(targets)
    found(page, ".targets input").click()
    eventually(page, f"document.querySelectorAll('{columns}').length === {len(targets) - 1}")
    links = page.find_elements(By.CSS_SELECTOR, "[data-part=code] figcaption a")
    files = [link.text.partition(":")[0] for link in links]
    assert {"python_api/users/routes.py", "node_api/src/users/routes.ts"} <= set(files)
    links[0].click()
    eventually(page, "document.querySelector('.line.aim')")
    at_line = page.execute_script("return location.hash")
    assert at_line.startswith("#read/users/routes/python:")
    page.back()
    at(page, "#USR-READ-01")
    assert complaints(page) == []


@pytest.mark.clause("PAIR-13")
def test_reading_begins_with_one_request_through_both(page: Chrome) -> None:
    press(page, "r")
    at(page, "#read")
    sides = page.find_elements(By.CSS_SELECTOR, ".walk .sides")
    texts = [[code.text for code in side.find_elements(By.TAG_NAME, "pre")] for side in sides]
    assert [len(pair) for pair in texts] == [2, 2]
    assert '@router.patch("/users/{id}"' in texts[0][0]
    assert '.patch("/users/:id"' in texts[0][1]
    found(page, ".walk a[href='#read/auth/guard']").click()
    at(page, "#read/auth/guard")
    assert complaints(page) == []
