"""Errors that a person can be told about.

Every module raises one of these for anything that its caller can mend; the command line turns them into one line on
stderr and an exit status. Anything else that escapes is a fault of the program.
"""


class SeqgenError(Exception):
    """Base of the package's own errors; the message is one line without a trailing full stop."""


class UserError(SeqgenError):
    """Something the caller can mend: a flag, a missing or malformed file, a model of another task. Status 2."""


class DataError(UserError):
    """A source that cannot be used; says which file, and where in it."""


class ModelError(UserError):
    """A model folder that cannot be used: missing, truncated, swapped, newer than this program."""


class TrainingError(SeqgenError):
    """Training itself failed in a way no flag explains (for example a loss that never became finite). Status 1."""


class PeerProcessError(SeqgenError):
    """Another process of the same run failed, and says why; this one has nothing to add. Status 1."""
