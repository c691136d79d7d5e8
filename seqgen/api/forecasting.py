"""Forecasts with a trained model: from the last row of a table, or from places in its past."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from seqgen.config import ForecasterConfig, ForecastOptions, parse_levels
from seqgen.corpus.series.read import Series
from seqgen.corpus.series.windows import Floats
from seqgen.corpus.sources import Document
from seqgen.errors import DataError, UserError

if TYPE_CHECKING:
    from seqgen.api.model import Model
    from seqgen.plots.forecast import Panel

Values = npt.NDArray[np.float64]

_HISTORY = 60  # rows drawn before the first forecast, or three horizons where these are more


@dataclass(frozen=True)
class PredictionInterval:
    """Limits between which a share of what comes, `level` in percent, is expected; each of shape (columns, horizon)."""

    level: float
    lower: Values
    upper: Values


@dataclass(frozen=True)
class Forecast:
    """What is expected after the first `origin` rows of a series.

    times: what the rows ahead are called: their times as the table writes times, or their numbers.
    point: shape (columns, horizon), in the columns' own units.
    truth: what came, where the table goes on beyond `origin`; NaN where it does not, or nothing is known.
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
        """What the last row that it is made of is called."""
        return row_labels(self.series, self.origin - 1, self.origin)[0]


def forecasts(
    model: Model, documents: Sequence[Document], options: ForecastOptions, warn: Callable[[str], None] = lambda _: None
) -> Iterator[Forecast]:
    """The forecast of every series in `documents`; with `backtest`, those of each from its past, the oldest first.

    Raises:
        ModelError: the model forecasts nothing.
        UserError: a band is asked for that the model did not learn.
        DataError: a table does not hold what the model reads, or too little of it.
    """
    from seqgen.generation.forecasting.intervals import recent_factors
    from seqgen.tasks.forecasting import read_series

    scaler, config = model.checkpoint.scaler, forecaster_config(model)
    bands = interval_levels(config, options.levels)
    horizon = options.horizon or config.horizon
    for series in read_series(scaler, list(documents), warn):
        rows = len(series.values)
        origins = [rows]
        if options.backtest:
            origins = [rows - horizon * back for back in range(options.backtest, 0, -1)]
            if origins[0] < 1:
                raise DataError(
                    f"--backtest {options.backtest:,} takes {options.backtest * horizon + 1:,} rows"
                    f"{' of ' + series.name if series.name else ''}; there are {rows:,}"
                )
        if origins[0] < config.look_back:
            warn(
                f"{series.name + ': ' if series.name else ''}{origins[0]:,} rows, and the model looks back on "
                f"{config.look_back:,}: it is told that the first row stood before them"
            )
        stretch: list[Floats | None] = [None] * len(origins)
        if bands:
            learnt = scaler.learnt_rows(series)
            stretch = list(recent_factors(model.forecaster, scaler.transform(series), np.array(origins), learnt))
        for origin, factors in zip(origins, stretch, strict=True):
            yield _one(model, series, origin, horizon, bands, factors)


def forecaster_config(model: Model) -> ForecasterConfig:
    """The network of a model that forecasts. Raises `ModelError` for another one."""
    config = model.checkpoint.network
    if not isinstance(config, ForecasterConfig):
        from seqgen.errors import ModelError

        raise ModelError(f"this is a model for {model.task}; `seqgen forecast` needs one for forecast")
    return config


def interval_levels(config: ForecasterConfig, text: str) -> tuple[float, ...]:
    """The bands asked for. Raises `UserError` for one that the model did not learn; the default asks for what there
    is."""
    there = tuple(config.levels[-1 - place] - config.levels[place] for place in range(config.median_index))
    wanted = parse_levels(text)
    if text == ForecastOptions.levels:
        wanted = tuple(level for level in wanted if any(abs(level - one) < 1e-6 for one in there))
    for level in wanted:
        if not any(abs(level - one) < 1e-6 for one in there):
            known = ", ".join(f"{one:g}" for one in sorted(there)) or "none"
            raise UserError(f"--levels {level:g} is no band of this model; it has {known} (train --levels)")
    return wanted


def row_labels(series: Series, first: int, stop: int) -> list[str]:
    """What rows `first` to `stop` are called, those after the last too: their times, or their numbers from 1."""
    if series.times is None:
        return [str(number) for number in range(first + 1, stop + 1)]
    times, rows = series.times, len(series.times)
    if stop > rows:
        times = np.concatenate([times, series.frequency.next_times(times[-1], stop - rows)])
    return series.format_times(times[first:stop])


def _one(
    model: Model, series: Series, origin: int, horizon: int, bands: tuple[float, ...], factors: Floats | None
) -> Forecast:
    from seqgen.generation.forecasting.forecast import predict_horizon, quantile

    scaler, config = model.checkpoint.scaler, forecaster_config(model)
    rows = len(series.values)
    # Whole stretches: what the calendar says of the rows after the last wanted one tells on those before it.
    whole = -(-horizon // config.horizon) * config.horizon
    prepared = scaler.transform(series, max(0, origin + whole - rows), max(0, origin + horizon - rows))
    outputs = predict_horizon(model.forecaster, prepared, origin, horizon, factors)
    measures = scaler.stats_of(series)
    columns = len(scaler.targets)
    truth = np.full((columns, horizon), np.nan)
    came = series.values[origin : origin + horizon, :columns]
    truth[:, : len(came)] = np.where(series.observed[origin : origin + horizon, :columns], came, np.nan).T
    return Forecast(
        series,
        origin,
        scaler.targets,
        row_labels(series, origin, origin + horizon),
        scaler.inverse_transform(outputs[:, :, 0], measures),
        tuple(
            PredictionInterval(
                level,
                scaler.inverse_transform(quantile(outputs, config.levels, round(50 - level / 2, 6)), measures),
                scaler.inverse_transform(quantile(outputs, config.levels, round(50 + level / 2, 6)), measures),
            )
            for level in bands
        ),
        truth,
    )


def panels(made: Sequence[Forecast]) -> list[Panel]:
    """What `plots.forecast.draw` is given: a panel for each column of each series, with some history."""
    from seqgen.plots.forecast import ForecastCurve, Panel

    found = []
    for series in dict.fromkeys(one.series.name for one in made):
        mine = [one for one in made if one.series.name == series]
        whole, horizon = mine[0].series, len(mine[0].times)
        rows, last = len(whole.values), mine[-1].origin + horizon
        first = max(0, mine[0].origin - max(_HISTORY, 3 * horizon))
        places = np.arange(1, last + 1)
        if whole.times is not None:
            ahead = max(0, last - rows)
            places = np.concatenate([whole.times, whole.frequency.next_times(whole.times[-1], ahead)])
        for place, name in enumerate(mine[0].columns):
            curves = tuple(
                ForecastCurve(
                    places[one.origin : one.origin + horizon],
                    one.point[place],
                    tuple((band.level, band.lower[place], band.upper[place]) for band in one.bands),
                )
                for one in mine
            )
            title = f"{series}: {name}" if series else name
            found.append(
                Panel(title, places[first : min(last, rows)], whole.values[first : min(last, rows), place], curves)
            )
    return found
