"""The continuous cache: a model predicts also from what it has just read (Grave, Joulin & Usunier, 2017).

After every id, the direction d = h / |h| of the top layer's output is stored beside the id that came next. Later, in
the direction d', the stored ids are predicted again, each with a weight by the likeness of the two, and mixed with the
model's own prediction:

    p(x) = (1 − λ) p_model(x) + λ Σ exp(θ d' · d_i) [x_i = x] / Σ exp(θ d' · d_i)        i: the latest N positions

(The paper takes h instead of d; directions are more like each other where the same will follow, and θ is of the same
size in all models.)

So names and phrases of the text at hand become likely, without training and in constant memory. θ and λ belong to the
model: they are fitted to its held-out part at the end of training (`fit_mixture`).

The cache is an engine around another one: what samples, scores or saves states knows nothing of it. Its numbers depend
neither on other streams nor on the chunks that are read at a time: a key's product with a query is summed in the order
of the units, and a sum over positions in the order of the positions, in panels of 64 that begin at multiples of 64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.errors import ModelError
from seqgen.generation.engines.base import CacheEntries, Engine, ExportedStream
from seqgen.generation.sampling.filters import log_softmax, target_nats
from seqgen.native import library, pointer_to

Array = npt.NDArray[np.float32]

_PANEL = 64  # keys that lie side by side, as the kernel of row products wants them
_SPARE_PANELS = 16  # of a buffer, beyond the cache itself: the cache moves to a new one after so many
_CHUNK = 256  # ids read at a time, so that the products of a chunk stay in or near the processor's cache
_MAX_MEMORY = 1 << 28  # bytes of all streams of a batch
FIT_SIZE = 2000  # tokens of the cache for which θ and λ are fitted
_LEAST_FIT_IDS, MOST_FIT_IDS = 2000, 5000  # that they are fitted to
_THETAS = (8.0, 11.0, 16.0, 22.0, 32.0, 45.0)  # candidates
_WEIGHTS = 0.001, 0.9  # between which λ lies
_LEAST_PROBABILITY = 1e-300  # of an id that the model takes for impossible


@dataclass(frozen=True)
class CacheMixture:
    """θ, by which cosines of outputs are multiplied, and λ, the weight of the cache."""

    theta: float
    weight: float


CONTEXT_CACHE = "context_cache"  # in config.json: θ and λ
_DEFAULT = CacheMixture(20.0, 0.1)  # of models that were trained by earlier versions, or with too little held out


def cache_mixture(saved: Any) -> CacheMixture:
    """The θ and λ in config.json, or the default without any. Raises `ModelError` if they are damaged."""
    if saved is None:
        return _DEFAULT
    numbers = saved if isinstance(saved, dict) else {}
    theta, weight = numbers.get("theta"), numbers.get("weight")
    if not isinstance(theta, float) or not isinstance(weight, float):
        raise ModelError(f"config.json is damaged: {CONTEXT_CACHE} is not two numbers")
    if not (0 <= theta < 1e6 and 0 <= weight < 1):
        raise ModelError(f"config.json is damaged: a number of {CONTEXT_CACHE} is out of range")
    return CacheMixture(theta, weight)


def fit_mixture(engine: Engine, ids: npt.NDArray[np.integer], end: int) -> CacheMixture | None:
    """The θ and λ that make `ids` likeliest, whose records end with the id `end`; None if they are too few.

    θ is one of some candidates, and λ is exact for each of them.
    """
    ids = np.asarray(ids[:MOST_FIT_IDS], dtype=np.int32)
    if len(ids) < _LEAST_FIT_IDS:
        return None
    cached = ContextCacheEngine(engine, FIT_SIZE, _DEFAULT)
    own: list[npt.NDArray[np.float64]] = []
    shares: list[list[npt.NDArray[np.float64]]] = []
    ends = np.flatnonzero(ids == end) + 1
    for record in np.split(ids, ends[ends < len(ids)]):
        state, inputs = cached.initial(1), np.concatenate([np.array([end], dtype=np.int32), record[:-1]])
        for start in range(0, len(record), _CHUNK):
            part = slice(start, start + _CHUNK)
            nats, likeness, hits, state = cached.recall(inputs[part], record[part], state)
            found = [cache_shares(likeness * theta, hits) for theta in _THETAS]
            filled = found[0][1]
            own.append(np.maximum(np.exp(-nats[filled]), _LEAST_PROBABILITY))
            shares.append([each[filled] for each, _ in found])
    models, caches = np.concatenate(own), [np.concatenate(each) for each in zip(*shares, strict=True)]
    weights = [_best_weight(models, each) for each in caches]
    gains = [np.log1p(weight * (each / models - 1)).mean() for weight, each in zip(weights, caches, strict=True)]
    best = int(np.argmax(gains))
    return CacheMixture(_THETAS[best], round(weights[best], 3))


def _best_weight(models: npt.NDArray[np.float64], caches: npt.NDArray[np.float64]) -> float:
    """The λ with the highest mean of log((1 − λ) model + λ cache), which is concave in λ: its slope is bisected."""
    low, high = _WEIGHTS
    ratios = caches / models - 1
    while high - low > 1e-4:
        middle = (low + high) / 2
        if (ratios / (1 + middle * ratios)).mean() > 0:
            low = middle
        else:
            high = middle
    return low


class _Buffer:
    """Memory for the entries of one stream, which are only ever appended.

    States that continue each other share it: an entry before the end of a state never changes. `panels` has the shape
    (panels, units, 64): the keys of a panel lie side by side.
    """

    def __init__(self, panels: int, units: int) -> None:
        self.panels = np.zeros((panels, units, _PANEL), dtype=np.float32)
        self.ids = np.zeros(panels * _PANEL, dtype=np.int32)
        self.end = 0  # of the longest state


@dataclass(frozen=True)
class _Window:
    """The entries of one stream: the positions of a buffer from `first` to before `end`."""

    buffer: _Buffer
    first: int
    end: int


@dataclass(frozen=True)
class CachedState:
    """The state of the wrapped engine, and for each stream its entries and whether it has read anything."""

    inner: Any
    windows: tuple[_Window, ...]
    begun: tuple[bool, ...]


@dataclass(frozen=True)
class _CacheQuery:
    """What a chunk of one stream gave.

    Attributes:
        outputs, directions: shape (tokens, units).
        ends: the position in `window` before which the entries of each token lie.
    """

    outputs: Array
    directions: Array
    window: _Window
    ends: npt.NDArray[np.intp]
    state: CachedState


class ContextCacheEngine(Engine):
    """An `Engine` that mixes the prediction of another with that of its cache.

    Its logits exceed the log-probabilities by as much as the other's do: a repetition penalty scales them.
    """

    def __init__(self, engine: Engine, size: int, mixture: CacheMixture) -> None:
        """`size`: entries of the cache, at least 1."""
        self._inner, self._size, self._mixture = engine, size, mixture
        self._units = engine.outputs(engine.initial(1)).shape[1]
        self._most_panels = -(-size // _PANEL) + 1 + _SPARE_PANELS
        memory = 4 * self._units * _PANEL * self._most_panels
        self.vocab_size, self.arithmetic = engine.vocab_size, engine.arithmetic
        self.batch_size = max(1, min(engine.batch_size, _MAX_MEMORY // memory))

    def initial(self, batch: int) -> CachedState:
        return CachedState(self._inner.initial(batch), (self._empty(0),) * batch, (False,) * batch)

    def step(self, ids: npt.NDArray[np.integer], state: CachedState) -> tuple[Array, CachedState]:
        keys = directions(self._inner.outputs(state.inner))
        logits, inner = self._inner.step(ids, state.inner)
        queries, windows, mixed = directions(self._inner.outputs(inner)), [], []
        for row, (window, begun) in enumerate(zip(state.windows, state.begun, strict=True)):
            one = slice(row, row + 1)
            windows.append(self._appended(window, keys[one], ids[one]) if begun else window)
            mixed.append(self._mixed(logits[one], queries[one], windows[row], np.array([windows[row].end])))
        return np.concatenate(mixed), CachedState(inner, tuple(windows), (True,) * len(windows))

    def read(self, ids: npt.NDArray[np.integer], state: CachedState) -> CachedState:
        passed = max(0, len(ids) - self._size - 1)  # whose entries would be gone at the end
        if passed:
            appended = passed - (not state.begun[0])
            window = self._empty((state.windows[0].end + appended) % _PANEL)
            state = CachedState(self._inner.read(ids[:passed], state.inner), (window,), (True,))
        for start in range(passed, len(ids), _CHUNK):
            state = self._read_chunk(ids[start : start + _CHUNK], state).state
        return state

    def outputs(self, state: CachedState) -> Array:
        return self._inner.outputs(state.inner)

    def outputs_of(self, ids: npt.NDArray[np.integer], state: CachedState) -> tuple[Array, CachedState]:
        reading = self._read_chunk(ids, state)
        return reading.outputs, reading.state

    def logits_from(self, outputs: Array) -> Array:
        """The wrapped engine's logits: the outputs alone don't say what the cache held."""
        return self._inner.logits_from(outputs)

    def logits_of(self, ids: npt.NDArray[np.integer], state: CachedState) -> tuple[Array, CachedState]:
        found = [np.empty((0, self.vocab_size), dtype=np.float32)]
        for start in range(0, len(ids), _CHUNK):
            reading = self._read_chunk(ids[start : start + _CHUNK], state)
            logits, state = self._inner.logits_from(reading.outputs), reading.state
            found.append(self._mixed(logits, reading.directions, reading.window, reading.ends))
        return np.concatenate(found), state

    def nats_of(
        self,
        ids: npt.NDArray[np.integer],
        targets: npt.NDArray[np.integer],
        state: CachedState,
        possible: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[npt.NDArray[np.float64], CachedState]:
        """See `Engine`. Without a mask only the targets' own probabilities are mixed."""
        if possible is not None:
            return super().nats_of(ids, targets, state, possible)
        _, nats, state = self.own_and_mixed_nats_of(ids, targets, state)
        return nats, state

    def own_and_mixed_nats_of(
        self, ids: npt.NDArray[np.integer], targets: npt.NDArray[np.integer], state: CachedState
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], CachedState]:
        """`nats_of` by the model alone and with the cache, and the new state."""
        every, mixed = np.empty(len(ids)), np.empty(len(ids))
        for start in range(0, len(ids), _CHUNK):
            part = slice(start, start + _CHUNK)
            own, likeness, hits, state = self.recall(ids[part], targets[part], state)
            shares, filled = cache_shares(likeness * self._mixture.theta, hits)
            every[part], mixed[part] = own, np.where(filled, -self._mix(-own, shares), own)
        return every, mixed, state

    def recall(
        self, ids: npt.NDArray[np.integer], targets: npt.NDArray[np.integer], state: CachedState
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_], CachedState]:
        """Read a chunk of one stream.

        Returns:
            the model's own nats of `targets`; cosines of each output and the keys of the cache, shape
            (tokens, entries), −∞ for those that it may not use; which of these were followed by the target; and the new
            state.
        """
        reading = self._read_chunk(ids, state)
        nats = target_nats(self._inner.logits_from(reading.outputs), targets)
        likeness, recalled = self._likeness(reading.directions, reading.window, reading.ends)
        return nats, likeness, recalled == targets[:, None], reading.state

    def join(self, states: Sequence[CachedState]) -> CachedState:
        windows = tuple(window for state in states for window in state.windows)
        begun = tuple(one for state in states for one in state.begun)
        return CachedState(self._inner.join([state.inner for state in states]), windows, begun)

    def repeat(self, state: CachedState, batch: int) -> CachedState:
        return CachedState(self._inner.repeat(state.inner, batch), state.windows * batch, state.begun * batch)

    def select(self, state: CachedState, rows: Sequence[int]) -> CachedState:
        return CachedState(
            self._inner.select(state.inner, rows),
            tuple(state.windows[row] for row in rows),
            tuple(state.begun[row] for row in rows),
        )

    def export_state(self, state: CachedState, row: int) -> Array:
        return self._inner.export_state(state.inner, row)

    def import_state(self, cells: Array) -> CachedState:
        return CachedState(self._inner.import_state(cells), (self._empty(0),), (bool(cells.any()),))

    def export_stream(self, state: CachedState, row: int) -> ExportedStream:
        window, cells = state.windows[row], self.export_state(state, row)
        if not state.begun[row]:
            return ExportedStream(cells)
        first = max(window.first, window.end - self._size)
        at = np.arange(first, window.end)
        keys = window.buffer.panels[at // _PANEL, :, at % _PANEL].reshape(len(at), self._units)
        return ExportedStream(cells, CacheEntries(keys, window.buffer.ids[first : window.end].copy(), first % _PANEL))

    def import_stream(self, stream: ExportedStream) -> CachedState:
        state, entries = self.import_state(stream.cells), stream.cache
        if entries is None:
            return state
        window = self._appended(self._empty(entries.phase), entries.keys, entries.ids)
        return CachedState(state.inner, (window,), (True,))

    def _empty(self, phase: int) -> _Window:
        """No entries; the first one will have a position of this remainder by 64."""
        return _Window(_Buffer(0, self._units), phase, phase)

    def _read_chunk(self, ids: npt.NDArray[np.integer], state: CachedState) -> _CacheQuery:
        """Read ids in the only stream of a state."""
        (window,), (begun,) = state.windows, state.begun
        outputs, inner = self._inner.outputs_of(ids, state.inner)
        unread = 0 if begun or not len(ids) else 1  # the first id follows no output
        every = directions(np.concatenate([self._inner.outputs(state.inner), outputs]))
        keys = every[unread : len(ids)]
        window = self._appended(window, keys, ids[unread:])
        ends = window.end + 1 - len(ids) + np.arange(len(ids))
        return _CacheQuery(
            outputs,
            every[1:],
            window,
            np.maximum(ends, window.first),
            CachedState(inner, (window,), (begun or len(ids) > 0,)),
        )

    def _appended(self, window: _Window, keys: Array, ids: npt.NDArray[np.integer]) -> _Window:
        """The entries and further ones; keys of shape (entries, units). The given window stays as it is."""
        buffer, first, end, count = window.buffer, window.first, window.end, len(ids)
        if not count:
            return window
        if end != buffer.end or end + count > len(buffer.ids):
            low, high = max(first, end - self._size) // _PANEL, -(-end // _PANEL)
            needed = -(-(end + count) // _PANEL) - low
            moved = _Buffer(max(needed, min(2 * needed, self._most_panels)), self._units)
            moved.panels[: max(0, min(high, len(buffer.panels)) - low)] = buffer.panels[low:high]
            kept = buffer.ids[low * _PANEL : end]
            moved.ids[: len(kept)] = kept
            buffer, first, end = moved, max(0, first - low * _PANEL), end - low * _PANEL
        at = np.arange(end, end + count)
        buffer.panels[at // _PANEL, :, at % _PANEL] = keys
        buffer.ids[at] = ids
        buffer.end = end + count
        return _Window(buffer, first, buffer.end)

    def _likeness(
        self, queries: Array, window: _Window, ends: npt.NDArray[np.intp]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32]]:
        """Products of queries, shape (tokens, units), with the keys of whole panels, and the ids of those.

        Products with entries that a query may not use are −∞: those before `size` ones, or not before its end.
        """
        firsts = np.maximum(window.first, ends - self._size)
        low, high = int(firsts[0]) // _PANEL, -(-window.end // _PANEL)
        panels = window.buffer.panels[low:high]
        at = np.arange(low * _PANEL, low * _PANEL + len(panels) * _PANEL)
        usable = (at >= firsts[:, None]) & (at < ends[:, None])
        products = panel_products(queries, panels).astype(np.float64)
        return np.where(usable, products, -np.inf), window.buffer.ids[at]

    def _mixed(self, logits: Array, queries: Array, window: _Window, ends: npt.NDArray[np.intp]) -> Array:
        """Logits of the mixture, shape (tokens, vocabulary)."""
        exact = logits.astype(np.float64)
        log_probs = log_softmax(exact)
        excess = exact.max(axis=1, keepdims=True) - log_probs.max(axis=1, keepdims=True)
        likeness, recalled = self._likeness(queries, window, ends)
        for row in range(len(logits)):
            weights, total = cache_weights(likeness[row : row + 1] * self._mixture.theta)
            if total[0] > 0:
                sums = np.bincount(recalled, weights[0], self.vocab_size)
                log_probs[row] = self._mix(log_probs[row], sums / total[0])
        return (log_probs + excess).astype(np.float32)

    def _mix(self, log_probs: npt.NDArray[np.float64], shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """log((1 − λ) p + λ s), for the model's log p and the cache's s."""
        mixed = log_probs + np.log1p(-self._mixture.weight)
        known = shares > 0
        mixed[known] = np.logaddexp(mixed[known], np.log(shares[known]) + np.log(self._mixture.weight))
        return mixed


def directions(outputs: Array) -> Array:
    """The outputs, shape (tokens, units), each divided by its norm; zeros stay zeros."""
    norms = np.sqrt(np.square(outputs).sum(axis=1, keepdims=True))
    return outputs / np.maximum(norms, np.float32(1e-20))


def panel_products(queries: Array, panels: Array) -> Array:
    """Products of queries, shape (tokens, units), with all keys of panels; shape (tokens, 64 · panels).

    Each depends on its query and its key alone, to the last bit.
    """
    kernels, (count, units, _) = library(), panels.shape
    if kernels is None:  # every product has the same shape
        flat = np.matmul(queries[:, None, None, :], panels[None])
        return flat.reshape(len(queries), count * _PANEL)
    result = np.empty((len(queries), count * _PANEL), dtype=np.float32)
    if result.size:
        queries = np.ascontiguousarray(queries)
        kernels.seqgen_row_product(
            pointer_to(queries), pointer_to(panels), None, len(queries), units, count * _PANEL, pointer_to(result)
        )
    return result


def cache_weights(scores: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Weights exp(score − highest of the row), shape (tokens, 64 · panels), and the sum of each row; 0 without any."""
    highest = scores.max(axis=1, initial=-np.inf, keepdims=True)
    weights = np.exp(scores - np.where(np.isfinite(highest), highest, 0.0))
    return weights, _row_sums(weights)


def cache_shares(
    scores: npt.NDArray[np.float64], hits: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """The share of each row's weight that `hits` have, and whether the row has any entries at all."""
    weights, totals = cache_weights(scores)
    filled = totals > 0
    return _row_sums(np.where(hits, weights, 0.0)) / np.where(filled, totals, 1.0), filled


def _row_sums(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Sums of the rows, panel by panel: further panels of zeros change no bit."""
    panels = weights.reshape(len(weights), -1, _PANEL).sum(axis=2)
    if not panels.shape[1]:
        return np.zeros(len(weights))
    return panels.cumsum(axis=1)[:, -1]
