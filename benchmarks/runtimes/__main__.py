"""`make runtimes`: one contract on every runtime that the article names, and what each costs.

    python -m benchmarks.runtimes                 all rows, some fifteen minutes
    python -m benchmarks.runtimes bun deno        these two, beside the two services as they ship
    python -m benchmarks.runtimes pip yarn        what these two install, and nothing measured
    python -m benchmarks.runtimes --core          the core of the contract alone, on SQLite

It fetches what it needs, starts each, asks it the contract (all that can be asked of a service from
outside on PostgreSQL, the core of that on SQLite), holds it against its list of gaps, and measures
each in turn with the others. Installers are held to the core alone. The exit code is 1 where one keeps less than its list says, or on
PostgreSQL more, and 3 where something can't be fetched.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import services
from benchmarks.__main__ import surroundings
from benchmarks.load import MissingToolError, find_wrk
from benchmarks.runtimes import page
from benchmarks.runtimes.fetch import fetch
from benchmarks.runtimes.hold import CORE, LEVELS, hold
from benchmarks.runtimes.installers import INSTALLERS, installed
from benchmarks.runtimes.rows import RUNTIMES, Runtime, gaps, version
from benchmarks.servers import Contender
from contract_tests.harness.databases import ENGINES, Engine
from contract_tests.harness.services import ROOT, forget_proxies

# Of each language the service as it ships, which the others are measured against.
SHIPPED = {"python": "python", "typescript": "node"}
OPERATIONS = ("get", "list")
ROUNDS = 3
SECONDS = 1


def main() -> int:
    """Do it all; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make runtimes", description=__doc__.partition("\n")[0])
    # argparse holds the default to the choices, too.
    parser.add_argument("names", nargs="*", choices=[*RUNTIMES, *INSTALLERS, []], metavar="NAME")
    parser.add_argument("--core", action="store_true", help="the core of the contract alone")
    parser.add_argument("--out", type=Path, default=ROOT / ".data" / "runtimes" / "matrix.json")
    given = parser.parse_args()
    forget_proxies()
    names = given.names or [*RUNTIMES, *INSTALLERS]
    rows = [row for row in RUNTIMES.values() if row.name in names]
    tools = [row for row in INSTALLERS.values() if row.name in names]
    is_measured = rows and not given.core
    try:
        is_measured and find_wrk()
    except MissingToolError as error:
        print(error, file=sys.stderr)
        return 1
    try:
        fetch({row.needs for row in rows} | {row.needs for row in tools})
    except subprocess.SubprocessError as error:
        print(f"It cannot be fetched: {error}", file=sys.stderr)
        return 3
    found = [asked(row, CORE if given.core else LEVELS) for row in rows]
    if is_measured:
        write(found, rows, given.out)
    try:
        installed_by = [installed(row) for row in tools]
    except subprocess.SubprocessError as error:
        print(f"It cannot be installed: {error}", file=sys.stderr)
        return 1
    if tools:
        write_installers(installed_by, given.out.with_name("installers.json"))
    broken = [held["broken"] for one in found for held in one["held"]]
    return int(any([*broken, *(one["broken"] for one in installed_by)]))


def asked(row: Runtime, levels: Mapping[Engine, str]) -> dict[str, Any]:
    """A row of the matrix, before it is measured."""
    found = {"name": row.name, "what": row.what, "language": row.language, "why": row.why}
    if not row.command:
        return found | {"version": "", "gaps": {}, "held": []}
    held = [asdict(one) for one in hold(row, levels)]
    for one in held:
        broken = f"; NOT AS ITS LIST SAYS: {', '.join(one['broken'])}" if one["broken"] else ""
        print(f"{row.name}, {one['engine']}, {one['level']}: {one['tests']}{broken}", flush=True)
    return found | {"version": version(row.version), "gaps": gaps(row), "held": held}


def write(found: list[dict[str, Any]], rows: list[Runtime], out: Path) -> None:
    """Measure them, keep all of it as JSON, draw the page, and print the table."""
    costs = measure([RUNTIMES[name] for name in SHIPPED.values()], rows)
    matrix = {
        "made": {"date": f"{datetime.now(UTC):%Y-%m-%d}", **surroundings()},
        "rows": [one | {"cost": costs.get(str(one["name"]), {})} for one in found],
        "shipped": {language: costs[name] for language, name in SHIPPED.items()},
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(matrix, indent=1, ensure_ascii=False) + "\n", "utf-8")
    out.with_suffix(".html").write_text(page.render(matrix), "utf-8")
    print(page.markdown(matrix))
    print(f"\n{out} and {out.with_suffix('.html').name} have all of it.")


def write_installers(rows: list[dict[str, Any]], out: Path) -> None:
    """Keep them as JSON, and print their table."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(f"{page.installers(rows)}\n\n{out} has it, too.")


def measure(shipped: list[Runtime], rows: list[Runtime]) -> dict[str, dict[str, Any]]:
    """CPU, start and memory of each on each engine, in turn with the others."""
    entered = [
        Contender(row.name, row.language, row.command, operations=OPERATIONS)
        for row in dict.fromkeys([*shipped, *rows])
        if row.command
    ]
    found: dict[str, dict[str, Any]] = {one.name: {} for one in entered}
    for engine in ENGINES:
        print(f"Measuring on {engine} ...", flush=True)
        with closing(services.Field(engine, entered, apart=True)) as field:
            cells = services.measure(field, ROUNDS, 0, SECONDS, lambda _: None)
            starts = services.measure_starts(field, ROUNDS, lambda _: None)
        for start in starts:
            mine = [cell for cell in cells if cell.contender == start.contender]
            found[start.contender][engine] = {
                "cpu_us": {cell.operation: cell.cpu_us for cell in mine},
                "memory_mib": max(statistics.median(cell.memory_mib) for cell in mine),
                "start_seconds": start.seconds,
            }
    return found


if __name__ == "__main__":
    sys.exit(main())
