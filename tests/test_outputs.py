"""Files that a user names as outputs: symlinks, open files, devices and pipes."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from seqgen.errors import UserError
from seqgen.streams import check_target, open_output, write_bytes, write_output


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_write_output_device_or_pipe_is_not_replaced(tmp_path: Path) -> None:
    """`-o /dev/null` must not turn the system's /dev/null into a file (root could), nor `-o fifo` a pipe."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_output(path, b"through")
        assert path.is_fifo()
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert names(tmp_path) == {"pipe"}


def test_write_output_keeps_a_symlink_and_atomic_write_leaves_what_it_points_to(tmp_path: Path) -> None:
    """A user's link is meant; in a model or a cache of others it may point to any file."""
    (tmp_path / "take1").write_bytes(b"old")
    (tmp_path / "latest").symlink_to("take1")
    write_output(tmp_path / "latest", b"new")
    assert (tmp_path / "latest").is_symlink() and (tmp_path / "take1").read_bytes() == b"new"
    write_bytes(tmp_path / "latest", b"newer")
    assert not (tmp_path / "latest").is_symlink() and (tmp_path / "take1").read_bytes() == b"new"


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="needs /dev/fd")
@pytest.mark.parametrize("mode", ["wb", "ab"])
@pytest.mark.parametrize("folder", ["/dev/fd", "/proc/self/fd", "/proc/thread-self/fd", "link"])
def test_write_output_writes_between_what_others_write_to_an_open_file(folder: str, mode: str, tmp_path: Path) -> None:
    """`{ echo header; seqgen … -o /dev/stdout; echo footer; } > file` lost all but the output."""
    log = tmp_path / "log"
    log.write_bytes(b"precious\n" if mode == "ab" else b"")
    with open(log, mode, buffering=0) as stream:
        path = Path(folder, str(stream.fileno()))
        if folder == "link":
            path = tmp_path / "link"
            path.symlink_to(f"/dev/fd/{stream.fileno()}")
        elif not path.exists():
            pytest.skip(f"needs {folder}")
        stream.write(b"header\n")
        check_target(str(path), "-o")
        write_output(path, b"output\n")
        stream.write(b"footer\n")
    assert log.read_bytes() == b"precious\n" * (mode == "ab") + b"header\noutput\nfooter\n"


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_write_output_appends_to_a_file_that_another_process_has_open(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"precious\n")
    with open(tmp_path / "log", "ab") as log, subprocess.Popen(["sleep", "60"], stdout=log) as process:
        write_output(f"/proc/{process.pid}/fd/1", b"output\n")
        process.kill()
    assert (tmp_path / "log").read_bytes() == b"precious\noutput\n"


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="needs /dev/fd")
def test_check_target_refuses_what_is_not_open_for_writing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with open(tmp_path / "file", "rb") as stream:
        path = f"/dev/fd/{stream.fileno()}"
        with pytest.raises(UserError, match="it is open for reading only"):
            check_target(path, "-o")
    for closed in (path, "/dev/fd/" + 30 * "9", "/proc/1/fd/987654"):
        with pytest.raises(UserError, match="it is not open"):
            check_target(closed, "-o")


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs /dev/shm")
def test_write_output_below_dev_is_atomic() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder) / "7"
        path.write_bytes(b"old")
        with open_output(path) as stream:
            stream.write(b"new")
            stream.flush()
            assert path.read_bytes() == b"old"
        assert path.read_bytes() == b"new"
        assert names(path.parent) == {"7"}


def test_open_output_reader_that_went_away_is_a_broken_pipe() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with pytest.raises(BrokenPipeError), open_output(f"/dev/fd/{writer}") as stream:
            stream.write(b"nobody reads")
    finally:
        os.close(writer)
