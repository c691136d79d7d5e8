"""Inspect a model on sources, whatever its task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.api.inspect.base import InspectedRecord, InspectionContext
from seqgen.api.loaded import LoadedModel
from seqgen.api.sources import open_sources, trained_on, trained_on_warning
from seqgen.corpus import sources as reading
from seqgen.corpus import split
from seqgen.corpus.documents import Document
from seqgen.corpus.sources import Spool
from seqgen.errors import DataError, ModelError, UserError
from seqgen.inspection.base import Floats, Inspector, Saliency
from seqgen.inspection.features import Feature, usable
from seqgen.inspection.meaning import MIN_STEPS, UnitMeaning, unit_meanings
from seqgen.inspection.stack import LagGradients, check_quantity
from seqgen.specs.registry import resolve

DEFAULT_LAGS = 200
"""The most steps that gradients are followed back through by default."""

_MAX_STEPS = 1 << 20  # to read


@dataclass(frozen=True)
class LayerValues:
    """The values of a state or gate of one layer: its number from 1, its name, and values, shape (steps, units)."""

    number: int
    name: str
    values: Floats


class Inspection:
    """A model and records to see it on, read by `inspect`."""

    def __init__(self, model: LoadedModel, records: Sequence[InspectedRecord], inspector: Inspector[Any]) -> None:
        self.model = model
        self.records = records
        self.inspector = inspector

    def layer_numbers(self, layer: int | None) -> list[int]:
        """The number of this layer, or of all. Raises `UserError` if there is no such layer."""
        count = len(self.inspector.layers)
        if layer is not None and not 1 <= layer <= count:
            raise UserError(f"--layer {layer}: this model has layers 1 to {count}: {', '.join(self.inspector.layers)}")
        return list(range(1, count + 1)) if layer is None else [layer]

    def values(self, record: InspectedRecord, what: str, layer: int | None = None) -> list[LayerValues]:
        """The values of a state or gate along a record, of one layer or all.

        Raises `UserError` if the model's cell has no such state or gate, or the model no such layer; `ModelError` if
        they are not finite.
        """
        check_quantity(self.inspector.spec, what)
        numbers = self.layer_numbers(layer)
        traces = self.inspector.trace(record.input, what)
        _check_finite(*traces)
        return [LayerValues(number, self.inspector.layers[number - 1], traces[number - 1]) for number in numbers]

    def meanings(self, what: str, top: int, layer: int | None = None) -> list[UnitMeaning]:
        """The units that say most about features of the records (`inspection.meaning`), at most `top`.

        Raises `DataError` if the records are too short for statistics.
        """
        numbers = self.layer_numbers(layer)
        by_record = [self.values(record, what) for record in self.records]
        steps = sum(len(values[0].values) for values in by_record)
        if steps < MIN_STEPS:
            raise DataError(f"--top needs {MIN_STEPS:,} steps or more; there are {steps:,}: give more to read")
        traces = [np.concatenate([values[number - 1].values for values in by_record]) for number in numbers]
        found = unit_meanings(traces, self._features(), top)
        return [UnitMeaning(numbers[each.layer - 1], *_rest(each)) for each in found]

    def gradients(self, lags: int | None = None, layer: int | None = None) -> list[LagGradients]:
        """The gradients of losses over the lag, of one layer or all; by default up to 200 steps back, or what the
        records allow.

        Raises `DataError` if the records are too short for `lags`.
        """
        numbers = self.layer_numbers(layer)
        inputs = [record.input for record in self.records]
        most = self.inspector.max_lags(inputs)
        if most < 1 or (lags is not None and lags > most):
            raise DataError(
                f"--lags {lags or 1}: in these records, and with this model, gradients can be followed back through "
                f"{most:,} steps at most"
            )
        found = self.inspector.gradients(inputs, lags or min(most, DEFAULT_LAGS))
        _check_finite(*(own.mean for own in found))
        return [found[number - 1] for number in numbers]

    def saliency(self, record: InspectedRecord, lags: int) -> tuple[Saliency, list[str]]:
        """What predictions along a record leaned on, up to `lags` steps back; and the names of the predictions."""
        saliency = self.inspector.saliency(record.input, lags)
        _check_finite(saliency.shares)
        network = self.model.checkpoint.network
        labels = getattr(network, "labels", ())
        if not self.model.checkpoint.network_spec.predicts_ids:
            names = [labels[index] if labels else "" for index in saliency.predicted.tolist()]
            return saliency, names
        codec = self.model.codec
        return saliency, [codec.token_name(token) for token in saliency.predicted.tolist()]

    def _features(self) -> list[Feature]:
        """The usable features of all records, joined."""
        by_record = [{feature.name: feature.values for feature in record.features()} for record in self.records]
        common = [name for name in by_record[0] if all(name in features for features in by_record)]
        joined: list[Feature] = []
        for name in common:
            values: npt.NDArray[np.int64] = np.concatenate([features[name] for features in by_record])
            joined.append(Feature(name, values))
        return usable(joined)


def _check_finite(*values: npt.NDArray[np.floating]) -> None:
    """Raise `ModelError` for numbers that have grown beyond all bounds, as without a gate they can."""
    if not all(np.isfinite(each).all() for each in values):
        raise ModelError("the numbers inside this model grow beyond all bounds on this source: they can't be shown")


def _rest(meaning: UnitMeaning) -> tuple[Any, ...]:
    return meaning.unit, meaning.feature, meaning.bits, meaning.entropy, meaning.baseline


def inspect(
    model: LoadedModel,
    sources: Sequence[str],
    length: int,
    warn: Callable[[str], None] = lambda _: None,
    report: Callable[[str], None] = lambda _: None,
    encoding: str | None = None,
    spool: Spool | None = None,
) -> Inspection:
    """Read sources, at most `length` steps of them, to inspect a model on.

    Of the documents that a model of text was trained on, only the held-out end is read. Without sources it is that of
    all of them.

    Args:
        spool: keeps standard input for the next model that reads it.

    Raises:
        ModelError: models of this task can't be inspected.
        UserError: `length` is no number of steps, or there are no sources and the model's own can't be read again.
        DataError: the sources are missing or empty, or the model's own have changed.
    """
    if isinstance(length, bool) or not isinstance(length, Integral) or not 1 <= length <= _MAX_STEPS:
        raise UserError(f"--length must be a number of steps from 1 to {_MAX_STEPS:,}, not {str(length)[:24]}")
    spec, network = model.checkpoint.spec, model.checkpoint.network_spec
    if spec.inspected is None or network.inspector is None:
        raise ModelError(f"this is a model for {model.task}: it can't be inspected")
    with ExitStack() as stack:
        spool = spool or stack.enter_context(Spool())
        documents = open_sources(
            model.task, sources or _own_names(model), spool, model.text_column, None, warn, encoding,
            model.checkpoint.config["tokenizer"], report, model.sheet,
        )  # fmt: skip
        spans = _held_out(model, documents, warn, report)
        if not sources and spans == split.full_spans(documents) and model.checkpoint.spec.is_plain_text:
            raise DataError("SOURCE is missing, and the model's own sources have changed: name something to read")
        records = resolve(spec.inspected)(InspectionContext(model, spans, length, warn))
        if not records:
            raise DataError("there is nothing in the sources to inspect the model on")
    if len(model.checkpoint.networks) > 1:
        report(f"the first of this model's {len(model.checkpoint.networks)} networks is inspected")
    inspector = resolve(network.inspector)(
        model.checkpoint.network, model.checkpoint.weights(), model.checkpoint.preprocessor
    )
    return Inspection(model, records, inspector)


def _own_names(model: LoadedModel) -> list[str]:
    """The model's own validation or training sources, as they were named.

    Raises `UserError` if they would have to be downloaded, or were piped in.
    """
    loaded = model.checkpoint
    key, own = ("valid", loaded.valid_sources) if loaded.has_own_valid else ("sources", loaded.sources)
    given = loaded.config["training"].get(key)
    names = [name for name in given if isinstance(name, str)] if isinstance(given, list) else []
    names = names or [str(source["name"]) for source in own]
    if not names or "-" in names or any(map(reading.needs_network, names)):
        raise UserError("SOURCE is missing: name something to read, or pipe it in")
    return names


def _held_out(
    model: LoadedModel, documents: list[Document], warn: Callable[[str], None], report: Callable[[str], None]
) -> list[split.DocumentSpan]:
    """The parts of documents that the model was not trained on, as far as that can be known."""
    known = trained_on(model.checkpoint, documents)
    if len(known) < len(documents):
        return split.full_spans(documents)
    if model.checkpoint.spec.is_plain_text and not model.checkpoint.has_own_valid:
        spans = split.hold_out(documents, model.checkpoint.options.val_fraction)[1]
        if spans:
            report("of the sources that the model was trained on, the held-out end is read")
            if model.checkpoint.config.get("finished"):
                report("this end was learnt too, at the very end: models of `compare` and of --no-finish never saw it")
            return spans
    warn(trained_on_warning(model.checkpoint, known))
    return split.full_spans(documents)
