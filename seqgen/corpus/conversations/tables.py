"""Parsers of conversations in tables: a question and its reply, turns in order, or a message in each row."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from seqgen.corpus.conversations.message_keys import (
    CHINESE_NAMES,
    Keys,
    is_example,
    is_message,
    normal_key,
    pair,
)
from seqgen.corpus.conversations.messages import MessageReader
from seqgen.corpus.conversations.parsing import (
    ASSISTANT_ROLES,
    SYSTEM_SPEAKER,
    USER_ROLES,
    FileHead,
    TextDocument,
    UnclearSpeakersError,
    Utterances,
    alternate_speakers,
    at_least,
)
from seqgen.corpus.conversations.report import ConversationReport
from seqgen.corpus.tables.cells import TEXT, column_kind, filled
from seqgen.corpus.tables.columns import listed
from seqgen.corpus.tables.read import Table, is_workbook, open_table, sniff
from seqgen.quantities import plural

SUFFIXES = (".csv", ".tsv", ".tab")
"""Of files that are tables, whatever their columns have."""
# Beside those that name a question and its reply in JSON, too.
_QUESTIONS = ("text", "utterance", "post", "message")
_REPLIES = ("reply", "response", "answer", "output", "答", "回答", "回复", "a")
_ROLE_NAMES = (
    "speaker", "role", "author", "sender", "from", "system", "instruction", "prompt", "completion", "context",
    "question", "query", "input", "q",
)  # fmt: skip
_KNOWN_NAMES = (frozenset((*_QUESTIONS, *_REPLIES, *_ROLE_NAMES)) | CHINESE_NAMES | USER_ROLES | ASSISTANT_ROLES) - {
    "a"
}  # a word, too
_MIN_REPETITIONS = 4  # on average, of the cells of a column that may name speakers
_PROSE_LENGTH = 12  # characters on average, of a column that should not be ignored without a word


@dataclass(frozen=True)
class _Columns:
    """Indices of the columns of a table with a question and its reply in each row."""

    question: tuple[int, ...]
    reply: int
    system: int | None = None

    @property
    def last(self) -> int:
        return max(*self.question, self.reply)


def _pair_columns(table: Table) -> _Columns | None:
    """Return the columns that the header names; None if it names none."""
    if not table.has_header:
        return None
    # The rule of JSON objects: of an instruction and its input, for example, both are the question.
    found = pair({name: str(index) for index, name in enumerate(table.header)})
    if found is not None:
        system, question, reply = found
        return _Columns(tuple(map(int, question.split("\n"))), int(reply), int(system) if system else None)
    names = list(map(normal_key, table.header))
    asked = next((names.index(name) for name in _QUESTIONS if name in names), None)
    replied = next((names.index(name) for name in _REPLIES if name in names), None)
    return None if asked is None or replied is None else _Columns((asked,), replied)


def _has_messages(table: Table) -> bool:
    """Whether each row is a message with its speaker."""
    if not table.has_header:
        return False
    row = dict.fromkeys(table.header, "x")
    keys = Keys.of(row)
    return bool(keys.texts and keys.speakers) and is_message(row) and not is_example(row)


def _parse_table(text: TextDocument, report: ConversationReport, delimiter: str | None = None) -> Iterator[Utterances]:
    open_text = partial(
        open_table, text.document, report.remarks.append, text.sheet, _KNOWN_NAMES, delimiter=delimiter,
        reports_widths=False,
    )  # fmt: skip
    table = open_text()
    report.delimiter = table.dialect.delimiter
    columns = _pair_columns(table)
    if columns is not None:
        yield from _parse_pairs(table, columns, report)
    elif _has_messages(table):
        yield from _parse_messages(table, report)
    else:
        chosen: list[int] | None = [index for index in range(table.width) if _is_prose(_cells(table, index))]
        if not (table.has_header and table.is_regular) or len(chosen or []) < 2:  # short words may be turns, too
            is_named = table.has_header and sum(name.lower() in _KNOWN_NAMES for name in table.header) > 1
            table, chosen = table if is_named else open_text(header=False), None
        yield from _parse_turns(table, chosen, report)


def _parse_pairs(table: Table, columns: _Columns, report: ConversationReport) -> Iterator[Utterances]:
    roles = {**dict.fromkeys(columns.question, "question"), columns.reply: "reply"}
    if columns.system is not None:
        roles[columns.system] = "system"
    _set_roles(table, roles, report)
    width = table.width
    cut = 0
    for number, row in table.rows():
        if len(row) <= columns.last:
            report.add_damage(table.name, number, f"{len(row)} columns, at least {columns.last + 1} expected")
            continue
        if len(row) > width:
            if columns.reply != width - 1:
                report.add_damage(table.name, number, f"{len(row)} columns, {width} expected")
                continue
            row[columns.reply :] = [table.dialect.delimiter.join(row[columns.reply :])]
            cut += 1
        question = "\n".join(cell for index in columns.question if (cell := row[index].strip()))
        turns = alternate_speakers([question, row[columns.reply]])
        if columns.system is not None and row[columns.system].strip():
            turns.insert(0, (SYSTEM_SPEAKER, row[columns.system], "system"))
        yield turns
    if cut:
        report.remarks.append(
            f"{table.name}: {plural(cut, 'row')} with unquoted {table.dialect.name} in the reply, put together"
        )


def _parse_messages(table: Table, report: ConversationReport) -> Iterator[Utterances]:
    """Each row is a message; successive rows with the same conversation are one, all rows if no column says which."""
    header = table.header
    sample = [dict(zip(header, row, strict=False)) for row in table.sample]
    reader = MessageReader([sample], table.name, report, may_alternate=False)
    keys = reader.keys(dict.fromkeys(header, ""))
    if not keys.speakers:  # as many as there are messages
        raise UnclearSpeakersError(table.name)
    roles = dict.fromkeys(map(header.index, keys.used), "message")
    roles |= {header.index(keys.texts[0]): "text", header.index(keys.speakers[0]): "speaker"}
    _set_roles(table, roles, report)
    key = header.index(keys.conversations[0]) if keys.conversations else None

    def messages() -> Iterator[tuple[str, Mapping[str, str]]]:
        for number, row in table.rows():
            if len(row) != len(header):
                report.add_damage(table.name, number, f"{len(row)} columns, {len(header)} expected")
                continue
            yield "" if key is None else row[key].strip(), reader.slim(dict(zip(header, row, strict=True)))

    seen: set[str] = set()
    parted = 0
    for name, group in itertools.groupby(messages(), key=lambda item: item[0]):
        parted += name in seen
        seen.add(name)
        yield reader.read([message for _, message in group])
    if parted:
        report.remarks.append(
            f"{table.name}: {plural(parted, 'conversation')} parted, whose rows are not together; sort the "
            f"rows by {header[key or 0]!r}"
        )


def _parse_turns(table: Table, chosen: list[int] | None, report: ConversationReport) -> Iterator[Utterances]:
    """The cells of a row are turns in order, or those of chosen columns."""
    if chosen is not None:
        _set_roles(table, dict.fromkeys(chosen, "turn"), report)
    elif table.width == 2 and 0 < _MIN_REPETITIONS * len(set(starts := _cells(table, 0))) <= len(starts):
        report.remarks.append(
            f"{table.name}: each row is taken for a question and its reply, but the first column repeats few values "
            f"such as {Counter(starts).most_common(1)[0][0][:40]!r}; if they name who speaks, the columns need names: "
            "speaker and text"
        )
    for _, row in table.rows():
        turns = row if chosen is None else [row[index] for index in chosen if index < len(row)]
        while len(turns) > 2 and not turns[-1].strip():  # spreadsheets pad short rows
            turns.pop()
        yield alternate_speakers(turns)


def _set_roles(table: Table, roles: Mapping[int, str], report: ConversationReport) -> None:
    """Report the roles of the columns, and those of text that have none."""
    report.columns = {name: roles.get(index, "unused") for index, name in enumerate(table.header)}
    unused = [name for index, name in enumerate(table.header) if index not in roles and _is_prose(_cells(table, index))]
    if unused:
        verb = "have text and are" if len(unused) > 1 else "has text and is"
        report.remarks.append(f"{table.name}: {listed(list(map(repr, unused)))} {verb} not used")


def _cells(table: Table, column: int) -> list[str]:
    return [cell for row in table.sample if column < len(row) and (cell := row[column].strip())]


def _is_prose(cells: Sequence[str]) -> bool:
    return (
        len(cells) > 1
        and column_kind(cells) == TEXT
        and sum(map(len, cells)) >= _PROSE_LENGTH * len(cells)
        and len(set(cells)) * 2 > len(cells)
    )


def parse_csv(text: TextDocument, report: ConversationReport) -> Iterator[Utterances]:
    """A table with a question and its reply in each row, under a header such as `question,answer`; in any dialect.

    question,answer
    Shall we go?,In a minute.
    "Is it far, do you think?","A mile, or ""a step"" as Tom says."
    """
    return _parse_table(text, report)


def parse_tsv(text: TextDocument, report: ConversationReport) -> Iterator[Utterances]:
    """As CSV, with tabs.

    question	answer
    Shall we go?	In a minute.
    Is it far?	A mile.
    """
    return _parse_table(text, report, "\t")


def is_conversation_table(head: FileHead, is_tabbed: bool) -> bool:
    """Whether the rows look like utterances in columns, or like messages, and tabs are between them or not.

    True for every workbook, of which a head tells nothing: see `is_conversation_workbook`.
    """
    if is_workbook_head(head):
        return not is_tabbed
    table = sniff(head.text, head.name, head.is_complete, _KNOWN_NAMES)
    if table is None or (table.dialect.delimiter == "\t") != is_tabbed:
        return False
    return _is_conversation(table, head.suffix in SUFFIXES)


def is_workbook_head(head: FileHead) -> bool:
    """Whether it is the head of a workbook."""
    return is_workbook(head.text[:4].encode("utf-8", "surrogateescape"))


def is_conversation_workbook(text: TextDocument) -> bool:
    """Whether the rows of a workbook look like utterances in columns, or like messages.

    Raises:
        DataError: the workbook can't be read, or has several sheets and none is named.
    """
    return _is_conversation(open_table(text.document, lambda _: None, text.sheet, _KNOWN_NAMES), True)


def _is_conversation(table: Table, is_called_table: bool) -> bool:
    columns, rows = _pair_columns(table), table.sample
    if not rows:
        return False
    if not table.dialect.delimiter:  # the rows of a sheet end with their last cell
        rows = [filled(row, table.width) for row in rows]
    if columns is not None:
        return at_least(sum(len(row) > columns.last for row in rows), len(rows), 0.8)
    if _has_messages(table):
        return table.is_regular
    if not is_called_table:
        is_even = at_least(sum(len(row) == 2 for row in rows), len(rows), 0.95)
        return table.dialect.delimiter == "\t" and is_even and _is_words(table)
    return at_least(sum(len(row) > 1 for row in rows), len(rows), 0.9) and _is_words(table)


def _is_words(table: Table) -> bool:
    """Whether each column contains words, not prices, dates or numeric labels."""
    for column in range(table.width):
        cells = _cells(table, column)
        if cells and not at_least(sum(any(map(str.isalpha, cell)) for cell in cells), len(cells), 0.8):
            return False
    return True
