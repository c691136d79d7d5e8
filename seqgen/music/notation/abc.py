"""ABC notation: the scores of tunes."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from seqgen.errors import DataError
from seqgen.music.notation import abc_symbols as abc
from seqgen.music.notation import files
from seqgen.music.notation.abc_order import played
from seqgen.music.notation.bars import WrittenBar, add_bar, bounded, metres_of, pickup, ticks_per_quarter
from seqgen.music.score import MAX_BARS, MusicScore, QuantisationStats, ScorePart, check_length

NOUN = "the tune"
VELOCITY, CHORD_VELOCITY = 90, 64
CHORD_PROGRAM = 24  # a guitar accompanies


def text_of(data: bytes) -> str:
    """Decode ABC: UTF-8 or, with a mark, UTF-16; or else Latin-1, as older files are."""
    data = files.as_lines(data)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_score(data: bytes) -> tuple[MusicScore, QuantisationStats]:
    """Read a tune: its voices as parts, and a part of its chords.

    Raises:
        DataError: it is no tune, or a book of several. The message lacks the file's name, which the caller adds.
    """
    if (count := files.number_of_tunes(data)) > 1:
        raise DataError(f"it is a book of {count:,} tunes, where one is needed: give a file of one")
    tune = abc.parse(text_of(data))
    voices: list[_Played] = []
    left = abc.MAX_SYMBOLS  # of all voices together, with their repeats
    for each in tune.voices.values():
        symbols = played(each, tune.order, left)
        left -= len(symbols)
        voices.append(_play(symbols))
    stats = QuantisationStats(graces=tune.graces, unread=tune.unread)
    if not any(voice.notes for voice in voices):
        return MusicScore(1, [], [], [], 0, NOUN), stats
    leading = next(voice for voice in voices if voice.notes)
    pad = pickup(leading.bars)
    times = {time for voice in voices for note in voice.notes for time in note[:2]}
    times |= {chord.start for voice in voices for chord in voice.chords}
    division = ticks_per_quarter([pad, *times])

    def ticks(time: Fraction) -> int:  # times are in whole notes
        return int((time + pad) * 4 * division + Fraction(1, 2))

    parts = []
    for number, voice in enumerate(voices):
        found = [(ticks(start), ticks(end), pitch, VELOCITY) for start, end, pitch in voice.notes]
        parts.append(ScorePart(voice.program, (2 * number, 0, 0), found))
        if voice.chords:
            held = zip(voice.chords, [*(chord.start for chord in voice.chords[1:]), voice.end], strict=True)
            chords = [
                (ticks(chord.start), ticks(stop), pitch, CHORD_VELOCITY)
                for chord, stop in held
                if stop > chord.start
                for pitch in chord.pitches
            ]
            parts.append(ScorePart(CHORD_PROGRAM, (2 * number + 1, 0, 0), chords))
    metres = [
        (0 if not number else ticks(start), *metre) for number, (start, metre) in enumerate(metres_of(leading.bars))
    ]
    tempos = sorted((ticks(time) if time else 0, bpm) for voice in voices for time, bpm in voice.tempos)
    parts = [part for part in parts if part.notes]
    stats.notes = sum(len(part.notes) for part in parts)
    score = MusicScore(division, parts, metres, tempos, max(note[1] for part in parts for note in part.notes), NOUN)
    check_length(score)
    return score, stats


@dataclass
class _HeldChord:
    start: Fraction
    pitches: tuple[int, ...]


@dataclass
class _Played:
    """A voice in time; times in whole notes."""

    notes: list[tuple[Fraction, Fraction, int]] = field(default_factory=list)  # start, end, pitch
    chords: list[_HeldChord] = field(default_factory=list)
    tempos: list[tuple[Fraction, float]] = field(default_factory=list)
    bars: list[WrittenBar] = field(default_factory=list)
    program: int = 0
    end: Fraction = Fraction(0)


def _play(symbols: list[abc.Symbol]) -> _Played:
    """Place the symbols of a voice in time."""
    result = _Played()
    now = bar_start = reached = Fraction(0)
    metre = abc.COMMON
    open_ties: dict[int, int] = {}  # pitch → index of the note that is tied on
    for symbol in symbols:
        if isinstance(symbol, abc.Sound):
            end = bounded(now + symbol.length)
            if end > MAX_BARS:  # of 4/4, each a whole note
                raise DataError(f"{NOUN} is longer than {MAX_BARS:,} bars")
            still_open = {}
            for pitch in symbol.pitches:
                index = open_ties.get(pitch)
                if index is not None and result.notes[index][1] == now:
                    result.notes[index] = result.notes[index][0], end, pitch
                else:
                    index = len(result.notes)
                    result.notes.append((now, end, pitch))
                if pitch in symbol.tied:
                    still_open[pitch] = index
            open_ties, now = still_open, end
            reached = max(reached, now)
        elif isinstance(symbol, abc.BarLine):
            add_bar(result.bars, bar_start, reached, metre[:2])
            bar_start = now = reached
        elif isinstance(symbol, abc.Overlay):
            now, open_ties = bar_start, {}
        elif isinstance(symbol, abc.Chord):
            result.chords.append(_HeldChord(now, symbol.pitches))
        elif isinstance(symbol, abc.Metre):
            metre = symbol
        elif isinstance(symbol, abc.Tempo):
            result.tempos.append((now, symbol.bpm))
        elif isinstance(symbol, abc.Program):
            result.program = symbol.number
    add_bar(result.bars, bar_start, reached, metre[:2])
    result.end = reached
    return result
