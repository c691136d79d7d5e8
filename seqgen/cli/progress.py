"""What a person sees of a training: a bar and a line of sample text on a terminal, plain lines in a pipe."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from seqgen.cli.options import StderrLogger, human_size, human_time, one_line
from seqgen.streams import is_terminal

if TYPE_CHECKING:
    from seqgen.api.train.folder import Training
    from seqgen.api.train.run import Watcher
    from seqgen.cli.commands.train import InterruptHandler
    from seqgen.config import SampleOptions
    from seqgen.training.loop import Event

_LINE_EVERY = 10.0  # seconds between plain lines where validations are further apart
_SAMPLE_CHARACTERS = 72
_PATIENCE = 10.0  # seconds until a person wonders whether anything happens


@contextlib.contextmanager
def display(quiet: bool, stop: InterruptHandler, began: float) -> Iterator[Watcher]:
    """A watcher that shows a training, begun at `began`, in the way that suits where stderr goes."""
    shown: Any
    if quiet:
        shown = _Nothing()
    elif is_terminal(sys.stderr):
        shown = _Bar()
    else:
        shown = _Lines(StderrLogger(quiet))
    voice = StderrLogger(quiet)
    from seqgen.api.train.run import Watcher

    def started(training: Training) -> None:
        stop.training = True
        shown.started(training)

    with shown:
        yield Watcher(
            report=shown.report,
            warn=lambda message: shown.above(lambda: voice.warn(message)),
            progress=shown.progress,
            started=started,
            event=shown.event,
            stop=stop,
            began=began,
        )


class _Nothing:
    """Says nothing."""

    def __enter__(self) -> _Nothing:
        return self

    def __exit__(self, *_: object) -> None: ...

    def report(self, what: str) -> None: ...

    def above(self, say: Callable[[], None]) -> None: ...

    def progress(self, done: int, total: int | None) -> None: ...

    def started(self, training: Training) -> None: ...

    def event(self, event: Event) -> None: ...


def _describe(training: Training) -> str:
    """The plan in a line."""
    from seqgen.model.weight_shapes import parameter_count

    network, plan = training.plan.network, training.plan
    schedule = plan.schedule
    long = f"{schedule.steps:,} steps" if schedule.steps is not None else human_time(schedule.seconds or 0)
    return (
        f"{training.task.name}: {training.data.summary()}; {network.summary} "
        f"({human_size(4 * parameter_count(network))}), batch {plan.batch_size} × {plan.seq_length}, "
        f"dropout {network.dropout:g}, rate {schedule.learning_rate:g}, "
        f"{training.compute.precision} on {training.compute.device}, {long}"
    )


def _validated(training: Training, event: Any) -> str:
    held_out = "nothing held out"
    if event.val_loss is not None:
        held_out = ", ".join(
            filter(None, (f"held-out loss {event.val_loss:.4f}", training.format_loss(event.val_loss)))
        )
    return f"step {event.step:,}: loss {event.train_loss:.4f}, {held_out}{', best' * event.best}"


def _recovered(event: Any) -> str:
    return (
        f"the loss was not finite: back to step {event.step:,}, the learning rate lowered to {event.factor:g} of itself"
    )


def preview(training: Training) -> str:
    """A line of text or of notes from the model as it is now; of a forecaster, how it compares with the last value; of
    what sorts, nothing."""
    if training.task.name == "forecast":
        metrics = training.run.objective.metrics
        return f"{100 * metrics['skill']:.1f} % below the squared error of the last value" if metrics else ""
    if training.task.name == "classify":
        return ""
    from seqgen.config import SampleOptions
    from seqgen.generation.engines.numpy import NumpyEngine

    engine, codec = NumpyEngine(training.plan.network, training.weights()), training.data.codec
    seed = training.run.position.step
    if training.task.name == "music":
        return _tune(engine, codec, SampleOptions(length=2, seed=seed))
    from seqgen.generation import text
    from seqgen.generation.dialogue import prime as prime_dialogue
    from seqgen.tokenizers.dialogue import DialogueCodec

    options = SampleOptions(length=_SAMPLE_CHARACTERS, temperature=0.7, seed=seed)
    primed = prime_dialogue(engine, codec, b"") if isinstance(codec, DialogueCodec) else text.prime(engine, codec, b"")
    return one_line(next(text.samples(engine, codec, primed, options)).text)


def _tune(engine: Any, codec: Any, options: SampleOptions) -> str:
    """Two bars, their notes by name."""
    from seqgen.generation.music import composing as music
    from seqgen.music.names import note_name

    composed = next(music.compose(engine, codec, music.prime(engine, codec), options))
    bars = [
        " ".join(note_name(n.pitch) for n in composed.piece.notes if b.start <= n.start < b.start + b.length)
        for b in composed.piece.bars
    ]
    return " | ".join(bars)[: 2 * _SAMPLE_CHARACTERS]


class _Lines(_Nothing):
    """A line on stderr now and then. What comes before training waits a moment: if it ends in an error, the error
    alone is said."""

    def __init__(self, voice: StderrLogger) -> None:
        self._voice = voice
        self._training: Training | None = None
        self._last = self._began = time.monotonic()
        self._waiting: list[Callable[[], None]] = []
        self._doing = ""

    def report(self, what: str) -> None:
        self._doing, self._last = what, time.monotonic()
        self.above(lambda: self._voice.info(what))

    def progress(self, done: int, total: int | None) -> None:
        if time.monotonic() - self._last > _LINE_EVERY:
            self._last = time.monotonic()
            of = f" of {human_size(total)}" if total else ""
            note = f"{self._doing}: {human_size(done)}{of}"
            self.above(lambda: self._voice.info(note))

    def above(self, say: Callable[[], None]) -> None:
        self._waiting.append(say)
        if self._training is not None or time.monotonic() - self._began > _PATIENCE:
            self._release()

    def _release(self) -> None:
        for say in self._waiting:
            say()
        self._waiting.clear()

    def started(self, training: Training) -> None:
        self._training = training
        self._release()
        self._voice.info(_describe(training))

    def event(self, event: Event) -> None:
        from seqgen.training.loop import Finished, Recovered, Stepped, Validated

        assert self._training is not None
        if isinstance(event, Recovered):
            self._voice.warn(_recovered(event))
        elif isinstance(event, Validated):
            self._last = time.monotonic()
            self._voice.info(_validated(self._training, event))
        elif isinstance(event, Finished) and event.early:
            self._voice.info("no better for a while: stopped early, the best step is kept")
        elif isinstance(event, Stepped) and time.monotonic() - self._last > _LINE_EVERY:
            self._last = time.monotonic()
            self._voice.info(
                f"step {event.step:,}: loss {event.loss:.4f}, {event.tokens_per_second:,.0f} tokens/s, "
                f"{human_time(event.seconds_left)} left"
            )


class _Bar(_Nothing):
    """rich's progress bar; validations and samples scroll by above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[words]}", markup=False),
            console=self._console,
            transient=True,
            expand=True,
        )
        self._task = self._bar.add_task("starting", total=None, words="")
        self._training: Training | None = None
        self._shown = 0.0

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def report(self, what: str) -> None:
        self._bar.update(self._task, description=one_line(what), completed=0, words="")

    def above(self, say: Callable[[], None]) -> None:
        say()

    def progress(self, done: int, total: int | None) -> None:
        if time.monotonic() - self._shown > 0.1:
            self._shown = time.monotonic()
            self._bar.update(self._task, completed=done, total=total, words=human_size(done))

    def started(self, training: Training) -> None:
        self._training = training
        self._console.print(one_line(_describe(training)), markup=False)
        self._bar.update(self._task, description="training", total=1.0, completed=0.0)

    def event(self, event: Event) -> None:
        from seqgen.training.loop import Finished, Recovered, Stepped, Validated

        training = self._training
        assert training is not None
        if isinstance(event, Stepped):
            if time.monotonic() - self._shown > 0.1:
                self._shown = time.monotonic()
                words = (
                    f"loss {event.loss:.3f}  {training.format_loss(event.loss)}  "
                    f"{event.tokens_per_second:,.0f} tokens/s  {human_time(event.seconds_left)} left"
                )
                self._bar.update(self._task, completed=event.progress, words=words)
        elif isinstance(event, Recovered):
            self._console.print(_recovered(event), style="yellow", markup=False)
        elif isinstance(event, Validated):
            self._console.print(_validated(training, event), markup=False)
            if line := preview(training):
                self._console.print("  " + line, style="dim", markup=False)
        elif isinstance(event, Finished) and event.early:
            self._console.print("no better for a while: stopped early, the best step is kept")
