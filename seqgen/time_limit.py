"""The time for a piece of work: until when it should end by itself, and whether it was asked to stop at once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from seqgen.errors import StoppedError

T = TypeVar("T")


@dataclass(frozen=True)
class TimeLimit:
    """Asked by every stage of long work, several times a second.

    Attributes:
        seconds: all that was given, from `began` on.
        began: `time.monotonic` of the beginning.
        stop: true once the work should stop; asked by `check`.
        message: of the error that `check` raises.
    """

    seconds: float = math.inf
    began: float = 0.0
    stop: Callable[[], bool] = lambda: False
    message: str = "stopped before training began: nothing was learnt"

    def part(self, fraction: float) -> TimeLimit:
        """The limit of work that should be done when this fraction of the whole time is over."""
        return replace(self, seconds=self.seconds * fraction)

    @property
    def left(self) -> float:
        """Seconds that are left, not below 0."""
        return max(0.0, self.began + self.seconds - time.monotonic())

    @property
    def is_over(self) -> bool:
        return not self.left

    def check(self) -> None:
        """Raise `StoppedError` if the work should stop."""
        if self.stop():
            raise StoppedError(self.message)

    def until_over(self, items: Iterable[T]) -> Iterator[T]:
        """Yield items until none are left or the time is over. The first is yielded in any case."""
        for item in items:
            self.check()
            yield item
            if self.is_over:
                return


NO_LIMIT = TimeLimit()
