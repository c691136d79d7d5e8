"""`seqgen corpora`: the catalogue of corpora, and the cache."""

from __future__ import annotations

import dataclasses
import sys
import time
from typing import Annotated, Any

import typer

from seqgen.cli.options import JsonOption, QuietOption
from seqgen.cli.output import Output, StderrLogger, to_json
from seqgen.errors import UserError
from seqgen.quantities import human_size
from seqgen.streams import is_terminal
from seqgen.untrusted import one_line

EXAMPLES = ("seqgen corpora", "seqgen corpora tidewater --about")


def run(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Corpus to download; prints its path. With --cache, a key or type."),
    ] = None,
    about: Annotated[bool, typer.Option("--about", help="Describe NAME instead of downloading it.")] = False,
    cache: Annotated[
        bool,
        typer.Option("--cache", help="List the cache instead: key, type, bytes, seconds since last use, description."),
    ] = False,
    clear: Annotated[
        bool, typer.Option("--clear", "--clear-cache", help="With --cache: delete the entries that it would list.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List, describe or download the corpora of the catalogue.

    A NAME is also a SOURCE for `train`.
    """
    from seqgen.corpus.cache.folder import cache_folder
    from seqgen.corpus.catalogue import entries as catalogue
    from seqgen.corpus.catalogue.fetch import materialise

    if about and name is None:
        raise UserError("--about describes one corpus: give its NAME, or leave it out for the list")
    with Output("-") as out:
        if cache or clear:
            _cache(name, clear, as_json, out, StderrLogger(quiet))
        elif name is None:
            entries = list(catalogue.load().values())
            out.write(_list(entries) if not as_json else to_json([_fields(e) for e in entries], indent=1) + "\n")
        elif about or as_json:
            fields = _fields(catalogue.find(name))
            if as_json:
                out.write(to_json(fields, indent=1) + "\n")
            else:
                out.write("".join(f"{key:14}{value}\n" for key, value in fields.items()))
        else:
            entry = catalogue.find(name)
            with _Download(quiet, name) as download:
                paths = materialise(entry, cache_folder(), download)
            out.write("".join(f"{path}\n" for path in paths))


def _fields(entry: Any) -> dict[str, Any]:
    return {key: value for key, value in dataclasses.asdict(entry).items() if value not in (None, "", (), {})}


def _list(entries: list[Any]) -> str:
    lines = [f"{'NAME':22}{'TASK':10}{'SIZE':>10}  {'LICENCE':18}WHAT"]
    for entry in entries:
        size = human_size(entry.bytes) if entry.bytes else ""
        lines.append(f"{entry.name:22}{entry.task:10}{size:>10}  {entry.licence[:16]:18}{entry.title}")
    return "\n".join(lines) + "\n"


def _cache(name: str | None, clear: bool, as_json: bool, out: Output, log: StderrLogger) -> None:
    """List cache entries: a table on a terminal, tab-separated lines in a pipe. With `clear`, delete them."""
    from seqgen.corpus.cache import contents as cache_contents
    from seqgen.corpus.cache.folder import cache_folder

    shown = cache_contents.list_entries()
    if name is not None:
        shown = cache_contents.find(name, shown)
    if clear:
        for entry in shown:
            if entry.in_use:
                log.warn(f"{entry.key} is in use, and was not deleted")
            cache_contents.remove(entry)
        shown = [entry for entry in shown if not entry.in_use]
    now = time.time()
    rows = [(each.key, each.kind, each.size, max(0, round(now - each.last_used)), each.about) for each in shown]
    if as_json:
        names = ("key", "kind", "bytes", "unused_seconds", "about")
        out.write(to_json([dict(zip(names, row, strict=True)) for row in rows], indent=1) + "\n")
    elif out.terminal:
        out.write(f"{'KEY':34}{'TYPE':11}{'SIZE':>10}{'UNUSED':>10}  DESCRIPTION\n")
        for key, kind, size, age, about in rows:
            out.write(f"{one_line(key):34}{kind:11}{human_size(size):>10}{_age(age):>10}  {one_line(about)}\n")
    else:
        out.write("".join("\t".join(one_line(str(cell)) for cell in row) + "\n" for row in rows))
    total = human_size(sum(entry.size for entry in shown))
    log.info(f"{cache_folder()}: {total}{' deleted' * clear}")


def _age(seconds: int) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return "now" if seconds < 10 else f"{seconds} s"


class _Download:
    """Progress of a download: a bar on a terminal, a line at the end in a pipe."""

    def __init__(self, quiet: bool, name: str) -> None:
        self._log, self._name = StderrLogger(quiet), name
        self._bar: Any = None
        self._done = 0
        if not quiet and is_terminal(sys.stderr):
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn(name, markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn(),
                console=Console(stderr=True), transient=True,
            )  # fmt: skip
            self._task = self._bar.add_task(name, total=None)

    def __enter__(self) -> _Download:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._done:
            self._log.info(f"{self._name}: {human_size(self._done)}")

    def __call__(self, done: int, total: int | None) -> None:
        self._done = done
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)
