"""Forecasts as rows of a table: one column for each of the series, or the long form of Nixtla's libraries."""

from __future__ import annotations

from collections.abc import Sequence

from seqgen.api.forecasting import Forecast
from seqgen.config.inference import FORECAST_STYLES
from seqgen.errors import UserError

Row = list[str | float]


def table_of(forecasts: Sequence[Forecast], style: str, backtest: bool) -> tuple[list[str], list[Row]]:
    """The header and rows of some forecasts, at least one.

    - "wide": a row for each time, and for each column its forecast and intervals: close, close_lo80, close_hi80.
    - "nixtla": a row for each column and time: unique_id, ds, seqgen, seqgen-lo-80, seqgen-hi-80.

    With `backtest` the origin and the true values too. Raises `UserError` for another style.
    """
    if style not in FORECAST_STYLES:
        raise UserError(f"style must be one of {', '.join(FORECAST_STYLES)}, not {style!r}")
    return (_wide if style == "wide" else _long)(forecasts, backtest)


def _wide(forecasts: Sequence[Forecast], backtest: bool) -> tuple[list[str], list[Row]]:
    first, several = forecasts[0], any(forecast.series.name for forecast in forecasts)
    header = ["series"] * several + ["origin"] * backtest + [_time_column(first)]
    for name in first.columns:
        header.append(name)
        for band in first.bands:
            header += [f"{name}_lo{band.level:g}", f"{name}_hi{band.level:g}"]
        header += [f"{name}_actual"] * backtest
    rows: list[Row] = []
    for forecast in forecasts:
        for step, time in enumerate(forecast.times):
            row: Row = [*[forecast.series.name] * several, *[forecast.origin_label] * backtest, time]
            for column in range(len(forecast.columns)):
                row += _values(forecast, column, step) + [float(forecast.truth[column, step])] * backtest
            rows.append(row)
    return header, rows


def _time_column(first: Forecast) -> str:
    """The name of the table's time column; `time` if times take several columns, `row` if there are none."""
    name = first.series.time_column
    return "row" if first.series.times is None else name if name and "," not in name else "time"


def _long(forecasts: Sequence[Forecast], backtest: bool) -> tuple[list[str], list[Row]]:
    header = ["unique_id", "ds"] + ["cutoff"] * backtest + ["seqgen"]
    for band in forecasts[0].bands:
        header += [f"seqgen-lo-{band.level:g}", f"seqgen-hi-{band.level:g}"]
    header += ["y"] * backtest
    rows: list[Row] = []
    for forecast in forecasts:
        for column, name in enumerate(forecast.columns):
            parts = [forecast.series.name] * bool(forecast.series.name)
            parts += [name] * (len(forecast.columns) > 1 or not parts)
            for step, time in enumerate(forecast.times):
                row: Row = ["/".join(parts), time, *[forecast.origin_label] * backtest]
                row += _values(forecast, column, step)
                rows.append(row + [float(forecast.truth[column, step])] * backtest)
    return header, rows


def _values(forecast: Forecast, column: int, step: int) -> Row:
    """The forecast of a column at a step, and the limits of its intervals."""
    values: Row = [float(forecast.point[column, step])]
    for band in forecast.bands:
        values += [float(band.lower[column, step]), float(band.upper[column, step])]
    return values
