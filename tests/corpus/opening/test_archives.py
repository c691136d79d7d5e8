"""The members of archives: their names, what is left out, and how large they may be."""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path

import pytest

from seqgen import streams
from seqgen.corpus.opening import FileForm, archives
from seqgen.errors import DataError
from tests.helpers.documents import write_file, zipped


def tarred(members: dict[str, bytes], comment: str = "") -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = len(data), {"comment": comment} if comment else {}
            archive.addfile(info, io.BytesIO(data))
        for type, name in ((tarfile.SYMTYPE, "link"), (tarfile.LNKTYPE, "hard"), (tarfile.FIFOTYPE, "pipe"),
                           (tarfile.DIRTYPE, "folder")):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.type, info.linkname = type, next(iter(members))
            archive.addfile(info)
    return whole.getvalue()


def read(path: Path, kind: str) -> list[tuple[str, bytes]]:
    found = archives.members(path, FileForm(kind=kind), path.name)
    return [(name, b"".join(chunks)) for name, chunks in found]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_members_names_lead_nowhere_and_hidden_files_are_left_out(kind: str, tmp_path: Path) -> None:
    names = ["b/c.txt", "../../a.txt", "/etc/x", "b\\d.txt", "./e//f"]
    names += [".hidden", "b/.git/x", "__MACOSX/._a", "b/~$c.docx", ".."]
    pack = zipped if kind == "zip" else tarred
    path = write_file(tmp_path / "a", pack({name: name.encode() for name in names}))
    assert read(path, kind) == [
        ("b/c.txt", b"b/c.txt"), ("a.txt", b"../../a.txt"), ("etc/x", b"/etc/x"), ("b/d.txt", b"b\\d.txt"),
        ("e/f", b"./e//f"),
    ]  # fmt: skip


def test_members_of_a_zip_have_the_names_that_their_writers_meant(tmp_path: Path) -> None:
    """Without the flag for UTF-8 a name is in the encoding of a system, which nothing tells."""
    names = {"utf-8": "café", "gb18030": "第一章", "cp437": "café"}
    data = zipped({"flagged é.txt": b"", "plain.txt": b"", **{f"NAME {codec}.txt": b"" for codec in names}, "d/": b""})
    for codec, name in names.items():
        raw = name.encode(codec)
        old = f"NAME {codec}".encode()
        data = data.replace(old, raw.ljust(len(old), b"."))
    found = [re.sub(r"\.+", ".", name) for name, _ in read(write_file(tmp_path / "a.zip", data), "zip")]
    assert found == ["flagged é.txt", "plain.txt", "café.txt", "第一章.txt", "café.txt"]


def limit(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Let any file decompress to `size` bytes."""
    monkeypatch.setattr(streams, "MAX_DECOMPRESSION_RATIO", 0)
    monkeypatch.setattr(streams, "DECOMPRESSION_HEADROOM", size)


def test_members_count_their_bytes_their_number_and_half_of_the_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = {str(number): b"x" for number in range(100)}  # 100 × (512 + 1) bytes, half of the file is 56,320
    for kind, data in (("tar", tarred(many)), ("zip", zipped(many))):
        path = write_file(tmp_path / kind, data)
        limit(monkeypatch, 57_000)
        assert dict(read(path, kind)) == many
        limit(monkeypatch, 51_000)
        with pytest.raises(DataError, match="refused as a decompression bomb"):
            read(path, kind)
    limit(monkeypatch, 50_000)
    assert read(write_file(tmp_path / "a.tar", tarred({"a": b"x"}, "y" * 80_000)), "tar") == [("a", b"x")]
    with pytest.raises(DataError, match="refused as a decompression bomb"):
        read(write_file(tmp_path / "a.tar", tarred({"a": b"x"}, "y" * 100_000)), "tar")
    assert [name for name, _ in read(write_file(tmp_path / "b.tar", tarred({"a": b"x" * 49_000})), "tar")] == ["a"]
    with pytest.raises(DataError, match="refused as a decompression bomb"):
        read(write_file(tmp_path / "b.tar", tarred({"a": b"x" * 50_000})), "tar")
