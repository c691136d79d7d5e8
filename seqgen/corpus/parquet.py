"""Limits for untrusted Parquet files, checked before their rows are read.

A string that many rows share is stored once in the file, but takes memory for every row.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from seqgen.errors import DataError
from seqgen.streams import DecompressedSize

STRING_TYPES = ("string", "large_string", "binary", "large_binary")  # column types
_BATCH_ROWS = 1000
_BATCH_BYTES = 1 << 24  # fewer rows if they may be longer
_MAX_ROW_BYTES = 1 << 28


def check_decompressed_size(metadata: Any, size: int, name: str, in_memory: bool = True) -> None:
    """Refuse a decompression bomb.

    Reads only the metadata of whole row groups: pyarrow kills the process over those of a damaged column.

    Args:
        metadata: pyarrow's metadata of the file.
        size: bytes of the file.
        name: what to call it in the error message.
        in_memory: whether all rows will be in memory at once.

    Raises:
        DataError: the file decompresses to more than its size allows.
    """
    decompressed = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    DecompressedSize(size, name).check(max(8 * metadata.num_rows * metadata.num_columns * in_memory, decompressed))


def safe_batch_size(path: Path) -> int:
    """Return how many rows of a file fit into a batch, if each has the longest strings of the file.

    Raises:
        DataError: the file is a decompression bomb, or a row may have more than 256 MiB of text.
    """
    parquet: Any = importlib.import_module("pyarrow.parquet")
    compute: Any = importlib.import_module("pyarrow.compute")
    # A column written from a dictionary has its type in `value_type`, and is read as a dictionary.
    strings = [
        field.name
        for field in parquet.read_schema(path)
        if str(getattr(field.type, "value_type", field.type)) in STRING_TYPES and field.type.num_fields == 0
    ]
    with parquet.ParquetFile(path, read_dictionary=strings) as file:
        check_decompressed_size(file.metadata, path.stat().st_size, "it", in_memory=False)
        longest = dict.fromkeys(strings, 1)
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=strings, use_threads=False) if strings else ():
            for name in strings:
                length = compute.max(compute.binary_length(batch.column(name).dictionary)).as_py()
                longest[name] = max(longest[name], length or 0)
    row_bytes = sum(longest.values())
    if row_bytes > _MAX_ROW_BYTES:
        raise DataError(f"it is refused: one of its rows may have {row_bytes:,} bytes of text")
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(row_bytes, 1)))
