"""Pieces as MusicXML 4.0 (https://www.w3.org/2021/06/musicxml40/): a part a track, notes tied over bar lines."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cache
from operator import itemgetter
from typing import NamedTuple
from xml.sax.saxutils import escape

from seqgen.music.names import DRUMS, PROGRAMS
from seqgen.music.notation import keys
from seqgen.music.notation.musicxml import FORTE
from seqgen.music.piece import Bar, Note, Piece, Track

_DOCTYPE = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 4.0 '
    'Partwise//EN" "http://www.musicxml.org/dtds/partwise.dtd">\n<score-partwise version="4.0">\n'
)
_TYPES = (
    ("breve", Fraction(8)), ("whole", Fraction(4)), ("half", Fraction(2)), ("quarter", Fraction(1)),
    ("eighth", Fraction(1, 2)), ("16th", Fraction(1, 4)), ("32nd", Fraction(1, 8)), ("64th", Fraction(1, 16)),
)  # fmt: skip
_PLAIN, _DOTTED = Fraction(1), Fraction(3, 2)
_TUPLETS = ((1, 1), (3, 2), (5, 4))  # notes in the time of so many others; the first is none
_BASS_BELOW = 57  # mean pitch of parts in the bass clef
_MAX_CHANNELS = 16


def write(piece: Piece, title: str = "") -> bytes:
    """Return a piece as a score in MusicXML, UTF-8. Read again, it has the same notes, velocities and tempos."""
    fifths, _ = keys.signature_of(piece)
    tracks: Sequence[Track] = piece.tracks or (Track(),)
    parts = [[note for note in piece.notes if note.track == number] for number in range(len(tracks))]
    lines = [_DOCTYPE]
    if title:
        lines.append(f"<work><work-title>{_text(title)}</work-title></work>\n")
    lines.append("<identification><encoding><software>seqgen</software></encoding></identification>\n<part-list>\n")
    channels = iter([channel for channel in range(1, _MAX_CHANNELS + 1) if channel != 10] * len(tracks))
    for number, track in enumerate(tracks):
        lines += _score_part(number, track, parts[number], 10 if track.drums else next(channels))
    lines.append("</part-list>\n")
    for number, track in enumerate(tracks):
        lines.append(f'<part id="P{number + 1}">\n')
        lines += _PartWriter(piece, number, track, parts[number], fifths).measures()
        lines.append("</part>\n")
    lines.append("</score-partwise>\n")
    return "".join(lines).encode()


def _text(text: str) -> str:
    """Text without what XML can't hold."""
    return (
        escape("".join(each for each in text if each >= " " and each not in "\ufffe\uffff"))
        .encode("utf-8", "replace")
        .decode()
    )


def _score_part(number: int, track: Track, notes: Sequence[Note], channel: int) -> Iterator[str]:
    name = "drums" if track.program is None else PROGRAMS[track.program]
    yield f'<score-part id="P{number + 1}"><part-name>{_text(name)}</part-name>\n'
    played = sorted({note.pitch for note in notes}) if track.drums else [0]
    for key in played:
        shown = _text(DRUMS.get(key, f"key {key}") if track.drums else name)
        yield f'<score-instrument id="{_instrument(number, track, key)}"><instrument-name>{shown}</instrument-name>'
        yield "</score-instrument>\n"
    for key in played:
        yield f'<midi-instrument id="{_instrument(number, track, key)}"><midi-channel>{channel}</midi-channel>'
        yield f"<midi-program>{(track.program or 0) + 1}</midi-program>"
        yield f"<midi-unpitched>{key + 1}</midi-unpitched>" if track.drums else ""
        yield "</midi-instrument>\n"
    yield "</score-part>\n"


def _instrument(number: int, track: Track, key: int) -> str:
    return f"P{number + 1}-I{key if track.drums else 1}"


class _Value(NamedTuple):
    """A note value: its length in steps, type and dots, and `tuplet`, so many notes in the time of others."""

    steps: int
    type: str = ""  # none fits
    dots: int = 0
    tuplet: tuple[int, int] = (1, 1)


@cache
def _values(grid: int, tuplet: tuple[int, int]) -> list[_Value]:
    """Note values that are whole steps, of a kind of tuplet and of none, the longest first."""
    found = []
    for name, quarters in _TYPES:
        for factor, dots, kind in ((_PLAIN, 0, (1, 1)), (_DOTTED, 1, (1, 1)), (Fraction(*tuplet[::-1]), 0, tuplet)):
            steps = quarters * factor * grid
            if steps.denominator == 1:
                found.append(_Value(int(steps), name, dots, kind))
    return sorted(found, key=lambda value: (-value.steps, value.tuplet))


def _divided(length: int, grid: int) -> list[_Value]:
    """A length as note values, of triplets or quintuplets if it needs them; what no value fits has no type."""
    found: list[_Value] = []
    for tuplet in _TUPLETS:
        found, left = [], length
        while left:
            found.append(next((value for value in _values(grid, tuplet) if value.steps <= left), _Value(left)))
            left -= found[-1].steps
        if found and found[-1].type:
            break
    return found


class _PartWriter:
    def __init__(self, piece: Piece, number: int, track: Track, notes: Sequence[Note], fifths: int) -> None:
        self._piece, self._number, self._track, self._notes, self._fifths = piece, number, track, notes, fifths

    def measures(self) -> Iterator[str]:
        metre: tuple[int, int] | None = None
        sounding: list[Note] = []
        index = 0
        for number, bar in enumerate(self._piece.bars):
            stop = bar.start + bar.length
            while index < len(self._notes) and self._notes[index].start < stop:
                sounding.append(self._notes[index])
                index += 1
            yield f'<measure number="{number + 1}">\n'
            changed = (bar.numerator, bar.denominator) != metre
            metre = bar.numerator, bar.denominator
            if not number or changed:
                yield self._attributes(not number, metre)
            if not self._number:
                yield from self._tempos(bar)
            yield from self._bar(bar, sounding)
            yield "</measure>\n"
            sounding = [note for note in sounding if note.end > stop]

    def _attributes(self, is_first: bool, metre: tuple[int, int]) -> str:
        time = f"<time><beats>{metre[0]}</beats><beat-type>{metre[1]}</beat-type></time>"
        if not is_first:
            return f"<attributes>{time}</attributes>\n"
        mean = sum(note.pitch for note in self._notes) / max(len(self._notes), 1)
        sign = "<sign>percussion</sign>" if self._track.drums else "<sign>G</sign><line>2</line>"
        if not self._track.drums and self._notes and mean < _BASS_BELOW:
            sign = "<sign>F</sign><line>4</line>"
        key = f"<key><fifths>{0 if self._track.drums else self._fifths}</fifths></key>"
        return f"<attributes><divisions>{self._piece.grid}</divisions>{key}{time}<clef>{sign}</clef></attributes>\n"

    def _tempos(self, bar: Bar) -> Iterator[str]:
        tempos = self._piece.tempos
        first = bisect_left(tempos, bar.start, key=itemgetter(0))
        after = bisect_left(tempos, bar.start + bar.length, key=itemgetter(0))
        for step, bpm in tempos[first:after]:
            offset = f'<offset sound="yes">{step - bar.start}</offset>' if step > bar.start else ""
            yield '<direction placement="above"><direction-type><metronome><beat-unit>quarter</beat-unit>'
            yield f"<per-minute>{bpm:.10g}</per-minute></metronome></direction-type>{offset}"
            yield f'<sound tempo="{bpm:.10g}"/></direction>\n'

    def _bar(self, bar: Bar, notes: Sequence[Note]) -> Iterator[str]:
        """The notes of a bar: those that start and end together as chords, in as many voices as overlap."""
        stop = bar.start + bar.length
        groups: dict[tuple[int, int], list[Note]] = {}
        for note in notes:
            groups.setdefault((max(note.start, bar.start), min(note.end, stop)), []).append(note)
        voices: list[list[tuple[int, int, list[Note]]]] = []
        for (start, end), group in sorted(groups.items()):
            voice = next((voice for voice in voices if voice[-1][1] <= start), None)
            if voice is None:
                voices.append(voice := [])
            voice.append((start, end, group))
        if not voices:
            yield f'<note><rest measure="yes"/><duration>{bar.length}</duration><voice>1</voice></note>\n'
        for number, voice in enumerate(voices, start=1):
            if number > 1:
                yield f"<backup><duration>{bar.length}</duration></backup>\n"
            now = bar.start
            for start, end, group in voice:
                yield from self._silence(start - now, number)
                yield from self._chord(start, end, group, number)
                now = end
            yield from self._silence(stop - now, number)

    def _silence(self, length: int, voice: int) -> Iterator[str]:
        if length and voice > 1:
            yield f"<forward><duration>{length}</duration></forward>\n"
        elif length:
            for value in _divided(length, self._piece.grid):
                yield f"<note><rest/>{self._value(value, voice)}</note>\n"

    def _value(self, value: _Value, voice: int, middle: str = "") -> str:
        kind = f"<type>{value.type}</type>{'<dot/>' * value.dots}" if value.type else ""
        actual, normal = value.tuplet
        times = f"<actual-notes>{actual}</actual-notes><normal-notes>{normal}</normal-notes>"
        change = f"<time-modification>{times}</time-modification>" if actual > 1 else ""
        return f"<duration>{value.steps}</duration>{middle}<voice>{voice}</voice>{kind}{change}"

    def _chord(self, start: int, end: int, group: Sequence[Note], voice: int) -> Iterator[str]:
        for value in _divided(end - start, self._piece.grid):
            after = start + value.steps
            for index, note in enumerate(sorted(group, key=lambda note: note.pitch)):
                yield self._note(note, value, voice, note.start < start, after < note.end, index > 0)
            start = after

    def _note(self, note: Note, value: _Value, voice: int, is_end: bool, is_start: bool, in_chord: bool) -> str:
        kinds = ["stop"] * is_end + ["start"] * is_start
        ties = "".join(f'<tie type="{kind}"/>' for kind in kinds)
        letter, alter, octave = keys.spell(note.pitch, self._fifths)
        if self._track.drums:
            pitch = f"<unpitched><display-step>{letter}</display-step><display-octave>5</display-octave></unpitched>"
            ties += f'<instrument id="{_instrument(self._number, self._track, note.pitch)}"/>'
        else:
            sign = f"<alter>{alter}</alter>" if alter else ""
            pitch = f"<pitch><step>{letter}</step>{sign}<octave>{octave}</octave></pitch>"
        shown = "".join(f'<tied type="{kind}"/>' for kind in kinds)
        notations = f"<notations>{shown}</notations>" if kinds else ""
        dynamics = f"{100 * note.velocity / FORTE:.2f}"
        chord = "<chord/>" if in_chord else ""
        return f'<note dynamics="{dynamics}">{chord}{pitch}{self._value(value, voice, ties)}{notations}</note>\n'
