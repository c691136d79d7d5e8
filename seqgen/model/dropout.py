"""Masks of dropout, the same whether a batch is computed by one process or shared among several.

Every process draws the mask of the whole batch, from a generator in the same state, and keeps its lanes of it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class LaneRange(NamedTuple):
    """Lanes `first` to `stop` of `total`: those of a batch that one process computes. A process that is left without
    any computes one all the same, so that all do the same things, and it is not `counted`."""

    first: int
    stop: int
    total: int
    counted: bool = True

    @property
    def as_slice(self) -> slice:
        """The lanes as an index."""
        return slice(self.first, self.stop)


class MaskRng(NamedTuple):
    """A generator, and the part of the batch that its masks are for; None: all of it."""

    generator: torch.Generator
    part: LaneRange | None = None


DropoutRng = torch.Generator | MaskRng


def dropout_mask(like: Tensor, share: float, random: DropoutRng | None, lane_dim: int | None = None) -> Tensor:
    """Zeros with probability `share`, otherwise 1 / (1 − share), in the shape and type of `like`. See `keep_mask`."""
    return keep_mask(like, share, random, lane_dim).to(like.dtype).mul_(1 / (1 - share))


def keep_mask(like: Tensor, share: float, random: DropoutRng | None, lane_dim: int | None = None) -> Tensor:
    """False with probability `share`, otherwise true, in the shape of `like`.

    Args:
        random: of a `MaskRng` with a part, the mask is the part of a larger one.
        lanes: the dimension of `like` that runs over the lanes of that part; None for a mask that all lanes share.
    """
    generator, part = random if isinstance(random, MaskRng) else (random, None)
    shape = list(like.shape)
    if part is not None and lane_dim is not None:
        shape[lane_dim] = part.total
    keep = torch.rand(shape, generator=generator, device=like.device if generator is None else generator.device)
    if part is not None and lane_dim is not None:
        keep = keep.narrow(lane_dim, part.first, part.stop - part.first)
    return (keep >= share).to(like.device)
