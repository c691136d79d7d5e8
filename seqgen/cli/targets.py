"""Files that a command writes, checked before it begins: what it computes would be lost, or another file."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from seqgen.cli.options import Flag
from seqgen.errors import UserError
from seqgen.streams import check_stdin_once, check_target, expand, is_written_in_place

# Parameters that name files.
_WRITTEN = ("output", "plot", "html", "state_out")
_READ = ("prompt_file", "primer", "replay", "config")
_STDIN = "-"


def check_targets(flags: Sequence[Flag], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a command was given; the files that it writes without `~`.

    Raises `UserError` for a file that can't be written, that is read too, that belongs to a model, or that two flags
    name, and if standard input is named twice.
    """
    given = dict(given)
    read = [*(given.get("sources") or ()), *(given[name] for name in _READ if given.get(name))]
    check_stdin_once([*read, given.get("state_in")])  # without a SOURCE `score` reads it too, and checks that
    taken: dict[str, tuple[str, str]] = {}  # flags, and what they name, by the file
    for flag in flags:
        target = given.get(flag.name)
        if flag.name not in _WRITTEN or not flag.metavar.startswith("FILE") or target in (None, "-"):
            continue
        expand(target)  # raises for a home folder that there is not
        target = given[flag.name] = os.path.expanduser(target)
        label = "-o" if "-o" in flag.flags else flag.label
        if "FOLDER" in flag.metavar and (os.path.isdir(target) or target.endswith(("/", os.sep))):
            continue
        check_target(target, label)
        if os.path.isfile(target):
            SourceFiles([_STDIN, *read]).check_unread(target, label)
        _check_unowned(target, label)
        other, first = taken.setdefault(os.path.realpath(target), (label, target))
        if other != label and not (is_written_in_place(target) and is_written_in_place(first)):
            raise UserError(f"{other} and {label} name the same file, {target!r}")
    return given


class SourceFiles:
    """The files and folders that SOURCEs name and that are there now; `-` is what standard input comes from.

    Args:
        within: whether the files in the folders are read too.
    """

    def __init__(self, sources: Iterable[str], within: bool = False) -> None:
        self._files: set[tuple[int, int]] = set()  # by device and number: a file may have several names
        self._within: set[Path] = set()
        for source in sources:
            if source == _STDIN:
                with contextlib.suppress(OSError):  # it is closed
                    self._add(os.fstat(0))
                continue
            name = os.path.expanduser(source)
            for path in [name] if os.path.exists(name) else glob.iglob(name, recursive=True):
                with contextlib.suppress(OSError):
                    self._add(os.stat(path))
                    if within:
                        self._within.add(Path(os.path.realpath(path)))

    def _add(self, status: os.stat_result) -> None:
        self._files.add((status.st_dev, status.st_ino))

    def check_unread(self, target: str, label: str) -> None:
        """Raise `UserError` if writing a file would replace one of them."""
        if not os.path.isfile(target):
            return
        status = os.stat(target)
        if (status.st_dev, status.st_ino) in self._files or (
            self._within and not self._within.isdisjoint(Path(os.path.realpath(target)).parents)
        ):
            raise UserError(f"{label} {target!r} would replace a file that is read: name another")


def _check_unowned(target: str, label: str) -> None:
    """Raise `UserError` for the name of a file of a model, in its folder."""
    path = Path(os.path.realpath(target))
    if not (path.parent / "config.json").is_file():
        return
    from seqgen import checkpoint

    if (path.parent / checkpoint.WEIGHTS).is_file() and path.name in checkpoint.FILES:
        raise UserError(f"{label} {target!r} would replace a file of the model there: name another")
