"""A ranker of replies with random weights."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seqgen.generation.ranking import ORDER, RECENT_TURNS, ReplyRanker, word_buckets
from seqgen.model.ngrams import BUCKETS, bags

TEXTS = ["the cup is red", "the dog is old", "where is the cup", "a cup", "no"]


def make_ranker(units: int = 3, mixture: tuple[float, ...] = (1, -1, 0.5, -0.25, 2, 3, 0.1)) -> ReplyRanker:
    rng = np.random.default_rng(4)

    def random(*shape: int) -> npt.NDArray[np.float32]:
        return rng.normal(size=shape).astype(np.float32)

    keys = np.unique(bags([text.encode() for text in TEXTS], ORDER, BUCKETS).buckets).astype(np.int32)
    return ReplyRanker(
        word_buckets(TEXTS), keys, 1 + np.abs(random(len(keys))), random(len(keys), 4), random(RECENT_TURNS),
        random(len(keys), 4), random(4, units), random(4), np.array(mixture, dtype=np.float32),
    )  # fmt: skip
