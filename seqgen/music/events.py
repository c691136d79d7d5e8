"""Event vocabulary of music: one table that defines the ids, and from which grammar, codec and tests are derived.

A piece reads `key bar [metre] [again] (position [tempo] (track [program|drums])? (velocity)? (longer* duration)?
note …)* … end`. Values persist, as MIDI's running status does: velocity and duration per track, the track, the metre
and the tempo stay until they change. `key` names the key of the piece, whose notes, except drums, are moved to C major
or A minor (`key.py`). `bar` counts the bars still to come, and `again` says that the bar equals an earlier one, whose
notes then follow (`form.py`). `grammar.encode_piece` gives each piece one encoding. Related: the bars and positions of
REMI (Huang & Yang, 2020), the velocities of Performance-RNN (Oore et al., 2018), the lookback of Magenta's Lookback RNN
(Waite, 2016).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.music.key import KEYS, key_name
from seqgen.music.metre import MAX_BAR_QUARTERS, bar_length, metres

TEMPOS = tuple(round(30 * 2 ** (step / 12)) for step in range(49))  # quarter notes per minute, 6 % apart: 30 to 480
MAX_TRACKS = 16  # MIDI has 16 channels
MAX_DURATION_QUARTERS = 8  # longest `duration` event; each `longer` before it adds the same
MAX_LONGER_EVENTS = 63  # in a row
MAX_NOTE_QUARTERS = MAX_DURATION_QUARTERS * (MAX_LONGER_EVENTS + 1)  # 128 bars of 4/4: longer notes are damage
_CHUNK = 1 << 22  # ids looked at together
COUNTED_BARS = 64  # numbers of bars to come that `bar` tells apart; larger ones are one value
AGAIN_DISTANCES = (*range(1, 13), 16, 20, 24, 32)  # in bars; 98 % of the bars of folk tunes that come again do so there


@dataclass(frozen=True)
class VocabularyOptions:
    """Options that define an event vocabulary. Stored in tokenizer.json."""

    grid: int = 4  # steps per quarter note
    velocity_bins: int = 8
    tracks: str = "all"
    low: int = 0  # lowest pitch
    high: int = 127  # highest pitch
    rising: bool = True  # notes of a chord from the lowest to the highest, or the reverse
    form: bool = True  # `bar` counts the bars to come, and `again` repeats bars
    key: bool = False  # a piece begins with `key`, and its notes are those of C major or A minor


@dataclass(frozen=True)
class EventType:
    """A type of event.

    Attributes:
        size: number of values, given the options.
        predecessors: event types that may come directly before it.
        description: meaning of the value.
    """

    name: str
    size: Callable[[VocabularyOptions], int]
    predecessors: tuple[str, ...]
    description: str


_NOTES = ("note", "drum")
_COMPLETE = ("bar", "metre", "tempo", *_NOTES)  # events after which a position may end
_TRACK_CONTEXT = ("position", "tempo", "track", *_NOTES)  # events after which a known track may continue

# Which values are legal is decided by the rules of the same names in grammar.py.
EVENT_TYPES: tuple[EventType, ...] = (
    EventType("key", lambda o: KEYS if o.key else 0, ("end",), "key of the piece, whose notes are moved to C or Am"),
    EventType(
        "bar", lambda o: COUNTED_BARS + 2 if o.form else 1, ("end", "key", *_COMPLETE), "start of a bar; bars to come"
    ),
    EventType("metre", lambda o: len(metres(o.grid)), ("bar",), "time signature, when it changes"),
    EventType(
        "again", lambda o: len(AGAIN_DISTANCES) if o.form else 0, ("bar", "metre"), "the bar equals one so far back"
    ),
    EventType(
        "position", lambda o: MAX_BAR_QUARTERS * o.grid, (*_COMPLETE, "again"), "steps from the start of the bar"
    ),
    EventType("tempo", lambda o: len(TEMPOS), ("position",), "quarter notes per minute, when that changes"),
    EventType(
        "track", lambda o: MAX_TRACKS, ("position", "tempo", *_NOTES), "track of the next notes, when it changes"
    ),
    EventType("program", lambda o: 128, ("track",), "instrument of a new track"),
    EventType("drums", lambda o: 1, ("track",), "the new track is the drum kit"),
    EventType(
        "velocity", lambda o: o.velocity_bins, (*_TRACK_CONTEXT, "program", "drums"), "loudness, when it changes"
    ),
    EventType("longer", lambda o: 1, (*_TRACK_CONTEXT, "velocity", "longer"), "adds the longest duration"),
    EventType(
        "duration",
        lambda o: MAX_DURATION_QUARTERS * o.grid,
        (*_TRACK_CONTEXT, "velocity", "longer"),
        "length in steps, when it changes",
    ),
    EventType("note", lambda o: 128, (*_TRACK_CONTEXT, "velocity", "duration"), "note of this pitch"),
    EventType("drum", lambda o: 128, (*_TRACK_CONTEXT, "velocity", "duration"), "stroke on this instrument"),
    EventType("end", lambda o: 1, _COMPLETE, "end of the piece"),
)


@dataclass(frozen=True)
class EventVocabulary:
    """Ids of the events: the event types in table order, the values of each in sequence.

    Attributes:
        offsets: event type → its first id.
        sizes: event type → number of values.
        event_types: event type of each id.
        size: number of ids.
    """

    options: VocabularyOptions
    offsets: dict[str, int] = field(init=False)
    sizes: dict[str, int] = field(init=False)
    event_types: tuple[str, ...] = field(init=False)
    size: int = field(init=False)
    _events: tuple[tuple[str, int], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        offsets: dict[str, int] = {}
        sizes: dict[str, int] = {}
        total = 0
        for event in EVENT_TYPES:
            offsets[event.name], sizes[event.name] = total, event.size(self.options)
            total += sizes[event.name]
        object.__setattr__(self, "offsets", offsets)
        object.__setattr__(self, "sizes", sizes)
        object.__setattr__(self, "size", total)
        events = tuple((event.name, value) for event in EVENT_TYPES for value in range(sizes[event.name]))
        object.__setattr__(self, "_events", events)
        object.__setattr__(self, "event_types", tuple(name for name, _ in events))

    def id(self, event_type: str, value: int = 0) -> int:
        """Return the id of an event. Raises `ValueError` if the event type has no such value."""
        if not 0 <= value < self.sizes[event_type]:
            raise ValueError(f"{event_type} has no value {value}")
        return self.offsets[event_type] + value

    def event(self, token: int) -> tuple[str, int]:
        """Return the event type and value of an id."""
        return self._events[token]

    def ids(self, event_type: str) -> range:
        """Return the ids of an event type, in the order of its values."""
        first = self.offsets[event_type]
        return range(first, first + self.sizes[event_type])

    def is_event(self, ids: npt.NDArray[Any], event_type: str) -> npt.NDArray[np.bool_]:
        """Return which ids are of this event type, in the same shape."""
        its = self.ids(event_type)
        return np.asarray((ids >= its.start) & (ids < its.stop))

    def metre(self, value: int) -> tuple[int, int]:
        """Return numerator and denominator of a value of `metre`."""
        return metres(self.options.grid)[value]

    def bar_length(self, metre: tuple[int, int]) -> int:
        """Return the length in steps of a bar in that metre."""
        return bar_length(*metre, self.options.grid)

    def bar_value(self, to_come: int | None) -> int:
        """Return the value of `bar` before `to_come` further bars; None if their number is unknown."""
        if to_come is None or not self.options.form:
            return 0
        return 1 + min(to_come, COUNTED_BARS)

    def velocity(self, value: int) -> int:
        """Return the MIDI velocity, 1–127, at the centre of a `velocity` bin."""
        bins = self.options.velocity_bins
        low, high = -(-value * 128 // bins), -(-(value + 1) * 128 // bins) - 1
        return max(1, (low + high) // 2)

    def velocity_bin(self, velocity: int) -> int:
        """Return the value of `velocity` for a MIDI velocity."""
        return velocity * self.options.velocity_bins // 128

    def token_name(self, token: int) -> str:
        """Return a readable name of an id: `note 60`, `metre 6/8`, `bar 7 to come`."""
        event_type, value = self.event(token)
        if event_type == "key":
            return f"key {key_name(value)}"
        if event_type == "bar":
            number = f"{COUNTED_BARS}+" if value > COUNTED_BARS else str(value - 1)
            return f"bar {number} to come" if value else "bar"
        if event_type == "again":
            return f"again {AGAIN_DISTANCES[value]}"
        if event_type == "metre":
            return f"metre {self.metre(value)[0]}/{self.metre(value)[1]}"
        if event_type == "tempo":
            return f"tempo {TEMPOS[value]}"
        if event_type == "duration":
            return f"duration {value + 1}"
        if event_type == "velocity":
            return f"velocity {self.velocity(value)}"
        return event_type if self.sizes[event_type] == 1 else f"{event_type} {value}"


def repeated_events(ids: npt.NDArray[Any], vocabulary: EventVocabulary) -> npt.NDArray[np.bool_]:
    """Return which ids of a stream of pieces follow from an `again`, shape (tokens,): the notes of the repeated bar."""
    found = np.zeros(len(ids), dtype=bool)
    repeating = False
    for start in range(0, len(ids), _CHUNK):
        tokens = np.asarray(ids[start : start + _CHUNK])
        begins = vocabulary.is_event(tokens, "again")
        border = begins | vocabulary.is_event(tokens, "bar") | vocabulary.is_event(tokens, "end")
        latest = np.maximum.accumulate(np.where(border, np.arange(len(tokens)), -1))
        inside = np.where(latest < 0, repeating, begins[latest])
        found[start : start + len(tokens)] = inside & ~border
        repeating = bool(inside[-1])
    return found


def tempo_value(bpm: float) -> int:
    """Return the value of `tempo` nearest to `bpm` quarter notes per minute, rounded to whole ones."""
    bpm = int(bpm + 0.5)
    return min(range(len(TEMPOS)), key=lambda value: abs(TEMPOS[value] - bpm))


def count_steps(ids: npt.NDArray[Any], vocabulary: EventVocabulary) -> int:
    """Return the total length in steps of all bars in a stream of pieces."""
    tokens = np.asarray(ids)
    end, first_metre = vocabulary.offsets["end"], vocabulary.offsets["metre"]
    is_metre = vocabulary.is_event(tokens, "metre")
    bars, common = vocabulary.ids("bar"), vocabulary.bar_length((4, 4))
    lengths = np.array([vocabulary.bar_length(vocabulary.metre(v)) for v in range(vocabulary.sizes["metre"])])
    total, length = 0, common
    for token in tokens[vocabulary.is_event(tokens, "bar") | (tokens == end) | is_metre].tolist():
        if token in bars:
            total += length
        elif token == end:
            length = common
        else:  # a metre applies to the bar that it is in
            total += int(lengths[token - first_metre]) - length
            length = int(lengths[token - first_metre])
    return total
