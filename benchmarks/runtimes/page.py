"""The matrix as a page: runtimes across, clauses down, and behind each gap what was said.

python -m benchmarks.runtimes.page FILE   its table as Markdown, of the matrix in the file
"""

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.claims import ENGINES, number
from benchmarks.page import head as opening
from contract_tests.harness import clauses

TITLE = "One contract, every runtime"
STYLE = """
td { vertical-align: top; min-width: 11rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; }"""

Matrix = Mapping[str, Any]
Row = Mapping[str, Any]


def markdown(matrix: Matrix) -> str:
    """The table for a guide: what each keeps of the contract, and what it costs."""
    head = ["Runtime", "Version", "Clauses kept", "Gaps of the core"]
    head += ["CPU, get by id", "CPU, list of 50", "Start", "Memory"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for row in matrix["rows"]:
        if row["why"]:
            cells = [row["what"], row["why"], *[""] * (len(head) - 2)]
        else:
            cells = [row["what"], row["version"], *_kept(row), *_cost(matrix, row)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def installers(rows: Sequence[Row]) -> str:
    """The table of installers for a guide: what each goes by, and how long that took."""
    head = ["Installer", "Version", "Goes by", "Seconds", "The core of the contract"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for row in rows:
        cells = [row["name"], row["version"], row["what"], f"{row['seconds']:.0f}"]
        cells.append(f"lacks {', '.join(row['broken'])}" if row["broken"] else "kept")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _kept(row: Row) -> list[str]:
    """How many clauses of those that were asked, and the gaps in the core."""
    full = next(held for held in row["held"] if held["level"] == "full")
    core = sorted(set(row["gaps"]) & clauses.core())
    kept = full["asked"] - len(row["gaps"])
    return [f"{kept} of {full['asked']}", ", ".join(core) or "none"]


def _cost(matrix: Matrix, row: Row) -> list[str]:
    """As multiples of what the service takes as it ships, SQLite and PostgreSQL."""
    engines = [engine for engine in ENGINES if engine in row["cost"]]
    if not engines:
        return [""] * 4
    shipped = matrix["shipped"][row["language"]]
    found = []
    for operation in ("get", "list"):
        ratios = [
            statistics.median(
                mine / theirs
                for mine, theirs in zip(
                    row["cost"][engine]["cpu_us"][operation],
                    shipped[engine]["cpu_us"][operation],
                    strict=True,
                )
            )
            for engine in engines
        ]
        found.append(" and ".join(f"{number(one)}×" for one in ratios))
    starts = [statistics.median(row["cost"][engine]["start_seconds"]) for engine in engines]
    memory = [row["cost"][engine]["memory_mib"] for engine in engines]
    found.append(" and ".join(f"{one:.2f} s" for one in starts))
    found.append(" and ".join(f"{one:.0f} MiB" for one in memory))
    return found


def render(matrix: Matrix) -> str:
    """The page as HTML, without a script."""
    rows: Sequence[Row] = [row for row in matrix["rows"] if not row["why"]]
    gone = [clause for clause in clauses.clauses() if any(clause in row["gaps"] for row in rows)]
    head = "".join(f'<th scope="col">{escape(row["what"])}</th>' for row in rows)
    body = "".join(
        f'<tr><th scope="row"><code>{clause}</code></th>'
        + "".join(f"<td>{_cell(row, clause)}</td>" for row in rows)
        + "</tr>"
        for clause in gone
    )
    made = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in matrix["made"].items()
    )
    return f"""{opening(TITLE, STYLE)}<body>
<header class="hero"><div><h1>{TITLE}</h1>
<p class="quiet">Two applications, FastAPI's and Hono's, on whatever serves them. A clause that \
isn't kept is a gap of the server; a click shows a test that fails for it, and what that found. Clauses that \
all keep aren't shown.</p></div></header>
<main>
<section aria-label="What was measured"><dl class="made">{made}</dl></section>
<section aria-label="Gaps"><div class="scroll" role="region" aria-label="Gaps" tabindex="0">
<table><thead><tr><th scope="col">Clause</th>{head}</tr></thead><tbody>{body}</tbody></table>
</div></section>
</main>
<footer>This file is all there is to it: it asks no network.</footer>
</body>
</html>
"""


def _cell(row: Row, clause: str) -> str:
    cause = row["gaps"].get(clause)
    if cause is None:
        return "kept"
    shown = next(
        (held["evidence"][clause] for held in row["held"] if clause in held["evidence"]), None
    )
    if shown is None:
        return escape(cause)
    return (
        f"<details><summary>{escape(cause)}</summary><p><code>{escape(shown['test'])}</code></p>"
        f"<pre>{escape(shown['said'])}</pre></details>"
    )


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text("utf-8"))))
