"""Several networks in a model: trained one after another, saved with each, and resumed."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqgen
from seqgen import checkpoint
from seqgen.api.train import folder as model_folders
from seqgen.api.train.watch import Watcher
from seqgen.errors import ModelError, UserError
from seqgen.training.loop import Event, Validated
from tests.helpers.classifiers import made_up_reviews
from tests.helpers.training import Killed, kill_after, saved_weights

OPTIONS: dict[str, Any] = {
    "task": "classify", "tokenizer": "byte", "rnn_size": 8, "embedding_size": 4, "precision": "fp32", "threads": 1,
    "steps": 4, "seed": 3, "ngrams": 1,
}  # fmt: skip
TEXTS = [b"w1 w2 fine w3", b"poor w5", b""]


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts, targets = made_up_reviews(120)
    path = tmp_path_factory.mktemp("reviews") / "reviews.tsv"
    lines = [
        f"{'bad' if label else 'good'}\t{text.decode()}\n" for text, label in zip(texts, targets[:, 0], strict=True)
    ]
    path.write_text("".join(lines))
    return path


@pytest.fixture(scope="module")
def three(reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("three") / "m"
    seqgen.train(str(reviews), folder, members=3, **OPTIONS)
    return folder


def probabilities(folder: Path) -> np.ndarray:
    from seqgen.api.classifying import make_classifier

    return make_classifier(seqgen.load(folder))(TEXTS)


def test_train_members_are_saved_and_listed(three: Path) -> None:
    loaded = checkpoint.load(three)
    assert len(loaded.networks) == 3
    first, *others = loaded.networks
    assert first.features > 0  # type: ignore[union-attr]
    assert [member.features for member in others] == [0, 0]  # type: ignore[union-attr]
    weights = [each["embedding"].tobytes() for each in loaded.all_weights()]
    assert len(set(weights)) == 3 and loaded.weights()["embedding"].tobytes() == weights[0]
    assert "mean of 3 networks" in (three / "README.md").read_text()
    assert seqgen.load(three).info()["parameters"] == sum(
        weight.size for each in loaded.all_weights() for weight in each.values()
    )


def test_train_members_hold_out_different_texts(reviews: Path, tmp_path: Path) -> None:
    held: list[set[bytes]] = []
    watch = Watcher(started=lambda training: held.append(set(training.data.held_texts)))
    seqgen.train(str(reviews), tmp_path / "m", watch=watch, members=3, **{**OPTIONS, "steps": 1})
    assert [len(texts) for texts in held] == [12, 12, 12]
    assert not held[0] & held[1] and not held[1] & held[2] and not held[0] & held[2]


def test_train_without_finishing_learns_no_held_out_text(reviews: Path, tmp_path: Path) -> None:
    """No network, and no linear model: texts that were held out are measured afterwards as they were before."""
    held: list[set[bytes]] = []
    watch = Watcher(started=lambda training: held.append(set(training.data.held_texts)))
    for members in (1, 2):
        seqgen.train(str(reviews), tmp_path / str(members), watch=watch, members=members, finish=False, **OPTIONS)
    assert len(held) == 3 and held[0] == held[1] == held[2]
    lines = [line for line in reviews.read_text().splitlines() if line.split("\t")[1].encode() in held[0]]
    (tmp_path / "held.tsv").write_text("\n".join(lines) + "\n")
    found = seqgen.load(tmp_path / "1").evaluate(str(tmp_path / "held.tsv"), baselines=False)["metrics"]
    measured = checkpoint.load(tmp_path / "1").config["metrics"]
    assert found["log_loss"] == pytest.approx(measured["log_loss"], rel=1e-4)


@pytest.mark.parametrize("after", [6, 12, 20])
def test_resume_killed_members_gives_the_same_model(after: int, three: Path, reviews: Path, tmp_path: Path) -> None:
    """Events of a network: four steps, each validated, and its end."""
    folder = tmp_path / "m"
    with pytest.raises(Killed):
        seqgen.train(str(reviews), folder, watch=kill_after(after), members=3, **OPTIONS)
    assert len(checkpoint.load(folder).networks) == max(1, (after - 1) // 9)
    assert probabilities(folder).shape == (3, 2)
    seqgen.train(str(reviews), folder, resume=True)
    assert saved_weights(folder) == saved_weights(three)
    np.testing.assert_array_equal(probabilities(folder), probabilities(three))


def test_add_member_killed_between_its_writes_leaves_a_model(
    three: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, writes = tmp_path / "m", 0
    write = checkpoint.write_config

    def killed(*arguments: Any) -> None:
        nonlocal writes
        writes += len(arguments[1].get("members", []))
        if writes > 1:
            raise Killed
        write(*arguments)

    monkeypatch.setattr(model_folders.checkpoint, "write_config", killed)
    with pytest.raises(Killed):
        seqgen.train(str(reviews), folder, members=3, **OPTIONS)
    monkeypatch.undo()
    assert any(name.startswith("member.2.") for name in saved_weights(folder))
    assert len(checkpoint.load(folder).networks) == 2
    probabilities(folder)
    seqgen.train(str(reviews), folder, resume=True, members=3, **OPTIONS)  # the same command
    assert saved_weights(folder) == saved_weights(three)


def test_resume_with_more_members_adds_them(reviews: Path, three: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    seqgen.train(str(reviews), folder, members=2, **OPTIONS)
    seqgen.train(str(reviews), folder, resume=True, members=3)
    assert saved_weights(folder) == saved_weights(three)
    with pytest.raises(UserError, match="has 3 networks already"):
        seqgen.train(str(reviews), folder, resume=True, steps=9)


def test_resume_killed_in_pretraining_counts_the_first_validation_once(reviews: Path, tmp_path: Path) -> None:
    """It is made before pretraining, and a resumed run begins that anew."""
    options = {**OPTIONS, "pretrain": 0.5, "learning_rate": 1e-9, "val_fraction": 0.2}
    positions = []
    for name, watch in (("whole", None), ("killed", kill_after(1))):
        with contextlib.suppress(Killed):
            seqgen.train(str(reviews), tmp_path / name, watch=watch, **options)
        positions.append(checkpoint.read_resume(tmp_path / name)[1])
    assert (positions[1]["step"], positions[1]["worse"]) == (0, 0)
    seqgen.train(str(reviews), tmp_path / "killed", resume=True)
    resumed = checkpoint.read_resume(tmp_path / "killed")[1]
    assert {name: resumed[name] for name in ("step", "worse", "best_step")} == {
        name: positions[0][name] for name in ("step", "worse", "best_step")
    }
    assert positions[0]["worse"] > 0


def test_resume_without_all_pretrained_weights_raises_model_error(reviews: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    seqgen.train(str(reviews), folder, members=2, pretrain=0.5, **OPTIONS)
    pretrained = checkpoint.read_pretrained(folder, checkpoint.load(folder).network)
    checkpoint.write_pretrained(folder, {name: weight for name, weight in pretrained.items() if name != "embedding"})
    with pytest.raises(ModelError, match="the pretrained weights are not of its network"):
        seqgen.train(str(reviews), folder, resume=True, members=3)
    checkpoint.write_pretrained(folder, pretrained)
    seqgen.train(str(reviews), folder, resume=True, members=3)
    assert len(checkpoint.load(folder).networks) == 3


def test_resume_adds_networks_to_a_pretrained_run_of_one(reviews: Path, tmp_path: Path) -> None:
    """They start from the pretrained weights; from new ones if a run of an older version did not keep those."""
    options = {**OPTIONS, "pretrain": 0.5}
    seqgen.train(str(reviews), tmp_path / "two", members=2, **options)
    seqgen.train(str(reviews), tmp_path / "one", **options)
    shutil.copytree(tmp_path / "one", tmp_path / "old")
    seqgen.train([], tmp_path / "one", resume=True, members=2)
    assert saved_weights(tmp_path / "one") == saved_weights(tmp_path / "two")
    (tmp_path / "old" / "resume" / "pretrained.safetensors").unlink()
    for count in (2, 3):
        warnings: list[str] = []
        seqgen.train([], tmp_path / "old", resume=True, members=count, watch=Watcher(warn=warnings.append))
        assert len(checkpoint.load(tmp_path / "old").networks) == count
        assert warnings == ["the run did not keep the weights of its pretraining: further networks start without them"]
    assert saved_weights(tmp_path / "old") != saved_weights(tmp_path / "one")


def test_stop_keeps_the_networks_that_are_done(reviews: Path, tmp_path: Path) -> None:
    events: list[Event] = []

    def stop() -> bool:
        return sum(isinstance(event, Validated) for event in events) == 6

    seqgen.train(str(reviews), tmp_path / "m", watch=Watcher(event=events.append, stop=stop), members=3, **OPTIONS)
    assert len(checkpoint.load(tmp_path / "m").networks) == 1


def test_train_members_with_valid_share_the_validation_set(reviews: Path, tmp_path: Path) -> None:
    held: list[int] = []
    watch = Watcher(started=lambda training: held.append(len(training.data.held_texts)))
    folder = tmp_path / "m"
    seqgen.train(str(reviews), folder, valid=str(reviews), watch=watch, members=2, **OPTIONS)
    assert held == [120, 120]
    assert len(checkpoint.load(folder).networks) == 2


def test_train_budget_is_divided_between_members(reviews: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    seqgen.train(str(reviews), folder, members=2, **{**OPTIONS, "steps": None, "budget": "2s"})
    config = json.loads((folder / "config.json").read_text())
    assert len(config["members"]) == 1
    assert config["training"]["schedule"]["seconds"] < 1.5
    assert 0.5 < config["training"]["seconds"] < 4


def test_resume_divides_another_budget_between_members(reviews: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    seqgen.train(str(reviews), folder, **OPTIONS)
    seqgen.train([], folder, resume=True, members=2, budget="4s")
    config = json.loads((folder / "config.json").read_text())
    assert len(config["members"]) == 1
    assert (config["training"]["schedule"]["seconds"], config["training"]["members"]["total_seconds"]) == (2.0, 4.0)
    seqgen.train([], folder, resume=True, members=3, budget="4s")
    config = json.loads((folder / "config.json").read_text())
    assert len(config["members"]) == 2, "the same budget again: one more network takes as long as the first"


def test_resume_with_networks_of_hardly_any_time_trains_as_many_as_allowed(reviews: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    seqgen.train(str(reviews), folder, **OPTIONS)
    config = json.loads((folder / "config.json").read_text())
    passed = config["training"]["seconds"]
    config["training"]["members"] = {"planned": 1, "most": 3, "seconds": 1e-310, "total_seconds": passed + 2.0}
    (folder / "config.json").write_text(json.dumps(config))
    seqgen.train([], folder, resume=True)
    assert 2 <= len(checkpoint.load(folder).networks) <= 3


@pytest.mark.parametrize("options", [{"task": "text"}, {"task": "classify", "generative": True}])
def test_train_members_of_another_network_raises_user_error(
    options: dict[str, Any], reviews: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="--members"):
        seqgen.train(str(reviews), tmp_path / "m", members=2, steps=1, **options)


DAMAGE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a table": lambda config: config.update(members={}),
    "too many": lambda config: config.update(members=config["members"] * 8),
    "no network": lambda config: config["members"].append(3),
    "missing in the weights": lambda config: config["members"].append(config["members"][0]),
    "other labels": lambda config: config["members"][1].update(labels=["bad", "worse"]),
    "another width": lambda config: config["members"][1].update(rnn_size=16),
    "unknown fields": lambda config: config["members"][1].update(luck=3),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_load_damaged_members_raises_model_error(name: str, three: Path, tmp_path: Path) -> None:
    for path in three.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    DAMAGE[name](config)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError) as error:
        checkpoint.load(tmp_path).all_weights()
    assert len(str(error.value).splitlines()) == 1


def test_load_members_of_a_language_model_raises_model_error(model_copy: Path) -> None:
    config = json.loads((model_copy / "config.json").read_text())
    (model_copy / "config.json").write_text(json.dumps({**config, "members": [config["network"]]}))
    with pytest.raises(ModelError, match="has one network, not 2"):
        checkpoint.load(model_copy)
