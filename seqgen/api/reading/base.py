"""What the readings of all tasks share: their argument and their result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from seqgen.config import TrainOptions
from seqgen.corpus.documents import Document


@dataclass(frozen=True)
class ReadingContext:
    """What to read: documents, the options of `train`, and the number of records to show."""

    documents: list[Document]
    options: TrainOptions
    count: int
    warn: Callable[[str], None]


@dataclass
class Reading:
    """What a task reads.

    Attributes:
        format: name of the form: `CSV`, `WhatsApp`, `MIDI`.
        unit: what `records` counts, in the singular.
        records: all that were read, those that are held out included.
        held_out: of these, those that are held out, in whole or in part.
        held_out_part: what of them is held out, in words, if it isn't the whole.
        delimiter: of a table, '' for none.
        columns: role of each column by its name.
        labels: number of texts by label.
        speakers: number of turns by the speaker's name.
        first: the first records, as they are learnt.
        sizes: further counts, by what they count.
    """

    format: str
    unit: str
    records: int = 0
    held_out: int = 0
    held_out_part: str = ""
    delimiter: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    speakers: dict[str, int] = field(default_factory=dict)
    first: Sequence[Any] = ()
    sizes: dict[str, int] = field(default_factory=dict)
