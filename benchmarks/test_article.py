"""The article's sections: both sides do the same, before anybody asks which is faster."""

import ast
import csv
import dataclasses
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from benchmarks.article import compare
from benchmarks.article.compare import Case, Place
from benchmarks.article.sales_csv import sales_csv

TOPICS = sorted({case.topic for case in compare.FULL} | {"greeting"})
# The same cases, each no larger than shows whether the answers are the same.
SMALL = list(
    dict.fromkeys(
        dataclasses.replace(case, size=size, name=f"{case.variants[0][1]} {size}")
        for case in compare.FULL
        for size in [min(case.size, 20)]
    )
)
# Public functions without a twin, in camelCase, and why.
ALONE = {
    "fetch_all.fetchAllOrNone": "Python's TaskGroup cancels the others by itself",
    "sales.lodashRevenue": "each language has libraries of its own",
    "sales.pandasRevenue": "each language has libraries of its own",
    "sales.plainRevenue": "each language has libraries of its own",
    "sales.polarsRevenue": "each language has libraries of its own",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with compare.server() as url:
        yield Place(url, tmp_path_factory.mktemp("article"))


def checked(case: Case, place: Place) -> compare.Comparison:
    return compare.compare(case, 0, 0, place, lambda _: None)


@pytest.mark.parametrize("case", SMALL, ids=lambda case: f"{case.topic}-{case.name}")
def test_all_variants_of_a_case_give_the_same_answer(case: Case, place: Place) -> None:
    comparison = checked(case, place)
    assert {variant.language for variant in comparison.variants} == {"python", "typescript"}
    assert compare.OUT_OF_MEMORY not in {variant.note for variant in comparison.variants}


def test_different_answers_are_an_error_that_names_the_case(place: Place) -> None:
    case = Case("cpu", "apples and pears", 20, ("integers",), ("floats",))
    with pytest.raises(AssertionError, match=r"cpu, apples and pears: .*\[18,20\]"):
        checked(case, place)


def test_each_round_times_both_in_the_other_order(place: Place) -> None:
    told: list[str] = []
    case = Case("cpu", "four", 10, ("in turn",), ("in threads",))
    comparison = compare.compare(case, 2, 0.01, place, told.append)
    rounds = ["in turn", "in threads", "in threads", "in turn"]
    assert told[2:] == [f"cpu, four: {name}" for name in rounds]
    for variant in comparison.variants:
        for figures in (variant.seconds, variant.cpu_seconds, variant.peak_mib):
            assert len(figures) == 2
            assert min(figures) > 0
    assert json.dumps(dataclasses.asdict(comparison))


def test_too_little_memory_is_an_outcome(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "HEAP_MIB", 20)
    case = Case("sales", "100,000 rows", 100_000, ("Polars",), ("lodash",))
    comparison = compare.compare(case, 1, 0, place, lambda _: None)
    assert [(v.note, len(v.seconds)) for v in comparison.variants] == [
        ("", 1),
        ("out of memory", 0),
    ]


def test_a_failure_cancels_the_others_but_in_the_plain_form(place: Place) -> None:
    values = compare.observe_failures(place).values
    failure = {"failure": ["500 Internal Server Error"]}
    cancelled = failure | {"finished": 1, "aborted": 9}
    assert values == {
        "python, TaskGroup": cancelled,
        "typescript, AbortController": cancelled,
        "typescript, Promise.all": failure | {"finished": 10, "aborted": 0},
    }


@pytest.mark.parametrize(
    ("language", "variant"),
    [
        *(
            ("python", name)
            for name in ("pandas", "Polars", "pandas in memory", "Polars in memory")
        ),
        *(("typescript", name) for name in ("lodash", "plain", "lodash in memory")),
    ],
)
def test_sums_are_exact_to_the_cent(language: compare.Language, variant: str, place: Place) -> None:
    revenue: dict[str, Decimal] = defaultdict(Decimal)
    with sales_csv(place.room, 3000).open(encoding="utf-8", newline="") as file:
        for sale in csv.DictReader(file):
            revenue[sale["category"]] += Decimal(sale["revenue"])
    highest_first = sorted(revenue.items(), key=lambda item: item[1], reverse=True)
    cents = [[category, int(total * 100)] for category, total in highest_first]
    case = Case("sales", "3,000 rows", 3000, (), ())
    assert json.loads(compare.run(case, language, variant, 0, place)["answer"]) == cents


def test_a_last_line_counts_that_nothing_ends(place: Place) -> None:
    rows = "\n".join(["2024-01-31,Toys,Toys 1,1,0.10"] * 3)
    sales = f"date,category,product,quantity,revenue\n{rows}\n2024-12-31,Books,Books 1,1,0.29"
    (place.room / "sales-4.csv").write_text(sales, "ascii")
    for language, variant in Case("sales", "", 4, *compare.SALES).variants:
        case = Case("sales", "4 rows", 4, (), ())
        answer = compare.run(case, language, variant, 0, place)["answer"]
        assert answer == '[["Toys",30],["Books",29]]', variant


def test_the_sales_are_the_same_for_a_seed_and_a_number_of_rows(tmp_path: Path) -> None:
    def made(name: str, seed: int) -> bytes:
        (tmp_path / name).mkdir(exist_ok=True)
        return sales_csv(tmp_path / name, 1000, seed).read_bytes()

    one = made("one", 1)
    assert one == made("another", 1)
    assert one != made("third", 2)
    assert one == made("one", 2), "a file that is there stays"
    lines = one.decode("ascii").splitlines()
    assert lines[0] == "date,category,product,quantity,revenue"
    assert len(lines) == 1001
    row = re.compile(r"2024-\d\d-\d\d,[A-Z][a-z]+,[A-Z][a-z]+ \d+,[1-9],\d+\.\d\d")
    assert all(row.fullmatch(line) for line in lines[1:])


def test_both_checkers_name_mistakes_that_run(tmp_path: Path) -> None:
    values = compare.observe_mistakes(tmp_path).values
    assert values["mypy"]["greetings"] == ["Hello, 42!", "Hello, None!"]
    assert values["tsc"]["greetings"] == ["Hello, 42!", "Hello, undefined!"]
    messages: dict[str, list[str]] = {
        "mypy": [
            r"greeting\.py:14: .*\"int\"; expected \"str\"",
            r"greeting\.py:15: .*\| None\"; ",
        ],
        "tsc": [
            r"greeting\.ts\(13,.*TS2345: .*'number'",
            r"greeting\.ts\(14,.*TS2345: .*undefined'",
        ],
    }
    for checker, patterns in messages.items():
        for pattern, message in zip(patterns, values[checker]["messages"], strict=True):
            assert re.match(pattern, message)


@pytest.mark.parametrize("topic", TOPICS)
def test_twins_have_the_same_functions_in_the_same_order(topic: str) -> None:
    python = [
        re.sub("_(.)", lambda found: found[1].upper(), node.name)
        for node in ast.parse((compare.HERE / f"{topic}.py").read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_"
    ]
    source = (compare.HERE / f"{topic}.ts").read_text("utf-8")
    typescript = re.findall(r"^export (?:async )?function\*? (\w+)", source, re.MULTILINE)
    alone = {name.partition(".")[2] for name in ALONE if name.startswith(f"{topic}.")}
    assert {*python} ^ {*typescript} == alone
    assert [name for name in python if name not in alone] == [
        name for name in typescript if name not in alone
    ]


@pytest.mark.parametrize("full", [False, True])
def test_as_often_as_was_said(full: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How often `advance` is called; no case is run."""

    def run(*_: object) -> dict[str, Any]:
        return {"answer": "[]", "seconds": 1.0, "cpu_seconds": 1.0, "peak_mib": 1.0}

    monkeypatch.setattr(compare, "run", run)
    monkeypatch.setattr(compare, "sales_csv", lambda *_: None)
    told: list[str] = []
    comparisons, observations = compare.measure(full, tmp_path, told.append)
    assert len(told) == compare.count(full)
    assert len(observations) == 2
    assert {comparison.topic for comparison in comparisons} == {*TOPICS} - {"greeting"}
