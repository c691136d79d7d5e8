"""Random mutations of files: JSON, safetensors, members of zip archives, and bytes."""

from __future__ import annotations

import contextlib
import io
import json
import math
import random
import struct
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

from tests.helpers.untrusted_readers import Reader

MAX_BYTES = 4 << 20  # of an input: memory is to be exhausted by headers, not by size

ODD_VALUES: list[Any] = [
    0, -1, 1, 2**31, 2**63, 10**30, 10**400, 1 << 24, 1 << 16, 65, 0.5, -0.0, 1e308, float("inf"), float("nan"), True,
    False, None, "", "a", "\x1b[31mred\x1b]0;title\x07", "\u202e", "\ud800", "\udcff", "x" * 5000, "a\nb\r\n",
    "../../etc", "/etc/passwd", "\0", "中", [], {}, [[]], {"": 0}, [0] * 300, ["a"] * 300, list(range(256)),
    {"kind": "char"}, [None], [1e999], "hf:a/b", "lstm", "dialogue", "labelled", "series",
]  # fmt: skip


def nested_value(rng: random.Random) -> Any:
    """A value nested in many lists or objects."""
    value: Any = 0
    for _ in range(rng.choice([3, 70, 400, 900])):
        value = [value] if rng.random() < 0.5 else {"text": value, "kind": "dialogue"}
    return value


def mutate_value(value: Any, rng: random.Random) -> Any:
    """Change one item of a JSON value in place."""
    items: list[tuple[Any, Any]] = []
    pending = [value]
    while pending and len(items) < 20_000:
        item = pending.pop()
        keys: Any = list(item) if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ()
        items += [(item, key) for key in keys]
        pending += [item[key] for key in keys if isinstance(item[key], (dict, list))]
    if not items or rng.random() < 0.02:
        return rng.choice(ODD_VALUES)
    item, key = rng.choice(items[: rng.choice([8, 40, 20_000])])
    choice = rng.randrange(6)
    if choice == 0:
        del item[key]
    elif choice == 1 and isinstance(item, dict):
        item[rng.choice([f"{key}2", "", "\x1b", "kind", "step"])] = item.pop(key)
    elif choice == 2 and isinstance(item[key], (int, float)) and not isinstance(item[key], bool):
        item[key] = rng.choice([item[key] + 1, item[key] - 1, -item[key], item[key] * 2, item[key] * 1000 + 7, 0])
    elif choice == 3 and isinstance(item, list):
        item.insert(rng.randrange(len(item) + 1), item[key])
    elif choice == 4 and rng.random() < 0.3:
        item[key] = nested_value(rng)
    else:
        item[key] = rng.choice(ODD_VALUES)
    return value


def mutate_json(data: bytes, rng: random.Random) -> bytes:
    """Change one to three items of a JSON text, or of one of its lines."""
    lines = data.split(b"\n") if data.count(b"\n{") else [data]
    start = rng.randrange(len(lines))
    try:
        value = json.loads(lines[start])
        for _ in range(rng.choice([1, 1, 2, 3])):
            value = mutate_value(value, rng)
        lines[start] = json.dumps(value, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError, OverflowError):
        return mutate_bytes(data, rng)
    return b"\n".join(lines)


ODD_BYTES = [
    b"\0", b"\xff", b"\x1b[31m", b"\xe2\x80\xae", b"\r\n", b"\n", b'"', b"'", b",", b";", b"\t", b"{", b"[" * 50,
    b"}", b"]", b"__label__", b"__eou__", b"- - ", b": ", b"|", b"\\", b"\\u0041", b"\\ud800", b"1e999", b"-1",
    b"9" * 400, b"9" * 5000, "²".encode(), b"nan", b"MTrk", b"MThd", b"\xff\x51\x03\0\0\0",
    b"\xff\x58\x04\xff\xff\x18\x08",
    b"\xff\xff\xff\xff\x7f", b"\xf0\x87\xff\xff\x7f", b"\x90\x3c\x40", b"PAR1", b"PK\x03\x04", b"../" * 8, b"/",
    b" " * 3000, b"a" * 3000, b'"' * 300, b"- " * 300, b"2023-01-01", b"1.234,5", b"%", b"\xc3\x28",
    "\u2028".encode(), "文".encode(), "文".encode("gb18030"), b"\xfe\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"#",
    b"sep=;\n",
]  # fmt: skip


DTYPE_SIZES = {"U8": 1, "I8": 1, "BOOL": 1, "F8_E4M3": 1, "F16": 2, "BF16": 2, "I32": 4, "F32": 4, "I64": 8, "F64": 8}


def mutate_bytes(data: bytes, rng: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """Change, cut, repeat or replace bytes, some of them by bytes of `others`."""
    found = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        start = rng.randrange(len(found) + 1)
        length = rng.choice([1, 2, 4, 8, 64, 1000])
        choice = rng.randrange(9)
        if choice == 0:
            found[start : start + length] = rng.randbytes(length)
        elif choice == 1:
            del found[start : start + length]
        elif choice == 2:
            found[start:start] = rng.choice(ODD_BYTES)
        elif choice == 3:
            found[start:start] = found[start : start + length] * rng.choice([1, 3, 200])
        elif choice == 4 and found:
            found[start % len(found)] ^= 1 << rng.randrange(8)
        elif choice == 5:
            found[start : start + 4] = rng.choice(
                [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\1", b"\1\0\0\0"]
            )
        elif choice == 6:
            del found[start:]
        elif choice == 7 and others:
            other = rng.choice(others)
            begin = rng.randrange(len(other) + 1)
            found[start : start + length] = other[begin : begin + length]
        else:
            found[start : start + length] = rng.choice(ODD_BYTES)
    return bytes(found[:MAX_BYTES])


def retyped_tensor(header: dict[str, Any], body: bytes, rng: random.Random) -> bytes:
    """A safetensors file with one tensor of another dtype, in a file that is right in itself."""
    metadata = header.pop("__metadata__", {})
    chosen, parts, offset = rng.choice(sorted(header)), [], 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = entry["data_offsets"]
        part = body[start:stop]
        if name == chosen:
            entry["dtype"], size = rng.choice(list(DTYPE_SIZES.items()))
            part = part.ljust(size * math.prod(entry["shape"]), b"\x01")[: size * math.prod(entry["shape"])]
        entry["data_offsets"] = [offset, offset + len(part)]
        offset += len(part)
        parts.append(part)
    text = json.dumps({"__metadata__": metadata, **header}).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


def mutate_safetensors(data: bytes, rng: random.Random) -> bytes:
    """Change the header of a safetensors file, or its length."""
    try:
        (size,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + size])
    except (struct.error, ValueError):
        return mutate_bytes(data, rng)
    if rng.random() < 0.2 and header.keys() - {"__metadata__"}:
        return retyped_tensor(header, data[8 + size :], rng)
    text = mutate_json(json.dumps(header).encode(), rng)
    length = len(text) if rng.random() < 0.9 else rng.choice([0, 1, len(text) + 1, 1 << 31, (1 << 63) - 1])
    return struct.pack("<Q", length) + text + data[8 + size :]


def mutate_member(data: bytes, rng: random.Random) -> bytes:
    """Change the bytes of one member of a zip archive, or sometimes its name, and keep the rest intact."""
    result = io.BytesIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings(action="ignore"))  # two members of one name
        archive = stack.enter_context(zipfile.ZipFile(io.BytesIO(data)))
        changed = stack.enter_context(zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED))
        names = archive.namelist()
        chosen = rng.choice(names)
        for name in names:
            content = archive.read(name)
            if name == chosen and rng.random() < 0.1:
                name = rng.choice([f"../{name}", f"{name}/", name.upper(), "a", "/etc/a", "xl/workbook.xml"])
            elif name == chosen:
                content = mutate_bytes(content, rng)
            changed.writestr(name, content)
    return result.getvalue()


def mutate(reader: Reader, rng: random.Random) -> bytes:
    """A mutation of one of the reader's seeds."""
    data = rng.choice(reader.seeds) if reader.seeds else b""
    if reader.is_json and rng.random() < 0.85:
        return mutate_json(data, rng)
    if data[8:10] == b'{"' and rng.random() < 0.8:
        return mutate_safetensors(data, rng)
    if data.startswith(b"PK\x03\x04") and rng.random() < 0.7:
        return mutate_member(data, rng)
    return mutate_bytes(data, rng, reader.seeds)


def mutated_inputs(reader: Reader, seed: int) -> Iterator[tuple[str, bytes]]:
    """File names and mutated bytes, endlessly."""
    rng = random.Random(seed)
    while True:
        yield rng.choice(reader.names), mutate(reader, rng)
