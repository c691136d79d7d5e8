"""How improbable the lines of the held-out part are, for `score --above`: measured before that part is learnt.

A log goes on growing and is rotated, so that the held-out lines can't be read again later: config.json keeps quantiles
of their nats.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.config import NetworkConfig
from seqgen.errors import ModelError, UserError
from seqgen.generation.engines.base import Weights
from seqgen.generation.engines.choose import make_engine
from seqgen.generation.scoring import ScoringJob, TokenScores, score_records
from seqgen.model.weight_shapes import parameter_count
from seqgen.tokenizers import Codec, Ids, decode

HELD_OUT_LINES = "held_out_lines"
"""The key of config.json."""

_MIN_IDS, _MAX_IDS = 1 << 14, 1 << 17  # that are scored
_MAX_PRODUCTS = 1 << 36  # weights times ids: a second or two
_BLOCK = 32  # lines that are read one after another; blocks are scored side by side
_PERCENTILES = (*range(0, 95, 5), *range(95, 99), *(99 + tenth / 10 for tenth in range(10)), 99.95, 99.99, 100)


class _Block(ScoringJob):
    """Some consecutive lines, whose nats are summed by line."""

    def __init__(self, lines: list[Ids]) -> None:
        self._lines = lines
        self._nats: list[TokenScores] = []

    def ids(self) -> Iterator[Ids]:
        """See `ScoringJob`."""
        yield np.concatenate(self._lines)

    def take(self, scores: TokenScores) -> None:
        """See `ScoringJob`."""
        self._nats.append(scores)

    def nats(self) -> list[float]:
        """The nats of each line; without the first, which begins without a context."""
        joined = np.concatenate([scores.nats for scores in self._nats])
        ends = np.cumsum([len(line) for line in self._lines])
        return [float(part.sum()) for part in np.split(joined, ends[:-1])][1:]


def measure_lines(
    network: NetworkConfig, weights: Weights, codec: Codec, ids: npt.NDArray[np.integer]
) -> dict[str, Any] | None:
    """Quantiles of the nats of held-out lines, each given lines before it; None if there are too few lines.

    Args:
        ids: of the held-out part; of a long one the beginning is taken.
    """
    count = min(max(_MAX_PRODUCTS // parameter_count(network), _MIN_IDS), _MAX_IDS)
    text = decode(codec, [token for token in ids[:count].tolist() if token != codec.end])
    lines = [codec.encode(line + b"\n") for line in text.split(b"\n")[1:-1]]  # the first and the last may be cut
    blocks = [lines[start : start + _BLOCK] for start in range(0, len(lines), _BLOCK)]
    jobs = (_Block(block) for block in blocks if len(block) > 1)
    try:
        nats = [each for job in score_records(make_engine(network, weights), codec, jobs) for each in job.nats()]
    except ModelError:  # of a run without any finite validation
        return None
    if len(nats) < 2:
        return None
    return {
        "lines": len(nats),
        "percent": list(_PERCENTILES),
        "nats": [round(float(value), 4) for value in np.percentile(nats, _PERCENTILES)],
    }


def nats_above(config: Mapping[str, Any], percent: float) -> float:
    """The nats that `percent` of the held-out lines don't exceed, interpolated between the quantiles in config.json.

    Args:
        config: config.json, which is untrusted.

    Raises:
        ModelError: the model has no such quantiles.
        UserError: there were too few lines for such a percentage.
    """
    kept = config.get(HELD_OUT_LINES)
    if kept is None:
        raise ModelError(
            "--above needs the statistics of held-out lines, which this model lacks: it held out no lines, or an "
            "earlier version trained it; train it again"
        )
    try:
        lines, shares, nats = int(kept["lines"]), list(map(float, kept["percent"])), list(map(float, kept["nats"]))
        sound = len(shares) == len(nats) > 1 and all(map(math.isfinite, [*shares, *nats])) and lines > 0
        sound = sound and shares == sorted(shares) and nats == sorted(nats)
    except (KeyError, TypeError, ValueError, OverflowError):
        sound = False
    if not sound:
        raise ModelError(f"config.json is damaged: {HELD_OUT_LINES} is not a table of quantiles")
    needed = 1 if percent == 100 else math.ceil(round(100 / (100 - percent), 6))
    if needed > lines:
        raise UserError(
            f"--above {percent:g}% needs {needed:,} held-out lines, and this model had {lines:,}; "
            "give a lower percentage"
        )
    return float(np.interp(percent, shares, nats))
