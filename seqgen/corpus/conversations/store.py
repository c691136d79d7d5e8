"""Conversations that are parsed once and iterated many times, with a few in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

from seqgen.corpus import split
from seqgen.corpus.conversations.read import Conversation, Turn
from seqgen.corpus.spill import SpillList

_MIN_HELD_OUT_TURNS = 4  # of a single conversation, if it has four times as many


class ConversationStore(Sequence[Conversation]):
    """A sequence of conversations in a `SpillList`. `size`: bytes stored, slightly more than the text.

    Raises:
        UserError: there is no space left in the cache's file system.
    """

    def __init__(self, conversations: Iterable[Conversation] = ()) -> None:
        self._spill = SpillList()
        for conversation in conversations:
            self.append(conversation)

    def append(self, conversation: Conversation) -> None:
        """Add a conversation."""
        turns = [[turn.speaker, turn.text] for turn in conversation.turns]
        self._spill.append(json.dumps(turns, ensure_ascii=False).encode("utf-8", "surrogatepass"))

    def __len__(self) -> int:
        return len(self._spill)

    @overload
    def __getitem__(self, index: int) -> Conversation: ...

    @overload
    def __getitem__(self, index: slice) -> list[Conversation]: ...

    def __getitem__(self, index: int | slice) -> Conversation | list[Conversation]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        turns = json.loads(self._spill[index].decode("utf-8", "surrogatepass"))
        return Conversation(tuple(Turn(speaker, text) for speaker, text in turns))

    @property
    def size(self) -> int:
        return self._spill.size

    def hold_out(self, fraction: float) -> tuple[ConversationSubset, ConversationSubset]:
        """Return the training and the validation set: whole conversations, or the end of a single one.

        A chat of years is one conversation; cut, it counts as two from then on.
        """
        turns = self[0].turns if len(self) == 1 and fraction else ()
        held_out = max(_MIN_HELD_OUT_TURNS, round(fraction * len(turns)))
        if held_out * 4 <= len(turns):
            self.append(Conversation(turns[:-held_out]))
            self.append(Conversation(turns[-held_out:]))
            return self.select(np.array([1])), self.select(np.array([2]))
        train, valid = split.hold_out_items(range(len(self)), fraction)
        return self.select(np.array(train, dtype=np.int64)), self.select(np.array(valid, dtype=np.int64))

    def select(self, indices: npt.NDArray[np.int64]) -> ConversationSubset:
        """Return some of the conversations, in this order."""
        return ConversationSubset(self, indices)


class ConversationSubset:
    """Some conversations of a store."""

    def __init__(self, store: ConversationStore, indices: npt.NDArray[np.int64]) -> None:
        self._store, self._indices = store, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[Conversation]:
        for index in self._indices:
            yield self._store[int(index)]

    def every_nth(self, nth: int) -> ConversationSubset:
        """Return the first conversation and every nth after it."""
        return ConversationSubset(self._store, self._indices[::nth])

    @property
    def size(self) -> int:
        """Estimated bytes: the store's size times the fraction of its conversations."""
        return self._store.size * len(self) // max(1, len(self._store))
