"""Logits and sampling options for tests of filters, and Hypothesis strategies for them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from seqgen.config import SampleOptions
from seqgen.generation.sampling.filters import (
    Filter,
    FilterContext,
)

Array = npt.NDArray[np.float64]

HALVES = np.log(np.array([[0.5, 0.25, 0.125, 0.125]]))  # surprisals of 1, 2, 3 and 3 bits: entropy 1.75


def kept_ids(some: Filter, logits: Array = HALVES) -> set[int]:
    return set(np.flatnonzero(some(logits, FilterContext([[]] * len(logits)))[0] > -np.inf).tolist())


logit_values = st.one_of(st.just(-np.inf), st.floats(-40, 40), st.integers(-2, 2).map(float))  # small integers for ties

sample_options = st.builds(
    SampleOptions,
    repetition_penalty=st.one_of(st.just(1.0), st.floats(0.1, 10)),
    repetition_window=st.integers(1, 8),
    frequency_penalty=st.one_of(st.just(0.0), st.floats(-2, 2)),
    presence_penalty=st.one_of(st.just(0.0), st.floats(-2, 2)),
    temperature=st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0.01, 100)),
    top_k=st.integers(0, 12),
    top_p=st.one_of(st.just(1.0), st.floats(0.001, 1)),
    min_p=st.one_of(st.just(0.0), st.floats(0, 1)),
    typical_p=st.one_of(st.just(1.0), st.floats(0.001, 1)),
    dry_multiplier=st.one_of(st.just(0.0), st.floats(0, 100)),
    dry_base=st.floats(1, 100),
    dry_allowed_length=st.integers(1, 3),
    dry_window=st.integers(1, 8),
    dynatemp_range=st.one_of(st.just(0.0), st.floats(0, 3)),
    dynatemp_exponent=st.floats(0.1, 3),
    xtc_probability=st.sampled_from([0.0, 0.5, 1.0]),
    xtc_threshold=st.floats(0.01, 1),
    mirostat_tau=st.one_of(st.just(0.0), st.floats(0.01, 5)),
)

# Odd values, since equal probabilities sum to exactly 1/2 or 1/3 in one order and nearly so in another.
fractions = st.floats(0.01, 1).map(lambda share: share * 0.998877 + 0.000613)
