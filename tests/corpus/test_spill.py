"""Spilled strings, arrays, conversations and labelled texts, in memory and on the disk."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.corpus import spill as pile
from seqgen.corpus.conversations.read import Conversation, Turn
from seqgen.corpus.conversations.store import ConversationStore
from seqgen.corpus.labelled.texts import Example, collect_examples, stratified_split
from seqgen.corpus.spill import SpillArray, SpillList
from seqgen.errors import UserError

QUICK = settings(max_examples=60, deadline=None)


@QUICK
@given(
    st.lists(st.binary(max_size=60), max_size=40), st.integers(0, 300), st.integers(1, 80),
    st.lists(st.integers(0, 39), max_size=60),
)  # fmt: skip
def test_spill_list_returns_its_strings_in_any_order(
    strings: list[bytes], in_memory: int, window: int, order: list[int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pile, "_WINDOW", window)
        found = SpillList(in_memory)
        for number, string in enumerate(strings):
            found.append(string)
            assert found[number // 2] == strings[number // 2]  # also while it grows
        assert list(found) == strings
        assert found.size == sum(map(len, strings))
        assert found[1:7:2] == strings[1:7:2]
        for number in order:
            if number < len(strings):
                assert found[number] == strings[number]
            else:
                with pytest.raises(IndexError):
                    found[number]


@QUICK
@given(st.lists(st.lists(st.integers(0, 65535), max_size=20), max_size=20), st.integers(0, 200))
def test_spill_array_returns_one_array(parts: list[list[int]], in_memory: int) -> None:
    found = SpillArray(np.uint16, in_memory)
    for part in parts:
        found.append(np.array(part, dtype=np.int64))
    whole = found.array()
    assert whole.dtype == np.uint16
    assert whole.tolist() == [number for part in parts for number in part]
    size = 2 * len(whole)
    assert isinstance(whole, np.memmap) == (size > in_memory and size > 0)


def test_spill_list_when_large_uses_a_nameless_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path))
    found = SpillList(in_memory=100)
    for number in range(100):
        found.append(b"%d" % number * 20)
    assert found[99] == b"99" * 20
    assert list((tmp_path / "spool").iterdir()) == []


def test_spill_list_on_a_full_disk_raises_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(UserError, match=r"cannot store the texts in .*: File too large"):
            SpillList(in_memory=0).append(os.urandom(50_000))  # of which 1,000 bytes are written first
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot store the texts"):
        SpillList(in_memory=0).append(b"text")


WORDS = st.text(st.characters(codec="utf-8") | st.sampled_from("\udc80\udcff"), min_size=1, max_size=30)
CONVERSATIONS = st.lists(
    st.lists(st.builds(Turn, st.integers(0, 9), WORDS), min_size=1, max_size=5).map(lambda t: Conversation(tuple(t))),
    max_size=12,
)


@QUICK
@given(CONVERSATIONS, st.lists(st.integers(0, 11), max_size=12))
def test_conversation_store_when_spilled_returns_its_conversations(
    conversations: list[Conversation], chosen: list[int]
) -> None:
    store = ConversationStore(conversations)
    assert list(store) == store[:] == conversations
    chosen_numbers = [number for number in chosen if number < len(conversations)]
    some = store.select(np.array(chosen_numbers, dtype=np.int64))
    assert list(some) == list(some) == [conversations[number] for number in chosen_numbers]
    assert len(some) == len(chosen_numbers)
    assert list(some.every_nth(3)) == [conversations[number] for number in chosen_numbers[::3]]
    assert store.select(np.arange(len(store))).size == store.size


@QUICK
@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c", "月", ""]), st.sets(st.sampled_from("xyz"))), min_size=1,
             max_size=30),
    st.floats(0, 0.9), st.integers(0, 9),
)  # fmt: skip
def test_labelled_texts_when_spilled_split_into_whole_texts(
    rows: list[tuple[str, set[str]]], fraction: float, seed: int
) -> None:
    examples = [Example(text, tuple(sorted(labels)), f"f:{number}") for number, (text, labels) in enumerate(rows)]
    if len({label for _, labels in rows for label in labels}) < 2:
        return
    warnings: list[str] = []
    texts = collect_examples(examples, warnings.append)
    names = texts.labels
    given_back = [(texts.text(n).decode(), {names[code] for code in texts.label_set(n)}) for n in range(len(texts))]
    assert given_back == rows
    # A duplicate has the labels of the first occurrence, a conflict others.
    first: dict[str, set[str]] = {}
    same = other = 0
    for text, labels in rows:
        if text in first:
            same, other = same + (first[text] == labels), other + (first[text] != labels)
        first.setdefault(text, labels)
    assert (texts.duplicates, texts.conflicts) == (same, other)
    assert sum("duplicate" in sentence for sentence in warnings) == (same > 0) + (other > 0)
    assert texts.targets().sum() == len(texts.label_ids) == texts.counts().sum()
    sides = stratified_split(texts, fraction, seed)
    assert not set(sides[0].strings()) & set(sides[1].strings())
    found = [(side.text(n).decode(), side.label_set(n)) for side in sides for n in range(len(side))]
    wanted = [(texts.text(n).decode(), texts.label_set(n)) for n in range(len(texts))]
    assert sorted(found) == sorted(wanted)
    assert list(sides[0].strings()[1:3]) == [sides[0].text(n) for n in range(1, min(3, len(sides[0])))]
