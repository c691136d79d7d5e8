"""Reader of conversations in every format of `conversations.formats.FORMATS`.

The format is recognised from a file's first bytes and its name. Turns are then normalised in the same way for all
formats: surrounding white space is stripped, empty turns are dropped, and consecutive turns of one speaker are joined
by a line feed. A `ConversationReport` counts these changes.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from seqgen.corpus.conversations import json_files, tables
from seqgen.corpus.conversations.formats import FORMATS
from seqgen.corpus.conversations.json_stream import EACH, find_values
from seqgen.corpus.conversations.parsing import (
    HEAD_BYTES,
    SYSTEM_SPEAKER,
    FileHead,
    NoDialogueError,
    TextDocument,
    Utterances,
)
from seqgen.corpus.conversations.report import ConversationReport
from seqgen.corpus.opening.form import quoted
from seqgen.corpus.opening.identify import read_head
from seqgen.corpus.sources import Document, Warn
from seqgen.errors import DataError

_PART = re.compile(r"(?:\d{4}-\d{2}-\d{2}|message_\d+)\.json(?:\.(?:gz|xz|bz2|zst))?")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}\.json(?:\.\w+)?")
_WEB_PAGE = re.compile(r"\s*<(?:!doctype\s+html|html)\b", re.IGNORECASE)
_SURROGATES = re.compile("[\ud800-\udbff][\udc00-\udfff]|[\ud800-\udc7f\udd00-\udfff]")
_STRAY_BYTE = re.compile("[\udc80-\udcff]")  # by surrogateescape


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
    documents: Sequence[Document],
    report: ConversationReport,
    format: str | None = None,
    warn: Warn | None = None,
    sheet: str | None = None,
) -> Iterator[Conversation]:
    """Yield the conversations of the documents, with one in memory at a time.

    Args:
        report: updated with every conversation.
        format: name in `FORMATS` for all documents; by default each document's format is recognised.
        warn: called for each document without dialogue, which is then skipped. Without it such a document is an error.
        sheet: of workbooks.

    Raises:
        DataError: an unknown format, a document that can't be read or has no dialogue, or no conversation at all.
    """
    if format is not None and format not in FORMATS:
        raise DataError(f"there is no dialogue format {format!r}; use one of {', '.join(FORMATS)}")
    problems: list[str] = []
    groups, names = _groups(documents, sheet)
    for texts in groups:
        head = texts[0].head()
        name = format or _detect_format(head)
        if not format and tables.is_workbook_head(head) and not tables.is_conversation_workbook(texts[0]):
            name = None
        try:
            if name is None:
                raise NoDialogueError(_problem(head))
            if FORMATS[name].names_itself and (names or len(texts) > 1):
                parsed = json_files.parse_json_files(texts, report, names)
            else:
                parsed = itertools.chain.from_iterable(FORMATS[name].parse(text, report) for text in texts)
            if not FORMATS[name].names_itself:
                report.add_format(name)
            for utterances in parsed:
                conversation = _conversation(utterances, report)
                if conversation is not None:
                    yield conversation
        except NoDialogueError as error:
            if warn is None:
                raise
            problems.append(str(error))
            warn(f"{error}; skipped")
    if not report.conversations:
        raise DataError(_no_conversation(documents, report, problems))


def _groups(documents: Sequence[Document], sheet: str | None) -> tuple[list[list[TextDocument]], dict[str, str]]:
    """Put together the files that are parts of one conversation; names of users, by id, if there is a list of them.

    Such are the days of a channel of Slack's, and the numbered files of a chat of Messenger's. Other files that are
    called so are conversations of their own.
    """
    named: dict[str, list[TextDocument]] = {}
    users: list[TextDocument] = []
    for document in documents:
        path = PurePath(document.name)
        text = TextDocument(document, sheet)
        if path.name == "users.json" and len(documents) > 1:
            users.append(text)
        else:
            named.setdefault(str(path.parent / "*") if _PART.fullmatch(path.name) else document.name, []).append(text)
    groups: list[list[TextDocument]] = []
    has_days = False
    for texts in named.values():
        names = [PurePath(text.name).name for text in texts]
        if _PART.fullmatch(names[0]) and any(json_files.is_part(text.head()) for text in texts):
            groups.append(texts)
            has_days = has_days or any(map(_DAY.fullmatch, names))
        else:
            groups += [[text] for text in texts]
    if not has_days:  # not Slack's
        return groups + [[text] for text in users], {}
    return groups, dict(itertools.chain.from_iterable(map(_user_names, users)))


def grouping(documents: Sequence[Document]) -> str:
    """Which documents `_groups` may put together by their names, or take for a list of users; empty for none.

    Besides contents and formats, nothing in the names changes what is read.
    """
    folders: dict[PurePath, int] = {}
    kinds = []
    for path in (PurePath(document.name) for document in documents):
        kind = ""
        if path.name == "users.json" and len(documents) > 1:
            kind = "users"
        elif _PART.fullmatch(path.name):
            kind = f"{'day' if _DAY.fullmatch(path.name) else 'part'} {folders.setdefault(path.parent, len(folders))}"
        kinds.append(kind)
    return ",".join(kinds) if any(kinds) else ""


def _user_names(text: TextDocument) -> Iterator[tuple[str, str]]:
    """Yield (id, name) of the users in Slack's `users.json`."""
    for found in find_values(text.pieces(), (EACH,)):
        user = found.value if isinstance(found.value, dict) else {}
        profile = user.get("profile")
        sources = [profile if isinstance(profile, dict) else {}, user]
        names = (source.get(key) for source in sources for key in ("display_name", "real_name", "name"))
        name = next((name for name in names if isinstance(name, str) and name), None)
        if name and isinstance(user.get("id"), str):
            yield user["id"], name


def looks_like_dialogue(source: Path | str | bytes, sheet: str | None = None) -> bool:
    """Whether a file, or its first bytes, are certainly dialogue, not prose, a play, a table or a program.

    False for a file that can't be read, and for a workbook, whatever its `sheet` has: tables are never certain.
    """
    if isinstance(source, bytes):
        return _is_unambiguous(FileHead.of(source))
    return _is_unambiguous(FileHead.of(read_head(Path(source), HEAD_BYTES + 1), str(source)))


def _is_unambiguous(head: FileHead) -> bool:
    return any(format.is_unambiguous(head) for format in FORMATS.values())


def _detect_format(head: FileHead) -> str | None:
    found = next((name for name, format in FORMATS.items() if format.matches_head(head)), None)
    # JSON is not prose, nor a table, only because it is spread over lines.
    is_other = found not in ("messages", "turns", "pairs", None) and json_files.is_json(head)
    return None if is_other else found


def _problem(head: FileHead) -> str:
    if not head.text.strip():
        return f"{quoted(head.name)} is empty and has no dialogue"
    if _WEB_PAGE.match(head.text):
        return (
            f"{quoted(head.name)} is a web page; export the chat as JSON instead (in Telegram: 'Machine-readable JSON';"
            " in Messenger: format 'JSON')"
        )
    columns = "; the columns of a table need names such as question and answer, or speaker and text"
    is_table = head.suffix in tables.SUFFIXES or tables.is_workbook_head(head)
    return f"{quoted(head.name)} has no dialogue in a known format ({', '.join(FORMATS)}){columns * is_table}"


def _no_conversation(documents: Sequence[Document], report: ConversationReport, problems: list[str]) -> str:
    if problems:
        return problems[0]
    names = ", ".join(quoted(document.name) for document in documents[:3]) or "no source"
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
        report.stray += not text.isascii() and _STRAY_BYTE.search(text) is not None
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
