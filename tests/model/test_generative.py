"""The generative classifier: likelihoods, Bayes' rule, and both engines."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from seqgen.config import GenerativeConfig, NetworkConfig, from_json, network_config_class
from seqgen.errors import UserError
from seqgen.generation.engines.choose import make_engine
from seqgen.model.generative import GenerativeClassifier, build_language_model
from seqgen.model.weight_shapes import weight_shapes
from seqgen.specs.cells import CELLS
from seqgen.training.objectives.classification import fit_mixture_weights


def network(cell: str = "lstm", **changes: Any) -> GenerativeClassifier:
    settings = {
        "vocab_size": 12,
        "cell": cell,
        "rnn_size": 7,
        "embedding_size": 5,
        "labels": ("a", "b", "c"),
        **changes,
    }
    made = GenerativeClassifier(GenerativeConfig(**settings), torch.Generator().manual_seed(4))
    with torch.no_grad():
        made.output_bias.normal_(generator=torch.Generator().manual_seed(5))
    return made.eval()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("tied", [False, True])
def test_log_likelihoods_are_sums_over_steps(cell: str, tied: bool) -> None:
    made = network(cell, tie_weights=tied)
    texts = [np.array([4, 5, 6, 4]), np.array([], dtype=np.int64), np.array([11] * 9), np.array([7])]
    end = 3
    found = made.log_likelihoods(texts, end)
    assert found.shape == (4, 3)
    for number, text in enumerate(texts):
        for label in range(3):
            ids = [end, label, *text.tolist(), end]
            with torch.no_grad():
                hidden, _ = made(torch.tensor(ids[:-1])[:, None], made.initial(1))
                steps = made.logits(hidden[:, 0]).log_softmax(1)
            expected = sum(float(steps[place, ids[place + 1]]) for place in range(1, len(ids) - 1))
            assert float(found[number, label]) == pytest.approx(expected, abs=1e-4)


def test_log_likelihoods_do_not_depend_on_batching(monkeypatch: pytest.MonkeyPatch) -> None:
    made = network()
    chance = np.random.default_rng(0)
    texts = [chance.integers(4, 12, size=size) for size in (1, 3, 200, 17, 0, 64)]
    together = made.log_likelihoods(texts, 3)
    for number, text in enumerate(texts):
        torch.testing.assert_close(made.log_likelihoods([text], 3)[0], together[number], atol=1e-3, rtol=1e-5)
    monkeypatch.setattr("seqgen.model.generative._LOGITS", 100)
    torch.testing.assert_close(made.log_likelihoods(texts, 3), together, atol=1e-3, rtol=1e-5)


def test_log_likelihoods_long_texts_are_truncated() -> None:
    made = network()
    long = np.full(5000, 4)
    other = long.copy()
    other[4096:] = 9
    assert torch.equal(made.log_likelihoods([long], 3), made.log_likelihoods([other], 3))


def test_calibrated_applies_bayes_rule() -> None:
    made = network(labels=("a", "b"))
    with torch.no_grad():
        made.mix.fill_(0.5)
        made.shift.copy_(torch.tensor([0.0, 0.1]))
        made.prior.copy_(torch.tensor([0.75, 0.25]).log())
    shares = made.calibrated(torch.tensor([[-4.0, -2.0]])).softmax(1)[0]
    odds = math.exp(-2) * 0.75 / (math.exp(-1) * 0.25 * math.exp(0.1))
    assert float(shares[0] / shares[1]) == pytest.approx(odds, rel=1e-5)


def test_fit_mixture_weights_calibrates_an_overconfident_model() -> None:
    chance = torch.Generator().manual_seed(0)
    true = torch.randint(2, (400,), generator=chance)
    evidence = torch.where(true == 1, 1.0, -1.0) + torch.randn(400, generator=chance)
    sure = torch.stack([-10 * evidence, 10 * evidence], dim=1)  # ten times the calibrated logits
    mix, shift = fit_mixture_weights([sure], torch.nn.functional.one_hot(true, 2).float(), False, torch.zeros(2))
    assert 0.05 < float(mix[0]) < 0.2
    assert float(shift.abs().max()) < 0.3


@pytest.mark.parametrize("cell", CELLS)
def test_make_engine_generative_classifier_weights_run_in_both_engines(cell: str) -> None:
    made = network(cell)
    weights = {name: weight.numpy() for name, weight in made.state_dict().items()}
    assert {name: weight.shape for name, weight in weights.items()} == weight_shapes(made.config)
    logits = []
    for name in ("light", "torch"):
        engine = make_engine(made.config, weights, name)
        state = engine.read(np.array([3]), engine.initial(1))
        logits.append(engine.step(np.array([1]), state)[0])
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-5)


def test_network_config_class_generative_differs_from_classifier() -> None:
    made = network().config
    kept = json.loads(json.dumps(dataclasses.asdict(made)))
    assert network_config_class("classify", kept) is GenerativeConfig
    assert from_json(GenerativeConfig, kept) == made
    assert not made.multi
    assert isinstance(build_language_model(made), GenerativeClassifier)
    assert not isinstance(build_language_model(NetworkConfig(12, rnn_size=4, embedding_size=4)), GenerativeClassifier)
    with pytest.raises(UserError):
        GenerativeConfig(vocab_size=12, labels=("a", "a"))
