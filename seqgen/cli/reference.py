"""The reference: every command and every flag with its default, as Markdown, from the flags themselves."""

from __future__ import annotations

import inspect
from typing import Any

import typer


def make_reference() -> str:
    """A Markdown page with a section for each command."""
    from seqgen.cli.main import COMMANDS, make_program

    program: Any = typer.main.get_command(make_program(COMMANDS))
    root = program.make_context("seqgen", [], resilient_parsing=True)
    lines = ["# Reference", "", "Every command and every flag. Words in capitals stand for values.", ""]
    for name in COMMANDS:
        command = program.get_command(root, name)
        context = command.make_context(name, [], parent=root, resilient_parsing=True)
        usage = f"seqgen {name} " + " ".join(command.collect_usage_pieces(context))
        lines += [f"## seqgen {name}", "", f"    {usage}", ""]
        for paragraph in inspect.cleandoc(command.help or "").partition("\f")[0].split("\n\n"):
            lines += [" ".join(paragraph.split()), ""]
        for panel, rows in command.sections(context, everything=True):
            lines += [f"| {panel} | |", "|---|---|"]
            lines += [f"| `{_cell(names)}` | {_cell(text)} |" for names, text in rows]
            lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
