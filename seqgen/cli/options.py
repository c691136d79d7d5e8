"""What the commands share: flags made of option dataclasses, words on stderr, bytes on stdout."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import os
import sys
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from seqgen.config import flag_name
from seqgen.errors import DataError, UserError
from seqgen.streams import atomic_write, discard_stdout, is_terminal, stdin_is_piped
from seqgen.untrusted import as_bytes, one_line, printable

__all__ = [
    "MAX_LINE_BYTES", "JsonOption", "ExactOption", "ModelArgument", "Output", "QuietOption", "ShardOption", "StderrLogger", "add_options",
    "human_size", "human_time", "iter_lines", "check_line_length", "one_line", "handle_broken_pipe", "sources_or_stdin", "to_json",
    "write_state",
]  # fmt: skip

MAX_LINE_BYTES = 1 << 28  # bytes; whoever feeds lines without an end wants the memory filled

if TYPE_CHECKING:
    from seqgen.api.model import Model
    from seqgen.generation.state import SavedState

F = TypeVar("F", bound=Callable[..., Any])

QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr but errors.")]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="A folder that `train` made.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]
ExactOption = Annotated[
    bool, typer.Option("--exact", help="Never round weights to 8 bits for speed (`info` tells what that costs).")
]

ShardOption = Annotated[
    str | None,
    typer.Option("--shard", metavar="K/N", help="Do part K of N only: the parts' outputs, joined, are the whole's."),
]


class StderrLogger:
    """What a command says on stderr, unless it is told to be quiet."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet

    def warn(self, message: str) -> None:
        self._say(f"seqgen: warning: {one_line(message)}\n")

    def info(self, message: str) -> None:
        self._say(f"seqgen: {one_line(message)}\n")

    def _say(self, line: str) -> None:
        if not self.quiet and sys.stderr is not None:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(line)
                sys.stderr.flush()


def add_options(kind: type, parameter: str = "options") -> Callable[[F], F]:
    """Gives a command a flag for every field of the dataclass `kind`; those that were given arrive as a dict.

    Defaults stay in the dataclass: a flag that was not given is not in the dict.
    """

    def decorate(command: F) -> F:
        hints = typing.get_type_hints(kind)
        flags = []
        for item in dataclasses.fields(kind):
            rule = item.metadata
            annotation, is_list = _flag_type(hints[item.name])
            names = [flag_name(item.name), *rule["flags"]]
            if annotation is bool:
                names[0] += "/--no-" + item.name.replace("_", "-")
            text = rule["help"]
            if item.default not in (None, ()):
                text += (
                    f" [default: {item.default:g}]"
                    if isinstance(item.default, float)
                    else f" [default: {item.default}]"
                )
            metavar = rule["metavar"] or ("|".join(rule["choices"]) if rule["choices"] else None)
            option = typer.Option(*names, help=text, metavar=metavar, show_default=False)
            wanted = Annotated[(list[annotation] if is_list else annotation) | None, option]  # type: ignore[valid-type]
            flags.append(inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=wanted))

        signature = inspect.signature(command, eval_str=True)
        own = [value for name, value in signature.parameters.items() if name != parameter]

        @functools.wraps(command)
        def wrapped(**given: Any) -> Any:
            chosen = {}
            for item in dataclasses.fields(kind):
                value = given.pop(item.name)
                if value is not None and value != []:
                    chosen[item.name] = tuple(value) if isinstance(value, list) else value
            return command(**given, **{parameter: chosen})

        keyword = [value.replace(kind=inspect.Parameter.KEYWORD_ONLY) for value in own]
        wrapped.__signature__ = signature.replace(parameters=[*keyword, *flags])  # type: ignore[attr-defined]
        wrapped.__annotations__ = {value.name: value.annotation for value in [*keyword, *flags]}
        return typing.cast(F, wrapped)

    return decorate


def _flag_type(hint: Any) -> tuple[type, bool]:
    """`int | None` → int; `tuple[str, ...]` → (str, a list)."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        (hint,) = [part for part in typing.get_args(hint) if part is not type(None)]
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0], True
    return hint, False


def handle_broken_pipe(command: F) -> F:
    """Ends a command quietly, with status 0, when the reader of its output goes away."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            result = command(*args, **kwargs)
            if sys.stdout is not None:
                sys.stdout.flush()
            return result
        except BrokenPipeError:
            discard_stdout()
            return 0

    return typing.cast(F, wrapped)


def sources_or_stdin(sources: list[str] | None, what: str) -> list[str]:
    """The sources, or `-` where none is given and something is piped in."""
    if sources:
        return sources
    if stdin_is_piped():
        return ["-"]
    raise UserError(f"{what}: name a file, a folder or a corpus, or pipe something in")


class Output:
    """Where data goes: standard output, or a file that appears when it is whole. A terminal gets no raw controls."""

    def __init__(self, target: str | None) -> None:
        self._target = target if target not in (None, "-") else None
        self._stack = contextlib.ExitStack()
        self.terminal = self._target is None and is_terminal(sys.stdout)

    def __enter__(self) -> Output:
        if self._target is not None:
            if Path(self._target).is_dir():
                raise UserError(f"-o {self._target!r} is a folder; name a file")
            self._stream: Any = self._stack.enter_context(atomic_write(self._target))
        elif sys.stdout is None:
            raise UserError("standard output is closed; -o FILE writes to a file")
        else:
            self._stream = sys.stdout.buffer
        return self

    def __exit__(self, *what: Any) -> Any:
        return self._stack.__exit__(*what)

    def write(self, data: bytes | str) -> None:
        """Writes and flushes: who reads a pipe reads along. Surrogate escapes become the bytes they stand for."""
        if isinstance(data, str):
            data = as_bytes(data)
        self.write_raw(printable(data) if self.terminal else data)

    def write_raw(self, data: bytes | str) -> None:
        """Writes what holds nothing that a terminal should not get, but for colours that are meant."""
        self._stream.write(as_bytes(data) if isinstance(data, str) else data)
        self._stream.flush()

    @property
    def use_colour(self) -> bool:
        """Whether a person watches, and wants colours (https://no-color.org)."""
        return self.terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def write_state(model: Model, saved: SavedState, target: str) -> None:
    """Writes the state of a text into a file, or to standard output for `-`."""
    from seqgen.api import states

    if target != "-":
        states.save(model, saved, target)
        return
    with Output("-") as out:
        out.write_raw(states.dump(model, saved))


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON with readable characters; a byte that was no UTF-8 appears as its escape \\udcXX, infinity as null."""
    import json

    text = json.dumps(_finite(value), ensure_ascii=False, indent=indent, allow_nan=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def check_line_length(size: int) -> None:
    """Raises `DataError` for a line of which so many bytes have come without an end."""
    if size > MAX_LINE_BYTES:
        raise DataError(f"a line has more than {MAX_LINE_BYTES:,} bytes: there must be line ends somewhere")


def iter_lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The lines of a stream, each with its line feed; the last may have none. Raises `DataError` for one that never
    ends."""
    parts: list[bytes] = []
    size = 0
    for chunk in chunks:
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            yield b"".join([*parts, line, b"\n"])
            parts, size = [], 0
        if rest:
            parts.append(rest)
            size += len(rest)
            check_line_length(size)
    if parts:
        yield b"".join(parts)


def human_size(count: float) -> str:
    """`1.1 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(count) < 1000 or unit == "GB":
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1000
    return ""


def human_time(seconds: float) -> str:
    """`1:05` or `2:00:00`."""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
