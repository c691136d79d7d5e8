"""What the evaluators of all tasks share: their argument, and the training sources as they were split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from seqgen import tasks
from seqgen.api import copies
from seqgen.api.sources import open_sources
from seqgen.config import EvaluateOptions
from seqgen.corpus.documents import Document, Spool
from seqgen.errors import UserError
from seqgen.specs.tasks import RowLayout

_ROW_FILES = (".parquet", ".arrow")  # of which a document is made of the rows, whether or not a column is named
_MAX_ROW_BYTES = 1 << 29

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
    documents = copies.unchanged_sources(context.model.checkpoint, context.spool) or _rows_as_documents(context)
    evaluated = {document.sha256 for document in context.documents}
    if not documents or evaluated & {document.sha256 for document in documents}:
        return None
    return [replace(document, sheet=context.model.sheet) for document in documents]


def _rows_as_documents(context: EvaluationContext) -> list[Document]:
    """The training sources of which a document was made of their rows, read again; empty unless all are unchanged.

    What config.json records is the document, not the file. The names are untrusted: only local files are opened.
    """
    model, sources = context.model, context.model.checkpoint.sources
    rows, paths = tasks.rows(model.task, model.text_column), [Path(source["name"]).absolute() for source in sources]
    if rows.layout is RowLayout.NONE:
        return []
    if rows.text_column is None and any(path.suffix.lower() not in _ROW_FILES for path in paths):
        return []
    if not all(path.is_file() and 0 < path.stat().st_size <= _MAX_ROW_BYTES for path in paths):
        return []
    try:
        found = open_sources(
            model.task, list(map(str, paths)), context.spool, rows.text_column,
            encoding=model.checkpoint.options.encoding, tokenizer=model.checkpoint.config["tokenizer"],
        )  # fmt: skip
    except UserError:  # they are something else now
        return []
    return found if [each.sha256 for each in found] == [source["sha256"] for source in sources] else []
