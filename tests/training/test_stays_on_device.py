"""Steps and networks ask their device for nothing: the meta device has no numbers to give, and fails if asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seqgen.config import GenerativeConfig, NetworkConfig, SampleOptions
from seqgen.corpus.ids import IdStream
from seqgen.corpus.series.windows import ScaledSeries, Windows
from seqgen.generation.engines.torch import TorchEngine
from seqgen.generation.sampling.device_draw import device_filters
from seqgen.generation.sampling.filters import FilterChain
from seqgen.model.classifier import Classifier
from seqgen.model.dropout import LaneRange, MaskRng, keep_mask, step_generator
from seqgen.model.forecaster import Forecaster
from seqgen.model.generative import GenerativeClassifier
from seqgen.model.language import LanguageModel
from seqgen.training.device import Compute
from seqgen.training.loop import Objective, Run
from seqgen.training.objectives.classification import ClassificationObjective, LabelledIds
from seqgen.training.objectives.forecasting import ForecastingObjective
from seqgen.training.objectives.language import NextTokenObjective
from seqgen.training.objectives.pretraining import PretrainingObjective
from seqgen.training.schedule import Schedule
from tests.helpers.classifiers import classifier_config
from tests.helpers.forecasters import config_of

META = Compute(torch.device("meta"), torch.bfloat16)


def on_meta(network: nn.Module) -> Any:
    return network.to("meta").train()


def language(**settings: Any) -> Objective:
    config = NetworkConfig(**{"vocab_size": 40, "rnn_size": 8, "embedding_size": 6, "dropout": 0.2, **settings})
    stream = IdStream((np.arange(600) % config.vocab_size).astype(np.uint16), np.array([50, 200]))
    network = on_meta(LanguageModel(config))
    return NextTokenObjective(network, stream, None, META, config.vocab_size, 4, 8, 0, blank=0.1)


def labelled() -> LabelledIds:
    ids = (np.arange(90) % 11).astype(np.uint16)
    starts = np.array([0, 5, 30, 31, 60, 90])
    return LabelledIds(ids, starts, np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1]])


def classification() -> Objective:
    network = on_meta(Classifier(classifier_config(direction="both", dropout=0.3, weight_drop=0.1)))
    weights = np.array([1, 2, 3], dtype=np.float32)
    return ClassificationObjective(network, labelled(), None, None, META, 4, 0, 0.1, weights)


def pretraining() -> Objective:
    objective = PretrainingObjective(on_meta(Classifier(classifier_config(direction="both"))), labelled(), META, 4, 0)
    objective.network.train()
    return objective


def forecasting() -> Objective:
    config = config_of(targets=2, past=0, known=0)
    values = np.sin(np.arange(120, dtype=np.float32))[:, None].repeat(2, axis=1)
    empty = np.zeros((120, 0), np.float32)
    series = ScaledSeries("", values, np.ones((120, 2), bool), empty, empty)
    windows = Windows([series], [(0, 100)], config.look_back, config.horizon)
    return ForecastingObjective(on_meta(Forecaster(config)), windows, None, META, 8, 0)


OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "language": language,
    "subwords": lambda: language(vocab_size=2000, tie_weights=True, num_layers=2, weight_drop=0.1),
    "classification": classification,
    "pretraining": pretraining,
    "forecasting": forecasting,
}


@pytest.mark.parametrize("make", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("fused", [False, True])
def test_step_asks_the_device_for_nothing(
    make: Callable[[], Objective], fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fused:
        monkeypatch.setattr("seqgen.model.recurrent.cudnn._DEVICES", ("meta",))
    run = Run(make(), Schedule(0.01, 0.1, steps=9, averaging=8), torch.Generator().manual_seed(1))
    for _ in range(2):
        result, tokens = run._step(0.01, 0.5)
        assert result.device.type == "meta"
        assert result.shape == (2,)
        assert tokens > 0
    with pytest.raises((RuntimeError, NotImplementedError)):
        result.tolist()  # as anything else would that asks


def test_step_generator_of_a_gpu_is_seeded_by_the_next_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """So every process has the same masks, each step has others, and a CPU's state is all that a resumed run needs."""

    class Made:
        def __init__(self, device: torch.device) -> None:
            self.device = device

        def manual_seed(self, seed: int) -> tuple[str, int]:
            return self.device.type, seed

    ranks = [torch.Generator().manual_seed(3) for _ in range(2)]
    assert step_generator(ranks[0], torch.device("cpu")) is ranks[0]
    monkeypatch.setattr(torch, "Generator", Made)
    drawn = [[step_generator(rank, torch.device("cuda")) for _ in range(3)] for rank in ranks]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 3
    assert all(device == "cuda" for device, _ in drawn[0])


@pytest.mark.parametrize("lanes", [(0, 3), (3, 7), (7, 8)])
def test_keep_mask_of_some_lanes_is_cut_from_that_of_all(lanes: tuple[int, int]) -> None:
    whole = keep_mask(torch.zeros(5, 8), 0.4, MaskRng(torch.Generator().manual_seed(1), LaneRange(0, 8, 8)), 1)
    rng = MaskRng(torch.Generator().manual_seed(1), LaneRange(*lanes, 8))
    assert torch.equal(keep_mask(torch.zeros(5, lanes[1] - lanes[0]), 0.4, rng, 1), whole[:, slice(*lanes)])


def label_logits() -> Tensor:
    network = on_meta(Classifier(classifier_config(direction="both"))).eval()
    return network.combined_logits(network.predict_logits([np.arange(9), np.arange(3), np.arange(0)]), None)


def label_likelihoods() -> Tensor:
    network = on_meta(GenerativeClassifier(GenerativeConfig(vocab_size=40, labels=("a", "b"), rnn_size=8))).eval()
    return network.calibrated(network.log_likelihoods([np.arange(9), np.arange(3)], 39))


def forecasts() -> Tensor:
    config = config_of(past=1, known=2, linear=True)
    network, window = on_meta(Forecaster(config)).eval(), (3, config.look_back)
    channel = torch.zeros(3, dtype=torch.long, device="meta")
    known = torch.empty(3, config.look_back + config.horizon, 2, device="meta")
    return network.predict(torch.empty(window, device="meta"), channel, torch.empty(*window, 1, device="meta"), known)


def next_logits() -> Tensor:
    engine = TorchEngine.of(on_meta(LanguageModel(NetworkConfig(40, rnn_size=8))).eval())
    primed = engine.read(np.arange(7), engine.initial(1))
    logits, _ = engine._step(np.zeros(300, dtype=np.int64), engine.repeat(primed, 300))
    options = SampleOptions(temperature=0.7, top_k=4, top_p=0.9, min_p=0.1, typical_p=0.8)
    for each in device_filters(FilterChain(options)) or ():
        logits = each(logits.double())
    return logits


@pytest.mark.parametrize("compute", [label_logits, label_likelihoods, forecasts, next_logits])
@pytest.mark.parametrize("fused", [False, True])
def test_inference_asks_the_device_for_nothing_before_its_results(
    compute: Callable[[], Tensor], fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it mix tensors of two devices."""
    if fused:
        monkeypatch.setattr("seqgen.model.recurrent.cudnn._DEVICES", ("meta",))
    with torch.no_grad():
        assert compute().device.type == "meta"
