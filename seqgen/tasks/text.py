"""Text: predict the next character, byte or subword."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from seqgen import tokenizers
from seqgen.checkpoint import Checkpoint
from seqgen.config import TOKENIZER_NAMES, NetworkConfig
from seqgen.corpus import ids, split
from seqgen.corpus.catalogue import cache_folder
from seqgen.corpus.ids import IdStream
from seqgen.corpus.split import Part
from seqgen.errors import DataError
from seqgen.model.network import Network
from seqgen.tasks.language import LanguageData, cache_key, copy_weights, from_cache
from seqgen.tasks.task import Headline, Preparation
from seqgen.tokenizers import END_OF_DOCUMENT, Codec


class Text:
    """See `task.Task`."""

    name: ClassVar[str] = "text"
    tokenizers: ClassVar[tuple[str, ...]] = TOKENIZER_NAMES
    starts_from: ClassVar[tuple[str, ...]] = ("text",)
    headline: ClassVar[Headline] = Headline("bits_per_character", "bits/char")
    exact: ClassVar[bool] = False

    def prepare(self, preparation: Preparation) -> LanguageData:
        if preparation.valid:
            train, held_out = split.whole(preparation.documents), split.whole(preparation.valid)
        else:
            train, held_out = split.hold_out(preparation.documents, preparation.options.val_fraction)
        if not train:
            raise DataError("nothing is left to train on: --val-fraction holds out everything")
        preparation.tell("learning the vocabulary")
        fitted = _fit(preparation, train)
        key = cache_key(fitted, preparation)
        train_ids, counts = self._encode(preparation, fitted, train, f"{key}.train", "train_")
        held_ids: IdStream | None = None
        held_counts = {"held_out_tokens": 0, "held_out_characters": 0, "held_out_bytes": 0}
        if held_out:
            held_ids, held_counts = self._encode(preparation, fitted, held_out, f"{key}.valid", "held_out_")
        return LanguageData(fitted, train_ids, held_ids, {**counts, **held_counts}, key, measures)

    def _encode(
        self, preparation: Preparation, codec: Codec, parts: list[Part], name: str, prefix: str
    ) -> tuple[IdStream, dict[str, int]]:
        """The ids of `parts`, from the cache where they are there, and their counts."""
        size = sum(part.size for part in parts)
        characters = _Characters()
        path = cache_folder() / "ids" / f"{name}.ids"
        stream = ids.load(path)
        if stream is None:
            preparation.tell(f"encoding {size:,} bytes")
            stream = ids.build(
                path,
                ((tokenizers.encode_stream(codec, characters.count(part.chunks())), part.whole_end) for part in parts),
                codec.vocab_size,
                codec.end,
            )
        else:
            for part in parts:
                for _ in characters.count(part.chunks()):
                    pass
        return stream, {
            f"{prefix}tokens": len(stream) - len(parts),
            f"{prefix}characters": characters.total,
            f"{prefix}bytes": size,
        }

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


TASK = Text()


def measures(loss: float, counts: Mapping[str, int]) -> dict[str, float]:
    """Nats an id as nats and bits a character, and bits a byte."""
    characters = counts["held_out_characters"]
    if not characters:
        return {}
    nats = loss * counts["held_out_tokens"] / characters
    found = {
        "nats_per_character": nats,
        "bits_per_character": nats / math.log(2),
        "bits_per_byte": nats / math.log(2) * characters / counts["held_out_bytes"],
    }
    if counts.get("held_out_words"):
        found["perplexity_per_word"] = math.exp(min(700.0, nats * characters / counts["held_out_words"]))
    return found


class _Characters:
    """Counts the characters of a stream as it passes: every byte but the continuation bytes of UTF-8."""

    def __init__(self) -> None:
        self.total = 0

    def count(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            data = np.frombuffer(chunk, dtype=np.uint8)
            self.total += len(data) - int(((data & 0xC0) == 0x80).sum())
            yield chunk


def _fit(preparation: Preparation, parts: list[Part]) -> Codec:
    if preparation.codec is not None:
        return preparation.codec
    chunks = itertools.chain.from_iterable(itertools.chain(part.chunks(), [END_OF_DOCUMENT]) for part in parts)
    if preparation.start is not None:
        return preparation.start.codec.extend(chunks)
    options = preparation.options
    extra = {"vocab_size": options.vocab_size} if options.tokenizer_kind == "subword" else {}
    return tokenizers.fit(options.tokenizer_kind, chunks, **extra)
