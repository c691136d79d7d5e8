"""Dialogue: predict the next token of a conversation, words and speakers alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from seqgen import tokenizers
from seqgen.checkpoint import Checkpoint
from seqgen.config import NetworkConfig, TrainOptions
from seqgen.corpus import ids, split
from seqgen.corpus.catalogue import cache_folder
from seqgen.corpus.conversations import Conversation, read
from seqgen.corpus.ids import IdStream
from seqgen.corpus.sources import Document
from seqgen.errors import DataError, ModelError
from seqgen.model.network import Network
from seqgen.tasks.language import LanguageData, cache_key, copy_weights, from_cache
from seqgen.tasks.task import Headline, Preparation
from seqgen.tasks.text import measures
from seqgen.tokenizers import END_OF_DOCUMENT, Codec
from seqgen.tokenizers.dialogue import DialogueCodec, speakers_of


class Dialogue:
    """See `task.Task`."""

    name: ClassVar[str] = "dialogue"
    tokenizers: ClassVar[tuple[str, ...]] = ("subword", "char", "byte")
    starts_from: ClassVar[tuple[str, ...]] = ("dialogue",)
    headline: ClassVar[Headline] = Headline("bits_per_character", "bits/char")
    exact: ClassVar[bool] = False

    def prepare(self, preparation: Preparation) -> LanguageData:
        conversations = _read(preparation.documents, preparation)
        if preparation.valid:
            train, held_out = conversations, _read(preparation.valid, preparation)
        else:
            train, held_out = split.hold_out_whole(conversations, preparation.options.val_fraction)
        if not train:
            raise DataError("nothing is left to train on: --val-fraction holds out everything")
        preparation.tell("learning the vocabulary")
        codec = _fit(preparation, train)
        key = cache_key(codec, preparation)
        train_ids, counts = _encode(preparation.tell, codec, train, f"{key}.train", "train_")
        held_ids: IdStream | None = None
        held_counts = {f"held_out_{what}": 0 for what in ("tokens", "conversations", "characters", "bytes", "words")}
        if held_out:
            held_ids, held_counts = _encode(preparation.tell, codec, held_out, f"{key}.valid", "held_out_")
        return LanguageData(codec, train_ids, held_ids, {**counts, **held_counts}, key, measures)

    def reopen(self, facts: dict[str, Any], codec: Codec) -> LanguageData | None:
        found = from_cache(facts)
        if found is None:
            return None
        key, train, held_out, counts = found
        return LanguageData(codec, train, held_out, counts, key, measures)

    def transfer(self, network: Network, start: Checkpoint) -> None:
        copy_weights(network, start)

    def network(self, config: NetworkConfig) -> Network:
        return Network(config)


TASK = Dialogue()
_CUT_EVERY = 5  # conversations: see `_cut`


def _read(documents: list[Document], preparation: Preparation) -> list[Conversation]:
    """The conversations, and a line about what was found."""
    # Among several files one may be a README; one alone, or any with --strict, has to be conversations.
    lenient = len(documents) > 1 and not preparation.options.strict
    conversations, reading = read(documents, warn=preparation.warn if lenient else None)
    if reading.damaged_lines and preparation.options.strict:
        raise DataError(f"{reading.sentence()}; without --strict they would be passed over")
    (preparation.warn if reading.damaged_lines else preparation.tell)(reading.sentence())
    return conversations


def words_of(turns: Iterable[Any]) -> Iterator[bytes]:
    """The words of each turn as bytes."""
    for turn in turns:
        yield turn.text.encode("utf-8", "surrogateescape")


def _fit(preparation: Preparation, conversations: list[Conversation]) -> DialogueCodec:
    if preparation.codec is not None:
        return dialogue_codec(preparation.codec)

    def chunks() -> Iterator[bytes]:
        for conversation in conversations:
            for words in words_of(conversation.turns):
                yield words
                yield END_OF_DOCUMENT

    if preparation.start is not None:
        return dialogue_codec(preparation.start.codec).extend(chunks())
    options = preparation.options
    kind = _kind(options)
    extra = {"vocab_size": options.vocab_size} if options.vocab_size is not None else {}
    speakers = speakers_of([[turn.speaker for turn in conversation.turns] for conversation in conversations])
    return DialogueCodec(tokenizers.fit(kind, chunks(), **extra), speakers)


def _kind(options: TrainOptions) -> str:
    return options.tokenizer or Dialogue.tokenizers[0]


def dialogue_codec(codec: Codec) -> DialogueCodec:
    """The codec, if it is dialogue's. Raises `ModelError` otherwise."""
    if not isinstance(codec, DialogueCodec):
        raise ModelError(f"a model that reads {codec.kind} can't go on with dialogue")
    return codec


def encode(codec: DialogueCodec, conversation: Conversation) -> tokenizers.Ids:
    """Ids of a conversation, without `end`."""
    return codec.conversation(
        (turn.speaker, words) for turn, words in zip(conversation.turns, words_of(conversation.turns), strict=True)
    )


def _cut(codec: DialogueCodec, conversations: Sequence[Conversation]) -> Iterator[tuple[tokenizers.Ids, bool]]:
    """The conversations, every fifth one cut in two before one of its turns (id arrays, and whether each is an end).

    So the model also learns what is said, by either speaker, where nothing went before: what a reply is worth without
    its history is what `--candidates` compares it with.
    """
    chance = np.random.Generator(np.random.Philox(key=0))
    for number, conversation in enumerate(conversations):
        turns = conversation.turns
        if number % _CUT_EVERY == 0 and len(turns) > 1:
            place = int(chance.integers(1, len(turns)))
            yield encode(codec, Conversation(turns[:place])), False
            turns = turns[place:]
        yield encode(codec, Conversation(turns)), True


def _encode(
    tell: Callable[[str], None], codec: DialogueCodec, conversations: Sequence[Conversation], name: str, prefix: str
) -> tuple[IdStream, dict[str, int]]:
    """The ids of the conversations, from the cache where they are there, and their counts."""
    path = cache_folder() / "ids" / f"{name}.ids"
    stream = ids.load(path)
    if stream is None:
        tell(f"encoding {len(conversations):,} conversations")
        parts = _cut(codec, conversations) if prefix == "train_" else ((encode(codec, c), True) for c in conversations)
        stream = ids.build(path, (((part,), whole) for part, whole in parts), codec.vocab_size, codec.end)
    texts = [turn.text for conversation in conversations for turn in conversation.turns]
    return stream, {
        f"{prefix}tokens": int((np.asarray(stream.ids) != codec.end).sum()),
        f"{prefix}conversations": len(conversations),
        f"{prefix}turns": len(texts),
        f"{prefix}characters": sum(map(len, texts)),
        f"{prefix}bytes": sum(len(text.encode("utf-8", "surrogateescape")) for text in texts),
        f"{prefix}words": sum(len(text.split()) for text in texts),
    }
