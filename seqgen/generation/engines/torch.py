"""The torch engine: the network itself, stepped. For GPUs, for batches, and to check the light engine against.

Streams are computed in blocks of a fixed number of rows, the last one filled up with idle rows: a matrix product's
rounding depends on its shape, so only equal shapes give a stream the same numbers alone and among a hundred. On CUDA a
step is recorded once and replayed: a graph of some dozen kernels starts as fast as one of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqgen.config import NetworkConfig
from seqgen.errors import UserError
from seqgen.model.generative import build_language_model
from seqgen.model.language import LanguageModel, LayerStates

BLOCK = 16  # rows of a product; more would waste work on single streams, fewer would waste the processor on many
_WIDE_BLOCK = 64  # where more rows cost nothing
_PIECE = 1024  # ids that are read at a time

Step = Callable[
    [Tensor, LayerStates], tuple[Tensor, LayerStates]
]  # ids, shape (rows,), and a block → logits and the new block
StepResult = tuple[Tensor, LayerStates]
Capture = Callable[[Callable[[], StepResult]], tuple[Callable[[], object], StepResult]]


def load_network(config: NetworkConfig, weights: Mapping[str, npt.NDArray[np.float32]]) -> LanguageModel:
    """A network with these weights, on the processor, ready for evaluation."""
    network = build_language_model(config)
    network.load_state_dict({name: torch.from_numpy(np.array(weight)) for name, weight in weights.items()})
    return network.eval()


class TorchEngine:
    """See `engine.Engine`. A state is a list of blocks of equally many streams, and the number of streams in use."""

    def __init__(
        self,
        config: NetworkConfig,
        weights: Mapping[str, npt.NDArray[np.float32]],
        device: str = "cpu",
        precision: str = "fp32",
    ) -> None:
        """`precision`: of the products, `fp32` or `bf16`; sums and states stay float32. Raises `UserError` for a device
        that there is not."""
        self.vocab_size = config.vocab_size
        self.arithmetic = f"torch {precision} on {device}"
        there: dict[str, Callable[[], bool]] = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
        if device in there and not there[device]():
            raise UserError(f"--device {device}: this machine, or this build of PyTorch, has none")
        self._device = torch.device(device)
        self._kind = torch.bfloat16 if precision == "bf16" else None
        self._network = load_network(config, weights).to(self._device)
        if device == "cpu":
            # Narrow products go through kernels that treat the rows of a block unlike: each stream is its own block.
            narrow = min(config.rnn_size, config.embedding_size, config.vocab_size) < BLOCK
            # The sigmoid takes 32 numbers at a time and what is left over otherwise: a block is a multiple of that.
            self._rows = 1 if narrow or (BLOCK * config.rnn_size) % 32 else BLOCK
        else:
            self._rows = _WIDE_BLOCK
        self.batch_size = 4 * max(self._rows, BLOCK)
        self._advance: Step = self._forward
        if device == "cuda":
            with contextlib.suppress(RuntimeError):  # what can't be recorded is computed anew each time
                self._advance = ReplayedStep(self._forward, self._network.initial(self._rows), capture_cuda_graph)

    def initial(self, batch: int) -> tuple[int, list[LayerStates]]:
        return batch, [self._network.initial(self._rows) for _ in range(-(-batch // self._rows))]

    def step(
        self, ids: npt.NDArray[np.integer], state: tuple[int, list[LayerStates]]
    ) -> tuple[npt.NDArray[np.float32], tuple[int, list[LayerStates]]]:
        batch, blocks = state
        logits, new = [], []
        with torch.inference_mode():
            for number, block in enumerate(blocks):
                values, block = self._advance(self._block(ids, number), block)
                logits.append(values.cpu().numpy())
                new.append(block)
        return np.concatenate(logits)[:batch], (batch, new)

    def read(self, ids: npt.NDArray[np.integer], state: tuple[int, list[LayerStates]]) -> tuple[int, list[LayerStates]]:
        batch, (block,) = state
        with torch.inference_mode():
            for start in range(0, len(ids), _PIECE):
                piece = self._tensor(ids[start : start + _PIECE])
                _, block = self._network(piece[:, None].expand(-1, self._rows), block, dtype=self._kind)
        return batch, [block]

    def logits_of(
        self, ids: npt.NDArray[np.integer], state: tuple[int, list[LayerStates]]
    ) -> tuple[npt.NDArray[np.float32], tuple[int, list[LayerStates]]]:
        _, (block,) = state
        if not len(ids):
            return np.empty((0, self.vocab_size), dtype=np.float32), state
        with torch.inference_mode():
            one = _each(block, lambda tensor: tensor[:1].contiguous())
            hidden, one = self._network(self._tensor(ids)[:, None], one, dtype=self._kind)
            logits: npt.NDArray[np.float32] = self._network.logits(hidden[:, 0]).cpu().numpy()
        return logits, self.repeat((1, [one]), 1)

    def repeat(self, state: tuple[int, list[LayerStates]], batch: int) -> tuple[int, list[LayerStates]]:
        _, (block,) = state
        same = _each(block, lambda tensor: tensor[:1].expand(self._rows, -1).contiguous())
        return batch, [same] * -(-batch // self._rows)

    def select(self, state: tuple[int, list[LayerStates]], rows: Sequence[int]) -> tuple[int, list[LayerStates]]:
        _, blocks = state
        filled = [*rows, *[rows[-1]] * (-len(rows) % self._rows)]  # idle rows hold some numbers too
        chosen = torch.tensor(filled, device=self._device)
        whole = [torch.cat(tensors).index_select(0, chosen) for tensors in zip(*map(_flat, blocks), strict=True)]
        parts = zip(*(torch.split(tensor, self._rows) for tensor in whole), strict=True)
        return len(rows), [_shaped(part, blocks[0]) for part in parts]

    def export_state(self, state: tuple[int, list[LayerStates]], row: int) -> npt.NDArray[np.float32]:
        block, place = state[1][row // self._rows], row % self._rows
        return np.array([[tensor[place].float().cpu().numpy() for tensor in layer] for layer in block])

    def import_state(self, cells: npt.NDArray[np.float32]) -> tuple[int, list[LayerStates]]:
        given = tuple(tuple(torch.tensor(part[None], device=self._device) for part in layer) for layer in cells)
        return self.repeat((1, [given]), 1)

    def _forward(self, ids: Tensor, block: LayerStates) -> StepResult:
        hidden, block = self._network(ids[None], block, dtype=self._kind)
        return self._network.logits(hidden[0]), block

    def _tensor(self, ids: npt.NDArray[np.integer]) -> Tensor:
        return torch.as_tensor(np.asarray(ids, dtype=np.int64), device=self._device)

    def _block(self, ids: npt.NDArray[np.integer], number: int) -> Tensor:
        rows = np.zeros(self._rows, dtype=np.int64)
        part = ids[number * self._rows : (number + 1) * self._rows]
        rows[: len(part)] = part
        return self._tensor(rows)


class ReplayedStep:
    """A step of a block within buffers that stay where they are, as a recorded graph needs it. `capture` runs a
    function once; it gives what runs it again, and where its results then lie."""

    def __init__(self, step: Step, initial: LayerStates, capture: Capture) -> None:
        first = initial[0][0]
        self._ids = torch.zeros(len(first), dtype=torch.int64, device=first.device)
        self._block = _each(initial, torch.clone)
        with torch.inference_mode():
            self._again, (self._logits, self._new) = capture(lambda: step(self._ids, self._block))

    def __call__(self, ids: Tensor, block: LayerStates) -> StepResult:
        self._ids.copy_(ids)
        for there, tensor in zip(_flat(self._block), _flat(block), strict=True):
            there.copy_(tensor)
        self._again()
        return self._logits.clone(), _each(self._new, torch.clone)


def capture_cuda_graph(step: Callable[[], StepResult]) -> tuple[Callable[[], object], StepResult]:
    """See `ReplayedStep`: a CUDA graph, recorded after some runs that let every library make itself ready."""
    beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = step()
    return graph.replay, results


def _each(block: LayerStates, change: Callable[[Tensor], Tensor]) -> LayerStates:
    return tuple(tuple(change(tensor) for tensor in layer) for layer in block)


def _flat(block: LayerStates) -> list[Tensor]:
    return [tensor for layer in block for tensor in layer]


def _shaped(tensors: Sequence[Tensor], like: LayerStates) -> LayerStates:
    """Tensors in a row as the layers of `like`."""
    waiting = iter(tensors)
    return _each(like, lambda _: next(waiting))
