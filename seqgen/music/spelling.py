"""The events of a piece: its one spelling under the grammar."""

from __future__ import annotations

from seqgen.music.events import MAX_DURATION_QUARTERS, EventVocabulary, tempo_value
from seqgen.music.piece import Note, Piece


def spell(piece: Piece, vocabulary: EventVocabulary) -> list[int]:
    """The ids of a piece on the vocabulary's grid, without the `end` behind it."""
    options = vocabulary.options
    ids: list[int] = []

    def say(kind: str, value: int = 0) -> None:
        ids.append(vocabulary.first[kind] + value)

    metre_values = {vocabulary.metre(value): value for value in range(vocabulary.sizes["metre"])}
    longest = MAX_DURATION_QUARTERS * options.grid
    tempos = {step: tempo_value(bpm) for step, bpm in piece.tempos}
    at: dict[int, list[Note]] = {}
    for note in piece.notes:
        at.setdefault(note.start, []).append(note)
    moments = sorted({*at, *tempos})
    metre, tempo = (4, 4), tempo_value(120)
    track: int | None = None
    known: dict[int, list[int]] = {}  # track → velocity value and duration that hold
    place = 0
    for bar in piece.bars:
        say("bar")
        if (bar.numerator, bar.denominator) != metre:
            metre = (bar.numerator, bar.denominator)
            say("metre", metre_values[metre])
        while place < len(moments) and moments[place] < bar.start + bar.length:
            moment = moments[place]
            place += 1
            new_tempo = tempos.get(moment, tempo)
            notes = at.get(moment, [])
            if not notes and new_tempo == tempo:
                continue
            say("position", moment - bar.start)
            if new_tempo != tempo:
                tempo = new_tempo
                say("tempo", tempo)
            if options.rising:
                notes = sorted(notes, key=lambda note: (note.track, note.pitch))
            for note in notes:
                part = piece.tracks[note.track]
                if note.track != track:
                    track = note.track
                    say("track", track)
                    if track not in known:
                        known[track] = [-1, -1]
                        if part.program is None:
                            say("drums")
                        else:
                            say("program", part.program)
                state = known[track]
                velocity, length = vocabulary.velocity_bin(note.velocity), note.end - note.start
                if velocity != state[0]:
                    state[0] = velocity
                    say("velocity", velocity)
                if length != state[1]:
                    state[1] = length
                    for _ in range((length - 1) // longest):
                        say("longer")
                    say("duration", (length - 1) % longest)
                say("drum" if part.program is None else "note", note.pitch)
    return ids
