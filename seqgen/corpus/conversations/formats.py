"""Formats of conversations: how to recognise and parse each.

A parser yields for each conversation its utterances, in order, as (speaker, text, name), with the text unchanged;
`seqgen.corpus.conversations.read` normalises, joins and counts them. No parser keeps more than one conversation in
memory.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial

from seqgen.corpus.conversations import chat_logs, chatterbot, json_files, subtitles, tables
from seqgen.corpus.conversations.parsing import (
    ASSISTANT_ROLES,
    SYSTEM_SPEAKER,
    USER_ROLES,
    FileHead,
    TextDocument,
    Utterances,
    alternate_speakers,
    at_least,
    speakers_by_name,
)
from seqgen.corpus.conversations.report import ConversationReport

# Transcripts.

_NAMED = re.compile(r"([^\s:：][^:：\t]{0,39}?)\s*(?:：|:(?![/:\d]))\s*(.*)")
_NOT_IN_NAME = re.compile(r"[?!;,\"“”。？！，；…#{}<>=]")


_MARKDOWN = re.compile(r"(?:#{1,6}\s+|>\s+)?(\*\*|__|\*|_|)(.{1,60}?)(?:([:：])\1|\1\s?([:：]))(?=\s|$)\s*(.*)")
_LETTER = re.compile(r"([QA])\.\s+(.*)")  # of a hearing
_ASIDE = re.compile(r"\s*(?:\([^()\d]*\)|\[[^\[\]\d]*\])$")  # behind a name: MARY (aside)


def _named(line: str, speakers: Collection[str] = ()) -> tuple[str, str] | None:
    """Split a line like `Mary: hello` into name and text; None if it has no name. Markdown may mark the name.

    Words in brackets behind a name in `speakers`, which are in small letters, are left out.
    """
    if line[0] in "#*_>" and (marked := _MARKDOWN.match(line)):
        line = f"{marked[2]}: {marked[5]}"
    elif letter := _LETTER.fullmatch(line):
        return letter[1], letter[2]
    match = _NAMED.match(line)
    if match is None:
        return None
    name = match[1]
    if name[-1] in ")]" and (bare := _ASIDE.sub("", name)).lower() in speakers:
        return bare, match[2]
    if _NOT_IN_NAME.search(name) or len(name.split()) > 4 or not any(character.isalpha() for character in name):
        return None
    return name, match[2]


def parse_transcript(text: TextDocument, report: ConversationReport) -> Iterator[Utterances]:
    """`NAME: text`, conversations separated by blank lines; an indented or nameless line continues the previous turn.

    Mary: Shall we go?
    Tom: In a minute.
      I can't find my hat.
    """
    turns: list[tuple[str, list[str]]] = []
    found = _Names.of(text.head())
    is_spaced, speakers = found.is_spaced, set(found.names)
    for number, line in enumerate(text.lines(), 1):
        bare = line.strip()
        if not bare and is_spaced:
            continue
        if not bare:
            if turns:
                yield speakers_by_name([(name, "\n".join(lines)) for name, lines in turns])
            turns = []
            continue
        named = None if turns and line[0].isspace() else _named(bare, speakers)
        if named:
            turns.append((named[0], [named[1]]))
        elif turns:
            turns[-1][1].append(bare)
        else:
            report.add_damage(text.name, number, "no 'NAME:' before the text")
    if turns:
        yield speakers_by_name([(name, "\n".join(lines)) for name, lines in turns])


@dataclass
class _Names:
    """The names at the beginnings of lines; blocks of lines, those with several names, and lines without a name."""

    names: list[str]
    blocks: int = 0
    answered: int = 0
    outside: int = 0

    @classmethod
    def of(cls, head: FileHead) -> _Names:
        found, here = cls([]), 0
        for line in [*head.lines, ""]:
            if not line.strip():
                found.blocks += here > 0
                found.answered += here > 1
                here = 0
            elif not line[0].isspace():
                named = _named(line)
                found.outside += named is None or not named[1]
                if named:
                    found.names.append(named[0].lower())
                    here += 1
        speakers = set(found.names)
        bare = (_ASIDE.sub("", name) for name in found.names)
        found.names = [short if short in speakers else name for name, short in zip(found.names, bare, strict=True)]
        return found

    @property
    def are_speakers(self) -> bool:
        """Whether most lines have one, and they are few and repeated: a list of settings never repeats a name."""
        distinct = len(set(self.names))
        return (
            distinct > 1
            and at_least(len(self.names), len(self.names) + self.outside, 0.6)
            and (distinct == 2 or distinct <= 0.7 * len(self.names))
        )

    @property
    def is_spaced(self) -> bool:
        """Whether two people have a blank line after every turn. In a play more have."""
        return self.answered == 0 and self.blocks > 3 and len(set(self.names)) == 2 and self.are_speakers

    @property
    def are_of_transcript(self) -> bool:
        """Whether the lines that have them are a transcript."""
        return self.are_speakers and (at_least(self.answered, self.blocks, 0.5) or self.is_spaced)


def _is_transcript(head: FileHead) -> bool:
    return _Names.of(head).are_of_transcript


def _has_roles(head: FileHead) -> bool:
    """Whether it is a transcript of a user and an assistant."""
    found = _Names.of(head)
    names = set(found.names)
    is_talk = not names.isdisjoint(USER_ROLES) and not names.isdisjoint(ASSISTANT_ROLES)
    return is_talk and names <= USER_ROLES | ASSISTANT_ROLES and found.are_of_transcript


# One conversation per line.

_EOU = "__eou__"


def parse_eou(text: TextDocument, report: ConversationReport) -> Iterator[Utterances]:
    """One conversation per line, `__eou__` after each turn.

    Shall we go ? __eou__ In a minute . __eou__
    Is it far ? __eou__ A mile . __eou__ I'll walk . __eou__
    Good morning . __eou__ Morning ! __eou__
    """
    for line in text.lines():
        if line.strip():
            turns = line.split(_EOU)
            if not turns[-1].strip():  # nothing follows the last mark
                turns.pop()
            yield alternate_speakers(turns)


def _is_eou(head: FileHead) -> bool:
    return at_least(sum(_EOU in line for line in head.nonblank_lines), len(head.nonblank_lines), 0.5)


# ChatterBot.


def parse_yaml(text: TextDocument, report: ConversationReport) -> Iterator[Utterances]:
    """ChatterBot's lists of lines below `conversations:`, with alternating speakers.

    conversations:
    - - Shall we go?
      - In a minute.
    """
    for turns in chatterbot.parse_conversations(text.lines(), partial(report.add_damage, text.name)):
        yield alternate_speakers(turns)


_FILLER = r"(?:[ \t]*(?:#.*)?\r?\n)"
_LISTS = re.compile(rf"^conversations:{_FILLER}+ *-(?: +- | *\r?\n *- )", re.MULTILINE)


def _is_yaml(head: FileHead) -> bool:
    return _LISTS.search(head.text) is not None


# ParlAI.

_NUMBERED = re.compile(r"(\d+) (.*)")
_SIDES = re.compile(r"\t| {4,}")
_PERSONA = re.compile(r"(?:your|partner's) persona:")


def _fields(line: str) -> dict[str, str]:
    """The fields of a line that has labels behind a text; of another, none."""
    fields = line.split("\t")
    text = next((index for index, field in enumerate(fields) if field.startswith("text:")), len(fields))
    if not any(field.startswith(("labels:", "eval_labels:")) for field in fields[text:]):
        return {}
    return dict(field.partition(":")[::2] for field in fields)


def parse_parlai(text: TextDocument, report: ConversationReport) -> Iterator[Utterances]:
    """Numbered lines, 1 at the start of a conversation, a tab or four spaces between the sides; or `text:… labels:…`.

    1 Shall we go?	In a minute.
    2 Is it far?	A mile.
    1 Hello	Good morning.
    """
    utterances: Utterances = []
    last = 0
    for number, line in enumerate(text.lines(), 1):
        if not line.strip():
            continue
        if fields := _fields(line):
            reply = fields.get("labels") or fields.get("eval_labels", "")
            utterances += alternate_speakers([_unescape(fields["text"]), _unescape(reply.split("|")[0])])
            if fields.get("episode_done") == "True":
                yield utterances
                utterances = []
            continue
        match = _NUMBERED.match(line)
        if match is None:
            report.add_damage(text.name, number, "neither a number nor 'text:' and 'labels:'")
            continue
        current = int(match[1][:9])
        if current <= last and utterances:
            yield utterances
            utterances = []
        last = current
        utterances += _sides(match[2])
    if utterances:
        yield utterances


def _sides(line: str) -> Utterances:
    if _PERSONA.match(line):
        return [(SYSTEM_SPEAKER, line, "")]
    # A reward and candidate replies may follow the reply.
    sides = line.split("\t")[:2] if "\t" in line else _SIDES.split(line, maxsplit=1)
    return alternate_speakers([_unescape(side) for side in sides])


def _unescape(text: str) -> str:
    return text.replace("\\n", "\n").replace("__PIPE__", "|")


def _is_parlai(head: FileHead) -> bool:
    if _has_labels(head):
        return True
    matches = [match for line in head.nonblank_lines if (match := _NUMBERED.match(line))]
    return (
        at_least(len(matches), len(head.nonblank_lines), 0.9)
        and head.nonblank_lines[0].startswith("1 ")
        and at_least(sum(_SIDES.search(match[2].strip(" ")) is not None for match in matches), len(matches), 0.5)
    )


def _has_labels(head: FileHead) -> bool:
    return at_least(sum(bool(_fields(line)) for line in head.nonblank_lines), len(head.nonblank_lines), 0.5)


def _never(_: FileHead) -> bool:
    return False


def _ends_in_eou(head: FileHead) -> bool:
    return at_least(sum(line.rstrip().endswith(_EOU) for line in head.nonblank_lines), len(head.nonblank_lines), 0.5)


# The table.

ConversationParser = Callable[[TextDocument, ConversationReport], Iterator[Utterances]]


@dataclass(frozen=True)
class ConversationFormat:
    """A format of conversations.

    Attributes:
        parse: parser of a document.
        matches_head: whether the head of a file that is known to be dialogue has this format.
        is_unambiguous: whether the head of any file certainly has this format.
        names_itself: whether the parser reports the name of the format, which is one of several.
    """

    parse: ConversationParser
    matches_head: Callable[[FileHead], bool]
    is_unambiguous: Callable[[FileHead], bool] = _never
    names_itself: bool = False

    @property
    def example(self) -> str:
        """Three lines in this format, from the parser's docstring."""
        return textwrap.dedent((self.parse.__doc__ or "").partition("\n\n")[2]).rstrip(" ")


FORMATS: dict[str, ConversationFormat] = {  # in the order of detection
    "messages": ConversationFormat(
        json_files.parse_messages, json_files.is_messages, json_files.is_surely_messages, names_itself=True
    ),
    "turns": ConversationFormat(
        json_files.parse_turns, json_files.is_turns, json_files.is_surely_messages, names_itself=True
    ),
    "pairs": ConversationFormat(
        json_files.parse_pairs, json_files.is_pairs, json_files.is_surely_pairs, names_itself=True
    ),
    "eou": ConversationFormat(parse_eou, _is_eou, _ends_in_eou),
    "yaml": ConversationFormat(parse_yaml, _is_yaml),
    "WhatsApp": ConversationFormat(chat_logs.parse_whatsapp, chat_logs.is_whatsapp, chat_logs.is_surely_whatsapp),
    "IRC": ConversationFormat(chat_logs.parse_irc, chat_logs.is_irc, chat_logs.is_surely_irc),
    "SubRip": ConversationFormat(subtitles.parse_subtitles, subtitles.is_subtitles, subtitles.is_surely_subtitles),
    "log": ConversationFormat(chat_logs.parse_log, chat_logs.is_log, chat_logs.is_surely_log),
    "blocks": ConversationFormat(chat_logs.parse_blocks, chat_logs.is_blocks, chat_logs.is_surely_blocks),
    "parlai": ConversationFormat(parse_parlai, _is_parlai, _has_labels),
    "csv": ConversationFormat(tables.parse_csv, lambda head: tables.is_conversation_table(head, False)),
    "tsv": ConversationFormat(tables.parse_tsv, lambda head: tables.is_conversation_table(head, True)),
    "transcript": ConversationFormat(parse_transcript, _is_transcript, _has_roles),
}
