"""Corpora that are part of every Python installation."""

from __future__ import annotations

import os
import platform
import sysconfig
from pathlib import Path

from seqgen.errors import UserError
from seqgen.streams import write_bytes


def python_topics(folder: Path) -> list[Path]:
    """Write the texts behind Python's `help("topic")` to one file, named after the Python version."""
    path = folder / f"topics-{platform.python_version()}.txt"
    if not path.is_file():
        try:
            from pydoc_data.topics import topics
        except ImportError as error:
            raise UserError("this Python was installed without pydoc_data, its documentation topics") from error
        texts: dict[str, str] = topics
        write_bytes(path, "\n\n".join(text.strip() for text in texts.values()).encode() + b"\n")
    return [path]


def python_stdlib(folder: Path) -> list[Path]:
    """List the source files of the standard library; nothing is copied to `folder`."""
    # Tests contain files that are broken on purpose; idlelib is a program; the rest is not the standard library's own.
    skipped = {"test", "tests", "idlelib", "site-packages", "dist-packages", "__pycache__"}
    found = []
    for parent, folders, files in os.walk(sysconfig.get_path("stdlib")):
        folders[:] = [name for name in folders if name not in skipped]
        paths = (Path(parent) / name for name in files if name.endswith(".py"))
        found += [path for path in paths if path.stat().st_size]  # many an __init__.py is empty
    if not found:
        raise UserError("this Python was installed without the source files of its standard library")
    return sorted(found)


BUILTIN = {"python-topics": python_topics, "python-stdlib": python_stdlib}
