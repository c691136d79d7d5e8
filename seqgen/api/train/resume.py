"""A run to continue: its data, plan and network as they were, with the settings that may change."""

from __future__ import annotations

import dataclasses
import itertools
import time
from typing import Any, NamedTuple

import numpy.typing as npt
import torch

from seqgen import checkpoint, tasks
from seqgen.api.train import distributed, members
from seqgen.api.train.folder import ModelFolder, Training
from seqgen.api.train.request import TrainRequest, check_network, pretraining_run, read_sources, stoppable
from seqgen.checkpoint import Checkpoint
from seqgen.config import TrainOptions, check, flag_name, from_json, make_options, parse_duration
from seqgen.corpus import sources as reading
from seqgen.errors import DataError, ModelError, UserError
from seqgen.streams import PARTIAL_SUFFIX, stdin_is_piped
from seqgen.tasks.base import AnyNetwork, Data, Preparation, Task
from seqgen.time_limit import TimeLimit
from seqgen.training import device
from seqgen.training.device import Compute
from seqgen.training.loop import Objective, Run
from seqgen.training.plans.base import Plan
from seqgen.training.schedule import Schedule

_LENGTHS = ("budget", "epochs", "steps")
_RECORDED = {*_LENGTHS, "patience", "members"}  # changes by --resume that config.json has from then on
_COUNTED = ("train_tokens", "held_out_tokens")  # in `Data.metadata`
_CHANGEABLE = {*_RECORDED, "device", "threads", "keep_corpus"}  # by --resume


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


def resume(request: TrainRequest) -> tuple[Training, ModelFolder]:
    """Restore the run in the folder, at the position where it was saved."""
    folder, world = request.folder, request.compute.world
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
        pretraining = pretraining_run(data, network, plan, compute, seed, time.monotonic())
    training = Training(folder, task, plan, compute, data, run, pretraining, seed=seed)
    members.resume(training, model.trained.seconds, len(model.members), request.watch.warn)
    training.metrics = world.broadcast_json(
        lambda: [m for m in checkpoint.read_metrics(folder) if m["step"] <= run.position.step]
    )
    model_folder = ModelFolder(training, _resumed_config(request, saved, plan), written=True)
    model_folder.restore_best(arrays)
    return training, model_folder


def _resumed_data(request: TrainRequest, saved: _SavedRun, task: Task[AnyNetwork]) -> Data[AnyNetwork]:
    """The data of a run to continue: from the cache, or read again if it is not there or sources are named."""
    limit = TimeLimit(stop=request.watch.stop)
    with request.compute.world.main_process_first():
        named = bool(request.sources.names or request.sources.valid_names)
        data = None if named else task.load_cached(saved.model.config["data"], saved.model.preprocessor)
        if data is None:
            request = dataclasses.replace(request, watch=stoppable(request.watch, limit))
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
    check_network(model.network_spec, request.options)
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
    parts = read_sources(task.spec, again, watch, saved.options, model)
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
