"""A corpus made ready once: ids on disk and what was learnt to make them, found again by the sources' fingerprint.

Beside the ids of a corpus lies a record with its tokenizer and its counts, so that a second training of the same text
neither learns a vocabulary nor counts a character anew. A record is written last: where there is one, all is whole.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqgen import tokenizers
from seqgen.corpus import ids
from seqgen.corpus.cache import store as cache
from seqgen.corpus.catalogue.entries import cache_folder
from seqgen.corpus.ids import IdStream
from seqgen.corpus.sources import Document, check_unchanged, fingerprint
from seqgen.errors import ModelError
from seqgen.streams import write_bytes
from seqgen.tasks.base import Preparation
from seqgen.tokenizers import Codec

RECORD = ".prepared.json"
_VERSION = 1  # of what is kept; rises when the same sources give other ids


@dataclass(frozen=True)
class PreparedIds:
    """`counts` has `train_tokens`, `held_out_tokens` and what else the task counts; `said` what was told of the
    sources, as (whether it is a warning, the sentence)."""

    codec: Codec
    train: IdStream
    held_out: IdStream | None
    counts: dict[str, int]
    key: str = ""
    said: list[tuple[bool, str]] = field(default_factory=list)


def ids_folder() -> Path:
    """Where the ids of all corpora are."""
    return cache_folder() / "ids"


def ids_path(key: str, part: str) -> Path:
    """The ids of a part (`train` or `valid`) of the corpus with that key."""
    return ids_folder() / f"{key}.{part}.ids"


def prepared(preparation: Preparation, task: str, make: Callable[[str], PreparedIds]) -> PreparedIds:
    """What `make` makes of the sources, or made when they were last learnt from; two programs never make it at once.

    Args:
        task: its name, and what else tells ids of the same sources and tokenizer apart.
        make: given the key, writes the ids to `ids_path` and says what they are.

    Raises:
        DataError: a source changed meanwhile.
    """
    codec = preparation.codec or (preparation.start.codec if preparation.start else None)
    key = _key(preparation, task, None)
    found = None
    if codec is not None:
        if preparation.codec is not None:  # a run that goes on: it was begun from these sources, most likely
            found = _load(key)
        if found is None or _digest(found.codec) != _digest(codec):
            key = _key(preparation, task, codec)
            found = None
    found = found or _load(key)
    if found is None:
        with locked(preparation, key):
            found = _load(key)
            if found is None:
                return _make(preparation, key, make)
    else:
        cache.remove_stale_lock(ids_folder() / key)
    for is_warning, sentence in found.said:
        (preparation.warn if is_warning else preparation.report)(sentence)
    return found


def locked(preparation: Preparation, key: str) -> contextlib.AbstractContextManager[None]:
    """See `cache.locked`; of the ids with that key."""
    waiting = "waiting for another training, which is preparing the same sources"
    return cache.locked(ids_folder() / key, lambda: preparation.report(waiting))


def _make(preparation: Preparation, key: str, make: Callable[[str], PreparedIds]) -> PreparedIds:
    try:
        made = make(key)
        check_unchanged([*preparation.documents, *preparation.valid])
    except BaseException:  # also Ctrl-C: what is there now, nobody would ever ask for
        remove_ids(key)
        raise
    record = {
        "version": _VERSION,
        "about": sources_label(preparation),
        "tokenizer": {n: base64.b64encode(data).decode() for n, data in tokenizers.dump(made.codec).items()},
        "counts": made.counts,
        "held_out": made.held_out is not None,
        "said": made.said,
    }
    write_bytes(ids_folder() / f"{key}{RECORD}", json.dumps(record).encode())
    return PreparedIds(made.codec, made.train, made.held_out, made.counts, key, made.said)


def sources_label(preparation: Preparation) -> str:
    """What the ids of these sources are called in the cache: the first names, and how many more there are."""
    names = [document.name for document in [*preparation.documents, *preparation.valid]]
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join("standard input" if name == "-" else name for name in names[:3]) + more


def _load(key: str) -> PreparedIds | None:
    """What is in the cache, whole; otherwise None."""
    path = ids_folder() / f"{key}{RECORD}"
    record = cache.read_json(path)
    if record.get("version") != _VERSION:
        return None
    train = ids.load(ids_path(key, "train"))
    held_out = ids.load(ids_path(key, "valid")) if record.get("held_out") else None
    if train is None or (held_out is None and record.get("held_out")):
        return None
    try:
        files = {name: base64.b64decode(data, validate=True) for name, data in record["tokenizer"].items()}
        counts = {str(name): int(value) for name, value in record["counts"].items()}
        said = [(bool(is_warning), str(sentence)) for is_warning, sentence in record["said"]]
        codec = tokenizers.parse(files)
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error, ModelError):
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # so that it can be told what was not used for long
    return PreparedIds(codec, train, held_out, counts, key, said)


def remove_ids(key: str) -> None:
    """Removes the ids with that key, the record first."""
    for path in sorted(ids_folder().glob(f"{key}.*"), key=lambda path: not path.name.endswith(RECORD)):
        path.unlink(missing_ok=True)


def _key(preparation: Preparation, task: str, codec: Codec | None) -> str:
    """The same sources, cut the same way, spelt as the options say or, where there is a codec already, with that."""
    options = preparation.options
    spelt: list[Any] = [options.tokenizer, options.vocab_size]
    if codec is not None:
        spelt = [preparation.codec is None, _digest(codec)]
    parts = [
        _VERSION, task, fingerprint(preparation.documents), fingerprint(preparation.valid),
        None if preparation.valid else options.val_fraction, spelt,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _digest(codec: Codec) -> str:
    digest = hashlib.sha256()
    for name, data in sorted(tokenizers.dump(codec).items()):
        digest.update(name.encode() + hashlib.sha256(data).digest())
    return digest.hexdigest()


def suffixes(documents: Iterable[Document]) -> str:
    """The endings of the documents' names, for tasks that read a file by its name."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update("".join(Path(document.name).suffixes[-2:]).lower().encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()[:16]
