"""The naive rivals of a text model: general-purpose compressors. Their bits are an honest upper bound of surprise.

A compressor adapts as it reads. So that it has seen what the model has seen, the training text goes before the record
where it can be had, and only the growth of the output counts.
"""

from __future__ import annotations

import lzma
import math
from collections.abc import Callable

from seqgen.evaluation.text import TextTally, text_metrics

Compressor = Callable[[bytes], int]  # the length of the output in bytes


def xz(data: bytes) -> int:
    """LZMA at its strongest, with a header of 13 bytes."""
    preset = lzma.PRESET_EXTREME | 9
    return len(lzma.compress(data, format=lzma.FORMAT_ALONE, preset=preset))


def ppmd(data: bytes) -> int:
    """PPMd variant H, order 6, 256 MiB (Shkarin, 2002): what 7-Zip uses for text. Needs pyppmd."""
    import pyppmd

    encoder = pyppmd.Ppmd7Encoder(6, 256 << 20)
    return len(encoder.encode(data)) + len(encoder.flush())


COMPRESSORS: dict[str, Compressor] = {"xz": xz, "ppmd": ppmd}
MAX_BYTES = 64 << 20  # bytes that a rival reads: beyond, it would take longer than the model


def baselines(records: list[bytes], training_text: bytes, tally: TextTally) -> dict[str, dict[str, float]]:
    """The measures of every compressor that is installed, under the names that `TextTally.metrics` uses.

    Args:
        records: what the model was evaluated on.
        training_text: what it learnt from; empty if that can't be had, and the rivals start knowing nothing.
    """
    text = b"".join(records)
    found = {}
    for name, compress in COMPRESSORS.items():
        try:
            size = max(1, compress(training_text + text) - (compress(training_text) if training_text else 0))
        except ImportError:
            continue
        metrics = text_metrics(size * 8 * math.log(2), tally.characters, len(text), words=tally.words)
        found[name] = {**metrics, "read_the_training_text": float(bool(training_text))}
    return found
