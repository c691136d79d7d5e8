"""Random mutations of files: by their structure, where a change of bytes would only break it, and by bytes.

Structures are JSON, safetensors, the members of zip and tar archives, XML, chunks and events of MIDI, the cells of a
table, lines, and what is inside a compressed file.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import lzma
import math
import random
import re
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any
from xml.etree import ElementTree

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


def mutate_zip(data: bytes, rng: random.Random) -> bytes:
    """Change one member of a zip archive, or sometimes its name, and keep the rest intact."""
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
                content = mutate_by_content(content, rng)
            changed.writestr(name, content)
    return result.getvalue()


TAR_TYPES = (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE,
             tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, b"Z")  # fmt: skip


def mutate_tar(data: bytes, rng: random.Random) -> bytes:
    """Change a member of a tar archive: its type, name, link, size, headers or content. Checksums are right."""
    result = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive, tarfile.open(fileobj=result, mode="w") as changed:
        members = archive.getmembers()
        chosen = rng.choice(members)
        for member in members:
            stream = archive.extractfile(member)
            content = stream.read() if stream is not None else b""
            if member is chosen:
                choice = rng.randrange(6)
                if choice == 0:
                    member.type = rng.choice(TAR_TYPES)
                    member.linkname = rng.choice(["", "one.txt", "../../etc/passwd", "/", member.name, "a" * 300])
                elif choice == 1:
                    member.name = rng.choice(["", ".", "..", "../a", "/a", "inside", "one.txt/a", "a" * 300, "\udcff"])
                elif choice == 2:
                    key = rng.choice(["path", "size", "linkpath", "mtime", "comment", "GNU.sparse.map",
                                      "GNU.sparse.size", "GNU.sparse.major", "hdrcharset"])  # fmt: skip
                    member.pax_headers = {
                        key: rng.choice(["", "-1", "9" * 30, "0,5,9", "../a", "nan", "BINARY", "x" * 9000])
                    }
                else:
                    content = mutate_by_content(content, rng)
                member.size = rng.choice([len(content)] * 4 + [0, 1 << 33])
            with contextlib.suppress(ValueError):  # not every number fits
                changed.addfile(member, io.BytesIO(content.ljust(min(member.size, MAX_BYTES), b"a")))
    found = result.getvalue()
    return gzip.compress(found) if data.startswith(b"\x1f\x8b") else found


COMPRESSIONS: dict[bytes, Any] = {b"\x1f\x8b": gzip, b"\xfd7zXZ": lzma, b"BZh": bz2}


def mutate_compressed(data: bytes, module: Any, rng: random.Random) -> bytes:
    """Change what is inside a compressed file."""
    return bytes(module.compress(mutate_by_content(module.decompress(data), rng)))


def mutate_xml(data: bytes, rng: random.Random) -> bytes:
    """Change one to four elements of an XML file: drop, repeat, move or nest them, or change what they say."""
    declaration, doctype = re.match(rb"\s*(<\?xml.*?\?>)?\s*(<!DOCTYPE[^>]*>)?", data, re.DOTALL).groups(b"")  # type: ignore[union-attr]
    root = ElementTree.fromstring(data)
    for _ in range(rng.choice([1, 1, 2, 4])):
        element = rng.choice(list(root.iter()))
        child = rng.choice(list(element)) if len(element) else None
        choice = rng.randrange(7)
        if child is None or choice == 0:
            value = str(rng.choice(ODD_VALUES[:27]))[:400]
            if element.attrib and rng.random() < 0.5:
                element.attrib[rng.choice(list(element.attrib))] = value
            else:
                element.text = value
        elif choice == 1:
            element.remove(child)
        elif choice == 2:
            for _ in range(rng.choice([1, 1, 20, 500])):
                element.insert(0, child)
        elif choice == 3:
            other = rng.choice(list(root.iter()))
            if child not in other.iter() and other not in child.iter():
                other.append(child)
        elif choice == 4:
            child.tag = rng.choice([each.tag for each in root.iter()])
        elif choice == 5 and child.text and child.text.strip().isdecimal():
            child.text = str(
                rng.choice([int(child.text) + 1, -int(child.text), int(child.text) * 1000, 0, "1.5", "1e9"])
            )
        else:
            rng.shuffle(element)  # type: ignore[arg-type]
    head = b"\n".join(part for part in (declaration or b"", doctype or b"") if part)
    return head + ElementTree.tostring(root).translate(None, b"\0\x1b\x07")


def variable_length(number: int) -> bytes:
    """A number as MIDI files write it, seven bits a byte."""
    found = bytes([number & 127])
    while number := number >> 7:
        found = bytes([number & 127 | 128]) + found
    return found


MIDI_EVENTS = [
    b"\x90\x3c\x40", b"\x80\x3c\0", b"\x90\x3c\0", b"\x99\x24\x7f", b"\xc0\x7f", b"\xb0\x40\x7f", b"\xe0\0\0",
    b"\xd0\x10", b"\xff\x51\x03\0\0\1", b"\xff\x51\x03\xff\xff\xff", b"\xff\x51\x02\1\1", b"\xff\x58\x04\0\0\x18\x08",
    b"\xff\x58\x04\xff\0\x18\x08", b"\xff\x58\x04\7\7\x18\x08", b"\xff\x58\x02\3\2", b"\xff\x59\x02\x80\1",
    b"\xff\x59\x02\7\7", b"\xff\x2f\0", b"\xff\x03\x03\xff\xfe\x1b", b"\xff\x01\x83\x00" + b"a" * 384,
    b"\xf0\x02\x01\xf7", b"\xf7\x02\x01\x02", b"\xff\x20\x01\x0f", b"\xff\x54\x05\0\0\0\0\0", b"\xff\x7f\0",
]  # fmt: skip


def mutate_midi(data: bytes, rng: random.Random) -> bytes:
    """Change chunks of a MIDI file, with right lengths: events put in, times changed, tracks repeated, the header."""
    chunks, at = [], 0
    while at + 8 <= len(data):
        (size,) = struct.unpack(">I", data[at + 4 : at + 8])
        chunks.append((data[at : at + 4], bytearray(data[at + 8 : at + 8 + size])))
        at += 8 + size
    for _ in range(rng.choice([1, 1, 2, 5])):
        number = rng.randrange(len(chunks))
        kind, body = chunks[number]
        choice = rng.randrange(6)
        if kind == b"MThd" and choice < 4:
            field = rng.randrange(3) * 2
            body[field : field + 2] = struct.pack(
                ">H", rng.choice([0, 1, 2, 3, 24, 96, 480, 32767, 0x8000, 0xE728, 0xFFFF])
            )
        elif choice < 3:  # at the end, where events surely begin, or anywhere
            event = rng.choice(MIDI_EVENTS)
            time = variable_length(rng.choice([0, 1, 7, 96, 1000, 100_000, 10**7, (1 << 28) - 1]))
            start = len(body) - 4 if rng.random() < 0.5 else rng.randrange(len(body) + 1)
            body[max(start, 0) : max(start, 0)] = (time + event) * rng.choice([1, 1, 2, 300])
        elif choice == 3:
            chunks.insert(number, (kind, bytearray(body)))
        elif choice == 4 and len(chunks) > 1:
            del chunks[number]
        else:
            body[:] = mutate_bytes(bytes(body), rng)
    return b"".join(kind + struct.pack(">I", len(body)) + body for kind, body in chunks)


ODD_CELLS = [
    "", " ", "NA", "-", "?", "0", "-0", "1", "1e308", "-1e308", "1e-320", "1e999", "nan", "inf", "9" * 25, "9" * 400,
    "0x10", "1_000", "12 %", "$5", "1,5", "1.234,5", "(3)", "=1+2", '="5"', "TRUE", "null", "[]", "{}", "['a', 'b']",
    "0001-01-01", "9999-12-31", "2023-02-30", "2023-01-01", "2023-01-01T00:00:00+14:00", "2023-01-01 24:00",
    "1677-01-01", "31.12.1899", "99999999999", "1672531200", "2023-W53", "Q1 2023", "12:60", "a", "\u202e",
    "\x1b[31m", "\ud800", "中", "a\nb", 'a"b', "'a'", "x" * 3000, "__label__a", "\0", "\u2028", "\ufeff", "²", "½",
    "٣", "1 2",
]  # fmt: skip


def mutate_table(text: str, mark: str, rng: random.Random) -> str:
    """Change cells, rows or columns of a table whose cells stand between marks."""
    rows = [line.split(mark) for line in text.split("\n")]
    for _ in range(rng.choice([1, 1, 2, 5])):
        row = rng.randrange(len(rows))
        column = rng.randrange(max(len(rows[row]), 1))
        choice = rng.randrange(9)
        if choice < 3:
            cell = rng.choice(ODD_CELLS)
            quoted = '"' + cell.replace('"', '""') + '"' if rng.random() < 0.3 or mark in cell or "\n" in cell else cell
            for changed in rows if choice == 2 else rows[row : row + 1]:
                changed[column : column + 1] = [quoted]
        elif choice == 3:
            rows[row:row] = [list(rows[row])] * rng.choice([1, 3, 100])
        elif choice == 4:
            del rows[row : row + rng.choice([1, 5])]
            rows = rows or [[""]]
        elif choice == 5:
            for changed in rows:
                changed[column : column + 1] = changed[column : column + 1] * 2
        elif choice == 6:
            for changed in rows:
                del changed[column : column + 1]
        elif choice == 7:
            rng.shuffle(rows)
        else:
            other = rng.choice(rows)
            rows[row] = other[: rng.randrange(len(other) + 1)] + rows[row][column:]
    return "\n".join(mark.join(row) for row in rows)


def mutate_lines(text: str, rng: random.Random) -> str:
    """Repeat, drop, move or join lines, or replace a value after its first mark."""
    lines = text.split("\n")
    for _ in range(rng.choice([1, 1, 2, 4])):
        number = rng.randrange(len(lines))
        choice = rng.randrange(6)
        if choice == 0:
            lines[number:number] = [lines[number]] * rng.choice([1, 2, 300])
        elif choice == 1 and len(lines) > 1:
            del lines[number]
        elif choice == 2:
            rng.shuffle(lines)
        elif choice == 3:
            lines[number:] = ["".join(lines[number : number + 2]), *lines[number + 2 :]]
        else:
            name, mark, value = re.match(r"([^=:>\t]*)([=:>\t]+ ?)?(.*)", lines[number], re.DOTALL).groups("")  # type: ignore[union-attr]
            odd = rng.choice([*ODD_CELLS, '"\\u0000"', "[[1]]", "{a = 1}", "-1", "true", value[::-1], value * 30])
            lines[number] = f"{name}{mark}{odd}"
    return "\n".join(lines)


def mutate_text(data: bytes, rng: random.Random) -> bytes:
    """Change a text by its lines or, where most of them have one of the marks of tables, by its cells."""
    text = data.decode("utf-8", "surrogateescape")
    marks = [mark for mark in ",;\t" if 2 * sum(mark in line for line in text.splitlines()) > text.count("\n")]
    found = mutate_table(text, rng.choice(marks), rng) if marks and rng.random() < 0.7 else mutate_lines(text, rng)
    return found.encode("utf-8", "surrogatepass") if "\ud800" in found else found.encode("utf-8", "surrogateescape")


def mutate_by_content(data: bytes, rng: random.Random) -> bytes:
    """Change a file by the structure that its bytes show, or at times by bytes. A damaged structure has only bytes."""
    compression = next((module for begin, module in COMPRESSIONS.items() if data.startswith(begin)), None)
    with contextlib.suppress(Exception):  # many types, for a damaged one
        if rng.random() < 0.3 or not data:
            pass
        elif data[8:10] == b'{"':
            return mutate_safetensors(data, rng)
        elif data.startswith(b"PK\x03\x04"):
            return mutate_zip(data, rng)
        elif data[257:262] == b"ustar" or (compression is gzip and gzip.decompress(data)[257:262] == b"ustar"):
            return mutate_tar(data, rng)
        elif compression is not None:
            return mutate_compressed(data, compression, rng)
        elif data.startswith(b"MThd"):
            return mutate_midi(data, rng)
        elif data.lstrip().startswith(b"<") and rng.random() < 0.8:
            return mutate_xml(data, rng)
        elif data.lstrip()[:1] in (b"{", b"[") and rng.random() < 0.8:
            return mutate_json(data, rng)
        elif data.count(b"\0") == 0:
            return mutate_text(data, rng)
    return mutate_bytes(data, rng)


def mutate(reader: Reader, rng: random.Random) -> bytes:
    """A mutation of one of the reader's seeds."""
    data = rng.choice(reader.seeds) if reader.seeds else b""
    if reader.is_json and rng.random() < 0.85:
        return mutate_json(data, rng)
    return mutate_by_content(data, rng) if rng.random() < 0.8 else mutate_bytes(data, rng, reader.seeds)


def mutated_inputs(reader: Reader, seed: int) -> Iterator[tuple[str, bytes]]:
    """File names and mutated bytes, endlessly."""
    rng = random.Random(seed)
    while True:
        yield rng.choice(reader.names), mutate(reader, rng)[:MAX_BYTES]
