"""Conversations on disk, and their split."""

from __future__ import annotations

import pytest

from seqgen.corpus.conversations.read import Conversation, Turn
from seqgen.corpus.conversations.store import ConversationStore


def conversation(turns: int) -> Conversation:
    return Conversation(tuple(Turn(number % 2, f"turn {number}") for number in range(turns)))


def test_store_holds_out_whole_conversations() -> None:
    store = ConversationStore(conversation(3 + number) for number in range(20))
    train, held_out = store.hold_out(0.1)
    assert (len(train), len(held_out)) == (18, 2)
    assert {len(each.turns) for each in (*train, *held_out)} == set(range(3, 23))


@pytest.mark.parametrize(("turns", "held"), [(16, 4), (40, 4), (100, 10), (1001, 100)])
def test_store_holds_out_the_end_of_a_single_conversation(turns: int, held: int) -> None:
    train, held_out = ConversationStore([conversation(turns)]).hold_out(0.1)
    (before,), (after,) = train, held_out
    assert before.turns + after.turns == conversation(turns).turns
    assert len(after.turns) == held


@pytest.mark.parametrize(("turns", "fraction"), [(15, 0.1), (2, 0.1), (100, 0.0)])
def test_store_keeps_a_short_conversation_whole_unless_asked_otherwise(turns: int, fraction: float) -> None:
    train, held_out = ConversationStore([conversation(turns)]).hold_out(fraction)
    assert (len(train), len(held_out)) == (1, 0)
