"""What a forecaster is like where nobody said: how far it looks back, in which segments, how large it is, how long it
learns. The measurements behind the numbers are in tests/benchmarks/recipe.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from seqgen.config import ForecasterConfig, TrainOptions, parse_duration, parse_levels
from seqgen.errors import DataError, UserError
from seqgen.training.plans.language import Plan, steps_for_epochs
from seqgen.training.schedule import Schedule

_SEASONS_BACK = 30  # a month of days, two and a half years of months
_LEAST_BACK = 60  # rows, where there is no season
_MOST_BACK = 720
_HORIZON = 12  # rows, where there is no season
_LONGEST_HORIZON = 48  # that is chosen without being asked for
_MOST_SEGMENTS = 20  # steps of recurrence from which on segments grow, up to the horizon
_PASSES = 20.0  # over the windows, where nothing is said
_MANY = 20_000  # windows
_MANY_PASSES = 3.0  # where there are many of them: neighbours differ by a row
_STEPS = (400, 1000)  # the fewest and the most, where nothing is said


@dataclass(frozen=True)
class WindowShape:
    """Rows of a window and of its segments."""

    look_back: int
    horizon: int
    segment_length: int


def window_shape(options: TrainOptions, rows: int, season: int) -> WindowShape:
    """The shape of windows for a series with so many rows to learn from, what was given kept.

    Raises:
        DataError: there are too few rows for a single window.
        UserError: what was given leaves none.
    """
    horizon = options.horizon or max(1, min(season if season > 1 else _HORIZON, _LONGEST_HORIZON, rows // 10))
    room = rows - horizon
    if options.look_back is None:
        wanted = max(_SEASONS_BACK * season if season > 1 else 0, 3 * horizon, _LEAST_BACK)
        look_back = max(1, min(wanted, max(_MOST_BACK, horizon), room // 3))
        if look_back > season:  # whole seasons
            look_back -= look_back % season
    else:
        look_back = options.look_back
    if room < look_back or room < 2:
        least = horizon + (options.look_back or 2)
        told = f"--look-back {look_back:,} and --horizon {horizon:,} take" if options.look_back else "a window takes"
        error = UserError if options.look_back or options.horizon else DataError
        raise error(f"there are {rows:,} rows to learn from, too few: {told} {least:,} at the least")
    segment = options.segment_length
    if segment is None:
        segment = season if 4 <= season <= look_back // 2 else max(1, look_back // 12)
        while look_back // segment > _MOST_SEGMENTS and 2 * segment <= horizon:
            segment *= 2
    if segment > look_back:
        raise UserError(f"--segment-length {segment:,} is longer than the look-back, {look_back:,}")
    return WindowShape(look_back, horizon, segment)


def quantile_levels(bands: str) -> tuple[float, ...]:
    """The quantiles, in percent, that bands need: `80` needs 10, 50 and 90."""
    wanted = parse_levels(bands)
    if not wanted:
        return ()
    sides = [round((100 - band) / 2, 6) for band in wanted]
    return tuple(sorted({*sides, 50.0, *(round(100 - side, 6) for side in sides)}))


def make_plan(
    options: TrainOptions, of: WindowShape, targets: int, past: int, known: int, windows: int, spent: float
) -> Plan:
    """Settles everything. `windows`: how many there are to learn from; `spent`: seconds of the budget that are gone."""
    size, batch, rate = _size(windows)
    network = ForecasterConfig(
        targets=targets,
        look_back=of.look_back,
        horizon=of.horizon,
        segment_length=of.segment_length,
        levels=quantile_levels(options.levels),
        past=past,
        known=known,
        cell=options.cell,
        activation=options.activation,
        rnn_size=options.rnn_size or size,
        num_layers=options.num_layers or 1,
        embedding_size=options.embedding_size or options.rnn_size or size,
        dropout=options.dropout if options.dropout is not None else _dropout(windows),
        linear=options.linear,
        normalisation=options.normalisation,
    )
    batch = max(1, min(options.batch_size or batch, windows))
    length = of.look_back + of.horizon
    asked = parse_duration(options.budget) if options.budget else None
    steps = options.steps
    if options.epochs is not None:
        steps = steps_for_epochs(options.epochs, windows * length, batch * length)
    elif steps is None and asked is None:
        passes = _MANY_PASSES if windows >= _MANY else _PASSES
        steps = round(min(max(passes * windows / batch, _STEPS[0]), _STEPS[1]))
    schedule = Schedule(
        learning_rate=options.learning_rate or rate,
        warmup=options.warmup,
        steps=steps,
        seconds=None if steps is not None or asked is None else max(asked - 0.3, asked / 2),
        patience=options.patience,
        grad_clip=options.grad_clip,
        weight_decay=options.weight_decay,
        averaging=options.averaging,
    )
    return Plan(network, schedule, batch, length)


def _size(windows: int) -> tuple[int, int, float]:
    """Units, batch and learning rate."""
    if windows >= _MANY:
        return 128, 256, 1e-3
    if windows >= 2_000:
        return 64, 64, 1e-3
    return 32, 32, 2e-3


def _dropout(windows: int) -> float:
    """Half of what is decoded: windows overlap, so even many of them say little that is new."""
    return 0.5 if windows >= 2_000 else 0.3
