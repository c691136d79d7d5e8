"""`train --init-from`: weights, shapes and tokenizers taken from another model."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqgen
from seqgen import checkpoint, tokenizers
from seqgen.config import ForecasterConfig, TrainOptions
from seqgen.errors import ModelError, UserError
from tests.helpers.model_zoo import CORPORA
from tests.helpers.running import prose
from tests.helpers.training import TINY
from tests.helpers.untrusted_readers import make_consistent


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


def test_init_from_other_weights_are_refused_before_a_network_is_made(
    model_copy: Path, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = json.loads((model_copy / "config.json").read_text())
    config["network"]["rnn_size"] = 65_536
    (model_copy / "config.json").write_text(json.dumps(config))
    make_consistent(model_copy)
    monkeypatch.setattr("seqgen.api.train.members.new_network", lambda *_: pytest.fail("68 GB"))
    with pytest.raises(ModelError, match="not F32"):
        seqgen.train(str(text_file), tmp_path / "m", init_from=model_copy, steps=1, threads=1)


def test_init_from_other_folder_is_refused(text_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        seqgen.train(str(text_file), tmp_path / "m", init_from=tmp_path / "nowhere", steps=1)


# Forecasters

FORECAST: dict[str, Any] = {"rnn_size": 8, "threads": 1, "batch_size": 16, "steps": 2}


def daily(path: Path, rows: int = 300) -> Path:
    """A table of two columns, a day a row, from 1 January 2023."""
    days = np.datetime64("2023-01-01") + np.arange(rows)
    wave = 20 + 5 * np.sin(np.arange(rows) * 2 * np.pi / 7)
    lines = [f"{day},{a:.3f},{n % 13}" for n, (day, a) in enumerate(zip(days, wave, strict=True))]
    path.write_text("\n".join(["date,warmth,wind", *lines]) + "\n")
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return daily(tmp_path_factory.mktemp("table") / "shop.csv")


@pytest.fixture(scope="module")
def forecaster(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With other intervals than by default, finished."""
    folder = tmp_path_factory.mktemp("forecaster") / "shop"
    options = {**FORECAST, "look_back": 28, "horizon": 7, "levels": "80", "calendar": True, "steps": 60}
    seqgen.train(str(table), folder, task="forecast", **options)
    return folder


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("levels", "95", "--levels 95 .* has 80"), ("levels", "none", "--levels none .* has 80"),
        ("levels", TrainOptions.levels, f"--levels {TrainOptions.levels} .* has 80"),  # a default, but it is given
        ("scaling", "minmax", "--scaling minmax .* has standard"), ("log_returns", True, "--log-returns .* has no log"),
        ("calendar", False, "--no-calendar .* has week"), ("frequency", "week", "--frequency week .* has day"),
        ("series", "wind", "--series wind .* has none"), ("time_column", "wind", "--time-column wind .* has date"),
        ("time_column", "3", "--time-column 3 .* has date"), ("time_column", "", "--time-column '' .* has date"),
    ],
)  # fmt: skip
def test_init_from_contradicting_option_of_series_is_refused(
    forecaster: Path, table: Path, tmp_path: Path, name: str, value: Any, words: str
) -> None:
    with pytest.raises(UserError, match=words.replace(".*", "contradicts --init-from, whose model")):
        seqgen.train(str(table), tmp_path / "m", init_from=forecaster, threads=1, steps=1, **{name: value})
    assert not (tmp_path / "m").exists()


def test_init_from_keeps_the_intervals_and_takes_options_of_its_model(
    forecaster: Path, table: Path, tmp_path: Path
) -> None:
    same = {"scaling": "standard", "calendar": True, "frequency": "daily", "time_column": "1", "levels": "80"}
    for number, options in enumerate(({}, same)):
        folder = tmp_path / str(number)
        model = seqgen.train(str(table), folder, init_from=forecaster, threads=1, steps=1, **options)
        assert model.checkpoint.forecaster_config.levels == (10.0, 50.0, 90.0)


def test_init_from_without_intervals_has_none(forecaster: Path, table: Path, tmp_path: Path) -> None:
    plain = seqgen.train(str(table), tmp_path / "a", levels="none", task="forecast", **FORECAST)
    model = seqgen.train(str(table), tmp_path / "b", init_from=tmp_path / "a", threads=1, steps=1)
    assert plain.checkpoint.forecaster_config.levels == model.checkpoint.forecaster_config.levels == ()
    with pytest.raises(UserError, match="--levels 80 contradicts --init-from, whose model has none"):
        seqgen.train(str(table), tmp_path / "c", init_from=tmp_path / "a", levels="80", steps=1)


def test_init_from_with_the_default_given_is_not_another_scaling(table: Path, tmp_path: Path) -> None:
    seqgen.train(str(table), tmp_path / "a", scaling="minmax", task="forecast", **FORECAST)
    model = seqgen.train(str(table), tmp_path / "b", init_from=tmp_path / "a", threads=1, steps=1)
    assert model.checkpoint.scaler.scaling == "minmax"
    with pytest.raises(UserError, match="--scaling standard contradicts --init-from, whose model has minmax"):
        seqgen.train(str(table), tmp_path / "c", init_from=tmp_path / "a", scaling="standard", steps=1)


def test_init_from_with_no_log_returns_given_contradicts_a_model_of_logarithms(table: Path, tmp_path: Path) -> None:
    """It was without effect."""
    seqgen.train(str(table), tmp_path / "a", log_returns=True, target="warmth", task="forecast", **FORECAST)
    model = seqgen.train(str(table), tmp_path / "b", init_from=tmp_path / "a", threads=1, steps=1)
    assert model.checkpoint.scaler.logarithm
    with pytest.raises(UserError, match="--no-log-returns contradicts --init-from, whose model has logarithms"):
        seqgen.train(str(table), tmp_path / "c", init_from=tmp_path / "a", log_returns=False, steps=1)


def test_init_from_older_forecaster_takes_the_season_of_its_scaler(table: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    loaded = seqgen.train(str(table), old, task="forecast", mixture=False, **FORECAST).checkpoint
    weights, config = loaded.weights(), json.loads((old / "config.json").read_text())
    added = ("season", "lags", "effects", "mixture")
    for name in added:
        config["network"].pop(name, None)
    defaults = {one.name: one.default for one in dataclasses.fields(ForecasterConfig) if one.name in added}
    network = dataclasses.replace(loaded.forecaster_config, **defaults)
    config["identity"] = checkpoint.identity(network, tokenizers.dump(loaded.preprocessor))
    (old / "config.json").write_text(json.dumps(config))
    checkpoint.write_weights(old / "model.safetensors", weights, config["identity"])
    model = seqgen.train(str(table), tmp_path / "m", init_from=old, threads=1, steps=1)
    made = model.checkpoint.forecaster_config
    assert (checkpoint.load(old).forecaster_config.season, made.season, made.mixture) == (1, 7, True)


def test_init_from_finished_forecaster_knows_all_rows_that_it_learnt(
    forecaster: Path, table: Path, tmp_path: Path
) -> None:
    started = checkpoint.load(forecaster)
    assert started.is_finished and started.scaler.held_out[""] > started.scaler.learnt[""]
    model = seqgen.train(
        str(table), tmp_path / "m", init_from=forecaster, threads=1, steps=1, val_fraction=0.4, finish=False
    )
    assert model.checkpoint.scaler.learnt[""] == started.scaler.held_out[""]
    assert model.checkpoint.scaler.held_out == model.checkpoint.scaler.learnt  # there are no rows beyond


def test_init_from_one_of_several_files_keeps_its_scale(table: Path, tmp_path: Path) -> None:
    other = daily(tmp_path / "other.csv", rows=200)
    start = seqgen.train([str(table), str(other)], tmp_path / "a", task="forecast", **FORECAST)
    model = seqgen.train(str(other), tmp_path / "b", init_from=tmp_path / "a", threads=1, steps=1)
    assert set(model.checkpoint.scaler.learnt) == set(start.checkpoint.scaler.learnt) == {"shop", "other"}


# Music


@pytest.mark.parametrize(
    ("name", "value", "own"),
    [
        ("grid", 12, 4), ("velocity_bins", 2, 8), ("tracks", "melody", "all"), ("pitch_range", "60-72", "0-127"),
        ("note_order", "falling", "rising"), ("transpose", 0, "no keys"),
    ],
)  # fmt: skip
def test_init_from_contradicting_option_of_music_is_refused(
    zoo: dict[str, Path], tmp_path: Path, name: str, value: Any, own: Any
) -> None:
    flag = "--" + name.replace("_", "-")
    with pytest.raises(UserError, match=f"{flag} {value} contradicts --init-from, whose model has {own}"):
        seqgen.train(
            str(CORPORA / "tunes"), tmp_path / "m", init_from=zoo["music"], threads=1, steps=1, **{name: value}
        )
    assert not (tmp_path / "m").exists()


def test_init_from_music_takes_the_options_of_its_model(zoo: dict[str, Path], tmp_path: Path) -> None:
    tunes = zoo["music"].parent / "tunes"
    keyed = {"velocity_bins": 4, "transpose": 0, "embedding_size": 4, "seq_length": 16}
    seqgen.train(str(tunes), tmp_path / "a", rnn_size=8, steps=1, threads=1, **keyed)
    for number, options in enumerate(({}, {"velocity_bins": 4, "transpose": 0, "grid": 4}, {"transpose": 3})):
        model = seqgen.train(
            str(tunes), tmp_path / str(number), init_from=tmp_path / "a", steps=1, threads=1, **options
        )
        assert model.codec.to_dict() == seqgen.load(tmp_path / "a").codec.to_dict()
