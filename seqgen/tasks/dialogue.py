"""Dialogue: predict the next token of a conversation, words and speakers alike."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from seqgen import tokenizers
from seqgen.checkpoint import Checkpoint
from seqgen.config import NetworkConfig, TrainOptions
from seqgen.corpus import ids, split
from seqgen.corpus.conversations.read import Conversation, Turn, iter_conversations
from seqgen.corpus.conversations.report import ConversationReport
from seqgen.corpus.conversations.store import ConversationStore, ConversationSubset
from seqgen.corpus.ids import IdStream
from seqgen.corpus.sources import Document
from seqgen.errors import DataError, ModelError
from seqgen.model.language import LanguageModel
from seqgen.tasks.base import HeadlineMetric, Preparation
from seqgen.tasks.language import LanguageData, copy_weights, from_cache
from seqgen.tasks.prepared import PreparedIds, ids_path, prepared, sources_label, suffixes
from seqgen.tasks.text import VOCABULARY_SAMPLE_BYTES, text_metrics
from seqgen.tokenizers import END_OF_DOCUMENT, Codec
from seqgen.tokenizers.dialogue import DialogueCodec, count_speakers
from seqgen.tokenizers.workers import batch_by_size, encode_batches


class DialogueTask:
    """See `task.Task`."""

    name: ClassVar[str] = "dialogue"
    tokenizers: ClassVar[tuple[str, ...]] = ("subword", "char", "byte")
    init_from_tasks: ClassVar[tuple[str, ...]] = ("dialogue",)
    headline: ClassVar[HeadlineMetric] = HeadlineMetric("bits_per_character", "bits/char")
    needs_float32: ClassVar[bool] = False

    def prepare(self, preparation: Preparation) -> LanguageData:
        def make(key: str) -> PreparedIds:
            told = _Told(preparation)
            conversations = _read(preparation.documents, preparation, told)
            everything = np.arange(len(conversations))
            if preparation.valid:
                valid = _read(preparation.valid, preparation, told)
                train, held_out = conversations.select(everything), valid.select(np.arange(len(valid)))
            else:
                numbers = split.hold_out_items(range(len(conversations)), preparation.options.val_fraction)
                train, held_out = (conversations.select(np.array(some, dtype=np.int64)) for some in numbers)
            if not len(train):
                raise DataError("nothing is left to train on: --val-fraction holds out everything")
            preparation.report("learning the vocabulary")
            codec = _fit(preparation, train)
            train_ids, counts = _encode(preparation, codec, train, ids_path(key, "train"), "train_")
            held_ids: IdStream | None = None
            held_counts = {f"held_out_{what}": 0 for what in (*_COUNTED, "conversations")}
            if len(held_out):
                held_ids, held_counts = _encode(preparation, codec, held_out, ids_path(key, "valid"), "held_out_")
            return PreparedIds(codec, train_ids, held_ids, {**counts, **held_counts}, said=told.said)

        read_as = f"{self.name} {preparation.options.strict} {suffixes([*preparation.documents, *preparation.valid])}"
        found = prepared(preparation, read_as, make)
        return LanguageData(found.codec, found.train, found.held_out, found.counts, found.key, text_metrics)

    def load_cached(self, metadata: dict[str, Any], codec: Codec) -> LanguageData | None:
        found = from_cache(metadata)
        if found is None:
            return None
        key, train, held_out, counts = found
        return LanguageData(codec, train, held_out, counts, key, text_metrics)

    def transfer(self, network: LanguageModel, start: Checkpoint) -> None:
        copy_weights(network, start)

    def network(self, config: NetworkConfig) -> LanguageModel:
        return LanguageModel(config)


TASK = DialogueTask()
_COUNTED = ("tokens", "turns", "characters", "bytes", "words")
_CUT_EVERY = 5  # conversations: see `_cut`


class _Told:
    """Passes on what is said of the sources, and keeps it for those who learn from them again."""

    def __init__(self, preparation: Preparation) -> None:
        self._preparation = preparation
        self.said: list[tuple[bool, str]] = []

    def __call__(self, sentence: str, is_warning: bool = False) -> None:
        self.said.append((is_warning, sentence))
        (self._preparation.warn if is_warning else self._preparation.report)(sentence)


def _read(documents: list[Document], preparation: Preparation, told: _Told) -> ConversationStore:
    """The conversations, and a line about what was found."""
    # Among several files one may be a README; one alone, or any with --strict, has to be conversations.
    lenient = len(documents) > 1 and not preparation.options.strict
    reading, store = ConversationReport(), ConversationStore()
    of = sum(document.size for document in documents)
    for conversation in iter_conversations(
        documents, reading, warn=(lambda what: told(what, True)) if lenient else None
    ):
        store.append(conversation)
        preparation.progress(min(store.size, of), of)  # near enough: markup is not counted
    if reading.damaged_lines and preparation.options.strict:
        raise DataError(f"{reading.summary()}; without --strict they would be passed over")
    told(reading.summary(), bool(reading.damaged_lines))
    return store


def turn_bytes(turns: Iterable[Any]) -> Iterator[bytes]:
    """The words of each turn as bytes."""
    for turn in turns:
        yield turn.text.encode("utf-8", "surrogateescape")


def _fit(preparation: Preparation, conversations: ConversationSubset) -> DialogueCodec:
    if preparation.codec is not None:
        return dialogue_codec(preparation.codec)
    options, start = preparation.options, preparation.start
    kind = _kind(options) if start is None else dialogue_codec(start.codec).text.kind
    # As with text: what changes little with more words is learnt from a part of many.
    read = (
        conversations.every_nth(max(1, conversations.size // VOCABULARY_SAMPLE_BYTES))
        if kind == "subword"
        else conversations
    )

    def chunks() -> Iterator[bytes]:
        for conversation in read:
            for words in turn_bytes(conversation.turns):
                yield words
                yield END_OF_DOCUMENT

    if start is not None:
        return dialogue_codec(start.codec).extend(chunks())
    extra = {"vocab_size": options.vocab_size} if options.vocab_size is not None else {}
    speakers = count_speakers([turn.speaker for turn in conversation.turns] for conversation in conversations)
    return DialogueCodec(tokenizers.fit(kind, chunks(), **extra), speakers)


def _kind(options: TrainOptions) -> str:
    return options.tokenizer or DialogueTask.tokenizers[0]


def dialogue_codec(codec: Codec) -> DialogueCodec:
    """The codec, if it is dialogue's. Raises `ModelError` otherwise."""
    if not isinstance(codec, DialogueCodec):
        raise ModelError(f"a model that reads {codec.kind} can't go on with dialogue")
    return codec


def encode(codec: DialogueCodec, conversation: Conversation) -> tokenizers.Ids:
    """Ids of a conversation, without `end`."""
    return codec.conversation(
        (turn.speaker, words) for turn, words in zip(conversation.turns, turn_bytes(conversation.turns), strict=True)
    )


def _cut(conversations: Iterable[Conversation]) -> Iterator[tuple[Sequence[Turn], bool]]:
    """The conversations, every fifth one cut in two before one of its turns (turns, and whether they are the end).

    So the model also learns what is said, by either speaker, where nothing went before: what a reply is worth without
    its history is what `--candidates` compares it with.
    """
    chance = np.random.Generator(np.random.Philox(key=0))
    for number, conversation in enumerate(conversations):
        turns = conversation.turns
        if number % _CUT_EVERY == 0 and len(turns) > 1:
            ids_path = int(chance.integers(1, len(turns)))
            yield turns[:ids_path], False
            turns = turns[ids_path:]
        yield turns, True


def _encode(
    preparation: Preparation, codec: DialogueCodec, conversations: ConversationSubset, path: Path, prefix: str
) -> tuple[IdStream, dict[str, int]]:
    """Writes the ids of the conversations, and counts."""
    preparation.report(f"encoding {len(conversations):,} conversations")
    whole: Iterator[tuple[Sequence[Turn], bool]] = ((conversation.turns, True) for conversation in conversations)
    counts = Counter({f"{prefix}{what}": 0 for what in _COUNTED})
    under_way: deque[tuple[list[int], bool]] = deque()  # who speaks in what is being encoded, and whether it is an end

    def words() -> Iterator[bytes]:
        for turns, is_end in _cut(conversations) if prefix == "train_" else whole:
            under_way.append(([turn.speaker for turn in turns], is_end))
            for turn, said in zip(turns, turn_bytes(turns), strict=True):
                counts[f"{prefix}turns"] += 1
                counts[f"{prefix}characters"] += len(turn.text)
                counts[f"{prefix}bytes"] += len(said)
                counts[f"{prefix}words"] += len(turn.text.split())
                yield said
            preparation.progress(min(counts[f"{prefix}bytes"], conversations.size), conversations.size)

    batches = encode_batches(codec.text, batch_by_size(words()), preparation.options.threads)
    encoded = (piece for batch in batches for piece in batch)

    def parts() -> Iterator[tuple[Sequence[tokenizers.Ids], bool]]:
        for first in encoded:
            speakers, is_end = under_way.popleft()
            pieces = [first, *itertools.islice(encoded, len(speakers) - 1)]
            spoken = [codec.spoken(speaker, piece) for speaker, piece in zip(speakers, pieces, strict=True)]
            counts[f"{prefix}tokens"] += sum(map(len, spoken))
            yield spoken, is_end

    stream = ids.build(path, parts(), codec.vocab_size, codec.end, sources_label(preparation))
    return stream, {**counts, f"{prefix}conversations": len(conversations)}
