"""Whether a file is a table of numbers over time, from its beginning."""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from typing import Any

from seqgen.corpus.series.columns import find_time_columns
from seqgen.corpus.series.numbers import parse_number
from seqgen.corpus.series.tables import Table, parse_table
from seqgen.streams import COMPRESSED_SUFFIXES, open_input

_LOOKED_AT = 1 << 16  # bytes
_CELLS = 200  # of each column
_LEAST = 3  # rows
_TABLES = (".csv", ".tsv", ".tab")
_LONG = 24  # characters; text that is longer on average is there to be read
_NUMERIC = 0.6  # share of columns that are numbers or times


def looks_like_series(path: Path) -> bool:
    """Whether a CSV, TSV or Parquet file holds numbers, most likely over time. Never raises."""
    try:
        with contextlib.closing(open_input(path)) as stream:
            start = stream.read(_LOOKED_AT)
        if start.startswith(b"PAR1"):
            return path.suffix.lower() not in COMPRESSED_SUFFIXES and _parquet(path)
        text = start.decode("utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "replace")
        if "\0" in text:
            return False
        if len(start) == _LOOKED_AT:
            text = text[: text.rfind("\n") + 1]
        suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in COMPRESSED_SUFFIXES]
        return _csv(parse_table(text, str(path), lambda _: None), bool(suffixes) and suffixes[-1] in _TABLES)
    except Exception:  # whatever it is, it is no table of numbers
        return False


def _csv(table: Table, is_called_so: bool) -> bool:
    if len(table) < _LEAST:
        return False
    time = find_time_columns(table, None)
    counted = 0
    for place in range(len(table.header)):
        if place in time:
            continue
        cells = table.sample(place, _CELLS)
        bad = sum(parse_number(cell) is None and parse_number(cell, ",") is None for cell in cells)
        if not cells or bad == 0:
            counted += bool(cells)
        elif sum(map(len, cells)) > _LONG * len(cells):
            return False
    if not counted or counted + len(time) < _NUMERIC * len(table.header):
        return False
    return bool(time) or (is_called_so and counted == len(table.header))


def _parquet(path: Path) -> bool:
    parquet: Any = importlib.import_module("pyarrow.parquet")
    arrow: Any = importlib.import_module("pyarrow")
    kinds = [field.type for field in parquet.read_schema(path)]
    of = arrow.types
    numeric = sum(of.is_integer(kind) or of.is_floating(kind) or of.is_decimal(kind) for kind in kinds)
    times = sum(of.is_timestamp(kind) or of.is_date(kind) for kind in kinds)
    return numeric > 0 and numeric + times >= _NUMERIC * len(kinds) and (times > 0 or numeric == len(kinds))
