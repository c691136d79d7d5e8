"""The best of several samples, and beam search.

Texts are compared by log-probability per character, counting all drawn characters, even those beyond where the text is
cut. Among texts of one length, as --length makes them, that is the likeliest whole. Where stop strings or the model end
texts, it doesn't favour short ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from seqgen.errors import UserError
from seqgen.generation.engines.base import ExportedStream
from seqgen.generation.job import GenerationJob
from seqgen.generation.sampling.constraints import TextConstraint
from seqgen.generation.sampling.filters import check_beam_options, log_softmax
from seqgen.generation.state import max_window
from seqgen.generation.streaming import generate_rows, stream_in_order
from seqgen.generation.text import FinishedSample, Sample, StateCallback, TextStream, best_of, saved_state

_SPEAKER_CHARACTERS = 4  # by which a turn begins
_HASH_PRIME, _HASH_MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1


def generate(
    job: GenerationJob, count: int, first: int = 0, on_state: StateCallback | None = None
) -> Iterator[tuple[str, Sample | None]]:
    """Generate samples as `stream_in_order` does; those chosen from several candidates are yielded whole."""
    if not job.search.beam and job.search.best_of == 1:
        yield from stream_in_order(job, count, first, on_state)
        return
    for done in (beam_search if job.search.beam else best_of_n)(job, count, first, on_state is not None):
        if on_state is not None and done.saved is not None:
            on_state(done.sample, done.saved)
        yield done.sample.text, done.sample


def best_of_n(job: GenerationJob, count: int, first: int = 0, keep: bool = False) -> Iterator[FinishedSample]:
    """`count` samples, each the likeliest of `search.best_of` candidates.

    The candidates of sample i are drawn from the random streams i · best_of and following.
    """
    tries = job.search.best_of
    at_once = max(1, job.engine.batch_size // tries)
    for start in range(first, first + count, at_once):
        stop = min(start + at_once, first + count)
        indices = range(start * tries, stop * tries)
        rows = generate_rows(job, indices, keep)
        candidates = ((index, done) for index, _, done in rows if done is not None)
        found = best_of(candidates, tries, lambda done: done.log_prob_per_character)
        for number in range(start, stop):
            yield replace(found[number], sample=replace(found[number].sample, index=number))


@dataclass
class BeamHypothesis:
    """An unfinished text: its stream, its log-probability under the filters, and a hash of its characters."""

    text: TextStream
    rule: TextConstraint | None
    log_prob: float = 0.0
    hash: int = 0

    def extended(self, token: int, own: float, log_prob: float) -> BeamHypothesis:
        """The hypothesis with one more id, whose log-probability is `own` under the model."""
        text, rule = self.text.copy(), None if self.rule is None else self.rule.copy()
        if rule is not None:
            rule.push(token)
        text.push(token, own, rule)
        value = self.hash
        for character in text.last_text:
            value = ((value ^ ord(character)) * _HASH_PRIME + 1) & _HASH_MASK
        return BeamHypothesis(text, rule, log_prob, value)

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for hypotheses with the same text, however it is tokenized."""
        return self.hash, tuple(self.text.tail()), self.text.finish_reason


class _Finished(NamedTuple):
    log_prob_per_character: float
    order: int
    hypothesis: BeamHypothesis
    stream: ExportedStream | None  # if its state will be saved


def beam_search(job: GenerationJob, count: int, first: int = 0, keep: bool = False) -> Iterator[FinishedSample]:
    """The likeliest texts by beam search (Lowerre, 1976; as in Sutskever et al., 2014).

    After every id the `search.beam` likeliest hypotheses are extended. Nothing is drawn, so there is one ranking, of
    which the `count` texts from rank `first` on are given, as far as there are that many.

    Hypotheses are ranked by the distribution after filters, by default the model's own. Of two tokenizations of one
    text the likelier survives. The search ends when no hypothesis can overtake the requested texts.

    Raises:
        UserError: a filter draws random numbers or follows the drawn tokens, or nothing may follow any hypothesis.
    """
    check_beam_options(job.options)
    width, prompt = job.search.beam, job.prompt
    length = job.options.length_for("text")
    pieces = (len(piece) for piece in job.codec.pieces() if isinstance(piece, str))
    longest = length + max(pieces, default=1) + _SPEAKER_CHARACTERS
    window = max_window(job.options)
    before = prompt.primed.history[-window:]
    start = BeamHypothesis(TextStream(job.codec, prompt, length, job.options.stop), job.rules.stream(length))
    if start.rule is not None and start.rule.over:
        start.text.complete()
    done: list[_Finished] = []
    state, last = job.engine.repeat(prompt.primed.state, 1), np.array([prompt.primed.last])
    if start.text.finish_reason:
        done.append(_Finished(0.0, 0, start, job.engine.export_stream(prompt.primed.state, 0) if keep else None))
    beam = [] if done else [start]
    while beam:
        logits, state = job.engine.step(last, state)
        exact = logits.astype(np.float64)
        own = log_softmax(exact)
        ended: dict[int, UserError] = {}  # why nothing may follow a hypothesis, by its row
        if start.rule is not None:
            exact = np.where(_masks(beam, exact.shape[1], ended), exact, -np.inf)
        histories = [[*before, *each.text.token_ids][-window:] for each in beam]
        totals = log_softmax(job.rules.filters(exact, histories)) + np.array([each.log_prob for each in beam])[:, None]
        totals[list(ended)] = -np.inf
        kept: dict[tuple[Any, ...], BeamHypothesis] = {}
        rows: list[int] = []
        for rank, index in enumerate(_largest(totals, 2 * width)):
            row, token = divmod(index, totals.shape[1])
            each = beam[row].extended(token, float(own[row, token]), float(totals[row, token]))
            if each.text.finish_reason:
                if rank < width:
                    stream = job.engine.export_stream(state, row) if keep else None
                    done.append(_Finished(each.log_prob / max(each.text.characters, 1), len(done), each, stream))
            elif len(kept) < width and each.key not in kept:
                kept[each.key] = each
                rows.append(row)
        beam = list(kept.values())
        done = _distinct(done)
        if not beam and not done:
            raise next(iter(ended.values()))
        if not beam or (
            len(done) >= width and done[first + count - 1].log_prob_per_character >= beam[0].log_prob / longest
        ):
            break
        state, last = job.engine.select(state, rows), np.array([each.text.token_ids[-1] for each in beam])
    for number, entry in enumerate(done[first : first + count], start=first):
        text, offset = entry.hypothesis.text, prompt.primed.rng_offset
        stream = entry.stream
        saved = None if stream is None else saved_state(text, job, stream, number, offset)
        yield FinishedSample(text.sample(number, job.options.seed), text.log_prob_per_character(), saved)


def _masks(beam: list[BeamHypothesis], vocab_size: int, ended: dict[int, UserError]) -> npt.NDArray[np.bool_]:
    """The ids that may follow each hypothesis; all of them, and an entry in `ended`, where none may."""
    masks = np.ones((len(beam), vocab_size), dtype=bool)
    for row, each in enumerate(beam):
        try:
            masks[row] = cast(TextConstraint, each.rule).mask()
        except UserError as error:
            ended[row] = error
    return masks


def _largest(totals: npt.NDArray[np.float64], count: int) -> list[int]:
    """Flat indices of the largest numbers of a table, largest first, ties by index; none that is −∞."""
    flat = totals.ravel()
    if count < len(flat):
        threshold = np.partition(flat, len(flat) - count)[len(flat) - count]
        indices = np.flatnonzero(flat >= threshold)
    else:
        indices = np.arange(len(flat))
    indices = indices[np.argsort(-flat[indices], kind="stable")][:count]
    return [int(index) for index in indices if flat[index] > -np.inf]


def _distinct(done: list[_Finished]) -> list[_Finished]:
    """The finished hypotheses, likeliest first, each text once."""
    found: dict[tuple[str, str], _Finished] = {}
    for entry in sorted(done, key=lambda entry: (-entry.log_prob_per_character, entry.order)):
        found.setdefault((entry.hypothesis.text.text(), entry.hypothesis.text.finish_reason), entry)
    return list(found.values())
