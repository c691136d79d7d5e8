"""Report of the changes made to a table, with each change listed once."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from seqgen.corpus.sources import Warn
from seqgen.quantities import shortened_list

_ALTERNATIVES = re.compile(r"\{([^{}|]*)\|([^{}|]*)\}")
_MAX_NAMES = 4  # columns listed; further ones are counted


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
class SeriesReport:
    """Sentences about one table, merged over its series and columns.

    In a sentence, {count} and {where} stand for the total and the first location; {is|are} is chosen by the total.
    """

    name: str
    _facts: dict[str, _Fact] = field(default_factory=dict)
    _verbatim: list[str] = field(default_factory=list)

    def record(self, sentence: str, count: int = 1, where: str = "", series: str = "", column: str = "") -> None:
        """Add an occurrence to a sentence."""
        fact = _Fact(count, where, [series] if series else [], [column] if column else [])
        self._facts.setdefault(sentence, _Fact()).add(fact)

    def record_verbatim(self, sentence: str) -> None:
        """Add a sentence that is reported unchanged."""
        self._verbatim.append(sentence)

    def merge(self, other: SeriesReport) -> None:
        """Add the sentences of another report."""
        for sentence, fact in other._facts.items():
            self._facts.setdefault(sentence, _Fact()).add(fact)

    def sentences(self) -> list[str]:
        """Return all sentences, in order."""
        return [*self._verbatim, *(f"{self.name}: {_format(sentence, fact)}" for sentence, fact in self._facts.items())]

    def flush(self, warn: Warn) -> None:
        """Pass all sentences to `warn`, and clear the report."""
        for sentence in self.sentences():
            warn(sentence)
        self._facts.clear()
        self._verbatim.clear()


def _format(sentence: str, fact: _Fact) -> str:
    text = _ALTERNATIVES.sub(r"\1" if fact.count == 1 else r"\2", sentence)
    text = text.replace("{count}", f"{fact.count:,}").replace("{where}", fact.where)
    if fact.columns:
        text = f"{quoted_list(fact.columns)}: {text}"
    if fact.series:
        text += f" (series {fact.series[0]!r})" if len(fact.series) == 1 else f" (in {len(fact.series):,} series)"
    return text


def quoted_list(names: list[str], most: int = _MAX_NAMES) -> str:
    """`'a', 'b' and 3 more`."""
    return shortened_list(names, most, repr)
