"""Temperature correction after training with dropout; and blanked ids."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from seqgen.config import NetworkConfig
from seqgen.corpus.ids import IdStream
from seqgen.model.language import LanguageModel
from seqgen.training.calibration import dropout_temperature as confidence
from seqgen.training.device import Compute

CPU = Compute(torch.device("cpu"), torch.float32)


def stream(count: int = 5000, kinds: int = 12) -> IdStream:
    ids = np.random.default_rng(0).integers(kinds, size=count).astype(np.int32)
    return IdStream(ids, np.empty(0, dtype=np.int64))


def network(**config: Any) -> LanguageModel:
    made = LanguageModel(
        NetworkConfig(**{"vocab_size": 12, "rnn_size": 16, "embedding_size": 8, **config}),
        torch.Generator().manual_seed(1),
    )
    with torch.no_grad():  # a confident network
        (made.embedding if made.output_weight is None else made.output_weight).mul_(12)
    return made


def test_fit_temperature_without_dropout_is_one() -> None:
    assert confidence.fit_temperature(network(), stream(), CPU, seed=0) == 1.0


def test_fit_temperature_rises_with_dropout() -> None:
    found = [confidence.fit_temperature(network(dropout=share), stream(), CPU, seed=0) for share in (0.1, 0.4, 0.7)]
    assert 1.0 <= found[0] < found[1] < found[2]
    assert confidence.fit_temperature(network(dropout=0.4), stream(), CPU, seed=0) == found[1]


def test_fit_temperature_minimises_kl_to_the_mean_over_masks() -> None:
    made, ids = network(dropout=0.25), torch.from_numpy(stream(600).ids.astype(np.int64)).view(-1, 4)
    found = confidence.fit_temperature(made, stream(), CPU, seed=0)
    generator = torch.Generator().manual_seed(5)
    with torch.inference_mode():
        made.train()
        passes = [made.logits(made(ids, made.initial(4), generator)[0]).softmax(-1) for _ in range(60)]
        mean = torch.stack(passes).mean(0)
        made.eval()
        logits = made.logits(made(ids, made.initial(4))[0])

    def distance(temperature: float) -> float:
        return float((mean * (mean.log() - (logits / temperature).log_softmax(-1))).sum())

    assert distance(found) < 0.8 * distance(1.0)
    assert distance(found) < min(distance(found - 0.15), distance(found + 0.15))


def test_fit_temperature_few_ids_suffice() -> None:
    assert confidence.fit_temperature(network(dropout=0.3), stream(40), CPU, seed=0) >= 1


@pytest.mark.parametrize("tied", [{}, {"tie_weights": True}, {"tie_weights": True, "embedding_size": 16}])
def test_apply_temperature_divides_the_logits(tied: dict[str, Any]) -> None:
    made = network(**tied)
    hidden = torch.randn(3, 2, 16, generator=torch.Generator().manual_seed(2))
    before = made.logits(hidden)
    done = confidence.apply_temperature(made, 1.25)
    assert done == (tied != {"tie_weights": True, "embedding_size": 16})
    torch.testing.assert_close(made.logits(hidden), before / 1.25 if done else before)


@pytest.mark.parametrize("vocabulary", [12, 500])  # with and without the table of the first layer's gates
def test_blank_ids_are_not_read(vocabulary: int) -> None:
    made = network(vocab_size=vocabulary).double()
    ids = torch.randint(vocabulary, (9, 4), generator=torch.Generator().manual_seed(3))
    blank = torch.rand(9, 4, generator=torch.Generator().manual_seed(4)) < 0.4
    one, _ = made(ids, made.initial(4), blank=blank)
    other, _ = made(ids.masked_fill(blank, 7), made.initial(4), blank=blank)
    assert torch.equal(one, other)
    assert not torch.equal(one, made(ids, made.initial(4))[0])
    one.sum().backward()
    assert made.embedding.grad is not None
    never_read = torch.ones(vocabulary, dtype=torch.bool)
    never_read[ids[~blank]] = False
    assert bool((made.embedding.grad[never_read] == 0).all())
