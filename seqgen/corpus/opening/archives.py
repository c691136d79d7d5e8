"""The members of tar and zip archives. They are read, never extracted by name."""

from __future__ import annotations

import contextlib
import tarfile
import zipfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from seqgen.corpus.opening.form import FileForm, quoted
from seqgen.decompression import is_hidden_member
from seqgen.errors import DataError
from seqgen.streams import DecompressedSize, open_decompressed, read_chunks, reason

KINDS = ("zip", "tar")  # of `FileForm`
MEMBER_BYTES = 512  # that a member counts at least, so that a bomb of empty files is one too


def members(path: Path, form: FileForm, name: str) -> Generator[tuple[str, Iterator[bytes]], None, None]:
    """Yield the name and bytes of each file in an archive, to be read before the next.

    Left out: folders, links, devices, hidden files, and the copies that macOS adds.

    Raises:
        DataError: the archive is damaged, encrypted, or a decompression bomb.
    """
    size = DecompressedSize(path.stat().st_size, quoted(name))
    with contextlib.closing(_open_members(path, form, name)) as found:
        while True:
            try:
                member = next(found, None)
            except DataError:
                raise
            except Exception as error:  # tarfile and zipfile raise many types for a damaged archive
                raise DataError(f"cannot read the archive {quoted(name)}: {reason(error)}") from error
            if member is None:
                return
            title, stream = member
            size.count(MEMBER_BYTES)
            if not is_hidden_member(title):
                yield _clean(title), size.watch(read_chunks(stream, f"{name}/{_clean(title)}"))


def _open_members(path: Path, form: FileForm, name: str) -> Generator[tuple[str, BinaryIO], None, None]:
    stream, _ = open_decompressed(path)
    with contextlib.closing(stream):
        if form.kind == "tar":
            with tarfile.open(fileobj=cast(BinaryIO, _LimitedFile(stream, path, name)), mode="r|") as tar:
                for info in tar:
                    content = tar.extractfile(info) if info.isfile() else None
                    if content is not None:
                        yield info.name, cast(BinaryIO, content)
            return
        with zipfile.ZipFile(stream) as archive:
            for entry in archive.infolist():
                if entry.flag_bits & 1:
                    raise DataError(f"{quoted(name)} is an encrypted archive; unpack it first")
                if not entry.is_dir():
                    with archive.open(entry) as member:
                        yield _zip_title(entry), cast(BinaryIO, member)


def _zip_title(entry: zipfile.ZipInfo) -> str:
    """A member's name. Without a flag it is in the encoding of the system that made it; zipfile assumes that of DOS."""
    if entry.flag_bits & 0x800 or entry.filename.isascii():
        return entry.filename
    raw = entry.filename.encode("cp437", "replace")
    for codec in ("utf-8", "gb18030"):
        with contextlib.suppress(UnicodeDecodeError):
            return raw.decode(codec)
    return entry.filename


def _clean(title: str) -> str:
    """A member's name with slashes, without those that would lead out of the archive if it were a path."""
    parts = [part for part in title.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return "/".join(parts)


class _LimitedFile:
    """A tar archive whose headers count too: tarfile keeps names and comments of any length in memory."""

    def __init__(self, stream: BinaryIO, path: Path, name: str) -> None:
        self._stream, self._size = stream, DecompressedSize(path.stat().st_size, quoted(name))

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._size.count(len(data) // 2)  # headers and padding may take as much as the members themselves
        return data
