"""Tunes in ABC: pitches, lengths, repeats, chords, bars; and pieces written as tunes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqgen.errors import DataError
from seqgen.music import midi
from seqgen.music.notation import abc, abc_symbols, abc_writing, files, keys
from seqgen.music.notation.chords import pitches_of, symbol_of
from seqgen.music.piece import Bar, Note, Piece, Track
from seqgen.music.reading import read
from seqgen.music.score import QuantisationStats
from tests.helpers.growth import is_linear
from tests.helpers.midi_files import QUICK

HEAD = "X:1\nT:Test\nM:4/4\nL:1/8\nK:C\n"
CORPUS = Path(__file__).resolve().parents[3] / "corpora" / "tunes"


def piece_of(text: str, grid: int = 24) -> tuple[Piece, QuantisationStats]:
    return read(text.encode(), grid)


def notes(body: str, head: str = HEAD) -> list[tuple[int, float, float]]:
    """Pitch, start and length in eighth notes of the melody."""
    piece, _ = piece_of(head + body)
    return [(n.pitch, n.start / 12, (n.end - n.start) / 12) for n in piece.notes if n.velocity == abc.VELOCITY]


def pitches(body: str, head: str = HEAD) -> list[int]:
    return [note[0] for note in notes(body, head)]


def with_key(key: str, body: str) -> list[int]:
    return pitches(body, HEAD.replace("K:C", f"K:{key}"))


@pytest.mark.parametrize(
    ("body", "expected"),
    {
        "octaves": ("C, C c c' c''", [48, 60, 72, 84, 96]),
        "accidentals last to the end of the bar, in every octave": ("^C c C =C C|C", [61, 73, 61, 60, 60, 60]),
        "double accidentals": ("^^C __D", [62, 60]),
        "decorations, slurs, annotations": ('!trill!C (D ~E) .F "^slowly"G HuvA', [60, 62, 64, 65, 67, 69]),
        "grace notes": ("{cde}C {/d}D", [60, 62]),
        "rests": ("z C x D", [60, 62]),
        "lyrics and other fields": ("C D\nw: these are words\nN: a note: abc\nE", [60, 62, 64]),
        "comments": ("C % D E\n% F\nG", [60, 67]),
        "continued lines": ("C\\\nD", [60, 62]),
        "the end of a tune": ("C D\n\nthese are bad words", [60, 62]),
        "a chord": ("[CEG]", [67, 64, 60]),
        "key changes in a line": ("F [K:G] F | F", [65, 66, 66]),
        "key changes between lines": ("F|\nK:D\nFc", [65, 66, 73]),
    }.values(),
)
def test_pitches_of_a_tune(body: str, expected: list[int]) -> None:
    assert pitches(body) == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("C", [65, 71, 72]), ("G", [66, 71, 72]), ("D", [66, 71, 73]), ("F", [65, 70, 72]), ("Bb major", [65, 70, 72]),
        ("Am", [65, 71, 72]), ("Em", [66, 71, 72]), ("E minor", [66, 71, 72]), ("Ador", [66, 71, 72]),
        ("A dorian", [66, 71, 72]), ("D mix", [66, 71, 72]), ("Gphr", [65, 70, 72]), ("F lydian", [65, 71, 72]),
        ("F#m", [66, 71, 73]), ("HP", [65, 71, 72]), ("Hp", [66, 71, 73]), ("none", [65, 71, 72]), ("", [65, 71, 72]),
        ("D exp ^f", [66, 71, 72]), ("C ^f _b", [66, 70, 72]), ("G clef=bass", [66, 71, 72]),
        ("C octave=-1", [53, 59, 60]), ("C transpose=2", [67, 73, 74]), ("C treble-8", [53, 59, 60]),
    ],
)  # fmt: skip
def test_pitches_of_a_key(key: str, expected: list[int]) -> None:
    assert with_key(key, "F B c") == expected


@pytest.mark.parametrize(
    ("change", "octaves", "unread"),
    [("bass3", 0, 0), ("bass-8", -1, 0), ("alto4", 0, 0), ("baritone", 0, 0), ("Alto", 0, 0), ("auto", 0, 0),
     ("soprano+8 middle=d", 1, 0), ("fable", 0, 1), ("bass+15", 0, 1)],
)  # fmt: skip
def test_clef_that_begins_with_the_letter_of_a_key_is_none(change: str, octaves: int, unread: int) -> None:
    """`bass3` was the key of B, and `alto4` that of A."""
    piece, stats = piece_of(f"{HEAD}[K:G]F|[K:{change}]FC")
    assert [note.pitch for note in piece.notes] == [66, 66 + 12 * octaves, 60 + 12 * octaves]
    assert stats.unread == unread


@pytest.mark.parametrize(("key", "same"), [("am", "Am"), ("bb", "Bb"), ("d mix", "D mix"), ("g treble", "G")])
def test_tonic_may_be_a_small_letter(key: str, same: str) -> None:
    assert with_key(key, "F B c") == with_key(same, "F B c")


@pytest.mark.parametrize(
    ("body", "expected"),
    {
        "multiples and fractions": ("C2 C/ C/2 C3/2 C// C", [2, 0.5, 0.5, 1.5, 0.25, 1]),
        "broken rhythms": ("C>D E<F G>>A c<<d", [1.5, 0.5, 0.5, 1.5, 1.75, 0.25, 0.25, 1.75]),
        "a broken rhythm across a chord symbol": ('C>"Am"D', [1.5, 0.5]),
        "triplets": ("(3CDE F", [2 / 3, 2 / 3, 2 / 3, 1]),
        "tuplets with all numbers": ("(3:2:4C D E F G", [2 / 3] * 4 + [1]),
        "pairs and quadruplets": ("(2CD (4CDEF", [1.5, 1.5, 0.75, 0.75, 0.75, 0.75]),
        "ties": ("C-C D2-|D", [2, 3]),
        "ties that are no ties": ("C-D", [1, 1]),
        "the length of a chord": ("[C2E2]2 [CE]/ z", [4, 4, 0.5, 0.5]),
        "lengths in a new unit": ("C [L:1/4] C", [1, 2]),
    }.values(),
)
def test_lengths_of_notes(body: str, expected: list[float]) -> None:
    assert [note[2] for note in notes(body)] == pytest.approx(expected, abs=1 / 24)


def test_tie_over_a_bar_line_holds_the_accidental() -> None:
    assert notes("z6 ^F2-|F2 F2") == [(66, 6, 4), (65, 10, 2)]


@pytest.mark.parametrize(
    ("body", "order"),
    {
        "a repeat": ("|:C4D4:|E4F4|", "CDCDEF"),
        "a repeat from the beginning": ("C4D4:|E4F4|", "CDCDEF"),
        "two repeats": ("|:C4D4::E4F4:|", "CDCDEFEF"),
        "a repeat after a double bar": ("C4D4||E4F4:|", "CDEFEF"),
        "three times": ("|::C4D4::|E8|", "CDCDCDE"),
        "endings": ("|:C8|1D8:|2E8||F8|", "CDCEF"),
        "endings in brackets": ("|:C8|[1D8:|[2E8||F8:|", "CDCEFF"),
        "endings after a space": ("|:C8| 1 D8:| 2 E8||F8:|", "CDCEFF"),
        "endings for several passes": ("|:C8|[1,3D8:|[2,4E8:|F8|", "CDCECDCEF"),
        "an ending that nothing ends": ("|:C8|1D8:|2E8|F8:|G8", "CDCEFFG"),
    }.values(),
)
def test_repeats_are_played(body: str, order: str) -> None:
    assert pitches(body) == pitches(" ".join(each + "4" for each in order))


def test_parts_are_played_in_the_order_of_the_header() -> None:
    head = HEAD.replace("K:C", "P:A(BC)2A\nK:C")
    assert pitches("P:A\nC8|\nP:B\n|:D4E4:|\nP:C\nF8|\n", head) == pitches("C DEDEF DEDEF C")
    assert pitches("P:A\nC8|\nP:B\nD8|\n") == [60, 62]


@pytest.mark.parametrize(
    ("order", "body"),
    [
        ("AAB", "P:A\nV:1\nCCCC|\nV:2\nEEEE|\nP:B\nV:1\nDDDD|\nV:2\nFFFF|\n"),  # labels for all voices
        ("AAB", "V:1\nP:A\nCCCC|\nP:B\nDDDD|\nV:2\nP:A\nEEEE|\nP:B\nFFFF|\n"),  # labels of each voice
        ("AAB", "V:1\n[P:A]CCCC|[P:B]DDDD|\nV:2\nE4|F4|\n"),  # labels in the first of voices one after the other
        ("AAB", "V:1\nCCCC|DDDD|\nV:2\n[P:A]E4|[P:B]F4|\n"),  # in the last
        ("AAB", "V:1\n|[P:A]CCCC|[P:B]DDDD|\nV:2\n[Q:90]E4| |F4|\n"),  # bar lines of its own
        ("AAB", "V:1\n[P:A]CCCC|\nV:2\nE4|F4|\nV:1\nP:B\nDDDD|\n"),  # in one that is behind
        ("AAB", "V:1\n[P:A]CCCC|[P:B]DDDD|\nV:2\nE4|[P:B]F4|\n"),  # a voice lacks some
    ],
)
def test_voices_stay_together_in_parts(order: str, body: str) -> None:
    piece, _ = piece_of(f"X:1\nT:Test\nM:4/4\nL:1/4\nP:{order}\nK:C\n{body}", 4)
    first, second = (
        [note.pitch for note in piece.notes if note.track == track and not note.start % 16]
        for track in range(len(piece.tracks))
    )
    assert (first, second) == ([60, 60, 62], [64, 64, 65])


def test_part_that_begins_within_a_bar_begins_there_in_all_voices() -> None:
    """And metres and tempos of the header hold before the parts."""
    head = "X:1\nT:Test\nM:4/4\nL:1/4\nQ:1/4=90\nP:BA\nK:C\n"
    for body in ("[P:A]CDE|[P:B]F|\nV:2\nEFG|A|\n", "[P:A]CD[P:B]E|F|\nV:2\nEFG|A|\n"):
        piece, _ = piece_of(f"{head}V:1\n{body}", 4)
        first, second = ([note for note in piece.notes if note.track == track] for track in range(2))
        assert [note.start for note in first] == [note.start for note in second]
        assert first[0].pitch != 60
        assert piece.tempos == ((0, 90),)


@pytest.mark.parametrize("change", [lambda text: text.replace("\n", "\r"), lambda text: text.replace("\n", "\r\n")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_line_ends_and_encodings_of_a_tune(change: Callable[[str], str], encoding: str) -> None:
    tune = HEAD + "CDEF GABc|\nw:la la bad egg\n"
    data = change(tune).encode(encoding)
    assert read(data, 4)[0] == read(tune.encode(), 4)[0]
    assert files.number_of_tunes(change(3 * tune).encode(encoding)) == 3
    assert [name for name, _ in files.tunes(change(3 * tune).encode(encoding))] == ["1", "1-2", "1-3"]


def test_lyrics_with_characters_that_end_a_line_elsewhere_are_no_notes() -> None:
    tune = HEAD.encode("cp1252") + "CDEF|\nw:la la… bad egg\n".encode("cp1252")
    assert [note.pitch for note in read(tune, 4)[0].notes] == [60, 62, 64, 65]


def test_tied_chord_of_two_alterations_of_a_letter_keeps_both() -> None:
    assert notes("[C^C]8-|[C^C]8|") == [(61, 0, 16), (60, 0, 16)]


def test_bars_after_a_pickup_are_whole() -> None:
    piece, _ = piece_of("X:1\nM:3/4\nK:G\nD2|G4B2|A4:|c2|B4|", 4)
    assert [(bar.length, bar.numerator) for bar in piece.bars] == [(12, 3)] * len(piece.bars)
    assert piece.notes[0].start == 8


def test_bar_that_a_repeat_divides_is_one() -> None:
    piece, _ = piece_of("X:1\nM:4/4\nK:C\nC2|D8|E6:|F2|G8|", 4)
    assert {bar.length for bar in piece.bars} == {16}
    assert [note.start for note in piece.notes] == [12, 16, 32, 44, 48, 64, 76, 80]


def test_metre_changes_and_odd_bars_are_bars() -> None:
    piece, _ = piece_of("X:1\nM:4/4\nK:C\nC8|[M:3/4]D6|E6|\nM:6/8\nF6|G5|A6|", 4)
    assert [(b.numerator, b.denominator) for b in piece.bars] == [(4, 4), (3, 4), (3, 4), (6, 8), (5, 8), (6, 8)]


@pytest.mark.parametrize(
    ("tempo", "expected"),
    [("Q:100", 100), ("Q:1/4=100", 100), ("Q:1/8=100", 50), ("Q:3/8=60", 90), ('Q:"Allegro" 1/4=132', 132),
     ("Q:1/4=132 \"Allegro\"", 132), ("Q:C=120", 60), ('Q:"Largo"', 120)],
)  # fmt: skip
def test_tempo_of_a_tune(tempo: str, expected: int) -> None:
    piece, stats = piece_of(HEAD.replace("K:", f"{tempo}\nK:") + "C8|")
    assert piece.tempos == ((0, expected),)
    assert not stats.unread


def test_default_unit_follows_from_the_metre() -> None:
    assert piece_of("X:1\nM:2/4\nK:C\nC", 16)[0].notes[0].end == 4
    assert piece_of("X:1\nM:3/4\nK:C\nC", 16)[0].notes[0].end == 8


def test_chord_symbols_accompany() -> None:
    piece, stats = piece_of(HEAD + '"Am"C4 "D7/f#"D4|E8|"N.C."F8|')
    chord = [(n.pitch, n.start, n.end) for n in piece.notes if n.velocity == abc.CHORD_VELOCITY]
    assert chord == [(52, 0, 48), (48, 0, 48), (45, 0, 48), (50, 48, 192), (48, 48, 192), (45, 48, 192), (42, 48, 192)]
    assert piece.tracks == (Track(0), Track(abc.CHORD_PROGRAM))
    assert not stats.unread


@pytest.mark.parametrize("symbol", ["C", "F#m", "Bb7", "Gmaj7", "Ddim", "Eaug", "Asus4", "C/E", "D7/F#"])
def test_symbol_of_the_pitches_of_a_chord_is_that_chord(symbol: str) -> None:
    found = pitches_of(symbol)
    assert found
    assert pitches_of(symbol_of(found) or "") == found


def test_voices_are_tracks_and_overlays_sound_together() -> None:
    piece, _ = piece_of(HEAD.replace("K:C", "V:1\nV:2 octave=-1\nK:C") + "V:1\nc4 d4|\nV:2\nC8|\n[V:1]e8|[V:2]G8|\n")
    assert [(n.track, n.pitch, n.start // 12) for n in piece.notes] == [
        (0, 72, 0), (1, 48, 0), (0, 74, 4), (0, 76, 8), (1, 55, 8),
    ]  # fmt: skip
    assert notes("C8 & E4G4|c8|") == [(64, 0, 4), (60, 0, 8), (67, 4, 4), (72, 8, 8)]


@pytest.mark.parametrize(
    ("metre", "bar"),
    [("C", (4, 4)), ("C|", (2, 2)), ("none", (4, 4)), ("6/8", (6, 8)), ("(2+3)/8", (5, 8)), ("3/5", (4, 4))],
)
def test_metre_of_a_tune(metre: str, bar: tuple[int, int]) -> None:
    unit = 8 * bar[0] // bar[1]
    piece, stats = piece_of(HEAD.replace("4/4", metre) + f"C{unit}|" * 2)
    assert [(each.numerator, each.denominator) for each in piece.bars] == [bar] * 2
    assert stats.unread == (metre == "3/5")


@pytest.mark.parametrize(
    ("directive", "unread"),
    [
        ("program 128", 1),
        ("transpose -12", 1),
        ("channel 10", 1),
        ("transpose 0", 0),
        ("channel 1", 0),
        ("gchord f", 0),
    ],
)
def test_directives_that_would_change_what_sounds_are_counted(directive: str, unread: int) -> None:
    for written in (f"%%MIDI {directive}\nC D", f"[I:MIDI {directive}]C D"):
        assert piece_of(HEAD + written)[1].unread == unread
    for field in ("MIDI program", "MIDI=program"):  # abc2midi has both
        piece, stats = piece_of(HEAD + f"[I:{field} 40]C D")
        assert ([track.program for track in piece.tracks], stats.unread) == ([40], 0)


def test_directives_choose_the_program_and_enclose_text() -> None:
    piece, _ = piece_of(HEAD + "%%MIDI program 40\n%%begintext\nCDEF\n%%center more\nGAB\n%%endtext\nC D")
    assert [note.pitch for note in piece.notes] == [60, 62]
    assert [track.program for track in piece.tracks] == [40]


def test_signature_is_that_of_the_notes_that_last_longest() -> None:
    """A long F of G B D F early, and F sharp late and short."""
    pitches_and_times = [(67, 0, 4), (65, 0, 32), (71, 32, 36), (66, 100, 101), (67, 101, 105)]
    notes = tuple(Note(start, 0, pitch, end, 64) for pitch, start, end in pitches_and_times)
    bars = tuple(Bar(16 * number, 16, 4, 4) for number in range(7))
    piece = Piece(4, (Track(0),), notes, bars)
    assert keys.signature_of(piece)[0] == 0

    _, stats = piece_of(HEAD + '"Xyz"C ? D {ab}E')
    assert (stats.unread, stats.graces) == (2, 2)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("[C-E]0 D C-C", [(62, 0, 1), (60, 1, 2)]),  # a chord of no length has no ties
        ("C [D[EG]", [(60, 0, 1), (67, 1, 1), (64, 1, 1)]),
        ("C [DE", [(60, 0, 1)]),
        ("C/0 D", [(60, 0, 1), (62, 1, 1)]),
        ("C0 D", [(62, 0, 1)]),
        ("^/C D", [(61, 0, 1), (62, 1, 1)]),
        ("C,,,,,, D", [(62, 0, 1)]),
        (">C D", [(60, 0, 1), (62, 1, 1)]),
        *((f"{field}:? \nC D", [(60, 0, 1), (62, 1, 1)]) for field in "KMLQ"),
    ],
)
def test_part_of_a_tune_that_is_not_understood_is_left_out_and_counted(
    body: str, expected: list[tuple[int, float, float]]
) -> None:
    """Ties in a chord of no length ended with an internal error; a chord without its end was lost silently."""
    assert notes(body) == expected
    assert piece_of(HEAD + body)[1].unread == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    {
        "no music": (HEAD, "the tune has no notes"),
        "no key": ("X:1\nT:x\nC D E", "not a tune in ABC"),
        "an endless note": (HEAD + "C999999", "line 6: a note of"),
        "endless parts": (HEAD.replace("K:", "P:((((A99)99)99)99)\nK:") + "P:A\nC8|", "longer than any tune"),
        "endless repeats": (HEAD + "C8|" * 9_000 + f"D8{13 * ':'}|", "more than 200,000 symbols"),
        "endless repeats of all voices": (
            HEAD.replace("M:4/4", "M:1/32") + "".join(f"V:{n}\nC|:Z999{41 * ':'}|\n" for n in range(3)),
            "more than 200,000 symbols",
        ),
        "an endless rest": (HEAD + f"C|:Z999{11 * ':'}|", "longer than 10,000 bars"),
        "a book": (HEAD + "C\n\nX:2\nK:C\nD", "a book of 2 tunes"),
    }.values(),
)
def test_tune_that_cannot_be_read_is_one_error(text: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        read(text.encode(), 4)


@QUICK
@given(st.text(alphabet="ABcz'^_=23/|:[]()<>-\"{}~&1 \n%KML:", max_size=60))
def test_any_text_of_a_tune_is_read_or_one_error(body: str) -> None:
    try:
        read((HEAD + body).encode(), 4)
    except DataError as error:
        assert "\n" not in str(error)


def test_tunes_of_a_book_have_numbers_and_its_fields() -> None:
    book = b"%abc-2.1\nM:3/4\nfree text\n\nX:1\nT:a\nK:C\nCDE\n\nX:2\nK:G\nGAB\n\nX:2\nK:D\nDEF\n"
    found = dict(files.tunes(book))
    assert list(found) == ["1", "2", "2-2"]
    assert all(tune.startswith(b"%abc-2.1\nM:3/4\nX:") or b"M:3/4" in tune for tune in found.values())
    assert read(found["2"], 4)[0].bars[0].numerator == 3


def test_abc_is_recognised_by_its_header() -> None:
    assert files.notation_of(b"% a comment\n\nX: 12\nT:Tune\n%%directive\nM:C|\nK:Am\nabc") == "ABC"
    assert files.notation_of(b"X:1\r\nK:C\r\nabc") == "ABC"
    for prose in (
        b"The field\nX:1\nis the number, and\nK:C\nthe key.",
        b"X:1 and K:C",
        b"Dear X:\n1\nK:",
        b"K:C\nX:1\n",
    ):
        assert files.notation_of(prose) == ""


@pytest.mark.parametrize("number", ["²", "128", "-1", "9" * 5000])
def test_numbers_that_nobody_writes_are_left_out(number: str) -> None:
    """Python refuses to read more than 4,300 digits."""
    assert pitches("CD|]", HEAD + f"%%MIDI program {number}\n%%\n%%MIDI\n") == pitches("CD|]")
    assert len(notes(f"C8|Z{number}|D8|]")) == 2


# ---- Writing ----


def melody(piece: Piece, track: int = 0) -> list[tuple[int, int, int]]:
    return [(note.start, note.end, note.pitch) for note in piece.notes if note.track == track]


def test_starter_tunes_come_back_from_abc() -> None:
    paths = sorted(CORPUS.glob("*.mid"))
    assert len(paths) == 48
    for path in paths:
        piece, _ = midi.read(path.read_bytes(), 4)
        again, stats = read(abc_writing.write(piece, path.stem), 4)
        assert melody(again) == melody(piece)
        assert (again.bars, again.tempos, stats.unread) == (piece.bars, piece.tempos, 0)


def test_chords_and_pickups_come_back_from_abc() -> None:
    piece, _ = piece_of('X:1\nM:6/8\nK:Em\nQ:1/4=100\nB|"Em"e3 "B7"f2g|[M:9/8](3efg a7 "Em"e2-|e9|]', 12)
    again, _ = read(abc_writing.write(piece), 12)
    assert again == piece
    assert b'"Em"' in abc_writing.write(piece)


def test_triplets_and_quintuplets_are_written_as_such() -> None:
    body = "CD EF (3GAB c2|(5:4:5CDEFG A4|"
    assert body.encode() in abc_writing.write(piece_of(HEAD + body, 60)[0])


def test_tune_in_abc_looks_as_people_write_it() -> None:
    piece, _ = piece_of("X:1\nM:4/4\nL:1/8\nK:D\nQ:1/4=120\nd2 f>e d2 A2|(3Bcd e^d =d2 z2|D8|]", 12)
    assert abc_writing.write(piece, "A tune").decode() == (
        "X:1\nT:A tune\nM:4/4\nL:1/8\nQ:1/4=120\nK:D\nd2 f3/e/ d2 A2|(3Bcd e^d =d2 z2|D8|]\n"
    )


def test_drums_alone_are_no_tune() -> None:
    piece = Piece(4, (Track(None),), (Note(0, 0, 36, 4, 90),), (Bar(0, 16, 4, 4),))
    with pytest.raises(DataError, match="has no melody"):
        abc_writing.write(piece)


def test_notation_of_reference_fields_without_keys_takes_linear_time() -> None:
    """Each of 16,000 fields `X:` began a search to the end: 64 kB took 7 seconds."""
    began = time.process_time()
    assert files.notation_of(b"X:1\n" * (1 << 14)) == ""
    assert files.notation_of(b"X:1\n" * (1 << 14) + b"K:C\n") == "ABC"
    assert time.process_time() - began < 2


@pytest.mark.parametrize("body", [lambda n: f"A\nM:4{' ' * n}x\n", lambda n: f'"{"(" * n}"A'], ids=["metre", "chord"])
def test_tune_of_long_symbols_takes_linear_time(body: Callable[[int], str]) -> None:
    """Each took half a minute for some hundred kilobytes."""

    def read(count: int) -> None:
        pitches_of.cache_clear()
        abc_symbols.parse(HEAD + body(count))

    assert is_linear(read, 1000)


@pytest.mark.parametrize(
    ("body", "lengths", "unread"),
    [("A>< B>B", [1.5, 0.75, 0.5], 1), ("c<c|", [0.5, 1.5], 0), ("A>c0>c0>B", [1.5, 1], 4)],
)
def test_broken_rhythm_changes_each_pair_once(body: str, lengths: list[float], unread: int) -> None:
    """With every one after a note, its fraction became longer: a hundred thousand of them took seconds."""
    tune = abc_symbols.parse(HEAD + body)
    sounds = [symbol for symbol in tune.voices["1"] if isinstance(symbol, abc_symbols.Sound)]
    assert ([sound.length * 8 for sound in sounds], tune.unread) == (lengths, unread)


@pytest.mark.parametrize(("symbol", "same"), [("G(Em)", "G"), ("(Em)", "Em"), ("G((Em)", "G"), ("G(Em)(", "")])
def test_alternatives_in_a_chord_are_left_out(symbol: str, same: str) -> None:
    assert pitches_of(symbol) == (pitches_of(same) if same else None)


@pytest.mark.parametrize(
    "body",
    ["A|[1 A:|" * 1500, "".join(f"A/{999_983 - 2 * number} " for number in range(1500))],
    ids=["endings", "lengths"],
)
def test_tune_of_many_endings_or_odd_lengths_takes_linear_time(body: str) -> None:
    """Every ending began a search to the end, and every sum had a longer denominator."""
    began = time.process_time()
    read((HEAD + body).encode(), 4)
    assert time.process_time() - began < 2
