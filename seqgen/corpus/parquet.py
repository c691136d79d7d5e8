"""Parquet files as they may come from strangers: a word that stands in many rows is in the file once, and in memory
once a row. What a file unfolds to is told from it before it is read."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from seqgen.errors import DataError
from seqgen.streams import DECOMPRESSION_HEADROOM, MAX_DECOMPRESSION_RATIO

STRING_TYPES = ("string", "large_string", "binary", "large_binary")  # types of columns
_AT_ONCE = 1000  # rows, where they are of a usual length
_MOST_AT_ONCE = 1 << 24  # bytes of them
_LONGEST = 1 << 28  # bytes of a word: no text is that long


def check_decompressed_size(metadata: Any, size: int, name: str, in_memory: bool = True) -> None:
    """Raises `DataError` where a file says that far more is in it than any honest one of its size holds.

    Of its parts only what is said of all columns is asked for: pyarrow ends the process over a damaged column.

    Args:
        in_memory: whether all of its rows are to be held.
    """
    unfolded = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    largest = max(8 * metadata.num_rows * metadata.num_columns * in_memory, unfolded)
    if largest > MAX_DECOMPRESSION_RATIO * size + DECOMPRESSION_HEADROOM:
        raise DataError(f"{name} is refused: it unfolds to {largest:,} bytes, which no honest file of its size does")


def safe_batch_size(path: Path) -> int:
    """How many rows of a file can be held together, its longest words in each of them.

    Raises:
        DataError: it holds what no honest file does.
    """
    parquet: Any = importlib.import_module("pyarrow.parquet")
    compute: Any = importlib.import_module("pyarrow.compute")
    # Those that were written from a dictionary say so, and are one when they are read.
    words = [
        field.name
        for field in parquet.read_schema(path)
        if str(getattr(field.type, "value_type", field.type)) in STRING_TYPES and field.type.num_fields == 0
    ]
    with parquet.ParquetFile(path, read_dictionary=words) as file:
        check_decompressed_size(file.metadata, path.stat().st_size, "it", in_memory=False)
        longest = dict.fromkeys(words, 1)
        for batch in file.iter_batches(batch_size=_AT_ONCE, columns=words, use_threads=False) if words else ():
            for name in words:
                length = compute.max(compute.binary_length(batch.column(name).dictionary)).as_py()
                longest[name] = max(longest[name], length or 0)
    most = sum(longest.values())
    if most > _LONGEST:
        raise DataError(f"a row of it may have {most:,} bytes, which is no text")
    return max(1, min(_AT_ONCE, _MOST_AT_ONCE // max(most, 1)))
