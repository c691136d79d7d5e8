"""Forecasting: predict the rows that follow a table of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch

from seqgen.checkpoint import Checkpoint
from seqgen.config import AnyNetworkConfig, ForecasterConfig, TrainOptions, flag_name, parse_lags
from seqgen.corpus.ids import IdStream
from seqgen.corpus.series import read as reading
from seqgen.corpus.series.frequency import Frequency
from seqgen.corpus.series.holidays import holiday_dates, year_of
from seqgen.corpus.series.read import Series, SeriesOptions, sentinels_of
from seqgen.corpus.series.scaling import (
    CYCLES,
    ColumnStats,
    Scaler,
    Stretch,
    check_positive,
    column_stats,
    mean_step_seconds,
    training_end,
)
from seqgen.corpus.series.time_columns import join_names
from seqgen.corpus.series.windows import Floats, ScaledSeries, SplitPoints, Windows, split_points
from seqgen.corpus.tables.columns import parse_columns
from seqgen.errors import DataError, ModelError, UserError
from seqgen.generation.forecasting.intervals import recent_factors
from seqgen.generation.forecasting.torch import TorchForecaster
from seqgen.model import linear_map
from seqgen.model.forecaster import Forecaster
from seqgen.quantities import shortened_list
from seqgen.specs.tasks import TaskSpec
from seqgen.tasks.base import Member, NothingFurther, Preparation
from seqgen.tokenizers import Codec
from seqgen.training.device import Compute
from seqgen.training.loop import Objective
from seqgen.training.objectives.forecasting import ForecastingObjective, window_batches_per_epoch
from seqgen.training.plans import forecasting as planning
from seqgen.training.plans.base import Plan, SpeedProbe, steps_for_epochs
from seqgen.training.plans.forecasting import WindowShape

# Weights that follow from the rows of this training alone.
_FITTED = ("effect", "mixture", "mixture_weight", "mixture_bias", "believed", "widening")
_MIN_CYCLES = 2.0  # cycles in the training set, for a calendar feature
_MIN_CYCLE_ROWS = 4.0  # rows per cycle, for a calendar feature


@dataclass(frozen=True)
class TrainingRows:
    """The rows of a training, of which windows of any shape are made.

    Attributes:
        parts: the split of each series.
        valid: the rows to validate of series of their own (--valid), and how they are scaled; none: the validation rows
            of `series`.
        finishes: whether the validation rows are learnt at the end.
    """

    series: Sequence[ScaledSeries]
    parts: Sequence[SplitPoints]
    valid: Sequence[Stretch]
    finishes: bool

    def train(self, shape: WindowShape) -> Windows:
        """The windows of the training rows."""
        return _windows(self.series, [part.range("train") for part in self.parts], shape)

    def held_out(self, shape: WindowShape) -> Windows | None:
        """The windows of the validation set; None if it has none."""
        if self.valid:
            found = _windows([each.series for each in self.valid], [each.rows for each in self.valid], shape)
        else:
            found = _windows(self.series, [part.range("valid") for part in self.parts], shape)
        return found if len(found) else None

    @property
    def held_out_count(self) -> int:
        """The number of rows of the validation set."""
        if self.valid:
            return sum(stop - first for first, stop in (each.rows for each in self.valid))
        return sum(part.valid - part.train for part in self.parts)

    def newest(self, shape: WindowShape) -> Windows:
        """The windows that forecast some of the validation rows."""
        return _windows(self.series, [(part.train - shape.horizon + 1, part.valid) for part in self.parts], shape)

    def without_effects(self, network: Forecaster) -> TrainingRows:
        """The same rows, less what known covariates add to them by a network's weights."""
        if network.effect is None:
            return self
        effect = network.effect.cpu().numpy()

        def less(one: ScaledSeries) -> ScaledSeries:
            return replace(one, targets=one.targets - one.known[: len(one), : effect.shape[1]] @ effect.T)

        valid = [replace(each, series=less(each.series)) for each in self.valid]
        return replace(self, series=[less(one) for one in self.series], valid=valid)

    def all_learnt(self, shape: WindowShape) -> Windows:
        """The windows of the training and validation rows."""
        return _windows(self.series, [(0, part.valid) for part in self.parts], shape)


@dataclass(frozen=True)
class ForecastingData(NothingFurther):
    """See `base.Data`. A token is one number of a window, read or forecast."""

    codec: Scaler
    shape: WindowShape
    rows: TrainingRows
    train: Windows
    held_out: Windows | None
    counts: Mapping[str, int]

    id_streams: ClassVar[tuple[IdStream, ...]] = ()
    corrects_temperature: ClassVar[bool] = False
    cross_fits: ClassVar[bool] = False

    @classmethod
    def of(cls, codec: Scaler, shape: WindowShape, rows: TrainingRows) -> ForecastingData:
        """The data of windows of this shape."""
        train, held_out = rows.train(shape), rows.held_out(shape)
        counts = {
            "series": len(rows.series),
            "train_rows": sum(each.train for each in rows.parts),
            "held_out_rows": rows.held_out_count,
            "train_windows": len(train),
            "held_out_windows": 0 if held_out is None else len(held_out),
        }
        return cls(codec, shape, rows, train, held_out, counts)

    @property
    def tokens(self) -> int:
        return len(self.train) * (self.shape.look_back + self.shape.horizon)

    def summary(self) -> str:
        counts = self.counts
        targets = shortened_list(self.codec.targets, 3)
        rows = f"{counts['train_rows']:,} rows of {targets} to train on, {counts['held_out_rows']:,} held out"
        return rows if counts["series"] == 1 else f"{counts['series']:,} series, {rows}"

    def steps(self, epochs: float, batch_size: int, seq_length: int) -> int:
        return steps_for_epochs(epochs, window_batches_per_epoch(len(self.train), batch_size))

    def metadata(self) -> dict[str, Any]:
        return dict(self.counts)

    def plan(self, options: TrainOptions, compute: Compute, speed: SpeedProbe, spent: float) -> Plan:
        scaler = self.codec
        return planning.make_plan(
            options, self.shape, len(scaler.targets), len(scaler.covariates), scaler.known, scaler.effects,
            len(self.train), spent,
        )  # fmt: skip

    def pretraining(self, network: Forecaster, plan: Plan, compute: Compute, seed: int) -> Objective | None:
        return None

    def prepare_network(self, network: Forecaster) -> None:
        """Fit what is fitted in closed form: the effects of known covariates, and then the linear maps."""
        if network.effect is not None:
            ends = [part.train for part in self.rows.parts]
            effects = linear_map.fit_effects(self.rows.series, ends, self.shape.season, network.config.effects)
            network.effect.copy_(torch.from_numpy(effects))
        rows = self.rows.without_effects(network)
        train, held_out = rows.train(self.shape), rows.held_out(self.shape)
        if network.mixture_weight is not None:
            network.set_mixture_map(linear_map.fit(train, held_out, linear_map.by_last_value, True).weight)
        if network.linear is not None:  # the network is trained on its residuals

            def normalise(history: Floats) -> tuple[Floats, Floats]:
                location, scale = network.location_and_scale(torch.from_numpy(history))
                return location.numpy(), scale.numpy()

            network.linear.copy_(torch.from_numpy(linear_map.fit(train, held_out, normalise).weight))

    def objective(self, network: Forecaster, plan: Plan, compute: Compute, seed: int) -> Objective:
        random_walk = self.codec.logarithm  # prices are presumed random walks until validation shows otherwise
        data = self
        if network.config.lags != self.shape.lags:  # a resumed run of a version that had none
            data = self.of(self.codec, replace(self.shape, lags=network.config.lags), self.rows)
        return ForecastingObjective(network, data.train, data.held_out, compute, plan.batch_size, seed, random_walk)

    def finishing(self, network: Forecaster, plan: Plan, compute: Compute, seed: int) -> Objective | None:
        if not self.rows.finishes:
            return None
        newest = self.rows.newest(self.shape)
        return ForecastingObjective(network, newest, None, compute, plan.batch_size, seed) if len(newest) else None

    def before_finishing(self, network: Forecaster) -> None:
        """Give the intervals the width that the errors of the last held-out rows call for; fit the linear map to all.

        Forecasts widen them by such errors (`generation.forecasting.intervals`), but not by those of rows that were
        learnt.
        """
        if network.config.levels:
            forecaster, factors = TorchForecaster(network), []
            for one, part in zip(self.rows.series, self.rows.parts, strict=True):
                factors.append(recent_factors(forecaster, one, np.array([part.valid]), part.train)[0])
            mean = np.exp(np.log(np.stack(factors)).mean(axis=0))  # of the series
            with torch.no_grad():
                network.widening.mul_(torch.from_numpy(mean[:, None]).to(network.widening))
        if network.mixture_weight is not None:
            rows, normalise = self.rows.without_effects(network), linear_map.by_last_value
            ridge = linear_map.fit(rows.train(self.shape), rows.held_out(self.shape), normalise, True).ridge
            network.set_mixture_map(linear_map.fit(rows.all_learnt(self.shape), None, normalise, True, ridge).weight)

    def member(self, number: int, plan: Plan) -> Member:
        """A further network, on the same rows, with a look-back of its own."""
        assert isinstance(plan.network, ForecasterConfig)
        look_back = planning.member_look_back(self.shape, number)
        data = ForecastingData.of(self.codec, replace(self.shape, look_back=look_back), self.rows)
        network = replace(plan.network, look_back=look_back)
        batch = max(1, min(plan.batch_size, len(data.train)))
        plan = replace(plan, network=network, batch_size=batch, seq_length=look_back + network.horizon)
        return Member(data, plan)

    def metrics(self, val_loss: float | None) -> dict[str, float]:
        return {} if val_loss is None or self.held_out is None else {"val_loss": val_loss}


class ForecastingTask:
    """See `base.Task`."""

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    def prepare(self, preparation: Preparation) -> ForecastingData:
        options, known = preparation.options, _given_scaler(preparation)
        wanted = SeriesOptions.of(options) if known is None else replace(known.series_options, sheet=options.sheet)
        series = reading.read_series(preparation.documents, wanted, preparation.warn)
        wanted = replace(wanted, sentinels=sentinels_of(series, wanted.sentinels))
        valid = reading.read_series(preparation.valid, wanted, preparation.warn) if preparation.valid else []
        season = reading.season(series[0]) if known is None else known.season
        if known is not None:
            series = known.named(series, preparation.documents)
        fraction = 0.0 if valid else options.val_fraction
        longest = max(len(one.values) for one in series)
        rows = split_points(longest, options.split_rows, fraction, options.horizon or season).train
        shape = _given_shape(preparation, series[0]) or planning.window_shape(
            options, rows, season, series[0].frequency.lags
        )
        parts = [split_points(len(one.values), options.split_rows, fraction, shape.horizon) for one in series]
        scaler = known or fit_scaler(series, parts, options, season, shape.look_back, valid)
        if preparation.codec is None and known is not None:  # the model to start from hasn't seen these rows
            last_rows = _training_ends(series, parts)
            finished = preparation.start is not None and preparation.start.is_finished
            before = {**known.learnt, **(known.held_out if finished else {})}
            latest = {name: max(last, before.get(name, last)) for name, last in last_rows.items()}
            scaler = replace(known, learnt={**before, **latest}, held_out={}, sentinels=wanted.sentinels)
        if preparation.codec is None and (fraction or options.split_rows):
            held_out = {one.name: training_end(one, p.valid) for one, p in zip(series, parts, strict=True) if p.valid}
            scaler = replace(scaler, held_out=held_out)
        # To a model to start from a series may be new. Its held-out rows must not be in the statistics either.
        scaled = [scaler.transform(one, rows=part.train or None) for one, part in zip(series, parts, strict=True)]
        stretches = [_validated(scaler, one, shape) for one in scaler.named(valid, preparation.valid)]
        finishes = bool(fraction) and not options.split_rows
        rows_of_all = TrainingRows(scaled, parts, stretches, finishes)
        data = ForecastingData.of(scaler, shape, rows_of_all)
        if not len(data.train):
            raise DataError(
                f"there is too little to train on: no series has {shape.look_back + shape.horizon:,} training rows "
                f"({shape.look_back:,} to look back on, {shape.horizon:,} to forecast)"
            )
        if data.held_out is None and (fraction or valid or options.split_rows):
            preparation.warn("too few rows are held out for a single window: the last weights are kept, not the best")
        return data

    def load_cached(self, metadata: Mapping[str, Any], codec: Codec | Scaler) -> ForecastingData | None:
        """None: tables are read again, which is quick."""
        return None

    def transfer(self, network: Forecaster, start: Checkpoint) -> None:
        """Copy every weight of `start` except its calibration, and what is fitted in closed form."""
        weights = {name: torch.from_numpy(weight) for name, weight in start.weights().items() if name not in _FITTED}
        network.load_state_dict(weights, strict=False)

    def network(self, config: AnyNetworkConfig) -> Forecaster:
        assert isinstance(config, ForecasterConfig)
        return Forecaster(config)


def fit_scaler(
    series: Sequence[Series],
    parts: Sequence[SplitPoints],
    options: TrainOptions,
    season: int,
    look_back: int,
    valid: Sequence[Series] = (),
) -> Scaler:
    """Fit the scaler of a model to the training rows; the holidays also to those of a validation set of its own."""
    first = series[0]
    targets = first.columns[: first.target_count]
    ahead = len(first.columns) - first.future_count
    if options.log_returns:
        for one in series:
            check_positive(one, len(targets))
    statistics: dict[str, tuple[ColumnStats, ...]] = {
        one.name: column_stats(one, part.train, options.scaling, options.log_returns, season, len(targets))
        for one, part in zip(series, parts, strict=True)
        if part.train
    }
    return Scaler(
        targets=targets,
        covariates=first.columns[first.target_count : ahead],
        future_covariates=first.columns[ahead:],
        time_column=first.time_column,
        series_column=first.series_column,
        frequency=first.frequency.name,
        season=season,
        scaling=options.scaling,
        logarithm=options.log_returns,
        calendar=calendar(first, max(part.train for part in parts), look_back, options.calendar),
        statistics=statistics,
        learnt=_training_ends(series, parts),
        sentinels=sentinels_of(series),
        **(_holidays([*series, *valid], options.holidays) if options.holidays else {}),
    )


def _holidays(series: Sequence[Series], region: str) -> dict[str, Any]:
    """The fields of a scaler for the holidays of a region in the years of the series."""
    times = [one.times for one in series if one.times is not None]
    if not times:
        raise UserError("--holidays needs a time column; name it with --time-column")
    # In local time, whose offset changes in the year, the first row may be of the day before.
    first, last = min(each[0] for each in times) - np.timedelta64(1, "D"), max(each[-1] for each in times)
    dates = holiday_dates(region, np.array([first, last]))
    return {"holiday_region": region, "holidays": dates, "holidays_from": year_of(first)}


def _training_ends(series: Sequence[Series], parts: Sequence[SplitPoints]) -> dict[str, int]:
    """The last training row of each series (see `training_end`)."""
    return {one.name: training_end(one, part.train) for one, part in zip(series, parts, strict=True) if part.train}


def calendar(series: Series, rows: int, look_back: int, asked: bool | None) -> tuple[str, ...]:
    """Names of the cycles that become calendar features.

    Each occurs at least twice in the training rows, with at least four rows per cycle. Unless --calendar is `asked`
    for, only cycles longer than the look-back count.

    Raises `UserError` if it is asked for and the table has no times.
    """
    if series.times is None:
        if asked:
            raise UserError("--calendar needs a time column; name it with --time-column")
        return ()
    if asked is False:
        return ()
    seconds = mean_step_seconds(series)
    return tuple(
        name
        for name, length in CYCLES.items()
        if rows * seconds >= _MIN_CYCLES * length
        and length >= _MIN_CYCLE_ROWS * seconds
        and (asked or length > look_back * seconds)
    )


def _given_scaler(preparation: Preparation) -> Scaler | None:
    """The scaler of the resumed run or of the model to start from."""
    if isinstance(preparation.codec, Scaler):
        return preparation.codec
    return None if preparation.start is None else preparation.start.scaler


def _given_shape(preparation: Preparation, series: Series) -> WindowShape | None:
    """The windows of the resumed run, or of the model to start from, whose columns `series` was read by.

    Raises `UserError` if the options ask for others than those of the model to start from.
    """
    if isinstance(preparation.network, ForecasterConfig):
        return _shape_of(preparation.network)
    if preparation.start is None:
        return None
    network = preparation.start.network
    if not isinstance(network, ForecasterConfig):
        raise ModelError("--init-from needs a model for forecast")
    options = preparation.options
    asked = {name: getattr(options, name) for name in ("horizon", "look_back", "segment_length")}
    asked["lags"] = None if options.lags is None else parse_lags(options.lags)
    for name, value in asked.items():
        if value is not None and value != (own := getattr(network, name)):
            raise UserError(
                f"{flag_name(name)} {_listed(value)} contradicts --init-from, whose model has {_listed(own)}"
            )
    if preparation.asks_for("levels") and planning.quantile_levels(options.levels) != network.levels:
        raise UserError(
            f"--levels {options.levels} contradicts --init-from, whose model has {_intervals(network.levels)}"
        )
    scaler = preparation.start.scaler
    _check_scaler(preparation, scaler, series)
    asked_for = SeriesOptions.of(preparation.options)
    for name in ("targets", "covariates", "future_covariates"):
        if not _are_names_of(getattr(asked_for, name), getattr(scaler, name)):
            flag = "--target" if name == "targets" else flag_name(name)
            raise UserError(f"{flag} contradicts --init-from, whose model reads {', '.join(scaler.columns)}")
    # An older model lacks the season, the mixture's as well; and the plan would choose the default levels.
    return replace(_shape_of(network), season=scaler.season, levels=network.levels)


def _check_scaler(preparation: Preparation, scaler: Scaler, series: Series) -> None:
    """Raise `UserError` for options that would have given another scaler than that of the model to start from.

    Defaults that weren't given stand for what the model has. `series` was read by its columns.
    """
    options = preparation.options
    header = () if series.layout is None else tuple(series.layout.roles)
    step = None if options.frequency is None else Frequency.parse(options.frequency).name
    time = _asked_columns(options.time_column, header)
    key = _asked_columns(options.series, header)
    logarithms = "--log-returns" if options.log_returns else "--no-log-returns"
    switch = "--no-calendar" if options.calendar is False else "--calendar"
    contradictions = {  # what was asked for → whether the model differs, and what it has
        f"--scaling {options.scaling}": (
            preparation.asks_for("scaling") and options.scaling != scaler.scaling,
            scaler.scaling,
        ),
        logarithms: (
            preparation.asks_for("log_returns") and options.log_returns != scaler.logarithm,
            "logarithms" if scaler.logarithm else "no logarithms",
        ),
        switch: (options.calendar not in (None, bool(scaler.calendar)), ", ".join(scaler.calendar)),
        f"--holidays {options.holidays}": (
            options.holidays not in (None, scaler.holiday_region),
            scaler.holiday_region,
        ),
        f"--frequency {options.frequency}": (step not in (None, scaler.frequency), scaler.frequency),
        f"--time-column {options.time_column or repr('')}": (
            time not in (None, scaler.time_column),
            scaler.time_column,
        ),
        f"--series {options.series}": (key not in (None, scaler.series_column), scaler.series_column),
    }
    for asked, (differs, own) in contradictions.items():
        if differs:
            raise UserError(f"{asked} contradicts --init-from, whose model has {own or 'none'}")


def _asked_columns(asked: str | None, header: Sequence[str]) -> str | None:
    """The columns that an option names, as a scaler has them; None if it isn't given."""
    return join_names([header[index] for index in parse_columns(asked, header)]) if asked else asked


def _intervals(levels: Sequence[float]) -> str:
    """The prediction intervals between quantiles, as an option gives them."""
    pairs = zip(levels, reversed(levels), strict=True)
    return ",".join(reversed([f"{high - low:g}" for low, high in pairs if low < high])) or "none"


def _shape_of(network: ForecasterConfig) -> WindowShape:
    return WindowShape(network.look_back, network.horizon, network.segment_length, network.season, network.lags)


def _listed(value: int | tuple[int, ...]) -> str:
    """A number of rows, or several, as an option gives them."""
    return str(value) if isinstance(value, int) else ",".join(map(str, value)) or "none"


def _validated(scaler: Scaler, series: Series, shape: WindowShape) -> Stretch:
    """The rows to validate of a series of `--valid`: all, or of one that is new to the model those from its middle on.

    Such a one is scaled by the rows before, so that no window sees its own future. They are enough for that, and each
    column varies in them, if it does at all.
    """
    rows = len(series)
    if scaler.knows(series):
        return Stretch(scaler.transform(series), scaler.stats_of(series), (0, rows))
    varies = [int(np.argmax(column != column[0])) for column in series.values[:, : len(scaler.targets)].T]
    begin = min(max(rows // 2, 1 + max(varies)), rows - shape.horizon)
    begin = min(max(begin, shape.look_back), rows)
    return Stretch(scaler.transform(series, rows=begin), scaler.stats_of(series, begin), (begin, rows))


def _windows(scaled: Sequence[ScaledSeries], ranges: Sequence[tuple[int, int]], shape: WindowShape) -> Windows:
    return Windows(scaled, ranges, shape.look_back, shape.horizon, lags=shape.lags)


def _are_names_of(asked: Sequence[str], columns: Sequence[str]) -> bool:
    """Whether names, as the options give them, are exactly these columns in their order; () for none asked for."""
    try:
        indices = parse_columns(asked, columns)
    except DataError:
        return False
    return not asked or indices == list(range(len(columns)))
