"""The tasks: what differs between learning text, dialogue, music, labels and numbers. One file each, and a row here.

To add a task: a file whose `TASK` keeps the `Task` protocol, and a row in `TASKS`.
"""

from __future__ import annotations

import importlib

from seqgen.config import TASK_NAMES
from seqgen.errors import UserError
from seqgen.tasks.task import Data, Preparation, Task

__all__ = ["TASKS", "Data", "Preparation", "Task", "find", "guess"]

# Name → the module that holds it, imported when it is asked for.
TASKS = {"text": "seqgen.tasks.text"}


def find(name: str) -> Task:
    """The task of that name. Raises `UserError` for one that this version has not."""
    if name not in TASKS:
        known = ", ".join(TASKS)
        if name in TASK_NAMES:
            raise UserError(f"--task {name} is not in this version; it has {known}")
        raise UserError(f"there is no task {name!r}; this version has {known}")
    task: Task = importlib.import_module(TASKS[name]).TASK
    return task


def guess(sources: list[str]) -> str:
    """The task that the names of the sources make plain; otherwise text."""
    return "text"
