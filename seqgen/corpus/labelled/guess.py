"""Whether a table without usual names has texts and their labels, which may be short, beside ids, times and people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from seqgen.corpus.conversations.message_keys import SPEAKERS, normal_key
from seqgen.corpus.labelled.columns import (
    LABEL_COLUMN_NAMES,
    MIN_GUESSED_ROWS,
    LabelledOptions,
    are_few_labels,
    choose_columns,
)
from seqgen.corpus.series.numbers import parse_number
from seqgen.corpus.series.time_names import is_index_name, is_likely_time
from seqgen.corpus.tables.cells import NUMBER, TIME, column_kind
from seqgen.corpus.tables.read import Table, table_of
from seqgen.corpus.tables.wording import is_repeated, is_wording, only_identifies
from seqgen.errors import DataError

# Beside the keys of messages: names of a few people who write many texts, which make a table a chat.
_PEOPLE = frozenset(
    ("absender", "von", "autor", "verfasser", "nutzer", "benutzer", "benutzername", "expéditeur", "auteur",
     "utilisateur", "remitente", "usuario", "mittente", "utente", "autore", "remetente", "usuário", "afzender",
     "gebruiker", "nadawca", "użytkownik", "отправитель", "автор", "пользователь", "имя", "имяпользователя", "昵称",
     "暱稱", "发送者", "发送人", "发言人", "发信人", "发布者", "用户", "用户名", "用户昵称", "作者", "姓名", "名字",
     "寄件者", "送信者", "発言者", "名前", "ユーザー", "ユーザー名", "보낸사람", "사용자", "작성자", "닉네임",
     "이름", "sprecher", "schreiber", "rolle", "teilnehmer", "kontakt", "说话人", "角色", "联系人", "发话人",
     "locuteur", "contact", "personne", "personaje", "persona", "contacto", "handle", "member", "participant",
     "person", "role", "sentfrom", "화자", "発話者", "話者")
)  # fmt: skip

_MAX_CELL_LENGTH = 1000  # characters of a text of JSON by which its key is chosen
_FLAGS = {0, 1}  # other numbers measure something, also if there are two of them


def has_labels_beside_texts(table: Table) -> bool:
    """Whether each row has a text, one of a few labels, and else only what identifies it: ids, times and people."""
    if not table.has_header or len(table.sample) < MIN_GUESSED_ROWS:
        return False
    try:
        chosen = choose_columns(table, LabelledOptions())
    except DataError:
        return False
    rows = [row for row in table.sample if len(row) == table.width]
    cells = [[cell for row in rows if (cell := row[index].strip())] for index in range(table.width)]
    others = [index for index in range(table.width) if index not in chosen.text and index != chosen.label]
    row_numbers = table.nameless.union(index for index in others if is_index_name(table.header[index]))
    identifiers = [
        index for index in others if only_identifies(table.header[index], cells[index], index in row_numbers)
    ]
    kinds = {index: column_kind(cells[index]) for index in others}
    times = [
        index for index, kind in kinds.items()
        if kind == TIME or (kind == NUMBER and is_likely_time(table.header[index]))
    ]  # fmt: skip
    if not all(is_wording(cells[index]) for index in chosen.text):  # codes would be learnt with the texts
        return False
    if not _has_labels(table.header[chosen.label], cells[chosen.label], bool(identifiers) or not times):
        return False
    return all(
        index in identifiers or index in times or _is_aside(table.header[index], cells[index]) for index in others
    )


def guess_keys(
    rows: Sequence[Mapping[str, Any]], names: Collection[str]
) -> tuple[tuple[str, ...], str, tuple[str, ...]] | None:
    """Return keys of texts and label in rows of JSON, chosen as the columns of a table are, and other likely labels.

    None if one has a usual name of labels, or nothing tells the label.
    """
    if not set(LABEL_COLUMN_NAMES).isdisjoint(map(str.lower, names)):
        return None
    header = list(names)
    table = table_of("rows", header, [[_cell(row.get(name)) for name in header] for row in rows])
    try:
        chosen = choose_columns(table, LabelledOptions())
    except DataError:
        return None
    text, others = (tuple(header[index] for index in columns) for columns in (chosen.text, chosen.others))
    return text, header[chosen.label], others


def _cell(value: object) -> str:
    """A value of JSON as a cell; lists and objects are empty ones."""
    return "" if value is None or isinstance(value, (list, dict)) else str(value)[:_MAX_CELL_LENGTH]


def _has_labels(name: str, cells: list[str], may_be_flags: bool) -> bool:
    """Whether a column has labels. Numbers are none, but for flags, 0 and 1; people are none."""
    counts = Counter(cells)
    if _is_person(name) or only_identifies(name, cells):
        return False
    if column_kind(cells) == NUMBER and not (may_be_flags and set(map(parse_number, counts)) == _FLAGS):
        return False
    return are_few_labels(counts)


def _is_aside(name: str, cells: list[str]) -> bool:
    """Whether a column is neither a text nor a label nor a measure: without values, of one, of people, or of codes."""
    if len(set(cells)) < 2 or _is_person(name):
        return True
    return column_kind(cells) != NUMBER and not is_repeated(cells) and not is_wording(cells)


def _is_person(name: str) -> bool:
    key = normal_key(name)
    return key in SPEAKERS or key in _PEOPLE
