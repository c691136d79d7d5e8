"""Windows of numeric series: a look-back and the horizon after it, of one column; and which rows they may take.

A window is known by its origin, the first row that is forecast. A part of a series (to learn from, to choose by, to
measure on) is a range of rows: the windows of a part forecast rows of that part only, every one of them, and look back
on rows before it where these are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqgen.config import parse_split_rows
from seqgen.errors import DataError, UserError

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ScaledSeries:
    """One series as a network reads it (see `scaling.Scaler`).

    targets: shape (rows, columns); 0 where nothing is known.
    observed: same shape: whether the number was in the source, and not filled in.
    past: covariates known up to now, shape (rows, past).
    known: covariates known ahead, shape (rows + rows ahead, known).
    """

    name: str
    targets: Floats
    observed: npt.NDArray[np.bool_]
    past: Floats
    known: Floats

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True)
class SplitPoints:
    """Where a series is cut: it is learnt up to row `train`, chosen by up to `valid`, and measured up to `test`."""

    train: int
    valid: int
    test: int

    def range(self, part: str) -> tuple[int, int]:
        """First row and end of a part."""
        return {"train": (0, self.train), "valid": (self.train, self.valid), "test": (self.valid, self.test)}[part]


def split_points(rows: int, split_rows: str | None, val_fraction: float, horizon: int) -> SplitPoints:
    """The parts of a series of so many rows.

    With `split_rows` (see `config.parse_split_rows`) they are what it says, and rows beyond are left alone. Otherwise the
    last `val_fraction` is held out, and somewhat more where it would not hold two horizons.

    Raises:
        UserError: the series is shorter than `split_rows` says.
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
    held = round(rows * val_fraction)
    if val_fraction:
        held = max(held, min(2 * horizon, rows // 4))
    return SplitPoints(rows - held, rows, rows)


@dataclass(frozen=True)
class WindowBatch:
    """Some windows: the arrays that a forecaster takes, and what came after.

    history (batch, look-back), channel (batch,), past (batch, look-back, past), known (batch, look-back + horizon,
    known), future and observed (batch, horizon), origin (batch,): the first row forecast, counted over all series.
    """

    history: Floats
    channel: Integers
    past: Floats
    known: Floats
    future: Floats
    observed: npt.NDArray[np.bool_]
    origin: Integers


class Windows:
    """Every window whose forecast rows lie in given ranges of given series: `len` of them, `take` some by number.

    Numbers run over the columns of an origin first, then over the origins in order.
    """

    def __init__(
        self,
        series: Sequence[ScaledSeries],
        ranges: Sequence[tuple[int, int]],
        look_back: int,
        horizon: int,
        stride: int = 1,
    ) -> None:
        """`stride`: rows from one origin to the next. A series with fewer rows ahead of its last origin than
        `horizon` has its unknown future filled with zeros that are not observed."""
        self.look_back, self.horizon = look_back, horizon
        self.columns = series[0].targets.shape[1]
        targets, observed, past, known, origins = [], [], [], [], []
        offset = 0
        for one, (first, stop) in zip(series, ranges, strict=True):
            ahead = max(stop, len(one)) - len(one)
            targets.append(_extended(one.targets, ahead))
            observed.append(_extended(one.observed, ahead))
            past.append(_extended(one.past, ahead))
            known.append(_extended(one.known, len(one) + ahead - len(one.known))[: len(one) + ahead])
            begin = np.arange(max(first, look_back), stop - horizon + 1, stride, dtype=np.int64)
            origins.append(begin + offset)
            offset += len(one) + ahead
        self._targets, self._observed = np.concatenate(targets), np.concatenate(observed)
        self._past, self._known = np.concatenate(past), np.concatenate(known)
        self.origins = np.concatenate(origins)

    def __len__(self) -> int:
        return len(self.origins) * self.columns

    def take(self, numbers: Integers) -> WindowBatch:
        """The windows with these numbers."""
        origin, channel = self.origins[numbers // self.columns], numbers % self.columns
        back = origin[:, None] + np.arange(-self.look_back, 0)
        ahead = origin[:, None] + np.arange(self.horizon)
        both = np.concatenate([back, ahead], axis=1)
        return WindowBatch(
            self._targets[back, channel[:, None]],
            channel,
            self._past[back],
            self._known[both],
            self._targets[ahead, channel[:, None]],
            self._observed[ahead, channel[:, None]],
            origin,
        )


def _extended(values: npt.NDArray[np.generic], rows: int) -> npt.NDArray[np.generic]:
    """`values` with so many rows of zeros after them."""
    if rows <= 0:
        return values
    return np.concatenate([values, np.zeros((rows, *values.shape[1:]), dtype=values.dtype)])


def require_windows(windows: Windows, what: str, rows: int) -> None:
    """Raises `DataError` where there is no window: `what` has only `rows` rows."""
    if not len(windows):
        needed = windows.look_back + windows.horizon
        raise DataError(
            f"{what} is too short: {rows:,} rows, and a window takes {needed:,} ({windows.look_back:,} to look back "
            f"on, {windows.horizon:,} to forecast)"
        )


def evenly_spaced(count: int, most: int) -> Integers:
    """`most` of the numbers below `count`, evenly spread; all where there are no more."""
    if count <= most:
        return np.arange(count, dtype=np.int64)
    return np.unique(np.linspace(0, count - 1, most).round().astype(np.int64))
