"""Files as people have them: what is read from each, what is left out, and what is said of it.

Each row: the name of the trial, its files (a source is the first file, or its folder), and what must be found in the
result of `seqgen read`, or in the error.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from seqgen.api.reading.run import read
from seqgen.corpus.opening import signatures
from seqgen.errors import UserError
from tests.helpers.documents import zipped

Files = dict[str, bytes]

PROSE = b"The storm was late that year and nobody in the village minded it at all.\n" * 30
FRENCH = "L'orage était en retard cette année-là ; à l'été, personne : « ce n'est rien », dit-elle.\n" * 9
ITALIAN = "Perché la città è così lontana? Più in là c'è già un caffè.\n" * 9
GERMAN = "Der Bäcker öffnete früh; die Straße war naß, und müde Füße schlurften.\n" * 9
THAI = "พายุมาช้าในปีนั้นและไม่มีใครในหมู่บ้านสนใจ\n" * 9
TABLE = b"text,label\n" + b"".join(b"fine %d,good\npoor %d,bad\n" % (n, n) for n in range(9))
SERIES = b"date,v\n" + b"".join(b"2021-01-%02d,%d\n" % (n, n) for n in range(1, 29))
CHAT = "".join(f"03/02/2024, 10:{10 + n} - {'AB'[n % 2]}nn: hello there {n}\n" for n in range(9)).encode()
SUBTITLES = "".join(f"{n}\r\n00:00:{n:02},000 --> 00:00:{n:02},900\r\n{('ANN', 'BOB')[n % 2]}: so\r\n\r\n"
                    for n in range(20))  # fmt: skip
JSON_CHAT = json.dumps([{"role": ("user", "assistant")[n % 2], "content": "héllo"} for n in range(6)])
PNG, JPEG = b"\x89PNG\r\n\x1a\n" + bytes(20), b"\xff\xd8\xff" + bytes(20)
SCORE = (
    b'<?xml version="1.0"?>\n<score-partwise version="3.1"><part-list/><part id="P1"><measure number="1"><attributes>'
    b"<divisions>1</divisions></attributes><note><pitch><step>C</step><octave>4</octave></pitch><duration>4</duration>"
    b"</note></measure></part></score-partwise>"
)
MIDI = (
    b"MThd\0\0\0\6\0\0\0\1\0\x60MTrk\0\0\0\x44"
    + b"".join(bytes([0, 0x90, 60 + n, 64, 96, 0x80, 60 + n, 64]) for n in range(8))
    + b"\0\xff\x2f\0"
)
MAIL = b"From a@b.c Sat Feb  3 10:00:00 2024\nFrom: a@b.c\nTo: b@c.d\nSubject: hats\nDate: Sat, 3 Feb 2024\n\nLost.\n"
CLASSES = {f"{label}/{n}.txt": b"a %s one, %d" % (label.encode(), n) for label in ("neg", "pos") for n in range(6)}


def encrypted(archive: bytes) -> bytes:
    """An archive of one file whose flags say that it is encrypted."""
    local, central = archive.index(b"PK\3\4") + 6, archive.index(b"PK\1\2") + 8
    return b"".join(bytes([byte | (at in (local, central))]) for at, byte in enumerate(archive))


def within(folder: str, files: Files) -> Files:
    return {f"{folder}/{name}": data for name, data in files.items()}


READ: list[tuple[str, Files, dict[str, Any]]] = [
    # What a file is.
    ("French in Windows-1252", {"a.txt": FRENCH.encode("cp1252")},
     {"encoding": "Windows-1252", "first": [FRENCH[:400]]}),
    ("French of DOS", {"a.txt": FRENCH.encode("cp850")}, {"first": [FRENCH[:400]]}),
    ("Italian in Windows-1252", {"a.txt": ITALIAN.encode("cp1252")}, {"first": [ITALIAN[:400]]}),
    ("Italian of a Macintosh", {"a.txt": ITALIAN.encode("mac_roman")}, {"first": [ITALIAN[:400]]}),
    ("Thai in Windows-874", {"a.txt": THAI.encode("cp874")}, {"first": [THAI[:400]]}),
    ("NULs in text", {"a.txt": PROSE + b"\0\0" + PROSE}, {"warned": "2 NUL bytes are learnt"}),
    ("files put together", {"a.txt": b"\xef\xbb\xbf" + PROSE + b"\xef\xbb\xbf" + PROSE},
     {"warned": "1 byte order mark within the text is learnt"}),
    ("mail", {"a.mbox": MAIL * 3}, {"warned": "is e-mail; its headers"}),
    ("MusicXML", {"a.xml": SCORE}, {"task": "music", "format": "MusicXML", "first": [{"notes": 1, "bars": 1}]}),
    ("tunes in ABC by another name", {"a.txt": b"% a book\n\nX:1\nT:a\nK:C\nCDE|\n\nX:2\nT:b\nK:G\n|:GAB:|\n"},
     {"task": "music", "format": "ABC", "records": 2}),
    ("UTF-16 subtitles", {"a.srt": SUBTITLES.encode("utf-16")},
     {"task": "dialogue", "speakers": {"ANN": 10, "BOB": 10}}),
    ("UTF-16 chat", {"a.json": JSON_CHAT.encode("utf-16")},
     {"task": "dialogue", "speakers": {"user": 3, "assistant": 3}}),
    ("JSON by another name", {"a.ipynb": b'{"cells": [], "nbformat": 4}'}, {"warned": "is read as prose, not as data"}),
    ("MIDI by another name", {"a.txt": MIDI}, {"task": "music", "first": [{"notes": 8, "bars": 2}]}),
    # Folders and archives.
    ("zip of a chat and its pictures", {"chat.zip": zipped({"IMG-1.jpg": JPEG, "IMG-2.jpg": JPEG, "chat.txt": CHAT})},
     {"task": "dialogue", "speakers": {"Ann": 5, "Bnn": 4}, "warned": "IMG-1.jpg (JPEG image)"}),
    ("many pictures before a chat", {**{f"c/{n:03}.jpg": JPEG for n in range(40)}, "c/chat.txt": CHAT},
     {"task": "dialogue"}),
    ("zip of classes", {"set.zip": zipped(CLASSES)}, {"task": "classify", "labels": {"neg": 6, "pos": 6}}),
    ("zip of classes in a folder", {"set.zip": zipped(within("reviews", CLASSES))},
     {"task": "classify", "labels": {"neg": 6, "pos": 6}}),
    ("classes of a training and a test set",
     {**within("set/test", CLASSES), **within("set/train", CLASSES), "set/train/unsup/1.txt": b"", "set/README": b"#"},
     {"task": "classify", "labels": {"neg": 12, "pos": 12}, "warned": "has both 'train' and 'test'"}),
    ("classes of numbered files", {name.removesuffix(".txt"): data for name, data in within("set", CLASSES).items()},
     {"task": "classify", "labels": {"neg": 6, "pos": 6}}),
    ("table beside a README and a licence", {"d/data.csv": TABLE, "d/README.md": b"# data\n", "d/LICENSE": b"MIT\n"},
     {"task": "classify", "labels": {"bad": 9, "good": 9}, "warned": "README.md (about the data)"}),
    ("series beside a README", {"d/data.csv": SERIES, "d/README.md": b"# data\n"}, {"task": "forecast", "records": 28}),
    ("tables of a training and a test set", {"d/test.csv": TABLE, "d/train.csv": TABLE},
     {"task": "classify", "warned": "to learn from one and validate on the other"}),
    ("prose beside a table", {"d/a.txt": PROSE, "d/b.txt": PROSE, "d/t.csv": SERIES},
     {"task": "text", "warned": "1 of 3 files"}),
    ("music beside other files", {"m/a.mid": MIDI, "m/b.MID": MIDI, "m/c.mp3": b"ID3" + bytes(9), "m/words.txt": b"la"},
     {"task": "music", "records": 2, "warned": "words.txt"}),
    ("music without suffixes", {"m/a": MIDI, "m/b": MIDI}, {"task": "music", "records": 2}),
    ("prose with pictures", {"p/1.txt": PROSE, "p/2.png": PNG, "p/3.png": PNG}, {"task": "text", "records": 1}),
]  # fmt: skip

REFUSED: list[tuple[str, Files, str]] = [
    ("PDF behind a mail header", {"a.txt": b"\r\n%PDF-1.4\n" + bytes(range(256))}, "is a PDF"),
    ("PostScript", {"a.ps": b"%!PS-Adobe-3.0\n(hello) show\n"}, "is a PostScript document"),
    ("encrypted zip", {"set.zip": encrypted(zipped({"a.txt": PROSE}))}, "set.zip' is an encrypted archive; unpack it"),
    ("Word document within gzip", {"a": gzip.compress(zipped({"[Content_Types].xml": b"", "word/document.xml": b""}))},
     "is a Word document"),
    ("EPUB within gzip", {"a": gzip.compress(zipped({"mimetype": b"application/epub+zip", "c.xhtml": b"<p>"}))},
     "is an EPUB e-book"),
    ("workbook within gzip", {"a": gzip.compress(zipped({"xl/workbook.xml": b"", "b": b""}))}, "is an Excel workbook"),
    ("SPSS", {"a.sav": b"$FL2@(#) SPSS DATA FILE" + bytes(99)}, "is an SPSS file"),
    ("Stata", {"a.dta": b"<stata_dta><header>" + bytes(99)}, "is a Stata file"),
    ("MATLAB", {"a.mat": b"MATLAB 5.0 MAT-file" + bytes(99)}, "is a MATLAB file"),
    ("R", {"a.rds": gzip.compress(b"X\n\0\0\0\2" + bytes(99))}, "is an R data file"),
    ("MuseScore", {"a.mscz": zipped({"score.mscx": b"<x/>", "Thumbnails/t.png": PNG})}, "is a MuseScore score"),
    ("UTF-8 and Windows-1252 in one", {"a.txt": GERMAN.encode() * 2 + GERMAN.encode("cp1252") * 5},
     "has more than one encoding"),
]  # fmt: skip


def put(files: Files, folder: Path) -> str:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return str(folder / next(iter(files)).split("/")[0])


@pytest.mark.parametrize(("files", "expected"), [pytest.param(*row[1:], id=row[0]) for row in READ])
def test_file_of_a_stranger_is_read_rightly(files: Files, expected: dict[str, Any], tmp_path: Path) -> None:
    result = read(put(files, tmp_path))
    warned = expected.pop("warned", "")
    assert any(warned in sentence for sentence in result["warnings"]) or not warned, result["warnings"]
    assert {key: result[key] for key in expected} == expected


@pytest.mark.parametrize(("files", "words"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED])
def test_file_of_a_stranger_is_refused_by_name(files: Files, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        read(put(files, tmp_path))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_old_tar_archive_is_known_by_its_checksum() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("a.txt")
        info.size = len(PROSE)
        archive.addfile(info, io.BytesIO(PROSE))
    head = bytearray(buffer.getvalue()[:512])
    head[257:265] = bytes(8)  # the mark that old ones lack
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    assert signatures.is_tar(bytes(head))
    assert not signatures.is_tar(bytes(head).replace(b"a.txt", b"b.txt"))
    assert not signatures.is_tar(PROSE[:512])
    assert not signatures.is_tar(bytes(512))
