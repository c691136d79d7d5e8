"""The context cache: a reference written out from its formula, and every engine beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from types import SimpleNamespace
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest
import torch

from seqgen.config import NetworkConfig
from seqgen.errors import ModelError, StoppedError
from seqgen.generation.engines import context_cache
from seqgen.generation.engines.base import Engine
from seqgen.generation.engines.context_cache import CacheMixture, ContextCacheEngine, cache_mixture, fit_mixture
from seqgen.generation.engines.limited import limited
from seqgen.generation.engines.native import NativeEngine
from seqgen.generation.engines.numpy import NumpyEngine
from seqgen.generation.engines.torch import TorchEngine
from seqgen.generation.sampling.filters import log_softmax
from seqgen.generation.scoring import Scorer, ScoringJob, TokenScores, score_records
from seqgen.model.language import LanguageModel
from seqgen.native import library
from seqgen.time_limit import TimeLimit
from seqgen.tokenizers import Codec, Ids

VOCABULARY, UNITS, SIZE = 37, 32, 90
MIXTURE = CacheMixture(9.0, 0.3)
CODEC = cast(Codec, SimpleNamespace(vocab_size=VOCABULARY, end=VOCABULARY - 1))
KINDS: dict[str, Callable[..., Engine]] = {"numpy": NumpyEngine, "torch": TorchEngine}
if library() is not None:
    KINDS |= {"native": NativeEngine, "whole": partial(NativeEngine, quantized=True)}
every_engine = pytest.mark.parametrize("kind", KINDS)
Floats = npt.NDArray[np.float64]


@cache
def plain(kind: str) -> Engine:
    config = NetworkConfig(VOCABULARY, rnn_size=UNITS, embedding_size=16, num_layers=2)
    network = LanguageModel(config, torch.Generator().manual_seed(1))
    with torch.no_grad():  # outputs far from zero, so that keys differ
        for weight in network.layers.parameters():
            weight.mul_(1.25)
    return KINDS[kind](config, {name: weight.numpy() for name, weight in network.state_dict().items()})


def cached(kind: str, size: int = SIZE) -> ContextCacheEngine:
    return ContextCacheEngine(plain(kind), size, MIXTURE)


def some_ids(*shape: int, seed: int = 2) -> npt.NDArray[np.int32]:
    return np.random.default_rng(seed).integers(0, VOCABULARY, shape).astype(np.int32)


def reference(engine: Engine, ids: npt.NDArray[np.int32], size: int = SIZE, run: bool = False) -> Floats:
    """Log-probabilities after each id, by the formula: shape (tokens, vocabulary).

    Args:
        run: whether the ids are read in one run, which may round otherwise than steps.
    """
    state, entries, output, found = engine.initial(1), [], None, []
    outputs = engine.outputs_of(ids, state)[0] if run else np.empty(0, np.float32)
    for number, token in enumerate(ids):
        if output is not None:
            entries.append((output, int(token)))
        if run:
            logits, output = engine.logits_from(outputs[number : number + 1]), outputs[number].astype(np.float64)
        else:
            logits, state = engine.step(np.array([token]), state)
            output = engine.export_state(state, 0)[-1, 0].astype(np.float64)
        output /= np.linalg.norm(output)
        own, share, total = np.exp(log_softmax(logits.astype(np.float64))[0]), np.zeros(VOCABULARY), 0.0
        for key, follower in entries[-size:]:
            weight = np.exp(MIXTURE.theta * (output @ key))
            share[follower] += weight
            total += weight
        found.append(np.log((1 - MIXTURE.weight) * own + MIXTURE.weight * share / total) if total else np.log(own))
    return np.array(found)


def stepped(engine: Engine, ids: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """Logits after every step of several streams, shape (time, streams, vocabulary)."""
    state, found = engine.initial(ids.shape[1]), []
    for row in ids:
        logits, state = engine.step(row, state)
        found.append(logits)
    return np.array(found)


@every_engine
def test_context_cache_step_follows_the_formula(kind: str) -> None:
    ids = some_ids(260, 3)
    found = stepped(cached(kind), ids)
    for stream in range(3):
        log_probs = log_softmax(found[:, stream].astype(np.float64))
        np.testing.assert_allclose(log_probs, reference(plain(kind), ids[:, stream]), atol=1e-4)


@every_engine
def test_context_cache_logits_are_as_high_as_without_it(kind: str) -> None:
    """Else a repetition penalty, which scales them, would be of another strength."""
    ids = some_ids(40, 2)
    found, wanted = stepped(cached(kind), ids), stepped(plain(kind), ids)
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-4)  # nothing is in the cache yet
    np.testing.assert_allclose(*(np.logaddexp.reduce(each, axis=2) for each in (found, wanted)), atol=1e-4)


@pytest.mark.parametrize("size", [1, 64, 1000])
@every_engine
def test_context_cache_scores_follow_the_formula(kind: str, size: int) -> None:
    kind = {"whole": "numpy"}.get(kind, kind)  # that rounds differently in steps and in runs
    ids = some_ids(700)
    wanted = reference(plain(kind), ids, size, run=True)
    logits, _ = cached(kind, size).logits_of(ids, cached(kind, size).initial(1))
    np.testing.assert_allclose(log_softmax(logits.astype(np.float64)), wanted, atol=1e-4)
    targets = some_ids(700, seed=3)
    nats, _ = cached(kind, size).nats_of(ids, targets, cached(kind, size).initial(1))
    np.testing.assert_allclose(nats, -wanted[np.arange(700), targets], atol=1e-4)
    possible = np.random.default_rng(4).random((700, VOCABULARY)) < 0.5
    possible[np.arange(700), targets] = True
    masked, _ = cached(kind, size).nats_of(ids, targets, cached(kind, size).initial(1), possible)
    left = log_softmax(np.where(possible, wanted, -np.inf))[np.arange(700), targets]
    np.testing.assert_allclose(masked, -left, atol=1e-4)


@every_engine
def test_context_cache_stream_is_the_same_beside_others(kind: str) -> None:
    engine, ids = cached(kind), some_ids(150, 5)
    together = stepped(engine, ids)
    for stream in range(5):
        np.testing.assert_array_equal(stepped(engine, ids[:, [stream]])[:, 0], together[:, stream])


class _Job(ScoringJob):
    def __init__(self, ids: Ids) -> None:
        self._ids, self.nats = ids, np.empty(0)

    def ids(self) -> Sequence[Ids]:  # type: ignore[override]
        return iter([self._ids])  # type: ignore[return-value]

    def take(self, scores: TokenScores) -> None:
        self.nats = np.append(self.nats, scores.nats)


@every_engine
def test_context_cache_scores_depend_neither_on_lanes_nor_on_chunks(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = cached(kind)
    given = [some_ids(length, seed=length) for length in (1, 2, 63, 64, 65, 400, 700)]
    alone = [np.concatenate([run.nats for run in Scorer(engine, CODEC).read(ids)]) for ids in given]
    same = np.testing.assert_array_equal if kind in ("native", "whole") else partial(
        np.testing.assert_allclose, atol=1e-5
    )  # fmt: skip  # the others' sums are rounded by the shape of a product, and the network carries that on
    for job, wanted in zip(score_records(engine, CODEC, map(_Job, given)), alone, strict=True):
        same(job.nats, wanted)
    monkeypatch.setattr(context_cache, "_CHUNK", 7)
    for job, wanted in zip(score_records(engine, CODEC, map(_Job, given), most=3), alone, strict=True):
        same(job.nats, wanted)


@every_engine
def test_context_cache_reads_a_prompt_as_it_steps(kind: str) -> None:
    engine, ids = cached(kind), some_ids(500)
    state = engine.initial(1)
    for token in ids:
        _, state = engine.step(np.array([token]), state)
    read = engine.read(ids[100:], engine.read(ids[:100], engine.initial(1)))
    mine, theirs = engine.export_stream(read, 0), engine.export_stream(state, 0)
    assert mine.cache is not None and theirs.cache is not None
    assert mine.cache.phase == theirs.cache.phase
    np.testing.assert_array_equal(mine.cache.ids, theirs.cache.ids)
    np.testing.assert_allclose(mine.cache.keys, theirs.cache.keys, atol=0.05 if kind == "whole" else 1e-4)


@every_engine
def test_context_cache_states_are_never_modified(kind: str) -> None:
    engine, ids = cached(kind), some_ids(130)
    state = engine.read(ids, engine.initial(1))
    wanted, _ = engine.step(np.array([5]), state)
    branches = engine.repeat(state, 3)
    for token in range(80):
        _, branches = engine.step(np.array([token % 7, 8, 9]), branches)
        if token % 20 == 0:
            branches = engine.select(branches, [2, 0, 0])
    joined = engine.join([state, branches])
    assert len(engine.outputs(joined)) == 4
    np.testing.assert_array_equal(engine.step(np.array([5]), state)[0], wanted)
    np.testing.assert_array_equal(engine.step(np.array([5, 1, 2, 3]), joined)[0][:1], wanted)


@pytest.mark.parametrize("length", [0, 1, 50, 333])
@pytest.mark.parametrize("other", KINDS)
@every_engine
def test_context_cache_is_exported_to_every_engine(kind: str, other: str, length: int) -> None:
    one, two = cached(kind), cached(other)
    state = one.read(some_ids(length), one.initial(1))
    exported = one.export_stream(state, 0)
    again = two.export_stream(two.import_stream(exported), 0)
    np.testing.assert_array_equal(again.cells, exported.cells)
    assert (again.cache is None) == (exported.cache is None) == (length == 0)
    if exported.cache is not None and again.cache is not None:
        assert len(exported.cache.ids) == min(length - 1, SIZE)
        np.testing.assert_array_equal(again.cache.keys, exported.cache.keys)
        np.testing.assert_array_equal(again.cache.ids, exported.cache.ids)
    mine, theirs = state, two.import_stream(exported)
    for token in some_ids(100, seed=5):
        ours, mine = one.step(np.array([token]), mine)
        others, theirs = two.step(np.array([token]), theirs)
        if kind == other:
            np.testing.assert_array_equal(ours, others)
        elif "whole" not in (kind, other):
            np.testing.assert_allclose(ours, others, atol=1e-4)


def test_context_cache_of_another_size_or_none_takes_what_it_can() -> None:
    engine = cached("numpy")
    exported = engine.export_stream(engine.read(some_ids(200), engine.initial(1)), 0)
    smaller, larger, without = cached("numpy", 10), cached("numpy", 500), plain("numpy")
    for some in (smaller, larger, without):
        logits, _ = some.step(np.array([3]), some.import_stream(exported))
        assert np.isfinite(logits).all()
    kept = smaller.export_stream(smaller.import_stream(exported), 0).cache
    assert kept is not None and exported.cache is not None
    np.testing.assert_array_equal(kept.ids, exported.cache.ids[-10:])
    started = engine.import_stream(without.export_stream(without.read(some_ids(200), without.initial(1)), 0))
    assert engine.step(np.array([3]), started)[1].windows[0].end == 1, "the last output has its key at once"


def test_fit_mixture_to_ids_that_the_model_takes_for_impossible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context_cache, "_LEAST_FIT_IDS", 60)
    config = NetworkConfig(VOCABULARY, rnn_size=8, embedding_size=8)
    weights = {name: weight.numpy() for name, weight in LanguageModel(config, torch.Generator()).state_dict().items()}
    weights["output_bias"] = np.where(np.arange(VOCABULARY) == 3, np.float32(-3000), weights["output_bias"])
    ids = np.tile(np.array([1, 2, 3], dtype=np.int32), 30)
    fitted = fit_mixture(NumpyEngine(config, weights), ids, CODEC.end)
    assert fitted is not None and fitted.theta == context_cache._THETAS[-1] and fitted.weight > 0.5


@pytest.mark.parametrize("saved", [{}, [], 1, {"theta": 1.0}, {"theta": -1.0, "weight": 0.1},
                                   {"theta": 0.1, "weight": 1.0}, {"theta": float("nan"), "weight": 0.1},
                                   {"theta": "0.1", "weight": 0.1}])  # fmt: skip
def test_cache_mixture_of_a_damaged_config_is_refused(saved: object) -> None:
    with pytest.raises(ModelError, match="damaged"):
        cache_mixture(saved)
    assert cache_mixture({"theta": 0.5, "weight": 0.25}) == CacheMixture(0.5, 0.25)


@every_engine
def test_limited_engine_reads_the_same_bits_until_its_limit_stops_it(kind: str) -> None:
    """What holds an engine's reading to a limit is around the plain engine, also where a cache is around both."""
    calls: list[None] = []
    limit = TimeLimit(stop=lambda: bool(calls.append(None)) or len(calls) > 9)
    ids, engine = some_ids(2500), limited(plain(kind), limit)
    for one, same in ((plain(kind), engine), (cached(kind), ContextCacheEngine(engine, SIZE, MIXTURE))):
        (wanted, _), (found, _) = (each.step(ids[:1], each.read(ids, each.initial(1))) for each in (one, same))
        np.testing.assert_array_equal(found, wanted)
    assert 2 * 3 <= len(calls) <= 9
    with pytest.raises(StoppedError):
        engine.read(some_ids(10_000), engine.initial(1))
