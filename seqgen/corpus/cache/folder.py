"""The location of the cache."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from seqgen.errors import UserError


def cache_folder() -> Path:
    """Return the cache folder.

    It is `$SEQGEN_CACHE`, else `$XDG_CACHE_HOME/seqgen`, else `~/.cache/seqgen`, on Windows
    `%LOCALAPPDATA%\\seqgen\\Cache`.

    Raises:
        UserError: none of them is set and there is no home folder.
    """
    if own := os.environ.get("SEQGEN_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(shared):  # the XDG base directory specification says to ignore a relative path
        return Path(shared) / "seqgen"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "seqgen" / "Cache"
    try:
        return Path.home() / ".cache" / "seqgen"
    except RuntimeError as error:
        raise UserError("there is no home folder for the cache; set SEQGEN_CACHE to a folder") from error
