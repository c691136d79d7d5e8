"""Temperature correction for networks trained with dropout.

Each dropout mask makes another network; the ideal prediction is the mean of their distributions. The network without
masks, which is used instead, approximates their geometric mean (Hinton et al., 2012). That is more confident than the
mean, the more so the higher the dropout. One temperature corrects most of it. It is fitted on training text without
looking at the targets, and so needs no held-out data.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqgen.corpus.ids import IdStream
from seqgen.model.language import LanguageModel
from seqgen.training.batches import IGNORE_INDEX, sequential_batches
from seqgen.training.device import Compute

_MASKS = 8  # whose mean is approximated
_LANES, _LENGTH, _IDS = 16, 128, 8_192
CALIBRATION_IDS = (_MASKS + 1) * _IDS  # ids in all, at most
_LARGEST = 1 << 26  # logits of a fit (256 MB)
_LEAST, _MOST, _STEPS = 0.9, 1.6, 36  # candidates


def fit_temperature(network: LanguageModel, stream: IdStream, compute: Compute, seed: int) -> float:
    """The temperature that brings the network's distribution closest to its mean over dropout masks.

    It minimises the mean of KL(mean ‖ softmax(logits / temperature)); 1 for a network without dropout.
    """
    if not (network.config.dropout or network.config.weight_drop):
        return 1.0
    vocabulary = network.config.vocab_size
    batches = sequential_batches(stream, _LANES, _LENGTH, min(_IDS, max(1024, _LARGEST // vocabulary)))
    if not batches:
        return 1.0
    candidates = torch.linspace(_LEAST, _MOST, _STEPS, device=compute.device)
    losses = torch.zeros(_STEPS, device=compute.device)
    generator = torch.Generator().manual_seed(seed)
    lanes = batches[0].inputs.shape[1]
    states = [network.initial(lanes) for _ in range(_MASKS + 1)]
    with torch.inference_mode():
        for batch in batches:
            ids = torch.from_numpy(batch.inputs).to(compute.device)
            mean = torch.zeros((), device=compute.device)
            network.train()
            for number in range(_MASKS):
                hidden, states[number] = network(ids, states[number], generator, compute.dtype)
                mean = mean + network.logits(hidden).softmax(-1) / _MASKS
            network.eval()
            hidden, states[_MASKS] = network(ids, states[_MASKS], dtype=compute.dtype)
            logits = network.logits(hidden)
            if stream.given is not None:
                predicted = torch.from_numpy(batch.targets != IGNORE_INDEX).to(compute.device)
                mean, logits = mean[predicted], logits[predicted]
            losses += _cross_entropies(mean, logits, candidates)
    return round(float(candidates[losses.argmin()]), 2)


def _cross_entropies(mean: Tensor, logits: Tensor, candidates: Tensor) -> Tensor:
    """−Σ mean · log softmax(logits / t) for each temperature t, summed over all positions."""
    expected = (mean * logits).sum()
    return torch.stack([(logits / t).logsumexp(-1).sum() - expected / t for t in candidates])


def apply_temperature(network: LanguageModel, temperature: float) -> bool:
    """Divide the logits of `network` by `temperature`, in its output layer.

    Returns False, without a change, if the output layer is the embedding.
    """
    weight = network.projection if network.output_weight is None else network.output_weight
    if weight is None:
        return False
    with torch.no_grad():
        weight.div_(temperature)
        network.output_bias.div_(temperature)
    return True
