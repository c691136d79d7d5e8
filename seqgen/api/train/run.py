"""`train`: from sources to a model folder. Everything around the loop: reading, planning, beginning, going on."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from seqgen import checkpoint, tasks
from seqgen.api.model import Model
from seqgen.api.train import distributed as together
from seqgen.api.train.folder import ModelFolder, Training, build_config
from seqgen.api.train.lock import check_output_folder, lock_model_folder
from seqgen.checkpoint import Checkpoint
from seqgen.config import (
    NetworkConfig,
    TrainOptions,
    check,
    check_task,
    flag_name,
    from_json,
    make_options,
    parse_duration,
)
from seqgen.corpus import sources as reading
from seqgen.corpus.sources import Document, Spool
from seqgen.errors import DataError, ModelError, UserError
from seqgen.streams import PARTIAL_SUFFIX, expand
from seqgen.tasks.base import Data, Preparation, Task
from seqgen.training import device
from seqgen.training.distributed.launch import join_world
from seqgen.training.distributed.world import World
from seqgen.training.loop import Event, Finished, Position, Run, Stepped, Validated
from seqgen.training.plans import language as plan
from seqgen.training.schedule import Schedule

_PARTS = ("sources", "valid_sources")  # of config.json


@dataclass(frozen=True)
class Watcher:
    """Who is told what happens. Each is optional.

    tell: what is being done before training begins, in a few words.
    warn: something the person should know.
    progress: of what is being done before training begins, in bytes: so many, of so many as far as that is known.
    started: training begins.
    event: each event of the loop.
    stop: asked before every step; true ends the run early, saved.
    began: seconds (`time.monotonic`) at which a budget's clock started; by default when `train` is called.
    """

    report: Callable[[str], None] = lambda _: None
    warn: Callable[[str], None] = lambda _: None
    progress: Callable[[int, int | None], None] = lambda done, of: None
    started: Callable[[Training], None] = lambda _: None
    event: Callable[[Event], None] = lambda _: None
    stop: Callable[[], bool] = lambda: False
    began: float | None = None


def train(
    sources: Sequence[str] | str,
    output: str | os.PathLike[str],
    *,
    task: str | None = None,
    valid: Sequence[str] | str = (),
    resume: bool = False,
    init_from: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    watch: Watcher | None = None,
    **options: Any,
) -> Model:
    """Trains a model on `sources` and leaves it in the folder `output`.

    Processes that torchrun started train it together, and are all given the same model.

    Args:
        sources: files, folders, globs, `-`, names from the catalogue, `hf:` sets.
        task: `text`…; guessed from the sources where None.
        valid: sources held out instead of a fraction of each document.
        resume: go on with the run that `output` holds; its settings are kept, a longer `steps`, `epochs` or `budget`
            may be given. Without a model there yet the run starts from the beginning.
        init_from: a model whose weights and tokenizer the new one starts from.
        overwrite: replace a model that is there already, once the new one is worth saving.
        options: fields of `config.TrainOptions`.

    Raises:
        UserError: anything the caller can mend.
        TrainingError: the loss could not be kept finite; or another process is gone.
        ElsewhereError: another process failed, and says why.
    """
    watch = watch or Watcher()
    began = time.monotonic() if watch.began is None else watch.began
    folder = expand(output)
    names = [sources] if isinstance(sources, str) else list(sources)
    valid_names = [valid] if isinstance(valid, str) else list(valid)
    given = make_options(TrainOptions, options)
    cuda = given.device in ("auto", "cuda") and torch.cuda.is_available()
    with join_world(cuda) as world, Spool() as spool, lock_model_folder(folder, resume, world):
        together.check_sources([*names, *valid_names], world)
        going_on = world.broadcast_json(lambda: _going_on(folder, overwrite, resume, world))
        compute = device.choose(given.device, given.precision, given.threads, world)
        together.check_device(compute)
        if going_on:
            return _resume(folder, names, valid_names, given, options, compute, spool, watch)
        if not names:
            raise UserError("there is nothing to learn from: name a file, a folder or a corpus, or pipe something in")
        if resume:
            watch.warn(f"there is no run in {str(folder)!r} yet: starting from the beginning")
        start = None if init_from is None else _starting_point(together.load(init_from, world), given, options)
        kind = tasks.find(task or (start.task if start else tasks.guess([*names, *valid_names])))
        _check_task(kind, given, options, start)
        if given.precision == "auto" and kind.needs_float32:
            compute = dataclasses.replace(compute, dtype=torch.float32)

        def read(codec: Any) -> together.PreparedSources:
            documents, held_out = _read(kind, names, valid_names, spool, watch, given)
            preparation = Preparation(
                documents,
                held_out,
                given,
                codec=codec,
                start=start,
                report=watch.report,
                warn=watch.warn,
                progress=watch.progress,
            )
            return together.PreparedSources(documents, held_out, kind.prepare(preparation))

        documents, held_out, data = together.prepare_rank0_first(world, kind.name, read)
        world.measure_all_reduce(compute.device)
        settled, compute = together.broadcast_plan(
            compute, kind.name, lambda: _settle(data, given, compute, start, time.monotonic() - began)
        )
        if given.keep_corpus and not isinstance(settled.network, NetworkConfig):
            raise UserError("--keep-corpus is for models that write; of those for classify, with --generative")
        network, generator = _new_network(kind, data, settled, given, start, compute)
        objective = data.objective(network, settled, compute, given.seed)
        config = build_config(kind, data, given, settled, compute, documents, held_out, start, init_from)
        config["training"] |= together.run_metadata(world)
        run = Run(objective, settled.schedule, generator, Position(), began, world)
        before = _pretraining(data, network, settled, compute, given.seed, began)
        training = Training(folder, kind, settled, compute, data, run, before, documents)
        return _carry_out(training, ModelFolder(training, config, written=False), watch)


def _going_on(folder: Path, overwrite: bool, resume: bool, world: World) -> bool:
    """Whether there is a run to go on with, by wish or because torchrun began this one before. Raises `UserError`
    where a model can't or shouldn't be written."""
    again = together.is_elastic_restart(folder, world)
    going_on = again or (resume and (folder / checkpoint.CONFIG).exists())
    check_output_folder(folder, overwrite and not again, going_on, resume)
    return going_on


def _check_task(kind: Task, given: TrainOptions, explicit: dict[str, Any], start: Checkpoint | None) -> None:
    """Raises `UserError` for settings and starting points that don't go with the task."""
    check_task(TrainOptions, explicit, kind.name)
    if given.tokenizer is not None and given.tokenizer not in kind.tokenizers:
        raise UserError(f"--tokenizer {given.tokenizer} does not go with {kind.name}, which has {kind.tokenizers[0]}")
    if given.vocab_size is not None and "subword" not in kind.tokenizers:
        raise UserError(f"--vocab-size does not go with {kind.name}")
    if start is not None and start.task not in kind.init_from_tasks:
        raise UserError(f"--init-from is a model for {start.task}; it can't go on with {kind.name}")


def _read(
    kind: Task, names: list[str], valid_names: list[str], spool: Spool, watch: Watcher, options: TrainOptions
) -> tuple[list[Document], list[Document]]:
    watch.report("reading " + ", ".join(names[:3]) + (" …" if len(names) > 3 else ""))
    accepts, rows = tasks.accepts(kind.name), tasks.rows(kind.name, options.text_column)

    def read(some: list[str]) -> list[Document]:
        found = reading.find(some, spool, watch.progress, watch.warn, accepts, rows)
        return reading.checksum_documents(found, watch.warn, watch.progress)

    return read(names), read(valid_names) if valid_names else []


def _starting_point(start: Checkpoint, given: TrainOptions, explicit: dict[str, Any]) -> Checkpoint:
    """`--init-from`'s model, if the settings agree with it."""
    for name in ("cell", "activation", "rnn_size", "num_layers", "embedding_size", "tie_weights"):
        asked, there = explicit.get(name), getattr(start.network, name, None)
        if there is not None and asked is not None and asked != there:
            raise UserError(f"{flag_name(name)} {asked} does not fit --init-from, whose model has {there}")
    reads = start.config["tokenizer"]
    if given.tokenizer is not None and given.tokenizer != reads:
        raise UserError(f"--tokenizer {given.tokenizer} does not fit --init-from, whose model has {reads}")
    if given.vocab_size is not None:
        raise UserError("--vocab-size does not go with --init-from, whose tokenizer is kept")
    return start


def _settle(
    data: Data, given: TrainOptions, compute: device.Compute, start: Checkpoint | None, spent: float
) -> plan.Plan:
    """The plan. With a starting point its network is the plan's, and the rate is lower: it is near a good place."""
    if start is None:
        return data.plan(given, compute, together.distributed_speed(plan.measure_speed(compute), compute.world), spent)
    shape = {
        name: getattr(start.network, name)
        for name in ("cell", "activation", "rnn_size", "num_layers", "embedding_size", "tie_weights")
        if hasattr(start.network, name)
    }
    if not given.generative:
        shape["layer_decay"] = plan.LAYER_DECAY if given.layer_decay is None else given.layer_decay
        shape["unfreeze"] = plan.UNFREEZE if given.unfreeze is None else given.unfreeze
    given = dataclasses.replace(given, **shape)
    settled = data.plan(given, compute, together.distributed_speed(plan.measure_speed(compute), compute.world), spent)
    if given.learning_rate is None and settled.schedule.layer_decay == 1:
        gentle = dataclasses.replace(settled.schedule, learning_rate=settled.schedule.learning_rate / 4)
        settled = dataclasses.replace(settled, schedule=gentle)
    return settled


def _new_network(
    kind: Task, data: Data, settled: plan.Plan, given: TrainOptions, start: Checkpoint | None, compute: device.Compute
) -> tuple[Any, torch.Generator]:
    """The network before its first step, rank 0's, and the generator that goes on to make its dropout masks."""
    generator = torch.Generator().manual_seed(given.seed)
    network: Any = kind.network(settled.network)
    network.initialise(generator)
    if compute.world.is_main_process:
        data.prepare_network(network)
        if start is not None:
            kind.transfer(network, start)
    network.to(compute.device)
    compute.world.broadcast_tensors(network.state_dict().values())
    return network, generator


def _resume(
    folder: Path,
    names: list[str],
    valid_names: list[str],
    given: TrainOptions,
    explicit: dict[str, Any],
    compute: device.Compute,
    spool: Spool,
    watch: Watcher,
) -> Model:
    """Goes on with the run in `folder`."""
    world = compute.world
    needed = [checkpoint.CONFIG, *checkpoint.TOKENIZER_FILES, f"{checkpoint.RESUME}/*"]
    saved, (arrays, position) = together.read_on_rank0(
        world, folder, needed, lambda place: (checkpoint.load(place), checkpoint.read_resume(place))
    )
    training_config, facts = saved.config["training"], saved.config["data"]
    begun = _as_begun(saved)
    fixed = set(explicit) - {"budget", "epochs", "steps", "device", "threads", "patience", "keep_corpus"}
    for name in sorted(fixed):
        if explicit[name] is not None and explicit[name] != getattr(begun, name):
            raise UserError(f"{flag_name(name)} can't change on --resume: the run has {getattr(begun, name)}")
    kind = tasks.find(saved.task)
    with world.main_process_first():
        data = None if names else kind.load_cached(facts, saved.preprocessor)
        if data is None:
            begun_with, held_with = ([source["name"] for source in saved.sources_of(part)] for part in _PARTS)
            for name in filter(reading.needs_network, [] if names else [*begun_with, *held_with]):
                raise DataError(
                    f"the run began with {name!r}, of which nothing is left in the cache; "
                    "name it to have it fetched again"
                )
            documents, held_out = _read(kind, names or begun_with, valid_names or held_with, spool, watch, begun)
            if reading.fingerprint([*documents, *held_out]) != facts.get("fingerprint"):
                raise UserError(
                    "the sources are not what this run began with; give the same ones, "
                    "or go on with another text by --init-from"
                )
            data = kind.prepare(
                Preparation(
                    documents, held_out, begun, saved.preprocessor, None, watch.report, watch.warn, watch.progress
                )
            )
    schedule = _schedule(training_config, begun, explicit, data)
    compute = device.choose(given.device, training_config["precision"], given.threads or begun.threads, world)
    pretraining = training_config.get("pretraining")
    settled = plan.Plan(
        saved.network, schedule, training_config["batch_size"], training_config["seq_length"],
        None if pretraining is None else from_json(Schedule, pretraining), training_config.get("blank", 0.0),
    )  # fmt: skip
    network: Any = kind.network(saved.network).to(compute.device)
    objective = data.objective(network, settled, compute, begun.seed)
    run = Run(objective, schedule, torch.Generator().manual_seed(begun.seed), world=world)
    try:
        run.restore(arrays, position)
    except ModelError as error:
        raise ModelError(f"{str(folder)!r} can't be resumed: {error}") from error
    if schedule != from_json(Schedule, training_config["schedule"]):
        run.position.worse = 0  # more time was asked for: patience begins anew
    for unfinished in (
        folder.rglob(f".*{PARTIAL_SUFFIX}") if world.is_main_process else ()
    ):  # left by a write that was killed
        unfinished.unlink(missing_ok=True)
    kept = {**training_config["options"], "keep_corpus": given.keep_corpus or begun.keep_corpus}
    settings = {
        **training_config, "schedule": dataclasses.asdict(schedule), "options": kept, **together.run_metadata(world),
    }  # fmt: skip
    config = {**saved.config, "training": settings}
    before = None
    if not run.position.step:
        before = _pretraining(data, network, settled, compute, begun.seed, time.monotonic())
    training = Training(folder, kind, settled, compute, data, run, before)
    training.metrics = world.broadcast_json(
        lambda: [m for m in checkpoint.read_metrics(folder) if m["step"] <= run.position.step]
    )
    return _carry_out(training, ModelFolder(training, config, written=True), watch)


def _as_begun(saved: Checkpoint) -> TrainOptions:
    """The settings that a run was begun with. Raises `ModelError` where config.json can't be gone on with."""
    kept = saved.config["training"]
    try:
        options = kept["options"]
        if not isinstance(options, dict):
            raise UserError("it has no settings")
        from_json(Schedule, kept["schedule"])
        for name in ("batch_size", "seq_length", "precision"):
            make_options(TrainOptions, {name: kept[name]})
        make_options(TrainOptions, {"blank": kept.get("blank", 0.0)})  # which older runs have not
        return check(from_json(TrainOptions, options))
    except (KeyError, UserError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ModelError(
            f"{str(saved.folder / checkpoint.CONFIG)!r} is damaged, so it can't be resumed: {why}"
        ) from error


def _schedule(training_config: dict[str, Any], before: TrainOptions, explicit: dict[str, Any], data: Data) -> Schedule:
    """The schedule of a run that goes on: as it was, but for another length or patience that is asked for."""
    schedule = from_json(Schedule, training_config["schedule"])
    asked = {name: value for name, value in explicit.items() if value is not None and value != getattr(before, name)}
    if "patience" in asked:
        schedule = dataclasses.replace(schedule, patience=asked["patience"])
    if "budget" in asked:
        return dataclasses.replace(schedule, steps=None, seconds=parse_duration(asked["budget"]))
    if "epochs" in asked:
        per_step = training_config["batch_size"] * training_config["seq_length"]
        asked["steps"] = plan.steps_for_epochs(asked["epochs"], data.tokens, per_step)
    if "steps" in asked:
        return dataclasses.replace(schedule, steps=asked["steps"], seconds=None)
    return schedule


def _pretraining(
    data: Data, network: Any, settled: plan.Plan, compute: device.Compute, seed: int, began: float
) -> Run | None:
    """The run that comes before the task's own, where there is one."""
    if settled.pretraining is None:
        return None
    objective = data.pretraining(network, settled, compute, seed)
    if objective is None:
        return None
    return Run(objective, settled.pretraining, torch.Generator().manual_seed(seed), Position(), began, compute.world)


def _carry_out(training: Training, folder: ModelFolder, watch: Watcher) -> Model:
    """Runs the loop to its end, or until `watch.stop`, and saves on the way."""
    watch.started(training)
    run, world = training.run, training.compute.world
    validated_at = run.position.step if training.metrics else -1
    if training.before is not None:
        folder.on_validation(run.validate())  # what there is without it: a kill must not leave nothing
        for event in training.before.events():
            if isinstance(event, Stepped):
                watch.event(event)
            if world.any_rank(watch.stop()):
                return Model(together.load_trained(world, training.folder, training.plan.network, training.data.codec))
        run.began = time.monotonic()
    for event in run.events():
        if isinstance(event, Validated):
            folder.on_validation(event)
            validated_at = event.step
        elif isinstance(event, Stepped) and not run.validation_due():  # that saves more; a kill must not lose it
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
    if not folder.written:  # there was no time for a single step, or for a validation
        folder.on_validation(run.validate())
    folder.finish()
    return Model(together.load_trained(world, training.folder, training.plan.network, training.data.codec))
