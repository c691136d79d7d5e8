"""Small files that ask for much time or memory, each of which took minutes, gigabytes, or a traceback once."""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import time
from pathlib import Path

import pytest

import seqgen
from seqgen import checkpoint
from seqgen.api.rendering import read_piece
from seqgen.errors import DataError, UserError
from seqgen.music.notation.xml_tree import parse
from seqgen.rendering import formats
from tests.helpers import untrusted_readers
from tests.helpers.midi_files import midi_file, off, on, tempo
from tests.helpers.workbooks import row, workbook

READERS = untrusted_readers.data_readers()
MAX_SECONDS = 3.0  # of processor time, for each
ENTITIES = '<!DOCTYPE a [<!ENTITY a "' + "x" * 1000 + '">' + '<!ENTITY b "' + "&a;" * 1000 + '">]>'
ATTRIBUTES = '<!DOCTYPE a [<!ATTLIST b c CDATA "' + "x" * 10_000 + '">]>'
TUNE = b"X:1\nM:4/4\nL:1/8\nK:C\n"


def commented_tar(size: int) -> bytes:
    """A compressed tar archive of one file with a long comment."""
    stream, info = io.BytesIO(), tarfile.TarInfo("a.txt")
    info.pax_headers = {"comment": "x" * size}
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
    return gzip.compress(stream.getvalue())


@pytest.mark.parametrize(
    ("reader", "name", "data", "said"),
    [
        ("flags", "a.toml", b"prompt = " + b"[" * 100_000, "nested too deeply"),
        ("flags", "a.toml", b"a" + b".a" * 100_000 + b"=1", "nested too deeply"),
        ("flags", "a.toml", b"[" + b'"a b". ' * 50_000 + b"a]", "nested too deeply"),
        ("flags", "a.toml", b"seed = " + b"9" * 9000, "a number is too large"),
        ("flags", "a.toml", b"seed = 0x" + b"f" * 9000, "seed is too large"),
        ("flags", "a.toml", b"output = {a = 0x" + b"f" * 9000 + b"}", "must be a string, not a table"),
        ("grammar", "input", b"a{" + b"9" * 60_000, "too large"),
        ("grammar", "input", b"ab|" * 100_000, "more than 131,072 characters"),
        ("midi", "a.abc", TUNE + b"[K:" * 20_000 + b"C|" * 40, "no notes"),
        ("text", "a.tar.gz", commented_tar(30 << 20), "decompression bomb"),
        ("excel", "a.xlsx", workbook(row("XFD", 20_000)), "nearly all empty"),
        ("excel", "a.xlsx", workbook(row("XFD") + row("A", 2000)), "nearly all empty"),
        ("excel", "a.xlsx", workbook(row("XFE")), "16,384 columns"),
        ("excel", "a.xlsx", workbook(row("A") + '<row r="999999999"><c><v>1</v></c></row>'), "1,048,576 rows"),
        ("excel", "a.xlsx", workbook("", sheets=2000), "two of its sheets are one"),
        ("excel", "a.xlsx", workbook(row("A"), "<si><t>&b;</t></si>" * 90, doctype=ENTITIES), "declares entities"),
        ("excel", "a.xlsx", workbook(row("A"), "<b/>" * 9000, doctype=ATTRIBUTES), "declares entities"),
    ],
    ids=[
        "deep list", "deep key", "deep table", "digits", "hexadecimal", "table", "digits of a quantifier", "pattern",
        "brackets", "comment", "far cells", "a far cell", "columns", "rows", "one sheet", "entities", "attributes",
    ],
)  # fmt: skip
def test_hostile_file_is_refused_quickly(reader: str, name: str, data: bytes, said: str, tmp_path: Path) -> None:
    began = time.process_time()
    with pytest.raises(UserError, match=said):
        READERS[reader].read(tmp_path, data, name)
    assert time.process_time() - began < MAX_SECONDS


def test_musicxml_attributes_with_defaults_are_refused() -> None:
    """Each of the elements would have a copy of the default."""
    with pytest.raises(DataError, match="declares entities or attributes"):
        parse(ATTRIBUTES.encode() + b"<a>" + b"<b/>" * 10_000 + b"</a>")


def test_musicxml_tempo_of_thousands_of_digits_is_left_out() -> None:
    piece = read_piece(midi_file([tempo(0, 90), on(0, 60), off(16, 60)]), formats.named("musicxml"))[0]
    score = b"".join(formats.named("musicxml").write(piece, ""))
    sound, beats = re.compile(rb"<sound [^>]*/>"), b"<per-minute>"
    assert sound.search(score) and beats in score
    read_piece(sound.sub(b"", score).replace(beats, beats + b"1.1" + b"1" * 6000), formats.WAVE)


def test_render_wave_of_hours_is_refused() -> None:
    events = [tempo(0, 3.6), on(0, 60), off(4, 60), on(4000, 60), off(4004, 60)]  # 15 seconds a quarter note
    with pytest.raises(DataError, match="longer than 3 hours"):
        next(formats.WAVE.write(read_piece(midi_file(events), formats.WAVE)[0], ""))


def test_train_on_more_files_than_a_model_names_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "MAX_SOURCES", 2)
    for name in ("a.txt", "b.txt", "c.txt"):
        (tmp_path / name).write_text("The ferry came home.\n" * 40)
    with pytest.raises(UserError, match="cannot train on 3 files: a model names at most 2; join some"):
        seqgen.train(str(tmp_path / "*.txt"), tmp_path / "model", steps=1)
    assert not (tmp_path / "model").exists()
