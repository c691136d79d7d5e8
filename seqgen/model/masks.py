"""Masks of dropout, the same whether a batch is computed by one process or shared among several.

Every process draws the mask of the whole batch, from a generator in the same state, and keeps its lanes of it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Part(NamedTuple):
    """Lanes `first` to `stop` of `total`: those of a batch that one process computes. A process that is left without
    any computes one all the same, so that all do the same things, and it is not `counted`."""

    first: int
    stop: int
    total: int
    counted: bool = True

    @property
    def own(self) -> slice:
        """The lanes as an index."""
        return slice(self.first, self.stop)


class Chance(NamedTuple):
    """A generator, and the part of the batch that its masks are for; None: all of it."""

    generator: torch.Generator
    part: Part | None = None


Random = torch.Generator | Chance


def dropout_mask(like: Tensor, share: float, random: Random | None, lanes: int | None = None) -> Tensor:
    """Zeros with probability `share`, otherwise 1 / (1 − share), in the shape and type of `like`. See `kept`."""
    return kept(like, share, random, lanes).to(like.dtype).mul_(1 / (1 - share))


def kept(like: Tensor, share: float, random: Random | None, lanes: int | None = None) -> Tensor:
    """False with probability `share`, otherwise true, in the shape of `like`.

    Args:
        random: of a `Chance` with a part, the mask is the part of a larger one.
        lanes: the dimension of `like` that runs over the lanes of that part; None for a mask that all lanes share.
    """
    generator, part = random if isinstance(random, Chance) else (random, None)
    shape = list(like.shape)
    if part is not None and lanes is not None:
        shape[lanes] = part.total
    keep = torch.rand(shape, generator=generator, device=like.device if generator is None else generator.device)
    if part is not None and lanes is not None:
        keep = keep.narrow(lanes, part.first, part.stop - part.first)
    return (keep >= share).to(like.device)
