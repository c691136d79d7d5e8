"""The commands with music: a model of a few tunes composes, and whatever it writes is a MIDI file."""

from __future__ import annotations

import base64
import io
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mido
import pytest

import seqgen
from seqgen.cli.main import main
from seqgen.music import midi
from seqgen.music.events import VocabularyOptions
from seqgen.music.names import scale
from seqgen.music.piece import Piece
from seqgen.tokenizers.midi import MidiCodec
from tests.helpers.midi_files import midi_file, off, on, tune
from tests.helpers.running import Command

TUNES = 12
TINY = ["--rnn-size", 32, "--batch-size", 8, "--seq-length", 32, "--threads", 1, "--precision", "fp32"]
GRID = 4
WITHOUT_KEY = MidiCodec(VocabularyOptions(key=False))
Run = Callable[..., tuple[bytes, str]]


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Run:
    """A command in this process: what it wrote to stdout and to stderr."""

    def inside(*arguments: object, stdin: bytes = b"", status: int = 0) -> tuple[bytes, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfdbinary.readouterr()
        ended = main([str(argument) for argument in arguments])
        said = capfdbinary.readouterr()
        assert ended == status, said.err.decode()
        return said.out, said.err.decode()

    return inside


@pytest.fixture(scope="session")
def tunes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tunes")
    for number in range(TUNES):
        (folder / f"{number:02d}.mid").write_bytes(tune(number))
    return folder


@pytest.fixture(scope="session")
def music_model(tunes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained for 30 steps: it knows next to nothing, and the grammar all the more. Not to be changed."""
    folder = tmp_path_factory.mktemp("music") / "model"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQGEN_CACHE", str(tmp_path_factory.mktemp("music-cache")))
        asked = ["train", tunes, "-o", folder, *TINY, "--steps", 30, "--seed", 1]
        assert main([str(word) for word in asked]) == 0
    return folder


def check(data: bytes) -> mido.MidiFile:
    """A whole MIDI file, in which every note that begins ends, later, and none is struck while it sounds."""
    found = mido.MidiFile(file=io.BytesIO(data))
    assert found.type == 1
    for track in found.tracks:
        sounding: Counter[tuple[int, int]] = Counter()
        for message in track:
            if message.type in ("note_on", "note_off"):
                assert 0 <= message.note <= 127
                sounding[message.channel, message.note] += 1 if message.type == "note_on" else -1
                assert sounding[message.channel, message.note] in (0, 1)
        assert not +sounding
        assert track[-1].type == "end_of_track"
        assert [message.type for message in track].count("end_of_track") == 1
    return found


def bars(data: bytes) -> int:
    """Whole bars up to the end of the file, counted in ticks from its metres."""
    found = check(data)
    ends = {sum(message.time for message in track) for track in found.tracks}
    assert len(ends) == 1
    end, now = ends.pop(), 0
    changes: list[tuple[int, int]] = []  # tick, ticks a bar
    for message in found.tracks[0]:
        now += message.time
        if message.type == "time_signature":
            changes.append((now, message.numerator * 4 * found.ticks_per_beat // message.denominator))
    assert not end or changes[0][0] == 0
    count = place = 0
    length = 0
    while place < end:
        while changes and changes[0][0] <= place:
            assert changes[0][0] == place, "a metre begins inside a bar"
            length = changes.pop(0)[1]
        place += length
        count += 1
    assert place == end
    return count


def piece(data: bytes) -> Piece:
    return midi.read(data, GRID)[0]


# ---- What is composed, and where it goes ----


def test_sample_music_file_pipe_and_json_are_equal(
    run: Run, seqgen_command: Command, music_model: Path, tmp_path: Path
) -> None:
    asked = ("sample", music_model, "--length", 4, "--seed", 5)
    out, said = run(*asked, "-o", tmp_path / "a.mid")
    assert (out, said) == (b"", "")
    data = (tmp_path / "a.mid").read_bytes()
    assert bars(data) == 4
    done = seqgen_command(*asked)
    assert (done.returncode, done.stdout, done.stderr) == (0, data, b"")
    (line,) = (json.loads(line) for line in run(*asked, "--json")[0].splitlines())
    assert base64.b64decode(line.pop("midi")) == data
    (other,) = (json.loads(line) for line in run(*asked, "--json", "-o", tmp_path / "b.mid")[0].splitlines())
    assert other.pop("file") == str(tmp_path / "b.mid")
    assert (tmp_path / "b.mid").read_bytes() == data
    assert line == other
    facts = {name: line[name] for name in ("index", "seed", "bars", "primer_bars", "notes", "finish_reason")}
    assert facts == {
        "index": 0, "seed": 5, "bars": 4, "primer_bars": 0, "notes": len(piece(data).notes), "finish_reason": "length"
    }  # fmt: skip
    assert line["log_probability"] < 0 < line["tokens"]


def test_sample_music_folder_gets_one_file_per_piece(run: Run, music_model: Path, tmp_path: Path) -> None:
    asked = ("sample", music_model, "--length", 2, "--seed", 7)
    run(*asked, "-n", 3, "-o", f"{tmp_path / 'new' / 'folder'}/")
    names = sorted(path.name for path in (tmp_path / "new" / "folder").iterdir())
    assert names == ["0.mid", "1.mid", "2.mid"]
    pieces = [(tmp_path / "new" / "folder" / name).read_bytes() for name in names]
    assert len(set(pieces)) == 3
    assert [bars(data) for data in pieces] == [2, 2, 2]
    for number, data in enumerate(pieces):
        assert run(*asked, "--first", number)[0] == data
    lines = [json.loads(line) for line in run(*asked, "-n", 2, "--first", 1, "--json")[0].splitlines()]
    assert [line["index"] for line in lines] == [1, 2]
    assert [base64.b64decode(line["midi"]) for line in lines] == pieces[1:]
    (tmp_path / "there").mkdir()
    out, _ = run(*asked, "-o", tmp_path / "there", "--json")  # a folder that is there needs no "/" behind it
    assert json.loads(out)["file"] == str(tmp_path / "there" / "0.mid")
    assert (tmp_path / "there" / "0.mid").read_bytes() == pieces[0]


def test_sample_music_engines_agree(run: Run, music_model: Path) -> None:
    """Two engines differ in the last digits of a probability, which seldom decides; the same one never differs."""
    both = [run("sample", music_model, "--length", 2, "--engine", engine)[0] for engine in ("light", "torch", "light")]
    assert both[0] == both[2]
    assert [bars(data) for data in both] == [2, 2, 2]


@pytest.mark.parametrize("length", [0, 1, 5])
def test_sample_music_length_is_exact(run: Run, music_model: Path, length: int) -> None:
    for seed in range(3):
        assert bars(run("sample", music_model, "--length", length, "--seed", seed)[0]) == length


def test_sample_music_default_length_is_sixteen_bars(run: Run, music_model: Path) -> None:
    assert bars(run("sample", music_model)[0]) == 16


def test_sample_music_stop_at_end(run: Run, music_model: Path) -> None:
    asked = ("sample", music_model, "--length", 30, "-n", 6, "--json", "--stop-at-end", "--temperature", 2)
    lines = [json.loads(line) for line in run(*asked)[0].splitlines()]
    for line in lines:
        assert bars(base64.b64decode(line["midi"])) == line["bars"]
        assert (line["finish_reason"] == "end") == (line["bars"] < 30)
    assert {line["finish_reason"] for line in lines} == {"end"}


@pytest.fixture
def primer(tunes: Path) -> Path:
    return tunes / "03.mid"


def test_sample_music_primer_is_written_or_left_out(run: Run, music_model: Path, primer: Path, tmp_path: Path) -> None:
    asked = ("sample", music_model, "--primer", primer, "--length", 3, "--seed", 2)
    data = run(*asked)[0]
    codec = WITHOUT_KEY
    begun = codec.read_piece(primer.read_bytes())[0]
    assert bars(data) == len(begun.bars) + 3
    whole = piece(data)
    assert whole.bars[: len(begun.bars)] == begun.bars
    vocabulary = codec.vocabulary
    wanted = {n._replace(velocity=vocabulary.velocity(vocabulary.velocity_bin(n.velocity))) for n in begun.notes}
    assert wanted <= set(whole.notes)
    assert whole.tracks[: len(begun.tracks)] == begun.tracks
    assert all(note.start >= begun.notes[-1].start for note in set(whole.notes) - wanted)

    rest = run(*asked, "--no-show-prompt")[0]
    assert bars(rest) == 3
    alone = [note for note in whole.notes if note.start >= begun.length]
    # Tracks are in the order in which they begin, which may differ in the rest.
    assert sorted((n.start - begun.length, n.pitch) for n in alone) == sorted((n[0], n[2]) for n in piece(rest).notes)
    facts = json.loads(run(*asked, "--json")[0])
    assert (facts["bars"], facts["primer_bars"], facts["notes"]) == (3, len(begun.bars), len(whole.notes))

    assert run("sample", music_model, "--primer", "-", *asked[4:], stdin=primer.read_bytes())[0] == data
    assert run(*asked, "--seed", 3)[0] != data
    assert bars(run("sample", music_model, "--primer", primer, "--length", 0)[0]) == len(begun.bars)


def test_sample_music_says_what_it_changes_in_a_primer(
    run: Run, music_model: Path, primer: Path, tmp_path: Path
) -> None:
    off = b"X:1\nT:x\nM:4/4\nL:1/8\nK:C\n(3CDE (3FGA (3CDE (3FGA|"
    asked = ("sample", music_model, "--length", 1, "--primer", "-", "-o", "-")
    assert "8 of 12 notes moved to the model's grid of 4 steps" in run(*asked, stdin=off)[1]
    named, warnings = tmp_path / "off.abc", []
    named.write_bytes(off)
    seqgen.load(music_model).compose(named, length=0, warn=warnings.append)
    assert "8 of 12 notes moved" in warnings[0]
    cut = primer.read_bytes()[:-20]
    assert "is changed: 1 track cut off or of a wrong length, read" in run(*asked, stdin=cut)[1]
    evaluated = run("evaluate", music_model, "-", "--no-baselines", "--pieces", 0, stdin=cut)
    assert "1 of 1 files are damaged, but read: standard input: 1 track" in evaluated[1]


def test_sample_music_tempo_is_constant(run: Run, music_model: Path, primer: Path) -> None:
    for flags in ((), ("--primer", primer)):
        data = run("sample", music_model, "--length", 3, "--tempo", 90, *flags)[0]
        set_tempos = [m.tempo for track in check(data).tracks for m in track if m.type == "set_tempo"]
        assert set_tempos == [round(6e7 / 90)]


@pytest.mark.parametrize("key", ["D dorian", "F#m", "Eb minor pentatonic"])
def test_sample_music_key_restricts_pitches(run: Run, music_model: Path, tmp_path: Path, key: str) -> None:
    run("sample", music_model, "--length", 4, "--key", key, "-n", 4, "-o", tmp_path, "--temperature", 1.5)
    found = set()
    for path in tmp_path.iterdir():
        made = piece(path.read_bytes())
        found |= {note.pitch % 12 for note in made.notes if not made.tracks[note.track].drums}
    assert found
    assert found <= scale(key)


def test_sample_music_key_leaves_the_primer_unchanged(run: Run, music_model: Path, primer: Path) -> None:
    begun = WITHOUT_KEY.read_piece(primer.read_bytes())[0]
    made = piece(run("sample", music_model, "--length", 3, "--key", "F# major", "--primer", primer)[0])
    old = {note[:3] for note in begun.notes}
    assert old <= {note[:3] for note in made.notes}
    new = [n for n in made.notes if n[:3] not in old and not made.tracks[n.track].drums]
    assert {note.pitch % 12 for note in new} <= scale("F# major")


def programs(data: bytes) -> list[int]:
    return [m.program for track in check(data).tracks for m in track if m.type == "program_change"]


def test_sample_music_instruments(run: Run, music_model: Path) -> None:
    """Named in turn, the last for all the rest; the notes are the same."""
    asked = ("sample", music_model, "--length", 6, "--seed", 4)
    plain = run(*asked)[0]
    count = len(programs(plain))
    assert count >= 2
    data = run(*asked, "--instrument", "violin", "--instrument", "73")[0]
    assert programs(data) == [40, *[73] * (count - 1)]
    assert programs(run(*asked, "--instrument", "flute")[0]) == [73] * count
    assert piece(data).notes == piece(plain).notes


FILTERS = {
    "none": [],
    "repetition penalty": ["--repetition-penalty", 3, "--repetition-window", 16],
    "top-k": ["--top-k", 20],
    "top-p": ["--top-p", 0.9],
    "min-p": ["--min-p", 0.05],
    "typical-p": ["--typical-p", 0.8],
    "DRY": ["--dry-multiplier", 2, "--dry-allowed-length", 1],
    "dynamic temperature": ["--dynatemp-range", 1],
    "temperatures of kinds": ["--temperature-of", "pitch=0.3", "--temperature-of", "position=0",
                              "--temperature-of", "duration=5"],
    "XTC": ["--xtc-probability", 0.7, "--xtc-threshold", 0.02],
    "mirostat": ["--mirostat-tau", 2],
    "bias": ["--logit-bias", "note 60=9", "--logit-bias", "bar=-9", "--logit-bias", "#3=9"],
    "all": ["--repetition-penalty", 1.5, "--top-k", 50, "--top-p", 0.95, "--min-p", 0.01, "--typical-p", 0.95,
            "--dry-multiplier", 1, "--dynatemp-range", 0.5, "--temperature-of", "note=2", "--xtc-probability", 0.3,
            "--mirostat-tau", 3, "--logit-bias", "position 0=1"],
    "one": ["--top-k", 1],
}  # fmt: skip


@pytest.mark.parametrize("name", FILTERS)
def test_sample_music_high_temperature_gives_valid_files(
    run: Run, music_model: Path, tmp_path: Path, name: str
) -> None:
    symusic = pytest.importorskip("symusic")
    count = 40 if name == "none" else 6
    flags = ("--temperature", 2.0, "--length", 3, "-n", count, "-o", tmp_path)
    run("sample", music_model, *flags, *FILTERS[name])
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == count
    for path in paths:
        data = path.read_bytes()
        assert bars(data) == 3
        begun = sum(message.type == "note_on" for track in check(data).tracks for message in track)
        score = symusic.Score.from_midi(data)
        notes = [note for track in score.tracks for note in track.notes]
        assert len(notes) == begun
        assert all(note.duration > 0 for note in notes)
        if begun:
            made, lost = midi.read(data, GRID)
            assert (lost.notes, lost.kept) == (begun, begun)
            assert not any((lost.hanging, lost.doubled, lost.struck_again, lost.lengthened, lost.shift))
            assert len(made.notes) == begun


def test_sample_music_greedy_gives_valid_files(run: Run, music_model: Path) -> None:
    """Always the likeliest event: a barely trained model says the same over and over, as far as the grammar lets it."""
    assert bars(run("sample", music_model, "--temperature", 0, "--length", 4)[0]) == 4


def test_sample_music_plot(run: Run, music_model: Path, primer: Path, tmp_path: Path) -> None:
    run(
        "sample", music_model, "--length", 2, "--primer", primer, "-o", tmp_path / "a.mid", "--plot", tmp_path / "a.png"
    )
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert bars((tmp_path / "a.mid").read_bytes())


# ---- Errors ----


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A place with files that are no music, a folder of only damaged files, and one of some."""
    (tmp_path / "text.txt").write_text("once upon a time\n" * 30)
    (tmp_path / "a.mid").write_bytes(b"once upon a time")
    (tmp_path / "silent.mid").write_bytes(midi_file([(0, mido.MetaMessage("set_tempo", tempo=500000))]))
    for name in ("empty", "texts", "damaged", "mixed"):
        (tmp_path / name).mkdir()
    shutil.copy(tmp_path / "text.txt", tmp_path / "texts")
    for name in ("damaged", "mixed"):
        (tmp_path / name / "x.mid").write_bytes(tune(1)[:50])
        (tmp_path / name / "y.mid").write_bytes(b"no")
    for number in range(4):
        (tmp_path / "mixed" / f"{number}.mid").write_bytes(tune(number))
    shutil.copytree(tmp_path / "mixed", tmp_path / "whole", ignore=lambda _, names: {"x.mid", "y.mid"} & set(names))
    return tmp_path


ERRORS = {
    "primer that is no MIDI": ("sample MUSIC --primer text.txt", "'text.txt': not MIDI"),
    "primer that is not there": ("sample MUSIC --primer no.mid", "cannot read 'no.mid'"),
    "primer without notes": ("sample MUSIC --primer silent.mid", "'silent.mid': the MIDI file has no notes"),
    "primer that is a folder": ("sample MUSIC --primer texts", "cannot read 'texts'"),
    "prompt": ("sample MUSIC --prompt x", "this is a model for music, which continues --primer"),
    "prompt file": ("sample MUSIC --prompt-file text.txt", "this is a model for music"),
    "stop": ("sample MUSIC --stop x", "this is a model for music"),
    "primer for text": ("sample TEXT --primer a.mid", "--primer is for music; this is a model for text"),
    "key for text": ("sample TEXT --key C", "--key is for music; this is a model for text"),
    "plot for text": ("sample TEXT --plot a.png", "--plot is for music; this is a model for text"),
    "several to stdout": ("sample MUSIC -n 2", "several pieces need a folder: -o FOLDER"),
    "several into a file": ("sample MUSIC -n 2 -o text.txt", "cannot make the folder -o 'text.txt'"),
    "several into a name of a file": (
        "sample MUSIC -n 2 -o two.wav",
        "several pieces need a folder, and -o 'two.wav' names a file: -o FOLDER --format wav",
    ),
    "suffix of no format": (
        "sample MUSIC -o new.mp3",
        "the output 'new.mp3' has no known format: give --format, one of mid, wav",
    ),
    "several and a picture": ("sample MUSIC -n 2 -o new --plot a.png", "--plot draws one piece"),
    "key": ("sample MUSIC --key H", "no scale 'H'"),
    "instrument": ("sample MUSIC --instrument voilin", "did you mean violin (40)?"),
    "instrument of many": ("sample MUSIC --instrument piano", "'piano' matches"),
    "tempo": ("sample MUSIC --tempo 3", "--tempo must be at least 4, not 3"),
    "grid for text": ("train text.txt --task text --grid 3 -o new", "--grid is for music; this is text"),
    "letters for music": (
        "train mixed --task music --tokenizer char -o new",
        "--tokenizer char can't be used with music",
    ),
    "no MIDI": ("train texts --task music -o new", "'texts' has no music"),
    "nothing": ("train empty --task music -o new", "'empty' has no music"),
    "only damaged": (
        "train damaged -o new --steps 2",
        "none of 2 files of music can be trained on (damaged/y.mid: not MIDI",
    ),
    "strict": ("train mixed --strict -o new --steps 2", "without --strict it would be skipped"),
    "pitches": ("train mixed --pitch-range 80-20 -o new", "--pitch-range must be two MIDI pitches"),
    "no pitch left": (
        "train whole --pitch-range 1-2 --tracks melody -o new --steps 2",
        "none of 4 files of music can be trained on",
    ),
    "tokenize no MIDI": ("tokenize midi text.txt", "'text.txt': not MIDI"),
    "tokenize damaged": ("tokenize midi damaged", "none of 2 files is music with notes"),
    "tokenize, grid of another": ("tokenize char text.txt --grid 3", "--grid is for the tokenizer midi only"),
    "tokenize, grid of a model": ("tokenize MUSIC mixed --grid 3", "--grid is for the tokenizer midi only"),
    "tokenize, grid out of bounds": ("tokenize midi mixed --grid 99", "--grid must be at most 48"),
    "tokenize, two in one picture": ("tokenize midi mixed --plot a.png", "--plot draws one file, and there are 6"),
    "tokenize, picture of text": ("tokenize char text.txt --plot a.png", "--plot draws music, and this is text"),
    "score of text": ("score MUSIC text.txt", "not MIDI"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_sample_music_errors_are_one_line(
    run: Run, music_model: Path, model_folder: Path, odd: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    import re

    words, wanted = ERRORS[name]
    monkeypatch.chdir(odd)
    places = {"MUSIC": str(music_model), "TEXT": str(model_folder)}
    out, said = run(*(places.get(word, word) for word in words.split()), status=2)
    assert out == b""
    (line,) = [line for line in said.splitlines() if line.startswith("seqgen: error: ")]
    assert said.splitlines()[-1] == line
    pattern = wanted if "|" in wanted else re.escape(wanted)
    assert re.search(pattern, line), line
    assert words.startswith(("train", "tokenize")) or said.count("\n") == 1
    assert not (odd / "new").exists() or not any((odd / "new").iterdir())
    assert not (odd / "two.wav").exists()
    assert not (odd / "new.mp3").exists()


def test_sample_music_error_of_the_command_line(seqgen_command: Command, music_model: Path) -> None:
    done = seqgen_command("sample", music_model, "-n", 2)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"seqgen: error: several pieces need a folder: -o FOLDER\n"


def test_train_music_damaged_files_are_skipped_with_a_warning(run: Run, odd: Path) -> None:
    flags = ("--steps", 2, "--val-fraction", 0, *TINY)
    _, said = run("train", odd / "mixed", "-o", odd / "made", *flags)
    (line,) = [line for line in said.splitlines() if "warning: 6 files" in line]
    assert line.startswith("seqgen: warning: 6 files: 4 read, 2 damaged (")
    assert seqgen.load(odd / "made").task == "music"


# ---- The other commands ----


def test_tokenize_music_ids_and_events(run: Run, music_model: Path, tunes: Path) -> None:
    """A line of ids a file, an event a line; a model's own tokenizer gives what its options make."""
    codec = WITHOUT_KEY
    wanted = [codec.encode((tunes / f"{number:02d}.mid").read_bytes()).tolist() for number in range(TUNES)]
    out = run("tokenize", "midi", tunes)[0]
    assert [[int(word) for word in line.split()] for line in out.splitlines()] == wanted
    assert run("tokenize", music_model, tunes)[0] == out
    events = run("tokenize", "midi", tunes / "00.mid", "--pieces")[0].decode().splitlines()
    assert events == [codec.vocabulary.token_name(token) for token in wanted[0]]
    assert run("tokenize", "midi", "-", stdin=tune(0))[0].split() == [str(token).encode() for token in wanted[0]]
    finer = run("tokenize", "midi", tunes / "00.mid", "--grid", 12, "--tracks", "piano", "--velocity-bins", 1)[0]
    assert [int(word) for word in finer.split()] == MidiCodec(VocabularyOptions(12, 1, "piano", key=False)).encode(
        tune(0)
    ).tolist()


def test_tokenize_music_check_reports_the_grid(run: Run, tunes: Path, tmp_path: Path) -> None:
    out = run("tokenize", "midi", tunes, "--check")[0].decode().splitlines()
    assert out[0].startswith("12 files, 12 read: ")
    assert out[0].endswith("all came back the same")
    assert out[1].startswith("onsets moved by 0.")
    (tmp_path / "exact.mid").write_bytes(midi_file([on(0, 60), off(4, 60)]))
    lines = run("tokenize", "midi", tmp_path / "exact.mid", "--check")[0].decode().splitlines()
    assert lines[0].startswith("1 file, 1 read: 1 note")
    assert lines[1:] == ["onsets moved by 0.000 steps of 1/4 quarter note on average, 0.000 at most"]


def test_tokenize_music_damaged_file_is_named(run: Run, odd: Path) -> None:
    out, said = run("tokenize", "midi", odd / "mixed")
    assert len(out.splitlines()) == 4
    assert sorted(line.split("'")[1].split("/")[-1] for line in said.splitlines()) == ["x.mid", "y.mid"]


def test_tokenize_music_plot(run: Run, tunes: Path, tmp_path: Path) -> None:
    run("tokenize", "midi", tunes / "00.mid", "--plot", tmp_path / "a.png", "-o", tmp_path / "ids")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "ids").read_text().split()


def test_score_music(run: Run, music_model: Path, tunes: Path) -> None:
    """A file is a record; its nats are what its events cost, and the end behind them."""
    codec = WITHOUT_KEY
    lines = [json.loads(line) for line in run("score", music_model, tunes)[0].splitlines()]
    assert [Path(line["name"]).name for line in lines] == [f"{number:02d}.mid" for number in range(TUNES)]
    for number, line in enumerate(lines):
        assert line["tokens"] in (len(codec.encode(tune(number))), len(codec.encode(tune(number))) + 1)
        assert line["nats"] > 0


def test_info_music(run: Run, music_model: Path) -> None:
    told = run("info", music_model)[0].decode()
    codec = WITHOUT_KEY
    for wanted in (
        "music",
        f"midi, vocabulary size {codec.vocab_size:,}",
        "nats_per_step",
        "11 pieces to train on, 1 held out",
    ):
        assert wanted in told
    facts: dict[str, Any] = json.loads(run("info", music_model, "--json")[0])
    assert (facts["task"], facts["tokenizer"]) == ("music", "midi")


def test_train_music_resume(run: Run, music_model: Path, tunes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(music_model, folder)
    _, said = run("train", tunes, "-o", folder, "--resume", "--steps", 33)
    assert "33 steps" in said
    again = seqgen.load(folder)
    assert again.task == "music"
    assert again.codec.to_dict() == WITHOUT_KEY.to_dict()
    assert bars(run("sample", folder, "--length", 1)[0]) == 1
