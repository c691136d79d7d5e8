"""Flags and arguments: those that several commands share, and flags made from the fields of option dataclasses."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer

from seqgen.config import flag_name

F = TypeVar("F", bound=Callable[..., Any])

QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors on stderr.")]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="Model folder, as `train` writes it.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ExactOption = Annotated[
    bool,
    typer.Option("--exact", help="Never quantise weights to 8 bits for speed (`info` reports the loss in accuracy)."),
]
EncodingOption = Annotated[
    str | None, typer.Option("--encoding", metavar="NAME", help="Encoding of text files [default: recognised].")
]
OutputOption = Annotated[str, typer.Option("-o", "--output", metavar="FILE|-", help="Output file.")]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard", metavar="K/N", help="Process shard K of N only; the outputs of all shards make up the whole output."
    ),
]


def add_options(options: type, parameter: str = "options") -> Callable[[F], F]:
    """Give a command a flag for every field of the dataclass `options`.

    Flags that are given arrive as a dict in `parameter`. Defaults stay in the dataclass: the dict lacks flags that are
    not given.
    """

    def decorate(command: F) -> F:
        hints = typing.get_type_hints(options)
        flags = []
        for item in dataclasses.fields(options):
            rule = item.metadata
            annotation, is_list = _flag_type(hints[item.name])
            names = [flag_name(item.name), *rule["flags"]]
            if annotation is bool:
                names[0] += "/--no-" + item.name.replace("_", "-")
            text = rule["help"]
            if item.default not in (None, ()):
                text += (
                    f" [default: {item.default:g}]"
                    if isinstance(item.default, float)
                    else f" [default: {item.default}]"
                )
            metavar = rule["metavar"] or ("|".join(rule["choices"]) if rule["choices"] else None)
            option = typer.Option(*names, help=text, metavar=metavar, show_default=False)
            wanted = Annotated[(list[annotation] if is_list else annotation) | None, option]  # type: ignore[valid-type]
            flags.append(inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=wanted))

        signature = inspect.signature(command, eval_str=True)
        own = [value for name, value in signature.parameters.items() if name != parameter]

        @functools.wraps(command)
        def wrapped(**given: Any) -> Any:
            chosen = {}
            for item in dataclasses.fields(options):
                value = given.pop(item.name)
                if value is not None and value != []:
                    chosen[item.name] = tuple(value) if isinstance(value, list) else value
            return command(**given, **{parameter: chosen})

        keyword = [value.replace(kind=inspect.Parameter.KEYWORD_ONLY) for value in own]
        wrapped.__signature__ = signature.replace(parameters=[*keyword, *flags])  # type: ignore[attr-defined]
        wrapped.__annotations__ = {value.name: value.annotation for value in [*keyword, *flags]}
        return typing.cast(F, wrapped)

    return decorate


def _flag_type(hint: Any) -> tuple[type, bool]:
    """`int | None` → (int, False); `tuple[str, ...]` → (str, True), True for a list."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        (hint,) = [part for part in typing.get_args(hint) if part is not type(None)]
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0], True
    return hint, False
