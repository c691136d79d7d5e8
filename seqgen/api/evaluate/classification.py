"""`evaluate` for a classifier: its labels beside the true ones, and beside rivals'."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqgen.api.classifying import classifier_config, make_classifier, text_batches
from seqgen.corpus.labelled.read import LabelledOptions, LabelledTexts, collect_examples, read_examples, stratified_split
from seqgen.errors import DataError
from seqgen.evaluation import classification as measuring
from seqgen.evaluation.baselines import tfidf as linear_rival

if TYPE_CHECKING:
    from seqgen.api.evaluate.text import EvaluationContext


def evaluate(asked: EvaluationContext) -> dict[str, Any]:
    """Every text of the sources. A label that the model does not know counts as a mistake."""
    work = make_classifier(asked.model)
    config = classifier_config(asked.model)
    kept = asked.model.checkpoint.options
    layout = LabelledOptions(kept.text_column, kept.label_column)
    asked.report("reading the labelled texts")
    texts = collect_examples(read_examples(asked.documents, layout, asked.warn), asked.warn, known=config.labels)
    if not len(texts):
        raise DataError("there is no labelled text to evaluate on")
    labels = (*config.labels, *(label for label in texts.labels if label not in config.labels))
    targets = _targets(texts, labels)
    asked.report(f"sorting {len(texts):,} texts")
    rows = [work(batch) for batch in text_batches(texts.text(number) for number in range(len(texts)))]
    shares = np.zeros(targets.shape)
    shares[:, : len(config.labels)] = np.concatenate(rows)
    multi = config.multi or texts.multi_label
    metrics = measuring.measures(shares, targets, labels, multi)
    baselines: dict[str, Any] = {}
    if asked.baselines:
        asked.report("asking the rivals")
        baselines = _rivals(asked, layout, texts, targets, labels, multi)
    result = {"records": len(texts), "tokens": _tokens(asked, texts), "metrics": metrics, "baselines": baselines}
    if asked.options.errors:
        worst = measuring.most_confident_mistakes(shares, targets, asked.options.errors, multi)
        result["errors"] = [
            {
                "text": texts.text(number).decode("utf-8", "replace"),
                "label": [label for label, true in zip(labels, targets[number], strict=True) if true],
                "given": labels[int(shares[number].argmax())],
                "probability": float(shares[number].max()),
            }
            for number in worst
        ]
    if asked.options.plot:
        from seqgen.plots.confusion import save_confusion_matrix

        save_confusion_matrix(Path(asked.options.plot), metrics["confusion"]["labels"], metrics["confusion"]["matrix"])
    return result


def _targets(texts: LabelledTexts, labels: tuple[str, ...]) -> Any:
    """Whether each text has each of `labels`, shape (texts, labels)."""
    own = texts.targets().astype(bool)
    targets = np.zeros((len(texts), len(labels)), dtype=bool)
    for column, label in enumerate(texts.labels):
        targets[:, labels.index(label)] = own[:, column]
    return targets


def _tokens(asked: EvaluationContext, texts: LabelledTexts) -> int:
    return sum(len(asked.model.codec.encode(texts.text(number))) for number in range(len(texts)))


def _rivals(
    asked: EvaluationContext,
    layout: LabelledOptions,
    texts: LabelledTexts,
    targets: Any,
    labels: tuple[str, ...],
    multi: bool,
) -> dict[str, Any]:
    """The most common label; and TF-IDF with logistic regression, where scikit-learn is installed and what the model
    learnt from still lies where it lay."""
    from seqgen.api.evaluate.text import training_documents

    data = asked.model.checkpoint.config["data"]
    known = data.get("label_shares")
    shares = [known.get(label) if isinstance(known, dict) else None for label in labels]
    prior = np.array([share if isinstance(share, float) and np.isfinite(share) else 0.0 for share in shares])
    if not prior.any():
        return {}
    baselines = {"majority": measuring.majority_baseline(prior, targets, labels, multi)}
    documents = training_documents(asked)
    if documents is None or not linear_rival.is_available():
        return baselines
    train = collect_examples(read_examples(documents, layout, lambda _: None), lambda _: None)
    options = asked.model.checkpoint.options
    if not data.get("valid_sources"):
        train, _ = stratified_split(train, options.val_fraction, options.seed)
    if set(train.labels) <= set(labels):
        words = [train.text(number).decode("utf-8", "replace") for number in range(len(train))]
        unseen = [texts.text(number).decode("utf-8", "replace") for number in range(len(texts))]
        found = linear_rival.fit_predict_proba(words, _targets(train, labels), unseen, multi)
        baselines["tfidf_logistic"] = measuring.measures(found, targets, labels, multi)
    return baselines
