"""Forecasting: what comes after the last row of a table of numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from seqgen.checkpoint import Checkpoint
from seqgen.config import ForecasterConfig, TrainOptions
from seqgen.corpus.series import read as reading
from seqgen.corpus.series.read import Series, SeriesOptions
from seqgen.corpus.series.scaling import (
    CYCLES,
    ColumnStats,
    Scaler,
    check_positive,
    column_stats,
    mean_step_seconds,
    training_end,
)
from seqgen.corpus.series.windows import Floats, ScaledSeries, SplitPoints, Windows, split_points
from seqgen.corpus.sources import Document
from seqgen.errors import DataError, ModelError, UserError
from seqgen.model import linear_map
from seqgen.model.forecaster import Forecaster
from seqgen.tasks.base import HeadlineMetric, Preparation
from seqgen.training.device import Compute
from seqgen.training.objectives.forecasting import ForecastingObjective
from seqgen.training.plans import forecasting as series_plan
from seqgen.training.plans.forecasting import WindowShape
from seqgen.training.plans.language import Plan, SpeedProbe

_FOUND = ("believed", "widening")  # of a network: what validation finds
_CALENDAR_PASSES = 2.0  # a cycle is told of where the rows to learn from hold it so many times
_CALENDAR_ROWS = 4.0  # and where at least so many rows stand in it


@dataclass(frozen=True)
class ForecastingData:
    """See `task.Data`. A token is a number of a window: one that is read or one that is forecast."""

    codec: Scaler
    shape: WindowShape
    train: Windows
    held_out: Windows | None
    counts: Mapping[str, int]

    @property
    def tokens(self) -> int:
        return len(self.train) * (self.shape.look_back + self.shape.horizon)

    def summary(self) -> str:
        counts = self.counts
        names = self.codec.targets
        what = ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
        rows = f"{counts['train_rows']:,} rows to learn {what} from, {counts['held_out_rows']:,} held out"
        return rows if counts["series"] == 1 else f"{counts['series']:,} series, {rows}"

    def metadata(self) -> dict[str, Any]:
        return dict(self.counts)

    def plan(self, options: TrainOptions, compute: Compute, speed: SpeedProbe, spent: float) -> Plan:
        scaler = self.codec
        return series_plan.make_plan(
            options, self.shape, len(scaler.targets), len(scaler.covariates), scaler.known, len(self.train), spent
        )

    def pretraining(self, network: Forecaster, plan: Plan, compute: Compute, seed: int) -> None:
        """Nothing comes before."""
        return

    def prepare_network(self, network: Forecaster) -> None:
        """Fits the linear map beside the network, which learns what that leaves."""
        if network.linear is not None:

            def move(history: Floats) -> tuple[Floats, Floats]:
                level, spread = network.location_and_scale(torch.from_numpy(history))
                return level.numpy(), spread.numpy()

            network.linear.copy_(torch.from_numpy(linear_map.fit(self.train, self.held_out, move)))

    def objective(self, network: Forecaster, plan: Plan, compute: Compute, seed: int) -> ForecastingObjective:
        doubt = self.codec.logarithm  # prices: what changes by so many percent is a random walk until shown otherwise
        return ForecastingObjective(network, self.train, self.held_out, compute, plan.batch_size, seed, doubt)

    def metrics(self, val_loss: float | None) -> dict[str, float]:
        return {} if val_loss is None or self.held_out is None else {"val_loss": val_loss}


class ForecastingTask:
    """See `task.Task`."""

    name: ClassVar[str] = "forecast"
    tokenizers: ClassVar[tuple[str, ...]] = ("series",)
    init_from_tasks: ClassVar[tuple[str, ...]] = ("forecast",)
    headline: ClassVar[HeadlineMetric] = HeadlineMetric("scaled_mse", "scaled MSE")
    needs_float32: ClassVar[bool] = True

    def prepare(self, preparation: Preparation) -> ForecastingData:
        options, known = preparation.options, _scaler_kept(preparation)
        wanted = series_options(options) if known is None else series_options_of(known)
        series = reading.read_series(preparation.documents, wanted, preparation.warn)
        valid = reading.read_series(preparation.valid, wanted, preparation.warn) if preparation.valid else []
        season = reading.season(series[0]) if known is None else known.season
        fraction = 0.0 if valid else options.val_fraction
        longest = max(len(one.values) for one in series)
        shape = _kept_shape(preparation) or series_plan.window_shape(
            options, split_points(longest, options.split_rows, fraction, options.horizon or season).train, season
        )
        parts = [split_points(len(one.values), options.split_rows, fraction, shape.horizon) for one in series]
        scaler = known or fit(series, parts, options, season, shape.look_back)
        if preparation.codec is None and known is not None:  # the model to start from has not seen these rows
            new = _learnt(series, parts)
            both = {name: max(last, known.learnt.get(name, last)) for name, last in new.items()}
            scaler = replace(known, learnt={**known.learnt, **both})
        learnt = [scaler.transform(one) for one in series]
        train = Windows(learnt, [each.range("train") for each in parts], shape.look_back, shape.horizon)
        if not len(train):
            raise DataError(
                f"there is too little to learn from: no series has {shape.look_back + shape.horizon:,} rows in its "
                f"part to learn from ({shape.look_back:,} to look back on, {shape.horizon:,} to forecast)"
            )
        held_out, held_rows = _held_out(scaler, learnt, parts, valid, shape)
        if held_out is None and (fraction or valid or options.split_rows):
            preparation.warn("too few rows are held out for a single window: nothing chooses the best step")
        counts = {
            "series": len(series),
            "train_rows": sum(each.train for each in parts),
            "held_out_rows": held_rows,
            "train_windows": len(train),
            "held_out_windows": 0 if held_out is None else len(held_out),
        }
        return ForecastingData(scaler, shape, train, held_out, counts)

    def load_cached(self, metadata: dict[str, Any], codec: Any) -> ForecastingData | None:
        """None: a table is read again, which takes a moment."""
        return None

    def transfer(self, network: Forecaster, start: Checkpoint) -> None:
        """Every weight of `start`; what its validation found is found anew."""
        kept = {name: torch.from_numpy(weight) for name, weight in start.weights().items() if name not in _FOUND}
        network.load_state_dict(kept, strict=False)

    def network(self, config: ForecasterConfig) -> Forecaster:
        return Forecaster(config)


TASK = ForecastingTask()


def series_options(options: TrainOptions) -> SeriesOptions:
    """What the reader of tables is to look for."""
    return SeriesOptions(
        time_column=options.time_column,
        targets=_names(options.target),
        covariates=_names(options.covariates),
        future_covariates=_names(options.future_covariates),
        series=options.series,
        frequency=options.frequency,
    )


def series_options_of(scaler: Scaler) -> SeriesOptions:
    """What a model's tables must hold."""
    return SeriesOptions(
        time_column=scaler.time_column,
        targets=scaler.targets,
        covariates=scaler.covariates,
        future_covariates=scaler.future_covariates,
        series=scaler.series_column,
        frequency=scaler.frequency,
    )


def read_series(scaler: Scaler, documents: list[Document], warn: Callable[[str], None]) -> list[Series]:
    """The series of some documents, as a model learnt to read them."""
    return reading.read_series(documents, series_options_of(scaler), warn)


def fit(
    series: Sequence[Series], parts: Sequence[SplitPoints], options: TrainOptions, season: int, look_back: int
) -> Scaler:
    """How a model is to read such series, from the rows to learn from."""
    first = series[0]
    wanted = series_options(options)
    targets = first.columns[: first.target_count]
    if options.log_returns:
        for one in series:
            check_positive(one, len(targets))
    measures: dict[str, tuple[ColumnStats, ...]] = {
        one.name: column_stats(one, part.train, options.scaling, options.log_returns, season, len(targets))
        for one, part in zip(series, parts, strict=True)
        if part.train
    }
    return Scaler(
        targets=targets,
        covariates=wanted.covariates,
        future_covariates=wanted.future_covariates,
        time_column=first.time_column,
        series_column=options.series,
        frequency=first.frequency.name,
        season=season,
        scaling=options.scaling,
        logarithm=options.log_returns,
        calendar=calendar(first, max(part.train for part in parts), look_back, options.calendar),
        measures=measures,
        learnt=_learnt(series, parts),
    )


def _learnt(series: Sequence[Series], parts: Sequence[SplitPoints]) -> dict[str, int]:
    """The last row that is learnt from, of every series."""
    return {one.name: training_end(one, part.train) for one, part in zip(series, parts, strict=True) if part.train}


def calendar(series: Series, rows: int, look_back: int, asked: bool | None) -> tuple[str, ...]:
    """The cycles that the network is told of: those that the rows to learn from hold twice or more, finely enough, and
    where it was not `asked` for, that a look-back does not show by itself.

    Raises `UserError` where it is asked for and there are no times.
    """
    if series.times is None:
        if asked:
            raise UserError("--calendar needs a column of times; name it with --time-column")
        return ()
    if asked is False:
        return ()
    seconds = mean_step_seconds(series)
    return tuple(
        name
        for name, length in CYCLES.items()
        if rows * seconds >= _CALENDAR_PASSES * length
        and length >= _CALENDAR_ROWS * seconds
        and (asked or length > look_back * seconds)
    )


def _names(given: Sequence[str]) -> tuple[str, ...]:
    """`("a,b", "c")` → `("a", "b", "c")`, each once."""
    return tuple(dict.fromkeys(name.strip() for text in given for name in text.split(",") if name.strip()))


def _scaler_kept(preparation: Preparation) -> Scaler | None:
    """The scaler of a run that goes on, or of the model to start from."""
    if isinstance(preparation.codec, Scaler):
        return preparation.codec
    return None if preparation.start is None else preparation.start.scaler


def _kept_shape(preparation: Preparation) -> WindowShape | None:
    """The shape of the windows of the model to start from. Raises `UserError` where another one is asked for."""
    if preparation.start is None:
        return None
    network = preparation.start.network
    if not isinstance(network, ForecasterConfig):
        raise ModelError("--init-from is no model for forecast")
    for name in ("horizon", "look_back", "segment_length"):
        asked = getattr(preparation.options, name)
        if asked is not None and asked != getattr(network, name):
            raise UserError(
                f"--{name.replace('_', '-')} {asked} does not fit --init-from, whose model has {getattr(network, name)}"
            )
    kept = preparation.start.scaler
    asked_for = series_options(preparation.options)
    for name in ("targets", "covariates", "future_covariates"):
        if getattr(asked_for, name) not in ((), getattr(kept, name)):
            flag = "--target" if name == "targets" else f"--{name.replace('_', '-')}"
            raise UserError(f"{flag} does not fit --init-from, whose model reads {', '.join(kept.columns)}")
    return WindowShape(network.look_back, network.horizon, network.segment_length)


def _held_out(
    scaler: Scaler,
    learnt: Sequence[ScaledSeries],
    parts: Sequence[SplitPoints],
    valid: Sequence[Series],
    shape: WindowShape,
) -> tuple[Windows | None, int]:
    """The windows to choose by, and how many rows they forecast; None where there is none."""
    if valid:
        prepared = [scaler.transform(one) for one in valid]
        ranges = [(0, len(one)) for one in prepared]
    else:
        prepared = list(learnt)
        ranges = [each.range("valid") for each in parts]
    windows = Windows(prepared, ranges, shape.look_back, shape.horizon)
    return (windows if len(windows) else None), sum(stop - first for first, stop in ranges)
