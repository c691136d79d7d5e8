"""Properties of a sequence at each step that a unit may stand for, as small integers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqgen.corpus.series.read import Series
from seqgen.music.events import EventVocabulary
from seqgen.music.grammar import GrammarState

Labels = npt.NDArray[np.int64]

_MIN_COUNT = 20  # steps of the rarest value that count as such
_MAX_VALUES = 12  # of a feature
_LINE_BINS = (1, 10, 20, 30, 40, 50, 60, 70)  # characters since the line break
_SENTENCE_BINS = (1, 3, 6, 10, 15, 21, 31)  # words since the sentence began
_WORD_BINS = (1, 2, 3, 4, 5, 7, 9)  # letters since the word began
_QUARTILES = (25, 50, 75)
# What closes each opening quotation mark; some marks open in one language and close in another.
_QUOTES = {'"': '"', "“": "”", "„": "“”", "‘": "’", "‚": "‘’", "«": "»", "»": "«", "‹": "›", "›": "‹", "「": "」",
           "『": "』"}  # fmt: skip
_SPEAKER_LINE = re.compile(r"^[^\S\n]*[A-Z][^\n:.!?]{0,40}:[^\S\n]*$", re.MULTILINE)
_VOWELS = frozenset("aeiouyáàâäãåéèêëíìîïóòôöõúùûüAEIOUY")


@dataclass(frozen=True)
class Feature:
    """A property of a sequence: its name, and its value after each step, shape (steps,), from 0."""

    name: str
    values: Labels

    @property
    def entropy(self) -> float:
        """In bits: the most that a unit can tell about it."""
        counts = np.bincount(self.values)
        shares = counts[counts > 0] / len(self.values)
        return float(-(shares * np.log2(shares)).sum())


def usable(features: Sequence[Feature]) -> list[Feature]:
    """Those that have at least two values, each often enough for statistics; rare values become one."""
    found = []
    for feature in features:
        values = feature.values
        if not len(values):
            continue
        counts = np.bincount(values)
        frequent = np.argsort(-counts, kind="stable")[: _MAX_VALUES - 1]
        frequent = frequent[counts[frequent] >= _MIN_COUNT]
        code = np.full(len(counts), len(frequent))
        code[frequent] = np.arange(len(frequent))
        coded = code[values]
        rest = int((coded == len(frequent)).sum())
        if len(frequent) >= 2 or (len(frequent) == 1 and rest >= _MIN_COUNT):
            found.append(Feature(feature.name, coded))
    return found


def text_features(tokens: Sequence[str], speakers: Labels | None = None) -> list[Feature]:
    """The features of a text that is read token by token.

    Args:
        tokens: the text that each token completes; empty within a character.
        speakers: who speaks, by token, in a conversation.
    """
    text = "".join(tokens)
    ends = np.cumsum([len(token) for token in tokens]) - 1  # the last character that a token completes
    found = [Feature(name, values[np.maximum(ends, 0)]) for name, values in _character_features(text).items()]
    if speakers is not None:
        found.append(Feature("who is speaking", speakers))
    return found


def _character_features(text: str) -> dict[str, Labels]:
    """By name, the value after each character of a text."""
    count = len(text)
    bracketed, line, sentence, word, kind = (np.zeros(count, dtype=np.int64) for _ in range(5))
    depth, column, words, letters = 0, 0, 0, 0
    previous = "\n"
    for index, character in enumerate(text):
        if character == "\n":
            column = 0
            if previous == "\n":  # a paragraph ends whatever was open
                depth, words = 0, 0
        else:
            column += 1
        depth = max(0, depth + (character in "([{（【") - (character in ")]}）】"))
        if character.isalnum():
            if not letters:
                words += 1
            letters += 1
        elif character not in "'’-":
            letters = 0
        if character in ".!?。！？":
            words = 0
        bracketed[index] = depth > 0
        line[index], sentence[index], word[index] = column, words, letters
        kind[index] = 1 if character in _VOWELS else 2 if character.isalpha() else 0
        previous = character
    following = text[1:] + " "
    speaker_lines = np.zeros(count, dtype=np.int64)
    for match in _SPEAKER_LINE.finditer(text):
        speaker_lines[match.start() : match.end()] = 1
    return {
        "inside quotation marks": _quoted(text),
        "inside brackets": bracketed,
        "position in the line": np.digitize(line, _LINE_BINS),
        "words since the sentence began": np.digitize(sentence, _SENTENCE_BINS),
        "position in the word": np.digitize(word, _WORD_BINS),
        "a word begins next": _flags(
            after.isalnum() and not here.isalnum() for here, after in zip(text, following, strict=True)
        ),
        "a capital comes next": _flags(after.isupper() for after in following),
        "a line break comes next": _flags(after == "\n" for after in following),
        "vowel, consonant or neither": kind,
        "digit": _flags(character.isdigit() for character in text),
        "in the name of a speaker": speaker_lines,
    }


def _quoted(text: str) -> Labels:
    """Whether a quotation is open after each character. The end of a paragraph closes what was left open."""
    found = np.zeros(len(text), dtype=np.int64)
    by_blank_lines = "\n\n" in text  # otherwise each line is a paragraph
    opened = ""  # the marks that are open, outermost first
    previous = "\n"
    for index, character in enumerate(text):
        if character == "\n" and (previous == "\n" or not by_blank_lines):
            opened = ""
        elif opened and character in _QUOTES[opened[-1]]:
            after = text[index + 1 : index + 2]
            if not (character == "’" and previous.isalnum() and after.isalnum()):  # an apostrophe
                opened = opened[:-1]
        elif character in opened:  # again, as at the start of a further paragraph
            opened = opened[: opened.index(character) + 1]
        elif character in _QUOTES:
            opened += character
        found[index] = bool(opened)
        previous = character
    return found


def _flags(values: Iterable[bool]) -> Labels:
    return np.fromiter(values, dtype=np.int64)


def music_features(ids: npt.NDArray[np.integer], vocabulary: EventVocabulary) -> tuple[list[Feature], Labels]:
    """The features of a piece that is read event by event, and the step on the grid of each event."""
    state = GrammarState(vocabulary)
    whole = 4 * vocabulary.options.grid  # steps of a whole note
    beat, part, phrase, pitch, track = (np.zeros(len(ids), dtype=np.int64) for _ in range(5))
    events, times = np.zeros(len(ids), dtype=np.int64), np.zeros(len(ids), dtype=np.int64)
    names = list(vocabulary.offsets)
    position = last = 0
    for index, token in enumerate(ids.tolist()):
        state.push(token)
        event, value = vocabulary.event(token)
        position = value if event == "position" else 0 if event == "bar" else position
        bar = state.bars[-1] if state.bars else None
        in_beats = position * (bar.denominator if bar else 4)  # times `whole`: a beat needn't be a step of the grid
        beat[index], part[index] = in_beats // whole, in_beats % whole * 4 // whole
        phrase[index] = (len(state.bars) - 1) % 4 if state.bars else 0
        last = value % 12 if event == "note" else last
        pitch[index], events[index] = last, names.index(event)
        track[index] = state.notes[-1].track if state.notes else 0
        times[index] = bar.start + position if bar else 0
    found = [
        Feature("beat of the bar", beat),
        Feature("quarter of the beat", part),
        Feature("bar of the phrase of four", phrase),
        Feature("pitch class of the last note", pitch),
        Feature("kind of event", events),
        Feature("track", track),
    ]
    return found, times


def series_features(series: Series, column: int, season: int, rows: Labels) -> list[Feature]:
    """The features of a series at some of its rows: those whose values are the last that a forecast is made from.

    Args:
        season: rows of a season; 1 for none.
    """
    values = series.values[:, column]
    now, before = values[rows], values[np.maximum(rows - 1, 0)]
    found = [
        Feature("rising or falling", (now > before).astype(np.int64)),
        Feature("level, by quarters", np.digitize(now, np.percentile(now, _QUARTILES))),
    ]
    if season > 1:
        found.append(Feature("place in the season", rows % season * min(season, 8) // season))
        last_season = values[np.maximum(rows - season, 0)]
        found.append(Feature("above last season's value", (now > last_season).astype(np.int64)))
    if series.times is not None:
        times = series.times[rows]
        days = times.astype("datetime64[D]")
        if (times.astype("datetime64[s]") != days).any():
            hours = (times.astype("datetime64[h]") - days).astype(np.int64)
            found.append(Feature("time of day", hours // 3))
        found.append(Feature("day of the week", (days.astype(np.int64) + 3) % 7))
        found.append(Feature("month", times.astype("datetime64[M]").astype(np.int64) % 12))
    return found
