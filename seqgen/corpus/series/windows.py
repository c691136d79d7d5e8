"""Windows of time series: the look-back and the horizon of one column, and the split into training and test rows.

A window is identified by its origin, the first row to forecast. The training, validation and test sets are ranges of
rows: the windows of a set forecast rows of that set only, but may look back on earlier rows. A window may also have the
rows of earlier seasons, such as those of the same days a year before (`lagged`).

A gap is interpolated between the values on both sides, but a window may only have what was known at its origin. Where
the origin lies in a gap, the last value before the gap is kept up to the origin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.config import parse_split_rows
from seqgen.errors import DataError, UserError

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int32]  # half of the memory of `Integers`
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ScaledSeries:
    """One series as the network's input (see `scaling.Scaler`).

    Attributes:
        targets: shape (rows, columns); 0 if unknown.
        observed: shape (rows, columns): whether the value was in the source, not interpolated.
        past: covariates known up to the current row, shape (rows, past).
        known: covariates known in advance, shape (rows + rows ahead, known).
        past_observed: of `past`, as `observed` of the targets; None if all values were in the source.
    """

    name: str
    targets: Floats
    observed: Flags
    past: Floats
    known: Floats
    past_observed: Flags | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def known_at(self, origin: int) -> tuple[Floats, Floats]:
        """The targets and past covariates of the first `origin` rows, at least one, without what came later."""

        def held(values: Floats, observed: Flags | None) -> Floats:
            if observed is None:
                return values[:origin]
            last = _latest_observed(observed[:origin])[-1]
            return values[np.minimum(np.arange(origin)[:, None], last), np.arange(values.shape[1])]

        return held(self.targets, self.observed), held(self.past, self.past_observed)


@dataclass(frozen=True)
class SplitPoints:
    """Ends of the training, validation and test sets, as row numbers."""

    train: int
    valid: int
    test: int

    def range(self, part: str) -> tuple[int, int]:
        """Return the first row and the end of `train`, `valid` or `test`."""
        return {"train": (0, self.train), "valid": (self.train, self.valid), "test": (self.valid, self.test)}[part]


def split_points(rows: int, split_rows: str | None, val_fraction: float, horizon: int) -> SplitPoints:
    """Split a series of `rows` rows.

    Args:
        split_rows: sizes of the sets (see `config.parse_split_rows`); later rows are unused.
        val_fraction: without `split_rows`, the fraction held out at the end; more if it is shorter than two horizons.

    Raises:
        UserError: the series is shorter than `split_rows`.
    """
    if split_rows is not None:
        sizes = parse_split_rows(split_rows)
        if sizes[0] < 1:
            edges = [round(sum(sizes[: number + 1]) * rows) for number in range(len(sizes))]
        else:
            edges = [int(sum(sizes[: number + 1])) for number in range(len(sizes))]
        if edges[-1] > rows:
            raise UserError(f"--split-rows {split_rows} takes {edges[-1]:,} rows; there are {rows:,}")
        return SplitPoints(edges[0], edges[1], edges[2] if len(edges) > 2 else edges[1])
    held_out = round(rows * val_fraction)
    if val_fraction:
        held_out = max(held_out, min(2 * horizon, rows // 4))
    return SplitPoints(rows - held_out, rows, rows)


@dataclass(frozen=True)
class WindowBatch:
    """A batch of windows: the forecaster's inputs and its targets.

    Attributes:
        history: shape (batch, look-back).
        channel: column of each window, shape (batch,).
        past: shape (batch, look-back, past).
        known: shape (batch, look-back + horizon, known).
        lagged: values of earlier seasons, and the known covariates of their rows, shape (batch, look-back + horizon,
            lags, 1 + known); NaN before the series begins.
        future: true values, shape (batch, horizon).
        observed: whether they were in the source, shape (batch, horizon).
        origin: first row to forecast, counted over all series, shape (batch,).
    """

    history: Floats
    channel: Integers
    past: Floats
    known: Floats
    lagged: Floats
    future: Floats
    observed: npt.NDArray[np.bool_]
    origin: Integers

    @property
    def inputs(self) -> tuple[Floats, Integers, Floats, Floats, Floats]:
        """The arguments of a forecaster."""
        return self.history, self.channel, self.past, self.known, self.lagged

    def rows(self, which: slice | Integers) -> WindowBatch:
        """Some of the windows."""
        return WindowBatch(**{name: values[which] for name, values in vars(self).items()})


class Windows:
    """Sequence of all windows whose horizon lies in the given ranges of the given series.

    Indices run over the columns of an origin first, then over the origins.
    """

    def __init__(
        self,
        series: Sequence[ScaledSeries],
        ranges: Sequence[tuple[int, int]],
        look_back: int,
        horizon: int,
        stride: int = 1,
        lags: Sequence[int] = (),
    ) -> None:
        """Build the windows.

        Args:
            ranges: first row and end of the forecast rows of each series; rows after the series' end are zeros that
                are not observed.
            look_back: rows of history.
            horizon: rows to forecast.
            stride: rows from one origin to the next.
            lags: seasons, in rows, whose earlier values the windows have too (see `lag_offsets`).
        """
        self.look_back, self.horizon, self.lags = look_back, horizon, tuple(lags)
        self.columns = series[0].targets.shape[1]
        targets, observed, past, known, origins, starts = [], [], [], [], [], []
        latest, latest_past = [], []
        offset = 0
        for one, (first, stop) in zip(series, ranges, strict=True):
            ahead = max(stop, len(one)) - len(one)
            targets.append(_extended(one.targets, ahead))
            observed.append(_extended(one.observed, ahead))
            past.append(_extended(one.past, ahead))
            known.append(_extended(one.known, len(one) + ahead - len(one.known))[: len(one) + ahead])
            begin = np.arange(max(first, look_back), stop - horizon + 1, stride, dtype=np.int64)
            origins.append(begin + offset)
            latest.append(_latest_before(observed[-1], begin, offset))
            past_observed = None if one.past_observed is None else _extended(one.past_observed, ahead)
            latest_past.append(_latest_before(past_observed, begin, offset))
            starts.append(np.full(len(begin), offset))
            offset += len(one) + ahead
        self._targets, self._observed = np.concatenate(targets), np.concatenate(observed)
        self._past, self._known = np.concatenate(past), np.concatenate(known)
        self.origins = np.concatenate(origins)
        self._latest = _joined(latest, origins, self.columns)
        self._latest_past = _joined(latest_past, origins, self._past.shape[1])
        self._starts = np.concatenate(starts)  # first row of the series of each origin

    def __len__(self) -> int:
        return len(self.origins) * self.columns

    def take(self, indices: Integers) -> WindowBatch:
        """Return the windows with these indices."""
        number, channel = indices // self.columns, indices % self.columns
        origin = self.origins[number]
        back = origin[:, None] + np.arange(-self.look_back, 0)
        ahead = origin[:, None] + np.arange(self.horizon)
        both = np.concatenate([back, ahead], axis=1)
        latest = None if self._latest is None else self._latest[number, channel][:, None]
        past = self._past[back] if self._latest_past is None else self._past[
            np.minimum(back[:, :, None], self._latest_past[number][:, None]), np.arange(self._past.shape[1])
        ]  # fmt: skip
        return WindowBatch(
            self._targets[_at_most(back, latest), channel[:, None]],
            channel,
            past,
            self._known[both],
            self._lagged(origin, channel, self._starts[number], latest),
            self._targets[ahead, channel[:, None]],
            self._observed[ahead, channel[:, None]],
            origin,
        )

    def before(self, indices: Integers, back: Integers) -> Floats:
        """The values of rows before the windows with these indices; NaN before the series begins.

        Args:
            back: how many rows before the origin each is, from 1 on.
        """
        number, channel = indices // self.columns, indices % self.columns
        back = self.origins[number][:, None] - back
        begun = back >= self._starts[number][:, None]
        latest = None if self._latest is None else self._latest[number, channel][:, None]
        values = self._targets[_at_most(np.maximum(back, 0), latest), channel[:, None]]
        return np.where(begun, values, np.float32(np.nan))

    def _lagged(self, origin: Integers, channel: Integers, start: Integers, latest: Rows | None) -> Floats:
        """See `WindowBatch.lagged`.

        Args:
            latest: last row before each origin that was observed, shape (batch, 1); None if that is the last.
        """
        shape = len(origin), self.look_back + self.horizon, len(self.lags), 1 + self._known.shape[1]
        result = np.empty(shape, dtype=np.float32)
        for number, lag in enumerate(self.lags):
            rows = origin[:, None] + lag_offsets(self.look_back, self.horizon, lag)
            known = rows >= start[:, None]
            rows = np.where(known, rows, 0)
            held = self._targets[_at_most(rows, latest), channel[:, None]]
            result[:, :, number, 0] = np.where(known, held, np.nan)
            result[:, :, number, 1:] = self._known[rows]
        return result


def lag_offsets(look_back: int, horizon: int, lag: int) -> Integers:
    """The rows, relative to a window's origin, that stand a season of `lag` rows before each row of the window.

    Beyond the first season of the horizon they are as many seasons before as it takes to be known at the origin.
    """
    rows = np.arange(-look_back, horizon, dtype=np.int64)
    return rows - lag * np.maximum(1, -(-(rows + 1) // lag))


def _latest_observed(observed: Flags) -> Rows:
    """The last row up to each row whose value was observed, of each column; the row itself before the first such."""
    rows = np.arange(len(observed), dtype=np.int32)[:, None]
    latest = np.maximum.accumulate(np.where(observed, rows, -1), axis=0)
    return np.where(latest < 0, rows, latest)


def _latest_before(observed: Flags | None, origins: Integers, offset: int) -> Rows | None:
    """The last row before each origin whose value was observed, of each column, counted over all series.

    None if that is the row before each of them, as in most series: the table would be larger than the series.
    """
    if observed is None or not len(origins) or observed[origins - 1].all():
        return None
    return _latest_observed(observed[: origins[-1]])[origins - 1] + np.int32(offset)


def _joined(latest: Sequence[Rows | None], origins: Sequence[Integers], columns: int) -> Rows | None:
    """The rows of `_latest_before` of all series, None if no series has any."""
    if all(one is None for one in latest):
        return None
    before = [np.broadcast_to((some - 1)[:, None], (len(some), columns)) for some in origins]
    both = zip(latest, before, strict=True)
    return np.concatenate([last if one is None else one for one, last in both], dtype=np.int32)


def _at_most(rows: Integers, latest: Rows | None) -> Integers:
    return rows if latest is None else np.minimum(rows, latest)


def _extended(values: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
    """Append rows of zeros."""
    if rows <= 0:
        return values
    return np.concatenate([values, np.zeros((rows, *values.shape[1:]), dtype=values.dtype)])


def require_windows(windows: Windows, name: str, rows: int) -> None:
    """Raise `DataError` if there is no window, because `name` has only `rows` rows."""
    if not len(windows):
        needed = windows.look_back + windows.horizon
        raise DataError(
            f"{name} is too short: it has {rows:,} rows, but a window needs {needed:,} "
            f"(look-back {windows.look_back:,}, horizon {windows.horizon:,})"
        )


def evenly_spaced(count: int, maximum: int) -> Integers:
    """Return at most `maximum` of the integers below `count`, evenly spaced."""
    if count <= maximum:
        return np.arange(count, dtype=np.int64)
    return np.unique(np.linspace(0, count - 1, maximum).round().astype(np.int64))
