"""How good a model of conversations is, beside a random reply and the nearest by words."""

from __future__ import annotations

from typing import Any

import torch

from seqgen.api.evaluate.text import EvaluationContext, training_documents
from seqgen.config import ReplyOptions, SampleOptions
from seqgen.corpus.conversations.read import Conversation, read_conversations
from seqgen.errors import DataError
from seqgen.evaluation.dialogue import (
    DialogueScorer,
    DialogueTally,
    SpeakerTurns,
    TfidfRetrieval,
    distinct_n,
    hits_at_one,
    ranking_questions,
    sample_reply_contexts,
    word_tokens,
)
from seqgen.generation.dialogue import Conversation as Talk
from seqgen.generation.dialogue import Reply
from seqgen.tasks.dialogue import dialogue_codec
from seqgen.tokenizers.dialogue import DialogueCodec
from seqgen.training import device


def evaluate(asked: EvaluationContext) -> dict[str, Any]:
    """See `evaluation.EVALUATORS`."""
    codec = dialogue_codec(asked.model.codec)
    found, reading = read_conversations(asked.documents, warn=asked.warn if len(asked.documents) > 1 else None)
    if reading.damaged_lines:
        asked.warn(reading.summary())
    conversations = [speaker_turns(conversation) for conversation in found]
    if not conversations:
        raise DataError(f"{asked.documents[0].name!r} holds no conversation")
    reader, tally = DialogueScorer(asked.model.network, codec), DialogueTally()
    for number, turns in enumerate(conversations, start=1):
        asked.report(f"reading conversation {number:,} of {len(conversations):,}")
        tally.add(reader, codec, turns)
    metrics: dict[str, Any] = dict(tally.metrics())
    baselines: dict[str, Any] = {}
    to_rank = ranking_questions(conversations, asked.options.seed)
    if to_rank:
        asked.report(f"ranking {len(to_rank):,} times ten replies")
        # Large products, unlike those of a single stream: all processors, and bfloat16 where there is any.
        network, threads = asked.model.network, torch.get_num_threads()
        compute = device.choose(network.embedding.device.type, "auto", None)
        try:
            ranked = hits_at_one(network, codec, conversations, to_rank, dtype=compute.dtype)
        finally:
            torch.set_num_threads(threads)
        metrics |= {
            "hits_at_1_of_10": ranked.by_mutual_information,
            "hits_at_1_of_10_by_probability": ranked.by_probability,
            "hits_at_1_of_10_by_token": ranked.by_token,
        }
    if asked.options.replies:
        metrics |= _replies(asked, codec, conversations)
    if asked.baselines and to_rank:
        asked.report("asking the rivals")
        documents = training_documents(asked)
        learnt = [speaker_turns(each) for each in read_conversations(documents)[0]] if documents else conversations
        rival = TfidfRetrieval(words for turns in learnt for _, words in turns)
        baselines = {
            "random": {"hits_at_1_of_10": 0.1},
            "tfidf": {"hits_at_1_of_10": rival.hits_at_one(conversations, to_rank)},
            "tfidf last turn": {"hits_at_1_of_10": rival.hits_at_one(conversations, to_rank, turns=1)},
        }
    return {
        "records": tally.records,
        "turns": tally.turns,
        "tokens": tally.tokens,
        "characters": tally.characters,
        "bytes": tally.bytes,
        "questions": len(to_rank),
        "metrics": metrics,
        "baselines": baselines,
    }


def speaker_turns(conversation: Conversation) -> SpeakerTurns:
    """A conversation as (speaker, words) in turn."""
    return [(turn.speaker, turn.text) for turn in conversation.turns]


def _replies(asked: EvaluationContext, codec: DialogueCodec, conversations: list[SpeakerTurns]) -> dict[str, float]:
    """How varied and how long the model's own replies are, beside those that people gave at the same places."""
    options = SampleOptions(temperature=asked.options.temperature, seed=asked.options.seed)
    reply_options = ReplyOptions(asked.options.candidates, asked.options.mutual)
    own: list[str] = []
    true: list[str] = []
    before: list[str] = []
    for history, words in sample_reply_contexts(conversations, asked.options.replies, asked.options.seed):
        asked.report(f"reply {len(own) + 1:,}")
        talk = Talk(asked.model.engine, codec, options, reply_options)
        talk.start_at(len(own))
        mine = 1 - history[-1][0] if history[-1][0] < 2 else 1  # whoever did not speak last
        for speaker, said in history:
            talk.hear(said, speaker)
        *_, reply = talk.reply(speaker=mine)
        assert isinstance(reply, Reply)
        own.append(reply.text)
        true.append(words)
        before.append(" ".join(said for _, said in history))
    lengths = [sum(len(word_tokens(reply)) for reply in replies) / max(1, len(replies)) for replies in (own, true)]
    nearness = TfidfRetrieval(words for turns in conversations for _, words in turns)
    return {
        "distinct_1": distinct_n(own, 1),
        "distinct_2": distinct_n(own, 2),
        "reference_distinct_1": distinct_n(true, 1),
        "reference_distinct_2": distinct_n(true, 2),
        "reply_words": lengths[0],
        "reference_reply_words": lengths[1],
        "reply_relevance": nearness.mean_cosine(own, before),
        "reference_reply_relevance": nearness.mean_cosine(true, before),
    }
