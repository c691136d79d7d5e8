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
from seqgen.tasks import find
from seqgen.tasks.base import Preparation
from seqgen.tasks.forecasting import ForecastingData


def table(path: Path, numbers: Sequence[float | str]) -> Path:
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


def test_a_validation_series_of_its_own_is_validated_from_its_middle_on_and_scaled_by_the_rows_before(
    two: list[Path], tmp_path: Path
) -> None:
    """An outlier in its last row changed the errors of all its windows."""
    numbers = walk(90, 2)

    def windows(last: float) -> WindowBatch:
        data = prepared(two, [table(tmp_path / "z.csv", [*numbers[:-1], last])])
        assert (data.counts["held_out_rows"], data.counts["held_out_windows"]) == (45, 43)
        assert data.held_out is not None
        return data.held_out.take(np.arange(43))

    usual, other = windows(numbers[-1]), windows(1e6)
    np.testing.assert_array_equal(usual.history, other.history)
    np.testing.assert_array_equal(usual.future[:-1], other.future[:-1])
    assert other.future[-1, -1] > 1e4
    scaled = (np.array(numbers) - np.mean(numbers[:45])) / np.std(numbers[:45])
    np.testing.assert_allclose(usual.future[:, 0], scaled[45:88], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(usual.history[0], scaled[31:45], rtol=1e-5, atol=1e-5)


def test_a_validation_series_that_begins_constant_is_scaled_by_rows_that_vary(two: list[Path], tmp_path: Path) -> None:
    """As of sales before a launch: by one for zeros alone, errors were thousands of standard deviations."""
    data = prepared(two, [table(tmp_path / "z.csv", [0.0] * 60 + [5000 + number for number in walk(40, 2)])])
    assert data.held_out is not None and data.counts["held_out_rows"] == 39
    assert np.abs(data.held_out.take(np.arange(len(data.held_out))).future).max() < 9
    data = prepared(two, [table(tmp_path / "z.csv", [3.0] * 60)])
    assert data.held_out is not None and data.counts["held_out_rows"] == 30


@pytest.mark.parametrize(("rows", "held_out"), [(10, 0), (16, 2), (17, 3), (30, 15)])
def test_a_short_validation_series_of_its_own_is_validated_after_a_look_back(
    rows: int, held_out: int, two: list[Path], tmp_path: Path
) -> None:
    data = prepared(two, [table(tmp_path / "z.csv", walk(rows, 2))])
    assert data.counts["held_out_rows"] == held_out
    assert (data.held_out is None) == (held_out < 3)


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


def test_numbers_that_training_read_as_missing_are_so_in_a_single_row_of_later_tables(
    two: list[Path], tmp_path: Path
) -> None:
    """A forecast from a table with one of them was of thousands."""
    numbers: list[float | str] = [round(number, 1) for number in walk(120, 2)]
    settings = {"horizon": 3, "look_back": 14, "rnn_size": 2, "steps": 1, "members": 1, "threads": 1, "finish": False}
    path = table(tmp_path / "z.csv", [*numbers[:30], 9999.9, 9999.9, *numbers[30:]])
    model = seqgen.train(str(path), tmp_path / "m", task="forecast", **settings)
    assert model.checkpoint.scaler.sentinels == {"sales": (9999.9,)}
    said: list[str] = []
    (one,) = model.forecast(str(table(path, [*numbers[:100], 9999.9, *numbers[100:]])), warn=said.append)
    assert "'sales': 9999.9 stands for a missing number" in said[0]
    (empty,) = model.forecast(str(table(path, [*numbers[:100], "NA", *numbers[100:]])))
    assert one.point.tolist() == empty.point.tolist()
    data = prepared([table(path, [*numbers, -999.0, *numbers])], [table(tmp_path / "v.csv", [*numbers, 9999.9, 5.0])],
                    start=model.checkpoint)  # fmt: skip
    assert data.codec.sentinels == {"sales": (-999.0, 9999.9)}
    assert data.held_out is not None and np.abs(data.held_out.take(np.arange(len(data.held_out))).future).max() < 9
