"""Measuring a forecaster: every window of what it has not learnt from, beside the last value, the last season and a
linear model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from seqgen.api.forecasting import forecaster_config
from seqgen.config import ForecasterConfig
from seqgen.corpus.series.read import Series
from seqgen.corpus.series.scaling import ColumnStats, Scaler
from seqgen.corpus.series.windows import Floats, ScaledSeries, SplitPoints, Windows, require_windows, split_points
from seqgen.corpus.sources import Document
from seqgen.evaluation.baselines.naive import (
    BaselineForecaster,
    BaselineWithIntervals,
    NLinear,
    Persistence,
    SeasonalNaive,
)
from seqgen.evaluation.forecasting import ForecastTally
from seqgen.generation.forecasting.intervals import recent_factors, scaled_intervals
from seqgen.model.forecaster import model_inputs
from seqgen.tasks.forecasting import read_series

if TYPE_CHECKING:
    from seqgen.api.evaluate.text import EvaluationContext
    from seqgen.api.model import Model

_AT_ONCE = 1024  # windows
_PARTS = {
    "test": "the rows after those that it learnt from and was chosen by",
    "valid": "the rows held out, which also chose the best step and the width of the bands",
    "all": "all rows",
}


@dataclass(frozen=True)
class _Learnt:
    """The rows that a model learnt from, where they are at hand."""

    train: Windows
    held_out: Windows


def evaluate(asked: EvaluationContext) -> dict[str, Any]:
    """Every window whose target rows lie in what is evaluated; each looks back on rows before it, and its bands follow
    how those of earlier windows held, as a forecast's do that is made there.

    Of the file that the model was trained on, only rows that it did not learn from are taken: the third part of
    `--split-rows`, or else those held out.
    """
    model = asked.model
    scaler, config = model.checkpoint.scaler, forecaster_config(model)
    series = read_series(scaler, asked.documents, asked.warn)
    part, parts = _part(model, asked.documents, series)
    prepared = [scaler.transform(one) for one in series]
    ranges = [(0, len(one)) if part == "all" else each.range(part) for one, each in zip(prepared, parts, strict=True)]
    windows = Windows(prepared, ranges, config.look_back, config.horizon)
    require_windows(windows, "what is evaluated", max(len(one) for one in prepared))
    asked.report(f"forecasting from {len(windows.origins):,} places")
    rows = sum(stop - max(first, config.look_back) for first, stop in ranges)
    learnt = _learnt(asked, scaler, config, prepared, parts) if asked.baselines else None
    baselines = _rivals(scaler, config, learnt) if asked.baselines else []
    tallies = _count(model, series, prepared, ranges, baselines)
    own, persistence = tallies.pop("model"), tallies.get("persistence")
    return {
        "records": len(series),
        "tokens": own.values,
        "windows": len(windows),
        "rows": rows,
        "evaluated": _PARTS[part],
        "horizon": config.horizon,
        "columns": list(scaler.targets),
        "metrics": own.metrics(persistence),
        "baselines": {name: each.metrics(persistence) for name, each in tallies.items()},
    }


def _part(model: Model, documents: Sequence[Document], series: Sequence[Series]) -> tuple[str, list[SplitPoints]]:
    """Which rows are evaluated, and how each series was cut in training, if it is what the model was trained on."""
    loaded = model.checkpoint
    own_valid = bool(loaded.config["data"].get("valid_sources"))
    split, fraction = loaded.options.split_rows, 0.0 if own_valid else loaded.options.val_fraction
    known = {source["sha256"] for source in loaded.sources} >= {document.sha256 for document in documents}
    if not known:
        return "all", [SplitPoints(0, len(one.values), len(one.values)) for one in series]
    parts = [split_points(len(one.values), split, fraction, forecaster_config(model).horizon) for one in series]
    if any(each.test > each.valid for each in parts):
        return "test", parts
    if any(each.valid > each.train for each in parts):
        return "valid", parts
    return "all", parts


def _learnt(
    asked: EvaluationContext,
    scaler: Scaler,
    config: ForecasterConfig,
    prepared: Sequence[ScaledSeries],
    parts: Sequence[SplitPoints],
) -> _Learnt | None:
    """The windows that the model learnt from, and those that it was chosen by; None where they are not at hand."""
    from seqgen.api.evaluate.text import training_documents

    series, cuts = list(prepared), list(parts)
    if not any(each.train for each in parts):
        documents = training_documents(asked)
        if documents is None:
            return None
        tables = read_series(scaler, documents, lambda _: None)
        series, cuts = [scaler.transform(one) for one in tables], _part(asked.model, documents, tables)[1]
    train = Windows(series, [each.range("train") for each in cuts], config.look_back, config.horizon)
    held_out = Windows(series, [each.range("valid") for each in cuts], config.look_back, config.horizon)
    return _Learnt(train, held_out) if len(train) else None


def _rivals(
    scaler: Scaler, config: ForecasterConfig, learnt: _Learnt | None
) -> list[BaselineForecaster | BaselineWithIntervals]:
    """The rivals, with bands where the rows learnt from are at hand; without those there is no linear model."""
    plain: list[BaselineForecaster] = [Persistence(), SeasonalNaive(scaler.season)]
    if learnt is None:
        return list(plain)
    plain.append(NLinear(learnt.train, learnt.held_out))
    return [BaselineWithIntervals(rival, learnt.train, config.levels) for rival in plain]


def _count(
    model: Model,
    series: Sequence[Series],
    prepared: Sequence[ScaledSeries],
    ranges: Sequence[tuple[int, int]],
    baselines: Sequence[BaselineForecaster | BaselineWithIntervals],
) -> dict[str, ForecastTally]:
    """The tally of the model and of each rival over all windows of the ranges."""
    scaler, config = model.checkpoint.scaler, forecaster_config(model)
    columns = len(scaler.targets)
    measures: list[Sequence[ColumnStats]] = [scaler.stats_of(one) for one in series]

    def of(name: str, number: int) -> np.ndarray:
        return np.array([getattr(measure, name) for measure in measures[number][:columns]])

    names = ["model", *[rival.name for rival in baselines]]
    tallies = {n: ForecastTally(scaler.targets, of("deviation", 0), of("naive_error", 0), config.levels) for n in names}
    network = model.forecaster
    place = network.segment_weight.device
    for number, (one, rows) in enumerate(zip(prepared, ranges, strict=True)):
        windows = Windows([one], [rows], config.look_back, config.horizon)
        if not len(windows):
            continue
        factors = recent_factors(network, one, windows.origins, scaler.learnt_rows(series[number]))
        deviations, naive_errors = of("deviation", number), of("naive_error", number)
        every = np.arange(len(windows.origins))
        for origins in np.array_split(every, max(1, len(every) * columns // _AT_ONCE)):
            sample = windows.take((origins[:, None] * columns + np.arange(columns)).ravel())

            def own(values: Floats, batch: int = len(origins), number: int = number) -> np.ndarray:
                """(windows · columns, horizon, …) → (windows, columns, horizon, …) in the columns' own units."""
                shaped = values.reshape(batch, columns, config.horizon, -1).transpose(0, 3, 1, 2)
                return scaler.inverse_transform(shaped, measures[number]).transpose(0, 2, 3, 1)

            truth = own(sample.future)[..., 0]
            observed = sample.observed.reshape(len(origins), columns, config.horizon)
            with torch.inference_mode():
                made = network.predict(*model_inputs(sample, place)).float().cpu().numpy()
            outputs = own(scaled_intervals(made, factors[origins].reshape(len(made), -1)))
            given = {"model": (outputs[..., 0], outputs[..., 1:])}
            for rival in baselines:
                if isinstance(rival, BaselineWithIntervals):
                    point, quantiles = rival.forecast(sample.history, sample.channel, config.horizon)
                    given[rival.name] = own(point)[..., 0], own(quantiles)
                else:
                    point = rival.forecast(sample.history, config.horizon)
                    given[rival.name] = own(point)[..., 0], None  # type: ignore[assignment]
            for name, (values, bands) in given.items():
                tallies[name].add(truth, observed, values, bands, deviations, naive_errors)
    return tallies
