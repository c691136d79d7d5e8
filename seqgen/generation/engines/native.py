"""The CPU engine by compiled kernels: a whole step in one call (`native/stack.c`).

With `quantized`, weights are 8-bit integers with a scale for each row, and activations are rounded to 8 bits before
products. A step then reads a quarter of the memory, which is what limits a single stream, and its logits have the same
bits on every processor. `quantization_cost` measures the loss in accuracy at the end of training.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

import numpy as np
import numpy.typing as npt

from seqgen.config import NetworkConfig
from seqgen.generation.engines.base import Engine, KernelDraw, output_matrix
from seqgen.generation.recurrent.row_products import RowProduct
from seqgen.generation.sampling.filters import log_softmax, target_nats
from seqgen.native import library, pointer_to
from seqgen.processors import Threads, process_core_count
from seqgen.specs.cells import CELLS

Array = npt.NDArray[np.float32]

_BLOCK_ROWS = 64  # rows of a block of weights in the kernels
_MIN_STREAMS = 16  # for each thread
_MIN_LANES = 8  # the same where streams are read for many steps
_STREAM_BATCH = 32  # as in the kernels
_TEAM_BYTES = 3 << 19  # of a product's weights, as in the kernels: about what the cache of one core holds
_MAX_GATES = 1 << 18  # numbers of the first layer's gates in one call, which stay in the cache
_MAX_LOGITS = 1 << 18  # numbers at a time, so that they stay in the cache
_MIN_ROWS = 48  # of logits: as many as the kernel multiplies with a panel of weights at once
_CHUNK = 256  # ids read in one call
_MAX_TABLE = 1 << 25  # numbers (128 MiB) of a first-layer table; beyond, its rows are computed each time


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


class _Team(ctypes.Structure):
    _fields_ = [
        ("busy", ctypes.c_int),
        ("present", ctypes.c_int),
        ("run", ctypes.c_void_p),
        ("job", ctypes.c_void_p),
        ("blocks", ctypes.c_uint64),
        ("done", ctypes.c_long),
    ]


class _Stack(ctypes.Structure):
    _fields_ = [
        ("units", ctypes.c_long),
        ("layers", ctypes.c_long),
        ("cell", ctypes.c_long),
        ("stack", ctypes.POINTER(_Layer)),
        ("output", _Matrix),
        ("output_bias", ctypes.c_void_p),
        ("vocabulary", ctypes.c_long),
        ("team", ctypes.POINTER(_Team)),
    ]


def quantization_cost(
    config: NetworkConfig,
    weights: Mapping[str, Array],
    ids: npt.NDArray[np.integer],
    given: npt.NDArray[np.bool_] | None = None,
) -> float | None:
    """Bits per token by which 8-bit rounding raises the cross-entropy of consecutive `ids`.

    At most 16,384 of them are read, in 64 streams. None if there are too few, or no kernels.

    Args:
        given: ids that aren't predicted, shape (tokens,).
    """
    streams = 64
    length = min(256, (len(ids) - 1) // streams)
    if length < 2 or library() is None or CELLS[config.cell].native_id is None:
        return None
    pieces = np.asarray(ids[: streams * length + 1], dtype=np.int64)
    inputs, targets = pieces[:-1].reshape(streams, length), pieces[1:].reshape(streams, length)
    rows = np.arange(streams)
    counted = np.ones(targets.shape, dtype=bool)
    if given is not None:
        counted = ~given[1 : streams * length + 1].reshape(streams, length)
    nats = []
    for quantized in (False, True):
        engine = NativeEngine(config, weights, quantized)
        state, total = engine.initial(streams), 0.0
        for t in range(length):
            logits, state = engine.step(inputs[:, t], state)
            total -= float(log_softmax(logits.astype(np.float64))[rows, targets[:, t]][counted[:, t]].sum())
        nats.append(total)
    return (nats[1] - nats[0]) / max(1, int(counted.sum())) / math.log(2)


class NativeEngine(Engine):
    """An `Engine` whose state is an array of shape (streams, layers, tensors of the cell, units)."""

    batch_size = 256

    def __init__(self, config: NetworkConfig, weights: Mapping[str, Array], quantized: bool = False) -> None:
        kernels = library()
        variant = CELLS[config.cell].native_variant(config.activation)
        assert kernels is not None and variant is not None, "ask for the library and the cell's kernel before"
        self.vocab_size = config.vocab_size
        self.quantized = quantized
        self.arithmetic = "8 bits" if quantized else "float32"
        self._run_kernel, self._exact_kernel = kernels.seqgen_stack_run, kernels.seqgen_exact_product
        self._generate_kernel = kernels.seqgen_generate
        self._help_kernel = kernels.seqgen_help
        self._kept: list[npt.NDArray] = []  # memory that the kernels point to
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
        output = output_matrix(weights, self._exact_product)
        self._output = output, weights["output_bias"]
        self._output_product: RowProduct | None = None  # of many rows at once
        self._stack = (_Layer * config.num_layers)(*layers)
        self._team = _Team()
        self._native = _Stack(
            config.rnn_size,
            config.num_layers,
            variant,
            self._stack,
            self._matrix(output),
            self._keep(weights["output_bias"]),
            config.vocab_size,
            ctypes.pointer(self._team),
        )
        self._pointer = ctypes.byref(self._native)
        self._shape = (config.num_layers, CELLS[config.cell].states, config.rnn_size)
        self._embedding = weights["embedding"]
        self._first = np.ascontiguousarray(weights["layers.0.input_weight"].T), weights["layers.0.bias"]
        self._table: Array | None = None  # rows of the first layer's gates, computed when an id first occurs
        self._in_table = np.zeros(config.vocab_size, dtype=bool)
        self._width = CELLS[config.cell].gates * config.rnn_size
        if config.vocab_size * self._width <= _MAX_TABLE:
            self._table = np.empty((config.vocab_size, self._width), dtype=np.float32)
        self.generates = self._table is not None
        self._threads = process_core_count()
        self._pool = Threads(self._threads)
        self._second: Future[None] | None = None  # the thread that helps with single steps
        numbers = config.rnn_size * max(self._width, config.vocab_size)
        self._has_large_products = numbers * (1 if quantized else 4) >= _TEAM_BYTES

    def initial(self, batch: int) -> Array:
        return np.zeros((batch, *self._shape), dtype=np.float32)

    def step(self, ids: npt.NDArray[np.integer], state: Array) -> tuple[Array, Array]:
        streams = len(ids)
        new, logits = np.empty_like(state), np.empty((streams, self.vocab_size), dtype=np.float32)
        first = self._gates(ids)
        parts = self._stream_parts(streams)
        if len(parts) == 1:
            self._call_second_thread()
        self._in_threads(lambda part: self._run(1, first[part], state[part], new[part], logits[part]), parts)
        return logits, new

    def generate(
        self, ids: npt.NDArray[np.integer], state: Array, draw: KernelDraw, numbers: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64], npt.NDArray[np.intp], Array]:
        streams, steps = numbers.shape[:2]
        tokens = np.empty((steps + 1, streams), dtype=np.int32)
        tokens[0] = ids
        log_probs, made, new = np.empty((steps, streams)), np.empty(streams, dtype=np.intp), np.empty_like(state)
        parts = self._stream_parts(streams)
        if len(parts) == 1:
            self._call_second_thread()

        def run(part: slice) -> None:
            drawn, logs = np.ascontiguousarray(tokens[:, part]), np.empty((steps, part.stop - part.start))
            made[part] = self._generate_part(part.start, drawn, logs, draw, numbers[part], state[part], new[part])
            tokens[:, part], log_probs[:, part] = drawn, logs

        self._in_threads(run, parts)
        return tokens[1:], log_probs, made, new

    def _generate_part(
        self, first: int, tokens: npt.NDArray[np.int32], log_probs: npt.NDArray[np.float64], draw: KernelDraw,
        numbers: npt.NDArray[np.float64], old: Array, new: Array,
    ) -> int:  # fmt: skip
        """Fill in `log_probs` and the rows of `tokens` after the first, for streams from number `first` on. Returns the
        number of steps made."""
        assert self._table is not None
        steps, streams = log_probs.shape
        skipped = first * ctypes.sizeof(ctypes.c_void_p)
        pointers = [ctypes.addressof(each) + skipped for each in (draw.filters, draw.streams, draw.constraints)]
        at = 0
        while at < steps:
            self._fill_table(tokens[at])
            done = self._generate_kernel(
                self._pointer, *pointers, steps - at, streams, pointer_to(self._table),
                pointer_to(self._in_table), numbers.ctypes.data + at * 2 * numbers.itemsize,
                steps, pointer_to(tokens[at:]), pointer_to(log_probs[at:]), pointer_to(old), pointer_to(new),
            )  # fmt: skip
            if done < 0:
                raise MemoryError("there is no memory for another step")
            if not done:  # a constraint waits
                break
            at, old = at + done, new
        return at

    def _stream_parts(self, streams: int) -> list[slice]:
        """The streams of each thread."""
        if streams < 2 * _MIN_STREAMS or self._threads == 1:
            return [slice(0, streams)]
        return _parts(streams, -(-streams // min(self._threads, streams // _MIN_STREAMS)))

    def _call_second_thread(self) -> None:
        """Let a thread take a part of each large product, until there has been none for a millisecond."""
        if not self._has_large_products or self._threads == 1:
            return
        self._forget_threads_of_parent()
        if not self._team.present and (self._second is None or self._second.done()):
            self._second = self._pool.pool().submit(self._help_kernel, ctypes.byref(self._team))

    def _forget_threads_of_parent(self) -> None:
        """A forked process would wait for the thread that helped its parent."""
        if self._pool.is_inherited():
            self._second = None
            ctypes.memset(ctypes.byref(self._team), 0, ctypes.sizeof(self._team))

    def _in_threads(self, run: Callable[[slice], None], parts: Sequence[slice]) -> None:
        """Call `run` with each of the parts, which it handles independently."""
        if len(parts) == 1 or self._threads == 1:
            _one_by_one(run, parts)
            return
        self._forget_threads_of_parent()
        workers = self._pool.pool()
        jobs = [workers.submit(run, part) for part in parts[1:]]
        run(parts[0])
        for job in jobs:
            job.result()

    def read(self, ids: npt.NDArray[np.integer], state: Array) -> Array:
        for start in range(0, len(ids), _CHUNK):
            part = ids[start : start + _CHUNK]
            new = np.empty_like(state)
            self._call_second_thread()
            self._run(len(part), self._gates(part), state, new, None)
            state = new
        return state

    def outputs(self, state: Array) -> Array:
        return state[:, -1, 0]

    def outputs_of(self, ids: npt.NDArray[np.integer], state: Array) -> tuple[Array, Array]:
        outputs, new = np.empty((len(ids), self._shape[2]), dtype=np.float32), np.array(state)
        if len(ids):
            self._call_second_thread()
            self._run(len(ids), self._gates(ids), state, new, None, outputs)
        return outputs, new

    def nats_of(
        self,
        ids: npt.NDArray[np.integer],
        targets: npt.NDArray[np.integer],
        state: Array,
        possible: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[npt.NDArray[np.float64], Array]:
        """See `Engine`."""
        if not len(ids):
            return np.empty(0), state
        self._call_second_thread()
        return self._lane_nats(ids, targets, np.array([len(ids)]), state, possible, self._in_threads)

    def nats_of_lanes(
        self,
        ids: npt.NDArray[np.integer],
        targets: npt.NDArray[np.integer],
        lengths: npt.NDArray[np.integer],
        state: Array,
        possible: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[npt.NDArray[np.float64], Array]:
        """See `Engine`. A stream's numbers depend neither on the others nor on the cuts between calls."""
        nats, new = np.zeros(ids.shape), np.empty_like(state)

        def run(part: slice) -> None:
            inside = np.arange(len(ids))[:, None] < lengths[part]
            mask = None if possible is None else possible[:, part][inside]
            nats[:, part][inside], new[part] = self._lane_nats(
                ids[:, part][inside], targets[:, part][inside], lengths[part], state[part], mask, _one_by_one
            )

        streams = len(lengths)
        count = max(-(-streams // _STREAM_BATCH), min(self._threads, streams // _MIN_LANES), 1)
        self._in_threads(run, _parts(streams, -(-streams // count)))
        return nats, new

    def _lane_nats(
        self,
        ids: npt.NDArray[np.integer],
        targets: npt.NDArray[np.integer],
        lengths: npt.NDArray[np.integer],
        state: Array,
        possible: npt.NDArray[np.bool_] | None,
        run_parts: Callable[[Callable[[slice], None], Sequence[slice]], None],
    ) -> tuple[npt.NDArray[np.float64], Array]:
        """`nats_of_lanes` without the padding: `ids` are all those of the first step, then those of the second …

        `run_parts` calls a function with each of some slices.
        """
        outputs, new = np.empty((len(ids), self._shape[2]), dtype=np.float32), np.array(state)
        active = (np.arange(int(lengths[0]))[:, None] < lengths).sum(axis=1)  # streams of each step, descending
        ends = np.cumsum(active)
        step = 0
        while step < len(active):
            streams = int(active[step])
            steps = max(1, min(int(lengths[streams - 1]) - step, _MAX_GATES // (streams * self._width)))
            part = slice(int(ends[step]) - streams, int(ends[step + steps - 1]))
            self._run(steps, self._gates(ids[part]), new[:streams], new[:streams], None, outputs[part])
            step += steps
        nats = np.empty(len(ids))

        def score(part: slice) -> None:
            logits = self.logits_from(outputs[part])
            if possible is not None:
                logits[~possible[part]] = -np.inf
            nats[part] = target_nats(logits, targets[part])

        run_parts(score, _parts(len(ids), max(_MIN_ROWS, _MAX_LOGITS // self.vocab_size)))
        return nats, new

    def logits_from(self, outputs: Array) -> Array:
        """See `Engine`. A row doesn't depend on the others."""
        if self._output_product is None:
            self._output_product = RowProduct(*self._output)
        return self._output_product(outputs)

    def join(self, states: Sequence[Array]) -> Array:
        return np.concatenate(states)

    def repeat(self, state: Array, batch: int) -> Array:
        return np.repeat(state, batch, axis=0)

    def select(self, state: Array, rows: Sequence[int]) -> Array:
        return state[np.asarray(rows, dtype=np.intp)]

    def export_state(self, state: Array, row: int) -> Array:
        return state[row].copy()

    def import_state(self, cells: Array) -> Array:
        return np.array(cells, dtype=np.float32)[None]

    def _gates(self, ids: npt.NDArray[np.integer]) -> Array:
        """The input's terms of the first layer's gates, one row for each id."""
        if self._table is None:
            used, rows = np.unique(ids, return_inverse=True)
            gates = self._exact_product(self._embedding[used], *self._first)
            return gates[rows]
        self._fill_table(ids)
        return self._table.take(ids, axis=0)

    def _fill_table(self, ids: npt.NDArray[np.integer]) -> None:
        if self._table is not None and not self._in_table.take(ids).all():
            new = np.unique(np.asarray(ids)[~self._in_table[ids]])
            self._table[new] = self._exact_product(self._embedding[new], *self._first)
            self._in_table[new] = True

    def _exact_product(self, a: Array, weight: Array, bias: Array | None = None) -> Array:
        """`a @ weight + bias`, in double precision and a fixed order, so that every processor gives the same bits."""
        a, weight = np.ascontiguousarray(a), np.ascontiguousarray(weight)
        result = np.empty((len(a), weight.shape[1]), dtype=np.float32)
        self._exact_kernel(
            pointer_to(a), pointer_to(weight), None if bias is None else pointer_to(bias), *a.shape, weight.shape[1],
            pointer_to(result),
        )  # fmt: skip
        return result

    def _run(
        self, steps: int, first: Array, old: Array, new: Array, logits: Array | None, outputs: Array | None = None
    ) -> None:
        failed = self._run_kernel(
            self._pointer, steps, len(old), pointer_to(first), pointer_to(old), pointer_to(new),
            None if logits is None else pointer_to(logits), None if outputs is None else pointer_to(outputs),
        )  # fmt: skip
        if failed:
            raise MemoryError("there is no memory for another step")

    def _keep(self, array: npt.NDArray) -> int:
        """The address of an array, which stays valid as long as the engine lives."""
        self._kept.append(np.ascontiguousarray(array))
        return self._kept[-1].ctypes.data

    def _matrix(self, weight: Array) -> _Matrix:
        """`weight`, shape (rows, columns), in the layout of the kernels."""
        rows, columns = weight.shape
        tall = -(-rows // _BLOCK_ROWS) * _BLOCK_ROWS
        if not self.quantized:
            padded = np.zeros((tall, columns), dtype=np.float32)
            padded[:rows] = weight
            return _Matrix(
                tall, columns, self._keep(padded.reshape(-1, _BLOCK_ROWS, columns).transpose(0, 2, 1)), None, None
            )
        wide = -(-columns // 4) * 4
        scales = np.zeros(tall, dtype=np.float32)
        scales[:rows] = np.maximum(weight.max(axis=1), -weight.min(axis=1)) / 127
        numbers = np.zeros((tall, wide), dtype=np.int8)
        rounded = weight / np.where(scales[:rows] > 0, scales[:rows], 1)[:, None]
        numbers[:rows, :columns] = np.rint(rounded, out=rounded)
        blocks = numbers.view(np.int32).reshape(-1, _BLOCK_ROWS, wide // 4).transpose(0, 2, 1)  # four columns to a word
        sums = numbers.sum(axis=1, dtype=np.int32)
        return _Matrix(tall, wide, self._keep(blocks), self._keep(scales), self._keep(sums))


def _parts(count: int, size: int) -> list[slice]:
    """Slices of `size` out of `count`, the last one possibly shorter."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _one_by_one(run: Callable[[slice], None], parts: Sequence[slice]) -> None:
    for part in parts:
        run(part)
