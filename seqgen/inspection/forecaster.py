"""Inside a forecaster: its state after each look-back, and what a forecast leaned on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from seqgen.config import ForecasterConfig
from seqgen.corpus.series.scaling import Scaler
from seqgen.corpus.series.windows import WindowBatch
from seqgen.inspection.base import Floats, Inspector, Saliency, Weights
from seqgen.inspection.stack import FollowedStack, LagGradients, TracedStack, lag_gradients
from seqgen.model.forecaster import Forecaster, model_inputs
from seqgen.specs.cells import CELLS

_AT_ONCE = 256  # windows


class ForecasterInspector(Inspector[WindowBatch]):
    """An `Inspector` whose records are windows of one column, of one row to forecast from after another.

    A step of a record is a window; its values are those after the look-back. Gradients go back through the steps of
    recurrence within a window, each of `segment_length` rows; saliency through its rows.
    """

    def __init__(self, config: ForecasterConfig, weights: Weights, scaler: Scaler) -> None:
        self.spec = CELLS[config.cell]
        self.layers = tuple(str(number + 1) for number in range(config.num_layers))
        self._config = config
        self._network = Forecaster(config)
        self._network.load_state_dict({name: torch.from_numpy(np.array(weight)) for name, weight in weights.items()})
        self._network.eval().requires_grad_(False)
        self._stack = self._network.layers

    def trace(self, record: WindowBatch, name: str) -> list[Floats]:
        """See `Inspector.trace`."""
        parts: list[list[Floats]] = [[] for _ in self.layers]
        for batch in _batches(record):
            stack = self._network.layers = TracedStack(self._stack, name)
            with torch.no_grad():
                self._network(*model_inputs(batch, torch.device("cpu")))
            for part, values in zip(parts, stack.traces[0], strict=True):  # the second run is the horizon
                part.append(values[-1].numpy())
        return [np.concatenate(part) for part in parts]

    def max_lags(self, records: Sequence[WindowBatch]) -> int:
        """See `Inspector.max_lags`."""
        if _with_future(records) is None:
            return 0
        return -(-self._config.look_back // self._config.segment_length) - 1

    def gradients(self, records: Sequence[WindowBatch], lags: int) -> list[LagGradients]:
        """See `Inspector.gradients`. A loss is the mean squared error of the point forecast of a window."""
        batch = _with_future(records)
        assert batch is not None
        stack = self._network.layers = FollowedStack(self._stack)
        outputs = self._network(*model_inputs(batch, torch.device("cpu")))
        errors = (outputs[:, :, 0] - torch.from_numpy(batch.future)).square()
        loss = (errors * torch.from_numpy(batch.observed)).mean(dim=1).sum()
        return lag_gradients(loss, [layer[-lags - 1 :] for layer in stack.steps[0]])

    def saliency(self, record: WindowBatch, lags: int) -> Saliency:
        """See `Inspector.saliency`. A prediction after each step: the mean of the point forecast; lags are rows."""
        shares = []
        for batch in _batches(record):
            self._network.layers = FollowedStack(self._stack)
            history, *others = model_inputs(batch, torch.device("cpu"))
            history.requires_grad_()
            mean = self._network(history, *others)[:, :, 0].mean(dim=1).sum()
            (gradient,) = torch.autograd.grad(mean, history)
            norms = gradient.abs().flip(1)
            shares.append((norms / norms.sum(dim=1, keepdim=True).clamp(min=1e-30))[:, :lags].numpy())
        count = len(record.history)
        return Saliency(
            np.arange(count),
            np.concatenate(shares),
            np.zeros(count, dtype=np.int64),
            np.full(count, np.nan, np.float32),
        )


def _with_future(records: Sequence[WindowBatch]) -> WindowBatch | None:
    """The first windows that have something to compare a forecast with, all of one record; None if there are none."""
    for record in records:
        known = np.flatnonzero(record.observed.any(axis=1))[:_AT_ONCE]
        if len(known):
            return record.rows(known)
    return None


def _batches(record: WindowBatch) -> list[WindowBatch]:
    return [record.rows(slice(start, start + _AT_ONCE)) for start in range(0, len(record.history), _AT_ONCE)]
