"""The file of sales that `sales.py` and `sales.ts` read; the same for a seed and a number of rows."""

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

CATEGORIES = (
    *("Books", "Clothing", "Electronics", "Garden", "Grocery"),
    *("Health", "Music", "Office", "Sports", "Toys"),
)
PRODUCTS = 50  # of each category
CHUNK = 1_000_000


def sales_csv(directory: Path, rows: int, seed: int = 1) -> Path:
    """The file, made if it isn't there."""
    file = directory / f"sales-{rows}.csv"
    if not file.exists():
        generator = np.random.default_rng(seed)
        unfinished = file.with_suffix(".part")
        with unfinished.open("wb") as out:
            for begin in range(0, rows, CHUNK):
                sales = _sales(generator, min(CHUNK, rows - begin))
                sales.write_csv(out, include_header=begin == 0, float_precision=2)
        unfinished.rename(file)
    return file


def _sales(generator: np.random.Generator, rows: int) -> pl.DataFrame:
    products = generator.integers(len(CATEGORIES) * PRODUCTS, size=rows)
    quantities = generator.integers(1, 10, size=rows)
    prices = generator.integers(99, 50_000, size=rows)  # in cents
    names = [f"{category} {n}" for category in CATEGORIES for n in range(1, PRODUCTS + 1)]
    days = np.datetime64(date(2024, 1, 1)) + generator.integers(366, size=rows)
    return pl.DataFrame(
        {
            "date": days,
            "category": np.array(CATEGORIES)[products // PRODUCTS],
            "product": np.array(names)[products],
            "quantity": quantities,
            "revenue": quantities * prices / 100,
        }
    )
