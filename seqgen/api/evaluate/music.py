"""Evaluate a model of music: real pieces beside n-gram baselines, and generated pieces beside real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.api import copies
from seqgen.api.composing import compose
from seqgen.api.evaluate.base import EvaluationContext
from seqgen.api.sampling import SampleRequest
from seqgen.config import SampleOptions
from seqgen.corpus import split
from seqgen.corpus.opening.form import quoted
from seqgen.errors import DataError
from seqgen.evaluation import music_likelihood as events
from seqgen.generation.music.composing import music_codec
from seqgen.music import grammar
from seqgen.music.piece import Piece
from seqgen.music.score import repairs
from seqgen.tokenizers import Ids
from seqgen.tokenizers.midi import MidiCodec
from seqgen.tokenizers.midi_files import read_midi_files


def evaluate(context: EvaluationContext) -> dict[str, Any]:
    """Score every piece and, with `--pieces`, compare generated pieces with excerpts of the real ones.

    Raises `DataError` if no document is a piece of music.
    """
    codec = music_codec(context.model.codec)
    context.report("reading music")
    pieces = _read(context, codec)
    tally = events.tally_pieces(context.model.batch_engine, codec, pieces)
    result: dict[str, Any] = {
        "records": tally.records, "tokens": tally.events, "metrics": dict(tally.metrics()), "baselines": {},
    }  # fmt: skip
    training = _training_ids(context, codec) if context.baselines or context.options.pieces else None
    if context.baselines and training is not None:
        context.report("measuring the baselines")
        result["baselines"] = events.baselines(training, pieces, codec)
    if context.options.pieces:
        whole = [grammar.decode_piece(piece.tolist(), codec.vocabulary) for piece in pieces]
        real = [excerpt for piece in whole for excerpt in excerpts(piece, context.options.length)]
        if len(real) < 2:
            context.warn("generated pieces are not compared: that takes two real pieces or more")
        else:
            result["metrics"] |= _compare(context, codec, real, whole, training)
    return result


def _read(context: EvaluationContext, codec: MidiCodec) -> list[Ids]:
    """Encode every document that is a piece of music; the others are skipped with a warning."""
    pieces, errors, changed = [], [], []
    for read in read_midi_files(codec, [(document.name, document.path) for document in context.documents]):
        if read.error:
            errors.append(f"{quoted(read.name)}: {read.error}")
        else:
            pieces.append(read.ids)
            if damage := repairs(read.losses):
                changed.append(f"{quoted(read.name)}: {', '.join(damage)}")
    if not pieces:
        raise DataError(errors[0])
    if errors:
        context.warn(f"skipped {len(errors):,} of {len(context.documents):,} files: {_first_of(errors)}")
    if changed:
        context.warn(f"{len(changed):,} of {len(pieces):,} files are damaged, but read: {_first_of(changed)}")
    return pieces


def _first_of(found: list[str]) -> str:
    return found[0] + (f", and {len(found) - 1:,} more" if len(found) > 1 else "")


def _training_ids(context: EvaluationContext, codec: MidiCodec) -> npt.NDArray[Any] | None:
    """The ids of the pieces that the model has learnt, `end` before each: from the cache, or read again.

    None if they are in neither. The pieces that are evaluated may be among them: the model has learnt them too.
    """
    from seqgen.tasks.id_cache import load_ids  # it imports PyTorch

    loaded = context.model.checkpoint
    cached = load_ids(loaded.config["data"], codec)
    if cached is not None:
        learnt = cached if loaded.is_finished else cached[:1]
        return np.concatenate([stream.ids for stream in learnt if stream is not None])
    documents = copies.unchanged_sources(loaded, context.spool)
    files = [(document.name, document.path) for document in documents]
    pieces = [each.ids for each in read_midi_files(codec, files) if not each.error]
    if not loaded.has_learnt_all:
        pieces = split.hold_out_items(pieces, loaded.options.val_fraction)[0]
    if not pieces:
        context.warn("n-grams and copies of the training set are not measured: its sources have moved or changed")
        return None
    return np.concatenate([np.append(codec.end, ids) for ids in pieces])


def _compare(
    context: EvaluationContext,
    codec: MidiCodec,
    real: list[Piece],
    whole: list[Piece],
    training: npt.NDArray[Any] | None,
) -> dict[str, Any]:
    """Compare generated pieces with excerpts of real ones of the same length."""
    from seqgen.evaluation.music import compare
    from seqgen.evaluation.music_form import form
    from seqgen.generation.copies.notes import NoteCopyIndex, piece_tracks

    options = context.options
    context.report(f"composing {options.pieces:,} pieces")
    temperature = 1.0 if options.temperature is None else options.temperature
    settings = SampleOptions(length=options.length, temperature=temperature, seed=options.seed)
    generated = [composed.piece for composed in compose(context.model, SampleRequest(settings), options.pieces)]
    context.report("comparing them with real pieces")
    comparison = compare(real, generated)
    result: dict[str, Any] = {
        "mean_overlap_area": comparison.mean_overlap_area,
        "overlap_area": comparison.overlap_area,
        "kl": comparison.kl,
        "form": form(generated, generated),
        "reference_form": form(real, whole),
    }
    if training is not None:
        pieces = np.split(np.asarray(training), np.flatnonzero(np.asarray(training) == codec.end))
        index = NoteCopyIndex.build((each[1:] for each in pieces if len(each) > 1), codec.vocabulary)
        rising = codec.vocabulary.options.rising
        longest = [index.longest_match(piece_tracks(piece, rising)) for piece in generated]
        reference = [index.longest_match(piece_tracks(piece, rising)) for piece in real[: options.pieces]]
        result |= {
            "longest_copy": max(longest),
            "median_longest_copy": float(np.median(longest)),
            "reference_median_longest_copy": float(np.median(reference)),
        }
    if options.plot:
        from seqgen.plots.music import feature_histograms
        from seqgen.streams import write_output

        values = comparison.reference_values, comparison.generated_values
        write_output(Path(options.plot), feature_histograms(*values, comparison.overlap_area))
    return result


def excerpts(piece: Piece, bars: int) -> list[Piece]:
    """Cut a piece into excerpts of `bars` bars. The remainder is dropped, but a shorter piece stays whole."""
    count = len(piece.bars) // bars
    if not count:
        return [piece]
    return [piece.excerpt(number * bars, bars) for number in range(count)]
