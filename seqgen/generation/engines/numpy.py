"""The light engine: numpy only, for single streams on a processor.

The first layer's input product is a table: a token's embedding times the input weights is one row, worked out once.
Each stream is a vector of its own, so that a stream's numbers are the same alone and among a hundred.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from seqgen.config import NetworkConfig
from seqgen.model.weight_shapes import GATES, STATES

Array = npt.NDArray[np.float32]
NumpyState = tuple[tuple[tuple[Array, ...], ...], ...]  # stream → layer → tensors of shape (units,)

_LARGEST_TABLE = 1 << 24  # numbers (64 MiB); a larger first-layer table is filled row by row, when met


def _sigmoid(x: Array) -> Array:
    # tanh never overflows, and numpy's is vectorised
    half = np.multiply(x, np.float32(0.5))
    np.tanh(half, out=half)
    half *= np.float32(0.5)
    half += np.float32(0.5)
    return half


def lstm_step(x: Array, h: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    """`cells.LSTM`: x and h of shape (…, 4 · units)."""
    size = h.shape[-1] // 4
    total = x + h
    gates = _sigmoid(total)
    c = gates[..., size : 2 * size] * state[1] + gates[..., :size] * np.tanh(total[..., 2 * size : 3 * size])
    return gates[..., 3 * size :] * np.tanh(c), c


def gru_step(x: Array, h: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    """`cells.GRU`: x and h of shape (…, 3 · units)."""
    size = h.shape[-1] // 3
    rz = _sigmoid(x[..., : 2 * size] + h[..., : 2 * size])
    n = np.tanh(x[..., 2 * size :] + rz[..., :size] * h[..., 2 * size :])
    return (n + rz[..., size:] * (state[0] - n),)


def rnn_step(x: Array, h: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    """`cells.RNN` with tanh."""
    return (np.tanh(x + h),)


def relu_step(x: Array, h: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    """`cells.RNN` with ReLU."""
    return (np.maximum(x + h, np.float32(0)),)


CELL_STEPS = {"lstm": lstm_step, "gru": gru_step, "rnn": rnn_step}


def cell_step(cell: str, activation: str) -> Callable[[Array, Array, tuple[Array, ...]], tuple[Array, ...]]:
    """One step of a cell: the input's and the state's share of the gates, and the state, to the new state."""
    return relu_step if cell == "rnn" and activation == "relu" else CELL_STEPS[cell]


class NumpyEngine:
    """See `engine.Engine`."""

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
        self._output = weights.get("output_weight")
        if self._output is None:
            projection = weights.get("projection")
            self._output = self._embedding if projection is None else self._embedding @ projection
        self._output_bias = weights["output_bias"]
        self._table: dict[int, Array] = {}
        if config.vocab_size * GATES[config.cell] * config.rnn_size <= _LARGEST_TABLE:
            table = self._embedding @ self._layers[0][0].T + self._layers[0][1]
            self._table = dict(enumerate(table))

    def initial(self, batch: int) -> NumpyState:
        zero = np.zeros(self._config.rnn_size, dtype=np.float32)
        layer = (zero,) * STATES[self._config.cell]
        return tuple((layer,) * self._config.num_layers for _ in range(batch))

    def step(self, ids: npt.NDArray[np.integer], state: NumpyState) -> tuple[Array, NumpyState]:
        new = tuple(self._advance(int(token), stream) for token, stream in zip(ids, state, strict=True))
        assert self._output is not None
        logits = np.stack([self._output @ stream[-1][0] + self._output_bias for stream in new])
        return logits, new

    def read(self, ids: npt.NDArray[np.integer], state: NumpyState) -> NumpyState:
        (stream,) = state
        for token in ids:
            stream = self._advance(int(token), stream)
        return (stream,)

    def logits_of(self, ids: npt.NDArray[np.integer], state: NumpyState) -> tuple[Array, NumpyState]:
        (stream,) = state
        outputs = np.empty((len(ids), self._config.rnn_size), dtype=np.float32)
        for place, token in enumerate(ids):
            stream = self._advance(int(token), stream)
            outputs[place] = stream[-1][0]
        assert self._output is not None
        return outputs @ self._output.T + self._output_bias, (stream,)

    def repeat(self, state: NumpyState, batch: int) -> NumpyState:
        return state * batch

    def select(self, state: NumpyState, rows: Sequence[int]) -> NumpyState:
        return tuple(state[row] for row in rows)

    def export_state(self, state: NumpyState, row: int) -> Array:
        return np.array(state[row], dtype=np.float32)

    def import_state(self, cells: Array) -> NumpyState:
        return (tuple(tuple(np.array(part, dtype=np.float32) for part in layer) for layer in cells),)

    def _advance(self, token: int, stream: tuple[tuple[Array, ...], ...]) -> tuple[tuple[Array, ...], ...]:
        """One stream's state after one more token."""
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
