"""What a run of the benchmarks has given, as it is kept in a file."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.article.compare import Comparison, Observation, Variant
from benchmarks.services import Cell, HalfLoad, Soak, Start
from benchmarks.streams import Delivery


@dataclass(frozen=True)
class Results:
    """All of it; each part is empty where it wasn't measured."""

    made: dict[str, str]
    """When, by which command, on which machine, with which versions: a name and its value each."""
    cells: list[Cell]
    starts: list[Start]
    half_loads: list[HalfLoad]
    soaks: list[Soak]
    comparisons: list[Comparison]
    observations: list[Observation]
    deliveries: list[Delivery] = field(default_factory=list)

    def write(self, file: Path) -> None:
        """Keep it as JSON."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", "utf-8")


def read(file: Path) -> Results:
    """What was kept there."""
    kept: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return Results(
        made=kept["made"],
        cells=[Cell(**cell) for cell in kept["cells"]],
        starts=[Start(**start) for start in kept["starts"]],
        half_loads=[HalfLoad(**half_load) for half_load in kept["half_loads"]],
        soaks=[Soak(**soak) for soak in kept["soaks"]],
        comparisons=[
            Comparison(one["topic"], one["case"], [Variant(**each) for each in one["variants"]])
            for one in kept["comparisons"]
        ],
        observations=[Observation(**observation) for observation in kept["observations"]],
        # Older results have none.
        deliveries=[Delivery(**delivery) for delivery in kept.get("deliveries", [])],
    )
