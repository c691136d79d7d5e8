"""The plan of a forecaster: look-back, horizon, segments, network size and duration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from seqgen.config import ForecasterConfig, TrainOptions, parse_duration, parse_lags, parse_levels
from seqgen.errors import DataError, UserError
from seqgen.training.objectives.forecasting import window_batches_per_epoch
from seqgen.training.plans.base import Members, Plan, steps_for_epochs
from seqgen.training.schedule import Schedule

_SEASONS_BACK = 30  # a month of days, two and a half years of months
_LEAST_BACK = 60  # rows, without a season
_MOST_BACK = 720
_HORIZON = 12  # rows, without a season
_LONGEST_HORIZON = 48  # rows, unless one is given
_MOST_SEGMENTS = 20  # recurrent steps; for more, segments grow up to the length of the horizon
_EPOCHS = 20.0  # over the windows, unless the duration is given
_MANY = 20_000  # windows
_MANY_EPOCHS = 3.0  # with many windows: neighbours differ by one row
_MANY_SEASONS = 8  # of which the last ones say nearly as much
_SAVING_SECONDS = 0.3  # to write the files at the end
_MEMBERS = 3  # networks, of few windows
_LEAST_SECONDS = 10.0  # for each network
_MOST_MEMBERS = 8  # in the time that is left of a budget
_LAG_CYCLES = 2.0  # of a season, in the training rows, for its earlier values as inputs
_STEPS = (400, 1000)  # the fewest and the most, unless the duration is given


@dataclass(frozen=True)
class WindowShape:
    """Lengths of a window and its segments, in rows; `reasons` as in a `Plan`.

    `levels`: the quantiles of the model that a training starts from; None: the options choose them.
    """

    look_back: int
    horizon: int
    segment_length: int
    season: int = 1
    lags: tuple[int, ...] = ()
    levels: tuple[float, ...] | None = None
    reasons: Mapping[str, str] = field(default_factory=dict, compare=False)


def window_shape(options: TrainOptions, rows: int, season: int, lags: Sequence[int] = ()) -> WindowShape:
    """The shape of windows for a series of so many training rows; given options are kept.

    Args:
        lags: seasons of the frequency, in rows (`Frequency.lags`).

    Raises:
        DataError: there are too few rows for a single window.
        UserError: the given options leave no window.
    """
    horizon = options.horizon or max(1, min(season if season > 1 else _HORIZON, _LONGEST_HORIZON, rows // 10))
    room = rows - horizon
    if options.look_back is None:
        wanted = max(_SEASONS_BACK * season if season > 1 else 0, 3 * horizon, _LEAST_BACK)
        # A third of the rows at most; but two seasons, as far as half of them suffice.
        most = max(room // 3, min(2 * season, room // 2) if season > 1 else 0)
        look_back = max(1, min(wanted, max(_MOST_BACK, horizon), most))
        if look_back > season:  # a whole number of seasons
            look_back -= look_back % season
    else:
        look_back = options.look_back
    if room < look_back or room < 2:
        least = horizon + (options.look_back or 2)
        need = f"--look-back {look_back:,} and --horizon {horizon:,} need" if options.look_back else "a window needs"
        error = UserError if options.look_back or options.horizon else DataError
        raise error(f"there are only {rows:,} training rows; {need} at least {least:,}")
    segment = options.segment_length
    if segment is None:
        segment = season if 4 <= season <= look_back // 2 else max(1, look_back // 12)
        while look_back // segment > _MOST_SEGMENTS and 2 * segment <= horizon:
            segment *= 2
    if segment > look_back:
        raise UserError(
            f"--segment-length {segment:,} is more than the look-back of {look_back:,}; choose a shorter one"
        )
    seasonal = f"a season of {season:,} rows"
    reasons = {
        "horizon": f"{seasonal if season > 1 else 'no season is known'}, a tenth of the rows at most",
        "look_back": f"{_SEASONS_BACK} seasons" if season > 1 else f"at least {_LEAST_BACK} rows and three horizons",
        "segment_length": seasonal if segment == season else "a twelfth of the look-back, or more if that is long",
    }
    reasons["look_back"] += ", a third of the rows at most, or two seasons where half of them suffice"
    if options.lags is not None:
        chosen = parse_lags(options.lags)
    else:
        chosen = tuple(lag for lag in lags if lag > look_back and rows >= _LAG_CYCLES * lag)
    return WindowShape(look_back, horizon, segment, season, chosen, reasons=reasons)


def member_look_back(shape: WindowShape, number: int) -> int:
    """The look-back of further network `number`, from 1.

    Every other one looks back half as far as the first, on whole segments, if that is many seasons still.
    """
    half = shape.look_back // 2
    whole = half - half % shape.segment_length
    if number % 2 == 0 or not whole or whole < _MANY_SEASONS * shape.season:
        return shape.look_back
    return whole


def quantile_levels(intervals: str) -> tuple[float, ...]:
    """The quantiles, in percent, of prediction intervals: `80` needs 10, 50 and 90."""
    coverages = parse_levels(intervals)
    if not coverages:
        return ()
    sides = [round((100 - coverage) / 2, 6) for coverage in coverages]
    return tuple(sorted({*sides, 50.0, *(round(100 - side, 6) for side in sides)}))


def make_plan(
    options: TrainOptions,
    shape: WindowShape,
    targets: int,
    past: int,
    known: int,
    effects: int,
    windows: int,
    spent: float,
) -> Plan:
    """Decide every number that `options` leave open.

    Args:
        targets, past, known: numbers of target columns, of covariates known up to now, and of those known ahead.
        effects: number of the last that are not the calendar.
        windows: number of training windows.
        spent: seconds of the budget that are already used.
    """
    size, batch, rate = _size(windows)
    counted = f"{windows:,} training windows"
    length_why = "the time that was given"
    network = ForecasterConfig(
        targets=targets,
        look_back=shape.look_back,
        horizon=shape.horizon,
        segment_length=shape.segment_length,
        levels=quantile_levels(options.levels) if shape.levels is None else shape.levels,
        past=past,
        known=known,
        cell=options.cell,
        activation=options.activation,
        rnn_size=options.rnn_size or size,
        num_layers=options.num_layers or 1,
        embedding_size=options.embedding_size or options.rnn_size or size,
        dropout=options.dropout if options.dropout is not None else _dropout(windows),
        linear=options.linear,
        lags=shape.lags,
        effects=effects,
        mixture=options.mixture,
        season=shape.season,
        normalisation=options.normalisation,
    )
    batch = max(1, min(options.batch_size or batch, windows))
    length = shape.look_back + shape.horizon
    asked = parse_duration(options.budget) if options.budget else None
    members = _members(options, windows, spent)
    share = None if asked is None else spent + (asked - spent) / members.planned
    steps = options.steps
    if options.epochs is not None:
        steps = steps_for_epochs(options.epochs, window_batches_per_epoch(windows, batch))
    elif steps is None and asked is None:
        epochs = _MANY_EPOCHS if windows >= _MANY else _EPOCHS
        steps = round(min(max(epochs * windows / batch, _STEPS[0]), _STEPS[1]))
        length_why = f"{epochs:g} epochs, within {_STEPS[0]:,} to {_STEPS[1]:,} steps"
    schedule = Schedule(
        learning_rate=options.learning_rate or rate,
        warmup=options.warmup,
        steps=steps,
        seconds=None if steps is not None or share is None else max(share - _SAVING_SECONDS, share / 2),
        patience=options.patience,
        grad_clip=options.grad_clip,
        weight_decay=options.weight_decay,
        averaging=options.averaging,
    )
    reasons = {
        **shape.reasons,
        "budget": length_why,
        **dict.fromkeys(("rnn_size", "batch_size", "learning_rate"), counted),
        "num_layers": "one is enough for segments",
        "embedding_size": "as many as units",
        "dropout": f"{counted}, which overlap",
        "seq_length": "look-back and horizon",
    }
    return Plan(network, schedule, batch, length, members=members, reasons=reasons)


def _members(options: TrainOptions, windows: int, spent: float) -> Members:
    """How many networks are averaged: several of few windows, as far as there is time, unless steps are counted."""
    counted = options.steps is not None or options.epochs is not None
    networks = options.members or (_MEMBERS if windows < _MANY and not counted else 1)
    if not options.budget:
        return Members(networks, networks)
    seconds = parse_duration(options.budget)
    if options.members is None:
        networks = max(1, min(networks, int((seconds - spent) / _LEAST_SECONDS)))
    return Members(networks, options.members or _MOST_MEMBERS, None, seconds)


def _size(windows: int) -> tuple[int, int, float]:
    """Units, batch size and learning rate."""
    if windows >= _MANY:
        return 128, 256, 1e-3
    if windows >= 2_000:
        return 64, 64, 1e-3
    return 32, 32, 2e-3


def _dropout(windows: int) -> float:
    """Dropout of the decoder; windows overlap, so even many of them differ little."""
    return 0.5 if windows >= 2_000 else 0.3
