"""The interface of the inspectors, one for each network, and what they return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from seqgen.inspection.stack import LagGradients
from seqgen.specs.cells import CellSpec

Floats = npt.NDArray[np.float32]
Weights = Mapping[str, Floats]
Input = TypeVar("Input", contravariant=True)

MIN_SEQUENCES = 8
"""Sequences that a mean gradient is taken over, at least."""


@dataclass(frozen=True)
class Saliency:
    """What predictions leaned on: the first-derivative saliency of Li et al. (2016).

    Attributes:
        steps: the step of the record after which each prediction is made, shape (predictions,).
        shares: ‖∂ prediction / ∂ input‖ by prediction and lag, each row divided by its sum, shape (predictions, lags);
            lag 0 is the step itself. Zero before the beginning. A prediction is the log-probability of the most
            probable id or label, or the mean of a forecast.
        predicted: the index of the id or label, shape (predictions,); 0 for a forecast.
        probability: its probability, NaN for a forecast; shape (predictions,).
    """

    steps: npt.NDArray[np.int64]
    shares: Floats
    predicted: npt.NDArray[np.int64]
    probability: Floats


class Inspector(Protocol[Input]):
    """A network seen from inside. An `Input` is one record, in the form that the network reads."""

    spec: CellSpec
    layers: tuple[str, ...]
    """The names of its recurrent layers: `1`, `2`, or `1 backward`."""

    def trace(self, record: Input, name: str) -> list[Floats]:
        """The values of a state or gate after each step of a record, shape (steps, units), for each layer."""
        ...

    def max_lags(self, records: Sequence[Input]) -> int:
        """The most steps that gradients can be followed back through in these records; 0 if in none."""
        ...

    def gradients(self, records: Sequence[Input], lags: int) -> list[LagGradients]:
        """The gradients of losses with respect to the outputs of each layer, up to `lags` (at most `max_lags`) steps
        before."""
        ...

    def saliency(self, record: Input, lags: int) -> Saliency:
        """What predictions along a record leaned on, at most `lags` steps back."""
        ...
