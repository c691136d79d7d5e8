"""Text coloured by surprisal, or by the values of a unit, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from seqgen.untrusted import as_bytes, printable

if TYPE_CHECKING:
    from seqgen.generation.scoring import TokenScores
    from seqgen.tokenizers import Codec

# Bits a character from which on each background applies, in 256-colour codes: the darker, the less expected. A good
# model needs two bits a character for English.
_BACKGROUNDS = (
    (3.0, "\x1b[30;48;5;230m"),
    (5.0, "\x1b[30;48;5;222m"),
    (8.0, "\x1b[30;48;5;215m"),
    (12.0, "\x1b[97;41m"),
)
_RESET = "\x1b[0m"


class SurprisalHighlighter:
    """Colours text as it arrives. Control characters in the text are shown as symbols, never sent."""

    def __init__(self, codec: Codec) -> None:
        self._decoder = codec.decoder()
        self._nats = 0.0  # of the tokens since the last complete character
        self._background = ""
        self._written = "\n"

    def highlight(self, scored: TokenScores) -> str:
        """Colour the next tokens. A character of several tokens has the surprisal of all of them."""
        parts = []
        for token, nats in zip(scored.ids.tolist(), scored.nats.tolist(), strict=True):
            self._nats += nats
            decoded = self._decoder.push(token)
            if decoded:
                parts.append(self._coloured(decoded))
        return "".join(parts)

    def finish(self) -> str:
        """Return the rest of the text, reset the colour, and end the last line."""
        rest = self._decoder.finish()
        end = self._coloured(rest) if rest else ""
        reset = _RESET * bool(self._background)
        return end + reset + ("" if self._written.endswith("\n") else "\n")

    def _coloured(self, data: bytes) -> str:
        text = printable(data).decode()
        bits = self._nats / math.log(2) / len(text)
        self._nats = 0.0
        background = ""
        for threshold, colour in _BACKGROUNDS:
            if bits >= threshold:
                background = colour
        self._written = text
        change = "" if background == self._background else _RESET * bool(self._background) + background
        self._background = background
        if background and "\n" in text:  # a coloured line feed would colour the rest of the line
            text, self._background = text.replace("\n", f"↵{_RESET}\n"), ""
        return change + text


# 256-colour codes of backgrounds: the larger a value, the darker. The same hues as in pictures.
_POSITIVE, _NEGATIVE = (224, 217, 210, 209, 203), (189, 153, 111, 75, 69)


def coloured_values(steps: Iterable[tuple[str, str, float]], low: float, high: float) -> str:
    """Colour steps by their values: positive ones red and negative ones blue, or blue if none can be negative.

    Args:
        steps: of each step the text before it, its own text, and its value, from `low` to `high`.
    """
    parts = []
    for before, token, value in steps:
        shares = (value - low) / (high - low or 1.0) if low >= 0 else abs(value) / max(high, -low)
        shade = min(len(_POSITIVE), int(max(shares, 0.0) * (len(_POSITIVE) + 1)))
        ramp = _POSITIVE if low < 0 <= value else _NEGATIVE
        parts.append(_shown(before))
        text = _shown(token)
        if not shade or not text:
            parts.append(text)
            continue
        colour = f"\x1b[30;48;5;{ramp[shade - 1]}m"
        # A coloured line feed would colour the rest of the line.
        parts.append(colour + text.replace("\n", f"↵{_RESET}\n{colour}") + _RESET)
    return "".join(parts)


def _shown(text: str) -> str:
    return printable(as_bytes(text)).decode()
