"""Scaling of series for the network: logarithm, standardisation, and calendar features.

The statistics come from the training rows only. `Scaler` is to a forecaster what a codec is to a language model: it is
stored in `tokenizer.json`, and the weights are meaningless without it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from seqgen.config import SCALINGS, AnyNetworkConfig, ForecasterConfig
from seqgen.corpus.series.holidays import FEATURES, holiday_features
from seqgen.corpus.series.read import Series, SeriesOptions, names_of, read_series
from seqgen.corpus.series.report import quoted_list
from seqgen.corpus.series.windows import ScaledSeries
from seqgen.corpus.sources import Document, Warn
from seqgen.errors import DataError, ModelError

_CONSTANT = 1e-8  # a scale below this fraction of the largest value counts as zero
_SAME = 1e-9  # statistics that differ by less are of the same rows
_MAX_VALUE = 1e100  # beyond, sums of squares overflow in float64
_MIN_SCALE, _MAX_STATISTIC = 1e-308, 1e101  # of what `column_stats` makes of such values
_MAX_SCALED = 1e16  # beyond, sums of squares overflow in float32
Values = npt.NDArray[np.float64]

# Calendar cycle → length in seconds. A cycle is useful if the rows are denser than it.
CYCLES = {"day": 86400.0, "week": 604800.0, "year": 31556952.0}
_MONDAY = 4 * 86400  # 5 January 1970, in seconds


@dataclass(frozen=True)
class ColumnStats:
    """Statistics of one column of one series over the training rows.

    Attributes:
        centre: subtracted from the (logarithm of the) values.
        scale: divides them.
        deviation: standard deviation in the column's units.
        naive_error: mean absolute error of a seasonal naive forecast one step ahead, the denominator of `mase`.
    """

    centre: float
    scale: float
    deviation: float
    naive_error: float

    def is_close_to(self, other: ColumnStats) -> bool:
        """Whether they are those of the same rows, whose sums may differ in the last digits between processors."""
        return (
            math.isclose(self.centre, other.centre, rel_tol=_SAME, abs_tol=_SAME * other.scale)
            and math.isclose(self.scale, other.scale, rel_tol=_SAME)
            and math.isclose(self.deviation, other.deviation, rel_tol=_SAME)
            and math.isclose(self.naive_error, other.naive_error, rel_tol=_SAME)
        )


@dataclass(frozen=True)
class Stretch:
    """Rows of a series to forecast, and the series as it is scaled for forecasts of them.

    Attributes:
        stats: those that it is scaled by.
        rows: the first row to forecast and the end.
    """

    series: ScaledSeries
    stats: tuple[ColumnStats, ...]
    rows: tuple[int, int]


@dataclass(frozen=True)
class Scaler:
    """Scaling of a model's inputs. `columns` are the targets, then the covariates, then the future covariates.

    Attributes:
        time_column: '' for none, several joined by commas.
        statistics: those of each column, by series name.
        learnt: series name → last training row (see `training_end`).
        held_out: series name → last row of those of its validation set, which a finished model has learnt too.
        holiday_region: country, or part of it, whose holidays are features (see `holidays.holiday_dates`); '' for none.
        holidays: their dates.
        holidays_from: the first year whose holidays were looked up; 0 without holidays.
        sentinels: column → numbers that mean a missing one.
    """

    name: ClassVar[str] = "series"

    targets: tuple[str, ...]
    covariates: tuple[str, ...]
    future_covariates: tuple[str, ...]
    time_column: str
    series_column: str | None
    frequency: str
    season: int
    scaling: str
    logarithm: bool
    calendar: tuple[str, ...]
    statistics: Mapping[str, tuple[ColumnStats, ...]]
    learnt: Mapping[str, int] = field(default_factory=dict)
    held_out: Mapping[str, int] = field(default_factory=dict)
    holiday_region: str = ""
    holidays: tuple[str, ...] = ()
    holidays_from: int = 0
    sentinels: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.targets, *self.covariates, *self.future_covariates)

    @property
    def known(self) -> int:
        """Number of features known in advance for each row."""
        features = 2 * len(self.calendar) + (FEATURES if self.holiday_region else 0)
        return len(self.future_covariates) + features

    @property
    def effects(self) -> int:
        """Number of leading known features that are events or conditions, not a calendar cycle."""
        return self.known - 2 * len(self.calendar)

    @property
    def series_options(self) -> SeriesOptions:
        """The columns to read from a table."""
        return SeriesOptions(
            time_column=self.time_column,
            targets=self.targets,
            covariates=self.covariates,
            future_covariates=self.future_covariates,
            series=self.series_column,
            frequency=self.frequency,
            is_learnt=True,
            sentinels=self.sentinels,
        )

    def read_series(self, documents: Sequence[Document], warn: Warn) -> list[Series]:
        """Read the series in some documents, with these columns (see `read.read_series`).

        Of a model that knows several series by their names, `warn` hears of those that are new to it.
        """
        found = self.named(read_series(documents, self.series_options, warn), documents)
        new = [series.name for series in found if not self.knows(series)]
        # Of --init-from the model may have learnt a series, but has the scales of those before.
        for names in ([n for n in new if n not in self.learnt], [n for n in new if n in self.learnt]):
            if names:
                warn(self._scaled_by_own_rows(names))
        return found

    def _scaled_by_own_rows(self, names: Sequence[str]) -> str:
        """What is said of series without a scale, none of which the model has learnt, or each."""
        which = quoted_list([name for name in names if name]) or "the table"
        has, is_, it, its = ("have", "are", "they are", "their") if len(names) > 1 else ("has", "is", "it is", "its")
        if names[0] in self.learnt:
            known = quoted_list(list(self.statistics))
            return f"{which} {has} no scale in the model, only {known}: {it} scaled by {its} own rows"
        known = quoted_list([name for name in {**self.statistics, **self.learnt} if name])
        return f"{which} {is_} none of the series that the model has learnt, {known}: {it} scaled by {its} own rows"

    def named(self, series: Sequence[Series], documents: Sequence[Document]) -> list[Series]:
        """Return the series of some documents, a single one by the name of its file if that is the model's for it.

        It has none where it is read alone, but the model may have read it beside others.
        """
        own = {**self.statistics, **self.learnt}  # --init-from may have learnt others than those that it has scales of
        if len(documents) == 1 and self.series_column is None and set(own) != {""}:
            name = next((name for name in names_of(documents[0]) if name in own), "")
            return [replace(one, name=name) for one in series]
        return list(series)

    def mismatch(self, network: AnyNetworkConfig) -> str | None:
        """Return why a network can't be used with this scaler, or None."""
        columns = (len(self.targets), len(self.covariates), self.known)
        if not isinstance(network, ForecasterConfig) or columns != (network.targets, network.past, network.known):
            return "it has other columns"
        return None

    def knows(self, series: Series) -> bool:
        """Whether the model has learnt a series of this name."""
        return self._name_of(series) in self.statistics

    def stats_of(self, series: Series, rows: int | None = None) -> tuple[ColumnStats, ...]:
        """Return the training statistics of a series, or those of its own first `rows` if its name is new to the model.

        Without `rows`, those of all.
        """
        if self.knows(series):
            return self.statistics[self._name_of(series)]
        rows = len(series) if rows is None else rows
        return column_stats(series, rows, self.scaling, self.logarithm, self.season, len(self.targets))

    def _name_of(self, series: Series) -> str:
        """Return the series' name; '' if the model was trained on one unnamed series."""
        return "" if set(self.statistics) == {""} else series.name

    def learnt_rows(self, series: Series, finished: bool) -> int:
        """Return the number of rows up to the last training row; 0 if there was none, or if an older model lacks it.

        Args:
            finished: whether what was held out was learnt too.
        """
        ends = {**self.learnt, **(self.held_out if finished else {})}
        last = ends.get(series.name, ends.get(self._name_of(series), 0))
        if series.times is None:
            return min(last, len(series))
        return int(np.searchsorted(_seconds(series.times), last, side="right"))

    def begins_as_learnt(self, series: Series) -> bool:
        """Whether the first rows of a series without times are the training rows, as far as their statistics tell.

        They tell nothing of one that has fewer rows. Raises `DataError` for a series that can't be scaled.
        """
        if self.logarithm:
            check_positive(series, len(self.targets))
        name = self._name_of(series)
        rows = self.learnt.get(name, 0)
        if name not in self.statistics or not 0 < rows <= len(series):
            return True
        own = column_stats(series, rows, self.scaling, self.logarithm, self.season, len(self.targets))
        return all(a.is_close_to(b) for a, b in zip(own, self.statistics[name], strict=True))

    def transform(self, series: Series, ahead: int = 0, needed: int = 0, rows: int | None = None) -> ScaledSeries:
        """Scale a series for the network.

        Args:
            ahead: rows after the last one for which known features are returned.
            needed: rows ahead for which future covariates must be given.
            rows: see `stats_of`.

        Raises:
            DataError: a target is not positive in a model of logarithms, a value is out of range, or future covariates
                are missing.
        """
        values = self._logarithms(series)
        statistics = self.stats_of(series, rows)
        scaled = (values - [m.centre for m in statistics]) / [m.scale for m in statistics]
        count, past = len(self.targets), len(self.targets) + len(self.covariates)
        future = self._future(series, ahead, needed, [(m.centre, m.scale) for m in statistics[past:]])
        known = np.concatenate([np.concatenate([scaled[:, past:], future]), self._calendar(series, ahead)], axis=1)
        check_range(series, scaled, _MAX_SCALED)
        return ScaledSeries(
            series.name,
            scaled[:, :count].astype(np.float32),
            series.observed[:, :count].copy(),
            scaled[:, count:past].astype(np.float32),
            known.astype(np.float32),
            series.observed[:, count:past].copy(),
        )

    def inverse_transform(self, values: npt.NDArray[Any], statistics: Sequence[ColumnStats]) -> Values:
        """Return scaled targets, shape (…, columns, values), in their original units."""
        centre = np.array([m.centre for m in statistics[: len(self.targets)]])[:, None]
        scale = np.array([m.scale for m in statistics[: len(self.targets)]])[:, None]
        result = np.asarray(values, dtype=np.float64) * scale + centre
        return np.exp(np.clip(result, -700, 700)) if self.logarithm else result

    def _logarithms(self, series: Series) -> Values:
        values = np.array(series.values, dtype=np.float64)
        if self.logarithm:
            check_positive(series, len(self.targets))
            values[:, : len(self.targets)] = np.log(values[:, : len(self.targets)])
        return values

    def _future(self, series: Series, ahead: int, needed: int, scales: Sequence[tuple[float, float]]) -> Values:
        """Return the scaled future covariates of `ahead` rows, repeating the last given row."""
        if not self.future_covariates or not ahead:
            return np.zeros((ahead, len(self.future_covariates)))
        given = np.asarray(series.future, dtype=np.float64)
        if len(given) < needed:
            raise DataError(
                f"{series.name + ': ' if series.name else ''}{', '.join(self.future_covariates)} must be given "
                f"{needed:,} rows ahead; there are {len(given):,}: add rows without a value of {self.targets[0]}"
            )
        if not len(given):
            given = np.asarray(series.values[-1:, len(self.targets) + len(self.covariates) :])
        given = np.concatenate([given[:ahead], np.repeat(given[-1:], max(0, ahead - len(given)), axis=0)])
        return (given - [c for c, _ in scales]) / [s for _, s in scales]

    def _calendar(self, series: Series, ahead: int) -> Values:
        """Return the features of each row's holidays, and sine and cosine of its phase in each calendar cycle."""
        rows = len(series.values) + ahead
        if not self.calendar and not self.holiday_region:
            return np.zeros((rows, 0))
        if series.times is None:
            raise DataError(
                f"there is no time column, but this model needs {self.time_column!r}; name it, or add it to the table"
            )
        times = series.times.astype("datetime64[s]")
        if ahead:
            times = np.concatenate([times, series.frequency.next_times(times[-1], ahead)])
        seconds = times.astype(np.int64).astype(np.float64) - _MONDAY
        angles = [2 * math.pi * seconds / CYCLES[name] for name in self.calendar]
        features = [function(angle) for angle in angles for function in (np.sin, np.cos)]
        if self.holiday_region:
            local = (times.astype(np.int64) + series.utc_offset).astype("datetime64[s]")
            known = holiday_features(self.holidays, local, series.frequency.seconds, self.holidays_from)
            features = [*known.T, *features]
        return np.stack(features, axis=1)

    # ---- tokenizer.json ----

    def to_dict(self) -> dict[str, Any]:
        """Return the contents of tokenizer.json."""
        plain = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in vars(self).items()
            if name not in ("statistics", "learnt", "held_out", "sentinels")
        }
        rows = {
            name: [[m.centre, m.scale, m.deviation, m.naive_error] for m in each]
            for name, each in self.statistics.items()
        }
        ends = {name: dict(value) for name in ("learnt", "held_out") if (value := getattr(self, name))}
        holidays = ("holiday_region", "holidays", "holidays_from")
        known = {name: plain.pop(name) for name in holidays}
        known = known if self.holiday_region else {}
        if self.sentinels:
            known["sentinels"] = {name: list(numbers) for name, numbers in self.sentinels.items()}
        return {"kind": self.name, **plain, "measures": rows, **ends, **known}  # older models lack the last ones

    def files(self) -> dict[str, bytes]:
        """Return no further files."""
        return {}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], files: Mapping[str, bytes] | None = None) -> Scaler:
        """Restore a scaler from `to_dict`.

        Raises:
            ModelError: the data is damaged.
        """
        try:
            names = {
                key: tuple(map(str, data[key])) for key in ("targets", "covariates", "future_covariates", "calendar")
            }
            statistics = {
                str(name): tuple(ColumnStats(*map(_number, row)) for row in rows)
                for name, rows in data["measures"].items()
            }
            holidays = tuple(str(np.datetime64(date, "D")) for date in data.get("holidays", ()))
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
                statistics=statistics,
                learnt={str(name): int(last) for name, last in data.get("learnt", {}).items()},
                held_out={str(name): int(last) for name, last in data.get("held_out", {}).items()},
                holiday_region=str(data.get("holiday_region", "")),
                holidays=holidays,
                holidays_from=int(data.get("holidays_from", holidays[0][:4] if holidays else 0)),
                sentinels={
                    str(name): tuple(map(_number, numbers)) for name, numbers in data.get("sentinels", {}).items()
                },
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ModelError(f"tokenizer.json is damaged: invalid scaling of series ({error!r})") from error
        valid = all(
            len(rows) == len(scaler.columns)
            and all(abs(m.centre) < _MAX_STATISTIC and 0 <= m.naive_error < _MAX_STATISTIC for m in rows)
            and all(_MIN_SCALE <= each < _MAX_STATISTIC for m in rows for each in (m.scale, m.deviation))
            for rows in statistics.values()
        ) and all(
            abs(last) < 1 << 62 for last in (*scaler.learnt.values(), *scaler.held_out.values(), scaler.holidays_from)
        )
        sentinels = [number for numbers in scaler.sentinels.values() for number in numbers]
        valid = valid and all(abs(number) < _MAX_STATISTIC for number in sentinels)
        if not valid or not scaler.targets or not statistics or scaler.scaling not in SCALINGS or scaler.season < 1:
            raise ModelError("tokenizer.json is damaged: impossible values in the scaling of series")
        if not set(scaler.calendar) <= set(CYCLES):
            raise ModelError(f"tokenizer.json is damaged: a calendar cycle is not one of {', '.join(CYCLES)}")
        return scaler


def _number(value: object) -> float:
    """A number of tokenizer.json. Raises `TypeError` for text, such as "inf"."""
    if not isinstance(value, (int, float)):
        raise TypeError(f"{str(value)[:40]!r} is no number")
    return float(value)


def check_positive(series: Series, targets: int) -> None:
    """Raise `DataError` if a target has no logarithm."""
    values = series.values[:, :targets]
    if (values <= 0).any():
        raise DataError(f"--log-returns needs positive numbers: {_describe_first(series, values <= 0)}")


def check_range(series: Series, values: Values, limit: float) -> None:
    """Raise `DataError` if one of `values`, the series' own or scaled ones of the same shape, exceeds `limit`."""
    flags = np.abs(values) > limit
    if flags.any():
        if (flags & series.observed).any():  # not an interpolated neighbour
            flags &= series.observed
        raise DataError(
            f"a value is too far from the others to compute with: {_describe_first(series, flags)}; correct it, or "
            "leave the cell empty"
        )


def _describe_first(series: Series, flags: npt.NDArray[np.bool_]) -> str:
    """The first value with a flag, its column and row."""
    row, column = np.argwhere(flags)[0]
    name = f"{series.name}: " if series.name else ""
    when = f" ({series.format_times(series.times[row : row + 1])[0]})" if series.times is not None else ""
    return (
        f"{name}{series.columns[column]!r} is {series.values[row, column]:g} in row {series.dropped + row + 1:,}{when}"
    )


def column_stats(
    series: Series, rows: int, scaling: str, logarithm: bool, season: int, targets: int
) -> tuple[ColumnStats, ...]:
    """Return the statistics of each column over its first `rows` rows, without interpolated values.

    Raises `DataError` for a value that is out of range.
    """
    check_range(series, series.values, _MAX_VALUE)
    stats = []
    for index in range(series.values.shape[1]):
        observed = series.observed[:rows, index]
        raw = series.values[:rows, index]
        own = raw[observed] if observed.any() else raw
        scaled = np.log(own) if logarithm and index < targets else own
        deviation = _nonzero_scale(own, float(own.std()))
        if scaling == "standard":
            centre, scale = float(scaled.mean()), _nonzero_scale(scaled, float(scaled.std()))
        elif scaling == "minmax":
            centre, scale = float(scaled.min()), _nonzero_scale(scaled, float(scaled.max() - scaled.min()))
        else:
            centre, scale = 0.0, 1.0
        lag = season if len(raw) > season else 1
        errors = np.abs(raw[lag:] - raw[:-lag])[observed[lag:] & observed[:-lag]]
        stats.append(ColumnStats(centre, scale, deviation, float(errors.mean()) if len(errors) else 0.0))
    return tuple(stats)


def training_end(series: Series, rows: int) -> int:
    """Return the entry of `Scaler.learnt` for the first `rows` rows, at least one.

    That is the time of the last row in seconds since 1970, or `rows` if there are no times.
    """
    return rows if series.times is None else int(_seconds(series.times)[rows - 1])


def _seconds(times: npt.NDArray[np.datetime64]) -> npt.NDArray[np.int64]:
    """Return seconds since 1970."""
    return times.astype("datetime64[s]").astype(np.int64)


def _nonzero_scale(values: Values, scale: float) -> float:
    """Return `scale`, or 1 if the values are constant."""
    return scale if scale > _CONSTANT * max(1e-300, float(np.abs(values).max(initial=0.0))) else 1.0


def mean_step_seconds(series: Series) -> float:
    """Return the mean seconds from row to row; 0 without times."""
    if series.times is None or len(series.times) < 2:
        return 0.0
    return float((series.times[-1] - series.times[0]).astype(np.int64)) / (len(series.times) - 1)
