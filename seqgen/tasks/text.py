"""Text: predict the next character, byte or subword."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from seqgen import tokenizers
from seqgen.config import NetworkConfig, TrainOptions
from seqgen.corpus import ids, split
from seqgen.corpus.catalogue import cache_folder
from seqgen.corpus.ids import IdStream
from seqgen.corpus.sources import fingerprint
from seqgen.corpus.split import Part
from seqgen.errors import DataError
from seqgen.model.network import Network
from seqgen.tasks.task import Preparation
from seqgen.tokenizers import END_OF_DOCUMENT, Codec
from seqgen.training import plan as planning
from seqgen.training.device import Compute
from seqgen.training.language import NextId, set_output_bias
from seqgen.training.plan import Corpus, Plan, Speed


@dataclass(frozen=True)
class TextData:
    """See `task.Data`."""

    codec: Codec
    train: IdStream
    held_out: IdStream | None
    counts: dict[str, int]
    key: str

    @property
    def tokens(self) -> int:
        return len(self.train)

    def facts(self) -> dict[str, Any]:
        return {**self.counts, "cache": self.key}

    def plan(self, options: TrainOptions, compute: Compute, speed: Speed, spent: float) -> Plan:
        corpus = Corpus(self.tokens, self.codec.vocab_size, self.codec.seen())
        return planning.make(options, corpus, compute, speed, spent)

    def prepare_network(self, network: Network) -> None:
        set_output_bias(network, self.train)

    def objective(self, network: Network, plan: Plan, compute: Compute, seed: int) -> NextId:
        return NextId(
            network, self.train, self.held_out, compute, self.codec.seen(), plan.batch_size, plan.seq_length, seed
        )

    def metrics(self, val_loss: float | None) -> dict[str, float]:
        characters, tokens = self.counts["held_out_characters"], self.counts["held_out_tokens"]
        if val_loss is None or not characters:
            return {}
        nats = val_loss * tokens / characters
        return {
            "val_loss": val_loss,
            "nats_per_character": nats,
            "bits_per_character": nats / math.log(2),
            "bits_per_byte": nats / math.log(2) * characters / self.counts["held_out_bytes"],
        }


class Text:
    """See `task.Task`."""

    name: ClassVar[str] = "text"

    def prepare(self, preparation: Preparation) -> TextData:
        if preparation.valid:
            train, held_out = split.whole(preparation.documents), split.whole(preparation.valid)
        else:
            train, held_out = split.hold_out(preparation.documents, preparation.options.val_fraction)
        if not train:
            raise DataError("nothing is left to train on: --val-fraction holds out everything")
        preparation.tell("learning the vocabulary")
        fitted = _fit(preparation, train)
        key = _key(fitted, preparation)
        train_ids, counts = self._encode(preparation, fitted, train, f"{key}.train", "train_")
        held_ids: IdStream | None = None
        held_counts = {"held_out_tokens": 0, "held_out_characters": 0, "held_out_bytes": 0}
        if held_out:
            held_ids, held_counts = self._encode(preparation, fitted, held_out, f"{key}.valid", "held_out_")
        return TextData(fitted, train_ids, held_ids, {**counts, **held_counts}, key)

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

    def reopen(self, facts: dict[str, Any], codec: Codec) -> TextData | None:
        key = facts.get("cache")
        if not isinstance(key, str) or not key.isalnum():
            return None
        train = ids.load(cache_folder() / "ids" / f"{key}.train.ids")
        held_out = ids.load(cache_folder() / "ids" / f"{key}.valid.ids")
        if train is None or (held_out is None and facts.get("held_out_tokens")):
            return None
        counts = {name: value for name, value in facts.items() if isinstance(value, int)}
        return TextData(codec, train, held_out, counts, key)

    def network(self, config: NetworkConfig) -> Network:
        return Network(config)


TASK = Text()


class _Characters:
    """Counts the characters of a stream as it passes: every byte but the continuation bytes of UTF-8."""

    def __init__(self) -> None:
        self.total = 0

    def count(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        import numpy as np

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


def _key(codec: Codec, preparation: Preparation) -> str:
    """What the id cache is found by: the same sources, cut the same way, spelt with the same codec."""
    parts = [fingerprint(preparation.documents), fingerprint(preparation.valid), preparation.options.val_fraction]
    digest = hashlib.sha256(json.dumps(parts).encode())
    for name, data in sorted(tokenizers.dump(codec).items()):
        digest.update(name.encode() + hashlib.sha256(data).digest())
    return digest.hexdigest()[:32]
