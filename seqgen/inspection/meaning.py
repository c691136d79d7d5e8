"""What units mean: how much their values tell about features of the sequence, in bits.

A unit's values are cut into bins of equal count; their mutual information with a feature is measured. With hundreds of
units the best one correlates with anything, by chance. So a unit is chosen in the first half of the sequence and
measured in the second. The baseline is the same with shuffled units: blocks of the sequence, of random lengths, are put
in another order, so that only what neighbouring steps have in common is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqgen.inspection.features import Feature, Labels

Floats = npt.NDArray[np.float32]

_BINS = 8
_SHUFFLES = 6  # shuffled versions, of which the largest value is the baseline
_BLOCKS, _MIN_BLOCK, _MAX_BLOCK = 60, 20, 200  # blocks of half a sequence, and their mean length in steps
_LEAST = 0.01  # bits that are worth a line
MIN_STEPS = 400
"""Steps of a sequence that statistics make sense for."""


@dataclass(frozen=True)
class UnitMeaning:
    """A unit and the feature that it tells most about.

    Attributes:
        layer, unit: numbers from 1 and from 0.
        bits: mutual information in the second half of the sequence.
        entropy: of the feature there: the most that is possible.
        baseline: bits of the best of all shuffled units, chosen and measured in the same way.
    """

    layer: int
    unit: int
    feature: str
    bits: float
    entropy: float
    baseline: float


def unit_meanings(traces: Sequence[Floats], features: Sequence[Feature], top: int) -> list[UnitMeaning]:
    """The units that say most: first the best unit for each feature, then the second best, until there are `top`.

    Every unit is listed with one feature, and only if it tells more than the baseline.

    Args:
        traces: by layer, shape (steps, units); `MIN_STEPS` steps or more.
        features: `usable` ones.
    """
    half = len(features[0].values) // 2 if features else 0
    bins = [(_binned(trace[:half]), _binned(trace[half:])) for trace in traces]
    places = [(layer, unit) for layer, trace in enumerate(traces) for unit in range(trace.shape[1])]
    found = []
    for feature in features:
        first, second = feature.values[:half], feature.values[half:]
        chosen = np.concatenate([_information(own, first) for own, _ in bins])
        measured = np.concatenate([_information(own, second) for _, own in bins])
        baseline = max(_shuffled(bins, first, second, seed) for seed in range(_SHUFFLES))
        entropy = Feature(feature.name, second).entropy
        for rank, index in enumerate(np.argsort(-chosen, kind="stable")[: max(top, 1)].tolist()):
            layer, unit = places[index]
            bits = float(measured[index])
            if bits > max(baseline, _LEAST):
                found.append((rank, UnitMeaning(layer + 1, unit, feature.name, bits, entropy, baseline)))
    # A unit that is the best for two features stays with the one about which it tells a larger share.
    best: dict[tuple[int, int], tuple[int, UnitMeaning]] = {}
    for rank, meaning in sorted(found, key=lambda pair: -pair[1].bits / max(pair[1].entropy, 1e-9)):
        best.setdefault((meaning.layer, meaning.unit), (rank, meaning))
    ranks: dict[str, int] = {}
    ordered = []
    for _, meaning in sorted(best.values(), key=lambda pair: pair[0]):
        ranks[meaning.feature] = ranks.get(meaning.feature, -1) + 1
        ordered.append((ranks[meaning.feature], -meaning.bits, meaning))
    return [meaning for _, _, meaning in sorted(ordered, key=lambda item: item[:2])][:top]


def _shuffled(bins: Sequence[tuple[Labels, Labels]], first: Labels, second: Labels, seed: int) -> float:
    """The bits of the best unit, chosen in the first half, if blocks of the features are shuffled."""
    rng = np.random.default_rng(seed)
    halves = [_block_shuffled(half, rng) for half in (first, second)]
    chosen = np.concatenate([_information(own, halves[0]) for own, _ in bins])
    measured = np.concatenate([_information(own, halves[1]) for _, own in bins])
    return float(measured[int(chosen.argmax())])


def _block_shuffled(values: Labels, rng: np.random.Generator) -> Labels:
    mean = min(max(len(values) // _BLOCKS, _MIN_BLOCK), _MAX_BLOCK)
    lengths = rng.integers(mean // 2, 3 * mean // 2, size=2 * len(values) // mean + 1)
    blocks = [block for block in np.split(values, np.cumsum(lengths)) if len(block)]
    return np.concatenate([blocks[index] for index in rng.permutation(len(blocks))])


def _binned(values: Floats) -> Labels:
    """The bin of each value, of bins of about equal count for each unit; shape (steps, units)."""
    edges = np.quantile(values, np.arange(1, _BINS) / _BINS, axis=0)  # (bins − 1, units)
    return (values[None] > edges[:, None]).sum(axis=0)


def _information(bins: Labels, feature: Labels) -> npt.NDArray[np.float64]:
    """Mutual information in bits of each unit's bin and the feature, shape (units,).

    The bias of few samples, about (bins − 1)(values − 1) / 2n nats (Miller, 1955), is subtracted.
    """
    steps, units = bins.shape
    kinds = int(feature.max()) + 1
    joint = np.zeros((units, _BINS * kinds))
    codes = bins * kinds + feature[:, None]
    for unit in range(units):
        joint[unit] = np.bincount(codes[:, unit], minlength=_BINS * kinds)
    shares = joint.reshape(units, _BINS, kinds) / steps
    independent = shares.sum(axis=2, keepdims=True) * shares.sum(axis=1, keepdims=True)
    ratio = np.divide(shares, independent, out=np.ones_like(shares), where=shares > 0)
    bits = (shares * np.log2(ratio)).sum(axis=(1, 2))
    used_bins = (shares.sum(axis=2) > 0).sum(axis=1)
    used_kinds = int((np.bincount(feature) > 0).sum())
    bias = (used_bins - 1) * (used_kinds - 1) / (2 * steps * np.log(2))
    result: npt.NDArray[np.float64] = np.maximum(bits - bias, 0)
    return result
