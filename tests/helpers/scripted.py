"""An engine whose logits are a function of the ids read, and a codec of a few pieces."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from seqgen.generation.engines.base import Engine
from seqgen.tokenizers.codec import Utf8Decoder

ReadIds = tuple[int, ...]


class ScriptedEngine(Engine):
    """An engine whose logits are a function of all ids that a stream has read, `end` and prompt included."""

    def __init__(self, vocab_size: int, logits_of: Callable[[ReadIds], npt.ArrayLike], batch_size: int = 1) -> None:
        self.vocab_size, self.batch_size, self._logits_of = vocab_size, batch_size, logits_of
        self.steps = self.reads = 0

    def initial(self, batch: int) -> tuple[ReadIds, ...]:
        return ((),) * batch

    def step(
        self, ids: npt.NDArray[np.integer], state: tuple[ReadIds, ...]
    ) -> tuple[npt.NDArray[np.float32], tuple[ReadIds, ...]]:
        self.steps += 1
        new = tuple((*read, int(token)) for read, token in zip(state, ids, strict=True))
        return np.array([self._logits_of(read) for read in new], dtype=np.float32), new

    def read(self, ids: npt.NDArray[np.integer], state: tuple[ReadIds, ...]) -> tuple[ReadIds, ...]:
        self.reads += 1
        return ((*state[0], *map(int, ids)),)

    def repeat(self, state: tuple[ReadIds, ...], batch: int) -> tuple[ReadIds, ...]:
        return state * batch


def noise_engine(vocab_size: int, batch_size: int = 1, scale: float = 2.0) -> ScriptedEngine:
    """Random logits that depend on the ids read only."""
    return ScriptedEngine(
        vocab_size, lambda read: np.random.default_rng([7, *read]).normal(0, scale, vocab_size), batch_size
    )  # fmt: skip


class PieceCodec:
    """A codec of the given pieces of text, of any length; `end` is the last id."""

    name = "pieces"

    def __init__(self, *pieces: str) -> None:
        self._pieces, self.end, self.vocab_size = pieces, len(pieces), len(pieces) + 1

    def encode(self, data: bytes) -> npt.NDArray[np.int32]:
        text, ids = data.decode(), []
        while text:
            ids.append(next(token for token, piece in enumerate(self._pieces) if text.startswith(piece)))
            text = text[len(self._pieces[ids[-1]]) :]
        return np.array(ids, dtype=np.int32)

    def decoder(self) -> Utf8Decoder:
        return Utf8Decoder([piece.encode() for piece in self._pieces] + [b""])

    def pieces(self) -> list[str | int | None]:
        return [*self._pieces, None]

    def tokens_named(self, name: str) -> list[int]:
        return [token for token, piece in enumerate(self._pieces) if piece == name]
