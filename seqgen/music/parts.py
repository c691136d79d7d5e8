"""Parts of a MIDI file in ticks: which are kept, in which order, and what that leaves out."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from seqgen.music.events import MAX_TRACKS


@dataclass
class QuantisationStats:
    """What reading a file on a grid changed or left out. Counts of notes, unless the name says otherwise."""

    notes: int = 0  # in the file
    kept: int = 0
    hanging: int = 0  # never let go: ended with their track
    struck_again: int = 0  # cut at the next note of the same pitch and part
    doubled: int = 0  # left out: the same pitch at the same time in the same part
    lengthened: int = 0  # shorter than half a step: now one
    shortened: int = 0  # longer than any note can be: ended there
    out_of_range: int = 0  # left out by the pitch range or by the choice of tracks
    parts_merged: int = 0  # parts beyond the sixteenth
    metres_changed: int = 0  # bars written in another metre of nearly the same length, or begun later
    bends: int = 0  # pitch-bend messages, left out
    controllers: int = 0  # other controllers than the pedal, left out
    shift: float = 0.0  # the sum of how far onsets moved, in steps
    largest_shift: float = 0.0

    def add(self, other: QuantisationStats) -> None:
        """Adds another file's losses to these."""
        for item in fields(self):
            mine, theirs = getattr(self, item.name), getattr(other, item.name)
            setattr(self, item.name, max(mine, theirs) if item.name == "largest_shift" else mine + theirs)


@dataclass
class MidiPart:
    """The notes of one part, in ticks: (start, end, pitch, velocity)."""

    program: int | None
    order: tuple[int, int, int]
    notes: list[tuple[int, int, int, int]] = field(default_factory=list)


def select_parts(
    parts: list[MidiPart], tracks: str, low: int, high: int, scale: float, losses: QuantisationStats
) -> list[MidiPart]:
    """The parts and notes asked for; `scale` is steps a tick."""
    before = sum(len(part.notes) for part in parts)
    pitched = [part for part in parts if part.program is not None]
    for part in pitched:
        part.notes = [note for note in part.notes if low <= note[2] <= high]
    pitched = [part for part in pitched if part.notes]
    if tracks == "melody":
        pitched.sort(key=lambda part: -sum(note[2] for note in part.notes) / len(part.notes))
        parts = pitched[:1]
        for part in parts:
            part.notes = _skyline(part.notes, scale)
    elif tracks == "piano":
        one = MidiPart(0, (0, 0, 0), [note for part in pitched for note in part.notes])
        parts = [one]
    else:
        parts = pitched + [part for part in parts if part.program is None]
    losses.out_of_range += before - sum(len(part.notes) for part in parts)
    return parts


def _skyline(notes: list[tuple[int, int, int, int]], scale: float) -> list[tuple[int, int, int, int]]:
    """The highest note of each step at which one begins, ended by the next one (Uitdenbogerd & Zobel, 1999)."""
    highest: dict[int, tuple[int, int, int, int]] = {}
    for note in notes:
        step = int(note[0] * scale + 0.5)
        if step not in highest or note[2] > highest[step][2]:
            highest[step] = note
    line = [highest[step] for step in sorted(highest)]
    following = [note[0] for note in line[1:]] + [1 << 62]
    return [(start, min(end, then), pitch, velocity) for (start, end, pitch, velocity), then in
            zip(line, following, strict=True)]  # fmt: skip


def number(parts: list[MidiPart], losses: QuantisationStats) -> list[MidiPart]:
    """The parts in the order in which they begin, at most sixteen and one of drums; those beyond join another one."""
    parts = sorted((part for part in parts if part.notes), key=lambda part: (min(n[0] for n in part.notes), part.order))
    kept: list[MidiPart] = []
    for part in parts:
        melodic = [other for other in kept if other.program is not None]
        if part.program is None or len(melodic) < MAX_TRACKS - 1:
            kept.append(part)
            continue
        losses.parts_merged += 1
        alike = [other for other in melodic if other.program == part.program] or melodic[-1:]
        alike[0].notes += part.notes
    return kept
