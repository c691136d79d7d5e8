"""What a file is, by its bytes: text, archives, and kinds that are refused by name."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.corpus.documents import Document, Spool, checksum_documents, find_unchanged
from seqgen.corpus.opening import FileForm, UnreadableKindError, identify, read_head
from seqgen.corpus.opening.pipes import read_pipe, text_of
from seqgen.corpus.opening.signatures import PDF
from seqgen.corpus.sources import FileTest, ReadOptions, find
from seqgen.errors import DataError
from tests.helpers.documents import COMPRESSORS, TEXT, contents, deflated, is_one_line, write_file


@pytest.fixture
def spool() -> Iterator[Spool]:
    with Spool() as spool:
        yield spool


def tarred(members: dict[str, bytes]) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    return whole.getvalue()


CONTENT_TYPES = {"[Content_Types].xml": b"<Types/>"}
KNOWN = {
    "Word document": deflated({**CONTENT_TYPES, "word/document.xml": b"<w/>"}),
    "PowerPoint presentation": deflated({**CONTENT_TYPES, "ppt/presentation.xml": b"<p/>"}),
    "OpenDocument text": deflated({"mimetype": b"application/vnd.oasis.opendocument.text", "content.xml": b""}),
    "OpenDocument spreadsheet": deflated({"mimetype": b"application/vnd.oasis.opendocument.spreadsheet", "a": b""}),
    "EPUB e-book": deflated({"mimetype": b"application/epub+zip", "OEBPS/a.xhtml": b""}),
    "Java archive": deflated({"META-INF/MANIFEST.MF": b"", "A.class": b""}),
    "PyTorch model": deflated({"archive/data.pkl": b"", "archive/data/0": b""}),
    "numpy archive": deflated({"a.npy": b"", "b.npy": b""}),
    "damaged zip archive": b"PK\x03\x04" + b"\x01" * 60,
    "Word document (.doc)": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600) + "WordDocument".encode("utf-16-le"),
    "old Excel workbook (.xls)": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600) + "Workbook".encode("utf-16-le"),
    "RTF document": b"{\\rtf1\\ansi some text}",
    "PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "Mobipocket e-book": b"A_Book".ljust(60, b"\0") + b"BOOKMOBI" + bytes(99),
    "PNG image": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "JPEG image": b"\xff\xd8\xff\xe0\0\x10JFIF\0",
    "GIF image": b"GIF89a\x01\0\x01\0",
    "BMP image": b"BM\x46\1\2\3" + bytes(4) + b"\x36\0\0\0\x28",
    "WebP image": b"RIFF\x24\0\0\0WEBPVP8 ",
    "WAV audio file": b"RIFF\x24\0\0\0WAVEfmt ",
    "MP3 audio file": b"ID3\x04\0\0\0\0\0\x23",
    "Ogg audio file": b"OggS\0\x02" + bytes(30),
    "FLAC audio file": b"fLaC\0\0\0\x22",
    "M4A audio file": b"\0\0\0\x20ftypM4A \0\0\0\0",
    "video": b"\0\0\0\x20ftypisom\0\0\x02\0",
    "SQLite database": b"SQLite format 3\0\x10\0",
    "program": b"\x7fELF\x02\x01\x01" + bytes(9),
    "Windows program": b"MZ\x90\0\x03" + bytes(60),
    "Java class or a program": b"\xca\xfe\xba\xbe\0\0\0\x34",
    "pickle": b"\x80\x04\x95\x10\0\0\0\0\0\0\0}",
    "safetensors model": struct.pack("<Q", 60) + b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(64),
    "GGUF model": b"GGUF\x03\0\0\0",
    "ONNX model": b"\x08\x08\x12\x07pytorch\x1a\x051.0",
    "font": b"\0\1\0\0\0\x0f\0\x80",
    "folder's settings by macOS": b"\0\0\0\1Bud1\0\0",
    "HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(9),
    "numpy array": b"\x93NUMPY\x01\0",
    "7-Zip archive": b"7z\xbc\xaf\x27\x1c\0\4",
    "RAR archive": b"Rar!\x1a\x07\x01\0",
}  # fmt: skip


@pytest.mark.parametrize("kind", KNOWN)
def test_identify_a_known_kind_refuses_it_by_name_with_advice(kind: str, tmp_path: Path) -> None:
    """Whatever the file is called, and compressed too."""
    for name, data in (("a.txt", KNOWN[kind]), ("a", COMPRESSORS[".gz"](KNOWN[kind]))):
        if kind.startswith("damaged") or (data[:2] == b"\x1f\x8b" and KNOWN[kind][:2] == b"PK"):
            continue
        with pytest.raises(UnreadableKindError, match=r"'a.*' is .*, not text; \w+") as error:
            identify(write_file(tmp_path / name, data), name)
        assert error.value.kind.noun == kind
        assert is_one_line(error)


def test_unreadable_kind_survives_pickling() -> None:
    """As it comes from the worker processes of a caller, whose pool would wait without end."""
    error = UnreadableKindError("a.pdf", PDF, formats="MIDI")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.kind) == (UnreadableKindError, str(error), PDF)


def test_identify_data_that_a_task_reads_returns_its_kind(tmp_path: Path) -> None:
    kinds = {
        "midi": b"MThd\0\0\0\6\0\1\0\1\0\x60", "parquet": b"PAR1" + bytes(9), "arrow": b"ARROW1\0\0" + bytes(9),
        "xlsx": deflated({**CONTENT_TYPES, "xl/workbook.xml": b""}), "zip": deflated({"a.txt": TEXT, "b.txt": TEXT}),
        "tar": tarred({"a.txt": TEXT}), "binary": bytes(range(256)) * 9,
    }  # fmt: skip
    for kind, data in kinds.items():
        form = identify(write_file(tmp_path / "file.txt", data), "file.txt")
        assert (form.kind, form.encoding) == (kind, "")


def test_identify_reports_compressions_outermost_first(tmp_path: Path) -> None:
    data = TEXT
    for suffix in COMPRESSORS:
        for outer in COMPRESSORS:
            form = identify(write_file(tmp_path / "file", COMPRESSORS[outer](COMPRESSORS[suffix](data))), "file")
            expected = tuple(each.removeprefix(".") for each in (outer, suffix) if each)
            assert form == FileForm(expected)
    form = identify(write_file(tmp_path / "file", deflated({"a.txt.gz": COMPRESSORS[".gz"](TEXT)})), "file")
    assert form == FileForm(("zip", "gz"))


@pytest.mark.parametrize(
    ("start", "markup"), [("<!DOCTYPE html>", "HTML"), ("\n<HTML>", "HTML"), ("<?xml ?><a>", "XML"), ("a", "")]
)
@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16"])
def test_identify_text_with_markup_names_it(start: str, markup: str, codec: str, tmp_path: Path) -> None:
    text = f"{start} some words of a page\n" * 9
    assert identify(write_file(tmp_path / "a", text.encode(codec)), "a").markup == markup


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "gb18030"])
def test_document_in_any_form_reads_the_same_text_and_ranges(codec: str, suffix: str, tmp_path: Path) -> None:
    text = "他们在这里等了很久，没有人来。plain words\n" * 400
    path = write_file(tmp_path / "a", COMPRESSORS[suffix](text.encode(codec)))
    (document,) = checksum_documents([Document("a", path, form=identify(path, "a"))])
    whole = text.encode()
    assert contents(document) == b"".join(document.limited()) == whole
    assert document.size == len(whole)
    for start, stop in ((0, 10), (5, 4000), (9000, None), (len(whole), None)):
        assert b"".join(document.chunks(start, stop)) == whole[start:stop]
    assert read_head(path, 100) == whole[:100]
    assert read_head(path) == whole[: 1 << 16]


def test_read_head_of_what_is_no_text_or_damaged_is_empty(tmp_path: Path) -> None:
    cut = COMPRESSORS[".gz"](TEXT)[:12]
    for data in (b"", KNOWN["PDF"], KNOWN["Word document"], cut, bytes(range(256))):
        assert read_head(write_file(tmp_path / "a", data)) in (b"", bytes(range(256)))
    assert read_head(tmp_path / "none") == read_head(tmp_path) == b""


@settings(max_examples=300, deadline=None)
@given(
    start=st.sampled_from(
        [b"", *(data[:40] for data in KNOWN.values()), deflated({"a": b"b", "b": b""})[:50], b"\xff\xfe"]
    ),
    data=st.binary(max_size=300),
)
def test_identify_any_bytes_raise_nothing_but_data_error(start: bytes, data: bytes, scratch: Path) -> None:
    path = write_file(scratch / "file", start + data)
    read_head(path)
    try:
        document = Document("file", path, form=identify(path, "file"))
        if document.form.is_text:
            b"".join(document.limited()).decode("utf-8", "surrogateescape")
            checksum_documents([document], is_learnt=True)
    except DataError as error:
        assert "\n" not in str(error)


@settings(max_examples=60, deadline=None)
@given(
    text=st.text(
        st.characters(codec="utf-16", exclude_characters="\ufeff\0", exclude_categories=("Cc", "Cn", "Co")), min_size=1
    ),
    codec=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    suffix=st.sampled_from([*COMPRESSORS, ".zip"]),
)
def test_identify_any_text_in_unicode_compressed_or_not_reads_it(
    text: str, codec: str, suffix: str, scratch: Path
) -> None:
    text = "words first\n" + text
    data = text.encode(codec)
    path = write_file(scratch / "file", deflated({"a": data}) if suffix == ".zip" else COMPRESSORS[suffix](data))
    (document,) = checksum_documents([Document("file", path, form=identify(path, "file"))])
    assert contents(document).decode() == text


# ---- Archives ----


@pytest.mark.parametrize("make", [deflated, tarred])
@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_find_of_an_archive_returns_its_files_as_those_of_a_folder(
    make: object, suffix: str, tmp_path: Path, spool: Spool
) -> None:
    assert callable(make)
    chinese = "他们在这里等了很久，没有人来。\n" * 9
    members = {
        "b/two.txt": chinese.encode("gb18030"), "a.txt": TEXT, "../../up.txt": TEXT, "b/.hidden": TEXT,
        "__MACOSX/._a.txt": TEXT, "b/photo.png": KNOWN["PNG image"], "empty.txt": b"",
    }  # fmt: skip
    path = write_file(tmp_path / "book.any", COMPRESSORS[suffix](make(members)))
    warnings: list[str] = []
    documents = checksum_documents(find([str(path)], spool, warn=warnings.append))
    assert {document.name: contents(document).decode() for document in documents} == {
        f"{path}/a.txt": TEXT.decode(), f"{path}/b/two.txt": chinese, f"{path}/up.txt": TEXT.decode(),
    }  # fmt: skip
    assert warnings[0] == f"{path}: 2 files left out: b/photo.png (PNG image), empty.txt (empty)"
    assert "GB18030" in warnings[1]
    assert not (tmp_path / "up.txt").exists()
    (one,) = find([f"{path}/b/two.txt"], spool)
    assert contents(one).decode() == chinese
    noted = [document.to_json() for document in documents]
    assert find_unchanged(noted, spool=spool) == documents
    assert find_unchanged(noted) is None
    assert find_unchanged([{**noted[0], "name": f"{path}/none.txt"}], spool=spool) is None


def test_find_of_music_in_an_archive_returns_midi_files(tmp_path: Path, spool: Spool) -> None:
    tune = b"MThd\0\0\0\6\0\1\0\1\0\x60"
    path = write_file(tmp_path / "tunes.zip", deflated({"a.mid": tune, "b": tune, "c.txt": TEXT}))
    from seqgen.corpus.dataset_rows import RowFormat
    from seqgen.specs.tasks import RowLayout

    found = find([str(path)], spool, accepts=FileTest((".mid",), "MIDI", ("midi",)), rows=RowFormat(RowLayout.NONE))
    assert [document.name for document in found] == [f"{path}/a.mid", f"{path}/b"]
    assert [document.path.read_bytes() for document in found] == [tune, tune]


def test_find_in_a_damaged_or_empty_archive_raises_one_line(tmp_path: Path, spool: Spool) -> None:
    two = {"a.txt": TEXT * 90, "b.txt": TEXT * 90}
    bomb = {"a.txt": bytes(50 << 20), "b.txt": b""}
    for name, data in (
        ("cut.tar", tarred(two)[:3000]), ("cut.tar.gz", COMPRESSORS[".gz"](tarred(two))[:90]),
        ("cut.zip", deflated(two)[:-30]), ("none.zip", deflated({})), ("bomb.zip", deflated(bomb)),
        ("images.zip", deflated({"a.png": KNOWN["PNG image"], "b.png": KNOWN["PNG image"]})),
    ):  # fmt: skip
        with pytest.raises(DataError, match=name) as error:
            checksum_documents(find([str(write_file(tmp_path / name, data))], spool))
        assert is_one_line(error)


# ---- Folders ----


def test_find_in_a_folder_leaves_models_out_and_says_so(tmp_path: Path, spool: Spool) -> None:
    write_file(tmp_path / "diary.txt")
    for name in ("config.json", "model.safetensors", "README.md", "resume/state.json"):
        write_file(tmp_path / "model" / name)
    warnings: list[str] = []
    documents = find([str(tmp_path)], spool, warn=warnings.append)
    assert [document.path.name for document in documents] == ["diary.txt"]
    assert warnings == [f"{tmp_path}: model left out: it is a model"]
    with pytest.raises(DataError, match="is a model, not text") as error:
        find([str(tmp_path / "model")], spool)
    assert is_one_line(error)


def test_find_names_what_it_leaves_out_and_reads_differently(tmp_path: Path, spool: Spool) -> None:
    write_file(tmp_path / "a.txt")
    for number in range(5):
        write_file(tmp_path / f"{number}.docx", KNOWN["Word document"])
        write_file(tmp_path / f"u{number}.txt", "some words".encode("utf-16"))
    write_file(tmp_path / "page.html", b"<html>words</html>")
    warnings: list[str] = []
    find([str(tmp_path)], spool, warn=warnings.append)
    assert warnings == [
        f"{tmp_path}: 5 files left out: 0.docx (Word document), 1.docx (Word document), 2.docx (Word document) "
        "and 2 more",
        f"'{tmp_path}/page.html' is HTML; its tags are learnt as text; pandoc makes plain text of it",
        f"5 files are UTF-16 (little-endian); read as text (the first is '{tmp_path}/u0.txt')",
    ]


def test_find_without_decoding_reads_any_file_as_bytes(tmp_path: Path, spool: Spool) -> None:
    data = "\ufeffé".encode("utf-16-le") + bytes(99) + b"\xff"
    (document,) = find([str(write_file(tmp_path / "a", data))], spool, reading=ReadOptions(decode=False))
    assert contents(document) == data
    assert find_unchanged([checksum_documents([document])[0].to_json()]) is not None


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_find_unchanged_reads_no_more_of_a_file_than_the_recorded_size(
    name: str, tmp_path: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one in another encoding or compressed, too, whose size on the disk is not the recorded one."""
    data = "Größe".encode("latin-1") * (8 << 20)
    path = write_file(tmp_path / name, gzip.compress(data, 1) if name.endswith(".gz") else data)
    read = []

    class Watched(Document):
        def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
            for chunk in super().chunks(start, stop):
                read.append(len(chunk))
                yield chunk

    monkeypatch.setattr("seqgen.corpus.documents.Document", Watched)
    noted = {"name": str(path), "bytes": 9, "sha256": "0" * 64, "encoding": "latin-1"}
    assert find_unchanged([noted], spool=spool) is None
    assert len(read) == 1


# ---- The whole file, and pipes ----


def test_checksum_documents_of_text_that_changes_its_encoding_later(tmp_path: Path) -> None:
    """Compressed files have no spots to look at: the whole is checked as it is read."""
    chinese = "他们在这里等了很久，没有人来。\n" * 9000
    head = "plain words\n" * 9000
    path = write_file(tmp_path / "a.gz", COMPRESSORS[".gz"]((head + chinese).encode("gb18030")))
    form = identify(path, "a.gz")
    assert form.encoding == "utf-8"
    warnings: list[str] = []
    (document,) = checksum_documents([Document("a.gz", path, form=form)], warnings.append)
    assert contents(document).decode() == head + chinese
    assert len(warnings) == 1 and "GB18030" in warnings[0]
    mixed = write_file(tmp_path / "b.gz", COMPRESSORS[".gz"]((head + chinese).encode() + chinese.encode("gb18030")))
    with pytest.raises(DataError, match=r"'b\.gz' has more than one encoding.*byte \d") as error:
        checksum_documents([Document("b.gz", mixed, form=identify(mixed, "b.gz"))])
    assert is_one_line(error)


def test_checksum_documents_of_learnt_text_tells_stray_bytes_with_their_first_place(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.txt", "é\n".encode() * 700_000 + b"\xff\n" + "é\n".encode() * 90 + b"\xc3")
    warnings: list[str] = []
    (document,) = checksum_documents([Document("a.txt", path)], warnings.append, is_learnt=True)
    assert contents(document) == path.read_bytes()
    assert warnings == [
        "2 bytes are not UTF-8, and are learnt as they stand (a.txt:700001); --encoding names another encoding"
    ]
    checksum_documents([Document("a.txt", path)], warnings.append)
    assert len(warnings) == 1


@pytest.mark.parametrize("suffix", COMPRESSORS)
@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_read_pipe_in_any_form_yields_utf8(codec: str, suffix: str) -> None:
    text = "他们在这里等了很久，没有人来。\n" * 3000
    warnings: list[str] = []
    pipe = io.BufferedReader(io.BytesIO(COMPRESSORS[suffix](text.encode(codec))))  # type: ignore[arg-type]
    assert b"".join(read_pipe(pipe, "standard input", warnings.append)).decode() == text
    assert len(warnings) == bool(suffix) + (not codec.startswith("utf-8"))


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "gb18030"])
def test_text_of_yields_utf8(codec: str) -> None:
    text = "他们在这里等了很久，没有人来。\n" * 30
    warnings: list[str] = []
    assert text_of(text.encode(codec), "a.txt", warnings.append).decode() == text
    assert len(warnings) == (codec in ("utf-16-le", "gb18030"))


def test_text_of_unclear_encoding_is_taken_as_it_stands() -> None:
    warnings: list[str] = []
    data = b"\x1b[2J\xff\x9bgone\x00"
    assert text_of(data, "a.txt", warnings.append) == data
    assert len(warnings) == 1 and "'a.txt' is unclear" in warnings[0]
    with pytest.raises(DataError, match=r"'a\.txt' is a PDF"):
        text_of(KNOWN["PDF"], "a.txt")


def test_read_pipe_of_no_text_raises_one_line() -> None:
    for data in (KNOWN["PDF"], KNOWN["Word document"], bytes(range(256))):
        with pytest.raises(DataError, match="standard input is ") as error:
            list(read_pipe(io.BufferedReader(io.BytesIO(data)), "standard input"))  # type: ignore[arg-type]
        assert is_one_line(error)
    for compress in COMPRESSORS.values():
        pipe = io.BufferedReader(io.BytesIO(compress(b"\0\1")))  # type: ignore[arg-type]
        assert b"".join(read_pipe(pipe, "-", decode=False)) == b"\0\1"


def test_read_pipe_reports_compression_and_refuses_what_a_given_encoding_lacks() -> None:
    warnings: list[str] = []
    data = "caf\xe9\n".encode("cp1252")
    packed = io.BufferedReader(io.BytesIO(COMPRESSORS[".gz"](data)))  # type: ignore[arg-type]
    assert b"".join(read_pipe(packed, "a pipe", warnings.append, "cp1252")) == "caf\xe9\n".encode()
    assert warnings == ["a pipe is compressed (gz); read decompressed"]
    with pytest.raises(DataError, match=r"'a pipe' is not UTF-8: byte 4 can't be decoded"):
        list(read_pipe(io.BufferedReader(io.BytesIO(data)), "a pipe", pytest.fail, "utf-8"))  # type: ignore[arg-type]
