"""Token ids on the disk."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqgen.corpus import ids
from seqgen.errors import DataError, UserError
from tests.helpers.documents import QUICK, is_one_line, write_file

# ---- Ids on the disk ----


@pytest.mark.parametrize(
    ("vocab_size", "dtype"),
    [(2, "uint8"), (256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "uint32"), (1 << 20, "uint32")],
)
def test_build_and_load_return_the_ids_in_the_narrowest_dtype(vocab_size: int, dtype: str, tmp_path: Path) -> None:
    top, end = vocab_size - 1, vocab_size - 2
    pieces = [np.array([0, top], dtype=np.int32), np.empty(0, dtype=np.int32), np.array([top], dtype=np.int32)]
    path = tmp_path / "new" / "x.ids"
    built = ids.build(path, [(iter(pieces), True), ([], True), ([pieces[0]], True)], vocab_size, end)
    stored = ids.load(path)
    assert stored is not None
    for stream in (built, stored):
        assert stream.ids.dtype == np.dtype(dtype) == ids.id_dtype(vocab_size)
        assert stream.ids.tolist() == [end, 0, top, top, end, end, 0, top]
        assert len(stream) == 8
        assert stream.false_ends.tolist() == []
        assert stream.false_ends.dtype == np.int64
    assert path.stat().st_size == 8 * np.dtype(dtype).itemsize
    assert isinstance(stored.ids, np.memmap)  # a corpus may be larger than memory
    assert {each.name for each in path.parent.iterdir()} == {"x.ids", "x.json"}


@given(parts=st.lists(st.tuples(st.lists(st.lists(st.integers(1, 299), max_size=4), max_size=3), st.booleans()),
                      min_size=1, max_size=5))  # fmt: skip
@QUICK
def test_build_of_a_cut_part_records_a_false_end(scratch: Path, parts: list[tuple[list[list[int]], bool]]) -> None:
    arrays = [([np.array(piece, dtype=np.int32) for piece in pieces], whole) for pieces, whole in parts]
    stream = ids.build(scratch / "x.ids", iter(arrays), 300, 0)
    expected: list[int] = []
    starts = []
    for pieces, _ in parts:
        starts.append(len(expected))
        expected += [0, *(token for piece in pieces for token in piece)]
    assert stream.ids.tolist() == expected
    # The `end` after a part belongs to the next one; position 0 follows the last.
    following = [*starts[1:], 0]
    cut = sorted(position for position, (_, whole) in zip(following, parts, strict=True) if not whole)
    assert stream.false_ends.tolist() == cut
    assert all(stream.ids[position] == 0 for position in stream.false_ends)


def built(folder: Path) -> Path:
    path = folder / "x.ids"
    ids.build(path, [([np.arange(100, dtype=np.int32)], False)], 300, 299)
    return path


@pytest.mark.parametrize("size", [0, 1, 201, 203, 400])
def test_load_of_ids_of_another_length_returns_none(size: int, tmp_path: Path) -> None:
    path = built(tmp_path)
    path.write_bytes((path.read_bytes() * 2)[:size])
    assert ids.load(path) is None


def test_load_of_missing_files_returns_none(tmp_path: Path) -> None:
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
def test_load_of_a_damaged_index_returns_none(index: bytes, tmp_path: Path) -> None:
    path = built(tmp_path)
    assert json.loads(path.with_suffix(".json").read_bytes()) == INDEX
    path.with_suffix(".json").write_bytes(index)
    assert ids.load(path) is None


def test_build_that_fails_leaves_nothing_to_load(tmp_path: Path) -> None:
    def pieces() -> Iterator[np.ndarray]:
        yield np.arange(10, dtype=np.int32)
        raise DataError("the source ended")

    with pytest.raises(DataError, match="the source ended"):
        ids.build(tmp_path / "x.ids", [(pieces(), True)], 300, 299)
    assert list(tmp_path.iterdir()) == []


def test_build_again_replaces_the_ids(tmp_path: Path) -> None:
    path = built(tmp_path)
    ids.build(path, [([np.array([7], dtype=np.int32)], True)], 70_000, 69_999)
    stored = ids.load(path)
    assert stored is not None
    assert stored.ids.tolist() == [69_999, 7]
    assert stored.false_ends.tolist() == []


def test_build_in_a_read_only_folder_raises_user_error(tmp_path: Path) -> None:
    path = write_file(tmp_path / "file") / "x.ids"
    with pytest.raises(UserError, match="cannot write") as error:
        ids.build(path, [([np.array([7], dtype=np.int32)], True)], 300, 0)
    assert is_one_line(error)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_reading_all_of_a_mapped_stream_does_not_fill_the_memory(tmp_path: Path) -> None:
    def resident() -> int:
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(lines["RssFile"].split()[0]) * 1024

    count = 150_000_000
    piece = np.arange(1 << 20, dtype=np.int32) % 250
    stream = ids.build(
        tmp_path / "x.ids", [((piece for _ in range(count // len(piece))), True)], 300, 299
    )  # 300 MB  # fmt: skip
    before, most = resident(), 0
    positions = np.arange(1 << 18)
    for start in range(0, len(stream) - len(positions), len(positions)):
        taken = stream.take(positions + start)
        most = max(most, resident() - before)
    assert taken.max() == 249
    assert most < 120e6  # instead of 300 MB
