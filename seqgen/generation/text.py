"""One text from a model: its ids as text with a stop condition, the finished sample, and the state after it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from seqgen.config import SampleOptions
from seqgen.generation.engines.base import ExportedStream
from seqgen.generation.job import GenerationJob
from seqgen.generation.prompts import Prompt
from seqgen.generation.sampling.constraints import SamplingRules, TextConstraint
from seqgen.generation.state import SavedState, truncate_history
from seqgen.tokenizers import Codec

_MAX_CHARACTER_IDS = 3  # ids of an unfinished character: at most one for each byte

T = TypeVar("T")


@dataclass(frozen=True)
class Sample:
    """A finished sample. `log_probability` is the model's own, in nats, before temperature and filters."""

    index: int
    seed: int
    prompt: str
    text: str
    tokens: int
    log_probability: float
    finish_reason: str  # "length", "stop" (a stop string), "end" (the model ended the document) or "grammar" (complete)


@dataclass(frozen=True)
class FinishedSample:
    """A finished sample, its log-probability per drawn character, and its saved state if requested."""

    sample: Sample
    log_prob_per_character: float
    saved: SavedState | None


class StopMatcher:
    """Passes text through until a stop string or the length is reached. Withholds text that may begin a stop string."""

    def __init__(self, length: int, stops: Sequence[str]) -> None:
        self._left = length
        self._stops = stops
        self._withheld = ""
        self.finish_reason = "" if length else "length"

    @property
    def waits(self) -> bool:
        """Whether text may be withheld, because a stop string may begin there."""
        return bool(self._stops)

    def has_room(self, text: str) -> bool:
        """Whether the length isn't reached with this text."""
        return len(text) < self._left

    @property
    def room(self) -> int:
        """Characters to the length."""
        return self._left - len(self._withheld)

    def push(self, text: str) -> str:
        """Take text, and return the part that is certain. Sets `finish_reason` once the text is over."""
        if not self._stops and self.has_room(text):  # nothing to wait for
            self._left -= len(text)
            return text
        self._withheld += text
        stop = self._earliest_stop()
        certain = len(self._withheld) - self._longest_beginning()  # a stop string may begin here
        over = min(stop, self._left)
        if over > len(self._withheld) or certain < over:
            return self._release(min(certain, over), "")
        return self._release(over, "stop" if stop < self._left else "length")

    def finish(self, reason: str = "end") -> str:
        """Return the withheld text when no more will come."""
        stop = self._earliest_stop()
        over = min(stop, self._left)
        if over > len(self._withheld):
            return self._release(len(self._withheld), reason)
        return self._release(over, "stop" if stop < self._left else "length")

    def rest(self) -> str:
        """Text taken beyond the end; after a stop string, the text that follows it."""
        if self.finish_reason == "stop":
            return self._withheld[max(len(stop) for stop in self._stops if self._withheld.startswith(stop)) :]
        return self._withheld

    def _earliest_stop(self) -> int:
        """Index of the first whole stop string in the withheld text; beyond any length if there is none."""
        found = [index for stop in self._stops if (index := self._withheld.find(stop)) >= 0]
        return min(found, default=1 << 62)

    def _release(self, count: int, reason: str) -> str:
        released, self._withheld = self._withheld[:count], self._withheld[count:]
        self._left -= count
        self.finish_reason = reason
        return released

    def _longest_beginning(self) -> int:
        """Length of the longest suffix of the withheld text that begins a stop string."""
        longest = max(map(len, self._stops), default=1) - 1
        for size in range(min(longest, len(self._withheld)), 0, -1):
            if any(stop.startswith(self._withheld[-size:]) for stop in self._stops):
                return size
        return 0


class TextStream:
    """One text while it is generated: decodes ids, and stops at a stop string or the length."""

    def __init__(
        self, codec: Codec, prompt: Prompt, length: int, stops: Sequence[str], max_tokens: int | None = None
    ) -> None:
        self._end, self._prompt = codec.end, prompt
        self._max_tokens = math.inf if max_tokens is None else max_tokens
        self._decoder = codec.decoder()
        for token in prompt.context_ids:
            self._decoder.push(token)
        self._matcher = StopMatcher(length if self._max_tokens else 0, stops)
        self.token_ids: list[int] = []
        self.log_probability = 0.0
        self.last_text = ""  # the text of the last id
        self.characters = 0  # of all drawn ids, including those beyond the end
        self._parts: list[str] = []
        self._unwritten = prompt.pending if self.finish_reason else ""  # if the length is 0
        if prompt.pending and not self.finish_reason:
            self._parts.append(self._matcher.push(prompt.pending))

    @property
    def finish_reason(self) -> str:
        """Why the text is over; empty while it isn't."""
        return self._matcher.finish_reason

    @property
    def room(self) -> float:
        """How many ids may follow, if each is a character or more. 0 if withheld text may fill the length."""
        return min(self._matcher.room, self._max_tokens - len(self.token_ids))

    def text(self) -> str:
        """All text that is certain."""
        return "".join(self._parts)

    def push(self, token: int, log_probability: float, rule: TextConstraint | None = None) -> str:
        """Take a drawn id, which `rule` has taken already, and return the text that is certain now."""
        over = token == self._end
        text = (self._decoder.finish() if over else self._decoder.push(token)).decode("utf-8", "surrogateescape")
        return self._take(token, log_probability, text, over, rule)

    def push_all(
        self, tokens: Sequence[int], log_probabilities: Sequence[float], rule: TextConstraint | None = None
    ) -> str:
        """Take drawn ids as `push` does, one or more, until the text is over, and return all that is certain then."""
        if rule is not None and rule.over:  # with the last of them
            before = self.push_all(tokens[:-1], log_probabilities[:-1]) if len(tokens) > 1 else ""
            return before if self.finish_reason else before + self.push(tokens[-1], log_probabilities[-1], rule)
        if self._matcher.waits or self._end in tokens:
            return self._push_until_over(tokens, log_probabilities, self.push)
        texts = [self._decoder.push(token).decode("utf-8", "surrogateescape") for token in tokens]
        whole = "".join(texts)
        if not self._matcher.has_room(whole) or len(self.token_ids) + len(tokens) >= self._max_tokens:
            rest = iter(texts)
            return self._push_until_over(
                tokens, log_probabilities, lambda token, log: self._take(token, log, next(rest))
            )
        self.token_ids += tokens
        for log_probability in log_probabilities:  # one after another, so that the sum is that of `push`
            self.log_probability += log_probability
        self.last_text = texts[-1]
        self.characters += len(whole)
        self._parts.append(self._matcher.push(whole))
        return whole

    def _push_until_over(
        self, tokens: Sequence[int], log_probabilities: Sequence[float], push: Callable[[int, float], str]
    ) -> str:
        certain = ""
        for token, log_probability in zip(tokens, log_probabilities, strict=True):
            if self.finish_reason:
                break
            certain += push(token, log_probability)
        return certain

    def _take(
        self, token: int, log_probability: float, text: str, over: bool = False, rule: TextConstraint | None = None
    ) -> str:
        self.token_ids.append(token)
        self.log_probability += log_probability
        self.last_text = text
        self.characters += len(text)
        certain = self._matcher.push(text)
        if over and not self.finish_reason:
            certain += self._matcher.finish()
        elif not self.finish_reason and rule is not None and rule.over:
            certain += self._matcher.finish("grammar")
        elif not self.finish_reason and len(self.token_ids) == self._max_tokens:
            certain += self._matcher.finish("length")
        self._parts.append(certain)
        return certain

    def complete(self) -> None:
        """End the text because nothing may follow."""
        if not self.finish_reason:
            self._parts.append(self._matcher.finish("grammar"))

    def copy(self) -> TextStream:
        """An independent stream with the same text."""
        same = copy.copy(self)
        same._decoder, same._matcher = self._decoder.copy(), copy.copy(self._matcher)
        same.token_ids, same._parts = self.token_ids.copy(), self._parts.copy()
        return same

    def log_prob_per_character(self) -> float:
        """Log-probability per drawn character, including those beyond the end."""
        return self.log_probability / max(self.characters, 1)

    def sample(self, index: int, seed: int) -> Sample:
        """The finished sample."""
        count, total = len(self.token_ids), self.log_probability
        return Sample(index, seed, self._prompt.text, self.text(), count, total, self.finish_reason)

    def rest(self) -> str:
        """Decoded text beyond the end."""
        return self._unwritten or self._matcher.rest()

    def tail(self) -> list[int]:
        """The last ids if they hold an unfinished character; otherwise none."""
        unfinished = self._decoder.copy().finish()
        return [*self._prompt.context_ids, *self.token_ids][-_MAX_CHARACTER_IDS:] if unfinished else []


def begin_text(
    codec: Codec, prompt: Prompt, options: SampleOptions, rules: SamplingRules, max_tokens: int | None = None
) -> tuple[TextStream, TextConstraint | None]:
    """A text before its first id, and its constraint if it has one. It may be finished already."""
    length = options.length_for("text")
    text, rule = TextStream(codec, prompt, length, options.stop, max_tokens), rules.stream(length)
    if rule is not None and rule.over:
        text.complete()
    return text, rule


StateCallback = Callable[[Sample, SavedState], None]  # called with each finished sample and the state after it


def saved_state(
    text: TextStream,
    job: GenerationJob,
    stream: ExportedStream,
    index: int,
    position: int,
    limit: float | None = None,
) -> SavedState:
    """The state after a text of `job`.

    Args:
        stream: of the engine, before the last id is read.
        position: random numbers drawn so far.
        limit: of the stateful filter.
    """
    prompt, options = job.prompt, job.options
    history, cut = truncate_history([*prompt.primed.history, *text.token_ids], options)
    last = text.token_ids[-1] if text.token_ids else prompt.primed.last
    return SavedState(
        stream.cells, last, history, cut or prompt.cut, options.seed, index, position, limit, text.rest(), text.tail(),
        prompt.unread, cache=stream.cache, owner=job.owner,
    )  # fmt: skip


def best_of(candidates: Iterable[tuple[int, T]], per_sample: int, score: Callable[[T], float]) -> dict[int, T]:
    """The best candidate for each sample, by sample; the first of equals.

    Args:
        candidates: pairs of the index of its random stream and the candidate, in any order.
        per_sample: candidates for each sample: those of sample i have the streams i · per_sample and following.
    """
    found: dict[int, tuple[float, int, T]] = {}
    for index, candidate in candidates:
        entry = (score(candidate), -index, candidate)
        sample = index // per_sample
        if sample not in found or entry[:2] > found[sample][:2]:
            found[sample] = entry
    return {sample: candidate for sample, (_, _, candidate) in found.items()}
