"""Progress of a training run: a status and sample text on a terminal, plain lines in a pipe."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, cast

from seqgen.cli.output import StderrLogger
from seqgen.quantities import human_size, human_time
from seqgen.specs.registry import resolve
from seqgen.streams import is_terminal
from seqgen.untrusted import one_line

if TYPE_CHECKING:
    from seqgen.api.train.folder import Training
    from seqgen.api.train.watch import Watcher
    from seqgen.cli.interrupts import InterruptHandler
    from seqgen.training.loop import Event

_LINE_INTERVAL = 10.0  # seconds between plain lines if validations are further apart
_HOLD_BACK = 10.0  # seconds for which messages before training are held back: an error may make them pointless
_PREVIEW_LENGTH = 72  # characters
_TRAINING, _PRETRAINING = "training", "pretraining"
_FINISHING = "learning the held-out part too"
_EARLY_STOP = "early stopping: the validation loss no longer improves; the best step is saved"


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
    from seqgen.api.train.watch import Watcher

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
    if training.number:
        return f"network {training.number + 1}: {training.data.summary()}; {network.summary}, {length}"
    return (
        f"{training.task.spec.name}: {training.data.summary()}; {network.summary} "
        f"({human_size(4 * parameter_count(network))}), batch {plan.batch_size} × {plan.seq_length}, "
        f"dropout {network.dropout:g}, learning rate {schedule.learning_rate:g}, "
        f"{training.compute.precision} on {training.compute.device}, {length}"
    )


def _describe_validation(training: Training, event: Any) -> str:
    held_out = "the held-out loss is not finite" if event.diverged else "nothing held out"
    if event.val_loss is not None:
        held_out = ", ".join(
            filter(None, (f"held-out loss {event.val_loss:.4f}", training.format_loss(event.val_loss)))
        )
    return f"step {event.step:,}: loss {event.train_loss:.4f}, {held_out}{', best' * event.best}"


def _describe_cooling(event: Any) -> str:
    return (
        f"the validation loss no longer improves: back to step {event.step:,}, and {event.steps:,} steps in which the "
        "learning rate falls to zero"
    )


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
    if not metrics:
        return ""
    skill = metrics["skill"]
    return f"{abs(100 * skill):.1f} % {'below' if skill >= 0 else 'above'} the squared error of the last value"


def _engine_and_codec(training: Training) -> tuple[Any, Any]:
    from seqgen.config import NetworkConfig
    from seqgen.generation.engines.choose import make_engine

    network = training.plan.network
    assert isinstance(network, NetworkConfig)
    return make_engine(network, training.weights()), training.data.codec


def _first_sample(training: Training, prime: Callable[[Any, Any, bytes], Any]) -> str:
    from seqgen.config import SampleOptions
    from seqgen.generation.streaming import samples

    engine, codec = _engine_and_codec(training)
    options = SampleOptions(length=_PREVIEW_LENGTH, temperature=0.7, seed=training.run.position.step)
    return one_line(next(samples(engine, codec, prime(engine, codec, b""), options)).text)


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

    def __exit__(self, *exception: object) -> None:
        if not any(exception):
            self._release()

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
        from seqgen.training.loop import Cooling, Finished, Finishing, Recovered, Stepped, Validated

        assert self._training is not None
        if isinstance(event, Recovered):
            self._log.warn(_describe_recovery(event))
        elif isinstance(event, Cooling):
            self._log.info(_describe_cooling(event))
        elif isinstance(event, Finishing):
            self._last = time.monotonic()
            self._log.info(_FINISHING)
        elif isinstance(event, Validated):
            self._last = time.monotonic()
            self._log.info(_describe_validation(self._training, event))
        elif isinstance(event, Finished) and event.early:
            self._log.info(_EARLY_STOP)
        elif isinstance(event, Stepped) and time.monotonic() - self._last > _LINE_INTERVAL:
            self._last = time.monotonic()
            line = (
                f"step {event.step:,}: loss {event.loss:.4f}, {event.tokens_per_second:,.0f} tokens/s, "
                f"{human_time(event.seconds_left)} left"
            )
            self._log.info(f"{_PRETRAINING}, {line} of it" if event.pretrains else line)


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


class Status:
    """The lines at the bottom of a terminal: the activity, its progress, and the course of the validation loss."""

    def __init__(self) -> None:
        self.activity = "starting"
        self.fraction: float | None = None  # of the activity that is done
        self.left = ""  # time
        self.numbers: list[str] = []  # the most important first: what doesn't fit is left out
        self.losses: list[float] = []  # of all validations
        self.held_out = ""  # the last of them, in the task's own terms

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        yield from self.lines(options.max_width, options.ascii_only)

    def lines(self, width: int, ascii_only: bool = False) -> list[Any]:
        """The lines as rich texts, none wider than `width`."""
        from rich.text import Text

        frames, done, rest = _ASCII if ascii_only else _UNICODE
        head = Text(frames[int(time.monotonic() * _FRAMES_A_SECOND) % len(frames)] + " ", "cyan")
        tail = "" if self.fraction is None else f" {100 * self.fraction:3.0f}%"
        if self.left:
            tail += f"  {self.left}"
        room = width - 3 - len(tail)  # for activity and bar
        if self.fraction is not None and room >= len(self.activity) + _SHORTEST_BAR:
            bar = min(room - len(self.activity), _LONGEST_BAR)
            filled = round(min(1.0, self.fraction) * bar)
            head.append(self.activity + " ").append(done * filled, "cyan").append(rest * (bar - filled), "dim")
        else:
            head.append(self.activity)
        head.append(tail)
        lines = [head]
        if self.numbers:
            lines.append(Text("  " + _fitting(self.numbers, width - 2)))
        if len(self.losses) > 1:
            curve = sparkline(self.losses, min(_LONGEST_BAR, width - len("  held out ") - len(self.held_out) - 1))
            # Without such characters, the first and the last loss.
            shown = f"{self.losses[0]:.3f} > {self.losses[-1]:.3f}" if ascii_only else curve
            lines.append(Text("  held out ").append(shown, "green").append(f" {self.held_out}"))
        for line in lines:
            line.no_wrap = True
            line.truncate(width, overflow="crop")
        return lines


_UNICODE, _ASCII = ("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "━", "─"), ("|/-\\", "=", "-")  # frames of the spinner, and parts of a bar
_FRAMES_A_SECOND = 8
_SHORTEST_BAR, _LONGEST_BAR = 6, 60  # characters
_BLOCKS = "▁▂▃▄▅▆▇█"


def _fitting(parts: Sequence[str], width: int) -> str:
    """The first of the parts that fit, in a line."""
    line = ""
    for part in parts:
        longer = f"{line}  {part}" if line else part
        if len(longer) > width:
            break
        line = longer
    return line


def sparkline(values: Sequence[float], width: int) -> str:
    """Numbers as blocks of different heights, the lowest at the bottom; more than `width` are thinned out.

    The first, from before much was learnt, doesn't set the scale.
    """
    if width < 1 or not values:
        return ""
    if len(values) > width:
        last = len(values) - 1
        values = [values[round(index * last / max(1, width - 1))] for index in range(width - 1)] + [values[-1]]
    low, high = min(values), max(values[1:] if len(values) > 2 else values)
    top = len(_BLOCKS) - 1
    return "".join(
        _BLOCKS[round((min(value, high) - low) / (high - low) * top) if high > low else 0] for value in values
    )


def memory_in_use() -> int | None:
    """Bytes of memory that this process has; where the system doesn't tell, the most that it had, or None."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        try:
            import resource
        except ImportError:
            return None
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class _Bar(_Silent):
    """A status at the bottom; validations and samples scroll by above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=cast(IO[str], _Stderr()), highlight=False)
        self._status = Status()
        self._live = Live(
            self._status, console=self._console, transient=True, refresh_per_second=_FRAMES_A_SECOND,
            vertical_overflow="crop",
        )  # fmt: skip
        self._training: Training | None = None
        self._last = 0.0

    def __enter__(self) -> _Bar:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def report(self, activity: str) -> None:
        status = self._status
        status.activity, status.fraction, status.numbers = one_line(activity), None, []

    def print(self, write: Callable[[], None]) -> None:
        write()

    def progress(self, done: int, total: int | None) -> None:
        if time.monotonic() - self._last > 0.1:
            self._last = time.monotonic()
            self._status.fraction = done / total if total else None
            self._status.left = human_size(done)

    def started(self, training: Training) -> None:
        self._training = training
        self._console.print(one_line(_describe(training)), markup=False)
        status = self._status
        status.activity, status.fraction, status.left, status.numbers = _TRAINING, 0.0, "", []
        losses = (record.get("val_loss") for record in training.metrics)  # of a resumed run
        status.losses = [loss for loss in losses if isinstance(loss, float)]

    def event(self, event: Event) -> None:
        from seqgen.training.loop import Cooling, Finished, Finishing, Recovered, Stepped, Validated

        training, status = self._training, self._status
        assert training is not None
        if isinstance(event, Stepped):
            if event.pretrains or status.activity == _PRETRAINING:
                status.activity = _PRETRAINING if event.pretrains else _TRAINING
            if time.monotonic() - self._last > 0.1:
                self._last = time.monotonic()
                status.fraction, status.left = event.progress, f"{human_time(event.seconds_left)} left"
                memory = memory_in_use()
                status.numbers = [
                    f"loss {event.loss:.3f}",
                    f"{event.tokens_per_second:,.0f} tokens/s",
                    *([] if memory is None else [human_size(memory)]),
                    f"step {event.step:,}",
                ]
        elif isinstance(event, Recovered):
            self._console.print(_describe_recovery(event), style="yellow", markup=False)
        elif isinstance(event, Cooling):
            self._console.print(_describe_cooling(event), markup=False)
        elif isinstance(event, Finishing):
            status.activity = _FINISHING
        elif isinstance(event, Validated):
            if event.val_loss is not None:
                status.losses.append(event.val_loss)
                status.held_out = training.format_loss(event.val_loss) or f"{event.val_loss:.4f}"
            self._console.print(_describe_validation(training, event), markup=False)
            if line := preview(training):
                self._console.print("  " + line, style="dim", markup=False)
        elif isinstance(event, Finished) and event.early:
            self._console.print(_EARLY_STOP)
