"""Kinds of files that are no text, by their first bytes, and the advice that goes with each."""

from __future__ import annotations

import re
from typing import NamedTuple

TEXT = "save it as plain text, or convert it with pandoc"
SHEET = "save the sheet as CSV"
UNPACK = "unpack it first"
MODEL = "name the data that it was trained on"
NO_TEXT = "it holds no text"
CONVERT = "export its data as text or CSV"
SCORE = "export it as MusicXML or MIDI"
ANY_ADVICE = (UNPACK, MODEL, SCORE)  # not just for readers of text


class Kind(NamedTuple):
    """A kind of files: its name with an article, as it stands after "is"; and the advice."""

    name: str
    advice: str

    @property
    def noun(self) -> str:
        """The name without its article: `PNG image`."""
        return re.sub(r"^an? ", "", self.name)


def _image(name: str) -> Kind:
    return Kind(name, "it holds no text; recognise its text first")


_AUDIO = Kind("an audio file", "it holds no text; transcribe it first")
_VIDEO = Kind("a video", "it holds no text; give its subtitles")
_FONT = Kind("a font", NO_TEXT)
_PROGRAM = Kind("a program", NO_TEXT)
_PICKLE = Kind("a pickle", CONVERT)
PDF = Kind("a PDF", "extract its text, for instance with pdftotext")
PYTORCH = Kind("a PyTorch model", MODEL)
NUMPY = Kind("a numpy archive", CONVERT)

# Offset and bytes of a file, and its kind; the first that fits counts.
_SIGNATURES: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"%PDF-", PDF),
    (0, b"{\\rtf", Kind("an RTF document", TEXT)),
    (0, b"%!PS", Kind("a PostScript document", "extract its text, for instance with ps2ascii")),
    (60, b"BOOKMOBI", Kind("a Mobipocket e-book", "convert it to plain text, for instance with Calibre")),
    (60, b"TEXtREAd", Kind("a Palm e-book", "convert it to plain text, for instance with Calibre")),
    (0, b"ITSF", Kind("a compiled help file", TEXT)),
    (0, b"AT&TFORM", Kind("a DjVu document", "extract its text, for instance with djvutxt")),
    (0, b"\x89PNG\r\n\x1a\n", _image("a PNG image")),
    (0, b"\xff\xd8\xff", _image("a JPEG image")),
    (0, b"GIF87a", _image("a GIF image")),
    (0, b"GIF89a", _image("a GIF image")),
    (0, b"II*\0", _image("a TIFF image")),
    (0, b"MM\0*", _image("a TIFF image")),
    (0, b"8BPS", _image("a Photoshop image")),
    (0, b"\0\0\1\0\1\0", _image("an icon")),
    (8, b"WEBP", _image("a WebP image")),
    (8, b"WAVE", Kind("a WAV audio file", _AUDIO.advice)),
    (8, b"AVI ", _VIDEO),
    (0, b"ID3", Kind("an MP3 audio file", _AUDIO.advice)),
    (0, b"OggS", Kind("an Ogg audio file", _AUDIO.advice)),
    (0, b"fLaC", Kind("a FLAC audio file", _AUDIO.advice)),
    (8, b"AIFF", _AUDIO),
    (4, b"ftypM4A", Kind("an M4A audio file", _AUDIO.advice)),
    (4, b"ftyphei", _image("a HEIC image")),
    (4, b"ftypmif", _image("a HEIC image")),
    (4, b"ftypavif", _image("an AVIF image")),
    (4, b"ftyp", _VIDEO),
    (0, b"\x1aE\xdf\xa3", _VIDEO),
    (0, b"FLV\x01", _VIDEO),
    (0, b"\0\0\1\xba", _VIDEO),
    (0, b"SQLite format 3\0", Kind("an SQLite database", "export a table as CSV")),
    (4, b"\0\1\0\0Standard Jet DB", Kind("an Access database", "export a table as CSV")),
    (4, b"\0\1\0\0Standard ACE DB", Kind("an Access database", "export a table as CSV")),
    (0, b"\x89HDF\r\n\x1a\n", Kind("an HDF5 file", CONVERT)),
    (0, b"\x93NUMPY", Kind("a numpy array", CONVERT)),
    (0, b"GGUF", Kind("a GGUF model", MODEL)),
    (0, b"\x7fELF", _PROGRAM),
    (0, b"\xca\xfe\xba\xbe", Kind("a Java class or a program", NO_TEXT)),
    (0, b"\xce\xfa\xed\xfe", _PROGRAM),
    (0, b"\xcf\xfa\xed\xfe", _PROGRAM),
    (0, b"\xfe\xed\xfa\xce", _PROGRAM),
    (0, b"\xfe\xed\xfa\xcf", _PROGRAM),
    (0, b"\0asm", Kind("a WebAssembly program", NO_TEXT)),
    (0, b"!<arch>\n", Kind("a library of object files", NO_TEXT)),
    (0, b"\0\1\0\0\0", _FONT),
    (0, b"OTTO\0", _FONT),
    (0, b"ttcf", _FONT),
    (0, b"wOFF", _FONT),
    (0, b"wOF2", _FONT),
    (0, b"\0\0\0\1Bud1", Kind("a folder's settings by macOS", NO_TEXT)),
    (0, b"\0\5\x16\7", Kind("a companion file by macOS", NO_TEXT)),
    (0, b"bplist00", Kind("a binary property list", CONVERT)),
    (0, b"7z\xbc\xaf\x27\x1c", Kind("a 7-Zip archive", UNPACK)),
    (0, b"Rar!\x1a\7", Kind("a RAR archive", UNPACK)),
    (0, b"\x04\x22\x4d\x18", Kind("LZ4 data", UNPACK)),
    (0, b"\x1f\x9d", Kind("data of compress (.Z)", UNPACK)),
    (0, b"LZIP", Kind("lzip data", UNPACK)),
    (0, b"Obj\x01", Kind("an Avro file", CONVERT)),
    (0, b"ORC\n", Kind("an ORC file", CONVERT)),
    (0, b"RDX3\n", Kind("an R data file", CONVERT)),
    (0, b"RDX2\n", Kind("an R data file", CONVERT)),
    (0, b"FEA1", Kind("an old Feather file", CONVERT)),
    (0, b"X\n\0\0\0", Kind("an R data file", CONVERT)),
    (0, b"$FL2@(#)", Kind("an SPSS file", CONVERT)),
    (0, b"$FL3@(#)", Kind("an SPSS file", CONVERT)),
    (0, b"<stata_dta>", Kind("a Stata file", CONVERT)),
    (0, b"MATLAB 5.0 MAT-file", Kind("a MATLAB file", CONVERT)),
    (12, b"\xc2\xea\x81\x60\xb3\x14\x11\xcf\xbd\x92\x08\0", Kind("a SAS file", CONVERT)),
    (1, b"FICHIER GUITAR PRO", Kind("a Guitar Pro score", SCORE)),
    (0, b"\x89LZO\0\r\n\x1a\n", Kind("lzop data", UNPACK)),
    (0, b"\xed\xab\xee\xdb", Kind("an RPM package", UNPACK)),
)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # of Office files before 2007
_OLE_KINDS = (
    (b"W\0o\0r\0d\0D\0o\0c\0u\0m\0e\0n\0t\0", Kind("a Word document (.doc)", TEXT)),
    (b"W\0o\0r\0k\0b\0o\0o\0k\0", Kind("an old Excel workbook (.xls)", SHEET)),
    (b"P\0o\0w\0e\0r\0P\0o\0i\0n\0t\0", Kind("a PowerPoint presentation (.ppt)", TEXT)),
)
_OLE_SUFFIXES = {".doc": 0, ".dot": 0, ".xls": 1, ".xlt": 1, ".ppt": 2, ".pps": 2}
_OFFICE = Kind("a Microsoft Office file", TEXT)

# A zip is of a kind by a member, or by the text of its member `mimetype`.
_ZIP_MEMBERS = (
    (re.compile(r"word/document\d*\.xml"), Kind("a Word document", TEXT)),
    (re.compile(r"ppt/presentation\.xml"), Kind("a PowerPoint presentation", TEXT)),
    (re.compile(r"AndroidManifest\.xml"), Kind("an Android app", NO_TEXT)),
    (re.compile(r"META-INF/MANIFEST\.MF"), Kind("a Java archive", NO_TEXT)),
    (re.compile(r"([^/]+/)?data\.pkl"), PYTORCH),
    (re.compile(r"Index/Document\.iwa"), Kind("an Apple iWork document", TEXT)),
    (re.compile(r"score\.gpif|Content/score\.gpif"), Kind("a Guitar Pro score", SCORE)),
    (re.compile(r"score_style\.mss|[^/]+\.mscx"), Kind("a MuseScore score", SCORE)),
)
WORKBOOK_MEMBER = "xl/workbook.xml"
WORKBOOK = Kind("an Excel workbook", SHEET)
_ZIP_TYPES = (
    ("application/epub+zip", Kind("an EPUB e-book", TEXT)),
    ("application/vnd.oasis.opendocument.spreadsheet", Kind("an OpenDocument spreadsheet", SHEET)),
    ("application/vnd.oasis.opendocument", Kind("an OpenDocument text", TEXT)),
)
_ZIP_HEADER = re.compile(rb"PK\x03\x04.{22}(..)..", re.DOTALL)
_PROTOBUF_ONNX = re.compile(rb"\x08[\x01-\x14]\x12[\x01-\x20](pytorch|onnx|tf2onnx|skl2onnx|keras2onnx|ml\.net)", re.S)
_MP3_FRAME = re.compile(rb"\xff[\xfb\xf3\xf2\xfa][\x10-\xef][\x00-\xff]", re.S)


def kind_of(head: bytes, suffix: str = "") -> Kind | None:
    """Return the kind of a file that is known and no text, by its first bytes (64 kB); None for any other.

    The suffix names the kind of an old Office file whose directory lies further on; it never decides alone.
    """
    for offset, mark, kind in _SIGNATURES:
        if head.startswith(mark, offset) and (offset != 8 or head[:4] in (b"RIFF", b"FORM")):
            return kind
    if head.startswith(_OLE):
        if suffix in _OLE_SUFFIXES:
            return _OLE_KINDS[_OLE_SUFFIXES[suffix]][1]
        return next((kind for mark, kind in _OLE_KINDS if mark in head), _OFFICE)
    if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5") and head[2:3] in b"c}]()\x95\x8aNXq":
        return PYTORCH if b"torch" in head[:4096] else _PICKLE
    if head.startswith(b"MZ") and b"\0" in head[:64]:
        return Kind("a Windows program", NO_TEXT)
    if head[8:10] == b'{"' and head[3:8] == bytes(5) and b'"dtype"' in head:
        return Kind("a safetensors model", MODEL)
    if b"%PDF-" in head[:1024] and b"\0" in head:  # bytes of mail programs and servers may stand in front of it
        return PDF
    if _PROTOBUF_ONNX.match(head):
        return Kind("an ONNX model", MODEL)
    if _MP3_FRAME.match(head) and b"\0" in head[:1024]:
        return Kind("an MP3 audio file", _AUDIO.advice)
    if head.startswith(b"BM") and head[6:10] == bytes(4):
        return _image("a BMP image")
    return None


def is_midi(head: bytes) -> bool:
    """Whether the first bytes are those of a MIDI file, alone, in RIFF or after the header of MacBinary."""
    return head.startswith(b"MThd") or (head.startswith(b"RIFF") and head[8:12] == b"RMID") or head[128:132] == b"MThd"


def is_parquet(head: bytes) -> bool:
    """Whether the first bytes, four at least, are those of a Parquet file."""
    return head.startswith(b"PAR1")


def is_tar(head: bytes) -> bool:
    """Whether the first bytes are the header of a tar archive: its mark or, of old ones, its checksum."""
    if head[257:262] == b"ustar":
        return True
    digits = head[148:156].strip(b" \0")
    if len(head) < 512 or not head[0] or not digits.isdigit() or not set(digits) <= set(b"01234567"):
        return False
    return int(digits, 8) == sum(head[:148]) + sum(head[156:512]) + 8 * ord(" ")


def names_in_zip(head: bytes) -> list[str]:
    """Return the names of the members that begin within the first bytes of a zip."""
    found = []
    for match in _ZIP_HEADER.finditer(head):
        size = int.from_bytes(match[1], "little")
        found.append(head[match.end() : match.end() + size].decode("utf-8", "replace"))
    return found


def is_score(names: list[str], mimetype: str) -> bool:
    """Whether a zip is a score in MusicXML, by the names of its members and the text of its member `mimetype`."""
    if mimetype:
        return mimetype.startswith("application/vnd.recordare.musicxml")
    scores = [name for name in names if "/" not in name and name.endswith((".xml", ".musicxml"))]
    return "META-INF/container.xml" in names and len(scores) > 0


def kind_of_zip(names: list[str], mimetype: str) -> Kind | None:
    """Return the kind of a zip by the names of its members and the text of its member `mimetype`, if it has one."""
    for start, kind in _ZIP_TYPES:
        if mimetype.startswith(start):
            return kind
    for pattern, kind in _ZIP_MEMBERS:
        if any(pattern.fullmatch(name) for name in names):
            return kind
    if names and all(name.endswith(".npy") for name in names):
        return NUMPY
    return None


_MAIL = re.compile(rb"(?:From \S+ .*\d\d:\d\d.*\r?\n)?(?:>?[A-Za-z][A-Za-z-]+: .*\r?\n(?:[ \t].*\r?\n)*){3}")
_MAIL_FIELDS = (b"\nfrom:", b"\nto:", b"\nsubject:", b"\ndate:", b"\nmessage-id:", b"\nreceived:")


def markup_of(head: bytes) -> str:
    """Return "HTML", "XML", "MusicXML" or "e-mail" if text begins like that, else ""."""
    start = head[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "HTML"
    if b"<score-partwise" in start or b"<score-timewise" in start:
        return "MusicXML"
    if start.startswith(b"<?xml"):
        return "HTML" if b"<html" in start else "XML"
    if _MAIL.match(head) and sum(field in b"\n" + start for field in _MAIL_FIELDS) >= 3:
        return "e-mail"
    return ""
