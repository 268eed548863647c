"""Revenue by category from a CSV file, highest first: pandas, and Polars."""

from pathlib import Path

import pandas as pd
import polars as pl

from benchmarks.article.case import Case, Given, Work


def pandas_revenue(sales: pd.DataFrame) -> list[tuple[str, int]]:
    # Whole cents add up exactly; fractions of a euro, summed as floats, don't.
    in_cents = sales.assign(revenue=(sales["revenue"] * 100).round().astype("int64"))
    revenue = in_cents.groupby("category")["revenue"].sum().sort_values(ascending=False)
    return [(str(category), cents) for category, cents in revenue.items()]


def polars_revenue(sales: pl.LazyFrame) -> list[tuple[str, int]]:
    cents = (pl.col("revenue") * 100).round().cast(pl.Int64)
    revenue = sales.group_by("category").agg(cents.sum()).sort("revenue", descending=True)
    return revenue.collect().rows()


def _file(given: Given) -> Path:
    return given.directory / f"sales-{given.size}.csv"


def _pandas_in_memory(given: Given) -> Work:
    sales = pd.read_csv(_file(given))
    return lambda: pandas_revenue(sales)


def _polars_in_memory(given: Given) -> Work:
    sales = pl.read_csv(_file(given)).lazy()
    return lambda: polars_revenue(sales)


CASES: dict[str, Case] = {
    "pandas": lambda given: lambda: pandas_revenue(pd.read_csv(_file(given))),
    "Polars": lambda given: lambda: polars_revenue(pl.scan_csv(_file(given))),
    "pandas in memory": _pandas_in_memory,
    "Polars in memory": _polars_in_memory,
}
