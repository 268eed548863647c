"""Both services against themselves as they were in another commit, in turn and in one run."""

import statistics
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import services
from benchmarks.claims import number, ratio, spread
from benchmarks.load import OPERATIONS
from benchmarks.servers import Contender, contenders
from contract_tests.harness.databases import ENGINES
from contract_tests.harness.services import ROOT

NAMES = ("FastAPI", "FastAPI, secured", "Hono", "Hono, secured")
# A token costs the same whatever is asked for.
SECURED_OPERATIONS = ("get", "mixed")
ROUNDS = 3
SECONDS = 1
BEFORE = " before"


class NoRevisionError(Exception):
    """There is no such commit."""


@contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """The sources of this commit, beside the packages that are installed here.

    Raises NoRevisionError, with what git says.
    """
    with TemporaryDirectory(prefix="against-") as directory:
        root = Path(directory)
        sources = subprocess.run(
            ["git", "archive", "--end-of-options", revision, "python_api", "node_api"],
            cwd=ROOT,
            capture_output=True,
            check=False,
        )
        if sources.returncode != 0:
            raise NoRevisionError(sources.stderr.decode().strip())
        subprocess.run(["tar", "-x"], cwd=root, input=sources.stdout, check=True)
        (root / "node_api" / "node_modules").symlink_to(ROOT / "node_api" / "node_modules")
        yield root


def entered(root: Path) -> list[Contender]:
    """Each of our services, and the same from this checkout."""
    ours = [
        replace(one, operations=SECURED_OPERATIONS if one.secured else OPERATIONS)
        for one in contenders()
        if one.name in NAMES
    ]
    return [
        version
        for one in ours
        for version in (one, replace(one, name=one.name + BEFORE, root=root))
    ]


STEPS = len(ENGINES) * ROUNDS * sum(len(one.operations) for one in entered(ROOT))


def measure(root: Path, advance: Callable[[str], None]) -> list[services.Cell]:
    """What a request costs of all of them; the two versions of each are asked one after the other."""
    cells: list[services.Cell] = []
    for engine in ENGINES:
        with closing(services.Field(engine, entered(root), apart=True)) as field:
            cells += services.measure(field, ROUNDS, 0, SECONDS, advance)
    return cells


def table(cells: Sequence[services.Cell], revision: str) -> str:
    """Markdown: microseconds of CPU a request (medians) and their ratio, taken within each round."""
    lines = [
        f"| CPU per request, µs | now | {revision} | times |",
        "| --- | --- | --- | --- |",
    ]
    found = {(cell.engine, cell.contender, cell.operation): cell.cpu_us for cell in cells}
    for (engine, name, operation), now in found.items():
        if before := found.get((engine, name + BEFORE, operation)):
            times = ratio(now, before)
            medians = [number(statistics.median(values)) for values in (now, before)]
            what = f"{engine}: {name}, {operation}"
            lines.append(f"| {what} | {' | '.join(medians)} | {spread(times)} |")
    return "\n".join(lines)
