"""How a record is shown beside the values of a unit: as text, as a piano roll, or as a curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from seqgen.inspection.base import Floats
from seqgen.music.piece import Piece
from seqgen.untrusted import as_bytes


class View(Protocol):
    """What was read, step by step."""

    tokens: tuple[str, ...]
    """The text or name of each step."""
    positions: tuple[str, ...]
    """Where each step is: its number from 1, or the time of its row."""
    separators: tuple[str, ...]
    """The text before each step, where steps are written one after another."""

    def head(self, steps: int) -> View:
        """Its first steps."""
        ...

    def payload(self) -> dict[str, Any]:
        """What a page needs to show it."""
        ...

    def plot(self, values: Floats, low: float, high: float, title: str) -> bytes:
        """A PNG of it with a value, between `low` and `high`, for each step."""
        ...


@dataclass(frozen=True)
class TextView(View):
    """Text. `scores`: the probability of each label after each step, for a text that is classified."""

    tokens: tuple[str, ...]
    scores: tuple[tuple[str, tuple[float, ...]], ...] = ()

    @property
    def positions(self) -> tuple[str, ...]:  # type: ignore[override]
        return _numbers(len(self.tokens))

    @property
    def separators(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("",) * len(self.tokens)

    def head(self, steps: int) -> TextView:
        """See `View.head`."""
        return TextView(self.tokens[:steps], tuple((name, values[:steps]) for name, values in self.scores))

    def payload(self) -> dict[str, Any]:
        """See `View.payload`."""
        scores = [{"name": _clean(name), "values": list(values)} for name, values in self.scores]
        return _payload("text", self.tokens, range(len(self.tokens))) | {"scores": scores}

    def plot(self, values: Floats, low: float, high: float, title: str) -> bytes:
        """See `View.plot`."""
        from seqgen.plots.inspection import text_values

        return text_values(self.tokens, values, low, high, dict(self.scores), title=title)


@dataclass(frozen=True)
class RollView(View):
    """Music: its events, the piece that they make, and the step on the grid of each event, shape (steps,)."""

    tokens: tuple[str, ...]
    piece: Piece
    times: npt.NDArray[np.int64] = field(repr=False)

    @property
    def positions(self) -> tuple[str, ...]:  # type: ignore[override]
        return _numbers(len(self.tokens))

    @property
    def separators(self) -> tuple[str, ...]:  # type: ignore[override]
        starts = {bar.start for bar in self.piece.bars}
        new = [step == 0 or self.times[step] != self.times[step - 1] for step in range(len(self.tokens))]
        return tuple(
            ("\n" if step else "") if is_new and int(time) in starts else " "
            for step, (time, is_new) in enumerate(zip(self.times, new, strict=True))
        )

    def head(self, steps: int) -> RollView:
        """See `View.head`; the piece stays whole."""
        return RollView(self.tokens[:steps], self.piece, self.times[:steps])

    def payload(self) -> dict[str, Any]:
        """See `View.payload`."""
        notes = [[note.start, note.end, note.pitch, note.track] for note in self.piece.notes]
        bars = [bar.start for bar in self.piece.bars]
        found = _payload("roll", self.tokens, self.times.tolist())
        return found | {"notes": notes, "bars": bars, "to": max(self.piece.length, 1)}

    def plot(self, values: Floats, low: float, high: float, title: str) -> bytes:
        """See `View.plot`."""
        from seqgen.plots.inspection import roll_values

        return roll_values(self.piece, self.times, values, low, high, title=title)


@dataclass(frozen=True)
class CurveView(View):
    """A series: the label and the value of each row, after which a forecast is made."""

    tokens: tuple[str, ...]
    positions: tuple[str, ...]
    curve: npt.NDArray[np.float64] = field(repr=False)

    @property
    def separators(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"{chr(10) * (step > 0)}{position}  " for step, position in enumerate(self.positions))

    def head(self, steps: int) -> CurveView:
        """See `View.head`."""
        return CurveView(self.tokens[:steps], self.positions[:steps], self.curve[:steps])

    def payload(self) -> dict[str, Any]:
        """See `View.payload`."""
        curve = [float(value) if np.isfinite(value) else None for value in self.curve]
        return _payload("curve", self.positions, range(len(self.tokens))) | {"curve": curve}

    def plot(self, values: Floats, low: float, high: float, title: str) -> bytes:
        """See `View.plot`."""
        from seqgen.plots.inspection import curve_values

        return curve_values(self.positions, self.curve, values, low, high, title=title)


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(1, count + 1))


def _payload(kind: str, tokens: Sequence[str], times: Sequence[int]) -> dict[str, Any]:
    return {
        "kind": kind, "tokens": [_clean(token) for token in tokens], "times": list(times), "first": 1,
        "from": times[0] if times else 0, "to": max(len(times), 1),
    }  # fmt: skip


def _clean(text: str) -> str:
    """Text that JSON can hold: bytes that are not UTF-8 become U+FFFD."""
    return as_bytes(text).decode("utf-8", "replace")
