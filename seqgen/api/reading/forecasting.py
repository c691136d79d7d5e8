"""How series are read: each row of the regular grid is a record, and the last rows are held out."""

from __future__ import annotations

from typing import Any

from seqgen.api.reading.base import Reading, ReadingContext
from seqgen.corpus.series.read import Series, SeriesOptions, read_series, season
from seqgen.corpus.series.windows import split_points
from seqgen.errors import UserError


def read(context: ReadingContext) -> Reading:
    """Read the documents as training does. Raises `UserError` if they can't be."""
    options = context.options
    series = read_series(context.documents, SeriesOptions.of(options), context.warn)
    horizon = options.horizon or season(series[0])
    held_out = 0
    try:
        parts = [split_points(len(one), options.split_rows, options.val_fraction, horizon) for one in series]
        held_out = sum(part.test - part.train for part in parts)
    except UserError as error:  # too few rows, but they can be shown
        context.warn(str(error))
    layout = series[0].layout
    return Reading(
        "" if layout is None else layout.format,
        "row",
        records=sum(map(len, series)),
        held_out=held_out,
        delimiter="" if layout is None else layout.delimiter,
        columns={} if layout is None else dict(layout.roles),
        first=[_row(series[0], row) for row in range(min(context.count, len(series[0])))],
        sizes={"series": len(series)} if len(series) > 1 else {},
    )


def _row(series: Series, row: int) -> dict[str, Any]:
    """The time of a row as an ISO string, '' without times, and the values of its columns."""
    time = "" if series.times is None else str(series.times[row])
    values = {name: float(value) for name, value in zip(series.columns, series.values[row], strict=True)}
    return {"time": time, "values": values}
