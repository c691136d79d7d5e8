"""Dropout masks that are the same whether one process computes a batch or several share it.

Every process draws the mask of the whole batch, from a generator in the same state, and keeps its own lanes of it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class LaneRange(NamedTuple):
    """Lanes `first` to `stop` of `total`: those of a batch that one process computes.

    A process without a lane of its own computes one that is not `counted`, so that all processes run the same steps.
    """

    first: int
    stop: int
    total: int
    counted: bool = True

    @property
    def as_slice(self) -> slice:
        """The lanes as an index."""
        return slice(self.first, self.stop)


class MaskRng(NamedTuple):
    """A generator, and the lanes of the batch that its masks are for; None for all."""

    generator: torch.Generator
    lanes: LaneRange | None = None


DropoutRng = torch.Generator | MaskRng


def step_generator(generator: torch.Generator, device: torch.device) -> torch.Generator:
    """The generator of one step's masks: on a GPU one of its own, with the next number of `generator` as seed.

    So masks are drawn where they are needed, all processes draw the same, and the state of `generator`, a CPU's, is all
    that has to be saved: a run resumes on another device.
    """
    if device.type != "cuda":
        return generator
    seed = int(torch.randint(1 << 62, (), generator=generator))
    return torch.Generator(device).manual_seed(seed)


def dropout_mask(like: Tensor, probability: float, rng: DropoutRng | None, lane_dim: int | None = None) -> Tensor:
    """0 with the given probability, otherwise 1 / (1 − probability), in the shape and dtype of `like`.

    See `keep_mask` for the arguments.
    """
    return keep_mask(like, probability, rng, lane_dim).to(like.dtype).mul_(1 / (1 - probability))


def keep_mask(like: Tensor, probability: float, rng: DropoutRng | None, lane_dim: int | None = None) -> Tensor:
    """False with the given probability, otherwise True, in the shape of `like`.

    Args:
        rng: with a `MaskRng` that has lanes, the mask of these lanes is cut from that of the whole batch.
        lane_dim: the dimension of `like` that runs over those lanes; None for a mask that all lanes share.
    """
    generator, lanes = rng if isinstance(rng, MaskRng) else (rng, None)
    shape = list(like.shape)
    if lanes is not None and lane_dim is not None:
        shape[lane_dim] = lanes.total
    keep = torch.rand(shape, generator=generator, device=like.device if generator is None else generator.device)
    if lanes is not None and lane_dim is not None:
        keep = keep.narrow(lane_dim, lanes.first, lanes.stop - lanes.first)
    return (keep >= probability).to(like.device)
