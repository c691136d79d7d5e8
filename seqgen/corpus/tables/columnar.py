"""Lines of a table as columns of numbers and short texts, at the speed of numpy, where they need no interpretation.

Numpy is imported late: completion of column names reads a header without it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from seqgen.corpus.tables.dialect import SPACES, Dialect

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Floats: TypeAlias = "npt.NDArray[np.float64]"
Column: TypeAlias = "Floats | list[str]"

_MAX_TEXT_LENGTH = 64  # characters; longer texts take more time and memory than the csv module needs
_MIN_SAMPLE = 20  # rows
_MAX_REFUSED = 5  # blocks beyond those that were parsed, after which no more are tried


@dataclass(frozen=True)
class ColumnBlock:
    """Consecutive rows of a table: each column as floats or as text without surrounding white space."""

    columns: list[Column]


def as_floats(cells: Sequence[str]) -> Floats | None:
    """Return the numbers of cells that are plain and finite; None if some are not."""
    import numpy as np

    try:
        numbers = np.array(list(map(float, cells)), dtype=np.float64)
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() and "_" not in "".join(cells) else None


class ColumnParser:
    """Parses blocks of lines that have no quotes, no missing number and the normal number of cells.

    A block of other lines is refused: its rows have to be split one by one. A parsed block gives the same columns.
    """

    def __init__(
        self, dialect: Dialect, first_line: int, width: int, sample: Sequence[Sequence[str]], texts: Collection[int]
    ):
        """
        Args:
            first_line: of the data; blocks that begin above it are refused.
            width: the normal number of cells. Where the first rows have another, every block is refused.
            sample: the first rows.
            texts: the columns that are text though they may hold numbers only.
        """
        self._dialect, self._first_line = dialect, first_line
        self._balance = _MAX_REFUSED
        self._lengths: list[int] = []  # of the texts of each column, one more than allowed; 0 for numbers
        if len(sample) < _MIN_SAMPLE or set(map(len, sample)) != {width}:
            return
        if dialect.delimiter == SPACES or dialect.wrapped or dialect.single:
            return
        for index, cells in enumerate(zip(*sample, strict=True)):
            is_number = index not in texts and as_floats(cells) is not None
            self._lengths.append(0 if is_number else 2 * max(map(len, cells)) + 2)
        # Without a number, a row may be blank or a note.
        if 0 not in self._lengths or max(self._lengths) > _MAX_TEXT_LENGTH:
            self._lengths = []

    def parse(self, number: int, lines: list[str]) -> ColumnBlock | None:
        """Return the columns of lines, of which the first has this number; None if they need interpretation."""
        if not self._lengths or number < self._first_line or self._balance <= 0:
            return None
        found = self._parse(lines)
        self._balance += 1 if found else -1
        return found

    def _parse(self, lines: list[str]) -> ColumnBlock | None:
        import numpy as np

        if not lines[0].strip() or (self._dialect.quote and '"' in "".join(lines)):
            return None
        dtype = [(str(index), f"U{length}" if length else "f8") for index, length in enumerate(self._lengths)]
        try:
            table = np.loadtxt(lines, dtype, comments=None, delimiter=self._dialect.delimiter, ndmin=1)
        except ValueError:
            return None
        if len(table) != len(lines):  # blank lines are left out
            return None
        columns: list[Column] = []
        for index, length in enumerate(self._lengths):
            values = table[str(index)]
            if length:
                cells = values.tolist()
                if max(map(len, cells)) >= length:  # possibly cut off
                    return None
                columns.append(list(map(str.strip, cells)))
            elif np.isfinite(values).all():
                columns.append(np.ascontiguousarray(values))
            else:
                return None
        return ColumnBlock(columns)
