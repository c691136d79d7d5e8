"""Streams: decompression, atomic writes, and text that can't control a terminal."""

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
from tests.helpers.documents import deflated

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data, mtime=0),  # the header has the time, by default of now
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}
TEXT = b"".join(b"line %05d of a file\n" % number for number in range(5000))
NOISE = random.Random(1).randbytes(100_000)  # incompressible, so that any byte can be damaged


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def read(path: Path | str, size: int = streams.CHUNK_SIZE) -> bytes:
    with contextlib.closing(open_input(path)) as stream:
        return b"".join(read_chunks(stream, str(path), size))


def one_line(error: pytest.ExceptionInfo[BaseException]) -> bool:
    message = str(error.value)
    return bool(message) and "\n" not in message


# ---- Reading ----


def test_compressed_suffixes_are_all_tested() -> None:
    assert {*PACKERS, ".zip"} == set(COMPRESSED_SUFFIXES)


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("body", [TEXT, NOISE, b"x"], ids=["text", "noise", "x"])
def test_open_input_compressed_file_is_decompressed(suffix: str, body: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"file.txt{suffix}"
    path.write_bytes(PACKERS[suffix](body))
    assert read(path) == body
    assert read(str(path), 777) == body


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("name", ["FILE.TXT", "a", "a.zip", "a.gz.txt", "a.gz"])
def test_open_input_whatever_its_name_is_decompressed(suffix: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(PACKERS[suffix](TEXT))
    assert read(path) == TEXT


@pytest.mark.parametrize("suffix", PACKERS)
def test_open_input_concatenated_compressed_files_are_one_stream(suffix: str, tmp_path: Path) -> None:
    """`cat a.gz b.gz > c.gz`, as log rotation does."""
    path = tmp_path / f"both{suffix}"
    path.write_bytes(PACKERS[suffix](TEXT) + PACKERS[suffix](b"and more\n") + PACKERS[suffix](b""))
    assert read(path) == TEXT + b"and more\n"


@pytest.mark.parametrize("body", [TEXT, b"", b"B", b"BZh9 is no bzip2", b"\x1f\x8b", b"PK", b"\xfd7zXZ"])
def test_open_input_uncompressed_file_is_read_as_it_is_whatever_its_name(body: bytes, tmp_path: Path) -> None:
    for name in ("a.txt", *(f"a{suffix}" for suffix in COMPRESSED_SUFFIXES)):
        (tmp_path / name).write_bytes(body)
        assert read(tmp_path / name) == body


@pytest.mark.parametrize("outer", PACKERS)
@pytest.mark.parametrize("inner", PACKERS)
def test_open_input_two_compressions_are_undone_and_no_third(outer: str, inner: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    twice = PACKERS[outer](PACKERS[inner](TEXT))
    path.write_bytes(twice)
    assert read(path) == TEXT
    path.write_bytes(gzip.compress(twice))
    assert read(path) == PACKERS[inner](TEXT)


def test_open_input_zip_of_one_file_is_decompressed_and_others_are_not(tmp_path: Path) -> None:
    path = tmp_path / "file"
    extras = {"__MACOSX/._a.txt": b"0", ".DS_Store": b"0", "folder/": b""}
    for one in ({"a.txt": TEXT}, {**extras, "folder/a.txt": TEXT}, {"a.txt.gz": gzip.compress(TEXT)}):
        path.write_bytes(deflated(one))
        assert read(path) == TEXT
    for several in ({}, {"a": TEXT, "b": TEXT}, {"a.npy": TEXT}, {"archive/data.pkl": TEXT}):
        path.write_bytes(deflated(several))
        assert read(path) == path.read_bytes()


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("left", [0.001, 0.3, 0.5, 0.999, -1, -4, -9])
def test_read_chunks_truncated_file_raises_data_error(suffix: str, left: float, tmp_path: Path) -> None:
    """The bytes before may be read, but the end must be an error."""
    packed = PACKERS[suffix](NOISE)
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(packed[: int(left * len(packed)) if left > 0 else int(left)])
    with pytest.raises(DataError, match=rf"cut\{suffix}") as error:
        read(path)
    assert one_line(error)


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("position", [0.5, -1])
def test_read_chunks_damaged_file_raises_data_error(suffix: str, position: float, tmp_path: Path) -> None:
    packed = bytearray(PACKERS[suffix](NOISE))
    packed[int(position * len(packed)) if position >= 0 else int(position)] ^= 0x55
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(bytes(packed))
    with pytest.raises(DataError, match=rf"bad\{suffix}") as error:
        read(path)
    assert one_line(error)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="asks the kernel which files are open")
@pytest.mark.parametrize("suffix", ["", ".zip", *PACKERS])
def test_open_input_close_closes_the_file(suffix: str, tmp_path: Path) -> None:
    """Decompressors leave a given file open; a folder of thousands must not exhaust the file descriptors."""
    path = tmp_path / f"file{suffix}"
    path.write_bytes(deflated({"a": TEXT}) if suffix == ".zip" else PACKERS.get(suffix, bytes)(TEXT))
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


def test_open_input_missing_file_raises_data_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    missing = [tmp_path / f"none{suffix}" for suffix in (".txt", *COMPRESSED_SUFFIXES)]
    for path in (tmp_path, *missing, tmp_path / "file" / "below"):
        with pytest.raises(DataError) as error:
            open_input(path)
        assert one_line(error)
        assert str(error.value).count(str(path)) == 1  # the system's message would repeat it


def test_open_input_failure_leaves_no_open_object(tmp_path: Path) -> None:
    """Python 3.13 (and `-X dev`) warns on stderr of an object whose finalizer fails."""
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
def test_open_input_decompression_bomb_needs_constant_memory(suffix: str, tmp_path: Path) -> None:
    """A few kB of compressed logs may be a hundred MB of text, which must come in chunks."""
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
def test_open_input_path_named_dash_is_a_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`Path("./-")` equals `Path("-")`; only the string `-` is standard input."""
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(b"in the file")
    monkeypatch.setattr(sys, "stdin", None)
    with contextlib.closing(open_input(Path(name))) as stream:
        assert stream.read() == b"in the file"


def test_open_input_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO(b"a\xff\r\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(raw))
    assert open_input("-").read() == b"a\xff\r\n"  # bytes: nothing is decoded
    sys.stdin.close()
    for closed in (sys.stdin, None):
        monkeypatch.setattr(sys, "stdin", closed)
        with pytest.raises(DataError, match="standard input"):
            open_input("-")
        assert not streams.stdin_is_piped()


@given(data=st.binary(max_size=300), size=st.integers(1, 400))
def test_read_chunks_joined_are_the_stream(data: bytes, size: int) -> None:
    chunks = list(read_chunks(io.BytesIO(data), "data", size))
    assert b"".join(chunks) == data
    assert all(0 < len(chunk) <= size for chunk in chunks)


class Failing(io.RawIOBase):
    """A stream that yields some bytes, then an error."""

    def __init__(self, error: BaseException) -> None:
        self._error: BaseException = error
        self._calls = 0

    def read(self, size: int = -1) -> bytes:
        self._calls += 1
        if self._calls == 1:
            return b"first"
        raise self._error


def test_read_chunks_error_names_the_file() -> None:
    chunks = read_chunks(Failing(OSError(errno.EIO, "Input/output error", "/dev/x")), "tape.txt")  # type: ignore[arg-type]
    assert next(chunks) == b"first"
    with pytest.raises(DataError, match=r"^cannot read 'tape.txt': Input/output error$"):
        next(chunks)


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_read_chunks_passes_on_interrupts_and_memory_errors(error: type[BaseException]) -> None:
    chunks = read_chunks(Failing(error()), "tape.txt")  # type: ignore[arg-type]
    next(chunks)
    with pytest.raises(error):
        next(chunks)


def test_reason_is_one_line_without_path() -> None:
    assert streams.reason(OSError(errno.ENOSPC, "No space left on device", "/a/b")) == "No space left on device"
    assert streams.reason(ValueError("two\n  lines\r\n")) == "two lines"
    assert streams.reason(EOFError()) == "EOFError"


def test_is_terminal_only_for_terminals() -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed, io.BytesIO(), io.StringIO()):
        assert not streams.is_terminal(stream)


# ---- Writing ----


def test_atomic_write_file_appears_when_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "file.txt"
    with atomic_write(path) as stream:
        stream.write(b"half")
        stream.flush()
        assert not path.exists()
        (part,) = path.parent.iterdir()
        assert part.name.startswith(".")  # walking a folder skips it
        assert part.name.endswith(PARTIAL_SUFFIX)
        stream.write(b" and half")
    assert path.read_bytes() == b"half and half"
    assert names(path.parent) == {"file.txt"}


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, UserError, GeneratorExit])
def test_atomic_write_exception_leaves_old_file(error: type[BaseException], there: bool, tmp_path: Path) -> None:
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


@pytest.mark.parametrize("name", ["open", "fdopen", "fsync", "replace"])
def test_atomic_write_full_disk_raises_user_error_and_leaves_old_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(b"old")
    if name == "fdopen":  # without it the file descriptor would stay open

        def fdopen(handle: int, mode: str) -> None:
            os.close(handle)
            full()

        monkeypatch.setattr(os, name, fdopen)
    else:
        monkeypatch.setattr(os, name, full)
    with pytest.raises(UserError, match="No space left on device") as error:
        write_bytes(path, b"new")
    monkeypatch.undo()
    assert one_line(error)
    assert str(path) in str(error.value)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == {"file.txt"}


@contextlib.contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """A real failure of write(2) within a file; Python ignores its signal."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [5000, 1 << 20], ids=["when it is closed", "while it is written"])
def test_atomic_write_file_size_limit_leaves_old_file(size: int, tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(b"old")
    failed: UserError | None = None
    with files_no_larger_than(4096):  # pytest must not write a file within this block
        try:
            write_bytes(path, b"n" * size)
        except UserError as error:
            failed = error
    assert failed is not None
    assert "File too large" in str(failed)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == {"file.txt"}


def test_atomic_write_unwritable_path_raises_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "below.txt", tmp_path / "folder", Path("/proc/none/file"), tmp_path / ("x" * 300)):
        with pytest.raises(UserError, match="cannot write") as error:
            write_bytes(path, b"new")
        assert one_line(error)
    assert names(tmp_path) == {"file", "folder"}
    assert names(tmp_path / "folder") == set()


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077, 0o002])
def test_atomic_write_permissions_follow_umask(mask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the system: two threads that read the umask at once, by setting it, could leave it at 0."""
    before = os.umask(mask)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "umask", pytest.fail)
            write_bytes(tmp_path / "file", b"new")
        after = os.umask(mask)
    finally:
        os.umask(before)
    assert after == mask
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o444])
def test_atomic_write_keeps_the_permissions_of_the_file_that_it_replaces(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    with atomic_write(path) as stream:
        (unfinished,) = names(tmp_path) - {"file"}
        assert (tmp_path / unfinished).stat().st_mode & 0o777 == mode
        stream.write(b"new")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", mode)


@pytest.mark.skipif(sys.platform == "win32", reason="a locked file can't be renamed there")
def test_atomic_write_removes_what_a_killed_process_left_and_nothing_else(tmp_path: Path) -> None:
    left = tmp_path / ".a.txt.0123abc_.part"
    others = {".a.txt.part", ".b.txt.0123abc_.part", "a.txt.0123abc_.part", ".a.txt.0123abc_.parts"}
    for name in (left.name, *others):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".a.txt.0123abcd.part").symlink_to(left)
    with streams.atomic_write(tmp_path / "a.txt") as stream:
        stream.write(b"1")
        (writing,) = names(tmp_path) - others - {".a.txt.0123abcd.part"}
        assert writing != left.name
        streams._unfinished.cache_clear()  # as another process
        streams.write_bytes(tmp_path / "a.txt", b"2")
        assert writing in names(tmp_path)
    assert (tmp_path / "a.txt").read_bytes() == b"1"
    assert names(tmp_path) == {"a.txt", ".a.txt.0123abcd.part", *others}


def test_atomic_write_last_of_two_writers_wins(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    with atomic_write(path) as first:
        first.write(b"first, ")
        with atomic_write(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
        first.write(b"and last")
    assert path.read_bytes() == b"first, and last"
    assert names(tmp_path) == {"file.txt"}


@pytest.mark.parametrize("name", ["中文.txt", "with space", "-", ".hidden", "a" * 255, "小" * 85])
def test_atomic_write_accepts_any_file_name(name: str, tmp_path: Path) -> None:
    name = os.fsdecode(name.encode())  # as a command line gives it in any locale
    write_bytes(tmp_path / name, b"new")
    assert (tmp_path / name).read_bytes() == b"new"
    assert names(tmp_path) == {name}


def test_atomic_write_bare_name_is_in_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_bytes("file.txt", b"new")
    assert (tmp_path / "file.txt").read_bytes() == b"new"


# ---- Replacing folders ----


@pytest.fixture(params=["swapped", "renamed"])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The two implementations of `replace_folder`: Linux's system call, and two renames."""
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


def test_replace_folder_replaces_existing_folder(implementation: str, tmp_path: Path) -> None:
    old, new = folder(tmp_path / "model", "old"), folder(tmp_path / ".model.new.part", "new")
    replace_folder(new, old)
    assert names(tmp_path) == {"model"}
    assert (old / "file").read_text() == "new"
    assert names(old / "below") == {"new.txt"}


def test_replace_folder_without_old_folder_renames(implementation: str, tmp_path: Path) -> None:
    replace_folder(folder(tmp_path / "new", "new"), tmp_path / "model")
    assert names(tmp_path) == {"model"}
    assert (tmp_path / "model" / "file").read_text() == "new"


def test_replace_folder_removes_leftovers_of_killed_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_swap", lambda new, old: False)
    folder(tmp_path / "model", "old")
    folder(tmp_path / f".model.old{PARTIAL_SUFFIX}", "older")
    replace_folder(folder(tmp_path / "new", "new"), tmp_path / "model")
    assert names(tmp_path) == {"model"}
    assert (tmp_path / "model" / "file").read_text() == "new"


def test_replace_folder_failure_leaves_old_folder(implementation: str, tmp_path: Path) -> None:
    old = folder(tmp_path / "model", "old")
    with pytest.raises(OSError):
        replace_folder(tmp_path / "nothing", old)
    assert names(tmp_path) == {"model"}
    assert (old / "file").read_text() == "old"


def test_replace_folder_keeps_symlink(implementation: str, tmp_path: Path) -> None:
    """`-o latest` may be a symlink to a model; the next run replaces its target and leaves nothing behind."""
    folder(tmp_path / "monday", "old")
    link = tmp_path / "latest"
    link.symlink_to("monday")
    replace_folder(folder(tmp_path / ".latest.new.part", "new"), link)
    assert (link / "file").read_text() == "new"
    assert link.is_symlink()
    assert names(tmp_path) == {"monday", "latest"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux swaps")
def test_replace_folder_on_linux_swaps(tmp_path: Path) -> None:
    """Either both folders are swapped, or the file system can't and nothing has changed."""
    old, new = folder(tmp_path / "old", "old"), folder(tmp_path / "new", "new")
    swapped = streams._swap(new, old)
    assert ((old / "file").read_text() == "new") is swapped
    assert ((new / "file").read_text() == "old") is swapped
    with pytest.raises(OSError):
        streams._swap(tmp_path / "nothing", old)


# ---- Terminals ----


@settings(max_examples=300)
@given(data=st.binary(max_size=100) | st.text(max_size=60).map(lambda text: text.encode()))
@example(data=bytes(range(256)))
@example(data="".join(map(chr, [*range(0xA1), *range(0x2000, 0x2070)])).encode())
@example(data=b"\x1b]0;title\x07\x1b[2J\x9b31m\xc2\x9b31m\r\x08\x7f")
def test_printable_has_no_control_characters(data: bytes) -> None:
    shown = printable(data)
    text = shown.decode()  # strict: the output is always UTF-8
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
def test_printable_leaves_harmless_text_unchanged(text: str) -> None:
    assert printable(text.encode()) == text.encode()


def test_printable_shows_controls_as_pictures() -> None:
    assert printable(b"\x1b[31mred\r\n\0").decode() == "␛[31mred␍\n␀"
    assert printable(b"\x7f \xc2\x85 \xff") == "\ufffd \ufffd \ufffd".encode()
    assert printable("\u202etxt.exe".encode()).decode() == "\ufffdtxt.exe"
