"""Read texts for `inspect` of a classifier: a text is a record, with the class scores as they move along it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from seqgen.api.classifying import make_classifier
from seqgen.api.inspect.base import InspectedRecord, InspectionContext, spelt, take
from seqgen.corpus.documents import Document
from seqgen.corpus.labelled.unlabelled import UnlabelledOptions, iter_lines, json_texts, open_unlabelled_table
from seqgen.inspection.features import text_features
from seqgen.inspection.views import TextView
from seqgen.tokenizers import Ids
from seqgen.tokenizers.normalise import TextNormaliser
from seqgen.untrusted import as_bytes, one_line

if TYPE_CHECKING:
    from seqgen.generation.classification.base import LabelPredictor

_MAX_SCORED = 200  # beginnings of a text that are classified; between them the scores are those of the last
_MAX_LABELS = 6  # whose scores are shown


def read(context: InspectionContext) -> list[InspectedRecord]:
    """The first texts: rows of tables, objects of JSON lines, or lines."""
    model = context.model
    codec, config = model.codec, model.checkpoint.classifier_config
    classifier = make_classifier(model)
    prepare = TextNormaliser(config.lowercase, config.stop_words)
    begins_with_label = model.checkpoint.network_spec.predicts_ids

    def records() -> Iterator[tuple[str, Ids]]:
        for number, text in enumerate(_texts(context), start=1):
            ids = codec.encode(prepare(text))
            if begins_with_label and len(ids):
                label = int(classifier([text])[0].argmax())
                ids = np.concatenate([np.array([label], dtype=np.int32), ids])
            yield f"text {number:,}", ids

    found = []
    for name, ids, cut in take(context, records()):
        tokens = spelt(codec, ids)
        label = (f"{one_line(classifier.labels[ids[0]])}: ",) if begins_with_label else ()  # it is no text
        view = TextView((*label, *tokens[len(label) :]), _scores(classifier, tokens))
        found.append(InspectedRecord(name, ids, view, lambda own=tokens: text_features(own), cut))  # type: ignore[misc]
    return found


def _texts(context: InspectionContext) -> Iterator[bytes]:
    model = context.model
    columns = UnlabelledOptions.of_model(model.trained_columns("text"), model.text_column)
    for span in context.spans:
        document: Document = span.document
        texts = json_texts(document, columns)
        if texts is None and (table := open_unlabelled_table(document, columns, context.warn)) is not None:
            texts = (text for _, text in table.rows())
        if texts is not None:
            yield from map(as_bytes, texts)
        else:
            yield from (line.removesuffix(b"\r") for line in iter_lines(document) if line.strip())


def _scores(classifier: LabelPredictor, tokens: tuple[str, ...]) -> tuple[tuple[str, tuple[float, ...]], ...]:
    """The probabilities of the labels that the whole text has most of, after each token: of the text up to there."""
    ends = np.unique(np.linspace(1, len(tokens), min(len(tokens), _MAX_SCORED)).round().astype(int))
    probabilities = classifier([as_bytes("".join(tokens[:end])) for end in ends.tolist()])
    rows = np.searchsorted(ends, np.arange(1, len(tokens) + 1), side="right") - 1
    order = np.argsort(-probabilities[-1], kind="stable")[:_MAX_LABELS]
    return tuple(
        (classifier.labels[label], tuple(float(value) for value in probabilities[rows, label]))
        for label in order.tolist()
    )
