"""Filters that raise and lower single tokens: a bias by name, and penalties for what was said before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqgen.generation.sampling.logits import Filter, FilterContext, Logits

MAX_PENALTY = 1e4  # nats that a repetition can cost: beyond any logit, and no overflow


def suppress_tokens(tokens: Sequence[int]) -> Filter:
    """Never these tokens: control tokens where they have no meaning."""
    ids = np.asarray(tokens, dtype=np.intp)

    def apply(logits: Logits, rows: FilterContext) -> Logits:
        result = logits.copy()
        result[:, ids] = -np.inf
        return result

    return apply


def logit_bias(added: Sequence[tuple[int, float]]) -> Filter:
    """Adds to the logits of these tokens, as in the interfaces of many services; pairs of an id and a number."""

    def apply(logits: Logits, rows: FilterContext) -> Logits:
        result = logits.copy()
        for token, value in added:
            result[:, token] += value
        return result

    return apply


def repetition_penalty(penalty: float, window: int) -> Filter:
    """Positive logits of the last `window` tokens are divided by `penalty`, negative ones multiplied (Keskar et al.,
    2019, CTRL, eq. 2, over the sign as in common use)."""

    def apply(logits: Logits, rows: FilterContext) -> Logits:
        result = logits.copy()
        for row, tokens in enumerate(rows.history):
            recent = np.unique(np.asarray(tokens[-window:], dtype=np.intp))
            values = result[row, recent]
            result[row, recent] = np.where(values > 0, values / penalty, values * penalty)
        return result

    return apply


@dataclass(frozen=True)
class SequenceBreakers:
    """Where in a stream of tokens a breaker ends, whichever tokens it is spelt with: an automaton that reads tokens.

    Attributes:
        table: shape (states, vocabulary), int32: the next state, or −1 − it where a breaker ended in the token.
        longest: bytes of the longest breaker, and so tokens by which a state is certain.
    """

    table: npt.NDArray[np.int32]
    longest: int

    def read(self, tokens: Sequence[int]) -> tuple[list[bool], int]:
        """Whether a breaker ended in each of `tokens`, and the state after them."""
        found, state = [], 0
        for token in tokens:
            state = int(self.table[state, token])
            found.append(state < 0)
            state = -1 - state if state < 0 else state
        return found, state


def dry(
    multiplier: float, base: float, allowed: int, window: int, sequence_breakers: SequenceBreakers | None = None
) -> Filter:
    """Don't Repeat Yourself (p-e-w, 2024, in text-generation-webui).

    Where the last n ≥ `allowed` tokens also stand at an earlier place of the last `window` tokens, what came next there
    would make the repetition longer: `multiplier` · `base`^(n − `allowed`) is taken from its logit, n being the largest
    of all such places. A repetition holds no token in which a breaker ends, and such tokens cost nothing.
    """

    def apply(logits: Logits, rows: FilterContext) -> Logits:
        result = logits.copy()
        for row, tokens in enumerate(rows.history):
            recent = list(tokens[-window:])
            broken = [False] * len(recent)
            if sequence_breakers is not None:  # a breaker may begin before the window
                broken = sequence_breakers.read(tokens[-window - sequence_breakers.longest :])[0][-window:]
            for token, length in repetitions(recent, broken).items():
                if length >= allowed:
                    with np.errstate(over="ignore"):
                        taken = multiplier * np.float64(base) ** (length - allowed)
                    result[row, token] -= min(taken, MAX_PENALTY)
        return result

    return apply


def repetitions(tokens: Sequence[int], broken: Sequence[bool]) -> dict[int, int]:
    """Each token that came after an earlier copy of the last tokens, and how many were alike there at most."""
    back, ends = tokens[::-1], broken[::-1]
    most = next((place for place, ended in enumerate(ends) if ended), len(back))  # since the last breaker
    found: dict[int, int] = {}
    for place, length in enumerate(common_prefixes(back)):
        length = min(length, most)
        if place and length and not ends[place - 1]:
            token = back[place - 1]
            found[token] = max(found.get(token, 0), length)
    return found


def common_prefixes(tokens: Sequence[int]) -> list[int]:
    """For each place, how many tokens from there on are as those from the beginning on: the Z-algorithm (Gusfield,
    1997, 1.4), in linear time however much they repeat themselves."""
    size = len(tokens)
    found = [size] * size
    left = right = 0  # the stretch, found before, that reaches furthest
    for place in range(1, size):
        length = min(right - place, found[place - left]) if place < right else 0
        while place + length < size and tokens[length] == tokens[place + length]:
            length += 1
        if place + length > right:
            left, right = place, place + length
        found[place] = length
    return found
