"""Tasks: how sources become training data, and what is trained on them. Their table is `seqgen.specs.tasks`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqgen.corpus.dataset_rows import RowFormat
from seqgen.corpus.sources import FileTest
from seqgen.specs.registry import resolve
from seqgen.specs.tasks import TASKS, RowLayout

if TYPE_CHECKING:
    from seqgen.tasks.base import AnyNetwork, Task

__all__ = ["accepts", "find", "rows"]


def find(name: str) -> Task[AnyNetwork]:
    """The task of this name. Raises `UserError` if there is none."""
    spec = TASKS.find(name)
    task: Task[AnyNetwork] = resolve(spec.implementation)(spec)
    return task


def accepts(name: str) -> FileTest:
    """Which files of a folder a task reads (see `sources.find`)."""
    spec = TASKS.find(name)
    return FileTest(spec.file_suffixes, spec.source_noun, spec.file_kinds, spec.source_formats)


def rows(name: str, text_column: str | None = None) -> RowFormat:
    """How a task reads the rows of datasets and tables; `text_column` counts only where the rows become text."""
    layout = TASKS.find(name).row_layout
    return RowFormat(layout, text_column if layout is RowLayout.TEXT else None)
