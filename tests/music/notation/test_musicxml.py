"""Scores in MusicXML: read with their repeats, refused if they are bombs, and written so that they come back."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqgen.errors import DataError
from seqgen.music import midi
from seqgen.music.notation import files, musicxml, musicxml_writing
from seqgen.music.piece import Bar, Note, Piece, Track
from seqgen.music.reading import read
from tests.helpers.growth import is_linear
from tests.helpers.midi_files import QUICK

CORPUS = Path(__file__).resolve().parents[3] / "corpora" / "tunes"
PARTS = '<part-list><score-part id="P1"><part-name>Flute</part-name></score-part></part-list>'
ATTRIBUTES = "<attributes><divisions>2</divisions><time><beats>4</beats><beat-type>4</beat-type></time></attributes>"


def note(step: str, duration: int, extra: str = "", before: str = "") -> str:
    pitch = f"<pitch><step>{step[0]}</step>{step[1:]}<octave>4</octave></pitch>"
    return f"<note>{before}{pitch}<duration>{duration}</duration>{extra}</note>"


def score(*measures: str) -> bytes:
    inside = "".join(f'<measure number="{n}">{each}</measure>' for n, each in enumerate(measures, start=1))
    return f'<?xml version="1.0"?><score-partwise>{PARTS}<part id="P1">{inside}</part></score-partwise>'.encode()


def compressed(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


CONTAINER = b'<container><rootfiles><rootfile full-path="a/score.xml"/></rootfiles></container>'


def notes(data: bytes, grid: int = 4) -> list[tuple[int, int, int]]:
    return [(each.start, each.end, each.pitch) for each in read(data, grid)[0].notes]


def test_notes_rests_chords_and_voices() -> None:
    data = score(
        ATTRIBUTES + note("C", 2) + note("E", 2, before="<chord/>") + "<note><rest/><duration>2</duration></note>"
        + note("F<alter>1</alter>", 4) + "<backup><duration>8</duration></backup>"
        + "<forward><duration>4</duration></forward>" + note("A", 4)
    )  # fmt: skip
    assert notes(data) == [(0, 4, 64), (0, 4, 60), (8, 16, 69), (8, 16, 66)]


def test_metre_of_beats_of_no_length_is_the_one_before() -> None:
    none = ATTRIBUTES.replace("<beat-type>4", "<beat-type>0")
    piece, _ = read(score(ATTRIBUTES + note("C", 8), none + note("D", 8)), 4)
    assert [(bar.numerator, bar.denominator) for bar in piece.bars] == [(4, 4), (4, 4)]


def test_elements_without_a_duration_take_no_time() -> None:
    rest, forward = "<note><rest/></note>", "<forward/>"
    assert notes(score(ATTRIBUTES + note("C", 2) + rest + forward + note("E", 6))) == [(0, 4, 60), (4, 16, 64)]


def test_ties_grace_notes_and_cues() -> None:
    data = score(
        ATTRIBUTES + note("C", 8, '<tie type="start"/>'),
        note("C", 4, '<tie type="stop"/>') + "<note><grace/><pitch><step>D</step><octave>4</octave></pitch></note>"
        + note("E", 4, before="<cue/>"),
    )  # fmt: skip
    piece, stats = read(data, 4)
    assert [(each.start, each.end, each.pitch) for each in piece.notes] == [(0, 24, 60)]
    assert stats.graces == 1


@pytest.mark.parametrize(
    ("lines", "order"),
    [
        (("", '<barline><repeat direction="backward"/></barline>', ""), "CDCDE"),
        (('<barline><repeat direction="forward"/></barline>',) * 1 + ("",) * 2, "CDE"),
        (("", '<barline><ending number="1" type="start"/></barline><barline><ending number="1" type="stop"/>'
          '<repeat direction="backward"/></barline>', '<barline><ending number="2" type="start"/></barline>'), "CDCE"),
        (("", '<barline><repeat direction="backward" times="3"/></barline>', ""), "CDCDCDE"),
        (("", '<barline><repeat direction="backward" times="²"/></barline>', ""), "CDCDE"),
        (("", f'<barline><repeat direction="backward" times="{"9" * 5000}"/></barline>', ""), "CDCDE"),
    ],
)  # fmt: skip
def test_repeats_are_played(lines: tuple[str, str, str], order: str) -> None:
    measures = [note(step, 8) + line for step, line in zip("CDE", lines, strict=True)]
    measures[0] = ATTRIBUTES + measures[0]
    assert [each[2] for each in notes(score(*measures))] == [60 + {"C": 0, "D": 2, "E": 4}[step] for step in order]


def test_tempo_dynamics_transposition_and_timewise_scores() -> None:
    data = score(
        '<attributes><divisions>2</divisions><transpose><chromatic>-2</chromatic></transpose></attributes>'
        '<direction><sound tempo="90" dynamics="50"/></direction>' + note("D", 4)
        + '<direction><direction-type><metronome><beat-unit>eighth</beat-unit><per-minute>90</per-minute></metronome>'
        '</direction-type></direction>' + note("E", 4)
    )  # fmt: skip
    piece, _ = read(data, 4)
    assert [(each.pitch, each.velocity) for each in piece.notes] == [(60, 45), (62, 45)]
    assert piece.tempos == ((0, 90), (8, 45))
    for about in (b"ca. 90", b" c.90", b"circa 90-96"):
        assert read(data.replace(b"<per-minute>90", b"<per-minute>" + about), 4)[0] == piece
    timewise = data.replace(b"score-partwise", b"score-timewise").replace(b'<part id="P1"><measure number="1">', b"@")
    timewise = timewise.replace(b"</measure></part>", b"</part></measure>").replace(
        b"@", b'<measure number="1"><part id="P1">'
    )
    assert read(timewise, 4)[0] == piece


def test_marks_of_dynamics_count_where_no_sound_says_it() -> None:
    marks = "<direction><direction-type><dynamics><{}/></dynamics></direction-type>{}</direction>"
    body = marks.format("ff", "") + note("C", 4) + marks.format("p", '<sound dynamics="100"/>') + note("D", 4)
    assert [each.velocity for each in read(score(ATTRIBUTES + body), 4)[0].notes] == [112, 90]


def test_further_decimals_of_a_number_are_read() -> None:
    data = score(ATTRIBUTES + '<sound tempo="66.66666666666667"/>' + note("C", 8))
    assert 66 < read(data, 4)[0].tempos[0][1] <= 67


def test_pickup_is_preceded_by_silence() -> None:
    assert [each[0] for each in notes(score(ATTRIBUTES + note("C", 2), note("D", 8)))] == [12, 16]


def test_compressed_score_is_the_one_that_the_container_names() -> None:
    inside, other = score(ATTRIBUTES + note("C", 8)), score(ATTRIBUTES + note("D", 8))
    named = compressed({"b.xml": other, "META-INF/container.xml": CONTAINER, "a/score.xml": inside})
    assert notes(named) == notes(inside)
    assert notes(compressed({"x.xml": inside})) == notes(inside)


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><score-partwise>&b;</score-partwise>'
FILE = '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><score-partwise>&a;</score-partwise>'


UNREADABLE = {
    "entities": (BOMB.encode(), "declares entities"),
    "a file as an entity": (FILE.encode(), "declares entities"),
    "nested elements": (b"<score-partwise>" + b"<a>" * 100, "nested too deeply"),
    "truncated": (score(ATTRIBUTES + note("C", 8))[:-30], "the XML is damaged"),
    "other XML": (b"<?xml version='1.0'?><svg/>", "not a score in MusicXML"),
    "no parts": (b"<score-partwise></score-partwise>", "the score has no notes"),
    "a number that is none": (
        score(ATTRIBUTES + note("C", 8).replace("8", "x")),
        "'x' for a number, in <duration>",
    ),
    "no divisions": (score(ATTRIBUTES.replace("2", "0", 1) + note("C", 8)), "0 divisions"),
    "an unknown step": (score(ATTRIBUTES + note("H", 8)), "a note 'H'"),
    "a note above all": (score(ATTRIBUTES + note("C", 8).replace("4<", "14<")), "outside of MIDI's range"),
    "an endless score": (score(ATTRIBUTES + note("C", 999_999_999)), "longer than"),
    "an empty archive": (compressed({"readme.txt": b"x"}), "has no score"),
    "a zip bomb": (compressed({"x.xml": b"<a>" + b" " * (1 << 25)}), "decompression bomb"),
    "a damaged archive": (compressed({"x.xml": b"<a/>"})[:-20], "compressed score"),
}


@pytest.mark.parametrize(("data", "problem"), UNREADABLE.values(), ids=UNREADABLE)
def test_score_that_cannot_be_read_is_one_error(data: bytes, problem: str) -> None:
    with pytest.raises(DataError, match=problem) as error:
        read(data, 4)
    assert "\n" not in str(error.value)


def test_repeats_with_too_many_notes_are_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(musicxml, "MAX_NOTES", 1000)
    again = '<barline><repeat direction="backward" times="100"/></barline>'
    assert len(notes(score(ATTRIBUTES + note("C", 4) * 10 + again.replace("100", "99")))) == 990
    with pytest.raises(DataError, match="with its repeats, the score has more than 1,000 notes"):
        read(score(ATTRIBUTES + note("C", 4) * 11 + again), 4)


def test_repeats_with_too_many_measures_of_parts_are_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(musicxml, "MAX_MEASURES", 1000)
    again = '<barline><repeat direction="backward" times="100"/></barline>'
    data, part = score(ATTRIBUTES + note("C", 4) + again), b'<part id="b"><measure/></part>'
    read(data.replace(b"</part>", b"</part>" + part * 9), 4)
    with pytest.raises(DataError, match="with its repeats, the score has more than 1,000 measures in its parts"):
        read(data.replace(b"</part>", b"</part>" + part * 10), 4)


def test_repeats_of_many_short_parts_take_linear_time() -> None:
    """Every measure that was played went through all parts: 210 kB took 13 seconds."""
    again = '<barline><repeat direction="backward" times="10"/></barline>'

    def read(count: int) -> None:
        data = score(ATTRIBUTES + note("C", 4) + again, *[note("D", 4) + again] * (count - 1))
        musicxml.read_score(data.replace(b"</part>", b"</part>" + b'<part id="b"><measure/></part>' * (20 * count)))

    assert is_linear(read, 40)


def test_many_tempos_are_written_in_linear_time() -> None:
    """Every bar went through all of them: 800 kB of MIDI took 14 seconds."""

    def write(count: int) -> None:
        bars, tempos = tuple(Bar(n, 1, 1, 4) for n in range(count)), tuple((n, 100 + n % 2) for n in range(count))
        written = musicxml_writing.write(Piece(1, (Track(0),), (Note(0, 0, 60, 1, 90),), bars, tempos))
        assert written.count(b"<sound tempo=") == count

    assert is_linear(write, 1000)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
def test_scores_of_any_encoding_are_recognised(encoding: str) -> None:
    text = score(ATTRIBUTES + note("C", 8)).decode().replace('"1.0"', f'"1.0" encoding="{encoding}"')
    assert files.notation_of(text.encode(encoding)) == "MusicXML"
    assert notes(text.encode(encoding)) == [(0, 16, 60)]


# ---- Writing ----


def check_that_it_comes_back(piece: Piece) -> None:
    data = musicxml_writing.write(piece, "A <title> & more\x01")
    assert files.is_musicxml(data)
    again, stats = read(data, piece.grid)
    assert (again.tracks, again.notes, again.tempos) == (piece.tracks, piece.notes, piece.tempos)
    assert again.bars == piece.bars[: len(again.bars)]
    assert stats.moved == 0


def test_starter_tunes_come_back_from_musicxml() -> None:
    for path in sorted(CORPUS.glob("*.mid"))[::4]:
        check_that_it_comes_back(midi.read(path.read_bytes(), 4)[0])


@st.composite
def pieces(draw: st.DrawFn) -> Piece:
    """Pieces of two tracks, in any metre and grid, with overlapping notes."""
    grid = draw(st.sampled_from([1, 4, 5, 12]))
    length = grid * draw(st.sampled_from([1, 3, 4]))
    count = draw(st.integers(1, 3))
    bars = tuple(Bar(n * length, length, length // grid, 4) for n in range(count))
    found: dict[tuple[int, int], Note] = {}
    for track in (0, 1):
        for pitch in draw(st.lists(st.integers(0, 127), min_size=1, max_size=4, unique=True)):
            start = draw(st.integers(0, length * count - 1))
            end = draw(st.integers(start + 1, length * count))
            found[track, pitch] = Note(start, track, pitch, end, draw(st.integers(1, 127)))
    first = [min(n.start for n in found.values() if n.track == track) for track in (0, 1)]
    order = sorted((0, 1), key=lambda track: (first[track], track))
    tracks = (Track(draw(st.integers(0, 127))), Track(None))
    notes = sorted((n._replace(track=order.index(n.track)) for n in found.values()), key=lambda n: (n[0], n[1], -n[2]))
    return Piece(grid, tuple(tracks[each] for each in order), tuple(notes), bars, ((0, draw(st.integers(20, 300))),))


@QUICK
@given(pieces())
def test_any_piece_comes_back_from_musicxml(piece: Piece) -> None:
    check_that_it_comes_back(piece)


def test_measures_of_a_written_score_are_full() -> None:
    """The durations of each voice fill its measure, as programs that draw notes require."""
    piece, _ = midi.read(sorted(CORPUS.glob("*.mid"))[0].read_bytes(), 4)
    root = fromstring(musicxml_writing.write(piece))
    bars = {bar.length for bar in piece.bars}
    for measure in root.iter("measure"):
        voices: dict[str, int] = {}
        now = 0
        for child in measure:
            length = int(child.findtext("duration") or 0)
            if child.tag == "backup":
                now -= length
            elif child.tag == "forward" or (child.tag == "note" and child.find("chord") is None):
                now += length
                voices[child.findtext("voice") or "-"] = now
        assert now in bars
        assert max(voices.values()) in bars


def test_velocity_is_the_nearest_to_its_share_of_forte() -> None:
    assert musicxml.FORTE == 90
    piece = Piece(1, (Track(0),), tuple(Note(n, 0, 60, n + 1, n + 1) for n in range(127)), (Bar(0, 12, 12, 4),) * 1)
    bars = tuple(Bar(12 * n, 12, 12, 4) for n in range(11))
    check_that_it_comes_back(Piece(1, piece.tracks, piece.notes, bars))
