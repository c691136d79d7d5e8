"""A piece as a web page: a piano roll that moves and sounds, by WebAudio, with nothing loaded from elsewhere."""

from __future__ import annotations

import html
import json
from pathlib import Path

from seqgen.music.names import PROGRAMS
from seqgen.music.piece import Piece, Track
from seqgen.rendering.audio import Clock, pan_of, timed_notes
from seqgen.rendering.instruments import voice_of

_TEMPLATE = Path(__file__).with_name("page.html")
_PLACE = "/*PIECE*/"
_FRAME_HEIGHT = 520  # pixels


def write(piece: Piece, title: str = "") -> bytes:
    """Return the page of a piece, UTF-8, self-contained."""
    clock, title = Clock(piece), title or "A piece of music"
    data = {
        "title": title,
        "length": clock.seconds(piece.length),
        "bars": [clock.seconds(bar.start) for bar in piece.bars],
        "tracks": [_track(track, number) for number, track in enumerate(piece.tracks)],
        "notes": timed_notes(piece, clock),
    }
    # In JSON within HTML, "<" could end the script.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    page = _TEMPLATE.read_text(encoding="utf-8").replace(_PLACE, text)
    return page.replace("<title>seqgen</title>", f"<title>{html.escape(title)}</title>").encode()


def frame(piece: Piece, title: str = "") -> str:
    """The page of a piece within another page: an element whose script sees nothing of that page."""
    page = html.escape(write(piece, title).decode())
    return (f'<iframe srcdoc="{page}" sandbox="allow-scripts" allow="autoplay" title="{html.escape(title)}" '
            f'style="width:100%;height:{_FRAME_HEIGHT}px;border:0"></iframe>')  # fmt: skip


def _track(track: Track, number: int) -> dict[str, object]:
    if track.program is None:
        return {"name": "drums", "drums": True}
    voice = voice_of(track.program)
    amplitudes = list(voice.amplitudes)
    if voice.ratios:  # the page has harmonics only
        amplitudes = [0.0] * round(max(voice.ratios))
        for ratio, amplitude in zip(voice.ratios, voice.amplitudes, strict=True):
            amplitudes[round(ratio) - 1] += amplitude
    return {
        "name": PROGRAMS[track.program], "drums": False, "amplitudes": [round(each, 4) for each in amplitudes],
        "attack": voice.attack, "decay": voice.decay, "release": voice.release, "pan": pan_of(number),
    }  # fmt: skip
