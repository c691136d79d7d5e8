"""Whether the time that something takes grows like its input."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

FACTOR = 8


def is_linear(work: Callable[[int], object], size: int) -> bool:
    """Whether `FACTOR` times the size takes less than three times as many times as long; quadratic work takes more.

    The `size` is one whose work takes milliseconds at least, and a second at most if it were quadratic.
    """

    def seconds(count: int) -> Iterator[float]:
        for _ in range(3):  # the least of them: others may be disturbed
            began = time.process_time()
            work(count)
            yield time.process_time() - began

    one = min(seconds(size))
    return any(each < 3 * FACTOR * one for each in seconds(FACTOR * size))
