"""`seqgen corpora`: the catalogue of named corpora."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from typing import Annotated, Any

import typer

from seqgen.cli.common import AsJson, Output, Quiet, Voice, human_size, pipes, to_json
from seqgen.streams import is_terminal


@pipes
def run(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A corpus to fetch; prints where it lies.")
    ] = None,
    about: Annotated[bool, typer.Option("--about", help="Tell about NAME instead of fetching it.")] = False,
    cache: Annotated[bool, typer.Option("--cache", help="Show what the cache holds.")] = False,
    clear_cache: Annotated[bool, typer.Option("--clear-cache", help="Empty the cache.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """List the named corpora, tell about one, or fetch one. A NAME is a SOURCE for `train`."""
    from seqgen.corpus import catalogue

    with Output("-") as out:
        if cache or clear_cache:
            out.write(_cache(clear_cache))
        elif name is None:
            entries = list(catalogue.load().values())
            out.write(_list(entries) if not as_json else to_json([_facts(e) for e in entries], indent=1) + "\n")
        elif about or as_json:
            facts = _facts(catalogue.find(name))
            if as_json:
                out.write(to_json(facts, indent=1) + "\n")
            else:
                out.write("".join(f"{key:14}{value}\n" for key, value in facts.items()))
        else:
            entry = catalogue.find(name)
            with _Download(quiet, name) as download:
                paths = catalogue.materialise(entry, catalogue.cache_folder(), download)
            out.write("".join(f"{path}\n" for path in paths))


def _facts(entry: Any) -> dict[str, Any]:
    return {key: value for key, value in dataclasses.asdict(entry).items() if value not in (None, "", (), {})}


def _list(entries: list[Any]) -> str:
    lines = [f"{'NAME':22}{'TASK':10}{'SIZE':>10}  {'LICENCE':18}WHAT"]
    for entry in entries:
        size = human_size(entry.bytes) if entry.bytes else ""
        lines.append(f"{entry.name:22}{entry.task:10}{size:>10}  {entry.licence[:16]:18}{entry.title}")
    return "\n".join(lines) + "\n"


def _cache(clear: bool) -> str:
    """What the cache folder holds, by kind; emptied afterwards if asked."""
    from seqgen.corpus import catalogue

    folder = catalogue.cache_folder()
    lines = []
    for place in sorted(folder.iterdir()) if folder.is_dir() else []:
        files = [path for path in ([place] if place.is_file() else place.rglob("*")) if path.is_file()]
        lines.append(f"{place.name:24}{human_size(sum(path.stat().st_size for path in files)):>12}\n")
    if clear:
        shutil.rmtree(folder, ignore_errors=True)
        return f"{folder}: emptied\n"
    return f"{folder}\n" + "".join(lines)


class _Download:
    """Shows bytes as they come: a bar on a terminal, a line at the end in a pipe."""

    def __init__(self, quiet: bool, name: str) -> None:
        self._voice, self._name = Voice(quiet), name
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
            self._voice.note(f"{self._name}: {human_size(self._done)}")

    def __call__(self, done: int, total: int | None) -> None:
        self._done = done
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)
