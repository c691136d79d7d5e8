"""Arrow files: one that decompresses to far more than its size is refused, before its rows are read."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqgen.corpus.arrow import check_decompressed_size
from seqgen.errors import DataError
from seqgen.streams import DECOMPRESSION_HEADROOM


def write(path: Path, text: pa.Array, codec: str | None, stream: bool) -> Path:
    table = pa.table({"id": list(range(len(text))), "text": text})
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with new(path, table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_table(table)
    return path


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
@pytest.mark.parametrize("stream", [False, True], ids=["file", "stream"])
@pytest.mark.parametrize("dictionary", [False, True], ids=["plain", "dictionary"])
def test_check_decompressed_size_refuses_a_bomb(codec: str, stream: bool, dictionary: bool, tmp_path: Path) -> None:
    long = pa.array(["x" * (8 * DECOMPRESSION_HEADROOM)])
    path = write(tmp_path / "a.arrow", long.dictionary_encode() if dictionary else long, codec, stream)
    with pytest.raises(DataError, match=r"refused as a decompression bomb: it decompresses to \d+,"):
        check_decompressed_size(path)


@pytest.mark.parametrize("codec", [None, "zstd", "lz4"])
@pytest.mark.parametrize("stream", [False, True], ids=["file", "stream"])
def test_check_decompressed_size_accepts_ordinary_files(codec: str | None, stream: bool, tmp_path: Path) -> None:
    check_decompressed_size(write(tmp_path / "a.arrow", pa.array(["some text", "more"] * 500), codec, stream))


@given(data=st.data())
def test_check_decompressed_size_survives_damage(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = write(tmp_path_factory.mktemp("arrow") / "a.arrow", pa.array(["some text"] * 50), "zstd", True)
    damaged = bytearray(path.read_bytes())
    for position, value in data.draw(st.lists(st.tuples(st.integers(0, len(damaged) - 1), st.integers(0, 255)))):
        damaged[position] = value
    path.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    with contextlib.suppress(DataError):
        check_decompressed_size(path)
