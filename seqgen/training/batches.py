"""Batches of a language model: lanes that read one long stream of ids side by side, state carried along each.

The stream is a ring cut into as many arcs as there are lanes. Every pass starts at another random place of the ring,
so borders between lanes and between batches fall differently each time. Batch number n is a pure function of (stream,
n, seed): to resume is to know the number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqgen.corpus.ids import IdStream

IGNORE_INDEX = -100  # a target from which nothing is learnt; PyTorch's own default


@dataclass(frozen=True)
class Batch:
    """`inputs` and `targets` of shape (time, batch); `resets_state`: the lanes jumped, so the carried state is void."""

    inputs: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    resets_state: bool


# (ids, their places in the stream, number of the pass) → other ids, all of shape (time, batch): see `augment`.
Transform = Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64], int], npt.NDArray[np.int64]]


class LaneBatches:
    """The batches of a stream, by number."""

    def __init__(
        self, stream: IdStream, batch_size: int, length: int, seed: int, transform: Transform | None = None
    ) -> None:
        """`length` steps a batch; both are lowered where the stream is too short for them. `transform` alters what is
        read, differently in every pass."""
        self._transform = transform
        self._stream = stream
        self.batch_size = max(1, min(batch_size, len(stream) // 2))
        self._arc = len(stream) // self.batch_size
        self.length = max(1, min(length, self._arc))
        self._seed = seed
        self.batches_per_epoch = -(-self._arc // self.length)

    def __getitem__(self, number: int) -> Batch:
        turn, place = divmod(number, self.batches_per_epoch)
        random = np.random.Generator(np.random.Philox(key=np.array([self._seed, turn], dtype=np.uint64)))
        offset = int(random.integers(len(self._stream)))
        start = place * self.length
        length = min(self.length, self._arc - start)
        begins = offset + start + self._arc * np.arange(self.batch_size, dtype=np.int64)
        places = (np.arange(length + 1)[:, None] + begins) % len(self._stream)
        ids = self._stream.take(places)
        if self._transform is not None:
            ids = self._transform(ids, places, turn)
        targets = ids[1:]
        if len(self._stream.false_ends):
            targets = np.where(self._stream.is_false_end(places[1:]), IGNORE_INDEX, targets)
        return Batch(ids[:-1], targets, resets_state=place == 0)


def sequential_batches(stream: IdStream, batch_size: int, length: int, most: int) -> list[Batch]:
    """The batches of one pass in order, without chance, for validation: `most` ids at the most, from the beginning.

    The stream is not a ring here: nothing is predicted across its end.
    """
    count = min(len(stream), most)
    batch_size = max(1, min(batch_size, count // (2 * length)))
    arc = (count - 1) // batch_size
    batches = []
    for start in range(0, arc, length):
        stop = min(start + length, arc)
        places = np.arange(start, stop + 1)[:, None] + arc * np.arange(batch_size)
        ids = stream.take(places)
        targets = np.where(stream.is_false_end(places[1:]), IGNORE_INDEX, ids[1:])
        batches.append(Batch(ids[:-1], targets, resets_state=start == 0))
    return batches
