"""`seqgen render`: files of music in other formats; and music of models in these formats."""

from __future__ import annotations

import gzip
import io
import wave
import zipfile
from pathlib import Path

import pytest

from seqgen.music import midi
from seqgen.music.reading import read
from tests.helpers.running import Run

ROOT = Path(__file__).resolve().parents[3]
TUNE = sorted((ROOT / "corpora" / "tunes").glob("*.mid"))[0]
MODEL = ROOT / "tests" / "golden" / "models" / "tunes-gru"
BOOK = "X:1\nT:One\nM:4/4\nK:C\nCDEF G4|]\n\nX:2\nT:Two\nM:4/4\nK:G\n(3GAB c2 d4|]\n"


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.abc"
    path.write_text(BOOK)
    return path


def test_formats_follow_from_the_name_and_hold_the_notes(run: Run, tmp_path: Path) -> None:
    piece, _ = midi.read(TUNE.read_bytes(), 4)
    for suffix in ("mid", "musicxml", "abc"):
        target = tmp_path / f"tune.{suffix}"
        assert run("render", TUNE, "-o", target).out == b""
        again, _ = read(target.read_bytes(), 4)
        assert next(n for n in again.notes if n.track == 0).pitch == piece.notes[0].pitch
    run("render", TUNE, "-o", tmp_path / "tune.wav")
    with wave.open(str(tmp_path / "tune.wav")) as file:
        assert 30 < file.getnframes() / file.getframerate() < 40
    run("render", TUNE, "-o", tmp_path / "tune.html")
    assert b"<canvas" in (tmp_path / "tune.html").read_bytes()
    run("render", TUNE, "-o", tmp_path / "tune.png")
    assert (tmp_path / "tune.png").read_bytes().startswith(b"\x89PNG")


def test_a_book_becomes_a_folder(run: Run, book: Path, tmp_path: Path) -> None:
    run("render", book, "-o", f"{tmp_path / 'out'}/", "--format", "musicxml")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["book-1.musicxml", "book-2.musicxml"]
    second, _ = read((tmp_path / "out" / "book-2.musicxml").read_bytes(), 12)
    assert [note.pitch for note in second.notes] == [67, 69, 71, 72, 74]
    assert b"T:book-2" in run("render", f"{book}/2", "--format", "abc").out
    book.write_text(BOOK.replace("X:2", "X:007") + "\nX:1\nK:C\nCDEF|]\n")  # a number that recurs is counted on
    run("render", book, "-o", f"{tmp_path / 'abc'}/", "--format", "abc")
    assert sorted(path.name for path in (tmp_path / "abc").iterdir()) == ["book-007.abc", "book-1-2.abc", "book-1.abc"]


def test_pipes_tempo_and_instruments(run: Run, tmp_path: Path) -> None:
    out = run("render", "-", "--format", "wav", "--tempo", "240", stdin=TUNE.read_bytes()).out
    with wave.open(io.BytesIO(out)) as file:
        assert file.getnframes() / file.getframerate() < 26
    assert run("render", "-", "--format", "wav", "--tempo", "240", stdin=TUNE.read_bytes()).out == out
    data = run("render", TUNE, "--format", "mid", "--instrument", "violin", "--tempo", "77").out
    piece, _ = midi.read(data, 4)
    assert {track.program for track in piece.tracks} == {40}
    assert piece.tempos == ((0, 77),)


def test_every_piece_of_a_folder_has_a_name_of_its_own(run: Run, tmp_path: Path) -> None:
    given = ("Op. 9 No. 1.mid", "Op. 9 No. 2.mid", "a/reel.mid", "b/reel.mid", "reel-2.mid")
    for name in given:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(TUNE.read_bytes())
    run("render", tmp_path / "in", "-o", f"{tmp_path / 'out'}/", "--format", "mid")
    made = sorted(path.stem for path in (tmp_path / "out").iterdir())
    assert made == ["Op. 9 No. 1", "Op. 9 No. 2", "reel", "reel-2", "reel-3"]


@pytest.mark.parametrize("suffix", [".gz", ".zip"])
def test_a_compressed_file_gives_its_name_without_the_compression(
    run: Run, tmp_path: Path, book: Path, suffix: str
) -> None:
    for name, data in (("tune.mid", TUNE.read_bytes()), (book.name, book.read_bytes())):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr(name, data)
        packed = (tmp_path / "a.zip").read_bytes() if suffix == ".zip" else gzip.compress(data)
        (tmp_path / f"{name}{suffix}").write_bytes(packed)
    given = (tmp_path / f"tune.mid{suffix}", tmp_path / f"{book.name}{suffix}")
    run("render", *given, "-o", f"{tmp_path / 'out'}/", "--format", "abc")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["book-1.abc", "book-2.abc", "tune.abc"]


def test_rare_tuplets_are_notated_and_others_reported(run: Run) -> None:
    head = b"X:1\nT:x\nM:4/4\nL:1/8\nK:C\n"
    tune = head + b"CD EF (3GAB c2|(5:4:5CDEFG A4|" + 60 * b"CDEF GABc|\n"
    result = run("render", "-", "--format", "musicxml", stdin=tune)
    assert (result.out.count(b"<time-modification>"), result.err) == (8, "")
    result = run("render", "-", "--format", "abc", stdin=head + b"(7CDEFGAB c/16d/16e/8|")
    assert "notes are moved to the nearest of 24 steps a quarter note" in result.err


@pytest.mark.parametrize("flags", [[], ["--tempo", "85.5"]])
def test_audio_and_midi_keep_fractions_of_a_tempo(run: Run, flags: list[str]) -> None:
    bpm = float(flags[1]) if flags else 127.5
    tune = b"X:1\nT:x\nM:4/4\nL:1/4\nQ:3/8=85\nK:C\n" + 50 * b"CDEF|"
    with wave.open(io.BytesIO(run("render", "-", "--format", "wav", *flags, stdin=tune).out)) as file:
        assert file.getnframes() / file.getframerate() == pytest.approx(
            200 * 60 / bpm + 1, abs=0.01
        )  # a second to fade
    assert midi.read(run("render", "-", "--format", "mid", *flags, stdin=tune).out, 4)[0].tempos == ((0, bpm),)


def test_damage_that_is_forgiven_is_reported(run: Run) -> None:
    assert "is damaged, but read: " in run("render", "-", "--format", "mid", stdin=TUNE.read_bytes()[:1000]).err


def test_a_broken_file_in_a_folder_is_skipped(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.abc").write_text("X:1\nK:C\nCDE|]\n")
    (tmp_path / "in" / "b.mid").write_bytes(b"nothing")
    (tmp_path / "in" / "c.musicxml").write_text("<score-partwise><part>")
    result = run("render", tmp_path / "in", "-o", f"{tmp_path / 'out'}/", "--format", "abc")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.abc"]
    assert result.err.count("is skipped") == 2


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["missing.mid", "-o", "x.wav"], "there is no file or folder 'missing.mid'"),
        ([TUNE], "standard output has no known format: give --format, one of mid, wav"),
        ([TUNE, "-o", "x.foo"], "the output 'x.foo' has no known format"),
        ([TUNE, "--format", "mp3"], "there is no format 'mp3'"),
        ([TUNE, "-o", "x.wav", "--instrument", "kazoo"], "no General MIDI instrument is named 'kazoo'"),
        (["book.abc", "-o", "x.wav"], "2 pieces need a folder: -o FOLDER/ --format wav"),
        (["broken.abc", "-o", "x.wav"], "'broken.abc': not a tune in ABC"),
        (["drums.mid", "-o", "x.abc"], "has no melody"),
    ],
)
def test_what_cannot_be_rendered_is_one_error(
    run: Run, arguments: list[str | Path], problem: str, book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(book.parent)
    Path("broken.abc").write_text("X:1\nT:no key\nabc\n")
    notes = [(0, bytes([0x99, 36, 90])), (4, bytes([0x89, 36, 0]))]
    track = b"".join(bytes([delta]) + message for delta, message in notes) + b"\0\xff\x2f\0"
    Path("drums.mid").write_bytes(b"MThd\0\0\0\x06\0\0\0\1\0\4MTrk" + len(track).to_bytes(4, "big") + track)
    result = run("render", *arguments, status=2)
    assert problem in result.err
    assert result.err.count("\n") == 1
    assert not Path("x.wav").exists()


# ---- Music of models ----


def test_composed_audio_is_the_same_in_a_pipe_and_in_a_file(run: Run, tmp_path: Path) -> None:
    options = ["--length", "3", "--seed", "5", "--instrument", "oboe"]
    run("sample", MODEL, *options, "-o", tmp_path / "tune.wav")
    piped = run("sample", MODEL, *options, "--format", "wav").out
    assert piped[44:] == (tmp_path / "tune.wav").read_bytes()[44:]
    assert piped[40:44] == b"\xdb\xff\xff\xff"  # of unknown size
    run("sample", MODEL, *options, "-o", tmp_path / "tune.mid")
    run("render", tmp_path / "tune.mid", "-o", tmp_path / "again.wav", "--grid", "4")
    assert (tmp_path / "again.wav").read_bytes() == (tmp_path / "tune.wav").read_bytes()


def test_composed_pieces_in_a_folder_have_the_format(run: Run, tmp_path: Path) -> None:
    run("sample", MODEL, "--length", "2", "-n", "2", "-o", tmp_path / "out", "--format", "musicxml")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.musicxml", "1.musicxml"]
    run("sample", MODEL, "--length", "2", "-n", "2", "-o", tmp_path / "midi")
    for number in (0, 1):
        score, _ = read((tmp_path / "out" / f"{number}.musicxml").read_bytes(), 4)
        piece, _ = read((tmp_path / "midi" / f"{number}.mid").read_bytes(), 4)
        assert score.notes == piece.notes


def test_format_decides_whatever_the_name_of_the_output(run: Run, tmp_path: Path) -> None:
    run("sample", MODEL, "--length", "1", "-o", tmp_path / "tune.v2", "--format", "abc")
    assert (tmp_path / "tune.v2").read_text().startswith("X:1\n")
    run("sample", MODEL, "--length", "1", "-o", tmp_path / "tune")
    assert (tmp_path / "tune").read_bytes().startswith(b"MThd")
    for target in (f"{tmp_path / 'reels.wav'}/", tmp_path / "reels.v2"):  # a "/" says that it is a folder
        run("sample", MODEL, "--length", "1", "-n", "2", "-o", target)
        assert sorted(path.name for path in Path(target).iterdir()) == ["0.mid", "1.mid"]


def test_format_is_for_music_only(run: Run) -> None:
    result = run("sample", MODEL.parent / "tidewater-lstm", "--format", "wav", status=2)
    assert "--format is for music" in result.err
