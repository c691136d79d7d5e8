"""ABC text to symbols: notes with their pitches and lengths, bar lines, endings, chords.

The standard is ABC 2.1 (https://abcnotation.com/wiki/abc:standard:v2.1); what older tunes do otherwise is read too.
Accidentals, keys, broken rhythms and tuplets are resolved here, where they stand, because a repeat brings back notes
and not the state of the key. Lyrics, decorations, slurs and annotations are no notes and are left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import NamedTuple

from seqgen.errors import DataError
from seqgen.music.notation import chords, keys
from seqgen.music.notation.bars import bounded

MAX_SYMBOLS = 200_000  # of a tune
MAX_LENGTH = 256  # whole notes of a note or rest


class Sound(NamedTuple):
    """Notes that start together, or a rest. `length` in whole notes; `tied`: those that go on in the next symbol."""

    pitches: tuple[int, ...]
    length: Fraction
    tied: tuple[int, ...] = ()


class BarLine(NamedTuple):
    """A bar line. `ends`: how often what precedes is repeated; `starts`: whether a repeat starts here."""

    ends: int = 0
    starts: bool = False
    is_double: bool = False


class Ending(NamedTuple):
    """The beginning of an ending, for these passes of a repeat: `[1`, `[1,3`."""

    passes: tuple[int, ...]


class Chord(NamedTuple):
    """The chord that accompanies from here on; no pitches: none."""

    pitches: tuple[int, ...]


class Metre(NamedTuple):
    """A time signature; `numerator` 0 is free time."""

    numerator: int
    denominator: int


COMMON = Metre(4, 4)


class Tempo(NamedTuple):
    """Quarter notes per minute."""

    bpm: float


class PartLabel(NamedTuple):
    """The beginning of a part, `P:A`."""

    label: str


class Overlay(NamedTuple):
    """`&`: what follows sounds from the beginning of the bar."""


class Program(NamedTuple):
    """`%%MIDI program`: the General MIDI instrument of the voice."""

    number: int


class Measure(NamedTuple):
    """A whole measure by its index, in the order of a score that is read measure by measure."""

    number: int


Symbol = Sound | BarLine | Ending | Chord | Metre | Tempo | PartLabel | Overlay | Program | Measure


@dataclass
class Tune:
    """The symbols of a tune, by voice.

    Attributes:
        order: labels of parts as they are played, from `P:` in the header; "" if it doesn't say.
        graces: number of grace notes, which are left out.
        unread: number of characters and chords that are not understood.
    """

    voices: dict[str, list[Symbol]] = field(default_factory=dict)
    order: str = ""
    graces: int = 0
    unread: int = 0


_LINE_END = re.compile(r"\r\n|\r|\n")
_FIELD = re.compile(r"([A-Za-z+]):(?![|:])\s*(.*)")
_TOKEN = re.compile(
    r"""
    (?P<old_ending>(?<=[|:])[ \t]+[1-9][0-9,.-]*)
    | (?P<space>[\s`]+)
    | "(?P<quoted>[^"]*)"?
    | \[(?P<field>[A-Za-z]):(?P<value>[^\]]{0,1000}+)\]
    | \{(?P<grace>[^}]*)\}?
    | !(?P<decoration>[^!\s][^!]*)! | \+(?P<plus>[a-z0-9()<>.]+)\+
    | (?P<ending>(?<=[|:\]])[1-9][0-9,.-]*|\[\s*[1-9][0-9,.-]*)
    | (?P<bar>\[?:*\|[|\]]*:*|:{2,})
    | \((?P<tuplet>[2-9](?::[0-9]*(?::[0-9]*)?)?)
    | (?P<accidental>[_^=]{0,2}(?:/[0-9]*)?)(?P<note>[A-Ga-g])(?P<octave>[,']*)(?P<length>[0-9/]*)
    | (?P<rest>[zxZX])(?P<rest_length>[0-9/]*)
    | (?P<open>\[)
    | \](?P<close>[0-9/]*)
    | (?P<tie>\.?-)
    | (?P<broken>>+|<+)
    | (?P<overlay>&+)
    | (?P<decorated>[.~H-Wh-wTuv]|!)(?=.)
    | (?P<ignored>[()y*;$\\]|y[0-9]*)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_LENGTH = re.compile(r"([0-9]*)(/*)([0-9]*)")
_TUPLET_TIMES = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}  # of the others it depends on the metre
_ACCIDENTALS = {"^": 1, "^^": 2, "_": -1, "__": -2, "=": 0}
_PIPES = {"HP": {}, "Hp": {"F": 1, "C": 1}}


def parse(text: str) -> Tune:
    """Parse the first tune of a text. Raises `DataError`, with the line, for what can't be played."""
    return _Parser().parse(text)


@dataclass
class _Voice:
    """What holds at a point of a voice."""

    metre: Metre = COMMON
    unit: Fraction | None = None  # of lengths; None: it follows from the metre
    signature: dict[str, int] = field(default_factory=lambda: keys.alterations(0))
    shift: int = 0  # semitones by which all notes are transposed
    accidentals: dict[str, int] = field(default_factory=dict)  # of this bar, by letter
    held: dict[tuple[str, int], int] = field(default_factory=dict)  # tied over the bar line: letter, octave: alteration
    spelt: dict[int, tuple[str, int, int]] = field(
        default_factory=dict
    )  # by pitch: its last letter, octave, alteration
    symbols: list[Symbol] = field(default_factory=list)
    last: int = -1  # index of the last sound, for a broken rhythm or a tie
    broken: int = -1  # index of the last sound that a broken rhythm follows
    factor: Fraction = Fraction(1)  # of the next sound, by a broken rhythm
    tuplet: Fraction = Fraction(1)
    tuplet_left: int = 0

    def unit_length(self) -> Fraction:
        if self.unit is None:
            short = self.metre.numerator and 4 * self.metre.numerator < 3 * self.metre.denominator
            self.unit = Fraction(1, 16) if short else Fraction(1, 8)
        return self.unit


class _Parser:
    def __init__(self) -> None:
        self._tune = Tune()
        self._header = _Voice()  # what voices begin with
        self._voices: dict[str, _Voice] = {}
        self._voice: _Voice | None = None  # of the body
        self._labels = 0  # of parts
        self._line = 0
        self._count = 0

    def parse(self, text: str) -> Tune:
        in_body = in_text = False
        for self._line, line in enumerate(_LINE_END.split(text), start=1):  # no other character ends a line
            if line.startswith("%%"):
                words = line[2:].split()
                in_text = bool(words) and (words[0] == "begintext" or (in_text and words[0] != "endtext"))
                self._directive(words, in_body)
                continue
            if in_text or line.startswith("%"):
                continue
            line = _without_comment(line)
            if not line.strip():
                if in_body and any(voice.last >= 0 for voice in self._voices.values()):
                    break
                continue
            named = _FIELD.match(line)
            if named is not None:
                in_body = self._field(named[1], named[2].strip(), in_body) or in_body
            elif in_body:
                self._music(line)
            # Anything else before K: is text around the tune.
        if not in_body:
            raise DataError("not a tune in ABC: it has no key, K:")
        voices = {name: voice.symbols for name, voice in self._voices.items()}
        self._tune.voices = _with_labels(voices, len(self._header.symbols)) if self._labels else voices
        return self._tune

    # ---- fields ----

    def _field(self, name: str, value: str, in_body: bool) -> bool:
        """Take an information field; True for the key that ends the header."""
        if name == "V":
            self._switch(value, in_body)
        elif name == "P":
            if in_body:
                self._label(value.strip(" .()"))
            else:
                self._tune.order = value
        elif name == "I":
            self._directive(re.sub(r"^MIDI\s*=", "MIDI ", value).split(), in_body)
        elif name in "KMLQ":
            self._set(name, value, in_body)
            return name == "K"
        return False

    def _label(self, text: str) -> None:
        """Begin a part, which the other voices get in the end: they may have labels of their own."""
        self._current().symbols.append(PartLabel(text))
        self._labels += 1
        for _ in self._voices:
            self._counted()

    def _set(self, name: str, value: str, in_body: bool) -> None:
        """Set the key, metre, unit length or tempo, of the voice, or of all voices in the header."""
        voice = self._current() if in_body else self._header
        if name == "K":
            self._key(value, voice)
        elif name == "M":
            metre = _metre(value)
            if metre is None:
                self._tune.unread += 1
                return
            voice.metre = metre
            voice.symbols.append(metre)
        elif name == "L":
            match = re.match(r"([0-9]{1,3})(?:/([0-9]{1,4}))?", value)
            length = _fraction(match[1], match[2]) if match else None
            if length:
                voice.unit = length
            else:
                self._tune.unread += 1
        else:
            bpm = _tempo(value, voice.unit_length() if in_body else self._header_unit())
            if bpm is not None:
                voice.symbols.append(Tempo(bpm))
            elif not re.fullmatch(r'\s*"[^"]*"\s*', value):
                self._tune.unread += 1

    def _header_unit(self) -> Fraction:
        return replace(self._header).unit_length()  # L: may follow Q:

    def _switch(self, value: str, in_body: bool) -> None:
        words = value.split()
        if not words:
            return
        if words[0] not in self._voices:
            if len(self._voices) >= 64:
                raise DataError(f"line {self._line}: the tune has more than 64 voices")
            self._voices[words[0]] = self._new_voice()
        voice = self._voices[words[0]]
        _transpose(value, voice)
        if in_body:
            self._voice = voice

    def _new_voice(self) -> _Voice:
        header = self._header
        for _ in range(self._labels):
            self._counted()
        return replace(header, accidentals={}, held={}, spelt={}, symbols=[*header.symbols])

    def _current(self) -> _Voice:
        if self._voice is None:
            if not self._voices:
                self._voices["1"] = self._new_voice()
            self._voice = next(iter(self._voices.values()))
        return self._voice

    def _key(self, value: str, voice: _Voice) -> None:
        signature = _signature(value, voice.signature)
        if signature is None:
            self._tune.unread += 1
        else:
            voice.signature, voice.accidentals = signature, {}
        _transpose(value, voice)
        if voice is self._header:
            for each in self._voices.values():  # of V: in the header
                each.signature, each.metre, each.unit = voice.signature, voice.metre, voice.unit
                each.shift += voice.shift
                each.symbols = list(voice.symbols)

    def _directive(self, words: list[str], in_body: bool) -> None:
        if words[:1] != ["MIDI"]:
            return
        kind, value = words[1:2], words[-1]
        if kind == ["program"] and len(words) >= 3 and re.fullmatch("[0-9]{1,3}", value) and int(value) < 128:
            if in_body:
                self._add(Program(int(value)))
            else:
                self._header.symbols.append(Program(int(value)))
        elif kind == ["program"] or (kind == ["transpose"] and value != "0") or words[1:] == ["channel", "10"]:
            self._tune.unread += 1  # other instruments or pitches than those that are read

    # ---- music ----

    def _add(self, symbol: Symbol) -> None:
        self._counted()
        self._current().symbols.append(symbol)

    def _counted(self) -> None:
        self._count += 1
        if self._count > MAX_SYMBOLS:
            raise DataError(f"line {self._line}: the tune has more than {MAX_SYMBOLS:,} symbols")

    def _music(self, line: str) -> None:
        chord: list[tuple[int, Fraction]] | None = None  # pitches and lengths within [ ]
        chord_ties: list[int] = []
        for match in _TOKEN.finditer(line):
            kind, voice = match.lastgroup, self._current()
            if kind in ("space", "decoration", "plus", "decorated", "ignored"):
                continue
            if kind == "length":  # the last group of a note
                pitch = self._pitch(match, voice)
                length = self._length(match["length"])
                if pitch is None:
                    continue
                if chord is None:
                    self._sound((pitch,), length, voice)
                else:
                    chord.append((pitch, length))
            elif kind == "rest_length":
                self._rest(match["rest"], match["rest_length"], voice)
            elif kind == "open":
                if chord is not None:
                    self._tune.unread += 1
                chord, chord_ties = [], []
            elif kind == "close":
                if chord:
                    pitches = tuple(dict.fromkeys(pitch for pitch, _ in chord))
                    self._sound(pitches, chord[0][1] * self._length(match["close"]), voice, tuple(chord_ties))
                chord = None
            elif kind == "tie":
                if chord is not None:
                    chord_ties += [chord[-1][0]] if chord else []
                elif voice.last >= 0:
                    last = voice.symbols[voice.last]
                    assert isinstance(last, Sound)
                    voice.symbols[voice.last] = last._replace(tied=last.pitches)
            elif kind == "broken":
                self._broken(match["broken"], voice)
            elif kind == "tuplet":
                self._tuplet(match["tuplet"], voice)
            elif kind == "bar":
                self._bar(match["bar"], voice)
            elif kind in ("ending", "old_ending"):
                self._add(Ending(_passes(match[kind])))
            elif kind == "quoted":
                self._quoted(match["quoted"].strip())
            elif kind == "value":
                self._field(match["field"], match["value"].strip(), True)
            elif kind == "grace":
                self._tune.graces += len(re.findall("[A-Ga-g]", match["grace"]))
            elif kind == "overlay":
                self._add(Overlay())
            else:
                self._tune.unread += 1
        self._tune.unread += chord is not None  # not closed

    def _pitch(self, match: re.Match[str], voice: _Voice) -> int | None:
        letter = match["note"].upper()
        octave = 5 + match["note"].islower() + match["octave"].count("'") - match["octave"].count(",")
        mark = match["accidental"]
        if mark and "/" in mark:  # a quarter tone
            self._tune.unread += 1
            mark = mark.partition("/")[0]
        if mark:
            alter = _ACCIDENTALS.get(mark, 0)
            voice.accidentals[letter] = alter
        elif (letter, octave) in voice.held:
            alter = voice.held[letter, octave]
        else:
            alter = voice.accidentals.get(letter, voice.signature[letter])
        pitch = 12 * octave + keys.STEPS[letter] + alter + voice.shift
        if not 0 <= pitch <= 127:
            self._tune.unread += 1
            return None
        voice.held.pop((letter, octave), None)
        voice.spelt[pitch] = letter, octave, alter
        return pitch

    def _length(self, text: str) -> Fraction:
        """The factor that is written after a note: `3`, `/`, `//`, `3/2`."""
        match = _LENGTH.match(text)
        assert match is not None
        above = int(match[1][:6]) if match[1] else 1
        below = int(match[3][:6]) if match[3] else 2 ** min(len(match[2]), 16)
        if not match[2]:
            below = 1
        if not below or match.end() < len(text):
            self._tune.unread += 1
        return Fraction(above, below or 1)

    def _sound(self, pitches: tuple[int, ...], factor: Fraction, voice: _Voice, tied: tuple[int, ...] = ()) -> None:
        length = factor * voice.unit_length() * voice.factor
        voice.factor = Fraction(1)
        if voice.tuplet_left:
            length *= voice.tuplet
            voice.tuplet_left -= 1
        if length > MAX_LENGTH:
            raise DataError(f"line {self._line}: a note of {float(length):,.0f} whole notes")
        if length <= 0:
            self._tune.unread += 1
            return
        self._add(Sound(pitches, length, tied))
        voice.last = len(voice.symbols) - 1

    def _rest(self, kind: str, text: str, voice: _Voice) -> None:
        if kind in "zx":
            self._sound((), self._length(text), voice)
            return
        count = min(int(text[:4]) if text.isdigit() else 1, 1000)
        bar = Fraction(voice.metre.numerator or 4, voice.metre.denominator)
        for number in range(count):
            if number:
                self._add(BarLine())
            self._add(Sound((), bar))
            voice.last = len(voice.symbols) - 1

    def _broken(self, marks: str, voice: _Voice) -> None:
        if voice.last == voice.broken:  # no sound yet, or its second mark: of many, the fractions would grow and grow
            self._tune.unread += 1
            return
        voice.broken = voice.last
        short = Fraction(1, 2 ** min(len(marks), 4))
        first, second = (2 - short, short) if marks[0] == ">" else (short, 2 - short)
        last = voice.symbols[voice.last]
        assert isinstance(last, Sound)
        voice.symbols[voice.last] = last._replace(length=last.length * first)
        voice.factor = second

    def _tuplet(self, text: str, voice: _Voice) -> None:
        notes, times, count = (int(each[:2]) if each else 0 for each in [*text.split(":"), "", ""][:3])
        is_compound = voice.metre.numerator % 3 == 0 and voice.metre.denominator == 8
        times = times or _TUPLET_TIMES.get(notes, 3 if is_compound else 2)
        voice.tuplet, voice.tuplet_left = Fraction(times, notes), count or notes

    def _bar(self, text: str, voice: _Voice) -> None:
        before, after = text.lstrip("[").partition("|")[0], text.rpartition("|")[2]
        if set(text) == {":"}:
            before = after = ":"
        ends = before.count(":")
        is_double = text.count("|") > 1 or "]" in text or text.startswith("[")
        voice.accidentals = {}
        last = voice.symbols[voice.last] if voice.last >= 0 else None
        if isinstance(last, Sound) and last.tied:
            spelt = [voice.spelt[pitch] for pitch in last.tied]
            counts = Counter((letter, octave) for letter, octave, _ in spelt)
            # Of two alterations of a letter, only the marks in the next bar tell which is which.
            voice.held = {(letter, octave): alter for letter, octave, alter in spelt if counts[letter, octave] == 1}
        else:
            voice.held = {}
        self._add(BarLine(ends, ":" in after, is_double))

    def _quoted(self, text: str) -> None:
        if text[:1] in ("^", "_", "<", ">", "@", ""):
            return  # an annotation
        pitches = chords.pitches_of(text)
        if pitches is None:
            self._tune.unread += 1
        else:
            self._add(Chord(pitches))


def _with_labels(voices: dict[str, list[Symbol]], begin: int) -> dict[str, list[Symbol]]:
    """Put the labels of parts into the voices that lack them, at the bar and time in the bar where they are written.

    Args:
        begin: index of the first symbol of each voice that isn't from the header.
    """
    writers: dict[str, str] = {}  # the first voice that writes a label
    written: list[tuple[tuple[int, Fraction], PartLabel]] = []
    for name, symbols in voices.items():
        written += [
            (place, symbol)
            for place, symbol in zip(_places(symbols), symbols, strict=True)
            if isinstance(symbol, PartLabel) and writers.setdefault(symbol.label, name) == name
        ]
    written.sort(key=lambda each: each[0])
    result: dict[str, list[Symbol]] = {}
    for name, symbols in voices.items():
        own = {symbol.label for symbol in symbols if isinstance(symbol, PartLabel)}
        lacking = [each for each in reversed(written) if each[1].label not in own]
        result[name] = found = symbols[:begin]
        for place, symbol in list(zip(_places(symbols), symbols, strict=True))[begin:]:
            ends_bar = isinstance(symbol, BarLine) and place[1]
            while lacking and place >= lacking[-1][0] and not ends_bar:
                found.append(lacking.pop()[1])
            found.append(symbol)
        found += [label for _, label in reversed(lacking)]
    return result


def _places(symbols: list[Symbol]) -> Iterator[tuple[int, Fraction]]:
    """The bars before each symbol, and the time since. Bar lines without a sound between are one."""
    count, time = 0, Fraction(0)
    for symbol in symbols:
        yield count, time
        if isinstance(symbol, Sound):
            time = bounded(time + symbol.length)
        elif isinstance(symbol, BarLine) and time:
            count, time = count + 1, Fraction(0)


def _without_comment(line: str) -> str:
    return re.split(r"(?<!\\)%", line, maxsplit=1)[0] if "%" in line else line


def _fraction(above: str, below: str | None) -> Fraction | None:
    return Fraction(int(above), int(below or 1)) if int(below or 1) else None


def _metre(value: str) -> Metre | None:
    text = value.strip()
    if text in ("none", ""):
        return Metre(0, 4)
    if text in ("C", "c"):
        return Metre(4, 4)
    if text in ("C|", "c|"):
        return Metre(2, 2)
    match = re.match(r"\(?\s*+([0-9]{1,2}(?:\s*+\+\s*+[0-9]{1,2})*)\s*+\)?\s*+/\s*+([0-9]{1,2})", text)
    if match is None:
        return None
    above, below = sum(map(int, match[1].split("+"))), int(match[2])
    return Metre(above, below) if above and below in (1, 2, 4, 8, 16, 32) else None


def _tempo(value: str, unit: Fraction) -> float | None:
    """Quarter notes per minute of `Q:`; None if it gives no number."""
    text = re.sub(r'"[^"]*"', " ", value)
    head, equals, number = text.rpartition("=")
    match = re.match(r"\s*([0-9]{1,5}(?:\.[0-9]+)?)", number)
    if match is None:
        return None
    if equals:
        beats = [f for a, b in re.findall(r"([0-9]{1,3})/([0-9]{1,3})", head) if (f := _fraction(a, b))]
        old = re.match(r"\s*C([0-9]?)", head)  # C3: three unit lengths
        beat = sum(beats, Fraction(0)) or (unit * int(old[1] or 1) if old else Fraction(1, 4))
    else:
        beat = Fraction(1, 4)  # older tunes give a number alone, for which programs take quarter notes
    bpm = float(match[1]) * float(4 * beat)
    return bpm if 1 <= bpm <= 2000 else None


_KEY = re.compile(r"\s*([A-Ga-g])([#b♯♭]?)(\s*)([A-Za-z]*)")
_CLEF = "(?:treble|bass|alto|tenor|baritone|soprano|mezzosoprano|auto)[1-5]?"
_SIGNED = re.compile(r"(?<!\S)(\^\^|\^|__|_|=)([a-gA-G])(?![A-Za-z=])")


def _signature(value: str, before: dict[str, int]) -> dict[str, int] | None:
    """The alterations of a key, None if it is not understood. Without a tonic (`K:clef=bass`) they stay as they are."""
    text = value.strip()
    explicit = {letter.upper(): _ACCIDENTALS[mark] for mark, letter in _SIGNED.findall(text)}
    first = text.split()[0] if text else ""
    if first in _PIPES:
        signature = keys.alterations(0) | _PIPES[first]
    elif first.lower() in ("", "none"):
        signature = keys.alterations(0)
    elif "=" in first or first.startswith(("^", "_", "clef")) or re.fullmatch(f"{_CLEF}([+-]8)?", first.lower()):
        signature = dict(before)
    else:
        match = _KEY.match(text)
        if match is None:
            return None
        mode = match[4].lower()
        mode = "m" if mode == "m" else mode[:3]
        if not mode or mode not in keys.MODES:  # a clef or "exp" may follow the tonic
            if mode and not match[3] and match[1].islower():
                return None  # another word that begins with one of these letters
            mode = "maj"
        fifths = keys.fifths_of(match[1].upper(), {"": 0, "#": 1, "♯": 1, "b": -1, "♭": -1}[match[2]], mode)
        signature = keys.alterations(fifths)
        if re.search(r"(?<!\S)exp\b", text):
            signature = dict.fromkeys(keys.STEPS, 0)
    return signature | explicit


def _transpose(value: str, voice: _Voice) -> None:
    """Take `octave=`, `transpose=` and clefs such as `treble-8` of K: and V:."""
    semitones = [int(each) for each in re.findall(r"(?<!\S)transpose=(-?[0-9]{1,2})\b", value)]
    octaves = [int(each) for each in re.findall(r"(?<!\S)octave=(-?[0-9])\b", value)]
    clefs = [int(sign + "1") for sign in re.findall(rf"{_CLEF}([+-])8\b", value)]
    if semitones or octaves or clefs:
        voice.shift = sum(semitones) + 12 * (sum(octaves) + sum(clefs))


def _passes(text: str) -> tuple[int, ...]:
    """The passes of an ending: `[1,3-5`."""
    found: set[int] = set()
    for first, last in re.findall(r"([0-9]{1,2})(?:-([0-9]{1,2}))?", text):
        found.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(found))
