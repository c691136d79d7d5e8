"""Ranking of replies: features by hand, files, and the choice of a reply in a conversation."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from seqgen.api.model import load
from seqgen.checkpoint import RANKER
from seqgen.config import ReplyOptions, SampleOptions
from seqgen.errors import ModelError
from seqgen.generation.dialogue import Reply
from seqgen.generation.ranking import FEATURES, RECENT_TURNS, Likelihoods, ReplyRanker
from seqgen.model.ngrams import BUCKETS
from seqgen.tensors import dump, parse
from seqgen.tokenizers.characters import ByteCodec
from seqgen.tokenizers.dialogue import DialogueCodec
from tests.helpers.rankers import TEXTS, make_ranker
from tests.helpers.untrained import untrained


def likelihoods(count: int) -> Likelihoods:
    rng = np.random.default_rng(5)
    return Likelihoods(-rng.random(count) * 9, -rng.random(count) * 12, np.arange(1.0, count + 1))


def test_reply_ranker_features_by_hand() -> None:
    ranker = make_ranker()
    history, replies = ["where is the cup", "no"], ["the cup is red", "an unknown reply", ""]
    turns, candidates = ranker.bags(history), ranker.bags(replies)
    assert [len(bag) for bag in turns] == [9, 3]  # words, pairs of words, and pairs with the beginning and the end
    hidden = np.array([0.5, -1.0, 2.0], dtype=np.float32)
    given, alone, tokens = likely = likelihoods(3)
    found = ranker.features(ranker.context(hidden, turns), likely, candidates)
    assert np.allclose(found[:, :4], np.stack([given, alone, tokens, np.log1p(tokens)], axis=1))

    def vector(table: npt.NDArray[np.float32], bag: npt.NDArray[np.int64]) -> Any:
        return table[bag].astype(float).sum(axis=0) / math.sqrt(max(1, len(bag)))

    context = ranker.projection @ hidden + ranker.bias + ranker.turn_weights[0] * vector(ranker.said, turns[1])
    context = context + ranker.turn_weights[1] * vector(ranker.said, turns[0])
    assert np.allclose(found[:, 6], [context @ vector(ranker.replied, bag) for bag in candidates], atol=1e-4)

    def cosine(first: set[int], second: set[int]) -> float:
        idf = ranker.idf.astype(float)
        sizes = [math.sqrt(sum(idf[row] ** 2 for row in rows)) for rows in (first, second)]
        return float(sum(idf[row] ** 2 for row in first & second)) / (math.prod(sizes) or 1)

    whole = set(turns[0].tolist()) | set(turns[1].tolist())
    for row, bag in enumerate(candidates):
        assert found[row, 4] == pytest.approx(cosine(whole, set(bag.tolist())), abs=1e-6)
        assert found[row, 5] == pytest.approx(cosine(set(turns[1].tolist()), set(bag.tolist())), abs=1e-6)
    assert np.allclose(ranker.scores(ranker.context(hidden, turns), likely, candidates), found @ ranker.mixture)


def test_reply_ranker_score_does_not_depend_on_the_other_candidates() -> None:
    ranker = make_ranker()
    context = ranker.context(np.ones(3, dtype=np.float32), ranker.bags(TEXTS))
    likely, candidates = likelihoods(5), ranker.bags(TEXTS)
    together = ranker.scores(context, likely, candidates)
    for row in range(5):
        alone = Likelihoods(*(values[row : row + 1] for values in likely))
        assert ranker.scores(context, alone, candidates[row : row + 1])[0] == together[row]


def test_reply_ranker_looks_at_the_last_turns_only() -> None:
    ranker, hidden = make_ranker(), np.ones(3, dtype=np.float32)
    recent = ranker.bags(["no"] * RECENT_TURNS)
    for earlier in ([], ranker.bags(["the dog is old"] * 3)):
        context = ranker.context(hidden, [*earlier, *recent])
        assert np.array_equal(context.vector, ranker.context(hidden, recent).vector)
        assert np.array_equal(context.history, context.last)
    empty = ranker.context(hidden, [])
    assert not empty.history.any()
    assert np.allclose(empty.vector, ranker.projection @ hidden + ranker.bias)


def test_reply_ranker_knows_words_of_training_and_history() -> None:
    ranker = make_ranker()
    assert ranker.has_only_words("Where is the old dog", [])
    assert not ranker.has_only_words("the cupp is red", [])
    assert ranker.has_only_words("the cupp is red", ["my cupp is old"])
    assert not ranker.has_only_words("the cupp is red", ["my cupp is old", *["no"] * RECENT_TURNS])
    assert ranker.has_only_words("", [])


def test_reply_ranker_file_round_trip(tmp_path: Path) -> None:
    ranker, path = make_ranker(), tmp_path / "ranker.safetensors"
    path.write_bytes(ranker.dump("this"))
    loaded = ReplyRanker.load(path, "this", 3)
    assert loaded.dump("this") == path.read_bytes()
    with pytest.raises(ModelError, match="not the ranker of this model"):
        ReplyRanker.load(path, "another", 3)
    with pytest.raises(ModelError, match="projection has the shape"):
        ReplyRanker.load(path, "this", 4)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("keys", lambda array: array[::-1], "not ascending"),
        ("keys", lambda array: array + (BUCKETS - 1), "not ascending"),
        ("words", lambda array: -array, "words are not ascending"),
        ("idf", lambda array: array * np.float32(np.nan), "not finite"),
        ("said", lambda array: array[:-1], "said has the shape"),
        ("mixture", lambda array: array[:5], "mixture has the shape"),
        ("bias", lambda array: array.astype(np.int32), "lacks tensors"),
        ("replied", None, "lacks tensors"),
    ],
)
def test_reply_ranker_load_refuses_damage(name: str, change: Any, message: str, tmp_path: Path) -> None:
    arrays, metadata = parse(make_ranker().dump("this"), "x")
    changed = {key: array for key, array in arrays.items() if key != name}
    if change is not None:
        changed[name] = change(arrays[name])
    path = tmp_path / "ranker.safetensors"
    path.write_bytes(dump(changed, metadata))
    with pytest.raises(ModelError, match=message):
        ReplyRanker.load(path, "this", 3)


# ---- In a conversation ----

CODEC = DialogueCodec(ByteCodec())


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained(tmp_path_factory.mktemp("models") / "talk", CODEC, "dialogue", rnn_size=6)


def talk(
    folder: Path, ranker: ReplyRanker | None, candidates: int, seed: int = 0, mutual: float | None = None
) -> list[Reply]:
    file = folder / RANKER
    file.unlink(missing_ok=True)
    if ranker is not None:
        file.write_bytes(ranker.dump(load(folder).checkpoint.config["identity"]))
    session = load(folder).conversation(SampleOptions(seed=seed, top_k=30), ReplyOptions(candidates, mutual))
    found = []
    for words in ("hello", "where is the cup"):
        session.hear(words)
        *_, reply = session.reply()
        assert isinstance(reply, Reply)
        found.append(reply)
    return found


def test_chat_session_takes_the_reply_that_its_ranker_prefers(model_folder: Path) -> None:
    shortest = make_ranker(6, (0, 0, -1, 0, 0, 0, 0))
    longest = replace(shortest, mixture=-shortest.mixture)
    short, long = (talk(model_folder, ranker, 12)[0] for ranker in (shortest, longest))
    assert short.tokens < long.tokens
    assert (short.score, long.score) == (-short.tokens, long.tokens)
    assert talk(model_folder, shortest, 12) == talk(model_folder, shortest, 12)
    assert talk(model_folder, shortest, 1)[0] == talk(model_folder, None, 1)[0]


def test_chat_session_with_mutual_ignores_its_ranker(model_folder: Path) -> None:
    assert talk(model_folder, make_ranker(6), 6, mutual=0.5) == talk(model_folder, None, 6, mutual=0.5)
    assert talk(model_folder, None, 6) == talk(model_folder, None, 6, mutual=1.0)
    assert talk(model_folder, make_ranker(6), 6)[0].score != talk(model_folder, None, 6)[0].score


def test_features_are_named() -> None:
    assert len(FEATURES) == len(make_ranker().mixture)
