"""Untrusted input: JSON that can't crash a command, XML that declares nothing, names that can't control a terminal,
links that can't lead out.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import unicodedata
from pathlib import Path
from typing import IO, Any

from seqgen.errors import ModelError

_MAX_DEPTH = 64  # of nested JSON arrays and objects
_MAX_CONTAINERS = 1 << 18  # arrays and objects in a file of a model: one for each of its sources, and some more
_MAX_VALUES = 1 << 21  # in the same file: numbers, strings and the like
_CONTAINERS = (dict, list)
_XML_CHUNK = 1 << 12  # bytes
CONTROLS_BEYOND_C0 = (*range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))  # DEL, C1, bidirectional


def parse_json(data: bytes | str, unique_keys: bool = True, most_values: int | None = None) -> Any:
    """Parse untrusted JSON. Raises `ValueError` if it is malformed or nested too deeply.

    Args:
        unique_keys: whether an object in which a key has two values is malformed too. Otherwise the last one counts.
        most_values: how many numbers, strings, arrays and so on it may have; whatever its strings hold.
    """
    text = data if isinstance(data, str) else data.decode(json.detect_encoding(data), "surrogatepass")
    if most_values is not None:
        _check_value_count(text, most_values)
    try:
        value = (UNIQUE_KEYS if unique_keys else _ANY_KEYS).decode(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except RepeatedKeyError as error:
        raise RepeatedKeyError(error.key, text, _repetition(text, error.key)) from None
    if text.count("{") + text.count("[") > _MAX_DEPTH:
        check_depth(value)
    return value


class RepeatedKeyError(json.JSONDecodeError):
    """An object gives a key twice, with different values."""

    def __init__(self, key: str, text: str = "", place: int = 0) -> None:
        super().__init__(f"the key {key[:40]!r} is given twice, with different values", text, place)
        self.key = key


def _with_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        for key, value in pairs:
            if repr(value) != repr(found[key]):
                raise RepeatedKeyError(key)
    return found


UNIQUE_KEYS = json.JSONDecoder(object_pairs_hook=_with_unique_keys)  # raises `RepeatedKeyError`
_ANY_KEYS = json.JSONDecoder()
_STRING = r'"(?:[^"\\]++|\\.)*+"?'  # possessive: to go back would take a hundred bytes for each character
_OBJECT_END = re.compile(_STRING + r"|(\})", re.DOTALL)
_VALUE = re.compile(_STRING + r"|([\[{,])", re.DOTALL)


def _repetition(text: str, key: str) -> int:
    """The position in JSON text at which an object repeats a key: the last place of the key in the first such object.

    Objects are made in the order in which they end.
    """
    made = 0

    def make(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal made
        made += 1
        return _with_unique_keys(pairs)

    with contextlib.suppress(RepeatedKeyError):
        json.JSONDecoder(object_pairs_hook=make).decode(text)
    ends = (match.start() for match in _OBJECT_END.finditer(text) if match[1])
    end = next(itertools.islice(ends, made - 1, None), 0)
    place = text.rfind(json.dumps(key, ensure_ascii=False), 0, end)
    return place if place >= 0 else end  # it is spelt with escapes


def check_json_size(data: bytes) -> None:
    """Raise `ValueError` if JSON that is not parsed yet has more values than a model's files have.

    Parsing takes microseconds for each, and a file of empty arrays has millions.
    """
    if data.count(b"[") + data.count(b"{") > _MAX_CONTAINERS:
        raise ValueError(f"it has more than {_MAX_CONTAINERS:,} arrays and objects")
    if data.count(b",") > _MAX_VALUES:
        raise ValueError(f"it has more than {_MAX_VALUES:,} values")


def _check_value_count(text: str, most: int) -> None:
    """Raise `ValueError` if JSON that is not parsed yet has more than `most` values."""
    if text.count("[") + text.count("{") + text.count(",") <= most:
        return
    values = (match for match in _VALUE.finditer(text) if match[1])
    if next(itertools.islice(values, most, None), None) is not None:
        raise ValueError(f"it has more than {most:,} values")


def check_depth(value: Any) -> None:
    """Raise `ValueError` if a parsed value is nested too deeply."""
    level = [value] if isinstance(value, _CONTAINERS) else []
    for _ in range(_MAX_DEPTH):
        inside: list[Any] = []
        for item in level:
            values = item.values() if isinstance(item, dict) else item
            inside += [inner for inner in values if isinstance(inner, _CONTAINERS)]
        level = inside
        if not level:
            return
    raise ValueError("it is nested too deeply")


def is_number(value: object) -> bool:
    """Whether a parsed value is a number to compute with: finite, no boolean, and no integer beyond floats."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e30


def has_doctype(stream: IO[bytes]) -> bool:
    """Whether an XML document has a document type declaration, in which entities and attributes may multiply its size.

    Reads up to the root element. False for a damaged document.
    """
    from xml.parsers import expat

    found: list[bool] = []
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = lambda *_: found.append(True)
    parser.StartElementHandler = lambda *_: found.append(False)
    try:
        while not found and (chunk := stream.read(_XML_CHUNK)):
            parser.Parse(chunk)
    except (expat.ExpatError, ValueError, LookupError):  # an unknown encoding
        pass
    return bool(found) and found[0]


def one_line(message: str) -> str:
    """Return a message on one line, without control characters."""
    return " ".join(printable(as_bytes(message)).decode().split())


def letter_widths(text: str) -> list[int]:
    """The columns of a terminal that each letter of a line takes: a wide East Asian one two."""
    return [2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text]


def as_bytes(text: str) -> bytes:
    """Encode text as UTF-8, surrogate escapes as the bytes they stand for.

    Of other surrogates, which JSON may contain, pairs become one character and single ones U+FFFD.
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return as_valid_utf8(text)


def as_valid_utf8(text: str) -> bytes:
    """Encode text as UTF-8. Pairs of surrogates become one character, single ones U+FFFD."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode("utf-8")


def printable(data: bytes) -> bytes:
    """Make every control character but newline and tab visible, so that `data` can't control a terminal.

    C0 controls become Unicode's control pictures (U+2400…). DEL, C1 controls, bidirectional overrides and bytes that
    are not UTF-8 become U+FFFD.
    """
    text = data.decode("utf-8", "replace")
    return text.translate(_VISIBLE).encode("utf-8")


_VISIBLE = {code: chr(0x2400 + code) for code in range(32) if code not in (9, 10)}
_VISIBLE |= dict.fromkeys(CONTROLS_BEYOND_C0, "\ufffd")


def require_inside(folder: Path, name: str) -> None:
    """Raise `ModelError` if a file of an untrusted model folder links out of the folder, or is not a regular file."""
    path = folder / name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ModelError(f"{str(path)!r} is refused: it links to a file outside the model folder")
        if path.exists() and not path.is_file():
            raise ModelError(f"{str(path)!r} is refused: it is not a regular file")
    except (OSError, RuntimeError) as error:  # RuntimeError: a link to itself, before Python 3.13
        why = (error.strerror if isinstance(error, OSError) else None) or "it is a link to itself"
        raise ModelError(f"cannot read {str(path)!r}: {why}") from error
