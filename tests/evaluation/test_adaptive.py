"""Dynamic evaluation: honest, and better where the text has ways of its own."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from seqgen import load
from seqgen.api.model import Model
from seqgen.errors import ModelError, UserError
from seqgen.evaluation.adaptive import AdaptiveScorer, DynamicEvaluationOptions
from seqgen.generation.scoring import Scorer
from tests.helpers.scorers import network_scorer

STRANGE = "zyzzyva quokka zyzzyva quokka\n" * 60  # nothing like what the model learnt from


def costs(scorer: Scorer | AdaptiveScorer, ids: np.ndarray) -> np.ndarray:
    return np.concatenate([piece.nats for piece in scorer.read(ids)])


def test_adaptive_scorer_without_learning_equals_scorer(model_folder: Path) -> None:
    model = load(model_folder)
    ids = model.codec.encode(b"The boy and the boat came home late. " * 5)
    still = AdaptiveScorer(
        model.network, model.codec, DynamicEvaluationOptions(learning_rate=0.0, decay=0.0, chunk_length=7)
    )
    np.testing.assert_allclose(
        costs(still, ids), costs(network_scorer(model.network, model.codec), ids), rtol=1e-4, atol=1e-5
    )


def test_adaptive_scorer_learns_and_leaves_the_model_unchanged(model_folder: Path) -> None:
    model = load(model_folder)
    before = {name: weight.clone() for name, weight in model.network.state_dict().items()}
    ids = model.codec.encode(STRANGE.encode())
    adaptive, static = (
        costs(AdaptiveScorer(model.network, model.codec), ids), costs(network_scorer(model.network, model.codec), ids)
    )  # fmt: skip
    assert adaptive[-300:].mean() < 0.9 * static[-300:].mean()
    for name, weight in model.network.state_dict().items():
        assert torch.equal(weight, before[name])


def test_adaptive_scorer_scores_before_learning(model_folder: Path) -> None:
    """What comes after a place can't change the cost of what stands before it."""
    model = load(model_folder)
    ids = model.codec.encode(STRANGE.encode())[:200]
    other = ids.copy()
    other[150:] = ids[:50]
    one, two = (costs(AdaptiveScorer(model.network, model.codec), text) for text in (ids, other))
    np.testing.assert_array_equal(one[:128], two[:128])  # whole stretches
    np.testing.assert_allclose(one[128:150], two[128:150], rtol=1e-5)  # of the one in which they part


def test_adaptive_scorer_weights_decay_to_the_trained_ones(model_folder: Path) -> None:
    model = load(model_folder)
    ids = model.codec.encode(STRANGE.encode())
    moved = []
    for decay in (0.0, 0.1):
        scorer = AdaptiveScorer(model.network, model.codec, DynamicEvaluationOptions(decay=decay))
        costs(scorer, ids)
        pairs = zip(scorer.network.parameters(), model.network.parameters(), strict=True)
        moved.append(sum(float((a - b).detach().abs().sum()) for a, b in pairs))
    assert moved[1] < 0.8 * moved[0]


def test_weights_that_diverge_are_not_called_those_of_the_model(model_folder: Path) -> None:
    model = load(model_folder)
    scorer = AdaptiveScorer(model.network, model.codec, DynamicEvaluationOptions(learning_rate=float("inf")))
    with pytest.raises(ModelError, match="diverged as they followed the text; leave out --adaptive"):
        costs(scorer, model.codec.encode(STRANGE.encode()))
    with torch.no_grad():
        model.network.embedding.fill_(float("nan"))
    with pytest.raises(ModelError, match="its weights are ruined"):
        costs(AdaptiveScorer(model.network, model.codec), model.codec.encode(b"text"))


def test_evaluate_command_adaptive_shows_both(model_folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "strange.txt"
    text.write_text(STRANGE)
    command = [sys.executable, "-m", "seqgen", "evaluate", str(model_folder), str(text), "--adaptive", "--no-baselines"]
    found = json.loads(subprocess.run([*command, "--json"], capture_output=True, check=True).stdout)
    assert found["adaptive"].keys() == found["metrics"].keys()
    assert found["adaptive"]["bits_per_byte"] < found["metrics"]["bits_per_byte"]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "this model" in table.splitlines()[2] and "adaptive" in table.splitlines()[2]
    assert "each token after it is scored" in table


def test_sample_adaptive_resembles_the_prompt(model_folder: Path) -> None:
    prompt = STRANGE.encode()
    plain, followed = load(model_folder), load(model_folder)
    followed.adapt(prompt)
    texts = [model.sample(prompt, n=4, length=100)[0].text for model in (plain, followed)]
    letters = set("zyvaquok \n")
    shares = [sum(letter in letters for letter in text) / len(text) for text in texts]
    assert shares[1] > shares[0]
    assert followed.sample(prompt, n=4, length=100)[0].text == texts[1]


@pytest.mark.parametrize("cost", [0.0, 1.0])
def test_adapted_model_scores_with_its_weights_and_keeps_nothing(
    model_folder: Path, tmp_path: Path, cost: float
) -> None:
    config = json.loads((model_folder / "config.json").read_text())
    shutil.copytree(model_folder, tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text(json.dumps({**config, "rounding_bits_per_token": cost}))
    model, prompt = load(tmp_path / "m"), STRANGE.encode()
    before, state = model.score(prompt).nats, model.read("a")
    record = model.records(prompt, length=20)[0]
    model.adapt(prompt)
    assert model.score(prompt).nats < before - 1
    for keep in (lambda: model.records(length=20), lambda: model.save_state(model.read("a"), tmp_path / "s")):
        with pytest.raises(ModelError, match="adapted to a text"):
            keep()
    assert model.replay(record) == record
    own = model.read("a")
    assert model.score("b", state=own) == model.score("b", state=model.read("a"))
    for reader, other in ((model, state), (load(tmp_path / "m"), own)):
        with pytest.raises(ModelError, match="with other weights"):
            reader.score("b", state=other)


def test_adaptive_for_another_task_raises(model_folder: Path) -> None:
    loaded = load(model_folder).checkpoint
    other = Model(dataclasses.replace(loaded, config={**loaded.config, "task": "music"}))
    with pytest.raises(UserError, match="adapt to a text"):
        other.adapt(b"text")
