"""The objective of language models where nothing of a batch is to be predicted."""

from __future__ import annotations

import numpy as np
import torch

from seqgen.config import NetworkConfig
from seqgen.corpus.ids import IdStream
from seqgen.model.language import LanguageModel
from seqgen.training.device import Compute
from seqgen.training.objectives.language import NextTokenObjective, set_output_bias


def test_next_token_objective_of_given_ids_only_has_no_gradient() -> None:
    """Whole batches may lie in bars that repeat others: the loss is 0, not NaN."""
    network = LanguageModel(NetworkConfig(vocab_size=9, rnn_size=4, embedding_size=3), torch.Generator().manual_seed(1))
    ids = (np.arange(64) % 9).astype(np.uint8)
    given = np.ones(64, dtype=bool)
    stream = IdStream(ids, np.zeros(0, dtype=np.int64), given)
    compute = Compute(torch.device("cpu"), torch.float32)
    loss, tokens = NextTokenObjective(network, stream, None, compute, 9, 2, 8, 0).loss(0, torch.Generator())
    loss.backward()  # type: ignore[no-untyped-call]
    assert (float(loss.detach()), tokens) == (0, 16)
    assert all(not weight.grad.any() for weight in network.parameters() if weight.grad is not None)
    given[::9] = False
    loss, _ = NextTokenObjective(network, stream, None, compute, 9, 2, 8, 0).loss(0, torch.Generator())
    assert torch.isfinite(loss) and loss > 0


def test_set_output_bias_ignores_given_ids() -> None:
    network = LanguageModel(NetworkConfig(vocab_size=4, rnn_size=4, embedding_size=3))
    ids = np.array([0, 1, 1, 2, 2, 2], dtype=np.uint8)
    given = np.array([False, False, True, False, True, True])
    set_output_bias(network, IdStream(ids, np.zeros(0, dtype=np.int64), given))
    bias = network.output_bias.detach()
    torch.testing.assert_close(bias[0], bias[1])
    torch.testing.assert_close(bias[1], bias[2])
    assert bias[3] < bias[0]
