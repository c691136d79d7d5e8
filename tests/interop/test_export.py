"""Exported models give the same logits in other programs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqgen import checkpoint
from seqgen.checkpoint import Checkpoint
from seqgen.errors import ModelError
from seqgen.interop.onnx import export_onnx
from seqgen.interop.torch_weights import export_torch
from seqgen.model.language import LanguageModel
from seqgen.specs.cells import CELLS
from tests.helpers.random_models import Models
from tests.helpers.running import Run

onnx = pytest.importorskip("onnx")

NETWORKS = [
    {"cell": name, "activation": activation, "num_layers": layers, **tied}
    for name, spec in CELLS.items()
    for activation in spec.activations
    for layers, tied in ((1, {}), (3, {"tie_weights": True}))
]
every_network = pytest.mark.parametrize("network", NETWORKS, ids=lambda n: "-".join(map(str, n.values())))
SOURCES = [("char", "text"), ("subword", "text"), ("dialogue", "dialogue"), ("midi", "music")]
PAGE = Path(__file__).parents[2] / "seqgen" / "docs" / "python.md"
IDS = np.array([[1, 2, 3, 4, 3, 2, 1], [5, 4, 3, 2, 2, 2, 9], [7, 7, 7, 1, 2, 8, 8]])  # (batch, time)


def reference(loaded: Checkpoint, ids: np.ndarray, split: int) -> np.ndarray:
    """Logits of our own network, shape (batch, time, vocabulary), read in two parts."""
    network = LanguageModel(loaded.language_config)
    network.load_state_dict({name: torch.from_numpy(w) for name, w in loaded.weights().items()})
    states, parts = network.initial(len(ids)), []
    with torch.no_grad():
        for part in (ids[:, :split], ids[:, split:]):
            hidden, states = network.eval()(torch.from_numpy(part.T.copy()), states)
            parts.append(network.logits(hidden).numpy().transpose(1, 0, 2))
    return np.concatenate(parts, axis=1)


def run_graph(run: Any, loaded: Checkpoint, ids: np.ndarray, split: int) -> np.ndarray:
    """Logits of the exported graph, with the states of the first part passed to the second."""
    config, names = loaded.language_config, CELLS[loaded.language_config.cell].state_names
    states = {name: np.zeros((config.num_layers, len(ids), config.rnn_size), np.float32) for name in names}
    parts = []
    for part in (ids[:, :split], ids[:, split:]):
        logits, *new = run(["logits", *(f"next_{name}" for name in names)], {"ids": part, **states})
        states = dict(zip(names, new, strict=True))
        parts.append(logits)
    return np.concatenate(parts, axis=1)


def runtime(data: bytes) -> Any:
    """`run(output names, inputs)` of ONNX Runtime, or of ONNX's own reference if it isn't installed."""
    try:
        import onnxruntime
    except ImportError:
        import onnx
        from onnx.reference import ReferenceEvaluator

        return ReferenceEvaluator(onnx.load_from_string(data)).run
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run


@every_network
def test_export_onnx_has_the_logits_of_the_network(network: dict[str, Any], models: Models) -> None:
    loaded = checkpoint.load(models("char", **network))
    found = run_graph(runtime(export_onnx(loaded)), loaded, IDS, 4)
    np.testing.assert_allclose(found, reference(loaded, IDS, 4), atol=1e-4)


@pytest.mark.parametrize(("codec", "task"), SOURCES)
def test_export_onnx_every_task_has_its_metadata(codec: str, task: str, models: Models) -> None:
    loaded = checkpoint.load(models(codec, task))
    data = export_onnx(loaded)
    assert data == export_onnx(loaded)
    props = {entry.key: entry.value for entry in onnx.load_from_string(data).metadata_props}
    assert props["task"] == task
    assert len(json.loads(props["pieces"])) == loaded.codec.vocab_size
    found = run_graph(runtime(data), loaded, IDS, 3)
    np.testing.assert_allclose(found, reference(loaded, IDS, 3), atol=1e-4)


@every_network
def test_export_torch_loads_into_pytorchs_modules(network: dict[str, Any], models: Models, tmp_path: Path) -> None:
    loaded = checkpoint.load(models("char", **network))
    path = tmp_path / "m.safetensors"
    path.write_bytes(export_torch(loaded))
    assert {export_torch(loaded) for _ in range(5)} == {path.read_bytes()}
    (program,) = re.findall(r"```python\n(import torch\n.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(program.replace("tales.safetensors", path.as_posix()), names)  # the page leaves nothing out
    model = names["network"]
    with torch.no_grad():
        hidden, _ = model["rnn"](model["embedding"](torch.from_numpy(IDS.T.copy())))
        logits = model["output"](hidden).numpy().transpose(1, 0, 2)
    np.testing.assert_allclose(logits, reference(loaded, IDS, 4), atol=1e-4)


def test_export_command_writes_a_file_or_a_pipe(models: Models, run: Run, tmp_path: Path) -> None:
    folder = models("char")
    target = tmp_path / "m.onnx"
    run("export", folder, "-o", target)
    assert run("export", folder, "-o", "-").out == target.read_bytes() == export_onnx(checkpoint.load(folder))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a file to write with -o"),
        (["-o", "m.onnx", "--torch"], "drop --torch, or rename it"),
        (["-o", "m.safetensors"], "add --torch, or rename it"),
    ],
)
def test_export_command_wrong_file_is_one_line(
    arguments: list[str], message: str, models: Models, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # it need not be writable where the tests run
    assert message in run("export", models("char"), *arguments, status=2).err


def test_export_other_models_are_refused(zoo: dict[str, Path]) -> None:
    for name in ("classify", "forecast"):
        with pytest.raises(ModelError, match=f"a model for {name}: it can't write or score"):
            export_onnx(checkpoint.load(zoo[name]))
