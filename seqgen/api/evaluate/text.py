"""How each task's models are measured: one function a task, and the table EVALUATIONS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seqgen.config import EvaluateOptions
from seqgen.corpus import sources as reading
from seqgen.corpus import split
from seqgen.corpus.sources import Document
from seqgen.errors import UserError
from seqgen.evaluation.adaptive import AdaptiveScorer
from seqgen.evaluation.baselines import compressors
from seqgen.evaluation.text import TextTally, tally_record

if TYPE_CHECKING:
    from seqgen.api.model import Model


@dataclass(frozen=True)
class EvaluationContext:
    """What is asked for."""

    model: Model
    documents: list[Document]  # measured
    options: EvaluateOptions
    baselines: bool
    warn: Callable[[str], None]
    report: Callable[[str], None]


def evaluate_text(asked: EvaluationContext) -> dict[str, Any]:
    """Every document from end to end, beside compressors."""
    network, codec = asked.model.network, asked.model.codec
    result, followed = TextTally(), TextTally()
    follower = AdaptiveScorer(network, codec) if asked.options.adaptive else None
    for document in asked.documents:
        asked.report(f"reading {document.name}")
        tally_record(network, codec, document.chunks(), result)
        if follower is not None:
            asked.report(f"learning from {document.name} while reading it")
            follower.reset()
            tally_record(network, codec, document.chunks(), followed, follower)
    metrics = result.metrics()
    if not metrics:
        raise UserError("one character is too little to evaluate on: nothing comes after it")
    baselines: dict[str, Any] = {}
    if asked.baselines and result.bytes <= compressors.MAX_BYTES:
        asked.report("asking the rivals")
        records = [b"".join(document.chunks()) for document in asked.documents]
        baselines = compressors.baselines(records, _training_text(asked), result)
    return {
        "records": result.records,
        "tokens": result.tokens,
        "characters": result.characters,
        "bytes": result.bytes,
        "metrics": metrics,
        **({} if follower is None else {"adaptive": followed.metrics()}),
        "baselines": baselines,
    }


def _training_text(asked: EvaluationContext) -> bytes:
    """What the model learnt from, without what was held out, if the sources still lie where they lay, unchanged, and
    are not what is evaluated; otherwise nothing."""
    loaded = asked.model.checkpoint
    if sum(source["bytes"] for source in loaded.sources) > compressors.MAX_BYTES:
        return b""
    documents = training_documents(asked)
    if documents is None:
        return b""
    own_valid = bool(loaded.config["data"].get("valid_sources"))
    parts = split.full_spans(documents) if own_valid else split.hold_out(documents, loaded.options.val_fraction)[0]
    return b"".join(chunk for part in parts for chunk in part.chunks())


def training_documents(asked: EvaluationContext) -> list[Document] | None:
    """The sources of training, measured, if all still lie where they lay, unchanged, and none is what is evaluated."""
    documents = reading.find_unchanged(asked.model.checkpoint.sources)
    own = {each.sha256 for each in asked.documents}
    return None if documents is None or own & {document.sha256 for document in documents} else documents


def evaluate_music(asked: EvaluationContext) -> dict[str, Any]:
    """Every piece from end to end, beside models that count; and pieces of the model's own beside the real ones."""
    from seqgen.api.evaluate import music as music_evaluation

    return music_evaluation.evaluate(asked)


def evaluate_dialogue(asked: EvaluationContext) -> dict[str, Any]:
    """Every conversation from end to end, the true reply among others, and replies of the model's own."""
    from seqgen.api.evaluate import dialogue as dialogue_evaluation

    return dialogue_evaluation.evaluate(asked)


def evaluate_forecast(asked: EvaluationContext) -> dict[str, Any]:
    """Every window of what was not learnt from, beside naive rivals and a linear model."""
    from seqgen.api.evaluate import forecasting as forecast_evaluation

    return forecast_evaluation.evaluate(asked)


def evaluate_classify(asked: EvaluationContext) -> dict[str, Any]:
    """Every text's label beside the true one, and beside rivals'."""
    from seqgen.api.evaluate import classification as classify_evaluation

    return classify_evaluation.evaluate(asked)


EVALUATORS: dict[str, Callable[[EvaluationContext], dict[str, Any]]] = {
    "text": evaluate_text, "dialogue": evaluate_dialogue, "music": evaluate_music,
    "forecast": evaluate_forecast,
    "classify": evaluate_classify,
}  # fmt: skip
