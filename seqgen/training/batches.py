"""Batches of a language model: parallel lanes of one long stream of ids, with state carried along each.

The stream is a ring that is cut into one arc a lane. Every epoch starts at another random position of the ring, so
borders between lanes and between batches fall differently each time. Batch n is a pure function of (stream, n, seed):
resuming needs only the number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqgen.corpus.ids import IdStream

IGNORE_INDEX = -100  # a target that is not predicted; PyTorch's own default


def epoch_rng(seed: int, epoch: int, counter: int = 0) -> np.random.Generator:
    """The random numbers of one epoch, the same whenever they are drawn; from another `counter` on, other ones."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64), counter=counter))


def epoch_permutation(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    """The order of `count` examples in one epoch."""
    return epoch_rng(seed, epoch).permutation(count)


@dataclass(frozen=True)
class Batch:
    """Ids of shape (time, batch); with `resets_state` the lanes have jumped, and the state starts at zero."""

    inputs: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    resets_state: bool


# (ids, their positions in the stream, epoch) → other ids, all of shape (time, batch); see `augment`.
Transform = Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64], int], npt.NDArray[np.int64]]


def _lanes(tokens: int, batch_size: int, length: int) -> tuple[int, int, int]:
    """The lanes of a stream of so many ids, the ids of each lane, and the steps of a batch."""
    lanes = max(1, min(batch_size, tokens // 2))
    arc = tokens // lanes
    return lanes, arc, max(1, min(length, arc))


def lane_batches_per_epoch(tokens: int, batch_size: int, length: int) -> int:
    """The batches in an epoch of a stream of so many ids; the last one may be shorter."""
    _, arc, steps = _lanes(tokens, batch_size, length)
    return -(-arc // steps)


class LaneBatches:
    """The batches of a stream, by number."""

    def __init__(
        self, stream: IdStream, batch_size: int, length: int, seed: int, transform: Transform | None = None
    ) -> None:
        """
        Args:
            batch_size, length: lanes and steps of a batch; both are lowered for a stream that is too short.
            transform: alters the ids, differently in every epoch.
        """
        self._transform = transform
        self._stream = stream
        self.batch_size, self._arc, self.length = _lanes(len(stream), batch_size, length)
        self._seed = seed
        self.batches_per_epoch = lane_batches_per_epoch(len(stream), batch_size, length)

    def __getitem__(self, number: int) -> Batch:
        epoch, index = divmod(number, self.batches_per_epoch)
        offset = int(epoch_rng(self._seed, epoch).integers(len(self._stream)))
        start = index * self.length
        length = min(self.length, self._arc - start)
        begins = offset + start + self._arc * np.arange(self.batch_size, dtype=np.int64)
        positions = (np.arange(length + 1)[:, None] + begins) % len(self._stream)
        ids = self._stream.take(positions)
        if self._transform is not None:
            ids = self._transform(ids, positions, epoch)
        targets = ids[1:]
        if not self._stream.predicts_all:
            targets = np.where(self._stream.is_target(positions[1:]), targets, IGNORE_INDEX)
        return Batch(ids[:-1], targets, resets_state=index == 0)


def sequential_batches(stream: IdStream, batch_size: int, length: int, most: int) -> list[Batch]:
    """The batches of one epoch in order, without randomness, for validation: at most the first `most` ids.

    The stream is not a ring here: nothing is predicted across its end.
    """
    count = min(len(stream), most)
    batch_size = max(1, min(batch_size, count // (2 * length)))
    arc = (count - 1) // batch_size
    batches = []
    for start in range(0, arc, length):
        stop = min(start + length, arc)
        positions = np.arange(start, stop + 1)[:, None] + arc * np.arange(batch_size)
        ids = stream.take(positions)
        targets = np.where(stream.is_target(positions[1:]), ids[1:], IGNORE_INDEX)
        batches.append(Batch(ids[:-1], targets, resets_state=start == 0))
    return batches
