"""Evaluate a dialogue model beside random replies and TF-IDF retrieval."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from seqgen.api.evaluate.base import EvaluationContext, training_documents
from seqgen.config import ChatOptions, ReplyOptions
from seqgen.corpus.conversations.read import Conversation, read_conversations
from seqgen.errors import DataError
from seqgen.evaluation.dialogue import (
    SpeakerTurns,
    TfidfRetrieval,
    distinct_n,
    evaluate_conversations,
    hits_by_chance,
    ranking_questions,
    sample_reply_contexts,
    word_tokens,
)
from seqgen.generation.dialogue import ChatSession, Reply
from seqgen.tokenizers.dialogue import DialogueCodec


def evaluate(context: EvaluationContext) -> dict[str, Any]:
    """Score every conversation, rank true replies among others and, with `--replies`, measure generated replies.

    Raises `DataError` if there is no conversation in the documents.
    """
    codec = context.model.dialogue_codec()
    found, reading = read_conversations(context.documents, warn=context.warn if len(context.documents) > 1 else None)
    if reading.damaged_lines:
        context.warn(reading.summary())
    conversations = [speaker_turns(conversation) for conversation in found]
    if not conversations:
        raise DataError(f"{context.documents[0].name!r} has no conversation")
    to_rank = ranking_questions(conversations, context.options.seed)

    def progress(done: int, of: int) -> None:
        context.report(f"conversation {done:,} of {of:,}" + (", replies ranked at each turn" if to_rank else ""))

    tally, ranked = evaluate_conversations(
        context.model.batch_engine, codec, conversations, to_rank, progress, context.model.ranker
    )
    metrics: dict[str, Any] = dict(tally.metrics())
    cached: dict[str, Any] = {}
    if context.options.context_cache:
        engine = context.model.with_context_cache(context.model.batch_engine, context.options.context_cache)
        cached = {"context_cache": evaluate_conversations(engine, codec, conversations, (), progress)[0].metrics()}
    baselines: dict[str, Any] = {}
    if to_rank:
        metrics |= {
            "hits_at_1_of_10": ranked.by_mutual_information if ranked.by_ranker is None else ranked.by_ranker,
            "hits_at_1_of_10_by_mutual_information": ranked.by_mutual_information,
            "hits_at_1_of_10_by_probability": ranked.by_probability,
            "hits_at_1_of_10_by_token": ranked.by_token,
        }
    if context.options.replies:
        metrics |= _replies(context, codec, conversations)
    if context.baselines and to_rank:
        context.report("measuring the baselines")
        documents = training_documents(context)
        if not documents:
            context.warn(
                "TF-IDF counts words in what is evaluated: the training conversations have moved or changed, or are "
                "among it"
            )
        training = [speaker_turns(each) for each in read_conversations(documents)[0]] if documents else conversations
        retrieval = TfidfRetrieval(text for turns in training for _, text in turns)
        baselines = {
            "random": {"hits_at_1_of_10": hits_by_chance(to_rank)},
            "tfidf": {"hits_at_1_of_10": retrieval.hits_at_one(conversations, to_rank)},
            "tfidf last turn": {"hits_at_1_of_10": retrieval.hits_at_one(conversations, to_rank, turns=1)},
        }
    return {
        "records": tally.records,
        "turns": tally.turns,
        "tokens": tally.tokens,
        "characters": tally.characters,
        "bytes": tally.bytes,
        "questions": len(to_rank),
        "metrics": metrics,
        **cached,
        "baselines": baselines,
    }


def speaker_turns(conversation: Conversation) -> SpeakerTurns:
    """The turns of a conversation as (speaker, text)."""
    return [(turn.speaker, turn.text) for turn in conversation.turns]


def _replies(context: EvaluationContext, codec: DialogueCodec, conversations: list[SpeakerTurns]) -> dict[str, float]:
    """Diversity, length and relevance of generated replies, and of the true replies to the same turns."""
    options = ChatOptions(seed=context.options.seed)
    if context.options.temperature is not None:
        options = replace(options, temperature=context.options.temperature)
    reply_options = ReplyOptions(context.options.candidates, context.options.mutual)
    generated: list[str] = []
    true: list[str] = []
    contexts: list[str] = []
    for history, reference in sample_reply_contexts(conversations, context.options.replies, context.options.seed):
        context.report(f"reply {len(generated) + 1:,}")
        session = ChatSession(context.model.engine, codec, options, reply_options, context.model.ranker)
        session.start_at(len(generated))
        own = 1 - history[-1][0] if history[-1][0] < 2 else 1  # a speaker other than the last
        for speaker, text in history:
            session.hear(text, speaker)
        *_, reply = session.reply(speaker=own)
        assert isinstance(reply, Reply)
        generated.append(reply.text)
        true.append(reference)
        contexts.append(" ".join(text for _, text in history))
    lengths = [
        sum(len(word_tokens(reply)) for reply in replies) / max(1, len(replies)) for replies in (generated, true)
    ]
    retrieval = TfidfRetrieval(text for turns in conversations for _, text in turns)
    return {
        "distinct_1": distinct_n(generated, 1),
        "distinct_2": distinct_n(generated, 2),
        "reference_distinct_1": distinct_n(true, 1),
        "reference_distinct_2": distinct_n(true, 2),
        "reply_words": lengths[0],
        "reference_reply_words": lengths[1],
        "reply_relevance": retrieval.mean_cosine(generated, contexts),
        "reference_reply_relevance": retrieval.mean_cosine(true, contexts),
    }
