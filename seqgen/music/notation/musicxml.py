"""MusicXML (https://www.w3.org/2021/06/musicxml40/) and compressed MusicXML (.mxl), read into scores."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from xml.etree.ElementTree import Element

from seqgen.errors import DataError
from seqgen.music.notation import xml_tree
from seqgen.music.notation.abc_order import played
from seqgen.music.notation.abc_symbols import BarLine, Ending, Measure, Symbol
from seqgen.music.notation.bars import WrittenBar, add_bar, bounded, metres_of, pickup, ticks_per_quarter
from seqgen.music.notation.keys import STEPS
from seqgen.music.score import MAX_BARS, MusicScore, QuantisationStats, ScorePart, check_length

NOUN = "the score"
MAX_NOTES = 500_000  # with repeats
MAX_MEASURES = 1 << 20  # of all parts together, with repeats
FORTE = 90  # the velocity that the attribute `dynamics` calls 100 per cent
_VELOCITY = 80  # of notes without any dynamics
_MARKS = {"ppp": 16, "pp": 33, "p": 49, "mp": 64, "mf": 80, "f": 96, "ff": 112, "fff": 126}  # as in MuseScore
_DRUM_CHANNEL = 10
_UNITS = {
    "whole": Fraction(4), "half": Fraction(2), "quarter": Fraction(1), "eighth": Fraction(1, 2),
    "16th": Fraction(1, 4), "32nd": Fraction(1, 8),
}  # fmt: skip


def read_score(data: bytes) -> tuple[MusicScore, QuantisationStats]:
    """Read a score, with its repeats and endings. Grace notes and cue notes are left out.

    Raises:
        DataError: it is damaged. The message lacks the file's name, which the caller adds.
    """
    if xml_tree.is_compressed_score(data):
        data = xml_tree.score_in(data)
    root = xml_tree.parse(data)
    if root.tag == "score-timewise":
        root = _by_part(root)
    elif root.tag != "score-partwise":
        raise DataError(f"it is XML, but not a score in MusicXML: its root is {root.tag[:40]!r}")
    stats = QuantisationStats()
    instruments = _instruments(root)
    parts = [_Part(part, instruments.get(part.get("id", ""), _Instruments()), stats) for part in root.iter("part")]
    order = [symbol.number for symbol in _order(parts[0].measures if parts else [])]
    bars, notes, tempos = _join(parts, order)
    pad = pickup(bars)
    division = ticks_per_quarter([pad, *(time for part in notes for note in part for time in note[:2])])

    def ticks(time: Fraction) -> int:
        return int((time + pad) * 4 * division + Fraction(1, 2))

    found: dict[tuple[int, int | None], ScorePart] = {}
    for number, part in enumerate(notes):
        for start, end, pitch, velocity, program in part:
            key = number, program
            if key not in found:
                found[key] = ScorePart(program, (number, len(found), program or 0))
            found[key].notes.append((ticks(start), ticks(end), pitch, velocity))
    stats.notes = sum(map(len, notes))
    last = max((note[1] for each in found.values() for note in each.notes), default=0)
    metres = [(ticks(start) if number else 0, *metre) for number, (start, metre) in enumerate(metres_of(bars))]
    times = sorted((ticks(time) if time else 0, bpm) for time, bpm in tempos)
    score = MusicScore(division, _merged_drums(list(found.values())), metres, times, last, NOUN)
    check_length(score)
    return score, stats


def _merged_drums(parts: list[ScorePart]) -> list[ScorePart]:
    drums = [part for part in parts if part.program is None]
    for part in drums[1:]:
        drums[0].notes += part.notes
    return [part for part in parts if part.program is not None or part is drums[0]]


def _by_part(root: Element) -> Element:
    """A timewise score as a partwise one."""
    result = Element("score-partwise")
    parts: dict[str, Element] = {}
    for child in root:
        if child.tag != "measure":
            result.append(child)
            continue
        for part in child.iter("part"):
            name = part.get("id", "")
            if name not in parts:
                parts[name] = Element("part", {"id": name})
            measure = Element("measure", child.attrib)
            measure.extend(list(part))
            parts[name].append(measure)
    result.extend(parts.values())
    return result


@dataclass
class _Instruments:
    """The instruments of a part: program, 0–127, None for drums; and the drums' keys."""

    programs: dict[str, int | None] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)

    def program(self, name: str | None) -> int | None:
        if name in self.programs:
            return self.programs[name]
        return next(iter(self.programs.values()), 0)


def _instruments(root: Element) -> dict[str, _Instruments]:
    found: dict[str, _Instruments] = {}
    for part in root.iter("score-part"):
        own = found.setdefault(part.get("id", ""), _Instruments())
        for midi in part.iter("midi-instrument"):
            name = midi.get("id", "")
            program = _number(midi, "midi-program", 1) - 1
            is_drum = _number(midi, "midi-channel", 1) == _DRUM_CHANNEL
            own.programs[name] = None if is_drum else min(max(int(program), 0), 127)
            key = _number(midi, "midi-unpitched", 0)
            if 1 <= key <= 128:
                own.keys[name] = int(key) - 1
    return found


def _number(element: Element, name: str, default: Fraction | int) -> Fraction:
    """The number in a child. Raises `DataError` if there is text that is no number."""
    text = element.findtext(name)
    if text is None or not text.strip():
        return Fraction(default)
    return _fraction(text, name)


def _fraction(text: str, name: str) -> Fraction:
    clean = text.strip()
    found = re.fullmatch(r"([-+]?[0-9]{1,9}(?:\.[0-9]{0,9})?)(?:(?<=\.[0-9]{9})[0-9]{1,99})?", clean)
    if found is not None:  # further decimals mean nothing
        return Fraction(found[1])
    raise DataError(f"the score has {clean[:20]!r} for a number, in <{name}>")


# Start, end (in whole notes, from the start of the measure or of the piece), pitch, velocity, program.
_TimedNote = tuple[Fraction, Fraction, int, int, int | None]


@dataclass
class _Measure:
    element: Element
    notes: list[tuple[_TimedNote, bool, bool]] = field(default_factory=list)  # with: whether a tie ends, begins
    tempos: list[tuple[Fraction, float]] = field(default_factory=list)
    length: Fraction = Fraction(0)
    metre: tuple[int, int] = (4, 4)


class _Part:
    """The measures of a part, read in the order in which they are written."""

    def __init__(self, part: Element, instruments: _Instruments, stats: QuantisationStats) -> None:
        self._instruments, self._stats = instruments, stats
        self._divisions = Fraction(1)  # of a quarter note
        self._shift = 0
        self._velocity: int = _VELOCITY
        self._metre = (4, 4)
        self.measures = [self._read(measure) for measure in part.iter("measure")]

    def _read(self, element: Element) -> _Measure:
        measure = _Measure(element)
        now = before = Fraction(0)
        for child in element:
            if child.tag == "attributes":
                self._attributes(child)
            elif child.tag in ("backup", "forward"):
                length = self._length(child)
                now = max(now - length, Fraction(0)) if child.tag == "backup" else bounded(now + length)
                measure.length = max(measure.length, now)
            elif child.tag in ("direction", "sound"):
                self._direction(child, now, measure)
            elif child.tag == "note":
                if child.find("grace") is not None:
                    self._stats.graces += 1
                    continue
                if child.find("chord") is None:
                    before, now = now, bounded(now + self._length(child))
                    measure.length = max(measure.length, now)
                if child.find("cue") is None:
                    self._note(child, before, measure)
        measure.metre = self._metre
        return measure

    def _length(self, element: Element) -> Fraction:
        """A duration in whole notes."""
        return max(_number(element, "duration", 0), Fraction(0)) / self._divisions / 4

    def _attributes(self, element: Element) -> None:
        divisions = _number(element, "divisions", self._divisions)
        if divisions <= 0:
            raise DataError("the score has 0 divisions of a quarter note")
        self._divisions = divisions
        time = element.find("time")
        if time is not None:
            beats, kinds = time.findall("beats"), time.findall("beat-type")
            total = Fraction(0)
            for above, below in zip(beats, kinds, strict=False):
                kind = _fraction(below.text or "", "beat-type")
                numbers = [_fraction(each, "beats") for each in (above.text or "").split("+")]
                total += sum(numbers) / kind if kind > 0 else 0
            kind = _fraction(kinds[0].text or "", "beat-type") if kinds else Fraction(4)
            above_all = total * kind
            if above_all.denominator == 1 and 0 < above_all < 100 and kind in (1, 2, 4, 8, 16, 32):
                self._metre = int(above_all), int(kind)
            elif not beats:
                self._metre = 0, 4  # senza misura
        transpose = element.find("transpose")
        if transpose is not None:
            self._shift = int(_number(transpose, "chromatic", 0) + 12 * _number(transpose, "octave-change", 0))

    def _direction(self, element: Element, now: Fraction, measure: _Measure) -> None:
        sound = element if element.tag == "sound" else element.find("sound")
        offset = element.findtext("offset") or (sound.findtext("offset") if sound is not None else None)
        time = max(now + (_fraction(offset, "offset") / self._divisions / 4 if offset else 0), Fraction(0))
        bpm: Fraction | None = None
        dynamics: str | None = None
        if sound is not None:
            dynamics, tempo = sound.get("dynamics"), sound.get("tempo")
            bpm = _fraction(tempo, "sound tempo") if tempo else None
        marks = [mark.tag for mark in element.iterfind("direction-type/dynamics/*") if mark.tag in _MARKS]
        if dynamics:
            self._velocity = _velocity(dynamics)
        elif marks:
            self._velocity = _MARKS[marks[-1]]
        if bpm is None and (metronome := element.find("direction-type/metronome")) is not None:
            unit = _UNITS.get(metronome.findtext("beat-unit") or "")
            text = metronome.findtext("per-minute") or ""  # such as "ca. 60"
            number = re.match(r"\s*+(?:c(?:a|irca)?\.?\s*+)?([0-9]{1,4}(?:\.[0-9]{1,9})?)", text)
            if unit and number:
                bpm = (
                    Fraction(number[1]) * unit * (Fraction(3, 2) if metronome.find("beat-unit-dot") is not None else 1)
                )
        if bpm is not None and 1 <= bpm <= 2000:
            measure.tempos.append((time, float(bpm)))

    def _note(self, note: Element, start: Fraction, measure: _Measure) -> None:
        pitch, unpitched = note.find("pitch"), note.find("unpitched")
        length = self._length(note)
        if (pitch is None and unpitched is None) or length <= 0:
            return  # a rest
        instrument = note.find("instrument")
        name = None if instrument is None else instrument.get("id")
        program = self._instruments.program(name)
        if pitch is not None:
            step = (pitch.findtext("step") or "").strip()
            if step not in STEPS:
                raise DataError(f"the score has a note {step[:20]!r}")
            alter = round(_number(pitch, "alter", 0))
            key = STEPS[step] + alter + 12 * (int(_number(pitch, "octave", 4)) + 1) + self._shift
        else:
            key = self._instruments.keys.get(name or "", 38)  # a snare drum
            program = None
        if not 0 <= key <= 127:
            raise DataError(f"the score has a note outside of MIDI's range ({key})")
        dynamics = note.get("dynamics")
        velocity = _velocity(dynamics) if dynamics else self._velocity
        ties = {tie.get("type") for tie in note.findall("tie")}
        timed = start, start + length, key, velocity, program
        measure.notes.append((timed, "stop" in ties, "start" in ties))


def _velocity(text: str) -> int:
    return min(max(int(_fraction(text, "dynamics") * FORTE / 100 + Fraction(1, 2)), 1), 127)


def _order(measures: list[_Measure]) -> Iterator[Measure]:
    """The measures as they are played."""
    symbols: list[Symbol] = []
    for index, measure in enumerate(measures):
        before: list[Symbol] = []
        ends, is_last = 0, False
        for line in measure.element.iter("barline"):
            repeat, ending = line.find("repeat"), line.find("ending")
            if repeat is not None and repeat.get("direction") == "forward":
                before.insert(0, BarLine(starts=True))
            elif repeat is not None:
                times = repeat.get("times", "2")
                ends = min(int(times), 100) - 1 if re.fullmatch("[0-9]{1,9}", times) else 1
            if ending is not None and ending.get("type") == "start":
                passes = tuple(int(each) for each in re.findall(r"[0-9]{1,2}", ending.get("number", "")))
                before.append(Ending(passes or (1,)))
            elif ending is not None:
                is_last = True
        symbols += [*before, Measure(index), BarLine(ends, is_double=is_last and not ends)]
    return (symbol for symbol in played(symbols) if isinstance(symbol, Measure))


def _join(
    parts: list[_Part], order: list[int]
) -> tuple[list[WrittenBar], list[list[_TimedNote]], list[tuple[Fraction, float]]]:
    """The bars, the notes of each part and the tempos of a score whose measures are played in an order.

    Raises `DataError` as soon as repeats make it longer than any.
    """
    bars: list[WrittenBar] = []
    notes: list[list[_TimedNote]] = [[] for _ in parts]
    tied: list[dict[tuple[int, int | None], int]] = [{} for _ in parts]  # pitch and program → index of the note
    tempos: list[tuple[Fraction, float]] = []
    numbers: list[list[int]] = [[] for _ in range(max((len(part.measures) for part in parts), default=0))]
    for number, part in enumerate(parts):
        for those in numbers[: len(part.measures)]:
            those.append(number)  # of the parts that have this measure
    now, count, measures = Fraction(0), 0, 0
    for index in order:
        here = [parts[number].measures[index] for number in numbers[index]]
        length = max(measure.length for measure in here)
        for number, measure in zip(numbers[index], here, strict=True):
            count -= len(notes[number])
            _add_notes(measure, now, notes[number], tied[number])
            count += len(notes[number])
        tempos += [(now + time, bpm) for measure in here for time, bpm in measure.tempos]
        length = length or Fraction(*here[0].metre)
        add_bar(bars, now, now + length, here[0].metre)
        now = bounded(now + length)
        if now > MAX_BARS:  # of 4/4, each a whole note
            raise DataError(f"{NOUN} is longer than {MAX_BARS:,} bars")
        measures += len(here)
        if measures > MAX_MEASURES:
            raise DataError(f"with its repeats, {NOUN} has more than {MAX_MEASURES:,} measures in its parts")
        if count > MAX_NOTES:
            raise DataError(f"with its repeats, {NOUN} has more than {MAX_NOTES:,} notes")
    return bars, notes, tempos


def _add_notes(
    measure: _Measure, now: Fraction, notes: list[_TimedNote], tied: dict[tuple[int, int | None], int]
) -> None:
    for (start, end, pitch, velocity, program), is_end, is_start in sorted(measure.notes, key=lambda each: each[0][0]):
        index = tied.pop((pitch, program), None) if is_end else None
        if index is not None and notes[index][1] == now + start:
            notes[index] = notes[index][0], now + end, pitch, notes[index][3], program
        else:
            index = len(notes)
            notes.append((now + start, now + end, pitch, velocity, program))
        if is_start:
            tied[pitch, program] = index
