"""Sources: files, folders, globs, pipes and compressed files, and their documents."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqgen.corpus import sources
from seqgen.corpus.sources import Document, Spool, checksum_documents, find, fingerprint
from seqgen.errors import DataError, UserError
from tests.helpers.documents import COMPRESSORS, QUICK, TEXT, contents, is_one_line, write_file


@pytest.fixture
def spool() -> Iterator[Spool]:
    with Spool() as spool:
        yield spool


# ---- What a source is ----


def test_a_file_is_one_document(tmp_path: Path, spool: Spool) -> None:
    path = write_file(tmp_path / "a.txt", b"caf\xe9\r\n\0")  # named by the person: taken as it is, be it binary or not
    (document,) = find([str(path)], spool)
    assert (document.name, document.path, document.size) == (str(path), path, -1)
    assert contents(document) == contents(document) == b"caf\xe9\r\n\0"


def test_documents_come_in_the_order_given(tmp_path: Path, spool: Spool) -> None:
    given = [str(write_file(tmp_path / name)) for name in ("b.txt", "a.txt", "c.txt")]
    assert [document.name for document in find([*given, given[0]], spool)] == [*given, given[0]]


def test_a_name_may_be_relative_or_begin_at_home(tmp_path: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_folder_is_walked_in_sorted_order(tmp_path: Path, spool: Spool) -> None:
    for name in ("z.txt", "a.txt", "b/c/d.txt", "b/a.txt", "b/c.txt", "a.d/x", "Ä.txt", "B.txt"):
        write_file(tmp_path / name)
    documents = find([str(tmp_path)], spool)
    assert [str(document.path.relative_to(tmp_path)) for document in documents] == [
        "B.txt", "a.txt", "z.txt", "Ä.txt", "a.d/x", "b/a.txt", "b/c.txt", "b/c/d.txt",
    ]  # fmt: skip
    assert [document.name for document in documents] == [str(document.path) for document in documents]


def test_a_folder_gives_no_hidden_empty_or_binary_file(tmp_path: Path, spool: Spool) -> None:
    write_file(tmp_path / "text.txt")
    write_file(tmp_path / "latin.txt", b"caf\xe9")  # no UTF-8, but no NUL either
    write_file(tmp_path / "packed.txt.gz", gzip.compress(TEXT))
    for name in (".hidden", ".git/config", "b/.cache/x.txt", ".x.txt.abc.part"):
        write_file(tmp_path / name)
    write_file(tmp_path / "empty.txt", b"")
    write_file(tmp_path / "image.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    write_file(tmp_path / "packed.bin.gz", gzip.compress(b"\0" * 100))
    (tmp_path / "gone.txt").symlink_to("nowhere")
    (tmp_path / "link.txt").symlink_to("text.txt")
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    warnings: list[str] = []
    documents = find([str(tmp_path)], spool, warn=warnings.append)
    assert [document.path.name for document in documents] == ["latin.txt", "link.txt", "packed.txt.gz", "text.txt"]
    assert warnings == [f"{tmp_path}: 3 files skipped: empty, or not text"]


def test_one_file_passed_over_is_one_file(tmp_path: Path, spool: Spool) -> None:
    write_file(tmp_path / "text.txt")
    write_file(tmp_path / "empty.txt", b"")
    warnings: list[str] = []
    find([str(tmp_path)], spool, warn=warnings.append)
    assert warnings == [f"{tmp_path}: 1 file skipped: empty, or not text"]


def test_a_hidden_folder_that_is_named_is_walked(tmp_path: Path, spool: Spool) -> None:
    write_file(tmp_path / ".notes" / "a.txt")
    assert len(find([str(tmp_path / ".notes")], spool)) == 1


@pytest.mark.parametrize("name", ["", "image.png", ".hidden"])
def test_a_folder_without_text_is_a_data_error(name: str, tmp_path: Path, spool: Spool) -> None:
    (tmp_path / "inner").mkdir()
    if name:
        write_file(tmp_path / "inner" / name, b"\0\0")
    with pytest.raises(DataError, match="has no text") as error:
        find([str(tmp_path)], spool)
    assert is_one_line(error)


def test_a_glob_gives_its_matches_sorted(tmp_path: Path, spool: Spool) -> None:
    for name in ("b.txt", "a.txt", "c.csv", "deep/er/d.txt", "c1.log", "c2.log", ".hidden.txt"):
        write_file(tmp_path / name)

    def found(pattern: str) -> list[str]:
        return [str(document.path.relative_to(tmp_path)) for document in find([f"{tmp_path}/{pattern}"], spool)]

    assert found("*.txt") == ["a.txt", "b.txt"]
    assert found("**/*.txt") == ["a.txt", "b.txt", "deep/er/d.txt"]
    assert found("c?.log") == ["c1.log", "c2.log"]
    assert found("[bc].*") == ["b.txt", "c.csv"]
    assert found("de*") == ["deep/er/d.txt"]  # a folder is walked here too


def test_a_name_with_brackets_is_a_file_first(tmp_path: Path, spool: Spool) -> None:
    write_file(tmp_path / "song [live].txt", b"brackets")
    (document,) = find([str(tmp_path / "song [live].txt")], spool)
    assert contents(document) == b"brackets"


def test_what_a_glob_matches_is_a_file_whatever_its_name(
    tmp_path: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`~$a.txt` is what an office program leaves beside an open a.txt; it is nobody's home, and `-` no pipe."""
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "~$a.txt", "-", "hf:x", "~"):
        write_file(tmp_path / name, name.encode())
    assert [contents(document) for document in find(["*.txt"], spool)] == [b"a.txt", b"~$a.txt"]
    everything = [b"-", b"a.txt", b"hf:x", b"~", b"~$a.txt"]
    assert [contents(document) for document in find(["*"], spool)] == everything
    assert [contents(document) for document in find(["."], spool)] == everything
    assert [contents(document) for document in find(["./-", "./hf:x", "./~"], spool)] == [b"-", b"hf:x", b"~"]


def test_what_is_on_the_disk_wins_over_the_catalogue(
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
        ("", "''|empty"),  # as of "$UNSET"; Path("") is the working folder, and nobody asked for that
        ("x" * 300, "xxx"),
        ("./" + "x" * 300, "xxx"),
        ("~nobody-of-this-name/a.txt", "nobody-of-this-name"),
        ("a\0b", "b"),
    ],
)
def test_a_source_that_is_nothing_is_one_line(
    source: str, complaint: str, tmp_path: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(tmp_path / "bystander.txt")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=complaint) as error:
        find([source], spool)
    assert is_one_line(error)


def test_standard_input_is_kept_and_read_as_often_as_needed(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(range(256)) * 9000  # more than one chunk
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    (document,) = find(["-"], spool)
    assert document.name == "-"
    assert contents(document) == contents(document) == data
    assert b"".join(document.chunks(5, 1 << 21)) == data[5 : 1 << 21]


def test_standard_input_given_twice_is_a_data_error(
    tmp_path: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"not read")))
    with pytest.raises(DataError, match="twice") as error:
        find(["-", str(write_file(tmp_path / "a.txt")), "-"], spool)
    assert is_one_line(error)
    assert sys.stdin.buffer.read() == b"not read"


def test_standard_input_that_is_empty_or_closed_is_a_data_error(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(DataError, match="standard input is empty"):
        checksum_documents(find(["-"], spool))
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(DataError, match="standard input is closed"):
        find(["-"], spool)


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="needs /dev/fd")
def test_a_pipe_with_a_name_is_read_as_often_as_needed(spool: Spool) -> None:
    """`seqgen train <(zcat x.gz)`: bash gives the name of a pipe, which can be read once only."""
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


def test_a_spool_is_gone_when_the_command_ends(private_cache: Path) -> None:
    with Spool() as spool:
        first, second = spool.keep([b"a", b"b"], "one"), spool.keep([], "two")
        assert (first.read_bytes(), second.read_bytes()) == (b"ab", b"")
        assert private_cache in first.parents  # not in a /tmp that may be small
    assert not first.parent.exists()


def test_a_spool_on_a_full_disk_is_a_data_error(private_cache: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"some"
        raise OSError(errno.ENOSPC, "No space left on device")

    with Spool() as spool, pytest.raises(DataError, match="the data from standard input: No space left") as error:
        spool.keep(chunks(), "standard input")
    assert is_one_line(error)


def test_a_cache_that_cannot_be_written_is_a_data_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQGEN_CACHE", str(write_file(tmp_path / "file")))
    with Spool() as spool, pytest.raises(DataError, match="cannot store") as error:
        spool.keep([b"a"], "standard input")
    assert is_one_line(error)


# ---- Documents ----


@pytest.mark.parametrize("suffix", COMPRESSORS)
@QUICK
@given(data=st.binary(max_size=400), start=st.integers(0, 450), stop=st.none() | st.integers(0, 450))
def test_chunks_are_slices(scratch: Path, suffix: str, data: bytes, start: int, stop: int | None) -> None:
    path = write_file(scratch / f"data{suffix}", COMPRESSORS[suffix](data))
    document = Document("data", path)
    assert b"".join(document.chunks(start, stop)) == data[start:stop]
    assert all(document.chunks(start, stop))  # no chunk is empty


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_chunks_are_slices_of_what_is_larger_than_a_chunk(suffix: str, tmp_path: Path) -> None:
    data = b"".join(b"%08d" % number for number in range(400_000))  # 3.2 MB
    document = Document("data", write_file(tmp_path / f"data{suffix}", COMPRESSORS[suffix](data)))
    million = 1 << 20
    for start, stop in [
        (0, None), (0, million), (million, 2 * million), (million - 1, million + 1), (5, 2 * million + 5),
        (3_199_999, None), (3_200_000, None), (0, 0), (7, 7), (2 * million, 3), (0, 1 << 40),
    ]:  # fmt: skip
        assert b"".join(document.chunks(start, stop)) == data[start:stop]


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_measuring_reads_what_is_inside(suffix: str, tmp_path: Path) -> None:
    (document,) = checksum_documents([Document("d", write_file(tmp_path / f"data{suffix}", COMPRESSORS[suffix](TEXT)))])
    assert (document.size, document.sha256) == (len(TEXT), hashlib.sha256(TEXT).hexdigest())
    assert (document.name, document.path) == ("d", tmp_path / f"data{suffix}")


def test_empty_documents_are_left_out_and_told_of(tmp_path: Path) -> None:
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
def test_a_truncated_file_is_told_of_by_name(suffix: str, inside: str, tmp_path: Path, spool: Spool) -> None:
    """Also in a folder: a damaged file must not be passed over as if it were no text."""
    whole = COMPRESSORS[suffix](os.urandom(5000).hex().encode())
    path = write_file(tmp_path / f"cut{suffix}", whole[: len(whole) // 2])
    write_file(tmp_path / "whole.txt")
    source = {"file": str(path), "folder": str(tmp_path), "glob": f"{tmp_path}/*"}[inside]
    with pytest.raises(DataError, match=f"cut\\{suffix}") as error:
        checksum_documents(find([source], spool))
    assert is_one_line(error)


def test_a_fingerprint_is_of_contents_and_their_order(tmp_path: Path) -> None:
    def of(*parts: bytes, name: str = "x") -> str:
        paths = [write_file(tmp_path / f"{name}{number}.txt", part) for number, part in enumerate(parts)]
        return fingerprint(checksum_documents(Document(str(path), path) for path in paths))

    base = of(b"one", b"two")
    assert base == of(b"one", b"two", name="another")
    assert len({base, of(b"two", b"one"), of(b"onetwo"), of(b"one", b"two", b"three"), of(b"on", b"etwo")}) == 5


# ---- What a file is ----


def test_looking_at_a_file_tells_text_from_binary(tmp_path: Path) -> None:
    for data, text in [(b"a", True), (b"", False), (b"a\0", False), (b"a" * 9000 + b"\0", True), (b"\xff\xfe", True)]:
        assert sources.looks_like_text(write_file(tmp_path / "file", data)) is text
