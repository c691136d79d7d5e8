"""The objective of forecasting: every window of the rows to learn from, in an order of its own in every pass."""

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
from seqgen.training.calibration.conformal import widening_factors
from seqgen.training.device import Compute

_AT_ONCE = 512  # windows that are validated together
_MOST_VALIDATION = 6_000  # windows: enough for the second decimal; evenly spread where there are more
_FEWEST_BLOCKS = 4  # stretches as long as the horizon, to test forecasts on
_SURE = 2.0  # standard errors
_FAR = 1.0  # in standard deviations: from here on an error counts by its size and no longer by its square


class ShuffledBatches:
    """Batches of window numbers: batch n is a pure function of (how many there are, n, seed)."""

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        """`batch_size` is lowered where there are fewer windows."""
        self.count, self.batch_size = count, max(1, min(batch_size, count))
        self.batches_per_epoch = max(1, count // self.batch_size)
        self._seed = seed
        self._turn, self._order = -1, np.zeros(0, dtype=np.int64)

    def __getitem__(self, number: int) -> Integers:
        turn, place = divmod(number, self.batches_per_epoch)
        if turn != self._turn:
            random = np.random.Generator(np.random.Philox(key=np.array([self._seed, turn], dtype=np.uint64)))
            self._turn, self._order = turn, random.permutation(self.count)
        return self._order[place * self.batch_size : (place + 1) * self.batch_size]


class ForecastingObjective:
    """Huber's loss of the point forecast, and pinball loss of the quantiles (see `loop.Objective`).

    Squared near the truth, so that the mean is learnt and not the median, which of rain is none; absolute far from it,
    so that a storm counts once and a shift of level is not learnt by heart.
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
        """`require_significance`: a column is forecast by its last value unless the held-out rows clearly show something better. Of
        prices that is the rule; of what has seasons too few rows are held out to be so strict."""
        self.network = network
        self._train = train
        self._batches = ShuffledBatches(len(train), batch_size, seed)
        self.steps_per_epoch = self._batches.batches_per_epoch
        self.metrics: dict[str, float] = {}
        self._held_out = held_out if held_out is not None and len(held_out) else None
        self._compute = compute
        self._doubt = require_significance

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, int]:
        sample = self._train.take(self._batches[step])
        part = self._compute.world.lane_range(len(sample.origin))
        mine = WindowBatch(**{name: array[part.as_slice] for name, array in vars(sample).items()})
        given, chance = model_inputs(mine, self._compute.device), MaskRng(generator, part)
        total, _ = self._losses(self.network(*given, rng=chance, dtype=self._compute.dtype), mine)
        if not part.counted:
            total = total * 0
        return total / max(int(sample.observed.sum()), 1), sample.future.size + sample.history.size

    def _losses(self, outputs: Tensor, sample: WindowBatch) -> tuple[Tensor, int]:
        """Summed loss, and the number of values that were there to be met."""
        truth = torch.from_numpy(sample.future).to(outputs.device)
        weight = torch.from_numpy(sample.observed).to(outputs)
        error = F.huber_loss(outputs[:, :, 0], truth, reduction="none", delta=_FAR)
        levels = self.network.config.levels
        if levels:
            error = error + pinball_loss(outputs[:, :, 1:], truth, levels).mean(dim=2)
        return (error * weight).sum(), int(sample.observed.sum())

    def validate(self) -> float | None:
        """The mean loss; sets `metrics`, and as a side effect what the network keeps of its validation: in which
        columns it is believed, and how wide its bands must be."""
        if self._held_out is None:
            return None
        windows, levels = self._held_out, self.network.config.levels
        columns = windows.columns
        chosen = evenly_spaced(len(windows.origins), max(1, _MOST_VALIDATION // columns))
        parts: list[tuple[npt.NDArray[Any], ...]] = []
        total, count = 0.0, 0
        with torch.inference_mode():
            for origins in np.array_split(chosen, max(1, len(chosen) * columns // _AT_ONCE)):
                sample = windows.take((origins[:, None] * columns + np.arange(columns)).ravel())
                outputs = self.network(*model_inputs(sample, self._compute.device), dtype=self._compute.dtype)
                loss, values = self._losses(outputs, sample)
                total, count = total + float(loss), count + values
                # Everything from here on is relative to the last value.
                last = sample.history[:, -1:]
                found = outputs.float().cpu().numpy() - last[:, :, None]
                parts.append((found, sample.future - last, sample.observed))
        outputs, change, observed = (np.concatenate([part[place] for part in parts]) for place in range(3))
        apart = len(windows.origins) / len(chosen)
        believed = [
            not self._doubt
            or significantly_better(outputs[c::columns, :, 0], change[c::columns], observed[c::columns], apart)
            for c in range(columns)
        ]
        doubted = ~np.tile(np.array(believed), len(chosen))
        outputs[doubted, :, 0] = 0.0
        error = (outputs[:, :, 0] - change) * observed
        many, nothing = max(int(observed.sum()), 1), float(((change * observed) ** 2).sum())
        self.metrics = {
            "scaled_mse": float((error**2).sum() / many),
            "scaled_mae": float(np.abs(error).sum() / many),
            "skill": 1 - float((error**2).sum()) / nothing if nothing else 0.0,
        }
        with torch.no_grad():
            self.network.believed.copy_(torch.tensor(believed, dtype=torch.float32))
        if levels:
            quantiles = np.sort(outputs[:, :, 1:], axis=2)
            quantiles[doubted] -= quantiles[doubted][:, :, len(levels) // 2, None]
            factors = [
                widening_factors(quantiles[c::columns], change[c::columns], observed[c::columns], levels, apart)
                for c in range(columns)
            ]
            with torch.no_grad():
                self.network.widening.copy_(torch.from_numpy(np.stack(factors)))
        return total / max(count, 1)

    def carried_state(self) -> dict[str, Tensor]:
        return {}

    def load_carried_state(self, tensors: dict[str, Tensor]) -> None:
        if tensors:
            raise ValueError("a forecaster carries nothing from step to step")


def significantly_better(forecast: Floats, truth: Floats, observed: npt.NDArray[np.bool_], apart: float = 1.0) -> bool:
    """Whether forecasts have a smaller squared error than the last value has, by more than chance would give.

    The test of Diebold and Mariano (1995), one-sided; the errors of windows that overlap are alike, so the windows of
    a horizon's length are one observation. With fewer than four of those nothing can be told, and forecasts are
    believed.

    Args:
        forecast, truth: relative to the last value, shape (windows, horizon), the windows in order; `observed` where
            the truth is known.
        apart: rows from one window to the next.
    """
    gains = np.where(observed, truth**2 - (truth - forecast) ** 2, 0.0).sum(axis=1)
    blocks = int(len(gains) * apart / truth.shape[1])
    if blocks < _FEWEST_BLOCKS:
        return True
    means = np.array([part.mean() for part in np.array_split(gains, min(blocks, len(gains)))])
    return bool(means.mean() > _SURE * means.std(ddof=1) / np.sqrt(len(means)))


def pinball_loss(quantiles: Tensor, truth: Tensor, levels: Sequence[float]) -> Tensor:
    """Pinball loss of each quantile, shape (…, levels): q·e for what lies above a forecast, (q − 1)·e for what lies
    below it (Koenker & Bassett, 1978). `levels` are in percent."""
    share = torch.tensor(levels, dtype=quantiles.dtype, device=quantiles.device) / 100
    error = truth[..., None] - quantiles
    return torch.maximum(share * error, (share - 1) * error)
