"""Measuring the speed of training on a machine that is quiet, slow, or busy for a while; its clock is imitated."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqgen.training.plans.speed import probe_patience, undisturbed_seconds

CPU = torch.device("cpu")


class Machine:
    """A run takes `work` seconds, and `slowdown` times as long until `busy_until`, beside other programs."""

    def __init__(self, work: float, busy_until: float = 0.0, slowdown: float = 1.0) -> None:
        self.now = self.own = 0.0
        self.runs = 0
        self._work, self._busy_until, self._slowdown = work, busy_until, slowdown

    def run(self) -> None:
        self.runs += 1
        self.now += self._work * (self._slowdown if self.now < self._busy_until else 1.0)
        self.own += self._work

    def measure(self, patience: float, device: torch.device = CPU) -> float:
        return undisturbed_seconds(self.run, patience, device, lambda: self.now, lambda: self.own)


@pytest.mark.parametrize("work", [0.01, 0.1, 5.0])
def test_undisturbed_seconds_of_a_quiet_machine_takes_three_runs(work: float) -> None:
    machine = Machine(work)
    assert machine.measure(1.0) == pytest.approx(work)
    assert machine.runs == 3


@pytest.mark.parametrize("slowdown", [1.2, 2.0, 5.0])
def test_undisturbed_seconds_waits_for_the_end_of_a_busy_moment(slowdown: float) -> None:
    machine = Machine(0.02, busy_until=0.5, slowdown=slowdown)
    assert machine.measure(1.0) == pytest.approx(0.02)
    assert machine.now < 0.5 + slowdown * 0.02 + 2 * 0.021


def test_undisturbed_seconds_of_a_machine_that_stays_busy_is_what_a_run_takes() -> None:
    machine = Machine(0.02, busy_until=1e9, slowdown=2.0)
    assert machine.measure(1.0) == pytest.approx(0.04)
    assert machine.now == pytest.approx(1.0, abs=0.05)


def test_undisturbed_seconds_on_a_gpu_goes_by_the_clock_alone() -> None:
    machine = Machine(0.02, busy_until=1e9, slowdown=2.0)  # this thread waits for the device
    assert machine.measure(1.0, torch.device("cuda")) == pytest.approx(0.04)
    assert machine.runs == 3


@given(st.lists(st.floats(0.001, 1.0), min_size=3), st.floats(0, 3))
def test_undisturbed_seconds_is_the_fastest_run_within_patience(lengths: Sequence[float], patience: float) -> None:
    clock, made = [0.0], []

    def run() -> None:
        made.append(lengths[len(made) % len(lengths)])
        clock[0] += made[-1]

    found = undisturbed_seconds(run, patience, CPU, lambda: clock[0], lambda: clock[0])
    assert found == pytest.approx(min(made))
    assert len(made) >= 3
    assert clock[0] <= max(sum(made[:3]), patience + made[-1]) + 1e-9


def test_probe_patience_is_a_small_part_of_the_run() -> None:
    assert [probe_patience(seconds) for seconds in (-5, 0, 10, 60, 600, 1e6)] == [0, 0, 0.1, 0.6, 1, 1]
