"""Sources of data, read as a task reads them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from seqgen import tasks
from seqgen.checkpoint import Checkpoint
from seqgen.corpus import sources
from seqgen.corpus.catalogue import entries as catalogue
from seqgen.corpus.documents import Document, Spool
from seqgen.corpus.opening.form import quoted
from seqgen.errors import UserError
from seqgen.quantities import shortened_list
from seqgen.specs.tasks import TASKS
from seqgen.specs.tokenizers import TOKENIZERS
from seqgen.streams import Progress, expand

Sources = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""One name or several, as functions take them."""


def as_list(names: Sources, kind: str = "sources") -> list[str]:
    """A list of names of a kind from one name or several. Raises `UserError` for anything else, such as data in memory.

    Tables and mappings are data: they don't stand for the names of their columns or keys.
    """
    several = [names] if isinstance(names, (str, os.PathLike)) else names
    wrong: object = names
    is_data = isinstance(several, bytes | Mapping) or hasattr(several, "columns")
    if isinstance(several, Iterable) and not is_data and getattr(several, "ndim", 1) == 1:
        found = [os.fspath(each) if isinstance(each, os.PathLike) else each for each in several]
        others = [each for each in found if not isinstance(each, str)]
        if not others:
            return found
        wrong = others[0]
    forms, remedy = "texts", ""
    if kind == "sources":
        forms, remedy = "texts or paths", "; only `train` takes data in memory, as `data`"
    raise UserError(f"{kind} are named by {forms}, not by {type(wrong).__name__}{remedy}")


def output_folder(name: str | os.PathLike[str]) -> Path:
    """The folder to write. Raises `UserError` for a name that commands would take for a model of the hub."""
    if isinstance(name, str) and name.startswith("hf:"):
        raise UserError(f"-o {name!r} would be taken for a model of the hub: name another folder")
    return expand(name)


def check_folder_hides_no_source(folder: Path, names: Sequence[str]) -> None:
    """Raise `UserError` if `folder`, once it is made, would be read in the place of one of these corpora."""
    for name in names:
        path = expand(name)
        if path.absolute() == folder.absolute() and not path.exists() and name in catalogue.load():
            raise UserError(
                f"a folder {name!r} would hide the corpus of that name from later commands; "
                f"choose another, such as -o {name}-model"
            )


def open_sources(
    task: str,
    names: Sequence[str],
    spool: Spool,
    text_column: str | None = None,
    progress: Progress | None = None,
    warn: Callable[[str], None] = lambda _: None,
    encoding: str | None = None,
    tokenizer: str | None = None,
    report: Callable[[str], None] = lambda _: None,
    sheet: str | None = None,
) -> list[Document]:
    """Find the documents that `names` stand for, with their sizes and checksums.

    Args:
        task: decides which files of a folder count, and how rows of tables become documents.
        spool: keeps sources that can be read only once; the documents are valid while it is open.
        encoding: of text; None to recognise it.
        tokenizer: of the model; that of bytes reads text as it stands, in any encoding.
        report: called with what is waited for.
        sheet: of the model's training data (see `Document`).

    Raises:
        DataError: a source is missing, unreadable or empty.
    """
    accepts, rows = tasks.accepts(task), tasks.rows(task, text_column)
    is_plain_text = TASKS.find(task).is_plain_text
    decode = tokenizer is None or not is_plain_text or TOKENIZERS.find(tokenizer).decodes_text
    reading = sources.ReadOptions(encoding, decode, sheet)
    found = sources.find(names, spool, progress, warn, accepts, rows, reading, report)
    return sources.checksum_documents(found, warn, progress, is_learnt=is_plain_text)


def trained_on(model: Checkpoint, documents: Sequence[Document]) -> list[Document]:
    """Those of the documents that a model was trained on."""
    learnt = {source["sha256"] for source in model.sources}
    return [document for document in documents if document.sha256 in learnt]


def trained_on_warning(model: Checkpoint, known: Sequence[Document]) -> str:
    """The warning for documents that a model was trained on."""
    names = shortened_list(known, 1, lambda document: quoted(document.name))
    held = "" if model.has_learnt_all else ", except for a held-out part"
    return f"{names}: the model was trained on this{held}"
