"""Every setting that a person can change: its one default, its help text, and what values it may take.

A setting is a field of one of the frozen dataclasses below. The command line makes its flags from these fields, the
Python interface takes them as keyword arguments, and `config.json` keeps them; so a default exists in one place only.
A default of `None` means "chosen from the corpus and the time at hand" (see `training.plan`).
"""

from __future__ import annotations

import dataclasses
import math
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from seqgen.errors import UserError

_LONGEST = 1e12  # seconds, so that every sum of them stays exact
FORMAT = 1  # of the model folder; a larger number is refused by name, so it changes only when old readers would err

T = TypeVar("T")


def setting(
    default: Any,
    help: str,
    *flags: str,
    choices: tuple[str, ...] | None = None,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    metavar: str | None = None,
    tasks: tuple[str, ...] = (),
) -> Any:
    """A dataclass field that knows its help text, its flags beyond `--its-name`, its bounds (inclusive), and the tasks
    that it has a meaning for (none named: all)."""
    metadata = {
        "help": help, "flags": flags, "choices": choices, "least": least, "most": most, "above": above,
        "metavar": metavar, "tasks": tasks,
    }  # fmt: skip
    if isinstance(default, (list, dict)):
        raise TypeError("a default must be immutable")
    return field(default=default, metadata=metadata)


def flag_name(name: str) -> str:
    """`rnn_size` → `--rnn-size`."""
    return "--" + name.replace("_", "-")


def check(options: T) -> T:
    """Returns `options` if every field keeps its type and bounds; otherwise raises `UserError` naming the flag."""
    hints = typing.get_type_hints(type(options))
    for item in dataclasses.fields(options):  # type: ignore[arg-type]
        value, rule = getattr(options, item.name), item.metadata
        if value is None or not rule:
            continue
        name = flag_name(item.name)
        wanted = _accepted(hints[item.name])
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            raise UserError(f"{name} must be {' or '.join(each.__name__ for each in wanted)}, not {value!r}")
        if rule["choices"] and value not in rule["choices"]:
            raise UserError(f"{name} must be one of {', '.join(rule['choices'])}; not {value!r}")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"{name} must be a finite number, not {value}")
            if rule["least"] is not None and value < rule["least"]:
                raise UserError(f"{name} must be at least {_plain(rule['least'])}, not {_plain(value)}")
            if rule["above"] is not None and value <= rule["above"]:
                raise UserError(f"{name} must be more than {_plain(rule['above'])}, not {_plain(value)}")
            if rule["most"] is not None and value > rule["most"]:
                raise UserError(f"{name} must be at most {_plain(rule['most'])}, not {_plain(value)}")
    return options


def from_json(kind: type[T], data: object) -> T:
    """One of the dataclasses as it was written to JSON. Raises `UserError` where a field is missing, unknown, of
    another type or not finite; the message names it, and not the file, which the caller knows."""
    if not isinstance(data, dict):
        raise UserError(f"a table is expected, not {str(data)[:40]!r}")
    hints = typing.get_type_hints(kind)
    for name, value in data.items():
        if name not in hints:
            raise UserError(f"there is no {str(name)[:40]!r}")
        wanted = _accepted(hints[name])
        fits = isinstance(value, wanted) and (bool in wanted or not isinstance(value, bool))
        if value is None:
            fits = type(None) in typing.get_args(hints[name])
        if not fits or (isinstance(value, float) and not math.isfinite(value)):
            raise UserError(f"{name} can't be {str(value)[:40]!r}")
    try:
        return kind(**data)
    except TypeError as error:
        raise UserError(f"it is not complete ({error})") from error


def _accepted(hint: Any) -> tuple[type, ...]:
    """The types that a field's annotation lets in: `float | None` → (int, float)."""
    parts = [part for part in (typing.get_args(hint) or (hint,)) if part is not type(None)]
    if typing.get_origin(hint) is tuple:
        return (tuple,)
    return (int, float) if float in parts else tuple(parts)


def _plain(value: float) -> str:
    """A number without an exponent where it is short."""
    text = str(value) if isinstance(value, int) else f"{value:g}"
    return text if len(text) <= 24 else f"{text[:8]}… ({len(text)} digits)"


def make(kind: type[T], given: Mapping[str, Any]) -> T:
    """Builds one of the dataclasses from keyword arguments, unknown names refused, bounds checked."""
    known = {item.name for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in given:
        if name not in known:
            raise UserError(f"there is no setting {name!r}; known: {', '.join(sorted(known))}")
    return check(kind(**given))


def check_task(kind: type, given: Mapping[str, Any], task: str) -> None:
    """Raises `UserError` where a setting is given that means nothing to `task`."""
    for item in dataclasses.fields(kind):
        of = item.metadata.get("tasks", ())
        if of and task not in of and given.get(item.name) is not None and given[item.name] != item.default:
            raise UserError(f"{flag_name(item.name)} is for {' and '.join(of)}; this is {task}")


def parse_duration(text: str) -> float:
    """Seconds in `90s`, `10m`, `1.5h`, `2d` or a bare number of seconds.

    Raises `UserError` for anything else, and for a duration of zero.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([smhd]?)\s*", text)
    if not match:
        raise UserError(f"--budget must be a time such as 90s, 10m or 2h; not {text!r}")
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
    if not 0 < seconds <= _LONGEST:
        raise UserError(f"--budget must be more than zero seconds and at most 30,000 years, not {text[:24]!r}")
    return seconds


def parse_range(text: str) -> tuple[int, int]:
    """Lowest and highest pitch in `21-108`. Raises `UserError` for anything else."""
    match = re.fullmatch(r"\s*(\d{1,3})\s*-\s*(\d{1,3})\s*", text)
    if not match or not int(match[1]) <= int(match[2]) <= 127:
        raise UserError(f"--pitch-range must be two MIDI pitches such as 21-108, not {text[:24]!r}")
    return int(match[1]), int(match[2])


CELL_NAMES = ("lstm", "gru", "rnn")
TASK_NAMES = ("text", "dialogue", "music", "classify", "forecast")
TOKENIZER_NAMES = ("char", "byte", "subword")  # of text; music has its own
_MUSIC = ("music",)


@dataclass(frozen=True)
class NetworkConfig:
    """What the network is: all that is needed to build it again before its weights are read.

    Raises `UserError` for what no network can be; the limits are those of the flags.
    """

    vocab_size: int
    cell: str = "lstm"
    activation: str = "tanh"
    rnn_size: int = 512
    num_layers: int = 1
    embedding_size: int = 128
    tie_weights: bool = False
    dropout: float = 0.0
    weight_drop: float = 0.0

    def __post_init__(self) -> None:
        most = {"vocab_size": 1 << 24, "rnn_size": 1 << 16, "num_layers": 64, "embedding_size": 1 << 16}
        for name, limit in most.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limit:
                raise UserError(f"{name} must be a whole number from 1 to {limit}, not {value!r}")
        for name in ("dropout", "weight_drop"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 0.95:
                raise UserError(f"{name} must be a number from 0 to 0.95, not {value!r}")
        if self.cell not in CELL_NAMES:
            raise UserError(f"cell must be one of {', '.join(CELL_NAMES)}; not {self.cell!r}")
        if self.activation not in ("tanh", "relu"):
            raise UserError(f"activation must be tanh or relu, not {self.activation!r}")


@dataclass(frozen=True)
class TrainOptions:
    """What `train` can be told. `None` leaves the choice to the program."""

    tokenizer: str | None = setting(
        None, "How text becomes ids [default: char].", choices=TOKENIZER_NAMES)  # fmt: skip
    vocab_size: int | None = setting(
        None, "Pieces in a subword vocabulary [default: by corpus size].", least=300, most=1 << 20)  # fmt: skip

    cell: str = setting("lstm", "Recurrent cell.", choices=CELL_NAMES)
    activation: str = setting("tanh", "Of the vanilla RNN only.", choices=("tanh", "relu"))
    rnn_size: int | None = setting(None, "Units a layer.", "--hidden-size", least=1, most=1 << 16)
    num_layers: int | None = setting(None, "Recurrent layers.", "--layers", least=1, most=64)
    embedding_size: int | None = setting(None, "Numbers that stand for one token.", least=1, most=1 << 16)
    tie_weights: bool | None = setting(None, "Share the embedding with the output layer.")
    dropout: float | None = setting(
        None, "Locked dropout on each layer's output (one mask a sequence).", least=0, most=0.95)  # fmt: skip
    weight_drop: float | None = setting(
        None, "DropConnect on the recurrent weights (one mask a batch).", least=0, most=0.95)  # fmt: skip

    seq_length: int | None = setting(None, "Steps of truncated backpropagation.", least=2, most=1 << 20)
    batch_size: int | None = setting(None, "Streams read side by side.", least=1, most=1 << 20)
    learning_rate: float | None = setting(None, "AdamW's peak rate.", "--lr", above=0, most=10)
    weight_decay: float = setting(0.01, "AdamW's decoupled decay, on matrices only.", least=0, most=10)
    grad_clip: float = setting(0.5, "Largest norm of the gradient.", above=0)
    warmup: float = setting(0.02, "Share of the run in which the rate rises from zero.", least=0, most=0.9)

    budget: str | None = setting(None, "How long, all told: 90s, 10m, 2h.", metavar="TIME")
    epochs: float | None = setting(None, "How long, in passes over the training part.", above=0)
    steps: int | None = setting(None, "How long, in optimiser steps.", least=1)
    patience: int = setting(
        8, "Validations without a better one before stopping early; 0 never stops.", least=0)  # fmt: skip
    val_fraction: float = setting(
        0.1, "Part held out at the end of each document.", least=0, most=0.9)  # fmt: skip

    grid: int = setting(
        4, "Music: steps a quarter note; 12 holds triplets.", least=1, most=48, tasks=_MUSIC)  # fmt: skip
    velocity_bins: int = setting(8, "Music: how many loudnesses.", least=1, most=127, tasks=_MUSIC)
    tracks: str = setting(
        "all", "Music: all parts, the melody alone, or all but the drums as one piano.",
        choices=("all", "melody", "piano"), tasks=_MUSIC)  # fmt: skip
    pitch_range: str = setting(
        "0-127", "Music: the lowest and highest pitch kept.", metavar="LOW-HIGH", tasks=_MUSIC)  # fmt: skip
    note_order: str = setting(
        "rising", "Music: how notes that begin together are read.", choices=("rising", "falling"),
        tasks=_MUSIC)  # fmt: skip
    transpose: int = setting(
        5, "Music: every pass moves each piece by up to so many semitones; 0 never.", least=0, most=24,
        tasks=_MUSIC)  # fmt: skip
    stretch: int = setting(
        0, "Music: every pass plays each piece up to so many percent faster or slower.", least=0, most=50,
        tasks=_MUSIC)  # fmt: skip
    strict: bool = setting(
        False, "Stop at a damaged file instead of passing it over.", tasks=("music", "dialogue"))  # fmt: skip

    seed: int = setting(0, "Of every random choice.", least=0, most=(1 << 63) - 1)
    device: str = setting("auto", "Where to compute.", choices=("auto", "cpu", "cuda", "mps"))
    precision: str = setting("auto", "Of the products in training.", choices=("auto", "fp32", "bf16"))
    threads: int | None = setting(None, "Processor threads [default: all].", least=1, most=4096)

    def __post_init__(self) -> None:
        given = [name for name in ("budget", "epochs", "steps") if getattr(self, name) is not None]
        if len(given) > 1:
            raise UserError(f"give one of --budget, --epochs and --steps, not {' and '.join(map(flag_name, given))}")
        if isinstance(self.budget, str):
            parse_duration(self.budget)
        if self.vocab_size is not None and self.tokenizer not in (None, "subword"):
            raise UserError(f"--vocab-size needs --tokenizer subword, not {self.tokenizer}")
        if self.activation != "tanh" and self.cell != "rnn":
            raise UserError(f"--activation {self.activation} needs --cell rnn, not {self.cell}")
        if isinstance(self.pitch_range, str):
            parse_range(self.pitch_range)

    @property
    def tokenizer_kind(self) -> str:
        """The tokenizer asked for; a vocabulary size alone asks for subwords."""
        return self.tokenizer or ("subword" if self.vocab_size is not None else "char")


@dataclass(frozen=True)
class SampleOptions:
    """What sampling can be told. The filters run in the order in which their fields stand here."""

    length: int | None = setting(
        None, "Characters of text, bars of music; the prompt is not counted [default: 500, or 16 bars].", "-l",
        least=0, most=1 << 40)  # fmt: skip
    repetition_penalty: float = setting(
        1.0, "Divides the logits of tokens among the last --repetition-window (CTRL).", above=0)  # fmt: skip
    repetition_window: int = setting(64, "How many tokens back the penalty looks.", least=1, most=1 << 20)
    temperature: float = setting(
        1.0, "Divides the logits; below 1 safer, above 1 wilder, 0 always the likeliest.", "-t", least=0)  # fmt: skip
    top_k: int = setting(0, "Keep the K likeliest tokens; 0 keeps all.", least=0)
    top_p: float = setting(1.0, "Keep the likeliest tokens that hold this share (nucleus).", above=0, most=1)
    min_p: float = setting(0.0, "Keep tokens at least this share as likely as the likeliest.", least=0, most=1)
    typical_p: float = setting(
        1.0, "Keep the tokens nearest the expected surprise that hold this share.", above=0, most=1)  # fmt: skip
    stop: tuple[str, ...] = setting((), "End before this text (repeatable).")
    seed: int = setting(0, "Of the random stream; sample i draws from stream (seed, i).", least=0, most=(1 << 63) - 1)

    def __post_init__(self) -> None:
        if any(not text for text in self.stop):
            raise UserError("--stop must not be empty")

    def length_for(self, task: str) -> int:
        """How much to write: what was asked for, or the default of the task."""
        return self.length if self.length is not None else DEFAULT_LENGTH[task]


@dataclass(frozen=True)
class EvaluateOptions:
    """What else evaluating can be told. The pieces of music compared are drawn with these settings."""

    pieces: int = setting(
        50, "Music: pieces to compose and compare; 0 composes none.", least=0, most=10_000, tasks=_MUSIC)  # fmt: skip
    length: int = setting(16, "Music: bars of a piece.", least=1, most=1000, tasks=_MUSIC)
    temperature: float = setting(1.0, "Of the pieces and replies drawn.", "-t", least=0)
    seed: int = setting(0, "Of what is drawn by chance.", least=0, most=(1 << 63) - 1)
    replies: int = setting(
        200, "Dialogue: replies to give and compare with people's own.", least=0, most=100_000,
        tasks=("dialogue",))  # fmt: skip
    candidates: int = setting(
        1, "Dialogue: replies to sample for each one given.", least=1, most=256, tasks=("dialogue",))  # fmt: skip
    mutual: float = setting(
        1.0, "Dialogue: how much a reply's likelihood without the history counts against it.", least=0, most=1,
        tasks=("dialogue",))  # fmt: skip
    plot: str | None = setting(
        None, "Music: draw both sets' features into this PNG file.", metavar="FILE.png", tasks=_MUSIC)  # fmt: skip


DEFAULT_LENGTH = {"text": 500, "dialogue": 500, "music": 16}  # characters, or bars


@dataclass(frozen=True)
class ReplyOptions:
    """What else answering can be told."""

    candidates: int = setting(
        1, "Replies to sample for each one given: the one that owes most to what was said before.", least=1,
        most=256)  # fmt: skip
    mutual: float = setting(
        1.0, "How much a candidate's likelihood without the history counts against it.", least=0, most=1)  # fmt: skip


@dataclass(frozen=True)
class MusicOptions:
    """What else composing can be told."""

    tempo: float | None = setting(None, "Quarter notes a minute [default: the model's own].", least=4, most=1000)
    key: str | None = setting(None, "Only pitches of this scale: 'D dorian', 'a minor', 'F# major', 'E blues'.")
    instrument: tuple[str, ...] = setting(
        (), "General MIDI name or number; once a melodic track, the last for the rest.")  # fmt: skip
