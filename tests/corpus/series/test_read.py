"""Series reader: CSV dialects, several columns and files, Parquet, arbitrary tables."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.corpus.series.read import SeriesOptions, looks_like_series, read_series, season, sentinels_of
from seqgen.errors import DataError, UserError
from tests.helpers.series import DAYS, daily_table, document, hourly_table, parquet_file, read_one, read_table

# ---- Tables that need no report ----


def test_read_series_table_with_several_targets(tmp_path: Path) -> None:
    series = read_one(tmp_path, b"when,a,b\n2020-01-01,1,5\n2020-01-02,2.5,6\n2020-01-03,-3e1,7\n")
    assert (
        series.columns == ("a", "b") and series.target_count == 2 and series.name == "" and series.time_column == "when"
    )
    assert series.values.tolist() == [[1, 5], [2.5, 6], [-30, 7]] and series.observed.all()
    assert series.times is not None and series.times.dtype == "datetime64[s]"
    assert series.times.tolist()[-1].isoformat() == "2020-01-03T00:00:00"
    assert series.frequency.name == "day" and series.future.shape == (0, 0) and len(series) == 3


def test_read_series_columns_are_in_the_given_order(tmp_path: Path) -> None:
    data = b"date,a,b,c,d\n2020-01-01,1,2,3,4\n2020-01-02,1,3,5,7\n2020-01-03,2,5,8,9\n"
    series = read_one(tmp_path, data, targets=("d",), covariates=("b",), future_covariates=("a",))
    assert series.columns == ("d", "b", "a") and series.target_count == 1
    assert series.values.tolist() == [[4, 2, 1], [7, 3, 1], [9, 5, 2]]
    assert read_one(tmp_path, data, covariates=("b",)).columns == ("a", "c", "d", "b")
    assert read_one(tmp_path, data, targets=("D",)).columns == ("d",)  # case doesn't matter


CODES = {
    "padded": ("id", ["000001", "600519", "000001", "600036"], True),
    "of shares": ("id", ["000001.SZ", "300750.SZ", "000001.SZ", "000002.SZ"], True),
    "of one share": ("ts_code", ["600519.SH"] * 4, True),
    "the same everywhere": ("id", ["00700"] * 4, True),
    "by its Chinese name": ("股票代码", ["600519"] * 4, True),
    "the same and short": ("id", ["01"] * 4, False),
    "readings of one width": ("meter", ["00000", "00007", "00014", "00021"], False),
    "lines of code": ("lines of code", ["100"] * 4, False),
    "a measure of few digits": ("wind", ["010", "360", "090", "180"], False),
    "codes that change": ("weather_code", ["61", "3", "3", "80"], False),
    "another name": ("decoded", ["61"] * 4, False),
    "decimals": ("y", ["0.0001"] * 4, False),
}


@pytest.mark.parametrize("case", CODES)
def test_read_series_codes_are_unused_unless_named(case: str, tmp_path: Path) -> None:
    name, cells, are_codes = CODES[case]
    rows = [f"2020-01-0{n},{cell},{n * n}" for n, cell in enumerate(cells, 1)]
    data = "\n".join([f"date,{name},x", *rows, ""]).encode()
    [series], warnings = read_table(tmp_path, data)
    assert series.columns == (("x",) if are_codes else (name, "x"))
    assert (f"t.csv: '{name}' has codes and is ignored" in warnings) == are_codes
    [series], warnings = read_table(tmp_path, data, targets=(name,))
    assert series.columns == (name,) and not any("codes" in each for each in warnings)


def test_read_series_codes_are_a_target_where_there_is_no_other(tmp_path: Path) -> None:
    [series], warnings = read_table(tmp_path, daily_table("00012", "00017", "00011"))
    assert series.values.tolist() == [[12], [17], [11]] and warnings == []


def test_read_series_codes_are_those_of_each_series(tmp_path: Path) -> None:
    rows = [
        f"2020-01-0{day},{code},{name},{day * day}\n"
        for code, name in ((17, "甲"), (600519, "乙"))
        for day in (1, 2, 3)
    ]
    data = f"date,代码,name,x\n{''.join(rows)}".encode()
    for key, other in (("name", "代码"), ("代码", "name")):
        found = list(read_series([document(tmp_path, data)], SeriesOptions(series=key), lambda _: None))
        assert [each.columns for each in found] == [("x",)] * 2 and other not in found[0].columns
    for measure in ("lines of code", "error_code", "exitCode"):
        data = f"date,{measure},name,x\n{''.join(rows)}".encode()
        found = list(read_series([document(tmp_path, data)], SeriesOptions(series="name"), lambda _: None))
        assert [each.columns for each in found] == [(measure, "x")] * 2


SAME = [1.5, 2.0, -3.25, 1234.5]

PLAIN = [
    ("comma", b"date,x\n2020-01-01,1.5\n2020-01-02,2\n2020-01-03,-3.25\n2020-01-04,1234.5\n"),
    ("tab", b"date\tx\n2020-01-01\t1.5\n2020-01-02\t2\n2020-01-03\t-3.25\n2020-01-04\t1234.5\n"),
    ("semicolon", b"date;x\n2020-01-01;1.5\n2020-01-02;2\n2020-01-03;-3.25\n2020-01-04;1234.5\n"),
    ("bar", b"date|x\n2020-01-01|1.5\n2020-01-02|2\n2020-01-03|-3.25\n2020-01-04|1234.5\n"),
    ("mark", b"\xef\xbb\xbfdate,x\n2020-01-01,1.5\n2020-01-02,2\n2020-01-03,-3.25\n2020-01-04,1234.5"),
    ("CRLF", b"date,x\r\n2020-01-01,1.5\r\n2020-01-02,2\r\n2020-01-03,-3.25\r\n2020-01-04,1234.5\r\n"),
    ("old Mac", b"date,x\r2020-01-01,1.5\r2020-01-02,2\r2020-01-03,-3.25\r2020-01-04,1234.5\r"),
    ("quotes", b'"date","x"\n"2020-01-01","1.5"\n"2020-01-02","2"\n"2020-01-03","-3.25"\n"2020-01-04",1234.5\n'),
    ("spaces", b"date, x\n2020-01-01, 1.5\n2020-01-02, 2 \n 2020-01-03, -3.25\n2020-01-04,  1234.5\n"),
    ("empty lines", b"\n\ndate,x\n2020-01-01,1.5\n\n2020-01-02,2\n2020-01-03,-3.25\n,\n2020-01-04,1234.5\n\n"),
    ("Excel", b"sep=;\ndate;x\n2020-01-01;1.5\n2020-01-02;2\n2020-01-03;-3.25\n2020-01-04;1234.5\n"),
    ("commas at the end", b"date,x,,\n2020-01-01,1.5,,\n2020-01-02,2,,\n2020-01-03,-3.25,,\n2020-01-04,1234.5,,\n"),
    ("UTF-16", "date\tx\n2020-01-01\t1.5\n2020-01-02\t2\n2020-01-03\t-3.25\n2020-01-04\t1234.5\n".encode("utf-16")),
    ("full width", "date,x\n2020-01-01,１.５\n2020-01-02,2\n2020-01-03,−3.25\n2020-01-04,1234.5\n".encode()),
]


@pytest.mark.parametrize(("name", "data"), PLAIN, ids=[name for name, _ in PLAIN])
def test_read_series_csv_dialects_give_the_same_table(tmp_path: Path, name: str, data: bytes) -> None:
    series = read_one(tmp_path, data)
    assert series.columns == ("x",) and series.values[:, 0].tolist() == SAME and series.frequency.name == "day"


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "utf-32-le"])
def test_read_series_encodings_give_the_same_table(tmp_path: Path, encoding: str) -> None:
    data = "日期,收盘\n" + "".join(f"2020年1月{day}日,{day % 3}\n" for day in range(5, 25))
    series = read_one(tmp_path, data.encode(encoding))
    assert series.columns == ("收盘",) and series.values[:3, 0].tolist() == [2, 0, 1] and len(series) == 20


def test_read_series_gzip_is_decompressed(tmp_path: Path) -> None:
    source = document(tmp_path, gzip.compress(DAYS), "t.csv.gz")
    assert read_series([source], SeriesOptions(), pytest.fail)[0].values[:, 0].tolist() == [1, 2, 3, 4]
    assert looks_like_series(source.path)


def test_read_series_column_named_by_a_number(tmp_path: Path) -> None:
    series = read_one(tmp_path, b",0\n2020-01-01,5\n2020-01-02,6\n")  # as pandas writes a series without a name
    assert series.columns == ("0",) and series.frequency.name == "day"


def test_read_series_digits_in_the_given_time_column_are_times(tmp_path: Path) -> None:
    series = read_one(tmp_path, b"at,x\n20200101 050000,5\n20200101 060000,6\n", time_column="at")
    assert series.frequency.name == "hour" and series.times is not None
    assert series.format_times(series.times) == ["20200101 050000", "20200101 060000"]


def test_read_series_rows_without_times(tmp_path: Path) -> None:
    series = read_one(tmp_path, b"x,y\n5,1\n3,1.5\n4,2\n")
    assert series.times is None and series.frequency.name == "row" and series.time_column == ""
    assert series.values.tolist() == [[5, 1], [3, 1.5], [4, 2]]
    untimed, warnings = read_table(tmp_path, DAYS, time_column="")
    assert untimed[0].times is None and warnings == ["t.csv: 'date' contains text and is ignored"]
    assert read_one(tmp_path, DAYS, frequency="row").times is None


def test_read_series_single_column_is_the_target(tmp_path: Path) -> None:
    assert read_one(tmp_path, b"sales\n5\n3\n4\n").values[:, 0].tolist() == [5, 3, 4]
    assert read_one(tmp_path, b"sales\n1\n2\n3\n").values[:, 0].tolist() == [
        1,
        2,
        3,
    ]  # there is nothing else to forecast


def test_read_series_future_covariates_of_later_rows(tmp_path: Path) -> None:
    data = (
        b"date,x,holiday\n2020-01-01,1,0\n2020-01-02,2,1\n2020-01-03,3,0\n2020-01-04,,1\n2020-01-05,,\n2020-01-06,,3\n"
    )
    series = read_one(tmp_path, data, targets=("x",), future_covariates=("holiday",))
    assert series.values.tolist() == [[1, 0], [2, 1], [3, 0]]
    assert series.future.tolist() == [[1], [2], [3]]  # gaps are interpolated
    assert series.times is not None and series.format_times(series.times)[-1] == "2020-01-03"


def test_read_series_several_series_in_one_table(tmp_path: Path) -> None:
    data = (
        b"id,date,x\nb,2020-01-01,1\nb,2020-01-02,2\na,2020-01-01,5\na,2020-01-02,6\nb,2020-01-03,3\na,2020-01-03,4\n"
    )
    series, warnings = read_table(tmp_path, data, series="id")
    assert warnings == [] and [s.name for s in series] == ["b", "a"]
    assert [s.values[:, 0].tolist() for s in series] == [[1, 2, 3], [5, 6, 4]]
    numbered, _ = read_table(tmp_path, data.replace(b"\nb", b"\n007").replace(b"\na", b"\n7"), series="id")
    assert [s.name for s in numbered] == ["007", "7"]


def test_read_series_several_files(tmp_path: Path) -> None:
    documents = [document(tmp_path, DAYS, "one.csv"), document(tmp_path, daily_table(4, 5, 6), "two.csv")]
    series = read_series(documents, SeriesOptions(), pytest.fail)
    assert [s.name for s in series] == ["one", "two"] and len(series[1]) == 3
    with pytest.raises(DataError, match=r"'one.csv' is given twice"):
        read_series([documents[0], documents[0]], SeriesOptions(), pytest.fail)
    with pytest.raises(DataError, match="there is no table"):
        read_series([], SeriesOptions(), pytest.fail)
    other = document(tmp_path, daily_table(4, 5, 6, name="y"), "three.csv")
    with pytest.raises(DataError, match=r"three.csv has no column 'x'"):
        read_series([documents[0], other], SeriesOptions(), pytest.fail)


@pytest.mark.parametrize("first", [0, 1])
def test_read_series_numbers_that_are_missing_in_one_file_are_in_all(tmp_path: Path, first: int) -> None:
    """Those above zero are if several rows have them."""
    numbers = [(3.5, 9999.9, 4.5, 9999.9, 2), (5, 4, 9999.9, 2, 1)]
    documents = [document(tmp_path, daily_table(*row), f"{n}.csv") for n, row in enumerate(numbers)]
    warnings: list[str] = []
    found = read_series(documents[:: 1 - 2 * first], SeriesOptions(), warnings.append)
    series = {one.name: one.values[:, 0].tolist() for one in found}
    assert series == {"0": [3.5, 4, 4.5, 3.25, 2], "1": [5, 4, 3, 2, 1]}
    assert len(warnings) == 4 and sum("9999.9 stands for a missing number" in said for said in warnings) == 2
    assert sentinels_of(found, {"x": (-99.0,), "y": (1.0,)}) == {"x": (-99.0, 9999.9), "y": (1.0,)}


def test_read_series_numbers_that_are_missing_are_so_in_columns_of_other_capitals(tmp_path: Path) -> None:
    """Columns are the same in other capitals; the numbers that mean a missing one were not."""
    tables = [daily_table(3.5, 9999.9, 4.5, 9999.9, 2, name="Temp"), daily_table(5, 4, 9999.9, 2, 1, name="temp")]
    documents = [document(tmp_path, table, f"{n}.csv") for n, table in enumerate(tables)]
    one, other = read_series(documents, SeriesOptions(), lambda _: None)
    assert one.values[:, 0].tolist() == [3.5, 4, 4.5, 3.25, 2] and other.values[:, 0].tolist() == [5, 4, 3, 2, 1]
    assert sentinels_of([other], {"TEMP": (-99.0,)}) == {"TEMP": (-99.0, 9999.9)}
    known: dict[str, tuple[float, ...]] = {"TEMP": (9999.9,)}  # of a model
    (later,) = read_series(documents[1:], SeriesOptions(targets=("TEMP",), sentinels=known), lambda _: None)
    assert later.values[:, 0].tolist() == [5, 4, 3, 2, 1] and sentinels_of([later], known) == known
    two = document(tmp_path, b"date,T,t\n2020-01-01,5,6\n2020-01-02,9999.9,9999.9\n2020-01-03,4,5\n", "two.csv")
    (both,) = read_series([two], SeriesOptions(sentinels={"t": (9999.9,)}), lambda _: None)
    assert both.values[1].tolist() == [9999.9, 5.5]  # two columns


def test_read_series_is_repeatable_with_the_options_of_a_model(tmp_path: Path) -> None:
    """The options stored with a model read the same table, and later rows, in the same way."""
    data = b"No,year,month,day,x,y\n" + b"".join(b"%d,2020,%d,1,%d,%d\n" % (m, m, m * m, m) for m in range(1, 13))
    first, _ = read_table(tmp_path, data, covariates=("y",))
    known = {"targets": ("x",), "covariates": ("y",), "time_column": first[0].time_column,
             "frequency": first[0].frequency.name}  # fmt: skip
    again = read_one(tmp_path, data, **known)
    assert first[0].time_column == "year,month,day" and again.columns == first[0].columns == ("x", "y")
    assert again.frequency == first[0].frequency and (again.values == first[0].values).all()
    short = read_one(tmp_path, b"year,month,day,x,y\n2021,1,1,5,6\n2021,2,1,5.5,6\n", **known)
    assert short.frequency.name == "month" and len(short) == 2


# ---- Parquet ----


def test_read_series_parquet(tmp_path: Path) -> None:
    import datetime

    pyarrow = pytest.importorskip("pyarrow")
    dates = [datetime.date(2020, 1, day) for day in (1, 2, 3)]
    series = read_one(tmp_path, parquet_file(when=dates, x=[1, 2, 4], y=[True, False, True]))
    assert series.values.tolist() == [[1, 1], [2, 0], [4, 1]] and series.frequency.name == "day"
    zoned = pyarrow.array([datetime.datetime(2020, 1, 1, hour) for hour in range(3)], pyarrow.timestamp("ms", "UTC"))
    fast = pyarrow.array([datetime.datetime(2020, 1, 1, 0, 0, n, 1000) for n in range(3)], pyarrow.timestamp("us"))
    assert read_table(tmp_path, parquet_file(t=fast, x=[1, 2, 4]))[1] == ["t.csv: fractions of seconds are rounded"]
    series = read_one(tmp_path, parquet_file(when=zoned, x=[1.5, 2.5, 4.5]))
    assert series.times is not None and series.format_times(series.times)[1] == "2020-01-01 01:00:00Z"
    _, warnings = read_table(
        tmp_path,
        parquet_file(id=["a", "a", "b", "b"], t=dates[:2] * 2, x=[1.0, 2.0, None, 3.0], w=["u"] * 4),
        series="id",
    )
    assert warnings == [
        "t.csv: 'w' contains text and is ignored",
        "t.csv: 1 series is dropped (t.csv, series 'b' is too short: 1 row, one every day; 2 are needed)",
    ]
    with pytest.raises(DataError, match=r"t.csv, row 2, column 'x': infinite number"):
        read_table(tmp_path, parquet_file(t=dates, x=[1.0, np.inf, 2.0]))


def test_read_series_parquet_integers_beyond_floats_and_nanoseconds_are_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    start, hour = 1_600_000_000_123_456_789, 3600 * 10**9
    epochs = [start + n * hour for n in range(4)]
    for times in (pyarrow.array(epochs, pyarrow.timestamp("ns")), epochs):
        table = parquet_file(timestamp=times, x=[1.5, 2.5, 4.5, 1.0], id=[2**60, 2**61, 2**59, 2**62])
        (series,), _ = read_table(tmp_path, table)
        assert series.times is not None and str(series.times[1]) == "2020-09-13T13:26:40"
        assert series.values[:, 0].tolist() == [1.5, 2.5, 4.5, 1.0] and series.values[0, 1] == 2.0**60


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_read_series_arbitrary_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("t")
    (folder / "t.csv").write_bytes(data)
    looks_like_series(folder / "t.csv")
    try:
        for series in read_table(folder, data)[0]:
            assert np.isfinite(series.values).all() and len(series) >= 2
    except UserError as error:
        assert "\n" not in str(error)


cells = st.sampled_from(
    ["", "1", "2.5", "-3", "NA", "1,5", "x", "2020-01-01", "2020-01-02", "1/2/2020", "13/1/20", '"', "$4"]
)


@given(st.lists(st.lists(cells, min_size=1, max_size=4), max_size=12), st.sampled_from(",;\t"))
@settings(max_examples=300, deadline=None)
def test_read_series_arbitrary_tables_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], delimiter: str
) -> None:
    folder = tmp_path_factory.mktemp("t")
    data = "\n".join(delimiter.join(row) for row in [["date", "x", "y"], *rows]).encode()
    try:
        for series in read_table(folder, data)[0]:
            assert np.isfinite(series.values).all()
            assert series.times is None or (np.diff(series.times).astype(int) > 0).all()
    except UserError as error:
        assert "\n" not in str(error)


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=4, max_size=60), st.randoms())
@settings(max_examples=100, deadline=None)
def test_read_series_does_not_depend_on_the_order_of_rows(
    tmp_path_factory: pytest.TempPathFactory, values: list, random: object
) -> None:
    folder = tmp_path_factory.mktemp("t")
    header, *lines = daily_table(*values).splitlines()
    random.shuffle(lines)  # type: ignore[attr-defined]
    results = []
    for data in (daily_table(*values), b"\n".join([header, *lines])):
        try:
            series = read_table(folder, data)[0][0]
            results.append((series.values.tolist(), series.observed.tolist(), str(series.times)))
        except DataError as error:
            results.append(type(error).__name__)
    assert results[0] == results[1]


def test_season_must_fit_twice(tmp_path: Path) -> None:
    assert season(read_one(tmp_path, hourly_table(*range(49)))) == 24
    assert season(read_one(tmp_path, hourly_table(*range(40)))) == 1  # shorter than two periods
    assert season(read_one(tmp_path, b"x\n5\n3\n4\n")) == 1


def test_read_series_many_rows_with_few_notations(tmp_path: Path) -> None:
    """Blocks of plain numbers are stored as floats, other blocks as text."""
    values = list(range(20_000))
    written: list[object] = [*values[:9_000], *(f"${value}" for value in values[9_000:9_003]), *values[9_003:]]
    series, warnings = read_table(tmp_path, hourly_table(*written))
    assert series[0].values[:, 0].tolist() == values and warnings == ["t.csv: 'x': currency signs are ignored"]
    with pytest.raises(DataError, match=r"line 18,002, column 'x': 'oops'"):
        read_table(tmp_path, hourly_table(*values[:18_000], "oops", *values[18_001:]))
