"""Finishing: once the step is chosen, the held-out part is learnt too, at a low rate.

Nothing chooses the length or rate of it, for nothing is held out any more, so they are constants that were measured on
other data (tests/benchmarks/recipe.md). A run by the clock reserves the time for it.
"""

from __future__ import annotations

import dataclasses

from seqgen.training.schedule import Schedule

EPOCHS = 3.0  # of the held-out part
RATE_FACTOR = 0.2  # of the run's learning rate, as recoveries left it
_MAX_FRACTION = 0.1  # of the run: if that is too short for one epoch, the held-out part is left out


def reserved_seconds(schedule: Schedule, step_seconds: float | None) -> float:
    """Seconds at the end of a run by the clock that belong to finishing.

    Args:
        step_seconds: of a step; None before the first, when the most is assumed.
    """
    if not schedule.finishing or schedule.seconds is None:
        return 0.0
    most = _MAX_FRACTION * schedule.seconds
    if step_seconds is None:
        return most
    epoch = schedule.finishing * step_seconds
    return min(EPOCHS * epoch, most) if epoch <= most else 0.0


def finishing_schedule(schedule: Schedule, seconds: float, rate_factor: float = 1.0) -> Schedule | None:
    """The schedule of finishing after a run; None if there is no time for it.

    Args:
        seconds: that are left for it, of a run by the clock.
        rate_factor: by which the run had to lower its learning rate.
    """
    if not schedule.finishing:
        return None
    steps, limit = None, None
    if schedule.steps is not None:
        steps = int(min(EPOCHS * schedule.finishing, _MAX_FRACTION * schedule.steps))
        if steps < schedule.finishing:
            return None
    elif seconds > 0:
        limit = seconds
    else:
        return None
    return dataclasses.replace(
        schedule, learning_rate=RATE_FACTOR * schedule.learning_rate * rate_factor, steps=steps, seconds=limit,
        validate_every=None, patience=0, unfreeze=0.0, averaging=0.0, decay=0.0, finishing=0, cooling=False,
    )  # fmt: skip
