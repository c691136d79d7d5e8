"""Which values of each kind of event may come, as bytes: a byte a value, 1 where it may. Each is made once.

A mask over all events is these one after another; a piece is drawn with one an event, so that they are put together
and not worked out.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

from seqgen.music.events import EVENT_TYPES, EventVocabulary, VocabularyOptions

_MOST = 1 << 14  # kept of one kind; what pitches sound together comes again and again


class EventMasks:
    """The masks of one vocabulary.

    Attributes:
        none: of each kind, in the order of the table: no value.
        all: by name: every value.
        but: by name: for each value all others; at the end, for −1, every value.
        metres: values of `metre`.
        velocities: the MIDI velocity of each value.
    """

    def __init__(self, vocabulary: EventVocabulary) -> None:
        sizes = self._sizes = vocabulary.sizes
        self.none = [bytes(sizes[kind.name]) for kind in EVENT_TYPES]
        self.all = {kind.name: b"\1" * sizes[kind.name] for kind in EVENT_TYPES}
        self.all_except = {
            name: [*(b"\1" * value + b"\0" + b"\1" * (sizes[name] - value - 1) for value in range(sizes[name])),
                   self.all[name]]
            for name in ("metre", "tempo", "velocity", "duration")
        }  # fmt: skip
        self.metres = {vocabulary.metre(value): value for value in range(sizes["metre"])}
        self.velocities = [vocabulary.velocity(value) for value in range(sizes["velocity"])]
        self._between: dict[tuple[int, int], bytes] = {}
        self._these: dict[str, dict[int, bytes]] = {kind.name: {} for kind in EVENT_TYPES}

    def positions(self, above: int, below: int) -> bytes:
        """Values of `position` between these, without both."""
        found = self._between.get((above, below))
        if found is None:
            found = bytes(above < value < below for value in range(self._sizes["position"]))
            self._between[above, below] = found
        return found

    def these(self, kind: str, values: int) -> bytes:
        """The values whose bits are set."""
        known = self._these[kind]
        found = known.get(values)
        if found is None:
            if len(known) >= _MOST:
                known.clear()
            found = known[values] = bytes(values >> value & 1 for value in range(self._sizes[kind]))
        return found


@functools.lru_cache(maxsize=8)
def event_masks(options: VocabularyOptions) -> EventMasks:
    """The masks of the vocabulary of these options."""
    return EventMasks(EventVocabulary(options))


def bits_of(values: Iterable[int]) -> int:
    """A set as the bits of a number."""
    found = 0
    for value in values:
        found |= 1 << value
    return found
