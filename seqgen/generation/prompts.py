"""What stands before a text: a prompt, or all that was read before, from which any number of samples go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from seqgen.generation.engines.base import Engine
from seqgen.generation.sampling.draw import PrimedState, extend_primed
from seqgen.generation.sampling.draw import prime as prime_ids
from seqgen.generation.state import SavedState
from seqgen.tokenizers import Codec


@dataclass(frozen=True)
class Prompt:
    """A prompt that was read once: what any number of samples go on from.

    Attributes:
        text: what stands before the samples.
        allowed: control tokens that may be written all the same, as speakers in a conversation are.
        lead: ids that a decoder has to know: those that its next bytes depend on. What they spell is not shown again.
        pending: text that was written before and not shown: every sample begins with it.
        unread: bytes of the prompt that are read together with what comes behind them, so not by this one.
        cut: whether more was read than `primed.history` tells.
        gone_on: whether `primed.history` tells of more than `text` does: a text is gone on with.
    """

    text: str
    primed: PrimedState
    allowed: Sequence[int] = ()
    context_ids: Sequence[int] = ()
    pending: str = ""
    unread: bytes = b""
    cut: bool = False
    is_continuation: bool = False


def prime(engine: Engine, codec: Codec, prompt: bytes, hold_incomplete: bool = False) -> Prompt:
    """Reads a prompt of any length and any bytes, as the beginning of a document. With `hold_incomplete`, what can't be encoded
    apart from what follows it, as the beginning of a character, is not read yet."""
    certain = codec.split(prompt) if hold_incomplete else len(prompt)
    text = prompt.decode("utf-8", "surrogateescape")
    return Prompt(text, prime_ids(engine, codec, codec.encode(prompt[:certain])), unread=prompt[certain:])


def prime_labelled(engine: Engine, codec: Codec, label: int, prompt: bytes) -> Prompt:
    """Reads a prompt as the beginning of a text that has a label, given by its id."""
    begin = np.concatenate([np.array([label], dtype=np.int32), codec.encode(prompt)])
    return Prompt(prompt.decode("utf-8", "surrogateescape"), prime_ids(engine, codec, begin))


def continue_from(
    engine: Engine, codec: Codec, saved: SavedState, prompt: bytes = b"", hold_incomplete: bool = False
) -> Prompt:
    """From where a text was left, after `prompt`, which may be nothing. What was written and not shown comes first: in
    the samples, or, where there is a prompt, before it."""
    data = saved.unread + prompt
    certain = codec.split(data) if hold_incomplete else len(data)
    primed = extend_primed(engine, saved.primed(engine), codec.encode(data[:certain]))
    shown = Prompt("", primed, (), saved.tail, saved.pending, data[certain:], saved.cut, True)
    return with_shown_text(shown, codec, prompt.decode("utf-8", "surrogateescape")) if prompt else shown


def with_shown_text(prompt: Prompt, codec: Codec, text: str) -> Prompt:
    """The same with `text` behind what was not shown yet, and all of it as the text of the prompt."""
    decoder = codec.decoder()
    for token in prompt.context_ids:
        decoder.push(token)
    waiting = decoder.finish().decode("utf-8", "surrogateescape")
    return replace(prompt, text=prompt.pending + waiting + text, pending="", context_ids=())
