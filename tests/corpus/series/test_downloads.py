"""Tables in the forms in which well-known sources offer them for download, with made-up numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqgen.corpus.series.read import looks_like_series
from tests.helpers.series import document, read_table

DAYS = [f"2021-01-{day:02}" for day in range(1, 29)]
MONTHS = [f"{year}-{month:02}" for year in (2019, 2020) for month in range(1, 13)]

# Source, table, its columns, frequency, first time, first values, warnings.
DOWNLOADS = [
    (
        "yfinance, two tickers",
        "Price,Close,Close,High,High\nTicker,AAA,BBB,AAA,BBB\nDate,,,,\n"
        + "".join(f"{day},{n}.5,{n % 3}.25,{n}.75,{n % 5}.5\n" for n, day in enumerate(DAYS)),
        ("Close AAA", "Close BBB", "High AAA", "High BBB"), "day", "2021-01-01", [0.5, 0.25, 0.75, 0.5],
        [],
    ),
    (
        "Google Trends",
        "Category: All categories\n\nMonth,bike: (Worldwide)\n"
        + "".join(f"{month},{'<1' if n == 0 else n * n % 7}\n" for n, month in enumerate(MONTHS)),
        ("bike: (Worldwide)",), "month", "2019-01", [0.5],
        ["1 line above the table is skipped (first: line 1, 'Category: All categories')",
         "'bike: (Worldwide)': '<1' and the like are read as the half of it"],
    ),
    (
        "FRED",
        "DATE,RATE\n" + "".join(f"{month}-01,{'.' if n == 3 else n % 5}\n" for n, month in enumerate(MONTHS)),
        ("RATE",), "month", "2019-01-01", [0],
        ["'RATE': 1 missing number is interpolated linearly (first in line 5)"],
    ),
    (
        "ECB",
        "DATE,TIME PERIOD,Gold\n"
        + "".join(f"{month}-28,{month.replace('-', 'M')},{n % 5}.5\n" for n, month in enumerate(MONTHS)),
        ("Gold",), "month", "2019-01-28", [0.5], ["'TIME PERIOD' contains text and is ignored"],
    ),
    (
        "Yahoo",
        "Date,Close,Volume\n"
        + "".join(f"{day},{'null,null' if n == 4 else f'{n % 5}.5,{n % 7}'}\n" for n, day in enumerate(DAYS)),
        ("Close", "Volume"), "day", "2021-01-01", [0.5, 0],
        ["'Close', 'Volume': 2 missing numbers are interpolated linearly (first in line 6)"],
    ),
    (
        "Deutscher Wetterdienst",
        "STATIONS_ID;MESS_DATUM;TT_TU;eor\n"
        + "".join(f"         44;20210101{hour:02};{-999 if hour == 5 else f' {hour}.5'};eor\n" for hour in range(24)),
        ("STATIONS_ID", "TT_TU"), "hour", "2021010100", [44, 0.5],
        ["'TT_TU': -999 stands for a missing number", "'eor' contains text and is ignored",
         "'STATIONS_ID': the same number in every row",
         "'TT_TU': 1 missing number is interpolated linearly (first in line 7)"],
    ),
    (
        "Open-Meteo, with its place and units",
        "latitude,longitude,elevation,timezone\n52.5,13.4,38.0,GMT\n\ntime,temp (°C)\n"
        + "".join(f"2021-01-01T{hour:02}:00,{hour % 5}.5\n" for hour in range(24)),
        ("temp (°C)",), "hour", "2021-01-01T00:00", [0.5],
        ["2 lines above the table are skipped (first: line 1, 'latitude,longitude,elevation,timezone')"],
    ),
    (
        "ENTSO-E",
        '"MTU (CET/CEST)","Price [EUR/MWh]","Currency"\n' + "".join(
            f'"01.02.2021 {hour:02}:00 - 01.02.2021 {hour + 1:02}:00","{hour % 5}.5","EUR"\n' for hour in range(23)),
        ("Price [EUR/MWh]",), "hour", "01.02.2021 00:00 - 01.02.2021 01:00", [0.5],
        ["'MTU (CET/CEST)': intervals are read as the time at which they start",
         "'Currency' contains text and is ignored"],
    ),
    (
        "SMARD",
        "Datum von;Datum bis;Biomasse [MWh]\n" + "".join(
            f"01.02.2021 {hour:02}:00;01.02.2021 {hour + 1:02}:00;4.{hour + 100},25\n" for hour in range(23)),
        ("Biomasse [MWh]",), "hour", "01.02.2021 00:00", [4100.25],
        ["'Biomasse [MWh]': the comma is the decimal mark (1,5 is 1.5)", "'Datum bis' contains text and is ignored"],
    ),
    (
        "pandas, a series without a name",
        ",0\n" + "".join(f"{day},{n % 5}\n" for n, day in enumerate(DAYS)), ("0",), "day", "2021-01-01", [0], [],
    ),
    (
        "R, a time series",
        '"","time","value"\n' + "".join(f'"{n + 1}",{2000 + n / 4},{n % 5}\n' for n in range(24)),
        ("value",), "quarter", "2000.00", [0], ["'column_1' only numbers the rows and is ignored"],
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", DOWNLOADS, ids=[case[0] for case in DOWNLOADS])
def test_read_series_downloads(tmp_path: Path, case: tuple) -> None:
    _, text, columns, frequency, first, values, sentences = case
    series, warnings = read_table(tmp_path, text.encode())
    assert series[0].columns == columns and series[0].frequency.name == frequency
    assert series[0].times is not None and series[0].format_times(series[0].times[:1]) == [first]
    assert series[0].values[0].tolist() == values
    assert warnings == [f"t.csv: {sentence}" for sentence in sentences]
    assert looks_like_series(document(tmp_path, text.encode()).path)


def test_read_series_downloads_of_several_series_name_their_column(tmp_path: Path) -> None:
    """Our World in Data, and others in the long form."""
    rows = [
        f"{place},{place[:3].upper()},{year},{year % 7}"
        for place in ("France", "Germany")
        for year in range(1990, 2010)
    ]
    data = "\n".join(["Entity,Code,Year,Deaths", *rows]).encode()
    with pytest.raises(Exception, match=r"2 series, distinguished by the column 'Entity'; give --series Entity"):
        read_table(tmp_path, data)
    series, warnings = read_table(tmp_path, data, series="Entity")
    assert [one.name for one in series] == ["France", "Germany"] and series[0].frequency.name == "year"
    assert series[0].columns == ("Deaths",) and warnings == ["t.csv: 'Code' contains text and is ignored"]
