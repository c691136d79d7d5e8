"""The better ones of many texts: the best of several samples, and beam search.

Texts are compared by their log-probability a character (of all that was drawn, also beyond where the text is cut). Of
texts of one length, as --length makes them, that is the likeliest whole; where a stop string or the model ends them it
does not favour the short.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from seqgen.config import SampleOptions, SearchOptions
from seqgen.generation.engines.base import Engine
from seqgen.generation.prompts import Prompt
from seqgen.generation.sampling.filters import log_softmax
from seqgen.generation.sampling.rules import SamplingRules, TextConstraint
from seqgen.generation.state import max_window
from seqgen.generation.text import (
    FinishedSample,
    Sample,
    StateCallback,
    TextStream,
    saved_state,
    stream_in_order,
    write,
)
from seqgen.tokenizers import Codec


@dataclass(frozen=True)
class GenerationJob:
    """What is to be written, and with what: all that several samples have in common."""

    engine: Engine
    codec: Codec
    prompt: Prompt
    options: SampleOptions
    search: SearchOptions
    rules: SamplingRules


def generate(
    job: GenerationJob, count: int, first: int = 0, on_state: StateCallback | None = None
) -> Iterator[tuple[str, Sample | None]]:
    """See `text.stream_in_order`: the samples as they come; where they are chosen among others, each in one piece."""
    if not job.search.beam and job.search.best_of == 1:
        yield from stream_in_order(
            job.engine, job.codec, job.prompt, job.options, count, first, rules=job.rules, on_state=on_state
        )
        return
    for written in (beam if job.search.beam else best_of_n)(job, count, first, on_state is not None):
        if on_state is not None and written.saved is not None:
            on_state(written.sample, written.saved)
        yield written.sample.text, written.sample


def best_of_n(job: GenerationJob, count: int, first: int = 0, keep: bool = False) -> Iterator[FinishedSample]:
    """`count` samples, each the likeliest of `search.best_of`: sample i of those that are drawn from the random streams
    i · best_of and the following ones."""
    tries = job.search.best_of
    at_once = max(1, job.engine.batch_size // tries)
    for start in range(first, first + count, at_once):
        stop = min(start + at_once, first + count)
        found: dict[int, FinishedSample] = {}
        indices = range(start * tries, stop * tries)
        for index, _, written in write(job.engine, job.codec, job.prompt, job.options, indices, job.rules, keep):
            if written is None:
                continue
            before = found.get(index // tries)
            order = (written.log_prob_per_character, -index)
            if before is None or order > (before.log_prob_per_character, -before.sample.index):
                found[index // tries] = written
        for number in range(start, stop):
            yield replace(found[number], sample=replace(found[number].sample, index=number))


@dataclass
class _Line:
    """A text under way: its pen, what it has cost under the filters, and a number that tells texts apart."""

    pen: TextStream
    rule: TextConstraint | None
    cost: float = 0.0
    mark: int = 0

    def after(self, token: int, own: float, cost: float) -> _Line:
        """One id further."""
        pen, rule = self.pen.copy(), None if self.rule is None else self.rule.copy()
        if rule is not None:
            rule.push(token)
        pen.write(token, own, rule)
        mark = self.mark
        for character in pen.last_text:
            mark = ((mark ^ ord(character)) * _PRIME + 1) & _MASK
        return _Line(pen, rule, cost, mark)

    @property
    def kind(self) -> tuple[Any, ...]:
        """What lines have in common that say the same, however it is spelt."""
        return self.mark, tuple(self.pen.tail()), self.pen.finish_reason


_SPEAKER = 4  # characters by which a turn begins
_PRIME, _MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1


def beam(job: GenerationJob, count: int, first: int = 0, keep: bool = False) -> Iterator[FinishedSample]:
    """The likeliest texts that beam search finds (Lowerre, 1976; as in Sutskever et al., 2014): after every id the
    `search.beam` likeliest beginnings are gone on with. Nothing is drawn: there is one result, of which the `count`
    likeliest texts from number `first` on, or as many as there are, are given in order.

    What counts is the distribution after filters, by default the model's own. Of two spellings of one text the likelier
    is kept. A beginning is over where its text is; the search is, where no other can overtake those that are wanted.
    """
    width, prompt = job.search.beam, job.prompt
    length = job.options.length_for("text")
    longest = length + max((len(piece) for piece in job.codec.pieces() if isinstance(piece, str)), default=1) + _SPEAKER
    look = max_window(job.options)
    before = prompt.primed.history[-look:]
    start = _Line(TextStream(job.codec, prompt, length, job.options.stop), job.rules.stream(length))
    if start.rule is not None and start.rule.over:
        start.pen.complete()
    done: list[tuple[float, int, _Line, Any]] = []  # cost a character, order, line, recurrent state
    state, last = job.engine.repeat(prompt.primed.state, 1), np.array([prompt.primed.last])
    if start.pen.finish_reason:
        done.append((0.0, 0, start, job.engine.export_state(prompt.primed.state, 0) if keep else None))
    lines = [] if done else [start]
    while lines:
        logits, state = job.engine.step(last, state)
        exact = logits.astype(np.float64)
        own = log_softmax(exact)
        if start.rule is not None:
            exact = np.where(np.stack([cast(TextConstraint, line.rule).mask() for line in lines]), exact, -np.inf)
        histories = [[*before, *line.pen.drawn][-look:] for line in lines]
        totals = log_softmax(job.rules.filters(exact, histories)) + np.array([line.cost for line in lines])[:, None]
        kept: dict[tuple[Any, ...], _Line] = {}
        rows: list[int] = []
        for rank, place in enumerate(_largest(totals, 2 * width)):
            row, token = divmod(place, totals.shape[1])
            line = lines[row].after(token, float(own[row, token]), float(totals[row, token]))
            if line.pen.finish_reason:
                if rank < width:
                    cells = job.engine.export_state(state, row) if keep else None
                    done.append((line.cost / max(line.pen.characters, 1), len(done), line, cells))
            elif len(kept) < width and line.kind not in kept:
                kept[line.kind] = line
                rows.append(row)
        lines = list(kept.values())
        done = _distinct(done)
        if not lines or (len(done) >= width and done[first + count - 1][0] >= lines[0].cost / longest):
            break
        state, last = job.engine.select(state, rows), np.array([line.pen.drawn[-1] for line in lines])
    for number, (_, _, line, cells) in enumerate(done[first : first + count], start=first):
        saved = saved_state(line.pen, prompt, cells, job.options, number, prompt.primed.drawn) if keep else None
        yield FinishedSample(line.pen.sample(number, job.options.seed), line.pen.log_prob_per_character(), saved)


def _largest(totals: Any, most: int) -> list[int]:
    """Places of the largest numbers of a table, the largest first, ties by place; none that is −∞."""
    flat = totals.ravel()
    if most < len(flat):
        border = np.partition(flat, len(flat) - most)[len(flat) - most]
        places = np.flatnonzero(flat >= border)
    else:
        places = np.arange(len(flat))
    places = places[np.argsort(-flat[places], kind="stable")][:most]
    return [int(place) for place in places if flat[place] > -np.inf]


def _distinct(done: list[tuple[float, int, _Line, Any]]) -> list[tuple[float, int, _Line, Any]]:
    """The finished lines, the likeliest first, each text once."""
    found: dict[tuple[str, str], tuple[float, int, _Line, Any]] = {}
    for entry in sorted(done, key=lambda entry: (-entry[0], entry[1])):
        found.setdefault((entry[2].pen.text(), entry[2].pen.finish_reason), entry)
    return list(found.values())
