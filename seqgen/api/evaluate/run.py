"""Evaluate a model on sources, whatever its task."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from seqgen.api.evaluate.base import EvaluationContext
from seqgen.api.loaded import LoadedModel
from seqgen.api.sources import open_sources, trained_on, trained_on_warning
from seqgen.config import EvaluateOptions
from seqgen.corpus.sources import Spool
from seqgen.errors import ModelError
from seqgen.specs.registry import resolve
from seqgen.streams import Progress


def evaluate(
    model: LoadedModel,
    sources: Sequence[str],
    options: EvaluateOptions,
    baselines: bool,
    progress: Progress | None,
    warn: Callable[[str], None],
    report: Callable[[str], None],
) -> dict[str, Any]:
    """Measure the metrics and, if asked for, the baselines of the model's task, as `evaluate --json` prints them.

    Raises:
        ModelError: models of this task can't be evaluated.
        UserError: the sources are missing, or too little to evaluate on.
    """
    spec = model.checkpoint.spec
    if spec.evaluator is None:
        raise ModelError(f"this is a model for {model.task}: it can't be evaluated")
    model = model.with_exact_samples()
    evaluate = resolve(spec.evaluator)  # before the clock starts: it may import PyTorch
    began = time.monotonic()
    with Spool() as spool:
        documents = open_sources(
            model.task, sources, spool, model.text_column, progress, warn, options.encoding,
            model.checkpoint.config["tokenizer"], report, model.sheet,
        )  # fmt: skip
        if not spec.evaluates_training_sources and (known := trained_on(model.checkpoint, documents)):
            warn(trained_on_warning(model.checkpoint, known))
        result = evaluate(EvaluationContext(model, documents, options, baselines, warn, report, spool))
    return {"task": model.task, **result, "seconds": round(time.monotonic() - began, 3)}
