"""Counts of conversations, turns and damaged lines met while reading."""

from __future__ import annotations

from dataclasses import dataclass, field

from seqgen.corpus.report import FormatReport
from seqgen.quantities import plural


@dataclass
class ConversationReport(FormatReport):
    """Counts of what was read, changed and dropped.

    Attributes:
        turns: turns of the conversations kept, after merging.
        merged_turns: turns merged into the previous one, which has the same speaker.
        unknown_roles: turns with a role that is neither a user's nor an assistant's; kept.
        system_turns: instructions and descriptions; dropped.
        odd: conversations that end with speaker 0, without a reply; kept.
        dropped: conversations without turns.
        damaged_lines: lines that can't be parsed; skipped.
        first_damage: location and reason of the first damaged line.
        speakers: turns kept by each speaker, under the name in the file; "1" and "2" where turns alternate.
        media: messages with a picture, a recording or a file in place of text; dropped.
        deleted: messages that their authors deleted; dropped.
        branches: messages of other branches of a tree; dropped.
        newest_first: conversations whose messages came in the opposite order; reversed.
        reordered: other conversations put in order of time, or of replies after what they reply to.
        unclear_times: conversations with times that aren't understood; their messages stay in the order of the file.
        first_unclear: one of these times, and its file.
        speaker_key: the key that holds the speakers, if it was found by its values.
        delimiter: of the last table.
        columns: role of each column of the last table: question, reply, system, speaker, text, message, turn or unused.
        remarks: sentences on how tables were read.
        repaired: texts whose UTF-8 had been read as Latin-1; repaired.
        stray: turns kept with bytes that are not UTF-8.
    """

    conversations: int = 0
    turns: int = 0
    empty_turns: int = 0
    merged_turns: int = 0
    unknown_roles: int = 0
    system_turns: int = 0
    odd: int = 0
    dropped: int = 0
    damaged_lines: int = 0
    first_damage: str = ""
    speakers: dict[str, int] = field(default_factory=dict)
    media: int = 0
    deleted: int = 0
    branches: int = 0
    newest_first: int = 0
    reordered: int = 0
    repaired: int = 0
    stray: int = 0
    unclear_times: int = 0
    first_unclear: str = ""
    speaker_key: str = ""
    delimiter: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def add_damage(self, name: str, line: int, reason: str) -> None:
        """Count a damaged line. `line` starts at 1."""
        self.damaged_lines += 1
        self.first_damage = self.first_damage or f"{name}, line {line:,}: {reason}"

    def add_unclear_times(self, name: str, time: str) -> None:
        """Count a conversation with a time that isn't understood."""
        self.unclear_times += 1
        self.first_unclear = self.first_unclear or f"{time!r} in {name}"

    def summary(self) -> str:
        """Return all non-zero counts on one line."""
        counts = f"{plural(self.conversations, 'conversation')}, {plural(self.turns, 'turn')} ({self.format})"
        return " ".join("; ".join([counts, *self.changes()]).split())

    def changes(self) -> list[str]:
        """Return what was changed, dropped or taken from elsewhere, a clause each."""
        parts: list[str] = []
        if self.empty_turns:
            parts.append(f"{plural(self.empty_turns, 'empty turn')} dropped")
        if self.system_turns:
            parts.append(f"{plural(self.system_turns, 'system message')} dropped")
        if self.speaker_key:
            parts.append(f"speakers taken from {self.speaker_key!r}, whose values are few and repeated")
        if self.media:
            parts.append(f"{plural(self.media, 'media message')} without text dropped")
        if self.deleted:
            parts.append(f"{plural(self.deleted, 'deleted message')} dropped")
        if self.branches:
            parts.append(f"{plural(self.branches, 'message')} of other branches dropped")
        if self.newest_first:
            parts.append(f"{plural(self.newest_first, 'conversation')} with the newest message first reversed")
        if self.reordered:
            parts.append(f"{plural(self.reordered, 'conversation')} put in order of time or of replies")
        if self.unclear_times:
            parts.append(
                f"{plural(self.unclear_times, 'conversation')} with times such as {self.first_unclear} that aren't "
                "understood; messages stay in the order of the file"
            )
        if self.repaired:
            parts.append(f"{plural(self.repaired, 'text')} repaired whose UTF-8 had been read as Latin-1")
        if self.stray:
            parts.append(
                f"{plural(self.stray, 'turn')} with bytes that are not UTF-8, learnt as they stand; --encoding names "
                "another encoding"
            )
        if self.merged_turns:
            parts.append(f"{plural(self.merged_turns, 'turn')} merged into the previous one of the same speaker")
        if self.unknown_roles:
            parts.append(f"{plural(self.unknown_roles, 'turn')} with unknown roles assigned to further speakers")
        if len(self.speakers) == 1:
            parts.append(f"every turn is by one speaker, {next(iter(self.speakers))!r}: there is no reply to learn")
        elif self.odd:
            parts.append(f"{plural(self.odd, 'conversation')} without a final reply")
        if self.dropped:
            parts.append(f"{plural(self.dropped, 'empty conversation')} dropped")
        if self.damaged_lines:
            first = f"{'first: ' * (self.damaged_lines > 1)}{self.first_damage}"
            parts.append(f"{plural(self.damaged_lines, 'damaged line')} skipped ({first})")
        return parts + self.remarks
