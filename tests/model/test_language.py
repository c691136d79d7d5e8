"""The language model: cells against equations and PyTorch, gradients, state, initialisation, dropout, weight shapes."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.config import NetworkConfig
from seqgen.errors import UserError
from seqgen.model import weight_shapes as layout
from seqgen.model.language import LanguageModel, detach
from seqgen.model.recurrent.cells import State
from seqgen.specs.cells import CELLS

Array = npt.NDArray[np.float64]
VARIANTS = [(spec.name, activation) for spec in CELLS.values() for activation in spec.activations]
every_cell = pytest.mark.parametrize(("name", "activation"), VARIANTS)


def rng(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(name: str = "lstm", activation: str = "tanh", seed: int = 1, **more: object) -> LanguageModel:
    """A small network in float64 with no weight left at zero, so that a forgotten bias shows."""
    settings: dict[str, object] = {"vocab_size": 11, "rnn_size": 6, "num_layers": 2, "embedding_size": 5, **more}
    made = LanguageModel(NetworkConfig(cell=name, activation=activation, **settings), rng(seed)).double()  # type: ignore[arg-type]
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(torch.randn(weight.shape, generator=rng(seed + 1), dtype=weight.dtype) * 0.2)
    return made


def some_ids(steps: int, batch: int, vocab_size: int = 11, seed: int = 2) -> Tensor:
    return torch.randint(vocab_size, (steps, batch), generator=rng(seed))


def some_states(made: LanguageModel, batch: int, seed: int = 3) -> tuple[State, ...]:
    generator = rng(seed)
    return tuple(
        tuple(torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) for tensor in layer)
        for layer in made.initial(batch)
    )


# --- the cells against their equations -------------------------------------------------------------------------------


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def lstm_equations(w: list[Array], u: list[Array], b: list[Array], _: list[Array], x: Array, s: list[Array]):
    """Gers et al., 2000; gates in PyTorch's order i, f, g, o. No recurrent bias."""
    h, c = s
    i, f = sigmoid(w[0] @ x + u[0] @ h + b[0]), sigmoid(w[1] @ x + u[1] @ h + b[1])
    g, o = np.tanh(w[2] @ x + u[2] @ h + b[2]), sigmoid(w[3] @ x + u[3] @ h + b[3])
    c = f * c + i * g
    return [o * np.tanh(c), c]


def gru_equations(w: list[Array], u: list[Array], b: list[Array], v: list[Array], x: Array, s: list[Array]):
    """Cho et al., 2014, with the reset gate after the product and a bias inside it."""
    (h,) = s
    r = sigmoid(w[0] @ x + b[0] + u[0] @ h + v[0])
    z = sigmoid(w[1] @ x + b[1] + u[1] @ h + v[1])
    n = np.tanh(w[2] @ x + b[2] + r * (u[2] @ h + v[2]))
    return [(1 - z) * n + z * h]


def elman_equations(phi: Callable[[Array], Array]):
    def step(w: list[Array], u: list[Array], b: list[Array], _: list[Array], x: Array, s: list[Array]):
        return [phi(w[0] @ x + u[0] @ s[0] + b[0])]

    return step


EQUATIONS = {
    ("lstm", "tanh"): (4, lstm_equations),
    ("gru", "tanh"): (3, gru_equations),
    ("rnn", "tanh"): (1, elman_equations(np.tanh)),
    ("rnn", "relu"): (1, elman_equations(lambda x: np.maximum(x, 0.0))),
}


@every_cell
@pytest.mark.parametrize("layers", [1, 3])
def test_language_model_follows_the_equations_of_its_cell(name: str, activation: str, layers: int) -> None:
    if (name, activation) not in EQUATIONS:
        pytest.skip("no equations are written down here for this cell")
    gates, equations = EQUATIONS[name, activation]
    made = network(name, activation, num_layers=layers)
    ids, states = some_ids(7, 3), some_states(made, 3)
    hidden, last = made(ids, states)
    logits = made.logits(hidden)
    weights = {key: value.numpy() for key, value in made.state_dict().items()}
    for row in range(3):
        own = [[tensor[row].numpy() for tensor in layer] for layer in states]
        for t in range(7):
            below = weights["embedding"][ids[t, row]]
            for number in range(layers):
                part = {
                    key: np.split(weights.get(f"layers.{number}.{key}", np.zeros(gates * 6)), gates)
                    for key in ("input_weight", "recurrent_weight", "bias", "recurrent_bias")
                }
                own[number] = equations(*part.values(), below, own[number])
                below = own[number][0]
            np.testing.assert_allclose(hidden[t, row].detach(), below, rtol=1e-12, atol=1e-12)
            wanted = weights["output_weight"] @ below + weights["output_bias"]
            np.testing.assert_allclose(logits[t, row].detach(), wanted, rtol=1e-12, atol=1e-12)
        for layer, wanted_layer in zip(last, own, strict=True):
            for tensor, value in zip(layer, wanted_layer, strict=True):
                np.testing.assert_allclose(tensor[row].detach(), value, rtol=1e-12, atol=1e-12)


@every_cell
@pytest.mark.parametrize("layers", [1, 2])
def test_language_model_agrees_with_torch_nn(name: str, activation: str, layers: int) -> None:
    kinds = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}
    if name not in kinds:
        pytest.skip("torch.nn has no such cell")
    made = network(name, activation, num_layers=layers)
    more = {"nonlinearity": activation} if name == "rnn" else {}
    theirs = kinds[name](5, 6, layers, **more).double()
    with torch.no_grad():
        for number, layer in enumerate(made.layers):
            getattr(theirs, f"weight_ih_l{number}").copy_(layer.input_weight)
            getattr(theirs, f"weight_hh_l{number}").copy_(layer.recurrent_weight)
            getattr(theirs, f"bias_ih_l{number}").copy_(layer.bias)
            second = getattr(theirs, f"bias_hh_l{number}")
            second.zero_() if layer.recurrent_bias is None else second.copy_(layer.recurrent_bias)
    ids, states = some_ids(9, 4), some_states(made, 4)
    stacked = [torch.stack([layer[k] for layer in states]) for k in range(len(states[0]))]
    wanted, wanted_last = theirs(F.embedding(ids, made.embedding), tuple(stacked) if name == "lstm" else stacked[0])
    hidden, last = made(ids, states)
    torch.testing.assert_close(hidden, wanted, rtol=1e-12, atol=1e-12)
    wanted_last = wanted_last if name == "lstm" else (wanted_last,)
    for k, tensor in enumerate(wanted_last):
        torch.testing.assert_close(torch.stack([layer[k] for layer in last]), tensor, rtol=1e-12, atol=1e-12)


# --- state -----------------------------------------------------------------------------------------------------------


@every_cell
@pytest.mark.parametrize("cut", [1, 4, 7])
def test_language_model_two_calls_equal_one(name: str, activation: str, cut: int) -> None:
    made, ids = network(name, activation), some_ids(8, 3)
    whole, last = made(ids, made.initial(3))
    first, between = made(ids[:cut], made.initial(3))
    second, end = made(ids[cut:], between)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(end, last, rtol=1e-12, atol=1e-12)


@every_cell
def test_language_model_two_calls_equal_one_in_bfloat16(name: str, activation: str) -> None:
    made, ids = network(name, activation).float(), some_ids(40, 2)
    whole, last = made(ids, made.initial(2), dtype=torch.bfloat16)
    first, between = made(ids[:20], made.initial(2), dtype=torch.bfloat16)
    second, end = made(ids[20:], between, dtype=torch.bfloat16)
    # Every product has the same shape in both, so that even bfloat16 rounds alike.
    assert torch.equal(torch.cat([first, second]), whole)
    assert all(torch.equal(a, b) for x, y in zip(end, last, strict=True) for a, b in zip(x, y, strict=True))


@every_cell
def test_language_model_gradients_flow_through_the_state(name: str, activation: str) -> None:
    made, ids = network(name, activation, vocab_size=4), some_ids(6, 6, 4)
    weights = [made.embedding, *made.layers.parameters()]
    whole = torch.autograd.grad(made(ids, made.initial(6))[0][-1].sum(), weights)
    _, between = made(ids[:3], made.initial(6))
    parts = torch.autograd.grad(made(ids[3:], between)[0][-1].sum(), weights)
    torch.testing.assert_close(parts, whole, rtol=1e-10, atol=1e-12)
    assert all(not tensor.requires_grad for layer in detach(between) for tensor in layer)


@every_cell
def test_language_model_keeps_no_state_between_calls(name: str, activation: str) -> None:
    made = network(name, activation, dropout=0.3, weight_drop=0.3)
    weights = {key: value.clone() for key, value in made.state_dict().items()}
    fields = [{key: id(value) for key, value in vars(part).items()} for part in made.modules()]
    states = some_states(made, 2)
    before = [[tensor.clone() for tensor in layer] for layer in states]
    made(some_ids(6, 2), states, rng())
    assert [{key: id(value) for key, value in vars(part).items()} for part in made.modules()] == fields
    assert not list(made.buffers())
    for key, value in made.state_dict().items():
        assert torch.equal(value, weights[key])
    for layer, old in zip(states, before, strict=True):
        assert all(torch.equal(tensor, copy) for tensor, copy in zip(layer, old, strict=True))


def test_language_model_rows_of_a_batch_are_independent() -> None:
    made, ids = network("gru"), some_ids(5, 4)
    together, _ = made(ids, made.initial(4))
    for row in range(4):
        alone, _ = made(ids[:, row : row + 1], made.initial(1))
        torch.testing.assert_close(alone[:, 0], together[:, row], rtol=1e-12, atol=1e-12)


# --- initialisation --------------------------------------------------------------------------------------------------


@every_cell
def test_recurrent_layer_initialise_makes_orthogonal_blocks(name: str, activation: str) -> None:
    config = NetworkConfig(20, name, activation, rnn_size=24, num_layers=2, embedding_size=8)
    for layer in LanguageModel(config, rng()).layers:
        blocks = layer.recurrent_weight.detach().chunk(layer.cell.spec.gates)
        for block in blocks:
            torch.testing.assert_close(block @ block.T, torch.eye(24), rtol=0, atol=1e-5)
            if activation == "relu":
                assert torch.equal(block, torch.eye(24))
        assert activation == "relu" or all(not torch.equal(a, b) for a, b in itertools.combinations(blocks, 2))


@every_cell
def test_recurrent_layer_initialise_sets_forget_bias_one_and_others_zero(name: str, activation: str) -> None:
    made = LanguageModel(NetworkConfig(20, name, activation, rnn_size=7, num_layers=2, embedding_size=8), rng())
    assert not made.output_bias.any()
    for layer in made.layers:
        wanted = torch.zeros(layer.cell.spec.gates * 7)
        if name == "lstm":
            wanted[7:14] = 1
        assert torch.equal(layer.bias.detach(), wanted)
        assert layer.recurrent_bias is None or not layer.recurrent_bias.any()


@every_cell
@pytest.mark.parametrize("tied", [False, True])
def test_language_model_initialise_is_reproducible_and_complete(name: str, activation: str, tied: bool) -> None:
    config = NetworkConfig(20, name, activation, rnn_size=7, num_layers=2, embedding_size=8, tie_weights=tied)
    torch.manual_seed(1)
    first = LanguageModel(config, rng(4)).state_dict()
    torch.manual_seed(2)  # the global generator must not matter
    second, other = LanguageModel(config, rng(4)).state_dict(), LanguageModel(config, rng(5)).state_dict()
    for key, weight in first.items():
        assert torch.equal(weight, second[key])
        assert weight.isfinite().all()
        drawn = key.endswith("weight") or key in ("embedding", "projection")
        identity = activation == "relu" and key.endswith("recurrent_weight")
        assert torch.equal(weight, other[key]) == (not drawn or identity)


# --- dropout ---------------------------------------------------------------------------------------------------------


@every_cell
def test_language_model_dropout_has_one_mask_for_all_steps(name: str, activation: str) -> None:
    made = network(name, activation, num_layers=1, rnn_size=40, dropout=0.25).train()
    ids = some_ids(12, 5)
    plain, plain_last = made(ids, made.initial(5))
    dropped, last = made(ids, made.initial(5), rng())
    mask = dropped / plain  # NaN where ReLU gave 0 anyway
    for unit in mask.flatten(1).T:
        values = unit[~unit.isnan()]
        assert (values == 0).all() or torch.allclose(values, torch.full_like(values, 1 / 0.75))
    share = (dropped[-1] == 0).double().mean() if activation == "tanh" else torch.tensor(0.25)
    assert 0.15 < share < 0.35
    assert len({tuple(row.tolist()) for row in (dropped[-1] == 0)}) == 5  # each sequence has its own mask
    # Dropout applies to the input of the layer above, not to the next step.
    torch.testing.assert_close(last, plain_last)


def test_language_model_dropout_draws_a_mask_for_each_layer_and_call() -> None:
    made = network("lstm", num_layers=2, dropout=0.5).train()
    ids, generator = some_ids(4, 3), rng()
    first, _ = made(ids, made.initial(3), generator)
    second, _ = made(ids, made.initial(3), generator)
    assert not torch.equal(first == 0, second == 0)
    again, _ = made(ids, made.initial(3), rng())
    assert torch.equal(again, first)


@every_cell
@pytest.mark.parametrize("kind", ["dropout", "weight_drop"])
def test_language_model_masks_apply_in_training_only(name: str, activation: str, kind: str) -> None:
    made, ids = network(name, activation, **{kind: 0.5}), some_ids(6, 3)
    plain = network(name, activation)
    plain.load_state_dict(made.state_dict())
    wanted, wanted_last = plain(ids, plain.initial(3))
    weights = [weight.detach().clone() for weight in made.parameters()]
    made.train()
    assert not torch.allclose(made(ids, made.initial(3), rng())[0], wanted)
    assert torch.equal(made(ids, made.initial(3))[0], wanted)  # without a generator there are no masks
    made.eval()
    hidden, last = made(ids, made.initial(3), rng())
    assert torch.equal(hidden, wanted)
    torch.testing.assert_close(last, wanted_last, rtol=0, atol=0)
    assert all(torch.equal(weight, old) for weight, old in zip(made.parameters(), weights, strict=True))


def test_weight_drop_dropped_weights_get_no_gradient() -> None:
    """A dropped recurrent weight has no gradient; the others have one."""
    made = network("lstm", num_layers=1, weight_drop=0.5).train()
    hidden, _ = made(some_ids(6, 3), made.initial(3), rng())
    hidden.sum().backward()
    grad = made.layers[0].recurrent_weight.grad
    assert grad is not None
    assert 0.3 < (grad == 0).double().mean() < 0.7


# --- weight shapes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("embedding_size", [3, 6])
@pytest.mark.parametrize("layers", [1, 2, 3])
@every_cell
def test_weight_shapes_are_those_of_the_state_dict(
    name: str, activation: str, layers: int, embedding_size: int, tied: bool
) -> None:
    config = NetworkConfig(13, name, activation, 6, layers, embedding_size, tied)
    made = LanguageModel(config)
    shapes = layout.weight_shapes(config)
    assert shapes == {key: tuple(value.shape) for key, value in made.state_dict().items()}
    assert layout.parameter_count(config) == sum(map(np.prod, shapes.values()))
    # Tied: one embedding for input and output, with a projection only if the widths differ.
    assert ("output_weight" in shapes) == (not tied)
    assert ("projection" in shapes) == (tied and embedding_size != 6)


@pytest.mark.parametrize(
    "wrong", [{"vocab_size": 0}, {"rnn_size": True}, {"num_layers": 1 << 25}, {"cell": "xyz"}, {"activation": "exp"}]
)
def test_network_config_invalid_value_raises_user_error(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError):
        NetworkConfig(**{"vocab_size": 5, **wrong})  # type: ignore[arg-type]


# --- embedding and output layer --------------------------------------------------------------------------------------


def test_language_model_gate_table_equals_plain_product() -> None:
    """With more ids than token types, the first layer's product is computed once a token type, otherwise once an id."""
    made, ids = network("lstm"), some_ids(8, 3)
    assert ids.numel() >= made.config.vocab_size > ids[0].numel()
    whole, _ = made(ids, made.initial(3))
    states, steps = made.initial(3), []
    for step in ids:
        hidden, states = made(step[None], states)
        steps.append(hidden)
    torch.testing.assert_close(torch.cat(steps), whole, rtol=1e-12, atol=1e-12)
    ends = [made.embedding, made.layers[0].input_weight, made.layers[0].bias]
    grads = [torch.autograd.grad(h.square().sum(), ends, retain_graph=True) for h in (whole, torch.cat(steps))]
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("settings", [{}, {"tie_weights": True}, {"tie_weights": True, "embedding_size": 6}])
@pytest.mark.parametrize("seen", [1, 5, 11])
def test_logits_seen_are_the_first_columns(settings: dict[str, object], seen: int) -> None:
    made = network("lstm", **settings)
    hidden, _ = made(some_ids(4, 3), made.initial(3))
    logits = made.logits(hidden)
    assert logits.shape == (4, 3, 11)
    torch.testing.assert_close(made.logits(hidden, seen=seen), logits[..., :seen], rtol=1e-12, atol=1e-12)
    assert made.float().logits(hidden.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("embedding_size", [5, 6])
def test_language_model_tied_weights_are_one_tensor(embedding_size: int) -> None:
    made = network("lstm", tie_weights=True, embedding_size=embedding_size)
    assert made.output_weight is None
    assert len({weight.data_ptr() for weight in made.parameters()}) == len(made.state_dict())
    hidden = torch.randn(2, 6, generator=rng(), dtype=torch.float64)
    weight = made.embedding if made.projection is None else made.embedding @ made.projection
    torch.testing.assert_close(made.logits(hidden), hidden @ weight.T + made.output_bias)
    before = made.logits(hidden).detach()
    with torch.no_grad():
        made.embedding[3] += 1
    after = made.logits(hidden).detach()
    assert not torch.equal(after[:, 3], before[:, 3])
    assert torch.equal(after[:, :3], before[:, :3])
    # Its gradient has a part from each end.
    ids = torch.full((2, 1), 4)
    made.logits(made(ids, made.initial(1))[0])[..., 7].sum().backward()
    assert made.embedding.grad is not None
    assert made.embedding.grad[4].any() and made.embedding.grad[7].any() and not made.embedding.grad[2].any()
