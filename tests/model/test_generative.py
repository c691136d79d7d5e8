"""The generative classifier: its codec, its arithmetic, and the command that trains it, writes and sorts with it."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import seqgen
from seqgen import tokenizers
from seqgen.config import GenerativeConfig, NetworkConfig, from_json, network_config_class
from seqgen.errors import ModelError, UserError
from seqgen.generation.engines.base import make_engine
from seqgen.model.generative import GenerativeClassifier, build_language_model
from seqgen.model.weight_shapes import weight_shapes
from seqgen.specs.cells import CELLS
from seqgen.tokenizers.characters import ByteCodec
from seqgen.tokenizers.labelled import LabelledCodec
from seqgen.training.objectives.classification import fit_mixture_weights
from tests.helpers.running import Run

TINY = ["--rnn-size", "24", "--batch-size", "8", "--threads", "1", "--precision", "fp32", "--tokenizer", "char"]
WORDS = {"sun": ["light", "warm", "noon", "gold"], "moon": ["dim", "cold", "night", "pale"]}


def table(path: Path, count: int = 120, seed: int = 0) -> Path:
    """Texts of three words of their label and one that any may have."""
    chance = random.Random(seed)
    rows = ["text,label"]
    for number in range(count):
        label = list(WORDS)[number % 2]
        words = [chance.choice(WORDS[label]) for _ in range(3)]
        words.insert(chance.randrange(4), chance.choice(["sky", "sea"]))
        rows.append(f"{' '.join(words)},{label}")
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("generative")
    seqgen.train(
        str(table(folder / "sky.csv")), folder / "sky", generative=True, tokenizer="char", steps=500, rnn_size=40,
        batch_size=8, threads=1, precision="fp32",
    )  # fmt: skip
    yield folder / "sky"


# ---- the codec ----


@given(st.binary(max_size=60), st.integers(0, 2))
def test_a_record_is_its_label_and_its_text_and_no_text_forges_a_label(data: bytes, label: int) -> None:
    codec = LabelledCodec(ByteCodec(), 3)
    ids = codec.encode_record(label, data)
    assert ids[0] == label
    assert (ids[1:] >= 3).all()
    assert (ids != codec.end).all()
    assert tokenizers.decode(codec, ids) == data
    assert tokenizers.decode(codec, codec.encode(data)) == data


def test_its_file_to_the_byte() -> None:
    codec = LabelledCodec(ByteCodec(), 3)
    files = tokenizers.dump(codec)
    assert files == {"tokenizer.json": b'{"kind":"labelled","labels":3,"text":{"kind":"byte"}}\n'}
    again = tokenizers.parse(files)
    assert (again.vocab_size, again.end, again.num_seen()) == (codec.vocab_size, codec.end, codec.num_seen())
    assert again.pieces()[:3] == [None] * 3
    assert len(again.pieces()) == again.vocab_size


@pytest.mark.parametrize(
    "damaged",
    [
        {"labels": 3},
        {"labels": 3, "text": "byte"},
        {"labels": 3, "text": {"kind": "labelled", "labels": 2, "text": {"kind": "byte"}}},
        {"labels": True, "text": {"kind": "byte"}},
        {"labels": "3", "text": {"kind": "byte"}},
        {"labels": 1, "text": {"kind": "byte"}},
        {"labels": 1 << 40, "text": {"kind": "byte"}},
        {"text": {"kind": "byte"}},
    ],
)
def test_a_damaged_table_is_refused(damaged: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        tokenizers.parse({"tokenizer.json": json.dumps({"kind": "labelled", **damaged}).encode()})


# ---- the arithmetic ----


def network(cell: str = "lstm", **changes: Any) -> GenerativeClassifier:
    settings = {
        "vocab_size": 12,
        "cell": cell,
        "rnn_size": 7,
        "embedding_size": 5,
        "labels": ("a", "b", "c"),
        **changes,
    }
    made = GenerativeClassifier(GenerativeConfig(**settings), torch.Generator().manual_seed(4))
    with torch.no_grad():
        made.output_bias.normal_(generator=torch.Generator().manual_seed(5))
    return made.eval()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("tied", [False, True])
def test_the_likelihood_is_the_sum_of_what_each_step_gives(cell: str, tied: bool) -> None:
    made = network(cell, tie_weights=tied)
    texts = [np.array([4, 5, 6, 4]), np.array([], dtype=np.int64), np.array([11] * 9), np.array([7])]
    end = 3
    found = made.log_likelihoods(texts, end)
    assert found.shape == (4, 3)
    for number, text in enumerate(texts):
        for label in range(3):
            ids = [end, label, *text.tolist(), end]
            with torch.no_grad():
                hidden, _ = made(torch.tensor(ids[:-1])[:, None], made.initial(1))
                steps = made.logits(hidden[:, 0]).log_softmax(1)
            expected = sum(float(steps[place, ids[place + 1]]) for place in range(1, len(ids) - 1))
            assert float(found[number, label]) == pytest.approx(expected, abs=1e-4)


def test_a_text_is_worth_the_same_alone_and_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    made = network()
    chance = np.random.default_rng(0)
    texts = [chance.integers(4, 12, size=size) for size in (1, 3, 200, 17, 0, 64)]
    together = made.log_likelihoods(texts, 3)
    for number, text in enumerate(texts):
        torch.testing.assert_close(made.log_likelihoods([text], 3)[0], together[number], atol=1e-3, rtol=1e-5)
    monkeypatch.setattr("seqgen.model.generative._LOGITS", 100)
    torch.testing.assert_close(made.log_likelihoods(texts, 3), together, atol=1e-3, rtol=1e-5)


def test_the_longest_texts_are_read_to_their_limit() -> None:
    made = network()
    long = np.full(5000, 4)
    other = long.copy()
    other[4096:] = 9
    assert torch.equal(made.log_likelihoods([long], 3), made.log_likelihoods([other], 3))


def test_bayes_rule_in_four_numbers() -> None:
    made = network(labels=("a", "b"))
    with torch.no_grad():
        made.mix.fill_(0.5)
        made.shift.copy_(torch.tensor([0.0, 0.1]))
        made.prior.copy_(torch.tensor([0.75, 0.25]).log())
    shares = made.calibrated(torch.tensor([[-4.0, -2.0]])).softmax(1)[0]
    odds = math.exp(-2) * 0.75 / (math.exp(-1) * 0.25 * math.exp(0.1))
    assert float(shares[0] / shares[1]) == pytest.approx(odds, rel=1e-5)


def test_a_fitted_weight_tames_a_model_that_is_too_sure() -> None:
    chance = torch.Generator().manual_seed(0)
    true = torch.randint(2, (400,), generator=chance)
    evidence = torch.where(true == 1, 1.0, -1.0) + torch.randn(400, generator=chance)
    sure = torch.stack([-10 * evidence, 10 * evidence], dim=1)  # honest would be a tenth of it
    mix, shift = fit_mixture_weights([sure], torch.nn.functional.one_hot(true, 2).float(), False, torch.zeros(2))
    assert 0.05 < float(mix[0]) < 0.2
    assert float(shift.abs().max()) < 0.3


@pytest.mark.parametrize("cell", CELLS)
def test_both_engines_write_with_its_weights(cell: str) -> None:
    made = network(cell)
    weights = {name: weight.numpy() for name, weight in made.state_dict().items()}
    assert {name: weight.shape for name, weight in weights.items()} == weight_shapes(made.config)
    logits = []
    for name in ("light", "torch"):
        engine = make_engine(made.config, weights, name)
        state = engine.read(np.array([3]), engine.initial(1))
        logits.append(engine.step(np.array([1]), state)[0])
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-5)


def test_its_configuration_is_told_from_the_other_kind() -> None:
    made = network().config
    kept = json.loads(json.dumps(dataclasses.asdict(made)))
    assert network_config_class("classify", kept) is GenerativeConfig
    assert from_json(GenerativeConfig, kept) == made
    assert not made.multi
    assert isinstance(build_language_model(made), GenerativeClassifier)
    assert not isinstance(build_language_model(NetworkConfig(12, rnn_size=4, embedding_size=4)), GenerativeClassifier)
    with pytest.raises(UserError):
        GenerativeConfig(vocab_size=12, labels=("a", "a"))


# ---- the command ----


def test_it_sorts_what_it_has_not_seen(model: Path, run: Run, tmp_path: Path) -> None:
    result = run("evaluate", model, table(tmp_path / "new.csv", 100, seed=9), "--json", "--no-baselines").json
    assert result["metrics"]["accuracy"] > 0.9
    lines = run("classify", model, "-", stdin=b"pale cold night sea\n\nwarm gold noon sky\n\xff\xfe\n").lines
    assert [line.split("\t")[0] for line in (lines[0], lines[2])] == ["moon", "sun"]
    assert lines[1].split("\t")[1] == "0.5000"  # nothing was said
    assert len(lines) == 4


def test_it_writes_texts_of_a_label(model: Path, run: Run) -> None:
    for label, own in WORDS.items():
        samples = run("sample", model, "--label", label, "-n", "12", "--json", "-t", "0.5", "-l", "60").records
        text = " ".join(sample["text"] for sample in samples)
        other = [word for words in WORDS.values() if words is not own for word in words]
        assert sum(map(text.count, own)) > 4 * sum(map(text.count, other))
        assert sum(sample["finish_reason"] == "end" for sample in samples) > 6
    light = run("sample", model, "--label", "sun", "--prompt", "no", "--seed", "3", "--exact").text
    assert light.startswith("no")
    assert run("sample", model, "--label", "sun", "-p", "no", "--seed", "3", "--engine", "torch").text == light
    again = seqgen.load(model, exact=True).sample("no", label="sun", seed=3)[0]
    assert "no" + again.text == light


def test_its_page_says_what_it_is(model: Path, run: Run) -> None:
    page = run("info", model).text
    assert "Bayes" in page
    assert "108 texts to train on, 12 held out" in page
    assert 0 <= run("info", model, "--json").json["metrics"]["log_loss"] < 0.7


def test_it_goes_on_where_it_was(run: Run, tmp_path: Path) -> None:
    data = table(tmp_path / "sky.csv", 60)
    run("train", data, "--generative", "-o", tmp_path / "whole", "--steps", "12", *TINY)
    run("train", data, "--generative", "-o", tmp_path / "parts", "--steps", "12", *TINY)
    run("train", "--resume", "-o", tmp_path / "parts", "--steps", "20")
    run("train", "--resume", "-o", tmp_path / "whole", "--steps", "20")
    one, other = (seqgen.load(tmp_path / name).checkpoint.weights() for name in ("whole", "parts"))
    for name, weight in one.items():
        np.testing.assert_array_equal(weight, other[name])


def test_it_starts_from_a_model_for_text(run: Run, tmp_path: Path) -> None:
    (tmp_path / "talk.txt").write_text("light and dim, warm and cold, noon and night\n" * 40)
    run("train", tmp_path / "talk.txt", "-o", tmp_path / "text", "--steps", "5", *TINY)
    data = table(tmp_path / "sky.csv", 60)
    run("train", data, "--task", "classify", "--generative", "--init-from", tmp_path / "text", "-o", tmp_path / "both",
        "--steps", "1", "--threads", "1", "--precision", "fp32", "--learning-rate", "1e-9")  # fmt: skip
    old, new = (seqgen.load(tmp_path / name) for name in ("text", "both"))
    before, after = old.checkpoint.weights(), new.checkpoint.weights()
    rows = len(before["embedding"])
    for name in ("embedding", "output_weight", "output_bias"):
        np.testing.assert_allclose(after[name][2 : 2 + rows], before[name], atol=1e-6)
    np.testing.assert_allclose(after["layers.0.recurrent_weight"], before["layers.0.recurrent_weight"], atol=1e-6)
    letter = old.codec.encode(b"l")[0]
    assert new.codec.encode(b"l")[0] == letter + 2
    run("train", data, "--generative", "--init-from", tmp_path / "both", "-o", tmp_path / "more", "--steps", "1")
    said = run("train", data, "--init-from", tmp_path / "both", "-o", tmp_path / "not", "--steps", "1", status=2).err
    assert "which only --generative can go on with" in said
    other = tmp_path / "other.csv"
    other.write_text("text,label\n" + "".join(f"word {n},{'xyz'[n % 3]}\n" for n in range(30)))
    said = run("train", other, "--generative", "--init-from", tmp_path / "both", "-o", tmp_path / "no", status=2).err
    assert "generative one of these labels" in said


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--ngrams", "2"], "--ngrams cannot be used with --generative"),
        (["--direction", "forward"], "--direction cannot be used with --generative"),
        (["--balance"], "--balance cannot be used with --generative"),
        (["--label-smoothing", "0.1"], "--label-smoothing cannot be used with --generative"),
        (["--pretrain", "0.5"], "--pretrain cannot be used with --generative"),
    ],
)
def test_what_does_not_go_with_it(flags: list[str], line: str, run: Run, tmp_path: Path) -> None:
    said = run("train", table(tmp_path / "a.csv"), "--generative", *flags, "-o", tmp_path / "m", status=2).err
    assert line in said
    assert said.count("\n") == 1
    assert not (tmp_path / "m").exists()


def test_texts_of_several_labels_are_refused(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "many.txt"
    path.write_text("".join(f"__label__a __label__b words {n}\n__label__b more {n}\n" for n in range(30)))
    said = run("train", path, "--task", "classify", "--generative", "-o", tmp_path / "m", status=2).err
    assert "--generative needs texts with one label each" in said


def test_labels_that_can_not_be_written(model: Path, model_folder: Path, run: Run, tmp_path: Path) -> None:
    assert "--label must be one of this model's labels: moon, sun" in run("sample", model, status=2).err
    assert "not 'star'" in run("sample", model, "--label", "star", status=2).err
    assert "for models trained with --generative" in run("sample", model_folder, "--label", "sun", status=2).err
    run("train", table(tmp_path / "a.csv"), "--task", "classify", "-o", tmp_path / "plain", "--steps", "1",
        "--rnn-size", "8", "--threads", "1")  # fmt: skip
    said = run("sample", tmp_path / "plain", status=2).err
    assert "`train --generative` makes one that does both" in said


def test_a_folder_whose_labels_do_not_fit_is_refused(model: Path, tmp_path: Path, run: Run) -> None:
    import shutil

    from seqgen.checkpoint import identity

    shutil.copytree(model, tmp_path / "odd")
    config = json.loads((tmp_path / "odd" / "config.json").read_text())
    config["network"]["labels"] = ["a", "b", "c"]
    files = {"tokenizer.json": (tmp_path / "odd" / "tokenizer.json").read_bytes()}
    config["identity"] = identity(from_json(GenerativeConfig, config["network"]), files)
    (tmp_path / "odd" / "config.json").write_text(json.dumps(config))
    assert "it has 2 labels" in run("classify", tmp_path / "odd", "-", stdin=b"x\n", status=2).err
