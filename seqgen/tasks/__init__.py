"""The tasks: what differs between learning text, dialogue, music, labels and numbers. One file each, and a row here.

To add a task: a file whose `TASK` keeps the `Task` protocol, and a row in `TASKS`.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from seqgen.config import TASK_NAMES
from seqgen.corpus.catalogue import entries as catalogue
from seqgen.corpus.conversations.read import looks_like_dialogue
from seqgen.corpus.labelled.read import looks_like_labelled_texts
from seqgen.corpus.rows import RowFormat
from seqgen.corpus.series.read import looks_like_series
from seqgen.corpus.sources import Accepts, looks_like_midi, looks_like_text
from seqgen.errors import UserError

if TYPE_CHECKING:
    from seqgen.tasks.base import Task

__all__ = ["TASKS", "accepts", "find", "guess", "rows"]

# What a file of a folder must look like, known without importing a task's machinery.
_ACCEPTS: dict[str, Accepts] = {"music": looks_like_midi}

# What becomes of the rows of a set (see `rows.RowFormat`).
_SHAPES = {"text": "text", "dialogue": "records", "classify": "records", "forecast": "table", "music": "none"}

# Name → the module that holds it, imported when it is asked for.
TASKS = {
    "text": "seqgen.tasks.text",
    "dialogue": "seqgen.tasks.dialogue",
    "music": "seqgen.tasks.music",
    "forecast": "seqgen.tasks.forecasting",
    "classify": "seqgen.tasks.classification",
}


def find(name: str) -> Task:
    """The task of that name. Raises `UserError` for one that this version has not."""
    if name not in TASKS:
        known = ", ".join(TASKS)
        if name in TASK_NAMES:
            raise UserError(f"--task {name} is not in this version; it has {known}")
        raise UserError(f"there is no task {name!r}; this version has {known}")
    task: Task = importlib.import_module(TASKS[name]).TASK
    return task


def accepts(name: str) -> Accepts:
    """Which files of a folder count for a task (see `sources.find`)."""
    return _ACCEPTS.get(name, looks_like_text)


def rows(name: str, text_column: str | None = None) -> RowFormat:
    """How a task reads the rows of a set; of text, the column that is asked for."""
    return RowFormat(_SHAPES[name], text_column if name == "text" else None)


def guess(sources: list[str]) -> str:
    """The task that the names of the sources make plain; otherwise text.

    A catalogue's name tells its task, a folder what most of its files are called.
    """
    guesses = {_guess(source) for source in sources}
    return guesses.pop() if len(guesses) == 1 else "text"


def _guess(source: str) -> str:
    path = Path(os.path.expanduser(source))
    if os.path.isdir(path):
        names = [name for _, _, files in os.walk(path) for name in files if not name.startswith(".")]
        midi = sum(looks_like_midi(Path(name)) for name in names)
        return "music" if midi > len(names) / 2 else "classify" if looks_like_labelled_texts(path) else "text"
    if looks_like_midi(path):  # globs too
        return "music"
    if os.path.isfile(path):
        if looks_like_labelled_texts(path):
            return "classify"
        if looks_like_series(path):
            return "forecast"
        return "dialogue" if looks_like_dialogue(path) else "text"
    if not os.path.exists(path):
        entry = catalogue.load().get(source)
        if entry is not None and entry.task in TASKS:
            return entry.task
    return "text"
