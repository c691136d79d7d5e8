"""Read sources as `train` reads them, and say how: nothing is learnt or written."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from seqgen.api.reading.base import Reading, ReadingContext
from seqgen.api.sources import Sources, as_list, open_sources
from seqgen.config import TrainOptions, check_task, make_options
from seqgen.corpus.documents import Document, Spool
from seqgen.corpus.opening.form import quoted
from seqgen.corpus.opening.identify import read_head
from seqgen.corpus.sources import read_standard_input
from seqgen.corpus.tables.read import is_workbook
from seqgen.errors import DataError, UserError
from seqgen.specs.registry import resolve
from seqgen.specs.tasks import TASKS, RowLayout
from seqgen.tasks.guess import TaskGuess, guess, is_json_file
from seqgen.untrusted import one_line

_MAX_EXPLAINED_BYTES = 1 << 24  # of a file that other tasks are tried on
_MAX_REASON = 200  # characters
_LINE_NUMBER = re.compile(r"^:\d+(?=:)")  # behind the name of a file


def read(
    sources: Sources,
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
        found = TaskGuess(task, "--task says so") if task is not None else guess(names, options, spool, report)
        spec = TASKS.find(found.task)
        check_task(TrainOptions, options, spec.name)
        if sentence := prose_warning(found, spool, given):
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


def prose_warning(found: TaskGuess, spool: Spool, options: TrainOptions) -> str:
    """The warning for data that is taken for prose, or for what an option leaves, with the reasons; '' for none.

    Raises:
        DataError: the data is a workbook, which is no prose.
    """
    if not found.prose:
        return found.remark
    path = Path(found.prose).expanduser() if found.prose != "-" else read_standard_input(spool)
    size = path.stat().st_size
    if not size:  # reading it reports that
        return ""
    tried = _try_tasks(found.prose, path, spool, options) if size <= _MAX_EXPLAINED_BYTES else {}
    refusals = {task: reason for task, reason in tried.items() if reason}
    fits = [task for task in tried if task not in refusals and task != found.task]
    could = f"--task {_either(fits)} could read it" if fits else ""
    spec = TASKS.find(found.task)
    if not spec.is_plain_text:  # an option left the task for text out
        doubt = f"{quoted(found.prose)} is taken for {spec.form}, but it isn't plain{could and f'; {could}, too'}"
        return "" if spec.name in refusals or not tried else doubt
    why = f" ({'; '.join(f'{task}: {reason}' for task, reason in refusals.items())})" if refusals else ""
    other = f"{could} as data" if fits else "--task names another task"
    if is_workbook(read_head(path)):
        reasons = set(tried.values())  # one that all tasks have is that of the workbook, such as its several sheets
        one = reasons.pop() if len(reasons) == 1 else ""
        raise DataError(f"{quoted(found.prose)} {one or f'is an Excel workbook of no plain form{why}; {other}'}")
    return f"{quoted(found.prose)} is read as prose, not as data{why}; {other}, --task text settles it"


def _either(names: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _try_tasks(source: str, path: Path, spool: Spool, options: TrainOptions) -> dict[str, str]:
    """What the tasks that a source might have been for say of it, by their names; '' if they could read it."""
    found: dict[str, str] = {}
    is_json = is_json_file(path)
    for spec in TASKS.values():
        if spec.guess is None or (is_json and spec.row_layout is RowLayout.TABLE):
            continue
        with contextlib.suppress(UserError):
            documents = open_sources(spec.name, [source], spool)
            found[spec.name] = _refusal(spec.reader, documents, options)
    return found


def _refusal(reader: str, documents: list[Document], options: TrainOptions) -> str:
    try:
        resolve(reader)(ReadingContext(documents, options, 0, lambda _: None))
    except UserError as error:
        name = documents[0].name
        text = str(error).removeprefix(quoted(name)).removeprefix(repr(name)).removeprefix(name)
        text = _LINE_NUMBER.sub("", text).lstrip(":, ")
        return one_line(text if len(text) <= _MAX_REASON else text[: _MAX_REASON - 1] + "…")
    return ""
