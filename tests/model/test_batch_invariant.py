"""Batch-invariant inference: equal to the bit, on any processor."""

from __future__ import annotations

import pytest
import torch

from seqgen.config import ForecasterConfig, NetworkConfig
from seqgen.model.batch_invariant import batch_invariant, blocks, linear
from seqgen.model.forecaster import Forecaster
from seqgen.model.language import LanguageModel


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 64), (100, 30), (512, 64), (7, 3), (64, 256)])
def test_linear_rows_equal_the_same_rows_alone(inputs: int, outputs: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(5, 7, inputs, generator=generator).to(dtype)
    weight, bias = torch.randn(outputs, inputs, generator=generator).to(dtype), torch.randn(outputs).to(dtype)
    with torch.no_grad(), batch_invariant():
        whole = linear(x, weight, bias)
        alone = torch.stack([torch.stack([linear(row, weight, bias) for row in rows]) for rows in x])
    assert torch.equal(whole, alone)
    exact = torch.nn.functional.linear(x.double(), weight.double(), bias.double())
    torch.testing.assert_close(
        whole.double(),
        exact,
        rtol=1e-2 if dtype == torch.bfloat16 else 1e-5,
        atol=inputs**0.5 * 2e-6 if dtype == torch.float32 else 0.1,
    )


def test_linear_outside_the_context_is_that_of_torch() -> None:
    x, weight = torch.randn(3, 4), torch.randn(2, 4)
    assert torch.equal(linear(x, weight), torch.nn.functional.linear(x, weight))


def test_blocks_fill_the_last_with_zeros() -> None:
    tensor = torch.arange(10.0).view(2, 5)
    assert [block.tolist() for block in blocks(tensor, 3, dim=1)] == [[[0, 1, 2], [5, 6, 7]], [[3, 4, 0], [8, 9, 0]]]


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("units", [20, 32, 33])
def test_network_rows_equal_the_same_rows_alone(cell: str, units: int) -> None:
    generator = torch.Generator().manual_seed(1)
    network = LanguageModel(NetworkConfig(30, rnn_size=units, num_layers=2, cell=cell), generator).eval()
    ids = torch.randint(30, (9, 21), generator=generator)
    with torch.inference_mode(), batch_invariant():
        whole, _ = network(ids, network.initial(21))
        for row in (0, 5, 20):
            alone, _ = network(ids[:, row : row + 1], network.initial(1))
            assert torch.equal(alone[:, 0], whole[:, row])


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_forecaster_windows_equal_the_same_windows_alone(cell: str) -> None:
    generator = torch.Generator().manual_seed(1)
    config = ForecasterConfig(targets=2, look_back=30, horizon=10, segment_length=5, rnn_size=24, cell=cell)
    network = Forecaster(config, generator).eval()
    history, channel = torch.randn(41, 30, generator=generator), torch.arange(41) % 2
    with torch.inference_mode():
        whole = network.predict(history, channel)
        for row in (0, 17, 40):
            assert torch.equal(network.predict(history[row : row + 1], channel[row : row + 1])[0], whole[row])
