"""The learning rate: warm-up, decay, and the factors of the lower layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqgen.errors import UserError
from seqgen.training.schedule import Schedule


@given(st.floats(0, 0.9), st.floats(1e-6, 10), st.floats(0, 1), st.floats(0, 1))
def test_rate_stays_between_zero_and_its_peak(warmup: float, peak: float, progress: float, decay: float) -> None:
    rate = Schedule(peak, warmup, steps=10, decay=decay).rate(progress)
    assert 0 <= rate <= peak * (1 + 1e-9)


@given(st.floats(0.01, 0.9))
def test_rate_rises_to_its_peak_and_falls_to_zero(warmup: float) -> None:
    schedule = Schedule(0.5, warmup, steps=10)
    rising = [schedule.rate(warmup * share) for share in np.linspace(0.1, 0.999, 9)]
    falling = [schedule.rate(warmup + (1 - warmup) * share) for share in np.linspace(0, 1, 9)]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
    assert 0 < schedule.rate(0) < 0.06
    assert schedule.rate(warmup) == pytest.approx(0.5)
    assert schedule.rate((1 + warmup) / 2) == pytest.approx(0.25)
    assert schedule.rate(1.0) == pytest.approx(0, abs=1e-12)


def test_rate_with_decay_stays_at_its_peak_and_falls_in_a_straight_line() -> None:
    schedule = Schedule(0.5, 0.1, steps=10, decay=0.4)
    assert [schedule.rate(progress) for progress in (0.1, 0.35, 0.6, 0.8, 0.9, 1.0)] == pytest.approx(
        [0.5, 0.5, 0.5, 0.25, 0.125, 0.0]
    )
    assert schedule.rate(0.05) == pytest.approx(0.25)


def test_rate_with_decay_falls_from_the_end_of_a_warmup_that_takes_longer() -> None:
    schedule = Schedule(0.5, 0.8, steps=10, decay=0.6)
    assert [schedule.rate(progress) for progress in (0.4, 0.79999, 0.8, 0.9, 1.0)] == pytest.approx(
        [0.25, 0.5, 0.5, 0.25, 0.0], abs=1e-4
    )


def test_rate_without_warmup_starts_at_its_peak() -> None:
    assert Schedule(0.5, 0.0, steps=10).rate(0) == 0.5


@pytest.mark.parametrize(
    "changed",
    [{"steps": 0}, {"steps": -1}, {"steps": None}, {"steps": None, "seconds": -1.0}, {"steps": 1 << 61},
     {"validate_every": 0}, {"averaging": -3.0}, {"layer_decay": 0.0}, {"layer_decay": 1e-300}, {"warmup": 1.0},
     {"warmup": -0.1}, {"decay": -1.0}, {"weight_decay": -1.0}, {"finishing": -1}, {"learning_rate": -1.0},
     {"learning_rate": 1e300}, {"grad_clip": 0.0}, {"patience": -1}, {"unfreeze": 2.0}],
    ids=str,
)  # fmt: skip
def test_schedule_that_no_run_has_raises_user_error(changed: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        Schedule(**{"learning_rate": 0.5, "warmup": 0.02, "steps": 10, **changed})


# ---- Discriminative learning rates ----


def test_layer_factor_lower_layers_start_later_and_learn_slower() -> None:
    schedule = Schedule(learning_rate=1.0, warmup=0.0, steps=100, layer_decay=2.6, unfreeze=0.3)
    assert [schedule.layer_factor(depth, 3, 0.0) for depth in range(4)] == [1.0, 0.0, 0.0, 0.0]
    assert [schedule.layer_factor(depth, 3, 0.2) > 0 for depth in range(4)] == [True, True, True, False]
    assert [schedule.layer_factor(depth, 3, 0.5) for depth in range(4)] == [2.6**-depth for depth in range(4)]
    plain = Schedule(learning_rate=1.0, warmup=0.0, steps=100)
    assert {plain.layer_factor(depth, 3, progress) for depth in range(4) for progress in (0.0, 0.5, 1.0)} == {1.0}
