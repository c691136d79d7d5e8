"""Texts cut into chunks that the classifiers read in parallel, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.integer]


class Chunks(NamedTuple):
    """Texts as columns of a batch, padded with zeros at the end of a chunk."""

    ids: npt.NDArray[np.int64]  # (time, chunks)
    lengths: npt.NDArray[np.int64]  # (chunks,), at least 1
    text_indices: npt.NDArray[np.int64]  # (chunks,): the text of each chunk, ascending


def chunk_texts(texts: Sequence[Ids], size: int) -> Chunks:
    """Cut every text into as few chunks of at most `size` ids as possible, of nearly equal length.

    No text may be empty.
    """
    counts = chunk_counts(np.array([len(text) for text in texts]), size)
    sizes = [-(-len(text) // count) for text, count in zip(texts, counts, strict=True)]
    text_indices = np.repeat(np.arange(len(texts)), counts)
    ids = np.zeros((max(sizes), int(counts.sum())), dtype=np.int64)
    lengths = np.empty(len(text_indices), dtype=np.int64)
    column = 0
    for text, count, chunk_size in zip(texts, counts, sizes, strict=True):
        for start in range(0, count * chunk_size, chunk_size):
            chunk = text[start : start + chunk_size]
            ids[: len(chunk), column] = chunk
            lengths[column] = len(chunk)
            column += 1
    return Chunks(ids, lengths, text_indices)


def chunk_counts(lengths: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """The number of chunks of at most `size` ids that texts of these lengths are cut into."""
    return -(-lengths // size)


def group_by_length(lengths: npt.NDArray[np.int64], most: int) -> list[npt.NDArray[np.int64]]:
    """Indices of sequences, in groups of similar length that have at most `most` ids with padding, or one sequence."""
    order = np.argsort(lengths, kind="stable")
    groups, start = [], 0
    for position, index in enumerate(order):
        if position > start and (position - start + 1) * int(lengths[index]) > most:
            groups.append(order[start:position])
            start = position
    if len(order):
        groups.append(order[start:])
    return groups
