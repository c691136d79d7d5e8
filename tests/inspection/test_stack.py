"""States and gates along a sequence, and gradients over the lag."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import seqgen
from seqgen.errors import ModelError, UserError
from seqgen.inspection.classifier import ClassifierInspector
from seqgen.inspection.forecaster import ForecasterInspector
from seqgen.inspection.language import LanguageInspector
from seqgen.inspection.stack import LagGradients, check_quantity
from seqgen.specs.cells import CELLS, quantities
from seqgen.tokenizers.characters import ByteCodec
from tests.helpers.untrained import TEXT, untrained

GOLDEN = Path(__file__).parents[1] / "golden" / "models"


def inspector(folder: Path, cell: str, **network: object) -> tuple[LanguageInspector, np.ndarray]:
    """An inspector of an untrained model, and some ids."""
    codec = ByteCodec()
    loaded = seqgen.load(untrained(folder / "model", codec, cell=cell, **network)).checkpoint
    return LanguageInspector(loaded.language_config, loaded.weights(), codec), codec.encode(TEXT[:300])


@pytest.mark.parametrize("cell", CELLS)
def test_trace_of_states_is_what_an_engine_has_after_each_step(cell: str, tmp_path: Path) -> None:
    own, ids = inspector(tmp_path, cell, num_layers=2)
    engine = seqgen.load(tmp_path / "model").exact_engine
    state, last, expected = engine.initial(1), ByteCodec().end, []
    for token in [*ids[:20].tolist(), 0]:
        state = engine.read(np.array([last]), state)
        expected.append(engine.export_state(state, 0))
        last = token
    states = np.stack(expected[1:])  # (steps, layers, tensors, units)
    for tensor, name in enumerate(CELLS[cell].state_names):
        for layer, values in enumerate(own.trace(ids[:20], name)):
            np.testing.assert_allclose(values, states[:, layer, tensor], atol=2e-5)


def test_trace_of_gates_gives_the_next_states(tmp_path: Path) -> None:
    """c = f ∘ c + i ∘ g, so that (c − f ∘ c) / i is a hyperbolic tangent; h = o ∘ tanh(c)."""
    own, ids = inspector(tmp_path, "lstm")
    names = ("hidden", "cell", "input-gate", "forget-gate", "output-gate")
    h, c, i, f, o = (own.trace(ids, name)[0] for name in names)
    np.testing.assert_allclose(h, o * np.tanh(c), atol=1e-5)
    candidate = (c[1:] - f[1:] * c[:-1]) / i[1:]
    assert np.abs(candidate[i[1:] > 0.01]).max() < 1.01
    own, ids = inspector(tmp_path / "gru", "gru")
    h, z = (own.trace(ids, name)[0] for name in ("hidden", "update-gate"))
    candidate = (h[1:] - z[1:] * h[:-1]) / (1 - z[1:])
    assert np.abs(candidate[z[1:] < 0.99]).max() < 1.01


def test_trace_of_a_classifier_goes_both_ways() -> None:
    """The backward layer sees what follows: another end changes it at the beginning, and the forward layer doesn't."""
    loaded = seqgen.load(GOLDEN / "reviews-lstm").checkpoint
    own = ClassifierInspector(loaded.network, loaded.weights(), loaded.codec)
    ids = loaded.codec.encode(b"a lovely book, all of it")
    texts = [ids, np.concatenate([ids[:-2], [ids[0]], ids[-1:]])]  # the last but one is another
    (forward, backward), (other_forward, other_backward) = (own.trace(ids, "hidden") for ids in texts)
    assert forward.shape == backward.shape == (len(texts[0]), loaded.network.rnn_size)
    np.testing.assert_allclose(forward[:10], other_forward[:10], atol=1e-5)
    assert np.abs(backward[:10] - other_backward[:10]).max() > 1e-4
    np.testing.assert_allclose(backward[-1], other_backward[-1], atol=1e-5)


def test_quantity_that_a_cell_lacks_is_refused() -> None:
    assert {"hidden", "cell", "forget-gate", "reset-gate"} <= set(quantities())
    for cell, missing in (("rnn", "cell"), ("gru", "forget-gate"), ("lstm", "update-gate")):
        with pytest.raises(UserError, match=rf"the cell of this model, {cell}, has hidden"):
            check_quantity(CELLS[cell], missing)


@pytest.mark.parametrize("cell", CELLS)
def test_gradient_over_the_lag_is_that_of_finite_differences(cell: str, tmp_path: Path) -> None:
    own, ids = inspector(tmp_path, cell, rnn_size=4)
    lags, step = 5, 1e-3
    found = own.gradients([ids[: lags + 9]], lags)
    network = own._network.double()  # float32 has too few digits for differences
    layer = next(iter(own._stack))
    inputs = torch.from_numpy(np.concatenate([[ByteCodec().end], ids[: lags + 9]]).astype(np.int64))
    windows = [(start, inputs[start : start + lags + 2]) for start in range(len(inputs) - lags - 1)]

    def loss(start: int, window: torch.Tensor, lag: int, unit: int, change: float) -> float:
        state = layer.initial(1)
        state = tuple(part.double() for part in state)
        for position, token in enumerate(inputs[max(0, start - lags) : start + lags + 1], start=max(0, start - lags)):
            x = network.embedding[token][None] @ layer.input_weight.T + layer.bias
            h = torch.nn.functional.linear(state[0], layer.recurrent_weight, layer.recurrent_bias)
            state = layer.cell.step(x, h, state)
            if position == start + lags - lag:
                moved = state[0].clone()
                moved[0, unit] += change
                state = (moved, *state[1:])
        return float(torch.nn.functional.cross_entropy(network.logits(state[0]), window[-1:]))

    def slope(start: int, window: torch.Tensor, lag: int, unit: int) -> float:
        return (loss(start, window, lag, unit, step) - loss(start, window, lag, unit, -step)) / (2 * step)

    norms = [
        np.mean([np.linalg.norm([slope(*window, lag, unit) for unit in range(4)]) for window in windows])
        for lag in (0, 1, lags)
    ]
    np.testing.assert_allclose(found[0].mean[[0, 1, lags]], norms, rtol=2e-3)


def test_network_without_bounds_is_refused(tmp_path: Path) -> None:
    """Pages ended with an internal error: JSON has no infinity."""
    untrained(tmp_path / "model", ByteCodec(), cell="rnn", activation="relu")
    (tmp_path / "a.txt").write_bytes(TEXT[:200])
    inspection = seqgen.load(tmp_path / "model").inspect(str(tmp_path / "a.txt"))
    (record,) = inspection.records
    for weight in inspection.inspector._stack.parameters():  # type: ignore[attr-defined]
        weight.mul_(1000)
    for ask in (
        lambda: inspection.values(record, "hidden"),
        lambda: inspection.saliency(record, 64),
        lambda: inspection.gradients(64),
    ):
        with pytest.raises(ModelError, match="the numbers inside this model grow beyond all bounds"):
            ask()


def test_steps_until_a_share_counts_from_the_last_lag_above_it() -> None:
    means = np.array([1.0, 0.5, 0.005, 0.02, 0.001, 0.0001])
    curve = LagGradients(1, means, means, means)
    assert curve.steps_until(0.01) == 4
    assert curve.steps_until(1e-9) is None


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_saliency_of_fewer_lags_is_a_part_of_that_of_more(cell: str, tmp_path: Path) -> None:
    own, ids = inspector(tmp_path, cell)
    whole, short = own.saliency(ids[:40], 64), own.saliency(ids[:40], 8)
    np.testing.assert_allclose(whole.shares.sum(axis=1), 1, rtol=1e-4)
    assert whole.shares.shape == (40, 64) and (whole.shares[3, 5:] == 0).all()
    np.testing.assert_array_equal(whole.predicted, short.predicted)
    np.testing.assert_allclose(whole.probability, short.probability, rtol=1e-4)
    # The lags that both have are in the same proportion.
    expected = whole.shares[20, :8] / whole.shares[20, :8].sum()
    np.testing.assert_allclose(short.shares[20], expected, rtol=1e-3, atol=1e-6)


def test_trace_of_a_forecaster_is_the_state_after_each_look_back() -> None:
    from seqgen.corpus.series.windows import Windows
    from tests.helpers.scaled_series import numbered_series

    loaded = seqgen.load(GOLDEN / "weather-gru").checkpoint
    config = loaded.forecaster_config
    own = ForecasterInspector(config, loaded.weights(), loaded.scaler)
    rows = config.look_back + 30
    series = numbered_series(rows, config.targets, config.past, config.known, config.horizon)
    windows = Windows([series], [(config.look_back, rows)], config.look_back, config.horizon)
    record = windows.take(np.arange(0, len(windows), windows.columns))
    (values,) = own.trace(record, "hidden")
    assert values.shape == (len(windows.origins), config.rnn_size)
    (one,) = own.trace(windows.take(np.array([0])), "hidden")
    np.testing.assert_allclose(one[0], values[0], atol=1e-4)
