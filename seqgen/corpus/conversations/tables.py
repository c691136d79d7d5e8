"""Parsers of conversations in tables: CSV (RFC 4180), and the same with tabs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from seqgen.corpus.conversations.parsing import (
    ASSISTANT_ROLES,
    USER_ROLES,
    FileHead,
    TextDocument,
    Utterances,
    alternate_speakers,
    at_least,
)
from seqgen.corpus.conversations.report import ConversationReport

_QUESTIONS = ("context", "question", "input", "prompt", "text", "utterance", "post", "问", "问题", "q")
_REPLIES = ("reply", "response", "answer", "output", "答", "回答", "回复", "a")
QUESTION_COLUMNS = USER_ROLES | frozenset(_QUESTIONS)
REPLY_COLUMNS = ASSISTANT_ROLES | frozenset(_REPLIES)
_MAX_ROW_LINES = 1000  # a quote open for longer is an error in the file


def _rows(lines: Iterator[str], delimiter: str) -> Iterator[tuple[int, list[str] | None]]:
    """Yield (number of the first line, cells) of each row; cells are None if a quote is never closed."""
    opens = re.compile(f'(?:^|{delimiter})"')
    pending: list[tuple[int, str]] = []  # lines read ahead, the next one last
    numbered = enumerate(lines, 1)
    while True:
        taken: list[tuple[int, str]] = []
        is_open = False
        while (not taken or is_open) and len(taken) < _MAX_ROW_LINES:
            one = pending.pop() if pending else next(numbered, None)
            if one is None:
                break
            taken.append(one)
            is_open ^= one[1].count('"') % 2 == 1 and (is_open or opens.search(one[1]) is not None)
        if not taken:
            return
        number, line = taken[0]
        if is_open:
            pending += reversed(taken[1:])
            yield number, None
            continue
        row = _cells("\n".join(text for _, text in taken), delimiter)
        if row is None:  # the quotes are part of the text
            pending += reversed(taken[1:])
            row = line.split(delimiter)
        if any(cell.strip() for cell in row):
            yield number, row


def _cells(row: str, delimiter: str) -> list[str] | None:
    """Split a row into cells, quoted only if quotes enclose the whole cell. None if an unquoted cell has a newline."""
    cell = re.compile(f'"((?:[^"]+|"")*+)"(?:{delimiter}|\\Z)|([^{delimiter}]*)(?:{delimiter}|\\Z)')
    cells: list[str] = []
    position = 0
    while position <= len(row):
        match = cell.match(row, position)
        assert match is not None  # the second alternative matches anything
        quoted, bare = match.groups(default="")
        if "\n" in bare:
            return None
        cells.append(quoted.replace('""', '"') or bare)
        position = match.end() + (match.end() == len(row) and not match[0].endswith(delimiter))
    return cells


def _columns(row: Sequence[str]) -> tuple[int, int] | None:
    """Return the indices of question and reply in a header; None if the row is not a header."""
    names = [cell.strip().lower() for cell in row]
    question = next((index for index, name in enumerate(names) if name in QUESTION_COLUMNS), None)
    reply = next((index for index, name in enumerate(names) if name in REPLY_COLUMNS), None)
    return None if question is None or reply is None else (question, reply)


def _parse_table(text: TextDocument, report: ConversationReport, delimiter: str) -> Iterator[Utterances]:
    columns: tuple[int, int] | None = None
    first = True
    for number, row in _rows(text.lines(), delimiter):
        if row is None:
            report.add_damage(text.name, number, "a quote is never closed")
            continue
        if first:
            first = False
            columns = _columns(row)
            if columns:
                continue
        if columns is None:
            while len(row) > 2 and not row[-1].strip():  # spreadsheets pad short rows
                row.pop()
            yield alternate_speakers(row)
        elif len(row) <= max(columns):
            report.add_damage(text.name, number, f"{len(row)} columns, at least {max(columns) + 1} expected")
        else:
            yield alternate_speakers([row[column] for column in columns])


def parse_csv(text: TextDocument, report: ConversationReport) -> Iterator[Utterances]:
    """RFC 4180: a question and its reply per row, with a header such as `question,answer`; without one, turns in order.

    question,answer
    Shall we go?,In a minute.
    "Is it far, do you think?","A mile, or ""a step"" as Tom says."
    """
    return _parse_table(text, report, ",")


def parse_tsv(text: TextDocument, report: ConversationReport) -> Iterator[Utterances]:
    """As CSV, with tabs.

    question	answer
    Shall we go?	In a minute.
    Is it far?	A mile.
    """
    return _parse_table(text, report, "\t")


def is_conversation_table(head: FileHead, delimiter: str) -> bool:
    """Whether the rows look like utterances in columns."""
    rows = [row for _, row in _rows(iter(head.lines), delimiter) if row is not None]
    if not rows:
        return False
    columns = _columns(rows[0])
    if columns:
        return at_least(sum(len(row) > max(columns) for row in rows[1:]), len(rows) - 1, 0.8)
    if head.suffix != {",": ".csv", "\t": ".tsv"}[delimiter]:
        return delimiter == "\t" and at_least(sum(len(row) == 2 for row in rows), len(rows), 0.95) and _is_words(rows)
    return at_least(sum(len(row) > 1 for row in rows), len(rows), 0.9) and _is_words(rows)


def _is_words(rows: Sequence[Sequence[str]]) -> bool:
    """Whether each column contains words, not prices, dates or numeric labels."""
    for column in range(max(len(row) for row in rows)):
        cells = [row[column] for row in rows if column < len(row) and row[column].strip()]
        if not at_least(sum(any(letter.isalpha() for letter in cell) for cell in cells), len(cells), 0.8):
            return False
    return True
