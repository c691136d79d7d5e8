"""A piece at a bar line: all that the grammar has to know of what went before, of constant size.

What sounds over the line is known by how long it still does, so that the next bars can be composed as if nothing had
come between; the notes themselves, but for the latest of each track, are not kept.
"""

from __future__ import annotations

from typing import Any

from seqgen.errors import ModelError
from seqgen.music.events import MAX_TRACKS, TEMPOS, EventVocabulary
from seqgen.music.grammar import GrammarState, TrackState
from seqgen.music.piece import Note

MAX_LATEST_NOTES = 1024  # notes of each track that are kept


def dump_barline(walk: GrammarState) -> dict[str, Any]:
    """Where a piece is at the end of its last bar, as JSON can hold it. Times count from there."""
    line, state = walk.length, walk.state()
    latest: list[list[list[int]]] = [[] for _ in walk.parts]
    for note in (*walk.before, *walk.notes):
        latest[note.track].append([note.pitch, note.start - line])
    return {
        "metre": state["metre"],
        "tempo": state["tempo"],
        "track": state["track"],
        "parts": [
            {
                "drums": part.drums,
                "program": part.program,
                "velocity": part.velocity,
                "duration": part.duration,
                "sounding": {str(pitch): end - line for pitch, end in sorted(part.ends.items()) if end > line},
                "latest": notes[-MAX_LATEST_NOTES:],
            }
            for part, notes in zip(walk.parts, latest, strict=True)
        ],
    }


def load_barline(vocabulary: EventVocabulary, data: Any) -> GrammarState:
    """The walk that goes on from there, at a bar line. Raises `ModelError` for what `dump_barline` never gave."""
    parts, before = [], []
    try:
        if not isinstance(data["parts"], list) or len(data["parts"]) > MAX_TRACKS:
            raise ValueError("there are too many tracks")
        for track, about in enumerate(data["parts"]):
            part = TrackState(
                track, bool(about["drums"]), _within(about["program"], 0, 128),
                _within(about["velocity"], 0, vocabulary.sizes["velocity"]), _within(about["duration"], 1, 1 << 20),
            )  # fmt: skip
            for pitch, left in about["sounding"].items():
                part.ends[_within(int(pitch), 0, 128)] = _within(left, 1, 1 << 20)
                part.sounding |= 1 << int(pitch)
            parts.append(part)
            for pitch, start in about["latest"]:
                start = _within(start, -(1 << 40), 0)
                before.append(Note(start, track, _within(pitch, 0, 128), start + 1, 1))
        metre, tempo = _within(data["metre"], 0, vocabulary.sizes["metre"]), _within(data["tempo"], 0, len(TEMPOS))
        last = _within(data["track"], -1, len(parts))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"the state of the piece is damaged: {' '.join(str(error).split())}") from error
    return GrammarState.resumed(vocabulary, metre, tempo, last, parts, before)


def _within(value: Any, least: int, beyond: int) -> int:
    if type(value) is not int or not least <= value < beyond:
        raise ValueError(f"{str(value)[:20]!r} is out of bounds")
    return value
