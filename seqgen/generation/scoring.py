"""The cross-entropy of each token of a record, by any engine: scoring needs no torch.

`Scorer` reads one record as it comes. `score_records` reads many of them at once, one in each lane of the engine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from seqgen.config import SampleOptions
from seqgen.errors import ModelError
from seqgen.generation.engines.base import Engine
from seqgen.generation.sampling.draw import PrimedState
from seqgen.generation.state import SavedState, truncate_history
from seqgen.tokenizers import Codec, Ids

# From the next ids, shape (tokens,), to the tokens that were possible at each, shape (tokens, vocabulary).
MaskFunction = Callable[[npt.NDArray[np.int32]], npt.NDArray[np.bool_]]

MAX_OPEN_DOCUMENTS = 64
"""Documents read side by side: each is an open file, perhaps with a decompressor."""

_MAX_LOGITS = 1 << 21  # numbers at a time, so that they stay in or near the cache
_MAX_CHUNK = 1024  # ids of a record read at a time
_MIN_CHUNK = 32
_IDS_AT_ONCE = 1 << 14  # of all lanes
_MAX_WAITING = 1024  # records admitted before the oldest one is over
_MOST_NATS = 2.0**30  # of a token
_UNIT_BITS, _SUBUNIT_BITS = 20, 40  # of `ExactSum`


@dataclass(frozen=True)
class TokenScores:
    """A run of consecutive tokens of one record: their ids, and the cross-entropy of each in nats.

    Raises `ModelError` for nats that are no measure of anything, as ruined weights give them.
    """

    ids: npt.NDArray[np.int32]
    nats: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        sound = np.abs(self.nats) < _MOST_NATS
        if not sound.all():
            raise ModelError(
                f"the model gives a token a cross-entropy of {self.nats[~sound][0]:g} nats: its weights are ruined; "
                "train it again, with a lower --learning-rate"
            )


class ExactSum:
    """A sum of nats that doesn't depend on the order of the summands, nor on the pieces in which they come.

    Float64 sums do, in the last bits. Here every summand is an integer, in units of 2⁻⁶⁰ nats.
    """

    def __init__(self) -> None:
        self._total = 0
        self._other = 0.0  # sum of infinities and NaN, which have no integer

    def add(self, nats: npt.NDArray[np.float64]) -> None:
        """Add all numbers of an array; each has to be below `_MOST_NATS` or not finite."""
        if not np.isfinite(nats).all():
            self._other += float(nats[~np.isfinite(nats)].sum())
            nats = nats[np.isfinite(nats)]
        units = nats * 2.0**_UNIT_BITS
        whole = np.rint(units)
        rest = np.rint((units - whole) * 2.0**_SUBUNIT_BITS)
        self._total += (int(whole.astype(np.int64).sum()) << _SUBUNIT_BITS) + int(rest.astype(np.int64).sum())

    def __float__(self) -> float:
        return self._total / (1 << (_UNIT_BITS + _SUBUNIT_BITS)) + self._other


class Scorer:
    """Scores a record chunk by chunk; the state is carried from one call of `read` to the next."""

    def __init__(
        self,
        engine: Engine,
        codec: Codec,
        masks: MaskFunction | None = None,
        state: SavedState | None = None,
    ) -> None:
        """
        Args:
            masks: the tokens that share the probability at each position; by default all.
            state: where the record continues.
        """
        self._engine, self._masks = engine, masks
        self._chunk = _longest_chunk(engine)
        self._primed = PrimedState([], codec.end, engine.initial(1)) if state is None else state.primed(engine)
        self._before = state or SavedState(np.empty(0, dtype=np.float32), codec.end, [])
        self._recent, self._cut = list(self._before.history), self._before.cut
        if state is not None and state.unread:
            for _ in self.read(codec.encode(state.unread)):
                pass

    @property
    def primed(self) -> PrimedState:
        """The engine's state after all that was read."""
        return self._primed

    def read(self, ids: npt.NDArray[np.int32]) -> Iterator[TokenScores]:
        """Yield the scores of all ids, each given those before it."""
        for start in range(0, len(ids), self._chunk):
            chunk = ids[start : start + self._chunk]
            inputs = np.concatenate([np.array([self._primed.last], dtype=np.int32), chunk[:-1]])
            possible = None if self._masks is None else self._masks(chunk)
            nats, state = self._engine.nats_of(inputs, chunk, self._primed.state, possible)
            self._primed = PrimedState([], int(chunk[-1]), state, self._primed.rng_offset)
            self._recent, cut = truncate_history([*self._recent, *chunk.tolist()], SampleOptions())
            self._cut |= cut
            yield TokenScores(chunk, nats)

    def saved(self) -> SavedState:
        """The state after all that was read."""
        stream, before = self._engine.export_stream(self._primed.state, 0), self._before
        return SavedState(
            stream.cells, self._primed.last, self._recent, self._cut, before.seed, before.index, before.drawn,
            before.limit, cache=stream.cache,
        )  # fmt: skip


class ScoringJob(ABC):
    """A record that `score_records` scores. Subclasses say what its ids are, and take their scores."""

    masks: MaskFunction | None = None
    """The tokens that share the probability at each position; None for all."""

    keeps_states = False
    """Whether `reached` is called after each array of `ids`."""

    @abstractmethod
    def ids(self) -> Iterator[Ids]:
        """Yield the record's ids, any number at a time."""

    @abstractmethod
    def take(self, scores: TokenScores) -> None:
        """Take the scores of the next ids."""

    def reached(self, state: Any, last: int) -> None:  # noqa: B027 - few jobs keep states
        """Take the engine's state of this stream before the last id of an array, which is still to be read."""


Job = TypeVar("Job", bound=ScoringJob)


class _Lane(Generic[Job]):
    """A record on its way through the engine."""

    def __init__(self, job: Job, last: int) -> None:
        """`last`: the id to be read before the record's own."""
        self.job, self.last = job, last
        self.ready: Ids = np.empty(0, dtype=np.int32)  # ids to be scored
        self.is_over = False  # all ids are scored
        self.error: Exception | None = None  # that ended the record
        self._source = job.ids()

    def fill(self, size: int) -> None:
        """Make so many ids ready, if there are as many; for a job that keeps states, not beyond one array."""
        parts = [self.ready] if len(self.ready) else []
        count = len(self.ready)
        try:
            while count < size and not (self.job.keeps_states and parts):
                ids = next(self._source, None)
                if ids is None:
                    break
                if len(ids):
                    parts.append(ids)
                    count += len(ids)
        except Exception as error:  # raised in its turn, after the results of the records before it
            self.error, parts = error, []
        self.is_over = not parts
        if parts:
            self.ready = np.concatenate(parts)

    def next_inputs(self, count: int) -> Ids:
        """What the engine reads before each of the next `count` ids."""
        return np.concatenate([np.array([self.last], dtype=np.int32), self.ready[: count - 1]])

    def advance(self, nats: npt.NDArray[np.float64]) -> bool:
        """Hand over the scores of the next ids. Returns whether these end an array of a job that keeps states."""
        scored, self.ready = self.ready[: len(nats)], self.ready[len(nats) :]
        self.last = int(scored[-1])
        self.job.take(TokenScores(scored, nats))
        return self.job.keeps_states and not len(self.ready)


def score_records(
    engine: Engine, codec: Codec, jobs: Iterable[Job], state: SavedState | None = None, most: int | None = None
) -> Iterator[Job]:
    """Score many records at once, as many side by side as the engine handles best, and yield each when it is over.

    They are yielded in the order in which they came. With the compiled kernels a record's scores are those that
    `Scorer` gives, to the last bit; with other engines, up to the rounding of float32. Memory doesn't grow with the
    number of records, nor with their length.

    Args:
        state: where every record continues; by default at a beginning.
        most: records side by side, if that is limited; for documents, `MAX_OPEN_DOCUMENTS`.

    Raises what a job's `ids`, or the iterator of jobs, raises, after yielding the records before it.
    """
    begin = Scorer(engine, codec, state=state).primed
    width = max(1, engine.batch_size if most is None else min(engine.batch_size, most))
    longest = _longest_chunk(engine)
    source = iter(jobs)
    order: deque[_Lane[Job]] = deque()  # records that were not yielded yet
    lanes: list[_Lane[Job]] = []  # those of them that are being read: the rows of `states`
    states: Any = None
    failure: Exception | None = None
    exhausted = False
    while True:
        rows = list(range(len(lanes)))
        fresh = 0
        while not exhausted and len(lanes) < width and len(order) < _MAX_WAITING:
            try:
                job = next(source, None)
            except Exception as error:
                failure, job = error, None
            if job is None:
                exhausted = True
                break
            lanes.append(_Lane(job, begin.last))
            order.append(lanes[-1])
            fresh += 1
        if fresh:
            more = engine.repeat(begin.state, fresh)
            states = more if states is None else engine.join([states, more])
            rows = list(range(len(lanes)))
        size = max(_MIN_CHUNK, min(longest, _IDS_AT_ONCE // max(1, len(lanes))))
        for lane in lanes:
            lane.fill(size)
            exhausted |= lane.error is not None
        rows = sorted((row for row in rows if not lanes[row].is_over), key=lambda row: -len(lanes[row].ready))
        lanes = [lanes[row] for row in rows]
        while order and order[0].is_over:
            over = order.popleft()
            if over.error is not None:
                raise over.error
            yield over.job
        if not lanes:
            if exhausted:
                break
            states = None
            continue
        states = _advance(engine, lanes, engine.select(states, rows), size)
    if failure is not None:
        raise failure


def _advance(engine: Engine, lanes: list[_Lane[Job]], states: Any, size: int) -> Any:
    """Score up to `size` ids of each lane. Lanes are in descending order of ids that are ready. Returns new states."""
    lengths = np.array([min(len(lane.ready), size) for lane in lanes])
    ids = np.zeros((int(lengths[0]), len(lanes)), dtype=np.int32)
    targets = np.zeros_like(ids)
    possible: npt.NDArray[np.bool_] | None = None
    for row, (lane, length) in enumerate(zip(lanes, lengths.tolist(), strict=True)):
        ids[:length, row], targets[:length, row] = lane.next_inputs(length), lane.ready[:length]
        if lane.job.masks is not None:
            if possible is None:
                possible = np.ones((*ids.shape, engine.vocab_size), dtype=bool)
            possible[:length, row] = lane.job.masks(lane.ready[:length])
    nats, states = engine.nats_of_lanes(ids, targets, lengths, states, possible)
    for row, (lane, length) in enumerate(zip(lanes, lengths.tolist(), strict=True)):
        if lane.advance(nats[:length, row]):
            lane.job.reached(engine.select(states, [row]), lane.last)
    return states


def _longest_chunk(engine: Engine) -> int:
    return int(np.clip(_MAX_LOGITS // engine.vocab_size, _MIN_CHUNK, _MAX_CHUNK))
