"""Run the mutants against both services, and tell which were killed: `make mutants`."""

import argparse
import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from contract_tests.harness.clauses import TESTS
from contract_tests.harness.processes import die_with_parent
from contract_tests.harness.services import KINDS, ROOT, Kind
from contract_tests.mutants.inside import INSIDE
from contract_tests.mutants.wire import WIRE

# These prove nothing of the one service that is mutated here: they start what stands in
# docker-compose.yml, compare two targets, judge a third one, show a run, or prove this very one.
NOT_LEFT_OUT = {
    f"test_{name}.py" for name in ("compose", "differential", "mutants", "report", "third")
}


# In how many processes the mutants of each service run: a test mostly waits.
SHARES = 2


@dataclass
class Report:
    """What came of one service's run."""

    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    controlled: set[str] = field(default_factory=set)
    """Tests that ran on what is shipped."""
    control: dict[str, str] = field(default_factory=dict)
    """Tests that minded a mutant, but fail on what is shipped as well, and how."""
    code: int = 0
    errors: str = ""

    def killers(self, mutant: str) -> list[str]:
        """The tests that minded, but for those that fail on what is shipped as well."""
        result = self.results.get(mutant, {"killers": []})
        return [test for test in result["killers"] if test not in self.control]

    def files(self, mutant: str) -> set[str]:
        """The files of the tests that minded."""
        return {test.partition("::")[0] for test in self.killers(mutant)}


def run_both(mutants: Sequence[str], *options: str) -> dict[Kind, Report]:
    """Run these mutants against both services, side by side, in processes of their own."""
    # A pytest that we may run under has nothing to say to those that are started, nor they to it.
    ours = ("PYTEST_", "PROGRESS")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    with contextlib.ExitStack() as stack:
        reports = {kind: Report() for kind in KINDS}
        runs = []
        for kind, number in itertools.product(KINDS, range(min(SHARES, len(mutants)))):
            files = [stack.enter_context(TemporaryFile("w+")) for _ in range(2)]
            share = [*options, *mutants[number::SHARES]]
            process = subprocess.Popen(
                [sys.executable, "-m", "contract_tests.mutants.side", kind, *share],
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=files[0],
                stderr=files[1],
                preexec_fn=die_with_parent,  # noqa: PLW1509 (no thread runs here)
            )
            stack.callback(process.kill)
            runs.append((kind, process, files))
        for kind, process, files in runs:
            _read(reports[kind], process.wait(), *files)
    return reports


def _read(report: Report, code: int, output: IO[str], errors: IO[str]) -> None:
    """Add what a process has found."""
    output.seek(0)
    errors.seek(0)
    report.code = report.code or code
    report.errors += errors.read()
    for line in output:
        result = json.loads(line)
        if "mutant" in result:
            report.results[result["mutant"]] = result
        else:
            report.control |= result["control"]
            report.controlled |= {*result["ran"]}


def clause_of(mutant: str) -> str:
    """The clause that forbids it."""
    return (WIRE.get(mutant) or INSIDE[mutant]).clause


def what(mutant: str) -> str:
    """What it does, in a line."""
    return (WIRE.get(mutant) or INSIDE[mutant]).what


def only_killers(mutants: Sequence[str], reports: Mapping[Kind, Report]) -> dict[str, list[str]]:
    """For each file with tests the mutants that nobody else kills, on one service at least."""
    alone: dict[str, list[str]] = {
        file.name: [] for file in sorted(TESTS.glob("test_*.py")) if file.name not in NOT_LEFT_OUT
    }
    for mutant in mutants:
        for report in reports.values():
            found = report.files(mutant)
            if len(found) == 1 and mutant not in alone[next(iter(found))]:
                alone[next(iter(found))].append(mutant)
    return alone


def tell_result(mutants: Sequence[str], reports: Mapping[Kind, Report]) -> list[str]:
    """Print the table; returns the mutants that survive on some service."""
    survivors = []
    print(f"{'mutant':40} {'clause':15} {'python':8} {'node':8} killed by")
    for mutant in mutants:
        killers = {kind: report.killers(mutant) for kind, report in reports.items()}
        words = [f"{'killed' if killers[kind] else 'LIVES':8}" for kind in KINDS]
        by = next(iter(killers["python"] or killers["node"]), "")
        print(f"{mutant:40} {clause_of(mutant):15} {' '.join(words)} {by}")
        if not all(killers.values()):
            survivors.append(mutant)
    for mutant in survivors:
        print(f"\n{mutant} ({clause_of(mutant)}): {what(mutant)}")
        for kind, report in reports.items():
            result = report.results.get(mutant)
            if not result:
                print(f"  {kind}: the run ended before it")
            elif not report.killers(mutant):
                print(f"  {kind}: {result['ran']} tests ran, none minded")
                print("".join(f"    {other}\n" for other in result["others"][:5]), end="")
    return survivors


def as_json(mutants: Sequence[str], reports: Mapping[Kind, Report]) -> list[dict[str, object]]:
    """Of each mutant its clause, what it does, and whether it was killed on either side."""
    return [
        {"name": mutant, "clause": clause_of(mutant), "what": what(mutant)}
        | {kind: bool(report.killers(mutant)) for kind, report in reports.items()}
        for mutant in mutants
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where all were killed on both services, and with --leave-one-out no file is idle."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="MUTANT", help="some, by their names")
    parser.add_argument(
        "--leave-one-out",
        action="store_true",
        help="tell for each file of tests which mutants would survive without it",
    )
    parser.add_argument(
        "--control",
        action="store_true",
        help="plant nothing: run all tests of the mutants' clauses as they would be",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write down which were killed")
    options = parser.parse_args(arguments)
    mutants = options.only or [*WIRE, *INSIDE]
    if unknown := {*mutants} - {*WIRE, *INSIDE}:
        parser.error(f"there is no mutant {', '.join(sorted(unknown))}")
    begin = time.monotonic()
    if options.control:
        reports = run_both(mutants, "--control")
        for kind, report in reports.items():
            count = len(report.controlled)
            passed = count - len(report.control)
            print(f"{kind}: {passed}/{count} pass {report.control or report.errors}")
        return int(any(report.control or report.code for report in reports.values()))
    reports = run_both(mutants, *([] if options.leave_one_out else ["--stop-early"]))
    survivors = tell_result(mutants, reports)
    if options.json:
        options.json.write_text(json.dumps(as_json(mutants, reports), indent=2) + "\n", "utf-8")
    failed = bool(survivors)
    for kind, report in reports.items():
        if report.control or report.code:
            failed = True
            print(f"\n{kind}: control failed: {report.control or report.errors[-3000:]}")
    if options.leave_one_out:
        print()
        for file, alone in only_killers(mutants, reports).items():
            failed |= not alone
            print(f"without {file:22} would live: {', '.join(alone) or 'NOBODY'}")
    print(f"\n{time.monotonic() - begin:.0f} s; control: each test that minded passes unmutated")
    for kind, report in reports.items():
        killed = sum(bool(report.killers(mutant)) for mutant in mutants)
        print(f"{kind}: {killed}/{len(mutants)}")
    both = len(mutants) - len(survivors)
    print(f"killed/planted: {both}/{len(mutants)}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
