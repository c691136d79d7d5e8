"""Files as people have them: what a file is, by its bytes, and its text as UTF-8."""

from seqgen.corpus.opening.form import FileForm
from seqgen.corpus.opening.identify import UnreadableKindError, identify, read_head

__all__ = ["FileForm", "UnreadableKindError", "identify", "read_head"]
