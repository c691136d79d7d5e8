"""Progress of a training run: a bar and sample text on a terminal, plain lines in a pipe."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any, cast

from seqgen.cli.output import StderrLogger, human_size, human_time
from seqgen.specs.registry import resolve
from seqgen.streams import is_terminal
from seqgen.untrusted import one_line

if TYPE_CHECKING:
    from seqgen.api.train.folder import Training
    from seqgen.api.train.run import Watcher
    from seqgen.cli.interrupts import InterruptHandler
    from seqgen.training.loop import Event

_LINE_INTERVAL = 10.0  # seconds between plain lines if validations are further apart
_HOLD_BACK = 10.0  # seconds for which messages before training are held back: an error may make them pointless
_PREVIEW_LENGTH = 72  # characters
_EARLY_STOP = "early stopping: no better validation for too long; the best step is saved"


@contextlib.contextmanager
def display(quiet: bool, stop: InterruptHandler, began: float) -> Iterator[Watcher]:
    """Show a training run that began at `began` (`time.monotonic`), in the form that suits stderr.

    Yields the watcher to pass to `train`.
    """
    log = StderrLogger(quiet)
    shown: Any
    if quiet:
        shown = _Silent()
    elif is_terminal(sys.stderr):
        shown = _Bar()
    else:
        shown = _Lines(log)
    from seqgen.api.train.run import Watcher

    def started(training: Training) -> None:
        stop.training = True
        shown.started(training)

    with shown:
        yield Watcher(
            report=shown.report,
            warn=lambda message: shown.print(lambda: log.warn(message)),
            progress=shown.progress,
            started=started,
            event=shown.event,
            stop=stop,
            began=began,
        )


class _Silent:
    """Shows nothing."""

    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *_: object) -> None: ...

    def report(self, activity: str) -> None: ...

    def print(self, write: Callable[[], None]) -> None: ...

    def progress(self, done: int, total: int | None) -> None: ...

    def started(self, training: Training) -> None: ...

    def event(self, event: Event) -> None: ...


def _describe(training: Training) -> str:
    """The training plan in one line."""
    from seqgen.model.weight_shapes import parameter_count

    network, plan = training.plan.network, training.plan
    schedule = plan.schedule
    length = f"{schedule.steps:,} steps" if schedule.steps is not None else human_time(schedule.seconds or 0)
    return (
        f"{training.task.spec.name}: {training.data.summary()}; {network.summary} "
        f"({human_size(4 * parameter_count(network))}), batch {plan.batch_size} × {plan.seq_length}, "
        f"dropout {network.dropout:g}, learning rate {schedule.learning_rate:g}, "
        f"{training.compute.precision} on {training.compute.device}, {length}"
    )


def _describe_validation(training: Training, event: Any) -> str:
    held_out = "nothing held out"
    if event.val_loss is not None:
        held_out = ", ".join(
            filter(None, (f"held-out loss {event.val_loss:.4f}", training.format_loss(event.val_loss)))
        )
    return f"step {event.step:,}: loss {event.train_loss:.4f}, {held_out}{', best' * event.best}"


def _describe_recovery(event: Any) -> str:
    return f"loss not finite: back to step {event.step:,} with the learning rate multiplied by {event.factor:g}"


def preview(training: Training) -> str:
    """A line that shows what the model can do at present; empty for tasks without a preview."""
    spec = training.task.spec
    return "" if spec.preview is None else str(resolve(spec.preview)(training))


def preview_text(training: Training) -> str:
    """A line of generated text."""
    from seqgen.generation.prompts import prime

    return _first_sample(training, prime)


def preview_dialogue(training: Training) -> str:
    """A line that the model opens a conversation with."""
    from seqgen.generation.dialogue import prime

    return _first_sample(training, prime)


def preview_music(training: Training) -> str:
    """Two generated bars, as the names of their notes."""
    from seqgen.config import SampleOptions
    from seqgen.generation.music import composing
    from seqgen.music.names import note_name

    engine, codec = _engine_and_codec(training)
    request = composing.CompositionRequest(SampleOptions(length=2, seed=training.run.position.step))
    composed = next(composing.compose(engine, codec, composing.prime(engine, codec), request))
    bars = [
        " ".join(note_name(n.pitch) for n in composed.piece.notes if b.start <= n.start < b.start + b.length)
        for b in composed.piece.bars
    ]
    return " | ".join(bars)[: 2 * _PREVIEW_LENGTH]


def preview_forecast(training: Training) -> str:
    """A forecaster's skill beside the last value."""
    metrics = training.run.objective.metrics
    return f"{100 * metrics['skill']:.1f} % below the squared error of the last value" if metrics else ""


def _engine_and_codec(training: Training) -> tuple[Any, Any]:
    from seqgen.config import NetworkConfig
    from seqgen.generation.engines.choose import make_engine

    network = training.plan.network
    assert isinstance(network, NetworkConfig)
    return make_engine(network, training.weights()), training.data.codec


def _first_sample(training: Training, prime: Callable[[Any, Any, bytes], Any]) -> str:
    from seqgen.config import SampleOptions
    from seqgen.generation import text

    engine, codec = _engine_and_codec(training)
    options = SampleOptions(length=_PREVIEW_LENGTH, temperature=0.7, seed=training.run.position.step)
    return one_line(next(text.samples(engine, codec, prime(engine, codec, b""), options)).text)


class _Lines(_Silent):
    """Plain lines on stderr.

    Messages before training are held back for a moment: if an error ends it, only the error is printed.
    """

    def __init__(self, log: StderrLogger) -> None:
        self._log = log
        self._training: Training | None = None
        self._last = self._began = time.monotonic()
        self._waiting: list[Callable[[], None]] = []
        self._activity = ""

    def report(self, activity: str) -> None:
        self._activity, self._last = activity, time.monotonic()
        self.print(lambda: self._log.info(activity))

    def progress(self, done: int, total: int | None) -> None:
        if time.monotonic() - self._last > _LINE_INTERVAL:
            self._last = time.monotonic()
            of = f" of {human_size(total)}" if total else ""
            line = f"{self._activity}: {human_size(done)}{of}"
            self.print(lambda: self._log.info(line))

    def print(self, write: Callable[[], None]) -> None:
        self._waiting.append(write)
        if self._training is not None or time.monotonic() - self._began > _HOLD_BACK:
            self._release()

    def _release(self) -> None:
        for write in self._waiting:
            write()
        self._waiting.clear()

    def started(self, training: Training) -> None:
        self._training = training
        self._release()
        self._log.info(_describe(training))

    def event(self, event: Event) -> None:
        from seqgen.training.loop import Finished, Recovered, Stepped, Validated

        assert self._training is not None
        if isinstance(event, Recovered):
            self._log.warn(_describe_recovery(event))
        elif isinstance(event, Validated):
            self._last = time.monotonic()
            self._log.info(_describe_validation(self._training, event))
        elif isinstance(event, Finished) and event.early:
            self._log.info(_EARLY_STOP)
        elif isinstance(event, Stepped) and time.monotonic() - self._last > _LINE_INTERVAL:
            self._last = time.monotonic()
            self._log.info(
                f"step {event.step:,}: loss {event.loss:.4f}, {event.tokens_per_second:,.0f} tokens/s, "
                f"{human_time(event.seconds_left)} left"
            )


class _Stderr:
    """Standard error, which may go away: a terminal that is closed must not keep the model from being saved."""

    def __init__(self) -> None:
        self._stream = sys.stderr  # a display that runs stands in front of it later
        self.encoding = self._stream.encoding

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


class _Bar(_Silent):
    """A progress bar; validations and samples scroll by above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        self._console = Console(file=cast(IO[str], _Stderr()), highlight=False)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[numbers]}", markup=False),
            console=self._console,
            transient=True,
            expand=True,
        )
        self._task = self._bar.add_task("starting", total=None, numbers="")
        self._training: Training | None = None
        self._last = 0.0

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def report(self, activity: str) -> None:
        self._bar.update(self._task, description=one_line(activity), completed=0, numbers="")

    def print(self, write: Callable[[], None]) -> None:
        write()

    def progress(self, done: int, total: int | None) -> None:
        if time.monotonic() - self._last > 0.1:
            self._last = time.monotonic()
            self._bar.update(self._task, completed=done, total=total, numbers=human_size(done))

    def started(self, training: Training) -> None:
        self._training = training
        self._console.print(one_line(_describe(training)), markup=False)
        self._bar.update(self._task, description="training", total=1.0, completed=0.0)

    def event(self, event: Event) -> None:
        from seqgen.training.loop import Finished, Recovered, Stepped, Validated

        training = self._training
        assert training is not None
        if isinstance(event, Stepped):
            if time.monotonic() - self._last > 0.1:
                self._last = time.monotonic()
                numbers = (
                    f"loss {event.loss:.3f}  {training.format_loss(event.loss)}  "
                    f"{event.tokens_per_second:,.0f} tokens/s  {human_time(event.seconds_left)} left"
                )
                self._bar.update(self._task, completed=event.progress, numbers=numbers)
        elif isinstance(event, Recovered):
            self._console.print(_describe_recovery(event), style="yellow", markup=False)
        elif isinstance(event, Validated):
            self._console.print(_describe_validation(training, event), markup=False)
            if line := preview(training):
                self._console.print("  " + line, style="dim", markup=False)
        elif isinstance(event, Finished) and event.early:
            self._console.print(_EARLY_STOP)
