"""Names of instruments, drums, notes and scales, and their MIDI numbers."""

from __future__ import annotations

import difflib
import re

from seqgen.errors import UserError

PROGRAMS: tuple[str, ...] = (
    *("acoustic grand piano", "bright acoustic piano", "electric grand piano", "honky-tonk piano"),
    *("electric piano 1", "electric piano 2", "harpsichord", "clavinet"),
    *("celesta", "glockenspiel", "music box", "vibraphone", "marimba", "xylophone", "tubular bells", "dulcimer"),
    *("drawbar organ", "percussive organ", "rock organ", "church organ"),
    *("reed organ", "accordion", "harmonica", "tango accordion"),
    *("acoustic guitar (nylon)", "acoustic guitar (steel)", "electric guitar (jazz)", "electric guitar (clean)"),
    *("electric guitar (muted)", "overdriven guitar", "distortion guitar", "guitar harmonics"),
    *("acoustic bass", "electric bass (finger)", "electric bass (pick)", "fretless bass"),
    *("slap bass 1", "slap bass 2", "synth bass 1", "synth bass 2"),
    *("violin", "viola", "cello", "contrabass"),
    *("tremolo strings", "pizzicato strings", "orchestral harp", "timpani"),
    *("string ensemble 1", "string ensemble 2", "synth strings 1", "synth strings 2"),
    *("choir aahs", "voice oohs", "synth voice", "orchestra hit"),
    *("trumpet", "trombone", "tuba", "muted trumpet", "french horn", "brass section", "synth brass 1", "synth brass 2"),
    *("soprano sax", "alto sax", "tenor sax", "baritone sax", "oboe", "english horn", "bassoon", "clarinet"),
    *("piccolo", "flute", "recorder", "pan flute", "blown bottle", "shakuhachi", "whistle", "ocarina"),
    *("lead 1 (square)", "lead 2 (sawtooth)", "lead 3 (calliope)", "lead 4 (chiff)"),
    *("lead 5 (charang)", "lead 6 (voice)", "lead 7 (fifths)", "lead 8 (bass + lead)"),
    *("pad 1 (new age)", "pad 2 (warm)", "pad 3 (polysynth)", "pad 4 (choir)"),
    *("pad 5 (bowed)", "pad 6 (metallic)", "pad 7 (halo)", "pad 8 (sweep)"),
    *("fx 1 (rain)", "fx 2 (soundtrack)", "fx 3 (crystal)", "fx 4 (atmosphere)"),
    *("fx 5 (brightness)", "fx 6 (goblins)", "fx 7 (echoes)", "fx 8 (sci-fi)"),
    *("sitar", "banjo", "shamisen", "koto", "kalimba", "bagpipe", "fiddle", "shanai"),
    *("tinkle bell", "agogo", "steel drums", "woodblock", "taiko drum", "melodic tom", "synth drum", "reverse cymbal"),
    *("guitar fret noise", "breath noise", "seashore", "bird tweet"),
    *("telephone ring", "helicopter", "applause", "gunshot"),
)
"""General MIDI instruments by program, 0–127."""

DRUMS: dict[int, str] = dict(
    enumerate(
        (
            *("acoustic bass drum", "bass drum 1", "side stick", "acoustic snare", "hand clap", "electric snare"),
            *("low floor tom", "closed hi-hat", "high floor tom", "pedal hi-hat", "low tom", "open hi-hat"),
            *("low-mid tom", "hi-mid tom", "crash cymbal 1", "high tom", "ride cymbal 1", "chinese cymbal"),
            *("ride bell", "tambourine", "splash cymbal", "cowbell", "crash cymbal 2", "vibraslap", "ride cymbal 2"),
            *("hi bongo", "low bongo", "mute hi conga", "open hi conga", "low conga", "high timbale", "low timbale"),
            *("high agogo", "low agogo", "cabasa", "maracas", "short whistle", "long whistle", "short guiro"),
            *("long guiro", "claves", "hi wood block", "low wood block", "mute cuica", "open cuica"),
            *("mute triangle", "open triangle"),
        ),
        start=35,
    )
)
"""General MIDI percussion by key, 35–81."""

_NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")

_MAX_SUGGESTIONS = 4  # instruments in a message


def program(name_or_number: str) -> int:
    """Return the General MIDI program (0–127) for a number, a name or a unique part of a name.

    Case and punctuation are ignored. Full names take precedence over parts, and whole words over parts of words.

    Raises:
        UserError: there is no such program, or several match.
    """
    if re.fullmatch(r"\s*[-+]?[0-9.]+\s*", name_or_number):
        if not re.fullmatch(r"\s*0*[0-9]{1,3}\s*", name_or_number) or int(name_or_number) >= len(PROGRAMS):
            raise UserError(f"no MIDI program {name_or_number.strip()}: programs are 0 to 127")
        return int(name_or_number)
    wanted = _normalise(name_or_number)
    names = [_normalise(name) for name in PROGRAMS]
    if wanted in names:
        return names.index(wanted)
    # A blank name is part of every name, but matches none.
    words = [number for number, name in enumerate(names) if wanted and f" {wanted} " in f" {name} "]
    parts = [number for number, name in enumerate(names) if wanted and wanted in name]
    found = words if len(words) == 1 else parts
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{name_or_number!r} matches {len(found)} instruments: {_candidates(found)}")
    near = [names.index(name) for name in difflib.get_close_matches(wanted, names, n=_MAX_SUGGESTIONS)]
    hint = f"did you mean {_candidates(near)}?" if near else f"for example {_candidates([0, 24, 40, 73])}"
    raise UserError(f"no General MIDI instrument is named {name_or_number!r}: {hint}")


def _normalise(name: str) -> str:
    return " ".join(re.findall(r"\w+", name.lower()))


def _candidates(numbers: list[int]) -> str:
    shown = ", ".join(f"{PROGRAMS[number]} ({number})" for number in numbers[:_MAX_SUGGESTIONS])
    return shown + (", …" if len(numbers) > _MAX_SUGGESTIONS else "")


def note_name(pitch: int) -> str:
    """Return the name of a MIDI pitch: middle C, 60, is "C4"."""
    return f"{_NOTES[pitch % 12]}{pitch // 12 - 1}"


_MODES: dict[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "ionian": (0, 2, 4, 5, 7, 9, 11),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "aeolian": (0, 2, 3, 5, 7, 8, 10),
    "locrian": (0, 1, 3, 5, 6, 8, 10),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "natural minor": (0, 2, 3, 5, 7, 8, 10),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
    "melodic minor": (0, 2, 3, 5, 7, 9, 11),
    "pentatonic": (0, 2, 4, 7, 9),
    "major pentatonic": (0, 2, 4, 7, 9),
    "minor pentatonic": (0, 3, 5, 7, 10),
    "blues": (0, 3, 5, 6, 7, 10),
    "whole tone": (0, 2, 4, 6, 8, 10),
    "chromatic": tuple(range(12)),
}
"""Mode → semitones above the tonic."""

_SHORT = {"": "major", "m": "minor", "min": "minor", "maj": "major"}

_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_ACCIDENTALS = {"": 0, "#": 1, "♯": 1, "b": -1, "♭": -1}


def key_of_scale(text: str) -> int | None:
    """Return the key that has the tonic and the third of a scale, as `music.key` numbers it; None for neither third.

    Raises:
        UserError: there is no such scale.
    """
    tonic, steps = _scale(text)
    thirds = {3, 4} & set(steps)
    return 2 * tonic + (thirds == {3}) if len(thirds) == 1 else None


def scale(text: str) -> frozenset[int]:
    """Return the pitch classes (C = 0) of a scale: "D dorian", "F# minor pentatonic", "Bbm", "chromatic".

    A tonic alone means major, "melodic minor" the ascending form, "blues" the minor blues scale of six notes.

    Raises:
        UserError: there is no such scale.
    """
    tonic, steps = _scale(text)
    return frozenset((tonic + step) % 12 for step in steps)


def _scale(text: str) -> tuple[int, tuple[int, ...]]:
    """The pitch class of the tonic, and the semitones above it."""
    name = " ".join(re.split(r"[\s\-_]+", text.strip()))
    if name.lower() == "chromatic":
        return 0, _MODES["chromatic"]
    # Only an accidental or "m" may follow the letter directly, so that "dorian" is not a D.
    match = re.fullmatch(r"([A-Ga-g])([#♯b♭]?)(m|min|maj)?(?: ([A-Za-z ]+))?", name)
    if match and not (match[3] and match[4]):
        mode = (match[3] or match[4] or "").lower()
        steps = _MODES.get(_SHORT.get(mode, mode))
        if steps:
            return (_LETTERS[match[1].upper()] + _ACCIDENTALS[match[2]]) % 12, steps
    raise UserError(f"no scale {text!r}: give a tonic and one of {', '.join(_MODES)}, for example 'D dorian' or 'F#m'")
