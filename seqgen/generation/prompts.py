"""Prompts: the text and state before samples, from which any number of them continue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from seqgen.generation.engines.base import Engine
from seqgen.generation.sampling.draw import PrimedState, extend_primed
from seqgen.generation.sampling.draw import prime as prime_ids
from seqgen.generation.state import SavedState
from seqgen.tokenizers import Codec
from seqgen.untrusted import as_bytes


@dataclass(frozen=True)
class Prompt:
    """A prompt as the network has read it.

    Attributes:
        text: the text before the samples.
        allowed: control tokens that may be generated nevertheless, such as the speakers of a conversation.
        context_ids: ids that a decoder needs first, because the next bytes depend on them. Their own text isn't
            repeated.
        pending: text that was generated before and not shown: every sample begins with it.
        unread: bytes of the prompt that weren't read, because they tokenize together with what follows.
        cut: whether more was read than `primed.history` has.
        is_continuation: whether a saved text is continued, so that `primed.history` reaches further back than `text`.
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
    """Read a prompt of any length and any bytes, as the beginning of a document.

    Args:
        hold_incomplete: leave trailing bytes unread if they can't be encoded apart from what follows, such as the
            beginning of a character.
    """
    size = codec.safe_prefix_length(prompt) if hold_incomplete else len(prompt)
    text = prompt.decode("utf-8", "surrogateescape")
    return Prompt(text, prime_ids(engine, codec, codec.encode(prompt[:size])), unread=prompt[size:])


def prime_labelled(engine: Engine, codec: Codec, label: int, prompt: bytes) -> Prompt:
    """Read a prompt as the beginning of a text with a label, given by its id."""
    begin = np.concatenate([np.array([label], dtype=np.int32), codec.encode(prompt)])
    return Prompt(prompt.decode("utf-8", "surrogateescape"), prime_ids(engine, codec, begin))


def continue_from(
    engine: Engine, codec: Codec, saved: SavedState, prompt: bytes = b"", hold_incomplete: bool = False
) -> Prompt:
    """Continue a saved text after `prompt`, which may be empty.

    Text that was generated and not shown comes first: in the samples, or before the prompt if there is one.
    """
    data = saved.unread + prompt
    size = codec.safe_prefix_length(data) if hold_incomplete else len(data)
    primed = extend_primed(engine, saved.primed(engine), codec.encode(data[:size]))
    plain = Prompt("", primed, (), saved.tail, saved.pending, data[size:], saved.cut, True)
    return with_shown_text(plain, codec, prompt.decode("utf-8", "surrogateescape")) if prompt else plain


def carried_bytes(prompt: Prompt, codec: Codec) -> bytes:
    """What every sample begins with and the network has read: pending text, and bytes of an unfinished character."""
    decoder = codec.decoder()
    for token in prompt.context_ids:
        decoder.push(token)
    return as_bytes(prompt.pending) + decoder.finish()


def with_shown_text(prompt: Prompt, codec: Codec, text: str) -> Prompt:
    """The prompt with `text` after its pending text, all of which counts as its own text."""
    carried = carried_bytes(prompt, codec).decode("utf-8", "surrogateescape")
    return replace(prompt, text=carried + text, pending="", context_ids=())
