"""Columns of texts that differ from row to row, and of numbers that only identify or count the rows."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from seqgen.corpus.series.columns import is_row_counter
from seqgen.corpus.series.numbers import parse_number
from seqgen.corpus.series.time_names import normalise_name
from seqgen.corpus.tables.cells import TEXT, column_kind

TEXT_COLUMN_NAMES = (
    "text", "sentence", "review", "content", "body", "document", "comment", "tweet", "message", "question", "title",
    "description", "utterance", "文本", "内容", "评论", "正文", "句子", "标题", "text_a", "summary", "headline", "news",
)  # fmt: skip
"""Usual names of columns of texts, the likeliest first."""

_IDENTIFIERS = re.compile(r"pk|(?:.*(?:\b|[^a-z]))?(?:u?id|ids|uuid|guid)|.*(?:编号|序号|編號|番号|번호|아이디)")
# Such names are those of amounts, indices and oxides, too: the numbers must rise, or fall, from row to row.
_COUNTERS = re.compile(r"(?:.*\b)?(?:no|nr|num|number|row|index|idx|key|step|t|nummer|numéro|número|номер)|.*号")


def text_width(text: str) -> int:
    """Return how wide a text is: a Chinese character, which says as much as several letters, counts double."""
    return len(text) + sum(unicodedata.east_asian_width(character) in "WF" for character in text)


def is_repeated(cells: Sequence[str]) -> bool:
    """Whether at least half of the cells of a column are repetitions, as names and labels are."""
    return 2 * len(set(cells)) <= len(cells)


def is_wording(cells: Sequence[str]) -> bool:
    """Whether a column has texts that differ from row to row: most of several words, or in a script without spaces."""
    if is_repeated(cells) or column_kind(cells) != TEXT:
        return False
    return 2 * sum(" " in cell.strip() or text_width(cell) > len(cell) for cell in cells) > len(cells)


def only_identifies(name: str, cells: Sequence[str], is_nameless: bool = False, *, beside_texts: bool = True) -> bool:
    """Whether the numbers of a column identify the rows, or what they are of, by its name; or count them.

    Args:
        is_nameless: whether it stands where programs write row numbers (see `is_row_counter`).
        beside_texts: whether another column has the texts that the table is for: long ones, or those with labels.
            Elsewhere numbers that rise below `number` or `index` may be measured.
    """
    numbers = [parse_number(cell) for cell in cells]
    if not numbers or any(number is None or not number.is_integer() for number in numbers):
        return False
    if is_nameless:
        return is_row_counter(np.array(numbers, dtype=np.float64), name, is_index=True)
    words = normalise_name(name)
    steps = np.diff(np.array(numbers, dtype=np.float64))
    rises = len(steps) > 0 and bool((steps > 0).all() or (steps < 0).all())
    return bool(_IDENTIFIERS.fullmatch(words)) or (beside_texts and rises and bool(_COUNTERS.fullmatch(words)))
