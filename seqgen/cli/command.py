"""A command: its help, by headings; flags from `--config` and variables; mistyped flags.

A command with many flags lists the important ones with `--help`, under a few headings, and all with `--help-all`. A
terminal shows each heading as a panel, a pipe gets plain text.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import re
import typing
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any, ClassVar, cast

import typer
from typer.core import TyperCommand, TyperGroup

from seqgen.cli.options import ConfigOption, Flag, flags_of
from seqgen.cli.output import Output, StderrLogger
from seqgen.cli.targets import check_targets
from seqgen.errors import PlotWarning, UserError, did_you_mean
from seqgen.training.distributed.launch import may_report

_MANY = 25  # flags that fit into one list
_PANELS = (
    "Arguments", "Prompt", "Data", "Network", "Time", "Sampling", "Training", "Filters", "Search", "Text", "Dialogue",
    "Music", "Classify", "Forecast", "Options", "Output", "Hardware",
)  # fmt: skip
_OF_ONE_TASK = ("Text", "Dialogue", "Music", "Classify", "Forecast")  # named elsewhere: "Music: …"
_MAX_WIDTH = 100

Rows = list[tuple[str, str]]


def make_command(
    run: Callable[..., Any], examples: Sequence[str], completes: bool
) -> tuple[Callable[..., Any], type[TyperCommand]]:
    """The function of a command with the flags that all have, and the class that parses its command line.

    `examples` are command lines that its help shows. With `completes`, Tab completes the values of flags.
    """
    signature = inspect.signature(run, eval_str=True)
    shared = [inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=ConfigOption)]
    has_many = len(signature.parameters) > _MANY
    if has_many:
        option = typer.Option("--help-all", is_eager=True, callback=_show_all, rich_help_panel="Output",
                              help="Show this message with all flags, and exit.")  # fmt: skip
        annotation = Annotated[bool, option]
        shared.append(
            inspect.Parameter("help_all", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
        )
    own = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in signature.parameters.values()]

    @functools.wraps(run)
    def command(config: str | None = None, help_all: bool = False, **given: Any) -> Any:
        checked = check_targets(flags_of(command), {**given, "config": config})
        return run(**{name: checked[name] for name in given})

    parameters = [*own, *shared]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    if completes:
        from seqgen.cli.values import completer

        for flag in flags_of(command):
            typing.get_args(command.__annotations__[flag.name])[1].autocompletion = completer(flag)
    made = type("Command", (Command,), {"function": staticmethod(command), "has_many": has_many, "examples": examples})
    return command, cast(type[TyperCommand], made)


def _show_all(context: typer.Context, asked: bool) -> None:
    if asked and isinstance(context.command, Command):
        with Output("-") as out:
            out.write_raw(context.command.help_page(context, everything=True))
        raise typer.Exit


class Command(TyperCommand):
    """A command of the program."""

    function: ClassVar[Callable[..., Any]]
    has_many: ClassVar[bool]  # flags: --help shows the important ones
    examples: ClassVar[Sequence[str]]

    @property
    def flags(self) -> tuple[Flag, ...]:
        return flags_of(type(self).function)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse a command line, with defaults from variables and the file of `--config`."""
        from seqgen.cli import defaults

        ctx.meta["origins"] = {}
        if not ctx.resilient_parsing and (
            any(arg.startswith("--config") for arg in args) or defaults.has_variables(self.name or "")
        ):
            given = {name: value for name, value in self._parsed(ctx, args).items() if value is not None}
            if not {"help", "help_all"} & given.keys():
                remarks: list[str] = []
                found = defaults.read_defaults(self.name or "", self.flags, given, remarks.append)
                ctx.default_map = {name: default.value for name, default in found.items()}
                warn = _warner({**ctx.default_map, **given})
                for remark in remarks:
                    warn(remark)
                ctx.meta["origins"] = {name: default.origin for name, default in found.items()}
        typed = list(args)  # which typer empties
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            raise self._explained(self._named(error, ctx, typed), ctx) from error

    def _parsed(self, ctx: Any, args: list[str]) -> dict[str, Any]:
        try:
            return dict(self.make_parser(ctx).parse_args(list(args))[0])
        except Exception as error:
            raise self._named(error, ctx, args) from error

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What follows the name in the line of usage: `[OPTIONS] MODEL [SOURCE...]`."""
        flags = {flag.name: flag for flag in self.flags}
        arguments = [param for param in self.get_params(ctx) if param.param_type_name == "argument"]
        named = [(flags[param.name].metavar, param.required) for param in arguments if param.name in flags]
        return ["[OPTIONS]", *(metavar if required else f"[{metavar}]" for metavar, required in named)]

    def invoke(self, ctx: Any) -> Any:
        """Run the command. An error about a value from a variable or a file says so."""
        try:
            with _plot_warnings(_warner(ctx.params)):
                return super().invoke(ctx)
        except UserError as error:
            raise self._explained(error, ctx) from error.__cause__

    def _named(self, error: Exception, ctx: Any, typed: list[str]) -> Exception:
        """An error of typer's in the words of the other errors, whatever typer's version; other errors as they are.

        Args:
            typed: the command line after the name of the command.
        """
        kind, option = type(error).__name__, str(getattr(error, "option_name", ""))
        if kind == "NoSuchOption":
            known = [opt for param in self.get_params(ctx) for opt in (*param.opts, *param.secondary_opts)]
            hint = did_you_mean(option, known) or f"; `seqgen {self.name} --help{'-all' * self.has_many}` lists them"
            return UserError(f"there is no flag {option}{hint}")
        flags = {flag.name: flag for flag in self.flags}
        flag = flags.get(getattr(getattr(error, "param", None), "name", ""))
        usage = f"usage: `seqgen {self.name} {' '.join(self.collect_usage_pieces(ctx))}`"
        if kind == "BadOptionUsage":
            takes_none = any(option in each.flags and each.type is bool for each in self.flags)
            return UserError(f"{option} takes no value" if takes_none else f"{option} needs a value")
        if kind == "MissingParameter" and flag is not None:
            return UserError(f"{flag.metavar.rstrip('.')} is missing; {usage}")
        if kind == "BadParameter" and flag is not None:
            given = self._parsed(ctx, typed)
            value = given[flag.name] if given.get(flag.name) is not None else (ctx.default_map or {}).get(flag.name)
            return UserError(flag.problem(value)) if value is not None else error
        if kind == "UsageError" and (extra := self.make_parser(ctx).parse_args(list(typed))[1]):
            return UserError(f"unexpected argument {extra[0]!r}: is a flag missing before it? {usage}")
        return error

    def _explained(self, error: Exception, ctx: Any) -> Exception:
        """An error with the origin of the value that it is about."""
        format_message = getattr(error, "format_message", None)
        text = str(error) if format_message is None else str(format_message())
        for flag in self.flags:
            origin = ctx.meta["origins"].get(flag.name)
            if origin and set(flag.flags) & set(re.findall(r"--?[a-z][a-z0-9-]*", text)):
                return (type(error) if isinstance(error, UserError) else UserError)(f"{text} ({origin})")
        return error

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page of `--help`."""
        formatter.write(self.help_page(ctx, everything=False))

    def help_page(self, ctx: Any, everything: bool) -> str:
        """The page of `--help`, or of `--help-all`."""
        description = inspect.cleandoc(self.help or "").partition("\f")[0].split("\n\n")
        page = _make_page(ctx)
        page.usage(self.get_usage(ctx))
        for paragraph in description:
            page.paragraph(" ".join(paragraph.split()))
        if self.examples:
            page.lines("Examples", self.examples)
        for panel, rows in self.sections(ctx, everything):
            page.rows(panel, rows)
        if self.has_many and not everything:
            page.paragraph(f"`seqgen {self.name} --help-all` lists all flags.")
        return page.text()

    def sections(self, ctx: Any, everything: bool) -> Iterable[tuple[str, Rows]]:
        flags = {flag.name: flag for flag in self.flags}
        sections: dict[str, Rows] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:
                continue
            flag, (names, text) = flags.get(param.name), record
            home = "Output" if flag is None else flag.panel
            if param.param_type_name == "argument":
                panel: str | None = "Arguments"
                names = names if flag is None else flag.metavar
            elif not self.has_many:
                panel = "Options"
            else:
                panel = home if everything or flag is None else flag.basic
            if panel is not None:
                text = f"{home}: {text[:1].lower()}{text[1:]}" if home != panel and home in _OF_ONE_TASK else text
                sections.setdefault(panel, []).append((names, text))
        order = {panel: index for index, panel in enumerate(_PANELS)}
        return sorted(sections.items(), key=lambda item: order.get(item[0], order["Options"]))


class Group(TyperGroup):
    """The program itself, whose help lists the commands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the flags before the command. Raises `UserError` for one that doesn't exist."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if type(error).__name__ != "NoSuchOption":
                raise
            option = getattr(error, "option_name", "")
            raise UserError(
                f"there is no flag {option} before a command; `seqgen --help` lists those, and the flags of a command "
                "follow its name"
            ) from error

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page of `seqgen --help`."""
        page = _make_page(ctx)
        page.usage(self.get_usage(ctx))
        page.paragraph(self.help or "")
        page.lines("Examples", [self.epilog or ""])
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        page.rows("Commands", [(name, command.get_short_help_str(120)) for name, command in commands if command])
        records = [param.get_help_record(ctx) for param in self.get_params(ctx)]
        page.rows("Options", [record for record in records if record is not None])
        formatter.write(page.text())


@contextlib.contextmanager
def _plot_warnings(warn: Callable[[str], None]) -> Iterator[None]:
    """Pass each `PlotWarning` of the block to `warn`, and other warnings of Python on as they are."""
    show = warnings.showwarning

    def show_warning(message: Any, category: type[Warning], *rest: Any, **named: Any) -> None:
        if issubclass(category, PlotWarning):
            warn(str(message))
        else:
            show(message, category, *rest, **named)

    with warnings.catch_warnings():
        warnings.simplefilter("always", PlotWarning)
        warnings.showwarning = show_warning
        yield


def _warner(given: dict[str, Any]) -> Callable[[str], None]:
    return StderrLogger(bool(given.get("quiet")) or not may_report()).warn


def _make_page(ctx: Any) -> Any:
    with Output("-") as out:
        return _Panels() if out.use_colour else _Plain(ctx)


class _Plain:
    """A page of help as plain text, wrapped."""

    def __init__(self, ctx: Any) -> None:
        self._formatter = ctx.make_formatter()

    def usage(self, text: str) -> None:
        self._formatter.write(text + "\n")

    def paragraph(self, text: str) -> None:
        self._formatter.write_paragraph()
        with self._formatter.indentation():
            self._formatter.write_text(text)

    def lines(self, title: str, lines: Sequence[str]) -> None:
        with self._formatter.section(title):
            for line in lines:
                self._formatter.write(f"  {line}\n")

    def rows(self, title: str, rows: Rows) -> None:
        with self._formatter.section(title):
            self._formatter.write_dl(rows)

    def text(self) -> str:
        return str(self._formatter.getvalue())


class _Panels:
    """A page of help for a terminal: each heading is a panel."""

    def __init__(self) -> None:
        import shutil

        from rich.console import Console

        width = min(shutil.get_terminal_size().columns, _MAX_WIDTH)
        self._console = Console(file=io.StringIO(), force_terminal=True, width=width, highlight=False)
        self._has_panels = False

    def usage(self, text: str) -> None:
        self._print(text, "bold")

    def paragraph(self, text: str) -> None:
        self._console.print()
        self._print(text, "")

    def lines(self, title: str, lines: Sequence[str]) -> None:
        from rich.text import Text

        self._panel(title, Text("\n".join(lines), "green"))

    def rows(self, title: str, rows: Rows) -> None:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(max_width=max(12, self._console.width * 2 // 5 - 4), overflow="fold")
        table.add_column()
        for names, text in rows:
            table.add_row(Text(names, "cyan"), Text(text))
        self._panel(title, table)

    def _print(self, text: str, style: str) -> None:
        from rich.padding import Padding
        from rich.text import Text

        self._console.print(Padding(Text(text, style), (0, 1)))

    def _panel(self, title: str, content: Any) -> None:
        from rich.panel import Panel

        if not self._has_panels:
            self._console.print()
        self._has_panels = True
        self._console.print(Panel(content, title=title, title_align="left", border_style="dim", padding=(0, 1)))

    def text(self) -> str:
        return self._console.file.getvalue()  # type: ignore[attr-defined]
