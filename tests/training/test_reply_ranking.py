"""Learning to rank replies."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from seqgen.config import NetworkConfig
from seqgen.corpus.ids import IdStream
from seqgen.errors import StoppedError
from seqgen.generation.engines.torch import TorchEngine
from seqgen.model.language import LanguageModel
from seqgen.time_limit import NO_LIMIT, TimeLimit
from seqgen.tokenizers.characters import ByteCodec
from seqgen.tokenizers.dialogue import DialogueCodec
from seqgen.training import reply_ranking
from seqgen.training.device import choose
from seqgen.training.reply_ranking import LearntRanking, learn_ranking

CODEC = DialogueCodec(ByteCodec())
THINGS = {
    "tea": "the kettle is hot",
    "rain": "take a coat",
    "dog": "it barks",
    "music": "play a song",
    "bed": "i sleep",
}


def conversation(rng: np.random.Generator, turns: int = 4) -> list[tuple[int, str]]:
    """Questions about things whose answers share no word with them."""
    found = []
    for turn in range(0, turns, 2):
        thing = str(rng.choice(list(THINGS)))
        mark = " ".join(map(str, rng.integers(0, 99, 2)))  # so that few replies are alike
        found += [(turn % 2, f"what about {thing} {mark}"), (1, f"{THINGS[thing]} {mark[::-1]}")]
    return found


def stream(count: int, seed: int, turns: int = 4) -> IdStream:
    rng = np.random.default_rng(seed)
    parts = [
        np.concatenate(
            [[CODEC.end], *(CODEC.encode_turn(who, words.encode()) for who, words in conversation(rng, turns))]
        )
        for _ in range(count)
    ]
    return IdStream(np.concatenate(parts).astype(np.uint16), np.zeros(0, dtype=np.int64))


def learn(train: IdStream, held_out: IdStream, seed: int = 1, limit: TimeLimit = NO_LIMIT) -> LearntRanking | None:
    network = LanguageModel(
        NetworkConfig(CODEC.vocab_size, rnn_size=8, embedding_size=4), torch.Generator().manual_seed(2)
    )
    engine = TorchEngine.of(network)
    return learn_ranking(network.eval(), engine, CODEC, train, held_out, choose("cpu", "fp32", 1), seed, 1 << 20, limit)


def test_learn_ranking_finds_replies_that_share_no_word_with_their_question() -> None:
    train, held_out = stream(400, 3), stream(40, 4)
    learnt = learn(train, held_out)
    assert learnt is not None
    assert learnt.hits_at_1 > 0.35, "five kinds of replies, of ten candidates: 0.1 by chance, some 0.5 at most"
    again = learn(train, held_out)
    assert again is not None
    assert again.ranker.dump("x") == learnt.ranker.dump("x")


def test_learn_ranking_ends_when_its_time_is_over_or_it_is_stopped() -> None:
    train, held_out = stream(100, 3), stream(40, 4)
    learnt = learn(train, held_out, limit=TimeLimit(0, time.monotonic()))
    assert learnt is not None
    assert np.isfinite(learnt.ranker.mixture).all()
    with pytest.raises(StoppedError):
        learn(train, held_out, limit=TimeLimit(stop=lambda: True))


@pytest.mark.parametrize(("train", "held_out"), [(10, 40), (100, 3)])
def test_learn_ranking_needs_conversations(train: int, held_out: int) -> None:
    assert learn(stream(train, 3), stream(held_out, 4)) is None


def test_learn_ranking_of_few_different_replies_has_fewer_candidates() -> None:
    rng = np.random.default_rng(5)

    def few(count: int) -> IdStream:
        turns = [[(0, f"what about {thing}?"), (1, THINGS[thing])] for thing in rng.choice(list(THINGS), count)]
        parts = [
            [CODEC.end, *CODEC.encode_conversation((who, words.encode()) for who, words in each)] for each in turns
        ]
        return IdStream(np.concatenate(parts).astype(np.uint16), np.zeros(0, dtype=np.int64))

    learnt = learn(few(200), few(60))
    assert learnt is not None
    assert np.isfinite(learnt.ranker.mixture).all()
    assert learnt.hits_at_1 > 0.5, "of five candidates: 0.2 by chance"


def test_excerpts_are_the_conversations_of_a_stream() -> None:
    rng = np.random.default_rng(3)
    wanted = [conversation(rng) for _ in range(6)]
    found = list(reply_ranking._excerpts(stream(6, 3), CODEC, 1 << 20))
    assert [list(excerpt.turns) for excerpt in found] == wanted
    for excerpt in found:
        turns = [(speaker, words.encode()) for speaker, words in excerpt.turns]
        assert excerpt.ids.tolist() == [CODEC.end, *CODEC.encode_conversation(turns)]


def test_excerpts_of_a_long_conversation_are_cut_at_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply_ranking, "_LONGEST", 200)
    whole = stream(1, 3, turns=100)
    found = list(reply_ranking._excerpts(whole, CODEC, 1 << 20))
    assert len(found) > 10
    assert all(excerpt.ids[0] == CODEC.end and len(excerpt.ids) <= 201 for excerpt in found)
    joined = np.concatenate([excerpt.ids[1:] for excerpt in found])
    assert np.array_equal(joined, whole.ids[1:])


def test_excerpts_are_spread_over_a_large_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply_ranking, "_WINDOW", 1000)
    whole = stream(400, 3)
    found = list(reply_ranking._excerpts(whole, CODEC, 5000))
    assert 3000 < sum(len(excerpt.ids) for excerpt in found) <= 5000
    everything = whole.ids.astype(np.uint16).tobytes()
    places = [everything.find(excerpt.ids[1:].astype(np.uint16).tobytes()) for excerpt in found]
    assert min(places) >= 0
    assert max(places) > 0.8 * len(everything)


def test_mixture_recovers_the_weights_of_a_logistic_choice() -> None:
    rng = np.random.default_rng(0)
    weights = np.array([1.5, -2.0, 0.0])
    features = rng.normal(size=(6000, 10, 3)) * [1.0, 0.1, 30.0]
    utilities = features @ (weights / [1.0, 0.1, 30.0]) + rng.gumbel(size=(6000, 10))
    rows = np.arange(len(features))
    best = utilities.argmax(axis=1)
    features[rows, 0], features[rows, best] = features[rows, best], features[rows, 0].copy()
    fitted = reply_ranking._fit_mixture(features) * [1.0, 0.1, 30.0]
    assert np.allclose(fitted, weights, atol=0.1)


def test_mixture_of_questions_with_fewer_candidates_is_that_of_the_candidates_they_have() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 5, 3))
    padded = np.concatenate([features, np.full((40, 2, 3), np.nan)], axis=1)
    assert np.array_equal(reply_ranking._fit_mixture(padded), reply_ranking._fit_mixture(features))
    assert reply_ranking._cross_validated(padded, np.arange(40)) == reply_ranking._cross_validated(
        features, np.arange(40)
    )


def test_mixture_of_separable_features_is_finite() -> None:
    features = np.zeros((50, 10, 2))
    features[:, 0, 0] = 1e6  # the true reply is always told by it, and the other feature tells nothing
    fitted = reply_ranking._fit_mixture(features)
    assert np.isfinite(fitted).all()
    assert (features @ fitted).argmax(axis=1).tolist() == [0] * 50
