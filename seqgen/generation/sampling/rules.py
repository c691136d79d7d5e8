"""What texts are drawn under: filters, and what a person asks of each text as masks over what may come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from seqgen.config import SampleOptions
from seqgen.errors import UserError
from seqgen.generation.prompts import Prompt
from seqgen.generation.sampling.constraints import AutomatonConstraint, AutomatonMasks, make_masks
from seqgen.generation.sampling.draw import Guide
from seqgen.generation.sampling.filters import FilterChain
from seqgen.generation.sampling.token_names import resolve_names, spell, visible_token_bytes
from seqgen.tokenizers import Codec
from seqgen.untrusted import as_bytes

if TYPE_CHECKING:
    from seqgen.generation.copies.text import TextCopyGuard

_ANY_LENGTH = 1 << 60  # characters


class TextConstraint(Guide, Protocol):
    """What a person asks of one text, as masks over ids: a guide that can be followed by two texts that part."""

    @property
    def over(self) -> bool:
        """Whether nothing may follow."""
        ...

    def copy(self) -> TextConstraint: ...


@dataclass(frozen=True)
class SamplingRules:
    """What samples of one prompt are drawn under: made once, for any number of them."""

    filters: FilterChain
    masks: AutomatonMasks | None
    guard: TextCopyGuard | None = None

    @classmethod
    def of(
        cls,
        codec: Codec,
        prompt: Prompt,
        options: SampleOptions,
        stop_at_end: bool = False,
        guard: TextCopyGuard | None = None,
    ) -> SamplingRules:
        """`guard` knows already what stands before. Raises `UserError` where the options name what this model has not,
        or leave nothing to write."""
        control = [token for token, piece in enumerate(codec.pieces()) if piece is None]
        # What matches a grammar may be over before the length is reached.
        ends = [codec.end] if stop_at_end or options.grammar is not None else []
        forbidden = [token for token in control if token not in {*prompt.allowed, *ends}]
        before = as_bytes(prompt.text)
        if prompt.is_continuation:
            before = spell(np.array(prompt.primed.history, dtype=np.int64), visible_token_bytes(codec))
        begun = bool(prompt.primed.history)
        masks = make_masks(options, codec, ends, before, prompt.allowed, begun)
        return cls(FilterChain(options, forbidden, resolve_names(options, codec)), masks, guard)

    def stream(self, length: int) -> TextConstraint | None:
        """The beginning of a text of so many characters at most; None where nothing is asked of it. What need not match
        may be cut anywhere: it is drawn as if it were longer."""
        matching = self.filters.options.grammar is not None
        masks = None if self.masks is None else self.masks.stream(length if matching else _ANY_LENGTH)
        guard = None if self.guard is None else self.guard.copy()
        return Both(masks, guard) if masks is not None and guard is not None else masks or guard


class Both:
    """See `TextConstraint`. What matches and copies too little: both."""

    def __init__(self, masks: AutomatonConstraint, guard: TextCopyGuard) -> None:
        self._masks, self._guard = masks, guard

    @property
    def over(self) -> bool:
        """See `TextConstraint`."""
        return self._masks.over

    def mask(self) -> npt.NDArray[np.bool_]:
        mask = self._masks.mask() & self._guard.mask()
        if not mask.any():
            raise UserError("--max-copy leaves nothing that --grammar and --ban would let be written here")
        return mask

    def push(self, token: int) -> bool:
        return self._masks.push(token) & self._guard.push(token)

    def copy(self) -> Both:
        return Both(self._masks.copy(), self._guard.copy())
