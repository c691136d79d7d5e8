"""AdamW beside PyTorch's own."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from seqgen.training import optimiser
from seqgen.training.optimiser import BETAS, KEYS, AdamW, ParameterGroup, minimise


def weights(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"matrix": (5, 7), "other": (3, 16), "bias": (9,), "unused": (4,)}
    return {name: torch.randn(shape, generator=generator).requires_grad_() for name, shape in shapes.items()}


def set_gradients(own: dict[str, Tensor], step: int) -> None:
    for name, gradient in weights(100 + step).items():
        if name != "unused" and (name != "other" or step >= 3):  # a layer may be unfrozen later
            own[name].grad = gradient.detach() * 10.0 ** (step % 3 - 1)


@pytest.mark.parametrize("fused", [True, False])
def test_adamw_has_the_bits_of_pytorch(fused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fused:
        monkeypatch.setattr(optimiser, "_update_fused", optimiser._update_plain)
    own, other = weights(), weights()
    groups = [
        ParameterGroup({name: own[name] for name in ("matrix", "other")}, 0.01),
        ParameterGroup({name: own[name] for name in ("bias", "unused")}, 0.0),
    ]
    reference = torch.optim.AdamW(
        [
            {"params": [other["matrix"], other["other"]], "weight_decay": 0.01},
            {"params": [other["bias"], other["unused"]], "weight_decay": 0.0},
        ],
        betas=BETAS, fused=fused, foreach=False if not fused else None,
    )  # fmt: skip
    mine = AdamW(groups)
    for step in range(12):
        for number, group in enumerate(groups):
            group.learning_rate = reference.param_groups[number]["lr"] = 0.01 / (1 + step) / (1 + number)
        mine.zero_grad()
        reference.zero_grad()
        set_gradients(own, step)
        set_gradients(other, step)
        mine.step()
        reference.step()
        if step == 6:  # saved and resumed
            saved = {n: {k: v.clone() for k, v in entry.items()} for n, entry in mine.moments.items()}
            mine = AdamW(groups)
            mine.load(saved)
            assert all(
                (mine.moments[n][k] is not v) and (mine.moments[n][k] == v).all()
                for n in saved
                for k, v in saved[n].items()
            )
    for name in own:
        assert torch.equal(own[name], other[name]), name
        state = reference.state[other[name]]
        assert (name == "unused") == (not state) == (name not in mine.moments)
        for key in KEYS if state else ():
            assert torch.equal(mine.moments[name][key], state[key]), (name, key)


def test_minimise_finds_the_minimum_without_the_compiler_of_pytorch() -> None:
    program = (
        "import sys, torch; from seqgen.training.optimiser import minimise; w = torch.zeros(3, requires_grad=True);"
        "to = torch.tensor([1.0, -2.0, 3.0]); minimise([w], lambda: (w - to).square().sum());"
        "assert torch.allclose(w, to, atol=1e-5) and 'torch._dynamo' not in sys.modules;"
        "o = torch.optim.Optimizer; assert not hasattr(o.zero_grad.__wrapped__, '__dynamo_disable')"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_adamw_does_not_import_the_compiler_of_pytorch() -> None:
    program = (
        "import sys, torch; from seqgen.training.optimiser import *; w = torch.ones(3, requires_grad=True);"
        "a = AdamW([ParameterGroup({'w': w}, 0.1)]); a.zero_grad(); w.sum().backward(); a.step();"
        "assert 'torch._dynamo' not in sys.modules and 'sympy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_minimise_a_step_too_long_for_float32_ends_the_search() -> None:
    weight = torch.ones(2, requires_grad=True)

    def loss(message: str) -> torch.Tensor:
        raise RuntimeError(message)

    minimise([weight], lambda: loss("value cannot be converted to type float without overflow"))
    assert weight.tolist() == [1, 1]
    with pytest.raises(RuntimeError, match="of another kind"):
        minimise([weight], lambda: loss("of another kind"))
