"""The light engine where the compiled kernels are there: the same numbers, a whole step in one call (`native/light.c`).

With `quantized`, weights are whole numbers of 8 bits with a scale a row, and outputs are rounded to 8 bits before they are
multiplied: a quarter of the memory to walk through a step, which is what a single stream waits for. `quantization_cost`
measures what that costs; it is done when a model is trained.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from seqgen.config import NetworkConfig
from seqgen.generation.sampling.filters import log_softmax
from seqgen.model.weight_shapes import GATES, STATES
from seqgen.native import library, pointer_to

Array = npt.NDArray[np.float32]

_ROWS = 64  # of a block, as the kernels have it
_FEW = 16  # streams that are not worth another thread
_STRETCH = 256  # ids that are read in one call
_LARGEST_TABLE = 1 << 24  # numbers (64 MiB); a larger first-layer table is worked out when its rows are needed
_CELLS = {("lstm", "tanh"): 0, ("gru", "tanh"): 1, ("rnn", "tanh"): 2, ("rnn", "relu"): 3}


class _Matrix(ctypes.Structure):
    _fields_ = [
        ("rows", ctypes.c_long),
        ("columns", ctypes.c_long),
        ("blocks", ctypes.c_void_p),
        ("scales", ctypes.c_void_p),
        ("sums", ctypes.c_void_p),
    ]


class _Layer(ctypes.Structure):
    _fields_ = [
        ("input", _Matrix),
        ("bias", ctypes.c_void_p),
        ("recurrent", _Matrix),
        ("recurrent_bias", ctypes.c_void_p),
    ]


class _Light(ctypes.Structure):
    _fields_ = [
        ("units", ctypes.c_long),
        ("layers", ctypes.c_long),
        ("cell", ctypes.c_long),
        ("stack", ctypes.POINTER(_Layer)),
        ("output", _Matrix),
        ("output_bias", ctypes.c_void_p),
        ("vocabulary", ctypes.c_long),
    ]


def quantization_cost(
    config: NetworkConfig, weights: Mapping[str, Array], ids: npt.NDArray[np.integer]
) -> float | None:
    """Bits a token by which rounding to 8 bits raises the cost of `ids`, consecutive ones, up to 16,384 of which are
    read, in 64 pieces; None where this machine can't tell, or they are too few to tell by."""
    streams = 64
    length = min(256, (len(ids) - 1) // streams)
    if length < 2 or not int8_is_fast():
        return None
    pieces = np.asarray(ids[: streams * length + 1], dtype=np.int64)
    inputs, targets = pieces[:-1].reshape(streams, length), pieces[1:].reshape(streams, length)
    rows = np.arange(streams)
    nats = []
    for quantized in (False, True):
        engine = NativeEngine(config, weights, quantized)
        state, total = engine.initial(streams), 0.0
        for t in range(length):
            logits, state = engine.step(inputs[:, t], state)
            total -= float(log_softmax(logits.astype(np.float64))[rows, targets[:, t]].sum())
        nats.append(total)
    return (nats[1] - nats[0]) / (streams * length) / math.log(2)


def int8_is_fast() -> bool:
    """Whether this processor multiplies whole numbers of 8 bits faster than float32."""
    kernels = library()
    return kernels is not None and bool(kernels.seqgen_has_int8_products())


class NativeEngine:
    """See `engine.Engine`. A state is an array of shape (streams, layers, tensors of the cell, units)."""

    batch_size = 256

    def __init__(self, config: NetworkConfig, weights: Mapping[str, Array], quantized: bool = False) -> None:
        kernels = library()
        assert kernels is not None, "ask for the library before"
        self.vocab_size = config.vocab_size
        self.quantized = quantized
        self.arithmetic = "8 bits" if quantized else "float32"
        self._run_kernel = kernels.seqgen_stack_run
        self._kept: list[npt.NDArray] = []  # what the kernels point to
        layers = []
        for number in range(config.num_layers):
            name = f"layers.{number}."
            bias = weights.get(name + "recurrent_bias")
            layers.append(
                _Layer(
                    self._matrix(weights[name + "input_weight"]) if number else _Matrix(),
                    self._keep(weights[name + "bias"]),
                    self._matrix(weights[name + "recurrent_weight"]),
                    None if bias is None else self._keep(bias),
                )
            )
        output = weights.get("output_weight")
        if output is None:
            projection = weights.get("projection")
            output = weights["embedding"] if projection is None else weights["embedding"] @ projection
        self._output = output, weights["output_bias"]
        self._stack = (_Layer * config.num_layers)(*layers)
        self._light = _Light(
            config.rnn_size,
            config.num_layers,
            _CELLS[config.cell, config.activation if config.cell == "rnn" else "tanh"],
            self._stack,
            self._matrix(output),
            self._keep(weights["output_bias"]),
            config.vocab_size,
        )
        self._where = ctypes.byref(self._light)
        self._shape = (config.num_layers, STATES[config.cell], config.rnn_size)
        self._embedding = weights["embedding"]
        self._first = weights["layers.0.input_weight"].T, weights["layers.0.bias"]
        self._table: Array | None = None
        if config.vocab_size * GATES[config.cell] * config.rnn_size <= _LARGEST_TABLE:
            self._table = self._rows(self._embedding)
        self._threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._pool: ThreadPoolExecutor | None = None

    def initial(self, batch: int) -> Array:
        return np.zeros((batch, *self._shape), dtype=np.float32)

    def step(self, ids: npt.NDArray[np.integer], state: Array) -> tuple[Array, Array]:
        streams = len(ids)
        new, logits = np.empty_like(state), np.empty((streams, self.vocab_size), dtype=np.float32)
        first = self._gates(ids)
        if streams < 2 * _FEW or self._threads == 1:
            self._run(1, first, state, new, logits)
            return logits, new
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, "engine")
        share = -(-streams // min(self._threads, streams // _FEW))
        parts = [slice(start, start + share) for start in range(0, streams, share)]
        jobs = [self._pool.submit(self._run, 1, first[p], state[p], new[p], logits[p]) for p in parts[1:]]
        self._run(1, first[parts[0]], state[parts[0]], new[parts[0]], logits[parts[0]])
        for job in jobs:
            job.result()
        return logits, new

    def read(self, ids: npt.NDArray[np.integer], state: Array) -> Array:
        for start in range(0, len(ids), _STRETCH):
            part = ids[start : start + _STRETCH]
            new = np.empty_like(state)
            self._run(len(part), self._gates(part), state, new, None)
            state = new
        return state

    def logits_of(self, ids: npt.NDArray[np.integer], state: Array) -> tuple[Array, Array]:
        outputs, new = np.empty((len(ids), self._shape[2]), dtype=np.float32), np.array(state)
        if len(ids):
            self._run(len(ids), self._gates(ids), state, new, None, outputs)
        weight, bias = self._output
        return outputs @ weight.T + bias, new

    def repeat(self, state: Array, batch: int) -> Array:
        return np.repeat(state, batch, axis=0)

    def select(self, state: Array, rows: Sequence[int]) -> Array:
        return state[np.asarray(rows, dtype=np.intp)]

    def export_state(self, state: Array, row: int) -> Array:
        return state[row].copy()

    def import_state(self, cells: Array) -> Array:
        return np.array(cells, dtype=np.float32)[None]

    def _gates(self, ids: npt.NDArray[np.integer]) -> Array:
        """The first layer's share of the gates, a row an id."""
        if self._table is not None:
            return self._table.take(ids, axis=0)
        return np.concatenate([self._rows(self._embedding[[token]]) for token in ids])

    def _rows(self, embedded: Array) -> Array:
        weight, bias = self._first
        return np.ascontiguousarray(embedded @ weight + bias, dtype=np.float32)

    def _run(
        self, steps: int, first: Array, old: Array, new: Array, logits: Array | None, outputs: Array | None = None
    ) -> None:
        failed = self._run_kernel(
            self._where, steps, len(old), pointer_to(first), pointer_to(old), pointer_to(new),
            None if logits is None else pointer_to(logits), None if outputs is None else pointer_to(outputs),
        )  # fmt: skip
        if failed:
            raise MemoryError("there is no memory for another step")

    def _keep(self, array: npt.NDArray) -> int:
        """Where an array lies, which it does as long as the engine lives."""
        self._kept.append(np.ascontiguousarray(array))
        return self._kept[-1].ctypes.data

    def _matrix(self, weight: Array) -> _Matrix:
        """`weight`, shape (rows, columns), as the kernels have it."""
        rows, columns = weight.shape
        tall = -(-rows // _ROWS) * _ROWS
        if not self.quantized:
            padded = np.zeros((tall, columns), dtype=np.float32)
            padded[:rows] = weight
            return _Matrix(tall, columns, self._keep(padded.reshape(-1, _ROWS, columns).transpose(0, 2, 1)), None, None)
        wide = -(-columns // 4) * 4
        scales = np.zeros(tall, dtype=np.float32)
        scales[:rows] = np.maximum(weight.max(axis=1), -weight.min(axis=1)) / 127
        numbers = np.zeros((tall, wide), dtype=np.int8)
        rounded = weight / np.where(scales[:rows] > 0, scales[:rows], 1)[:, None]
        numbers[:rows, :columns] = np.rint(rounded, out=rounded)
        blocks = numbers.view(np.int32).reshape(-1, _ROWS, wide // 4).transpose(0, 2, 1)  # four columns together
        sums = numbers.sum(axis=1, dtype=np.int32)
        return _Matrix(tall, wide, self._keep(blocks), self._keep(scales), self._keep(sums))
