"""Texts to be labelled, in JSON and tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqgen.corpus.labelled.unlabelled import (
    UnlabelledOptions,
    begins_array,
    begins_table,
    json_texts,
    piped_json,
    read_texts,
)
from seqgen.errors import DataError
from tests.helpers.series import document

TRAINED = UnlabelledOptions(trained_columns=("text",))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("t.jsonl", b'{"text": "a b", "n": 1}\n\n{"text": "c"}'),
        ("t.json", b'[{"text": "a b", "n": 1}, {"text": "c"}]'),
        ("t.json", b'[\n  {\n    "text": "a b"\n  },\n  {\n    "text": "c"\n  }\n]\n'),
        ("t.json", b'\xef\xbb\xbf [{"text": "a b"},\r\n{"text": "c"}]'),
    ],
)
def test_json_texts_lines_and_arrays_give_one_text_an_object(tmp_path: Path, name: str, data: bytes) -> None:
    texts = json_texts(document(tmp_path, data, name), TRAINED)
    assert texts is not None and list(texts) == ["a b", "c"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'[{"text": "a"},\n{"txt": "b"}]', "t.json:2: expected an object with 'text'; the keys are txt"),
        (b'[{"text": "a"},\n{"text": "b', "t.json:2: expected an object with 'text'"),
        (b'[{"text": "a"},\n"b"]', "t.json:2: expected an object with 'text'"),
        (b'[{"text": "a"},\n{"text": "b", "text": "c"}]', "t.json:2: .*'text'"),
        (b'{"text": "a"}\n{"text": "b", "text": "c"}', "t.json:2: .*'text'"),
        (b'{\n"text": "a"}', "t.json:1: expected an object with 'text'"),
    ],
)
def test_json_texts_other_values_are_located(tmp_path: Path, data: bytes, message: str) -> None:
    texts = json_texts(document(tmp_path, data, "t.json"), TRAINED)
    assert texts is not None
    with pytest.raises(DataError, match=message):
        list(texts)


def test_json_texts_other_files_are_lines(tmp_path: Path) -> None:
    for name, data in (
        ("t.txt", b'{"body": "a"}'),
        ("t.txt", b'{"text": a}'),
        ("t.json", b"words"),
        ("t.json", b""),
        ("t.json", b'["a", "b"]'),
    ):
        assert json_texts(document(tmp_path, data, name), TRAINED) is None


@pytest.mark.parametrize("options", [TRAINED, UnlabelledOptions("text")])
def test_read_texts_columns_and_keys_are_found_by_their_only_name_in_another_case(
    options: UnlabelledOptions, tmp_path: Path
) -> None:
    table, lines, both = b"id,Text\n1,a b\n2,c\n", b'{"Text": "a b"}\n{"TEXT": "c"}\n', b'{"Text": "a", "TEXT": "b"}'
    for name, data in (("t.csv", table), ("t.txt", table), ("t.jsonl", lines), ("t.txt", lines)):
        assert list(read_texts([document(tmp_path, data, name)], options, pytest.fail)) == [b"a b", b"c"], name
    exact = b'{"Text": "no", "text": "a"}'
    assert begins_array(b"[" + lines, options) and piped_json(exact, options) is not None
    assert begins_table("id,Text", options) and not begins_table("TEXT,Text", options)
    assert list(read_texts([document(tmp_path, exact, "t.jsonl")], options, pytest.fail)) == [b"a"]
    assert not begins_array(b"[" + both, options) and piped_json(both, options) is None
    with pytest.raises(DataError, match="expected an object with 'text'; the keys are Text, TEXT"):
        list(read_texts([document(tmp_path, both, "t.jsonl")], options, pytest.fail))


def test_begins_array_is_known_by_the_keys_of_its_first_object(tmp_path: Path) -> None:
    whole = b' [\n {"id": [1], "text": "a\xe4\xb8\xad"},\n{"text": "b"}]'
    enough = whole.index(b"}") + 1
    for size in range(len(whole) + 1):
        assert begins_array(whole[:size], TRAINED) is (None if 2 <= size < enough else size >= enough), size
    for head in (b'[{"body": "a"}]', b'["text"]', b"[{text}", b"[1] said", b"[[", b'{"text": "a"}', b""):
        assert begins_array(head, TRAINED) is False
    for head in (b'[{"text', b"[\n{\n", b'[{"text":\n"a', b'[{"id": [1,\n 2\n', b'[{"id": {"a":\n'):
        assert begins_array(head, TRAINED) is None, head
    # No line that comes can make an array of these: nobody is to wait for one.
    for head in (
        b'[{"no end\n',
        b'[{"text":\n"no end\n',
        b'[{"text": 1,\n2\n',
        b'[{"id": {"a":\nb\n',
        b"[\n{\nwords\n",
    ):
        assert begins_array(head, TRAINED) is False, head
    assert begins_array(b'[{"text": "a"}]', UnlabelledOptions()) is False
    assert begins_array(b'[{"body": "a"}]', UnlabelledOptions("body")) is True
    texts = json_texts(document(tmp_path, whole, "t.txt"), TRAINED)
    assert texts is not None and list(texts) == ["a中", "b"]


def test_piped_json_is_known_by_the_keys_of_the_text(tmp_path: Path) -> None:
    read = piped_json(b'{"id": 1, "text": "a b"}', TRAINED)
    assert read is not None and list(read([b'{"text": "c"}\n', b"\n", b'{"text": null}'], 7)) == ["c", ""]
    with pytest.raises(DataError, match="standard input:8: expected an object with 'text'"):
        list(read([b'{"text": "c"}\n', b"words\n"], 7))
    for line in (b'{"body": "a"}', b"{words", b'["text"]', b""):
        assert piped_json(line, TRAINED) is None
    assert piped_json(b'{"text": "a"}', UnlabelledOptions()) is None
    texts = json_texts(document(tmp_path, b'{"text": "a"}\n{"text": "b"}\n', "t.txt"), TRAINED)
    assert texts is not None and list(texts) == ["a", "b"]
