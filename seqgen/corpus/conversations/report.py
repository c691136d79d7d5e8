"""Counts of conversations, turns and damaged lines met while reading."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class ConversationReport:
    """What was found, counted.

    Attributes:
        format: the names of the formats, joined by commas where files differ.
        turns: of the conversations that are kept, after joining.
        merged_turns: joined to the turn before, which was of the same speaker.
        unknown_roles: turns of a role that is neither the asker's nor the answerer's; kept.
        system_turns: instructions and descriptions that nobody says; left out.
        odd: conversations that do not end with a reply, so that speaker 0 has the last word; kept.
        dropped: conversations without a single turn.
        damaged_lines: passed over because they can't be read; `first_damage` says where the first is, and why.
    """

    format: str = ""
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

    def add_damage(self, name: str, line: int, why: str) -> None:
        """Counts a line that can't be read. `line` is counted from 1."""
        self.damaged_lines += 1
        self.first_damage = self.first_damage or f"{name}, line {line:,}: {why}"

    def summary(self) -> str:
        """All of it that is not zero, on one line."""
        parts = [f"{_count(self.conversations, 'conversation')}, {_count(self.turns, 'turn')} ({self.format})"]
        if self.empty_turns:
            parts.append(f"{_count(self.empty_turns, 'empty turn')} left out")
        if self.system_turns:
            parts.append(f"{_count(self.system_turns, 'system message')} left out")
        if self.merged_turns:
            parts.append(f"{_count(self.merged_turns, 'turn')} joined to the one before, of the same speaker")
        if self.unknown_roles:
            parts.append(f"{_count(self.unknown_roles, 'turn')} of unknown roles taken as of further speakers")
        if self.odd:
            parts.append(f"{_count(self.odd, 'conversation')} without a reply at the end")
        if self.dropped:
            parts.append(f"{_count(self.dropped, 'empty conversation')} left out")
        if self.damaged_lines:
            first = f"{'the first ' * (self.damaged_lines > 1)}{self.first_damage}"
            parts.append(f"{_count(self.damaged_lines, 'damaged line')} passed over ({first})")
        return " ".join("; ".join(parts).split())


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
