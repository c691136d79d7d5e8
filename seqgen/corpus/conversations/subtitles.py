"""Subtitles (SubRip and WebVTT) that name their speakers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from seqgen.corpus.conversations.parsing import (
    FileHead,
    TextDocument,
    UnclearSpeakersError,
    Utterances,
    at_least,
    speakers_by_name,
)
from seqgen.corpus.conversations.report import ConversationReport

_TIME = r"(?:\d{1,3}:)?\d{1,2}:\d{1,2}[,.]\d{1,3}"
_CUE = re.compile(rf"{_TIME}\s+-->\s+{_TIME}.*")
_NO_CUE = re.compile(r"[\d:.,]+\s*-->.*")  # a cue whose times are damaged
_VOICE = re.compile(r"<v(?:\.[^\s<>]*+)?\s+([^>]+)>")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|\{\\[^{}]*\}")
_SOUND = re.compile(r"[\[(♪♫*][^\])]*[\])♪♫*]?")
_NAMED = re.compile(r"(?P<name>[^\W\d_a-zà-þ][^:：\"“”?!,;…]{0,30}?)\s?[:：](?:\s+(?P<text>.*)|$)")
_MIN_NAMED_CUES = 0.6


def parse_subtitles(text: TextDocument, report: ConversationReport) -> Iterator[Utterances]:
    """Subtitles (SubRip or WebVTT) that name the speakers, as transcripts of meetings do.

    1
    00:00:01,000 --> 00:00:04,000
    MARY: Shall we go?
    TOM: In a minute.
    """
    cues = list(_cues(text.lines(), partial(report.add_damage, text.name)))
    names = _names(cues)
    if cues and not _are_named(cues, names):
        raise UnclearSpeakersError(text.name)
    turns: list[tuple[str, list[str]]] = []
    for cue in cues:
        for line in cue.lines:
            named = _named(line, names)
            if named:
                turns.append((named[0], [named[1]]))
            elif _SOUND.fullmatch(line.text):
                report.system_turns += 1
            elif turns and not line.text.startswith(("-", "–")):
                turns[-1][1].append(line.text)
            else:
                report.add_damage(text.name, cue.number, "no name before the text")
    yield speakers_by_name([(name, "\n".join(lines)) for name, lines in turns])


class _Line(NamedTuple):
    voice: str  # of WebVTT
    text: str


@dataclass
class _Cue:
    number: int  # of the line with its times
    lines: list[_Line]


def _cues(lines: Iterable[str], damaged: Callable[[int, str], None] = lambda number, reason: None) -> Iterator[_Cue]:
    cue: _Cue | None = None
    for number, line in enumerate(lines, 1):
        times = line.strip()
        is_time = _CUE.fullmatch(times)
        is_damaged = not is_time and _NO_CUE.fullmatch(times)
        if is_damaged:
            damaged(number, "no times of a cue around the arrow")
        if is_time or is_damaged or not times:
            if cue is not None and cue.lines:
                yield cue
            cue = _Cue(number, []) if is_time else None
        elif cue is not None:
            voice = _VOICE.search(line, 0, line.rfind(">") + 1)  # beyond, every `<v` would look for its `>` to the end
            bare = _TAG.sub("", line).strip()
            if bare:
                cue.lines.append(_Line(voice[1].strip() if voice else "", bare))
    if cue is not None and cue.lines:
        yield cue


def _names(cues: Sequence[_Cue]) -> set[str]:
    """Return the names before colons: those in capitals, and those that recur."""
    matches = (_NAMED.fullmatch(line.text.lstrip("-– ")) for cue in cues for line in cue.lines)
    counts = Counter(match["name"] for match in matches if match)
    return {name for name, count in counts.items() if count > 1 or name.isupper()}


def _named(line: _Line, names: set[str]) -> tuple[str, str] | None:
    if line.voice:
        return line
    match = _NAMED.fullmatch(line.text.lstrip("-– "))
    return (match["name"], match["text"] or "") if match and match["name"] in names else None


def _are_named(cues: Sequence[_Cue], names: set[str]) -> bool:
    """Whether most cues with speech name the speaker."""
    spoken = [cue for cue in cues if not all(_SOUND.fullmatch(line.text) for line in cue.lines)]
    return at_least(sum(any(_named(line, names) for line in cue.lines) for cue in spoken), len(spoken), _MIN_NAMED_CUES)


def is_subtitles(head: FileHead) -> bool:
    """Whether one of the first lines has the times of a cue."""
    return any(_CUE.fullmatch(line.strip()) for line in head.nonblank_lines[:20])


def is_surely_subtitles(head: FileHead) -> bool:
    """Whether the cues also name several speakers."""
    if not is_subtitles(head):
        return False
    cues = list(_cues(head.lines))
    names = _names(cues)
    speakers = {named[0] for cue in cues for line in cue.lines if (named := _named(line, names))}
    return len(speakers) > 1 and _are_named(cues, names)
