"""A strict reader and writer of safetensors files, which maps large files into memory.

A file is a length of 8 bytes, a JSON header of that length, and the data. The reader treats it as untrusted input: it
refuses oversized headers, unknown dtypes, and tensors that overlap, leave gaps or end beyond the file.
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

MAX_HEADER_BYTES = 1 << 20  # a real header has a few hundred bytes
_DTYPES = {"U8": "u1", "I32": "<i4", "I64": "<i8", "F32": "<f4"}

Arrays = dict[str, npt.NDArray[Any]]


def parse(data: bytes | memoryview, name: str) -> tuple[Arrays, dict[str, str]]:
    """Parse a file into its tensors, read-only views of `data`, and its metadata.

    Raises:
        ModelError: the file is damaged; the message begins with `name`.
    """
    view = memoryview(data)
    if len(view) < 8:
        raise ModelError(f"{name!r} is damaged or truncated: it has {len(view)} bytes")
    size = int.from_bytes(view[:8], "little")
    if size > MAX_HEADER_BYTES:
        raise ModelError(f"{name!r} is not a safetensors file: its header would have {size:,} bytes")
    if 8 + size > len(view):
        raise ModelError(f"{name!r} is damaged or truncated: it ends within its header")
    try:
        header = json.loads(bytes(view[8 : 8 + size]))
        metadata = header.pop("__metadata__", {})
        if not all(isinstance(value, str) for value in metadata.values()):
            raise ValueError("its metadata is not text")
        return _split(header, view[8 + size :]), metadata
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(f"{name!r} is damaged or truncated: {reason(error)}") from error


def _split(header: Mapping[str, Any], body: memoryview) -> Arrays:
    """The tensors that `header` describes, which must fill `body` exactly."""
    tensors: Arrays = {}
    offset = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        if entry["dtype"] not in _DTYPES:
            raise ValueError(f"{name[:40]!r} has an unsupported dtype")
        dtype, shape, (start, stop) = np.dtype(_DTYPES[entry["dtype"]]), entry["shape"], entry["data_offsets"]
        valid = all(type(length) is int and length >= 0 for length in (*shape, start, stop))
        if not valid or start != offset or stop - start != dtype.itemsize * math.prod(shape) or stop > len(body):
            raise ValueError(f"{name[:40]!r} has wrong offsets")
        array = np.frombuffer(body[start:stop], dtype=dtype).reshape(shape)
        array.flags.writeable = False
        tensors[name], offset = array, stop
    if offset != len(body):
        raise ValueError("there are bytes after the last tensor")
    return tensors


def mmap_file(path: Path) -> tuple[Arrays, dict[str, str]]:
    """Map a file into memory and parse it. Raises `ModelError` if it can't be read or is damaged."""
    try:
        data = np.memmap(path, dtype=np.uint8, mode="r")
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {str(path)!r}: {reason(error)}") from error
    return parse(data.data, str(path))


def dump(arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """Serialize tensors. Equal content gives equal bytes, which `safetensors` does not promise."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    parts, offset = [], 0
    # By falling item size, so that every tensor is aligned.
    for name, array in sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])):
        dtype = next(code for code, numpy_dtype in _DTYPES.items() if np.dtype(numpy_dtype) == array.dtype)
        parts.append(np.ascontiguousarray(array).tobytes())
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, offset + len(parts[-1])]}
        offset += len(parts[-1])
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # aligns the data for mapping
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])
