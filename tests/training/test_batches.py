"""Batches of lanes: they lose nothing, repeat nothing, and depend on their number only."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.corpus.ids import IdStream
from seqgen.training.batches import IGNORE_INDEX, Batch, LaneBatches, sequential_batches

SEEDS = st.integers(0, (1 << 63) - 1)


def stream(size: int, false_ends: list[int] | None = None) -> IdStream:
    """A stream whose ids are their own positions, so that a batch shows where it was read."""
    return IdStream(np.arange(size, dtype=np.uint32), np.array(false_ends or [], dtype=np.int64))


@st.composite
def lanes(draw: st.DrawFn) -> LaneBatches:
    return LaneBatches(
        stream(draw(st.integers(2, 400))), draw(st.integers(1, 40)), draw(st.integers(1, 64)), draw(SEEDS)
    )  # fmt: skip


def a_pass(some: LaneBatches, turn: int) -> list[Batch]:
    first = turn * some.batches_per_epoch
    return [some[number] for number in range(first, first + some.batches_per_epoch)]


def size_of(some: LaneBatches) -> int:
    return len(some._stream)


@given(lanes(), st.integers(0, 50))
def test_lane_batches_batch_is_a_function_of_its_number(some: LaneBatches, number: int) -> None:
    """Resuming needs only the number: earlier batches must not matter."""
    again = LaneBatches(some._stream, some.batch_size, some.length, some._seed)
    for other in (number + 1, 0):
        again[other]
    first, second = some[number], again[number]
    np.testing.assert_array_equal(first.inputs, second.inputs)
    np.testing.assert_array_equal(first.targets, second.targets)
    assert first.resets_state == second.resets_state


@given(lanes(), st.integers(0, 50))
def test_lane_batches_targets_are_the_next_inputs(some: LaneBatches, number: int) -> None:
    batch = some[number]
    assert batch.inputs.shape == batch.targets.shape
    assert batch.inputs.dtype == batch.targets.dtype == np.int64
    np.testing.assert_array_equal(batch.targets[:-1], batch.inputs[1:])
    np.testing.assert_array_equal(batch.targets, (batch.inputs + 1) % size_of(some))


@given(lanes(), st.integers(0, 3))
def test_lane_batches_of_an_epoch_continue_each_lane(some: LaneBatches, turn: int) -> None:
    batches = a_pass(some, turn)
    for before, after in itertools.pairwise(batches):
        np.testing.assert_array_equal(after.inputs[0], before.targets[-1])


@given(lanes(), st.integers(0, 3))
def test_lane_batches_only_the_first_of_an_epoch_resets_state(some: LaneBatches, turn: int) -> None:
    assert [batch.resets_state for batch in a_pass(some, turn)] == [True] + [False] * (some.batches_per_epoch - 1)


@given(lanes(), st.integers(0, 3))
def test_lane_batches_epoch_visits_positions_once_and_omits_less_than_one_a_lane(some: LaneBatches, turn: int) -> None:
    visited = np.concatenate([batch.inputs.ravel() for batch in a_pass(some, turn)])
    assert len(visited) == len(np.unique(visited))
    arc = size_of(some) // some.batch_size
    assert len(visited) == arc * some.batch_size
    assert size_of(some) - len(visited) < some.batch_size


@given(lanes())
def test_lane_batches_all_but_the_last_of_an_epoch_have_full_length(some: LaneBatches) -> None:
    lengths = [len(batch.inputs) for batch in a_pass(some, 0)]
    assert lengths[:-1] == [some.length] * (len(lengths) - 1)
    assert 1 <= lengths[-1] <= some.length


@given(st.integers(1, 60), st.integers(1, 1 << 20), st.integers(1, 1 << 20), SEEDS)
def test_lane_batches_short_stream_lowers_batch_size_and_length(
    size: int, batch_size: int, length: int, seed: int
) -> None:
    some = LaneBatches(stream(size), batch_size, length, seed)
    assert 1 <= some.batch_size <= max(1, size // 2)
    assert 1 <= some.length <= size
    assert some[0].inputs.size <= size
    assert some[0].inputs.shape == (some.length, some.batch_size)


@given(st.integers(200, 400), st.integers(1, 8), st.integers(1, 16), SEEDS)
def test_lane_batches_long_stream_keeps_batch_size_and_length(
    size: int, batch_size: int, length: int, seed: int
) -> None:
    some = LaneBatches(stream(size), batch_size, length, seed)
    assert (some.batch_size, some.length) == (batch_size, length)


def test_lane_batches_epochs_and_seeds_start_at_different_positions() -> None:
    long = stream(100_000)
    starts = {int(LaneBatches(long, 4, 50, 1)[turn * 500].inputs[0, 0]) for turn in range(20)}
    assert len(starts) > 15
    starts = {int(LaneBatches(long, 4, 50, seed)[0].inputs[0, 0]) for seed in range(20)}
    assert len(starts) > 15


@given(
    st.integers(2, 200), st.integers(1, 8), st.integers(1, 32), SEEDS, st.lists(st.integers(0, 199), max_size=9)
)  # fmt: skip
def test_lane_batches_ignore_exactly_the_false_ends(
    size: int, batch_size: int, length: int, seed: int, ends: list[int]
) -> None:
    ends = sorted({end for end in ends if end < size})
    plain = LaneBatches(stream(size), batch_size, length, seed)
    marked = LaneBatches(stream(size, ends), batch_size, length, seed)
    for number in range(2 * plain.batches_per_epoch):
        np.testing.assert_array_equal(marked[number].inputs, plain[number].inputs)
        wanted = np.where(np.isin(plain[number].targets, ends), IGNORE_INDEX, plain[number].targets)
        np.testing.assert_array_equal(marked[number].targets, wanted)


@given(st.integers(2, 400), st.integers(1, 40), st.integers(1, 64), st.integers(2, 500))
@settings(max_examples=200)
def test_sequential_batches_read_the_stream_once_in_order(size: int, batch_size: int, length: int, most: int) -> None:
    batches = sequential_batches(stream(size), batch_size, length, most)
    used = min(size, most)
    targets = np.concatenate([batch.targets.ravel() for batch in batches])
    inputs = np.concatenate([batch.inputs.ravel() for batch in batches])
    # Nothing twice, nothing past the end, and the input of every id is the one before it: no wrapping.
    assert len(targets) == len(np.unique(targets))
    np.testing.assert_array_equal(targets, inputs + 1)
    assert targets.max() < used
    lanes_used = batches[0].inputs.shape[1]
    assert used - 1 - len(targets) < lanes_used <= batch_size
    assert [batch.resets_state for batch in batches] == [True] + [False] * (len(batches) - 1)
    for before, after in itertools.pairwise(batches):
        np.testing.assert_array_equal(after.inputs[0], before.targets[-1])


@pytest.mark.parametrize("size", [3, 100, 1000])
def test_sequential_batches_one_lane_covers_all_but_the_first_id(size: int) -> None:
    targets = np.concatenate([batch.targets.ravel() for batch in sequential_batches(stream(size), 1, 16, size)])
    np.testing.assert_array_equal(targets, np.arange(1, size))


@given(st.integers(3, 200), st.lists(st.integers(0, 199), max_size=9))
def test_sequential_batches_ignore_false_ends(size: int, ends: list[int]) -> None:
    ends = sorted({end for end in ends if end < size})
    plain, marked = sequential_batches(stream(size), 4, 16, size), sequential_batches(stream(size, ends), 4, 16, size)
    for one, other in zip(plain, marked, strict=True):
        np.testing.assert_array_equal(one.inputs, other.inputs)
        np.testing.assert_array_equal(other.targets, np.where(np.isin(one.targets, ends), IGNORE_INDEX, one.targets))


def test_lane_batches_any_id_dtype_becomes_int64() -> None:
    for kind in (np.uint8, np.uint16, np.uint32):
        some = IdStream(np.full(50, np.iinfo(kind).max, dtype=kind), np.array([], dtype=np.int64))
        assert int(LaneBatches(some, 2, 8, 0)[0].targets.max()) == np.iinfo(kind).max
        assert int(sequential_batches(some, 2, 8, 50)[0].targets.max()) == np.iinfo(kind).max


def test_batches_ignore_ids_that_are_given() -> None:
    marked = np.arange(60) % 5 == 3
    part = IdStream(np.arange(60, dtype=np.uint32), np.array([20]), marked)
    assert not part.predicts_all
    for batch in [*(LaneBatches(part, 3, 7, seed=1)[n] for n in range(6)), *sequential_batches(part, 2, 8, 60)]:
        expected = np.roll(np.arange(60), -1)[batch.inputs]
        ignored = marked[expected] | (expected == 20)
        assert (batch.targets == np.where(ignored, IGNORE_INDEX, expected)).all()
