"""Tensor files: the round trip, and one error message for any damage."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.errors import ModelError
from seqgen.tensors import MAX_HEADER_BYTES, dump, mmap_file, parse

ARRAYS = {
    "letters": np.frombuffer(b"a tale", dtype=np.uint8),
    "places": np.array([[3, 1], [2, 0]], dtype=np.int32),
    "steps": np.array([1 << 40, -5]),
    "weights": np.array([0.5, -1], dtype=np.float32),
    "nothing": np.zeros(0, dtype=np.float32),
}
WHOLE = dump(ARRAYS, {"what": "a test"})


def made(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


@pytest.mark.parametrize("size", range(9))
def test_dump_aligns_the_data_for_mapping(size: int) -> None:
    data = dump(ARRAYS, {"what": "a" * size})
    assert int.from_bytes(data[:8], "little") % 8 == 0
    assert all(array.flags.aligned for array in parse(data, "a file")[0].values())


def test_dump_parse_round_trip(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(WHOLE)
    for arrays, metadata in (parse(WHOLE, "a file"), mmap_file(tmp_path / "file")):
        assert metadata == {"what": "a test"}
        assert set(arrays) == set(ARRAYS)
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(arrays[name], array)
            assert arrays[name].dtype == array.dtype
            assert not arrays[name].flags.writeable


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes"),
        (b"\1\0\0", "3 bytes"),
        ((1 << 60).to_bytes(8, "little") + b"{}", "header"),
        ((MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b" " * (MAX_HEADER_BYTES + 1), "header"),
        ((100).to_bytes(8, "little") + b"{}", "ends within its header"),
        (made(b"no json"), "damaged"),
        (made(b"[" * 100_000), "damaged"),
        (made([]), "damaged"),
        (made({"__metadata__": {"a": 1}}), "metadata"),
        (made({"__metadata__": []}), "damaged"),
        (made({"a": 3}), "damaged"),
        (made({"a": {**ENTRY, "dtype": "F64"}}, b"\0" * 8), "type"),
        (made({"a": {**ENTRY, "dtype": ["F32"]}}, b"\0" * 8), "damaged"),
        (made({"a": {**ENTRY, "shape": [-2]}}, b"\0" * 8), "wrong offsets"),
        (made({"a": {**ENTRY, "shape": [True, 2]}}, b"\0" * 8), "wrong offsets"),
        (made({"a": {**ENTRY, "shape": [1 << 40, 1 << 40]}}, b"\0" * 8), "wrong offsets"),
        (made({"a": ENTRY}, b"\0" * 7), "wrong offsets"),
        (made({"a": ENTRY}, b"\0" * 9), "bytes after the last tensor"),
        (made({"a": {**ENTRY, "data_offsets": [1, 9]}}, b"\0" * 9), "wrong offsets"),
        (made({"a": ENTRY, "b": {**ENTRY, "data_offsets": [4, 12]}}, b"\0" * 12), "wrong offsets"),
        (made({"a": ENTRY, "b": {**ENTRY, "data_offsets": [12, 20]}}, b"\0" * 20), "wrong offsets"),
        (made({"a": {"shape": [2]}}), "damaged"),
    ],
)  # fmt: skip
def test_parse_damaged_file_raises_model_error(data: bytes, words: str) -> None:
    with pytest.raises(ModelError, match=words) as raised:
        parse(data, "a file")
    assert str(raised.value).startswith("'a file'")
    assert "\n" not in str(raised.value)


@given(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=3), st.booleans())
@settings(max_examples=300)
def test_parse_mutated_file_is_read_or_refused(position: int, bytes_: bytes, cut: bool) -> None:
    changed = WHOLE[:position] if cut else WHOLE[:position] + bytes_ + WHOLE[position + len(bytes_) :]
    try:
        arrays, _ = parse(changed, "a file")
    except ModelError:
        return
    assert not cut
    assert sum(array.nbytes for array in arrays.values()) == sum(array.nbytes for array in ARRAYS.values())


def test_mmap_file_missing_file_raises_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot read"):
        mmap_file(tmp_path / "nothing")
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(ModelError, match="cannot read"):
        mmap_file(tmp_path / "empty")
