"""One training at a time writes a model folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from seqgen import checkpoint
from seqgen.errors import UserError
from seqgen.locks import AlreadyLockedError, is_same_file, locked_folder
from seqgen.streams import PARTIAL_SUFFIX, reason
from seqgen.training.distributed.world import SINGLE_PROCESS, World


@contextlib.contextmanager
def lock_model_folder(folder: Path, resume: bool, world: World = SINGLE_PROCESS) -> Iterator[None]:
    """Keeps every other training out of `folder` until the end, and sees that it can be written.

    No lock file is made. What is held is the folder that is there, and the one beside it that a new model is built in
    and that takes its place. The system lets go of both when the process ends, in whatever way. A file system without
    locks keeps nobody out. Of several processes that train together the one that writes claims it.

    Raises:
        UserError: another training has it, or it can't be written.
    """
    if not world.is_main_process:
        yield
        return
    if not folder.name:
        raise UserError(f"-o must name a folder to make, not {str(folder)!r}")
    if os.path.exists(folder) and not folder.is_dir():
        raise UserError(f"-o {str(folder)!r} is a file; name a folder")
    with contextlib.ExitStack() as cleared:
        try:
            if not (resume and (folder / checkpoint.CONFIG).exists()):
                cleared.enter_context(_new_folder(folder))
            if folder.exists():
                cleared.enter_context(_locked(folder, folder))
                tempfile.TemporaryFile(dir=folder, suffix=PARTIAL_SUFFIX).close()
        except OSError as error:
            raise UserError(f"cannot write {str(folder)!r}: {reason(error)}") from error
        yield


def check_output_folder(folder: Path, overwrite: bool, going_on: bool, resume: bool) -> None:
    """Raises `UserError` where a model shouldn't be written."""
    is_model = (folder / checkpoint.CONFIG).exists()
    if folder.is_dir() and not is_model and any(folder.iterdir()):
        raise UserError(f"-o {str(folder)!r} holds other things and no model; name a new folder")
    if is_model and not overwrite and not going_on:
        raise UserError(
            f"there is a model in {str(folder)!r} already; --overwrite replaces it, --resume goes on with it"
        )
    if overwrite and resume:
        raise UserError("give --resume or --overwrite, not both")


@contextlib.contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """The empty folder that a new model is built in. Gone at the end, with those above it that were made for it, unless
    it became the model."""
    new = checkpoint.staging(folder)
    made = [place for place in new.parents if not place.exists()]
    try:
        new.mkdir(parents=True, exist_ok=True)
        with _locked(new, folder) as mine:
            for left in new.iterdir():  # by a run that was killed
                shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
            try:
                yield
            finally:
                if mine is None or is_same_file(mine, new):
                    shutil.rmtree(new, ignore_errors=True)
    finally:
        for place in made:
            with contextlib.suppress(OSError):
                place.rmdir()


@contextlib.contextmanager
def _locked(path: Path, folder: Path) -> Iterator[int | None]:
    """Hold the lock of `path`; yields its file descriptor, or None where there are no locks."""
    try:
        with locked_folder(path) as handle:
            yield handle
    except AlreadyLockedError as error:
        raise UserError(
            f"another training is writing {str(folder)!r}: let it end first, or name another folder"
        ) from error
