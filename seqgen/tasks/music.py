"""Music: predict the next event of a piece. Each MIDI file is a piece, and is trained on or held out whole."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from seqgen.corpus import ids, split
from seqgen.corpus.ids import IdStream
from seqgen.corpus.series.scaling import Scaler
from seqgen.corpus.sources import Document
from seqgen.errors import DataError, ModelError
from seqgen.music.events import count_steps
from seqgen.tasks.base import Preparation
from seqgen.tasks.id_cache import PreparedIds, sources_label
from seqgen.tasks.language import LanguageData, LanguageTask, Messages
from seqgen.tokenizers import Codec
from seqgen.tokenizers.codec import Ids
from seqgen.tokenizers.midi import MidiCodec
from seqgen.tokenizers.midi_files import read_midi_files
from seqgen.training.augment import Transposer
from seqgen.training.batches import Transform

_SILENT = "it has no notes"  # first words of the error for a readable file without notes


class MusicTask(LanguageTask[list[Document]]):
    """See `base.Task`."""

    counted: ClassVar[tuple[str, ...]] = ("tokens", "steps", "pieces")

    def cache_name(self, preparation: Preparation) -> str:
        return f"{self.spec.name} {preparation.options.strict}"

    def fixed_codec(self, preparation: Preparation) -> Codec | None:
        return self.codec(preparation, [])

    def read(self, preparation: Preparation, messages: Messages) -> tuple[list[Document], list[Document]]:
        if preparation.valid:
            return preparation.documents, preparation.valid
        return split.hold_out_items(preparation.documents, preparation.options.val_fraction)

    def codec(self, preparation: Preparation, train: list[Document]) -> MidiCodec:
        codec: Codec | Scaler | None = preparation.codec
        if codec is None and preparation.start is not None:
            codec = preparation.start.codec
        return MidiCodec.from_options(preparation.options) if codec is None else _midi_codec(codec)

    def encode(
        self,
        preparation: Preparation,
        codec: Codec,
        part: list[Document],
        path: Path,
        is_train: bool,
        messages: Messages,
    ) -> tuple[IdStream, dict[str, int]]:
        midi = _midi_codec(codec)
        reader = _Reader(preparation, midi, part)
        pieces = (((piece,), True) for piece in reader)
        stream = ids.build(path, pieces, codec.vocab_size, codec.end, sources_label(preparation))
        reader.report(messages)
        count = int((np.asarray(stream.ids) == codec.end).sum())
        return stream, {
            "tokens": len(stream) - count,
            "steps": count_steps(stream.ids, midi.vocabulary),
            "pieces": count,
        }

    def loss_metrics(self, loss: float, counts: Mapping[str, int]) -> dict[str, float]:
        """Nats per event and per step of the grid. `evaluate` gives slightly less: there the grammar masks events."""
        return {
            "nats_per_event": loss,
            "nats_per_step": loss * counts["held_out_tokens"] / max(1, counts["held_out_steps"]),
        }

    def data(self, found: PreparedIds, preparation: Preparation) -> LanguageData:
        options = preparation.options
        counts = {**found.counts, "transpose": options.transpose, "stretch": options.stretch}
        return self.data_of(found.codec, found.train, found.held_out, counts, found.key)

    def data_of(
        self, codec: Codec, train: IdStream, held_out: IdStream | None, counts: Mapping[str, int], key: str
    ) -> LanguageData:
        vocabulary = _midi_codec(codec).vocabulary
        semitones, percent = counts.get("transpose", 0), counts.get("stretch", 0)

        def transform(seed: int) -> Transform:
            return Transposer(train, vocabulary, semitones, percent, seed)

        # A transposed piece isn't a new one: eleven keys are worth about three times the music.
        variety = (2 * semitones + 1) ** 0.5
        augmentation = transform if semitones or percent else None
        return LanguageData(codec, train, held_out, counts, key, self.loss_metrics, augmentation, variety)


def _midi_codec(codec: Codec | Scaler) -> MidiCodec:
    if not isinstance(codec, MidiCodec):
        raise ModelError(f"cannot train on music: the model has the tokenizer {codec.name}")
    return codec


class _Reader:
    """Reads MIDI files, and counts those that can't be read or have no notes."""

    def __init__(self, preparation: Preparation, codec: MidiCodec, documents: list[Document]) -> None:
        self._preparation, self._codec, self._documents = preparation, codec, documents
        self._read = self._silent = 0
        self._damaged: list[str] = []
        self._reported_at = time.monotonic()

    def __iter__(self) -> Iterator[Ids]:
        options = self._preparation.options
        files = [(document.name, document.path) for document in self._documents]
        for result in read_midi_files(self._codec, files, self._progress, options.threads):
            if not result.error:
                self._read += 1
                yield result.ids
            elif options.strict:
                raise DataError(f"{result.name!r}: {result.error}; without --strict it would be skipped")
            elif result.error.startswith(_SILENT):
                self._silent += 1
            else:
                self._damaged.append(f"{result.name}: {result.error}")
        for document in self._documents:
            document.verify_unchanged()
        if not self._read and len(files) == 1:
            raise DataError(f"{files[0][0]!r}: {result.error}")
        if not self._read:
            raise DataError(f"none of {len(files):,} MIDI files can be trained on ({result.name}: {result.error})")

    def report(self, messages: Messages) -> None:
        """Report in one line how many files were read, and why others weren't."""
        count = len(self._documents)
        parts = [f"{self._read:,} read"]
        if self._silent:
            parts.append(f"{self._silent:,} without notes")
        if self._damaged:
            parts.append(f"{len(self._damaged):,} damaged ({self._damaged[0]})")
        messages.add(f"{count:,} file{'s' * (count != 1)}: {', '.join(parts)}", self._read < count)

    def _progress(self, done: int, total: int) -> None:
        if time.monotonic() - self._reported_at > 1:
            self._reported_at = time.monotonic()
            self._preparation.report(f"reading music: {done:,} of {total:,} files")
