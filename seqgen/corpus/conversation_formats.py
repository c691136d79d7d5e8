"""The forms that conversations are written in: how each is recognised, and one small parser for each.

A parser gives for each conversation what was said, in order, as (speaker, words) with the words as they stand;
`seqgen.corpus.conversations` tidies, joins and counts. No parser holds more than one conversation.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from seqgen.corpus import conversation_json, conversation_tables, conversation_yaml
from seqgen.corpus.conversation_text import SYSTEM, Head, Spoken, Text, alternating, by_name, most

if TYPE_CHECKING:
    from seqgen.corpus.conversations import Reading

# Transcripts.

_NAMED = re.compile(r"([^\s:：][^:：\t]{0,39}?)\s*(?:：|:(?![/:\d]))\s*(.*)")
_NO_NAME = re.compile(r"[?!;,\"“”。？！，；…#{}<>=]")


def _named(line: str) -> tuple[str, str] | None:
    """(name, words) of a line like `Mary: hello`, or None."""
    match = _NAMED.match(line)
    if match is None:
        return None
    name = match[1]
    if _NO_NAME.search(name) or len(name.split()) > 4 or not any(character.isalpha() for character in name):
        return None
    return name, match[2]


def transcript(text: Text, reading: Reading) -> Iterator[Spoken]:
    """`NAME: words`, an empty line between conversations; an indented or nameless line goes on with the turn before.

    Mary: Shall we go?
    Tom: In a minute.
      I can't find my hat.
    """
    turns: list[tuple[str, list[str]]] = []
    for number, line in enumerate(text.lines(), 1):
        bare = line.strip()
        if not bare:
            if turns:
                yield by_name([(name, "\n".join(words)) for name, words in turns])
            turns = []
            continue
        named = None if turns and line[0].isspace() else _named(bare)
        if named:
            turns.append((named[0], [named[1]]))
        elif turns:
            turns[-1][1].append(bare)
        else:
            reading.damage(text.name, number, "no 'NAME:' before the words")
    if turns:
        yield by_name([(name, "\n".join(words)) for name, words in turns])


def _is_transcript(head: Head) -> bool:
    names: list[str] = []
    blocks = answered = outside = here = 0
    for line in [*head.lines, ""]:
        if not line.strip():
            blocks += here > 0
            answered += here > 1
            here = 0
        elif not line[0].isspace():
            named = _named(line)
            outside += named is None or not named[1]
            if named:
                names.append(named[0].lower())
                here += 1
    distinct = len(set(names))
    # A play has an empty line after each speech; a list of settings never says the same name again.
    return (
        distinct > 1
        and most(answered, blocks, 0.5)
        and most(len(names), len(names) + outside, 0.6)
        and (distinct == 2 or distinct <= 0.7 * len(names))
    )


# One conversation a line.

_EOU = "__eou__"


def eou(text: Text, reading: Reading) -> Iterator[Spoken]:
    """One conversation a line, `__eou__` after each turn.

    Shall we go ? __eou__ In a minute . __eou__
    Is it far ? __eou__ A mile . __eou__ I'll walk . __eou__
    Good morning . __eou__ Morning ! __eou__
    """
    for line in text.lines():
        if line.strip():
            turns = line.split(_EOU)
            if not turns[-1].strip():  # what follows the last mark is no turn
                turns.pop()
            yield alternating(turns)


def _is_eou(head: Head) -> bool:
    return most(sum(_EOU in line for line in head.filled), len(head.filled), 0.5)


# ChatterBot.


def yaml(text: Text, reading: Reading) -> Iterator[Spoken]:
    """ChatterBot's lists of lines below `conversations:`, the speakers by turns.

    conversations:
    - - Shall we go?
      - In a minute.
    """
    for turns in conversation_yaml.conversations(text.lines(), partial(reading.damage, text.name)):
        yield alternating(turns)


_FILLER = r"(?:[ \t]*(?:#.*)?\r?\n)"
_LISTS = re.compile(rf"^conversations:{_FILLER}+ *-(?: +- | *\r?\n *- )", re.MULTILINE)


def _is_yaml(head: Head) -> bool:
    return _LISTS.search(head.text) is not None


# ParlAI.

_NUMBERED = re.compile(r"(\d+) (.*)")
_SIDES = re.compile(r"\t| {4,}")
_PERSONA = re.compile(r"(?:your|partner's) persona:")
_FIELDS = re.compile(r"(?:^|\t)text:[^\t]*\t(?:.*\t)?(?:eval_)?labels:")


def parlai(text: Text, reading: Reading) -> Iterator[Spoken]:
    """Numbered lines, 1 beginning a conversation, a tab or four spaces between the two sides; or `text:… labels:…`.

    1 Shall we go?	In a minute.
    2 Is it far?	A mile.
    1 Hello	Good morning.
    """
    spoken: Spoken = []
    last = 0
    for number, line in enumerate(text.lines(), 1):
        if not line.strip():
            continue
        if _FIELDS.search(line):
            fields = dict(field.partition(":")[::2] for field in line.split("\t"))
            reply = fields.get("labels") or fields.get("eval_labels", "")
            spoken += [(0, _unescape(fields["text"])), (1, _unescape(reply.split("|")[0]))]
            if fields.get("episode_done") == "True":
                yield spoken
                spoken = []
            continue
        match = _NUMBERED.match(line)
        if match is None:
            reading.damage(text.name, number, "neither a number nor 'text:' and 'labels:'")
            continue
        here = int(match[1][:9])
        if here <= last and spoken:
            yield spoken
            spoken = []
        last = here
        spoken += _sides(match[2])
    if spoken:
        yield spoken


def _sides(line: str) -> Spoken:
    if _PERSONA.match(line):
        return [(SYSTEM, line)]
    # What follows the reply is a reward and the replies to choose from.
    sides = line.split("\t")[:2] if "\t" in line else _SIDES.split(line, maxsplit=1)
    return alternating([_unescape(side) for side in sides])


def _unescape(words: str) -> str:
    return words.replace("\\n", "\n").replace("__PIPE__", "|")


def _is_parlai(head: Head) -> bool:
    if _has_labels(head):
        return True
    matches = [match for line in head.filled if (match := _NUMBERED.match(line))]
    return (
        most(len(matches), len(head.filled), 0.9)
        and head.filled[0].startswith("1 ")
        and most(sum(_SIDES.search(match[2].strip(" ")) is not None for match in matches), len(matches), 0.5)
    )


def _has_labels(head: Head) -> bool:
    return most(sum(_FIELDS.search(line) is not None for line in head.filled), len(head.filled), 0.5)


def _never(_: Head) -> bool:
    return False


def _ends_in_eou(head: Head) -> bool:
    return most(sum(line.rstrip().endswith(_EOU) for line in head.filled), len(head.filled), 0.5)


# The table.

Parser = Callable[[Text, "Reading"], Iterator[Spoken]]


@dataclass(frozen=True)
class Format:
    """A way to write conversations.

    `recognises` judges the head of a file that is known to hold dialogue; `is_plain` one that may hold anything.
    """

    parse: Parser
    recognises: Callable[[Head], bool]
    is_plain: Callable[[Head], bool] = _never

    @property
    def example(self) -> str:
        """Three lines, from the parser's own description."""
        return textwrap.dedent((self.parse.__doc__ or "").partition("\n\n")[2]).rstrip(" ")


FORMATS: dict[str, Format] = {  # in the order in which they are tried
    "messages": Format(conversation_json.messages, conversation_json.is_messages, conversation_json.is_messages),
    "turns": Format(conversation_json.turns, conversation_json.is_turns),
    "eou": Format(eou, _is_eou, _ends_in_eou),
    "yaml": Format(yaml, _is_yaml),
    "parlai": Format(parlai, _is_parlai, _has_labels),
    "csv": Format(conversation_tables.comma_table, lambda head: conversation_tables.is_table(head, ",")),
    "tsv": Format(conversation_tables.tab_table, lambda head: conversation_tables.is_table(head, "\t")),
    "transcript": Format(transcript, _is_transcript),
}
