"""The events that spell a piece, as one table: it gives ids their meaning, and the grammar, the codec and the tests
are made from it.

A piece reads `bar [metre] (position [tempo] (track [program|drums])? (velocity)? (longer* duration)? note …)* … end`.
What holds on is not said again: a velocity and a length hold for a track until others are given, a track until
another one is named, a metre and a tempo until they change (as running status does in MIDI). Every piece has exactly
one spelling. Related: REMI's bars and positions (Huang & Yang, 2020), Performance-RNN's velocities (Oore et al., 2018).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.music.metre import MAX_BAR_QUARTERS, bar_length, metres

TEMPOS = tuple(round(30 * 2 ** (step / 12)) for step in range(49))  # quarters a minute, 6 % apart: 30 to 480
MAX_TRACKS = 16  # as many as MIDI has channels
MAX_DURATION_QUARTERS = 8  # quarter notes that one `duration` can say; each `longer` before it adds as many
MAX_LONGER_EVENTS = 63  # of `longer` in a row
MAX_NOTE_QUARTERS = MAX_DURATION_QUARTERS * (
    MAX_LONGER_EVENTS + 1
)  # quarter notes: 128 bars of 4/4, beyond any that is meant


@dataclass(frozen=True)
class VocabularyOptions:
    """What a vocabulary of events is made of. Kept in tokenizer.json."""

    grid: int = 4  # steps a quarter note
    velocity_bins: int = 8
    tracks: str = "all"
    low: int = 0  # the lowest pitch
    high: int = 127
    rising: bool = True  # order of notes that begin together in a track: from the bottom up, or from the top down


@dataclass(frozen=True)
class EventType:
    """A kind of event.

    Attributes:
        size: how many values it has.
        follows: kinds of which one must come directly before it.
        what: for people.
    """

    name: str
    size: Callable[[VocabularyOptions], int]
    predecessors: tuple[str, ...]
    description: str


_NOTES = ("note", "drum")
_AT_REST = ("bar", "metre", "tempo", *_NOTES)  # after these a position may be over
_TOLD = ("position", "tempo", "track", *_NOTES)  # after these a known track may go on

# Which kind may follow which is said here; which of its values, in grammar.py, in rules of the same names.
EVENT_TYPES: tuple[EventType, ...] = (
    EventType("bar", lambda o: 1, ("end", *_AT_REST), "a bar begins"),
    EventType("metre", lambda o: len(metres(o.grid)), ("bar",), "its metre, where that changes"),
    EventType("position", lambda o: MAX_BAR_QUARTERS * o.grid, _AT_REST, "steps from the beginning of the bar"),
    EventType("tempo", lambda o: len(TEMPOS), ("position",), "quarter notes a minute, where that changes"),
    EventType("track", lambda o: MAX_TRACKS, ("position", "tempo", *_NOTES), "whose notes follow, where that changes"),
    EventType("program", lambda o: 128, ("track",), "the instrument of a new track"),
    EventType("drums", lambda o: 1, ("track",), "the new track is the drum kit"),
    EventType("velocity", lambda o: o.velocity_bins, (*_TOLD, "program", "drums"), "how hard, where that changes"),
    EventType("longer", lambda o: 1, (*_TOLD, "velocity", "longer"), "the length is longer by the longest duration"),
    EventType(
        "duration",
        lambda o: MAX_DURATION_QUARTERS * o.grid,
        (*_TOLD, "velocity", "longer"),
        "steps, where that changes",
    ),
    EventType("note", lambda o: 128, (*_TOLD, "velocity", "duration"), "a note of this pitch"),
    EventType("drum", lambda o: 128, (*_TOLD, "velocity", "duration"), "a stroke on this instrument"),
    EventType("end", lambda o: 1, _AT_REST, "the piece is over"),
)


@dataclass(frozen=True)
class EventVocabulary:
    """Ids of the events: the kinds in their order, the values of each one after another."""

    options: VocabularyOptions
    first: dict[str, int] = field(init=False)
    sizes: dict[str, int] = field(init=False)
    kinds: tuple[str, ...] = field(init=False)  # of each id
    size: int = field(init=False)
    _events: tuple[tuple[str, int], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        first: dict[str, int] = {}
        sizes: dict[str, int] = {}
        total = 0
        for kind in EVENT_TYPES:
            first[kind.name], sizes[kind.name] = total, kind.size(self.options)
            total += sizes[kind.name]
        object.__setattr__(self, "first", first)
        object.__setattr__(self, "sizes", sizes)
        object.__setattr__(self, "size", total)
        events = tuple((kind.name, value) for kind in EVENT_TYPES for value in range(sizes[kind.name]))
        object.__setattr__(self, "_events", events)
        object.__setattr__(self, "kinds", tuple(kind for kind, _ in events))

    def id(self, kind: str, value: int = 0) -> int:
        """The id of an event. Raises `ValueError` for a value that its kind has not."""
        if not 0 <= value < self.sizes[kind]:
            raise ValueError(f"{kind} has no value {value}")
        return self.first[kind] + value

    def event(self, token: int) -> tuple[str, int]:
        """Kind and value of an id."""
        return self._events[token]

    def metre(self, value: int) -> tuple[int, int]:
        """Numerator and denominator of a `metre`'s value."""
        return metres(self.options.grid)[value]

    def bar_length(self, metre: tuple[int, int]) -> int:
        """Steps in a bar of that metre."""
        return bar_length(*metre, self.options.grid)

    def velocity(self, value: int) -> int:
        """The MIDI velocity, 1–127, that a `velocity`'s value stands for: the middle of its bin."""
        bins = self.options.velocity_bins
        low, high = -(-value * 128 // bins), -(-(value + 1) * 128 // bins) - 1
        return max(1, (low + high) // 2)

    def velocity_bin(self, velocity: int) -> int:
        """The value of `velocity` for a MIDI velocity."""
        return velocity * self.options.velocity_bins // 128

    def spell(self, token: int) -> str:
        """An event for people: `note 60`, `metre 6/8`, `bar`."""
        kind, value = self.event(token)
        if kind == "metre":
            return f"metre {self.metre(value)[0]}/{self.metre(value)[1]}"
        if kind == "tempo":
            return f"tempo {TEMPOS[value]}"
        if kind == "duration":
            return f"duration {value + 1}"
        if kind == "velocity":
            return f"velocity {self.velocity(value)}"
        return kind if self.sizes[kind] == 1 else f"{kind} {value}"


def tempo_value(bpm: float) -> int:
    """The value of `tempo` nearest to so many quarters a minute."""
    return min(range(len(TEMPOS)), key=lambda value: abs(TEMPOS[value] - bpm))


def count_steps(ids: npt.NDArray[Any], vocabulary: EventVocabulary) -> int:
    """Steps of the grid in all the bars of a stream of pieces."""
    first = vocabulary.first
    kinds = np.asarray(ids)
    bar, end = first["bar"], first["end"]
    is_metre = (kinds >= first["metre"]) & (kinds < first["metre"] + vocabulary.sizes["metre"])
    common = vocabulary.bar_length((4, 4))
    lengths = np.array([vocabulary.bar_length(vocabulary.metre(v)) for v in range(vocabulary.sizes["metre"])])
    total, length = 0, common
    for token in kinds[(kinds == bar) | (kinds == end) | is_metre].tolist():
        if token == bar:
            total += length
        elif token == end:
            length = common  # a new piece
        else:  # a metre counts for the bar that it stands in
            total += int(lengths[token - first["metre"]]) - length
            length = int(lengths[token - first["metre"]])
    return total
