"""What the numbers say of the project's own bars, and of the article's claims.

    python -m benchmarks.claims FILE   the article's table as Markdown, of the results in the file

Every verdict comes from the numbers by a rule, so that any run gets its own. A claim says between
which bounds a ratio lies. It holds where all medians do. Where all are beyond on one side it is
wrong; else it depends, and the verdict names the cases.
"""

import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from benchmarks.article.compare import (
    OUT_OF_MEMORY,
    Comparison,
    Language,
    Variant,
)
from benchmarks.results import Results, read
from benchmarks.services import Cell

ENGINES = {"sqlite": "SQLite", "postgres": "PostgreSQL"}
OPERATIONS = {
    "get": "get by id",
    "list": "list of 50",
    "create": "create",
    "conditional": "conditional get",
    "mixed": "mixed",
}

# The CPU that a request may take, as a multiple of what another contender takes.
CPU_BARS = (
    ("get", "postgres", "FastAPI", "bare ASGI", 3.5),
    ("get", "postgres", "FastAPI", "plain FastAPI", 0.5),
    ("get", "postgres", "Hono", "node:http", 1.8),
    ("get", "postgres", "Hono", "plain Hono", 0.8),
    ("get", "sqlite", "FastAPI", "bare ASGI", 5),
    ("get", "sqlite", "Hono", "node:http", 2.5),
    *(
        (operation, engine, ours, f"observed {ours}", bar)
        for operation in ("get", "list", "mixed")
        for engine in ("postgres", "sqlite")
        for ours, bar in (("FastAPI", 0.4), ("Hono", 0.8))
    ),
)
TAIL_BAR = 5
# Milliseconds from a change's answer to its event, whichever instances they come from.
DELIVERY_BAR = 50
GROWTH_BAR = 1.05
OURS = ("FastAPI", "Hono")

Bounds = tuple[float, float]
SIMILAR: Bounds = (1 / 1.25, 1.25)
JSON_FASTER: Bounds = (1.5, 2)
# Faster by a twentieth at least: less is lost in what a machine does beside.
FASTER: Bounds = (1.05, inf)
UNMATCHED: Bounds = (1 / 1.25, inf)
NO_EQUIVALENT: Bounds = (0, 1 / 1.25)

LANGUAGES = ("Python", "TypeScript")
CPU_KINDS = {
    "integers": "pure code (integers)",
    "integers above 2 ** 31": "pure code (integers above 2 ** 31)",
    "floats": "pure code (floats)",
    "hashes": "native hashing",
    "integers four times, in turn": "pure code four times (in turn)",
    "integers four times, in threads": "pure code four times (in threads)",
    "integers four times, in processes": "pure code four times (in processes)",
}
# Of what is alike on both sides: what each article's reader would write, and one's own connections.
HTTP_PAIRS = (("httpx.get", "fetch"), ("httpx.Client", "fetch"), ("httpx.Client", "http.Agent"))


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as much one took as the other: over the rounds, of which each has its own."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Limit:
    """A bar of the project's own."""

    what: str
    measured: Ratio
    bar: float
    unit: str = "×"

    @property
    def kept(self) -> bool:
        """Whether the median is no higher than the bar."""
        return self.measured.median <= self.bar


@dataclass(frozen=True, slots=True)
class Claim:
    """What the article says, and what was measured.

    A ratio tells how many times as fast the second of the sides is as the first. An empty verdict
    stands for nothing measured.
    """

    section: str
    claim: str
    measured: list[tuple[str, Ratio | str]]
    verdict: str
    sides: tuple[str, str] = LANGUAGES
    bounds: Bounds | None = None
    note: str = ""


def ratio(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """The ratio of two lists with a number a round each, taken within each round."""
    ratios = [over / under for over, under in zip(above, below, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def limits(results: Results) -> list[Limit]:
    """The project's own bars, without those for which nothing was measured."""
    cpu = _cpu(results.cells)
    found = [
        Limit(
            f"CPU per request, {OPERATIONS[operation]} on {ENGINES[engine]}: {ours} against {other}",
            ratio(cpu[engine, operation, ours], cpu[engine, operation, other]),
            bar,
        )
        for operation, engine, ours, other, bar in CPU_BARS
        if (engine, operation, ours) in cpu and (engine, operation, other) in cpu
    ]
    found += [
        Limit(
            f"At half load, {OPERATIONS[half.operation]} on {ENGINES[half.engine]}: "
            f"p99 of {half.contender} against its p50",
            ratio(half.p99_ms, half.p50_ms),
            TAIL_BAR,
        )
        for half in results.half_loads
        if half.contender in OURS
    ]
    found += [
        Limit(
            f"Memory over {soak.requests[-1]:,} requests on {ENGINES[soak.engine]}, "
            f"{soak.contender}: last quarter of the looks against the median of the second",
            growth(soak.memory_mib),
            GROWTH_BAR,
        )
        for soak in results.soaks
        if soak.contender in OURS and len(soak.memory_mib) >= 4
    ]
    found += [
        Limit(
            f"{delivery.writer} creates a user, and a stream of {delivery.contender} tells of it: p99 "
            f"on {ENGINES[delivery.engine]}",
            Ratio(statistics.median(delivery.p99_ms), min(delivery.p99_ms), max(delivery.p99_ms)),
            DELIVERY_BAR,
            " ms",
        )
        for delivery in results.deliveries
        if delivery.contender in OURS and delivery.streams == 1
    ]
    return found


def growth(memory: Sequence[float]) -> Ratio:
    """The last quarter of at least four looks against the median of the second quarter."""
    quarter = len(memory) // 4
    before = statistics.median(memory[quarter : 2 * quarter])
    after = [look / before for look in memory[-quarter:]]
    return Ratio(statistics.median(after), min(after), max(after))


def claims(results: Results) -> list[Claim]:
    """The lines of the article's table, then what else it claims; each with its verdict."""
    return [
        _json(results),
        _http(results),
        _of_topics(
            results,
            "CPU-bound",
            ("cpu",),
            "Pure code is what the language runs itself, native code what the runtime brings along. "
            "Python's threads take turns, one at a time, where it has its global lock. Gains are of "
            "the medians, as these weren't timed in the same rounds.",
            more=_gains(results),
        ),
        _of_topics(
            results,
            "I/O-bound",
            ("files", "fetch_all"),
            "Timers, copies of files, and requests that each wait 50 ms, all started at once.",
        ),
        _dataframes(results),
        _pandas(results),
        _services(
            results,
            "Frameworks",
            "Hono is faster than Express",
            ("Express", "Hono"),
            "By the CPU that a request takes. Express runs on our own store and does what Hono's routes do.",
        ),
        _services(
            results,
            "Services",
            "JavaScript is the one for APIs and microservices",
            ("FastAPI", "Hono"),
            "By the CPU that a request takes, of one service with one contract, built twice.",
        ),
        _types(results),
    ]


def verdict(
    ratios: Sequence[tuple[str, Ratio]],
    bounds: Bounds,
    sides: tuple[str, str] = LANGUAGES,
    beyond: tuple[str, str] = ("wrong", "wrong"),
    cases: str = "on",
) -> str:
    """What the medians say of the claim that they lie within the bounds; empty without any.

    `beyond` tells what the claim is where all are too low, or too high; `cases` introduces them.
    """
    low, high = bounds
    below = [named for named in ratios if named[1].median < low]
    above = [named for named in ratios if named[1].median > high]
    within = [named for named in ratios if low <= named[1].median <= high]
    groups = [group for group in (within, above, below) if group]
    if not groups:
        return ""
    if len(groups) == 1:
        return f"{'holds' if within else beyond[bool(above)]}: {_times(ratios, sides)}"
    parts = [
        ("similar" if group is within and bounds == SIMILAR else _times(group, sides))
        + f" {cases} {_names(group, ratios)}"
        for group in groups
    ]
    return f"depends: {'; '.join(parts)}"


def markdown(results: Results) -> str:
    """The bars and the article's claims as tables, and a line with what the results were made by.

    Cases of one kind share a row: from the lowest median to the highest one. The verdict stands in
    a claim's first row, in one word; the page says of which cases it is true.
    """
    lines = ["| What | Measured | Bar |", "| --- | --- | --- |"]
    for limit in limits(results):
        kept = "" if limit.kept else ", not kept"
        measured = spread(limit.measured, limit.unit)
        lines.append(f"| {limit.what} | {measured} | {limit.bar:g}{kept} |")
    lines += [
        "",
        "| Claim | Verdict | Measured here | Who is how many times as fast (lowest–highest round) |",
        "| --- | --- | --- | --- |",
    ]
    for claim in claims(results):
        kinds: dict[str, list[tuple[str, Ratio]]] = {}
        for what, value in claim.measured:
            if isinstance(value, Ratio):
                kinds.setdefault(what.partition(" (")[0], []).append((what, value))
        rows = [_summary(kind, cases, claim.sides) for kind, cases in kinds.items()]
        rows = rows or [(what, str(value)) for what, value in claim.measured] or [("–", "–")]
        verdict = claim.verdict.partition(":")[0] or "not measured"
        first = (f"**{claim.section}.** {claim.claim}", verdict)
        for beginning, row in zip([first, *[("", "")] * len(rows)], rows, strict=False):
            cells = [cell.replace("|", "&#124;") for cell in (*beginning, *row)]
            lines.append(f"| {' | '.join(cells)} |")
    made = "; ".join(f"{name}: {value}" for name, value in results.made.items())
    return "\n".join([*lines, "", made, ""])


def _summary(
    kind: str, cases: Sequence[tuple[str, Ratio]], sides: tuple[str, str]
) -> tuple[str, str]:
    if len(cases) == 1:
        [(what, value)] = cases
        return what, said(value, sides)
    lowest = min((value for _, value in cases), key=lambda value: value.median)
    highest = max((value for _, value in cases), key=lambda value: value.median)
    return f"{kind}, {len(cases)} cases", f"{said(lowest, sides)} to {said(highest, sides)}"


def said(value: Ratio | str, sides: tuple[str, str] = LANGUAGES) -> str:
    """How many times as fast which side is, with the lowest and the highest; a text as it is."""
    if isinstance(value, str):
        return value
    side, times = faster(value, sides)
    return f"{side} {spread(times)}"


def faster(value: Ratio, sides: tuple[str, str]) -> tuple[str, Ratio]:
    """Which side is faster, and how many times."""
    if value.median >= 1:
        return sides[1], value
    return sides[0], Ratio(1 / value.median, 1 / value.high, 1 / value.low)


def spread(value: Ratio, unit: str = "×") -> str:
    """The median, the lowest and the highest: "3.20× (3.10–3.40)"."""
    return f"{number(value.median)}{unit} ({number(value.low)}–{number(value.high)})"


def number(value: float) -> str:
    """With three digits, or as a whole number where that has more."""
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:,.{digits}f}"


def _cpu(cells: Iterable[Cell]) -> dict[tuple[str, str, str], list[float]]:
    """The CPU per request by engine, operation and contender."""
    return {(cell.engine, cell.operation, cell.contender): cell.cpu_us for cell in cells}


def _times(ratios: Sequence[tuple[str, Ratio]], sides: tuple[str, str]) -> str:
    """Between which numbers the medians lie: "TypeScript is 4.0 to 36 times as fast"."""
    first, second = sides
    medians = [measured.median for _, measured in ratios]
    if max(medians) < 1:
        return f"{first} is {_range([1 / median for median in medians])} times as fast"
    return f"{second} is {_range(medians)} times as fast"


def _range(values: Sequence[float]) -> str:
    low, high = (
        f"{value:,.{2 if value < 1.995 else 1 if value < 9.95 else 0}f}"
        for value in (min(values), max(values))
    )
    return low if low == high else f"{low} to {high}"


def _names(group: Iterable[tuple[str, Ratio]], ratios: Iterable[tuple[str, Ratio]]) -> str:
    """The group's cases, of all that there are; a kind whose cases all are in it, by its name."""
    kinds, every = _by_kind(group), _by_kind(ratios)
    return ", ".join(
        kind if cases == every[kind] else f"{kind} ({'; '.join(cases)})"
        for kind, cases in kinds.items()
    )


def _by_kind(ratios: Iterable[tuple[str, Ratio]]) -> dict[str, list[str]]:
    """What stands in parentheses, by what stands before them."""
    kinds: dict[str, list[str]] = {}
    for what, _ in ratios:
        kind, _, case = what.partition(" (")
        kinds.setdefault(kind, []).append(case.removesuffix(")"))
    return kinds


def _of(results: Results, *topics: str) -> list[Comparison]:
    return [one for topic in topics for one in results.comparisons if one.topic == topic]


def _pairs(
    comparison: Comparison, chosen: Callable[[Variant, Variant], bool] = lambda *_: True
) -> list[tuple[Variant, Variant, Ratio]]:
    """Each way of Python's against each of TypeScript's, those chosen, where both were timed."""
    python, typescript = (_timed(comparison, language) for language in ("python", "typescript"))
    return [
        (one, other, ratio(one.seconds, other.seconds))
        for one in python
        for other in typescript
        if chosen(one, other)
    ]


def _timed(comparison: Comparison, language: Language | None = None) -> list[Variant]:
    """The variants with times; one that ran out of memory at last has none that count."""
    return [
        variant
        for variant in comparison.variants
        if language in (None, variant.language)
        and variant.seconds
        and variant.note != OUT_OF_MEMORY
    ]


def _json(results: Results) -> Claim:
    named = [
        (comparison.case, measured)
        for comparison in _of(results, "json_documents")
        for _, _, measured in _pairs(comparison)
    ]
    parsing = [one for one in named if one[0].startswith("parse")]
    return Claim(
        "JSON parsing",
        "JavaScript is 1.5 to 2 times as fast",
        [*named],
        verdict(parsing, JSON_FASTER, beyond=("too high", "too low")),
        bounds=JSON_FASTER,
        note="The claim is about parsing; writing stands beside it and isn't judged.",
    )


def _http(results: Results) -> Claim:
    named = [
        (f"{one.variant} and {other.variant} ({comparison.case})", measured)
        for comparison in _of(results, "http_requests")
        for one, other, measured in _pairs(
            comparison, lambda one, other: (one.variant, other.variant) in HTTP_PAIRS
        )
    ]
    return Claim(
        "HTTP requests",
        "both are similar",
        [*named],
        verdict(named, SIMILAR, cases="with"),
        bounds=SIMILAR,
        note="One request after the other. httpx.get makes its client anew each time. The fetch of "
        "Node 24.19 (undici) sets a timer of about 1 ms before each reuse of a connection, "
        "nodejs/undici#5493, so it is slow at just this.",
    )


def _of_topics(
    results: Results,
    section: str,
    topics: Sequence[str],
    note: str,
    more: Iterable[tuple[str, str]] = (),
) -> Claim:
    """A line that says both are similar; `more` stands beside the ratios and isn't judged."""
    named = [
        (_what(comparison), measured)
        for comparison in _of(results, *topics)
        for _, _, measured in _pairs(comparison)
    ]
    return Claim(
        section,
        "both are similar",
        [*named, *more],
        verdict(named, SIMILAR),
        bounds=SIMILAR,
        note=note,
    )


def _gains(results: Results) -> list[tuple[str, str]]:
    """How many times as fast four at once are as four in turn, in each language by itself."""
    cases = {comparison.case: _timed(comparison) for comparison in _of(results, "cpu")}
    found = []
    for how in ("threads", "processes"):
        in_turn = cases.get("integers four times, in turn", [])
        at_once = cases.get(f"integers four times, in {how}", [])
        gains = [
            f"{LANGUAGES[one.language == 'typescript']} {number(_median(one) / _median(other))}×"
            for one in in_turn
            for other in at_once
            if one.language == other.language
        ]
        if gains:
            found.append((f"what four {how} gain", ", ".join(gains)))
    return found


def _dataframes(results: Results) -> Claim:
    """Judged by the best of each language at each size."""
    measured: list[tuple[str, Ratio | str]] = []
    best = []
    for comparison in _of(results, "sales"):
        pairs = _pairs(comparison)
        measured += [
            (f"{library(one)} and {library(other)} ({comparison.case})", value)
            for one, other, value in pairs
        ]
        measured.append((f"peak memory ({comparison.case})", _peaks(comparison)))
        if pairs:
            fastest = {
                id(min(_timed(comparison, language), key=_median))
                for language in ("python", "typescript")
            }
            best += [
                (comparison.case, value)
                for one, other, value in pairs
                if {id(one), id(other)} == fastest
            ]
    return Claim(
        "Dataframes",
        "Python has pandas, JavaScript no equivalent",
        measured,
        verdict(best, NO_EQUIVALENT),
        bounds=NO_EQUIVALENT,
        note="The same sums from a CSV file, or from rows in memory. The verdict sets the fastest "
        "of each language against each other: it is about the work, not about how many functions "
        "a library has.",
    )


def _pandas(results: Results) -> Claim:
    """Judged by pandas against each other way, Polars included."""
    measured: list[tuple[str, Ratio | str]] = []
    ratios = []
    for comparison in _of(results, "sales"):
        pandas = [one for one in _timed(comparison) if library(one) == "pandas"]
        for other in comparison.variants:
            what = f"{library(other)} ({comparison.case})"
            if other.note == OUT_OF_MEMORY:
                measured.append((what, OUT_OF_MEMORY))
            elif pandas and other is not pandas[0]:
                ratios.append((what, ratio(other.seconds, pandas[0].seconds)))
                measured.append(ratios[-1])
    sides = ("another", "pandas")
    return Claim(
        "Data",
        "pandas is unmatched",
        measured,
        verdict(ratios, UNMATCHED, sides, cases="against"),
        sides,
        UNMATCHED,
        "pandas against each other way; matched is what takes less than 1/1.25 of its time.",
    )


def _what(comparison: Comparison) -> str:
    """What is compared; before the parenthesis what it has in common with others."""
    if comparison.topic == "fetch_all":
        return f"requests ({comparison.case})"
    return CPU_KINDS.get(comparison.case, comparison.case)


def library(variant: Variant) -> str:
    """The library's name."""
    return variant.variant.removesuffix(" in memory")


def _median(variant: Variant) -> float:
    return statistics.median(variant.seconds)


def _peaks(comparison: Comparison) -> str:
    """The most memory that each way took."""
    return ", ".join(
        f"{library(one)} {OUT_OF_MEMORY}"
        if one.note == OUT_OF_MEMORY
        else f"{library(one)} {statistics.median(one.peak_mib):,.0f} MiB"
        for one in comparison.variants
        if one.note == OUT_OF_MEMORY or one.peak_mib
    )


def _services(
    results: Results, section: str, claim: str, sides: tuple[str, str], note: str
) -> Claim:
    """Judged by the CPU that a request takes, of each engine and operation."""
    cpu = _cpu(results.cells)
    first, second = sides
    named = [
        (
            f"{OPERATIONS[operation]} ({ENGINES[engine]})",
            ratio(cpu[engine, operation, first], cpu[engine, operation, second]),
        )
        for engine in ENGINES
        for operation in OPERATIONS
        if (engine, operation, first) in cpu and (engine, operation, second) in cpu
    ]
    return Claim(section, claim, [*named], verdict(named, FASTER, sides), sides, FASTER, note)


def _types(results: Results) -> Claim:
    """Judged by what each checker says of the same mistakes, and whether these run regardless."""
    values: dict[str, Any] = {}
    for observation in results.observations:
        if observation.topic == "greeting":
            values |= observation.values
    measured: list[tuple[str, Ratio | str]] = [
        (
            name,
            (
                f"{len(seen['messages'])} mistakes named in {seen['seconds']:.1f} s; "
                f"run regardless: {', '.join(seen['greetings'])}"
            ),
        )
        for name, seen in values.items()
    ]
    named, ran = ({len(seen[key]) for seen in values.values()} for key in ("messages", "greetings"))
    alike = len(named) == len(ran) == 1 and named == ran and 0 not in named
    held = "holds: both name the same mistakes, and neither stops them at run time"
    missed = "wrong: they don't name the same mistakes, or one stops them at run time"
    return Claim(
        "Types",
        "mypy and TypeScript are both optional, and recommended",
        measured,
        "" if not values else held if alike else missed,
        note="Two mistakes, the same in both languages.",
    )


def main(arguments: Sequence[str]) -> None:
    """Print the table of the file that is named."""
    (file,) = arguments
    print(markdown(read(Path(file))), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
