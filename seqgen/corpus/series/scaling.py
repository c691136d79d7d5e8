"""Numbers of a series ↔ numbers that a network reads: logarithm, centre and spread, and the calendar.

What is fitted, is fitted on the rows to learn from only. `Scaler` is to a forecaster what a codec is to a language
model: it goes into `tokenizer.json`, and without it the weights mean nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from seqgen.config import SCALINGS, AnyNetworkConfig, ForecasterConfig
from seqgen.corpus.series.read import Series
from seqgen.corpus.series.windows import ScaledSeries
from seqgen.errors import DataError, ModelError

_FLAT = 1e-8  # a spread below this share of the size of the numbers is none
Values = npt.NDArray[np.float64]

# Name of a cycle → its length in seconds. A cycle is of use where the rows are denser than it.
CYCLES = {"day": 86400.0, "week": 604800.0, "year": 31556952.0}
_MONDAY = 4 * 86400  # 5 January 1970, in seconds


@dataclass(frozen=True)
class ColumnStats:
    """Of one column of one series, over the rows to learn from: the centre and spread that scale it, its standard
    deviation in its own units, and the mean error there of a seasonal naive forecast one step ahead."""

    centre: float
    scale: float
    deviation: float
    naive_error: float


@dataclass(frozen=True)
class Scaler:
    """How a model reads numbers. `columns` are the targets, then the covariates, then the future covariates."""

    name: ClassVar[str] = "series"

    targets: tuple[str, ...]
    covariates: tuple[str, ...]
    future_covariates: tuple[str, ...]
    time_column: str  # '' for none, several joined by commas
    series_column: str | None
    frequency: str
    season: int
    scaling: str
    logarithm: bool
    calendar: tuple[str, ...]
    measures: Mapping[str, tuple[ColumnStats, ...]]  # a series' name → of each column
    learnt: Mapping[str, int] = field(
        default_factory=dict
    )  # a series' name → the last row learnt from (see `training_end`)

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.targets, *self.covariates, *self.future_covariates)

    @property
    def known(self) -> int:
        """How many numbers are known ahead of each row."""
        return len(self.future_covariates) + 2 * len(self.calendar)

    def mismatch(self, network: AnyNetworkConfig) -> str | None:
        """Return why a network can't be used with this scaler, or None."""
        columns = (len(self.targets), len(self.covariates), self.known)
        if not isinstance(network, ForecasterConfig) or columns != (network.targets, network.past, network.known):
            return "it has other columns"
        return None

    def stats_of(self, series: Series) -> tuple[ColumnStats, ...]:
        """Those of its name; of its own rows where the model has not learnt from a series of that name."""
        name = self._name_of(series)
        if name in self.measures:
            return self.measures[name]
        return column_stats(series, len(series.values), self.scaling, self.logarithm, self.season, len(self.targets))

    def _name_of(self, series: Series) -> str:
        """Its own; where the model has learnt from one without a name, that one's."""
        return "" if set(self.measures) == {""} else series.name

    def learnt_rows(self, series: Series) -> int:
        """How many of its rows are not after the last that the model learnt from; 0 where it learnt from none, or where
        that is not known, as of models of before."""
        last = self.learnt.get(self._name_of(series), 0)
        if series.times is None:
            return min(last, len(series))
        return int(np.searchsorted(_seconds(series.times), last, side="right"))

    def transform(self, series: Series, ahead: int = 0, needed: int = 0) -> ScaledSeries:
        """The series in the network's scale, with what is known of `ahead` rows after its last; of future covariates
        only the first `needed` must be given.

        Raises:
            DataError: a target is not positive, and the model works in logarithms; or future covariates are missing.
        """
        values = self._forward(series)
        measures = self.stats_of(series)
        scaled = (values - [m.centre for m in measures]) / [m.scale for m in measures]
        count, past = len(self.targets), len(self.targets) + len(self.covariates)
        future = self._future(series, ahead, needed, [(m.centre, m.scale) for m in measures[past:]])
        known = np.concatenate([np.concatenate([scaled[:, past:], future]), self._calendar(series, ahead)], axis=1)
        return ScaledSeries(
            series.name,
            scaled[:, :count].astype(np.float32),
            series.observed[:, :count].copy(),
            scaled[:, count:past].astype(np.float32),
            known.astype(np.float32),
        )

    def inverse_transform(self, values: npt.NDArray[Any], measures: Sequence[ColumnStats]) -> Values:
        """Scaled targets, shape (…, columns, numbers), in their own units again."""
        centre = np.array([m.centre for m in measures[: len(self.targets)]])[:, None]
        scale = np.array([m.scale for m in measures[: len(self.targets)]])[:, None]
        result = np.asarray(values, dtype=np.float64) * scale + centre
        return np.exp(np.clip(result, -700, 700)) if self.logarithm else result

    def _forward(self, series: Series) -> Values:
        values = np.array(series.values, dtype=np.float64)
        if self.logarithm:
            check_positive(series, len(self.targets))
            values[:, : len(self.targets)] = np.log(values[:, : len(self.targets)])
        return values

    def _future(self, series: Series, ahead: int, needed: int, scales: Sequence[tuple[float, float]]) -> Values:
        """Scaled future covariates of so many rows after the last; the last given stands for those beyond."""
        if not self.future_covariates or not ahead:
            return np.zeros((ahead, len(self.future_covariates)))
        given = np.asarray(series.future, dtype=np.float64)
        if len(given) < needed:
            raise DataError(
                f"{series.name + ': ' if series.name else ''}{', '.join(self.future_covariates)} must be given "
                f"{needed:,} rows ahead; there are {len(given):,}: add rows with no {self.targets[0]}"
            )
        if not len(given):
            given = np.asarray(series.values[-1:, len(self.targets) + len(self.covariates) :])
        given = np.concatenate([given[:ahead], np.repeat(given[-1:], max(0, ahead - len(given)), axis=0)])
        return (given - [c for c, _ in scales]) / [s for _, s in scales]

    def _calendar(self, series: Series, ahead: int) -> Values:
        """Sine and cosine of where each row stands in each cycle."""
        rows = len(series.values) + ahead
        if not self.calendar:
            return np.zeros((rows, 0))
        if series.times is None:
            raise DataError(
                f"there is no time column, and this model needs {self.time_column!r}: name it, or add it to the table"
            )
        times = series.times.astype("datetime64[s]")
        if ahead:
            times = np.concatenate([times, series.frequency.next_times(times[-1], ahead)])
        seconds = times.astype(np.int64).astype(np.float64) - _MONDAY
        angles = [2 * math.pi * seconds / CYCLES[name] for name in self.calendar]
        return np.stack([wave(angle) for angle in angles for wave in (np.sin, np.cos)], axis=1)

    # ---- tokenizer.json ----

    def to_dict(self) -> dict[str, Any]:
        """What goes into tokenizer.json."""
        plain = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in vars(self).items()
            if name not in ("measures", "learnt")
        }
        rows = {
            name: [[m.centre, m.scale, m.deviation, m.naive_error] for m in each]
            for name, each in self.measures.items()
        }
        learnt = {"learnt": dict(self.learnt)} if self.learnt else {}  # models of before have none
        return {"kind": self.name, **plain, "measures": rows, **learnt}

    def files(self) -> dict[str, bytes]:
        """No further files."""
        return {}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], files: Mapping[str, bytes] | None = None) -> Scaler:
        """What `to_dict` gave. Raises `ModelError` for anything else."""
        try:
            names = {
                key: tuple(map(str, data[key])) for key in ("targets", "covariates", "future_covariates", "calendar")
            }
            measures = {
                str(name): tuple(ColumnStats(*map(float, row)) for row in rows)
                for name, rows in data["measures"].items()
            }
            scaler = cls(
                targets=names["targets"],
                covariates=names["covariates"],
                future_covariates=names["future_covariates"],
                calendar=names["calendar"],
                time_column=str(data["time_column"]),
                frequency=str(data["frequency"]),
                scaling=str(data["scaling"]),
                series_column=None if data["series_column"] is None else str(data["series_column"]),
                logarithm=bool(data["logarithm"]),
                season=int(data["season"]),
                measures=measures,
                learnt={str(name): int(last) for name, last in data.get("learnt", {}).items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ModelError(f"tokenizer.json does not tell how to read a series ({error!r})") from error
        sound = all(
            len(rows) == len(scaler.columns)
            and all(math.isfinite(m.centre) and m.scale > 0 and m.deviation > 0 and m.naive_error >= 0 for m in rows)
            for rows in measures.values()
        ) and all(abs(last) < 1 << 62 for last in scaler.learnt.values())
        if not sound or not scaler.targets or not measures or scaler.scaling not in SCALINGS or scaler.season < 1:
            raise ModelError("tokenizer.json does not tell how to read a series: its numbers are impossible")
        if not set(scaler.calendar) <= set(CYCLES):
            raise ModelError(f"tokenizer.json names a cycle that is none of {', '.join(CYCLES)}")
        return scaler


def check_positive(series: Series, targets: int) -> None:
    """Raises `DataError` where a target has no logarithm."""
    values = series.values[:, :targets]
    if (values <= 0).any():
        row, column = np.argwhere(values <= 0)[0]
        when = f" ({series.format_times(series.times[row : row + 1])[0]})" if series.times is not None else ""
        raise DataError(
            f"--log-returns needs positive numbers: {series.columns[column]!r} is {values[row, column]:g} in row "
            f"{row + 1:,}{when}"
        )


def column_stats(
    series: Series, rows: int, scaling: str, logarithm: bool, season: int, targets: int
) -> tuple[ColumnStats, ...]:
    """What scales each column, from its first `rows` rows; numbers that were filled in do not count."""
    found = []
    for place in range(series.values.shape[1]):
        seen = series.observed[:rows, place]
        raw = series.values[:rows, place]
        own = raw[seen] if seen.any() else raw
        logged = logarithm and place < targets
        kept = np.log(own) if logged else own
        deviation = _spread(own, float(own.std()))
        if scaling == "standard":
            centre, scale = float(kept.mean()), _spread(kept, float(kept.std()))
        elif scaling == "minmax":
            centre, scale = float(kept.min()), _spread(kept, float(kept.max() - kept.min()))
        else:
            centre, scale = 0.0, 1.0
        lag = season if len(raw) > season else 1
        errors = np.abs(raw[lag:] - raw[:-lag])[seen[lag:] & seen[:-lag]]
        found.append(ColumnStats(centre, scale, deviation, float(errors.mean()) if len(errors) else 0.0))
    return tuple(found)


def training_end(series: Series, rows: int) -> int:
    """What `Scaler.learnt` keeps of the first `rows` rows, one at least: the time of the last, in seconds since 1970;
    or their number where there are no times."""
    return rows if series.times is None else int(_seconds(series.times)[rows - 1])


def _seconds(times: npt.NDArray[np.datetime64]) -> npt.NDArray[np.int64]:
    """Since 1970."""
    return times.astype("datetime64[s]").astype(np.int64)


def _spread(values: Values, scale: float) -> float:
    """`scale`, or 1 where the numbers do not differ."""
    return scale if scale > _FLAT * max(1e-300, float(np.abs(values).max(initial=0.0))) else 1.0


def mean_step_seconds(series: Series) -> float:
    """Seconds from row to row, on average."""
    if series.times is None or len(series.times) < 2:
        return 0.0
    return float((series.times[-1] - series.times[0]).astype(np.int64)) / (len(series.times) - 1)
