"""Values of flags that aren't on the command line: from environment variables and from the file of `--config`.

A flag takes precedence over its variable, a variable over the file, and the file over the default. `SEQGEN_`, the
command and the flag make up a variable: `SEQGEN_TRAIN_BUDGET=2m`. The keys of the file are the flags, with dashes
or underscores, and the names of arguments (`sources`, `model`).
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from seqgen.cli.options import TYPE_NAMES, Flag
from seqgen.errors import UserError, closest, did_you_mean
from seqgen.streams import read_whole

# Of these flags one replaces another that comes from a variable or the file.
_ALTERNATIVES = (
    {"budget", "epochs", "steps"}, {"resume", "overwrite"}, {"prompt", "prompt_file"}, {"best_of", "beam"},
)  # fmt: skip
# Beside this flag on the command line only these have values from elsewhere.
_ALONE = {"replay": {"model", "quiet", "output", "format", "plot", "as_json", "show_prompt", "state_in"}}
# Beside this flag on the command line these have none: it excludes them. Parameters, and the flags of messages.
EXCLUDED = {
    "interactive": {
        "state_out": "--state-out", "state_in": "--state-in", "as_json": "--json", "n": "-n", "shard": "--shard",
        "first": "--first", "length": "--length", "stop": "--stop", "stop_at_end": "--stop-at-end", "label": "--label",
        "adaptive": "--adaptive", "beam": "--beam", "show_prompt": "--no-show-prompt",
    }
}  # fmt: skip
# Beside this flag on the command line these have only single values from elsewhere.
_SINGLE = {"interactive": {"temperature"}}
_CONFIG = "config"  # the parameter that names the file
_MAX_BYTES = 1 << 20  # of a file of flags
# A key or the name of a table with more than 32 parts; the time that tomllib takes grows with their square. Flags have
# one part.
_DEEP_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){32}""", re.ASCII)
_BOOLEANS = {"1": True, "true": True, "0": False, "false": False}


class Default(NamedTuple):
    """A value and where it comes from."""

    value: Any
    origin: str


def has_variables(command: str) -> bool:
    """Whether the environment has variables of this command."""
    return any(name.startswith(_prefix(command)) for name in os.environ)


def read_defaults(
    command: str, flags: Sequence[Flag], given: Mapping[str, Any], warn: Callable[[str], None]
) -> dict[str, Default]:
    """Values from the environment and from the file of `--config`, by parameter.

    Args:
        given: parameters that are on the command line, and their values.
        warn: called for variables that are those of no flag.

    Raises:
        UserError: a value has another type, or a key of the file is unknown.
    """
    found: dict[str, Default] = {}
    taken = set(given)
    variables = _from_environment(command, flags, os.environ, warn)
    path = given.get(_CONFIG, variables[_CONFIG].value if _CONFIG in variables else None)
    if path == "":
        raise UserError("--config is empty: name a file")
    allowed = next((names for flag, names in _ALONE.items() if flag in given), {flag.name for flag in flags})
    allowed = allowed.difference(*(names for flag, names in EXCLUDED.items() if flag in given))
    single: set[str] = set().union(*(names for flag, names in _SINGLE.items() if flag in given))
    for source in (variables, {} if path is None else _from_file(command, flags, path)):
        above = taken.union(*(group for group in _ALTERNATIVES if group & taken))
        several = {name for name in single & source.keys() if "," in str(source[name].value)}
        found |= {name: default for name, default in source.items() if name in allowed - above - several}
        taken |= source.keys()
    return found


def _prefix(command: str) -> str:
    return f"SEQGEN_{command.upper()}_"


def _from_environment(
    command: str, flags: Sequence[Flag], environment: Mapping[str, str], warn: Callable[[str], None]
) -> dict[str, Default]:
    """Values of variables; an empty one counts as unset, and one of a repeatable flag gives one value."""
    prefix = _prefix(command)
    known = {prefix + key.upper(): flag for flag in flags if flag.flags for key in flag.keys}
    found = {}
    for name in sorted(name for name in environment if name.startswith(prefix)):
        flag, text = known.get(name), environment[name]
        if flag is None:
            warn(f"the variable {name} is for no flag of `seqgen {command}`{did_you_mean(name, known)}")
        elif text:
            value = text if flag.has_parser else _parse(text, flag.type)
            if value is None:
                accepted = "1, 0, true or false" if flag.type is bool else TYPE_NAMES[flag.type]
                raise UserError(f"{name} must be {accepted}, not {text[:40]!r}")
            found[flag.name] = Default([value] if flag.is_list else value, f"from {name}")
    return found


def _parse(text: str, wanted: type) -> Any:
    """The value of a variable, or None if it can't be of that type."""
    if wanted is bool:
        return _BOOLEANS.get(text.strip().lower())
    try:
        return wanted(text)
    except ValueError:
        return None


def _from_file(command: str, flags: Sequence[Flag], path: str) -> dict[str, Default]:
    name = "standard input" if path == "-" else path
    try:
        data = read_whole(path, max_bytes=_MAX_BYTES)
        # Shells of Windows write the output of `info --recipe` as UTF-16.
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        if _DEEP_KEY.search(text):
            raise RecursionError
        table = tomllib.loads(text)
    except RecursionError as error:
        raise UserError(f"--config {name}: it is nested too deeply; the keys of the file are flags") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"--config {name}: this is not TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"--config {name}: this is not TOML, which is UTF-8") from error
    except ValueError as error:  # an integer of more digits than Python reads
        raise UserError(f"--config {name}: a number is too large") from error
    known = {key: flag for flag in flags if not flag.hidden and flag.name != _CONFIG for key in flag.keys}
    found: dict[str, Default] = {}
    keys: dict[str, str] = {}
    for key, value in table.items():
        flag = known.get(key.replace("-", "_"))
        if flag is None:
            near = closest(key.replace("-", "_").removeprefix("no_"), known)
            hint = f"did you mean {near!r}?" if near else f"`seqgen {command} --help` lists them"
            raise UserError(f"--config {name}: {key!r} is no flag of `seqgen {command}`; {hint}")
        if flag.name in keys:
            raise UserError(f"--config {name}: {keys[flag.name]} and {key} are the same flag; give one of them")
        keys[flag.name] = key
        found[flag.name] = Default(_checked(value, flag, f"--config {name}: {key}"), f"from {name}")
    return found


def _checked(value: Any, flag: Flag, where: str) -> Any:
    """The value of a key. Raises `UserError` if it has another type than the flag."""
    if flag.is_list:
        return [_checked_item(item, flag, where) for item in (value if isinstance(value, list) else [value])]
    if isinstance(value, list):
        raise UserError(f"{where} must be one value, not a list")
    return _checked_item(value, flag, where)


def _checked_item(value: Any, flag: Flag, where: str) -> Any:
    if isinstance(value, dict | list):
        found = "table" if isinstance(value, dict) else "list"
        raise UserError(f"{where} must be {TYPE_NAMES[flag.type]}, not a {found}")
    if isinstance(value, int) and abs(value) >= 1 << 64:  # which Python may refuse to print
        raise UserError(f"{where} is too large")
    accepted: tuple[type, ...] = (int, float) if flag.type is float else (flag.type,)
    accepted += (str,) * flag.has_parser
    if not isinstance(value, accepted) or (isinstance(value, bool) and flag.type is not bool):
        hint = f": put it in quotes, '{value}'" if flag.type is str and isinstance(value, (int, float)) else ""
        shown = str(value).lower() if isinstance(value, bool) else repr(value)
        raise UserError(f"{where} must be {TYPE_NAMES[flag.type]}, not {shown[:40]}{hint}")
    if isinstance(value, str) and "\0" in value:
        raise UserError(f"{where} has a NUL character, which no command line can have")
    return _as_argument(value) if isinstance(value, str) else value


def _as_argument(text: str) -> str:
    """A text as the command line gives it: characters that the locale lacks are bytes of UTF-8."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return os.fsdecode(text.encode())
    return text
