"""Music: predict the next event of a piece. Each MIDI file is a piece, and is trained on or held out whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from seqgen.config import TrainOptions, flag_name, make_options
from seqgen.corpus import ids
from seqgen.corpus.ids import IdStream
from seqgen.corpus.series.scaling import Scaler
from seqgen.errors import ModelError, UserError
from seqgen.music.events import VocabularyOptions, count_steps
from seqgen.tasks.base import Preparation
from seqgen.tasks.id_cache import PreparedIds, sources_label
from seqgen.tasks.language import ENCODING, READING, LanguageData, LanguageTask, Messages
from seqgen.tasks.midi_corpus import Pieces, read_corpus, read_training_set, summary
from seqgen.tokenizers import Codec
from seqgen.tokenizers.midi import MidiCodec
from seqgen.training.augment import Augmenter, opening_tempos
from seqgen.training.batches import Transform


class MusicTask(LanguageTask[Pieces]):
    """See `base.Task`."""

    counted: ClassVar[tuple[str, ...]] = ("tokens", "predicted", "steps", "pieces")

    def cache_name(self, preparation: Preparation) -> str:
        options = preparation.options
        name = f"{self.spec.name} with form{'' if options.transpose else ' and key'} {options.strict}"
        if options.grid is not None:
            return name
        codec = ",".join(map(str, (options.velocity_bins, options.tracks, options.pitch_range, options.note_order)))
        return f"{name} {codec}"

    def fixed_codec(self, preparation: Preparation) -> Codec | None:
        given = self._given_codec(preparation)
        if preparation.options.grid is None:
            return None  # the notes choose it, unless a model did before
        return given or MidiCodec.from_options(preparation.options)

    def _given_codec(self, preparation: Preparation) -> MidiCodec | None:
        if preparation.codec is not None:
            return _midi_codec(preparation.codec)
        if preparation.start is None:
            return None
        codec = _midi_codec(preparation.start.codec)
        _check_events(preparation, codec.options)
        return codec

    def read(self, preparation: Preparation, messages: Messages) -> tuple[Pieces, Pieces]:
        options, given = preparation.options, self._given_codec(preparation)
        limit = preparation.limit.part(ENCODING if not preparation.valid else READING)
        train = read_training_set(options, preparation.documents, given, messages.add, preparation.report, limit)
        _report_unread(train, messages)
        if not preparation.valid:
            return train.hold_out(options.val_fraction)
        codec = train.corpus.codec
        limit = preparation.limit.part(ENCODING)
        held_out = read_corpus(codec, preparation.valid, options.strict, options.threads, preparation.report, limit)
        _report_unread(held_out, messages)
        messages.add(*summary(held_out.corpus))
        return train, held_out

    def codec(self, preparation: Preparation, train: Pieces) -> MidiCodec:
        return train.corpus.codec

    def encode(
        self, preparation: Preparation, codec: Codec, part: Pieces, path: Path, is_train: bool, messages: Messages
    ) -> tuple[IdStream, dict[str, int]]:
        midi = _midi_codec(codec)
        pieces = (((part.corpus.ids(number),), True) for number in part.numbers)
        stream = ids.build(path, pieces, codec.vocab_size, codec.end, sources_label(preparation))
        count = int((np.asarray(stream.ids) == codec.end).sum())
        return stream, {
            "tokens": len(stream) - count,
            "predicted": len(stream) - int(midi.unpredicted(stream.ids).sum()),
            "steps": count_steps(stream.ids, midi.vocabulary),
            "pieces": count,
        }

    def loss_metrics(self, loss: float, counts: Mapping[str, int]) -> dict[str, float]:
        """Nats per predicted event and step. `evaluate` gives slightly less, because there the grammar masks events."""
        predicted = counts.get("held_out_predicted", counts["held_out_tokens"])  # an older model has no such count
        return {"nats_per_event": loss, "nats_per_step": loss * predicted / max(1, counts["held_out_steps"])}

    def data(self, found: PreparedIds, preparation: Preparation) -> LanguageData:
        options = preparation.options
        counts = {**found.counts, "transpose": options.transpose, "stretch": options.stretch}
        if options.stretch:
            openings = opening_tempos(found.train, _midi_codec(found.codec).vocabulary)
            unmoved = int((openings < 0).sum())
            if unmoved:
                preparation.warn(
                    f"--stretch leaves {unmoved:,} of {len(openings):,} pieces as they are: they begin at 120 quarter "
                    "notes per minute, as files do that name no tempo"
                )
        return self.data_of(found.codec, found.train, found.held_out, counts, found.key)

    def data_of(
        self, codec: Codec, train: IdStream, held_out: IdStream | None, counts: Mapping[str, int], key: str
    ) -> LanguageData:
        midi = _midi_codec(codec)
        vocabulary = midi.vocabulary
        if vocabulary.options.form:
            train = replace(train, given=midi.unpredicted(train.ids))
            held_out = None if held_out is None else replace(held_out, given=midi.unpredicted(held_out.ids))
        semitones, percent = counts.get("transpose", 0), counts.get("stretch", 0)
        percent = 0 if percent in (1, 2) else percent  # of a model of before, when they were taken and changed nothing
        try:
            make_options(TrainOptions, {"transpose": semitones, "stretch": percent})
        except UserError as error:  # of a resumed run, from config.json
            raise ModelError(f"config.json is damaged: {error}") from error

        def transform(stream: IdStream, seed: int) -> Transform:
            return Augmenter(stream, vocabulary, semitones, percent, seed)

        # A transposed piece isn't a new one: eleven keys are worth about three times the music, where they are read.
        variety = 1.0 if vocabulary.options.key else (2 * semitones + 1) ** 0.5
        augmentation = transform if semitones or percent or vocabulary.options.form else None
        return LanguageData(codec, train, held_out, counts, key, self.loss_metrics, augmentation, variety)


def _check_events(preparation: Preparation, own: VocabularyOptions) -> None:
    """Raise `UserError` for options that would have given other events than those of the model to start from.

    Defaults that weren't given stand for what the model has.
    """
    options = preparation.options
    asked = MidiCodec.from_options(options).options
    values = {  # option → whether the model's events differ from what it asks for, and its value for them
        "grid": (asked.grid != own.grid, own.grid),
        "velocity_bins": (asked.velocity_bins != own.velocity_bins, own.velocity_bins),
        "tracks": (asked.tracks != own.tracks, own.tracks),
        "pitch_range": ((asked.low, asked.high) != (own.low, own.high), f"{own.low}-{own.high}"),
        "note_order": (asked.rising != own.rising, "rising" if own.rising else "falling"),
        "transpose": (asked.key and not own.key, "no keys"),
    }
    for name, (differs, value) in values.items():
        if differs and preparation.asks_for(name):
            raise UserError(
                f"{flag_name(name)} {getattr(options, name)} contradicts --init-from, whose model has {value}"
            )


def _report_unread(pieces: Pieces, messages: Messages) -> None:
    corpus = pieces.corpus
    if corpus.unread:
        messages.add_cut(f"the first {corpus.files:,} of {corpus.files + corpus.unread:,} files")


def _midi_codec(codec: Codec | Scaler) -> MidiCodec:
    if not isinstance(codec, MidiCodec):
        raise ModelError(f"cannot train on music: the model has the tokenizer {codec.name}")
    return codec
