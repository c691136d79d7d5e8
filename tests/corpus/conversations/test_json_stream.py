"""JSON read value by value: nothing depends on white space or on how the text arrives."""

from __future__ import annotations

import itertools
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.corpus.conversations.json_stream import EACH, Part, complete, find_line_values, find_values, select
from seqgen.corpus.conversations.json_stream import Path as JsonPath

SCALARS = st.none() | st.booleans() | st.integers(-99, 99) | st.text('ab"\\\n[{]},:é', max_size=4)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)
)
PATHS = st.lists(st.sampled_from(["x", Part("y"), EACH]), max_size=3).map(tuple)
QUICK = settings(max_examples=100, deadline=None)


def in_pieces(text: str, cuts: list[int]) -> list[str]:
    positions = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    return [text[start:stop] for start, stop in itertools.pairwise(positions)]


@QUICK
@given(st.lists(VALUES, min_size=1, max_size=3), PATHS, st.lists(st.integers(0, 100)), st.sampled_from([None, 0, 2]))
def test_find_values_any_layout_gives_what_parsed_values_give(
    roots: list[Any], path: JsonPath, cuts: list[int], indent: int | None
) -> None:
    text = "\n".join(json.dumps(root, indent=indent, ensure_ascii=bool(cuts)) for root in roots)
    found = list(find_values(in_pieces(text, cuts), path))
    assert not any(each.is_damaged for each in found)
    expected = [(number, value) for number, root in enumerate(roots, 1) for value in select(root, path)]
    assert [(each.root, each.value) for each in found if not each.is_beside] == expected
    for each in found:
        assert json.dumps(each.value)[0] in text.split("\n")[each.line - 1]


def test_find_values_beside_a_part_are_marked() -> None:
    text = '{"train": [1, 2], "info": {"a": 5}, "test": [3], "name": 4}'
    for found in (find_values([text], (Part("train"), EACH)), find_line_values([text], (Part("train"), EACH))):
        assert [(each.value, each.is_beside) for each in found] == [(1, False), (2, False), (3, True)]


@QUICK
@given(st.text('[]{}",:\\ab1 \n', max_size=40), PATHS, st.lists(st.integers(0, 40)))
def test_find_values_damaged_text_does_not_depend_on_pieces(text: str, path: JsonPath, cuts: list[int]) -> None:
    assert list(find_values(in_pieces(text, cuts), path)) == list(find_values([text], path))


def test_find_values_damage_ends_with_its_brackets() -> None:
    text = '{"a": {"messages": 0}, "messages": [\n{"x": "]"},\n{"x" "y": []},\n{"z": 3} junk\n, {"cut'
    found = [(each.line, each.value, each.is_damaged) for each in find_values([text], ("messages", EACH))]
    assert found == [(2, {"x": "]"}, False), (3, None, True), (4, {"z": 3}, False), (4, None, True), (5, None, True)]


@QUICK
@given(st.lists(VALUES, max_size=3), st.integers(0, 200))
def test_complete_text_cut_off_anywhere_is_a_beginning(values: list[Any], stop: int) -> None:
    text = json.dumps({"messages": values})
    stop = min(stop, len(text))
    found = complete(text[:stop]) if stop else {}
    assert isinstance(found, dict)
    inner = found.get("messages")
    assert not isinstance(inner, list) or inner[:-1] == values[: max(len(inner) - 1, 0)]


def test_find_values_a_key_with_two_values_is_damage_that_says_so() -> None:
    text = '[{"x": 1},\n{"x": {"y": 1,\n "y": 2}},\n{"x" 3}]'
    found = [(each.line, each.value, each.damage) for each in find_values(in_pieces(text, [20, 30]), (EACH,))]
    assert found == [
        (1, {"x": 1}, ""), (2, None, "the key 'y' is given twice, with different values"), (4, None, "not JSON")
    ]  # fmt: skip
    assert [each.value for each in find_values([text], (EACH,), unique_keys=False)] == [{"x": 1}, {"x": {"y": 2}}, None]
