"""The location of the cache."""

from __future__ import annotations

import functools
import os
import stat
import sys
import tempfile
from pathlib import Path

from seqgen.errors import UserError


def cache_folder() -> Path:
    """Return the cache folder.

    It is `$SEQGEN_CACHE`, else `$XDG_CACHE_HOME/seqgen`, else `~/.cache/seqgen`, on Windows
    `%LOCALAPPDATA%\\seqgen\\Cache`; else, where none of these is writable, a temporary folder that belongs to the user.

    Raises:
        UserError: no folder can be written.
    """
    if own := os.environ.get("SEQGEN_CACHE"):
        return Path(own).expanduser()
    usual = _usual_folder()
    return usual if usual is not None and _is_usable(usual) else _temporary_folder()


def fallback_warning() -> str | None:
    """A warning if the cache is a temporary folder; None if it isn't."""
    usual, folder = _usual_folder(), cache_folder()
    if os.environ.get("SEQGEN_CACHE") or folder == usual:
        return None
    why = "there is no home folder" if usual is None else f"{str(usual)!r} can't be written"
    return f"the cache is {str(folder)!r}, because {why}; SEQGEN_CACHE names another folder"


def _usual_folder() -> Path | None:
    """The default folder; None without a home folder."""
    shared = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(shared):  # the XDG base directory specification says to ignore a relative path
        return Path(shared) / "seqgen"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "seqgen" / "Cache"
    try:
        return Path.home() / ".cache" / "seqgen"
    except RuntimeError:
        return None


def _is_usable(folder: Path) -> bool:
    """Whether a folder can be written, or made. Nothing is made: most commands need no cache."""
    while not os.path.lexists(folder) and folder.parent != folder:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


@functools.cache
def _temporary_folder() -> Path:
    """Make the user's own folder among the temporary files, which later commands find again."""
    try:
        folder = Path(tempfile.gettempdir()) / f"seqgen-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        # In a folder that everybody may write, somebody else may have made it first.
        is_own = not hasattr(os, "getuid") or (found.st_uid == os.getuid() and not found.st_mode & 0o022)
        if stat.S_ISDIR(found.st_mode) and is_own and os.access(folder, os.W_OK | os.X_OK):
            return folder
        return Path(tempfile.mkdtemp(prefix="seqgen-"))
    except OSError as error:
        raise UserError("no folder for the cache can be written; set SEQGEN_CACHE to one that can") from error
