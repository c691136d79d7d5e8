"""Reader of conversations in every format of `conversations.formats.FORMATS`.

The format is recognised from a file's first bytes and its name. Turns are then normalised in the same way for all
formats: surrounding white space is stripped, empty turns are dropped, and consecutive turns of one speaker are joined
by a line feed. A `ConversationReport` counts these changes.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqgen.corpus.conversations.formats import FORMATS
from seqgen.corpus.conversations.parsing import HEAD_BYTES, SYSTEM_SPEAKER, FileHead, TextDocument, Utterances
from seqgen.corpus.conversations.report import ConversationReport
from seqgen.corpus.sources import Document, Warn
from seqgen.errors import DataError
from seqgen.streams import open_input

_SURROGATES = re.compile("[\ud800-\udbff][\udc00-\udfff]|[\ud800-\udc7f\udd00-\udfff]")


@dataclass(frozen=True)
class Turn:
    """One turn: non-empty text without surrounding white space.

    `speaker`: 0 for the user or first speaker, 1 for the one who answers, then further numbers.
    """

    speaker: int
    text: str


@dataclass(frozen=True)
class Conversation:
    """At least one turn, no two consecutive ones by the same speaker."""

    turns: tuple[Turn, ...]


def read_conversations(
    documents: Sequence[Document], format: str | None = None, warn: Warn | None = None
) -> tuple[list[Conversation], ConversationReport]:
    """Read all conversations at once; see `iter_conversations`.

    Returns:
        The conversations, in order, and the report.
    """
    report = ConversationReport()
    return list(iter_conversations(documents, report, format, warn)), report


def iter_conversations(
    documents: Sequence[Document], report: ConversationReport, format: str | None = None, warn: Warn | None = None
) -> Iterator[Conversation]:
    """Yield the conversations of the documents, with one in memory at a time.

    Args:
        report: updated with every conversation.
        format: name in `FORMATS` for all documents; by default each document's format is recognised.
        warn: called for each document without dialogue, which is then skipped. Without it such a document is an error.

    Raises:
        DataError: an unknown format, a document that can't be read or has no dialogue, or no conversation at all.
    """
    if format is not None and format not in FORMATS:
        raise DataError(f"there is no dialogue format {format!r}; use one of {', '.join(FORMATS)}")
    problems: list[str] = []
    for document in documents:
        text = TextDocument(document)
        head = text.head()
        name = format or _detect_format(head)
        if name is None:
            problems.append(_problem(head))
            if warn is None:
                raise DataError(problems[0])
            warn(f"{problems[-1]}; skipped")
            continue
        if not FORMATS[name].names_itself:
            report.add_format(name)
        for utterances in FORMATS[name].parse(text, report):
            conversation = _conversation(utterances, report)
            if conversation is not None:
                yield conversation
    if not report.conversations:
        raise DataError(_no_conversation(documents, report, problems))


def looks_like_dialogue(source: Path | str | bytes) -> bool:
    """Whether a file, or its first bytes, are certainly dialogue, not prose, a play, a table or a program.

    False for a file that can't be read.
    """
    if isinstance(source, bytes):
        return _is_unambiguous(FileHead.of(source))
    try:
        with contextlib.closing(open_input(source)) as stream:
            data = stream.read(HEAD_BYTES + 1)
    except Exception:  # decompressors raise many types; reading the file reports the error
        return False
    return _is_unambiguous(FileHead.of(data, str(source)))


def _is_unambiguous(head: FileHead) -> bool:
    return any(format.is_unambiguous(head) for format in FORMATS.values())


def _detect_format(head: FileHead) -> str | None:
    return next((name for name, format in FORMATS.items() if format.matches_head(head)), None)


def _problem(head: FileHead) -> str:
    if not head.text.strip():
        return f"{head.name!r} is empty and has no dialogue"
    return f"{head.name!r} has no dialogue in a known format ({', '.join(FORMATS)})"


def _no_conversation(documents: Sequence[Document], report: ConversationReport, problems: list[str]) -> str:
    if problems:
        return problems[0]
    names = ", ".join(repr(TextDocument(document).name) for document in documents[:3]) or "no source"
    reason = report.first_damage and f" ({report.first_damage})"
    return f"there is no conversation in {names}{reason}"


def _conversation(utterances: Utterances, report: ConversationReport) -> Conversation | None:
    """Normalise the turns and update the report. Return None if no turn is left."""
    speakers: list[int] = []
    texts: list[list[str]] = []
    names: list[str] = []
    for speaker, text, name in utterances:
        if speaker == SYSTEM_SPEAKER:
            report.system_turns += 1
            continue
        text = _normalise(text)
        if not text:
            report.empty_turns += 1
        elif speakers and speakers[-1] == speaker:
            report.merged_turns += 1
            texts[-1].append(text)
        else:
            speakers.append(speaker)
            names.append(name)
            texts.append([text])
    if not speakers:
        report.dropped += 1
        return None
    report.conversations += 1
    report.turns += len(speakers)
    report.odd += speakers[-1] == 0
    for name in names:
        report.speakers[name] = report.speakers.get(name, 0) + 1
    turns = (Turn(speaker, "\n".join(parts)) for speaker, parts in zip(speakers, texts, strict=True))
    return Conversation(tuple(turns))


def _normalise(text: str) -> str:
    """Strip white space, turn CR LF into LF, and replace what UTF-8 can't encode.

    Escapes in JSON and YAML may encode surrogates: pairs become one character, lone ones U+FFFD. Surrogates that stand
    for undecodable bytes (surrogateescape) stay.
    """
    text = text.replace("\r\n", "\n").strip()
    return text if text.isascii() or not _SURROGATES.search(text) else _SURROGATES.sub(_join_surrogates, text)


def _join_surrogates(match: re.Match[str]) -> str:
    surrogates = match[0]
    return surrogates.encode("utf-16", "surrogatepass").decode("utf-16") if len(surrogates) > 1 else "\ufffd"
