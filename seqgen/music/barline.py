"""A piece at a bar line: all that the grammar has to know of what went before, of constant size.

What sounds over the line is known by how long it still does, so that the next bars can be composed as if nothing had
come between; the notes themselves, but for the latest of each track, are not kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from seqgen.errors import ModelError
from seqgen.music.events import MOST_TRACKS, TEMPOS, Vocabulary
from seqgen.music.grammar import Part, Walk
from seqgen.music.piece import Note

LATEST = 1024  # notes of each track that are kept


def leave(walk: Walk) -> dict[str, Any]:
    """Where a piece is at the end of its last bar, as JSON can hold it. Times count from there."""
    line = walk.length
    latest: list[list[list[int]]] = [[] for _ in walk.parts]
    for note in (*walk.before, *walk.notes):
        latest[note.track].append([note.pitch, note.start - line])
    return {
        "metre": list(walk.metre),
        "tempo": walk.tempos[-1][1],
        "track": walk.track,
        "parts": [
            {
                "drums": part.drums,
                "program": part.program,
                "velocity": part.velocity,
                "duration": part.duration,
                "sounding": {str(pitch): int(part.ends[pitch]) - line for pitch in np.flatnonzero(part.ends > line)},
                "latest": notes[-LATEST:],
            }
            for part, notes in zip(walk.parts, latest, strict=True)
        ],
    }


def enter(vocabulary: Vocabulary, data: Any) -> Walk:
    """The walk that goes on from there, at a bar line. Raises `ModelError` for what `leave` never gave."""
    walk = Walk(vocabulary)
    try:
        metres = {vocabulary.metre(value) for value in range(vocabulary.sizes["metre"])}
        walk.metre = tuple(data["metre"])
        walk.tempos = [(0, _within(data["tempo"], 0, len(TEMPOS)))]
        parts = data["parts"]
        if walk.metre not in metres or not isinstance(parts, list) or len(parts) > MOST_TRACKS:
            raise ValueError("there is no such metre, or there are too many tracks")
        for track, about in enumerate(parts):
            part = Part(
                bool(about["drums"]), _within(about["program"], 0, 128),
                _within(about["velocity"], 0, vocabulary.sizes["velocity"]), _within(about["duration"], 1, 1 << 20),
            )  # fmt: skip
            for pitch, left in about["sounding"].items():
                part.ends[_within(int(pitch), 0, 128)] = _within(left, 1, 1 << 20)
            walk.parts.append(part)
            for pitch, start in about["latest"]:
                start = _within(start, -(1 << 40), 0)
                walk.before.append(Note(start, track, _within(pitch, 0, 128), start + 1, 1))
        walk.track = None if data["track"] is None else _within(data["track"], 0, len(parts))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"the state of the piece is damaged: {' '.join(str(error).split())}") from error
    walk.previous = "note"
    return walk


def _within(value: Any, least: int, beyond: int) -> int:
    if type(value) is not int or not least <= value < beyond:
        raise ValueError(f"{str(value)[:20]!r} is out of bounds")
    return value
