"""A limit for untrusted Arrow files, checked before their rows are read: what their compressed buffers need in memory.

Format: https://arrow.apache.org/docs/format/Columnar.html (encapsulated messages, buffer compression). A compressed
buffer begins with its size after decompression. The positions of the buffers are in a flatbuffer of each message, which
pyarrow parses but does not expose.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seqgen.streams import DecompressedSize

_MAGIC = b"ARROW1\0\0"  # of a file; what follows is a stream, with an index behind it
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3  # types of messages with buffers


def check_decompressed_size(path: Path) -> None:
    """Refuse a decompression bomb, as an Arrow file or stream.

    Raises:
        DataError: its buffers decompress to more than its size allows.
    """
    pyarrow: Any = importlib.import_module("pyarrow")
    total = 0
    with pyarrow.memory_map(str(path)) as file:
        file.seek(len(_MAGIC) if file.read(len(_MAGIC)) == _MAGIC else 0)
        try:
            for message in pyarrow.ipc.MessageReader.open_stream(file):
                total += sum(_decompressed_sizes(memoryview(message.metadata), memoryview(message.body or b"")))
        except (struct.error, pyarrow.ArrowInvalid, OSError):  # damaged: the reader says it better
            pass
    DecompressedSize(path.stat().st_size, "it").check(total)


def _decompressed_sizes(metadata: memoryview, body: memoryview) -> Iterator[int]:
    """Yield the size of each compressed buffer of a message. Raises `struct.error` if it is damaged."""
    message = _number("<I", metadata, 0)
    kind = _field(metadata, message, 1)
    header = _field(metadata, message, 2)
    if not kind or not header or metadata[kind] not in (_DICTIONARY_BATCH, _RECORD_BATCH):
        return
    batch = header + _number("<I", metadata, header)
    if metadata[kind] == _DICTIONARY_BATCH:
        data = _field(metadata, batch, 1)
        batch = data + _number("<I", metadata, data)
    buffers = _field(metadata, batch, 2)
    if not buffers or not _field(metadata, batch, 3):  # no compression
        return
    vector = buffers + _number("<I", metadata, buffers)
    for index in range(_number("<I", metadata, vector)):
        offset, length = struct.unpack_from("<qq", metadata, vector + 4 + 16 * index)
        if length >= 8:
            yield max(0, _number("<q", body, offset))  # −1: this one is not compressed


def _field(metadata: memoryview, table: int, number: int) -> int:
    """The position of a field of a flatbuffer's table, 0 if it is left out."""
    offsets = table - _number("<i", metadata, table)
    if 4 + 2 * number >= _number("<H", metadata, offsets):
        return 0
    offset = _number("<H", metadata, offsets + 4 + 2 * number)
    return table + offset if offset else 0


def _number(form: str, data: memoryview, position: int) -> int:
    if position < 0:  # counted from the end otherwise
        raise struct.error
    number: int = struct.unpack_from(form, data, position)[0]
    return number
