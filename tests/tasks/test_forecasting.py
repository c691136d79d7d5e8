"""The rows that a forecaster is trained on and validated by, and what they are scaled by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import seqgen
from seqgen.checkpoint import Checkpoint
from seqgen.config import TrainOptions
from seqgen.corpus.series.windows import WindowBatch
from seqgen.corpus.sources import Document, checksum_documents
from seqgen.tasks import find, forecasting
from seqgen.tasks.base import Preparation
from seqgen.tasks.forecasting import ForecastingData


def table(path: Path, numbers: Sequence[float]) -> Path:
    path.write_text("\n".join(["sales", *map(str, numbers)]) + "\n")
    return path


def walk(rows: int, seed: int) -> list[float]:
    return list(np.round(20 + np.random.default_rng(seed).normal(size=rows).cumsum(), 3))


def documents(paths: Sequence[Path]) -> list[Document]:
    return checksum_documents([Document(str(path), path) for path in paths])


def prepared(paths: Sequence[Path], valid: Sequence[Path] = (), start: Checkpoint | None = None) -> ForecastingData:
    held_out = documents(valid) if valid else []
    options = TrainOptions(horizon=3, look_back=14)
    data = find("forecast").prepare(Preparation(documents(paths), held_out, options, start=start))
    assert isinstance(data, ForecastingData)
    return data


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    return [table(tmp_path / f"{name}.csv", walk(120, seed)) for seed, name in enumerate("ab")]


def test_a_validation_series_of_its_own_is_scaled_by_the_rows_before_each_forecast(
    two: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outlier in its last row changed the errors of all its windows."""
    numbers = walk(90, 2)

    def windows(last: float) -> WindowBatch:
        data = prepared(two, [table(tmp_path / "z.csv", [*numbers[:-1], last])])
        assert (data.counts["held_out_rows"], data.counts["held_out_windows"]) == (90, 90 - 14 - 2)
        assert data.held_out is not None
        return data.held_out.take(np.arange(74))

    usual, other = windows(numbers[-1]), windows(1e6)
    np.testing.assert_array_equal(usual.history, other.history)
    np.testing.assert_array_equal(usual.future[:-1], other.future[:-1])
    assert other.future[-1, -1] > 1e4
    for window, origin in enumerate(range(14, 88)):  # by one line, whatever the scale
        line = np.polyfit(usual.history[window], numbers[origin - 14 : origin], 1)
        np.testing.assert_allclose(np.polyval(line, usual.future[window]), numbers[origin : origin + 3], rtol=1e-4)
    monkeypatch.setattr(forecasting, "_SCALED_AGAIN", 100)  # as of a series this short in `evaluate`
    exact = windows(numbers[-1]).future[:, 0]
    expected = [(numbers[row] - np.mean(numbers[:row])) / np.std(numbers[:row]) for row in range(14, 88)]
    np.testing.assert_allclose(exact, expected, rtol=1e-5, atol=1e-5)
    same = usual.future[:, 0] == exact
    assert same[:6].all() and not same.all()


def test_a_validation_series_too_short_for_a_window_holds_none_out(two: list[Path], tmp_path: Path) -> None:
    data = prepared(two, [table(tmp_path / "z.csv", walk(16, 2))])
    assert data.held_out is None and data.counts["held_out_rows"] == 16


def test_a_series_that_is_new_to_the_model_to_start_from_is_scaled_by_its_training_rows(
    two: list[Path], tmp_path: Path
) -> None:
    """Its held-out rows were in the statistics."""
    settings = {"horizon": 3, "look_back": 14, "rnn_size": 2, "steps": 1, "members": 1, "threads": 1, "finish": False}
    start = seqgen.train([str(path) for path in two], tmp_path / "m", task="forecast", **settings).checkpoint
    data = prepared([table(tmp_path / "z.csv", walk(100, 2))], start=start)
    (part,) = data.rows.parts
    trained = data.rows.series[0].targets[: part.train]
    assert part.train == 90 and trained.mean() == pytest.approx(0, abs=1e-5) and trained.std() == pytest.approx(1)
