"""The torch engine: the network itself, stepped. For GPUs, for batches, and to check the light engine against.

Streams are computed in blocks of a fixed number of rows, the last one filled up with idle rows: a matrix product's
rounding depends on its shape, so only equal shapes give a stream the same numbers alone and among a hundred.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch

from seqgen.config import NetworkConfig
from seqgen.errors import UserError
from seqgen.model.generative import language_model
from seqgen.model.network import Network, States

BLOCK = 16  # rows of a product; more would waste work on single streams, fewer would waste the processor on many


def load_network(config: NetworkConfig, weights: Mapping[str, npt.NDArray[np.float32]]) -> Network:
    """A network with these weights, on the processor, ready for evaluation."""
    network = language_model(config)
    network.load_state_dict({name: torch.from_numpy(np.array(weight)) for name, weight in weights.items()})
    return network.eval()


class TorchEngine:
    """See `engine.Engine`. A state is a list of blocks of `BLOCK` streams, and the number of streams in use."""

    wave = 4 * BLOCK

    def __init__(
        self, config: NetworkConfig, weights: Mapping[str, npt.NDArray[np.float32]], device: str = "cpu"
    ) -> None:
        self.vocab_size = config.vocab_size
        there: dict[str, Callable[[], bool]] = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
        if device in there and not there[device]():
            raise UserError(f"--device {device}: this machine, or this build of PyTorch, has none")
        self._device = torch.device(device)
        self._network = load_network(config, weights).to(self._device)
        # Narrow products go through kernels that treat the rows of a block unlike: there each stream is its own block.
        narrow = min(config.rnn_size, config.embedding_size, config.vocab_size) < BLOCK
        # The sigmoid takes 32 numbers at a time and what is left over otherwise: a block has to be a multiple of that.
        self._rows = 1 if narrow or (BLOCK * config.rnn_size) % 32 else BLOCK

    def initial(self, batch: int) -> tuple[int, list[States]]:
        return batch, [self._network.initial(self._rows) for _ in range(-(-batch // self._rows))]

    def step(
        self, ids: npt.NDArray[np.integer], state: tuple[int, list[States]]
    ) -> tuple[npt.NDArray[np.float32], tuple[int, list[States]]]:
        batch, blocks = state
        logits, new = [], []
        with torch.inference_mode():
            for number, block in enumerate(blocks):
                hidden, block = self._network(self._block(ids, number)[None], block)
                logits.append(self._network.logits(hidden[0]).cpu().numpy())
                new.append(block)
        return np.concatenate(logits)[:batch], (batch, new)

    def read(self, ids: npt.NDArray[np.integer], state: tuple[int, list[States]]) -> tuple[int, list[States]]:
        batch, (block,) = state
        with torch.inference_mode():
            for start in range(0, len(ids), 1024):
                piece = torch.as_tensor(np.asarray(ids[start : start + 1024], dtype=np.int64), device=self._device)
                _, block = self._network(piece[:, None].expand(-1, self._rows), block)
        return batch, [block]

    def repeat(self, state: tuple[int, list[States]], batch: int) -> tuple[int, list[States]]:
        _, (block,) = state
        same = tuple(tuple(tensor[:1].expand(self._rows, -1).contiguous() for tensor in layer) for layer in block)
        return batch, [same] * -(-batch // self._rows)

    def _block(self, ids: npt.NDArray[np.integer], number: int) -> torch.Tensor:
        rows = np.zeros(self._rows, dtype=np.int64)
        part = ids[number * self._rows : (number + 1) * self._rows]
        rows[: len(part)] = part
        return torch.from_numpy(rows).to(self._device)
