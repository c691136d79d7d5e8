"""Conversations: who said what in turn, out of files in any of the forms that people keep them in.

The form is recognised from a file's beginning and its name; `conversation_formats.FORMATS` has them all. Whatever the
form, the same is done to the turns: white space at their ends goes, empty ones are left out, and turns of one person
in a row are joined by a line feed. What was done is counted, in a `ConversationReport`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqgen.corpus.conversations.formats import FORMATS
from seqgen.corpus.conversations.lines import HEAD_BYTES, SYSTEM_SPEAKER, FileHead, TextDocument, Utterances
from seqgen.corpus.conversations.report import ConversationReport
from seqgen.corpus.sources import Document, Warn
from seqgen.errors import DataError
from seqgen.streams import open_input

_SURROGATES = re.compile("[\ud800-\udbff][\udc00-\udfff]|[\ud800-\udc7f\udd00-\udfff]")


@dataclass(frozen=True)
class Turn:
    """One person's words, not empty, without white space at the ends.

    `speaker`: 0 is who asks or speaks first, 1 who answers; further people have further numbers.
    """

    speaker: int
    text: str


@dataclass(frozen=True)
class Conversation:
    """At least one turn, no two in a row by the same speaker."""

    turns: tuple[Turn, ...]


def read_conversations(
    documents: Sequence[Document], format: str | None = None, warn: Warn | None = None
) -> tuple[list[Conversation], ConversationReport]:
    """All conversations at once, in order, and what was found; see `iter_conversations`."""
    reading = ConversationReport()
    return list(iter_conversations(documents, reading, format, warn)), reading


def iter_conversations(
    documents: Sequence[Document], reading: ConversationReport, format: str | None = None, warn: Warn | None = None
) -> Iterator[Conversation]:
    """The conversations of the documents one at a time, in the memory of one; `reading` counts along.

    Args:
        format: a name in FORMATS to read every document as; recognised, each for itself, if None.
        warn: told in a sentence of each document that holds no dialogue, which is then passed over. Without it such a
            document is an error.

    Raises:
        DataError: an unknown format, a document that can't be read or holds no dialogue, or no conversation in all.
    """
    if format is not None and format not in FORMATS:
        raise DataError(f"there is no dialogue format {format!r}; there are {', '.join(FORMATS)}")
    found: list[str] = []
    complaints: list[str] = []
    for document in documents:
        text = TextDocument(document)
        head = text.head()
        name = format or _recognise(head)
        if name is None:
            complaints.append(_complaint(head))
            if warn is None:
                raise DataError(complaints[0])
            warn(f"{complaints[-1]}; passed over")
            continue
        if name not in found:
            found.append(name)
            reading.format = ", ".join(found)
        for spoken in FORMATS[name].parse(text, reading):
            conversation = _conversation(spoken, reading)
            if conversation is not None:
                yield conversation
    if not reading.conversations:
        raise DataError(_nothing(documents, reading, complaints))


def looks_like_dialogue(source: Path | str | bytes) -> bool:
    """Whether a file, or its first bytes, plainly hold dialogue: no prose, play, table or program does.

    A file that can't be read does not.
    """
    if isinstance(source, bytes):
        return _is_plain(FileHead.of(source))
    try:
        with contextlib.closing(open_input(source)) as stream:
            data = stream.read(HEAD_BYTES + 1)
    except Exception:  # whatever a decompressor says: reading it in earnest tells the person
        return False
    return _is_plain(FileHead.of(data, str(source)))


def _is_plain(head: FileHead) -> bool:
    return any(format.is_unambiguous(head) for format in FORMATS.values())


def _recognise(head: FileHead) -> str | None:
    return next((name for name, format in FORMATS.items() if format.matches_head(head)), None)


def _complaint(head: FileHead) -> str:
    if not head.text.strip():
        return f"{head.name!r} is empty: there is no dialogue in it"
    return f"{head.name!r} holds no dialogue in a format that is known: {', '.join(FORMATS)}"


def _nothing(documents: Sequence[Document], reading: ConversationReport, complaints: list[str]) -> str:
    if complaints:
        return complaints[0]
    names = ", ".join(repr(TextDocument(document).name) for document in documents[:3]) or "no source"
    why = reading.first_damage and f" ({reading.first_damage})"
    return f"there is no conversation in {names}{why}"


def _conversation(spoken: Utterances, reading: ConversationReport) -> Conversation | None:
    """Tidies what was said, and counts it. None where nothing was."""
    people: list[int] = []
    texts: list[list[str]] = []
    for speaker, words in spoken:
        if speaker == SYSTEM_SPEAKER:
            reading.system_turns += 1
            continue
        words = _tidy(words)
        if not words:
            reading.empty_turns += 1
        elif people and people[-1] == speaker:
            reading.merged_turns += 1
            texts[-1].append(words)
        else:
            people.append(speaker)
            texts.append([words])
    if not people:
        reading.dropped += 1
        return None
    reading.conversations += 1
    reading.turns += len(people)
    reading.odd += people[-1] == 0
    turns = (Turn(speaker, "\n".join(words)) for speaker, words in zip(people, texts, strict=True))
    return Conversation(tuple(turns))


def _tidy(words: str) -> str:
    """Without white space at the ends or CR LF, and with nothing that UTF-8 has no bytes for.

    Escapes of JSON and YAML may name halves of characters: two that fit become one character, others U+FFFD. The
    halves that stand for bytes which were no UTF-8 stay.
    """
    words = words.replace("\r\n", "\n").strip()
    return words if words.isascii() or not _SURROGATES.search(words) else _SURROGATES.sub(_whole, words)


def _whole(match: re.Match[str]) -> str:
    halves = match[0]
    return halves.encode("utf-16", "surrogatepass").decode("utf-16") if len(halves) > 1 else "\ufffd"
