"""What was done to a table, put together so that each thing is told once."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from seqgen.corpus.sources import Warn

_EITHER = re.compile(r"\{([^{}|]*)\|([^{}|]*)\}")
_NAMED = 4  # columns; of further ones the number is told


@dataclass
class _Fact:
    count: int = 0
    where: str = ""
    series: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)

    def add(self, other: _Fact) -> None:
        self.count += other.count
        self.where = self.where or other.where
        self.series += [name for name in other.series if name not in self.series]
        self.columns += [name for name in other.columns if name not in self.columns]


@dataclass
class TableReport:
    """Sentences about one table, however many series and columns they are true of.

    In a sentence {count} and {where} stand for the sum and the first place, {is|are} for what suits the sum.
    """

    name: str
    _told: dict[str, _Fact] = field(default_factory=dict)
    _said: list[str] = field(default_factory=list)

    def record(self, sentence: str, count: int = 1, where: str = "", series: str = "", column: str = "") -> None:
        """Adds to what is to be told."""
        fact = _Fact(count, where, [series] if series else [], [column] if column else [])
        self._told.setdefault(sentence, _Fact()).add(fact)

    def record_verbatim(self, sentence: str) -> None:
        """Adds a sentence that is to be passed on as it is."""
        self._said.append(sentence)

    def merge(self, other: TableReport) -> None:
        """Adds what another one was told."""
        for sentence, fact in other._told.items():
            self._told.setdefault(sentence, _Fact()).add(fact)

    def sentences(self) -> list[str]:
        """Everything, in order."""
        return [*self._said, *(f"{self.name}: {_put(sentence, fact)}" for sentence, fact in self._told.items())]

    def flush(self, warn: Warn) -> None:
        """Passes everything on."""
        for sentence in self.sentences():
            warn(sentence)
        self._told.clear()
        self._said.clear()


def _put(sentence: str, fact: _Fact) -> str:
    text = _EITHER.sub(r"\1" if fact.count == 1 else r"\2", sentence)
    text = text.replace("{count}", f"{fact.count:,}").replace("{where}", fact.where)
    if fact.columns:
        text = f"{quoted_list(fact.columns)}: {text}"
    if fact.series:
        text += f" (series {fact.series[0]!r})" if len(fact.series) == 1 else f" (in {len(fact.series):,} series)"
    return text


def quoted_list(names: list[str], most: int = _NAMED) -> str:
    """`'a', 'b' and 3 more`."""
    return ", ".join(map(repr, names[:most])) + (f" and {len(names) - most:,} more" if len(names) > most else "")
