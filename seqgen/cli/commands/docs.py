"""`seqgen docs`: the documentation, and a reference of all flags made from the option tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seqgen.cli.options import QuietOption
from seqgen.cli.output import Output
from seqgen.errors import UserError, did_you_mean

FOLDER = Path(__file__).resolve().parents[2] / "docs"
REFERENCE = "reference"
_PAGES = (
    ("text", "learn text, continue it, measure how surprising it is"),
    ("music", "learn MIDI files, compose pieces"),
    ("dialogue", "learn conversations, chat"),
    ("classification", "learn labelled texts, label others"),
    ("forecasting", "learn a table of numbers, forecast its next rows"),
    ("sampling", "filters, constraints, states, search: everything that shapes a sample"),
    ("inspect", "look inside: units, gates and gradients; networks compared"),
    ("formats", "the files that are read, and those that are written"),
    ("python", "the same from Python"),
    ("serve", "models over HTTP, and on the Hugging Face hub"),
    ("cluster", "several processes, GPUs and machines"),
    ("classroom", "a course on recurrent networks, in commands"),
    ("troubleshooting", "exit statuses, environment variables, common mistakes"),
    ("safety", "what untrusted files can't do, every promise and its test, running a server"),
    ("determinism", "what is equal to the bit, under which change"),
    ("measured", "benchmarks, and how to repeat them"),
    ("internals", "the map of the source; how to add a cell, filter, tokenizer or task"),
    ("changelog", "what changed, and what stays as it is"),
    (REFERENCE, "every command and every flag, with defaults"),
)
TOPICS = dict(_PAGES)

EXAMPLES = ("seqgen docs", "seqgen docs music", "seqgen docs reference | grep -- --top-k")


def run(
    topic: Annotated[str | None, typer.Argument(metavar="TOPIC", help="Page to show [default: list them].")] = None,
    quiet: QuietOption = False,
) -> None:
    """Show the documentation: a list of its pages, or one of them.

    A terminal gets the page rendered and in a pager, a pipe gets Markdown.
    """
    with Output("-") as out:
        if topic is None:
            out.write(_list())
            return
        text = _page(topic)
        if out.terminal:
            _show(text, out)
        else:
            out.write(text)


def _translations() -> dict[str, Path]:
    """Pages in other languages: `zh/music` → its file."""
    return {path.relative_to(FOLDER).with_suffix("").as_posix(): path for path in sorted(FOLDER.glob("*/*.md"))}


def _list() -> str:
    lines = [f"{name:18}{about}" for name, about in TOPICS.items()]
    for name, path in _translations().items():
        title = next((line for line in path.read_text("utf-8").splitlines() if line.startswith("# ")), "# ")
        lines.append(f"{name:18}{title.removeprefix('# ')}")
    return "\n".join(lines) + "\n"


def _page(topic: str) -> str:
    """The Markdown of a page.

    Raises:
        UserError: There is no such page.
    """
    pages = {name: FOLDER / f"{name}.md" for name in TOPICS} | _translations()
    wanted = topic.removesuffix(".md").strip("/").lower()
    by_name = {name.lower(): name for name in pages}
    found = by_name.get(wanted) or by_name.get(f"{wanted}/readme")
    if found is None:
        from seqgen.cli.main import COMMANDS

        flags = f"; `seqgen {wanted} --help` has the flags of the command" if wanted in COMMANDS else ""
        hint = flags or did_you_mean(topic, pages) or "; `seqgen docs` lists them"
        raise UserError(f"there is no page {topic!r}{hint}")
    if found == REFERENCE:
        from seqgen.cli.reference import make_reference

        return make_reference()
    return pages[found].read_text("utf-8")


def _show(text: str, out: Output) -> None:
    """Show a page on a terminal, in a pager."""
    import os
    import pydoc
    import sys

    from rich.console import Console

    from seqgen.cli.markdown import make_markdown

    coloured = out.use_colour and sys.platform != "win32"  # whose pager shows no colours
    width = min(Console().width, 100)
    console = Console(
        width=width, force_terminal=coloured, no_color=not coloured, highlight=False, legacy_windows=False
    )
    with console.capture() as capture:
        console.print(make_markdown(text))
    os.environ.setdefault("LESS", "-FRX")  # shows colours, and ends by itself if all fits
    pydoc.pager(capture.get())
