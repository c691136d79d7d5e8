"""Output of the commands: data on stdout or in a file, messages on stderr, and values as text."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from seqgen.errors import UserError
from seqgen.streams import (
    check_target,
    discard_stdout,
    enable_escape_sequences,
    is_broken_pipe,
    is_terminal,
    open_output,
    reason,
)
from seqgen.untrusted import as_bytes, letter_widths, one_line, printable

if TYPE_CHECKING:
    from seqgen.api.model import Model
    from seqgen.generation.state import SavedState


class StderrLogger:
    """Messages and warnings on stderr, unless `quiet`."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet

    def warn(self, message: str) -> None:
        self._print(f"seqgen: warning: {one_line(message)}\n")

    def info(self, message: str) -> None:
        self._print(f"seqgen: {one_line(message)}\n")

    def _print(self, line: str) -> None:
        if not self.quiet and sys.stderr is not None:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(line)
                sys.stderr.flush()


@contextlib.contextmanager
def end_on_broken_pipe() -> Iterator[None]:
    """Leave the block silently when the reader of standard output goes away (`| head -1`)."""
    try:
        yield
        if sys.stdout is not None and not sys.stdout.closed:
            sys.stdout.flush()
    except OSError as error:
        if not is_broken_pipe(error):
            raise
        discard_stdout()
    except SystemExit as stop:
        # click turns a broken pipe into exit status 1
        if not is_broken_pipe(stop.__context__):
            raise
        discard_stdout()


class Output:
    """Standard output, or a file that appears once it is complete. A terminal gets no raw control characters."""

    def __init__(self, target: str | None) -> None:
        self._target = target if target not in (None, "-") else None
        self._stack = contextlib.ExitStack()
        self.terminal = self._target is None and is_terminal(sys.stdout)

    def __enter__(self) -> Output:
        if self._target is not None:
            check_target(self._target, "-o")
            self._stream: Any = self._stack.enter_context(open_output(self._target))
        elif sys.stdout is None:
            raise UserError("standard output is closed; -o FILE writes to a file")
        else:
            self._stream = sys.stdout.buffer
        return self

    def __exit__(self, *exception: Any) -> Any:
        return self._stack.__exit__(*exception)

    def write(self, data: bytes | str) -> None:
        """Write and flush, so that readers of a pipe see output at once. Surrogate escapes become the bytes they
        stand for."""
        if isinstance(data, str):
            data = as_bytes(data)
        self.write_raw(printable(data) if self.terminal else data)

    def write_raw(self, data: bytes | str) -> None:
        """Write data that holds no control characters but colours of our own."""
        try:
            self._stream.write(as_bytes(data) if isinstance(data, str) else data)
            self._stream.flush()
        except OSError as error:
            if self._target is not None or is_broken_pipe(error):
                raise  # a file's error is named by `open_output`
            raise UserError(f"cannot write to standard output: {reason(error)}") from error

    @property
    def use_colour(self) -> bool:
        """Whether output goes to a terminal that shows colours (https://no-color.org)."""
        wanted = self.terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        return wanted and enable_escape_sequences()


def write_terminal(text: str) -> None:
    """Write text to the terminal at once, without control characters."""
    sys.stdout.write(printable(as_bytes(text)).decode())
    sys.stdout.flush()


def write_state(model: Model, saved: SavedState, target: str) -> None:
    """Write the state of a text or a piece to a file, or to standard output for `-`."""
    from seqgen.api import states

    if target != "-":
        states.save(model, saved, target)
        return
    with Output("-") as out:
        out.write_raw(states.dump(model, saved))


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON with readable characters. Bytes that are not UTF-8 become the escape \\udcXX, infinity and NaN null."""
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


class _CsvLines(list[str]):
    """The lines of a writer of CSV, which calls `write` once a row."""

    def write(self, row: str) -> None:
        self.append(row.removesuffix("\r\n") + "\n")


def to_csv(rows: Iterable[Sequence[object]], delimiter: str = ",") -> str:
    """Rows as lines of CSV, which end with a line feed.

    Readers take a carriage return for the end of a row, so that a cell with one is quoted. Up to Python 3.12 the writer
    does so only where its own rows end with one.
    """
    lines = _CsvLines()
    csv.writer(lines, delimiter=delimiter, lineterminator="\r\n").writerows(rows)
    return "".join(lines)


def padded(text: str, width: int, right: bool = False) -> str:
    """Text with spaces to `width` columns of a terminal, before it if `right`."""
    space = " " * (width - sum(letter_widths(text)))
    return space + text if right else text + space


def hanging(head: str, text: str, is_terminal: bool) -> str:
    """A line of `head` and `text`; on a narrow terminal the rest of the text stands below its beginning."""
    room = shutil.get_terminal_size().columns - len(head) if is_terminal else 0
    lines = textwrap.wrap(text, max(20, room)) if 0 < room < len(text) else [text]
    return "".join(
        f"{head if not number else ' ' * len(head)}{line}".rstrip() + "\n" for number, line in enumerate(lines)
    )
