"""Speed of scoring many records side by side, compared with one after another.

    python tests/benchmarks/scoring.py [--shapes lstm:512x1,lstm:1024x2] [--records 64] [--vocabulary 96,8000]

The models have random weights, and the records 20 to 500 random tokens. "alone" scores them with `Scorer`, one after
another; "together" with `score_records`. Figures are tokens per second of processor time, which other work on the
machine disturbs less than the clock. `SEQGEN_ISA` chooses the instruction set.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import cast

import numpy as np
import torch

from seqgen.config import NetworkConfig
from seqgen.generation.engines.base import Engine
from seqgen.generation.engines.choose import make_engine
from seqgen.generation.scoring import Scorer, ScoringJob, TokenScores, score_records
from seqgen.model.language import LanguageModel
from seqgen.native import instruction_set
from seqgen.tokenizers import Codec, Ids


class Job(ScoringJob):
    """A record of these ids."""

    def __init__(self, ids: Ids) -> None:
        self._ids, self.nats = ids, 0.0

    def ids(self) -> Iterator[Ids]:
        yield self._ids

    def take(self, scores: TokenScores) -> None:
        self.nats += float(scores.nats.sum())


def cpu_seconds(run: Callable[[], object]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def make(shape: str, vocabulary: int, count: int) -> tuple[Engine, Codec, list[Ids]]:
    """An engine of random weights, and records."""
    cell, _, size = shape.partition(":")
    units, layers = map(int, size.split("x"))
    config = NetworkConfig(vocabulary, cell=cell, rnn_size=units, embedding_size=units, num_layers=layers)
    weights = {name: weight.numpy() for name, weight in LanguageModel(config, torch.Generator()).state_dict().items()}
    codec = cast(Codec, SimpleNamespace(vocab_size=vocabulary, end=0))
    numbers = np.random.default_rng(0)
    records = [numbers.integers(0, vocabulary, numbers.integers(20, 500)).astype(np.int32) for _ in range(count)]
    return make_engine(config, weights), codec, records


def score(engine: Engine, codec: Codec, records: list[Ids]) -> None:
    """Score the records side by side."""
    for _ in score_records(engine, codec, map(Job, records)):
        pass


def measure(shape: str, vocabulary: int, count: int) -> None:
    engine, codec, records = make(shape, vocabulary, count)

    def alone() -> None:
        for ids in records:
            for _ in Scorer(engine, codec).read(ids):
                pass

    def together() -> None:
        score(engine, codec, records)

    tokens = sum(map(len, records))
    found = {run.__name__: tokens / cpu_seconds(run) for run in (alone, together)}
    print(
        f"{shape:12} {vocabulary:6,} {found['alone']:10,.0f} {found['together']:10,.0f}"
        f" {found['together'] / found['alone']:6.1f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="lstm:512x1,lstm:1024x2,gru:512x1,rnn:512x1")
    parser.add_argument("--vocabulary", default="96,8000")
    parser.add_argument("--records", type=int, default=64)
    options = parser.parse_args()
    print(f"instruction set {instruction_set()}")
    print(f"{'network':12} {'tokens':>6} {'alone':>10} {'together':>10}  ratio")
    for shape in options.shapes.split(","):
        for vocabulary in options.vocabulary.split(","):
            measure(shape, int(vocabulary), options.records)


if __name__ == "__main__":
    main()
