"""The objective of forecasting: all windows of the training rows, shuffled in every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.corpus.series.windows import Floats, Integers, WindowBatch, Windows, evenly_spaced
from seqgen.model.dropout import MaskRng
from seqgen.model.forecaster import Forecaster, model_inputs
from seqgen.model.transfer import to_device
from seqgen.training.batches import epoch_permutation
from seqgen.training.calibration.conformal import widening_factors
from seqgen.training.calibration.mixture import mixture_weights
from seqgen.training.device import Compute

_VALIDATION_BATCH = 512  # windows
_MOST_VALIDATION = 6_000  # windows: enough for the second decimal; of more, evenly spaced ones
_FEWEST_BLOCKS = 4  # independent stretches of one horizon, for a significance test
_SIGNIFICANT = 2.0  # standard errors
_HUBER_DELTA = 1.0  # standard deviations: larger errors count linearly


def window_batches_per_epoch(windows: int, batch_size: int) -> int:
    """The batches in an epoch of so many windows: all of one size, so that some windows may be left out."""
    return max(1, windows // batch_size)


class ShuffledBatches:
    """Batches of window indices: batch n is a pure function of (count, n, seed)."""

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        """`batch_size` is lowered if there are fewer windows."""
        self.count, self.batch_size = count, max(1, min(batch_size, count))
        self.batches_per_epoch = window_batches_per_epoch(count, self.batch_size)
        self._seed = seed
        self._epoch, self._order = -1, np.zeros(0, dtype=np.int64)

    def __getitem__(self, number: int) -> Integers:
        epoch, index = divmod(number, self.batches_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, epoch_permutation(self._seed, epoch, self.count)
        return self._order[index * self.batch_size : (index + 1) * self.batch_size]


class ForecastingObjective:
    """Huber loss of the point forecast, and pinball loss of the quantiles (see `loop.Objective`).

    Squared errors near the truth lead to the mean rather than the median, which for rain would be none. Absolute errors
    far from it keep storms and level shifts from dominating.
    """

    def __init__(
        self,
        network: Forecaster,
        train: Windows,
        held_out: Windows | None,
        compute: Compute,
        batch_size: int,
        seed: int,
        require_significance: bool = False,
    ) -> None:
        """
        Args:
            require_significance: forecast a column by its last value unless the network is significantly better on the
                validation set. That suits prices; seasonal series have too few validation rows for it.
        """
        self.network = network
        self._train = train
        self._batches = ShuffledBatches(len(train), batch_size, seed)
        self.steps_per_epoch = self._batches.batches_per_epoch
        self.metrics: dict[str, float] = {}
        self._held_out = held_out if held_out is not None and len(held_out) else None
        self._compute = compute
        self._require_significance = require_significance

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, int]:
        sample = self._train.take(self._batches[step])
        part = self._compute.world.lane_range(len(sample.origin))
        own = sample.rows(part.as_slice)
        inputs, rng = model_inputs(own, self._compute.device), MaskRng(generator, part)
        total, _ = self._losses(self.network(*inputs, rng=rng, dtype=self._compute.dtype), own)
        if not part.counted:
            total = total * 0
        return total / max(int(sample.observed.sum()), 1), sample.future.size + sample.history.size

    def _losses(self, outputs: Tensor, sample: WindowBatch) -> tuple[Tensor, int]:
        """The summed loss, and the number of observed values."""
        truth = to_device(sample.future, outputs.device)
        weight = to_device(sample.observed, outputs.device).to(outputs.dtype)
        error = F.huber_loss(outputs[:, :, 0], truth, reduction="none", delta=_HUBER_DELTA)
        levels = self.network.config.levels
        if levels:
            error = error + pinball_loss(outputs[:, :, 1:], truth, levels).mean(dim=2)
        return (error * weight).sum(), int(sample.observed.sum())

    def validate(self) -> float | None:
        """The mean loss of the network alone.

        Sets `metrics`, and the weights `mixture` (of network, linear map and seasonal naive forecast), `believed`
        (columns in which the forecasts are used) and `widening` (factors of the prediction intervals) of the network.
        """
        if self._held_out is None:
            return None
        windows, levels = self._held_out, self.network.config.levels
        columns = windows.columns
        chosen = evenly_spaced(len(windows.origins), max(1, _MOST_VALIDATION // columns))
        parts: list[tuple[npt.NDArray[Any], ...]] = []
        total, count = 0.0, 0
        with torch.inference_mode():
            for origins in np.array_split(chosen, min(len(chosen), max(1, len(chosen) * columns // _VALIDATION_BATCH))):
                sample = windows.take((origins[:, None] * columns + np.arange(columns)).ravel())
                inputs = model_inputs(sample, self._compute.device)
                outputs = self.network(*inputs, dtype=self._compute.dtype)
                loss, values = self._losses(outputs, sample)
                total, count = total + float(loss), count + values
                others = self.network.others(inputs[0], inputs[1], inputs[3])
                # Everything from here on is relative to the last value.
                last = sample.history[:, -1:]
                changes, other_changes = (
                    values.float().cpu().numpy() - last[:, :, None] for values in (outputs, others)
                )
                parts.append((changes, sample.future - last, sample.observed, other_changes))
        outputs, change, observed, mixed_in = (np.concatenate([part[item] for part in parts]) for item in range(4))
        spacing = len(windows.origins) / len(chosen)
        outputs[:, :, 1:].sort(axis=2)
        if self.network.mixture is not None:
            self._mix(self.network.mixture, outputs, mixed_in, change, observed, spacing)
        believed = [
            not self._require_significance
            or significantly_better(outputs[c::columns, :, 0], change[c::columns], observed[c::columns], spacing)
            for c in range(columns)
        ]
        doubted = ~np.tile(np.array(believed), len(chosen))
        outputs[doubted, :, 0] = 0.0
        error = (outputs[:, :, 0] - change) * observed
        values, naive = max(int(observed.sum()), 1), float(((change * observed) ** 2).sum())
        self.metrics = {
            "scaled_mse": float((error**2).sum() / values),
            "scaled_mae": float(np.abs(error).sum() / values),
            "skill": 1 - float((error**2).sum()) / naive if naive else 0.0,
        }
        with torch.no_grad():
            self.network.believed.copy_(torch.tensor(believed, dtype=torch.float32))
        if levels:
            quantiles = outputs[:, :, 1:]
            quantiles[doubted] -= quantiles[doubted][:, :, len(levels) // 2, None]
            factors = [
                widening_factors(quantiles[c::columns], change[c::columns], observed[c::columns], levels, spacing)
                for c in range(columns)
            ]
            with torch.no_grad():
                self.network.widening.copy_(torch.from_numpy(np.stack(factors)))
        return total / max(count, 1)

    def _mix(
        self,
        mixture: Tensor,
        outputs: Floats,
        others: Floats,
        truth: Floats,
        observed: npt.NDArray[np.bool_],
        spacing: float,
    ) -> None:
        """Fit the mixture of each column, and turn `outputs` into its forecasts (see `Forecaster.predict`)."""
        columns, levels = self.network.config.targets, self.network.config.levels
        weights = np.stack(
            [
                mixture_weights(
                    np.concatenate([outputs[c::columns, :, :1], others[c::columns]], axis=2), truth[c::columns],
                    observed[c::columns], spacing,
                )
                for c in range(columns)
            ]
        )  # fmt: skip
        with torch.no_grad():
            mixture.copy_(torch.from_numpy(weights))
        own = np.tile(weights, (len(outputs) // columns, 1))[:, None]
        mixed = (others * own[:, :, 1:]).sum(axis=2, keepdims=True)
        outputs[:, :, :1] = outputs[:, :, :1] * own[:, :, :1] + mixed
        if levels:
            middle = outputs[:, :, 1 + self.network.config.median_index, None]
            outputs[:, :, 1:] += middle * own[:, :, :1] + mixed - middle

    def carried_state(self) -> dict[str, Tensor]:
        return {}

    def load_carried_state(self, tensors: dict[str, Tensor]) -> None:
        if tensors:
            raise ValueError("a forecaster has no carried state")


def significantly_better(
    forecast: Floats, truth: Floats, observed: npt.NDArray[np.bool_], spacing: float = 1.0
) -> bool:
    """Whether forecasts have a significantly smaller squared error than the last value.

    The one-sided test of Diebold and Mariano (1995). Errors of overlapping windows are correlated, so the windows of
    one horizon's length are one observation; with fewer than four of those the result is True.

    Args:
        forecast, truth: relative to the last value, shape (windows, horizon), the windows in order.
        observed: whether the truth is known, same shape.
        spacing: rows from one window to the next.
    """
    gains = np.where(observed, truth**2 - (truth - forecast) ** 2, 0.0).sum(axis=1)
    blocks = min(len(gains), int(len(gains) * spacing / truth.shape[1]))
    if blocks < _FEWEST_BLOCKS:
        return True
    means = np.array([part.mean() for part in np.array_split(gains, blocks)])
    return bool(means.mean() > _SIGNIFICANT * means.std(ddof=1) / np.sqrt(len(means)))


def pinball_loss(quantiles: Tensor, truth: Tensor, levels: Sequence[float]) -> Tensor:
    """Pinball loss of each quantile, shape (…, levels) (Koenker & Bassett, 1978); `levels` are in percent.

    It is q·e for a truth that exceeds the forecast by e, and (q − 1)·e otherwise.
    """
    level = torch.tensor(levels, dtype=quantiles.dtype, device=quantiles.device) / 100
    error = truth[..., None] - quantiles
    return torch.maximum(level * error, (level - 1) * error)
