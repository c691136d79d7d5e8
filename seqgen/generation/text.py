"""From a model to text: ids (see `draw`), then streams of bytes, then whole samples. Three thin layers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from seqgen.config import SampleOptions
from seqgen.generation.engines.base import Engine
from seqgen.generation.prompts import Prompt, prime, prime_labelled
from seqgen.generation.sampling.draw import SamplerState, ids, stream_position
from seqgen.generation.sampling.rules import SamplingRules, TextConstraint
from seqgen.generation.state import SavedState, truncate_history
from seqgen.tokenizers import Codec

__all__ = [
    "StopMatcher", "StateCallback", "TextStream", "Prompt", "SamplingRules", "Sample", "FinishedSample", "saved_state", "prime", "prime_labelled", "samples",
    "stream", "stream_in_order", "write",
]  # fmt: skip

_LONGEST_TAIL = 3  # ids: a character that is not finished has at most so many bytes


@dataclass(frozen=True)
class Sample:
    """One finished sample. `log_probability` is the model's own, in nats, before temperature and filters."""

    index: int
    seed: int
    prompt: str
    text: str
    tokens: int
    log_probability: float
    finish_reason: str  # "length", "stop" (a stop string), "end" (the model ended the document) or "grammar" (complete)


@dataclass(frozen=True)
class FinishedSample:
    """A finished sample, and what is known of it beside: its log-probability a character, of all that was drawn, and
    where it has got to, if that was asked for."""

    sample: Sample
    log_prob_per_character: float
    saved: SavedState | None


class StopMatcher:
    """Text in, text out, until a stop string or the length is reached. Holds back what may begin a stop string."""

    def __init__(self, length: int, stops: Sequence[str]) -> None:
        self._left = length
        self._stops = stops
        self._held = ""
        self.finish_reason = "" if length else "length"

    def push(self, text: str) -> str:
        """What may be shown now. Sets `finish_reason` once the text is over."""
        if not self._stops and len(text) < self._left:  # nothing to wait for
            self._left -= len(text)
            return text
        self._held += text
        stop = self._earliest_stop()
        certain = len(self._held) - self._longest_beginning()  # from here on a stop string may be beginning
        over = min(stop, self._left)
        if over > len(self._held) or certain < over:
            return self._release(min(certain, over), "")
        return self._release(over, "stop" if stop < self._left else "length")

    def finish(self, why: str = "end") -> str:
        """What was held back, when no more text will come."""
        stop = self._earliest_stop()
        over = min(stop, self._left)
        if over > len(self._held):
            return self._release(len(self._held), why)
        return self._release(over, "stop" if stop < self._left else "length")

    def rest(self) -> str:
        """What was taken and lies beyond the end, once there is one; behind a stop string, what follows it."""
        if self.finish_reason == "stop":
            return self._held[max(len(stop) for stop in self._stops if self._held.startswith(stop)) :]
        return self._held

    def _earliest_stop(self) -> int:
        """Where the first whole stop string among the held text begins; beyond any length if there is none."""
        found = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        return min(found, default=1 << 62)

    def _release(self, count: int, why: str) -> str:
        shown, self._held = self._held[:count], self._held[count:]
        self._left -= count
        self.finish_reason = why
        return shown

    def _longest_beginning(self) -> int:
        """Length of the longest end of the held text that begins a stop string."""
        longest = max(map(len, self._stops), default=1) - 1
        for size in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-size:]) for stop in self._stops):
                return size
        return 0


class TextStream:
    """One text as it is written: what of it may be shown, and what it cost."""

    def __init__(self, codec: Codec, prompt: Prompt, length: int, stops: Sequence[str]) -> None:
        self._end, self._prompt = codec.end, prompt
        self._decoder = codec.decoder()
        for token in prompt.context_ids:
            self._decoder.push(token)
        self._cutter = StopMatcher(length, stops)
        self.drawn: list[int] = []
        self.log_probability = 0.0
        self.last_text = ""  # what the last id spelt
        self.characters = 0  # of all that was drawn, also beyond the end
        self._parts: list[str] = []
        self._unwritten = prompt.pending if self.finish_reason else ""  # where nothing is to be written at all
        if prompt.pending and not self.finish_reason:
            self._parts.append(self._cutter.push(prompt.pending))

    @property
    def finish_reason(self) -> str:
        """Why the text is over; empty while it is not."""
        return self._cutter.finish_reason

    def text(self) -> str:
        """All of it that may be shown."""
        return "".join(self._parts)

    def write(self, token: int, log_probability: float, rule: TextConstraint | None = None) -> str:
        """Takes an id that was drawn, and that `rule` has taken; what may be shown now."""
        self.drawn.append(token)
        self.log_probability += log_probability
        over = token == self._end
        self.last_text = (self._decoder.finish() if over else self._decoder.push(token)).decode(
            "utf-8", "surrogateescape"
        )
        self.characters += len(self.last_text)
        shown = self._cutter.push(self.last_text)
        if over and not self.finish_reason:
            shown += self._cutter.finish()
        elif not self.finish_reason and rule is not None and rule.over:
            shown += self._cutter.finish("grammar")
        self._parts.append(shown)
        return shown

    def complete(self) -> None:
        """Ends the text where nothing may follow."""
        if not self.finish_reason:
            self._parts.append(self._cutter.finish("grammar"))

    def copy(self) -> TextStream:
        """Another one that has written the same."""
        same = copy.copy(self)
        same._decoder, same._cutter = self._decoder.copy(), copy.copy(self._cutter)
        same.drawn, same._parts = self.drawn.copy(), self._parts.copy()
        return same

    def log_prob_per_character(self) -> float:
        """The log-probability of a character that was drawn, those beyond the end included."""
        return self.log_probability / max(self.characters, 1)

    def sample(self, index: int, seed: int) -> Sample:
        """The text, when it is over."""
        count, total = len(self.drawn), self.log_probability
        return Sample(index, seed, self._prompt.text, self.text(), count, total, self.finish_reason)

    def rest(self) -> str:
        """What was written and lies beyond the end."""
        return self._unwritten or self._cutter.rest()

    def tail(self) -> list[int]:
        """The last ids, where they hold a character that is not finished."""
        unfinished = self._decoder.copy().finish()
        return [*self._prompt.context_ids, *self.drawn][-_LONGEST_TAIL:] if unfinished else []


StateCallback = Callable[[Sample, SavedState], None]  # told of each sample that is over, and where it has got to


def write(
    engine: Engine,
    codec: Codec,
    prompt: Prompt,
    options: SampleOptions,
    indices: Sequence[int],
    rules: SamplingRules,
    keep: bool = False,
) -> Iterator[tuple[int, str, FinishedSample | None]]:
    """See `stream`. With `keep`, what is written tells where it has got to."""
    length = options.length_for("text")
    pens = [TextStream(codec, prompt, length, options.stop) for _ in indices]
    asked = [rules.stream(length) for _ in indices]
    constraints = [rule for rule in asked if rule is not None]
    open_rows = list(range(len(indices)))
    where = SamplerState()

    def written(row: int) -> FinishedSample:
        open_rows.remove(row)
        pen = pens[row]
        saved = None
        if keep:
            cells = engine.export_state(where.state if pen.drawn else prompt.primed.state, row if pen.drawn else 0)
            numbers = stream_position(where.streams[row]) if pen.drawn else prompt.primed.drawn
            limit = where.limits[row] if pen.drawn and options.mirostat_tau else prompt.primed.limit
            saved = saved_state(pen, prompt, cells, options, indices[row], numbers, limit)
        return FinishedSample(pen.sample(indices[row], options.seed), pen.log_prob_per_character(), saved)

    for row in tuple(open_rows):
        if constraints and constraints[row].over:
            pens[row].complete()
        if pens[row].finish_reason:
            yield indices[row], pens[row].text(), written(row)
        elif pens[row].text():
            yield indices[row], pens[row].text(), None
    if not open_rows:
        return
    for step in ids(engine, prompt.primed, rules.filters, options.seed, indices, constraints=constraints, where=where):
        for row in tuple(open_rows):
            shown = pens[row].write(*step[row], asked[row])
            yield indices[row], shown, written(row) if pens[row].finish_reason else None
        if not open_rows:
            return


def saved_state(
    pen: TextStream,
    prompt: Prompt,
    cells: Any,
    options: SampleOptions,
    index: int,
    numbers: int,
    limit: float | None = None,
) -> SavedState:
    """Where a text has got to, whose recurrent state before the last id is `cells`, when so many random numbers were
    drawn and mirostat's limit is that."""
    history, cut = truncate_history([*prompt.primed.history, *pen.drawn], options)
    last = pen.drawn[-1] if pen.drawn else prompt.primed.last
    return SavedState(
        cells, last, history, cut or prompt.cut, options.seed, index, numbers, limit, pen.rest(), pen.tail(),
        prompt.unread,
    )  # fmt: skip


def stream(
    engine: Engine,
    codec: Codec,
    prompt: Prompt,
    options: SampleOptions,
    indices: Sequence[int] = (0,),
    stop_at_end: bool = False,
    rules: SamplingRules | None = None,
    on_state: StateCallback | None = None,
) -> Iterator[tuple[int, str, Sample | None]]:
    """Samples side by side, as they come: (index, text that is certain now, the finished sample or None).

    Text is whole characters; bytes that are no UTF-8 stand as surrogate escapes. Every index ends with its sample.

    Args:
        rules: those that follow from the rest, where they were made before.
        left: told of every finished sample, and of the state from which it can be gone on with.
    """
    rules = rules or SamplingRules.of(codec, prompt, options, stop_at_end)
    for index, text, written in write(engine, codec, prompt, options, indices, rules, on_state is not None):
        if written is not None and on_state is not None and written.saved is not None:
            on_state(written.sample, written.saved)
        yield index, text, None if written is None else written.sample


def stream_in_order(
    engine: Engine,
    codec: Codec,
    prompt: Prompt,
    options: SampleOptions,
    count: int,
    first: int = 0,
    stop_at_end: bool = False,
    rules: SamplingRules | None = None,
    on_state: StateCallback | None = None,
) -> Iterator[tuple[str, Sample | None]]:
    """`count` samples one after another: the text of the first as it comes, each ended by its `Sample`.

    They are computed `engine.batch_size` at a time; what a later one of a wave has written waits for its turn.
    """
    rules = rules or SamplingRules.of(codec, prompt, options, stop_at_end)
    for start in range(first, first + count, engine.batch_size):
        indices = range(start, min(start + engine.batch_size, first + count))
        waiting: dict[int, list[tuple[str, Sample | None]]] = {index: [] for index in indices}
        turn = start
        for index, text, sample in stream(engine, codec, prompt, options, indices, stop_at_end, rules, on_state):
            waiting[index].append((text, sample))
            while waiting.get(turn):
                text, sample = waiting[turn].pop(0)
                yield text, sample
                turn += sample is not None


def samples(
    engine: Engine,
    codec: Codec,
    prompt: Prompt,
    options: SampleOptions,
    count: int = 1,
    first: int = 0,
    stop_at_end: bool = False,
) -> Iterator[Sample]:
    """Whole samples, in order."""
    for _, sample in stream_in_order(engine, codec, prompt, options, count, first, stop_at_end):
        if sample is not None:
            yield sample
