"""Evaluation of dialogue: questions, perplexity, hits at 1 of 10, distinct-n and the TF-IDF baseline."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.api.model import Model
from seqgen.evaluation.dialogue import (
    NUM_DISTRACTORS,
    DialogueTally,
    HitsAtOne,
    RankingQuestion,
    ReplyScorer,
    SpeakerTurns,
    TfidfRetrieval,
    _first_wins,
    distinct_n,
    evaluate_conversations,
    hits_by_chance,
    ranking_questions,
    sample_reply_contexts,
    word_tokens,
)
from seqgen.generation.engines.base import Engine
from seqgen.generation.engines.torch import TorchEngine
from seqgen.model.language import LanguageModel
from seqgen.tokenizers import Ids
from tests.helpers.dialogues import KNOWN, PLACES, THINGS, advance, codec_of, conversation_ids, to_messages
from tests.helpers.scorers import network_scorer

# ---- Questions ----


def made_up(count: int, turns: int = 4) -> list[list[tuple[int, str]]]:
    """Conversations in which nearly every turn is unlike every other."""
    return [[(n % 2, f"words {n * m % 17} of {m}.{n}" if n else "hello") for n in range(turns)] for m in range(count)]


def test_questions_are_the_same_for_the_same_seed() -> None:
    conversations = made_up(12)
    assert ranking_questions(conversations, 1) == ranking_questions(conversations, 1)
    assert ranking_questions(conversations, 1) != ranking_questions(conversations, 2)


def test_every_turn_but_the_first_is_asked_for_once_and_in_order() -> None:
    conversations = made_up(12)
    asked = ranking_questions(conversations)
    assert [(question.conversation, question.turn) for question in asked] == [
        (number, place) for number in range(12) for place in (1, 2, 3)
    ]
    for question in asked:
        speaker, words = conversations[question.conversation][question.turn]
        assert (question.speaker, question.candidates[0]) == (speaker, words)
        assert len(question.candidates) == NUM_DISTRACTORS + 1 == 10


@settings(max_examples=40)
@given(
    conversations=st.lists(
        st.lists(st.sampled_from("abcdefg"), max_size=4).map(lambda all_: [(n % 2, w) for n, w in enumerate(all_)]),
        max_size=6,
    ),
    seed=st.integers(0, 5),
)
def test_others_are_other_peoples_replies_and_never_the_true_one(
    conversations: list[list[tuple[int, str]]], seed: int
) -> None:
    for question in ranking_questions(conversations, seed):
        elsewhere = {
            words for number, turns in enumerate(conversations) if number != question.conversation
            for _, words in turns[1:]
        }  # fmt: skip
        others = question.candidates[1:]
        assert question.candidates[0] not in others
        assert set(others) <= elsewhere
        assert len(set(others)) == len(others) == min(NUM_DISTRACTORS, len(elsewhere - {question.candidates[0]})) > 0


def test_where_there_are_no_others_nothing_is_asked() -> None:
    assert ranking_questions([]) == []
    assert ranking_questions(made_up(1)) == []
    assert ranking_questions([[(0, "hello")]] * 9) == []
    assert ranking_questions([[(0, "hello"), (1, "yes")]] * 9) == [], "they all say the same"


def test_replies_that_are_rare_beside_common_ones_are_candidates_too() -> None:
    conversations = [[(0, "well?"), *[(1, "yes")] * 3000]] + [[(0, "well?"), (1, word)] for word in ("no", "soon")]
    *_, asked = ranking_questions(conversations)
    assert asked.candidates[0] == "soon"
    assert sorted(asked.candidates[1:]) == ["no", "yes"]


def test_chance_of_a_hit_is_that_of_as_many_candidates_as_there_are() -> None:
    two = [[(0, "well?"), (1, "yes")], [(0, "well?"), (1, "no")]]
    assert [question.candidates for question in ranking_questions(two)] == [("yes", "no"), ("no", "yes")]
    assert hits_by_chance(ranking_questions(two)) == 0.5
    assert hits_by_chance(ranking_questions(made_up(12))) == 0.1
    assert hits_by_chance([]) == 0.0


# ---- Reading ----


def hits_at_one(model: Model, conversations: list[SpeakerTurns], questions: list[RankingQuestion]) -> HitsAtOne:
    return evaluate_conversations(model.batch_engine, codec_of(model), conversations, questions)[1]


def turn_nats(engine: Engine, state: Any, last: int, turn: Ids) -> float:
    inputs = np.concatenate([[last], turn[:-1]])
    return float(engine.nats_of(inputs, turn, state)[0].sum())


def test_reply_scorer_replies_cost_what_they_cost_one_by_one(dialogue_model: Model) -> None:
    """Whatever stands beside them: shorter ones are padded."""
    codec, engine = codec_of(dialogue_model), dialogue_model.exact_engine
    reader = ReplyScorer(engine, codec)
    replies = ["the hen is in the pond.", "", "no", "é中\udcff", "x" * 90, "who has it?"]
    ids = [codec.encode(reply.encode("utf-8", "surrogateescape")) for reply in replies]
    state, last = advance(engine, *reader.start(), codec.encode_turn(0, b"where is the hen?"))
    for speaker in (0, 1, 5):
        together = reader.replies(state, last, speaker, ids)
        assert together.shape == (6,)
        opening = turn_nats(engine, state, last, codec.encode_turn(speaker, b""))
        for log, each in zip(together, ids, strict=True):
            turn = np.append(codec.encode_turn(speaker, b""), each).astype(np.int32)
            assert log == pytest.approx(opening - turn_nats(engine, state, last, turn), abs=1e-4)
            assert reader.replies(state, last, speaker, [each])[0] == log
        assert np.array_equal(reader.replies(state, last, speaker, ids[::-1]), together[::-1])
    assert together[1] == 0.0


def test_dialogue_tally_equals_one_pass_over_all_ids(dialogue_model: Model) -> None:
    codec, network = codec_of(dialogue_model), dialogue_model.network
    conversations = [*KNOWN[:3], [(0, "é中 \udcff  no"), (1, "x"), (9, "and I")], [(1, "alone")]]
    tally, _ = evaluate_conversations(dialogue_model.batch_engine, codec, conversations)
    nats, tokens = 0.0, 0
    for turns in conversations:
        ids = np.append(conversation_ids(codec, turns)[1:], codec.end).astype(np.int32)
        nats += sum(float(scored.nats.sum()) for scored in network_scorer(network, codec).read(ids))
        tokens += len(ids)
    texts = [words for turns in conversations for _, words in turns]
    assert tally.nats == pytest.approx(nats, abs=1e-2)
    assert (tally.records, tally.turns, tally.tokens) == (5, 16, tokens)
    assert tally.characters == sum(map(len, texts))
    assert tally.bytes == len("".join(texts).encode("utf-8", "surrogateescape"))
    assert tally.words == sum(len(text.split()) for text in texts)
    metrics = tally.metrics()
    assert metrics["nats_per_character"] == pytest.approx(tally.nats / tally.characters)
    assert metrics["bits_per_character"] == pytest.approx(tally.nats / tally.characters / math.log(2))
    assert metrics["bits_per_byte"] == pytest.approx(tally.nats / tally.bytes / math.log(2))
    assert metrics["perplexity_per_token"] == pytest.approx(math.exp(tally.nats / tokens))
    assert metrics["perplexity_per_word"] == pytest.approx(math.exp(tally.nats / tally.words))


def test_dialogue_tally_is_the_same_with_questions_and_in_any_order(dialogue_model: Model) -> None:
    codec, engine = codec_of(dialogue_model), dialogue_model.batch_engine
    wanted, _ = evaluate_conversations(engine, codec, KNOWN)
    assert evaluate_conversations(engine, codec, KNOWN, ranking_questions(KNOWN))[0] == wanted
    reverse, _ = evaluate_conversations(engine, codec, KNOWN[::-1])
    assert reverse.nats == pytest.approx(wanted.nats, rel=1e-12)


def test_an_absurd_perplexity_stays_a_number() -> None:
    assert math.isfinite(DialogueTally(words=1, tokens=1, nats=1e9).metrics()["perplexity_per_word"])
    assert set(DialogueTally().metrics().values()) == {0.0, 1.0}


def test_the_score_of_a_conversation_is_its_tally(dialogue_model: Model, tmp_path: Path) -> None:
    from seqgen.corpus import sources

    path = tmp_path / "two.jsonl"
    path.write_text("".join(to_messages(turns) + "\n" for turns in KNOWN[:2]), encoding="utf-8")
    with sources.Spool() as spool:
        scores = list(
            dialogue_model.score_conversations(sources.checksum_documents(sources.find([str(path)], spool)), True)
        )
    assert len(scores) == 2
    for turns, score in zip(KNOWN, scores, strict=False):
        tally, _ = evaluate_conversations(dialogue_model.exact_engine, codec_of(dialogue_model), [turns])
        assert score.nats == tally.nats, "a conversation costs the same alone and among others"
        assert score.tokens == tally.tokens
        assert score.per_token is not None
        assert sum(nats for _, nats in score.per_token) == pytest.approx(score.nats, abs=1e-3)


# ---- The true reply among ten ----


@pytest.mark.parametrize(
    ("scores", "won"),
    [
        ([3, 2, 1], 1.0),
        ([1, 2, 3], 0.0),
        ([2, 2, 1], 0.5),
        ([2, 2, 2, 2], 0.25),
        ([1, 2, 2], 0.0),
        ([-math.inf, -math.inf], 0.5),
        ([0.0], 1.0),
    ],
)
def test_equals_share_the_first_place(scores: list[float], won: float) -> None:
    assert _first_wins(np.array(scores, dtype=float)) == won


def test_a_model_that_knows_finds_the_true_reply(dialogue_model: Model) -> None:
    asked = ranking_questions(KNOWN)
    told: list[tuple[int, int]] = []
    engine, codec = dialogue_model.batch_engine, codec_of(dialogue_model)
    _, found = evaluate_conversations(engine, codec, KNOWN, asked, progress=lambda *done: told.append(done))
    assert found.questions == len(asked) == 36
    assert min(found.by_probability, found.by_token) >= 0.9
    assert found.by_mutual_information >= 0.5
    assert told == [(done, len(KNOWN)) for done in range(1, len(KNOWN) + 1)]


def test_a_model_that_knows_nothing_guesses(dialogue_model: Model) -> None:
    network = LanguageModel(dialogue_model.checkpoint.network, torch.Generator().manual_seed(0)).eval()
    chance = np.random.default_rng(0)
    conversations = [
        [(n % 2, " ".join(chance.choice(THINGS + PLACES, 4))) for n in range(6)] for _ in range(30)
    ]  # fmt: skip
    engine, questions = TorchEngine.of(network), ranking_questions(conversations)
    _, found = evaluate_conversations(engine, codec_of(dialogue_model), conversations, questions)
    assert found.questions == 150
    for share_of in (found.by_probability, found.by_token, found.by_mutual_information):
        assert 0.03 <= share_of <= 0.3


def test_hits_are_what_the_definition_says(dialogue_model: Model) -> None:
    """Every reply of every question read alone, after its whole history."""
    codec, engine = codec_of(dialogue_model), dialogue_model.batch_engine
    reader = ReplyScorer(engine, codec)
    conversations = [*KNOWN[:4], [(0, "hm"), (1, "é?"), (0, "the oar")]]
    asked = ranking_questions(conversations, 3)
    assert {len(question.candidates) for question in asked} >= {9, 10}, "of few replies some have fewer candidates"
    wins = np.zeros(3)
    for question in asked:
        ids = [codec.encode(reply.encode()) for reply in question.candidates]
        history = conversation_ids(codec, conversations[question.conversation][: question.turn])[1:]
        state, last = advance(engine, *reader.start(), np.array(history, dtype=np.int32))
        given = np.array([reader.replies(state, last, question.speaker, [each])[0] for each in ids])
        free = np.array([reader.replies(*reader.start(), question.speaker, [each])[0] for each in ids])
        sizes = np.array([len(each) for each in ids])
        for place, scores in enumerate([given, given / sizes, given - free]):
            wins[place] += scores.argmax() == 0
    found = hits_at_one(dialogue_model, conversations, asked)
    assert found.questions == len(asked) == 14
    assert [found.by_probability, found.by_token, found.by_mutual_information] == pytest.approx(wins / 14)


def test_no_questions_no_hits(dialogue_model: Model) -> None:
    found = hits_at_one(dialogue_model, KNOWN, [])
    assert (found.by_probability, found.by_token, found.by_mutual_information, found.questions) == (
        0.0,
        0.0,
        0.0,
        0,
    )


# ---- Words ----


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("It's 1984, isn't it?", ["it", "s", "1984", "isn", "t", "it"]),
        ("ÉTÉ été", ["été", "été"]),
        ("你好 world42", ["你", "好", "world", "42"]),
        ("snake_case", ["snake", "case"]),
        ("... !?", []),
        ("\udcff a", ["a"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert word_tokens(text) == words


@pytest.mark.parametrize(
    ("replies", "length", "wanted"),
    [
        ([], 1, 0.0),
        ([""], 1, 0.0),
        (["a b c"], 1, 1.0),
        (["a a a a"], 1, 1 / 4),
        (["a b", "A, B!"], 1, 2 / 4),
        (["a b", "a b"], 2, 1 / 2),
        (["a b c a b"], 2, 3 / 4),
        (["a", "b"], 2, 0.0),  # no run spans two replies
        (["a b", "b a"], 2, 1.0),
        (["我我你"], 1, 2 / 3),
    ],
)
def test_distinct_by_hand(replies: list[str], length: int, wanted: float) -> None:
    assert distinct_n(replies, length) == pytest.approx(wanted)


def test_vectors_by_hand() -> None:
    """Three texts: `the` in all, `boat` in two, `lamp` in one, and `hen` in none."""
    baseline = TfidfRetrieval(["the boat", "The boat, the lamp", "the"])
    the, boat, lamp, hen = (math.log(4 / (1 + having)) + 1 for having in (3, 2, 1, 0))
    assert the == 1.0
    assert baseline.vector("the") == {"the": 1.0}
    size = math.sqrt((2 * the) ** 2 + boat**2 + lamp**2 + hen**2)
    assert baseline.vector("Lamp! the boat; the HEN") == pytest.approx(
        {"lamp": lamp / size, "the": 2 * the / size, "boat": boat / size, "hen": hen / size}
    )
    assert baseline.vector("?!") == {}


@settings(max_examples=50)
@given(st.lists(st.sampled_from(["the", "boat", "lamp", "hen", "中", "7"]), min_size=1, max_size=9).map(" ".join))
def test_vectors_have_length_one(text: str) -> None:
    vector = TfidfRetrieval(["the boat", "the lamp"]).vector(text)
    assert sum(weight * weight for weight in vector.values()) == pytest.approx(1.0)


def test_retrieval_finds_the_reply_with_the_same_words() -> None:
    conversations = [[(0, f"about {thing}"), (1, f"the {thing}, yes")] for thing in THINGS]
    asked = ranking_questions(conversations)
    baseline = TfidfRetrieval(words for turns in conversations for _, words in turns)
    assert baseline.hits_at_one(conversations, asked) == 1.0
    others = [[(0, "hm"), (1, f"the {thing}, yes")] for thing in THINGS]
    assert baseline.hits_at_one(others, ranking_questions(others)) == pytest.approx(0.1, abs=1e-9), (
        "ten equals share the place"
    )
    assert baseline.hits_at_one([], []) == 0.0


def test_retrieval_may_look_at_the_last_turns_only() -> None:
    conversations = [[(0, thing), (1, "hm"), (0, "well"), (1, f"the {thing}")] for thing in THINGS]
    asked = [question for question in ranking_questions(conversations) if question.turn == 3]
    baseline = TfidfRetrieval(words for turns in conversations for _, words in turns)
    assert baseline.hits_at_one(conversations, asked) == 1.0
    assert baseline.hits_at_one(conversations, asked, turns=3) == 1.0
    assert baseline.hits_at_one(conversations, asked, turns=2) < 0.5


# ---- Places for a reply ----


def test_pairs_are_places_with_their_history() -> None:
    conversations = made_up(5)
    every = list(sample_reply_contexts(conversations, 100))
    assert len(every) == 15
    assert every == [(turns[:place], turns[place][1]) for turns in conversations for place in (1, 2, 3)]
    some = list(sample_reply_contexts(conversations, 6, seed=3))
    assert some == list(sample_reply_contexts(conversations, 6, seed=3))
    assert some != list(sample_reply_contexts(conversations, 6, seed=4))
    assert len(some) == 6
    assert all(pair in every for pair in some)
    assert list(sample_reply_contexts([], 3)) == list(sample_reply_contexts(conversations, 0)) == []
