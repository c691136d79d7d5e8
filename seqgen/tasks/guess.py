"""Which task sources are for: settled by an option that only some tasks have, or else recognised from the sources."""

from __future__ import annotations

import dataclasses
import glob
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seqgen.config import TrainOptions, flag_name
from seqgen.corpus.catalogue import entries as catalogue
from seqgen.corpus.documents import Spool
from seqgen.corpus.opening import archives
from seqgen.corpus.opening.identify import identify
from seqgen.corpus.sources import read_standard_input
from seqgen.errors import SeqgenError
from seqgen.specs.registry import resolve
from seqgen.specs.tasks import TASKS, TaskSpec, names_with_group
from seqgen.streams import suffix_of

_MAX_FILES = 20  # of a folder, a glob or an archive that are looked into
_DATA_SUFFIXES = (".csv", ".tsv", ".tab", ".json", ".jsonl", ".ndjson", ".xlsx")  # of files that are hardly prose

File = tuple[str, Path]  # name for messages, path


class Guess(NamedTuple):
    """A task, and the reason as a clause.

    `prose`: the name of a source that is called a table or JSON and yet is taken for prose.
    """

    task: str
    reason: str
    prose: str = ""


def guess(
    sources: Sequence[str],
    given: Mapping[str, Any] | None = None,
    spool: Spool | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Guess:
    """The task that the sources are for.

    Args:
        given: options of `train` that were given; one that only some tasks have leaves the others out.
        spool: stores what can be read only once, so that it can be looked into; without it a pipe is taken for prose.
        report: called with what is waited for.
    """
    candidates, flag = _candidates(given or {})
    if len(candidates) == 1:
        return Guess(candidates[0], f"{flag} is an option of {candidates[0]} only")
    specs = [TASKS.find(name) for name in candidates]
    guesses = list(dict.fromkeys(_Guesser(specs, spool, report).guess(source) for source in sources))
    if len({each.task for each in guesses}) == 1:
        return guesses[0]
    reasons = "; ".join(each.reason for each in guesses[:3])
    return Guess(candidates[0], f"the sources are of several forms: {reasons}")


def _candidates(given: Mapping[str, Any]) -> tuple[list[str], str]:
    """The tasks that have all options given, in the order of the table, and the flag that left others out."""
    found, flag = list(TASKS), ""
    for item in dataclasses.fields(TrainOptions):
        group = item.metadata.get("group")
        if group is None or given.get(item.name) in (None, item.default):
            continue
        left = [name for name in found if name in names_with_group(group)]
        if left and left != found:
            found, flag = left, flag_name(item.name)
    return found, flag


class _Guesser:
    """Guesses among some tasks, of which the first is taken if nothing fits."""

    def __init__(self, specs: Sequence[TaskSpec], spool: Spool | None, report: Callable[[str], None]) -> None:
        self._specs, self._spool, self._report = specs, spool, report
        self._by_rank = sorted((spec for spec in specs if spec.guess is not None), key=lambda spec: -spec.guess_rank)

    def guess(self, source: str) -> Guess:
        name = "standard input" if source == "-" else source
        path = Path(os.path.expanduser(source))
        found: Guess | None = None
        if source == "-":
            if self._spool is not None:
                found = self._of_file((name, read_standard_input(self._spool, self._report)))
        elif os.path.isfile(path):
            found = self._of_file((name, path))
        elif os.path.isdir(path):
            found = self._of_folder(name, path) or self._of_files(name, _walk(path))
        elif any(mark in source for mark in "*?["):
            paths = (Path(each) for each in sorted(glob.glob(str(path), recursive=True)))
            found = self._of_files(name, ((str(each), each) for each in paths if os.path.isfile(each)))
        elif not os.path.exists(path):
            entry = catalogue.load().get(source)
            if entry is not None and entry.task in {spec.name for spec in self._specs}:
                found = Guess(entry.task, f"the corpus {source!r} is for {entry.task}")
        first = self._specs[0]
        is_data = suffix_of(path) in _DATA_SUFFIXES and os.path.isfile(path)
        return found or Guess(first.name, f"{name!r} has no other form than {first.form}", name if is_data else "")

    def _of_file(self, file: File) -> Guess | None:
        name, path = file
        try:
            form = identify(path, name, decode=False)
        except SeqgenError:  # reading it reports the error
            return None
        if form.kind in archives.KINDS:
            if self._spool is None:
                return None
            members = self._spool.unpack(path, form, name)
            return self._of_files(name, ((f"{name}/{member}", each) for member, each in members))
        for spec in self._specs:
            if form.kind in spec.file_kinds or (spec.file_suffixes and suffix_of(path) in spec.file_suffixes):
                return Guess(spec.name, f"{name!r} is {spec.form}")
        for spec in self._by_rank:
            if resolve(spec.guess or "")(path):
                return Guess(spec.name, f"{name!r} has the form of {spec.form}")
        return None

    def _of_folder(self, name: str, folder: Path) -> Guess | None:
        """The task whose layout of folders this is."""
        for spec in self._by_rank:
            if resolve(spec.guess or "")(folder):
                return Guess(spec.name, f"{name!r} has the form of {spec.form}")
        return None

    def _of_files(self, name: str, files: Iterable[File]) -> Guess | None:
        """The task of the first files, if it is that of more than half of them."""
        looked = list(itertools.islice(files, _MAX_FILES))
        found = [self._of_file(file) for file in looked]
        for spec in self._specs:
            count = sum(each is not None and each.task == spec.name for each in found)
            if 2 * count > len(looked):
                return Guess(spec.name, f"files of {name!r} have the form of {spec.form}")
        return None


def _walk(folder: Path) -> Iterator[File]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for each in sorted(files):
            if not each.startswith("."):
                yield str(Path(parent) / each), Path(parent) / each
