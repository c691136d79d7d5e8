"""The states of an automaton that constrains text, as tables over the vocabulary that Python and the kernels read."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_P = ctypes.c_void_p


@dataclass(frozen=True, eq=False)
class Transitions:
    """The transitions of one state. Arrays have the shape (vocabulary,).

    Attributes:
        state: number of the state in its automaton.
        opening: whether nothing is written yet.
        mask: ids that may come if the length doesn't matter.
        writes: ids that write something.
        characters: characters that each id begins.
        min_remaining: these, and those that must follow at least.
        after: the state after each id.
        next: number in the table of that state's transitions; −1 while it isn't known.
        most: the largest `min_remaining` of ids in `mask`.
        continues: whether any id that writes something may come.
    """

    state: int
    opening: bool
    mask: npt.NDArray[np.bool_]
    writes: npt.NDArray[np.bool_]
    characters: npt.NDArray[np.int32]
    min_remaining: npt.NDArray[np.int32]
    after: npt.NDArray[np.int64]
    next: npt.NDArray[np.int32]
    most: int
    continues: bool

    def allowed(self, left: int) -> tuple[npt.NDArray[np.bool_], bool]:
        """The ids that may come, and whether any of them writes something, if the length is `left` characters away."""
        if self.most <= left:
            return self.mask, self.continues
        mask = self.min_remaining <= left
        return mask, bool((mask & self.writes).any())


class _KernelTransitions(ctypes.Structure):
    """`Transitions` of native.h."""

    _fields_ = [
        *[(name, _P) for name in ("mask", "writes", "characters", "min_remaining", "next")],
        *[(name, ctypes.c_int32) for name in ("most", "continues")],
    ]  # fmt: skip


class KernelConstraint(ctypes.Structure):
    """`Constraint` of native.h."""

    _fields_ = [
        ("rows", _P), ("left", ctypes.c_int64),
        *[(name, ctypes.c_int32) for name in ("row", "taken", "over", "waits")],
    ]  # fmt: skip


class TransitionTable:
    """The transitions of the states that were met, by state and by number."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all states."""
        self._numbers: dict[tuple[int, bool], int] = {}
        self._all: list[Transitions] = []
        self._structures: list[_KernelTransitions] = []
        self._addresses = np.zeros(16, dtype=np.uintp)

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, number: int) -> Transitions:
        return self._all[number]

    def number(self, state: int, opening: bool) -> int | None:
        """The number of a state's transitions; None if it wasn't met."""
        return self._numbers.get((state, opening))

    def add(self, transitions: Transitions) -> int:
        """Add a state, and return the number of its transitions."""
        number = self._numbers[transitions.state, transitions.opening] = len(self._all)
        if number == len(self._addresses):
            self._addresses = np.concatenate([self._addresses, np.zeros_like(self._addresses)])
        one = transitions
        arrays = one.mask, one.writes, one.characters, one.min_remaining, one.next
        structure = _KernelTransitions(*(array.ctypes.data for array in arrays), one.most, one.continues)
        self._all.append(transitions)
        self._structures.append(structure)
        self._addresses[number] = ctypes.addressof(structure)
        one.next[one.after == one.state] = -1 if one.opening else number
        return number

    def fill(self, constraint: KernelConstraint, number: int, left: int) -> None:
        """Set a constraint to a state before a call of the kernels, during which no state may be added.

        Args:
            number: of the state's transitions.
            left: characters to the length.
        """
        constraint.rows, constraint.left, constraint.row = self._addresses.ctypes.data, left, number
        constraint.taken = constraint.over = constraint.waits = 0
