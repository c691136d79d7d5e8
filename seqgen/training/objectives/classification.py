"""The objective of classification: the labels of texts, in batches of similar length."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqgen.corpus.ids import PageReleaser
from seqgen.model.chunks import chunk_counts, chunk_texts
from seqgen.model.classifier import Classifier
from seqgen.model.dropout import LaneRange, MaskRng
from seqgen.model.transfer import to_device
from seqgen.training.batches import epoch_rng
from seqgen.training.device import Compute
from seqgen.training.linear_model import classification_loss, text_losses, weighted_mean
from seqgen.training.optimiser import minimise

_LONGEST = 4096  # ids of a text that are used
_WINDOW = 320  # ids: of a longer text a random window is labelled, another one in every epoch
_SHIFT = 0.3  # nats: standard deviation of the prior of a label's shift, which few texts would draw far from 0
_POOL = 32  # batches sorted by length together: little padding, and an order that stays random


@dataclass(frozen=True)
class LabelledIds:
    """Texts as ids, and their labels.

    Attributes:
        ids, starts: text r is `ids[starts[r]:starts[r + 1]]`.
        targets: 1 for the labels of a text, otherwise 0; float32, shape (texts, labels).
        rows: r of each text; None: all, in order.
    """

    ids: npt.NDArray[np.unsignedinteger]
    starts: npt.NDArray[np.int64]
    targets: npt.NDArray[np.float32]
    rows: npt.NDArray[np.int64] | None = None
    _releaser: PageReleaser = field(default_factory=PageReleaser, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.starts) - 1 if self.rows is None else len(self.rows)

    def select(self, chosen: npt.NDArray[np.int64]) -> LabelledIds:
        """Some of the texts, in this order, without a copy of their ids."""
        rows = chosen if self.rows is None else self.rows[chosen]
        return LabelledIds(self.ids, self.starts, self.targets[chosen], rows)

    def text(self, number: int) -> npt.NDArray[np.unsignedinteger]:
        """The ids of a text; a single zero for an empty one."""
        row = number if self.rows is None else int(self.rows[number])
        ids = self.ids[self.starts[row] : self.starts[row + 1]]
        self._releaser.add(self.ids, len(ids))
        return ids if len(ids) else np.zeros(1, dtype=self.ids.dtype)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The number of ids of each text."""
        lengths = np.diff(self.starts)
        return lengths if self.rows is None else lengths[self.rows]

    @property
    def tokens(self) -> int:
        """The number of ids of all texts."""
        return int(self.lengths.sum())

    @property
    def read_lengths(self) -> npt.NDArray[np.int64]:
        """The number of ids of each text in pretraining; see `truncate`."""
        return self.lengths.clip(1, _LONGEST)

    @property
    def window_lengths(self) -> npt.NDArray[np.int64]:
        """The number of ids of each text in training: a window of at least half of it, and all of a short one.

        Long texts would take most of the time, and a window is a different text each time.
        """
        lengths = self.lengths
        return np.minimum(lengths, np.maximum(_WINDOW, -(-lengths // 2))).clip(1, _LONGEST)


def text_batches_per_epoch(texts: int, batch_size: int) -> int:
    """The batches in an epoch of so many texts; the last one may be smaller."""
    return -(-texts // batch_size)


class ClassificationObjective:
    """Cross-entropy of the labels (see `loop.Objective`).

    Validation fits the mixture of network and linear model and measures it, so that the saved model is calibrated.
    """

    def __init__(
        self,
        network: Classifier,
        train: LabelledIds,
        held_out: LabelledIds | None,
        held_out_linear: Tensor | None,
        compute: Compute,
        batch_size: int,
        seed: int,
        smoothing: float = 0.0,
        weights: npt.NDArray[np.float32] | None = None,
    ) -> None:
        """
        Args:
            held_out_linear: linear model's logits of the validation texts, not trained on them, shape (texts, labels).
            smoothing: fraction of the target that is spread over all labels (Szegedy et al., 2016).
            weights: weight of each label in the loss, shape (labels,).
        """
        self.network = network
        self._train = train
        self._held_out = held_out
        self._held_out_linear = held_out_linear
        self._compute = compute
        self._batch_size = max(1, min(batch_size, len(train)))
        self.steps_per_epoch = text_batches_per_epoch(len(train), self._batch_size)
        self._seed = seed
        self._smoothing = smoothing
        self._label_weights = weights
        self._weights = None if weights is None else torch.from_numpy(weights).to(compute.device)
        self.metrics: dict[str, float] = {}

    def batch(self, step: int) -> npt.NDArray[np.int64]:
        """The texts of batch `step`: a pure function of the step and the seed."""
        epoch, index = divmod(step, self.steps_per_epoch)
        rng = epoch_rng(self._seed, epoch)
        order = rng.permutation(len(self._train))
        pool = self._batch_size * _POOL
        lengths = self._train.lengths
        # The batches of an epoch are shuffled too, or short texts would always come first.
        number = int(rng.permutation(self.steps_per_epoch)[index])
        start = number * self._batch_size // pool * pool
        pooled = order[start : start + pool]
        ordered = pooled[np.argsort(lengths[pooled], kind="stable")]
        first = number * self._batch_size - start
        return ordered[first : first + self._batch_size]

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, int]:
        chosen, size = self.batch(step), self.network.config.stretch
        texts = self._compute.world.lane_range(len(chosen))
        own, lengths = chosen[texts.as_slice], self._train.window_lengths[chosen]
        ids, sizes, text_indices = (
            to_device(array, self._compute.device)
            for array in chunk_texts(self._windows(step, chosen, lengths)[texts.as_slice], size)
        )
        rng = MaskRng(generator, chunk_range(texts, lengths, size))
        summaries = self.network.summaries(ids, sizes, rng, self._compute.dtype)
        logits = self.network.logits_from_summaries(summaries, sizes, text_indices, len(own), MaskRng(generator, texts))
        loss = self._mean_loss(logits, to_device(self._train.targets[own], self._compute.device))
        fraction = self._total_weight(own) / self._total_weight(chosen) if texts.counted else 0.0
        return loss if fraction == 1 else loss * fraction, int(lengths.sum())

    def _windows(
        self, step: int, chosen: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
    ) -> list[npt.NDArray[np.unsignedinteger]]:
        """The texts of batch `step`, cut to windows: a pure function of the step and the seed."""
        rng = np.random.Generator(np.random.Philox(key=np.array([self._seed, step], dtype=np.uint64)).jumped())
        offsets = rng.random(len(chosen))
        windows = []
        for number, length, offset in zip(chosen, lengths, offsets, strict=True):
            ids = self._train.text(number)
            start = int(offset * (len(ids) - length + 1))
            windows.append(ids[start : start + length])
        return windows

    def _total_weight(self, chosen: npt.NDArray[np.int64]) -> float:
        """The divisor of the mean loss of some texts."""
        if self._label_weights is None:
            return float(len(chosen))
        return max(1e-6, float((self._train.targets[chosen] @ self._label_weights).sum()))

    def _mean_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        smooth = targets
        multi = self.network.config.multi
        if self._smoothing:
            floor = 0.5 if multi else 1 / targets.shape[1]
            smooth = targets * (1 - self._smoothing) + self._smoothing * floor
        losses = text_losses(logits, smooth, multi)
        return losses.mean() if self._weights is None else weighted_mean(losses, (targets * self._weights).sum(1))

    def validate(self) -> float | None:
        if self._held_out is None or not len(self._held_out):
            return None
        device = self._compute.device
        with torch.inference_mode():
            network_logits = self.network.predict_logits(
                [self._held_out.text(number) for number in range(len(self._held_out))], self._compute.dtype
            )
        targets = torch.from_numpy(self._held_out.targets).to(device)
        network_logits = network_logits.clone()  # an inference tensor can't take part in autograd
        linear_logits = None if self._held_out_linear is None else self._held_out_linear.to(device)
        multi = self.network.config.multi
        fit_mixture(self.network, network_logits, linear_logits, targets, self._weights)
        with torch.no_grad():
            logits = self.network.combined_logits(network_logits, linear_logits)
            loss = float(classification_loss(multi, self._weights)(logits, targets))
            self.metrics = {
                "accuracy": _accuracy(logits, targets, multi),
                "accuracy_deep": _accuracy(network_logits, targets, multi),
            }
            if linear_logits is not None:
                self.metrics["accuracy_wide"] = _accuracy(linear_logits, targets, multi)
        return loss

    def carried_state(self) -> dict[str, Tensor]:
        return {} if self._held_out_linear is None else {"wide": self._held_out_linear}

    def load_carried_state(self, tensors: dict[str, Tensor]) -> None:
        saved = tensors.get("wide")
        if saved is None:
            return
        texts = 0 if self._held_out is None else len(self._held_out)
        if saved.shape != (texts, len(self.network.config.labels)):
            raise ValueError("the carried logits are not of these texts")
        self._held_out_linear = saved


def truncate(ids: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.unsignedinteger]:
    """The beginning and the end of a very long text, and all of any other."""
    if len(ids) <= _LONGEST:
        return ids
    return np.concatenate([ids[: _LONGEST // 2], ids[-_LONGEST // 2 :]])


def chunk_range(texts: LaneRange, lengths: npt.NDArray[np.int64], size: int) -> LaneRange:
    """The chunks of some texts among those of all texts of a batch, which have these lengths."""
    ends = np.cumsum(chunk_counts(lengths, size))
    first = int(ends[texts.first - 1]) if texts.first else 0
    return LaneRange(first, int(ends[texts.stop - 1]), int(ends[-1]), texts.counted)


def _accuracy(logits: Tensor, targets: Tensor, multi: bool) -> float:
    if multi:
        return float(((logits > 0) == (targets > 0.5)).all(1).float().mean())
    return float((logits.argmax(1) == targets.argmax(1)).float().mean())


def fit_mixture(
    network: Classifier,
    network_logits: Tensor,
    linear_logits: Tensor | None,
    targets: Tensor,
    weights: Tensor | None = None,
) -> None:
    """Fit the network's `mix` and `shift` to the validation texts.

    A model that would get a negative weight is left out.

    Args:
        network_logits, linear_logits, targets: shape (texts, labels).
        weights: weight of each label in the loss, shape (labels,), as in training: otherwise the shift would undo them.
    """
    parts = [network_logits] if linear_logits is None else [network_logits, linear_logits]
    multi = network.config.multi
    mix, shift = fit_mixture_weights(parts, targets, multi, weights=weights)
    if len(parts) > 1 and (mix < 0).any():
        best = int(mix.argmax())
        mix = torch.zeros_like(mix)
        mix[best : best + 1], shift = fit_mixture_weights([parts[best]], targets, multi, weights=weights)
    with torch.no_grad():
        network.mix.zero_()
        network.mix[: len(parts)] = mix.clamp(min=0)
        network.shift.copy_(shift)


def fit_mixture_weights(
    parts: list[Tensor],
    targets: Tensor,
    multi: bool,
    prior: Tensor | float = 0.0,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """A weight for each part and a shift for each label, for logits prior + shift + Σ mix · part.

    The problem is convex; L-BFGS finds its solution. Normal priors around equal weights and no shift keep the fit from
    following few texts too closely.

    Args:
        parts, targets: shape (texts, labels).
        weights: weight of each label in the loss, shape (labels,).
    """
    loss = classification_loss(multi, weights)
    mix = torch.full((len(parts),), 1 / len(parts), device=targets.device, requires_grad=True)
    shift = torch.zeros(targets.shape[1], device=targets.device, requires_grad=True)

    def objective() -> Tensor:
        logits = prior + shift + sum(mix[i] * part for i, part in enumerate(parts))
        unlikely = (shift / _SHIFT).square().sum() + (mix - 1 / len(parts)).square().sum()
        return loss(logits, targets) + unlikely / (2 * len(targets))

    minimise([mix, shift], objective)
    return mix.detach(), shift.detach()
