"""The plan of a classifier."""

from __future__ import annotations

from typing import Any

import pytest

from seqgen.config import ClassifierConfig, TrainOptions
from seqgen.training.objectives.classification import text_batches_per_epoch
from seqgen.training.plans import classification as labelled_plan
from seqgen.training.plans.base import Plan
from seqgen.training.plans.classification import LabelledCorpusStats
from tests.helpers.classifiers import CPU


def planned(monkeypatch: pytest.MonkeyPatch, **asked: Any) -> Plan:
    """The plan for 25,000 reviews, on a machine that trains on 38,000 ids a second with 256 units."""

    def speed(network: ClassifierConfig, *_: Any) -> float:
        return float(38_000 * (256 / network.rnn_size) ** 1.6)

    monkeypatch.setattr(labelled_plan, "_speed", speed)
    corpus = LabelledCorpusStats(22_500, 7_400_000, 5_500_000, 2_500, 11_000, ("bad", "good"), False, 1000)
    return labelled_plan.make_plan(TrainOptions(threads=1, **asked), corpus, CPU, 0.0)


@pytest.mark.parametrize(("batch", "batches"), [(64, 352), (22_499, 2), (22_500, 1), (22_501, 1)])
def test_classification_plan_of_epochs_has_their_batches(
    batch: int, batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last batch of an epoch is one too, however few texts are left for it."""
    made = planned(monkeypatch, epochs=10, batch_size=batch)
    assert made.schedule.steps == 10 * batches == 10 * text_batches_per_epoch(22_500, batch)


def test_classification_plan_pretrains_if_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    short, hour = planned(monkeypatch, budget="10m"), planned(monkeypatch, budget="1h")
    assert short.pretraining is None
    assert (short.schedule.layer_decay, short.schedule.unfreeze) == (1.0, 0.0)
    assert short.network.rnn_size == 256  # three epochs on labels
    assert hour.network.rnn_size == 256  # the widest with four epochs of pretraining
    assert hour.pretraining is not None
    assert hour.pretraining.seconds is not None
    assert hour.schedule.seconds is not None
    assert hour.pretraining.seconds / (hour.pretraining.seconds + hour.schedule.seconds) == pytest.approx(
        0.65, abs=1e-3
    )
    assert (hour.schedule.layer_decay, hour.schedule.unfreeze) == (1.5, 0.1)
    never = planned(monkeypatch, budget="1h", pretrain=0.0)
    assert never.pretraining is None
    assert never.network.rnn_size == 512
    asked = planned(monkeypatch, budget="1h", pretrain=0.3, layer_decay=2.0, unfreeze=0.0)
    assert asked.pretraining is not None
    assert (asked.schedule.layer_decay, asked.schedule.unfreeze) == (2.0, 0.0)
