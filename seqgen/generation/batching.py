"""Continuous batching: texts of different prompts and options that join and leave one running batch of an engine.

All texts take the steps of the network together, several in one call of the kernels, which draws too. Since no row of
an engine and no draw depends on the others, a text is the same alone and in a crowd.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt

from seqgen.generation.engines.base import Engine, KernelDraw
from seqgen.generation.job import GenerationJob
from seqgen.generation.sampling.constraints import AutomatonConstraint
from seqgen.generation.sampling.draw import make_sampler, random_stream
from seqgen.generation.sampling.native_draw import NativeSampler, kernel_draw
from seqgen.generation.text import FinishedSample, begin_text

Key = TypeVar("Key")


class StepPace:
    """How many steps a call makes, so that it takes about so many seconds: between calls texts join, leave and appear.

    Args:
        most: steps of one call.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self.steps = 1
        self._began = 0.0

    def __enter__(self) -> int:
        self._began = time.monotonic()
        return self.steps

    def __exit__(self, *_: object) -> None:
        steps = self.steps * self._seconds / max(time.monotonic() - self._began, 1e-6)
        self.steps = round(min(max(steps, 1), self._most))


class BatchedText(NamedTuple, Generic[Key]):
    """New text of one of the texts, and its sample if it is finished."""

    key: Key
    text: str
    done: FinishedSample | None


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
        self.text, self._rule = begin_text(job.codec, job.prompt, job.options, job.rules, max_tokens)
        self.beginning = self.text.text()  # not given out yet
        primed, filters = job.prompt.primed, job.rules.filters
        self.row, self.last = _Row(primed.state), primed.last
        self.sampler = make_sampler(filters, job.engine.vocab_size, primed.history, 1, primed.limit)
        self._columns = 1 + filters.uniforms
        self._random = random_stream(self._seed, index, primed.rng_offset).random
        self._left_over = np.empty((0, self._columns))  # random numbers of steps that weren't made
        self.by_kernels = job.by_kernels

    @property
    def constraint(self) -> AutomatonConstraint | None:
        """What the kernels follow besides the filters, if `by_kernels`."""
        return cast("AutomatonConstraint | None", self._rule)

    @property
    def finished(self) -> bool:
        return bool(self.text.finish_reason)

    def draw_numbers(self, steps: int, into: npt.NDArray[np.float64]) -> None:
        """Write the random numbers of so many draws into an array of shape (steps, 2)."""
        first = self._left_over[:steps]
        into[: len(first), : self._columns] = first
        into[len(first) :, : self._columns] = self._random((steps - len(first), self._columns))
        self._left_over = self._left_over[steps:]

    def give_back(self, numbers: npt.NDArray[np.float64]) -> None:
        """Take back the last of the numbers, which no step has used."""
        if len(numbers):
            self._left_over = np.concatenate([numbers[:, : self._columns], self._left_over])

    def given(self, text: str) -> BatchedText[Key]:
        """New text, and the sample if nothing follows."""
        if not self.finished:
            return BatchedText(self.key, text, None)
        sample = self.text.sample(self._index, self._seed)
        return BatchedText(self.key, text, FinishedSample(sample, self.text.log_prob_per_character(), None))

    def step(self, logits: npt.NDArray[np.float32]) -> BatchedText[Key]:
        """Draw an id from logits, shape (1, vocabulary)."""
        self._random(out=self.sampler.uniforms[0, : self._columns])
        rule = self._rule
        (self.last,), (log_probability,) = self.sampler.draw(logits, None, None if rule is None else rule.mask())
        if rule is not None and not rule.push(self.last):
            self.sampler.forget_last(0)
        return self.given(self.text.push(self.last, log_probability, rule))

    def take(self, tokens: list[int], log_probabilities: list[float]) -> BatchedText[Key]:
        """Take the ids that the kernels have drawn, one or more."""
        self.last = tokens[-1]
        if self.constraint is not None:
            tokens = tokens[: self.constraint.end_call(tokens)]
        return self.given(self.text.push_all(tokens, log_probabilities[: len(tokens)], self._rule))


class _Group(Generic[Key]):
    """The texts of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.members: dict[Key, _Member[Key]] = {}
        self._known_steps = 1  # steps for which the states of the constraints may be known
        self._drawing: tuple[list[_Member[Key]], KernelDraw] = [], kernel_draw([], [])  # of the texts of the last call

    def advance(self, steps: int) -> list[BatchedText[Key]]:
        """Advance each text by so many ids."""
        found = []
        for member in self.members.values():
            if member.beginning or member.finished:
                found.append(member.given(member.beginning))
                member.beginning = ""
        begun = [member for member in self.members.values() if not member.finished]
        if together := [member for member in begun if member.by_kernels]:
            found += self._generate(together, steps)
        one_by_one = [member for member in begun if not member.by_kernels]
        for _ in range(steps):
            if one_by_one := [member for member in one_by_one if not member.finished]:
                found += self._step(one_by_one)
        return found

    def _generate(self, members: list[_Member[Key]], steps: int) -> list[BatchedText[Key]]:
        """Advance these texts in one call of the kernels, by no more ids than the longest still has room for.

        It may be fewer, where the state of a constraint must be computed first.
        """
        constraints = [member.constraint for member in members if member.constraint is not None]
        if constraints:
            steps = min(steps, self._known_steps)
        steps = int(min(steps, max(1, *(member.text.room for member in members))))
        if self._drawing[0] != members:
            samplers = cast("list[NativeSampler]", [member.sampler for member in members])
            self._drawing = (
                members,
                kernel_draw(
                    samplers, [None if each.constraint is None else each.constraint.kernel for each in members]
                ),
            )
        numbers = np.ones((len(members), steps, 2))
        for row, member in enumerate(members):
            member.draw_numbers(steps, numbers[row])
        AutomatonConstraint.begin_call(constraints)
        tokens, log_probs, made, state = self._engine.generate(*self._state_of(members), self._drawing[1], numbers)
        self._known_steps = 1 if any(constraint.kernel.waits for constraint in constraints) else 2 * steps
        found = []
        drawn = zip(members, tokens.T.tolist(), log_probs.T.tolist(), made.tolist(), strict=True)
        for row, (member, ids, logs, count) in enumerate(drawn):
            member.row = _Row(state, row, len(members))
            member.give_back(numbers[row, count:])
            found.append(member.take(ids[:count], logs[:count]))
        return found

    def _step(self, members: list[_Member[Key]]) -> list[BatchedText[Key]]:
        """Advance these texts by one id."""
        logits, state = self._engine.step(*self._state_of(members))
        for row, member in enumerate(members):
            member.row = _Row(state, row, len(members))
        return [member.step(logits[row : row + 1]) for row, member in enumerate(members)]

    def _state_of(self, members: list[_Member[Key]]) -> tuple[npt.NDArray[np.int64], Any]:
        """The ids still to be read, and the state in which they are."""
        last = np.array([member.last for member in members], dtype=np.int64)
        return last, _joined(self._engine, [member.row for member in members])


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

        Raises `UserError` for a text that its constraints make impossible.
        """
        member = _Member(key, job, index, max_tokens)
        self._groups.setdefault(id(job.engine), _Group(job.engine)).members[key] = member

    def remove(self, key: Key) -> None:
        """Let a text leave, finished or not; nothing happens if it isn't there."""
        for number, group in tuple(self._groups.items()):
            group.members.pop(key, None)
            if not group.members:
                del self._groups[number]

    def advance(self, steps: int = 1) -> list[BatchedText[Key]]:
        """Advance each text by so many ids, or to its end. Finished ones leave."""
        found = [given for group in self._groups.values() for given in group.advance(steps)]
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
