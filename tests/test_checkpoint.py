"""Model folders: any damage is one clear error."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save, save_file

import seqgen
from seqgen import checkpoint, tokenizers
from seqgen.config import NetworkConfig, TrainOptions
from seqgen.errors import ModelError, UserError
from seqgen.model.weight_shapes import weight_shapes
from tests.helpers.folders import change_config, read_all
from tests.helpers.running import Command, prose
from tests.helpers.training import TINY

PACKAGE = Path(seqgen.__file__).parent


@pytest.fixture(scope="module")
def other_model(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the same shapes and vocabulary size, but of other characters."""
    swapped = text_file.read_text().translate(str.maketrans("abdthoe", "oetbdha"))
    source = tmp_path_factory.mktemp("swapped") / "text.txt"
    source.write_text(swapped)
    folder = source.parent / "other"
    seqgen.train(str(source), folder, steps=2, seed=1, **TINY)
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as error:
        read_all(folder)
    message = str(error.value)
    assert message
    assert "\n" not in message
    assert str(folder) in message
    return message


# ---- Files of a model ----
def test_checkpoint_folder_has_the_documented_files(model_folder: Path) -> None:
    names = {path.name for path in model_folder.iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "metrics.jsonl", "resume", "README.md"}
    assert {path.suffix for path in (model_folder / "resume").iterdir()} == {".json", ".safetensors"}


def test_weights_file_has_only_the_weights(model_folder: Path) -> None:
    loaded = read_all(model_folder)
    held = load_file(model_folder / "model.safetensors")
    assert {name: array.shape for name, array in held.items()} == weight_shapes(loaded.checkpoint.network)
    assert {array.dtype for array in held.values()} == {np.dtype(np.float32)}


def test_card_names_sources_and_command(model_folder: Path, text_file: Path) -> None:
    card = (model_folder / "README.md").read_text()
    config = json.loads((model_folder / "config.json").read_text())
    (source,) = config["data"]["sources"]
    assert card.startswith(f"# {model_folder.name}\n")
    assert str(text_file) in card
    assert source["sha256"][:16] in card
    assert "LSTM" in card
    assert f"seqgen sample {model_folder.name}" in card
    assert "bits_per_character" in card


def test_create_card_title_is_the_model_name(model_folder: Path, tmp_path: Path) -> None:
    loaded = checkpoint.load(model_folder)
    checkpoint.create(tmp_path, loaded.config, loaded.codec, loaded.weights(), "prose")
    assert (tmp_path / "README.md").read_text().startswith("# prose\n")


def test_card_of_many_sources_is_short(model_folder: Path) -> None:
    config = json.loads((model_folder / "config.json").read_text())
    config["data"]["sources"] = config["data"]["sources"] * 500
    text = checkpoint.card(config, "many")
    assert len(text.splitlines()) < 60
    assert "480 more" in text


@pytest.mark.parametrize("kind", ["char", "byte", "subword"])
@pytest.mark.parametrize("tied", [False, True])
def test_create_load_round_trip(kind: str, tied: bool, tmp_path: Path) -> None:
    codec = tokenizers.fit(kind, [prose(200).encode()])
    network = NetworkConfig(codec.vocab_size, rnn_size=12, embedding_size=8, num_layers=2, tie_weights=tied)
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in weight_shapes(network).items()}
    config = {
        "format": 1, "seqgen": "0", "task": "text", "tokenizer": kind, "network": network.__dict__,
        "identity": checkpoint.identity(network, tokenizers.dump(codec)), "data": {"sources": []}, "training": {},
        "metrics": {},
    }  # fmt: skip
    checkpoint.create(tmp_path, config, codec, weights, "roundtrip")
    loaded = checkpoint.load(tmp_path)
    assert loaded.network == network
    assert loaded.config == config
    assert loaded.codec.to_dict() == codec.to_dict()
    read = loaded.weights()
    assert list(read) == list(weight_shapes(network))
    for name, weight in weights.items():
        np.testing.assert_array_equal(read[name], weight)


# ---- Damage: each row changes a copy of a good model; the error must name the file ----
Damage = Callable[[Path, Path], Any]

DAMAGE: list[tuple[str, str, Damage]] = []


def damage(name: str, file: str) -> Callable[[Damage], Damage]:
    """Add a row; the error must name `file`."""

    def add(do: Damage) -> Damage:
        DAMAGE.append((name, file, do))
        return do

    return add


def change_tensors(folder: Path, change: Callable[[dict[str, np.ndarray]], Any], **metadata: str) -> None:
    path = folder / "model.safetensors"
    with safe_open(path, framework="numpy") as file:
        identity = {**file.metadata(), **metadata}
    held = load_file(path)
    change(held)
    save_file(held, path, metadata=identity)


def consistent(folder: Path) -> None:
    """Make the identity match again, as an attacker would; the damage must still be noticed."""
    config = json.loads((folder / "config.json").read_text())
    codec = tokenizers.parse({"tokenizer.json": (folder / "tokenizer.json").read_bytes()})
    network = NetworkConfig(**config["network"])
    identity = checkpoint.identity(network, tokenizers.dump(codec))
    change_config(folder, lambda config: config.update(identity=identity))
    change_tensors(folder, lambda held: None, identity=identity)


for text in ("", "{", "not JSON", "\x00" * 50, '{"format": 1', "[" * 100_000, '{"a": ' * 50_000):
    damage(f"config.json is {text[:9]!r}", "config.json")(
        lambda folder, _, text=text: (folder / "config.json").write_text(text)
    )

for text in ("[]", "7", '"x"', "null", "{}", '{"format": "1"}', '{"format": null}', '{"format": 1.5}'):
    damage(f"config.json holds {text}", "config.json")(
        lambda folder, _, text=text: (folder / "config.json").write_text(text)
    )


@damage("config.json is no UTF-8", "config.json")
def _(folder: Path, other: Path) -> None:
    (folder / "config.json").write_bytes(b'{"format": "\xff\xfe"}')


@damage("config.json missing", "config.json")
def _(folder: Path, other: Path) -> None:
    (folder / "config.json").unlink()


@damage("config.json is a folder", "config.json")
def _(folder: Path, other: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()


@damage("config.json is of another model", "config.json")
def _(folder: Path, other: Path) -> None:
    shutil.copy(other / "config.json", folder)


@damage("a newer format", "upgrade")
def _(folder: Path, other: Path) -> None:
    change_config(folder, lambda config: config.update(format=999))


for change in (
    {"task": "dance"}, {"task": None}, {"task": ["text"]}, {"network": None}, {"network": []}, {"identity": None},
    {"identity": "0" * 64}, {"format": 0}, {"format": -1}, {"data": None}, {"training": 3}, {"metrics": []},
    {"x": [math.nan]}, {"x": -math.inf}, {"tokenizer": "byte"}, {"tokenizer": "x"}, {"tokenizer": None},
):  # fmt: skip
    damage(f"config.json says {change}", "config.json")(
        lambda folder, _, change=change: change_config(folder, lambda config: config.update(change))
    )

for key in ("format", "task", "network", "identity", "data", "training"):
    damage(f"config.json without {key}", "config.json")(
        lambda folder, _, key=key: change_config(folder, lambda config: config.pop(key))
    )

for change in (
    {"cell": "transformer"}, {"cell": None}, {"cell": []}, {"activation": "gelu"}, {"rnn_size": 0}, {"rnn_size": -1},
    {"rnn_size": "32"}, {"rnn_size": 32.0}, {"rnn_size": True}, {"rnn_size": 10**30}, {"rnn_size": 1 << 23},
    {"num_layers": 1 << 23}, {"vocab_size": 10**9}, {"vocab_size": 0}, {"embedding_size": 1 << 40},
    {"dropout": "much"}, {"dropout": float("nan")}, {"tie_weights": "no"}, {"tie_weights": True}, {"surprise": 1},
    {"cell": "gru"}, {"rnn_size": 16}, {"num_layers": 2},
):  # fmt: skip
    damage(f"the network has {change}", "config.json")(
        lambda folder, _, change=change: change_config(folder, lambda config: config["network"].update(change))
    )


@damage("the network has another vocabulary", "tokenizer.json")
def _(folder: Path, other: Path) -> None:
    change_config(folder, lambda config: config["network"].update(vocab_size=1))


@damage("the network lacks its vocabulary", "config.json")
def _(folder: Path, other: Path) -> None:
    change_config(folder, lambda config: config["network"].pop("vocab_size"))


@damage("tokenizer.json missing", "tokenizer.json")
def _(folder: Path, other: Path) -> None:
    (folder / "tokenizer.json").unlink()


@damage("tokenizer.json is a folder", "tokenizer.json")
def _(folder: Path, other: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").mkdir()


for data in (
    b"", b"{", b"[]", b"null", b"{}", b'{"kind": "char"}', b'{"kind": 3}', b'{"kind": ["char"]}', b"\xff\xfe",
    b"[" * 100_000, b'{"kind": "char", "seen": 1, "pieces": []}', b'{"kind": "char", "seen": 1, "pieces": ["ab"]}',
    b'{"kind": "char", "seen": 1, "pieces": 5}',
):  # fmt: skip
    damage(f"tokenizer.json is {data[:40]!r}", "tokenizer.json")(
        lambda folder, _, data=data: (folder / "tokenizer.json").write_bytes(data)
    )


@damage("tokenizer.json of an unknown tokenizer", "wordpiece")
def _(folder: Path, other: Path) -> None:
    (folder / "tokenizer.json").write_text('{"kind": "wordpiece"}')


@damage("tokenizer.json of subwords without their model", "tokenizer.model")
def _(folder: Path, other: Path) -> None:
    (folder / "tokenizer.json").write_text('{"kind": "subword", "model": "../../etc/passwd", "vocab_size": 9}')


@damage("a SentencePiece model of noise", "tokenizer.model")
def _(folder: Path, other: Path) -> None:
    (folder / "tokenizer.json").write_text('{"kind": "subword", "model": "tokenizer.model", "vocab_size": 9}')
    (folder / "tokenizer.model").write_bytes(random.Random(1).randbytes(5000))


@damage("tokenizer.json of another model of the same size", "tokenizer.json")
def _(folder: Path, other: Path) -> None:
    here = json.loads((folder / "tokenizer.json").read_text())
    pieces = json.loads((other / "tokenizer.json").read_text())
    assert len(here["pieces"]) == len(pieces["pieces"]) and here != pieces, "meant to differ in their order alone"
    shutil.copy(other / "tokenizer.json", folder)


@damage("tokenizer.json of another size", "tokenizer.json")
def _(folder: Path, other: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["pieces"].append("Ω")
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


@damage("tokenizer.json counts other ids as seen", "tokenizer.json")
def _(folder: Path, other: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["seen"] += 1
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


@damage("model.safetensors missing", "model.safetensors")
def _(folder: Path, other: Path) -> None:
    (folder / "model.safetensors").unlink()


@damage("model.safetensors is a folder", "model.safetensors")
def _(folder: Path, other: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()


@damage("model.safetensors of another model", "model.safetensors")
def _(folder: Path, other: Path) -> None:
    ours, theirs = load_file(folder / "model.safetensors"), load_file(other / "model.safetensors")
    assert {name: a.shape for name, a in ours.items()} == {name: a.shape for name, a in theirs.items()}
    shutil.copy(other / "model.safetensors", folder)


for size in (0, 1, 7, 8, 9, 100, 400, 1000, 5000, -5000, -100, -4, -1):
    damage(f"model.safetensors cut at {size}", "model.safetensors")(
        lambda folder, _, size=size: (folder / "model.safetensors").write_bytes(
            (folder / "model.safetensors").read_bytes()[:size]
        )
    )

for size in (0, 8, 100, 20_000):
    damage(f"model.safetensors is {size} bytes of noise", "model.safetensors")(
        lambda folder, _, size=size: (folder / "model.safetensors").write_bytes(random.Random(size).randbytes(size))
    )


@damage("something behind the weights", "model.safetensors")
def _(folder: Path, other: Path) -> None:
    with open(folder / "model.safetensors", "ab") as file:
        file.write(b"more")


@damage("weights without an identity", "model.safetensors")
def _(folder: Path, other: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(save(load_file(path)))


def header(folder: Path, text: bytes, rest: bytes = b"", length: int | None = None) -> None:
    start = struct.pack("<Q", len(text) if length is None else length)
    (folder / "model.safetensors").write_bytes(start + text + rest)


@damage("a header that claims terabytes", "model.safetensors")
def _(folder: Path, other: Path) -> None:
    header(folder, b"{}", length=1 << 42)


@damage("a header that claims all there is", "model.safetensors")
def _(folder: Path, other: Path) -> None:
    header(folder, b"{}", length=(1 << 64) - 1)


@damage("a tensor that claims terabytes", "model.safetensors")
def _(folder: Path, other: Path) -> None:
    entry = {"embedding": {"dtype": "F32", "shape": [1 << 20, 1 << 20], "data_offsets": [0, 1 << 42]}}
    header(folder, json.dumps(entry).encode(), b"\0" * 64)


@damage("a tensor whose size overflows", "model.safetensors")
def _(folder: Path, other: Path) -> None:
    entry = {"embedding": {"dtype": "F32", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 64]}}
    header(folder, json.dumps(entry).encode(), b"\0" * 64)


@damage("a header that is deep", "model.safetensors")
def _(folder: Path, other: Path) -> None:
    header(folder, b'{"a":' * 20_000)


@damage("a missing tensor", "model.safetensors")
def _(folder: Path, other: Path) -> None:
    change_tensors(folder, lambda held: held.pop("layers.0.bias"))


@damage("an extra tensor", "model.safetensors")
def _(folder: Path, other: Path) -> None:
    change_tensors(folder, lambda held: held.update(more=np.zeros(3, np.float32)))


@damage("a tensor of another shape", "model.safetensors")
def _(folder: Path, other: Path) -> None:
    change_tensors(folder, lambda held: held.update(output_bias=held["output_bias"][:-1]))


@damage("a tensor turned on its side", "model.safetensors")
def _(folder: Path, other: Path) -> None:
    turned = "layers.0.recurrent_weight"
    change_tensors(folder, lambda held: held.update({turned: np.ascontiguousarray(held[turned].T)}))


for kind in (np.float16, np.float64, np.int32):
    damage(f"a tensor of type {kind.__name__}", "model.safetensors")(
        lambda folder, _, kind=kind: change_tensors(
            folder, lambda held: held.update(embedding=held["embedding"].astype(kind))
        )
    )

for value in (np.nan, np.inf, -np.inf):
    damage(f"a weight that is {value}", "model.safetensors")(
        lambda folder, _, value=value: change_tensors(
            folder, lambda held: held["layers.0.input_weight"].__setitem__((3, 2), value)
        )
    )


@damage("consistent, but of another shape", "model.safetensors")
def _(folder: Path, other: Path) -> None:
    change_config(folder, lambda config: config["network"].update(rnn_size=16))
    consistent(folder)


@damage("consistent, but of another cell", "model.safetensors")
def _(folder: Path, other: Path) -> None:
    change_config(folder, lambda config: config["network"].update(cell="gru"))
    consistent(folder)


@damage("consistent, and as wide as can be", "model.safetensors")
def _(folder: Path, other: Path) -> None:
    change_config(folder, lambda config: config["network"].update(rnn_size=1 << 16, embedding_size=1 << 16))
    consistent(folder)


@damage("for dialogue, which has a codec of its own", "a model for dialogue does not read")
def _(folder: Path, other: Path) -> None:
    change_config(folder, lambda config: config.update(task="dialogue"))


@pytest.mark.parametrize(("name", "file", "do"), DAMAGE, ids=[name for name, _, _ in DAMAGE])
def test_load_damaged_model_raises_error_that_names_the_file(
    name: str, file: str, do: Damage, model_copy: Path, other_model: Path
) -> None:
    do(model_copy, other_model)
    assert file in refusal(model_copy)


def test_load_absurd_network_is_refused_before_allocation(model_copy: Path) -> None:
    """Even if the identity matches: the list of its weights alone would fill the memory."""
    change_config(model_copy, lambda config: config["network"].update(num_layers=1 << 23))
    with pytest.raises(UserError):
        consistent(model_copy)
        checkpoint.load(model_copy)  # stops here, or it would fill the memory


@pytest.mark.parametrize("settings", [{"dropout": "much"}, {"dropout": -1.0}, {"weight_drop": 2}, {"dropout": None}])
def test_network_config_invalid_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(settings))):
        NetworkConfig(10, **settings)


def test_load_other_folder_raises_model_error(tmp_path: Path, text_file: Path) -> None:
    assert "no model" in refusal(tmp_path / "missing")
    assert "is a file" in refusal(text_file)
    (tmp_path / "empty").mkdir()
    assert "config.json" in refusal(tmp_path / "empty")


@pytest.mark.parametrize("arguments", [("sample",), ("info",), ("score",), ("evaluate", "x.txt"), ("tokenize",)])
def test_commands_report_damage_in_one_line(
    arguments: tuple[str, ...], model_copy: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from seqgen.cli.main import main

    path = model_copy / "config.json"
    path.write_bytes(path.read_bytes()[:100])
    command, *rest = arguments
    assert main([command, str(model_copy), *rest]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("seqgen: error: ")
    assert "config.json" in captured.err


def test_load_ignores_other_files(model_copy: Path) -> None:
    """Leftovers of a kill, and files that a user added."""
    (model_copy / ".model.safetensors.abc.part").write_bytes(b"half")
    (model_copy / "notes.txt").write_text("good at sonnets")
    read_all(model_copy)


def test_load_ignores_damaged_metrics(model_copy: Path) -> None:
    for damaged in ('{"step": 1}\n{"ste', '{"step": 1, "val_loss": NaN}', '{"step": 1, "val_loss": 1e999}'):
        (model_copy / "metrics.jsonl").write_text(damaged)
        assert checkpoint.read_metrics(model_copy) == []
    read_all(model_copy)
    (model_copy / "metrics.jsonl").unlink()
    assert checkpoint.read_metrics(model_copy) == []


def test_load_file_of_more_than_the_limit_is_refused(model_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its size is looked at before it is read. The default is 64 MiB."""
    assert checkpoint._MAX_FILE_BYTES == 64 << 20
    sizes = [(model_copy / name).stat().st_size for name in ("config.json", "tokenizer.json")]
    monkeypatch.setattr(checkpoint, "_MAX_FILE_BYTES", max(sizes))
    read_all(model_copy)
    monkeypatch.setattr(checkpoint, "_MAX_FILE_BYTES", max(sizes) - 1)
    assert "is larger than" in refusal(model_copy)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" + "[]," * (20 << 20) + "[]]", "more than 262,144 arrays and objects"),
        ("[" + "1," * (30 << 20) + "1]", "more than 2,097,152 values"),
    ],
    ids=["arrays", "numbers"],
)
def test_load_json_of_60_mebibytes_is_refused_in_two_seconds(model_copy: Path, text: str, said: str) -> None:
    (model_copy / "config.json").write_text(text)
    began = time.process_time()
    assert said in refusal(model_copy)
    assert time.process_time() - began < 2


# ---- What a checkpoint tells ----


def test_options_are_those_that_this_version_knows(model_copy: Path) -> None:
    loaded = checkpoint.load(model_copy)
    assert loaded.options.rnn_size == 32 and loaded.options.seed == 1
    change_config(model_copy, lambda config: config["training"]["options"].update(of_the_future=3))
    assert checkpoint.load(model_copy).options == loaded.options
    for wrong in ("none", [1], {"rnn_size": "many"}, {"rnn_size": -1}):
        change_config(model_copy, lambda config, wrong=wrong: config["training"].update(options=wrong))
        with pytest.raises(ModelError, match=r"config\.json' is damaged: training options"):
            checkpoint.load(model_copy).options  # noqa: B018
    change_config(model_copy, lambda config: config["training"].pop("options"))
    assert checkpoint.load(model_copy).options == TrainOptions()  # those of old models


def test_card_tells_networks_sources_and_metrics(model_folder: Path) -> None:
    config = json.loads((model_folder / "config.json").read_text())
    source = config["data"]["sources"][0]
    config["data"]["sources"] = [{**source, "name": f"{number}.txt"} for number in range(20)]
    config.update(metrics={"a_loss": 1.23456, "steps": 3}, finished=False)
    card = checkpoint.card(config, "name\nwith \x1b[31ma line")
    assert card.startswith("# name with \u241b[31ma line\n") and "\x1b" not in card
    assert "- 19.txt (" in card and "more" not in card and "networks that were" not in card
    assert "- a_loss: 1.2346\n" in card and "steps" not in card and "none yet" not in card
    assert "(1 × 32 units) for text, trained with seqgen" in card and "was learnt too" not in card
    config["data"]["sources"].append(source)
    config.update(metrics={}, members=[{}, {}], finished=True)
    card = checkpoint.card(config, "name")
    assert "- and 1 more\n" in card and "- none yet\n" in card
    assert "The mean of 3 networks that were trained one after another.\n" in card
    assert "The validation set was learnt too" in card


def test_fingerprint_depends_on_weights_and_identity(model_copy: Path, tmp_path: Path) -> None:
    before = checkpoint.load(model_copy).fingerprint
    assert len(before) == 32 and int(before, 16) >= 0
    other = Path(shutil.copytree(model_copy, tmp_path / "other"))
    assert checkpoint.load(other).fingerprint == before
    change_tensors(other, lambda held: held["output_bias"].__iadd__(1))
    changed = checkpoint.load(other)
    assert changed.fingerprint != before
    (other / "model.safetensors").unlink()
    assert changed.fingerprint  # computed once
    with pytest.raises(ModelError, match=r"cannot read .*model\.safetensors': No such file"):
        checkpoint.load(other).fingerprint  # noqa: B018
    assert (
        dataclasses.replace(changed, folder=model_copy, config={**changed.config, "identity": "x"}).fingerprint
        != before
    )


def test_sources_of_leaves_out_malformed_entries() -> None:
    good = {"name": "a.txt", "bytes": 3, "sha256": "0" * 64}
    listed = [
        good,
        "a.txt",
        None,
        {**good, "bytes": "3"},
        {**good, "sha256": None},
        {"name": "a.txt"},
        {**good, "more": 1},
    ]
    config = {"data": {"sources": listed, "valid_sources": {"name": "a"}}}
    assert checkpoint.sources_of(config) == [good, {**good, "more": 1}]
    assert checkpoint.sources_of(config, "valid_sources") == [] == checkpoint.sources_of({"data": {}})


@pytest.mark.parametrize(
    ("cost", "expected"), [(0.005, True), (-0.1, True), (0.0051, False), (None, False), ("0", False), (0, False)]
)
def test_may_be_rounded_if_it_was_measured_and_costs_little(cost: Any, expected: bool, model_copy: Path) -> None:
    change_config(model_copy, lambda config: config.update(rounding_bits_per_token=cost))
    assert checkpoint.load(model_copy).may_be_rounded is expected


def test_configurations_of_another_task_are_refused() -> None:
    uses = {"language_config": "write or score", "classifier_config": "one for classify", "codec": "tables of numbers",
            "forecaster_config": "one for forecast", "scaler": "can't forecast"}  # fmt: skip
    for name, own in {"tidewater-lstm": {"language_config", "codec"}, "reviews-lstm": {"classifier_config", "codec"},
                      "weather-gru": {"forecaster_config", "scaler"}}.items():  # fmt: skip
        loaded = checkpoint.load(Path(__file__).parent / "golden" / "models" / name)
        for use, message in uses.items():
            if use in own:
                assert getattr(loaded, use) in (loaded.network, loaded.preprocessor)
            else:
                with pytest.raises(ModelError, match=f"this is a model for {loaded.task}.*{message}"):
                    getattr(loaded, use)


def test_metrics_are_read_back_and_never_hold_what_is_no_json(tmp_path: Path) -> None:
    records = [{"step": 1, "val_loss": 2.5}, {"step": 2, "val_loss": None, "名": "é"}]
    checkpoint.write_metrics(tmp_path, records)
    assert checkpoint.read_metrics(tmp_path) == records
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not JSON compliant"):
            checkpoint.write_metrics(tmp_path, [{"step": 3, "val_loss": value}])
        assert checkpoint.finite_or_none(value) is None
    assert checkpoint.read_metrics(tmp_path) == records and checkpoint.finite_or_none(0.5) == 0.5
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n[2]\n{"step": "3"}\n{"loss": 4}\n7\n')
    assert checkpoint.read_metrics(tmp_path) == [{"step": 1}]


def test_pretrained_weights_are_read_back_or_refused(tmp_path: Path) -> None:
    network = NetworkConfig(9, rnn_size=4, embedding_size=3)
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in weight_shapes(network).items()}
    path = tmp_path / "resume" / "pretrained.safetensors"
    with pytest.raises(ModelError, match="training can't be resumed"):
        checkpoint.read_pretrained(tmp_path, network)
    checkpoint.write_pretrained(tmp_path, weights)
    read = checkpoint.read_pretrained(tmp_path, network)
    assert read.keys() == weights.keys() and all(np.array_equal(read[name], weights[name]) for name in weights)
    bias = weights["output_bias"]
    for wrong in ({"output_bias": bias[:-1]}, {"output_bias": bias.astype(np.float64)}, {"more": bias},
                  {"output_bias": np.full_like(bias, np.nan)}):  # fmt: skip
        checkpoint.write_pretrained(tmp_path, {**weights, **wrong})
        with pytest.raises(ModelError, match=f"is damaged.*: '?{next(iter(wrong))}"):
            checkpoint.read_pretrained(tmp_path, network)
    good = path.read_bytes()
    for wrong_bytes in (good[:-1], good.replace(b'"F32"', b'"F16"', 1)):
        path.write_bytes(wrong_bytes)
        with pytest.raises(ModelError, match=r"pretrained\.safetensors' is damaged"):
            checkpoint.read_pretrained(tmp_path, network)


@pytest.mark.slow
def test_load_model_of_the_command(text_file: Path, tmp_path: Path, seqgen_command: Command) -> None:
    """The command writes a model that the library reads."""
    flags = [argument for name, value in TINY.items() for argument in ("--" + name.replace("_", "-"), value)]
    result = seqgen_command("train", text_file, "-o", tmp_path / "m", "--steps", 2, *flags)
    assert result.returncode == 0, result.stderr
    assert result.stdout == b""
    read_all(tmp_path / "m")


@pytest.mark.parametrize("wrong", [-1.0, 0.5, float(1 << 24)])
def test_weights_with_impossible_ngram_buckets_are_refused(wrong: float, tmp_path: Path) -> None:
    """They index a table."""
    folder = Path(shutil.copytree(Path(__file__).parent / "golden" / "models" / "reviews-lstm", tmp_path / "m"))
    checkpoint.load(folder).weights()
    change_tensors(folder, lambda held: held["wide_keys"].__setitem__(0, wrong))
    with pytest.raises(ModelError, match=r"model\.safetensors': wide_keys has values that are not n-gram buckets"):
        checkpoint.load(folder).weights()
