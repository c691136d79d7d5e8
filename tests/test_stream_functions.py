"""Functions of streams: limits of what is read whole, questions about streams, and the swap of two files."""

from __future__ import annotations

import ctypes
import errno
import gzip
import io
import os
import random
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from seqgen import streams
from seqgen.decompression import _DecompressedFile
from seqgen.errors import DataError
from tests.helpers.documents import zipped
from tests.helpers.untrusted_readers import overrunning_bzip2


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("A.MID.gz", ".mid"), ("a.tar.GZ", ".tar"), ("a.gz", ""), ("a", ""), (".gz", ""), ("a.b.txt", ".txt"),
     ("a.txt.zip", ".txt"), ("a.gz.txt", ".txt")],
)  # fmt: skip
def test_suffix_of_is_in_lower_case_without_a_compression(name: str, suffix: str) -> None:
    assert streams.suffix_of(Path("a.b") / name) == suffix


def test_is_compressed_by_the_bytes_of_regular_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(gzip.compress(b"text"))
    (tmp_path / "a.gz").write_bytes(b"text")
    os.mkfifo(tmp_path / "pipe")  # opening it would wait
    found = {name for name in ("a.txt", "a.gz", "pipe", "none", ".") if streams.is_compressed(tmp_path / name)}
    assert found == {"a.txt"}
    assert streams.is_compressed("a\0b") is False


def test_read_whole_limits_are_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = b"text " * 40_000
    plain, packed = tmp_path / "a.txt", tmp_path / "a.gz"
    plain.write_bytes(body)
    packed.write_bytes(gzip.compress(body))
    for path in (plain, packed):
        assert streams.read_whole(path, max_bytes=len(body)) == body
        with pytest.raises(DataError, match=rf"^{str(path)!r} is larger than 199,999 bytes"):
            streams.read_whole(path, max_bytes=len(body) - 1)
        with pytest.raises(DataError, match=r"^'the file' is larger than 0 bytes"):
            streams.read_whole(path, "the file", max_bytes=0)
    headroom = len(body) - streams.MAX_DECOMPRESSION_RATIO * packed.stat().st_size
    monkeypatch.setattr(streams, "DECOMPRESSION_HEADROOM", headroom)
    assert streams.read_whole(packed) == body
    monkeypatch.setattr(streams, "DECOMPRESSION_HEADROOM", headroom - 1)
    with pytest.raises(DataError, match=r"a\.gz' is refused as a decompression bomb: .* more than 199,999 bytes"):
        streams.read_whole(packed)
    monkeypatch.setattr(streams, "DECOMPRESSION_HEADROOM", -(1 << 40))
    assert streams.read_whole(plain) == body


def test_read_whole_leaves_standard_input_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"piped")))
    assert streams.read_whole("-") == b"piped"
    assert not sys.stdin.closed


def test_read_chunks_unbuffered_has_what_a_pipe_has() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"first")
    with open(reader, "rb") as stream:
        chunks = streams.read_chunks(stream, "pipe", unbuffered=True)
        assert next(chunks) == b"first"  # without waiting for more
        os.close(writer)
        assert next(chunks, None) is None


def test_has_input_of_a_pipe() -> None:
    reader, writer = os.pipe()
    with open(reader, "rb") as stream:
        assert streams.has_input(stream, 0.01) is False
        os.write(writer, b"x")
        assert streams.has_input(stream, 10) is True
        os.close(writer)
    assert streams.has_input(io.BytesIO(), 0.01) is True  # nobody knows


class Terminal(io.StringIO):
    """A stream that says it is a terminal, or fails to say."""

    def __init__(self, answer: bool | None) -> None:
        super().__init__()
        self.answer = answer

    def isatty(self) -> bool:
        if self.answer is None:
            raise ValueError("closed in the meantime")
        return self.answer


@pytest.mark.parametrize(("answer", "is_terminal", "is_piped"), [(True, True, False), (False, False, True),
                                                                 (None, False, False)])  # fmt: skip
def test_terminals_and_pipes(
    answer: bool | None, is_terminal: bool, is_piped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    assert streams.is_terminal(sys.stdin) is is_terminal
    assert streams.stdin_is_piped() is is_piped
    monkeypatch.setattr(sys, "stdin", None)
    assert streams.is_terminal(None) is False and streams.stdin_is_piped() is False


def test_is_broken_pipe_on_windows_is_an_invalid_argument_too(monkeypatch: pytest.MonkeyPatch) -> None:
    invalid, named = OSError(errno.EINVAL, "Invalid argument"), OSError(errno.EINVAL, "Invalid argument", "a.txt")
    others: list[BaseException | None] = [named, OSError(errno.EIO, "Input/output error"), ValueError(), None]
    for platform, expected in (("linux", False), ("win32", True)):
        monkeypatch.setattr(sys, "platform", platform)
        assert streams.is_broken_pipe(BrokenPipeError()) is True
        assert streams.is_broken_pipe(invalid) is expected
        assert not any(map(streams.is_broken_pipe, others))


@pytest.mark.parametrize(("platform", "written"), [("linux", b"?"), ("win32", "é".encode())])
def test_write_utf8_replaces_missing_characters(platform: str, written: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    out, errors = (io.TextIOWrapper(io.BytesIO(), "ascii", handler) for handler in ("strict", "backslashreplace"))
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", errors)
    streams.write_utf8()
    for stream in (out, errors):
        stream.write("é")
        stream.flush()
    assert out.buffer.getvalue() == written  # type: ignore[attr-defined]
    assert errors.buffer.getvalue() == (written if platform == "win32" else rb"\xe9")  # type: ignore[attr-defined]
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stderr", None)  # as in a program without a console
    streams.write_utf8()  # a stream without an encoding is left alone


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux swaps")
def test_swap_is_impossible_or_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    ctypes.set_errno(0)
    with pytest.raises(FileNotFoundError, match=r"old"):
        streams._swap(new, old)
    for number in (errno.EINVAL, errno.ENOSYS):  # of file systems without it
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace(renameat2=lambda *_: -1))
        monkeypatch.setattr(ctypes, "get_errno", lambda number=number: number)
        assert streams._swap(new, old) is False
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace())  # an old C library
    assert streams._swap(new, old) is False
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delattr(ctypes, "CDLL")
    assert streams._swap(new, old) is False


@pytest.mark.parametrize("packed", [False, True])
def test_open_input_damaged_bzip2_is_refused_at_every_read(packed: bool, tmp_path: Path) -> None:
    """The look at its first bytes meets the error too. After it libbz2 must not be called: it would end the process."""
    path = tmp_path / "a"
    path.write_bytes(overrunning_bzip2())
    if packed:
        damaged = bytearray(zipped({"a.txt": random.Random(0).randbytes(5000)}, zipfile.ZIP_BZIP2))
        damaged[900:1000] = bytes(100)
        path.write_bytes(damaged)
    opened, compressions = streams.open_decompressed(path)
    assert compressions == (("zip",) if packed else ("bz2",))
    with opened:
        for _ in range(3):
            with pytest.raises(OSError, match="Invalid data stream"):
                opened.read(10)
    with pytest.raises(DataError, match="cannot read"):
        streams.read_whole(path)


def test_decompressor_is_not_called_after_an_error() -> None:
    calls = 0

    class Decompressor:
        eof = False

        def decompress(self, data: bytes) -> bytes:
            nonlocal calls
            calls += 1
            raise OSError("damaged")

    stream = _DecompressedFile(io.BytesIO(bytes(9999)), Decompressor)
    for _ in range(3):
        with pytest.raises(OSError, match="damaged"):
            stream.read(1)
    assert calls == 1
