"""Prepared corpora: ids in the cache, with their tokenizer and counts, found by the fingerprint of the sources.

Training on the same sources again then neither fits a vocabulary nor encodes anything. The record beside the ids is
written last: if it is there, everything is.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqgen import tokenizers
from seqgen.corpus import ids
from seqgen.corpus.cache import store as cache
from seqgen.corpus.cache.folder import cache_folder
from seqgen.corpus.ids import IdStream
from seqgen.corpus.series.scaling import Scaler
from seqgen.corpus.sources import Document, check_unchanged, fingerprint
from seqgen.errors import ModelError
from seqgen.quantities import shortened_list
from seqgen.streams import write_bytes
from seqgen.tasks.base import Preparation
from seqgen.tokenizers import Codec

RECORD = ".prepared.json"
_VERSION = 3  # increased when the same sources give other ids


@dataclass(frozen=True)
class PreparedIds:
    """Ids of a corpus. `counts` has `train_tokens`, `held_out_tokens` and whatever else the task counts."""

    codec: Codec
    train: IdStream
    held_out: IdStream | None
    counts: dict[str, int]
    key: str = ""
    messages: list[tuple[bool, str]] = field(default_factory=list)  # about the sources: whether it is a warning, text
    cut_short: bool = False  # the time was too short for all of the sources


def ids_folder() -> Path:
    """The folder of the ids of all corpora."""
    return cache_folder() / "ids"


def ids_path(key: str, part: str) -> Path:
    """The file with the ids of one part (`train` or `valid`) of a corpus."""
    return ids_folder() / f"{key}.{part}.ids"


def prepare_ids(
    preparation: Preparation, name: str, make: Callable[[str], PreparedIds], fixed: Codec | None = None
) -> PreparedIds:
    """Return the ids of the sources from the cache, or make them. Two processes never make the same ids at once.

    Args:
        name: the task, and whatever else makes other ids of the same sources and tokenizer.
        make: given the key, writes the ids to `ids_path`.
        fixed: the codec, if it isn't fitted to the sources.

    Raises:
        DataError: a source changed meanwhile.
    """
    found = None
    if fixed is not None:
        key = cache_key(preparation, name, [True, codec_digest(fixed)])
    else:
        options = preparation.options
        key = cache_key(preparation, name, [options.tokenizer, options.vocab_size])
        codec = _given_codec(preparation)
        if codec is not None:
            if preparation.codec is not None:  # a resumed run, most likely begun from these sources
                key, found = _find(key, preparation)
            if found is None or codec_digest(found.codec) != codec_digest(codec):
                key = cache_key(preparation, name, [preparation.codec is None, codec_digest(codec)])
                found = None
    if found is None:
        key, found = _find(key, preparation)
    if found is not None:
        cache.remove_stale_lock(ids_folder() / key)
    while found is None:
        with locked(preparation, key):
            wanted = key
            key, found = _find(wanted, preparation)
            if found is None and key == wanted:
                return _make(preparation, key, make)
    for is_warning, message in found.messages:
        (preparation.warn if is_warning else preparation.report)(message)
    return found


def _given_codec(preparation: Preparation) -> Codec | None:
    """The codec of the resumed run or of the model to start from."""
    if preparation.codec is not None:
        assert not isinstance(preparation.codec, Scaler)
        return preparation.codec
    return None if preparation.start is None else preparation.start.codec


def locked(preparation: Preparation, key: str) -> contextlib.AbstractContextManager[None]:
    """Lock the ids with this key (see `cache.locked`)."""
    waiting = "waiting for another training run that is preparing the same sources"
    return cache.locked(ids_folder() / key, lambda: preparation.report(waiting))


def _make(preparation: Preparation, key: str, make: Callable[[str], PreparedIds]) -> PreparedIds:
    try:
        made = make(key)
        check_unchanged([*preparation.documents, *preparation.valid])
    except BaseException:  # Ctrl-C too: nothing would ever ask for the half-written ids
        remove_ids(key)
        raise
    record = {
        "version": _VERSION,
        "about": sources_label(preparation),
        "tokenizer": _encoded(made.codec),
        "counts": made.counts,
        "held_out": made.held_out is not None,
        "said": made.messages,
        **({"cut_after": preparation.limit.seconds} if made.cut_short else {}),
    }
    write_bytes(ids_folder() / f"{key}{RECORD}", json.dumps(record).encode())
    return dataclasses.replace(made, key=key)


def _encoded(codec: Codec) -> dict[str, str]:
    """The files of a codec, for JSON."""
    return {name: base64.b64encode(data).decode() for name, data in tokenizers.dump(codec).items()}


def sources_label(preparation: Preparation) -> str:
    """A name for the sources in listings of the cache: the first three, and how many more there are."""
    names = [document.shown for document in [*preparation.documents, *preparation.valid]]
    return shortened_list(names, 3)


def _find(key: str, preparation: Preparation) -> tuple[str, PreparedIds | None]:
    """The ids of a corpus in the cache and their key; None with the key under which they are to be made.

    Ids that a budget cut short stay where they are, for their run may be resumed. Those of more time have another key.
    """
    found = _load(key, preparation)
    if "cut_after" not in cache.read_json(ids_folder() / f"{key}{RECORD}"):
        return key, found
    longer_key, longer = _find(hashlib.sha256(f"{key} longer".encode()).hexdigest()[:32], preparation)
    return (longer_key, longer) if longer is not None or found is None else (key, found)


def _load(key: str, preparation: Preparation) -> PreparedIds | None:
    """The ids with this key, if the cache has all of them, or as many as a run that had no less time could read."""
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
        messages = [(bool(is_warning), str(message)) for is_warning, message in record["said"]]
        codec = tokenizers.parse(files)
        cut_after = record.get("cut_after")
        if cut_after is not None and not preparation.limit.seconds <= float(cut_after):
            return None
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error, ModelError):
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # listings of the cache show when it was last used
    return PreparedIds(codec, train, held_out, counts, key, messages, cut_after is not None)


def load_ids(metadata: Mapping[str, Any], codec: Codec) -> tuple[IdStream, IdStream | None] | None:
    """The training and held-out ids of a model, by `data` of its config.json; None if the cache has lost them.

    How much of a corpus a budget cut is not in the key: ids that were made again may be others than the model's.
    """
    key = metadata.get("cache")
    if not isinstance(key, str) or not key.isalnum():  # it becomes a file name
        return None
    record = cache.read_json(ids_folder() / f"{key}{RECORD}")
    if record:  # a generative classifier's ids have none
        counts = record.get("counts")
        same = isinstance(counts, dict) and all(metadata.get(name) == count for name, count in counts.items())
        if not same or record.get("tokenizer") != _encoded(codec):
            return None
    train, held_out = ids.load(ids_path(key, "train")), ids.load(ids_path(key, "valid"))
    if train is None or (held_out is None and metadata.get("held_out_tokens")):
        return None
    return train, held_out


def remove_ids(key: str) -> None:
    """Remove the ids with this key, the record first."""
    for path in sorted(ids_folder().glob(f"{key}.*"), key=lambda path: not path.name.endswith(RECORD)):
        path.unlink(missing_ok=True)


def cache_key(preparation: Preparation, name: str, tokenizer: list[Any], *extra: Any) -> str:
    """Digest of whatever the ids of a corpus depend on, for the name of their files.

    Args:
        tokenizer: how the sources are encoded: the options it is fitted with, or the digest of a codec.
        extra: further options on which the ids depend.
    """
    fraction = None if preparation.valid else preparation.options.val_fraction
    parts = [_VERSION, name, fingerprint(preparation.documents), fingerprint(preparation.valid), fraction, tokenizer]
    return hashlib.sha256(json.dumps([*parts, *extra]).encode()).hexdigest()[:32]


def codec_digest(codec: Codec) -> str:
    """Digest of a codec's files."""
    digest = hashlib.sha256()
    for name, data in sorted(tokenizers.dump(codec).items()):
        digest.update(name.encode() + hashlib.sha256(data).digest())
    return digest.hexdigest()


def suffixes(documents: Iterable[Document]) -> str:
    """Digest of the documents' suffixes, for tasks that recognise formats by them."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update("".join(Path(document.name).suffixes[-2:]).lower().encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()[:16]
