"""Measuring a forecaster: every window of what it has not learnt from, beside the last value, the last season and a
linear model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from seqgen.api.forecasting import forecaster_of
from seqgen.config import ForecasterConfig
from seqgen.corpus.scaling import Measure, Scaler
from seqgen.corpus.series import Series
from seqgen.corpus.sources import Document
from seqgen.corpus.windows import Floats, Parts, Prepared, Windows, cut, require
from seqgen.evaluation.forecast import Tally
from seqgen.evaluation.forecast_rivals import Banded, NLinear, Persistence, Rival, SeasonalNaive
from seqgen.generation.bands import lately, stretched
from seqgen.model.forecaster import inputs
from seqgen.tasks.forecast import read_for

if TYPE_CHECKING:
    from seqgen.api.evaluation import Evaluation
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


def evaluate(asked: Evaluation) -> dict[str, Any]:
    """Every window whose target rows lie in what is evaluated; each looks back on rows before it, and its bands follow
    how those of earlier windows held, as a forecast's do that is made there.

    Of the file that the model was trained on, only rows that it did not learn from are taken: the third part of
    `--split-rows`, or else those held out.
    """
    model = asked.model
    scaler, config = model.checkpoint.scaler, forecaster_of(model)
    series = read_for(scaler, asked.documents, asked.warn)
    part, parts = _part(model, asked.documents, series)
    prepared = [scaler.prepare(one) for one in series]
    ranges = [(0, len(one)) if part == "all" else each.range(part) for one, each in zip(prepared, parts, strict=True)]
    windows = Windows(prepared, ranges, config.look_back, config.horizon)
    require(windows, "what is evaluated", max(len(one) for one in prepared))
    asked.tell(f"forecasting from {len(windows.origins):,} places")
    rows = sum(stop - max(first, config.look_back) for first, stop in ranges)
    learnt = _learnt(asked, scaler, config, prepared, parts) if asked.rivals else None
    rivals = _rivals(scaler, config, learnt) if asked.rivals else []
    tallies = _count(model, series, prepared, ranges, rivals)
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


def _part(model: Model, documents: Sequence[Document], series: Sequence[Series]) -> tuple[str, list[Parts]]:
    """Which rows are evaluated, and how each series was cut in training, if it is what the model was trained on."""
    loaded = model.checkpoint
    own_valid = bool(loaded.config["data"].get("valid_sources"))
    split, fraction = loaded.options.split_rows, 0.0 if own_valid else loaded.options.val_fraction
    known = {source["sha256"] for source in loaded.sources} >= {document.sha256 for document in documents}
    if not known:
        return "all", [Parts(0, len(one.values), len(one.values)) for one in series]
    parts = [cut(len(one.values), split, fraction, forecaster_of(model).horizon) for one in series]
    if any(each.test > each.valid for each in parts):
        return "test", parts
    if any(each.valid > each.train for each in parts):
        return "valid", parts
    return "all", parts


def _learnt(
    asked: Evaluation, scaler: Scaler, config: ForecasterConfig, prepared: Sequence[Prepared], parts: Sequence[Parts]
) -> _Learnt | None:
    """The windows that the model learnt from, and those that it was chosen by; None where they are not at hand."""
    from seqgen.api.evaluation import training_documents

    series, cuts = list(prepared), list(parts)
    if not any(each.train for each in parts):
        documents = training_documents(asked)
        if documents is None:
            return None
        tables = read_for(scaler, documents, lambda _: None)
        series, cuts = [scaler.prepare(one) for one in tables], _part(asked.model, documents, tables)[1]
    train = Windows(series, [each.range("train") for each in cuts], config.look_back, config.horizon)
    held_out = Windows(series, [each.range("valid") for each in cuts], config.look_back, config.horizon)
    return _Learnt(train, held_out) if len(train) else None


def _rivals(scaler: Scaler, config: ForecasterConfig, learnt: _Learnt | None) -> list[Rival | Banded]:
    """The rivals, with bands where the rows learnt from are at hand; without those there is no linear model."""
    plain: list[Rival] = [Persistence(), SeasonalNaive(scaler.season)]
    if learnt is None:
        return list(plain)
    plain.append(NLinear(learnt.train, learnt.held_out))
    return [Banded(rival, learnt.train, config.levels) for rival in plain]


def _count(
    model: Model,
    series: Sequence[Series],
    prepared: Sequence[Prepared],
    ranges: Sequence[tuple[int, int]],
    rivals: Sequence[Rival | Banded],
) -> dict[str, Tally]:
    """The tally of the model and of each rival over all windows of the ranges."""
    scaler, config = model.checkpoint.scaler, forecaster_of(model)
    columns = len(scaler.targets)
    measures: list[Sequence[Measure]] = [scaler.measures_of(one) for one in series]

    def of(name: str, number: int) -> np.ndarray:
        return np.array([getattr(measure, name) for measure in measures[number][:columns]])

    names = ["model", *[rival.name for rival in rivals]]
    tallies = {n: Tally(scaler.targets, of("deviation", 0), of("naive_error", 0), config.levels) for n in names}
    network = model.forecaster
    place = network.segment_weight.device
    for number, (one, rows) in enumerate(zip(prepared, ranges, strict=True)):
        windows = Windows([one], [rows], config.look_back, config.horizon)
        if not len(windows):
            continue
        factors = lately(network, one, windows.origins, scaler.learnt_rows(series[number]))
        deviations, naive_errors = of("deviation", number), of("naive_error", number)
        every = np.arange(len(windows.origins))
        for origins in np.array_split(every, max(1, len(every) * columns // _AT_ONCE)):
            sample = windows.take((origins[:, None] * columns + np.arange(columns)).ravel())

            def own(values: Floats, batch: int = len(origins), number: int = number) -> np.ndarray:
                """(windows · columns, horizon, …) → (windows, columns, horizon, …) in the columns' own units."""
                shaped = values.reshape(batch, columns, config.horizon, -1).transpose(0, 3, 1, 2)
                return scaler.restore(shaped, measures[number]).transpose(0, 2, 3, 1)

            truth = own(sample.future)[..., 0]
            observed = sample.observed.reshape(len(origins), columns, config.horizon)
            with torch.inference_mode():
                made = network.predict(*inputs(sample, place)).float().cpu().numpy()
            outputs = own(stretched(made, factors[origins].reshape(len(made), -1)))
            given = {"model": (outputs[..., 0], outputs[..., 1:])}
            for rival in rivals:
                if isinstance(rival, Banded):
                    point, quantiles = rival.forecast(sample.history, sample.channel, config.horizon)
                    given[rival.name] = own(point)[..., 0], own(quantiles)
                else:
                    point = rival.forecast(sample.history, config.horizon)
                    given[rival.name] = own(point)[..., 0], None  # type: ignore[assignment]
            for name, (values, bands) in given.items():
                tallies[name].add(truth, observed, values, bands, deviations, naive_errors)
    return tallies
