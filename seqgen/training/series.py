"""The objective of forecasting: every window of the rows to learn from, in an order of its own in every pass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from seqgen.corpus.windows import Integers, Sample, Windows, spread_out
from seqgen.model.forecaster import Forecaster
from seqgen.training.conformal import widening
from seqgen.training.device import Compute

_AT_ONCE = 512  # windows that are validated together
_MOST_VALIDATION = 20_000  # windows: enough for the third decimal; evenly spread where there are more


class Shuffled:
    """Batches of window numbers: batch n is a pure function of (how many there are, n, seed)."""

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        """`batch_size` is lowered where there are fewer windows."""
        self.count, self.batch_size = count, max(1, min(batch_size, count))
        self.batches_per_pass = max(1, count // self.batch_size)
        self._seed = seed
        self._turn, self._order = -1, np.zeros(0, dtype=np.int64)

    def __getitem__(self, number: int) -> Integers:
        turn, place = divmod(number, self.batches_per_pass)
        if turn != self._turn:
            random = np.random.Generator(np.random.Philox(key=np.array([self._seed, turn], dtype=np.uint64)))
            self._turn, self._order = turn, random.permutation(self.count)
        return self._order[place * self.batch_size : (place + 1) * self.batch_size]


class Forecasting:
    """Absolute error of the point forecast, and pinball loss of the quantiles (see `loop.Objective`).

    The point is learnt with the absolute error, which is less drawn by storms and price jumps than the square; so it is
    in SegRNN, whose squared error on what it has not seen is the smaller for it.
    """

    def __init__(
        self,
        network: Forecaster,
        train: Windows,
        held_out: Windows | None,
        compute: Compute,
        batch_size: int,
        seed: int,
    ) -> None:
        self.network = network
        self._train = train
        self._batches = Shuffled(len(train), batch_size, seed)
        self.steps_per_epoch = self._batches.batches_per_pass
        self.measures: dict[str, float] = {}
        self._held_out = held_out if held_out is not None and len(held_out) else None
        self._compute = compute

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, int]:
        sample = self._train.take(self._batches[step])
        outputs = self.network(*inputs(sample, self._compute.device), generator=generator, kind=self._compute.kind)
        total, count = self._losses(outputs, sample)
        return total / max(count, 1), sample.future.size + sample.history.size

    def _losses(self, outputs: Tensor, sample: Sample) -> tuple[Tensor, int]:
        """Summed loss, and the number of values that were there to be met."""
        truth = torch.from_numpy(sample.future).to(outputs.device)
        weight = torch.from_numpy(sample.observed).to(outputs)
        error = (outputs[:, :, 0] - truth).abs()
        levels = self.network.config.levels
        if levels:
            error = error + pinball(outputs[:, :, 1:], truth, levels).mean(dim=2)
        return (error * weight).sum(), int(sample.observed.sum())

    def validate(self) -> float | None:
        """The mean loss; sets `measures`, and the network's widening of its bands as a side effect."""
        if self._held_out is None:
            return None
        windows, levels = self._held_out, self.network.config.levels
        columns = windows.columns
        chosen = spread_out(len(windows.origins), max(1, _MOST_VALIDATION // columns))
        forecasts, truths, seen = [], [], []
        total, count = 0.0, 0
        with torch.inference_mode():
            for origins in np.array_split(chosen, max(1, len(chosen) * columns // _AT_ONCE)):
                sample = windows.take((origins[:, None] * columns + np.arange(columns)).ravel())
                outputs = self.network(*inputs(sample, self._compute.device), kind=self._compute.kind)
                loss, values = self._losses(outputs, sample)
                total, count = total + float(loss), count + values
                forecasts.append(outputs.float().cpu().numpy())
                truths.append(sample.future)
                seen.append(sample.observed)
        outputs, truth, observed = np.concatenate(forecasts), np.concatenate(truths), np.concatenate(seen)
        self._measure(outputs[:, :, 0], truth, observed, chosen)
        if levels:
            quantiles = np.sort(outputs[:, :, 1:], axis=2)
            factors = [
                widening(quantiles[c::columns], truth[c::columns], observed[c::columns], levels) for c in range(columns)
            ]
            with torch.no_grad():
                self.network.widening.copy_(torch.from_numpy(np.stack(factors)))
        return total / max(count, 1)

    def _measure(self, point: np.ndarray, truth: np.ndarray, observed: np.ndarray, origins: Integers) -> None:
        """Squared and absolute error, and how much smaller than that of the last value."""
        assert self._held_out is not None
        columns = self._held_out.columns
        last = np.concatenate(
            [self._held_out.take((part[:, None] * columns + np.arange(columns)).ravel()).history[:, -1:]
             for part in np.array_split(origins, max(1, len(origins) * columns // _AT_ONCE))]
        )  # fmt: skip
        many = max(int(observed.sum()), 1)
        squared = float((((point - truth) ** 2) * observed).sum() / many)
        persistence = float((((last - truth) ** 2) * observed).sum() / many)
        self.measures = {
            "scaled_mse": squared,
            "scaled_mae": float((np.abs(point - truth) * observed).sum() / many),
            "skill": 1 - squared / persistence if persistence else 0.0,
        }

    def carried(self) -> dict[str, Tensor]:
        return {}

    def carry(self, tensors: dict[str, Tensor]) -> None:
        if tensors:
            raise ValueError("a forecaster carries nothing from step to step")


def inputs(sample: Sample, device: torch.device) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """What a forecaster takes: history, channel, and covariates where there are any."""
    past = torch.from_numpy(sample.past).to(device) if sample.past.shape[2] else None
    known = torch.from_numpy(sample.known).to(device) if sample.known.shape[2] else None
    return torch.from_numpy(sample.history).to(device), torch.from_numpy(sample.channel).to(device), past, known


def pinball(quantiles: Tensor, truth: Tensor, levels: Sequence[float]) -> Tensor:
    """Pinball loss of each quantile, shape (…, levels): q·e for what lies above a forecast, (q − 1)·e for what lies
    below it (Koenker & Bassett, 1978). `levels` are in percent."""
    share = torch.tensor(levels, dtype=quantiles.dtype, device=quantiles.device) / 100
    error = truth[..., None] - quantiles
    return torch.maximum(share * error, (share - 1) * error)
