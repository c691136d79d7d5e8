"""Conversations that are read once from their files and gone through as often as needed, in the memory of a few."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

from seqgen.corpus.conversations.read import Conversation, Turn
from seqgen.corpus.spill import SpillList


class ConversationStore(Sequence[Conversation]):
    """See `SpillList`. `size`: bytes that the conversations take in it, a little more than their words.

    Raises:
        UserError: there is no room where the cache is.
    """

    def __init__(self, conversations: Iterable[Conversation] = ()) -> None:
        self._spill = SpillList()
        for conversation in conversations:
            self.append(conversation)

    def append(self, conversation: Conversation) -> None:
        """Adds a conversation."""
        turns = [[turn.speaker, turn.text] for turn in conversation.turns]
        self._spill.append(json.dumps(turns, ensure_ascii=False).encode("utf-8", "surrogatepass"))

    def __len__(self) -> int:
        return len(self._spill)

    @overload
    def __getitem__(self, number: int) -> Conversation: ...

    @overload
    def __getitem__(self, number: slice) -> list[Conversation]: ...

    def __getitem__(self, number: int | slice) -> Conversation | list[Conversation]:
        if isinstance(number, slice):
            return [self[place] for place in range(*number.indices(len(self)))]
        turns = json.loads(self._spill[number].decode("utf-8", "surrogatepass"))
        return Conversation(tuple(Turn(speaker, text) for speaker, text in turns))

    @property
    def size(self) -> int:
        return self._spill.size

    def select(self, numbers: npt.NDArray[np.int64]) -> ConversationSubset:
        """Some of the conversations, in that order."""
        return ConversationSubset(self, numbers)


class ConversationSubset:
    """Some conversations of a store."""

    def __init__(self, store: ConversationStore, numbers: npt.NDArray[np.int64]) -> None:
        self._store, self._numbers = store, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[Conversation]:
        for number in self._numbers:
            yield self._store[int(number)]

    def every_nth(self, nth: int) -> ConversationSubset:
        """The first of them, and every nth after it."""
        return ConversationSubset(self._store, self._numbers[::nth])

    @property
    def size(self) -> int:
        """Bytes, about: their share of what the whole store takes."""
        return self._store.size * len(self) // max(1, len(self._store))
