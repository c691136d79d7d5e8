"""Music: predict the next event of a piece. Every MIDI file is a piece, and is learnt from or held out whole."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from seqgen.checkpoint import Checkpoint
from seqgen.config import NetworkConfig
from seqgen.corpus import ids, split
from seqgen.corpus.ids import IdStream
from seqgen.corpus.sources import Document
from seqgen.errors import DataError, ModelError
from seqgen.model.language import LanguageModel
from seqgen.music.events import count_steps
from seqgen.music.midi import NO_NOTES, QuantisationStats
from seqgen.tasks.base import HeadlineMetric, Preparation
from seqgen.tasks.language import LanguageData, cache_key, copy_weights, from_cache
from seqgen.tasks.prepared import ids_path, locked, sources_label
from seqgen.tokenizers import Codec
from seqgen.tokenizers.codec import Ids
from seqgen.tokenizers.midi import MidiCodec
from seqgen.tokenizers.midi_files import read_midi_files
from seqgen.training.augment import Transposer
from seqgen.training.batches import Transform


class MusicTask:
    """See `task.Task`."""

    name: ClassVar[str] = "music"
    tokenizers: ClassVar[tuple[str, ...]] = ("midi",)
    init_from_tasks: ClassVar[tuple[str, ...]] = ("music",)
    headline: ClassVar[HeadlineMetric] = HeadlineMetric("nats_per_step", "nats/step")
    needs_float32: ClassVar[bool] = False

    def prepare(self, preparation: Preparation) -> LanguageData:
        options = preparation.options
        if preparation.valid:
            train, held_out = preparation.documents, preparation.valid
        else:
            train, held_out = split.hold_out_items(preparation.documents, options.val_fraction)
        if not train:
            raise DataError("nothing is left to train on: --val-fraction holds out everything")
        codec = preparation.codec or (preparation.start.codec if preparation.start else MidiCodec.from_options(options))
        if not isinstance(codec, MidiCodec):
            raise ModelError(f"a model that reads {codec.name} can't go on with music")
        key = cache_key(codec, preparation)
        held_ids, held_counts = None, {"held_out_tokens": 0, "held_out_steps": 0, "held_out_pieces": 0}
        with locked(preparation, key):
            train_ids, train_counts = _encode(preparation, codec, train, ids_path(key, "train"), "train_")
            if held_out:
                held_ids, held_counts = _encode(preparation, codec, held_out, ids_path(key, "valid"), "held_out_")
        counts = {**train_counts, **held_counts, "transpose": options.transpose, "stretch": options.stretch}
        return _data(codec, train_ids, held_ids, counts, key)

    def load_cached(self, metadata: dict[str, Any], codec: Codec) -> LanguageData | None:
        found = from_cache(metadata)
        if found is None or not isinstance(codec, MidiCodec):
            return None
        key, train, held_out, counts = found
        return _data(codec, train, held_out, counts, key)

    def transfer(self, network: LanguageModel, start: Checkpoint) -> None:
        copy_weights(network, start)

    def network(self, config: NetworkConfig) -> LanguageModel:
        return LanguageModel(config)


TASK = MusicTask()


def music_metrics(loss: float, counts: Mapping[str, int]) -> dict[str, float]:
    """Nats an event as nats a step of the grid, without help from the grammar: `evaluate` is a little lower."""
    return {
        "nats_per_event": loss,
        "nats_per_step": loss * counts["held_out_tokens"] / max(1, counts["held_out_steps"]),
    }


def _data(
    codec: MidiCodec, train: IdStream, held_out: IdStream | None, counts: dict[str, int], key: str
) -> LanguageData:
    semitones, percent = counts.get("transpose", 0), counts.get("stretch", 0)

    def transform(seed: int) -> Transform:
        return Transposer(train, codec.vocabulary, semitones, percent, seed)

    # A piece in another key is not a new piece: eleven keys are worth some three times the music.
    variety = (2 * semitones + 1) ** 0.5
    return LanguageData(
        codec, train, held_out, counts, key, music_metrics, transform if semitones or percent else None, variety
    )  # fmt: skip


def _encode(
    preparation: Preparation, codec: MidiCodec, documents: list[Document], path: Path, prefix: str
) -> tuple[IdStream, dict[str, int]]:
    """The ids of the pieces, from the cache where they are there, and their counts."""
    stream = ids.load(path)
    # A cache may have been made of what could be read: --strict wants to know whether that was all.
    if stream is None or preparation.options.strict:
        reading = _Reading(preparation, codec, documents)
        parts = (((piece,), True) for piece in reading)
        stream = ids.build(path, parts, codec.vocab_size, codec.end, sources_label(preparation))
        reading.report()
    pieces = int((np.asarray(stream.ids) == codec.end).sum())
    return stream, {
        f"{prefix}tokens": len(stream) - pieces,
        f"{prefix}steps": count_steps(stream.ids, codec.vocabulary),
        f"{prefix}pieces": pieces,
    }


class _Reading:
    """Reads documents, and counts what could not be read and what a grid can't hold."""

    def __init__(self, preparation: Preparation, codec: MidiCodec, documents: list[Document]) -> None:
        self._preparation, self._codec, self._documents = preparation, codec, documents
        self._read = self._silent = 0
        self._damaged: list[str] = []
        self._losses = QuantisationStats()

    def __iter__(self) -> Iterator[Ids]:
        strict = self._preparation.options.strict
        files = [(document.name, document.path) for document in self._documents]
        last = [time.monotonic()]
        progress = functools.partial(_progress, self._preparation, last)
        for result in read_midi_files(self._codec, files, progress, self._preparation.options.threads):
            if not result.error:
                self._read += 1
                self._losses.add(result.losses)
                yield result.ids
            elif strict:
                raise DataError(f"{result.name!r}: {result.error}; without --strict it would be passed over")
            elif result.error.startswith(NO_NOTES):
                self._silent += 1
            else:
                self._damaged.append(f"{result.name}: {result.error}")
        for document in self._documents:
            document.verify_unchanged()
        if not self._read and len(files) == 1:
            raise DataError(f"{files[0][0]!r}: {result.error}")
        if not self._read:
            raise DataError(
                f"not one of {len(files):,} MIDI files gives anything to learn ({result.name}: {result.error})"
            )

    def report(self) -> None:
        """One line: how many files were read, and why others were not."""
        count = len(self._documents)
        parts = [f"{self._read:,} read"]
        if self._silent:
            parts.append(f"{self._silent:,} without notes")
        if self._damaged:
            parts.append(f"{len(self._damaged):,} damaged ({self._damaged[0]})")
        sentence = f"{count:,} file{'s' * (count != 1)}: {', '.join(parts)}"
        (self._preparation.warn if self._read < count else self._preparation.report)(sentence)


def _progress(preparation: Preparation, last: list[float], done: int, of: int) -> None:
    if time.monotonic() - last[0] > 1:
        last[0] = time.monotonic()
        preparation.report(f"reading music: {done:,} of {of:,} files")
