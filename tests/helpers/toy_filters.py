"""A toy filter without compiled code: a function and a row of the table. Imports nothing that reads the table."""

from __future__ import annotations

from typing import Any

import numpy as np

from seqgen.specs.filters import FilterSpec, Option


def make_drop_multiples(options: Any, resolved: object) -> Any:
    """Removes the ids that are multiples of `toy_multiple`, unless these are all that is left."""
    if not options.toy_multiple:
        return None

    def apply(logits: Any, context: object) -> Any:
        kept = np.where(np.arange(logits.shape[1]) % options.toy_multiple == 0, -np.inf, logits)
        return np.where(np.isneginf(kept).all(axis=1, keepdims=True), logits, kept)

    return apply


TOY = FilterSpec(
    "toy_multiple", "toy", (Option("toy_multiple", int, 0, "Divisor of ids to drop; 0 for none.", minimum=0),),
    "tests.helpers.toy_filters:make_drop_multiples",
)  # fmt: skip
