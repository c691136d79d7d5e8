"""The order in which the symbols of a voice are played: parts, repeats and endings."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence

from seqgen.errors import DataError
from seqgen.music.notation.abc_symbols import MAX_SYMBOLS, BarLine, Ending, PartLabel, Symbol


def played(symbols: Sequence[Symbol], order: str = "", limit: int = MAX_SYMBOLS) -> list[Symbol]:
    """Return the symbols as they are played.

    Args:
        order: labels of parts, as in the field P: of a header: `AABB`, `A2(BC)2`. Parts that don't exist are left out.
        limit: symbols that they may be, of the `MAX_SYMBOLS` of all voices.

    Raises:
        DataError: repeats make the tune longer than any.
    """
    labels = [index for index, symbol in enumerate(symbols) if isinstance(symbol, PartLabel)]
    sequence = _sequence(order) if labels else []
    if not sequence:
        return _repeated(symbols, limit)
    wanted = set(sequence)
    parts: dict[str, list[Symbol]] = {}
    for start, stop in zip(labels, [*labels[1:], len(symbols)], strict=True):
        label = symbols[start]
        assert isinstance(label, PartLabel)
        if label.label in wanted and label.label not in parts:
            parts[label.label] = _repeated(symbols[start + 1 : stop], limit - sum(map(len, parts.values())))
    result = _repeated(symbols[: labels[0]], limit)
    for name in sequence:
        result += parts.get(name, [])
        _check(result, limit)
    return result


def _check(symbols: Sequence[Symbol], limit: int) -> None:
    if len(symbols) > limit:
        raise DataError(f"with its repeats, the tune has more than {MAX_SYMBOLS:,} symbols")


def _sequence(order: str) -> list[str]:
    """The labels of an order of parts, in full."""
    stack: list[list[str]] = [[]]
    last: list[str] = []
    for token in re.findall(r"[A-Za-z]|[0-9]+|[()]", order):
        if token == "(":
            stack.append([])
        elif token == ")":
            if len(stack) > 1:
                last = stack.pop()
                stack[-1] += last
        elif token.isdigit():
            stack[-1] += last * min(int(token[:4]) - 1, 100)
        else:
            last = [token]
            stack[-1] += last
        if len(stack[-1]) > MAX_SYMBOLS or len(stack) > 100:
            raise DataError("its order of parts, P:, is longer than any tune")
    return [label for level in stack for label in level]


def _repeated(symbols: Sequence[Symbol], limit: int) -> list[Symbol]:
    """Play the repeats.

    A repeat without a beginning starts after the last double bar or repeat. The last ending is as long as the first,
    unless a double bar or another repeat ends it sooner.
    """
    result: list[Symbol] = []
    endings = _Endings(symbols)
    start, turn = 0, 1  # where the repeat begins, and how often it has been begun
    is_explicit = False  # `|:` began it
    first_ending = 0  # bars of the first ending
    ending_bars = -1  # bar lines since the current ending began; −1 outside of one
    index = 0
    while index < len(symbols):
        symbol = symbols[index]
        index += 1
        if isinstance(symbol, Ending):
            if turn not in symbol.passes:
                other = endings.after(index, turn)
                if other is not None:
                    index = other
            ending_bars = 0
            continue
        result.append(symbol)
        _check(result, limit)
        if not isinstance(symbol, BarLine):
            continue
        in_ending = ending_bars >= 0
        ending_bars += in_ending
        if symbol.ends:
            if turn == 1 and in_ending:
                first_ending = ending_bars
            if turn <= symbol.ends or (in_ending and endings.after(start, turn + 1) is not None):
                turn, ending_bars, index = turn + 1, -1, start
                continue
        is_over = turn > 1 and in_ending and (symbol.is_double or (first_ending and ending_bars >= first_ending))
        if symbol.starts or symbol.ends or is_over or (symbol.is_double and turn == 1 and not is_explicit):
            start, turn, ending_bars, first_ending = index, 1, -1, 0
            is_explicit = symbol.starts
    return result


class _Endings:
    """The positions at which endings and repeats begin: a search at every ending would take quadratic time."""

    def __init__(self, symbols: Sequence[Symbol]) -> None:
        self._of_pass: dict[int, list[int]] = {}
        self._repeats: list[int] = []
        for position, symbol in enumerate(symbols):
            if isinstance(symbol, Ending):
                for turn in symbol.passes:
                    self._of_pass.setdefault(turn, []).append(position)
            elif isinstance(symbol, BarLine) and symbol.starts:
                self._repeats.append(position)

    def after(self, index: int, turn: int) -> int | None:
        """The index after the next ending for a pass of a repeat; None if another repeat begins before it."""
        endings = self._of_pass.get(turn, [])
        ending, repeat = bisect_left(endings, index), bisect_left(self._repeats, index)
        if ending == len(endings) or (repeat < len(self._repeats) and self._repeats[repeat] < endings[ending]):
            return None
        return endings[ending] + 1
