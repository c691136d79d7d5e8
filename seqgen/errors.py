"""The package's exceptions.

The command line reports them in one line on stderr and exits with the given status. Any other exception that escapes
is an internal error.
"""


class SeqgenError(Exception):
    """Base of the package's exceptions; the message is one line without a full stop at its end."""


class UserError(SeqgenError):
    """An error of the caller: a wrong option, a missing or malformed file, a model of another task. Status 2."""


class DataError(UserError):
    """A source that cannot be used; the message names the file and the position in it."""


class ModelError(UserError):
    """A model folder that cannot be used: missing, truncated, mixed up, or written by a newer version."""


class TrainingError(SeqgenError):
    """Training failed without an error of the caller, for example because the loss never became finite. Status 1."""


class PeerProcessError(SeqgenError):
    """Another process of a distributed run failed and reports why. Status 1."""
