"""What `train` does where several processes train one model: who reads, who plans, and what the others are told.

The model's folder, and one to start from, are rank 0's business; the sources have to be there on every machine.
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
from seqgen.checkpoint import Checkpoint
from seqgen.config import AnyNetworkConfig, from_json, network_config_class
from seqgen.corpus.sources import Document, fingerprint
from seqgen.errors import ModelError, UserError
from seqgen.model.weight_shapes import parameter_count
from seqgen.streams import expand
from seqgen.tasks.base import Data
from seqgen.training.device import Compute
from seqgen.training.distributed.launch import process_token
from seqgen.training.distributed.world import World
from seqgen.training.plans.language import Plan, SpeedProbe
from seqgen.training.schedule import Schedule

T = TypeVar("T")


class PreparedSources(NamedTuple):
    """Measured documents, and the data made of them."""

    documents: list[Document]
    held_out: list[Document]
    data: Data


def check_sources(names: Sequence[str], world: World) -> None:
    """Raises `UserError` for a source that can be read once only, where several processes have to."""
    for name in names if world.size > 1 else ():
        place = os.path.expanduser(name)
        pipe = os.path.exists(place) and not os.path.isfile(place) and not os.path.isdir(place)
        if name == "-" or pipe:
            what = "standard input" if name == "-" else f"{name!r}, a pipe,"
            raise UserError(f"{what} can't be read by several processes: write it to a file, and name that")


def check_device(compute: Compute) -> None:
    """Raises `UserError` where the processes would compute on devices of different kinds."""
    kind = compute.world.broadcast_json(lambda: compute.device.type)
    odd = kind != compute.device.type
    if compute.world.any_rank(odd) and odd:
        raise UserError(f"rank 0 computes on {kind}, this process on {compute.device.type}; give the same --device")


def run_metadata(world: World) -> dict[str, str]:
    """For config.json: which torchrun trained, and in which of its processes' lives, so that it knows its model when it
    has to start them again."""
    return {"run": f"{world.run_id}/{process_token()}"} if world.run_id else {}


def is_elastic_restart(folder: Path, world: World) -> bool:
    """Whether the torchrun of these processes has started others before, and those had saved a model in `folder`."""
    if not world.run_id or not (folder / checkpoint.CONFIG).exists():
        return False
    try:
        run, _, when = str(checkpoint.load(folder).config["training"].get("run")).partition("/")
        return run == world.run_id and when != process_token()
    except ModelError:
        return False


def read_on_rank0(world: World, folder: Path, names: Sequence[str], read: Callable[[Path], T]) -> T:
    """What `read` finds in a folder on rank 0's machine. The others read copies of the files that match `names`."""
    found = read(folder) if world.is_main_process else None
    if world.size == 1:
        assert found is not None
        return found
    there = world.broadcast_json(
        lambda: [str(path.relative_to(folder)) for name in names for path in folder.glob(name)]
    )
    with tempfile.TemporaryDirectory() as own:
        for name in there:
            data = world.broadcast_bytes((folder / name).read_bytes() if world.is_main_process else b"")
            if not world.is_main_process:
                (Path(own) / name).parent.mkdir(exist_ok=True)
                (Path(own) / name).write_bytes(data)
        return read(Path(own)) if found is None else found


def load(folder: str | os.PathLike[str], world: World) -> Checkpoint:
    """A model to start from. Only rank 0 can read its weights."""
    return read_on_rank0(world, expand(folder), [checkpoint.CONFIG, *checkpoint.TOKENIZER_FILES], checkpoint.load)


def prepare_rank0_first(world: World, task: str, read: Callable[[Any], PreparedSources]) -> PreparedSources:
    """The data of a new run. Rank 0 learns the vocabulary; the others spell their own copies of the sources with it.

    Args:
        read: reads the sources, and makes data of them with the codec it is given, or with one that it makes.

    Raises:
        UserError: some process's sources are not those of rank 0.
    """
    opened = read(None) if world.is_main_process else None
    if world.size == 1:
        assert opened is not None
        return opened
    told = world.broadcast_json(lambda: _told(opened))
    with world.main_process_first():
        if opened is None:
            files = {name: base64.b64decode(data) for name, data in told["tokenizer"].items()}
            opened = read(checkpoint.parse_preprocessor(task, files))
    odd = fingerprint([*opened.documents, *opened.held_out]) != told["fingerprint"]
    if world.any_rank(odd) and odd:
        raise UserError("the sources differ from those of rank 0; every machine has to have the same files")
    return opened


def _told(opened: PreparedSources | None) -> dict[str, Any]:
    assert opened is not None
    return {
        "fingerprint": fingerprint([*opened.documents, *opened.held_out]),
        "tokenizer": {
            name: base64.b64encode(data).decode() for name, data in tokenizers.dump(opened.data.codec).items()
        },
    }


def broadcast_plan(compute: Compute, task: str, plan: Callable[[], Plan]) -> tuple[Plan, Compute]:
    """Rank 0's plan, and its type of products."""
    world = compute.world
    if world.size == 1:
        return plan(), compute
    told = world.broadcast_json(
        lambda: {
            "plan": dataclasses.asdict(plan()),
            "precision": compute.precision,
            "threads": torch.get_num_threads(),  # as the plan may have changed them
        }
    )
    if told["threads"] == 1:
        torch.set_num_threads(1)
    found = told["plan"]
    found["network"] = from_json(network_config_class(task, found["network"]), found["network"])
    for name in ("schedule", "pretraining"):
        found[name] = None if found[name] is None else from_json(Schedule, found[name])
    settled = Plan(**found)
    dtype = torch.bfloat16 if told["precision"] == "bf16" else torch.float32
    return settled, dataclasses.replace(compute, dtype=dtype)


def load_trained(world: World, folder: Path, network: AnyNetworkConfig, preprocessor: Any) -> Checkpoint:
    """The model that a run has left, for every process. Only where its folder is can the weights be read."""
    if world.is_main_process:
        saved = checkpoint.load(folder)
        world.broadcast_json(lambda: saved.config)
        return saved
    return Checkpoint(folder, world.broadcast_json(dict), network, preprocessor)


def distributed_speed(speed: SpeedProbe, world: World) -> SpeedProbe:
    """The tokens a second of all processes, each of which computes its lanes and then exchanges gradients."""
    if world.size == 1:
        return speed

    def together(network: Any, batch: int, length: int) -> float:
        lanes = -(-batch // world.size)
        seconds = lanes * length / speed(network, lanes, length) + world.all_reduce_seconds(parameter_count(network))
        return batch * length / seconds

    return together
