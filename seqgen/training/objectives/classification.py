"""The objective of classification: the label of a text, in batches of texts of similar length."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.corpus.ids import PageReleaser
from seqgen.model.chunks import chunk_counts, chunk_texts
from seqgen.model.classifier import Classifier
from seqgen.model.dropout import LaneRange, MaskRng
from seqgen.training.device import Compute
from seqgen.training.linear_model import classification_loss

_LONGEST = 4096  # ids of a text that are learnt from
_WINDOW = 320  # ids: of a longer text a window is labelled, another one each time that it is met
_POOL = 32  # batches whose texts are sorted by length together: little is padded, and order stays a matter of chance


@dataclass(frozen=True)
class LabelledIds:
    """Texts as ids, and their labels: text i is `ids[starts[i]:starts[i + 1]]`.

    `targets`: float32, shape (texts, labels); where a text has one label, a one in a row of zeros.
    """

    ids: npt.NDArray[np.unsignedinteger]
    starts: npt.NDArray[np.int64]
    targets: npt.NDArray[np.float32]
    _releaser: PageReleaser = field(default_factory=PageReleaser, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def text(self, number: int) -> npt.NDArray[np.unsignedinteger]:
        """The ids of a text; of one without any, a lone zero."""
        found = self.ids[self.starts[number] : self.starts[number + 1]]
        self._releaser.add(self.ids, len(found))
        return found if len(found) else np.zeros(1, dtype=self.ids.dtype)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Ids of each text."""
        return np.diff(self.starts)

    @property
    def read_lengths(self) -> npt.NDArray[np.int64]:
        """Ids of each text as its words are learnt from: see `truncate`."""
        return self.lengths.clip(1, _LONGEST)

    @property
    def window_lengths(self) -> npt.NDArray[np.int64]:
        """Ids of each text as its label is learnt from: a window of at least half of it, and all of a short one. Long
        texts would take most of the time, and a window is a new text each time."""
        lengths = self.lengths
        return np.minimum(lengths, np.maximum(_WINDOW, -(-lengths // 2))).clip(1, _LONGEST)


class ClassificationObjective:
    """Cross-entropy of the labels (see `loop.Objective`). What is validated is the mixture of both models, which is
    fitted there: the model that is saved is calibrated."""

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
            held_out_wide: logits of the held-out texts by a linear model that has not seen them, shape (texts, labels).
            smoothing: share of the target that is spread over all labels (Szegedy et al., 2016).
            weights: what each label counts, shape (labels,).
        """
        self.network = network
        self._train = train
        self._held_out = held_out
        self._wide = held_out_linear
        self._compute = compute
        self._batch_size = max(1, min(batch_size, len(train)))
        self.steps_per_epoch = -(-len(train) // self._batch_size)
        self._seed = seed
        self._smoothing = smoothing
        self._weights = None if weights is None else torch.from_numpy(weights).to(compute.device)
        self.metrics: dict[str, float] = {}

    def batch(self, step: int) -> npt.NDArray[np.int64]:
        """Which texts batch `step` has: a pure function of the number and the seed."""
        turn, place = divmod(step, self.steps_per_epoch)
        random = np.random.Generator(np.random.Philox(key=np.array([self._seed, turn], dtype=np.uint64)))
        order = random.permutation(len(self._train))
        pool = self._batch_size * _POOL
        lengths = self._train.lengths
        # The batches of a pass come in an order of their own, or short texts would always come first.
        number = int(random.permutation(self.steps_per_epoch)[place])
        start = number * self._batch_size // pool * pool
        some = order[start : start + pool]
        ordered = some[np.argsort(lengths[some], kind="stable")]
        first = number * self._batch_size - start
        return ordered[first : first + self._batch_size]

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, int]:
        chosen, stretch = self.batch(step), self.network.config.stretch
        texts = self._compute.world.lane_range(len(chosen))
        mine, lengths = chosen[texts.as_slice], self._train.window_lengths[chosen]
        ids, sizes, text_indices = (
            torch.from_numpy(array).to(self._compute.device)
            for array in chunk_texts(self._windows(step, chosen, lengths)[texts.as_slice], stretch)
        )
        columns = MaskRng(generator, chunk_range(texts, lengths, stretch))
        summaries = self.network.summaries(ids, sizes, columns, self._compute.dtype)
        logits = self.network.logits_from_summaries(
            summaries, sizes, text_indices, len(mine), MaskRng(generator, texts)
        )
        loss = self._cost(logits, torch.from_numpy(self._train.targets[mine]).to(self._compute.device))
        share = self._worth(mine) / self._worth(chosen) if texts.counted else 0.0
        return loss if share == 1 else loss * share, int(lengths.sum())

    def _windows(
        self, step: int, chosen: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
    ) -> list[npt.NDArray[np.unsignedinteger]]:
        """The texts of batch `step`, of long ones a part: like the batch a pure function of the number and the seed."""
        random = np.random.Generator(np.random.Philox(key=np.array([self._seed, step], dtype=np.uint64)).jumped())
        places = random.random(len(chosen))
        windows = []
        for number, length, place in zip(chosen, lengths, places, strict=True):
            ids = self._train.text(number)
            start = int(place * (len(ids) - length + 1))
            windows.append(ids[start : start + length])
        return windows

    def _worth(self, chosen: npt.NDArray[np.int64]) -> float:
        """What some texts count, as the divisor of their mean cost."""
        if self._weights is None:
            return float(len(chosen))
        return max(1e-6, float((self._train.targets[chosen] @ self._weights.cpu().numpy()).sum()))

    def _cost(self, logits: Tensor, targets: Tensor) -> Tensor:
        smooth = targets
        multi = self.network.config.multi
        if self._smoothing:
            floor = 0.5 if multi else 1 / targets.shape[1]
            smooth = targets * (1 - self._smoothing) + self._smoothing * floor
        if multi:
            each = F.binary_cross_entropy_with_logits(logits, smooth, reduction="none").sum(1)
        else:
            each = F.cross_entropy(logits, smooth, reduction="none")
        if self._weights is None:
            return each.mean()
        counts = (targets * self._weights).sum(1)
        return (each * counts).sum() / counts.sum().clamp(min=1e-6)

    def validate(self) -> float | None:
        if self._held_out is None or not len(self._held_out):
            return None
        place = self._compute.device
        with torch.inference_mode():
            deep = self.network.predict_logits(
                [self._held_out.text(number) for number in range(len(self._held_out))], self._compute.dtype
            )
        targets = torch.from_numpy(self._held_out.targets).to(place)
        deep = deep.clone()  # no longer of inference mode
        wide = None if self._wide is None else self._wide.to(place)
        multi = self.network.config.multi
        fit_mixture(self.network, deep, wide, targets)
        with torch.no_grad():
            combined_logits = self.network.combined_logits(deep, wide)
            loss = float(classification_loss(multi)(combined_logits, targets))
            self.metrics = {
                "accuracy": _accuracy(combined_logits, targets, multi),
                "accuracy_deep": _accuracy(deep, targets, multi),
            }
            if wide is not None:
                self.metrics["accuracy_wide"] = _accuracy(wide, targets, multi)
        return loss

    def carried_state(self) -> dict[str, Tensor]:
        return {} if self._wide is None else {"wide": self._wide}

    def load_carried_state(self, tensors: dict[str, Tensor]) -> None:
        self._wide = tensors.get("wide", self._wide)


def truncate(ids: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.unsignedinteger]:
    """A text as it is learnt from: of a very long one the beginning and the end."""
    if len(ids) <= _LONGEST:
        return ids
    return np.concatenate([ids[: _LONGEST // 2], ids[-_LONGEST // 2 :]])


def chunk_range(texts: LaneRange, lengths: npt.NDArray[np.int64], stretch: int) -> LaneRange:
    """Which stretches are those of some of the texts, in the layout of all of them, whose lengths these are."""
    ends = np.cumsum(chunk_counts(lengths, stretch))
    first = int(ends[texts.first - 1]) if texts.first else 0
    return LaneRange(first, int(ends[texts.stop - 1]), int(ends[-1]), texts.counted)


def _accuracy(logits: Tensor, targets: Tensor, multi: bool) -> float:
    if multi:
        return float(((logits > 0) == (targets > 0.5)).all(1).float().mean())
    return float((logits.argmax(1) == targets.argmax(1)).float().mean())


def fit_mixture(network: Classifier, deep: Tensor, wide: Tensor | None, targets: Tensor) -> None:
    """Sets the network's `mix` and `shift` to what fits the held-out texts best.

    Few texts are not believed too much: standard normal priors hold the shift to zero and the weights to equal shares.
    A model that would be counted against is left out.
    """
    parts = [deep] if wide is None else [deep, wide]
    multi = network.config.multi
    mix, shift = fit_mixture_weights(parts, targets, multi)
    if len(parts) > 1 and (mix < 0).any():
        kept = int(mix.argmax())
        mix = torch.zeros_like(mix)
        mix[kept : kept + 1], shift = fit_mixture_weights([parts[kept]], targets, multi)
    with torch.no_grad():
        network.mix.zero_()
        network.mix[: len(parts)] = mix.clamp(min=0)
        network.shift.copy_(shift)


def fit_mixture_weights(
    parts: list[Tensor], targets: Tensor, multi: bool, prior: Tensor | float = 0.0
) -> tuple[Tensor, Tensor]:
    """A weight for each part, and a shift for each label, to be added to `prior`. Convex: L-BFGS finds the one
    solution."""
    loss = classification_loss(multi)
    mix = torch.full((len(parts),), 1 / len(parts), device=targets.device, requires_grad=True)
    shift = torch.zeros(targets.shape[1], device=targets.device, requires_grad=True)
    optimiser = torch.optim.LBFGS([mix, shift], max_iter=100, line_search_fn="strong_wolfe")

    def evaluate() -> Tensor:
        optimiser.zero_grad()
        logits = prior + shift + sum(mix[i] * part for i, part in enumerate(parts))
        belief = (shift.square().sum() + (mix - 1 / len(parts)).square().sum()) / (2 * len(targets))
        value = loss(logits, targets) + belief
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(evaluate)  # type: ignore[no-untyped-call]
    return mix.detach(), shift.detach()
