"""Subtitles (SubRip and WebVTT) that name their speakers."""

from __future__ import annotations

import html
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
_ANY_NAMED = re.compile(r"(?P<name>[^\W_][^:：\"“”?!;…]{0,60}?)\s?[:：](?:\s+(?P<text>.*)|$)")
_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|lrm|rlm|#\d{1,7}|#[xX][\da-fA-F]{1,6});")  # of WebVTT
_MIN_NAMED_CUES = 0.6
_MIN_ALL_NAMED = 0.9  # of the cues: then whatever stands before a colon there is a name


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
    is_web = False
    for number, line in enumerate(lines, 1):
        is_web = is_web or (number == 1 and line.startswith("WEBVTT"))
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
            bare, name = _TAG.sub("", line).strip(), voice[1].strip() if voice else ""
            if is_web:
                bare, name = _unescape(bare).strip(), _unescape(name)
            if bare:
                cue.lines.append(_Line(name, bare))
    if cue is not None and cue.lines:
        yield cue


def _unescape(text: str) -> str:
    return _ENTITY.sub(lambda match: html.unescape(match[0]), text)


def _names(cues: Sequence[_Cue]) -> set[str]:
    """Return the names before colons: those in capitals, and those that recur.

    Of a meeting, whose cues all begin with a name, also those that begin with a small letter or speak once. Where names
    are in capitals, other words before a colon are speech.
    """
    matches = (_NAMED.fullmatch(_bare(line)) for cue in cues for line in cue.lines)
    counts = Counter(match["name"] for match in matches if match)
    names = {name for name, count in counts.items() if count > 1 or name.isupper()}
    if names and all(map(str.isupper, names)):
        return names
    firsts = Counter(match["name"] for cue in cues if (match := _ANY_NAMED.fullmatch(_bare(cue.lines[0]))))
    if at_least(firsts.total(), len(cues), _MIN_ALL_NAMED) and 2 * len(firsts) <= firsts.total():
        names |= {name for name, count in firsts.items() if count > 1 or "," not in name}
    return names


def _bare(line: _Line) -> str:
    return line.text.lstrip("-– ")


def _named(line: _Line, names: set[str]) -> tuple[str, str] | None:
    if line.voice:
        return line
    match = _ANY_NAMED.fullmatch(_bare(line))
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
