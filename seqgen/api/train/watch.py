"""Callbacks of a training, for those who show or stop it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from seqgen.api.train.folder import Training
from seqgen.training.loop import Event


@dataclass(frozen=True)
class Watcher:
    """Callbacks of a training; each is optional.

    report: what is being done before training begins, in a few words.
    warn: a warning.
    progress: bytes read before training begins, and bytes in total if known.
    started: training begins.
    event: an event of the training loop.
    stop: asked before every step; true saves the run and ends it early. Before training begins there is nothing to
        save: then it raises `StoppedError`.
    began: seconds (`time.monotonic`) at which the budget's clock started; by default when `train` is called.
    """

    report: Callable[[str], None] = lambda _: None
    warn: Callable[[str], None] = lambda _: None
    progress: Callable[[int, int | None], None] = lambda done, of: None
    started: Callable[[Training], None] = lambda _: None
    event: Callable[[Event], None] = lambda _: None
    stop: Callable[[], bool] = lambda: False
    began: float | None = None
