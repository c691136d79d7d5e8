"""Conversations in tables: CSV after RFC 4180, and the same with tabs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from seqgen.corpus.conversations.lines import (
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
_LONGEST_ROW = 1000  # lines; a quote that does not close within so many was never one


def _rows(lines: Iterator[str], comma: str) -> Iterator[tuple[int, list[str] | None]]:
    """(number of the first line, cells) of each row; None for the cells where a quote is never closed."""
    opens = re.compile(f'(?:^|{comma})"')
    waiting: list[tuple[int, str]] = []  # lines that were looked at and not used, the next one last
    numbered = enumerate(lines, 1)
    while True:
        taken: list[tuple[int, str]] = []
        is_open = False
        while (not taken or is_open) and len(taken) < _LONGEST_ROW:
            one = waiting.pop() if waiting else next(numbered, None)
            if one is None:
                break
            taken.append(one)
            is_open ^= one[1].count('"') % 2 == 1 and (is_open or opens.search(one[1]) is not None)
        if not taken:
            return
        number, line = taken[0]
        if is_open:
            waiting += reversed(taken[1:])
            yield number, None
            continue
        row = _cells("\n".join(text for _, text in taken), comma)
        if row is None:  # the quotes are part of the words
            waiting += reversed(taken[1:])
            row = line.split(comma)
        if any(cell.strip() for cell in row):
            yield number, row


def _cells(row: str, comma: str) -> list[str] | None:
    """The cells of a row. A cell is quoted where the quotes are around all of it. None if another has a line end."""
    cell = re.compile(f'"((?:[^"]+|"")*+)"(?:{comma}|\\Z)|([^{comma}]*)(?:{comma}|\\Z)')
    cells: list[str] = []
    place = 0
    while place <= len(row):
        match = cell.match(row, place)
        assert match is not None  # the second half matches anything
        quoted, bare = match.groups(default="")
        if "\n" in bare:
            return None
        cells.append(quoted.replace('""', '"') or bare)
        place = match.end() + (match.end() == len(row) and not match[0].endswith(comma))
    return cells


def _columns(row: Sequence[str]) -> tuple[int, int] | None:
    """Where a header has the question and the reply; None where it is no header."""
    names = [cell.strip().lower() for cell in row]
    question = next((index for index, name in enumerate(names) if name in QUESTION_COLUMNS), None)
    reply = next((index for index, name in enumerate(names) if name in REPLY_COLUMNS), None)
    return None if question is None or reply is None else (question, reply)


def _table(text: TextDocument, reading: ConversationReport, comma: str) -> Iterator[Utterances]:
    columns: tuple[int, int] | None = None
    first = True
    for number, row in _rows(text.lines(), comma):
        if row is None:
            reading.add_damage(text.name, number, "a quote that is never closed")
            continue
        if first:
            first = False
            columns = _columns(row)
            if columns:
                continue
        if columns is None:
            while len(row) > 2 and not row[-1].strip():  # a spreadsheet fills short rows up
                row.pop()
            yield alternate_speakers(row)
        elif len(row) <= max(columns):
            reading.add_damage(text.name, number, f"{len(row)} columns instead of {max(columns) + 1} or more")
        else:
            yield alternate_speakers([row[column] for column in columns])


def parse_csv(text: TextDocument, reading: ConversationReport) -> Iterator[Utterances]:
    """RFC 4180: a question and its reply a row, under names like `question,answer`; without a header, turns in order.

    question,answer
    Shall we go?,In a minute.
    "Is it far, do you think?","A mile, or ""a step"" as Tom says."
    """
    return _table(text, reading, ",")


def parse_tsv(text: TextDocument, reading: ConversationReport) -> Iterator[Utterances]:
    """The same with tabs.

    question	answer
    Shall we go?	In a minute.
    Is it far?	A mile.
    """
    return _table(text, reading, "\t")


def is_conversation_table(head: FileHead, comma: str) -> bool:
    """Whether the rows look like words in columns."""
    rows = [row for _, row in _rows(iter(head.lines), comma) if row is not None]
    if not rows:
        return False
    columns = _columns(rows[0])
    if columns:
        return at_least(sum(len(row) > max(columns) for row in rows[1:]), len(rows) - 1, 0.8)
    if head.suffix != {",": ".csv", "\t": ".tsv"}[comma]:
        return comma == "\t" and at_least(sum(len(row) == 2 for row in rows), len(rows), 0.95) and _is_words(rows)
    return at_least(sum(len(row) > 1 for row in rows), len(rows), 0.9) and _is_words(rows)


def _is_words(rows: Sequence[Sequence[str]]) -> bool:
    """Whether each column holds words; prices, dates, labels by number do not."""
    for column in range(max(len(row) for row in rows)):
        cells = [row[column] for row in rows if column < len(row) and row[column].strip()]
        if not at_least(sum(any(letter.isalpha() for letter in cell) for cell in cells), len(cells), 0.8):
            return False
    return True
