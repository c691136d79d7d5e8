"""From what people say to ids: tokens by their text, kinds of events by name; and from ids to what they write."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from seqgen.automata.strings import AhoCorasick
from seqgen.config import SampleOptions, check_task, flag_name, parse_event_temperature, parse_logit_bias
from seqgen.errors import UserError
from seqgen.generation.sampling.filters import EventTemperature, ResolvedNames, SequenceBreakers
from seqgen.tokenizers import Codec
from seqgen.untrusted import as_bytes

_MOST_BREAKERS = 256  # bytes of all of them: a state of a table that is as wide as the vocabulary
_BLOCK = 1 << 20  # ids that are spelt at a time
_OTHER_NAMES = {"pitch": "note"}  # of kinds of events

TokenBytes = list[bytes | None]


def token_bytes(codec: Codec, allowed: Sequence[int] = (), begun: bool = True) -> TokenBytes:
    """The bytes that each id writes; None of a control token, but for those `allowed`, which write what a decoder makes
    of them: where something was written before, or where nothing was (`begun`)."""
    table: TokenBytes = [
        bytes([piece]) if isinstance(piece, int) else None if piece is None else piece.encode("utf-8")
        for piece in codec.pieces()
    ]
    for token in allowed:
        decoder = codec.decoder()
        if begun:
            decoder.push(token)
        table[token] = decoder.push(token)
    return table


def visible_token_bytes(codec: Codec) -> list[bytes]:
    """The bytes that each id adds to a text; a speaker begins a line, and other control tokens add none."""
    speakers = range(getattr(codec, "speakers", 0))
    return [piece or b"" for piece in token_bytes(codec, speakers)]


def spell(ids: npt.NDArray[np.integer], table: Sequence[bytes]) -> bytes:
    """The bytes of many ids."""
    flat = np.frombuffer(b"".join(table), dtype=np.uint8)
    lengths = np.array([len(piece) for piece in table], dtype=np.int64)
    starts = np.cumsum(lengths) - lengths
    parts = []
    for first in range(0, len(ids), _BLOCK):
        part = np.asarray(ids[first : first + _BLOCK], dtype=np.int64)
        sizes = lengths[part]
        ends = np.cumsum(sizes)
        places = np.repeat(starts[part] - (ends - sizes), sizes) + np.arange(ends[-1])
        parts.append(flat[places].tobytes())
    return b"".join(parts)


def check_names(options: SampleOptions, codec: Codec) -> None:
    """Raises `UserError` where the options mean nothing to what this vocabulary writes."""
    tasks = {"midi": "music", "labelled": "classify", "dialogue": "dialogue"}
    check_task(SampleOptions, vars(options), tasks.get(codec.name, "text"))


def resolve_names(options: SampleOptions, codec: Codec) -> ResolvedNames:
    """What the options name, in the ids of this vocabulary. Raises `UserError` for what it has not."""
    check_names(options, codec)
    bias = tuple(pair for text in options.logit_bias for pair in _biased(text, codec))
    sequence_breakers = _breaks(options.dry_breaker, codec) if options.dry_multiplier and codec.name != "midi" else None
    return ResolvedNames(
        bias, _kinds(options.temperature_of, codec) if options.temperature_of else (), sequence_breakers
    )


def _biased(text: str, codec: Codec) -> list[tuple[int, float]]:
    """The ids that `x=-2` or `#17=-2` is about, each with what is added to it."""
    name, value = parse_logit_bias(text)
    shown = f"--logit-bias {text[:40]!r}"
    if name.startswith("#") and name[1:].isdecimal() and name.isascii():
        if len(name) > 10 or int(name[1:]) >= codec.vocab_size:
            raise UserError(f"{shown}: this model's ids end with {codec.vocab_size - 1}")
        return [(int(name[1:]), value)]
    if codec.name == "midi":
        from seqgen.tokenizers.midi import MidiCodec

        assert isinstance(codec, MidiCodec)
        events = [token for token in range(codec.vocab_size) if codec.vocabulary.token_name(token) == name]
        if not events:
            raise UserError(f"{shown}: there is no event {name[:40]!r}; `seqgen tokenize midi --pieces` shows them")
        return [(token, value) for token in events]
    data = as_bytes(name)
    found = [token for token, written in enumerate(token_bytes(codec)) if written == data]
    if not found:
        raise UserError(f"{shown}: {name[:40]!r} is not one token of this model; `seqgen tokenize` shows its ids")
    return [(token, value) for token in found]


def _kinds(given: Sequence[str], codec: Codec) -> tuple[EventTemperature, ...]:
    """The kinds of events that have a temperature of their own, the last that was given to each."""
    from seqgen.tokenizers.midi import MidiCodec

    assert isinstance(codec, MidiCodec)
    words, found = codec.vocabulary, {}
    for text in given:
        name, value = parse_event_temperature(text)
        kind = _OTHER_NAMES.get(name, name)
        if kind not in words.offsets:
            raise UserError(
                f"--temperature-of {text[:40]!r}: there is no kind {name[:40]!r}; there are {', '.join(words.offsets)}"
            )
        found[kind] = EventTemperature(words.offsets[kind], words.offsets[kind] + words.sizes[kind], value)
    return tuple(found.values())


def _breaks(breakers: Sequence[str], codec: Codec) -> SequenceBreakers | None:
    """Where breakers end, whatever tokens spell them; None where there are none. A control token is one too."""
    texts = [as_bytes(text) for text in breakers if text]
    if sum(map(len, texts)) > _MOST_BREAKERS:
        raise UserError(f"{flag_name('dry_breaker')} takes {_MOST_BREAKERS} bytes of text in all")
    if not texts:
        return None
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
    """The first bytes of all ids that write any, then the second ones of those that write two, and so on: ids, and the
    byte of each."""
    written = [(token, data) for token, data in enumerate(table) if data]
    longest = max((len(data) for _, data in written), default=0)
    found = []
    for place in range(longest):
        written = [(token, data) for token, data in written if len(data) > place]
        ids = np.array([token for token, _ in written], dtype=np.intp)
        found.append((ids, np.array([data[place] for _, data in written], dtype=np.uint8)))
    return found
