"""Guesses the task of sources: by an option that only some tasks have, or else by the data."""

from __future__ import annotations

import dataclasses
import glob
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from seqgen.config import TrainOptions, flag_name
from seqgen.corpus.catalogue import entries as catalogue
from seqgen.corpus.conversations.json_files import is_json
from seqgen.corpus.conversations.parsing import FileHead
from seqgen.corpus.documents import Spool, split_member
from seqgen.corpus.opening import archives
from seqgen.corpus.opening.identify import UnreadableKindError, identify, read_head
from seqgen.corpus.sources import is_companion, is_model_folder, read_named_pipe, read_standard_input
from seqgen.decompression import is_hidden_name
from seqgen.errors import SeqgenError
from seqgen.specs.registry import resolve
from seqgen.specs.tasks import TASKS, TaskSpec, names_with_group
from seqgen.streams import suffix_of

_MAX_FILES = 20  # of a folder, a glob or an archive that are looked into
_MAX_OPENED = 500  # to find so many that are neither pictures nor other binary data
_MAX_NAMES = 5000  # of files by which the layout of a folder is recognised
_DATA_SUFFIXES = (".csv", ".tsv", ".tab", ".json", ".jsonl", ".ndjson", ".xlsx")  # of files that are hardly prose

File = tuple[str, Path]  # name for messages, path


class TaskGuess(NamedTuple):
    """A task, and the reason as a clause.

    Attributes:
        prose: a source that is a table or JSON, or is called so, and yet is taken for prose, or for the first task
            that the options leave.
        remark: a sentence on files that are taken for prose though they seem to be data.
    """

    task: str
    reason: str
    prose: str = ""
    remark: str = ""


def guess(
    sources: Sequence[str],
    given: Mapping[str, Any] | None = None,
    spool: Spool | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> TaskGuess:
    """The task that the sources are for.

    Args:
        given: options of `train` that were given; one that only some tasks have leaves the others out.
        spool: stores what can be read only once, so that it can be looked into; without it a pipe is taken for prose.
        report: called with what is waited for.
    """
    candidates, flag = _candidates(given or {})
    if len(candidates) == 1:
        return TaskGuess(candidates[0], f"{flag} is an option of {candidates[0]} only")
    specs = [TASKS.find(name) for name in candidates]
    guesser = _Guesser(specs, spool, report, (given or {}).get("sheet"))
    guesses = list(dict.fromkeys(map(guesser.guess, sources)))
    if len({each.task for each in guesses}) == 1:
        return guesses[0]
    reasons = "; ".join(each.reason for each in guesses[:3])
    return TaskGuess(candidates[0], f"the sources are of several forms: {reasons}")


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

    def __init__(
        self, specs: Sequence[TaskSpec], spool: Spool | None, report: Callable[[str], None], sheet: str | None
    ) -> None:
        self._specs, self._spool, self._report, self._sheet = specs, spool, report, sheet
        self._by_rank = sorted((spec for spec in specs if spec.guess is not None), key=lambda spec: -spec.guess_rank)

    def guess(self, source: str) -> TaskGuess:
        name = "standard input" if source == "-" else source
        path = Path(os.path.expanduser(source))
        found: TaskGuess | None = None
        if source == "-":
            if self._spool is not None:
                path = read_standard_input(self._spool, self._report)
                found = self._of_file((name, path))
        elif os.path.isfile(path):
            found = self._of_file((name, path))
        elif os.path.isdir(path):
            names = (str(each.relative_to(path)) for _, each in _walk(path))
            found = self._of_layout(name, names) or self._of_files(name, _walk(path))
        elif os.path.exists(path):  # a named pipe
            if self._spool is not None:
                found = self._of_file((name, read_named_pipe(self._spool, path, name, self._report)))
        elif any(mark in source for mark in "*?["):
            paths = (Path(each) for each in sorted(glob.glob(str(path), recursive=True)))
            found = self._of_files(name, ((str(each), each) for each in paths if os.path.isfile(each)))
        elif (within := split_member(str(path))) is not None:
            found = self._of_file((name, within[0]))
        else:
            entry = catalogue.load().get(source)
            if entry is not None and entry.task in {spec.name for spec in self._specs}:
                found = TaskGuess(entry.task, f"the corpus {source!r} is for {entry.task}")
        if found is not None:
            return found
        is_data = os.path.isfile(path) and (suffix_of(path) in _DATA_SUFFIXES or is_json_file(path))
        return self._prose(name)._replace(prose=source if is_data else "")

    def _prose(self, name: str) -> TaskGuess:
        first = self._specs[0]
        return TaskGuess(first.name, f"{name!r} has no other form than {first.form}")

    def _of_file(self, file: File) -> TaskGuess | None:
        name, path = file
        try:
            form = identify(path, name, decode=False)
        except SeqgenError:  # reading it reports the error
            return None
        if form.kind in archives.KINDS:
            if self._spool is None:
                return None
            members = self._spool.unpack(path, form, name)
            files = ((f"{name}/{member}", each) for member, each in members)
            return self._of_layout(name, (member for member, _ in members)) or self._of_files(name, files)
        for spec in self._specs:
            if form.content in spec.file_kinds or (spec.file_suffixes and suffix_of(path) in spec.file_suffixes):
                return TaskGuess(spec.name, f"{name!r} is {spec.form}")
        for spec in self._by_rank:
            if resolve(spec.guess or "")(path, self._sheet):
                return TaskGuess(spec.name, f"{name!r} has the form of {spec.form}")
        return None

    def _of_layout(self, name: str, names: Iterable[str]) -> TaskGuess | None:
        """The task for which files are laid out in folders like these."""
        first = [PurePath(each).as_posix() for each in itertools.islice(names, _MAX_NAMES)]
        for spec in self._specs:
            if spec.guess_layout is not None and resolve(spec.guess_layout)(first):
                return TaskGuess(spec.name, f"{name!r} has the form of {spec.form}")
        return None

    def _of_files(self, name: str, files: Iterable[File]) -> TaskGuess | None:
        """The task of the first files, if it is that of more than half of them.

        Pictures, empty files and texts about the data don't count, nor does JSON of no form beside files that have one.
        """
        found: list[tuple[str, TaskGuess | None, bool]] = []  # name, guess, whether it is data of no form
        for file in itertools.islice(files, _MAX_OPENED):
            if len(found) < _MAX_FILES and _counts(file):
                each = self._of_file(file)
                is_data = each is None and (suffix_of(Path(file[0])) in _DATA_SUFFIXES or is_json_file(file[1]))
                found.append((file[0], each, is_data))
        total = sum(not is_data for _, _, is_data in found)
        for spec in self._specs:
            if 2 * sum(each is not None and each.task == spec.name for _, each, _ in found) > total:
                return TaskGuess(spec.name, f"files of {name!r} have the form of {spec.form}")
        return self._prose(name)._replace(remark=self._remark(name, found))

    def _remark(self, name: str, found: list[tuple[str, TaskGuess | None, bool]]) -> str:
        """A sentence on the files that are no prose; '' for none."""
        odd = [(file, each) for file, each, is_data in found if is_data or each is not None]
        odd = [(file, each) for file, each in odd if each is None or not TASKS.find(each.task).file_kinds]
        if not odd:
            return ""
        tasks = dict.fromkeys(each.task for _, each in odd if each is not None)
        forms = " or ".join(TASKS.find(task).form for task in tasks) or "tables or JSON"
        file = odd[0][0].removeprefix(name).lstrip("/\\")
        remedy = f"name them, or --task {next(iter(tasks))}" if tasks else "--task names another task"
        have, are = ("have", "are") if len(odd) > 1 else ("has", "is")
        some = f"{len(odd):,} of {len(found):,} files of {name!r} {have} the form of {forms} (the first is {file!r})"
        return f"{some} and {are} read as prose; {remedy}, --task text settles it"


def _counts(file: File) -> bool:
    """Whether a file counts when the task of its folder is guessed."""
    name, path = file
    if is_companion(name):
        return False
    try:
        return path.stat().st_size > 0 and identify(path, name).kind != "binary"
    except UnreadableKindError:
        return False
    except (SeqgenError, OSError):  # reading it reports the error
        return True


def is_json_file(path: Path) -> bool:
    """Whether a file is JSON, of whatever use."""
    head = read_head(path)
    return head.lstrip().startswith((b"{", b"[")) and is_json(FileHead.of(head, path.name))


def _walk(folder: Path) -> Iterator[File]:
    """The files that are read of a folder: neither hidden ones nor those of models."""
    if is_model_folder(folder):
        return
    for parent, folders, files in os.walk(folder):
        visible = (each for each in folders if not is_hidden_name(each))
        folders[:] = sorted(each for each in visible if not is_model_folder(Path(parent) / each))
        for each in sorted(files):
            if not is_hidden_name(each):
                yield str(Path(parent) / each), Path(parent) / each
