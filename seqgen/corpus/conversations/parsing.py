"""Helpers of the conversation parsers: a document as lines, its head, and the numbering of speakers.

Nothing here keeps more than a line in memory.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath

from seqgen.corpus.conversations.report import ConversationReport
from seqgen.corpus.sources import Document
from seqgen.errors import DataError
from seqgen.streams import suffix_of

Utterances = list[tuple[int, str, str]]  # (speaker, text, the speaker's name in the file) in order
SYSTEM_SPEAKER = -1  # speaker of instructions and personas
HEAD_BYTES = 1 << 16  # from which a format is recognised

USER_ROLES = frozenset(("user", "human", "customer", "prompter", "用户", "客户"))
ASSISTANT_ROLES = frozenset(("assistant", "gpt", "chatgpt", "bot", "model", "agent", "助手", "客服", "机器人"))
SYSTEM_ROLES = frozenset(("system", "developer"))
TOOL_ROLES = frozenset((  # of calls and results that people don't see
    "tool", "function", "ipython", "observation", "tool_call", "tool_response", "tool_result", "function_call",
    "function_response",
))  # fmt: skip


class NoDialogueError(DataError):
    """A document without dialogue in a known format."""


class UnclearSpeakersError(NoDialogueError):
    """A document with messages that don't name their speakers."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"who speaks in {name!r} is unknown: its messages have no key or name for the speaker; write one into each "
            "message, for example 'NAME: text' lines or a JSON key 'speaker'"
        )


class TextDocument:
    """A document as text: UTF-8 with or without a byte order mark; other bytes are kept by surrogateescape."""

    def __init__(self, document: Document, sheet: str | None = None) -> None:
        """`sheet`: of a workbook."""
        self.name = document.shown
        self.document, self.sheet = document, sheet

    def pieces(self) -> Iterator[str]:
        """Yield all text, in pieces of any length."""
        decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        for chunk in self.document.limited():
            yield decoder.decode(chunk)
        yield decoder.decode(b"", final=True)

    def lines(self) -> Iterator[str]:
        """Yield the lines without line ends. Only LF and CR LF end a line."""
        parts: list[str] = []
        for piece in self.pieces():
            first, *others = piece.split("\n")
            parts.append(first)
            for other in others:
                yield "".join(parts).removesuffix("\r")
                parts = [other]
        if last := "".join(parts):
            yield last

    def head(self, size: int = HEAD_BYTES) -> FileHead:
        data = b"".join(self.document.chunks(0, size + 1))
        return FileHead.of(data, self.name, size)


@dataclass(frozen=True)
class FileHead:
    """The first bytes of a file, by which its format is recognised. `is_complete`: whether they are the whole file."""

    name: str
    text: str
    is_complete: bool

    @classmethod
    def of(cls, data: bytes, name: str = "", size: int = HEAD_BYTES) -> FileHead:
        return cls(name, data[:size].decode("utf-8-sig", "surrogateescape"), len(data) <= size)

    @cached_property
    def lines(self) -> list[str]:
        """The complete lines, and the first one in any case."""
        lines = [line.removesuffix("\r") for line in self.text.split("\n")]
        return lines if self.is_complete or len(lines) == 1 else lines[:-1]

    @cached_property
    def nonblank_lines(self) -> list[str]:
        """The complete lines that are not blank."""
        return [line for line in self.lines if line.strip()]

    @property
    def suffix(self) -> str:
        """The lower-case suffix of the name, without that of a compressor."""
        return suffix_of(PurePath(self.name))


def at_least(found: int, of: int, fraction: float) -> bool:
    """Whether `found` is positive and at least a `fraction` of `of`."""
    return found > 0 and found >= fraction * of


def alternate_speakers(turns: Sequence[str]) -> Utterances:
    """Assign the turns to two speakers alternately."""
    return [(index % 2, text, "12"[index % 2]) for index, text in enumerate(turns)]


def speakers_by_name(turns: Sequence[tuple[str, str]]) -> Utterances:
    """Number speakers in order of appearance, or by role if the names are roles and both sides occur."""
    keys = [name.strip().lower() for name, _ in turns]
    names = dict.fromkeys(keys)
    if (
        not USER_ROLES.isdisjoint(names)
        and not ASSISTANT_ROLES.isdisjoint(names)
        and names.keys() <= USER_ROLES | ASSISTANT_ROLES
    ):
        numbers = {name: int(name in ASSISTANT_ROLES) for name in names}
    else:
        numbers = {name: number for number, name in enumerate(names)}
    return [(numbers[key], text, name) for key, (name, text) in zip(keys, turns, strict=True)]


def speakers_by_role(turns: Sequence[tuple[str, str]], report: ConversationReport) -> Utterances:
    """Number speakers by role: user 0, assistant 1, unknown roles from 2 (and counted).

    Those of the system and of tools are `SYSTEM_SPEAKER`. If no role is known, speakers are numbered in order of
    appearance.
    """
    keys = [role.strip().lower() for role, _ in turns]
    numbers = dict(_ROLE_NUMBERS) | dict.fromkeys(SYSTEM_ROLES if system_answers(keys) else (), 1)
    next_number = 2 if any(key in USER_ROLES or key in ASSISTANT_ROLES for key in keys) else 0
    unknown = list(dict.fromkeys(key for key in keys if key not in numbers))
    report.unknown_roles += sum(key not in _ROLE_NUMBERS for key in keys)
    numbers |= {key: next_number + index for index, key in enumerate(unknown)}
    return [(numbers[key], text, name) for key, (name, text) in zip(keys, turns, strict=True)]


def system_answers(roles: Sequence[str]) -> bool:
    """Whether the role "system" belongs to the one who answers, as in data of booking systems."""
    spoken = sum(role in SYSTEM_ROLES for role in roles)
    users = sum(role in USER_ROLES for role in roles)
    return spoken + users == len(roles) and spoken > 1 and at_least(spoken, users, 0.5)


_ROLE_NUMBERS = (
    dict.fromkeys(SYSTEM_ROLES | TOOL_ROLES, SYSTEM_SPEAKER)
    | dict.fromkeys(USER_ROLES, 0)
    | dict.fromkeys(ASSISTANT_ROLES, 1)
)
