"""Forecasts as tables of other programs."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

import seqgen
from seqgen.api.forecasting import panels
from seqgen.errors import DataError
from tests.helpers.running import Run


@pytest.fixture(scope="module")
def table(zoo: dict[str, Path]) -> Path:
    return next(path for path in zoo["forecast"].parent.iterdir() if path.suffix == ".csv")


def test_forecast_style_nixtla_has_the_numbers_of_wide(zoo: dict[str, Path], table: Path, run: Run) -> None:
    wide = list(csv.DictReader(io.StringIO(run("forecast", zoo["forecast"], table, "--levels", "80").out.decode())))
    long = list(csv.DictReader(io.StringIO(
        run("forecast", zoo["forecast"], table, "--levels", "80", "--style", "nixtla").out.decode()
    )))  # fmt: skip
    assert list(long[0]) == ["unique_id", "ds", "seqgen", "seqgen-lo-80", "seqgen-hi-80"]
    columns = [name for name in list(wide[0])[1:] if not name.endswith(("_lo80", "_hi80"))]
    assert len(long) == len(columns) * len(wide)
    for number, row in enumerate(long):
        name, other = columns[number // len(wide)], wide[number % len(wide)]
        assert row["unique_id"] == name and row["ds"] == next(iter(other.values()))
        assert (row["seqgen"], row["seqgen-lo-80"], row["seqgen-hi-80"]) == (
            other[name], other[name + "_lo80"], other[name + "_hi80"],
        )  # fmt: skip


def test_forecast_of_rows_without_times_numbers_them_as_in_the_table(tmp_path: Path) -> None:
    """The first two have no value of a target yet, and are dropped."""
    rows = [f"{row % 7},{row % 5}" if row >= 2 else f"{row}," for row in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["x,y", *rows]) + "\n")
    model = seqgen.train(
        str(tmp_path / "t.csv"), tmp_path / "m", horizon=3, look_back=14, rnn_size=4, steps=1, threads=1
    )
    (ahead,), (back,) = model.forecast(str(tmp_path / "t.csv")), model.forecast(str(tmp_path / "t.csv"), backtest=1)
    assert (ahead.origin_label, ahead.times) == ("60", ["61", "62", "63"])
    assert (back.origin_label, back.times) == ("57", ["58", "59", "60"])
    (panel, _) = panels([back])
    assert panel.index[-1] == 60 and panel.curves[0].index.tolist() == [58, 59, 60]
    (tmp_path / "t.csv").write_text("\n".join(["x,y", *rows[:40], "1,2e18", *rows[41:]]) + "\n")
    with pytest.raises(DataError, match="'y' is 2e\\+18 in row 41"):
        model.forecast(str(tmp_path / "t.csv"))


def test_forecast_to_frame_is_the_table(zoo: dict[str, Path], table: Path) -> None:
    (found,) = seqgen.load(zoo["forecast"]).forecast(str(table), backtest=1)
    frame = found.to_frame("nixtla", backtest=True)
    assert list(frame.columns[:4]) == ["unique_id", "ds", "cutoff", "seqgen"] and frame.columns[-1] == "y"
    assert frame["seqgen"].tolist()[: len(found.times)] == found.point[0].tolist()
    assert list(found.to_frame().columns[1:2]) == [found.columns[0]]
    with pytest.raises(seqgen.UserError, match="style must be one of wide, nixtla"):
        found.to_frame("long")


@pytest.mark.parametrize(
    ("flags", "message"),
    [(["--style", "nixta"], "did you mean 'nixtla'"), (["--style", "nixtla", "--json"], "can't be used with --json")],
)
def test_forecast_style_wrong_is_one_line(flags: list[str], message: str, zoo: dict[str, Path], run: Run) -> None:
    assert message in run("forecast", zoo["forecast"], "weather", *flags, status=2).err


def test_forecast_one_of_the_files_learnt_is_as_among_all(tmp_path: Path) -> None:
    """The last rows of one are far from the training rows, so that statistics of all its rows would differ.

    Of a table of another name, no row after the origin says how it is scaled.
    """
    for number, name in enumerate(("a", "b")):
        values = [10 * number + row % 7 + (50 if row > 95 else 0) for row in range(100)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["y", *map(str, values)]) + "\n")
    sources = [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]
    model = seqgen.train(
        sources, tmp_path / "m", task="forecast", horizon=3, look_back=14, rnn_size=8, steps=2, threads=1
    )
    among, _ = model.forecast(sources)
    (alone,) = model.forecast(sources[0])
    assert (alone.series.name, among.series.name) == ("a", "a")
    assert alone.point.tolist() == among.point.tolist()
    assert [band.lower.tolist() for band in alone.bands] == [band.lower.tolist() for band in among.bands]
    (tmp_path / "c.csv").write_text((tmp_path / "a.csv").read_text())
    (tmp_path / "cut.csv").write_text("\n".join(["y", *map(str, values[:90])]) + "\n")
    (tmp_path / "rise.csv").write_text("\n".join(["y", *map(str, values[:90]), "900", "950", "990"]) + "\n")
    ((cut,), (back,)) = (
        model.forecast(str(tmp_path / "cut.csv")),
        model.forecast(str(tmp_path / "rise.csv"), backtest=1),
    )
    assert back.origin == 90 and back.point.tolist() == cut.point.tolist()
    assert [band.upper.tolist() for band in back.bands] == [band.upper.tolist() for band in cut.bands]
    said: list[str] = []
    assert len(model.forecast(sources, warn=said.append)) == 2 and said == []
    (other,) = model.forecast(str(tmp_path / "c.csv"), warn=said.append)
    model.forecast([sources[0], str(tmp_path / "c.csv")], warn=said.append)
    assert said == [
        f"{which} is none of the series that the model has learnt, 'a', 'b': it is scaled by its own rows"
        for which in ("the table", "'c'")
    ]
    assert other.series.name == "" and other.point.tolist() != among.point.tolist()


def test_forecast_by_logarithms_of_a_table_with_a_zero_is_one_error(tmp_path: Path) -> None:
    """Without times its first rows are compared with those learnt, which took the logarithm of the zero."""
    numbers = [10.0 + row % 7 for row in range(100)]
    (tmp_path / "a.csv").write_text("\n".join(["y", *map(str, numbers)]) + "\n")
    settings = {"horizon": 3, "look_back": 14, "rnn_size": 8, "steps": 1, "threads": 1, "log_returns": True}
    model = seqgen.train(str(tmp_path / "a.csv"), tmp_path / "m", task="forecast", members=1, **settings)
    (tmp_path / "b.csv").write_text("\n".join(["y", *map(str, numbers[:50]), "0", *map(str, numbers)]) + "\n")
    with pytest.raises(DataError, match="--log-returns needs positive numbers: 'y' is 0 in row 51"):
        model.forecast(str(tmp_path / "b.csv"))
