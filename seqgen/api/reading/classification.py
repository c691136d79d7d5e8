"""How labelled texts are read: each text is a record, and a part of each class is held out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from seqgen.api.reading.base import Reading, ReadingContext
from seqgen.corpus.labelled.labels import sort_labels
from seqgen.corpus.labelled.read import (
    Example,
    LabelledOptions,
    LabelledReport,
    collect_examples,
    read_examples,
    stratified_split,
)
from seqgen.errors import DataError


def read(context: ReadingContext) -> Reading:
    """Read the documents as training does. Raises `UserError` if they can't be."""
    options = context.options
    report, seen = LabelledReport(), _Seen(context.count)
    examples = seen.watch(read_examples(context.documents, LabelledOptions.of(options), context.warn, report))
    held_out = 0
    try:
        found = collect_examples(examples, context.warn)
        held_out = len(stratified_split(found, options.val_fraction)[1])
    except DataError as error:  # too little to train on, but it can be shown
        if not seen.texts:
            raise
        context.warn(str(error))
    return Reading(
        report.format,
        "text",
        records=seen.texts,
        held_out=held_out,
        delimiter=report.delimiter,
        columns=report.columns,
        labels={label: seen.labels[label] for label in sort_labels(seen.labels)},
        first=[{"text": example.text, "labels": list(example.labels)} for example in seen.first],
    )


class _Seen:
    """Counts examples as they pass, and keeps the first `count`."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.texts = 0
        self.labels: Counter[str] = Counter()
        self.first: list[Example] = []

    def watch(self, examples: Iterable[Example]) -> Iterator[Example]:
        for example in examples:
            self.texts += 1
            self.labels.update(example.labels)
            if len(self.first) < self._count:
                self.first.append(example)
            yield example
