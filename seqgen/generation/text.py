"""From a model to text: ids (see `draw`), then streams of bytes, then whole samples. Three thin layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from seqgen.config import SampleOptions
from seqgen.generation.constraints import Masks, masks_for
from seqgen.generation.draw import Primed, ids
from seqgen.generation.draw import prime as prime_ids
from seqgen.generation.engine import Engine
from seqgen.generation.filters import Chain
from seqgen.generation.naming import named
from seqgen.tokenizers import Codec


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
class Prompt:
    """A prompt that was read once: what any number of samples go on from.

    `allowed`: control tokens that may be written all the same, as speakers in a conversation are; what was primed of
    these is then part of what a decoder has to know.
    """

    text: str
    primed: Primed
    allowed: Sequence[int] = ()


def prime(engine: Engine, codec: Codec, prompt: bytes) -> Prompt:
    """Reads a prompt of any length and any bytes, as the beginning of a document."""
    return Prompt(prompt.decode("utf-8", "surrogateescape"), prime_ids(engine, codec, codec.encode(prompt)))


def prime_labelled(engine: Engine, codec: Codec, label: int, prompt: bytes) -> Prompt:
    """Reads a prompt as the beginning of a text that has a label, given by its id."""
    begin = np.concatenate([np.array([label], dtype=np.int32), codec.encode(prompt)])
    return Prompt(prompt.decode("utf-8", "surrogateescape"), prime_ids(engine, codec, begin))


@dataclass(frozen=True)
class Rules:
    """What samples of one prompt are drawn under: made once, for any number of them."""

    filters: Chain
    masks: Masks | None

    @classmethod
    def of(cls, codec: Codec, prompt: Prompt, options: SampleOptions, stop_at_end: bool = False) -> Rules:
        """Raises `UserError` where the options name what this model has not, or leave nothing to write."""
        control = [token for token, piece in enumerate(codec.pieces()) if piece is None]
        # What matches a grammar may be over before the length is reached.
        ends = [codec.end] if stop_at_end or options.grammar is not None else []
        forbidden = [token for token in control if token not in {*prompt.allowed, *ends}]
        before = prompt.text.encode("utf-8", "surrogateescape")
        begun = bool(prompt.primed.history)
        masks = masks_for(options, codec, ends, before, prompt.allowed, begun)
        return cls(Chain(options, forbidden, named(options, codec)), masks)


class Cutter:
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


def stream(
    engine: Engine,
    codec: Codec,
    prompt: Prompt,
    options: SampleOptions,
    indices: Sequence[int] = (0,),
    stop_at_end: bool = False,
    rules: Rules | None = None,
) -> Iterator[tuple[int, str, Sample | None]]:
    """Samples side by side, as they come: (index, text that is certain now, the finished sample or None).

    Text is whole characters; bytes that are no UTF-8 stand as surrogate escapes. Every index ends with its sample.
    `rules` are those that follow from the rest, where they were made before.
    """
    decoders = [codec.decoder() for _ in indices]
    length = options.length_for("text")
    rules = rules or Rules.of(codec, prompt, options, stop_at_end)
    constraints = [rules.masks.stream(length) for _ in indices] if rules.masks else []
    cutters = [Cutter(length, options.stop) for _ in indices]
    texts: list[list[str]] = [[] for _ in indices]
    counts, sums = [0] * len(indices), [0.0] * len(indices)
    open_rows = list(range(len(indices)))

    def finished(row: int) -> Sample:
        open_rows.remove(row)
        text = "".join(texts[row])
        return Sample(indices[row], options.seed, prompt.text, text, counts[row], sums[row], cutters[row].finish_reason)

    for row in tuple(open_rows):
        if constraints and constraints[row].over and not cutters[row].finish_reason:
            cutters[row].finish("grammar")
        if cutters[row].finish_reason:
            yield indices[row], "", finished(row)
    if not open_rows:
        return
    if prompt.allowed:
        for decoder in decoders:
            for token in prompt.primed.history:
                if token in prompt.allowed:  # the words are shown already, an unfinished character among them
                    decoder.push(token)
    for step in ids(engine, prompt.primed, rules.filters, options.seed, indices, constraints=constraints):
        for row in tuple(open_rows):
            token, log_probability = step[row]
            counts[row] += 1
            sums[row] += log_probability
            if token == codec.end:
                shown = cutters[row].push(decoders[row].finish().decode("utf-8", "surrogateescape"))
                if not cutters[row].finish_reason:
                    shown += cutters[row].finish()
            else:
                shown = cutters[row].push(decoders[row].push(token).decode("utf-8", "surrogateescape"))
                if constraints and constraints[row].over and not cutters[row].finish_reason:
                    shown += cutters[row].finish("grammar")
            texts[row].append(shown)
            yield indices[row], shown, finished(row) if cutters[row].finish_reason else None
        if not open_rows:
            return


def stream_in_order(
    engine: Engine,
    codec: Codec,
    prompt: Prompt,
    options: SampleOptions,
    count: int,
    first: int = 0,
    stop_at_end: bool = False,
) -> Iterator[tuple[str, Sample | None]]:
    """`count` samples one after another: the text of the first as it comes, each ended by its `Sample`.

    They are computed `engine.wave` at a time; what a later one of a wave has written waits for its turn.
    """
    rules = Rules.of(codec, prompt, options, stop_at_end)
    for start in range(first, first + count, engine.wave):
        indices = range(start, min(start + engine.wave, first + count))
        waiting: dict[int, list[tuple[str, Sample | None]]] = {index: [] for index in indices}
        turn = start
        for index, text, sample in stream(engine, codec, prompt, options, indices, stop_at_end, rules):
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
