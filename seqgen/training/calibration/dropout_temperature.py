"""How sure a network should be that learnt under masks.

Each mask of dropout makes another network, and what one would like to ask is the mean of their distributions. The
network without masks, which is asked instead, gives about their geometric mean (Hinton et al., 2012): that is more
sure of itself than the mean, the more so the more was dropped. One temperature takes most of that back. It is found on
text that the network has learnt from, without looking at what comes next there, and so costs nothing that was held out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqgen.corpus.ids import IdStream
from seqgen.model.language import LanguageModel
from seqgen.training.batches import sequential_batches
from seqgen.training.device import Compute

_MASKS = 8  # whose mean is asked for
_LANES, _LENGTH, _IDS = 16, 128, 8_192
CALIBRATION_IDS = (_MASKS + 1) * _IDS  # ids in all, at most
_LARGEST = 1 << 26  # logits that are kept to choose by (256 MB)
_LEAST, _MOST, _STEPS = 0.9, 1.6, 36  # temperatures that are tried


def fit_temperature(network: LanguageModel, stream: IdStream, compute: Compute, seed: int) -> float:
    """By which the logits of `network` come nearest the mean over its masks: the smallest mean of KL(mean ‖ softmax of
    logits / temperature). 1 where it drops nothing."""
    if not (network.config.dropout or network.config.weight_drop):
        return 1.0
    vocabulary = network.config.vocab_size
    batches = sequential_batches(stream, _LANES, _LENGTH, min(_IDS, max(1024, _LARGEST // vocabulary)))
    if not batches:
        return 1.0
    tried = torch.linspace(_LEAST, _MOST, _STEPS, device=compute.device)
    costs = torch.zeros(_STEPS, device=compute.device)
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
            costs += _cross_entropies(mean, network.logits(hidden), tried)
    return round(float(tried[costs.argmin()]), 2)


def _cross_entropies(mean: Tensor, logits: Tensor, tried: Tensor) -> Tensor:
    """−Σ mean · log softmax(logits / t) for each temperature t, summed over all else."""
    expected = (mean * logits).sum()
    return torch.stack([(logits / t).logsumexp(-1).sum() - expected / t for t in tried])


def apply_temperature(network: LanguageModel, temperature: float) -> bool:
    """Divides the logits of `network` by `temperature`, in its output layer. False where that can't be done: its
    weights are the embedding's."""
    weight = network.projection if network.output_weight is None else network.output_weight
    if weight is None:
        return False
    with torch.no_grad():
        weight.div_(temperature)
        network.output_bias.div_(temperature)
    return True
