"""Files of music by their bytes: which notation they have, and the tunes of a book in ABC."""

from __future__ import annotations

import re
from collections.abc import Iterator

_REFERENCE = re.compile(rb"^X:[ \t]*([0-9]+)[ \t]*(?:%.*)?\r?$", re.MULTILINE)
_FIELDS = re.compile(_REFERENCE.pattern + rb"\n(?:(?:[A-JL-Za-z+]:|%).*\n)*", re.MULTILINE)  # all that precede K:
_SHARED_FIELD = re.compile(rb"(?:[A-JL-SU-WY-Zm]:|%%)")
_SCORE = re.compile(rb"<score-(?:part|time)wise[\s>]")
_SCORE_BYTES = 4096  # of a file, within which its root element begins


def notation_of(head: bytes) -> str:
    """Return "ABC" or "MusicXML" for the first bytes of such a file, "" for any other."""
    if is_musicxml(head):
        return "MusicXML"
    return "ABC" if is_abc(head) else ""


def is_musicxml(head: bytes) -> bool:
    """Whether a file is a score in MusicXML, by its first bytes, in UTF-8 or UTF-16."""
    return _SCORE.search(head[:_SCORE_BYTES].replace(b"\0", b"")) is not None


def is_abc(head: bytes) -> bool:
    """Whether text, by its first bytes, is a tune or a book in ABC: it has a header of fields from X: to K:."""
    head = as_lines(head)
    return b"\0" not in head and any(head.startswith(b"K:", fields.end()) for fields in _FIELDS.finditer(head))


def as_lines(data: bytes) -> bytes:
    """ABC as lines that end with LF, in an encoding that extends ASCII: UTF-16 with a mark becomes UTF-8."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        data = data.decode("utf-16", "replace").encode("utf-8", "replace")
    data = data.removeprefix(b"\xef\xbb\xbf")
    return data if b"\n" in data else data.replace(b"\r", b"\n")


def tunes(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the tunes of a book, each with its number, which is unique, and the fields that hold for the whole book."""
    data = as_lines(data)
    found = [(match.start(), match[1].decode()) for match in _REFERENCE.finditer(data)]
    if not found:
        yield "1", data
        return
    shared = b"".join(line + b"\n" for line in data[: found[0][0]].splitlines() if _SHARED_FIELD.match(line))
    seen: dict[str, int] = {}
    for (start, name), stop in zip(found, [*(start for start, _ in found[1:]), len(data)], strict=True):
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name}-{seen[name]}"), shared + data[start:stop]


def number_of_tunes(data: bytes) -> int:
    """Return the number of tunes in a book; 0 for one tune without a number."""
    return len(_REFERENCE.findall(as_lines(data)))
