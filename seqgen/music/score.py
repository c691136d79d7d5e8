"""Music before it stands on a grid, as every notation gives it: notes in ticks; and its quantisation to a piece.

Whatever the grid can't represent is counted in `QuantisationStats`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from seqgen.errors import DataError
from seqgen.music.events import MAX_NOTE_QUARTERS, MAX_TRACKS
from seqgen.music.metre import bar_length, metre_of_length, nearest_metre
from seqgen.music.piece import Bar, Note, Piece, Track

NO_NOTES = "has no notes"  # part of the error for files without anything to learn from
MAX_BARS = 10_000  # about six hours; a longer piece means damaged times
FINER_GRIDS = (8, 12, 24)  # compared with the grid of a reading
_OFF_GRID = 1 / 200  # of a quarter note: a note displaced by more was not written on the grid

# Counts of `QuantisationStats`: what was forgiven.
_REPAIRS = (
    ("headers", "wrong header{s}"),
    ("metas", "malformed event{s} (tempo, metre or key) ignored"),
    ("tracks_cut", "track{s} cut off or of a wrong length, read as far as possible"),
    ("stray", "damaged event{s} skipped"),
    ("clipped", "data byte{s} above 127 taken for 127"),
    ("chunks", "unknown chunk{s} skipped"),
    ("unread", "symbol{s} of ABC not understood, left out"),
)


@dataclass
class QuantisationStats:
    """Changes and omissions when files are read on a grid. Numbers of notes unless stated otherwise."""

    notes: int = 0  # in the file
    kept: int = 0
    hanging: int = 0  # without a note-off: ended with their track
    struck_again: int = 0  # cut at the next note of the same pitch and part
    doubled: int = 0  # dropped: the same pitch at the same step in the same part
    lengthened: int = 0  # shorter than half a step: now one step
    shortened: int = 0  # cut at the longest possible duration
    out_of_range: int = 0  # dropped by the pitch range or the choice of tracks
    parts_merged: int = 0  # parts beyond the sixteenth
    metres_changed: int = 0  # metre changes replaced by the nearest metre in length, or delayed
    bends: int = 0  # pitch bends, dropped
    controllers: int = 0  # control changes other than the pedal, dropped
    headers: int = 0  # see `midi_chunks.Repairs`
    chunks: int = 0
    tracks_cut: int = 0
    metas: int = 0
    stray: int = 0
    clipped: int = 0
    graces: int = 0  # grace notes of ABC and MusicXML, dropped
    unread: int = 0  # symbols of ABC that are not understood, dropped
    moved: int = 0  # notes that don't stand on the grid
    moved_8: int = 0  # notes that wouldn't stand on one of 8, 12 or 24 steps per quarter note
    moved_12: int = 0
    moved_24: int = 0
    shift: float = 0.0  # sum of the onsets' displacements, in steps
    largest_shift: float = 0.0

    def add(self, other: QuantisationStats) -> None:
        """Add the counts of another file."""
        for item in fields(self):
            mine, theirs = getattr(self, item.name), getattr(other, item.name)
            setattr(self, item.name, max(mine, theirs) if item.name == "largest_shift" else mine + theirs)


def repairs(stats: QuantisationStats) -> list[str]:
    """What was forgiven, in words: one text for each kind."""
    counts = [(getattr(stats, name), words) for name, words in _REPAIRS]
    return [f"{count:,} {words.format(s='s' * (count != 1))}" for count, words in counts if count]


@dataclass
class ScorePart:
    """The notes of a part in ticks: (start, end, pitch, velocity). `order` decides among parts that start together."""

    program: int | None
    order: tuple[int, int, int]
    notes: list[tuple[int, int, int, int]] = field(default_factory=list)


@dataclass
class MusicScore:
    """Music in ticks, of which a quarter note has `division`.

    Attributes:
        metres: (tick, numerator, denominator), ascending; 4/4 before the first.
        tempos: (tick, quarter notes per minute), ascending; 120 before the first.
        last: the tick at which the last note ends.
        noun: of the file, for messages.
    """

    division: float
    parts: list[ScorePart]
    metres: list[tuple[int, int, int]]
    tempos: list[tuple[int, float]]
    last: int
    noun: str


def check_length(score: MusicScore) -> None:
    """Raise `DataError` for a score that is longer than any piece: its times are damaged."""
    if score.last > MAX_BARS * 4 * score.division:
        raise DataError(f"{score.noun} is longer than {MAX_BARS:,} bars")


def quantise(
    score: MusicScore,
    grid: int,
    tracks: str = "all",
    low: int = 0,
    high: int = 127,
    stats: QuantisationStats | None = None,
) -> Piece:
    """Return the piece of a score on a grid. The notes of the score may be changed.

    Args:
        grid: steps per quarter note; onsets and ends move by at most half a step.
        tracks: `all`; `melody`, the skyline of the highest part; or `piano`, all parts but drums merged into one.
        low, high: pitch range to keep, both included; drums are exempt.
        stats: to which changes are added.

    Raises:
        DataError: nothing is left.
    """
    stats = QuantisationStats() if stats is None else stats
    scale = grid / score.division
    selected = _select_parts(score.parts, tracks, low, high, scale, stats)
    if not any(part.notes for part in selected):
        where = " in the requested tracks and pitch range" if stats.notes else ""
        raise DataError(f"{score.noun} {NO_NOTES}{where}")
    ordered = _order_parts(selected, stats)
    notes = _on_grid(ordered, scale, grid, stats)
    end = max(note.end for note in notes)
    steps = [(round_half_up(tick * scale), n, d) for tick, n, d in score.metres]
    bars = _bars(steps, end, grid, stats)
    if len(bars) > MAX_BARS:
        raise DataError(f"{score.noun} has more than {MAX_BARS:,} bars")
    stats.kept = len(notes)
    found = tuple(Track(part.program) for part in ordered)
    return Piece(grid, found, tuple(notes), tuple(bars), _tempos(score.tempos, scale, end))


def round_half_up(value: float) -> int:
    """Round to the nearest integer, halves up."""
    return int(value + 0.5)


def _select_parts(
    parts: list[ScorePart], tracks: str, low: int, high: int, scale: float, stats: QuantisationStats
) -> list[ScorePart]:
    """Return the requested parts and notes; `scale` is steps per tick."""
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
        parts = [ScorePart(0, (0, 0, 0), [note for part in pitched for note in part.notes])]
    else:
        parts = pitched + [part for part in parts if part.program is None]
    stats.out_of_range += before - sum(len(part.notes) for part in parts)
    return parts


def _skyline(notes: list[tuple[int, int, int, int]], scale: float) -> list[tuple[int, int, int, int]]:
    """Return the skyline melody: the highest note of each onset, cut at the next one (Uitdenbogerd & Zobel, 1999)."""
    highest: dict[int, tuple[int, int, int, int]] = {}
    for note in notes:
        step = int(note[0] * scale + 0.5)
        if step not in highest or note[2] > highest[step][2]:
            highest[step] = note
    melody = [highest[step] for step in sorted(highest)]
    next_starts = [note[0] for note in melody[1:]] + [1 << 62]
    return [(start, min(end, next_start), pitch, velocity) for (start, end, pitch, velocity), next_start in
            zip(melody, next_starts, strict=True)]  # fmt: skip


def _order_parts(parts: list[ScorePart], stats: QuantisationStats) -> list[ScorePart]:
    """Sort the parts by onset and limit them to sixteen, one of them drums; further parts are merged into others."""
    parts = sorted((part for part in parts if part.notes), key=lambda part: (min(n[0] for n in part.notes), part.order))
    kept: list[ScorePart] = []
    for part in parts:
        melodic = [other for other in kept if other.program is not None]
        if part.program is None or len(melodic) < MAX_TRACKS - 1:
            kept.append(part)
            continue
        stats.parts_merged += 1
        same_program = [other for other in melodic if other.program == part.program] or melodic[-1:]
        same_program[0].notes += part.notes
    return kept


def _is_off(quarters: float, grid: int) -> bool:
    steps = quarters * grid
    return abs(steps - round(steps)) > _OFF_GRID * grid


def _on_grid(parts: list[ScorePart], scale: float, grid: int, stats: QuantisationStats) -> list[Note]:
    """Quantise the notes: sorted, unique, bounded in length, without overlaps of the same pitch and part."""
    max_length = MAX_NOTE_QUARTERS * grid
    result: list[Note] = []
    for track, part in enumerate(parts):
        latest: dict[int, int] = {}  # pitch → index in `placed` of its last note
        placed: list[Note] = []
        part.notes.sort()
        for start, end, pitch, velocity in part.notes:
            exact = start * scale
            step = round_half_up(exact)
            stop = round_half_up(end * scale)
            shift = abs(step - exact)
            stats.shift += shift
            quarters = exact / grid
            stats.moved += shift > _OFF_GRID * grid
            stats.moved_8 += _is_off(quarters, 8)
            stats.moved_12 += _is_off(quarters, 12)
            stats.moved_24 += _is_off(quarters, 24)
            stats.largest_shift = max(stats.largest_shift, shift)
            if stop - step > max_length:
                stats.shortened += 1
                stop = step + max_length
            if stop <= step:
                stats.lengthened += 1
                stop = step + 1
            before = latest.get(pitch)
            if before is not None:
                earlier = placed[before]
                if earlier.start == step:
                    stats.doubled += 1
                    placed[before] = earlier._replace(
                        end=max(earlier.end, stop), velocity=max(earlier.velocity, velocity)
                    )
                    continue
                if earlier.end > step:
                    stats.struck_again += 1
                    placed[before] = earlier._replace(end=step)
            latest[pitch] = len(placed)
            placed.append(Note(step, track, pitch, stop, velocity))
        result += placed
    result.sort(key=lambda note: (note.start, note.track, -note.pitch))
    return result


def _bars(metres: list[tuple[int, int, int]], end: int, grid: int, stats: QuantisationStats) -> list[Bar]:
    """Return bars from step 0 until every note has ended.

    A metre change inside a bar shortens that bar if its remaining length is a metre too; otherwise it waits for the
    bar's end.
    """
    bars: list[Bar] = []
    numerator, denominator = 4, 4
    waiting = metres[::-1]
    start = 0
    while start < end and len(bars) <= MAX_BARS:
        while waiting and waiting[-1][0] <= start:
            _, *written = waiting.pop()
            numerator, denominator = nearest_metre(written[0], written[1], grid)
            stats.metres_changed += [numerator, denominator] != written
        length = bar_length(numerator, denominator, grid)
        bar = Bar(start, length, numerator, denominator)
        if waiting and waiting[-1][0] < start + length:
            if nearest_metre(waiting[-1][1], waiting[-1][2], grid) == (numerator, denominator):
                waiting.pop()
                continue
            short_metre = metre_of_length(waiting[-1][0] - start, grid, denominator)
            if short_metre is None:
                stats.metres_changed += 1
            else:
                bar = Bar(start, waiting[-1][0] - start, *short_metre)
        bars.append(bar)
        start += bar.length
    return bars


def _tempos(tempos: list[tuple[int, float]], scale: float, end: int) -> tuple[tuple[int, float], ...]:
    """Return (step, tempo): the last tempo of each step, 120 at step 0 unless the file sets another."""
    found: dict[int, float] = {0: 120}
    for tick, bpm in tempos:
        step = round_half_up(tick * scale)
        if step < end:
            found[step] = _plain(max(1, bpm))
    return tuple(sorted(found.items()))


def _plain(bpm: float) -> float:
    """The tempo of fewest decimals that has as many microseconds a quarter note: MIDI makes 104.99999 of 105."""
    decimals = (round(bpm, places) for places in range(3))
    return next((each for each in decimals if round(6e7 / each) == round(6e7 / bpm)), bpm)
