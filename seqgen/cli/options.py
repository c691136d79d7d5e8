"""Flags and arguments: those that several commands share, and flags made from the fields of option dataclasses."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, TypeVar

import typer

from seqgen.config import TASK_NAMES, flag_name, parse_picture
from seqgen.errors import UserError

F = TypeVar("F", bound=Callable[..., Any])

TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a string"}
"""Types of flags, in messages."""


def advanced(option: Any) -> Any:
    """Leave a flag out of the `--help` of a command that has `--help-all`."""
    option.basic = None
    return option


QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print nothing but errors on stderr.", rich_help_panel="Output")
]
ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="Model folder, as `train` writes it, or hf:OWNER/NAME[@REVISION].")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel="Output")]
TaskOption = Annotated[
    str | None,
    typer.Option(
        metavar="|".join(TASK_NAMES), help="Task [default: guessed from the sources].", rich_help_panel="Data"
    ),
]
ValidOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SOURCE", help="Validation set instead of --val-fraction (repeatable).", rich_help_panel="Data"
    ),
]
ExactOption = Annotated[
    bool,
    advanced(
        typer.Option(
            "--exact",
            help="Never quantise weights to 8 bits for speed (`info` reports the loss in accuracy).",
            rich_help_panel="Hardware",
        )
    ),
]
DeviceOption = Annotated[
    str,
    advanced(
        typer.Option(
            "--device",
            metavar="auto|cpu|cuda|mps",
            help="Device to run on; auto is the CPU [default: auto].",
            show_default=False,
            rich_help_panel="Hardware",
        )
    ),
]
EncodingOption = Annotated[
    str | None, typer.Option("--encoding", metavar="NAME", help="Encoding of text files [default: recognised].")
]
OutputOption = Annotated[
    str, typer.Option("-o", "--output", metavar="FILE|-", help="Output file.", rich_help_panel="Output")
]


def plot_option(help: str) -> Any:
    """The flag --plot of a command that draws something; its parameter is a path without `~`."""
    return typer.Option("--plot", metavar="FILE.png", help=help, rich_help_panel="Output", parser=parse_picture)


ShardOption = Annotated[
    str | None,
    advanced(
        typer.Option(
            "--shard",
            metavar="K/N",
            rich_help_panel="Hardware",
            help="Process shard K of N only; the outputs of all shards make up the whole output.",
        )
    ),
]
ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE.toml",
        rich_help_panel="Output",
        help="TOML file of flags, such as quiet = true; the command line takes precedence.",
    ),
]


def add_options(
    options: type,
    parameter: str = "options",
    names: Collection[str] | None = None,
    several: Collection[str] = (),
    hidden: Collection[str] = (),
    defaults: Mapping[str, Any] | None = None,
) -> Callable[[F], F]:
    """Give a command a flag for every field of the dataclass `options`, or for those with these `names`.

    Flags that are given arrive as a dict in `parameter`. Defaults stay in the dataclass: the dict lacks flags that are
    not given.

    Args:
        several: numbers of which the command takes several, separated by commas; they arrive as tuples.
        hidden: flags that no help lists, because the command refuses them with a reason.
        defaults: what the help shows instead of the dataclass's defaults, because the command sets it; None: nothing.
    """
    fields = [item for item in dataclasses.fields(options) if names is None or item.name in names]

    def decorate(command: F) -> F:
        hints = typing.get_type_hints(options)
        flags = []
        for item in fields:
            rule = item.metadata
            annotation, is_list = _flag_type(hints[item.name])
            names = [flag_name(item.name), *rule["flags"]]
            if annotation is bool:
                names[0] += "/--no-" + item.name.replace("_", "-")
            text = rule["help"]
            default = {item.name: item.default, **(defaults or {})}[item.name]
            if default not in (None, ()):
                text += f" [default: {_shown(default)}]"
            metavar = rule["metavar"] or ("|".join(rule["choices"]) if rule["choices"] else None)
            parser = functools.partial(_numbers, names[0]) if item.name in several else None
            is_list, metavar = is_list or parser is not None, "X[,X…]" if parser else metavar
            option = typer.Option(
                *names,
                help=text,
                metavar=metavar,
                show_default=False,
                rich_help_panel=rule["panel"],
                parser=parser,
                hidden=item.name in hidden,
            )
            option.basic = rule["basic"]
            wanted = Annotated[(list[annotation] if is_list else annotation) | None, option]  # type: ignore[valid-type]
            flags.append(inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=wanted))

        signature = inspect.signature(command, eval_str=True)
        own = [value for name, value in signature.parameters.items() if name != parameter]

        @functools.wraps(command)
        def wrapped(**given: Any) -> Any:
            chosen = {}
            for item in fields:
                value = given.pop(item.name)
                if value is not None and value != []:
                    if item.name in several:
                        value = [number for numbers in value for number in numbers]
                    chosen[item.name] = tuple(value) if isinstance(value, list) else value
            return command(**given, **{parameter: chosen})

        keyword = [value.replace(kind=inspect.Parameter.KEYWORD_ONLY) for value in own]
        wrapped.__signature__ = signature.replace(parameters=[*keyword, *flags])  # type: ignore[attr-defined]
        wrapped.__annotations__ = {value.name: value.annotation for value in [*keyword, *flags]}
        return typing.cast(F, wrapped)

    return decorate


def _shown(default: Any) -> str:
    """A default in a help text."""
    if isinstance(default, tuple):
        return ", ".join(map(repr, default))
    return f"{default:g}" if isinstance(default, float) else str(default)


def _numbers(flag: str, value: Any) -> tuple[float, ...]:
    """Numbers separated by commas, or one from a file of flags. Raises `UserError` for anything else."""
    parts = value.split(",") if isinstance(value, str) else [value]
    try:
        return tuple(map(float, parts))
    except ValueError:
        raise UserError(f"{flag} must be a number, or several such as 0.2,0.5,1; not {str(value)[:40]!r}") from None


def _flag_type(hint: Any) -> tuple[type, bool]:
    """`int | None` → (int, False); `tuple[str, ...]` and `list[str]` → (str, True), True for a list."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        (hint,) = [part for part in typing.get_args(hint) if part is not type(None)]
    if typing.get_origin(hint) in (tuple, list):
        return typing.get_args(hint)[0], True
    return hint, False


@dataclasses.dataclass(frozen=True)
class Flag:
    """A flag or an argument of a command, as its signature says."""

    name: str  # parameter of the command
    flags: tuple[str, ...]  # "--rnn-size", "--hidden-size"; none for an argument
    type: type
    is_list: bool
    metavar: str
    panel: str  # heading in --help-all
    basic: str | None  # heading in --help; None: not there
    hidden: bool
    minimum: float | None = None
    maximum: float | None = None
    has_parser: bool = False  # of its own, which takes texts of any source

    @property
    def keys(self) -> tuple[str, ...]:
        """Its names in files and variables: `rnn_size`, `hidden_size`."""
        return tuple(flag.lstrip("-").replace("-", "_") for flag in self.flags) or (self.name,)

    @property
    def label(self) -> str:
        """Its name in messages."""
        return next((flag for flag in self.flags if flag.startswith("--")), (self.flags or (self.metavar,))[0])

    def problem(self, value: Any) -> str:
        """What is wrong with a value that was refused: its type, or that it is out of bounds."""
        try:
            number = float(value) if self.type is float else int(value)
        except ValueError:
            return f"{self.label} must be {TYPE_NAMES[self.type]}, not {str(value)[:40]!r}"
        is_low = self.minimum is not None and number < self.minimum
        bound = f"at least {self.minimum:.15g}" if is_low else f"at most {self.maximum:.15g}"
        return f"{self.label} must be {bound}, not {str(value)[:40]}"


@functools.cache
def flags_of(command: Callable[..., Any]) -> tuple[Flag, ...]:
    """The flags and arguments of a command, in the order of its signature."""
    found = []
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        if typing.get_origin(parameter.annotation) is not Annotated:
            continue  # the context
        hint, info = typing.get_args(parameter.annotation)[:2]
        is_argument = isinstance(info, typer.models.ArgumentInfo)
        first = (info.default,) if isinstance(info.default, str) else ()  # typer's reading of an annotation
        named = tuple(each.split("/")[0] for each in (*first, *(info.param_decls or ())))
        flags = () if is_argument else named or (flag_name(name),)
        panel = info.rich_help_panel or "Options"
        found.append(
            Flag(name, flags, *_flag_type(hint), info.metavar or name.upper(), panel, getattr(info, "basic", panel),
                 info.hidden, info.min, info.max, info.parser is not None)
        )  # fmt: skip
    return tuple(found)
