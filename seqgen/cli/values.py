"""Values that Tab completes: those of flags with a few, corpora, models, tokenizers, columns of tables, topics.

The metavar of a flag says what its value is. Where nothing fits, the shell completes names of files.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from seqgen.cli.completion import VARIABLE, words_on_line
from seqgen.cli.options import Flag
from seqgen.errors import SeqgenError
from seqgen.specs.tokenizers import TOKENIZERS

Values = list[str | tuple[str, str]]  # (value, description)

_HEAD_BYTES = 1 << 16  # of a table


def completer(flag: Flag) -> Callable[..., Values]:
    """The function that completes the value of a flag or an argument."""

    def complete(incomplete: str) -> Values:
        with contextlib.suppress(OSError, ValueError, SeqgenError):  # nothing may disturb the line that is typed
            return [_escaped(value) for value in _values(flag, incomplete)]
        return []

    return complete


def _values(flag: Flag, incomplete: str) -> Values:
    values: Values = []
    for part in flag.metavar.split("|"):
        word = part.strip("[].").split("]")[0]
        if part.islower() or part[:1].isdigit():
            values.append(part)
        elif word == "MODEL":
            values += _models(incomplete)
        elif word == "TOKENIZER":
            values += [name for name, spec in TOKENIZERS.items() if spec.task is not None]
        elif word == "SOURCE" or (word == "NAME" and not flag.flags):
            values += _corpora()
        elif word == "COLUMN":
            before, comma, _ = incomplete.rpartition(",")
            values += [before + comma + column for column in _columns()]
        elif word == "TOPIC":
            values += _topics()
    found = [value for value in values if _text(value).startswith(incomplete) and _is_harmless(_text(value))]
    if found and "SOURCE" in flag.metavar:  # the shell won't complete files then
        found += sorted(path for path in _paths(incomplete) if _is_harmless(path))
    return found


def _text(value: str | tuple[str, str]) -> str:
    return value if isinstance(value, str) else value[0]


def _is_harmless(text: str) -> bool:
    """Whether no shell sees more in a name than a name: zsh evaluates the answer twice."""
    return text.isprintable() and not set(text) & set('\\$`"')


def _escaped(value: str | tuple[str, str]) -> str | tuple[str, str]:
    """A value as bash wants it; the other shells escape by themselves."""
    if not os.environ[VARIABLE].endswith("bash"):
        return value
    return re.sub(r"([^\w./:,@%+=~-])", r"\\\1", _text(value))


def _paths(incomplete: str) -> Iterator[str]:
    for path in glob.glob(glob.escape(incomplete) + "*"):
        yield path + "/" * os.path.isdir(path)


def _models(incomplete: str) -> list[str]:
    """Folders with a config.json, and folders of such."""
    start = glob.escape(incomplete)
    models = {os.path.dirname(path) for path in glob.glob(f"{start}*/config.json")}
    groups = {os.path.dirname(os.path.dirname(path)) + "/" for path in glob.glob(f"{start}*/*/config.json")}
    return sorted(models | groups)


def _corpora() -> Values:
    from seqgen.corpus.catalogue import entries

    return [(name, entry.title) for name, entry in entries.load().items()]


def _columns() -> list[str]:
    """The columns of the first source on the line, or the keys of its first JSON object."""
    path = next(filter(None, map(_table, words_on_line()[2:])), None)
    if path is None:
        return []
    from seqgen.corpus.documents import Document
    from seqgen.corpus.opening.identify import identify
    from seqgen.corpus.tables.read import sniff

    chunks = Document(str(path), path, form=identify(path, str(path))).chunks(0, _HEAD_BYTES)
    head = b"".join(chunks)
    text = head.decode("utf-8", "replace")
    if text.lstrip()[:1] in ("{", "["):
        record = json.loads(text.lstrip().lstrip("[").splitlines()[0].rstrip(","))
        return [str(key) for key in record]
    table = sniff(text, str(path), len(head) < _HEAD_BYTES)
    return [] if table is None else list(table.header)


def _table(word: str) -> Path | None:
    """The file that a word on the line names, itself or as a corpus of the catalogue that needs no download."""
    path = Path(word).expanduser()
    if path.is_file():
        return path
    from seqgen.corpus.catalogue import entries

    entry = entries.load().get(word)
    return None if entry is None or entry.file is None else entries.corpora_folder() / entry.file


def _topics() -> list[str]:
    folder = Path(__file__).resolve().parents[1] / "docs"
    pages = [path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.md")]
    return sorted([*pages, "reference"])
