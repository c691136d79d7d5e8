"""Tasks: how sources become training data, and what is trained on them. Their table is `seqgen.specs.tasks`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from seqgen.corpus.catalogue import entries as catalogue
from seqgen.corpus.dataset_rows import RowFormat
from seqgen.corpus.sources import FileTest
from seqgen.specs.registry import resolve
from seqgen.specs.tasks import TASKS, RowLayout
from seqgen.streams import suffix_of

if TYPE_CHECKING:
    from seqgen.tasks.base import AnyNetwork, Task

__all__ = ["accepts", "find", "guess", "rows"]


def find(name: str) -> Task[AnyNetwork]:
    """The task of this name. Raises `UserError` if there is none."""
    spec = TASKS.find(name)
    task: Task[AnyNetwork] = resolve(spec.implementation)(spec)
    return task


def accepts(name: str) -> FileTest:
    """Which files of a folder a task reads (see `sources.find`)."""
    spec = TASKS.find(name)
    return FileTest(spec.file_suffixes, spec.source_noun)


def rows(name: str, text_column: str | None = None) -> RowFormat:
    """How a task reads the rows of datasets and tables; `text_column` counts only where the rows become text."""
    layout = TASKS.find(name).row_layout
    return RowFormat(layout, text_column if layout is RowLayout.TEXT else None)


def guess(sources: list[str]) -> str:
    """The task that the sources are plainly for; the first of the table if they aren't, or disagree."""
    guesses = {_guess(source) for source in sources}
    return guesses.pop() if len(guesses) == 1 else next(iter(TASKS))


def _guess(source: str) -> str:
    path = Path(os.path.expanduser(source))
    for spec in TASKS.values():
        if spec.file_suffixes and _has_suffix(path, spec.file_suffixes):
            return spec.name
    if os.path.isfile(path) or os.path.isdir(path):  # a pipe can be read only once
        for spec in sorted(TASKS.values(), key=lambda spec: -spec.guess_rank):
            if spec.guess is not None and resolve(spec.guess)(path):
                return spec.name
    entry = None if os.path.exists(path) else catalogue.load().get(source)
    return entry.task if entry is not None and entry.task in TASKS else next(iter(TASKS))


def _has_suffix(path: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether a file or glob, or most files of a folder, have one of these suffixes."""
    if not os.path.isdir(path):
        return suffix_of(path) in suffixes
    names = [name for _, _, files in os.walk(path) for name in files if not name.startswith(".")]
    return sum(suffix_of(Path(name)) in suffixes for name in names) > len(names) / 2
