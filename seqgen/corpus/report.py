"""The formats that sources were read in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class FormatReport:
    """The formats of the sources of a task.

    Attributes:
        format: Names of the formats, joined by commas if there are several.
    """

    format: str = ""

    def add_format(self, name: str) -> None:
        """Add the name of a format that is not among them yet."""
        if name not in self.format.split(", "):
            self.format = f"{self.format}, {name}" if self.format else name
