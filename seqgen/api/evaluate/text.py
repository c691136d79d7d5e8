"""Evaluate a language model of text beside compressors."""

from __future__ import annotations

from typing import Any

from seqgen.api.evaluate.base import EvaluationContext, training_documents
from seqgen.corpus import split
from seqgen.errors import UserError
from seqgen.evaluation.adaptive import AdaptiveScorer
from seqgen.evaluation.baselines import compressors
from seqgen.evaluation.text import TextTally, tally_record


def evaluate(context: EvaluationContext) -> dict[str, Any]:
    """Score every document from beginning to end. Raises `UserError` if there is nothing to predict in them."""
    network, codec = context.model.network, context.model.codec
    tally, adaptive_tally = TextTally(), TextTally()
    adaptive = AdaptiveScorer(network, codec) if context.options.adaptive else None
    for document in context.documents:
        context.report(f"reading {document.name}")
        tally_record(network, codec, document.chunks(), tally)
        if adaptive is not None:
            context.report(f"reading {document.name} while adapting to it")
            adaptive.reset()
            tally_record(network, codec, document.chunks(), adaptive_tally, adaptive)
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
        **({} if adaptive is None else {"adaptive": adaptive_tally.metrics()}),
        "baselines": baselines,
    }


def _training_text(context: EvaluationContext) -> bytes:
    """The text that the model was trained on, without the validation set; empty if it is gone or too long."""
    loaded = context.model.checkpoint
    if sum(source["bytes"] for source in loaded.sources) > compressors.MAX_BYTES:
        return b""
    documents = training_documents(context)
    if documents is None:
        return b""
    if loaded.has_own_valid:
        spans = split.full_spans(documents)
    else:
        spans = split.hold_out(documents, loaded.options.val_fraction)[0]
    return b"".join(chunk for span in spans for chunk in span.chunks())
