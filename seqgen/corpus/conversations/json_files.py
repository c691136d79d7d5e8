"""Parsers of conversations in JSON: one object or list per line, or one large array."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from seqgen.corpus.conversations.parsing import (
    FileHead,
    TextDocument,
    Utterances,
    alternate_speakers,
    at_least,
    speakers_by_name,
    speakers_by_role,
)
from seqgen.corpus.conversations.report import ConversationReport
from seqgen.untrusted import parse_json

_LISTS = ("messages", "conversations", "conversation", "dialog", "dialogue", "turns", "utterances")
_ROLES = ("role", "from")
_NAMES = ("speaker", "name", "user")
_TEXTS = ("content", "value", "text", "utterance")
# An array of conversations, rather than a first line that is a list of turns; and JSON over many lines.
_ARRAY = re.compile(r"\s*\[\s*[\[{]")
_MESSAGE = re.compile(rf'\s*\[\s*\{{\s*"(?:{"|".join(_ROLES + _NAMES + _TEXTS)})"\s*:')
_MULTILINE = re.compile(r"\s*[\[{](?:[^\n]*[\[{,])?[ \t\r]*\n")
_OUTSIDE = re.compile(r'["\[\]{}]')
_INSIDE = re.compile(r'["\\]')
_LIST_OF_OBJECTS = re.compile(r'"(?:messages|conversations)"\s*:\s*\[\s*\{')
_ROLE = re.compile(rf'"(?:{"|".join(_ROLES)})"\s*:')
_MAX_LISTS = 20  # examined in the head of a file
_TRUNCATED_TURNS = re.compile(rf'\s*(?:\{{.*?"(?:{"|".join(_LISTS[2:])})"\s*:\s*)?\[\s*(?:"|\{{\s*")', re.S)


def parse_messages(text: TextDocument, report: ConversationReport) -> Iterator[Utterances]:
    """Objects with a list of messages, one per line or in one array; also `conversations`, `from` and `value`.

    {"messages": [{"role": "user", "content": "Is it far?"}, {"role": "assistant", "content": "A mile."}]}
    {"messages": [{"role": "user", "content": "Shall we go?"}, {"role": "assistant", "content": "Soon."}]}
    {"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Good morning."}]}
    """
    elements = _array_elements if _is_array(text.head().text) else _lines
    for number, source in elements(text):
        try:
            value = parse_json(source)
        except ValueError:
            report.add_damage(text.name, number, "not JSON")
            continue
        utterances = _utterances(value, report)
        if utterances is None:
            report.add_damage(text.name, number, "JSON without a list of turns")
        else:
            yield utterances


def parse_turns(text: TextDocument, report: ConversationReport) -> Iterator[Utterances]:
    """Lists of turns, one per line, bare or under `dialog`, `dialogue`, `turns` or `utterances`; speakers optional.

    ["Shall we go?", "In a minute."]
    {"dialog": ["Is it far?", "A mile.", "I'll walk."]}
    {"turns": [{"speaker": "Mary", "text": "Hello"}, {"speaker": "Tom", "text": "Good morning."}]}
    """
    return parse_messages(text, report)


def is_messages(head: FileHead) -> bool:
    """Whether most values are objects with messages that have a role."""
    return _matches(head, _has_roles, _is_truncated_message)


def is_turns(head: FileHead) -> bool:
    """Whether most values are lists of turns."""
    return _matches(head, lambda value: bool(_turns(value)), lambda text: _TRUNCATED_TURNS.match(text) is not None)


def _is_truncated_message(text: str) -> bool:
    """Whether the text starts an object, perhaps truncated, with a list whose first object has a role."""
    if not text.lstrip().startswith("{"):
        return False
    for begin in itertools.islice(_LIST_OF_OBJECTS.finditer(text), _MAX_LISTS):
        end = text.find("}", begin.end())
        if _ROLE.search(text, begin.end(), end if end >= 0 else len(text)):
            return True
    return False


def _matches(head: FileHead, fits: Callable[[Any], bool], fits_truncated: Callable[[str], bool]) -> bool:
    """Apply `fits` to each complete value, or `fits_truncated` to the first one if none is complete."""
    if head.text.lstrip()[:1] not in ("{", "["):
        return False
    values: list[Any] = []
    sources = (source for _, source in _split([head.text])) if _is_array(head.text) else head.nonblank_lines
    for source in sources:
        try:
            values.append(parse_json(source))
        except ValueError:
            values.append(None)
    if not head.is_complete and values in ([], [None]):
        return fits_truncated(head.text.lstrip().removeprefix("[") if _ARRAY.match(head.text) else head.text)
    return at_least(sum(fits(value) for value in values), len(values), 0.5)


def _is_array(start: str) -> bool:
    return (_ARRAY.match(start) is not None and not _MESSAGE.match(start)) or _MULTILINE.match(start) is not None


def _lines(text: TextDocument) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(text.lines(), 1) if line.strip())


def _array_elements(text: TextDocument) -> Iterator[tuple[int, str]]:
    return _split(text.pieces())


def _split(pieces: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield (line, unparsed JSON) of each element of an array, or of each of several consecutive values.

    Counts brackets outside strings, so only one element is in memory at a time. A truncated last element is
    yielded unchanged, and fails to parse.
    """
    base: int | None = None  # depth of the elements: 1 in an array
    depth = position = 0
    quoted = False
    line, start_line = 1, 1
    parts: list[str] | None = None  # of the current element
    for piece in pieces:
        start = counted = 0  # `line` has counted this piece up to `counted`
        while match := (_INSIDE if quoted else _OUTSIDE).search(piece, position):
            mark, position = match[0], match.end()
            if mark == "\\":
                position += 1  # perhaps into the next piece
            elif mark == '"':
                quoted = not quoted
            elif mark in "[{":
                if base is None:
                    base = int(mark == "[")
                if depth == base:
                    start, parts = match.start(), []
                    line += piece.count("\n", counted, start)
                    start_line, counted = line, start
                depth += 1
            else:
                depth = max(depth - 1, 0)
                if depth == base and parts is not None:
                    yield start_line, "".join([*parts, piece[start:position]])
                    parts = None
        line += piece.count("\n", counted)
        if parts is not None:
            parts.append(piece[start:])
        position = max(position - len(piece), 0)
    if parts is not None:
        yield start_line, "".join(parts)


def _turns(value: Any) -> list[Any] | None:
    """Return the list of turns in a value, if any; each turn is a string, or an object with text."""
    if isinstance(value, dict):
        value = next((value[key] for key in _LISTS if isinstance(value.get(key), list)), None)
    if not isinstance(value, list):
        return None
    texts = sum(isinstance(turn, str) for turn in value)
    objects = sum(isinstance(turn, dict) and any(key in turn for key in _TEXTS) for turn in value)
    return value if len(value) in (texts, objects) else None


def _has_roles(value: Any) -> bool:
    return any(isinstance(turn, dict) and any(key in turn for key in _ROLES) for turn in _turns(value) or ())


def _utterances(value: Any, report: ConversationReport) -> Utterances | None:
    turns = _turns(value)
    if turns is None:
        return None
    if not turns or isinstance(turns[0], str):
        return alternate_speakers(turns)
    texts = [_text(next(turn[key] for key in _TEXTS if key in turn)) for turn in turns]
    for keys in (_ROLES, _NAMES):
        speakers = [next((str(turn[key]) for key in keys if key in turn), None) for turn in turns]
        if any(speaker is not None for speaker in speakers):
            named = [(speaker or "", text) for speaker, text in zip(speakers, texts, strict=True)]
            return speakers_by_role(named, report) if keys is _ROLES else speakers_by_name(named)
    return alternate_speakers(texts)


def _text(content: Any) -> str:
    """Return the text of a message: a string, or a list of parts, of which those with text count."""
    if isinstance(content, list):
        return "\n".join(_text(part.get("text", "") if isinstance(part, dict) else part) for part in content)
    return content if isinstance(content, str) else ""
