"""Text coloured by how surprising it is, for a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from seqgen.untrusted import printable

if TYPE_CHECKING:
    from seqgen.generation.scoring import TokenScores
    from seqgen.tokenizers import Codec

# From so many bits a character on the ground is so coloured, in the 256 colours that terminals know: the darker, the
# less expected. Two bits are what English costs a good model.
_GROUNDS = ((3.0, "\x1b[30;48;5;230m"), (5.0, "\x1b[30;48;5;222m"), (8.0, "\x1b[30;48;5;215m"), (12.0, "\x1b[97;41m"))
_PLAIN = "\x1b[0m"


class SurprisalHighlighter:
    """Colours text as it comes. What it gives is harmless: controls in the text are shown, never sent."""

    def __init__(self, codec: Codec) -> None:
        self._decoder = codec.decoder()
        self._nats = 0.0  # of a character that is not finished
        self._ground = ""
        self._written = "\n"

    def highlight(self, scored: TokenScores) -> str:
        """The next tokens. A character that is spelt in several has the surprise of all."""
        parts = []
        for token, nats in zip(scored.ids.tolist(), scored.nats.tolist(), strict=True):
            self._nats += nats
            came = self._decoder.push(token)
            if came:
                parts.append(self._coloured(came))
        return "".join(parts)

    def finish(self) -> str:
        """What is left, a line feed if there is none, and no colour any more."""
        rest = self._decoder.finish()
        end = self._coloured(rest) if rest else ""
        plain = _PLAIN * bool(self._ground)
        return end + plain + ("" if self._written.endswith("\n") else "\n")

    def _coloured(self, data: bytes) -> str:
        text = printable(data).decode()
        bits = self._nats / math.log(2) / len(text)
        self._nats = 0.0
        ground = ""
        for least, colour in _GROUNDS:
            if bits >= least:
                ground = colour
        self._written = text
        change = "" if ground == self._ground else _PLAIN * bool(self._ground) + ground
        self._ground = ground
        if ground and "\n" in text:  # a coloured line feed would colour the rest of the line
            text, self._ground = text.replace("\n", f"↵{_PLAIN}\n"), ""
        return change + text
