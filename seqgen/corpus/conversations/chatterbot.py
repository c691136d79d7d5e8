"""Parser of ChatterBot's YAML corpus: under `conversations:`, a list of lists of lines.

Only this structure is parsed, line by line in constant memory; it is not a YAML library. Text is kept where YAML would
see other types: `note: this` is not a mapping, `1963` is not a number, and quotes that don't enclose a whole line are
part of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

_KEY = re.compile(r"([^\s\-#\"'][^:#]*):(?:\s+(.*))?$")
_ITEM = re.compile(r"( *)-(?:( +)-(?= |$))?(?: +(.*))?$")
_BLOCK = re.compile(r"([|>])[-+]?([1-9]?)[-+]?(?:\s+#.*)?$")
_SINGLE = re.compile(r"'((?:[^']|'')*)'(?:\s+#.*)?$", re.DOTALL)
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"(?:\s+#.*)?$', re.DOTALL)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_ESCAPED = dict(zip('0abtnvfre "/\\N_LP\t', '\0\a\b\t\n\v\f\r\x1b "/\\\x85\xa0\u2028\u2029\t', strict=True))


def parse_conversations(lines: Iterable[str], damaged: Callable[[int, str], None]) -> Iterator[list[str]]:
    """Yield the turns of each conversation, in order.

    Args:
        lines: without line ends.
        damaged: called with the number (from 1) of each line that is skipped, and the reason.
    """
    inside = False  # below `conversations:`
    outer = inner = -1  # columns of the dashes; −1 before the first
    turns: list[str] | None = None
    item: list[str] | None = None  # lines of the current turn, the first without its dash
    for number, line in enumerate(lines, 1):
        bare = line.strip()
        indent = len(line) - len(line.lstrip(" "))
        if item is not None and (not bare or indent > inner):
            item.append(line)
            continue
        if not bare or bare.startswith("#"):
            continue
        if item is not None and turns is not None:
            turns.append(_scalar(item, inner))
        item = None
        key = _KEY.match(line) if not indent else None
        if key or line.startswith(("---", "...", "%")):
            if turns is not None:
                yield turns
            turns, outer = None, -1
            inside = key is not None and key[1].rstrip() == "conversations" and (key[2] or "#").startswith("#")
            continue
        if not inside:
            continue
        match = _ITEM.match(line)
        if match is None:
            damaged(number, "not a list item")
            continue
        rest = (match[3] or "").strip()
        if outer < 0:
            outer = indent
        if indent == outer:
            if turns is not None:
                yield turns
            turns, inner = [], -1
            if match[2] is not None:
                inner, item = indent + 1 + len(match[2]), [rest]
            elif rest and not rest.startswith("#"):
                damaged(number, "a conversation that is not a list")
                turns = None
        elif indent < outer or turns is None or inner not in (-1, indent):
            damaged(number, "an item outside a conversation")
        elif match[2] is not None:
            damaged(number, "a list within a conversation")
        else:
            inner, item = indent, [rest]
        if item is not None and re.match(r"-(?: |$)", item[0]):
            damaged(number, "a list within a conversation")
            item = None
    if turns is not None:
        if item is not None:
            turns.append(_scalar(item, inner))
        yield turns


def _scalar(lines: list[str], parent: int) -> str:
    """Return the text of an item's lines. `parent`: the column of its dash."""
    begin = next(
        (i for i, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), len(lines) - 1
    )
    lines = lines[begin:]
    first = lines[0].strip()
    block = _BLOCK.match(first)
    if block:
        return _block(lines[1:], block[1] == ">", parent + int(block[2]) if block[2] else None)
    quoted = _quoted(first[:1], lines)
    return _plain(lines) if quoted is None else quoted


def _block(lines: list[str], folded: bool, indent: int | None) -> str:
    if indent is None:
        indent = next((len(line) - len(line.lstrip(" ")) for line in lines if line.strip()), 0)
    content = [line[indent:] if line.strip() else "" for line in lines]
    return _fold(content) if folded else "\n".join(content)


def _plain(lines: list[str]) -> str:
    content = [re.sub(r"(?:^|\s)#.*", "", line.strip()).strip() for line in lines]
    return _fold([text for text, line in zip(content, lines, strict=True) if text or not line.strip()])


def _quoted(quote: str, lines: list[str]) -> str | None:
    """Return the text between quotes; None if they don't enclose all of it."""
    if quote == "'":
        match = _SINGLE.match(_fold([line.strip() for line in lines]))
        return match[1].replace("''", "'") if match else None
    if quote != '"':
        return None
    match = _DOUBLE.match(_fold([line.strip() for line in lines], escaped_ends=True))
    if not match:
        return None
    try:
        return _ESCAPE.sub(_unescape, match[1])
    except (KeyError, ValueError):  # an unknown escape, or a code point out of range
        return None


def _unescape(match: re.Match[str]) -> str:
    code = match[1]
    return chr(int(code[1:], 16)) if len(code) > 1 else _ESCAPED[code]


def _fold(lines: list[str], escaped_ends: bool = False) -> str:
    """Fold lines as YAML does: a line end becomes a space, a blank line a line feed; indented lines stay.

    With `escaped_ends` a backslash at the end of a line joins it to the next without a space.
    """
    parts: list[str] = []
    last, empty = "", 0
    for line in lines:
        if not line:
            empty += 1
            continue
        if parts and escaped_ends and (len(last) - len(last.rstrip("\\"))) % 2:
            parts[-1] = last[:-1]
            parts.append("\n" * empty)
        elif parts:
            indented = last.startswith(" ") or line.startswith(" ")
            parts.append("\n" * (empty + 1) if indented else "\n" * empty or " ")
        parts.append(line)
        last, empty = line, 0
    return "".join(parts)
