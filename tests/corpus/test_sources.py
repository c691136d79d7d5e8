"""From a SOURCE on the command line to documents, parts and ids on the disk."""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import io
import json
import lzma
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from seqgen.corpus import ids, sources, split
from seqgen.corpus.sources import Document, Spool, checksum_documents, find, fingerprint
from seqgen.corpus.split import MIN_HELD_OUT_BYTES, MIN_SPLIT_BYTES, DocumentSpan, hold_out
from seqgen.errors import DataError, UserError

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}
QUICK = settings(max_examples=60, deadline=None)
TEXT = b"a line of text\n" * 40


@pytest.fixture
def spool() -> Iterator[Spool]:
    with Spool() as spool:
        yield spool


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for Hypothesis, whose examples write over one another's files."""
    return tmp_path_factory.mktemp("scratch")


def contents(document: Document | DocumentSpan) -> bytes:
    return b"".join(document.chunks())


def one_line(error: pytest.ExceptionInfo[BaseException]) -> bool:
    message = str(error.value)
    return bool(message) and "\n" not in message and len(message) < 400


def put(path: Path, data: bytes = TEXT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# ---- What a source is ----


def test_a_file_is_one_document(tmp_path: Path, spool: Spool) -> None:
    path = put(tmp_path / "a.txt", b"caf\xe9\r\n\0")  # named by the person: taken as it is, be it binary or not
    (document,) = find([str(path)], spool)
    assert (document.name, document.path, document.size) == (str(path), path, -1)
    assert contents(document) == contents(document) == b"caf\xe9\r\n\0"


def test_documents_come_in_the_order_given(tmp_path: Path, spool: Spool) -> None:
    given = [str(put(tmp_path / name)) for name in ("b.txt", "a.txt", "c.txt")]
    assert [document.name for document in find([*given, given[0]], spool)] == [*given, given[0]]


def test_a_name_may_be_relative_or_begin_at_home(tmp_path: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "home" / "a.txt", b"at home")
    put(tmp_path / "work" / "b.txt", b"at work")
    put(tmp_path / "work" / "~" / "c.txt", b"not at home")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    documents = find(["~/a.txt", "b.txt", "./b.txt", "../home/a.txt", "~/*.txt", "./~/c.txt"], spool)
    assert [contents(document) for document in documents] == [
        b"at home", b"at work", b"at work", b"at home", b"at home", b"not at home",
    ]  # fmt: skip
    assert [document.name for document in documents[:4]] == ["~/a.txt", "b.txt", "./b.txt", "../home/a.txt"]


def test_a_folder_is_walked_in_sorted_order(tmp_path: Path, spool: Spool) -> None:
    for name in ("z.txt", "a.txt", "b/c/d.txt", "b/a.txt", "b/c.txt", "a.d/x", "Ä.txt", "B.txt"):
        put(tmp_path / name)
    documents = find([str(tmp_path)], spool)
    assert [str(document.path.relative_to(tmp_path)) for document in documents] == [
        "B.txt", "a.txt", "z.txt", "Ä.txt", "a.d/x", "b/a.txt", "b/c.txt", "b/c/d.txt",
    ]  # fmt: skip
    assert [document.name for document in documents] == [str(document.path) for document in documents]


def test_a_folder_gives_no_hidden_empty_or_binary_file(tmp_path: Path, spool: Spool) -> None:
    put(tmp_path / "text.txt")
    put(tmp_path / "latin.txt", b"caf\xe9")  # no UTF-8, but no NUL either
    put(tmp_path / "packed.txt.gz", gzip.compress(TEXT))
    for name in (".hidden", ".git/config", "b/.cache/x.txt", ".x.txt.abc.part"):
        put(tmp_path / name)
    put(tmp_path / "empty.txt", b"")
    put(tmp_path / "image.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    put(tmp_path / "packed.bin.gz", gzip.compress(b"\0" * 100))
    (tmp_path / "gone.txt").symlink_to("nowhere")
    (tmp_path / "link.txt").symlink_to("text.txt")
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    warnings: list[str] = []
    documents = find([str(tmp_path)], spool, warn=warnings.append)
    assert [document.path.name for document in documents] == ["latin.txt", "link.txt", "packed.txt.gz", "text.txt"]
    assert warnings == [f"{tmp_path}: 3 files passed over: empty, or not text"]


def test_one_file_passed_over_is_one_file(tmp_path: Path, spool: Spool) -> None:
    put(tmp_path / "text.txt")
    put(tmp_path / "empty.txt", b"")
    warnings: list[str] = []
    find([str(tmp_path)], spool, warn=warnings.append)
    assert warnings == [f"{tmp_path}: 1 file passed over: empty, or not text"]


def test_a_hidden_folder_that_is_named_is_walked(tmp_path: Path, spool: Spool) -> None:
    put(tmp_path / ".notes" / "a.txt")
    assert len(find([str(tmp_path / ".notes")], spool)) == 1


@pytest.mark.parametrize("name", ["", "image.png", ".hidden"])
def test_a_folder_without_text_is_a_data_error(name: str, tmp_path: Path, spool: Spool) -> None:
    (tmp_path / "inner").mkdir()
    if name:
        put(tmp_path / "inner" / name, b"\0\0")
    with pytest.raises(DataError, match="holds no text") as error:
        find([str(tmp_path)], spool)
    assert one_line(error)


def test_a_glob_gives_its_matches_sorted(tmp_path: Path, spool: Spool) -> None:
    for name in ("b.txt", "a.txt", "c.csv", "deep/er/d.txt", "c1.log", "c2.log", ".hidden.txt"):
        put(tmp_path / name)

    def found(pattern: str) -> list[str]:
        return [str(document.path.relative_to(tmp_path)) for document in find([f"{tmp_path}/{pattern}"], spool)]

    assert found("*.txt") == ["a.txt", "b.txt"]
    assert found("**/*.txt") == ["a.txt", "b.txt", "deep/er/d.txt"]
    assert found("c?.log") == ["c1.log", "c2.log"]
    assert found("[bc].*") == ["b.txt", "c.csv"]
    assert found("de*") == ["deep/er/d.txt"]  # a folder is walked here too


def test_a_name_with_brackets_is_a_file_first(tmp_path: Path, spool: Spool) -> None:
    put(tmp_path / "song [live].txt", b"brackets")
    (document,) = find([str(tmp_path / "song [live].txt")], spool)
    assert contents(document) == b"brackets"


def test_what_a_glob_matches_is_a_file_whatever_its_name(
    tmp_path: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`~$a.txt` is what an office program leaves beside an open a.txt; it is nobody's home, and `-` no pipe."""
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "~$a.txt", "-", "hf:x", "~"):
        put(tmp_path / name, name.encode())
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
    put(tmp_path / "python-topics", b"my own")
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
    put(tmp_path / "bystander.txt")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=complaint) as error:
        find([source], spool)
    assert one_line(error)


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
        find(["-", str(put(tmp_path / "a.txt")), "-"], spool)
    assert one_line(error)
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

    with Spool() as spool, pytest.raises(DataError, match="standard input gave: No space left") as error:
        spool.keep(chunks(), "standard input")
    assert one_line(error)


def test_a_cache_that_cannot_be_written_is_a_data_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQGEN_CACHE", str(put(tmp_path / "file")))
    with Spool() as spool, pytest.raises(DataError, match="cannot keep") as error:
        spool.keep([b"a"], "standard input")
    assert one_line(error)


# ---- Documents ----


@pytest.mark.parametrize("suffix", PACKERS)
@QUICK
@given(data=st.binary(max_size=400), start=st.integers(0, 450), stop=st.none() | st.integers(0, 450))
def test_chunks_are_slices(scratch: Path, suffix: str, data: bytes, start: int, stop: int | None) -> None:
    path = put(scratch / f"data{suffix}", PACKERS[suffix](data))
    document = Document("data", path)
    assert b"".join(document.chunks(start, stop)) == data[start:stop]
    assert all(document.chunks(start, stop))  # no chunk is empty


@pytest.mark.parametrize("suffix", PACKERS)
def test_chunks_are_slices_of_what_is_larger_than_a_chunk(suffix: str, tmp_path: Path) -> None:
    data = b"".join(b"%08d" % number for number in range(400_000))  # 3.2 MB
    document = Document("data", put(tmp_path / f"data{suffix}", PACKERS[suffix](data)))
    million = 1 << 20
    for start, stop in [
        (0, None), (0, million), (million, 2 * million), (million - 1, million + 1), (5, 2 * million + 5),
        (3_199_999, None), (3_200_000, None), (0, 0), (7, 7), (2 * million, 3), (0, 1 << 40),
    ]:  # fmt: skip
        assert b"".join(document.chunks(start, stop)) == data[start:stop]


@pytest.mark.parametrize("suffix", PACKERS)
def test_measuring_reads_what_is_inside(suffix: str, tmp_path: Path) -> None:
    (document,) = checksum_documents([Document("d", put(tmp_path / f"data{suffix}", PACKERS[suffix](TEXT)))])
    assert (document.size, document.sha256) == (len(TEXT), hashlib.sha256(TEXT).hexdigest())
    assert (document.name, document.path) == ("d", tmp_path / f"data{suffix}")


def test_empty_documents_are_left_out_and_told_of(tmp_path: Path) -> None:
    empty, full = put(tmp_path / "empty.txt", b""), put(tmp_path / "full.txt")
    packed = put(tmp_path / "packed.gz", gzip.compress(b""))
    warnings: list[str] = []
    documents = [Document(str(path), path) for path in (empty, full, packed)]
    assert [document.path for document in checksum_documents(documents, warnings.append)] == [full]
    assert warnings == [f"'{empty}' is empty, and left out", f"'{packed}' is empty, and left out"]
    with pytest.raises(DataError, match=r"empty\.txt.*packed\.gz.* is empty") as error:
        checksum_documents([documents[0], documents[2]])
    assert one_line(error)
    with pytest.raises(DataError, match="empty"):
        checksum_documents([])


@pytest.mark.parametrize("suffix", [suffix for suffix in PACKERS if suffix])
@pytest.mark.parametrize("inside", ["file", "folder", "glob"])
def test_a_truncated_file_is_told_of_by_name(suffix: str, inside: str, tmp_path: Path, spool: Spool) -> None:
    """Also in a folder: a damaged file must not be passed over as if it were no text."""
    whole = PACKERS[suffix](os.urandom(5000).hex().encode())
    path = put(tmp_path / f"cut{suffix}", whole[: len(whole) // 2])
    put(tmp_path / "whole.txt")
    source = {"file": str(path), "folder": str(tmp_path), "glob": f"{tmp_path}/*"}[inside]
    with pytest.raises(DataError, match=f"cut\\{suffix}") as error:
        checksum_documents(find([source], spool))
    assert one_line(error)


def test_a_fingerprint_is_of_contents_and_their_order(tmp_path: Path) -> None:
    def of(*parts: bytes, name: str = "x") -> str:
        paths = [put(tmp_path / f"{name}{number}.txt", part) for number, part in enumerate(parts)]
        return fingerprint(checksum_documents(Document(str(path), path) for path in paths))

    base = of(b"one", b"two")
    assert base == of(b"one", b"two", name="another")
    assert len({base, of(b"two", b"one"), of(b"onetwo"), of(b"one", b"two", b"three"), of(b"on", b"etwo")}) == 5


# ---- What is held out ----

# Written as unit × count, so that an example says what it is; the units are of 1 to 4 bytes, and one is no UTF-8.
DOCUMENTS = st.lists(
    st.builds(
        lambda unit, size, start: (start + unit * (size // len(unit) + 1))[: max(size, 1)],
        st.sampled_from([b"a", b"the quay\n", "é".encode(), "中文，".encode(), "😀".encode(), b"\x80", b"\xff\x80"]),
        st.integers(1, 300) | st.integers(MIN_SPLIT_BYTES - 5, MIN_SPLIT_BYTES + 5) | st.integers(1, 12_000),
        st.sampled_from([b"", b"x", b"xy"]),
    ),
    min_size=1,
    max_size=6,
)
FRACTIONS = st.floats(0.001, 0.9) | st.sampled_from([0.1, 0.5, 0.9, 1e-9])


def written(scratch: Path, texts: list[bytes]) -> list[Document]:
    return [
        Document(str(number), put(scratch / f"{number}.txt", text), len(text), "") for number, text in enumerate(texts)
    ]


def whole_characters(text: bytes) -> bytes:
    return text.decode("utf-8", "ignore").encode()


@QUICK
@given(texts=DOCUMENTS, fraction=FRACTIONS)
@example(texts=[b"x" * 105], fraction=0.1)
@example(texts=[b"x" * 64], fraction=0.015)
def test_train_and_held_out_are_the_whole(scratch: Path, texts: list[bytes], fraction: float) -> None:
    """Every byte is on one side, and one side only; nothing is lost, whatever the sizes."""
    documents = written(scratch, texts)
    train, held_out = hold_out(documents, fraction)
    for document, text in zip(documents, texts, strict=True):
        own = [part for part in [*train, *held_out] if part.document == document]
        assert b"".join(map(contents, own)) == text
        assert [part.start for part in own] == [0, *(part.stop for part in own[:-1])]
        assert own[-1].stop == document.size
        assert [part.ends_document for part in own] == [False] * (len(own) - 1) + [True]


@QUICK
@given(texts=DOCUMENTS, fraction=FRACTIONS)
def test_parts_stand_in_the_order_of_the_documents(scratch: Path, texts: list[bytes], fraction: float) -> None:
    train, held_out = hold_out(written(scratch, texts), fraction)
    assert train
    for side in (train, held_out):
        order = [int(part.document.name) for part in side]
        assert order == sorted(set(order))
        assert all(part.size > 0 for part in side)
        assert all(part.size == len(contents(part)) for part in side)


@QUICK
@given(texts=DOCUMENTS, fraction=FRACTIONS)
@example(texts=["中".encode() * 50], fraction=0.0134)  # the cut falls inside the last character
@example(texts=["😀".encode() * 1500], fraction=0.0004)
def test_no_character_is_cut_in_two(scratch: Path, texts: list[bytes], fraction: float) -> None:
    texts = [whole_characters(text) or b"x" for text in texts]
    for side in hold_out(written(scratch, texts), fraction):
        for part in side:
            contents(part).decode()  # strict: may raise


@QUICK
@given(texts=DOCUMENTS, fraction=FRACTIONS)
def test_small_documents_are_not_cut(scratch: Path, texts: list[bytes], fraction: float) -> None:
    assume(len(texts) > 1)
    for side in hold_out(written(scratch, texts), fraction):
        for part in side:
            assert part.document.size >= MIN_SPLIT_BYTES or (part.start == 0 and part.ends_document)


@QUICK
@given(texts=DOCUMENTS, fraction=FRACTIONS)
def test_about_the_fraction_is_held_out(scratch: Path, texts: list[bytes], fraction: float) -> None:
    total = sum(map(len, texts))
    _, held_out = hold_out(written(scratch, texts), fraction)
    held = sum(part.size for part in held_out)
    assert held <= fraction * total + 1e-6
    # Less only by what a character's border, a part too small to measure on, or a document not yet owed takes.
    assert held >= fraction * total - (4 + MIN_HELD_OUT_BYTES) * len(texts) - (MIN_SPLIT_BYTES if len(texts) > 1 else 0)


@pytest.mark.parametrize("unit", ["a", "中"])
def test_a_longer_lone_document_holds_out_no_less(unit: str, scratch: Path) -> None:
    """Whether a part is held out must not hang on how a product was rounded, or on where a character ends."""
    sizes = []
    for count in range(20, 900, 7):
        (document,) = written(scratch, [unit.encode() * count])
        _, held_out = hold_out([document], 0.1)
        sizes.append(sum(part.size for part in held_out))
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_compressed_document_is_cut_by_the_size_of_what_is_inside(suffix: str, tmp_path: Path) -> None:
    text = "月落烏啼霜滿天，江楓漁火對愁眠。\n".encode() * 300
    documents = checksum_documents([Document("poem", put(tmp_path / f"poem{suffix}", PACKERS[suffix](text)))])
    (train,), (held,) = hold_out(documents, 0.1)
    assert contents(train) + contents(held) == text
    assert contents(train).decode() + contents(held).decode() == text.decode()
    assert 0.09 * len(text) < held.size <= 0.1 * len(text)


def test_nothing_is_held_out_of_nothing_asked(scratch: Path) -> None:
    documents = written(scratch, [b"x" * 10_000, b"y"])
    assert hold_out(documents, 0) == hold_out(documents, 0.0) == (split.full_spans(documents), [])
    assert [(part.start, part.stop, part.ends_document) for part in split.full_spans(documents)] == [
        (0, 10_000, True), (0, 1, True),
    ]  # fmt: skip


def test_of_many_small_documents_every_tenth_is_held_out(scratch: Path) -> None:
    train, held_out = hold_out(written(scratch, [b"p" * 100] * 40), 0.1)
    assert len(train) + len(held_out) == 40
    assert len(held_out) in (3, 4)  # what is owed is a sum of tenths, which floats round
    gaps = np.diff([int(part.document.name) for part in held_out])
    assert (gaps >= 9).all()  # spread over the corpus, not from its end only


# ---- Ids on the disk ----


@pytest.mark.parametrize(
    ("vocab_size", "kind"),
    [(2, "uint8"), (256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "uint32"), (1 << 20, "uint32")],
)
def test_ids_come_back_in_the_narrowest_type(vocab_size: int, kind: str, tmp_path: Path) -> None:
    top, end = vocab_size - 1, vocab_size - 2
    pieces = [np.array([0, top], dtype=np.int32), np.empty(0, dtype=np.int32), np.array([top], dtype=np.int32)]
    path = tmp_path / "new" / "x.ids"
    built = ids.build(path, [(iter(pieces), True), ([], True), ([pieces[0]], True)], vocab_size, end)
    stored = ids.load(path)
    assert stored is not None
    for stream in (built, stored):
        assert stream.ids.dtype == np.dtype(kind) == ids.id_dtype(vocab_size)
        assert stream.ids.tolist() == [end, 0, top, top, end, end, 0, top]
        assert len(stream) == 8
        assert stream.false_ends.tolist() == []
        assert stream.false_ends.dtype == np.int64
    assert path.stat().st_size == 8 * np.dtype(kind).itemsize
    assert isinstance(stored.ids, np.memmap)  # a corpus may be larger than the memory
    assert {each.name for each in path.parent.iterdir()} == {"x.ids", "x.json"}


@given(parts=st.lists(st.tuples(st.lists(st.lists(st.integers(1, 299), max_size=4), max_size=3), st.booleans()),
                      min_size=1, max_size=5))  # fmt: skip
@QUICK
def test_false_ends_are_where_a_cut_part_is_followed(scratch: Path, parts: list[tuple[list[list[int]], bool]]) -> None:
    arrays = [([np.array(piece, dtype=np.int32) for piece in pieces], whole) for pieces, whole in parts]
    stream = ids.build(scratch / "x.ids", iter(arrays), 300, 0)
    expected: list[int] = []
    starts = []
    for pieces, _ in parts:
        starts.append(len(expected))
        expected += [0, *(token for piece in pieces for token in piece)]
    assert stream.ids.tolist() == expected
    # The `end` that follows a part announces the next one; what follows the last is place 0.
    following = [*starts[1:], 0]
    cut = sorted(place for place, (_, whole) in zip(following, parts, strict=True) if not whole)
    assert stream.false_ends.tolist() == cut
    assert all(stream.ids[place] == 0 for place in stream.false_ends)


def built(folder: Path) -> Path:
    path = folder / "x.ids"
    ids.build(path, [([np.arange(100, dtype=np.int32)], False)], 300, 299)
    return path


@pytest.mark.parametrize("size", [0, 1, 201, 203, 400])
def test_ids_of_another_length_are_not_loaded(size: int, tmp_path: Path) -> None:
    path = built(tmp_path)
    path.write_bytes((path.read_bytes() * 2)[:size])
    assert ids.load(path) is None


def test_missing_files_are_not_loaded(tmp_path: Path) -> None:
    assert ids.load(tmp_path / "x.ids") is None
    path = built(tmp_path)
    assert ids.load(path) is not None
    path.with_suffix(".json").rename(tmp_path / "away")
    assert ids.load(path) is None
    (tmp_path / "away").rename(path.with_suffix(".json"))
    path.unlink()
    assert ids.load(path) is None


INDEX = {"dtype": "uint16", "tokens": 101, "false_ends": [0]}


@pytest.mark.parametrize(
    "index",
    [
        b"", b"{", b"\xff", b"[]", b"null", b"7", b'"x"',
        *(
            json.dumps({**INDEX, **changes}).encode()
            for changes in (
                {"dtype": "uint8"}, {"dtype": "uint32"}, {"dtype": "int16"}, {"dtype": "float16"}, {"dtype": "O"},
                {"dtype": "nonsense"}, {"dtype": 7}, {"dtype": None}, {"dtype": []},
                {"tokens": 100}, {"tokens": -1}, {"tokens": 0}, {"tokens": "101"}, {"tokens": None},
                {"tokens": 101.0}, {"tokens": [101]}, {"false_ends": None}, {"false_ends": "0"},
                {"false_ends": 0}, {"false_ends": [101]}, {"false_ends": [-1]}, {"false_ends": [[0]]},
                {"false_ends": ["x"]}, {"false_ends": {}},
            )
        ),
        *(json.dumps({k: v for k, v in INDEX.items() if k != key}).encode() for key in INDEX),
    ],
    ids=lambda index: repr(index)[2:60],
)  # fmt: skip
def test_a_damaged_index_is_as_good_as_none(index: bytes, tmp_path: Path) -> None:
    path = built(tmp_path)
    assert json.loads(path.with_suffix(".json").read_bytes()) == INDEX
    path.with_suffix(".json").write_bytes(index)
    assert ids.load(path) is None


def test_a_build_that_fails_leaves_nothing_to_load(tmp_path: Path) -> None:
    def pieces() -> Iterator[np.ndarray]:
        yield np.arange(10, dtype=np.int32)
        raise DataError("the source ended")

    with pytest.raises(DataError, match="the source ended"):
        ids.build(tmp_path / "x.ids", [(pieces(), True)], 300, 299)
    assert list(tmp_path.iterdir()) == []


def test_building_again_replaces_what_is_there(tmp_path: Path) -> None:
    path = built(tmp_path)
    ids.build(path, [([np.array([7], dtype=np.int32)], True)], 70_000, 69_999)
    stored = ids.load(path)
    assert stored is not None
    assert stored.ids.tolist() == [69_999, 7]
    assert stored.false_ends.tolist() == []


def test_a_cache_folder_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    path = put(tmp_path / "file") / "x.ids"
    with pytest.raises(UserError, match="cannot write") as error:
        ids.build(path, [([np.array([7], dtype=np.int32)], True)], 300, 0)
    assert one_line(error)


# ---- What a file is ----


def test_looking_at_a_file_tells_text_from_binary(tmp_path: Path) -> None:
    for data, text in [(b"a", True), (b"", False), (b"a\0", False), (b"a" * 9000 + b"\0", True), (b"\xff\xfe", True)]:
        assert sources.looks_like_text(put(tmp_path / "file", data)) is text
