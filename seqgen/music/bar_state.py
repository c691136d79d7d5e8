"""Grammar state at a bar line, in constant size: enough to continue the piece exactly.

Notes that sound across the line are stored by their remaining length. Other notes are dropped except the latest of each
track, and the notes of the bars that a later one may repeat.
"""

from __future__ import annotations

from typing import Any

from seqgen.errors import ModelError
from seqgen.music.events import MAX_NOTE_QUARTERS, MAX_TRACKS, TEMPOS, EventVocabulary
from seqgen.music.form import MAX_AGAIN_NOTES, REMEMBERED_BARS, BarNote, RecentBars
from seqgen.music.grammar import GrammarState, TrackState
from seqgen.music.piece import Note

MAX_LATEST_NOTES = 1024  # per track


def dump_barline(state: GrammarState) -> dict[str, Any]:
    """Return the state at the end of the last bar as JSON values. Times are relative to that bar line."""
    line, scalars = state.length, state.scalars()
    latest: list[list[list[int]]] = [[] for _ in state.track_states]
    for note in (*state.earlier_notes, *state.notes):
        latest[note.track].append([note.pitch, note.start - line])
    recent = {}
    if state.recent_bars is not None:
        bars = state.recent_bars.remembered()
        recent = {"recent": [[length, [list(note[:-1]) for note in notes]] for length, notes in bars]}
    return {
        **recent,
        **({} if state.key is None else {"key": state.key}),
        "metre": scalars["metre"],
        "tempo": scalars["tempo"],
        "track": scalars["track"],
        "parts": [
            {
                "drums": track.drums,
                "program": track.program,
                "velocity": track.velocity,
                "duration": track.duration,
                "sounding": {str(pitch): end - line for pitch, end in sorted(track.ends.items()) if end > line},
                "latest": notes[-MAX_LATEST_NOTES:],
            }
            for track, notes in zip(state.track_states, latest, strict=True)
        ],
    }


def load_barline(vocabulary: EventVocabulary, data: Any) -> GrammarState:
    """Return the grammar state that `dump_barline` stored.

    Raises:
        ModelError: the data is damaged.
    """
    tracks, earlier_notes = [], []
    try:
        if not isinstance(data["parts"], list) or len(data["parts"]) > MAX_TRACKS:
            raise ValueError("too many tracks")
        for index, stored in enumerate(data["parts"]):
            track = TrackState(
                index, bool(stored["drums"]), _within(stored["program"], 0, 128),
                _within(stored["velocity"], 0, vocabulary.sizes["velocity"]), _within(stored["duration"], 1, 1 << 20),
            )  # fmt: skip
            for pitch, remaining in stored["sounding"].items():
                track.ends[_within(int(pitch), 0, 128)] = _within(remaining, 1, 1 << 20)
                track.sounding |= 1 << int(pitch)
            tracks.append(track)
            for pitch, start in stored["latest"]:
                start = _within(start, -(1 << 40), 0)
                earlier_notes.append(Note(start, index, _within(pitch, 0, 128), start + 1, 1))
        metre, tempo = _within(data["metre"], 0, vocabulary.sizes["metre"]), _within(data["tempo"], 0, len(TEMPOS))
        last = _within(data["track"], -1, len(tracks))
        recent = None
        if vocabulary.options.form:
            recent = RecentBars(_recent_bars(data["recent"], vocabulary, tracks))
        key = _within(data["key"], 0, vocabulary.sizes["key"]) if vocabulary.options.key else None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"cannot load the state of the piece of music: it is damaged ({' '.join(str(error).split())})"
        ) from error
    return GrammarState.resumed(vocabulary, metre, tempo, last, tracks, earlier_notes, recent, key)


def _recent_bars(stored: Any, vocabulary: EventVocabulary, tracks: list[TrackState]) -> list[tuple[int, list[BarNote]]]:
    """Read the bars that may be repeated. Raises `ValueError` or a similar error if they are damaged."""
    if not isinstance(stored, list) or len(stored) > REMEMBERED_BARS:
        raise ValueError("too many bars")
    found = []
    for length, notes in stored:
        if not isinstance(notes, list) or len(notes) > MAX_AGAIN_NOTES:
            raise ValueError("too many notes in a bar")
        steps = _within(length, 1, vocabulary.sizes["position"] + 1)
        bar: list[BarNote] = []
        for start, track, pitch, duration, velocity in notes:
            index = _within(track, 0, len(tracks))
            bar.append(
                BarNote(
                    _within(start, bar[-1].start if bar else 0, steps), index, _within(pitch, 0, 128),
                    _within(duration, 1, MAX_NOTE_QUARTERS * vocabulary.options.grid + 1),
                    _within(velocity, 0, vocabulary.sizes["velocity"]), tracks[index].drums is True,
                )
            )  # fmt: skip
        found.append((steps, bar))
    return found


def _within(value: Any, low: int, stop: int) -> int:
    if type(value) is not int or not low <= value < stop:
        raise ValueError(f"{str(value)[:20]!r} is out of range")
    return value
