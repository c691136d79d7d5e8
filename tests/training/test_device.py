"""The choice of the device."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import seqgen
from seqgen.errors import UserError


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_choose_missing_device_raises_user_error(text_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--device cuda"):
        seqgen.train(str(text_file), tmp_path / "m", device="cuda")
    assert not (tmp_path / "m").exists()
