"""Bytes in and out: decompressors, writes that are whole or not at all, and nothing that steers a terminal."""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import io
import lzma
import os
import random
import resource
import subprocess
import sys
import tempfile
import tracemalloc
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqgen import streams
from seqgen.errors import DataError, UserError
from seqgen.streams import (
    COMPRESSED_SUFFIXES,
    PARTIAL_SUFFIX,
    atomic_write,
    open_input,
    read_chunks,
    replace_folder,
    write_bytes,
)
from seqgen.untrusted import printable

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}
TEXT = b"".join(b"line %05d of a file\n" % number for number in range(5000))
NOISE = random.Random(1).randbytes(100_000)  # can't be packed any smaller: damage can be put anywhere in it


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def read(path: Path | str, size: int = streams.CHUNK_SIZE) -> bytes:
    with contextlib.closing(open_input(path)) as stream:
        return b"".join(read_chunks(stream, str(path), size))


def one_line(error: pytest.ExceptionInfo[BaseException]) -> bool:
    message = str(error.value)
    return bool(message) and "\n" not in message


# ---- Reading ----


def test_every_compressed_suffix_is_tested() -> None:
    assert set(PACKERS) == set(COMPRESSED_SUFFIXES)


@pytest.mark.parametrize("suffix", COMPRESSED_SUFFIXES)
@pytest.mark.parametrize("body", [TEXT, NOISE, b"x"], ids=["text", "noise", "x"])
def test_a_compressed_file_is_read_through_its_decompressor(suffix: str, body: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"file.txt{suffix}"
    path.write_bytes(PACKERS[suffix](body))
    assert read(path) == body
    assert read(str(path), 777) == body


@pytest.mark.parametrize("suffix", COMPRESSED_SUFFIXES)
def test_the_suffix_may_be_in_capitals(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"FILE{suffix.upper()}"
    path.write_bytes(PACKERS[suffix](TEXT))
    assert read(path) == TEXT


@pytest.mark.parametrize("suffix", COMPRESSED_SUFFIXES)
def test_compressed_files_put_one_behind_the_other_are_one(suffix: str, tmp_path: Path) -> None:
    """`cat a.gz b.gz > c.gz`, as log rotation does."""
    path = tmp_path / f"both{suffix}"
    path.write_bytes(PACKERS[suffix](TEXT) + PACKERS[suffix](b"and more\n") + PACKERS[suffix](b""))
    assert read(path) == TEXT + b"and more\n"


def test_any_other_suffix_is_read_as_it_is(tmp_path: Path) -> None:
    for name in ("a.txt", "a", "a.gz.txt", "a.zip"):
        (tmp_path / name).write_bytes(gzip.compress(TEXT))
        assert read(tmp_path / name) == (tmp_path / name).read_bytes()


@pytest.mark.parametrize("suffix", COMPRESSED_SUFFIXES)
@pytest.mark.parametrize("left", [0.001, 0.3, 0.5, 0.999, -1, -4, -9])
def test_a_truncated_file_is_a_data_error(suffix: str, left: float, tmp_path: Path) -> None:
    """What came before may have been read; but its end must not pass for the end of the text."""
    packed = PACKERS[suffix](NOISE)
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(packed[: int(left * len(packed)) if left > 0 else int(left)])
    with pytest.raises(DataError, match=rf"cut\{suffix}") as error:
        read(path)
    assert one_line(error)


@pytest.mark.parametrize("suffix", COMPRESSED_SUFFIXES)
@pytest.mark.parametrize("place", [0, 0.5, -1])
def test_a_damaged_file_is_a_data_error(suffix: str, place: float, tmp_path: Path) -> None:
    packed = bytearray(PACKERS[suffix](NOISE))
    packed[int(place * len(packed)) if place >= 0 else int(place)] ^= 0x55
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(bytes(packed))
    with pytest.raises(DataError, match=rf"bad\{suffix}") as error:
        read(path)
    assert one_line(error)


@pytest.mark.parametrize("suffix", COMPRESSED_SUFFIXES)
def test_a_file_that_is_not_what_its_name_says_is_a_data_error(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"text{suffix}"
    path.write_bytes(TEXT)
    with pytest.raises(DataError) as error:
        read(path)
    assert one_line(error)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="asks the kernel which files are open")
@pytest.mark.parametrize("suffix", ["", *COMPRESSED_SUFFIXES])
def test_closing_closes_the_file_below(suffix: str, tmp_path: Path) -> None:
    """A decompressor that is given a file leaves it open; a folder of thousands must not use up the handles."""
    path = tmp_path / f"file{suffix}"
    path.write_bytes(PACKERS.get(suffix, bytes)(TEXT))
    stream = open_input(path)
    stream.read(10)
    assert str(path) in opened()
    stream.close()
    assert str(path) not in opened()


def opened() -> set[str]:
    found = set()
    for handle in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(os.readlink(handle))
    return found


def test_what_cannot_be_opened_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    missing = [tmp_path / f"none{suffix}" for suffix in (".txt", *COMPRESSED_SUFFIXES)]
    for path in (tmp_path, *missing, tmp_path / "file" / "below"):
        with pytest.raises(DataError) as error:
            open_input(path)
        assert one_line(error)
        assert str(error.value).count(str(path)) == 1  # the system's own message says it once more


def test_what_cannot_be_opened_leaves_nothing_half_made(tmp_path: Path) -> None:
    """Python 3.13 (and `-X dev`) tells on stderr of an object that can't be closed when it is thrown away."""
    program = f"""
from seqgen.errors import DataError
from seqgen.streams import open_input
for suffix in {COMPRESSED_SUFFIXES!r}:
    try:
        open_input("none" + suffix)
    except DataError:
        pass
"""
    package = str(Path(streams.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", program],
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": package},
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_small_file_that_holds_much_is_read_in_flat_memory(suffix: str, tmp_path: Path) -> None:
    """Logs shrink to a thousandth, so a few kB read may be a hundred MB of text: it must come in parts."""
    line = b"the same line, over and over\n" * (1 << 15)
    path = tmp_path / f"log{suffix}"
    path.write_bytes(PACKERS[suffix](line * 128))
    size = 0
    tracemalloc.start()
    try:
        with contextlib.closing(open_input(path)) as stream:
            for chunk in read_chunks(stream, "log"):
                size += len(chunk)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size == len(line) * 128  # 122 MB
    assert most < 50_000_000


@pytest.mark.parametrize("name", ["-", "./-"])
def test_a_file_called_dash_is_a_path_and_no_standard_input(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Path("./-")` is `Path("-")`; only the word `-` itself, as a person writes it, is standard input."""
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(b"in the file")
    monkeypatch.setattr(sys, "stdin", None)
    with contextlib.closing(open_input(Path(name))) as stream:
        assert stream.read() == b"in the file"


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO(b"a\xff\r\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(raw))
    assert open_input("-").read() == b"a\xff\r\n"  # bytes: nothing decoded, no line ends changed
    sys.stdin.close()
    for closed in (sys.stdin, None):
        monkeypatch.setattr(sys, "stdin", closed)
        with pytest.raises(DataError, match="standard input"):
            open_input("-")
        assert not streams.stdin_is_piped()


@given(data=st.binary(max_size=300), size=st.integers(1, 400))
def test_chunks_are_the_stream(data: bytes, size: int) -> None:
    chunks = list(read_chunks(io.BytesIO(data), "data", size))
    assert b"".join(chunks) == data
    assert all(0 < len(chunk) <= size for chunk in chunks)


class Failing(io.RawIOBase):
    """Gives some bytes, then an error."""

    def __init__(self, error: BaseException) -> None:
        self._error: BaseException = error
        self._calls = 0

    def read(self, size: int = -1) -> bytes:
        self._calls += 1
        if self._calls == 1:
            return b"first"
        raise self._error


def test_an_error_while_reading_names_the_file() -> None:
    chunks = read_chunks(Failing(OSError(errno.EIO, "Input/output error", "/dev/x")), "tape.txt")  # type: ignore[arg-type]
    assert next(chunks) == b"first"
    with pytest.raises(DataError, match=r"^cannot read 'tape.txt': Input/output error$"):
        next(chunks)


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_no_fault_of_the_file_is_blamed_on_it(error: type[BaseException]) -> None:
    chunks = read_chunks(Failing(error()), "tape.txt")  # type: ignore[arg-type]
    next(chunks)
    with pytest.raises(error):
        next(chunks)


def test_a_reason_is_one_line_without_a_path() -> None:
    assert streams.reason(OSError(errno.ENOSPC, "No space left on device", "/a/b")) == "No space left on device"
    assert streams.reason(ValueError("two\n  lines\r\n")) == "two lines"
    assert streams.reason(EOFError()) == "EOFError"


def test_only_a_terminal_is_a_terminal() -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed, io.BytesIO(), io.StringIO()):
        assert not streams.is_terminal(stream)


# ---- Writing ----


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "file.txt"
    with atomic_write(path) as stream:
        stream.write(b"half")
        stream.flush()
        assert not path.exists()
        (part,) = path.parent.iterdir()
        assert part.name.startswith(".")  # walking a folder passes it over
        assert part.name.endswith(PARTIAL_SUFFIX)
        stream.write(b" and half")
    assert path.read_bytes() == b"half and half"
    assert names(path.parent) == {"file.txt"}


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, UserError, GeneratorExit])
def test_what_stood_there_survives_an_exception(error: type[BaseException], there: bool, tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    if there:
        path.write_bytes(b"old")
    with pytest.raises(error), atomic_write(path) as stream:
        stream.write(b"new")
        raise error("of the caller's own")
    assert names(tmp_path) == ({"file.txt"} if there else set())
    assert not there or path.read_bytes() == b"old"


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("place", "name"), [(os, "fsync"), (os, "chmod"), (os, "replace"), (os, "fdopen"), (tempfile, "mkstemp")]
)
def test_a_full_disk_is_a_user_error_and_leaves_the_old(
    place: object, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(b"old")
    if name == "fdopen":  # never called, the handle from mkstemp stays open: not what is tested here

        def fdopen(handle: int, mode: str) -> None:
            os.close(handle)
            full()

        monkeypatch.setattr(place, name, fdopen)
    else:
        monkeypatch.setattr(place, name, full)
    with pytest.raises(UserError, match="No space left on device") as error:
        write_bytes(path, b"new")
    monkeypatch.undo()
    assert one_line(error)
    assert str(path) in str(error.value)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == {"file.txt"}


@contextlib.contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """A real failure of write(2), in the midst of a file; Python ignores the signal that comes with it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [5000, 1 << 20], ids=["when it is closed", "while it is written"])
def test_a_write_that_fails_leaves_the_old(size: int, tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(b"old")
    failed: UserError | None = None
    with files_no_larger_than(4096):  # nothing in here may write a file of pytest's own
        try:
            write_bytes(path, b"n" * size)
        except UserError as error:
            failed = error
    assert failed is not None
    assert "File too large" in str(failed)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == {"file.txt"}


def test_a_place_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "below.txt", tmp_path / "folder", Path("/proc/none/file"), tmp_path / ("x" * 300)):
        with pytest.raises(UserError, match="cannot write") as error:
            write_bytes(path, b"new")
        assert one_line(error)
    assert names(tmp_path) == {"file", "folder"}
    assert names(tmp_path / "folder") == set()


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077, 0o002])
def test_permissions_follow_the_umask(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        write_bytes(tmp_path / "file", b"new")
        after = os.umask(mask)
    finally:
        os.umask(before)
    assert after == mask  # asking for it must not change it
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~mask


def test_of_two_writers_the_last_to_end_wins_whole(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    with atomic_write(path) as first:
        first.write(b"first, ")
        with atomic_write(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
        first.write(b"and last")
    assert path.read_bytes() == b"first, and last"
    assert names(tmp_path) == {"file.txt"}


@pytest.mark.parametrize("name", ["中文.txt", "with space", "-", ".hidden", "a" * 200])
def test_any_name_can_be_written(name: str, tmp_path: Path) -> None:
    write_bytes(tmp_path / name, b"new")
    assert (tmp_path / name).read_bytes() == b"new"
    assert names(tmp_path) == {name}


def test_a_name_alone_is_written_to_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_bytes("file.txt", b"new")
    assert (tmp_path / "file.txt").read_bytes() == b"new"


def test_what_is_no_file_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    """`-o /dev/null` must not turn the system's /dev/null into a file (root could), nor `-o fifo` a pipe."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_bytes(path, b"through")
        assert path.is_fifo()
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert names(tmp_path) == {"pipe"}


# ---- Folders that change places ----


@pytest.fixture(params=["swapped", "renamed"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways in which `replace_folder` may go: Linux's system call, and the two renames of elsewhere."""
    if request.param == "renamed":
        monkeypatch.setattr(streams, "_swap", lambda new, old: False)
    elif not sys.platform.startswith("linux"):
        pytest.skip("only Linux swaps")
    return str(request.param)


def folder(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "file").write_text(text)
    (path / "below").mkdir()
    (path / "below" / f"{text}.txt").write_text(text)
    return path


def test_the_new_folder_takes_the_place_of_the_old(way: str, tmp_path: Path) -> None:
    old, new = folder(tmp_path / "model", "old"), folder(tmp_path / ".model.new.part", "new")
    replace_folder(new, old)
    assert names(tmp_path) == {"model"}
    assert (old / "file").read_text() == "new"
    assert names(old / "below") == {"new.txt"}


def test_the_new_folder_takes_a_free_place(way: str, tmp_path: Path) -> None:
    replace_folder(folder(tmp_path / "new", "new"), tmp_path / "model")
    assert names(tmp_path) == {"model"}
    assert (tmp_path / "model" / "file").read_text() == "new"


def test_what_a_killed_exchange_left_is_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_swap", lambda new, old: False)
    folder(tmp_path / "model", "old")
    folder(tmp_path / f".model.old{PARTIAL_SUFFIX}", "older")
    replace_folder(folder(tmp_path / "new", "new"), tmp_path / "model")
    assert names(tmp_path) == {"model"}
    assert (tmp_path / "model" / "file").read_text() == "new"


def test_an_exchange_that_fails_leaves_the_old(way: str, tmp_path: Path) -> None:
    old = folder(tmp_path / "model", "old")
    with pytest.raises(OSError):
        replace_folder(tmp_path / "nothing", old)
    assert names(tmp_path) == {"model"}
    assert (old / "file").read_text() == "old"


def test_a_link_is_exchanged_without_leaving_anything(way: str, tmp_path: Path) -> None:
    """`-o latest`, a link to the model of some day: the next run finds the place of its new folder free."""
    folder(tmp_path / "monday", "old")
    link = tmp_path / "latest"
    link.symlink_to("monday")
    replace_folder(folder(tmp_path / ".latest.new.part", "new"), link)
    assert (link / "file").read_text() == "new"
    assert link.is_symlink()
    assert names(tmp_path) == {"monday", "latest"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux swaps")
def test_linux_swaps(tmp_path: Path) -> None:
    """Either the file system can (and both have changed places), or it says so and nothing has happened."""
    old, new = folder(tmp_path / "old", "old"), folder(tmp_path / "new", "new")
    swapped = streams._swap(new, old)
    assert ((old / "file").read_text() == "new") is swapped
    assert ((new / "file").read_text() == "old") is swapped
    with pytest.raises(OSError):
        streams._swap(tmp_path / "nothing", old)


# ---- What a terminal may see ----


@settings(max_examples=300)
@given(data=st.binary(max_size=100) | st.text(max_size=60).map(lambda text: text.encode()))
@example(data=bytes(range(256)))
@example(data="".join(map(chr, [*range(0xA1), *range(0x2000, 0x2070)])).encode())
@example(data=b"\x1b]0;title\x07\x1b[2J\x9b31m\xc2\x9b31m\r\x08\x7f")
def test_no_control_character_reaches_a_terminal(data: bytes) -> None:
    shown = printable(data)
    text = shown.decode()  # strict: what is shown is always UTF-8
    for character in text:
        assert unicodedata.category(character) != "Cc" or character in "\n\t"
        assert unicodedata.bidirectional(character) not in {
            "LRE",
            "RLE",
            "LRO",
            "RLO",
            "PDF",
            "LRI",
            "RLI",
            "FSI",
            "PDI",
        }
    assert printable(shown) == shown
    assert len(text) == len(data.decode("utf-8", "replace"))
    assert text.count("\n") == data.count(b"\n")


@given(text=st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs"]) | st.sampled_from("\n\t\u200d\u00ad")))
def test_what_is_harmless_is_shown_as_it_is(text: str) -> None:
    assert printable(text.encode()) == text.encode()


def test_controls_are_shown_by_their_pictures() -> None:
    assert printable(b"\x1b[31mred\r\n\0").decode() == "␛[31mred␍\n␀"
    assert printable(b"\x7f \xc2\x85 \xff") == "\ufffd \ufffd \ufffd".encode()
    assert printable("\u202etxt.exe".encode()).decode() == "\ufffdtxt.exe"
