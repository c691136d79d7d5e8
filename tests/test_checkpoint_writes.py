"""Damaged resume folders and failing writes: a complete model always remains."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import seqgen
from seqgen import checkpoint, streams
from seqgen.api.train.watch import Watcher
from seqgen.errors import ModelError, UserError
from tests.helpers.folders import change_config, read_all
from tests.helpers.training import TINY, file_contents

# ---- resume/ ----


def change_state(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "resume" / "state.json"
    state = json.loads(path.read_text())
    change(state)
    path.write_text(json.dumps(state))


def put(key: str, value: Any) -> Callable[[Path], Any]:
    return lambda folder: change_state(folder, lambda state: state.update({key: value}))


def position(key: str, value: Any) -> Callable[[Path], Any]:
    return lambda folder: change_state(folder, lambda state: state["position"].update({key: value}))


def state_text(text: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / "resume" / "state.json").write_text(text)


def tensors_file(folder: Path) -> Path:
    (path,) = (folder / "resume").glob("*.safetensors")
    return path


def resume_tensors(change: Callable[[dict[str, np.ndarray]], Any]) -> Callable[[Path], Any]:
    def do(folder: Path) -> None:
        path = tensors_file(folder)
        held = load_file(path)
        change(held)
        save_file(held, path)

    return do


def drop_optimiser(held: dict[str, np.ndarray]) -> None:
    for name in [name for name in held if name.startswith("optimiser.")]:
        del held[name]


def eight_bit_floats(folder: Path) -> None:
    path = tensors_file(folder)
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    for entry in header.values():
        start, stop = entry["data_offsets"]
        entry |= {"dtype": "F8_E4M3", "shape": [stop - start]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])


RESUME_DAMAGE: dict[str, Callable[[Path], Any]] = {
    "a step of 400 digits": position("step", 10**400),
    "no folder": lambda folder: shutil.rmtree(folder / "resume"),
    "no state.json": lambda folder: (folder / "resume" / "state.json").unlink(),
    "no tensors": lambda folder: tensors_file(folder).unlink(),
    "tensors cut": lambda folder: tensors_file(folder).write_bytes(tensors_file(folder).read_bytes()[:-50]),
    "tensors empty": lambda folder: tensors_file(folder).write_bytes(b""),
    "state empty": state_text(""),
    "state no JSON": state_text("{"),
    "state a list": state_text("[]"),
    "state a number": state_text("3"),
    "state deep": state_text("[" * 100_000),
    "state without file": lambda folder: change_state(folder, lambda state: state.pop("file")),
    "state without position": lambda folder: change_state(folder, lambda state: state.pop("position")),
    "file absolute": put("file", "/etc/passwd"),
    "file above": put("file", "../model.safetensors"),
    "file hidden behind its pattern": put("file", "step-1.safetensors/../../model.safetensors"),
    "file below": put("file", "x/step-60.safetensors"),
    "file with a line feed": put("file", "step-60.safetensors\n"),
    "file a number": put("file", 60),
    "file another step": put("file", "step-61.safetensors"),
    "position a list": put("position", []),
    "position unknown": position("luck", 3),
    "step a word": position("step", "many"),
    "step negative": position("step", -5),
    "step a fraction": position("step", 3.5),
    "step beyond 64 bits": position("step", 10**300),
    "best step beyond 64 bits": position("best_step", 10**300),
    "tokens negative": position("tokens", -1),
    "recoveries beyond 64 bits": position("recoveries", 10**300),
    "cooling from a negative step": lambda folder: change_state(
        folder, lambda state: state["position"].update(cooling_from=-1, cooling_steps=1)
    ),
    "seconds a word": position("seconds", "long"),
    "rate not a number": position("rate_factor", None),
    "newer format": put("format", 999),
    "weight missing": resume_tensors(lambda held: held.pop("weight.embedding")),
    "weight of another shape": resume_tensors(
        lambda held: held.update({"weight.output_bias": held["weight.output_bias"][1:].copy()})
    ),
    "best weight missing": resume_tensors(lambda held: held.pop("best.output_bias")),
    "optimiser missing": resume_tensors(drop_optimiser),
    "optimiser of another shape": resume_tensors(
        lambda held: held.update({"optimiser.embedding.exp_avg": np.zeros((2, 2), np.float32)})
    ),
    "optimiser incomplete": resume_tensors(lambda held: held.pop("optimiser.embedding.exp_avg_sq")),
    "weight not finite": resume_tensors(lambda held: held["weight.output_bias"].fill(np.nan)),
    "weight beyond reason": resume_tensors(lambda held: held["weight.output_bias"].fill(1e30)),
    "moment not finite": resume_tensors(lambda held: held["optimiser.embedding.exp_avg"].fill(np.inf)),
    "seconds beyond all floats": position("seconds", 10**400),
    "random missing": resume_tensors(lambda held: held.pop("random")),
    "random cut": resume_tensors(lambda held: held.update(random=held["random"][:9].copy())),
    "carried of another shape": resume_tensors(
        lambda held: held.update({"carried.0.0": np.zeros((3, 5), np.float32)})
    ),
    "carried of bytes, beyond which the kernels would read": resume_tensors(
        lambda held: held.update({"carried.0.0": held["carried.0.0"].astype(np.uint8)})
    ),
    "tensors of a dtype that numpy lacks": eight_bit_floats,
    "carried by another name": resume_tensors(lambda held: held.update({"carried.x": np.zeros(3, np.float32)})),
}  # fmt: skip


@pytest.mark.parametrize("name", RESUME_DAMAGE)
def test_read_resume_damaged_folder_raises_model_error(name: str, model_copy: Path, text_file: Path) -> None:
    RESUME_DAMAGE[name](model_copy)
    before = (model_copy / "model.safetensors").read_bytes()
    # Before the first step: PyTorch's fused AdamW checks no shapes, and reads past the end of a tensor.
    watch = Watcher(started=lambda training: pytest.fail("training began with what was damaged"))
    with pytest.raises(ModelError) as error:
        seqgen.train(str(text_file), model_copy, resume=True, steps=62, watch=watch)
    assert "\n" not in str(error.value)
    assert str(model_copy) in str(error.value)
    read_all(model_copy)
    assert (model_copy / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config["training"].pop("options"), lambda config: config["training"].pop("schedule"),
        lambda config: config["training"].update(batch_size="many"),
        lambda config: config["training"].update(precision="fp8"),
        lambda config: config["training"]["schedule"].update(surprise=1),
        lambda config: config["training"]["schedule"].update(learning_rate="fast"),
        lambda config: config["data"].pop("fingerprint"), lambda config: config["data"].update(sources=3),
        lambda config: config["data"].update(cache="../../outside"),
    ],
    ids=["no options", "no schedule", "batch", "precision", "schedule", "rate", "no fingerprint", "sources", "cache"],
)  # fmt: skip
def test_resume_damaged_config_is_a_user_error(
    change: Callable[[dict[str, Any]], Any], model_copy: Path, text_file: Path
) -> None:
    """Loading may do without these values; `--resume` reports them if it needs them."""
    change_config(model_copy, change)
    try:
        seqgen.train(str(text_file), model_copy, resume=True, steps=62)
    except UserError as error:
        assert "\n" not in str(error)
    read_all(model_copy)


NO_RUN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "temperature": lambda config: config.update(temperature=0),
    "temperature a word": lambda config: config.update(temperature="x"),
    "temperature null": lambda config: config.update(temperature=None),
    "temperature tiny": lambda config: config.update(temperature=1e-300),
    "no length": lambda config: config["training"]["schedule"].update(steps=None),
    "steps": lambda config: config["training"]["schedule"].update(steps=0),
    "averaging": lambda config: config["training"]["schedule"].update(averaging=-3),
    "pretraining without a length": lambda config: config["training"].update(
        pretraining={"learning_rate": 0.1, "warmup": 0}
    ),
    "members a list": lambda config: config["training"].update(members=[]),
    "more members than a model has": lambda config: config["training"].update(members={"planned": 30, "most": 30}),
    "seconds": lambda config: config["training"].update(seconds="x"),
    "seconds null": lambda config: config["training"].update(seconds=None),
    "step": lambda config: config["training"].update(step="x"),
}


@pytest.mark.parametrize("length", [{"steps": 62}, {"budget": "3s"}], ids=["steps", "budget"])
@pytest.mark.parametrize("name", NO_RUN)
def test_resume_of_numbers_that_no_run_has_raises_model_error(
    name: str, length: dict[str, Any], model_copy: Path
) -> None:
    """Before anything is written."""
    change_config(model_copy, NO_RUN[name])
    before = file_contents(model_copy)
    with pytest.raises(ModelError, match=r"config\.json' is damaged") as error:
        seqgen.train([], model_copy, resume=True, **length)
    assert "\n" not in str(error.value)
    assert file_contents(model_copy) == before


# ---- Writing ----


class Failing:
    """A system call that fails only at its k-th call."""

    def __init__(self, real: Callable[..., Any], at: int) -> None:
        self._real = real
        self._at = at
        self.calls = 0

    def __call__(self, *arguments: Any, **more: Any) -> Any:
        self.calls += 1
        if self.calls == self._at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._real(*arguments, **more)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def leftovers(parent: Path) -> list[Path]:
    return [path for path in parent.rglob("*") if path.name.endswith(streams.PARTIAL_SUFFIX)]


@pytest.mark.slow
@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_failed_write_leaves_complete_model(
    call: str, model_copy: Path, text_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full at the k-th write, for every k, while a new model replaces an old one."""
    old = snapshot(model_copy)
    outcomes = []
    for at in range(1, 100):
        if snapshot(model_copy) != old:
            shutil.rmtree(model_copy)
            for name, data in old.items():
                (model_copy / name).parent.mkdir(parents=True, exist_ok=True)
                (model_copy / name).write_bytes(data)
        failing = Failing(getattr(os, call), at)
        monkeypatch.setattr(streams.os, call, failing)
        try:
            seqgen.train(str(text_file), model_copy, overwrite=True, steps=2, tokenizer="byte", val_fraction=0, **TINY)
            failed = None
        except UserError as error:
            failed = str(error)
            assert "cannot write" in failed
            assert "No space left" in failed
            assert "\n" not in failed
        finally:
            monkeypatch.undo()
        loaded = read_all(model_copy)
        assert len(loaded.sample(length=5, seed=1)[0].text) == 5
        is_new = loaded.codec.name == "byte"
        assert is_new or snapshot(model_copy) == old, f"the old model was changed by the failure of write {at}"
        assert leftovers(model_copy.parent) == []
        assert failed is not None or is_new
        outcomes.append((failed is None, is_new))
        if failing.calls < at:  # the run has fewer writes and did not fail
            break
    assert outcomes[0] == (False, False)
    assert (False, True) in outcomes, "some failure came after the new model replaced the old"
    assert outcomes[-1] == (True, True)
    assert len(outcomes) > 10


@pytest.mark.slow
def test_resume_after_failed_write_gives_the_same_run(
    text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command with --resume after any failed write gives the same model."""
    options = {"steps": 3, "seed": 4, **TINY}
    seqgen.train(str(text_file), tmp_path / "whole", **options)
    wanted = load_file(tmp_path / "whole" / "model.safetensors")
    stuck = []
    for at in range(1, 100):
        folder = tmp_path / f"m{at}"
        failing = Failing(os.replace, at)
        monkeypatch.setattr(streams.os, "replace", failing)
        try:
            seqgen.train(str(text_file), folder, **options)
        except UserError:
            pass
        finally:
            monkeypatch.undo()
        if failing.calls < at:
            break
        try:
            seqgen.train(str(text_file), folder, resume=True, **options)
        except UserError as error:
            stuck.append(f"write {at}: {error}")
            continue
        got = load_file(folder / "model.safetensors")
        assert all((got[name] == wanted[name]).all() for name in wanted)
    assert stuck == []


def test_failed_write_before_first_save_leaves_nothing(
    text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seqgen.train(str(text_file), tmp_path / "fills the cache", steps=1, **TINY)
    for at in range(1, 5):
        monkeypatch.setattr(streams.os, "replace", Failing(os.replace, at))
        with pytest.raises(UserError, match="No space left"):
            seqgen.train(str(text_file), tmp_path / "new", steps=1, **TINY)
        monkeypatch.undo()
        assert not (tmp_path / "new").exists()
    assert leftovers(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 KB, if this process may mount one."""
    mount_point = tmp_path / "disk"
    mount_point.mkdir()
    mounted = shutil.which("mount") is not None and (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", mount_point], capture_output=True
        ).returncode
        == 0
    )
    if not mounted:
        pytest.skip("a full disk needs the right to mount a tmpfs")
    try:
        yield mount_point
    finally:
        subprocess.run(["umount", mount_point], check=False)


def test_train_on_full_disk_is_one_error(small_disk: Path, text_file: Path) -> None:
    folder = small_disk / "m"
    small = {**TINY, "rnn_size": 16, "embedding_size": 8}
    seqgen.train(str(text_file), folder, steps=1, **small)
    before = snapshot(folder)
    with pytest.raises(UserError, match="No space left"):
        seqgen.train(str(text_file), folder, steps=2, overwrite=True, **{**TINY, "rnn_size": 128})
    assert snapshot(folder) == before
    read_all(folder)
    assert leftovers(small_disk) == []


def test_train_unwritable_folder_is_refused_before_training(text_file: Path) -> None:
    with pytest.raises(UserError, match="cannot write"):
        seqgen.train(str(text_file), "/proc/nowhere/m", steps=1, **TINY)
    with pytest.raises(UserError, match="cannot write"):
        seqgen.train(str(text_file), text_file / "m", steps=1, **TINY)


def test_write_resume_keeps_only_the_newest_file(tmp_path: Path) -> None:
    for step in (1, 2, 30):
        checkpoint.write_resume(tmp_path, {"a": np.arange(step)}, {"step": step})
        assert {path.name for path in (tmp_path / "resume").iterdir()} == {"state.json", f"step-{step}.safetensors"}
        arrays, state = checkpoint.read_resume(tmp_path)
        assert state == {"step": step}
        np.testing.assert_array_equal(arrays["a"], np.arange(step))


def test_write_resume_failure_leaves_last_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.write_resume(tmp_path, {"a": np.arange(3)}, {"step": 1})
    for at in (1, 2):
        monkeypatch.setattr(streams.os, "replace", Failing(os.replace, at))
        with pytest.raises(UserError):
            checkpoint.write_resume(tmp_path, {"a": np.arange(9)}, {"step": 2})
        monkeypatch.undo()
        arrays, state = checkpoint.read_resume(tmp_path)
        assert (len(arrays["a"]), state["step"]) == (3, 1)


def test_write_files_have_default_permissions(model_folder: Path) -> None:
    """Not those of private temporary files: a model's permissions follow the umask."""
    mask = os.umask(0)
    os.umask(mask)
    for name in ("config.json", "model.safetensors", "tokenizer.json", "README.md", "metrics.jsonl"):
        assert (model_folder / name).stat().st_mode & 0o777 == 0o666 & ~mask
