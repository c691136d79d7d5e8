"""Small tables of series, and the reader applied to them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from seqgen.corpus.opening import identify
from seqgen.corpus.series.read import Series, SeriesOptions, read_series
from seqgen.corpus.sources import Document

DAYS = b"date,x\n2020-01-01,1\n2020-01-02,2\n2020-01-03,3\n2020-01-04,4\n"


def document(folder: Path, data: bytes, name: str = "t.csv") -> Document:
    (folder / name).write_bytes(data)
    return Document(name, folder / name, form=identify(folder / name, name))


def read_table(folder: Path, data: bytes, **options: object) -> tuple[list[Series], list[str]]:
    reports: list[str] = []
    return read_series([document(folder, data)], SeriesOptions(**options), reports.append), reports  # type: ignore[arg-type]


def read_one(folder: Path, data: bytes, **options: object) -> Series:
    series, reports = read_table(folder, data, **options)
    assert reports == []
    assert len(series) == 1
    return series[0]


def daily_table(*values: object, start: str = "2020-01-01", name: str = "x") -> bytes:
    """A daily table; None leaves its cell empty."""
    rows = [f"{np.datetime64(start) + n},{'' if value is None else value}" for n, value in enumerate(values)]
    return "\n".join([f"date,{name}", *rows, ""]).encode()


def hourly_table(*values: object) -> bytes:
    rows = [
        f"{np.datetime64('2020-01-01T00') + n},{'' if v is None else v}".replace("T", " ") for n, v in enumerate(values)
    ]
    return "\n".join(["date,x", *[row.replace(",", ":00,", 1) for row in rows], ""]).encode()


def parquet_file(**columns: object) -> bytes:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()
