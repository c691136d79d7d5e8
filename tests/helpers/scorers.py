"""Scorers that run the torch network, on one record at a time: the reference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from seqgen.generation.engines.torch import TorchEngine
from seqgen.generation.scoring import MaskFunction, Scorer, TokenScores
from seqgen.model.language import LanguageModel
from seqgen.tokenizers import Codec, encode_stream


def network_scorer(network: LanguageModel, codec: Codec, masks: MaskFunction | None = None) -> Scorer:
    """A scorer at the beginning of a record."""
    return Scorer(TorchEngine.of(network), codec, masks)


def token_nats(network: LanguageModel, codec: Codec, chunks: Iterable[bytes]) -> Iterator[TokenScores]:
    """The scores of all tokens of a record."""
    scorer = network_scorer(network, codec)
    for ids in encode_stream(codec, chunks):
        yield from scorer.read(ids)
