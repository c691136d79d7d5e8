"""Markdown for a terminal, by rich; long words in tables are broken, where rich would cut them."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Markdown, TableElement
from rich.table import Table


class _Table(TableElement):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for part in super().__rich_console__(console, options):
            if isinstance(part, Table):
                for column in part.columns:
                    column.overflow = "fold"
            yield part


class _Markdown(Markdown):
    elements = {**Markdown.elements, "table_open": _Table}


def make_markdown(text: str) -> Markdown:
    """Parse a page; rich prints the result."""
    return _Markdown(text, hyperlinks=False, code_theme="ansi_dark")
