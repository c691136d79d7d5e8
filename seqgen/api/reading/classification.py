"""How labelled texts are read: each text is a record, and a part of each class is held out."""

from __future__ import annotations

import itertools

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
    columns = LabelledOptions(options.text_column, options.label_column, sheet=options.sheet)
    report = LabelledReport()
    examples = list(read_examples(context.documents, columns, context.warn, report))
    labels = _count(examples)
    held_out = 0
    try:
        found = collect_examples(examples, context.warn)
        held_out = len(stratified_split(found, options.val_fraction, options.seed)[1])
    except DataError as error:  # too little to train on, but it can be shown
        if not examples:
            raise
        context.warn(str(error))
    return Reading(
        report.format,
        "text",
        records=len(examples),
        held_out=held_out,
        delimiter=report.delimiter,
        columns=report.columns,
        labels=labels,
        first=[{"text": example.text, "labels": list(example.labels)} for example in examples[: context.count]],
    )


def _count(examples: list[Example]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for label in itertools.chain.from_iterable(example.labels for example in examples):
        counts[label] = counts.get(label, 0) + 1
    return {label: counts[label] for label in sort_labels(counts)}
