"""The objective of generative classifiers: calibration on the held-out texts."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import seqgen
from seqgen.cli.progress import _describe_validation
from seqgen.training.loop import Validated
from seqgen.training.objectives import generative


def test_generative_texts_that_nothing_calibrates_keep_the_calibration(
    zoo: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Log-likelihoods of 1e18 nats made it NaN, and the run ended with an internal error."""

    def overflow(*_: object) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.tensor([math.nan]), torch.full((2,), math.nan)

    monkeypatch.setattr(generative, "fit_mixture_weights", overflow)
    texts = str(zoo["generative"].parent / "texts.csv")
    model = seqgen.train(
        texts, tmp_path / "m", task="classify", generative=True, init_from=zoo["generative"], steps=2, batch_size=4,
        threads=1, finish=False,
    )  # fmt: skip
    assert np.isfinite(model.checkpoint.weights()["mix"]).all() and model.classify(["a"])
    curve = [json.loads(line) for line in (tmp_path / "m" / "metrics.jsonl").read_text().splitlines()]
    assert curve and all(record["val_loss"] is None for record in curve)


def test_validation_that_diverged_is_told_as_such() -> None:
    event = Validated(3, 1.0, 100, 2.0, None, 0.1, 0.01, 100.0, False, diverged=True)
    assert "the held-out loss is not finite" in _describe_validation(None, event)  # type: ignore[arg-type]
