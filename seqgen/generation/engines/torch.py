"""The torch engine: the network itself, for GPUs, for batches, and to check the CPU engine.

Streams are computed in blocks of a fixed number of rows, the last one padded with idle rows. The rounding of a matrix
product depends on its shape, so only equal shapes give a stream the same numbers alone and in a batch of a hundred. On
CUDA a step is captured once as a graph and replayed, because launching a dozen kernels singly takes longer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.config import NetworkConfig
from seqgen.errors import UserError
from seqgen.generation.engines.base import Engine
from seqgen.generation.sampling.device_draw import DeviceSampler, device_filters
from seqgen.generation.sampling.filters import FilterChain
from seqgen.model.batch_invariant import batch_invariant, rows_of_block
from seqgen.model.generative import build_language_model
from seqgen.model.language import LanguageModel, LayerStates
from seqgen.model.recurrent.cudnn import allow_tf32

BLOCK = 16  # rows of a product; more would waste work on single streams, fewer would waste the processor on many
_DEVICE_BLOCK = 256  # on devices where more rows cost nothing
_SAMPLES_ON = ("cuda",)  # devices that draw ids themselves
_CHUNK = 1024  # ids read at a time
_MAX_LOGITS = 1 << 21  # numbers at a time
_DEVICE_LOGITS = 1 << 26  # on devices that need large products

StepResult = tuple[Tensor, LayerStates]
Step = Callable[[Tensor, LayerStates], StepResult]  # ids, shape (rows,), and a block → logits and the new block
Capture = Callable[[Callable[[], StepResult]], tuple[Callable[[], object], StepResult]]
TorchState = tuple[int, list[LayerStates]]  # streams in use, and blocks of equally many rows


def load_network(config: NetworkConfig, weights: Mapping[str, npt.NDArray[np.float32]]) -> LanguageModel:
    """A network with these weights, on the CPU, in evaluation mode."""
    network = build_language_model(config)
    network.load_state_dict({name: torch.from_numpy(np.array(weight)) for name, weight in weights.items()})
    return network.eval()


class TorchEngine(Engine):
    """An `Engine` that computes blocks of streams with the torch network."""

    _advance: Step

    def __init__(
        self,
        config: NetworkConfig,
        weights: Mapping[str, npt.NDArray[np.float32]],
        device: str = "cpu",
        precision: str = "fp32",
    ) -> None:
        """
        Args:
            precision: dtype of the products, `fp32` or `bf16`; sums and states stay float32. On a GPU, the recurrent
                layers' products of `bf16` are in TF32 (`model.recurrent.cudnn`).

        Raises:
            UserError: the device isn't available.
        """
        available: dict[str, Callable[[], bool]] = {
            "cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available,
        }  # fmt: skip
        if device in available and not available[device]():
            raise UserError(f"--device {device} is not available on this machine or in this build of PyTorch")
        self._use(load_network(config, weights).to(torch.device(device)), precision)
        if device == "cuda":
            allow_tf32(precision == "bf16")
            with contextlib.suppress(RuntimeError):  # a step that can't be captured is computed anew each time
                self._advance = ReplayedStep(self._forward, self._network.initial(self._rows), capture_cuda_graph)

    @classmethod
    def of(cls, network: LanguageModel) -> TorchEngine:
        """An engine for scoring with a network, on its own device and without a copy of its weights."""
        engine = object.__new__(cls)
        engine._use(network, "fp32")
        return engine

    def _use(self, network: LanguageModel, precision: str) -> None:
        config, self._device = network.config, network.embedding.device
        self._network = network
        self._dtype = torch.bfloat16 if precision == "bf16" else None
        self.vocab_size = config.vocab_size
        self.arithmetic = f"torch {precision} on {self._device.type}"
        if self._device.type == "cpu":
            # The sigmoid takes 32 numbers at a time, and the remainder otherwise: a block is a multiple of that.
            whole = (BLOCK * config.rnn_size) % 32 == 0
            self._rows = BLOCK if whole and _rows_are_alike(network) else 1
        else:
            self._rows = _DEVICE_BLOCK
        self.batch_size = 4 * max(self._rows, BLOCK)
        self._advance = self._forward

    def initial(self, batch: int) -> TorchState:
        return batch, [self._network.initial(self._rows) for _ in range(-(-batch // self._rows))]

    def step(self, ids: npt.NDArray[np.integer], state: TorchState) -> tuple[npt.NDArray[np.float32], TorchState]:
        logits, state = self._step(ids, state)
        return logits.cpu().numpy(), state

    def device_sampling(self, filters: FilterChain, streams: int) -> tuple[Any, Any] | None:
        # MPS has no float64.
        on_device = device_filters(filters) if self._device.type in _SAMPLES_ON else None
        if on_device is None:
            return None
        return self._step, DeviceSampler(filters, on_device, self.vocab_size, streams)

    def _step(self, ids: npt.NDArray[np.integer], state: TorchState) -> tuple[Tensor, TorchState]:
        batch, blocks = state
        logits, new = [], []
        with torch.inference_mode():
            for number, block in enumerate(blocks):
                values, block = self._advance(self._block(ids, number), block)
                logits.append(values)
                new.append(block)
            return torch.cat(logits)[:batch], (batch, new)

    def read(self, ids: npt.NDArray[np.integer], state: TorchState) -> TorchState:
        batch, (block,) = state
        if not len(ids):
            return state
        # A GPU has no whole blocks to fill, and would need gigabytes for the idle rows of a long prompt.
        rows = self._rows if self._device.type == "cpu" else 1
        with torch.inference_mode():
            block = _each(block, lambda tensor: tensor[:rows].contiguous())
            for start in range(0, len(ids), _CHUNK):
                chunk = self._tensor(ids[start : start + _CHUNK])
                _, block = self._network(chunk[:, None].expand(-1, rows), block, dtype=self._dtype)
        return (batch, [block]) if rows == self._rows else self.repeat((batch, [block]), batch)

    def outputs(self, state: TorchState) -> npt.NDArray[np.float32]:
        return self._streams(state)[-1][0].float().cpu().numpy()

    def outputs_of(self, ids: npt.NDArray[np.integer], state: TorchState) -> tuple[npt.NDArray[np.float32], TorchState]:
        if not len(ids):
            return np.empty((0, self._network.config.rnn_size), dtype=np.float32), state
        with torch.inference_mode():
            hidden, new = self._hidden(ids, state)
            return hidden.float().cpu().numpy(), new

    def logits_from(self, outputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            hidden = torch.from_numpy(outputs).to(self._device, self._dtype or torch.float32)
            return self._network.logits(hidden).cpu().numpy()

    def nats_of(
        self,
        ids: npt.NDArray[np.integer],
        targets: npt.NDArray[np.integer],
        state: TorchState,
        possible: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[npt.NDArray[np.float64], TorchState]:
        """See `Engine`. The logits stay on the device."""
        if not len(ids):
            return np.empty(0), state
        with torch.inference_mode():
            hidden, new = self._hidden(ids, state)
            logits = self._network.logits(hidden)
            if possible is not None:
                logits = logits.masked_fill(~torch.from_numpy(possible).to(self._device), -torch.inf)
            nats = F.cross_entropy(logits, self._tensor(targets), reduction="none")
            return nats.cpu().double().numpy(), new

    def _hidden(self, ids: npt.NDArray[np.integer], state: TorchState) -> tuple[Tensor, TorchState]:
        """The top layer's outputs after each id of one stream, and the new state."""
        _, (block,) = state
        one = _each(block, lambda tensor: tensor[:1].contiguous())
        hidden, one = self._network(self._tensor(ids)[:, None], one, dtype=self._dtype)
        return hidden[:, 0], self.repeat((1, [one]), 1)

    def nats_of_lanes(
        self,
        ids: npt.NDArray[np.integer],
        targets: npt.NDArray[np.integer],
        lengths: npt.NDArray[np.integer],
        state: TorchState,
        possible: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[npt.NDArray[np.float64], TorchState]:
        """See `Engine`. The logits stay on the device. On the CPU they don't depend on the other streams, but for one
        stream alone, which is faster without that guarantee."""
        if len(lengths) == 1:
            some = None if possible is None else possible[:, 0]
            alone, state = self.nats_of(ids[:, 0], targets[:, 0], state, some)
            return alone[:, None], state
        inside = np.arange(len(ids))[:, None] < lengths
        nats = np.zeros(ids.shape)
        with torch.inference_mode(), batch_invariant():
            states, outputs, over = self._streams(state), [], []
            step, active = 0, len(lengths)
            while active:  # until the shortest of the streams that are left ends
                until = int(lengths[active - 1])
                hidden, states = self._network(self._tensor(ids[step:until, :active]), states, dtype=self._dtype)
                outputs.append(hidden.flatten(0, 1))
                step, remaining = until, int((lengths > until).sum())
                over.append(_each(states, partial(torch.narrow, dim=0, start=remaining, length=active - remaining)))
                states = _each(states, partial(torch.narrow, dim=0, start=0, length=remaining))
                active = remaining
            hidden, wanted = torch.cat(outputs), self._tensor(targets[inside])
            mask = None if possible is None else torch.from_numpy(possible[inside]).to(self._device)
            found = []
            most = _MAX_LOGITS if self._device.type == "cpu" else _DEVICE_LOGITS
            rows = max(1, most // self.vocab_size)
            for start in range(0, len(hidden), rows):
                part = slice(start, start + rows)
                logits = self._network.logits(hidden[part])
                if mask is not None:
                    logits = logits.masked_fill(~mask[part], -torch.inf)
                found.append(F.cross_entropy(logits, wanted[part], reduction="none"))
            nats[inside] = torch.cat(found).cpu().double().numpy()
            return nats, self._in_blocks(_cat(over[::-1]))

    def join(self, states: Sequence[TorchState]) -> TorchState:
        return self._in_blocks(_cat([self._streams(state) for state in states]))

    def _streams(self, state: TorchState) -> LayerStates:
        """The states of the streams in use, one row each."""
        batch, blocks = state
        return _each(_cat(blocks), lambda tensor: tensor[:batch])

    def _in_blocks(self, streams: LayerStates) -> TorchState:
        batch = len(streams[0][0])
        missing = -batch % self._rows
        padded = [F.pad(tensor, (0, 0, 0, missing)) if missing else tensor for tensor in _flat(streams)]
        parts = zip(*(torch.split(tensor, self._rows) for tensor in padded), strict=True)
        return batch, [_shaped(part, streams) for part in parts]

    def repeat(self, state: TorchState, batch: int) -> TorchState:
        _, (block,) = state
        same = _each(block, lambda tensor: tensor[:1].expand(self._rows, -1).contiguous())
        return batch, [same] * -(-batch // self._rows)

    def select(self, state: TorchState, rows: Sequence[int]) -> TorchState:
        chosen = torch.tensor(rows, device=self._device)
        return self._in_blocks(_each(_cat(state[1]), lambda tensor: tensor.index_select(0, chosen)))

    def export_state(self, state: TorchState, row: int) -> npt.NDArray[np.float32]:
        block, index = state[1][row // self._rows], row % self._rows
        return np.array([[tensor[index].float().cpu().numpy() for tensor in layer] for layer in block])

    def import_state(self, cells: npt.NDArray[np.float32]) -> TorchState:
        given = tuple(tuple(torch.tensor(part[None], device=self._device) for part in layer) for layer in cells)
        return self.repeat((1, [given]), 1)

    def _forward(self, ids: Tensor, block: LayerStates) -> StepResult:
        hidden, block = self._network(ids[None], block, dtype=self._dtype)
        return self._network.logits(hidden[0]), block

    def _tensor(self, ids: npt.NDArray[np.integer]) -> Tensor:
        return torch.as_tensor(np.asarray(ids, dtype=np.int64), device=self._device)

    def _block(self, ids: npt.NDArray[np.integer], number: int) -> Tensor:
        rows = np.zeros(self._rows, dtype=np.int64)
        part = ids[number * self._rows : (number + 1) * self._rows]
        rows[: len(part)] = part
        return self._tensor(rows)


class ReplayedStep:
    """A step of a block in fixed buffers, as a captured graph needs it.

    `capture` runs a function once, and returns a function that replays it and the tensors that then hold the results.
    """

    def __init__(self, step: Step, initial: LayerStates, capture: Capture) -> None:
        first = initial[0][0]
        self._ids = torch.zeros(len(first), dtype=torch.int64, device=first.device)
        self._block = _each(initial, torch.clone)
        with torch.inference_mode():
            self._replay, (self._logits, self._new) = capture(lambda: step(self._ids, self._block))

    def __call__(self, ids: Tensor, block: LayerStates) -> StepResult:
        self._ids.copy_(ids)
        for buffer, tensor in zip(_flat(self._block), _flat(block), strict=True):
            buffer.copy_(tensor)
        self._replay()
        return self._logits.clone(), _each(self._new, torch.clone)


def capture_cuda_graph(step: Callable[[], StepResult]) -> tuple[Callable[[], object], StepResult]:
    """Capture a step as a CUDA graph (see `ReplayedStep`), after some runs in which every library initialises."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = step()
    return graph.replay, results


def _rows_are_alike(network: LanguageModel) -> bool:
    """Whether the rows of a block have the same results at every index."""
    weights = [weight for weight in network.parameters() if weight.dim() == 2]
    # Of narrow products too few numbers are measured to be sure.
    return all(
        min(weight.shape) >= BLOCK and rows_of_block(*weight.shape, weight.dtype, (BLOCK,)) == BLOCK
        for weight in weights
    )


def _cat(blocks: Sequence[LayerStates]) -> LayerStates:
    """The rows of all blocks as one."""
    return _shaped([torch.cat(tensors) for tensors in zip(*map(_flat, blocks), strict=True)], blocks[0])


def _each(block: LayerStates, change: Callable[[Tensor], Tensor]) -> LayerStates:
    return tuple(tuple(change(tensor) for tensor in layer) for layer in block)


def _flat(block: LayerStates) -> list[Tensor]:
    return [tensor for layer in block for tensor in layer]


def _shaped(tensors: Sequence[Tensor], like: LayerStates) -> LayerStates:
    """A flat sequence of tensors in the shape of `like`."""
    remaining = iter(tensors)
    return _each(like, lambda _: next(remaining))
