"""What may come from a stranger: JSON, names that are shown, links. None of it may steer a terminal, lead elsewhere, or
end a command in anything but a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from seqgen.errors import ModelError

_DEEPEST = 64  # lists and tables in one another that are read of JSON


def parse_json(data: bytes | str) -> Any:
    """JSON that may be a stranger's. Raises `ValueError` where it is none, or nested deeper than anything meant."""
    try:
        value = json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    level = [value]
    for _ in range(_DEEPEST):
        inside = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list))
        level = [inner for items in inside for inner in items if isinstance(inner, dict | list)]
        if not level:
            return value
    raise ValueError("it is nested too deep")


def one_line(message: str) -> str:
    """A message as one line that can't steer a terminal."""
    return " ".join(printable(as_bytes(message)).decode().split())


def as_bytes(text: str) -> bytes:
    """UTF-8. Surrogate escapes become the bytes they stand for; where JSON named other halves of characters, those
    that fit become one character, and all else U+FFFD."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode("utf-8")


def printable(data: bytes) -> bytes:
    """`data` with every control character but newline and tab made visible, for a terminal.

    C0 controls become Unicode's control pictures (U+2400…), DEL and the C1 controls and the bidirectional overrides
    become U+FFFD, and bytes that are no UTF-8 likewise; so nothing read or generated can steer the terminal.
    """
    text = data.decode("utf-8", "replace")
    return text.translate(_VISIBLE).encode("utf-8")


_VISIBLE = {code: chr(0x2400 + code) for code in range(32) if code not in (9, 10)}
_VISIBLE |= dict.fromkeys([*range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd")


def require_inside(folder: Path, name: str) -> None:
    """Raises `ModelError` where a file is a link that leads out of the model folder, or no file: a folder from a
    stranger must not have others read or written, nor a pipe waited at."""
    path = folder / name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ModelError(f"{str(path)!r} is refused: it is a link that leads out of the model folder")
        if path.exists() and not path.is_file():
            raise ModelError(f"{str(path)!r} is refused: it is no file")
    except (OSError, RuntimeError) as error:  # RuntimeError: a link to itself, before Python 3.13
        why = (error.strerror if isinstance(error, OSError) else None) or "it is a link to itself"
        raise ModelError(f"cannot read {str(path)!r}: {why}") from error
