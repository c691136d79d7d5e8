"""Read series for `inspect` of a forecaster: the rows of a series are a record, each the last one before a forecast."""

from __future__ import annotations

import numpy as np

from seqgen.api.forecasting import row_labels
from seqgen.api.inspect.base import InspectedRecord, InspectionContext
from seqgen.corpus.series.read import Series
from seqgen.corpus.series.windows import Windows
from seqgen.errors import DataError
from seqgen.inspection.features import series_features
from seqgen.inspection.views import CurveView


def read(context: InspectionContext) -> list[InspectedRecord]:
    """The last rows of each series, of the first column that is forecast.

    Raises `DataError` if no series is longer than a look-back.
    """
    scaler, config = context.model.checkpoint.scaler, context.model.checkpoint.forecaster_config
    if len(scaler.targets) > 1:
        context.warn(f"of {len(scaler.targets):,} columns, {scaler.targets[0]!r} is inspected")
    series = scaler.read_series([span.document for span in context.spans], context.warn)
    found, left = [], context.length
    for one in series:
        rows = len(one.values)
        count = min(rows - config.look_back + 1, left)
        if count <= 0:
            continue
        scaled = scaler.transform(one, config.horizon, 0)
        ends = (max(config.look_back, rows - count + 1), rows + config.horizon)
        windows = Windows([scaled], [ends], config.look_back, config.horizon, lags=config.lags)
        record = windows.take(np.arange(len(windows.origins)) * windows.columns)
        found.append(_record(one, record, windows.origins - 1, scaler.season, rows - count > config.look_back))
        left -= len(windows.origins)
        if left <= 0:
            break
    if not found:
        raise DataError(f"the series are shorter than the model's look-back: give {config.look_back:,} rows or more")
    return found


def _record(series: Series, windows: object, rows: np.ndarray, season: int, cut: bool) -> InspectedRecord:
    first, last = int(rows[0]), int(rows[-1]) + 1
    curve = np.where(series.observed[rows, 0], series.values[rows, 0], np.nan)
    view = CurveView(tuple(f"{value:g}" for value in curve.tolist()), tuple(row_labels(series, first, last)), curve)
    return InspectedRecord(
        series.name or series.columns[0], windows, view, lambda: series_features(series, 0, season, rows), cut
    )
