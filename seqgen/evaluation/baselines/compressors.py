"""General-purpose compressors as baselines of a text model: their output bounds its entropy from above.

A compressor adapts as it reads. To have seen what the model has seen, it reads the training text before the records, if
that is available, and only the growth of its output counts.
"""

from __future__ import annotations

import lzma
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from seqgen.evaluation.text import TextTally, text_metrics
from seqgen.processors import process_core_count

Compressor = Callable[[bytes], int]  # returns the length of the output in bytes


def xz(data: bytes) -> int:
    """LZMA at its strongest setting, with a header of 13 bytes."""
    preset = lzma.PRESET_EXTREME | 9
    return len(lzma.compress(data, format=lzma.FORMAT_ALONE, preset=preset))


def ppmd(data: bytes) -> int:
    """PPMd variant H, order 6, 256 MiB (Shkarin, 2002): what 7-Zip uses for text. Needs pyppmd."""
    import pyppmd

    encoder = pyppmd.Ppmd7Encoder(6, 256 << 20)
    return len(encoder.encode(data)) + len(encoder.flush())


COMPRESSORS: dict[str, Compressor] = {"xz": xz, "ppmd": ppmd}
MAX_BYTES = 64 << 20  # of records or training text; for more, a compressor takes longer than the model


def baselines(records: list[bytes], training_text: bytes, tally: TextTally) -> dict[str, dict[str, float]]:
    """Metrics of every installed compressor, named as in `TextTally.metrics`.

    Args:
        records: the texts that the model was evaluated on.
        training_text: the training set; empty if it isn't available.
    """
    text, found = b"".join(records), {}
    with ThreadPoolExecutor(process_core_count()) as pool:  # they let other threads run
        before = {name: pool.submit(compress, training_text) for name, compress in COMPRESSORS.items() if training_text}
        after = {name: pool.submit(compress, training_text + text) for name, compress in COMPRESSORS.items()}
    for name in COMPRESSORS:
        try:
            size = max(1, after[name].result() - (before[name].result() if name in before else 0))
        except ImportError:
            continue
        metrics = text_metrics(size * 8 * math.log(2), tally.characters, len(text), words=tally.words)
        found[name] = {**metrics, "read_the_training_text": float(bool(training_text))}
    return found
