"""Conversations in JSON: an object or a list a line, or all of them in one big array."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from seqgen.corpus.conversations.lines import (
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
_WORDS = ("content", "value", "text", "utterance")
# An array of conversations, rather than a first line that is a list of turns; and JSON spread over many lines.
_ARRAY = re.compile(r"\s*\[\s*[\[{]")
_MESSAGE = re.compile(rf'\s*\[\s*\{{\s*"(?:{"|".join(_ROLES + _NAMES + _WORDS)})"\s*:')
_SPREAD = re.compile(r"\s*[\[{](?:[^\n]*[\[{,])?[ \t\r]*\n")
_OUTSIDE = re.compile(r'["\[\]{}]')
_INSIDE = re.compile(r'["\\]')
_LIST_OF_TABLES = re.compile(r'"(?:messages|conversations)"\s*:\s*\[\s*\{')
_ROLE = re.compile(rf'"(?:{"|".join(_ROLES)})"\s*:')
_MOST_LISTS = 20  # that are looked at in the first bytes of a file
_CUT_TURNS = re.compile(rf'\s*(?:\{{.*?"(?:{"|".join(_LISTS[2:])})"\s*:\s*)?\[\s*(?:"|\{{\s*")', re.S)


def parse_messages(text: TextDocument, reading: ConversationReport) -> Iterator[Utterances]:
    """Objects with a list of messages, one a line or all in one array; `conversations`, `from` and `value` as well.

    {"messages": [{"role": "user", "content": "Is it far?"}, {"role": "assistant", "content": "A mile."}]}
    {"messages": [{"role": "user", "content": "Shall we go?"}, {"role": "assistant", "content": "Soon."}]}
    {"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Good morning."}]}
    """
    with_numbers = _elements if _is_array(text.head().text) else _by_line
    for number, source in with_numbers(text):
        try:
            value = parse_json(source)
        except ValueError:
            reading.add_damage(text.name, number, "not JSON")
            continue
        spoken = _spoken(value, reading)
        if spoken is None:
            reading.add_damage(text.name, number, "JSON without a list of turns")
        else:
            yield spoken


def parse_turns(text: TextDocument, reading: ConversationReport) -> Iterator[Utterances]:
    """Lists of turns, one a line, bare or as `dialog`, `dialogue`, `turns`, `utterances`; with speakers or by turns.

    ["Shall we go?", "In a minute."]
    {"dialog": ["Is it far?", "A mile.", "I'll walk."]}
    {"turns": [{"speaker": "Mary", "text": "Hello"}, {"speaker": "Tom", "text": "Good morning."}]}
    """
    return parse_messages(text, reading)


def is_messages(head: FileHead) -> bool:
    """Whether most of what there is are objects with messages that have a role."""
    return _recognise(head, _has_roles, _is_cut_message)


def is_turns(head: FileHead) -> bool:
    """Whether most of what there is are lists of turns."""
    return _recognise(head, lambda value: bool(_turns(value)), lambda text: _CUT_TURNS.match(text) is not None)


def _is_cut_message(text: str) -> bool:
    """Whether an object begins, that may be cut off, in which a list begins with an object that has a role."""
    if not text.lstrip().startswith("{"):
        return False
    for begin in itertools.islice(_LIST_OF_TABLES.finditer(text), _MOST_LISTS):
        end = text.find("}", begin.end())
        if _ROLE.search(text, begin.end(), end if end >= 0 else len(text)):
            return True
    return False


def _recognise(head: FileHead, fits: Callable[[Any], bool], cut: Callable[[str], bool]) -> bool:
    """`fits` judges each value that is there to its end, and `cut` the first one where none is."""
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
        return cut(head.text.lstrip().removeprefix("[") if _ARRAY.match(head.text) else head.text)
    return at_least(sum(fits(value) for value in values), len(values), 0.5)


def _is_array(start: str) -> bool:
    return (_ARRAY.match(start) is not None and not _MESSAGE.match(start)) or _SPREAD.match(start) is not None


def _by_line(text: TextDocument) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(text.lines(), 1) if line.strip())


def _elements(text: TextDocument) -> Iterator[tuple[int, str]]:
    return _split(text.pieces())


def _split(pieces: Iterable[str]) -> Iterator[tuple[int, str]]:
    """(line, source) of each element of an array, or of each value where values follow one another; unparsed.

    Counts brackets outside strings, so that a file of any length is read in the memory of one element. What is cut off
    at the end comes as it is, for the parser to complain of.
    """
    base: int | None = None  # how deep the elements lie: 1 in an array
    depth = place = 0
    quoted = False
    line, start_line = 1, 1
    parts: list[str] | None = None  # of the element that is being read
    for piece in pieces:
        start = counted = 0  # `counted`: up to where `line` has counted this piece
        while match := (_INSIDE if quoted else _OUTSIDE).search(piece, place):
            mark, place = match[0], match.end()
            if mark == "\\":
                place += 1  # perhaps into the next piece
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
                    yield start_line, "".join([*parts, piece[start:place]])
                    parts = None
        line += piece.count("\n", counted)
        if parts is not None:
            parts.append(piece[start:])
        place = max(place - len(piece), 0)
    if parts is not None:
        yield start_line, "".join(parts)


def _turns(value: Any) -> list[Any] | None:
    """The list of turns in a value, if there is one; each turn a string, or an object with words."""
    if isinstance(value, dict):
        value = next((value[key] for key in _LISTS if isinstance(value.get(key), list)), None)
    if not isinstance(value, list):
        return None
    texts = sum(isinstance(turn, str) for turn in value)
    objects = sum(isinstance(turn, dict) and any(key in turn for key in _WORDS) for turn in value)
    return value if len(value) in (texts, objects) else None


def _has_roles(value: Any) -> bool:
    return any(isinstance(turn, dict) and any(key in turn for key in _ROLES) for turn in _turns(value) or ())


def _spoken(value: Any, reading: ConversationReport) -> Utterances | None:
    found = _turns(value)
    if found is None:
        return None
    if not found or isinstance(found[0], str):
        return alternate_speakers(found)
    words = [_words(next(turn[key] for key in _WORDS if key in turn)) for turn in found]
    for keys in (_ROLES, _NAMES):
        people = [next((str(turn[key]) for key in keys if key in turn), None) for turn in found]
        if any(person is not None for person in people):
            known = [(person or "", text) for person, text in zip(people, words, strict=True)]
            return speakers_by_role(known, reading) if keys is _ROLES else speakers_by_name(known)
    return alternate_speakers(words)


def _words(content: Any) -> str:
    """The words of a message: a string, or a list of parts of which those with text count."""
    if isinstance(content, list):
        return "\n".join(_words(part.get("text", "") if isinstance(part, dict) else part) for part in content)
    return content if isinstance(content, str) else ""
