"""Sources: files, folders, globs, pipes and compressed files, and their documents."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import itertools
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqgen.corpus import documents
from seqgen.corpus.sources import Document, Spool, checksum_documents, find, fingerprint
from seqgen.errors import DataError, UserError
from seqgen.streams import read_whole
from tests.helpers.documents import COMPRESSORS, QUICK, TEXT, contents, is_one_line, write_file


@pytest.fixture
def spool() -> Iterator[Spool]:
    with Spool() as spool:
        yield spool


# ---- Sources ----


def test_find_of_a_file_returns_one_document(tmp_path: Path, spool: Spool) -> None:
    path = write_file(tmp_path / "a.txt", b"some caf\xe9\r\n")  # a single byte proves no other encoding
    (document,) = find([str(path)], spool)
    assert (document.name, document.path, document.size) == (str(path), path, -1)
    assert contents(document) == contents(document) == b"some caf\xe9\r\n"


def test_find_of_several_files_keeps_their_order(tmp_path: Path, spool: Spool) -> None:
    given = [str(write_file(tmp_path / name)) for name in ("b.txt", "a.txt", "c.txt")]
    assert [document.name for document in find([*given, given[0]], spool)] == [*given, given[0]]


def test_find_of_a_relative_or_home_path_returns_it(
    tmp_path: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(tmp_path / "home" / "a.txt", b"at home")
    write_file(tmp_path / "work" / "b.txt", b"at work")
    write_file(tmp_path / "work" / "~" / "c.txt", b"not at home")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    documents = find(["~/a.txt", "b.txt", "./b.txt", "../home/a.txt", "~/*.txt", "./~/c.txt"], spool)
    assert [contents(document) for document in documents] == [
        b"at home", b"at work", b"at work", b"at home", b"at home", b"not at home",
    ]  # fmt: skip
    assert [document.name for document in documents[:4]] == ["~/a.txt", "b.txt", "./b.txt", "../home/a.txt"]


def test_find_in_a_folder_returns_sorted_files(tmp_path: Path, spool: Spool) -> None:
    for name in ("z.txt", "a.txt", "b/c/d.txt", "b/a.txt", "b/c.txt", "a.d/x", "Ä.txt", "B.txt"):
        write_file(tmp_path / name)
    documents = find([str(tmp_path)], spool)
    assert [str(document.path.relative_to(tmp_path)) for document in documents] == [
        "B.txt", "a.txt", "z.txt", "Ä.txt", "a.d/x", "b/a.txt", "b/c.txt", "b/c/d.txt",
    ]  # fmt: skip
    assert [document.name for document in documents] == [str(document.path) for document in documents]


def test_find_in_a_folder_skips_hidden_empty_and_binary_files(tmp_path: Path, spool: Spool) -> None:
    write_file(tmp_path / "text.txt")
    write_file(tmp_path / "latin.txt", b"caf\xe9")  # not UTF-8, but without NUL
    write_file(tmp_path / "packed.txt.gz", gzip.compress(TEXT))
    for name in (".hidden", ".git/config", "b/.cache/x.txt", ".x.txt.abc.part", "~$text.docx"):
        write_file(tmp_path / name)
    write_file(tmp_path / "empty.txt", b"")
    write_file(tmp_path / "image.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    write_file(tmp_path / "packed.bin.gz", gzip.compress(b"\0" * 100))
    (tmp_path / "gone.txt").symlink_to("nowhere")
    (tmp_path / "link.txt").symlink_to("text.txt")
    os.mkfifo(tmp_path / "pipe")  # opening it would block forever
    warnings: list[str] = []
    documents = find([str(tmp_path)], spool, warn=warnings.append)
    assert [document.path.name for document in documents] == ["latin.txt", "link.txt", "packed.txt.gz", "text.txt"]
    assert warnings == [
        f"{tmp_path}: 3 files left out: empty.txt (empty), image.png (PNG image), packed.bin.gz (binary data)"
    ]


def test_find_with_one_file_left_out_warns_in_the_singular(tmp_path: Path, spool: Spool) -> None:
    write_file(tmp_path / "text.txt")
    write_file(tmp_path / "empty.txt", b"")
    warnings: list[str] = []
    find([str(tmp_path)], spool, warn=warnings.append)
    assert warnings == [f"{tmp_path}: 1 file left out: empty.txt (empty)"]


def test_find_in_a_named_hidden_folder_returns_its_files(tmp_path: Path, spool: Spool) -> None:
    write_file(tmp_path / ".notes" / "a.txt")
    assert len(find([str(tmp_path / ".notes")], spool)) == 1


@pytest.mark.parametrize("name", ["", "image.png", ".hidden"])
def test_find_in_a_folder_without_text_raises(name: str, tmp_path: Path, spool: Spool) -> None:
    (tmp_path / "inner").mkdir()
    if name:
        write_file(tmp_path / "inner" / name, b"\0\0")
    with pytest.raises(DataError, match="has no text") as error:
        find([str(tmp_path)], spool)
    assert is_one_line(error)


def test_find_of_a_glob_returns_sorted_matches(tmp_path: Path, spool: Spool) -> None:
    for name in ("b.txt", "a.txt", "c.csv", "deep/er/d.txt", "c1.log", "c2.log", ".hidden.txt", "~$b.txt"):
        write_file(tmp_path / name)

    def found(pattern: str) -> list[str]:
        return [str(document.path.relative_to(tmp_path)) for document in find([f"{tmp_path}/{pattern}"], spool)]

    assert found("*.txt") == ["a.txt", "b.txt"]
    assert found("**/*.txt") == ["a.txt", "b.txt", "deep/er/d.txt"]
    assert found("c?.log") == ["c1.log", "c2.log"]
    assert found("[bc].*") == ["b.txt", "c.csv"]
    assert found("de*") == ["deep/er/d.txt"]  # a folder is walked here too
    assert found("**") == found("") and found("deep/**") == ["deep/er/d.txt"]  # once, though a folder matches too
    assert found("~$*") == ["~$b.txt"]  # the lock of an open document, if it is asked for


def test_find_of_an_existing_name_with_brackets_returns_the_file(tmp_path: Path, spool: Spool) -> None:
    write_file(tmp_path / "song [live].txt", b"brackets")
    (document,) = find([str(tmp_path / "song [live].txt")], spool)
    assert contents(document) == b"brackets"


def test_find_of_a_glob_reads_matches_as_files_whatever_their_names(
    tmp_path: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`~b.txt` is not in a home folder, and a file `-` not a pipe."""
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "~b.txt", "-", "hf:x", "~"):
        write_file(tmp_path / name, name.encode())
    assert [contents(document) for document in find(["*.txt"], spool)] == [b"a.txt", b"~b.txt"]
    everything = [b"-", b"a.txt", b"hf:x", b"~", b"~b.txt"]
    assert [contents(document) for document in find(["*"], spool)] == everything
    assert [contents(document) for document in find(["."], spool)] == everything
    assert [contents(document) for document in find(["./-", "./hf:x", "./~"], spool)] == [b"-", b"hf:x", b"~"]


def test_find_of_a_path_with_a_catalogue_name_returns_the_path(
    tmp_path: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (packaged,) = find(["python-topics"], spool)
    assert packaged.name == "python-topics"
    write_file(tmp_path / "python-topics", b"my own")
    (own,) = find(["python-topics"], spool)
    assert contents(own) == b"my own" != contents(packaged)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("none.txt", "no file or folder 'none.txt'"),
        ("no/such/file", "no file or folder"),
        ("/no/such", "no file or folder"),
        ("*.none", r"no file matches '\*\.none'"),
        ("a[b", "no file matches"),
        ("pythontopics", "did you mean 'python-topics'"),
        ("qqqqqqqqqqqqqq", "neither a file nor the name of a corpus"),
        ("", "''|empty"),  # as from "$UNSET"; Path("") would be the working directory
        ("x" * 300, "xxx"),
        ("./" + "x" * 300, "xxx"),
        ("~nobody-of-this-name/a.txt", "nobody-of-this-name"),
        ("a\0b", "b"),
    ],
)
def test_find_of_an_unknown_source_raises_one_line(
    source: str, complaint: str, tmp_path: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(tmp_path / "bystander.txt")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=complaint) as error:
        find([source], spool)
    assert is_one_line(error)


def test_find_of_standard_input_can_be_read_repeatedly(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(range(32, 127)) * 20000  # more than one chunk
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    (document,) = find(["-"], spool)
    assert document.name == "-"
    assert contents(document) == contents(document) == data
    assert b"".join(document.chunks(5, 1 << 21)) == data[5 : 1 << 21]


def test_find_of_standard_input_twice_raises(tmp_path: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"not read")))
    with pytest.raises(DataError, match="twice") as error:
        find(["-", str(write_file(tmp_path / "a.txt")), "-"], spool)
    assert is_one_line(error)
    assert sys.stdin.buffer.read() == b"not read"


def test_find_of_empty_or_closed_standard_input_raises(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(DataError, match="standard input is empty"):
        checksum_documents(find(["-"], spool))
    monkeypatch.setattr(sys, "stdin", None)
    with Spool() as another, pytest.raises(DataError, match="standard input is closed"):
        find(["-"], another)


@pytest.mark.skipif(not Path("/dev/zero").is_char_device(), reason="needs /dev/zero")
def test_find_of_an_endless_device_is_refused(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="'/dev/zero' is a device, which may never end"):
        find(["/dev/zero"], spool)
    with pytest.raises(DataError, match="'/dev/zero' is a device, which may never end"):
        read_whole("/dev/zero")
    with open("/dev/zero") as zero, monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", zero)
        with pytest.raises(DataError, match="standard input is a device, which may never end"):
            find(["-"], spool)
    with pytest.raises(DataError, match="'/dev/null' is empty"):
        checksum_documents(find(["/dev/null"], spool))


def test_spool_leaves_some_of_the_disk_free(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_CHECKED_BYTES", 100)
    free = iter([2 << 30, 1 << 30, 1 << 26])
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(total=1 << 40, free=next(free)))
    with pytest.raises(DataError, match=r"the data from a pipe: 315 bytes of it have all but filled the disk") as error:
        spool.store(itertools.repeat(b"endless"), "a pipe")
    assert is_one_line(error)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(total=1 << 30, free=1 << 26))
    spool.store([b"on a small disk"] * 9, "a pipe")


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="needs /dev/fd")
def test_find_of_a_named_pipe_can_be_read_repeatedly(spool: Spool) -> None:
    """For `seqgen train <(zcat x.gz)`, bash passes the name of a pipe, which can be read only once."""
    reader, writer = os.pipe()

    def write() -> None:
        with open(writer, "wb") as stream:
            stream.write(TEXT)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        (document,) = checksum_documents(find([f"/dev/fd/{reader}"], spool))
        assert document.size == len(TEXT)
        assert contents(document) == TEXT
        assert b"".join(document.chunks(5, 25)) == TEXT[5:25]
    finally:
        thread.join()
        os.close(reader)


def test_spool_after_the_command_is_removed(private_cache: Path) -> None:
    with Spool() as spool:
        first, second = spool.store([b"a", b"b"], "one"), spool.store([], "two")
        assert (first.read_bytes(), second.read_bytes()) == (b"ab", b"")
        assert private_cache in first.parents  # not in /tmp, which may be small
    assert not first.parent.exists()


def test_spool_on_a_full_disk_raises(private_cache: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"some"
        raise OSError(errno.ENOSPC, "No space left on device")

    with Spool() as spool, pytest.raises(DataError, match="the data from standard input: No space left") as error:
        spool.store(chunks(), "standard input")
    assert is_one_line(error)


def test_spool_in_a_read_only_cache_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQGEN_CACHE", str(write_file(tmp_path / "file")))
    with Spool() as spool, pytest.raises(DataError, match="cannot store") as error:
        spool.store([b"a"], "standard input")
    assert is_one_line(error)


# ---- Documents ----


@pytest.mark.parametrize("suffix", COMPRESSORS)
@QUICK
@given(data=st.text(max_size=200).map(str.encode), start=st.integers(0, 450), stop=st.none() | st.integers(0, 450))
def test_document_chunks_of_a_range_are_that_slice(
    scratch: Path, suffix: str, data: bytes, start: int, stop: int | None
) -> None:
    path = write_file(scratch / f"data{suffix}", COMPRESSORS[suffix](data))
    document = Document("data", path)
    assert b"".join(document.chunks(start, stop)) == data[start:stop]
    assert all(document.chunks(start, stop))  # no chunk is empty


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_document_chunks_of_a_large_file_are_that_slice(suffix: str, tmp_path: Path) -> None:
    data = b"".join(b"%08d" % number for number in range(400_000))  # 3.2 MB
    document = Document("data", write_file(tmp_path / f"data{suffix}", COMPRESSORS[suffix](data)))
    million = 1 << 20
    for start, stop in [
        (0, None), (0, million), (million, 2 * million), (million - 1, million + 1), (5, 2 * million + 5),
        (3_199_999, None), (3_200_000, None), (0, 0), (7, 7), (2 * million, 3), (0, 1 << 40),
    ]:  # fmt: skip
        assert b"".join(document.chunks(start, stop)) == data[start:stop]


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_checksum_documents_of_compressed_files_are_those_of_the_contents(suffix: str, tmp_path: Path) -> None:
    (document,) = checksum_documents([Document("d", write_file(tmp_path / f"data{suffix}", COMPRESSORS[suffix](TEXT)))])
    assert (document.size, document.sha256) == (len(TEXT), hashlib.sha256(TEXT).hexdigest())
    assert (document.name, document.path) == ("d", tmp_path / f"data{suffix}")


def test_checksum_documents_skips_empty_ones_with_a_warning(tmp_path: Path) -> None:
    empty, full = write_file(tmp_path / "empty.txt", b""), write_file(tmp_path / "full.txt")
    packed = write_file(tmp_path / "packed.gz", gzip.compress(b""))
    warnings: list[str] = []
    documents = [Document(str(path), path) for path in (empty, full, packed)]
    assert [document.path for document in checksum_documents(documents, warnings.append)] == [full]
    assert warnings == [f"'{empty}' is empty, and is skipped", f"'{packed}' is empty, and is skipped"]
    with pytest.raises(DataError, match=r"empty\.txt.*packed\.gz.* is empty") as error:
        checksum_documents([documents[0], documents[2]])
    assert is_one_line(error)
    with pytest.raises(DataError, match="empty"):
        checksum_documents([])


@pytest.mark.parametrize("suffix", [suffix for suffix in COMPRESSORS if suffix])
@pytest.mark.parametrize("inside", ["file", "folder", "glob"])
def test_checksum_documents_of_a_truncated_file_raises_with_its_name(
    suffix: str, inside: str, tmp_path: Path, spool: Spool
) -> None:
    """Also in a folder: a damaged file must not be skipped as binary."""
    whole = COMPRESSORS[suffix](os.urandom(5000).hex().encode())
    path = write_file(tmp_path / f"cut{suffix}", whole[: len(whole) // 2])
    write_file(tmp_path / "whole.txt")
    source = {"file": str(path), "folder": str(tmp_path), "glob": f"{tmp_path}/*"}[inside]
    with pytest.raises(DataError, match=f"cut\\{suffix}") as error:
        checksum_documents(find([source], spool))
    assert is_one_line(error)


def test_fingerprint_depends_on_contents_and_their_order(tmp_path: Path) -> None:
    def of(*parts: bytes, name: str = "x") -> str:
        paths = [write_file(tmp_path / f"{name}{number}.txt", part) for number, part in enumerate(parts)]
        return fingerprint(checksum_documents(Document(str(path), path) for path in paths))

    base = of(b"one", b"two")
    assert base == of(b"one", b"two", name="another")
    assert len({base, of(b"two", b"one"), of(b"onetwo"), of(b"one", b"two", b"three"), of(b"on", b"etwo")}) == 5
