"""Continuous batching: texts of different prompts and options that join and leave one running batch of an engine.

All texts take a step of the network together, and one call draws for all of them. Since no row of an engine and no draw
depends on the others, a text is the same alone and in a crowd.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from seqgen.generation.engines.base import Engine
from seqgen.generation.sampling.beam import GenerationJob
from seqgen.generation.sampling.draw import make_sampler, random_stream
from seqgen.generation.sampling.native_draw import JointDraw, NativeSampler
from seqgen.generation.text import Sample, begin_text

Key = TypeVar("Key")


class BatchedText(NamedTuple, Generic[Key]):
    """New text of one of the texts, and its sample if it is finished."""

    key: Key
    text: str
    done: Sample | None


@dataclass(frozen=True)
class _Row:
    """One stream of a state of the engine that has so many."""

    state: Any
    row: int = 0
    streams: int = 1


class _Member(Generic[Key]):
    """A text of the batch: where it is in the network, and what draws its ids."""

    def __init__(self, key: Key, job: GenerationJob, index: int, max_tokens: int | None) -> None:
        self.key, self._index, self._seed = key, index, job.options.seed
        self.text, self.rule = begin_text(job.codec, job.prompt, job.options, job.rules, max_tokens)
        self.beginning = self.text.text()  # not given out yet
        primed, filters = job.prompt.primed, job.rules.filters
        self.row, self.last = _Row(primed.state), primed.last
        self.sampler = make_sampler(filters, job.engine.vocab_size, primed.history, 1, primed.limit)
        self._uniforms = self.sampler.uniforms[0, : 1 + filters.uniforms]
        self._random = random_stream(self._seed, index, primed.rng_offset).random

    def prepare(self) -> None:
        """Fill in the random numbers of the next draw."""
        self._random(out=self._uniforms)

    def take(self, token: int, log_probability: float) -> BatchedText[Key]:
        """Take a drawn id."""
        self.last = token
        if self.rule is not None and not self.rule.push(token):
            self.sampler.forget_last(0)
        return self.given(self.text.push(token, log_probability, self.rule))

    def given(self, text: str) -> BatchedText[Key]:
        """New text, and the sample if nothing follows."""
        return BatchedText(self.key, text, self.text.sample(self._index, self._seed) if self.finished else None)

    @property
    def finished(self) -> bool:
        return bool(self.text.finish_reason)


class _Group(Generic[Key]):
    """The texts of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.members: dict[Key, _Member[Key]] = {}
        self._joint: tuple[list[_Member[Key]], JointDraw | None] = [], None

    def step(self) -> list[BatchedText[Key]]:
        """Advance each text by one id."""
        found, members = [], []
        for member in self.members.values():
            if member.beginning or member.finished:
                found.append(member.given(member.beginning))
                member.beginning = ""
            if not member.finished:
                members.append(member)
        if not members:
            return found
        last = np.array([member.last for member in members], dtype=np.int64)
        logits, state = self._engine.step(last, _joined(self._engine, [member.row for member in members]))
        for number, member in enumerate(members):
            member.row = _Row(state, number, len(members))
            member.prepare()
        drawn = self._draw(members, logits)
        return found + [member.take(*pair) for member, pair in zip(members, drawn, strict=True)]

    def _draw(self, members: list[_Member[Key]], logits: npt.NDArray[np.float32]) -> Iterator[tuple[int, float]]:
        """An id for each text, and its log-probability."""
        masks = {number: member.rule.mask() for number, member in enumerate(members) if member.rule is not None}
        if self._joint[0] != members:
            samplers = [member.sampler for member in members]
            native = [sampler for sampler in samplers if isinstance(sampler, NativeSampler)]
            self._joint = members, JointDraw(native, logits.shape[1]) if len(native) == len(samplers) else None
        joint = self._joint[1]
        if joint is not None:
            tokens, log_probs = joint.draw(logits, masks)
            yield from zip(tokens, log_probs, strict=True)
            return
        for number, member in enumerate(members):
            tokens, log_probs = member.sampler.draw(logits[number : number + 1], None, masks.get(number))
            yield tokens[0], log_probs[0]


class RunningBatch(Generic[Key]):
    """The texts that are being generated. Not safe to use from several threads.

    Texts of one engine take their steps together; several engines, such as one with a context cache, one after another.
    """

    def __init__(self) -> None:
        self._groups: dict[int, _Group[Key]] = {}

    def __len__(self) -> int:
        return sum(len(group.members) for group in self._groups.values())

    def __iter__(self) -> Iterator[Key]:
        return iter([key for group in self._groups.values() for key in group.members])

    def add(self, key: Key, job: GenerationJob, index: int, max_tokens: int | None = None) -> None:
        """Let a text join.

        Args:
            index: of its random stream.
            max_tokens: after which it ends.
        """
        group = self._groups.setdefault(id(job.engine), _Group(job.engine))
        group.members[key] = _Member(key, job, index, max_tokens)

    def remove(self, key: Key) -> None:
        """Let a text leave, finished or not; nothing happens if it isn't there."""
        for number, group in tuple(self._groups.items()):
            group.members.pop(key, None)
            if not group.members:
                del self._groups[number]

    def step(self) -> list[BatchedText[Key]]:
        """Advance each text by one id. Finished ones leave."""
        found = [given for group in self._groups.values() for given in group.step()]
        for given in found:
            if given.done is not None:
                self.remove(given.key)
        return found


def _joined(engine: Engine, rows: list[_Row]) -> Any:
    """The streams of these rows as one state. While no text joins or leaves, it is the state of the last step."""
    parts, start = [], 0
    while start < len(rows):
        state, stop = rows[start].state, start
        while stop < len(rows) and rows[stop].state is state:
            stop += 1
        chosen = [row.row for row in rows[start:stop]]
        if chosen != list(range(rows[start].streams)):
            state = engine.select(state, chosen)
        parts.append(state)
        start = stop
    return parts[0] if len(parts) == 1 else engine.join(parts)
