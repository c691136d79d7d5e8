"""The CPU engine in numpy, the reference for the compiled one.

The input product of the first layer is a table: a token's embedding times the input weights is one row, computed once.
Each stream is a vector of its own, so that its numbers are the same alone and in a batch of a hundred.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from seqgen.config import NetworkConfig
from seqgen.generation.engines.base import Engine, output_matrix
from seqgen.specs.cells import CELLS
from seqgen.specs.registry import resolve

Array = npt.NDArray[np.float32]
NumpyState = tuple[tuple[tuple[Array, ...], ...], ...]  # stream → layer → tensors of shape (units,)

_MAX_TABLE = 1 << 24  # numbers (64 MiB); rows of a larger first-layer table are computed when needed


def _sigmoid(x: Array) -> Array:
    # tanh never overflows, and numpy's is vectorised
    half = np.multiply(x, np.float32(0.5))
    np.tanh(half, out=half)
    half *= np.float32(0.5)
    half += np.float32(0.5)
    return half


def lstm_step(x: Array, h: Array, state: tuple[Array, ...], activation: str) -> tuple[Array, ...]:
    """One step of `cells.LSTM`; x and h have shape (…, 4 · units)."""
    size = h.shape[-1] // 4
    total = x + h
    gates = _sigmoid(total)
    c = gates[..., size : 2 * size] * state[1] + gates[..., :size] * np.tanh(total[..., 2 * size : 3 * size])
    return gates[..., 3 * size :] * np.tanh(c), c


def gru_step(x: Array, h: Array, state: tuple[Array, ...], activation: str) -> tuple[Array, ...]:
    """One step of `cells.GRU`; x and h have shape (…, 3 · units)."""
    size = h.shape[-1] // 3
    rz = _sigmoid(x[..., : 2 * size] + h[..., : 2 * size])
    n = np.tanh(x[..., 2 * size :] + rz[..., :size] * h[..., 2 * size :])
    return (n + rz[..., size:] * (state[0] - n),)


def rnn_step(x: Array, h: Array, state: tuple[Array, ...], activation: str) -> tuple[Array, ...]:
    """One step of `cells.RNN`; x and h have shape (…, units)."""
    return (np.maximum(x + h, np.float32(0)) if activation == "relu" else np.tanh(x + h),)


def cell_step(cell: str, activation: str) -> Callable[[Array, Array, tuple[Array, ...]], tuple[Array, ...]]:
    """The numpy step of a cell: (input's terms of the gates, state's terms, state) → new state."""
    spec = CELLS[cell]
    assert spec.numpy_step is not None, "choose the torch engine for a cell without a numpy step"
    return partial(resolve(spec.numpy_step), activation=spec.effective_activation(activation))


class NumpyEngine(Engine):
    """An `Engine` whose state is a tuple of vectors for each layer of each stream."""

    batch_size = 1
    arithmetic = "numpy"

    def __init__(self, config: NetworkConfig, weights: Mapping[str, Array]) -> None:
        self.vocab_size = config.vocab_size
        self._config = config
        self._step = cell_step(config.cell, config.activation)
        self._layers = []
        for number in range(config.num_layers):
            name = f"layers.{number}."
            self._layers.append(
                (
                    weights[name + "input_weight"],
                    weights[name + "bias"],
                    weights[name + "recurrent_weight"],
                    weights.get(name + "recurrent_bias"),
                )
            )
        self._embedding = weights["embedding"]
        self._output = output_matrix(weights)
        self._output_bias = weights["output_bias"]
        self._table: dict[int, Array] = {}
        if config.vocab_size * CELLS[config.cell].gates * config.rnn_size <= _MAX_TABLE:
            table = self._embedding @ self._layers[0][0].T + self._layers[0][1]
            self._table = dict(enumerate(table))

    def initial(self, batch: int) -> NumpyState:
        zero = np.zeros(self._config.rnn_size, dtype=np.float32)
        layer = (zero,) * CELLS[self._config.cell].states
        return tuple((layer,) * self._config.num_layers for _ in range(batch))

    def step(self, ids: npt.NDArray[np.integer], state: NumpyState) -> tuple[Array, NumpyState]:
        new = tuple(self._advance(int(token), stream) for token, stream in zip(ids, state, strict=True))
        logits = np.stack([self._output @ stream[-1][0] + self._output_bias for stream in new])
        return logits, new

    def read(self, ids: npt.NDArray[np.integer], state: NumpyState) -> NumpyState:
        (stream,) = state
        for token in ids:
            stream = self._advance(int(token), stream)
        return (stream,)

    def outputs(self, state: NumpyState) -> Array:
        return np.stack([stream[-1][0] for stream in state])

    def outputs_of(self, ids: npt.NDArray[np.integer], state: NumpyState) -> tuple[Array, NumpyState]:
        (stream,) = state
        outputs = np.empty((len(ids), self._config.rnn_size), dtype=np.float32)
        for index, token in enumerate(ids):
            stream = self._advance(int(token), stream)
            outputs[index] = stream[-1][0]
        return outputs, (stream,)

    def logits_from(self, outputs: Array) -> Array:
        return outputs @ self._output.T + self._output_bias

    def join(self, states: Sequence[NumpyState]) -> NumpyState:
        return tuple(stream for state in states for stream in state)

    def repeat(self, state: NumpyState, batch: int) -> NumpyState:
        return state * batch

    def select(self, state: NumpyState, rows: Sequence[int]) -> NumpyState:
        return tuple(state[row] for row in rows)

    def export_state(self, state: NumpyState, row: int) -> Array:
        return np.array(state[row], dtype=np.float32)

    def import_state(self, cells: Array) -> NumpyState:
        return (tuple(tuple(np.array(part, dtype=np.float32) for part in layer) for layer in cells),)

    def _advance(self, token: int, stream: tuple[tuple[Array, ...], ...]) -> tuple[tuple[Array, ...], ...]:
        """The state of one stream after one more token."""
        new = []
        below = self._row(token)
        for number, (layer, (weight, bias, recurrent, recurrent_bias)) in enumerate(
            zip(stream, self._layers, strict=True)
        ):
            if number:
                below = weight @ below + bias
            product = recurrent @ layer[0]
            if recurrent_bias is not None:
                product += recurrent_bias
            layer = self._step(below, product, layer)
            below = layer[0]
            new.append(layer)
        return tuple(new)

    def _row(self, token: int) -> Array:
        row = self._table.get(token)
        if row is None:
            weight, bias, *_ = self._layers[0]
            row = self._table[token] = weight @ self._embedding[token] + bias
        return row
