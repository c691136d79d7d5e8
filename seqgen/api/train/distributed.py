"""Distributed training: rank 0 reads and plans, and broadcasts the results.

Only rank 0 needs the model folder and the model of `--init-from`. Every machine needs the sources.
"""

from __future__ import annotations

import base64
import dataclasses
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from seqgen import checkpoint, tokenizers
from seqgen.api.open import model_folder
from seqgen.checkpoint import Checkpoint
from seqgen.config import AnyNetworkConfig, from_json, network_config_class
from seqgen.corpus.sources import Document, fingerprint
from seqgen.errors import ModelError, UserError
from seqgen.model.weight_shapes import parameter_count
from seqgen.streams import expand, is_device_or_pipe
from seqgen.tasks.base import Data
from seqgen.training.device import Compute
from seqgen.training.distributed.launch import process_token
from seqgen.training.distributed.world import World
from seqgen.training.plans.base import Members, Plan, SpeedProbe
from seqgen.training.schedule import Schedule

T = TypeVar("T")


class PreparedSources(NamedTuple):
    """Measured documents and the data prepared from them."""

    documents: list[Document]
    held_out: list[Document]
    unlabelled: list[Document]
    data: Data

    @property
    def all_documents(self) -> list[Document]:
        return [*self.documents, *self.held_out, *self.unlabelled]


def check_sources(names: Sequence[str], world: World) -> None:
    """Raise `UserError` for a source that can be read only once, if several processes must read it."""
    for name in names if world.size > 1 else ():
        path = os.path.expanduser(name)
        pipe = is_device_or_pipe(path) and not os.path.isdir(path)
        if name == "-" or pipe:
            source = "standard input" if name == "-" else f"{name!r}, a pipe,"
            raise UserError(f"{source} can't be read by several processes: write it to a file and name that")


def check_device(compute: Compute) -> None:
    """Raise `UserError` if this process would compute on another type of device than rank 0."""
    expected = compute.world.broadcast_json(lambda: compute.device.type)
    differs = expected != compute.device.type
    if compute.world.any_rank(differs) and differs:
        raise UserError(f"rank 0 computes on {expected}, this process on {compute.device.type}; give the same --device")


def run_metadata(world: World) -> dict[str, str]:
    """The entries of config.json by which torchrun's restarted processes recognise their own model."""
    return {"run": f"{world.run_id}/{process_token()}"} if world.run_id else {}


def is_elastic_restart(folder: Path, world: World) -> bool:
    """Whether torchrun has restarted this run, and its former processes had saved a model in `folder`."""
    if not world.run_id or not (folder / checkpoint.CONFIG).exists():
        return False
    try:
        run_id, _, token = str(checkpoint.load(folder).config["training"].get("run")).partition("/")
        return run_id == world.run_id and token != process_token()
    except ModelError:
        return False


def read_on_rank0(world: World, folder: Path, names: Sequence[str], read: Callable[[Path], T]) -> T:
    """Call `read` on a folder that only rank 0 has. Other ranks call it on copies of the files matching `names`."""
    result = read(folder) if world.is_main_process else None
    if world.size == 1:
        assert result is not None
        return result
    files = world.broadcast_json(
        lambda: [str(path.relative_to(folder)) for name in names for path in folder.glob(name)]
    )
    with tempfile.TemporaryDirectory() as copy:
        for name in files:
            data = world.broadcast_bytes((folder / name).read_bytes() if world.is_main_process else b"")
            if not world.is_main_process:
                (Path(copy) / name).parent.mkdir(exist_ok=True)
                (Path(copy) / name).write_bytes(data)
        return read(Path(copy)) if result is None else result


def load(name: str | os.PathLike[str], world: World) -> Checkpoint:
    """Load the model of `--init-from`. Only rank 0 can read its weights.

    Those of another size are refused before a network as large as config.json says is made.
    """
    folder = world.broadcast_json(lambda: os.fspath(model_folder(name)))
    loaded = read_on_rank0(world, expand(folder), [checkpoint.CONFIG, *checkpoint.TOKENIZER_FILES], checkpoint.load)
    world.broadcast_json(lambda: len(loaded.weights()))
    return loaded


def prepare_rank0_first(world: World, task: str, read: Callable[[Any], PreparedSources]) -> PreparedSources:
    """Prepare the data of a new run. Rank 0 fits the tokenizer; the others encode their own copies of the sources.

    Args:
        read: reads the sources and prepares them with the given codec or, for None, with one fitted to them.

    Raises:
        UserError: the sources of a process differ from rank 0's.
    """
    prepared = read(None) if world.is_main_process else None
    if world.size == 1:
        assert prepared is not None
        return prepared
    shared = world.broadcast_json(lambda: _fingerprint_and_tokenizer(prepared))
    with world.main_process_first():
        if prepared is None:
            files = {name: base64.b64decode(data) for name, data in shared["tokenizer"].items()}
            prepared = read(checkpoint.parse_preprocessor(task, files))
    differs = fingerprint(prepared.all_documents) != shared["fingerprint"]
    if world.any_rank(differs) and differs:
        raise UserError("the sources differ from those of rank 0; every machine needs the same files")
    return prepared


def _fingerprint_and_tokenizer(prepared: PreparedSources | None) -> dict[str, Any]:
    assert prepared is not None
    return {
        "fingerprint": fingerprint(prepared.all_documents),
        "tokenizer": {
            name: base64.b64encode(data).decode() for name, data in tokenizers.dump(prepared.data.codec).items()
        },
    }


def broadcast_plan(compute: Compute, task: str, plan: Callable[[], Plan]) -> tuple[Plan, Compute]:
    """Broadcast rank 0's plan and dtype."""
    world = compute.world
    if world.size == 1:
        return plan(), compute
    shared = world.broadcast_json(
        lambda: {
            "plan": dataclasses.asdict(plan()),
            "precision": compute.precision,
            "threads": torch.get_num_threads(),  # which planning may have changed
        }
    )
    if shared["threads"] == 1:
        torch.set_num_threads(1)
    fields = shared["plan"]
    fields["network"] = from_json(network_config_class(task, fields["network"]), fields["network"])
    for name in ("schedule", "pretraining"):
        fields[name] = None if fields[name] is None else from_json(Schedule, fields[name])
    fields["members"] = from_json(Members, fields["members"])
    dtype = torch.bfloat16 if shared["precision"] == "bf16" else torch.float32
    return Plan(**fields), dataclasses.replace(compute, dtype=dtype)


def load_trained(world: World, folder: Path, network: AnyNetworkConfig, preprocessor: Any) -> Checkpoint:
    """Load the model of a finished run in every process. Only rank 0 can read its weights."""
    if world.is_main_process:
        saved = checkpoint.load(folder)
        world.broadcast_json(lambda: saved.config)
        return saved
    return Checkpoint(folder, world.broadcast_json(dict), network, preprocessor)


def distributed_speed(speed: SpeedProbe, world: World) -> SpeedProbe:
    """Tokens per second of all processes together, with the time for the all-reduce of the gradients."""
    if world.size == 1:
        return speed

    def all_ranks(network: Any, batch: int, length: int) -> float:
        lanes = -(-batch // world.size)
        seconds = lanes * length / speed(network, lanes, length) + world.all_reduce_seconds(parameter_count(network))
        return batch * length / seconds

    return all_ranks
