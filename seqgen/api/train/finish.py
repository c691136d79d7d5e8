"""What follows the loop: calibration by the held-out part, and then learning the held-out part too.

All that is measured on the held-out part is measured before it is learnt, and stays as it is: the metrics, the
temperature, the cost of 8-bit weights, what a network of labels or of series calibrated at its best validation.
`resume/` keeps the weights from before, so that a longer run goes on from those, and a killed finishing begins again.
"""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple, cast

import torch

from seqgen import checkpoint
from seqgen.api import copies
from seqgen.api.train import context_cache
from seqgen.api.train.folder import FINISHED, ROUNDING, TEMPERATURE, ModelFolder, Training, as_arrays
from seqgen.api.train.watch import Watcher
from seqgen.checkpoint import CORPUS, Weights
from seqgen.corpus.documents import Document, Spool
from seqgen.corpus.ids import IdStream
from seqgen.errors import DataError, StoppedError
from seqgen.generation.engines.native import quantization_cost
from seqgen.generation.held_out_lines import HELD_OUT_LINES, measure_lines
from seqgen.model.language import LanguageModel
from seqgen.streams import write_bytes
from seqgen.tasks.base import AnyNetwork
from seqgen.time_limit import TimeLimit
from seqgen.tokenizers import Codec
from seqgen.training.calibration import dropout_temperature
from seqgen.training.finishing import finishing_schedule
from seqgen.training.loop import Finishing, Objective, Position, Run, Stepped, cloned
from seqgen.training.schedule import Schedule

_NOISE = 1e-4  # of a loss: as far as it may rise where there is hardly anything to learn
_ROUNDING_SAMPLE = 1 << 15  # at most this many ids measure the cost of rounding


class _Learnt(NamedTuple):
    """What was learnt of the held-out part. `taken_back`: nothing, because its loss was higher then."""

    steps: int
    epochs: float
    taken_back: bool = False

    def to_json(self) -> dict[str, Any]:
        """The entry of config.json; empty if nothing was learnt."""
        return {"steps": self.steps, "epochs": self.epochs} if self.steps else {}


def finish(training: Training, folder: ModelFolder, watch: Watcher, stopped: bool) -> None:
    """Complete the model of a run that is over; the held-out part is not learnt if the run was `stopped`.

    In distributed training every process calls this.
    """
    world, run = training.compute.world, training.run
    known = world.broadcast_json(lambda: {name: name in folder.config for name in (FINISHED, TEMPERATURE)})
    if known[FINISHED]:  # a resumed run that found nothing better
        if world.is_main_process and training.data.id_streams:
            _keep_corpus(training, folder, training.data.id_streams, watch)
        world.barrier()
        return
    objective, schedule = None, None if stopped else _schedule(training)
    if schedule is not None:
        objective = training.data.finishing(_network(training), training.plan, training.compute, training.seed)
    corrects = training.data.corrects_temperature and not known[TEMPERATURE]
    if run.best is None:  # no validation was finite
        folder.restore_best({})
    assert run.best is not None
    if objective is not None or corrects:
        folder.keep_best()
    run.objective.network.load_state_dict(run.best)
    if world.is_main_process and training.data.id_streams:
        _complete_language_model(training, folder, watch, corrects)
        if not stopped:
            _add_companion(training, folder, watch)
    world.barrier()  # for rank 0, however long that took
    if objective is not None and schedule is not None:
        _learn(training, folder, watch, objective, schedule)


def _temperature(folder: ModelFolder) -> float:
    return checkpoint.temperature_of(folder.config)


def _complete_language_model(training: Training, folder: ModelFolder, watch: Watcher, corrects: bool) -> None:
    """Save the copy index for `--keep-corpus`, and fit to the held-out part all that `generation` needs of it."""
    streams = training.data.id_streams
    _keep_corpus(training, folder, streams, watch)
    if corrects:
        _measure_temperature(training, folder, streams[0])
    weights = _corrected_weights(training, folder)
    if _temperature(folder) != 1 and folder.has_best():
        folder.update({}, weights)
    config = _language_network(training).config
    cost = quantization_cost(config, weights, streams[-1].ids[:_ROUNDING_SAMPLE], streams[-1].given)
    if cost is not None and folder.config.get(ROUNDING) != round(cost, 6):
        folder.update({ROUNDING: round(cost, 6)})
    context_cache.fit(training, folder, weights)
    if training.task.spec.is_plain_text and len(streams) > 1 and HELD_OUT_LINES not in folder.config:
        lines = measure_lines(config, weights, cast(Codec, training.data.codec), streams[-1].ids)
        if lines is not None:
            folder.update({HELD_OUT_LINES: lines})


def _add_companion(training: Training, folder: ModelFolder, watch: Watcher) -> None:
    """Write the further file of the task's models, if they have one, unless that is stopped."""
    limit = TimeLimit(training.run.schedule.seconds or math.inf, time.monotonic(), watch.stop)
    weights, tokens = _corrected_weights(training, folder), training.run.position.tokens
    network = _language_network(training).eval()
    try:
        companion = training.data.companion(network, weights, training.compute, training.seed, tokens, limit)
    except StoppedError:
        return
    if companion is not None:
        write_bytes(training.folder / companion.name, companion.contents)
        folder.update({"metrics": {**folder.config["metrics"], **companion.metrics}})


def _keep_corpus(training: Training, folder: ModelFolder, streams: tuple[IdStream, ...], watch: Watcher) -> None:
    wanted = folder.config["training"]["options"].get("keep_corpus")
    if not wanted or (training.folder / CORPUS).exists():  # a resumed run has the same sources
        return
    with Spool() as spool:
        documents: list[Document] = []
        if training.task.spec.is_plain_text:  # a resumed run may have read nothing but the cached ids
            documents = training.documents or copies.unchanged_sources(checkpoint.load(training.folder), spool)
        codec = cast(Codec, training.data.codec)
        try:
            index = copies.build(codec, streams, documents)
        except DataError:
            watch.warn(
                "a source has changed or vanished since it was read: --keep-corpus keeps what was read of it, and "
                "there text that was held out is apart from what surrounds it"
            )
            index = copies.build(codec, streams)
    copies.save_copy_index(training.folder, index, folder.config)


def _measure_temperature(training: Training, folder: ModelFolder, train: IdStream) -> None:
    """Record the temperature (`training.calibration.dropout_temperature`), or 1 if the validation loss gets worse.

    config.json is written before the weights. A kill in between leaves a slightly overconfident model, not one that is
    corrected twice.
    """
    run, network = training.run, _language_network(training)
    temperature = dropout_temperature.fit_temperature(network, train, training.compute, training.seed)
    metrics, applied = folder.config["metrics"], False
    if temperature != 1 and dropout_temperature.apply_temperature(network, temperature):
        loss, before = run.objective.validate(), run.position.best_loss
        applied = loss is None or before is None or loss < before
        if applied:
            metrics = {**metrics, **training.metrics_of(loss)}
    folder.update({TEMPERATURE: temperature if applied else 1.0, "metrics": metrics})


def _corrected_weights(training: Training, folder: ModelFolder) -> Weights:
    """The best weights, with the temperature in the output layer."""
    network, best = training.run.objective.network, training.run.best
    assert best is not None
    network.load_state_dict(best)
    weights = {name: weight.copy() for name, weight in _with_temperature(training, folder).items()}
    network.load_state_dict(best)
    return weights


def _with_temperature(training: Training, folder: ModelFolder) -> Weights:
    """The network's weights, with the temperature in the output layer; the network itself may have it then too."""
    temperature = _temperature(folder)
    if temperature != 1:
        dropout_temperature.apply_temperature(_language_network(training), temperature)
    return as_arrays(training.run.objective.network.state_dict())


def _network(training: Training) -> AnyNetwork:
    return cast(AnyNetwork, training.run.objective.network)


def _language_network(training: Training) -> LanguageModel:
    network = training.run.objective.network
    assert isinstance(network, LanguageModel)
    return network


def _learn(training: Training, folder: ModelFolder, watch: Watcher, objective: Objective, schedule: Schedule) -> None:
    """Learn the held-out part (`_learn_held_out`), and write the weights if it was learnt.

    config.json also says that the weights were restored, or each --resume would learn it again.
    """
    done = _learn_held_out(training, watch, objective, schedule)
    if done is None or not training.compute.world.is_main_process:
        return
    if done.steps:
        weights = _with_temperature(training, folder)
        changed = {**folder.config["training"], "seconds": round(time.monotonic() - training.run.began, 2)}
        folder.update({FINISHED: done.to_json(), "training": changed}, weights)
    elif done.taken_back:
        folder.update({FINISHED: done.to_json()})


def finish_member(training: Training, watch: Watcher) -> dict[str, Any] | None:
    """Let a further network, which has its best weights, learn the held-out part too.

    Returns:
        what was learnt, as in config.json; empty if nothing was, None if it was stopped.
    """
    schedule = _schedule(training)
    if schedule is None:
        return {}
    objective = training.data.finishing(_network(training), training.plan, training.compute, training.seed)
    if objective is None:
        return {}
    done = _learn_held_out(training, watch, objective, schedule)
    return None if done is None else done.to_json()


def _schedule(training: Training) -> Schedule | None:
    """The schedule by which the held-out part is learnt; None if there is no time for it."""
    run = training.run
    (left,) = training.compute.world.broadcast_floats(run.finishing_seconds())
    return finishing_schedule(run.schedule, left, run.position.rate_factor)


def _learn_held_out(training: Training, watch: Watcher, objective: Objective, schedule: Schedule) -> _Learnt | None:
    """Learn the held-out part, with the moments that the optimiser has.

    If the loss of the held-out part is higher then, the network gets the weights from before.

    Returns:
        what was learnt: nothing without time for a step, or with a higher loss; None if it was stopped.
    """
    run, compute = training.run, training.compute
    before = cloned(run.objective.network.state_dict().items())
    training.data.before_finishing(_network(training))
    began = time.monotonic()  # the time of a short run would be over by now
    generator = torch.Generator().manual_seed(training.seed)
    finishing = Run(objective, schedule, generator, Position(), began, compute.world)
    finishing.optimiser.load(run.optimiser.moments)
    watch.event(Finishing())
    for event in finishing.events():
        if isinstance(event, Stepped):
            watch.event(event)
        if compute.world.any_rank(watch.stop()):
            return None
    steps = finishing.position.step
    if steps and not _is_learnt(training):
        run.objective.network.load_state_dict(before)
        watch.warn("learning the held-out part made its loss higher, so the weights of the best step are kept")
        return _Learnt(0, 0.0, taken_back=True)
    return _Learnt(steps, round(steps / objective.steps_per_epoch, 2))


def _is_learnt(training: Training) -> bool:
    """Whether the loss of the held-out part, which was just learnt, is no higher than at the best step."""
    run, world, network = training.run, training.compute.world, _network(training)
    learnt = True
    if world.is_main_process:
        weights = cloned(network.state_dict().items())
        network.eval()
        loss, best = run.objective.validate(), run.position.best_loss
        network.load_state_dict(weights)  # without what validation calibrates, now by texts that are learnt
        learnt = loss is None or (math.isfinite(loss) and (best is None or loss <= best + _NOISE * abs(best)))
    return bool(world.broadcast_floats(float(learnt))[0])
