"""Texts cut into stretches that are read side by side (see `classifier`), without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.integer]


class Chunks(NamedTuple):
    """Texts laid out for the network. Padding stands behind the ids of a stretch, as zeros."""

    ids: npt.NDArray[np.int64]  # (time, stretches)
    lengths: npt.NDArray[np.int64]  # (stretches,), at least 1
    text_indices: npt.NDArray[np.int64]  # (stretches,): number of the text, ascending


def chunk_texts(texts: Sequence[Ids], stretch: int) -> Chunks:
    """Cuts every text into as few stretches of at most `stretch` ids as it needs, as equal as can be. A text of no ids
    must not be among them."""
    counts = chunk_counts(np.array([len(text) for text in texts]), stretch)
    sizes = [-(-len(text) // count) for text, count in zip(texts, counts, strict=True)]
    text_indices = np.repeat(np.arange(len(texts)), counts)
    ids = np.zeros((max(sizes), int(counts.sum())), dtype=np.int64)
    lengths = np.empty(len(text_indices), dtype=np.int64)
    column = 0
    for text, count, size in zip(texts, counts, sizes, strict=True):
        for start in range(0, count * size, size):
            piece = text[start : start + size]
            ids[: len(piece), column] = piece
            lengths[column] = max(1, len(piece))
            column += 1
    return Chunks(ids, lengths, text_indices)


def chunk_counts(lengths: npt.NDArray[np.int64], stretch: int) -> npt.NDArray[np.int64]:
    """Into how many stretches of at most `stretch` ids texts of these lengths are cut."""
    return -(-lengths // stretch)


def group_by_length(lengths: npt.NDArray[np.int64], most: int) -> list[npt.NDArray[np.int64]]:
    """Numbers of stretches in groups of similar length, each of `most` ids, padding included, or one stretch."""
    order = np.argsort(lengths, kind="stable")
    groups, start = [], 0
    for place, number in enumerate(order):
        if place > start and (place - start + 1) * int(lengths[number]) > most:
            groups.append(order[start:place])
            start = place
    if len(order):
        groups.append(order[start:])
    return groups
