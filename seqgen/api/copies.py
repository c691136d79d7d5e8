"""The copy index of a model: its training corpus, to find out what samples copy from it.

`train --keep-corpus` saves one in the model folder. Otherwise it is built on first use and saved, if the folder is
writable. It is built from the sources if they are unchanged, or from the cached ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seqgen import checkpoint
from seqgen.checkpoint import Checkpoint
from seqgen.corpus import sources as reading
from seqgen.corpus.cache.folder import cache_folder
from seqgen.corpus.catalogue import entries as catalogue
from seqgen.corpus.catalogue.fetch import materialise
from seqgen.corpus.ids import IdStream
from seqgen.corpus.sources import Document
from seqgen.errors import DataError, ModelError, UserError
from seqgen.generation.copies.notes import NoteCopyIndex
from seqgen.generation.copies.text import TextCopyIndex
from seqgen.generation.music.composing import music_codec
from seqgen.generation.sampling.token_names import join_token_bytes, visible_token_bytes
from seqgen.specs.registry import resolve
from seqgen.specs.tokenizers import TOKENIZERS
from seqgen.streams import write_bytes
from seqgen.tensors import dump, mmap_file
from seqgen.tokenizers import Codec

FORMAT = "seqgen corpus 1"
CopyIndex = TextCopyIndex | NoteCopyIndex


def build(codec: Codec, streams: Iterable[IdStream], documents: Iterable[Document] = ()) -> CopyIndex:
    """Build the index of whole documents or, without any, of the ids made from them."""
    if _index_class(codec) is NoteCopyIndex:
        return NoteCopyIndex.build(_records(codec, streams), music_codec(codec).vocabulary)
    texts = [b"".join(document.chunks()) for document in documents]
    table = visible_token_bytes(codec)
    return TextCopyIndex.build(texts or [join_token_bytes(record, table) for record in _records(codec, streams)])


def _index_class(codec: Codec) -> type[CopyIndex]:
    index_class: type[CopyIndex] = resolve(TOKENIZERS.find(codec.name).copy_index)
    return index_class


def _records(codec: Codec, streams: Iterable[IdStream]) -> Iterable[Any]:
    for stream in streams:
        ids = np.asarray(stream.ids)
        for record in np.split(ids, np.flatnonzero(ids == codec.end)):
            if len(record) > 1:
                yield record[1:]


def save_copy_index(folder: Path, copies: CopyIndex, config: Mapping[str, Any]) -> None:
    """Save the index in the folder of the model with this config. Raises `UserError` if it can't be written."""
    metadata = {"format": FORMAT, "sources": str(config["data"].get("fingerprint"))}
    write_bytes(folder / checkpoint.CORPUS, dump(copies.arrays(), metadata))


def load_copy_index(loaded: Checkpoint) -> CopyIndex | None:
    """Map the index in the model folder into memory; None if there is none.

    Raises `ModelError` if it is damaged, or of other sources than the model's.
    """
    path = loaded.folder / checkpoint.CORPUS
    if not path.exists():
        return None
    arrays, metadata = mmap_file(path)
    if metadata.get("format") != FORMAT or metadata.get("sources") != str(loaded.config["data"].get("fingerprint")):
        raise ModelError(f"{str(path)!r} is not the corpus of this model; delete it to have it rebuilt")
    try:
        return _index_class(loaded.codec).of(arrays)
    except ModelError as error:
        raise ModelError(f"{str(path)!r} is damaged: {error}") from error


def load_or_build_copy_index(loaded: Checkpoint, report: Callable[[str], None] = lambda _: None) -> CopyIndex:
    """Load the index, or build it from the sources or the cached ids. Raises `UserError` if both are gone."""
    index = load_copy_index(loaded)
    if index is not None:
        return index
    report("indexing the training corpus, which the model does not keep")
    with reading.Spool() as spool:
        documents = unchanged_sources(loaded, spool) if loaded.spec.is_plain_text else []
        streams = [] if documents else _cached_ids(loaded)
        if not documents and not streams:
            raise UserError(
                "cannot find copies: the training corpus has moved or changed; "
                "`train --keep-corpus` keeps it in the model"
            )
        index = build(loaded.codec, streams, documents)
    try:
        save_copy_index(loaded.folder, index, loaded.config)
    except UserError as error:
        report(f"the index of the corpus was not saved: {error}")
    return index


def unchanged_sources(loaded: Checkpoint, spool: reading.Spool) -> list[Document]:
    """The training sources, if none has moved or changed; otherwise an empty list."""
    try:
        packaged = _packaged_files(loaded)
        return reading.find_unchanged(loaded.sources, lambda name: _source_path(name, packaged), spool) or []
    except DataError:
        return []


def _source_path(name: str, packaged: Mapping[str, Path]) -> Path:
    return Path(name) if Path(name).is_file() else packaged.get(name, Path(name))


def _packaged_files(loaded: Checkpoint) -> dict[str, Path]:
    """The files of the local corpora of the catalogue that a model may be trained on, by the names of its sources."""
    given, known = loaded.config["training"].get("sources"), catalogue.load()
    asked = [name for name in given if isinstance(name, str)] if isinstance(given, list) else []
    found: dict[str, Path] = {}
    for name in dict.fromkeys([*asked, *(source["name"] for source in loaded.sources)]):
        if name in known and known[name].address is None:
            paths = materialise(known[name], cache_folder())
            found |= {path.name if len(paths) > 1 else name: path for path in paths}
    return found


def _cached_ids(loaded: Checkpoint) -> list[IdStream]:
    """The cached ids of the training and the validation set; an empty list if they are gone."""
    from seqgen.tasks.id_cache import load_ids

    found = load_ids(loaded.config["data"], loaded.codec)
    return [] if found is None else [stream for stream in found if stream is not None]
