"""A stack of recurrent layers over many sequences at once.

It uses the compiled kernels (`native/sequence.c`), or numpy without them and for cells that they lack. The outputs of a
sequence are the same to the last bit, whichever other sequences are in the batch.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from seqgen.config.networks import StackConfig
from seqgen.generation.engines.numpy import cell_step
from seqgen.generation.recurrent.row_products import RowProduct
from seqgen.native import library
from seqgen.native.sequence_call import UNIT_MULTIPLE, SequenceCall, run_sequence
from seqgen.specs.cells import CELLS

Array = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
LayerStates = tuple[tuple[Array, ...], ...]  # of each layer, shape (streams, units); units may be padded with zeros


class RecurrentLayers:
    """Recurrent layers for inference. They keep nothing between calls, so threads can share them."""

    def __init__(self, config: StackConfig, weights: Mapping[str, Array], prefix: str = "") -> None:
        """`prefix` is that of the names of the layers' weights."""
        self._step = cell_step(config.cell, config.activation)
        self._cell, self._outputs = CELLS[config.cell], config.rnn_size
        self._relu = self._cell.effective_activation(config.activation) == "relu"
        self._kernels = library() if self._cell.native_id is not None else None
        # The kernels take multiples of 16 units. A unit whose weights are all zero stays zero in each of their cells.
        self._units = config.rnn_size + (-config.rnn_size % UNIT_MULTIPLE if self.compiled else 0)
        self._inputs: list[RowProduct] = []
        self._recurrent: list[Array] = []
        self._biases: list[Array | None] = []
        self._products: list[RowProduct] = []  # of the states, where numpy does the steps
        for number in range(config.num_layers):
            name = f"{prefix}layers.{number}."
            weight, bias = self._padded(weights[name + "input_weight"]), self._padded(weights[name + "bias"])
            self._inputs.append(RowProduct(_with_columns(weight, self._units) if number else weight, bias))
            recurrent = _with_columns(self._padded(weights[name + "recurrent_weight"]), self._units)
            given = weights.get(name + "recurrent_bias")
            recurrent_bias = None if given is None else self._padded(given)
            if self.compiled:
                self._recurrent.append(np.ascontiguousarray(recurrent))
                self._biases.append(recurrent_bias)
            else:
                self._products.append(RowProduct(recurrent, recurrent_bias))

    @property
    def compiled(self) -> bool:
        """Whether the kernels are used."""
        return self._kernels is not None

    @property
    def width(self) -> int:
        """The number of gates of a layer times its units."""
        return self._cell.gates * self._units

    def first_gates(self, inputs: Array) -> Array:
        """The input's terms of the first layer's gates, shape (…, width), for inputs of shape (…, input size)."""
        return self._inputs[0](inputs)

    def run(
        self,
        gates: Array,
        states: LayerStates | None = None,
        *,
        indices: Integers | None = None,
        lengths: Integers | None = None,
    ) -> tuple[Array, LayerStates]:
        """Run all layers over sequences.

        Args:
            gates: what `first_gates` gives, shape (time, streams, width); with `indices`, shape (rows, width).
            states: to begin with; by default zero.
            indices: the row of `gates` of each step and stream, shape (time, streams).
            lengths: of the streams, to get last, maximum and sum of the outputs up to there instead of the outputs.

        Returns:
            the top layer's outputs, shape (time, streams, units), or with `lengths` (streams, 3, units); and the new
            states.
        """
        streams = (gates if indices is None else indices).shape[1]
        if states is None:
            zeros = np.zeros((streams, self._units), dtype=np.float32)
            states = ((zeros,) * self._cell.states,) * len(self._inputs)
        new = []
        top = len(self._inputs) - 1
        outputs = gates
        for number, state in enumerate(states):
            if number:
                outputs = self._inputs[number](outputs)
            run = self._in_kernels if self.compiled else self._in_numpy
            outputs, after = run(
                number, outputs, None if number else indices, state, lengths if number == top else None
            )
            new.append(after)
        return outputs[..., : self._outputs], tuple(new)

    def _in_kernels(
        self, number: int, gates: Array, indices: Integers | None, state: tuple[Array, ...], lengths: Integers | None
    ) -> tuple[Array, tuple[Array, ...]]:
        """One layer: its outputs or their summaries, and its new state."""
        assert self._kernels is not None
        steps, streams = (gates if indices is None else indices).shape[:2]
        history = np.empty((steps + 1 if lengths is None else 2, streams, self._units), dtype=np.float32)
        history[0] = state[0]
        exact = np.array(state[-1], dtype=np.float32, order="C")
        pooled = None if lengths is None else np.empty((streams, 3, self._units), dtype=np.float32)
        arrays = {
            "x": np.ascontiguousarray(gates), "weight": self._recurrent[number], "bias": self._biases[number],
            "history": history, "state_f32": exact, "ids": None if indices is None else np.ascontiguousarray(indices),
            "lengths": lengths, "pooled": pooled,
        }  # fmt: skip
        sequence = SequenceCall(
            cell=self._cell.native_id, relu=self._relu, steps=steps, rows=streams, units=self._units,
            **{name: array.ctypes.data for name, array in arrays.items() if array is not None},
        )  # fmt: skip
        run_sequence(self._kernels.seqgen_sequence_forward, sequence, threads=1)
        last = history[steps if lengths is None else steps % 2]
        return history[1:] if pooled is None else pooled, (last, exact) if self._cell.states > 1 else (last,)

    def _in_numpy(
        self, number: int, gates: Array, indices: Integers | None, state: tuple[Array, ...], lengths: Integers | None
    ) -> tuple[Array, tuple[Array, ...]]:
        """The same in numpy."""
        if indices is not None:
            gates = gates[indices]
        hidden = np.empty((*gates.shape[:2], self._units), dtype=np.float32)
        for t, step in enumerate(gates):
            state = self._step(step, self._products[number](state[0]), state)
            hidden[t] = state[0]
        return hidden if lengths is None else _summaries(hidden, lengths), state

    def _padded(self, weight: Array) -> Array:
        """A weight or bias with rows of zeros after those of each gate, up to the padded number of units."""
        missing = self._units - self._outputs
        if not missing:
            return weight
        blocks = weight.reshape(self._cell.gates, self._outputs, *weight.shape[1:])
        zeros = np.zeros((self._cell.gates, missing, *weight.shape[1:]), dtype=np.float32)
        return np.concatenate([blocks, zeros], axis=1).reshape(-1, *weight.shape[1:])


def _with_columns(weight: Array, columns: int) -> Array:
    """A weight with columns of zeros at the end."""
    missing = columns - weight.shape[1]
    return np.pad(weight, ((0, 0), (0, missing))) if missing else weight


def _summaries(hidden: Array, lengths: Integers) -> Array:
    """Last, maximum and sum of each stream: (time, streams, units) → (streams, 3, units)."""
    inside = (np.arange(len(hidden))[:, None] < lengths)[:, :, None]
    last = hidden[lengths - 1, np.arange(len(lengths))]
    largest = np.where(inside, hidden, np.float32(-np.inf)).max(axis=0)
    return np.stack([last, largest, (hidden * inside).sum(axis=0)], axis=1)
