"""The verdicts, by results made up for each; and the page that shows them."""

import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from benchmarks import claims, page, streams
from benchmarks.article.compare import FULL, OUT_OF_MEMORY, Comparison, Observation, Variant
from benchmarks.claims import Claim, Ratio
from benchmarks.load import OPERATIONS
from benchmarks.results import Results, read
from benchmarks.servers import contenders
from benchmarks.services import Cell, HalfLoad, Soak, Start
from benchmarks.streams import Delivery
from contract_tests.harness import browser
from contract_tests.harness.browser import complaints, requested
from contract_tests.harness.databases import Engine
from contract_tests.harness.services import ROOT

NOTHING = Results({}, [], [], [], [], [], [])
ENGINES: tuple[Engine, ...] = ("sqlite", "postgres")
VOID = {"meta", "link", "br", "path", "polyline"}
HOSTILE = "<script>alert('&\"')</script>"


def cell(contender: str, cpu: list[float], engine: Engine = "postgres") -> Cell:
    """Of get by id; whatever isn't CPU is one."""
    ones = [1.0] * len(cpu)
    language = {one.name: one.language for one in contenders()}.get(contender, "python")
    return Cell(contender, language, engine, "get", cpu, ones, ones, ones, ones, ones)


def comparison(topic: str, case: str, **seconds: float | None) -> Comparison:
    """A variant for each name, by its language and its name; None where memory ran out."""
    variants = []
    for name, value in seconds.items():
        language, _, variant = name.partition("_")
        rounds = [] if value is None else [value, value * 1.1]
        variants.append(
            Variant(
                "python" if language == "python" else "typescript",
                variant or case,
                rounds,
                rounds,
                [100.0] * len(rounds),
                OUT_OF_MEMORY if value is None else "",
            )
        )
    return Comparison(topic, case, variants)


def claim_of(section: str, *comparisons: Comparison, cells: list[Cell] | None = None) -> Claim:
    results = dataclasses.replace(NOTHING, comparisons=[*comparisons], cells=cells or [])
    (found,) = (one for one in claims.claims(results) if one.section == section)
    return found


def everything() -> Results:
    """Each contender with each operation, each case, and both observations."""
    rounds = [100.0, 110.0, 105.0]
    cells = [
        Cell(one.name, one.language, engine, operation, *[rounds] * 6)
        for engine in ENGINES
        for operation in OPERATIONS
        for one in contenders()
    ]
    starts = [
        Start(one.name, engine, [0.3, 0.2, 0.4]) for engine in ENGINES for one in contenders()
    ]
    half_loads = [
        HalfLoad(one.name, engine, "get", rounds, [1.0] * 3, [3.0, 4.0, 9.0])
        for engine in ENGINES
        for one in contenders()
    ]
    soaks = [
        Soak(name, engine, "mixed", [*range(1000, 9000, 1000)], [50.0, 60.0, *[61.0] * 6])
        for engine in ENGINES
        for name in ("FastAPI", "Hono")
    ]
    comparisons = [
        Comparison(
            case.topic,
            case.name,
            [
                Variant(language, name, [seconds] * 3, [seconds] * 3, [100.0] * 3, case.note)
                for language, name in case.variants
                for seconds in [1.0 if language == "python" else 0.04]
            ],
        )
        for case in FULL
    ]
    seen = {"seconds": 1.5, "messages": ["a: error", "b: error"], "greetings": ["Hello, 42!", "b"]}
    observations = [
        Observation("fetch_all", "ten requests", {"python, TaskGroup": {"finished": 1}}),
        Observation("greeting", "two mistakes", {"mypy": seen, "tsc": seen}),
    ]
    made = {"machine": "a machine", "Python": "3.14"}
    deliveries = [
        Delivery(one.name, writer, "postgres", number, [30.0, 31.0], [10.0, 11.0], [19.0, 20.0])
        for one in streams.contenders()
        for writer in (one.name, "Hono")
        for number in streams.STREAMS
    ]
    return Results(made, cells, starts, half_loads, soaks, comparisons, observations, deliveries)


def test_ratios_are_taken_within_a_round() -> None:
    # A round in which the machine is slow counts as any other: the ratio of the medians is 3.
    assert claims.ratio([30, 10, 60], [10, 5, 30]) == Ratio(2, 2, 3)


def test_rounds_that_do_not_match_are_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        claims.ratio([1, 2], [1])


def test_a_limit_is_kept_up_to_its_bar() -> None:
    cells = [cell("FastAPI", [350, 700]), cell("bare ASGI", [100, 200]), cell("Hono", [181])]
    cells += [cell("plain FastAPI", [600, 1200]), cell("node:http", [100])]
    results = dataclasses.replace(NOTHING, cells=cells)
    assert [(one.what.partition(": ")[2], one.kept) for one in claims.limits(results)] == [
        ("FastAPI against bare ASGI", True),
        ("FastAPI against plain FastAPI", False),
        ("Hono against node:http", False),
    ]


def test_limits_have_the_bars_of_their_engine() -> None:
    cells = [cell("FastAPI", [450], "sqlite"), cell("bare ASGI", [100], "sqlite")]
    (limit,) = claims.limits(dataclasses.replace(NOTHING, cells=cells))
    assert (limit.bar, limit.kept, limit.measured) == (5, True, Ratio(4.5, 4.5, 4.5))


def test_the_tail_is_measured_round_by_round_and_only_ours() -> None:
    half_loads = [
        HalfLoad(name, "sqlite", "get", [1.0] * 3, [1.0, 2.0, 1.0], [4.0, 8.0, 90.0])
        for name in ("Hono", "Express")
    ]
    (limit,) = claims.limits(dataclasses.replace(NOTHING, half_loads=half_loads))
    assert limit.measured == Ratio(4, 4, 90)
    assert limit.kept


@pytest.mark.parametrize(
    ("memory", "kept"),
    [
        ([10.0, 50, 100, 100, 104, 104, 105, 105], True),
        ([10.0, 50, 100, 100, 104, 104, 106, 106], False),
    ],
)
def test_memory_may_grow_at_first(memory: list[float], kept: bool) -> None:
    soak = Soak("Hono", "sqlite", "mixed", [*range(1, 9)], [*memory])
    # The second quarter is the third look and the fourth.
    (limit,) = claims.limits(dataclasses.replace(NOTHING, soaks=[soak]))
    assert limit.kept == kept
    assert "last quarter" in limit.what


def test_an_event_is_told_in_time_by_ours_to_one_stream() -> None:
    deliveries = [
        Delivery(name, "Hono", "postgres", number, [1.0] * 3, [1.0] * 3, [20.0, 51.0, 60.0])
        for name in ("FastAPI", "FastAPI's own stream")
        for number in streams.STREAMS
    ]
    (limit,) = claims.limits(dataclasses.replace(NOTHING, deliveries=deliveries))
    assert (limit.measured, limit.unit, limit.kept) == (Ratio(51, 20, 60), " ms", False)
    assert "51.0 ms (20.0–60.0) | 50, not kept" in claims.markdown(
        dataclasses.replace(NOTHING, deliveries=deliveries)
    )


def test_what_was_not_measured_has_no_limit_and_no_verdict() -> None:
    assert claims.limits(NOTHING) == []
    short = Soak("Hono", "sqlite", "mixed", [1, 2, 3], [1.0, 2.0, 3.0])
    assert claims.limits(dataclasses.replace(NOTHING, soaks=[short])) == []
    assert {one.verdict for one in claims.claims(NOTHING)} == {""}
    assert claims.markdown(NOTHING).count("not measured") == len(claims.claims(NOTHING))


def test_similar_holds_within_a_quarter() -> None:
    found = claim_of(
        "I/O-bound",
        comparison("files", "timers", python=1.2, typescript=1),
        comparison("fetch_all", "1 at once", python=1, typescript=1.2),
    )
    assert found.verdict == "holds: TypeScript is 0.83 to 1.20 times as fast"


def test_similar_is_wrong_where_one_side_is_faster_throughout() -> None:
    found = claim_of(
        "CPU-bound",
        comparison("cpu", "integers", python=36, typescript=1),
        comparison("cpu", "floats", python=4, typescript=1),
    )
    assert found.verdict == "wrong: TypeScript is 4.0 to 36 times as fast"
    found = claim_of("CPU-bound", comparison("cpu", "hashes", python=1, typescript=2))
    assert found.verdict == "wrong: Python is 2.0 times as fast"


def test_otherwise_it_depends_on_cases_that_are_named() -> None:
    found = claim_of(
        "CPU-bound",
        comparison("cpu", "integers", python=36, typescript=1),
        comparison("cpu", "floats", python=1, typescript=1),
        comparison("cpu", "strings", python=3, typescript=1),
        comparison("cpu", "hashes", python=1, typescript=1.5),
    )
    assert found.verdict == (
        "depends: similar on pure code (floats); "
        "TypeScript is 3.0 to 36 times as fast on pure code (integers), strings; "
        "Python is 1.50 times as fast on native hashing"
    )


@pytest.mark.parametrize(
    ("python", "verdict"),
    [
        (1.4, "too high: TypeScript is 1.40 times as fast"),
        (1.6, "holds: TypeScript is 1.60 times as fast"),
        (3.0, "too low: TypeScript is 3.0 times as fast"),
    ],
)
def test_json_is_claimed_to_be_up_to_twice_as_fast(python: float, verdict: str) -> None:
    writing = comparison("json_documents", "write one user", python=9, typescript=1)
    parsing = comparison("json_documents", "parse one user", python=python, typescript=1)
    found = claim_of("JSON parsing", parsing, writing)
    assert found.verdict == verdict, "writing isn't judged"
    assert len(found.measured) == 2


def test_requests_are_compared_by_client() -> None:
    variants = [
        Variant("python", "httpx.get", [20.0]),
        Variant("python", "httpx.Client", [1.0]),
        Variant("typescript", "fetch", [2.0]),
        Variant("typescript", "http.Agent", [1.0]),
    ]
    found = claim_of("HTTP requests", Comparison("http_requests", "one user", variants))
    assert [(what, claims.said(value)) for what, value in found.measured] == [
        ("httpx.get and fetch (one user)", "TypeScript 10.0× (10.0–10.0)"),
        ("httpx.Client and fetch (one user)", "Python 2.00× (2.00–2.00)"),
        ("httpx.Client and http.Agent (one user)", "TypeScript 1.00× (1.00–1.00)"),
    ]
    assert found.verdict.startswith("depends: similar with httpx.Client and http.Agent;")
    assert "undici#5493" in found.note


def test_dataframes_are_judged_by_the_best_of_each_language() -> None:
    small = comparison(
        "sales", "1 row", python_pandas=9, python_Polars=3, typescript_lodash=2, typescript_plain=1
    )
    large = comparison(
        "sales",
        "9 rows",
        python_pandas=4,
        python_Polars=1,
        typescript_lodash=None,
        typescript_plain=2,
    )
    found = claim_of("Dataframes", small, large)
    assert found.verdict == (
        "depends: Python is 2.0 times as fast on 9 rows; TypeScript is 3.0 times as fast on 1 row"
    )
    memory = dict(found.measured)["peak memory (9 rows)"]
    assert memory == "pandas 100 MiB, Polars 100 MiB, lodash out of memory, plain 100 MiB"
    assert claim_of("Dataframes", large).verdict == "holds: Python is 2.0 times as fast"


def test_pandas_is_matched_by_whatever_is_faster() -> None:
    large = comparison("sales", "9 rows", python_pandas=4, python_Polars=1, typescript_lodash=None)
    found = claim_of("Data", large)
    assert found.verdict == "wrong: another is 4.0 times as fast"
    assert ("lodash (9 rows)", "out of memory") in found.measured
    slower = comparison("sales", "9 rows", python_pandas=1, typescript_plain=3)
    assert claim_of("Data", slower).verdict == "holds: pandas is 3.0 times as fast"


def test_faster_is_a_twentieth_at_least() -> None:
    hono = cell("Hono", [100.0])
    found = claim_of("Frameworks", cells=[hono, cell("Express", [150.0])])
    assert found.verdict == "holds: Hono is 1.50 times as fast"
    found = claim_of("Frameworks", cells=[hono, cell("Express", [104.0])])
    assert found.verdict == "wrong: Hono is 1.04 times as fast"
    found = claim_of("Services", cells=[hono, cell("FastAPI", [350.0])])
    assert found.verdict == "holds: Hono is 3.5 times as fast"


@pytest.mark.parametrize(("messages", "word"), [(["a", "b"], "holds"), (["a"], "wrong")])
def test_both_checkers_have_to_name_all_mistakes(messages: list[str], word: str) -> None:
    values = {
        name: {"seconds": 1.0, "messages": said, "greetings": ["Hello", "Hello"]}
        for name, said in (("mypy", ["a", "b"]), ("tsc", messages))
    }
    observed = dataclasses.replace(NOTHING, observations=[Observation("greeting", "two", values)])
    found = claims.claims(observed)[-1]
    assert (found.section, found.verdict.partition(":")[0]) == ("Types", word)


def test_threads_gain_by_language() -> None:
    found = claim_of(
        "CPU-bound",
        comparison("cpu", "integers four times, in turn", python=4, typescript=2),
        comparison("cpu", "integers four times, in threads", python=4, typescript=0.5),
    )
    assert ("what four threads gain", "Python 1.00×, TypeScript 4.00×") in found.measured


def test_the_table_has_three_columns_and_what_made_it() -> None:
    made = {"machine": "a | b", "Python": "3.14"}
    case = comparison("files", "a | b", python=1, typescript=1)
    results = dataclasses.replace(NOTHING, made=made, comparisons=[case])
    table, _, last = claims.markdown(results).rstrip().rpartition("\n\n")
    limits_, claims_ = table.split("\n\n")
    assert {line.count("|") for line in limits_.splitlines()} == {4}
    assert {line.count("|") for line in claims_.splitlines()} == {5}
    assert "| a &#124; b | TypeScript 1.00× (1.00–1.00) |" in table
    assert last == "machine: a | b; Python: 3.14"


class Checked(HTMLParser):
    """Fails where a tag isn't closed; keeps the tags, and the text that isn't the style."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


@pytest.mark.parametrize("results", [everything(), NOTHING], ids=["everything", "nothing"])
def test_the_page_is_well_formed_and_holds_all_that_there_is(results: Results) -> None:
    text = Checked(page.render(results)).text
    expected = [one.contender for one in results.cells]
    expected += [claims.OPERATIONS[one.operation] for one in results.cells]
    expected += [claims.ENGINES[one.engine] for one in results.cells]
    expected += [one.case for one in results.comparisons]
    expected += [one.text for one in results.observations]
    expected += [one.what for one in claims.limits(results)]
    for claim in claims.claims(results):
        expected += [claim.section, claim.claim, claim.verdict or "not measured"]
        expected += [what for what, _ in claim.measured]
    assert [one for one in dict.fromkeys(expected) if one not in text] == []


def test_a_limit_that_is_not_kept_says_so() -> None:
    results = dataclasses.replace(NOTHING, cells=[cell("Hono", [9.0]), cell("node:http", [1.0])])
    assert 'class="verdict no">not kept<' in page.render(results)


def test_what_is_too_small_to_be_seen_is_drawn() -> None:
    deliveries = [
        Delivery("Hono", "Hono", "postgres", 1, [cpu], [1.0], [1.0]) for cpu in (0.0, -10.0, 9.0)
    ]
    assert "CPU, µs each" in page.render(dataclasses.replace(NOTHING, deliveries=deliveries))


def test_scales_are_logarithmic_only_where_bars_differ_by_much() -> None:
    def drawn(python: float) -> str:
        case = comparison("cpu", "integers", python=python, typescript=1)
        return page.render(dataclasses.replace(NOTHING, comparisons=[case]))

    assert "from line to line ten times" in drawn(21)
    assert "from line to line ten times" not in drawn(19)


def test_what_is_given_is_escaped() -> None:
    values = {HOSTILE: {HOSTILE: [HOSTILE, HOSTILE]}}
    hostile = Variant("python", HOSTILE, [1.0], [1.0], [1.0], HOSTILE)
    other = Variant("typescript", "other", [1.0], [1.0], [1.0])
    results = Results(
        {HOSTILE: HOSTILE},
        [cell(HOSTILE, [1.0])],
        [Start(HOSTILE, "postgres", [1.0])],
        [HalfLoad(HOSTILE, "postgres", "get", [1.0], [1.0], [1.0])],
        [Soak(HOSTILE, "postgres", "get", [1], [1.0])],
        [Comparison(HOSTILE, HOSTILE, [hostile]), Comparison("cpu", HOSTILE, [hostile, other])],
        [Observation(HOSTILE, HOSTILE, values)],
    )
    html = page.render(results)
    assert "script" not in {tag for tag, _ in Checked(html).tags}
    assert html.count(escape(HOSTILE)) > 10


def test_the_page_loads_nothing() -> None:
    html = page.render(everything())
    for tag, attributes in Checked(html).tags:
        assert tag not in {"script", "img", "iframe", "object", "embed"}
        for name in ("src", "href"):
            assert re.match("#|data:", attributes.get(name) or "#")
    assert not re.search(r"https?://|url\(|@import", html)


@pytest.mark.parametrize("module", ["claims", "page"])
def test_both_read_the_file_that_the_benchmarks_write(module: str, tmp_path: Path) -> None:
    results, file = everything(), tmp_path / "results.json"
    results.write(file)
    assert read(file) == results
    command = [sys.executable, "-m", f"benchmarks.{module}", str(file)]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    assert printed == {"claims": claims.markdown, "page": page.render}[module](results)


@pytest.fixture
def chrome(tmp_path: Path) -> Iterator[Chrome]:
    with browser.chromium(tmp_path / "profile") as chrome:
        yield chrome


def test_the_page_in_a_browser(chrome: Chrome, tmp_path: Path) -> None:
    """On a phone, by day and by night."""
    file = tmp_path / "page.html"
    file.write_text(page.render(everything()), "utf-8")
    metrics = {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    chrome.get("about:blank")
    chrome.get_log("performance")  # of the browser's own first page
    colours = set()
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        chrome.get(file.as_uri())
        script = "return getComputedStyle(document.documentElement).backgroundColor"
        colours.add(chrome.execute_script(script))
        assert chrome.execute_script("return document.documentElement.scrollWidth") == 360
    assert len(colours) == 2
    assert complaints(chrome) == []
    assert {url for url in requested(chrome) if not url.startswith("data:")} == {file.as_uri()}


def test_the_readme_has_the_figures_of_the_results_that_are_kept() -> None:
    kept = read(ROOT / "benchmarks" / "results" / "full.json")
    assert claims.markdown(kept) in (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    drawn = (ROOT / "benchmarks" / "results" / "full.html").read_text("utf-8")
    assert drawn == page.render(kept)
