"""Forecast with a loaded model: from the last row of each series, or from earlier ones as a backtest."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seqgen.config import ForecasterConfig, ForecastOptions, parse_levels
from seqgen.config.inference import FORECAST_STYLES
from seqgen.corpus.series.read import Series
from seqgen.corpus.series.windows import Floats
from seqgen.corpus.sources import Document
from seqgen.errors import DataError, UserError
from seqgen.time_limit import NO_LIMIT, TimeLimit

if TYPE_CHECKING:
    import pandas

    from seqgen.api.loaded import LoadedModel
    from seqgen.plots.forecast import Panel

Values = npt.NDArray[np.float64]
Row = list[str | float]

_PLOT_HISTORY = 60  # rows drawn before the first forecast, or three horizons if those are more


@dataclass(frozen=True)
class PredictionInterval:
    """Limits that contain the true value with a probability of `level` percent; shape (columns, horizon) each."""

    level: float
    lower: Values
    upper: Values


@dataclass(frozen=True)
class Forecast:
    """A forecast from the first `origin` rows of a series.

    times: labels of the forecast rows: times as the table writes them, or row numbers.
    point: shape (columns, horizon), in the columns' own units.
    truth: the true values, same shape; NaN where they are missing or not in the table.
    """

    series: Series
    origin: int
    columns: tuple[str, ...]
    times: list[str]
    point: Values
    bands: tuple[PredictionInterval, ...]
    truth: Values

    @property
    def origin_label(self) -> str:
        """The label of the last row that the forecast is made from."""
        return row_labels(self.series, self.origin - 1, self.origin)[0]

    def to_dict(self, backtest: bool = False) -> dict[str, Any]:
        """The object of `forecast --json`; with `backtest`, also the true values."""
        columns: dict[str, Any] = {}
        for index, name in enumerate(self.columns):
            columns[name] = {
                "forecast": [float(value) for value in self.point[index]],
                "bands": {
                    f"{band.level:g}": {"low": band.lower[index].tolist(), "high": band.upper[index].tolist()}
                    for band in self.bands
                },
            }
            if backtest:
                columns[name]["actual"] = [None if math.isnan(value) else float(value) for value in self.truth[index]]
        series = {"series": self.series.name} if self.series.name else {}
        return {**series, "origin": self.origin_label, "times": self.times, "columns": columns}

    def to_frame(self, style: str = "wide", backtest: bool = False) -> pandas.DataFrame:
        """The rows of `forecast --style`, as a DataFrame of pandas. Raises `UserError` for an unknown style."""
        import pandas

        header, rows = table_of([self], style, backtest)
        return pandas.DataFrame(rows, columns=header)

    def _repr_html_(self) -> str:
        """Charts of history, forecast and prediction intervals, for a notebook."""
        from seqgen.plots import notebook

        name = f"{self.series.name}: " if self.series.name else ""
        title = f"{name}{len(self.times):,} rows after {self.origin_label}"
        return notebook.heading(title) + notebook.forecast(panels([self]))


def forecast_sources(
    model: LoadedModel,
    sources: Sequence[str],
    options: ForecastOptions,
    warn: Callable[[str], None] = lambda _: None,
    limit: TimeLimit = NO_LIMIT,
) -> Generator[Forecast, None, None]:
    """`forecasts` of these sources, tables with the model's columns."""
    from seqgen.api.sources import open_sources
    from seqgen.corpus.sources import Spool

    with Spool() as spool:
        documents = open_sources(model.task, sources, spool, warn=warn, encoding=options.encoding, sheet=model.sheet)
        yield from forecasts(model, documents, options, warn, limit)


def forecasts(
    model: LoadedModel,
    documents: Sequence[Document],
    options: ForecastOptions,
    warn: Callable[[str], None] = lambda _: None,
    limit: TimeLimit = NO_LIMIT,
) -> Iterator[Forecast]:
    """Forecast every series in `documents`; with `backtest`, from each of its past origins, oldest first.

    Raises:
        ModelError: the model is not a forecaster.
        UserError: the model was not trained for one of the prediction intervals.
        DataError: a table lacks the model's columns or has too few rows.
        StoppedError: the limit says so.
    """
    from seqgen.generation.forecasting.intervals import recent_factors

    scaler, config = model.checkpoint.scaler, model.forecaster.config
    levels = interval_levels(config, options.levels)
    horizon = options.horizon or config.horizon
    for series in scaler.read_series(documents, warn):
        limit.check()
        rows = len(series.values)
        origins = [rows]
        if options.backtest:
            origins = [rows - horizon * back for back in range(options.backtest, 0, -1)]
            if origins[0] < 1:
                raise DataError(
                    f"--backtest {options.backtest:,} needs {options.backtest * horizon + 1:,} rows"
                    f"{' of ' + series.name if series.name else ''}; there are {rows:,}"
                )
        if origins[0] < config.look_back:
            warn(
                f"{series.name + ': ' if series.name else ''}{origins[0]:,} rows are fewer than the model's look-back "
                f"window of {config.look_back:,}; the first row is repeated before them"
            )
        factors: list[Floats | None] = [] if levels else [None] * len(origins)
        if levels:
            learnt = model.checkpoint.learnt_rows(series)[model.checkpoint.is_finished]
            # One that is new to the model is scaled by its rows before each origin, others by those of the training.
            for some in [origins] if scaler.knows(series) else [[origin] for origin in origins]:
                scaled = scaler.transform(series, rows=some[0])
                factors.extend(recent_factors(model.forecaster, scaled, np.array(some), learnt))
        for origin, factor in zip(origins, factors, strict=True):
            yield _forecast(model, series, origin, horizon, levels, factor, limit)


def interval_levels(config: ForecasterConfig, text: str) -> tuple[float, ...]:
    """Parse the levels of the prediction intervals, in percent. The default is reduced to the levels of the model.

    Raises `UserError` for a level that the model was not trained for.
    """
    trained = tuple(config.levels[-1 - index] - config.levels[index] for index in range(config.median_index))
    wanted = parse_levels(text)
    if text == ForecastOptions.levels:
        wanted = tuple(level for level in wanted if any(abs(level - other) < 1e-6 for other in trained))
    for level in wanted:
        if not any(abs(level - other) < 1e-6 for other in trained):
            known = ", ".join(f"{other:g}" for other in sorted(trained)) or "none"
            raise UserError(f"--levels {level:g}: the model has no such prediction interval; it has {known}")
    return wanted


def row_labels(series: Series, first: int, stop: int) -> list[str]:
    """Label rows `first` to `stop`, which may lie beyond the last: their times, or their numbers in the table.

    In a table of several series they are numbered within each.
    """
    if series.times is None:
        return [str(series.dropped + number) for number in range(first + 1, stop + 1)]
    times, rows = series.times, len(series.times)
    if stop > rows:
        times = np.concatenate([times, series.frequency.next_times(times[-1], stop - rows)])
    return series.format_times(times[first:stop])


def _forecast(
    model: LoadedModel,
    series: Series,
    origin: int,
    horizon: int,
    levels: tuple[float, ...],
    factors: Floats | None,
    limit: TimeLimit,
) -> Forecast:
    from seqgen.generation.forecasting.forecast import predict_horizon, quantile

    scaler, config = model.checkpoint.scaler, model.forecaster.config
    rows = len(series.values)
    # Whole horizons of the network, so that its calendar features are known beyond the last row asked for.
    whole = -(-horizon // config.horizon) * config.horizon
    scaled = scaler.transform(series, max(0, origin + whole - rows), max(0, origin + horizon - rows), origin)
    outputs = predict_horizon(model.forecaster, scaled, origin, horizon, factors, limit)
    stats = scaler.stats_of(series, origin)
    columns = len(scaler.targets)
    truth = np.full((columns, horizon), np.nan)
    known = series.values[origin : origin + horizon, :columns]
    truth[:, : len(known)] = np.where(series.observed[origin : origin + horizon, :columns], known, np.nan).T
    return Forecast(
        series,
        origin,
        scaler.targets,
        row_labels(series, origin, origin + horizon),
        scaler.inverse_transform(outputs[:, :, 0], stats),
        tuple(
            PredictionInterval(
                level,
                scaler.inverse_transform(quantile(outputs, config.levels, round(50 - level / 2, 6)), stats),
                scaler.inverse_transform(quantile(outputs, config.levels, round(50 + level / 2, 6)), stats),
            )
            for level in levels
        ),
        truth,
    )


def panels(made: Sequence[Forecast]) -> list[Panel]:
    """Make the panels of `plots.forecast`: one for each column of each series, with some history."""
    from seqgen.plots.forecast import ForecastCurve, Panel

    found = []
    for name in dict.fromkeys(forecast.series.name for forecast in made):
        own = [forecast for forecast in made if forecast.series.name == name]
        series, horizon = own[0].series, len(own[0].times)
        rows, last = len(series.values), own[-1].origin + horizon
        first = max(0, own[0].origin - max(_PLOT_HISTORY, 3 * horizon))
        x = np.arange(1, last + 1) + series.dropped
        if series.times is not None:
            x = np.concatenate([series.times, series.frequency.next_times(series.times[-1], max(0, last - rows))])
        for index, column in enumerate(own[0].columns):
            curves = tuple(
                ForecastCurve(
                    x[forecast.origin : forecast.origin + horizon],
                    forecast.point[index],
                    tuple((band.level, band.lower[index], band.upper[index]) for band in forecast.bands),
                )
                for forecast in own
            )
            title = f"{name}: {column}" if name else column
            shown = slice(first, min(last, rows))
            found.append(Panel(title, x[shown], series.values[shown, index], curves))
    return found


# ---- Tables ----


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
