"""Which sentences of a text made a classifier predict its label: each is left out in turn."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from seqgen.generation.classification.base import LabelPredictor, Probabilities
from seqgen.time_limit import NO_LIMIT, TimeLimit

# The end of a sentence: its mark, with closing quotes, and the space behind it, which Chinese and Japanese do without.
# Only where a run of marks or spaces begins: a search from each of its characters would take quadratic time.
_END = re.compile(r"""(?<![.!?…])[.!?…]+["'”’)\]]*\s+|[。！？]+[」』”’）]*\s*|(?<!\s)\s*\n\s*|<br\s*/?>\s*""")
_MOST_PARTS = 64  # of a text: neighbouring sentences of a longer one are left out together
_BATCH_BYTES = 1 << 20
_LEAST = 1e-12  # probability


class Contribution(NamedTuple):
    """A sentence, with the space behind it, and what the log-odds of the text's label lose without it, in nats."""

    text: bytes
    log_odds: float


def split_sentences(text: bytes) -> list[bytes]:
    """Cut a text into sentences, which together are the text. A text without any has one."""
    shown = text.decode("utf-8", "surrogateescape")
    ends = [match.end() for match in _END.finditer(shown) if match.end() < len(shown)]
    parts = [shown[start:stop] for start, stop in itertools.pairwise([0, *ends, len(shown)])]
    kept: list[str] = []
    for part in parts:
        if kept and not kept[-1].strip():  # leading space belongs to the first sentence
            kept[-1] += part
        else:
            kept.append(part)
    if len(kept) > _MOST_PARTS:
        borders = np.linspace(0, len(kept), _MOST_PARTS + 1).round().astype(int)
        kept = ["".join(kept[first:last]) for first, last in itertools.pairwise(borders)]
    return [part.encode("utf-8", "surrogateescape") for part in kept]


def contributions(
    classifier: LabelPredictor,
    texts: Sequence[bytes],
    probabilities: Probabilities,
    multi: bool,
    limit: TimeLimit = NO_LIMIT,
) -> Iterator[tuple[Contribution, ...]]:
    """What each sentence of each text contributes to the most probable label of the text.

    A contribution is the log-odds of the label for the whole text, less those for the text without the sentence. The
    sentences of a text don't add up to its log-odds: two that say the same can each be left out at little cost.

    Args:
        probabilities: of the texts, shape (texts, labels).
        multi: whether a text may have several labels.

    Raises `StoppedError` if `limit` says so.
    """
    for text, row in zip(texts, probabilities, strict=True):
        sentences = split_sentences(text)
        label = int(row.argmax())
        whole = _log_odds(row[None], label, multi)[0]
        without = [b"".join(sentences[:i] + sentences[i + 1 :]) for i in range(len(sentences))]
        size = max(1, _BATCH_BYTES // max(len(text), 1))
        rows = []
        for start in range(0, len(without), size):
            limit.check()
            rows.append(classifier(without[start : start + size]))
        lost = whole - _log_odds(np.concatenate(rows), label, multi)
        yield tuple(map(Contribution, sentences, lost.tolist()))


def _log_odds(probabilities: Probabilities, label: int, multi: bool) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """log p − log (1 − p) of a label. With one label a text, 1 − p is the sum of the others, which keeps its digits."""
    exact = probabilities.astype(np.float64)
    own = exact[:, label]
    others = 1 - own if multi else np.delete(exact, label, axis=1).sum(axis=1)
    odds: np.ndarray[tuple[int], np.dtype[np.float64]] = np.log(own.clip(_LEAST)) - np.log(others.clip(_LEAST))
    return odds
