"""Train a model: from sources to a model folder, with everything around the training loop."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import Any

import torch

from seqgen import checkpoint
from seqgen.api.model import Model
from seqgen.api.records import StoredData
from seqgen.api.sources import Sources, as_list, check_folder_hides_no_source, output_folder
from seqgen.api.train import distributed, members
from seqgen.api.train import resume as resuming
from seqgen.api.train.begin import begin
from seqgen.api.train.finish import finish
from seqgen.api.train.folder import ModelFolder, Training
from seqgen.api.train.lock import check_output_folder, lock_model_folder
from seqgen.api.train.request import NamedSources, TrainRequest
from seqgen.api.train.watch import Watcher
from seqgen.config import TrainOptions, make_options
from seqgen.corpus.sources import Spool
from seqgen.errors import UserError
from seqgen.specs.tasks import TASKS
from seqgen.training import device
from seqgen.training.distributed.launch import join_world
from seqgen.training.distributed.world import World
from seqgen.training.loop import Finished, Stepped, Validated


def train(
    sources: Sources = (),
    output: str | os.PathLike[str] = "",
    *,
    data: Any = None,
    task: str | None = None,
    valid: Sources = (),
    resume: bool = False,
    init_from: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    watch: Watcher | None = None,
    **options: Any,
) -> Model:
    """Train a model on `sources`, or on `data` in memory, and save it in the folder `output`.

    Processes started by torchrun train it together, and all return the same model.

    Args:
        sources: files, folders, globs, `-`, names from the catalogue, `hf:` datasets.
        data: instead of sources: an iterable of texts, of (text, label) pairs, of conversations or of rows, or a table
            (see `api.records`). It is read once.
        task: a name from `specs.tasks`; by default guessed from the sources.
        valid: sources of the validation set, instead of a fraction of each document.
        resume: continue the run in `output`. It keeps its settings, except for a longer `steps`, `epochs` or `budget`.
            If there is no run yet, start one.
        init_from: a model whose weights and tokenizer the new one starts from.
        overwrite: replace a model in `output` at the first validation.
        options: fields of `config.TrainOptions`.

    Raises:
        UserError: the arguments or the sources are unusable.
        StoppedError: `watch.stop` was true before training began. Nothing is written but the cache.
        TrainingError: the loss could not be kept finite, or another process died.
        PeerProcessError: another process failed and reports why.
    """
    watch = watch or Watcher()
    began = time.monotonic() if watch.began is None else watch.began
    if not str(output):
        raise UserError("name the folder of the model: output=…")
    names, valid_names = as_list(() if sources is None else sources), as_list(valid)
    if data is not None and names:
        raise UserError("give sources or data, not both")
    names = names if data is None else ["-"]
    folder = output_folder(output)
    check_folder_hides_no_source(folder, [*names, *valid_names])
    given = make_options(TrainOptions, options)
    cuda = given.device in ("auto", "cuda") and torch.cuda.is_available()
    with (
        join_world(cuda) as world,
        Spool() as spool,
        lock_model_folder(folder, resume, world),
        device.restored_threads(),
    ):
        stored = None
        if data is None:
            distributed.check_sources([*names, *valid_names], world)
        else:
            layout = None if task is None else TASKS.find(task).row_layout
            stored = StoredData(data, spool, layout, given.text_column)
        resumes = world.broadcast_json(lambda: _resumes(folder, overwrite, resume, world))
        compute = device.choose(given.device, given.precision, given.threads, world, watch.warn)
        distributed.check_device(compute)
        sources_named = NamedSources(names, valid_names, spool, stored)
        request = TrainRequest(folder, sources_named, task, given, options, init_from, compute, watch, began)
        if resumes:
            training, model_folder = resuming.resume(request)
        else:
            if resume and names:
                watch.warn(f"there is no run in {str(folder)!r} yet: starting from the beginning")
            begun = begin(request)
            training, model_folder = begun.training, ModelFolder(begun.training, begun.config, written=False)
        return _run(training, model_folder, watch)


def _resumes(folder: Path, overwrite: bool, resume: bool, world: World) -> bool:
    """Whether there is a run to continue: for `--resume`, or because torchrun restarted the processes.

    Raises `UserError` if a model can't or shouldn't be written to `folder`.
    """
    restarted = distributed.is_elastic_restart(folder, world)
    resumes = restarted or (resume and (folder / checkpoint.CONFIG).exists())
    check_output_folder(folder, overwrite and not restarted, resumes, resume)
    return resumes


def _run(training: Training, folder: ModelFolder, watch: Watcher) -> Model:
    """Run the loop to its end, or until `watch.stop`, and save what it yields."""
    watch.started(training)
    run, world = training.run, training.compute.world
    validated_at = run.position.step if training.metrics else -1
    if training.pretraining is not None:
        if not folder.written:  # a resumed run has had this validation, which counts for its patience
            folder.on_validation(run.validate())  # so that there is a model if pretraining is killed
        for event in training.pretraining.events():
            if isinstance(event, Stepped):
                watch.event(dataclasses.replace(event, pretrains=True))
            if world.any_rank(watch.stop()):
                return _trained(training)
        run.restart_clock()
        members.keep_pretrained(training)
    for event in run.events():
        if isinstance(event, Validated):
            folder.on_validation(event)
            validated_at = event.step
        elif isinstance(event, Stepped) and not run.validation_due():  # a due validation saves more than this
            folder.save_if_due()
        watch.event(event)
        if isinstance(event, Finished):
            break
        if world.any_rank(watch.stop()):
            if validated_at != run.position.step:
                last = run.validate(counts=run.validation_due())
                folder.on_validation(last)
                watch.event(last)
            break
    else:  # the run was over before its first step
        watch.event(Finished(early=False))
    if not folder.written:  # there was no time for a step, or for a validation
        folder.on_validation(run.validate())
    stopped = world.any_rank(watch.stop())
    finish(training, folder, watch, stopped)
    if not stopped:
        members.train_members(training, folder, watch)
    return _trained(training)


def _trained(training: Training) -> Model:
    world, network = training.compute.world, training.plan.network
    return Model(distributed.load_trained(world, training.folder, network, training.data.codec).anchored())
