"""Many records at once: every record has the scores that it has alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.config import NetworkConfig
from seqgen.errors import DataError, ModelError
from seqgen.generation import scoring
from seqgen.generation.engines.base import Engine
from seqgen.generation.engines.native import NativeEngine
from seqgen.generation.engines.numpy import NumpyEngine
from seqgen.generation.engines.torch import TorchEngine
from seqgen.generation.scoring import ExactSum, Scorer, ScoringJob, TokenScores, score_records
from seqgen.generation.state import SavedState
from seqgen.model.language import LanguageModel
from seqgen.native import library
from seqgen.specs.cells import CELLS
from seqgen.tokenizers import Codec, Ids

VOCABULARY = 37
CODEC = cast(Codec, SimpleNamespace(vocab_size=VOCABULARY, end=VOCABULARY - 1))
ENGINES: dict[str, Callable[..., Engine]] = {"numpy": NumpyEngine, "torch": TorchEngine}
if library() is not None:
    ENGINES["native"] = NativeEngine
every_engine = pytest.mark.parametrize("kind", ENGINES)

_engines: dict[tuple[str, str, int], Engine] = {}


def engine_of(kind: str, cell: str = "lstm", units: int = 32) -> Engine:
    if (kind, cell, units) not in _engines:
        config = NetworkConfig(VOCABULARY, cell=cell, rnn_size=units, embedding_size=16, num_layers=2)
        network = LanguageModel(config, torch.Generator().manual_seed(1))
        weights = {name: weight.numpy() for name, weight in network.state_dict().items()}
        _engines[kind, cell, units] = ENGINES[kind](config, weights)
    return _engines[kind, cell, units]


class Job(ScoringJob):
    """A record of these ids, `cut` at a time."""

    def __init__(self, ids: Ids, cut: int = 13, keeps_states: bool = False) -> None:
        self._ids, self._cut, self.keeps_states = ids, cut, keeps_states
        self.taken: list[TokenScores] = []
        self.states: list[tuple[int, Any, int]] = []  # ids taken, the state before the last of them, and that one
        self.begun = False

    def ids(self) -> Iterator[Ids]:
        self.begun = True
        for start in range(0, len(self._ids), self._cut):
            yield self._ids[start : start + self._cut]
            yield self._ids[:0]

    def take(self, scores: TokenScores) -> None:
        self.taken.append(scores)

    def reached(self, state: Any, last: int) -> None:
        self.states.append((sum(len(scores.ids) for scores in self.taken), state, last))

    @property
    def nats(self) -> npt.NDArray[np.float64]:
        assert np.array_equal(np.concatenate([self._ids[:0], *(scores.ids for scores in self.taken)]), self._ids)
        return np.concatenate([np.empty(0), *(scores.nats for scores in self.taken)])


def records(lengths: Sequence[int]) -> list[Ids]:
    numbers = np.random.default_rng(len(lengths))
    return [numbers.integers(0, VOCABULARY, length).astype(np.int32) for length in lengths]


def alone(engine: Engine, ids: Ids, state: SavedState | None = None) -> npt.NDArray[np.float64]:
    return np.concatenate([np.empty(0), *(run.nats for run in Scorer(engine, CODEC, state=state).read(ids))])


def assert_same(engine: Engine, ours: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64]) -> None:
    """To the last bit with kernels; elsewhere the rows of a product depend on its shape."""
    if isinstance(engine, NativeEngine):
        np.testing.assert_array_equal(ours, wanted)
    else:
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=2e-6)


LENGTHS = [0, 1, 2, 40, 300, 0, 64, 65, 1, *range(3, 60, 2), 0]


@pytest.mark.parametrize("cell", CELLS)
@every_engine
def test_score_records_equal_one_by_one(kind: str, cell: str) -> None:
    engine, given_ = engine_of(kind, cell), records(LENGTHS)
    jobs = [Job(ids) for ids in given_]
    for job, found, ids in zip(jobs, score_records(engine, CODEC, jobs), given_, strict=True):
        assert found is job, "in the order in which they came"
        assert_same(engine, job.nats, alone(engine, ids))


@pytest.mark.parametrize("most", [1, 2, 7, 33, None])
@every_engine
def test_score_records_equal_one_by_one_for_any_number_of_lanes(kind: str, most: int | None) -> None:
    engine, given_ = engine_of(kind, units=17), records(LENGTHS)
    for job, ids in zip(score_records(engine, CODEC, map(Job, given_), most=most), given_, strict=True):
        assert_same(engine, job.nats, alone(engine, ids))


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 90), max_size=40),
    cut=st.integers(1, 50),
    most=st.integers(1, 40),
    kind=st.sampled_from(sorted(ENGINES)),
)
def test_score_records_of_any_lengths_equal_one_by_one(lengths: list[int], cut: int, most: int, kind: str) -> None:
    engine, given_ = engine_of(kind, "gru"), records(lengths)
    jobs = (Job(ids, cut, keeps_states=cut % 2 == 0) for ids in given_)
    for job, ids in zip(score_records(engine, CODEC, jobs, most=most), given_, strict=True):
        assert_same(engine, job.nats, alone(engine, ids))


@pytest.mark.skipif(library() is None, reason="needs the kernels")
def test_native_nats_do_not_depend_on_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, (ids,) = engine_of("native"), records([500])
    wanted = alone(engine, ids)
    monkeypatch.setattr(scoring, "_longest_chunk", lambda engine: 7)
    np.testing.assert_array_equal(alone(engine, ids), wanted)


@every_engine
def test_score_records_continue_a_state(kind: str) -> None:
    engine, (before, *given_) = engine_of(kind), records([20, 0, 5, 90, 33])
    scorer = Scorer(engine, CODEC)
    for _ in scorer.read(before):
        pass
    state = scorer.saved()
    for job, ids in zip(score_records(engine, CODEC, map(Job, given_), state), given_, strict=True):
        assert_same(engine, job.nats, alone(engine, ids, state))
        assert_same(engine, job.nats, alone(engine, np.concatenate([before, ids]))[len(before) :])


@every_engine
def test_score_records_states_are_those_of_reading_alone(kind: str) -> None:
    engine, given_ = engine_of(kind), records([31, 1, 64, 200, 12])
    jobs = [Job(ids, 10, keeps_states=True) for ids in given_]
    assert len(list(score_records(engine, CODEC, jobs))) == 5
    for job, ids in zip(jobs, given_, strict=True):
        assert [count for count, _, _ in job.states] == [*range(10, len(ids), 10), len(ids)]
        for count, state, last in job.states:
            assert last == ids[count - 1]
            wanted = engine.read(np.append(CODEC.end, ids[: count - 1]), engine.initial(1))
            np.testing.assert_allclose(engine.export_state(state, 0), engine.export_state(wanted, 0), atol=1e-6)


@every_engine
def test_score_records_masks_share_the_probability(kind: str) -> None:
    def masks(ids: Ids) -> npt.NDArray[np.bool_]:
        possible = np.zeros((len(ids), VOCABULARY), dtype=bool)
        possible[np.arange(len(ids)), ids] = possible[:, 3] = True
        return possible

    engine, given_ = engine_of(kind), records([20, 50, 0, 7])
    jobs = [Job(ids) for ids in given_]
    for job in jobs[::2]:
        job.masks = masks  # the others have none
    for number, (job, ids) in enumerate(zip(score_records(engine, CODEC, jobs), given_, strict=True)):
        bound = Scorer(engine, CODEC, masks if number % 2 == 0 else None)
        assert_same(engine, job.nats, np.concatenate([np.empty(0), *(run.nats for run in bound.read(ids))]))


class Broken(Job):
    def ids(self) -> Iterator[Ids]:
        yield from super().ids()
        raise DataError("broken")


@pytest.mark.parametrize("most", [1, 3, 100])
def test_score_records_raise_in_their_turn(most: int) -> None:
    """What comes before a damaged record is yielded, and little after it is read."""
    jobs = [*map(Job, records([50, 9, 120])), Broken(records([5])[0]), *map(Job, records([1] * 900))]
    done = []
    with pytest.raises(DataError, match="broken"):
        for job in score_records(engine_of("torch"), CODEC, jobs, most=most):
            done.append(job)  # noqa: PERF402 - to see what was yielded before the error
    assert done == jobs[:3]
    assert not jobs[-1].begun


def test_score_records_raise_what_the_iterator_of_jobs_raises() -> None:
    def jobs() -> Iterator[Job]:
        yield from map(Job, records([50, 0, 9]))
        raise DataError("no more")

    found = score_records(engine_of("torch"), CODEC, jobs())
    assert [len(next(found).nats) for _ in range(3)] == [50, 0, 9]
    with pytest.raises(DataError, match="no more"):
        next(found)


def test_score_records_take_jobs_as_lanes_become_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory doesn't grow with the number of records, even behind a long one."""
    monkeypatch.setattr(scoring, "_MAX_WAITING", 50)
    taken = 0

    def jobs() -> Iterator[Job]:
        nonlocal taken
        for number in range(2000):
            taken += 1
            yield Job(records([4000 if number == 0 else 3])[0], 5000)

    for count, _ in enumerate(score_records(engine_of("torch"), CODEC, jobs(), most=8), start=1):
        assert taken <= count + 50
    assert count == 2000


@given(
    numbers=st.lists(st.floats(0, 1e4, allow_subnormal=False), min_size=1, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=5),
    seed=st.integers(0, 9),
)
def test_exact_sum_does_not_depend_on_order_or_pieces(numbers: list[float], cuts: list[int], seed: int) -> None:
    whole, parts = ExactSum(), ExactSum()
    whole.add(np.array(numbers))
    shuffled = np.random.default_rng(seed).permutation(np.array(numbers))
    for part in np.split(shuffled, sorted(cuts)):
        parts.add(part)
    assert float(whole) == float(parts)
    exact = sum(map(Fraction, numbers), Fraction(0))
    assert abs(Fraction(float(whole)) - exact) <= Fraction(len(numbers), 2**60) + exact / 2**52


def test_exact_sum_of_what_is_not_finite() -> None:
    total = ExactSum()
    total.add(np.array([1.5, math.inf]))
    total.add(np.array([2.0]))
    assert float(total) == math.inf
    total.add(np.array([math.nan]))
    assert math.isnan(float(total))


@pytest.mark.parametrize("ruin", [1e16, math.nan])
@every_engine
def test_scores_of_ruined_weights_raise_model_error(kind: str, ruin: float) -> None:
    config = NetworkConfig(VOCABULARY, rnn_size=8, embedding_size=8)
    network = LanguageModel(config, torch.Generator().manual_seed(1))
    weights = {name: weight.numpy() for name, weight in network.state_dict().items()}
    weights["output_bias"] = np.where(np.arange(VOCABULARY) % 2, weights["output_bias"], np.float32(ruin))
    engine, ids = ENGINES[kind](config, weights), np.arange(9, dtype=np.int32)
    with pytest.raises(ModelError, match="its weights are ruined"):
        list(Scorer(engine, CODEC).read(ids))
    with pytest.raises(ModelError, match="its weights are ruined"):
        list(score_records(engine, CODEC, [Job(ids)]))
