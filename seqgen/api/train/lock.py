"""The lock of a model folder, which one training at a time may write."""

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
    """Lock `folder` against other trainings, and check that it can be written.

    The lock is the existing folder's own and that of its sibling, in which a new model is built; there is no lock file.
    The system releases both when the process ends. Without locks in the file system, nothing is locked. In distributed
    training the main process has the lock.

    Raises:
        UserError: another training has the lock, or the folder can't be written.
    """
    if not world.is_main_process:
        yield
        return
    if not folder.name:
        raise UserError(f"-o must name a folder to make, not {str(folder)!r}")
    if os.path.exists(folder) and not folder.is_dir():
        raise UserError(f"-o {str(folder)!r} is a file; name a folder")
    with contextlib.ExitStack() as stack:
        try:
            if not (resume and (folder / checkpoint.CONFIG).exists()):
                stack.enter_context(_new_folder(folder))
            if folder.exists():
                stack.enter_context(_locked(folder, folder))
                if resume:
                    _remove_abandoned(checkpoint.staging(folder), folder)
                tempfile.TemporaryFile(dir=folder, suffix=PARTIAL_SUFFIX).close()
        except OSError as error:
            raise UserError(f"cannot write {str(folder)!r}: {reason(error)}") from error
        yield


def check_output_folder(folder: Path, overwrite: bool, resumes: bool, resume: bool) -> None:
    """Raise `UserError` if `folder` has other files, or a model that may not be replaced.

    Args:
        resumes: whether there is a run to resume.
        resume: whether `--resume` was given.
    """
    is_model = (folder / checkpoint.CONFIG).exists()
    if folder.is_dir() and not is_model and any(folder.iterdir()):
        raise UserError(f"-o {str(folder)!r} has files that are not a model; name a new folder")
    if is_model and not overwrite and not resumes:
        raise UserError(
            f"there is already a model in {str(folder)!r}; replace it with --overwrite or continue with --resume"
        )
    if overwrite and resume:
        raise UserError("give --resume or --overwrite, not both")


@contextlib.contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """Make the empty folder in which a new model is built.

    Unless it became the model, it is removed at the end, and so are the parents made for it.
    """
    new = checkpoint.staging(folder)
    created = [parent for parent in new.parents if not parent.exists()]
    try:
        new.mkdir(parents=True, exist_ok=True)
        with _locked(new, folder) as handle:
            for leftover in new.iterdir():  # from a run that was killed
                shutil.rmtree(leftover) if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()
            try:
                yield
            finally:
                if handle is None or is_same_file(handle, new):
                    shutil.rmtree(new, ignore_errors=True)
    finally:
        for parent in created:
            with contextlib.suppress(OSError):
                parent.rmdir()


def _remove_abandoned(new: Path, folder: Path) -> None:
    """Remove what a killed run with --overwrite left of a new model, or of the old one: `folder` is continued."""
    if new.exists():
        with _locked(new, folder):
            shutil.rmtree(new)


@contextlib.contextmanager
def _locked(path: Path, folder: Path) -> Iterator[int | None]:
    """Lock `path`; yields its file descriptor, or None if the file system has no locks."""
    try:
        with locked_folder(path) as handle:
            yield handle
    except AlreadyLockedError as error:
        raise UserError(
            f"another training is writing {str(folder)!r}: wait for its end, or name another folder"
        ) from error
