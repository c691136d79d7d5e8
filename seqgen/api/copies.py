"""The training corpus of a model, for telling what is copied from it: kept in its folder, or found where it still lies.

`train --save_copy_index-corpus` keeps it. Otherwise it is made when it is first asked for, of the sources if they lie where they
lay and are unchanged, or of the ids that the cache has, and then kept too, where the folder can be written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqgen import checkpoint
from seqgen.checkpoint import Checkpoint
from seqgen.corpus import ids as id_cache
from seqgen.corpus import sources as reading
from seqgen.corpus.catalogue import entries as catalogue
from seqgen.corpus.ids import IdStream
from seqgen.corpus.sources import Document
from seqgen.errors import DataError, ModelError, UserError
from seqgen.generation.copies.notes import NoteCopyIndex
from seqgen.generation.copies.text import TextCopyIndex
from seqgen.generation.sampling.token_names import spell, visible_token_bytes
from seqgen.streams import write_bytes
from seqgen.tensors import dump, mmap_file
from seqgen.tokenizers import Codec
from seqgen.tokenizers.midi import MidiCodec

if TYPE_CHECKING:
    from seqgen.api.model import Model

FORMAT = "seqgen corpus 1"
CopyIndex = TextCopyIndex | NoteCopyIndex


def build(codec: Codec, streams: Iterable[IdStream], documents: Iterable[Document] = ()) -> CopyIndex:
    """Of whole documents, or else of the ids that were made of them."""
    if isinstance(codec, MidiCodec):
        return NoteCopyIndex.build(_records(codec, streams), codec.vocabulary)
    texts = [b"".join(document.chunks()) for document in documents]
    table = visible_token_bytes(codec)
    return TextCopyIndex.build(texts or [spell(record, table) for record in _records(codec, streams)])


def _records(codec: Codec, streams: Iterable[IdStream]) -> Iterable[Any]:
    for stream in streams:
        ids = np.asarray(stream.ids)
        for record in np.split(ids, np.flatnonzero(ids == codec.end)):
            if len(record) > 1:
                yield record[1:]


def save_copy_index(folder: Path, copies: CopyIndex, config: Mapping[str, Any]) -> None:
    """Writes it into the folder of the model of this config.json. Raises `UserError`."""
    metadata = {"format": FORMAT, "sources": str(config["data"].get("fingerprint"))}
    write_bytes(folder / checkpoint.CORPUS, dump(copies.arrays(), metadata))


def load_copy_index(loaded: Checkpoint) -> CopyIndex | None:
    """What the folder keeps, mapped; None where it keeps nothing. Raises `ModelError` where it is damaged, or of other
    sources than the model."""
    path = loaded.folder / checkpoint.CORPUS
    if not path.exists():
        return None
    arrays, metadata = mmap_file(path)
    if metadata.get("format") != FORMAT or metadata.get("sources") != str(loaded.config["data"].get("fingerprint")):
        raise ModelError(f"{str(path)!r} is not the corpus of this model; delete it, and it is made anew if it can be")
    try:
        return NoteCopyIndex.of(arrays) if loaded.task == "music" else TextCopyIndex.of(arrays)
    except ModelError as error:
        raise ModelError(f"{str(path)!r} is damaged: {error}") from error


def load_or_build_copy_index(model: Model, report: Callable[[str], None] = lambda _: None) -> CopyIndex:
    """What the folder keeps, or what can be made. Raises `UserError` where neither is there."""
    loaded = model.checkpoint
    found = load_copy_index(loaded)
    if found is not None:
        return found
    report("looking for the training corpus, which the model does not keep")
    documents = _sources(loaded) if loaded.task == "text" else []
    streams = [] if documents else _cached(loaded)
    if not documents and not streams:
        raise UserError(
            "the training corpus is not where it was, so nothing can be said of copies; `train --keep-corpus` keeps it "
            "in the model"
        )
    made = build(loaded.codec, streams, documents)
    try:
        save_copy_index(loaded.folder, made, loaded.config)
    except UserError as error:
        report(f"the corpus can't be kept: {error}")
    return made


def _sources(loaded: Checkpoint) -> list[Document]:
    """The sources of training, if all lie where they lay, unchanged."""
    try:
        return reading.find_unchanged(loaded.sources, _place) or []
    except DataError:
        return []


def _place(name: str) -> Path | None:
    """Where a source lies on this machine, if it does."""
    entry = catalogue.load().get(name)
    if Path(name).is_file() or entry is None or entry.address is not None:
        return Path(name)
    paths = catalogue.materialise(entry, catalogue.cache_folder())
    return paths[0] if len(paths) == 1 else None


def _cached(loaded: Checkpoint) -> list[IdStream]:
    """The ids that the model learnt from, and those held out, if the cache still has them."""
    key = loaded.config["data"].get("cache")
    if not isinstance(key, str) or not key.isalnum():
        return []
    from seqgen.tasks.prepared import ids_path

    train, held_out = (id_cache.load(ids_path(key, part)) for part in ("train", "valid"))
    return [] if train is None else [train] if held_out is None else [train, held_out]
