"""Train a model: from sources to a model folder, with everything around the training loop."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy.typing as npt
import torch

from seqgen import checkpoint, tasks
from seqgen.api.model import Model
from seqgen.api.reading.run import prose_warning
from seqgen.api.records import StoredData
from seqgen.api.sources import Sources, as_list, check_folder_hides_no_source, open_sources, output_folder
from seqgen.api.train import distributed, members
from seqgen.api.train.finish import finish
from seqgen.api.train.folder import ModelFolder, Training, build_config
from seqgen.api.train.lock import check_output_folder, lock_model_folder
from seqgen.api.train.watch import Watcher
from seqgen.checkpoint import Checkpoint
from seqgen.config import (
    TrainOptions,
    check,
    check_task,
    flag_name,
    from_json,
    make_options,
    parse_duration,
)
from seqgen.corpus import sources as reading
from seqgen.corpus.cache.folder import fallback_warning
from seqgen.corpus.opening.form import quoted
from seqgen.corpus.sources import Document, Spool
from seqgen.errors import DataError, ModelError, UserError
from seqgen.specs.tasks import TASKS, NetworkSpec, TaskSpec, network_of
from seqgen.specs.tokenizers import takes_option
from seqgen.streams import PARTIAL_SUFFIX, stdin_is_piped
from seqgen.tasks.base import AnyNetwork, Data, Preparation, Task
from seqgen.tasks.guess import guess
from seqgen.time_limit import TimeLimit
from seqgen.training import device
from seqgen.training.device import Compute
from seqgen.training.distributed.launch import join_world
from seqgen.training.distributed.world import World
from seqgen.training.loop import Finished, Objective, Position, Run, Stepped, Validated
from seqgen.training.plans.base import DEFAULT_SECONDS, LAYER_DECAY, UNFREEZE, Plan
from seqgen.training.plans.language import measure_speed
from seqgen.training.plans.speed import probe_patience
from seqgen.training.schedule import Schedule

_SHAPE = ("cell", "activation", "rnn_size", "num_layers", "embedding_size", "tie_weights")  # that --init-from keeps
FROM_MODEL = "as in the model of --init-from"  # a reason in a plan
_LENGTHS = ("budget", "epochs", "steps")
_RECORDED = {*_LENGTHS, "patience", "members"}  # changes by --resume that config.json has from then on
_COUNTED = ("train_tokens", "held_out_tokens")  # in `Data.metadata`
_CHANGEABLE = {*_RECORDED, "device", "threads", "keep_corpus"}  # by --resume


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
            return _resume(request)
        if resume and names:
            watch.warn(f"there is no run in {str(folder)!r} yet: starting from the beginning")
        begun = begin(request)
        return _run(begun.training, ModelFolder(begun.training, begun.config, written=False), watch)


class NamedSources(NamedTuple):
    """Sources as they were named: of the training set, and of a validation set of its own.

    data: the first, which is called `-`, if it was in memory.
    """

    names: list[str]
    valid_names: list[str]
    spool: Spool
    data: StoredData | None = None


@dataclass(frozen=True)
class TrainRequest:
    """The arguments of a training, of a new run or of one to continue.

    Attributes:
        task: Its name; None to guess it, or for that of the run to continue.
        options: All options.
        explicit: Those that were given, by name, of which `options` is made.
        init_from: The model to start from, as it was named.
        began: The time (`time.monotonic`) from which a budget counts.
    """

    folder: Path
    sources: NamedSources
    task: str | None
    options: TrainOptions
    explicit: dict[str, Any]
    init_from: str | os.PathLike[str] | None
    compute: Compute
    watch: Watcher
    began: float


class BegunTraining(NamedTuple):
    """A training before its first step. `task_reason`: why its task was chosen, as a clause."""

    training: Training
    config: dict[str, Any]
    options: TrainOptions
    task_reason: str
    start: Checkpoint | None


def begin(request: TrainRequest) -> BegunTraining:
    """Read the sources of a new run, plan it and make its network. Nothing is written but the cache."""
    given, compute, began = request.options, request.compute, request.began
    names, valid_names, _, _ = request.sources
    world = compute.world
    now, seconds = time.monotonic(), _seconds(given)
    # A slow start, of a cold disk or a busy machine, must not leave most of the corpus out.
    limit = TimeLimit(max(seconds - (now - began), seconds / 2), now, request.watch.stop)
    request = dataclasses.replace(request, watch=_stoppable(request.watch, limit))
    if not names:
        raise UserError("there is nothing to learn from: name a file, a folder or a corpus, or pipe something in")
    start = None if request.init_from is None else _starting_point(distributed.load(request.init_from, world), request)
    name, why_task = _find_task(request, start)
    task = tasks.find(name)
    spec = task.spec
    _check_task(spec, request, start)
    if request.explicit.get("val_fraction") and (valid_names or given.split_rows):
        request.watch.warn(f"--val-fraction has no effect beside {'--valid' if valid_names else '--split-rows'}")
    if given.precision == "auto" and spec.needs_float32:
        reasons = {**compute.reasons, "precision": f"{spec.name} is trained in float32"}
        compute = dataclasses.replace(compute, dtype=torch.float32, reasons=reasons)
    documents, held_out, unlabelled, data = _prepare(request, task, start, limit)
    world.measure_all_reduce(compute.device)
    plan, compute = distributed.broadcast_plan(
        compute, spec.name, lambda: _make_plan(data, given, compute, start, time.monotonic() - began)
    )
    _check_network(network_of(plan.network), given)
    network, generator = members.new_network(task, data, plan, given.seed, compute, start)
    objective = data.objective(network, plan, compute, given.seed)
    plan = dataclasses.replace(plan, schedule=_completed(plan, data, network, given, compute, bool(held_out)))
    config = build_config(spec, data, given, plan, compute, documents, held_out, unlabelled, start, request.init_from)
    config["training"] |= distributed.run_metadata(world)
    config["training"] |= {"sources": names, "valid": valid_names, "given": sorted(request.explicit)}
    run = Run(objective, plan.schedule, generator, Position(), began, world)
    pretraining = _pretraining(data, network, plan, compute, given.seed, began)
    training = Training(
        request.folder, task, plan, compute, data, run, pretraining, documents, seed=given.seed, began=began
    )
    if time.monotonic() - began >= seconds:
        request.watch.warn(
            f"reading the sources took all of the budget of {seconds:g} s: the network is saved without a step "
            "of training; give a longer --budget"
        )
    limit.check()
    return BegunTraining(training, config, given, why_task, start)


def _seconds(given: TrainOptions) -> float:
    """Duration of a run in seconds; infinite if it is given in steps or epochs."""
    if given.budget:
        return parse_duration(given.budget)
    return DEFAULT_SECONDS if given.steps is None and given.epochs is None else math.inf


def _stoppable(watch: Watcher, limit: TimeLimit) -> Watcher:
    """A watcher that raises `StoppedError` at the next report or progress if the training should stop."""

    def report(activity: str) -> None:
        limit.check()
        watch.report(activity)

    def progress(done: int, of: int | None) -> None:
        limit.check()
        watch.progress(done, of)

    return dataclasses.replace(watch, report=report, progress=progress)


def _resumes(folder: Path, overwrite: bool, resume: bool, world: World) -> bool:
    """Whether there is a run to continue: for `--resume`, or because torchrun restarted the processes.

    Raises `UserError` if a model can't or shouldn't be written to `folder`.
    """
    restarted = distributed.is_elastic_restart(folder, world)
    resumes = restarted or (resume and (folder / checkpoint.CONFIG).exists())
    check_output_folder(folder, overwrite and not restarted, resumes, resume)
    return resumes


def _find_task(request: TrainRequest, start: Checkpoint | None) -> tuple[str, str]:
    """The task of a new run, and why it is that one; warns of data that is taken for prose."""
    if request.task is not None:
        return request.task, "given"
    if start is not None:
        return start.task, FROM_MODEL
    names, valid_names, spool, _ = request.sources
    found = guess([*names, *valid_names], request.explicit, spool, request.watch.report)
    if sentence := prose_warning(found, spool, request.options):
        request.watch.warn(sentence)
    return found.task, found.reason


def _check_task(spec: TaskSpec, request: TrainRequest, start: Checkpoint | None) -> None:
    """Raise `UserError` for options, or a model of `--init-from`, that can't be used with the task."""
    given = request.options
    check_task(TrainOptions, request.explicit, spec.name)
    if given.tokenizer is not None and given.tokenizer not in spec.tokenizers:
        raise UserError(
            f"--tokenizer {given.tokenizer} can't be used with {spec.name}, which has {', '.join(spec.tokenizers)}"
        )
    if given.vocab_size is not None and not any(takes_option(name, "vocab_size") for name in spec.tokenizers):
        raise UserError(f"--vocab-size can't be used with {spec.name}")
    if start is not None and start.task not in spec.init_from:
        raise UserError(f"--init-from: a model for {start.task} can't be trained further for {spec.name}")


def _check_network(network: NetworkSpec, given: TrainOptions) -> None:
    """Raise `UserError` for options that can't be used with a network."""
    if (given.members or 1) > 1 and not network.averages_members:
        raise UserError(f"--members can't be used with a {network.name}")
    if given.keep_corpus and not network.predicts_ids:
        raise UserError("--keep-corpus is for models that generate; classify needs --generative for that")


def _prepare(
    request: TrainRequest, task: Task[AnyNetwork], start: Checkpoint | None, limit: TimeLimit
) -> distributed.PreparedSources:
    """Read and prepare the sources of a new run; warns of a validation set that is learnt."""
    watch = request.watch

    def read(codec: Any) -> distributed.PreparedSources:
        documents, held_out, unlabelled = _read(task.spec, request.sources, watch, request.options, start)
        preparation = Preparation(
            documents,
            held_out,
            request.options,
            codec=codec,
            start=start,
            report=watch.report,
            warn=watch.warn,
            progress=watch.progress,
            limit=limit,
            unlabelled=unlabelled,
            given={name for name, value in request.explicit.items() if value is not None},
        )
        return distributed.PreparedSources(documents, held_out, unlabelled, task.prepare(preparation))

    prepared = distributed.prepare_rank0_first(request.compute.world, task.spec.name, read)
    learnt = {document.sha256 for document in prepared.documents}
    if both := [document.name for document in prepared.held_out if document.sha256 in learnt]:
        watch.warn(f"{quoted(both[0])} is learnt, and in --valid too: its loss can't choose the best step")
    return prepared


def _read(
    spec: TaskSpec,
    sources: NamedSources,
    watch: Watcher,
    options: TrainOptions,
    start: Checkpoint | None = None,
) -> tuple[list[Document], list[Document], list[Document]]:
    """The documents of the training set, those of a validation set of its own, and those without labels."""
    names, valid_names, spool, data = sources
    tokenizer = options.tokenizer if start is None else start.config["tokenizer"]
    if data is not None:
        data.suit(spec.row_layout, watch.warn)
    watch.report("reading " + ", ".join(names[:3]) + (" …" if len(names) > 3 else ""))
    if message := fallback_warning():
        watch.warn(message)

    def read(some: list[str], has_only_texts: bool = False) -> list[Document]:
        text_column = None if has_only_texts else options.text_column
        return open_sources(
            spec.name, some, spool, text_column, watch.progress, watch.warn, options.encoding, tokenizer, watch.report
        )

    unlabelled = list(options.unlabelled)
    only_texts = data is not None and data.has_only_texts
    found = read(names, only_texts), read(valid_names) if valid_names else [], read(unlabelled) if unlabelled else []
    if (count := sum(map(len, found))) > checkpoint.MAX_SOURCES:
        raise UserError(f"cannot train on {count:,} files: a model names at most {checkpoint.MAX_SOURCES:,}; join some")
    return found


def _starting_point(start: Checkpoint, request: TrainRequest) -> Checkpoint:
    """The model of `--init-from`. Raises `UserError` for options that contradict it."""
    given = request.options
    for name in _SHAPE:
        asked, existing = request.explicit.get(name), getattr(start.network, name, None)
        if existing is not None and asked is not None and asked != existing:
            raise UserError(f"{flag_name(name)} {asked} contradicts --init-from, whose model has {existing}")
    tokenizer = start.config["tokenizer"]
    if given.tokenizer is not None and given.tokenizer != tokenizer:
        raise UserError(f"--tokenizer {given.tokenizer} contradicts --init-from, whose model has {tokenizer}")
    if given.vocab_size is not None:
        raise UserError("--vocab-size can't be used with --init-from, which keeps its model's tokenizer")
    return start


def _make_plan(
    data: Data[AnyNetwork], given: TrainOptions, compute: Compute, start: Checkpoint | None, spent: float
) -> Plan:
    """Plan the run. With a starting point the network has its shape, and the learning rate is lower."""
    seconds = parse_duration(given.budget) if given.budget else DEFAULT_SECONDS
    speed = distributed.distributed_speed(measure_speed(compute, probe_patience(seconds - spent)), compute.world)
    if start is None:
        return data.plan(given, compute, speed, spent)
    shape = {name: getattr(start.network, name) for name in _SHAPE if hasattr(start.network, name)}
    if not given.generative:
        shape["layer_decay"] = LAYER_DECAY if given.layer_decay is None else given.layer_decay
        shape["unfreeze"] = UNFREEZE if given.unfreeze is None else given.unfreeze
    given = dataclasses.replace(given, **shape)
    plan = data.plan(given, compute, speed, spent)
    plan.reasons.update(dict.fromkeys(shape, FROM_MODEL))
    if given.learning_rate is None and plan.schedule.layer_decay == 1:
        schedule = dataclasses.replace(plan.schedule, learning_rate=plan.schedule.learning_rate / 4)
        plan = dataclasses.replace(plan, schedule=schedule)
        plan.reasons["learning_rate"] = "after --init-from, a quarter of that of a new network"
    return plan


def _completed(
    plan: Plan,
    data: Data[AnyNetwork],
    network: AnyNetwork,
    given: TrainOptions,
    compute: Compute,
    has_own_valid: bool,
) -> Schedule:
    """The schedule of a plan, with what follows from the held-out part.

    The held-out part is not learnt at the end if it is a source of its own, or if other networks learn it.
    """
    objective = None
    if given.finish and not has_own_valid and (plan.members.planned == 1 or not data.cross_fits):
        objective = data.finishing(network, plan, compute, given.seed)
    finishing = 0 if objective is None else objective.steps_per_epoch
    return dataclasses.replace(plan.schedule, finishing=finishing, cooling=data.held_out is not None)


class _SavedRun(NamedTuple):
    """A run to continue: its model, the options that it began with, and its resume state."""

    model: Checkpoint
    options: TrainOptions
    arrays: dict[str, npt.NDArray[Any]]
    position: dict[str, Any]

    @property
    def config(self) -> dict[str, Any]:
        """`training` in config.json."""
        config: dict[str, Any] = self.model.config["training"]
        return config

    def changed(self, request: TrainRequest) -> dict[str, Any]:
        """The settings that the resumed run is given and did not begin with."""
        explicit = request.explicit.items()
        return {name: value for name, value in explicit if value is not None and value != getattr(self.options, name)}


def _resume(request: TrainRequest) -> Model:
    """Continue the run in the folder."""
    folder, world, watch = request.folder, request.compute.world, request.watch
    files = [checkpoint.CONFIG, *checkpoint.TOKENIZER_FILES, f"{checkpoint.RESUME}/*"]
    model, (arrays, position) = distributed.read_on_rank0(
        world, folder, files, lambda path: (checkpoint.load(path), checkpoint.read_resume(path))
    )
    saved = _SavedRun(model, _saved_options(model), arrays, position)
    _check_resume(request, saved)
    task = tasks.find(model.task)
    data = _resumed_data(request, saved, task)
    plan = _resumed_plan(request, saved, data)
    compute = _resumed_compute(request, saved)
    seed = saved.options.seed
    network = task.network(model.network)
    network.to(compute.device)
    run = _restored_run(request, saved, data.objective(network, plan, compute, seed), plan.schedule)
    if world.is_main_process:
        for unfinished in folder.rglob(f".*{PARTIAL_SUFFIX}"):  # from a write that was killed
            unfinished.unlink(missing_ok=True)
    pretraining = None
    if not run.position.step:
        pretraining = _pretraining(data, network, plan, compute, seed, time.monotonic())
    training = Training(folder, task, plan, compute, data, run, pretraining, seed=seed)
    members.resume(training, model.trained.seconds, len(model.members), watch.warn)
    training.metrics = world.broadcast_json(
        lambda: [m for m in checkpoint.read_metrics(folder) if m["step"] <= run.position.step]
    )
    model_folder = ModelFolder(training, _resumed_config(request, saved, plan), written=True)
    model_folder.restore_best(arrays)
    return _run(training, model_folder, watch)


def _resumed_data(request: TrainRequest, saved: _SavedRun, task: Task[AnyNetwork]) -> Data[AnyNetwork]:
    """The data of a run to continue: from the cache, or read again if it is not there or sources are named."""
    limit = TimeLimit(stop=request.watch.stop)
    with request.compute.world.main_process_first():
        named = bool(request.sources.names or request.sources.valid_names)
        data = None if named else task.load_cached(saved.model.config["data"], saved.model.preprocessor)
        if data is None:
            request = dataclasses.replace(request, watch=_stoppable(request.watch, limit))
            data = _read_again(request, saved, task, limit)
    return data


def _resumed_plan(request: TrainRequest, saved: _SavedRun, data: Data[AnyNetwork]) -> Plan:
    """The plan of a resumed run: the saved one, with the length and the number of networks given now."""
    pretraining = saved.config.get("pretraining")
    return Plan(
        saved.model.network,
        _schedule(request, saved, data),
        saved.config["batch_size"],
        saved.config["seq_length"],
        None if pretraining is None else from_json(Schedule, pretraining),
        saved.config.get("blank", 0.0),
        members.resumed_plan(saved.config, request.explicit, "budget" in saved.changed(request)),
    )


def _resumed_compute(request: TrainRequest, saved: _SavedRun) -> Compute:
    """The device given now, with the precision and the threads of the run."""
    threads = request.options.threads or saved.options.threads
    if threads is None and saved.model.network_spec.only_classifies and saved.config.get("threads") == 1:
        threads = 1  # measured at the beginning (`plans.classification`)
    return device.choose(request.options.device, saved.config["precision"], threads, request.compute.world)


def _restored_run(request: TrainRequest, saved: _SavedRun, objective: Objective, schedule: Schedule) -> Run:
    """The run at the position where it was saved. Raises `ModelError` if its resume state doesn't fit."""
    generator = torch.Generator().manual_seed(saved.options.seed)
    run = Run(objective, schedule, generator, world=request.compute.world)
    try:
        run.restore(saved.arrays, saved.position)
    except ModelError as error:
        raise ModelError(f"{str(request.folder)!r} can't be resumed: {error}") from error
    if schedule != from_json(Schedule, saved.config["schedule"]):
        # A longer run: patience starts afresh, and its rate at the best step was another.
        run.position.worse, run.position.cooling_from, run.position.best_progress = 0, None, None
    return run


def _resumed_config(request: TrainRequest, saved: _SavedRun, plan: Plan) -> dict[str, Any]:
    """The config.json of a resumed run."""
    options = _resumed_options(request, saved)
    options["keep_corpus"] = request.options.keep_corpus or saved.options.keep_corpus
    training_config = {
        **saved.config,
        "schedule": dataclasses.asdict(plan.schedule),
        "options": options,
        **distributed.run_metadata(request.compute.world),
        "members": dataclasses.asdict(plan.members),
    }
    return {**saved.model.config, "training": training_config}


def _check_resume(request: TrainRequest, saved: _SavedRun) -> None:
    """Raise `UserError` for arguments that contradict the run to continue. The same value again is accepted."""
    model, begun, explicit = saved.model, saved.options, request.explicit
    for name in sorted(set(explicit) - _CHANGEABLE):
        value, before = getattr(request.options, name), getattr(begun, name)
        if explicit[name] is not None and value != before:
            shown = (", ".join(before) or "none") if isinstance(before, tuple) else before
            raise UserError(f"{flag_name(name)} can't change on --resume: the run has {shown}")
    _check_network(model.network_spec, request.options)
    if request.task is not None and request.task != model.task:
        raise UserError(f"--task can't change on --resume: the run has {model.task}")
    started_from = saved.config.get("init_from")
    if request.init_from is not None and str(request.init_from) != started_from:
        raise UserError(
            f"--init-from can't change on --resume: the run started from {started_from or 'no model'}; "
            "train into another folder"
        )
    longer = [name for name in ("steps", "epochs") if explicit.get(name) not in (None, getattr(begun, name))]
    if model.members and longer:
        raise UserError(
            f"the model has {len(model.members) + 1} networks already, so none of them is trained further; give "
            "--members, or a longer --budget, for more networks"
        )
    if request.sources.valid_names and not model.has_own_valid:
        raise UserError(f"--valid can't be added on --resume: the run has --val-fraction {begun.val_fraction}")


def _read_again(request: TrainRequest, saved: _SavedRun, task: Task[AnyNetwork], limit: TimeLimit) -> Data[AnyNetwork]:
    """Prepare the sources of a run to continue again: those named, or else those that it began with.

    Raises:
        DataError: a source that it began with would have to be downloaded, or was in memory or in a pipe.
        UserError: the sources have other contents now, or the run began with a part of them.
    """
    (names, valid_names, spool, _), model, watch = request.sources, saved.model, request.watch
    before, valid_before = ([source["name"] for source in part] for part in (model.sources, model.valid_sources))
    unnamed = [] if names else [*before, *([] if valid_names else valid_before), *saved.options.unlabelled]
    downloads = [name for name in unnamed if reading.needs_network(name)]
    if downloads:
        raise DataError(
            f"the run began with {downloads[0]!r}, which is no longer in the cache; name it to download it again"
        )
    if "-" in unnamed and not (stdin_is_piped() and reading.read_standard_input(spool).stat().st_size):
        raise DataError(
            "the run began with data in memory or from standard input, which is no longer in the cache; give it again"
        )
    again = request.sources._replace(names=names or before, valid_names=valid_names or valid_before)
    parts = _read(task.spec, again, watch, saved.options, model)
    listed = model.sources, model.valid_sources, checkpoint.sources_of(model.config, "unlabelled_sources")
    same_counts = [len(part) for part in parts] == [len(part) for part in listed]
    if not same_counts or reading.fingerprint(itertools.chain(*parts)) != model.config["data"].get("fingerprint"):
        raise UserError(
            "the sources are not those that the run began with; give the same ones, "
            "or train on others in another folder with --init-from"
        )
    # Labels, series and formats follow from names: those of the run hold, wherever its files lie now.
    documents, held_out, unlabelled = (
        [dataclasses.replace(document, name=source["name"]) for document, source in zip(part, named, strict=True)]
        for part, named in zip(parts, listed, strict=True)
    )
    preparation = Preparation(
        documents, held_out, saved.options, model.preprocessor, None, watch.report, watch.warn, watch.progress, limit,
        unlabelled, model.network,
    )  # fmt: skip
    data, counts = task.prepare(preparation), model.config["data"]
    if any(counts.get(name, count) != count for name, count in data.metadata().items() if name in _COUNTED):
        raise UserError(
            "the run began with other tokens of these sources, which are no longer in the cache: its budget cut them, "
            "or another version of seqgen read them; train in another folder with --init-from"
        )
    return data


def _saved_options(saved: Checkpoint) -> TrainOptions:
    """The options that a run began with. Raises `ModelError` if config.json is too damaged to resume."""
    training_config = saved.config["training"]
    _ = saved.trained, saved.temperature  # raise `ModelError` before the run changes anything
    try:
        options = training_config["options"]
        if not isinstance(options, dict):
            raise UserError("it has no options")
        from_json(Schedule, training_config["schedule"])
        if training_config.get("pretraining") is not None:
            from_json(Schedule, training_config["pretraining"])
        members.saved_plan(training_config)
        for name in ("batch_size", "seq_length", "precision"):
            if training_config[name] is None:  # an option may be that, a run is not
                raise UserError(f"it has no {name}")
            make_options(TrainOptions, {name: training_config[name]})
        make_options(TrainOptions, {"blank": training_config.get("blank", 0.0)})  # missing in older runs
        return check(from_json(TrainOptions, options))
    except (KeyError, UserError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ModelError(
            f"{str(saved.folder / checkpoint.CONFIG)!r} is damaged, so it can't be resumed: {why}"
        ) from error


def _schedule(request: TrainRequest, saved: _SavedRun, data: Data[AnyNetwork]) -> Schedule:
    """The schedule of a resumed run: the saved one, with the patience and length given now.

    A length includes that of pretraining, as at the beginning. A longer budget of a run that trains several networks,
    or has further ones, is for more networks.
    """
    config, changed = saved.config, saved.changed(request)
    schedule, pretraining = from_json(Schedule, config["schedule"]), config.get("pretraining")
    first = None if pretraining is None else from_json(Schedule, pretraining)
    if "patience" in changed:
        schedule = dataclasses.replace(schedule, patience=changed["patience"])
    if "budget" in changed and members.saved_plan(config).planned == 1 and not saved.model.members:
        seconds = parse_duration(changed["budget"]) - (first.seconds or 0.0 if first else 0.0)
        share = seconds / (request.explicit.get("members") or 1)
        return dataclasses.replace(schedule, steps=None, seconds=max(1.0, share))
    if "epochs" in changed:
        changed["steps"] = data.steps(changed["epochs"], config["batch_size"], config["seq_length"])
    if "steps" in changed:
        steps = changed["steps"] - (first.steps or 0 if first else 0)
        return dataclasses.replace(schedule, steps=max(1, steps), seconds=None)
    return schedule


def _resumed_options(request: TrainRequest, saved: _SavedRun) -> dict[str, Any]:
    """The options in config.json of a resumed run: those given now count, as the next --resume and `--recipe` do."""
    changed = {name: value for name, value in saved.changed(request).items() if name in _RECORDED}
    other_length = dict.fromkeys(_LENGTHS) if not changed.keys().isdisjoint(_LENGTHS) else {}
    return {**saved.config["options"], **other_length, **changed}


def _pretraining(
    data: Data[AnyNetwork], network: AnyNetwork, plan: Plan, compute: Compute, seed: int, began: float
) -> Run | None:
    """The run that precedes the task's own, if the plan has one."""
    if plan.pretraining is None:
        return None
    objective = data.pretraining(network, plan, compute, seed)
    if objective is None:
        return None
    return Run(objective, plan.pretraining, torch.Generator().manual_seed(seed), Position(), began, compute.world)


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
