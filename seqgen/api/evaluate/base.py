"""What the evaluators of all tasks share: their argument, and the training sources as they were split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from seqgen.config import EvaluateOptions
from seqgen.corpus import sources as reading
from seqgen.corpus.documents import Document, Spool

if TYPE_CHECKING:
    from seqgen.api.loaded import LoadedModel


@dataclass(frozen=True)
class EvaluationContext:
    """An evaluation to run: the model, the measured documents to evaluate it on, and the options."""

    model: LoadedModel
    documents: list[Document]
    options: EvaluateOptions
    baselines: bool
    warn: Callable[[str], None]
    report: Callable[[str], None]
    spool: Spool  # stores the members of archives


def training_documents(context: EvaluationContext) -> list[Document] | None:
    """The training sources, measured; None if the model names none, or if any has moved, changed or is evaluated."""
    documents = reading.find_unchanged(context.model.checkpoint.sources, spool=context.spool)
    evaluated = {document.sha256 for document in context.documents}
    if not documents or evaluated & {document.sha256 for document in documents}:
        return None
    return [replace(document, sheet=context.model.sheet) for document in documents]
