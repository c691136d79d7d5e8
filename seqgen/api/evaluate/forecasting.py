"""Evaluate a forecaster beside persistence, the seasonal naive forecast and a linear model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqgen.api.evaluate.base import EvaluationContext, training_documents
from seqgen.api.loaded import LoadedModel
from seqgen.api.sources import trained_on
from seqgen.checkpoint import Checkpoint
from seqgen.config import ForecasterConfig
from seqgen.corpus.series.read import Series
from seqgen.corpus.series.scaling import ColumnStats, Scaler, Stretch
from seqgen.corpus.series.windows import Floats, ScaledSeries, SplitPoints, Windows, require_windows, split_points
from seqgen.corpus.sources import Document
from seqgen.errors import DataError
from seqgen.evaluation.baselines.naive import (
    BaselineForecaster,
    BaselineWithIntervals,
    NLinear,
    Persistence,
    SeasonalNaive,
)
from seqgen.evaluation.forecasting import ForecastTally
from seqgen.generation.forecasting.intervals import recent_factors, scaled_intervals

_BATCH_WINDOWS = 1024
_SCALED_AGAIN = 20  # a series that is new to the model, whenever one in so many of its rows came since
_PARTS = {
    "test": "the test rows, used neither for training nor for validation",
    "valid": "the validation rows, which also chose the best step and the width of the prediction intervals",
    "learnt": "the validation rows, which the model has learnt too: other rows have larger errors",
    "new": "the rows after those of training and validation",
    "after": "the rows after those of training, with the validation rows, which chose the best step and the width of "
    "the prediction intervals",
    "after_learnt": "the rows after those of training, with the validation rows, which the model has learnt too: other "
    "rows have larger errors",
    "all": "all rows",
}
_LEARNT = {"valid": "learnt", "after": "after_learnt"}  # what those parts are of a finished model


@dataclass(frozen=True)
class _TrainingWindows:
    """The windows of the training and the validation rows, and of the rows that the model has learnt in the end."""

    train: Windows
    valid: Windows
    learnt: Windows


def evaluate(context: EvaluationContext) -> dict[str, Any]:
    """Forecast every window whose target rows are evaluated; its history may reach back to earlier rows.

    Prediction intervals adapt to the errors of earlier windows, as they do in a forecast. Rows that the model was
    trained on are not evaluated: of its own file, only the test rows of `--split-rows` or else the validation rows; of
    any other, which may be that file with new rows, those after them. Where that leaves no window, the validation rows
    are too, or else all.

    Raises:
        DataError: the rows are too few for a window, or no target has a number in them.
    """
    model = context.model
    scaler, config = model.checkpoint.scaler, model.forecaster.config
    series = scaler.read_series(context.documents, context.warn)
    scaled = [scaler.transform(each) for each in series]
    part, splits = _split(model, context.documents, series)
    ranges = [_range(part, points, len(each)) for each, points in zip(scaled, splits, strict=True)]
    finished = model.checkpoint.is_finished
    learnt = [model.checkpoint.learnt_rows(each)[finished] for each in series]
    if part == "all" and any(learnt):
        context.warn(
            f"up to {sum(learnt):,} of these {sum(map(len, series)):,} rows were learnt: others have larger errors"
        )
    windows = Windows(scaled, ranges, config.look_back, config.horizon)
    require_windows(windows, "what is evaluated", max(len(each) for each in scaled))
    context.report(f"forecasting from {len(windows.origins):,} origins")
    rows = sum(max(0, stop - max(first, config.look_back)) for first, stop in ranges)
    training = _training_windows(context, part, series, splits) if context.baselines else None
    baselines = _baselines(scaler, config, training) if context.baselines else []
    tallies = _tally(model, series, scaled, ranges, learnt, baselines)
    own, persistence = tallies.pop("model"), tallies.get("persistence")
    if not own.values:
        raise DataError(f"{', '.join(scaler.targets)}: there is no number in the rows to evaluate on")
    return {
        "records": len(series),
        "tokens": own.values,
        "windows": len(windows),
        "rows": rows,
        "evaluated": _PARTS[_LEARNT.get(part, part) if finished else part],
        "horizon": config.horizon,
        "columns": list(scaler.targets),
        "metrics": own.metrics(persistence),
        "baselines": {name: tally.metrics(persistence) for name, tally in tallies.items()},
    }


def _split(
    model: LoadedModel, documents: Sequence[Document], series: Sequence[Series]
) -> tuple[str, list[SplitPoints]]:
    """Which part of the rows is evaluated, and where training split each series.

    The options tell it if the documents are its sources; of others, the last rows that it had.
    """
    loaded = model.checkpoint
    horizon = loaded.forecaster_config.horizon
    split_rows, fraction = loaded.options.split_rows, 0.0 if loaded.has_own_valid else loaded.options.val_fraction
    if len(trained_on(loaded, documents)) < len(documents):
        splits = [_presumed_split(loaded, each) for each in series]
        # Where validation ended is not known of models of before it was kept, unless they have learnt those rows.
        validated = bool(fraction or split_rows) and not loaded.is_finished
        parts = ["after"] if validated and not loaded.scaler.held_out else ["new", "after"]
        least = loaded.forecaster_config.look_back
        for part in parts:
            ranges = [_range(part, points, len(each)) for points, each in zip(splits, series, strict=True)]
            if any(points.valid for points in splits) and any(b - max(a, least) >= horizon for a, b in ranges):
                return part, splits
        return "all", [SplitPoints(0, len(each), len(each)) for each in series]
    splits = [split_points(len(each.values), split_rows, fraction, horizon) for each in series]
    if any(points.test > points.valid for points in splits):
        return "test", splits
    if any(points.valid > points.train for points in splits):
        return "valid", splits
    return "all", splits


def _presumed_split(loaded: Checkpoint, series: Series) -> SplitPoints:
    """Where training split a series if it is the one that was learnt, with new rows."""
    train, valid = loaded.learnt_rows(series)
    return SplitPoints(train, max(train, valid), len(series))


def _range(part: str, points: SplitPoints, rows: int) -> tuple[int, int]:
    """The first row and the end of what is evaluated of a series."""
    if part in ("all", "after"):
        return (points.train if part == "after" else 0), rows
    return points.range("test" if part == "new" else part)


def _training_windows(
    context: EvaluationContext, part: str, series: Sequence[Series], splits: Sequence[SplitPoints]
) -> _TrainingWindows | None:
    """The windows of the training and validation rows; None if the training sources are gone.

    They are scaled as in training, also where the model has no scale of a series.
    """
    checkpoint, tables, points = context.model.checkpoint, list(series), list(splits)
    documents = None if part in ("test", "valid") else training_documents(context)
    if documents is not None:
        tables = checkpoint.scaler.read_series(documents, lambda _: None)
        points = _split(context.model, documents, tables)[1]
    elif not any(each.train for each in points):
        return None
    scaler, config = checkpoint.scaler, checkpoint.forecaster_config
    scaled = [scaler.transform(one, rows=split.train or None) for one, split in zip(tables, points, strict=True)]
    learnt = [(0, each.valid if checkpoint.is_finished else each.train) for each in points]
    train, valid, both = (
        Windows(scaled, ranges, config.look_back, config.horizon)
        for ranges in ([each.range("train") for each in points], [each.range("valid") for each in points], learnt)
    )
    return _TrainingWindows(train, valid, both) if len(train) else None


def _baselines(
    scaler: Scaler, config: ForecasterConfig, training: _TrainingWindows | None
) -> list[BaselineForecaster | BaselineWithIntervals]:
    """The naive forecasts; with the training rows also a linear model, and prediction intervals for all of them."""
    naive: list[BaselineForecaster] = [Persistence(), SeasonalNaive(scaler.season)]
    if training is None:
        return list(naive)
    baselines = [*naive, NLinear(training.train, training.valid, training.learnt)]
    return [BaselineWithIntervals(baseline, training.learnt, config.levels) for baseline in baselines]


def _tally(
    model: LoadedModel,
    series: Sequence[Series],
    scaled: Sequence[ScaledSeries],
    ranges: Sequence[tuple[int, int]],
    learnt: Sequence[int],
    baselines: Sequence[BaselineForecaster | BaselineWithIntervals],
) -> dict[str, ForecastTally]:
    """The errors of the model and of each baseline over all windows of the ranges.

    Args:
        learnt: the number of rows of each series that the model has learnt.
    """
    scaler, config = model.checkpoint.scaler, model.forecaster.config
    columns = len(scaler.targets)
    stats: list[Sequence[ColumnStats]] = [scaler.stats_of(each) for each in series]

    def statistic(name: str, number: int) -> np.ndarray:
        return np.array([getattr(column, name) for column in stats[number][:columns]])

    scales = statistic("deviation", 0), statistic("naive_error", 0)
    names = ["model", *[baseline.name for baseline in baselines]]
    tallies = {name: ForecastTally(scaler.targets, *scales, config.levels) for name in names}
    network = model.forecaster
    for number, stretch in _stretches(scaler, config, series, scaled, ranges):
        one, own_stats = stretch.series, stretch.stats
        windows = Windows([one], [stretch.rows], config.look_back, config.horizon, lags=config.lags)
        if not len(windows):
            continue
        factors = recent_factors(network, one, windows.origins, learnt[number])
        deviations, naive_errors = statistic("deviation", number), statistic("naive_error", number)
        indices = np.arange(len(windows.origins))
        for origins in np.array_split(indices, max(1, len(indices) * columns // _BATCH_WINDOWS)):
            chosen = (origins[:, None] * columns + np.arange(columns)).ravel()
            batch = windows.take(chosen)

            def unscaled(
                values: Floats, count: int = len(origins), stats: Sequence[ColumnStats] = own_stats
            ) -> np.ndarray:
                """(windows · columns, horizon, …) → (windows, columns, horizon, …) in the columns' own units."""
                shaped = values.reshape(count, columns, config.horizon, -1).transpose(0, 3, 1, 2)
                return scaler.inverse_transform(shaped, stats).transpose(0, 2, 3, 1)

            truth = unscaled(batch.future)[..., 0]
            observed = batch.observed.reshape(len(origins), columns, config.horizon)
            ahead = windows.origins[origins][:, None] + np.arange(config.horizon)
            exact = series[number].values[ahead, :columns].transpose(0, 2, 1)
            predicted = network.predict(*batch.inputs)
            outputs = unscaled(scaled_intervals(predicted, factors[origins].reshape(len(predicted), -1)))
            forecasts: dict[str, tuple[np.ndarray, np.ndarray | None]] = {"model": (outputs[..., 0], outputs[..., 1:])}
            for baseline in baselines:
                history = windows.before(chosen, baseline.rows(config.horizon))
                if isinstance(baseline, BaselineWithIntervals):
                    point, quantiles = baseline.forecast(history, batch.channel, config.horizon)
                    forecasts[baseline.name] = unscaled(point)[..., 0], unscaled(quantiles)
                else:
                    point = baseline.forecast(history, config.horizon)
                    forecasts[baseline.name] = unscaled(point)[..., 0], None
            for name, (values, quantile_values) in forecasts.items():
                tallies[name].add(truth, observed, values, quantile_values, deviations, naive_errors, exact)
    return tallies


def _stretches(
    scaler: Scaler,
    config: ForecasterConfig,
    series: Sequence[Series],
    scaled: Sequence[ScaledSeries],
    ranges: Sequence[tuple[int, int]],
) -> Iterator[tuple[int, Stretch]]:
    """Each range in stretches, with the number of the series. One of a series that the model knows is one stretch.

    Of a series that is new to it, no row from an origin on may be in the statistics, as in `forecast --backtest`: each
    stretch has those of the rows before it.
    """
    for number, (one, rows) in enumerate(zip(series, ranges, strict=True)):
        if scaler.knows(one):
            yield number, Stretch(scaled[number], scaler.stats_of(one), rows)
            continue
        begin, end = max(rows[0], config.look_back), rows[1] - config.horizon + 1
        while begin < end:
            after = begin + max(1, begin // _SCALED_AGAIN)
            forecast = begin, min(after, end) + config.horizon - 1
            yield number, Stretch(scaler.transform(one, rows=begin), scaler.stats_of(one, begin), forecast)
            begin = after
