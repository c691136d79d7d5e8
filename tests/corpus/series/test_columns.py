"""Notations of numbers, decided by the column and by the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqgen.corpus.series import tables
from seqgen.corpus.series.numbers import is_missing, parse_number
from seqgen.errors import DataError
from tests.helpers.series import read_table


def column(cells: list[str], others: list[str] | None = None) -> bytes:
    """A table of days with one column, or two."""
    rows = [f"2021-{n // 28 + 1:02}-{n % 28 + 1:02};{cell}" for n, cell in enumerate(cells)]
    if others:
        rows = [f"{row};{other}" for row, other in zip(rows, others, strict=True)]
    return "\n".join(["Tag;x" + (";y" if others else ""), *rows]).encode()


NUMBERS = [
    ("EUR 5", 5.0), ("5 USD", 5.0), ("R$ 1,234.5", 1234.5), ("5 kr.", 5.0), ("1.2bn", 1.2e9), ("3.5 Mio.", 3.5e6),
    ("2 млн", 2e6), ("–5", -5.0), ("‑5", -5.0), ("5.5-", -5.5), ("<1", 0.5), ("≤ 3", 1.5), ("１２３．５", 123.5),
    ("١٢٣٫٥", 123.5), ("CHF 1'234.50", 1234.5), ("1 234", 1234.0), ("1\u202f234.5", 1234.5), ("(1,234)", -1234.0),
    ("(-5)", -5.0), ("(- $5)", -5.0), ("($-5)", -5.0), ("(5-)", -5.0),
    ("1.2T", 1.2e12), ("3億", 3e8), ("1234円", 1234.0),
]  # fmt: skip


@pytest.mark.parametrize(("cell", "value"), NUMBERS, ids=[cell for cell, _ in NUMBERS])
def test_parse_number_notations_of_many_countries(cell: str, value: float) -> None:
    assert parse_number(cell) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize("cell", ["5 mm", "12 kg", "EUR", "<", "< >", "5 6", "1-2", "5 M", "kr", "1 EUR 2"])
def test_parse_number_units_are_not_numbers(cell: str) -> None:
    assert parse_number(cell) is None


def test_parse_number_of_many_digits_takes_linear_time() -> None:
    assert parse_number(200_000 * "1" + "!") is None and parse_number(200_000 * "1." + "!", ",") is None


@pytest.mark.parametrize(
    "cell",
    ["k.A.", "n/d", "s/d", "#NV", "нет данных", "欠測", "sin datos", "brak", "…", ":", "#¡VALOR!", "(null)",
     "停牌", "休市", "缺测", "暂无数据", "/"],
)  # fmt: skip
def test_is_missing_in_many_languages(cell: str) -> None:
    assert is_missing(cell)


NOTATIONS = [
    (["1.019", "1.260", "791", "1.343"], [1019, 1260, 791, 1343],
     "points group thousands (1.019 is 1019): numbers without a point are below 1000"),
    (["1.019", "1.26", "791", "1.343"], [1.019, 1.26, 791, 1.343], ""),
    (["1.019", "1.260", "1791", "1.343"], [1.019, 1.26, 1791, 1.343], ""),
    (["0.019", "1.260", "791", "1.343"], [0.019, 1.26, 791, 1.343], ""),
    (["1.100", "2.200", "3.300", "4.400"], [1.1, 2.2, 3.3, 4.4],
     "the point is taken for the decimal mark; if 1.100 means 1100, remove the points"),
    (["1.234.567", "2.345.678", "3.456.789", "1.000.000"], [1234567, 2345678, 3456789, 1e6], ""),
    (["1,019", "1,260", "791", "1,343"], [1019, 1260, 791, 1343], "commas group thousands (1,234 is 1234)"),
    (["1,019", "1,26", "791", "1,343"], [1.019, 1.26, 791, 1.343], "the comma is the decimal mark (1,5 is 1.5)"),
    (["1,019", "1,260", "2,345", "1,343"], [1.019, 1.26, 2.345, 1.343],
     "the comma is the decimal mark; if 1,019 means 1019, remove the commas"),
]  # fmt: skip


@pytest.mark.parametrize(("cells", "values", "note"), NOTATIONS, ids=[cells[0] + cells[1] for cells, _, _ in NOTATIONS])
def test_read_series_marks_of_one_column(tmp_path: Path, cells: list[str], values: list[float], note: str) -> None:
    series, warnings = read_table(tmp_path, column(cells))
    assert series[0].values[:, 0].tolist() == values
    assert warnings == ([f"t.csv: 'x': {note}"] if note else [])


def test_read_series_marks_are_those_of_the_table(tmp_path: Path) -> None:
    sure, open_cells = ["1.019", "1.260", "791", "1.343"], ["3.057", "3.780", "2.373", "4.029"]
    for cells in ((sure, open_cells), (open_cells, sure)):
        series, warnings = read_table(tmp_path, column(*cells))
        assert series[0].values.max() == 4029 and series[0].values.min() == 791 and len(warnings) == 2
    series, warnings = read_table(tmp_path, column(open_cells, ["1,5", "2,5", "3,25", "4"]))
    assert series[0].values[:, 0].tolist() == [3057, 3780, 2373, 4029]
    series, warnings = read_table(tmp_path, column(sure, ["1.5", "2.5", "3.25", "4"]))
    assert series[0].values[:, 0].tolist() == [1.019, 1.26, 791, 1.343]
    assert warnings == [
        "t.csv: 'x': the point is the decimal mark, as in other columns; if 1.019 means 1019, remove it"
    ]
    assert read_table(tmp_path, column(["1.100", "2.200", "3.300"], ["1.5", "2.5", "3.25"]))[1] == []


def test_read_series_marks_are_decided_by_all_rows(tmp_path: Path) -> None:
    cells = [str(100 + n % 800) for n in range(600)] + ["1.019", "2.500"]
    series, warnings = read_table(tmp_path, column(cells), frequency="row", time_column="")
    assert series[0].values[-2:, 0].tolist() == [1019, 2500] and "points group thousands" in " ".join(warnings)


def test_read_series_sentinels_are_missing(tmp_path: Path) -> None:
    series, warnings = read_table(tmp_path, column(["3.5", "-999", "-4.5", "2"]))
    assert series[0].values[:, 0].tolist() == [3.5, -0.5, -4.5, 2]
    assert warnings == [
        "t.csv: 'x': -999 stands for a missing number",
        "t.csv: 'x': 1 missing number is interpolated linearly (first in line 3)",
    ]
    high, warnings = read_table(tmp_path, column(["1013.5", "9999.9", "1011.5", "9999.9", "1002"]))
    assert high[0].values[1, 0] == 1012.5 and warnings[0] == "t.csv: 'x': 9999.9 stands for a missing number"
    near, warnings = read_table(tmp_path, column(["2350.5", "9999.9", "4", "2"]))
    assert near[0].values[1, 0] == 9999.9 and warnings == []
    for cells in ([-350, -999, -450, 2], [-2500, -9999, -32768, 2]):  # none is far from the next
        near, warnings = read_table(tmp_path, column([str(cell) for cell in cells]))
        assert near[0].values[:, 0].tolist() == cells and warnings == []
    assert read_table(tmp_path, column(["-999", "-999", "-999"]))[0][0].values.max() == -999


@pytest.mark.parametrize(
    "cells",
    [
        ["999.90", "5.10", "150.25", "12"], ["999.90", "19.90", "29.90", "9.90"], ["999.90", "15.00", "16.50"],
        ["999,90", "12,50", "13,00"], ["999.9", "15.00", "16.50"], ["999.9", "19.9", "29.9", "5"],
        ["999.9", "-4000.5", "-1.5"],
    ],
    ids=str,
)  # fmt: skip
def test_read_series_numbers_like_sentinels_are_numbers(tmp_path: Path, cells: list[str]) -> None:
    """Two prices of 999.90 among others that end so were missing."""
    (price,), warnings = read_table(tmp_path, column([*cells, *cells]))
    assert price.values[[0, len(cells)], 0].tolist() == [999.9] * 2
    assert not any("missing" in said for said in warnings)


def test_read_series_known_sentinels_are_missing_in_one_row(tmp_path: Path) -> None:
    data = column(["15.5", "9999.9", "16.5", "-99", "3"])
    (alone,), _ = read_table(tmp_path, data, time_column="Tag")
    (known,), warnings = read_table(tmp_path, data, time_column="Tag", sentinels={"x": (-99.0, 9999.9), "y": (3.0,)})
    assert alone.values[:, 0].tolist() == [15.5, 9999.9, 16.5, 9.75, 3]
    assert known.values[:, 0].tolist() == [15.5, 16, 16.5, 9.75, 3]
    assert "'x': -99 and 9999.9 stands for a missing number" in warnings[0]


@pytest.mark.parametrize("unit", ["°C", "℃", "℉", "‰", " ㎏"])
def test_read_series_units_behind_numbers_are_left_out(tmp_path: Path, unit: str) -> None:
    series, warnings = read_table(tmp_path, column([f"{number}{unit}" for number in (3.5, -1, 2)]))
    assert series[0].values[:, 0].tolist() == [3.5, -1, 2]
    trace, _ = read_table(tmp_path, column([f"3.5{unit}", "微量", f"2{unit}"]))
    assert trace[0].values[:, 0].tolist() == [3.5, 0, 2]
    assert warnings == [f"t.csv: 'x': the unit {unit.strip()!r} behind the numbers is left out"]


@pytest.mark.parametrize(("at_once", "most"), [(1 << 20, 6), (1, 70)], ids=["all at once", "in parts"])
def test_read_series_reads_the_source_again_for_many_columns_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int, most: int
) -> None:
    """It was read for each column of which some cells were stored as numbers, and their texts are needed."""
    readings = 0
    blocks = tables.reading.Table.blocks

    def counted(table: Any) -> Any:
        nonlocal readings
        readings += 1
        return blocks(table)

    monkeypatch.setattr(tables.reading.Table, "blocks", counted)
    monkeypatch.setattr(tables, "_CELLS_AT_ONCE", at_once)
    width, cells = 200, ["1.234", "987", "2.345", "12"]
    header = ";".join(f"n{number}" for number in range(width))
    rows = [";".join(cells[(row + number) % 4] for number in range(width)) for row in range(20)]
    series, _ = read_table(tmp_path, "\n".join([header, *rows]).encode())
    assert series[0].values[:4, 0].tolist() == [1234, 987, 2345, 12]
    assert series[0].values[:4, 199].tolist() == [12, 1234, 987, 2345]
    assert 0 < readings <= most
    days = [f"2021-01-{1 + row // 4:02};" + ";".join(str(row % 2) for _ in range(width)) for row in range(20)]
    with pytest.raises(DataError, match="15 of 20 rows have the same time"):  # no column names series
        read_table(tmp_path, "\n".join([f"date;{header}", *days]).encode())
    assert readings <= most


@given(st.lists(st.integers(0, 2_000_000), min_size=5, max_size=40), st.sampled_from([".", ",", "\u202f", "'"]))
@example([0, 0, 0, 1000, 1000000], ".")
@settings(max_examples=60, deadline=None)
def test_read_series_grouped_integers_are_whole_or_reported(
    tmp_path_factory: pytest.TempPathFactory, values: list[int], mark: str
) -> None:
    """Whatever is not certain is reported, and then wrong by a factor of 1000 at most in the whole column."""
    cells = [f"{value:,}".replace(",", mark) for value in values]
    series, warnings = read_table(tmp_path_factory.mktemp("t"), column(cells), time_column="")
    found = series[0].values[:, 0].tolist()
    if found != values:
        assert any("remove the" in warning for warning in warnings)
        assert [round(number * 1000) for number in found] == values
