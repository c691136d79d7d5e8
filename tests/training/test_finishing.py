"""How long and at which rate the held-out part is learnt at the end."""

from __future__ import annotations

import pytest

from seqgen.training.finishing import EPOCHS, RATE_FACTOR, finishing_schedule, reserved_seconds
from seqgen.training.schedule import Schedule

BY_STEPS = Schedule(0.01, 0.02, steps=1000, finishing=20, unfreeze=0.3, averaging=8.0, decay=0.6, cooling=True)
BY_CLOCK = Schedule(0.01, 0.02, seconds=100.0, finishing=20)


def test_reserved_seconds_are_those_of_some_epochs_and_at_most_a_tenth() -> None:
    assert reserved_seconds(BY_CLOCK, None) == pytest.approx(10)
    assert reserved_seconds(BY_CLOCK, 0.1) == pytest.approx(EPOCHS * 20 * 0.1)
    assert reserved_seconds(BY_CLOCK, 0.4) == pytest.approx(10)
    assert reserved_seconds(BY_CLOCK, 0.6) == 0, "a tenth is too short for an epoch"
    assert reserved_seconds(Schedule(0.01, 0.02, seconds=100.0), 0.1) == 0
    assert reserved_seconds(BY_STEPS, 0.1) == 0


def test_finishing_schedule_is_plain_and_low() -> None:
    made = finishing_schedule(BY_STEPS, 0.0)
    assert made is not None
    assert made == Schedule(RATE_FACTOR * 0.01, 0.02, steps=60, patience=0)
    recovered = finishing_schedule(BY_STEPS, 0.0, 0.25)
    assert recovered is not None and recovered.learning_rate == made.learning_rate / 4, "a fifth of what the run had"
    short = Schedule(0.01, 0.02, steps=250, finishing=20)
    assert finishing_schedule(short, 0.0) == Schedule(RATE_FACTOR * 0.01, 0.02, steps=25, patience=0)


def test_finishing_schedule_without_time_or_anything_to_learn_is_none() -> None:
    assert finishing_schedule(Schedule(0.01, 0.02, steps=199, finishing=20), 0.0) is None
    assert finishing_schedule(Schedule(0.01, 0.02, steps=1000), 0.0) is None
    assert finishing_schedule(BY_CLOCK, 0.0) is None
    made = finishing_schedule(BY_CLOCK, 4.0)
    assert made is not None
    assert (made.seconds, made.steps) == (4.0, None)
