"""Read sources as `train` reads them, and say how: nothing is learnt or written."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from seqgen.api.reading.base import Reading, ReadingContext
from seqgen.api.sources import as_list, open_sources
from seqgen.config import TrainOptions, check_task, make_options
from seqgen.corpus.documents import Document, Spool
from seqgen.corpus.opening.form import quoted
from seqgen.corpus.sources import read_standard_input
from seqgen.errors import UserError
from seqgen.specs.registry import resolve
from seqgen.specs.tasks import TASKS
from seqgen.tasks.guess import Guess, guess
from seqgen.untrusted import one_line

_MAX_EXPLAINED_BYTES = 1 << 24  # of a file that other tasks are tried on
_MAX_REASON = 200  # characters


def read(
    sources: Sequence[str] | str,
    *,
    task: str | None = None,
    count: int = 3,
    warn: Callable[[str], None] = lambda _: None,
    report: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> dict[str, Any]:
    """Return how sources are understood, as `seqgen read --json` prints it.

    Args:
        task: a name from `specs.tasks`; by default guessed from the sources.
        count: number of records to show.
        warn: called with every warning, which the result has too.
        report: called with what is waited for.
        options: fields of `config.TrainOptions`.

    Raises:
        UserError: the arguments or the sources are unusable.
    """
    names = as_list(sources)
    given = make_options(TrainOptions, options)
    warnings: list[str] = []

    def add(sentence: str) -> None:
        sentence = one_line(sentence)
        if sentence not in warnings:
            warnings.append(sentence)
            warn(sentence)

    with Spool() as spool:
        found = Guess(task, "--task says so") if task is not None else guess(names, options, spool, report)
        spec = TASKS.find(found.task)
        check_task(TrainOptions, options, spec.name)
        if sentence := prose_warning(found, spool):
            add(sentence)
        documents = open_sources(
            spec.name, names, spool, given.text_column, None, add, given.encoding, given.tokenizer, report
        )
        reading: Reading = resolve(spec.reader)(ReadingContext(documents, given, count, add))
    return {
        "task": spec.name,
        "reason": found.reason,
        "format": reading.format,
        "encoding": _distinct(document.form.encoding_name for document in documents if document.form.is_text),
        "compression": _distinct(compression for document in documents for compression in document.form.compressions),
        "delimiter": reading.delimiter,
        "unit": reading.unit,
        "records": reading.records,
        "held_out": reading.held_out,
        "held_out_part": reading.held_out_part,
        "sizes": reading.sizes,
        "columns": reading.columns,
        "labels": reading.labels,
        "speakers": reading.speakers,
        "warnings": warnings,
        "first": list(reading.first),
    }


def _distinct(values: Any) -> str:
    return ", ".join(dict.fromkeys(values))


def prose_warning(found: Guess, spool: Spool) -> str:
    """The warning for data that is taken for prose, with the reasons; '' for none."""
    if not found.prose:
        return found.remark
    path = Path(found.prose).expanduser() if found.prose != "-" else read_standard_input(spool)
    reasons = _refusals(found.prose, spool) if path.stat().st_size <= _MAX_EXPLAINED_BYTES else []
    why = f" ({'; '.join(reasons)})" if reasons else ""
    return (
        f"{quoted(found.prose)} is read as prose, not as data{why}; --task names another task, --task text settles it"
    )


def _refusals(source: str, spool: Spool) -> list[str]:
    """What the tasks that a source might have been for say of it."""
    reasons: list[str] = []
    for spec in TASKS.values():
        if spec.guess is None:
            continue
        with contextlib.suppress(UserError):
            documents = open_sources(spec.name, [source], spool)
            reasons.append(f"{spec.name}: {_refusal(spec.reader, documents)}")
    return reasons


def _refusal(reader: str, documents: list[Document]) -> str:
    try:
        resolve(reader)(ReadingContext(documents, TrainOptions(), 0, lambda _: None))
    except UserError as error:
        name = documents[0].name
        text = str(error).removeprefix(quoted(name)).removeprefix(repr(name)).removeprefix(name).lstrip(":, ")
        return one_line(text if len(text) <= _MAX_REASON else text[: _MAX_REASON - 1] + "…")
    return "it could be, but it isn't plain"
