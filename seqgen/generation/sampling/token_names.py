"""Ids of the texts and names in sampling options, and the bytes that ids write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.automata.automaton import AhoCorasick
from seqgen.config import SampleOptions, check_task, flag_name, parse_event_temperature, parse_logit_bias
from seqgen.errors import UserError
from seqgen.generation.sampling.filters import EventTemperature, SequenceBreakers
from seqgen.specs.filters import filter_rows
from seqgen.specs.registry import resolve
from seqgen.specs.tasks import TASKS
from seqgen.specs.tokenizers import TOKENIZERS
from seqgen.tokenizers import Codec
from seqgen.tokenizers.codec import piece_bytes
from seqgen.untrusted import as_bytes

_MAX_BREAKER_BYTES = 256  # of all breakers: each is a state of a table as wide as the vocabulary
_BLOCK = 1 << 20  # ids joined at a time
_EVENT_ALIASES = {"pitch": "note"}

TokenBytes = list[bytes | None]


def token_bytes(codec: Codec, allowed: Sequence[int] = (), begun: bool = True) -> TokenBytes:
    """The bytes that each id writes; None for a control token.

    Control tokens in `allowed` write what a decoder makes of them: after other text, or at the very beginning (not
    `begun`).
    """
    table: TokenBytes = [None if piece is None else piece_bytes(piece) for piece in codec.pieces()]
    for token in allowed:
        decoder = codec.decoder()
        if begun:
            decoder.push(token)
        table[token] = decoder.push(token)
    return table


def visible_token_bytes(codec: Codec) -> list[bytes]:
    """The bytes that each id adds to a text: a speaker begins a line, and other control tokens add none."""
    speakers = range(getattr(codec, "speakers", 0))
    return [piece or b"" for piece in token_bytes(codec, speakers)]


def count_characters(data: bytes) -> int:
    """Characters that begin in these bytes: all bytes but UTF-8 continuation bytes."""
    return sum(byte & 0xC0 != 0x80 for byte in data)


def join_token_bytes(ids: npt.NDArray[np.integer], table: Sequence[bytes]) -> bytes:
    """The bytes of many ids, joined."""
    flat = np.frombuffer(b"".join(table), dtype=np.uint8)
    lengths = np.array([len(piece) for piece in table], dtype=np.int64)
    starts = np.cumsum(lengths) - lengths
    parts = []
    for first in range(0, len(ids), _BLOCK):
        block = np.asarray(ids[first : first + _BLOCK], dtype=np.int64)
        sizes = lengths[block]
        ends = np.cumsum(sizes)
        positions = np.repeat(starts[block] - (ends - sizes), sizes) + np.arange(ends[-1])
        parts.append(flat[positions].tobytes())
    return b"".join(parts)


def check_names(options: SampleOptions, codec: Codec) -> None:
    """Raise `UserError` for options that don't apply to the output of this codec."""
    tasks = [name for name, task in TASKS.items() if codec.name in task.accepted_tokenizers]
    if tasks:
        check_task(SampleOptions, vars(options), tasks[0])


def resolve_names(options: SampleOptions, codec: Codec) -> dict[str, Any]:
    """Ids of the texts and names in the options, by filter. Raises `UserError` for those the vocabulary lacks."""
    check_names(options, codec)
    return {row.name: resolve(row.resolve)(options, codec) for row in filter_rows() if row.resolve}


def resolve_logit_bias(options: SampleOptions, codec: Codec) -> tuple[tuple[int, float], ...]:
    """Ids and values of `--logit-bias`, in which a token is given as its text (`x=-2`) or its id (`#17=-2`)."""
    return tuple(pair for text in options.logit_bias for pair in _biased_tokens(text, codec))


def _biased_tokens(text: str, codec: Codec) -> list[tuple[int, float]]:
    name, value = parse_logit_bias(text)
    flag = f"--logit-bias {text[:40]!r}"
    if name.startswith("#") and name[1:].isdecimal() and name.isascii():
        if len(name) > 10 or int(name[1:]) >= codec.vocab_size:
            raise UserError(f"{flag}: there is no such id; the last one is {codec.vocab_size - 1}")
        return [(int(name[1:]), value)]
    found = codec.tokens_named(name)
    if not found and not TOKENIZERS.find(codec.name).writes_text:
        raise UserError(f"{flag}: there is no event {name[:40]!r}; `seqgen tokenize midi --pieces` lists them")
    if not found:
        raise UserError(f"{flag}: {name[:40]!r} is not one token of this model; `seqgen tokenize` prints its ids")
    return [(token, value) for token in found]


def resolve_event_temperatures(options: SampleOptions, codec: Codec) -> tuple[EventTemperature, ...]:
    """Token ranges and temperatures of `--temperature-of`; the last one given for an event type counts."""
    if not options.temperature_of:
        return ()
    from seqgen.tokenizers.midi import MidiCodec

    assert isinstance(codec, MidiCodec)
    vocabulary, found = codec.vocabulary, {}
    for text in options.temperature_of:
        name, value = parse_event_temperature(text)
        event = _EVENT_ALIASES.get(name, name)
        if event not in vocabulary.offsets:
            known = ", ".join(vocabulary.offsets)
            raise UserError(f"--temperature-of {text[:40]!r}: there is no event type {name[:40]!r}; use one of {known}")
        ids = vocabulary.ids(event)
        found[event] = EventTemperature(ids.start, ids.stop, value)
    return tuple(found.values())


def resolve_sequence_breakers(options: SampleOptions, codec: Codec) -> SequenceBreakers | None:
    """The automaton that finds where `--dry-breaker` texts end, however they are tokenized; None without any.

    A control token is a breaker too.
    """
    texts = [as_bytes(text) for text in options.dry_breaker if text]
    if not options.dry_multiplier or not texts or not TOKENIZERS.find(codec.name).writes_text:
        return None
    if sum(map(len, texts)) > _MAX_BREAKER_BYTES:
        raise UserError(f"{flag_name('dry_breaker')} takes at most {_MAX_BREAKER_BYTES} bytes of text in total")
    strings, table = AhoCorasick(texts, 256), token_bytes(codec)
    states = np.repeat(np.arange(len(strings.transitions), dtype=np.int64)[:, None], len(table), axis=1)
    ended = np.zeros(states.shape, dtype=bool)
    for token, written in enumerate(table):
        if written is None:
            states[:, token], ended[:, token] = 0, True
    for ids, data in bytes_by_position(table):
        states[:, ids] = strings.transitions[states[:, ids], data]
        ended[:, ids] |= strings.accepting[states[:, ids]]
    return SequenceBreakers(np.where(ended, -1 - states, states).astype(np.int32), max(map(len, texts)))


def bytes_by_position(table: Sequence[bytes | None]) -> list[tuple[npt.NDArray[np.intp], npt.NDArray[np.uint8]]]:
    """The first bytes of all ids that have one, then the second bytes, and so on: arrays of ids and of their bytes."""
    written = [(token, data) for token, data in enumerate(table) if data]
    longest = max((len(data) for _, data in written), default=0)
    found = []
    for position in range(longest):
        written = [(token, data) for token, data in written if len(data) > position]
        ids = np.array([token for token, _ in written], dtype=np.intp)
        found.append((ids, np.array([data[position] for _, data in written], dtype=np.uint8)))
    return found
