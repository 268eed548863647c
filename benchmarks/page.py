"""The page: what was measured, drawn; what it says of the bars and of the article's claims.

    python -m benchmarks.page FILE > page.html   of the results in the file

It is one file of HTML without a script, that asks no network. What is drawn also stands as text.
"""

import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, inf, log10
from pathlib import Path

from benchmarks import streams
from benchmarks.article.compare import Comparison, Observation
from benchmarks.claims import (
    ENGINES,
    OPERATIONS,
    Claim,
    Limit,
    Ratio,
    claims,
    faster,
    growth,
    library,
    limits,
    number,
    ratio,
    spread,
)
from benchmarks.results import Results, read
from benchmarks.servers import contenders
from benchmarks.services import USERS, Cell, HalfLoad, Soak, Start
from benchmarks.streams import Delivery

CSS = Path(__file__).with_suffix(".css")
TITLE = "Two backends, measured"

NAMES = {"python": "Python", "typescript": "TypeScript"}
COLOURS = {name: language for language, name in NAMES.items()}
TAGS = {"python": "PY", "typescript": "TS"}
LIMITS = {"python": "bare ASGI", "typescript": "node:http"}
REMARKS = {"conditional": "answered with 304", "mixed": "8 gets, 1 list, 1 create"}
TOPICS = {
    "json_documents": "JSON",
    "http_requests": "HTTP requests",
    "cpu": "CPU-bound",
    "files": "I/O-bound: files and timers",
    "fetch_all": "I/O-bound: many requests at once",
    "sales": "Dataframes: revenue by category",
}
# Where one bar is more than so many times as long as another, their scale is logarithmic.
LINEAR_UP_TO = 20
UNITS = ((1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
# Of a drawing of memory: its width and height, and what its text takes.
WIDTH, HEIGHT, TEXT = 420, 90, 14

METHOD = (
    f"All contenders of an engine run at once on one database of {USERS:,} users, and each round asks "
    "one after the other, in turning order, so that whatever else the machine does slows all of "
    "them. Servers have one core for themselves where CPU is measured, which is what the operating "
    "system says that a server took; where it is time, the system spreads all as it does where a "
    "service runs. A ratio is taken within each round; what is shown is the median of the rounds, "
    "and from the lowest to the highest."
)


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of a panel; without values, the remark alone."""

    name: str
    language: str
    values: Sequence[float]
    remark: str = ""


def render(results: Results) -> str:
    """The page as HTML."""
    judged, bars = claims(results), limits(results)
    languages: dict[str, str] = {one.name: one.language for one in contenders()}
    languages |= {cell.contender: cell.language for cell in results.cells}
    sections = {
        "Bars": _limits(bars),
        "Services": _services(results.cells),
        "Start": _starts(results.starts, languages),
        "Half load": _half_loads(results.half_loads, languages),
        "Streams": _deliveries(results.deliveries),
        "Memory": _soaks(results.soaks, languages),
        "Claims": _claims(judged),
        "Times": _comparisons(results.comparisons),
        "Observations": _observations(results.observations),
    }
    shown = {name: text for name, text in sections.items() if text}
    links = "".join(f'<a href="#{_anchor(name)}">{name}</a>' for name in shown)
    body = "".join(
        f'<section id="{_anchor(name)}" aria-label="{name}">{text}</section>'
        for name, text in shown.items()
    )
    made = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in results.made.items()
    )
    return f"""{head(TITLE)}<body>
<header class="hero">
<div><h1>{TITLE}</h1>
<p class="quiet">One users service, built in Python with FastAPI and in TypeScript with Hono: what \
it costs, against the limit of each language and against what others write; and what an article \
claims of the two languages.</p></div>
{_numbers(results, bars, judged)}
</header>
<nav class="views" aria-label="Sections">{links}</nav>
<main>
<section id="measured" aria-label="What was measured"><h2>What was measured</h2>
<p>{METHOD}</p><dl class="made">{made}</dl></section>
{body}
</main>
<footer>This file is all there is to it: it asks no network.</footer>
</body>
</html>
"""


def head(title: str, style: str = "") -> str:
    """What stands before a page's body; `style` comes after what all pages look like."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{CSS.read_text("utf-8")}{style}</style>
</head>
"""


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def _numbers(results: Results, bars: Sequence[Limit], judged: Sequence[Claim]) -> str:
    """What stands at the top: a number, what it counts, a remark."""
    numbers = []
    if bars:
        kept = sum(bar.kept for bar in bars)
        numbers.append((f"{kept} of {len(bars)}", "bars kept", "the project's own"))
    verdicts = [_kind(claim) for claim in judged if claim.verdict]
    if verdicts:
        held = f"{verdicts.count('yes')} of {len(verdicts)}"
        rest = f"{verdicts.count('depends')} depend, {verdicts.count('no')} wrong"
        numbers.append((held, "claims hold", rest))
    for engine, name in ENGINES.items():
        cpu = {
            cell.contender: cell.cpu_us
            for cell in results.cells
            if (cell.engine, cell.operation) == (engine, "get")
        }
        if "FastAPI" in cpu and "Hono" in cpu:
            times = f"{number(ratio(cpu['FastAPI'], cpu['Hono']).median)}×"
            numbers.append((times, "FastAPI's CPU by Hono's", f"get by id on {name}"))
    items = "".join(
        f"<li><strong>{shown}</strong>{what} <small>{remark}</small></li>"
        for shown, what, remark in numbers
    )
    return f'<ul class="numbers">{items}</ul>' if items else ""


def _limits(bars: Sequence[Limit]) -> str:
    if not bars:
        return ""
    rows = [
        (
            escape(bar.what),
            spread(bar.measured, bar.unit),
            f"≤ {bar.bar:g}{bar.unit}",
            _verdict("kept" if bar.kept else "not kept", "yes" if bar.kept else "no"),
        )
        for bar in bars
    ]
    return (
        "<h2>The bars, kept or not</h2><p>What the project asks of itself. The median decides; the "
        "lowest and the highest stand beside it.</p>"
        + _table("rows verdicts limits", ("What", "Measured", "Bar", "Kept"), rows)
    )


def _verdict(text: str, kind: str) -> str:
    """The verdict's own words stand out from what they are about."""
    word, colon, rest = text.partition(":")
    return f'<span class="verdict {kind}">{escape(word)}</span>{colon}{escape(rest)}'


def _table(kind: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML; the first of each row names it."""
    heads = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    return f'<table class="{kind}"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>'


def _services(cells: Sequence[Cell]) -> str:
    if not cells:
        return ""
    text = (
        "<h2>The services</h2><p>Microseconds of CPU that a server takes for a request: the bar is "
        "the median, the line across goes from the lowest to the highest round. The number at the "
        "end is the multiple of the language's limit: bare ASGI, and node:http, each with the "
        "database's driver and nothing between. Each panel has a scale of its own.</p>"
    )
    for engine, name in ENGINES.items():
        its = [cell for cell in cells if cell.engine == engine]
        panels = "".join(
            _panel(OPERATIONS[operation], _with("CPU, µs", REMARKS.get(operation)), bars, number)
            for operation in OPERATIONS
            if (bars := _cpu_bars([cell for cell in its if cell.operation == operation]))
        )
        if panels:
            text += f'<h3>On {name}</h3><div class="panels">{panels}</div>{_details(name, its)}'
    return text


def _with(text: str, remark: str | None) -> str:
    return f"{text}; {remark}" if remark else text


def _cpu_bars(cells: Sequence[Cell]) -> list[Bar]:
    """A bar each; with the multiple of the language's limit, where that was measured."""
    limit = {cell.contender: cell.cpu_us for cell in cells}
    return [
        Bar(
            cell.contender,
            cell.language,
            cell.cpu_us,
            f"{number(ratio(cell.cpu_us, below).median)}×"
            if (below := limit.get(LIMITS[cell.language]))
            else "",
        )
        for cell in cells
    ]


def _details(name: str, cells: Sequence[Cell]) -> str:
    """All else that was measured beside the CPU."""
    rows = [
        (
            f"{_tag(cell.language)} {escape(cell.contender)}",
            OPERATIONS[cell.operation],
            *(
                _numbers_of(values)
                for values in (
                    cell.requests_per_second,
                    cell.p50_ms,
                    cell.p99_ms,
                    cell.memory_mib,
                    cell.generator_us,
                )
            ),
        )
        for operation in OPERATIONS
        for cell in cells
        if cell.operation == operation
    ]
    head = ("Contender", "Operation", "Requests/s", "p50, ms", "p99, ms", "Memory, MiB")
    table = _table("rows", (*head, "Generator's CPU, µs"), rows)
    label = f"Requests a second, times, memory and the generator's own CPU on {name}"
    return f"<details><summary>{label}</summary>{_scroll(label, table)}</details>"


def _scroll(label: str, table: str) -> str:
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">{table}</div>'


def _numbers_of(values: Sequence[float]) -> str:
    low, median, high = (number(value) for value in _spread(values))
    return f'{median} <small class="quiet">{low}–{high}</small>'


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


def _tag(language: str) -> str:
    return f'<abbr class="language" title="{NAMES[language]}">{TAGS[language]}</abbr>'


def _panel(
    title: str,
    unit: str,
    bars: Sequence[Bar],
    shown: Callable[[float], str],
    linear_up_to: float = inf,
) -> str:
    """A table with a bar in each row; on a logarithmic scale where the medians differ by more.

    A value may be none at all, or less: what is a difference of two, and too small to see.
    """
    every = [value for bar in bars for value in bar.values if value > 0]
    highest, lowest = max(every, default=1), min(every, default=1)
    medians = [max(statistics.median(bar.values), lowest) for bar in bars if bar.values]
    logarithmic = bool(medians) and max(medians) / min(medians) > linear_up_to
    first, last = floor(log10(lowest)), ceil(log10(highest))

    def place(value: float) -> str:
        value = max(value, lowest if logarithmic else 0)
        share = (log10(value) - first) / (last - first) if logarithmic else value / highest
        return f"{100 * share:.2f}%"

    rows = ""
    for bar in bars:
        rows += f'<tr><th scope="row">{_tag(bar.language)} {escape(bar.name)}</th>'
        if bar.values:
            low, median, high = _spread(bar.values)
            scale = f";--decades:{last - first}" if logarithmic else ""
            kind = f"bar {bar.language}{' log' if logarithmic else ''}"
            style = f"--low:{place(low)};--median:{place(median)};--high:{place(high)}{scale}"
            rows += (
                f'<td><span class="{kind}" style="{style}" title="{shown(low)} to {shown(high)}">'
                f'</span></td><td class="value">{shown(median)}'
                f'<span class="unseen"> ({shown(low)} to {shown(high)})</span></td>'
                f'<td class="remark">{escape(bar.remark)}</td></tr>'
            )
        else:
            rows += f'<td colspan="3" class="quiet">{escape(bar.remark)}</td></tr>'
    if logarithmic:
        unit += "; logarithmic: from line to line ten times as much"
    caption = f"<strong>{escape(title)}</strong> <small>{escape(unit)}</small>"
    table = f"<table><caption>{caption}</caption><tbody>{rows}</tbody></table>"
    return f'<div class="panel">{table}</div>'


def _starts(starts: Sequence[Start], languages: Mapping[str, str]) -> str:
    if not starts:
        return ""
    panels = ""
    for engine, name in ENGINES.items():
        bars = [
            Bar(start.contender, languages[start.contender], start.seconds)
            for start in starts
            if start.engine == engine
        ]
        if bars:
            panels += _panel(f"On {name}", "seconds", bars, number)
    return (
        "<h2>Start</h2><p>From the start of the process to its first answer, with a database whose "
        "schema is there.</p>"
        f'<div class="panels">{panels}</div>'
    )


def _half_loads(half_loads: Sequence[HalfLoad], languages: Mapping[str, str]) -> str:
    if not half_loads:
        return ""
    panels = ""
    for engine, name in ENGINES.items():
        for operation, title in OPERATIONS.items():
            bars = [
                Bar(
                    half.contender,
                    languages[half.contender],
                    half.p99_ms,
                    f"{number(ratio(half.p99_ms, half.p50_ms).median)}×",
                )
                for half in half_loads
                if (half.engine, half.operation) == (engine, operation)
            ]
            if bars:
                panels += _panel(f"{title} on {name}", "p99, ms", bars, number)
    rows = [
        (
            f"{_tag(languages[half.contender])} {escape(half.contender)}",
            f"{OPERATIONS[half.operation]} on {ENGINES[half.engine]}",
            *map(_numbers_of, (half.rate, half.p50_ms, half.p99_ms)),
        )
        for half in half_loads
    ]
    label = "Rates, p50 and p99 at half load"
    table = _table("rows", ("Contender", "Operation", "Requests/s", "p50, ms", "p99, ms"), rows)
    return (
        "<h2>Half load</h2><p>How long the slowest hundredth of requests takes at half the rate at "
        "which a contender is saturated, when they come at random moments, so that some wait for "
        "others. The number at the end is the multiple of its own p50.</p>"
        f'<div class="panels">{panels}</div>'
        f"<details><summary>{label}</summary>{_scroll(label, table)}</details>"
    )


def _deliveries(deliveries: Sequence[Delivery]) -> str:
    if not deliveries:
        return ""
    languages = {one.name: one.language for one in streams.contenders()}
    panels = ""
    for engine, name in ENGINES.items():
        for number_of in streams.STREAMS:
            its = [one for one in deliveries if (one.engine, one.streams) == (engine, number_of)]
            of_itself = [one for one in its if one.writer == one.contender]
            many = f"{number_of:,} streams" if number_of > 1 else "one stream"
            cpu = [Bar(one.contender, languages[one.contender], one.cpu_us) for one in of_itself]
            told = [Bar(_whose(one), languages[one.contender], one.p99_ms) for one in its]
            if its:
                panels += _panel(f"An event to {many} on {name}", "CPU, µs each", cpu, number)
                panels += _panel(f"To {many} on {name}", "told after, p99, ms", told, number)
    return (
        f"<h2>Streams</h2><p>Users are created, {streams.CHANGES_A_SECOND} a second, and clients "
        "follow. The CPU is that of an event to one client, without what the creation takes; with "
        "one client it is mostly the look into the database fifty times a second. The time goes "
        "from the creation's answer to the event. Beside ours stand the frameworks' own streams, "
        "which tell what their process holds in memory, and no more.</p>"
        f'<div class="panels">{panels}</div>'
    )


def _whose(delivery: Delivery) -> str:
    """Whose stream tells, and of whose change where that is somebody else's."""
    if delivery.writer == delivery.contender:
        return delivery.contender
    return f"{delivery.contender}, of {delivery.writer}"


def _soaks(soaks: Sequence[Soak], languages: Mapping[str, str]) -> str:
    if not soaks:
        return ""
    panels = ""
    for soak in soaks:
        language = languages[soak.contender]
        title = f"{soak.contender} on {ENGINES[soak.engine]}"
        grown = (
            f"; the last quarter is {number(growth(soak.memory_mib).median)}× the second"
            if len(soak.memory_mib) >= 4
            else ""
        )
        panels += (
            f'<figure class="panel {language}"><figcaption>{_tag(language)} '
            f"<strong>{escape(title)}</strong> <small>{OPERATIONS[soak.operation]}{grown}</small>"
            f"</figcaption>{_line(soak, title)}</figure>"
        )
    return (
        "<h2>Memory</h2><p>What a contender holds (its resident set) in the course of many "
        "requests. The lines begin at nothing, so a rise looks as large as it is.</p>"
        f'<div class="panels">{panels}</div>'
    )


def _line(soak: Soak, title: str) -> str:
    """The memory over the requests, as a line from zero."""
    most, last = max(soak.memory_mib), soak.memory_mib[-1]
    points = " ".join(
        f"{WIDTH * requests / soak.requests[-1]:.1f},{TEXT + HEIGHT * (1 - memory / most):.1f}"
        for requests, memory in zip(soak.requests, soak.memory_mib, strict=True)
    )
    bottom = TEXT + HEIGHT
    label = f"{title}: from {number(soak.memory_mib[0])} to {number(last)} MiB"
    return (
        f'<svg class="line" viewBox="0 0 {WIDTH} {bottom + TEXT}" role="img" '
        f'aria-label="{escape(label)}"><path d="M0 {bottom}H{WIDTH}"/>'
        f'<polyline points="{points}"/><text x="{WIDTH}" y="10" text-anchor="end">'
        f'{number(last)} MiB</text><text x="0" y="{bottom + TEXT - 2}">0</text>'
        f'<text x="{WIDTH}" y="{bottom + TEXT - 2}" text-anchor="end">'
        f"{soak.requests[-1]:,} requests</text></svg>"
    )


def _kind(claim: Claim) -> str:
    """How a verdict looks."""
    kinds = {"holds": "yes", "depends": "depends"}
    return kinds.get(claim.verdict.partition(":")[0], "no") if claim.verdict else ""


def _claims(judged: Sequence[Claim]) -> str:
    ratios = [value for claim in judged for _, value in claim.measured if isinstance(value, Ratio)]
    widest = max((max(value.high, 1 / value.low) for value in ratios), default=1)
    decades = max(1, ceil(log10(widest)))
    rows = [
        (
            f"<strong>{escape(claim.section)}</strong>: {escape(claim.claim)}",
            _verdict(claim.verdict or "not measured", _kind(claim)),
        )
        for claim in judged
    ]
    blocks = "".join(_claim(claim, decades) for claim in judged if claim.measured)
    if blocks:
        blocks = (
            "<h3>What was measured for each</h3><p>A dot is how many times as fast one side is as "
            "the other, on a logarithmic scale that is the same for all: in the middle they are "
            f"equal, at either end one is {10**decades:,} times as fast. Where the claim would be "
            "right, the ground is tinted.</p>"
            f"{blocks}"
        )
    return (
        "<h2>The article's claims</h2><p>Those of the performance table in \"Python vs JavaScript "
        'in 2026", and what else it says. Each verdict follows from the numbers by a rule: a claim '
        "says between which bounds a ratio lies, “similar” is from 1/1.25 to 1.25, and it holds "
        "where all medians lie within, is wrong where all are beyond on one side, and depends "
        "otherwise.</p>" + _table("rows verdicts", ("Claim", "Verdict"), rows) + blocks
    )


def _claim(claim: Claim, decades: int) -> str:
    """A claim with what was measured for it, a dot a ratio."""

    def place(value: float) -> str:
        share = 0.5 + log10(value) / decades / 2 if value > 0 else 0
        return f"{100 * min(max(share, 0), 1):.2f}%"

    low, high = claim.bounds or (1, 1)
    band = f"--from:{place(low)};--to:{place(high)}"
    rows = ""
    for what, value in claim.measured:
        rows += f'<tr><th scope="row">{escape(what)}</th>'
        if isinstance(value, str):
            rows += f'<td colspan="2">{escape(value)}</td></tr>'
            continue
        side, times = faster(value, claim.sides)
        colour = COLOURS.get(side, "")
        style = (
            f"--low:{place(value.low)};--median:{place(value.median)};--high:{place(value.high)}"
        )
        rows += (
            f'<td><span class="dot {colour}" style="{style};{band}"></span></td>'
            f'<td class="value"><span class="side">{escape(side)}</span> {spread(times)}</td></tr>'
        )
    first, second = map(escape, claim.sides)
    head = (
        '<thead><tr><th scope="col"><span class="unseen">Case</span></th><th scope="col">'
        f'<span class="directions"><span>← {first} faster</span><span>{second} faster →</span>'
        '</span></th><th scope="col" class="value">Times as fast</th></tr></thead>'
        if claim.bounds
        else ""
    )
    return (
        f'<article class="panel claim"><h4>{escape(claim.section)}: {escape(claim.claim)}</h4>'
        f"<p>{_verdict(claim.verdict or 'not measured', _kind(claim))}</p>"
        f'<table class="ratios">{head}<tbody>{rows}</tbody></table>'
        f'<p class="note">{escape(claim.note)}</p></article>'
    )


def _comparisons(comparisons: Sequence[Comparison]) -> str:
    if not comparisons:
        return ""
    text = (
        "<h2>The times behind the claims</h2><p>Seconds of the clock for one iteration, once both "
        "sides have given the same answer. Each panel has a scale of its own.</p>"
    )
    topics = dict.fromkeys([*TOPICS, *(one.topic for one in comparisons)])
    for topic in topics:
        its = [one for one in comparisons if one.topic == topic]
        if its:
            panels = "".join(_case(one) for one in its)
            title = escape(TOPICS.get(topic, topic))
            text += f'<h3>{title}</h3><div class="panels">{panels}</div>'
    return text


def _case(comparison: Comparison) -> str:
    """A panel of a comparison; of data, with the memory at its peak."""
    notes = {one.note for one in comparison.variants if one.note and one.seconds}
    with_memory = comparison.topic == "sales"
    alike = len({one.variant for one in comparison.variants}) < len(comparison.variants)
    bars = [
        Bar(
            NAMES[one.language] if alike else library(one),
            one.language,
            one.seconds,
            one.note
            if not one.seconds
            else f"{statistics.median(one.peak_mib):,.0f} MiB"
            if with_memory
            else "",
        )
        for one in comparison.variants
    ]
    unit = "; ".join(["time; at the end, peak memory" if with_memory else "time", *sorted(notes)])
    return _panel(comparison.case, unit, bars, _duration, LINEAR_UP_TO)


def _duration(seconds: float) -> str:
    """In the unit in which it is at least one."""
    size, unit = next((one for one in UNITS if seconds >= one[0]), UNITS[-1])
    return f"{number(seconds / size)} {unit}"


def _observations(observations: Sequence[Observation]) -> str:
    if not observations:
        return ""
    text = "<h2>Observations</h2><p>What was seen beside the times.</p>"
    for observation in observations:
        text += f"<h3>{escape(f'{observation.topic}: {observation.text}')}</h3>"
        panels = ""
        for name, seen in observation.values.items():
            lines = "\n".join(f"{key}: {_plain(value)}" for key, value in seen.items())
            panels += f'<div class="panel"><h4>{escape(name)}</h4><pre>{escape(lines)}</pre></div>'
        text += f'<div class="panels">{panels}</div>'
    return text


def _plain(value: object) -> str:
    """A value as it reads; those of a list in lines of their own, where there are several."""
    if isinstance(value, list):
        return ("\n  " if len(value) > 1 else "") + "\n  ".join(map(str, value))
    return number(value) if isinstance(value, float) else str(value)


def main(arguments: Sequence[str]) -> None:
    """Print the page of the file that is named."""
    (file,) = arguments
    print(render(read(Path(file))), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
