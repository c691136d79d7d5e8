"""The table of tokenizers: it is complete, nothing outside it asks for one by name, and a row is all that one needs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from seqgen import checkpoint, tokenizers
from seqgen.config import TOKENIZER_NAMES, TrainOptions
from seqgen.errors import ModelError
from seqgen.specs import registry
from seqgen.specs.tokenizers import TOKENIZERS, takes_option
from seqgen.tokenizers.dialogue import DialogueCodec
from tests.helpers import toys
from tests.helpers.running import MIXED_BYTES, TINY_FLAGS, Run, prose
from tests.helpers.syntax_tree import classes_in_conditions, failing, named_in_conditions, parse, source_files


@pytest.fixture
def registered() -> Iterator[None]:
    with TOKENIZERS.registered(toys.MIRRORED):
        yield


@pytest.mark.parametrize("name", TOKENIZERS.names())
def test_tokenizer_spec_names_things_that_exist(name: str) -> None:
    spec = TOKENIZERS.find(name)
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        if isinstance(value, str) and ":" in value:
            registry.resolve(value)
    assert registry.resolve(spec.codec).name == name
    known = {field.name for field in dataclasses.fields(TrainOptions)}
    assert known >= set(spec.fit_options)


def test_text_tokenizer_names_shows_rows_registered_later() -> None:
    assert tuple(TOKENIZER_NAMES) == ("char", "byte", "subword")
    assert "midi" not in TOKENIZER_NAMES
    with TOKENIZERS.registered(toys.MIRRORED):
        assert "mirrored" in TOKENIZER_NAMES
        assert len(TOKENIZER_NAMES) == 4
    assert "mirrored" not in TOKENIZER_NAMES


def test_takes_option_unknown_tokenizer_is_false() -> None:
    assert takes_option("subword", "vocab_size")
    assert not takes_option("char", "vocab_size")
    assert not takes_option("unknown", "vocab_size")


def test_conditions_name_no_tokenizer_outside_the_table() -> None:
    files = source_files("specs")
    assert failing(lambda path: named_in_conditions(parse(path), TOKENIZERS.names()), files) == {}


def test_conditions_ask_for_no_codec_outside_tasks_and_tokenizers() -> None:
    codecs = {spec.codec.split(":")[1] for spec in TOKENIZERS.values()}
    files = source_files("specs", "tasks", "tokenizers")
    assert failing(lambda path: classes_in_conditions(parse(path), codecs), files) == {}


def test_toy_tokenizer_trains_samples_scores_and_tokenizes(registered: None, run: Run, tmp_path: Path) -> None:
    source, model = tmp_path / "text.txt", tmp_path / "model"
    source.write_text(prose(60))
    run("train", source, "--tokenizer", "mirrored", "-o", model, *TINY_FLAGS)
    assert json.loads((model / "tokenizer.json").read_text()) == {"kind": "mirrored"}
    assert run("sample", model, "-t", 0, "-l", 20).text
    (scored,) = run("score", model, source).records
    assert scored["tokens"] == source.stat().st_size
    assert run("evaluate", model, source, "--json").json["metrics"]["bits_per_byte"] > 0

    assert "every byte" in run("tokenize", model, source, "--check").text
    assert run("tokenize", "mirrored", stdin=b"\x00\xff").text.split() == ["255", "0"]
    assert "every byte" in run("tokenize", "mirrored", "--check", stdin=MIXED_BYTES).text


def test_toy_tokenizer_inside_dialogue_is_saved_and_loaded(registered: None, run: Run, tmp_path: Path) -> None:
    source, model = tmp_path / "talk.jsonl", tmp_path / "model"
    turns = prose(40).splitlines()
    source.write_text("".join(json.dumps({"turns": turns[i : i + 4]}) + "\n" for i in range(0, 40, 4)))
    run("train", source, "--task", "dialogue", "--tokenizer", "mirrored", "-o", model, *TINY_FLAGS)
    codec = checkpoint.load(model).codec
    assert isinstance(codec, DialogueCodec)
    assert isinstance(codec.text, toys.MirroredCodec)


def test_parse_unregistered_tokenizer_raises_model_error() -> None:
    with TOKENIZERS.registered(toys.MIRRORED):
        files = tokenizers.dump(toys.MirroredCodec())
        assert isinstance(tokenizers.parse(files), toys.MirroredCodec)
    with pytest.raises(ModelError, match="mirrored"):
        tokenizers.parse(files)
