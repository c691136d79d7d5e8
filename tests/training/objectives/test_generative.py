"""The objective of generative classifiers: calibration on the held-out texts."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

import seqgen
from seqgen import checkpoint
from tests.helpers.running import Run


def test_generative_texts_that_nothing_calibrates_keep_the_calibration(
    zoo: dict[str, Path], tmp_path: Path, run: Run
) -> None:
    """Log-likelihoods of 1e18 nats made it NaN, and the run ended with an internal error."""
    start, texts = tmp_path / "start", zoo["generative"].parent / "texts.csv"
    shutil.copytree(zoo["generative"], start)
    loaded = checkpoint.load(start)
    weights = loaded.weights()
    weights["output_weight"] *= np.float32(1e18)
    checkpoint.write_weights(start / checkpoint.WEIGHTS, weights, loaded.config["identity"])
    told = run(
        "train", str(texts), "--generative", "--init-from", str(start), "-o", str(tmp_path / "m"),
        "--steps", "2", "--batch-size", "4", "--threads", "1",
    ).err  # fmt: skip
    assert "the held-out loss is not finite" in told
    assert np.isfinite(checkpoint.load(tmp_path / "m").weights()["mix"]).all()
    assert seqgen.load(tmp_path / "m").classify(["a"])
