"""How good a model of music is: every piece beside models that count, and pieces of its own beside the real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.api.composing import compose
from seqgen.api.evaluate.text import EvaluationContext, training_documents
from seqgen.config import MusicOptions, SampleOptions
from seqgen.corpus import ids as id_cache
from seqgen.corpus import split
from seqgen.errors import DataError
from seqgen.evaluation import music_events as events
from seqgen.evaluation.music_events import EventTally
from seqgen.generation.music.composing import music_codec
from seqgen.music import grammar
from seqgen.music.piece import Piece
from seqgen.tasks.prepared import ids_path
from seqgen.tokenizers import Ids
from seqgen.tokenizers.midi import MidiCodec
from seqgen.tokenizers.midi_files import read_midi_files


def evaluate(asked: EvaluationContext) -> dict[str, Any]:
    """See `evaluation.EVALUATORS`."""
    codec = music_codec(asked.model.codec)
    asked.report("reading music")
    pieces = _read(asked, codec)
    tally = EventTally()
    for piece in pieces:
        tally.add(asked.model.network, codec, piece)
    result: dict[str, Any] = {
        "records": tally.records, "tokens": tally.events, "metrics": dict(tally.metrics()), "baselines": {},
    }  # fmt: skip
    training = _training_ids(asked, codec) if asked.baselines or asked.options.pieces else None
    if asked.baselines and training is not None:
        asked.report("asking the rivals")
        result["baselines"] = events.baselines(training, pieces, codec)
    if asked.options.pieces:
        real = [
            excerpt
            for piece in pieces
            for excerpt in excerpts(grammar.decode_piece(piece.tolist(), codec.vocabulary), asked.options.length)
        ]
        if len(real) < 2:
            asked.warn("one piece is too few to compare others with: nothing is composed")
        else:
            result["metrics"] |= _compare(asked, codec, real, training)
    return result


def _read(asked: EvaluationContext, codec: MidiCodec) -> list[Ids]:
    """The ids of every document that is a piece."""
    found, why = [], []
    for read in read_midi_files(codec, [(document.name, document.path) for document in asked.documents]):
        if read.error:
            why.append(f"{read.name!r}: {read.error}")
        else:
            found.append(read.ids)
    if not found:
        raise DataError(why[0])
    if why:
        others = f", and {len(why) - 1:,} more" if len(why) > 1 else ""
        asked.warn(f"{len(why):,} of {len(asked.documents):,} files passed over: {why[0]}{others}")
    return found


def _training_ids(asked: EvaluationContext, codec: MidiCodec) -> npt.NDArray[Any] | None:
    """The ids that the model learnt from, `end` before each piece: from the cache, or read again where the sources
    lie; None where neither is there."""
    loaded = asked.model.checkpoint
    key = loaded.config["data"].get("cache")
    if isinstance(key, str) and key.isalnum():
        stream = id_cache.load(ids_path(key, "train"))
        if stream is not None:
            return np.asarray(stream.ids)
    documents = training_documents(asked)
    if documents is None:
        asked.warn("what the model was trained on is not where it was: it can't be told what is copied from it")
        return None
    if not loaded.config["data"].get("valid_sources"):
        documents = split.hold_out_items(documents, loaded.options.val_fraction)[0]
    read = read_midi_files(codec, [(document.name, document.path) for document in documents])
    return np.concatenate([np.append(codec.end, each.ids) for each in read if not each.error])


def _compare(
    asked: EvaluationContext, codec: MidiCodec, real: list[Piece], training: npt.NDArray[Any] | None
) -> dict[str, Any]:
    """Pieces of the model's own beside excerpts of real ones, equally long."""
    from seqgen.evaluation.music import compare
    from seqgen.evaluation.novelty import CopyFinder

    options = asked.options
    asked.report(f"composing {options.pieces:,} pieces")
    settings = SampleOptions(length=options.length, temperature=options.temperature, seed=options.seed)
    own = [composed.piece for composed in compose(asked.model, None, settings, MusicOptions(), options.pieces)]
    asked.report("comparing")
    found = compare(real, own)
    result: dict[str, Any] = {
        "mean_overlap_area": found.mean_overlap_area,
        "overlap_area": found.overlap_area,
        "kl": found.kl,
    }
    if training is not None:
        learnt = np.split(np.asarray(training), np.flatnonzero(np.asarray(training) == codec.end))
        finder = CopyFinder(grammar.decode_piece(each[1:].tolist(), codec.vocabulary) for each in learnt if len(each) > 1)
        longest = [finder.longest_copy(piece).notes for piece in own]
        usual = [finder.longest_copy(piece).notes for piece in real[: options.pieces]]
        result |= {
            "longest_copy": max(longest),
            "median_longest_copy": float(np.median(longest)),
            "reference_median_longest_copy": float(np.median(usual)),
        }
    if options.plot:
        from seqgen.plots.music import feature_histograms
        from seqgen.streams import write_bytes

        picture = feature_histograms(found.reference_values, found.generated_values, found.overlap_area)
        write_bytes(Path(options.plot), picture)
    return result


def excerpts(piece: Piece, bars: int) -> list[Piece]:
    """The piece in excerpts of so many bars; what is left over at its end is left out, but a short piece is kept."""
    count = len(piece.bars) // bars
    if not count:
        return [piece]
    return [piece.excerpt(number * bars, bars) for number in range(count)]
