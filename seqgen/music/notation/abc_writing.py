"""Pieces as tunes in ABC: one line of melody, with the chords of another track as symbols if they are such."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from seqgen.errors import DataError
from seqgen.music.notation import chords, keys
from seqgen.music.piece import Bar, Note, Piece

_BARS_A_LINE = 4
# Notes, mark, factor of their written lengths; the last is none.
_TUPLETS = ((3, "(3", Fraction(3, 2)), (5, "(5:4:5", Fraction(5, 4)), (1, "", Fraction(1)))
_MARKS = {-2: "__", -1: "_", 0: "=", 1: "^", 2: "^^"}
_MODES = {0: "", -1: "mix", -2: "dor", -3: "m"}  # by the fifths between signature and final note


def write(piece: Piece, title: str = "") -> bytes:
    """Return a piece as a tune in ABC 2.1, UTF-8.

    The melody is the highest track on average. Of notes that start together the tune has all; others are cut where the
    next begin. Other tracks are left out, but for one whose notes are chords that have names.

    Raises:
        DataError: there is no melody: only drums, or no notes.
    """
    melodic = [number for number, track in enumerate(piece.tracks) if not track.drums]
    by_track = {number: [note for note in piece.notes if note.track == number] for number in melodic}
    fifths, final = keys.signature_of(piece)
    symbols = {number: _symbols(notes, fifths) for number, notes in by_track.items()}
    tunes = [number for number in melodic if by_track[number] and symbols[number] is None]
    tunes = tunes or [number for number in melodic if by_track[number]]
    if not tunes:
        raise DataError("the piece has no melody, which a tune in ABC needs")
    chosen = max(tunes, key=lambda number: sum(n.pitch for n in by_track[number]) / len(by_track[number]))
    named = next((found for number, found in symbols.items() if found and number != chosen), {})
    program = piece.tracks[chosen].program
    first = piece.bars[0]
    lines = ["X:1", f"T:{' '.join(title.split()) or 'Untitled'}", f"M:{first.numerator}/{first.denominator}", "L:1/8"]
    lines.append(f"Q:1/4={piece.tempos[0][1]:.10g}")
    lines += [f"%%MIDI program {program}"] if program else []
    lines.append(f"K:{_key(fifths, final)}")
    bars = list(_bars(piece, _Line(by_track[chosen], named, dict(piece.tempos[1:])), fifths))
    starts = range(0, len(bars), _BARS_A_LINE)
    lines += ["|".join(bars[start : start + _BARS_A_LINE]) + ("|" if start != starts[-1] else "|]") for start in starts]
    return ("\n".join(lines) + "\n").encode()


def _symbols(notes: Sequence[Note], fifths: int) -> dict[int, str] | None:
    """The chord symbols of a track by their steps, "N.C." where it falls silent; None if it isn't one of chords."""
    groups: dict[int, list[Note]] = {}
    for note in notes:
        groups.setdefault(note.start, []).append(note)
    found: dict[int, str] = {}
    end = None
    for start, group in groups.items():
        symbol = chords.symbol_of(tuple(sorted(note.pitch for note in group)), fifths)
        if symbol is None or len({note.end for note in group}) > 1 or (end is not None and start < end):
            return None
        if end is not None and start > end:
            found[end] = chords.NO_CHORD[0]
        found[start] = symbol
        end = group[0].end
    if end is not None:
        found[end] = chords.NO_CHORD[0]
    return found


def _key(fifths: int, final: int) -> str:
    fitting = [offset for offset in _MODES if 7 * (fifths - offset) % 12 == final]
    offset = fitting[0] if fitting else 0
    position, mode = fifths - offset, _MODES[offset]
    alter = (position + 1) // 7
    return keys.LETTERS[(position + 1) % 7] + ("b" * -alter if alter < 0 else "#" * alter) + mode


@dataclass
class _Line:
    """The melody, with chord symbols and tempos by their steps."""

    notes: Sequence[Note]
    symbols: dict[int, str]
    tempos: dict[int, float]

    def segments(self, length: int) -> list[tuple[int, int, tuple[int, ...]]]:
        """(start, end, pitches) from step 0 to `length` without gaps; no pitches are a rest."""
        groups: dict[int, list[Note]] = {}
        for note in self.notes:
            groups.setdefault(note.start, []).append(note)
        starts = sorted(groups)
        found: list[tuple[int, int, tuple[int, ...]]] = []
        now = 0
        for start, after in zip(starts, [*starts[1:], length], strict=True):
            if start > now:
                found.append((now, start, ()))
            now = min(after, max(note.end for note in groups[start]))
            found.append((start, now, tuple(sorted(note.pitch for note in groups[start]))))
        if now < length:
            found.append((now, length, ()))
        return found


@dataclass
class _Spelling:
    """The accidentals of a bar, as readers take them that carry them to other octaves, and as those that don't."""

    fifths: int
    letters: dict[str, int] = field(default_factory=dict)
    notes: dict[tuple[str, int], int] = field(default_factory=dict)

    def write(self, pitch: int) -> str:
        letter, alter, octave = keys.spell(pitch, self.fifths)
        usual = keys.alterations(self.fifths)[letter]
        mark = ""
        if {self.letters.get(letter, usual), self.notes.get((letter, octave), usual)} != {alter}:
            mark = _MARKS[alter]
            self.letters[letter] = self.notes[letter, octave] = alter
        return mark + (letter.lower() + "'" * (octave - 5) if octave > 4 else letter + "," * (4 - octave))


def _bars(piece: Piece, line: _Line, fifths: int) -> Iterator[str]:
    """The text of each bar, without bar lines."""
    segments = line.segments(piece.length)
    marks = sorted({*line.symbols, *line.tempos, *(bar.start for bar in piece.bars)})
    metre: tuple[int, int] = piece.bars[0].numerator, piece.bars[0].denominator
    index = 0
    has_pickup = _has_pickup(piece, segments, line)
    for bar in piece.bars:
        stop = bar.start + bar.length
        tokens: list[_Token] = []
        spelling = _Spelling(fifths)
        head = ""
        if (bar.numerator, bar.denominator) != metre:
            metre = bar.numerator, bar.denominator
            head = f"[M:{metre[0]}/{metre[1]}]"
        while index < len(segments) and segments[index][0] < stop:
            start, end, pitches = segments[index]
            if end > stop:
                segments[index] = stop, end, pitches
            else:
                index += 1
            inside = marks[bisect_right(marks, start) : bisect_left(marks, min(end, stop))]
            cuts = [max(start, bar.start), *inside, min(end, stop)]
            for first, after in pairwise(cuts):
                prefix = f"[Q:1/4={line.tempos[first]:.10g}]" if first in line.tempos else ""
                prefix += f'"{line.symbols[first]}"' if first in line.symbols else ""
                if has_pickup and first == 0:
                    continue
                lengths = _notated(Fraction(2 * (after - first), piece.grid))
                for number, length in enumerate(lengths, start=1):
                    tokens.append(_Token(prefix, pitches, length, after < end or number < len(lengths)))
                    prefix = ""
        beat = 3 if bar.numerator % 3 == 0 and bar.denominator == 8 else 2
        yield head + _joined(tokens, spelling, beat)


def _notated(length: Fraction) -> list[Fraction]:
    """A length in eighth notes as lengths of notes, plain and dotted. What isn't of halves is left as it is."""
    if length.denominator & (length.denominator - 1):
        return [length]
    parts = []
    while length:
        plain = (
            Fraction(2) ** ((length.numerator // length.denominator).bit_length() - 1) if length >= 1 else Fraction(1)
        )
        while plain > length:
            plain /= 2
        parts.append(plain * 3 / 2 if plain * 3 / 2 <= length else plain)
        length -= parts[-1]
    return parts


def _has_pickup(piece: Piece, segments: Sequence[tuple[int, int, tuple[int, ...]]], line: _Line) -> bool:
    """Whether the silence of the first bar is left out: readers take a first bar that is too short for a pickup."""
    first: Bar = piece.bars[0]
    _, end, pitches = segments[0]
    in_silence = any(step < end for step in (*line.symbols, *line.tempos))
    return len(piece.bars) > 1 and not pitches and 2 * end >= first.length > end and not in_silence


@dataclass
class _Token:
    prefix: str
    pitches: tuple[int, ...]
    length: Fraction  # eighth notes
    is_tied: bool

    def write(self, spelling: _Spelling, length: Fraction) -> str:
        notes = [spelling.write(pitch) for pitch in self.pitches] or ["z"]
        body = f"[{''.join(notes)}]" if len(notes) > 1 else notes[0]
        below = "" if length.denominator == 1 else "/" if length.denominator == 2 else f"/{length.denominator}"
        above = "" if length.numerator == 1 else str(length.numerator)
        return f"{self.prefix}{body}{above}{below}{'-' if self.is_tied and self.pitches else ''}"


def _joined(tokens: Sequence[_Token], spelling: _Spelling, beat: int) -> str:
    """Write tokens, three equal ones of a third each as a triplet, with spaces between beats of `beat` eighth notes."""
    parts: list[str] = []
    index, now = 0, Fraction(0)
    while index < len(tokens):
        parts += [" "] if now and now % beat == 0 else []
        count, mark, factor = next(each for each in _TUPLETS if _is_tuplet(tokens[index : index + each[0]], each[0]))
        group = tokens[index : index + count]
        first, *others = (each.write(spelling, each.length * factor) for each in group)
        prefix = group[0].prefix
        parts.append(f"{prefix}{mark}{first.removeprefix(prefix)}{''.join(others)}")
        now += sum(each.length for each in group)
        index += count
    return "".join(parts)


def _is_tuplet(group: Sequence[_Token], count: int) -> bool:
    """Whether tokens are as many equal ones of a third, or fifth, each."""
    lengths = {each.length for each in group}
    divides = len(lengths) == 1 and not next(iter(lengths)).denominator % count
    return divides and len(group) == count and not any(each.prefix for each in group[1:])
