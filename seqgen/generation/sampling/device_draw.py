"""Drawing on the device of the logits, so that only drawn ids leave it.

With thousands of tokens, the logits of hundreds of streams are megabytes a step, which take longer to copy and to draw
from on a CPU than a GPU takes to compute them. Filters whose row in `specs.filters` has a `device` form are functions
of tensors here, equal to those of `filters` in float64; where another filter is on, the draw is the CPU's.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqgen.config import SampleOptions
from seqgen.generation.sampling.filters import FilterChain
from seqgen.specs.registry import resolve

DeviceFilter = Callable[[Tensor], Tensor]  # logits to logits, float64, shape (rows, vocabulary)


def make_temperature(options: SampleOptions) -> DeviceFilter | None:
    """A constant `--temperature`; None for one that depends on the entropy or the event."""
    if options.dynatemp_range or options.temperature_of:
        return None
    value = options.temperature

    def apply(logits: Tensor) -> Tensor:
        best = logits.argmax(dim=1, keepdim=True)
        greedy = torch.full_like(logits, -torch.inf).scatter_(1, best, 0.0)
        return (logits - logits.amax(dim=1, keepdim=True)) / value if value > 0 else greedy

    return apply


def make_top_k(options: SampleOptions) -> DeviceFilter:
    """The filter of `--top-k`."""

    def apply(logits: Tensor) -> Tensor:
        if options.top_k >= logits.shape[1]:
            return logits
        kept = torch.arange(logits.shape[1], device=logits.device) < options.top_k
        return _keep(logits, _order(-logits), kept.expand_as(logits))

    return apply


def make_top_p(options: SampleOptions) -> DeviceFilter:
    """The filter of `--top-p`."""
    return lambda logits: _smallest_set(logits, _order(-logits), options.top_p)


def make_min_p(options: SampleOptions) -> DeviceFilter:
    """The filter of `--min-p`."""

    def apply(logits: Tensor) -> Tensor:
        floor = logits.amax(dim=1, keepdim=True) + math.log(options.min_p)
        return logits.masked_fill(logits < floor, -torch.inf)

    return apply


def make_typical_p(options: SampleOptions) -> DeviceFilter:
    """The filter of `--typical-p`."""

    def apply(logits: Tensor) -> Tensor:
        log_probs = torch.log_softmax(logits, dim=1)
        terms = torch.where(log_probs == -torch.inf, 0.0, log_probs.exp() * log_probs)
        distance = (-log_probs + terms.sum(dim=1, keepdim=True)).abs()
        return _smallest_set(logits, _order(distance), options.typical_p)

    return apply


def _order(keys: Tensor) -> Tensor:
    """Ids by rising key, ties by id."""
    return torch.sort(keys, dim=1, stable=True).indices


def _keep(logits: Tensor, order: Tensor, kept: Tensor) -> Tensor:
    """`logits` where `kept`, given in the order of `order`, is true; −∞ elsewhere."""
    mask = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, order, kept)
    return logits.masked_fill(~mask, -torch.inf)


def _smallest_set(logits: Tensor, order: Tensor, p: float) -> Tensor:
    """Keep tokens in `order` until their probability reaches `p`, including the one that reaches it."""
    ordered = torch.softmax(logits, dim=1).gather(1, order)
    kept = ordered.cumsum(dim=1) - ordered < p
    kept[:, 0] = True
    return _keep(logits, order, kept)


def device_filters(chain: FilterChain) -> list[DeviceFilter] | None:
    """The filters of a chain as functions of tensors; None if one has no such form."""
    made = []
    for row in chain.rows:
        one = None if row.device is None else resolve(row.device)(chain.options)
        if one is None:
            return None
        made.append(one)
    return made


class DeviceSampler:
    """A `draw.Sampler` without guides, whose logits are a tensor."""

    def __init__(self, chain: FilterChain, filters: list[DeviceFilter], vocab_size: int, streams: int) -> None:
        self._filters = filters
        self._forbidden = torch.zeros(vocab_size, dtype=torch.bool)
        self._forbidden[list(chain.forbidden)] = True
        self.uniforms = np.ones((streams, 2))
        self.limits: npt.NDArray[np.float64] = np.zeros(streams)

    def draw(self, logits: Tensor, possible: None = None, allowed: None = None) -> tuple[list[int], list[float]]:
        """See `draw.Sampler`; the distribution is that of `NumpySampler`, and so is the use of `uniforms`."""
        with torch.inference_mode():
            exact = logits.double()
            if self._forbidden.device != exact.device:
                self._forbidden = self._forbidden.to(exact.device)
            left = exact.masked_fill(self._forbidden, -torch.inf)
            for each in self._filters:
                left = each(left)
            probabilities = torch.softmax(left, dim=1)
            sums = probabilities.cumsum(dim=1)
            uniforms = torch.from_numpy(self.uniforms[:, :1].copy()).to(exact.device)
            tokens = torch.searchsorted(sums, uniforms * sums[:, -1:], right=True).clamp_(max=exact.shape[1] - 1)
            # Rounding at the very end may lead beyond the last token that is possible.
            ids = torch.arange(exact.shape[1], device=exact.device)
            last = torch.where(probabilities > 0, ids, -1).amax(dim=1, keepdim=True)
            tokens = torch.where(probabilities.gather(1, tokens) > 0, tokens, last)
            drawn = torch.stack([tokens.double(), torch.log_softmax(exact, dim=1).gather(1, tokens)])
            found, log_probs = drawn[:, :, 0].tolist()
        return [int(token) for token in found], log_probs

    def forget_last(self, row: int) -> None:
        """Do nothing: no filter here reads a history."""
