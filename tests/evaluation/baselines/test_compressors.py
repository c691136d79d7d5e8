"""Compressors as baselines of text."""

from __future__ import annotations

import math
import sys

import pytest

from seqgen.evaluation.baselines import compressors
from seqgen.evaluation.text import TextTally
from tests.helpers.running import prose
from tests.helpers.texts import PASSAGE

KEYS = {
    "nats_per_character", "bits_per_character", "bits_per_byte", "perplexity_per_word", "read_the_training_text",
}  # fmt: skip


def counted(*records: bytes) -> TextTally:
    """A tally as far as the baselines need it."""
    data = b"".join(records)
    return TextTally(
        records=len(records), characters=len(data.decode("utf-8", "surrogateescape")), bytes=len(data),
        words=len(data.split()),
    )  # fmt: skip


def test_compressor_baselines_have_the_metrics_of_the_model() -> None:
    baselines = compressors.baselines([PASSAGE, b"never mind"], b"", counted(PASSAGE, b"never mind"))
    assert "xz" in baselines
    for metrics in baselines.values():
        assert set(metrics) == KEYS
        assert all(math.isfinite(value) and value >= 0 for value in metrics.values())
        assert metrics["read_the_training_text"] == 0


@pytest.mark.parametrize("size", [0, 1, 17, 400])
def test_compressor_baselines_metrics_follow_from_one_size(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compressor that needs no byte at all is counted as one of one byte, by every measure."""
    monkeypatch.setattr(compressors, "COMPRESSORS", {"magic": lambda data: size})
    text = PASSAGE * 3
    metrics = compressors.baselines([text], b"", counted(text))["magic"]
    bits = 8 * max(size, 1)
    assert metrics["bits_per_byte"] == pytest.approx(bits / len(text))
    assert metrics["bits_per_character"] == pytest.approx(bits / len(text.decode()))
    assert metrics["nats_per_character"] == pytest.approx(bits * math.log(2) / len(text.decode()))
    assert metrics["perplexity_per_word"] == pytest.approx(math.exp(bits * math.log(2) / len(text.split())))


def test_compressor_baselines_count_only_the_growth_of_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def half(data: bytes) -> int:
        asked.append(data)
        return len(data) // 2

    monkeypatch.setattr(compressors, "COMPRESSORS", {"half": half})
    metrics = compressors.baselines([b"abcd", b"efgh"], b"training", counted(b"abcdefgh"))["half"]
    assert sorted(asked) == [b"training", b"trainingabcdefgh"]
    assert metrics["bits_per_byte"] == pytest.approx(4.0)
    assert metrics["read_the_training_text"] == 1


def test_compressor_baselines_with_training_text_are_smaller() -> None:
    training, text = prose(60, seed=1).encode(), prose(10, seed=2).encode()
    fresh, taught = (compressors.baselines([text], before, counted(text)) for before in (b"", training))
    assert set(fresh) == set(taught)
    for name in fresh:
        assert taught[name]["bits_per_byte"] <= fresh[name]["bits_per_byte"]
        again = compressors.baselines([text], text, counted(text))  # word for word the same
        assert again[name]["bits_per_byte"] <= taught[name]["bits_per_byte"] / 2


def test_compressor_baselines_without_package_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyppmd", None)  # what makes `import pyppmd` fail
    assert set(compressors.baselines([PASSAGE], b"", counted(PASSAGE))) == {"xz"}


def test_ppmd_compresses_text_better_than_xz() -> None:
    pytest.importorskip("pyppmd")
    text = PASSAGE.replace(b"\r", b"") * 3
    assert compressors.ppmd(text) < compressors.xz(text)


def test_compressor_baselines_of_empty_text_are_finite() -> None:
    for metrics in compressors.baselines([], b"", TextTally()).values():
        assert all(math.isfinite(value) for value in metrics.values())
