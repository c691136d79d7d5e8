"""The package's exceptions, and suggestions for mistyped names.

The command line reports them in one line on stderr and exits with the given status. Any other exception that escapes
is an internal error.
"""

from __future__ import annotations

from collections.abc import Iterable


class SeqgenError(Exception):
    """Base of the package's exceptions; the message is one line without a full stop at its end."""


class UserError(SeqgenError):
    """An error of the caller: a wrong option, a missing or malformed file, a model of another task. Status 2."""


class DataError(UserError):
    """A source that cannot be used; the message names the file and the position in it."""


class ModelError(UserError):
    """A model folder that cannot be used: missing, truncated, mixed up, or written by a newer version."""


class ModelChangedError(ModelError):
    """A model folder that was written after it was loaded, so that what is in memory belongs to other files."""


class TrainingError(SeqgenError):
    """Training failed without an error of the caller, for example because the loss never became finite. Status 1."""


class StoppedError(SeqgenError):
    """The caller asked to stop before there was anything to save."""


class PeerProcessError(SeqgenError):
    """Another process of a distributed run failed and reports why. Status 1."""


class PlotWarning(UserWarning):
    """A picture lacks something. The command line says so in one line, Python by its `warnings`."""


def closest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name that is most like `name`, in any case, or None if the similarity of all is below `cutoff`."""
    import difflib  # for messages only

    names = {each.lower(): each for each in known}
    found = difflib.get_close_matches(name.lower(), names, 1, cutoff)
    return names[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The end of a message about an unknown name: `; did you mean 'lstm'?`, or nothing."""
    found = closest(name, known, cutoff)
    return f"; did you mean {found!r}?" if found else ""
