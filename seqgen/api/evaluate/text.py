"""Evaluate a language model of text beside compressors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from seqgen.api.evaluate.base import EvaluationContext, training_documents
from seqgen.corpus import split
from seqgen.corpus.sources import Document
from seqgen.errors import UserError
from seqgen.evaluation.baselines import compressors
from seqgen.evaluation.text import TextTally, tally_record, tally_records, tally_with_cache
from seqgen.generation.engines.context_cache import ContextCacheEngine


def evaluate(context: EvaluationContext) -> dict[str, Any]:
    """Score every document from beginning to end. Raises `UserError` if there is nothing to predict in them."""

    def chunks(document: Document) -> Iterator[bytes]:
        context.report(f"reading {document.name}")
        yield from document.chunks()

    model, cached = context.model, None
    texts = map(chunks, context.documents)
    engine = model.with_context_cache(model.batch_engine, context.options.context_cache)
    if isinstance(engine, ContextCacheEngine):
        tally, cached = tally_with_cache(engine, model.codec, texts)
    else:
        tally = tally_records(engine, model.codec, texts)
    adaptive = _adaptive_tally(context) if context.options.adaptive else None
    metrics = tally.metrics()
    if not metrics:
        raise UserError("cannot evaluate on one character: no character follows it")
    baselines: dict[str, Any] = {}
    if context.baselines and tally.bytes <= compressors.MAX_BYTES:
        context.report("measuring the baselines")
        records = [b"".join(document.chunks()) for document in context.documents]
        baselines = compressors.baselines(records, _training_text(context), tally)
    return {
        "records": tally.records,
        "tokens": tally.tokens,
        "characters": tally.characters,
        "bytes": tally.bytes,
        "metrics": metrics,
        **({} if adaptive is None else {"adaptive": adaptive.metrics()}),
        **({} if cached is None else {"context_cache": cached.metrics()}),
        "baselines": baselines,
    }


def _adaptive_tally(context: EvaluationContext) -> TextTally:
    """Score the documents one after another while the weights follow them (`evaluation.adaptive`)."""
    from seqgen.evaluation.adaptive import AdaptiveScorer

    codec, tally = context.model.codec, TextTally()
    scorer = AdaptiveScorer(context.model.network, codec)
    for document in context.documents:
        context.report(f"reading {document.name} while adapting to it")
        scorer.reset()
        tally.add(tally_record(scorer, codec, document.chunks()))
    return tally


def _training_text(context: EvaluationContext) -> bytes:
    """The text that the model was trained on, without what it has not learnt of it; empty if it is gone or too long."""
    loaded = context.model.checkpoint
    if sum(source["bytes"] for source in loaded.sources) > compressors.MAX_BYTES:
        return b""
    documents = training_documents(context)
    if documents is None:
        return b""
    if loaded.has_learnt_all:
        spans = split.full_spans(documents)
    else:
        spans = split.hold_out(documents, loaded.options.val_fraction)[0]
    return b"".join(chunk for span in spans for chunk in span.chunks())
