"""Files of tensors in the safetensors format, read strictly and, where they are large, mapped instead of read.

A file is a length of 8 bytes, a JSON header of that length, and the numbers. Nothing in it can run code, and nothing of
it is believed: a header of a size that no honest file has, tensors that overlap, leave gaps or end beyond the file, and
types that nobody asked for are one error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.errors import ModelError
from seqgen.streams import reason

MAX_HEADER_BYTES = 1 << 20  # bytes: an honest one has some hundreds
_KINDS = {"U8": "u1", "I32": "<i4", "I64": "<i8", "F32": "<f4"}

Arrays = dict[str, npt.NDArray[Any]]


def parse(data: bytes | memoryview, name: str) -> tuple[Arrays, dict[str, str]]:
    """The tensors of a file, as views into `data` that can't be written to, and its metadata.

    Raises:
        ModelError: whatever is wrong with it; `name`, quoted, begins the sentence.
    """
    view = memoryview(data)
    if len(view) < 8:
        raise ModelError(f"{name!r} is damaged or truncated: it has {len(view)} bytes")
    size = int.from_bytes(view[:8], "little")
    if size > MAX_HEADER_BYTES:
        raise ModelError(f"{name!r} is no file of tensors: its header would have {size:,} bytes")
    if 8 + size > len(view):
        raise ModelError(f"{name!r} is damaged or truncated: it ends within its header")
    try:
        header = json.loads(bytes(view[8 : 8 + size]))
        metadata = header.pop("__metadata__", {})
        if not all(isinstance(value, str) for value in metadata.values()):
            raise ValueError("its metadata is no text")
        return _cut(header, view[8 + size :]), metadata
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(f"{name!r} is damaged or truncated: {reason(error)}") from error


def _cut(header: Mapping[str, Any], body: memoryview) -> Arrays:
    """The tensors that `header` describes, if they fill `body` from its first byte to its last."""
    found: Arrays = {}
    place = 0
    for title, about in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        if about["dtype"] not in _KINDS:
            raise ValueError(f"{title[:40]!r} is of a type that is not read here")
        kind, shape, (start, stop) = np.dtype(_KINDS[about["dtype"]]), about["shape"], about["data_offsets"]
        whole = all(type(length) is int and length >= 0 for length in (*shape, start, stop))
        if not whole or start != place or stop - start != kind.itemsize * math.prod(shape) or stop > len(body):
            raise ValueError(f"{title[:40]!r} is not where it should be")
        array = np.frombuffer(body[start:stop], dtype=kind).reshape(shape)
        array.flags.writeable = False
        found[title], place = array, stop
    if place != len(body):
        raise ValueError("it holds more than it says")
    return found


def mmap_file(path: Path) -> tuple[Arrays, dict[str, str]]:
    """The tensors of a file on disk, mapped: read from there when they are looked at. Raises `ModelError`."""
    try:
        data = np.memmap(path, dtype=np.uint8, mode="r")
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {str(path)!r}: {reason(error)}") from error
    return parse(data.data, str(path))


def dump(arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """The file that holds these tensors: the same bytes for the same content, which `safetensors` does not promise."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    parts, place = [], 0
    # The widest first, so that each begins where numbers of its kind may.
    for name, array in sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])):
        kind = next(title for title, dtype in _KINDS.items() if np.dtype(dtype) == array.dtype)
        parts.append(np.ascontiguousarray(array).tobytes())
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [place, place + len(parts[-1])]}
        place += len(parts[-1])
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers begin where they can be mapped
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])
