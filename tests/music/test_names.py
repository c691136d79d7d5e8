"""Instruments, drums, notes and scales by name."""

import pytest

from seqgen.errors import UserError
from seqgen.music.names import DRUMS, PROGRAMS, note_name, program, scale


def test_programs_and_drums_have_general_midi_numbers():
    assert len(PROGRAMS) == len(set(PROGRAMS)) == 128
    assert sorted(DRUMS) == list(range(35, 82))
    known = {0: "acoustic grand piano", 24: "acoustic guitar (nylon)", 40: "violin", 56: "trumpet", 73: "flute"}
    known |= {80: "lead 1 (square)", 104: "sitar", 112: "tinkle bell", 127: "gunshot"}
    assert {number: PROGRAMS[number] for number in known} == known
    assert (DRUMS[36], DRUMS[38], DRUMS[42], DRUMS[49]) == (
        "bass drum 1",
        "acoustic snare",
        "closed hi-hat",
        "crash cymbal 1",
    )
    assert (DRUMS[60], DRUMS[81]) == ("hi bongo", "open triangle")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        (" 127 ", 127),
        ("040", 40),
        ("violin", 40),
        ("Violin", 40),
        ("trumpet", 56),  # a whole name, though "muted trumpet" has it too
        ("flute", 73),
        ("nylon", 24),
        ("honky tonk", 3),
        ("Church Organ", 19),
        ("xylo", 13),
        ("harp", 46),  # a whole word of "orchestral harp", a part of "harpsichord"
        ("lead 1", 80),
    ],
)
def test_program_by_number_or_part_of_a_name(text, number):
    assert program(text) == number


def test_program_by_every_name():
    assert [program(name) for name in PROGRAMS] == list(range(128))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("128", "no MIDI program 128: programs are 0 to 127"),
        ("-1", "no MIDI program -1: programs are 0 to 127"),
        ("1.5", "no MIDI program 1.5: programs are 0 to 127"),
        ("piano", "'piano' matches .* instruments: acoustic grand piano [(]0[)], .*, …"),
        ("voilin", "no General MIDI instrument is named 'voilin': did you mean violin [(]40[)]"),
        ("qqq", "for example acoustic grand piano"),
        ("", "no General MIDI instrument is named ''"),
        ("?", "no General MIDI instrument"),
    ],
)
def test_program_errors_are_one_line(text, message):
    with pytest.raises(UserError, match=message) as caught:
        program(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("pitch", "name"), [(60, "C4"), (61, "C#4"), (59, "B3"), (69, "A4"), (0, "C-1"), (127, "G9")])
def test_note_name(pitch, name):
    assert note_name(pitch) == name


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("D", {2, 4, 6, 7, 9, 11, 1}),
        ("C major", {0, 2, 4, 5, 7, 9, 11}),
        ("c ionian", {0, 2, 4, 5, 7, 9, 11}),
        ("D dorian", {0, 2, 4, 5, 7, 9, 11}),
        ("E Phrygian", {0, 2, 4, 5, 7, 9, 11}),
        ("F lydian", {0, 2, 4, 5, 7, 9, 11}),
        ("G mixolydian", {0, 2, 4, 5, 7, 9, 11}),
        ("a minor", {0, 2, 4, 5, 7, 9, 11}),
        ("A natural minor", {0, 2, 4, 5, 7, 9, 11}),
        ("A aeolian", {0, 2, 4, 5, 7, 9, 11}),
        ("B locrian", {0, 2, 4, 5, 7, 9, 11}),
        ("Am", {0, 2, 4, 5, 7, 9, 11}),
        ("Dm", {2, 4, 5, 7, 9, 10, 0}),
        ("F# major", {6, 8, 10, 11, 1, 3, 5}),
        ("F♯ major", {6, 8, 10, 11, 1, 3, 5}),
        ("C#", {1, 3, 5, 6, 8, 10, 0}),
        ("Bb mixolydian", {10, 0, 2, 3, 5, 7, 8}),
        ("B♭ mixolydian", {10, 0, 2, 3, 5, 7, 8}),
        ("bbm", {10, 0, 1, 3, 5, 6, 8}),
        ("B", {11, 1, 3, 4, 6, 8, 10}),
        ("c harmonic minor", {0, 2, 3, 5, 7, 8, 11}),
        ("A melodic minor", {9, 11, 0, 2, 4, 6, 8}),
        ("E pentatonic", {4, 6, 8, 11, 1}),
        ("G minor pentatonic", {7, 10, 0, 2, 5}),
        ("A blues", {9, 0, 2, 3, 4, 7}),
        ("C whole-tone", {0, 2, 4, 6, 8, 10}),
        (" Cb  major ", {11, 1, 3, 4, 6, 8, 10}),
        ("chromatic", set(range(12))),
        ("D chromatic", set(range(12))),
    ],
)
def test_scale_pitch_classes(text, classes):
    assert scale(text) == classes


@pytest.mark.parametrize(
    "text", ["", "H", "dorian", "D foo", "Dm dorian", "F##", "minor", "Ddorian", "7", "D\ndorian x"]
)
def test_scale_errors_are_one_line(text):
    with pytest.raises(UserError, match=r"no scale .* for example 'D dorian'") as caught:
        scale(text)
    assert "\n" not in str(caught.value)
