"""Device, threads and precision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import seqgen
from seqgen.errors import UserError
from seqgen.training import device


@pytest.mark.parametrize(("speedup", "precision"), [(2.0, "bf16"), (1.0, "fp32"), (0.1, "fp32"), (0.0, "fp32")])
def test_choose_auto_precision_takes_bfloat16_only_where_it_is_faster(
    speedup: float, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "bfloat16_speedup", lambda _: speedup)
    assert device.choose("cpu", "auto", threads=1).precision == precision


def test_choose_emulated_bfloat16_on_request_warns_with_the_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "bfloat16_speedup", lambda _: 0.125)
    warnings: list[str] = []
    assert device.choose("cpu", "bf16", threads=1, warn=warnings.append).precision == "bf16"
    assert warnings == [
        "--precision bf16 is emulated on this processor: products take 8.0 times as long as in float32; "
        "use --precision fp32"
    ]
    monkeypatch.setattr(device, "bfloat16_speedup", lambda _: 2.0)
    device.choose("cpu", "bf16", threads=1, warn=warnings.append)
    assert len(warnings) == 1


def test_choose_auto_device_never_takes_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.choose("auto", "fp32", threads=1).device.type == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_choose_missing_device_raises_user_error(text_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--device cuda"):
        seqgen.train(str(text_file), tmp_path / "m", device="cuda")
    assert not (tmp_path / "m").exists()


def test_choose_device_that_is_not_there_is_a_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match="cannot use --device mps"):
        device.choose("mps", "fp32", threads=1)


def test_bfloat16_speedup_is_that_of_the_undisturbed_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other load slows all rounds but the last."""
    times = iter([*[9.0, 8.0] * 19, 2.0, 1.0])
    monkeypatch.setattr(device, "_time", lambda run: next(times))
    assert device.bfloat16_speedup.__wrapped__("cpu") in (0.0, 2.0)  # 0: where PyTorch has no such products


def test_bfloat16_speedup_is_measured_once() -> None:
    assert device.bfloat16_speedup("cpu") == device.bfloat16_speedup("cpu") >= 0
