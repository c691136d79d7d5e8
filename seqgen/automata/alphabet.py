"""Characters that some sets can't tell apart as one class, and UTF-8 as a table from bytes to these classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqgen.automata.syntax import MAX_CODE_POINT, CodePointRanges

DEAD = -1  # in the table: no character of any class begins so


@dataclass(frozen=True)
class Alphabet:
    """Classes of characters, and how their bytes lead to them.

    Attributes:
        size: how many classes there are.
        members: of each set the classes that it holds, as the bits of a number.
        code: shape (0x110000,): the class of each code point, or −1 where no set holds it.
        table: shape (nodes, 256): the next node, `DEAD`, or −2 − a class where a character ends. Node 0 is between
            characters.
        reach: of each node the classes that it can lead to, as bits.
    """

    size: int
    members: tuple[int, ...]
    code: npt.NDArray[np.int32]
    table: npt.NDArray[np.int32]
    reach: tuple[int, ...]


def alphabet_of(sets: Sequence[CodePointRanges], apart: Sequence[int] = ()) -> Alphabet:
    """The classes of `sets`; each character of `apart` that is in any of them is a class of its own."""
    toggles: dict[int, int] = {}  # code point → which sets begin or end there
    all_sets = [*sets, *(((point, point),) for point in apart)]
    for number, ranges in enumerate(all_sets):
        for low, high in ranges:
            for place in (low, high + 1):
                toggles[place] = toggles.get(place, 0) ^ (1 << number)
    code = np.full(MAX_CODE_POINT + 1, -1, dtype=np.int32)
    classes: dict[int, int] = {}
    inside, own = 0, (1 << len(sets)) - 1
    borders = sorted(toggles) or [0]
    for low, high in zip(borders, [*borders[1:], MAX_CODE_POINT + 1], strict=True):
        inside ^= toggles.get(low, 0)
        if inside & own:
            code[low:high] = classes.setdefault(inside, len(classes))
    code[0xD800:0xE000] = -1
    members = [0] * len(sets)
    for signature, number in classes.items():
        held = signature & own
        while held:
            lowest = held & -held
            members[lowest.bit_length() - 1] |= 1 << number
            held ^= lowest
    highest = max([border for border in borders if border <= MAX_CODE_POINT], default=0)
    table, reach = _utf8(code, max(1 << 16, -(-highest >> 12) << 12))
    return Alphabet(len(classes), tuple(members), code, table, reach)


def _utf8(code: npt.NDArray[np.int32], top: int) -> tuple[npt.NDArray[np.int32], tuple[int, ...]]:
    """The table and the reach of its nodes; equal nodes are one. From `top` on, a multiple of 4,096, all characters are
    of one class or of none."""
    rows = [np.full(256, DEAD, dtype=np.int32)]
    known: dict[bytes, int] = {}

    def nodes(entries: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """The nodes whose 64 continuations lead to these, of each 64. Most are all alike, and looked at together."""
        blocks = entries.reshape(-1, 64)
        alike = (blocks == blocks[:, :1]).all(axis=1)
        different, where = np.unique(blocks[:, 0], return_inverse=True)
        kinds = np.array([node(np.repeat(entry, 64)) if (alike & (where == kind)).any() else DEAD
                          for kind, entry in enumerate(different)], dtype=np.int32)  # fmt: skip
        found = kinds[where]
        for place in np.flatnonzero(~alike).tolist():
            found[place] = node(blocks[place])
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

    ends = np.where(code[:top] < 0, DEAD, -2 - code[:top]).astype(np.int32)
    rows[0][:0x80] = ends[:0x80]
    last = nodes(ends)  # of two bytes
    rows[0][0xC2:0xE0] = last[2:32]
    last[:32] = DEAD  # what two bytes can say may not be said with three
    middle = np.full(5 * 64, DEAD, dtype=np.int32)
    middle[: len(last) // 64] = nodes(last)
    if top <= MAX_CODE_POINT:  # from there on all are alike
        alike = DEAD if code[top] < 0 else -2 - int(code[top])
        above = node(np.full(64, node(np.full(64, alike, dtype=np.int32)), dtype=np.int32))
        middle[top >> 12 : (MAX_CODE_POINT >> 12) + 1] = above
    rows[0][0xE0:0xF0] = middle[:16]
    middle[:16] = DEAD
    rows[0][0xF0:0xF5] = nodes(middle)
    reach = [0] * len(rows)
    for number in [*range(1, len(rows)), 0]:  # a node leads to earlier ones, but for the first
        for entry in set(rows[number].tolist()) - {DEAD}:
            reach[number] |= reach[entry] if entry >= 0 else 1 << (-2 - entry)
    return np.array(rows), tuple(reach)
