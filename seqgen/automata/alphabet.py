"""Equivalence classes of characters under some character sets, and UTF-8 as a table from bytes to these classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqgen.automata.regex import MAX_CODE_POINT, CodePointRanges
from seqgen.errors import UserError

DEAD = -1  # table entry: these bytes start no character of any class
_MAX_MEMBERSHIPS = 1 << 22  # of classes in sets


@dataclass(frozen=True)
class Alphabet:
    """Classes of characters, and the table that maps bytes to them.

    Attributes:
        size: number of classes.
        members: for each set its classes, as a bit set.
        class_of: shape (0x110000,): class of each code point, −1 if no set contains it.
        table: shape (nodes, 256): the next node, `DEAD`, or −2 − class at the end of a character. Node 0 lies between
            characters.
        reach: for each node the classes that it can lead to, as a bit set.
    """

    size: int
    members: tuple[int, ...]
    class_of: npt.NDArray[np.int32]
    table: npt.NDArray[np.int32]
    reach: tuple[int, ...]


def alphabet_of(sets: Sequence[CodePointRanges], singletons: Sequence[int] = ()) -> Alphabet:
    """Return the classes of `sets`. Each code point of `singletons` in any set gets a class of its own.

    Raises `UserError` if classes and sets are too many together.
    """
    toggles: dict[int, int] = {}  # code point → sets that begin or end there, as a bit set
    all_sets = [*sets, *(((point, point),) for point in singletons)]
    for number, ranges in enumerate(all_sets):
        for low, high in ranges:
            for point in (low, high + 1):
                toggles[point] = toggles.get(point, 0) ^ (1 << number)
    class_of = np.full(MAX_CODE_POINT + 1, -1, dtype=np.int32)
    classes: dict[int, int] = {}
    inside, given, memberships = 0, (1 << len(sets)) - 1, 0
    borders = sorted(toggles) or [0]
    for low, high in zip(borders, [*borders[1:], MAX_CODE_POINT + 1], strict=True):
        inside ^= toggles.get(low, 0)
        if inside & given:
            if inside not in classes:
                memberships += inside.bit_count()
                if memberships > _MAX_MEMBERSHIPS:
                    raise UserError("--grammar is too large: its characters stand in too many classes")
                classes[inside] = len(classes)
            class_of[low:high] = classes[inside]
    class_of[0xD800:0xE000] = -1
    members = [0] * len(sets)
    for signature, number in classes.items():
        remaining = signature & given
        while remaining:
            lowest = remaining & -remaining
            members[lowest.bit_length() - 1] |= 1 << number
            remaining ^= lowest
    highest = max([border for border in borders if border <= MAX_CODE_POINT], default=0)
    table, reach = _utf8_table(class_of, max(1 << 16, -(-highest >> 12) << 12))
    return Alphabet(len(classes), tuple(members), class_of, table, reach)


def _utf8_table(class_of: npt.NDArray[np.int32], top: int) -> tuple[npt.NDArray[np.int32], tuple[int, ...]]:
    """Return the table, with equal nodes merged, and the reach of its nodes.

    All code points from `top`, a multiple of 4,096, must be of one class or of none.
    """
    rows = [np.full(256, DEAD, dtype=np.int32)]
    known: dict[bytes, int] = {}

    def nodes(entries: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Return a node for each block of 64 continuation bytes. Most blocks are uniform, and made once per entry."""
        blocks = entries.reshape(-1, 64)
        uniform = (blocks == blocks[:, :1]).all(axis=1)
        distinct, inverse = np.unique(blocks[:, 0], return_inverse=True)
        uniform_nodes = np.array([node(np.repeat(entry, 64)) if (uniform & (inverse == number)).any() else DEAD
                                  for number, entry in enumerate(distinct)], dtype=np.int32)  # fmt: skip
        found = uniform_nodes[inverse]
        for index in np.flatnonzero(~uniform).tolist():
            found[index] = node(blocks[index])
        return found

    def node(entries: npt.NDArray[np.int32]) -> int:
        if (entries == DEAD).all():
            return DEAD
        key = entries.tobytes()
        if key not in known:
            known[key] = len(rows)
            row = np.full(256, DEAD, dtype=np.int32)
            row[0x80:0xC0] = entries
            rows.append(row)
        return known[key]

    ends = np.where(class_of[:top] < 0, DEAD, -2 - class_of[:top]).astype(np.int32)
    rows[0][:0x80] = ends[:0x80]
    last = nodes(ends)  # last bytes of two-byte sequences
    rows[0][0xC2:0xE0] = last[2:32]
    last[:32] = DEAD  # overlong three-byte forms are invalid
    middle = np.full(5 * 64, DEAD, dtype=np.int32)
    middle[: len(last) // 64] = nodes(last)
    if top <= MAX_CODE_POINT:
        entry = DEAD if class_of[top] < 0 else -2 - int(class_of[top])
        above = node(np.full(64, node(np.full(64, entry, dtype=np.int32)), dtype=np.int32))
        middle[top >> 12 : (MAX_CODE_POINT >> 12) + 1] = above
    rows[0][0xE0:0xF0] = middle[:16]
    middle[:16] = DEAD
    rows[0][0xF0:0xF5] = nodes(middle)
    reach = [0] * len(rows)
    for number in [*range(1, len(rows)), 0]:  # nodes lead to earlier ones only, except node 0
        for entry in set(rows[number].tolist()) - {DEAD}:
            reach[number] |= reach[entry] if entry >= 0 else 1 << (-2 - entry)
    return np.array(rows), tuple(reach)
