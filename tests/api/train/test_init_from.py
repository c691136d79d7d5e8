"""`train --init-from`: weights, shapes and tokenizers taken from another model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqgen
from seqgen import checkpoint
from seqgen.errors import ModelError, UserError
from tests.helpers.running import prose
from tests.helpers.training import TINY


@pytest.fixture(scope="module")
def gru_folder(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gru") / "m"
    seqgen.train(str(text_file), folder, steps=2, cell="gru", **TINY)
    return folder


def test_init_from_copies_all_weights_of_known_ids(model_folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "greek.txt"
    source.write_text((prose(80) + "αβγδ λόγος ΩΩ\n") * 3)
    model = seqgen.train(
        str(source), tmp_path / "m", init_from=model_folder, steps=1, learning_rate=1e-12, batch_size=8, seq_length=32,
        precision="fp32", threads=1,
    )  # fmt: skip
    old = seqgen.load(model_folder)
    size = old.codec.vocab_size
    assert model.codec.vocab_size > size
    assert model.codec.pieces()[:size] == old.codec.pieces()
    assert {"Ω", "λ", "ό"} <= set(model.codec.pieces()[size:])
    before, after = old.checkpoint.weights(), model.checkpoint.weights()
    assert set(before) == set(after)
    for name, weight in before.items():
        np.testing.assert_allclose(after[name][: len(weight)], weight, atol=1e-6)
    for name in ("embedding", "output_weight", "output_bias"):
        assert len(after[name]) == model.codec.vocab_size
    assert model.checkpoint.config["training"]["init_from"] == str(model_folder)


def test_init_from_trains_on_new_characters(model_folder: Path, tmp_path: Path) -> None:
    line = "Ωδή ΩδήΩ δή\n"
    source = tmp_path / "greek.txt"
    source.write_text(line * 200)
    model = seqgen.train(
        str(source), tmp_path / "m", init_from=model_folder, steps=100, learning_rate=0.02, batch_size=8,
        seq_length=32, dropout=0.0, precision="fp32", threads=1,
    )  # fmt: skip
    assert model.score(line * 3).nats < seqgen.load(model_folder).score(line * 3).nats / 4
    assert "Ωδή" in model.sample(line, length=30, temperature=0)[0].text


@pytest.mark.parametrize(
    "strange",
    ["", "€", "日", b"\xff\xfe", "€€日", "\x01"],
    ids=["nothing", "once", "once in three bytes", "no UTF-8", "twice and once", "control"],
)
def test_init_from_accepts_any_text(model_folder: Path, tmp_path: Path, strange: str | bytes) -> None:
    """Characters that the vocabulary lacks are spelt in bytes, whose embeddings must be trained too."""
    source = tmp_path / "new.txt"
    extra = strange if isinstance(strange, bytes) else strange.encode()
    source.write_bytes(prose(20).encode() + extra + prose(20, seed=2).encode())
    model = seqgen.train(
        str(source), tmp_path / "m", init_from=model_folder, steps=20, val_fraction=0, batch_size=8, seq_length=32,
        precision="fp32", threads=1,
    )  # fmt: skip
    assert math.isfinite(checkpoint.read_metrics(model.checkpoint.folder)[-1]["train_loss"])


@pytest.mark.parametrize("tokenizer", ["byte", "subword"])
def test_init_from_keeps_other_tokenizers(tokenizer: str, text_file: Path, tmp_path: Path) -> None:
    seqgen.train(str(text_file), tmp_path / "old", tokenizer=tokenizer, steps=2, **TINY)
    source = tmp_path / "new.txt"
    source.write_text((prose(40, seed=5) + "日本 Ω\n") * 2)
    rest = {name: TINY[name] for name in ("batch_size", "seq_length", "precision", "threads")}
    model = seqgen.train(str(source), tmp_path / "m", init_from=tmp_path / "old", steps=2, **rest)
    assert model.codec.to_dict() == seqgen.load(tmp_path / "old").codec.to_dict()


@pytest.mark.parametrize(
    ("name", "value"),
    [("rnn_size", 64), ("cell", "gru"), ("num_layers", 2), ("embedding_size", 8), ("tie_weights", True),
     ("tokenizer", "byte"), ("tokenizer", "subword"), ("vocab_size", 500)],
)  # fmt: skip
def test_init_from_contradicting_flag_is_refused(
    model_folder: Path, text_file: Path, tmp_path: Path, name: str, value: Any
) -> None:
    with pytest.raises(UserError) as error:
        seqgen.train(str(text_file), tmp_path / "m", init_from=model_folder, steps=1, **{name: value})
    assert "--" + name.replace("_", "-") in str(error.value)
    assert "--init-from" in str(error.value)
    assert not (tmp_path / "m").exists()


def test_init_from_contradicting_default_is_refused(gru_folder: Path, text_file: Path, tmp_path: Path) -> None:
    """An explicit `--cell lstm` contradicts a GRU even though it is the default."""
    with pytest.raises(UserError, match="--cell"):
        seqgen.train(str(text_file), tmp_path / "m", init_from=gru_folder, steps=1, cell="lstm", threads=1)


def test_init_from_keeps_the_network_shape(gru_folder: Path, text_file: Path, tmp_path: Path) -> None:
    model = seqgen.train(str(text_file), tmp_path / "m", init_from=gru_folder, steps=1, rnn_size=32, threads=1)
    assert model.checkpoint.network.cell == "gru"
    assert model.checkpoint.network.rnn_size == 32


def test_init_from_may_overwrite_its_own_model(model_copy: Path, text_file: Path) -> None:
    model = seqgen.train(str(text_file), model_copy, init_from=model_copy, overwrite=True, steps=2, threads=1)
    assert model.checkpoint.config["training"]["step"] == 2


def test_init_from_other_folder_is_refused(text_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        seqgen.train(str(text_file), tmp_path / "m", init_from=tmp_path / "nowhere", steps=1)
