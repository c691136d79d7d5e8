"""Evaluate a classifier beside the majority class and a linear TF-IDF model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.api.classifying import make_classifier, text_batches
from seqgen.api.evaluate.base import EvaluationContext, training_documents
from seqgen.corpus.documents import Warn
from seqgen.corpus.labelled.read import (
    LabelledOptions,
    LabelledTexts,
    collect_examples,
    read_examples,
    stratified_split,
)
from seqgen.corpus.tables.columns import listed
from seqgen.errors import DataError
from seqgen.evaluation import classification as measuring
from seqgen.evaluation.baselines import tfidf

# Labels that the model does not know, and pairs of a text and a label, of which both must be more to be refused.
_MAX_UNKNOWN, _MAX_PAIRS = 100, 1 << 24


def evaluate(context: EvaluationContext) -> dict[str, Any]:
    """Classify every text of the documents. A label that the model does not know counts as a mistake.

    A model that gives each text one label is measured on the texts that have one; those that have several are skipped
    with a warning.

    Raises `DataError` if there is no such text, if none has a label of the model, if a table has other columns, or if
    many texts have many labels that the model does not know.
    """
    classifier = make_classifier(context.model)
    config = context.model.checkpoint.classifier_config
    context.report("reading the labelled texts")
    examples = read_examples(context.documents, _layout(context), context.warn)
    remarks: list[str] = []
    texts = collect_examples(examples, remarks.append, known=config.labels)
    if not config.multi:
        texts = _with_one_label(texts, remarks.append, len(config.labels))
    if len(texts) and not texts.counts()[: len(config.labels)].any():
        theirs = listed(texts.labels[len(config.labels) :])
        raise DataError(f"no text has a label of the model, {listed(config.labels)}; those of the texts are {theirs}")
    for sentence in remarks:
        context.warn(sentence)
    if not len(texts):
        raise DataError("there is no labelled text to evaluate on")
    labels = texts.labels  # those of the model come first
    unknown = len(labels) - len(config.labels)
    if unknown > _MAX_UNKNOWN and len(texts) * len(labels) > _MAX_PAIRS:
        raise DataError(
            f"the model does not know {unknown:,} labels of the {len(texts):,} texts; evaluate it on texts with the "
            "labels that it has learnt"
        )
    targets = _targets(texts, labels)
    context.report(f"classifying {len(texts):,} texts")
    rows = [classifier(batch) for batch in text_batches(texts.text(number) for number in range(len(texts)))]
    probabilities = np.zeros(targets.shape)
    probabilities[:, : len(config.labels)] = np.concatenate(rows)
    multi = config.multi
    metrics = measuring.classification_metrics(probabilities, targets, labels, multi)
    baselines: dict[str, Any] = {}
    if context.baselines:
        context.report("measuring the baselines")
        baselines = _baselines(context, texts, targets, labels, multi)
    result = {"records": len(texts), "tokens": _tokens(context, texts), "metrics": metrics, "baselines": baselines}
    if context.options.errors:
        predicted = measuring.predicted_labels(probabilities, multi)
        worst = measuring.most_confident_mistakes(probabilities, targets, context.options.errors, multi)
        result["errors"] = [
            {
                "text": texts.text(number).decode("utf-8", "replace"),
                "label": _chosen(labels, targets[number]),
                "given": _chosen(labels, predicted[number]) if multi else labels[int(predicted[number].argmax())],
                "probability": probability,
            }
            for number, probability in worst
        ]
    if context.options.plot:
        from seqgen.plots.confusion import save_confusion_matrix

        save_confusion_matrix(
            Path(context.options.plot), metrics["confusion"]["labels"], metrics["confusion"]["matrix"]
        )
    return result


def _training_layout(context: EvaluationContext) -> LabelledOptions:
    """The columns as the training found them; documents have their sheet."""
    return dataclasses.replace(LabelledOptions.of(context.model.checkpoint.options), sheet=None)


def _layout(context: EvaluationContext) -> LabelledOptions:
    """Of other documents than those of the training, the columns that the model was trained on."""
    checkpoint = context.model.checkpoint
    return dataclasses.replace(
        _training_layout(context),
        trained_text=context.model.trained_columns("text"),
        trained_label=context.model.trained_columns("label"),
        trained_sources=frozenset(source["sha256"] for source in (*checkpoint.sources, *checkpoint.valid_sources)),
    )


def _with_one_label(texts: LabelledTexts, warn: Warn, own: int) -> LabelledTexts:
    """The texts that have one label; those that have several are skipped with a warning.

    `own`: the number of labels that the model has, which stay the first.
    """
    chosen = np.flatnonzero(np.diff(texts.label_offsets) == 1)
    if skipped := len(texts) - len(chosen):
        warn(f"skipped {skipped:,} of {len(texts):,} texts, which have several labels: the model gives each text one")
    if not skipped:
        return texts
    texts = texts.select(chosen)
    return texts.with_labels(np.union1d(np.arange(own), np.flatnonzero(texts.counts())))


def _chosen(labels: tuple[str, ...], chosen: npt.NDArray[np.bool_]) -> list[str]:
    return [label for label, is_chosen in zip(labels, chosen, strict=True) if is_chosen]


def _targets(texts: LabelledTexts, labels: tuple[str, ...]) -> Any:
    """Whether each text has each of `labels`: shape (texts, labels)."""
    own = texts.targets().astype(bool)
    targets = np.zeros((len(texts), len(labels)), dtype=bool)
    for column, label in enumerate(texts.labels):
        targets[:, labels.index(label)] = own[:, column]
    return targets


def _tokens(context: EvaluationContext, texts: LabelledTexts) -> int:
    return sum(len(context.model.codec.encode(texts.text(number))) for number in range(len(texts)))


def _baselines(
    context: EvaluationContext,
    texts: LabelledTexts,
    targets: Any,
    labels: tuple[str, ...],
    multi: bool,
) -> dict[str, Any]:
    """The majority class; with scikit-learn and the training sources, also logistic regression on TF-IDF."""
    data = context.model.checkpoint.config["data"]
    known = data.get("label_shares")
    fractions = [known.get(label) if isinstance(known, dict) else None for label in labels]
    prior = np.array([part if isinstance(part, float) and 0 <= part <= 1 else 0.0 for part in fractions])
    if not prior.any():
        return {}
    baselines = {"majority": measuring.majority_baseline(prior, targets, labels, multi)}
    documents = training_documents(context)
    if documents is None or not tfidf.is_available():
        return baselines
    train = collect_examples(read_examples(documents, _training_layout(context), lambda _: None), lambda _: None)
    options = context.model.checkpoint.options
    if not context.model.checkpoint.has_learnt_all:
        train, _ = stratified_split(train, options.val_fraction)
    if set(train.labels) <= set(labels):
        train_texts = [train.text(number).decode("utf-8", "replace") for number in range(len(train))]
        test_texts = [texts.text(number).decode("utf-8", "replace") for number in range(len(texts))]
        predicted = tfidf.fit_predict_proba(train_texts, _targets(train, labels), test_texts, multi)
        baselines["tfidf_logistic"] = measuring.classification_metrics(predicted, targets, labels, multi)
    return baselines
