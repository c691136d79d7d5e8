"""What a setting is: a dataclass field with one default, a help text, flags and bounds; and how settings are read."""

from __future__ import annotations

import dataclasses
import math
import re
import typing
from collections.abc import Mapping
from dataclasses import field
from typing import Any, TypeVar

from seqgen.errors import UserError

_LONGEST = 1e12  # seconds, so that every sum of them stays exact
_MOST_BIAS = 100.0  # nats: more than any model's logits lie apart

T = TypeVar("T")


def setting(
    default: Any,
    help: str,
    *flags: str,
    choices: tuple[str, ...] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    exclusive_minimum: float | None = None,
    metavar: str | None = None,
    tasks: tuple[str, ...] = (),
) -> Any:
    """A dataclass field that knows its help text, its flags beyond `--its-name`, its bounds (inclusive), and the tasks
    that it has a meaning for (none named: all)."""
    metadata = {
        "help": help, "flags": flags, "choices": choices, "minimum": minimum, "maximum": maximum, "exclusive_minimum": exclusive_minimum,
        "metavar": metavar, "tasks": tasks,
    }  # fmt: skip
    if isinstance(default, (list, dict)):
        raise TypeError("a default must be immutable")
    return field(default=default, metadata=metadata)


def flag_name(name: str) -> str:
    """`rnn_size` → `--rnn-size`."""
    return "--" + name.replace("_", "-")


def check(options: T) -> T:
    """Returns `options` if every field keeps its type and bounds; otherwise raises `UserError` naming the flag."""
    hints = typing.get_type_hints(type(options))
    for item in dataclasses.fields(options):  # type: ignore[arg-type]
        value, rule = getattr(options, item.name), item.metadata
        if value is None or not rule:
            continue
        name = flag_name(item.name)
        wanted = _accepted(hints[item.name])
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            raise UserError(f"{name} must be {' or '.join(each.__name__ for each in wanted)}, not {value!r}")
        if rule["choices"] and value not in rule["choices"]:
            raise UserError(f"{name} must be one of {', '.join(rule['choices'])}; not {value!r}")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if float in wanted and not _is_finite(value):
                raise UserError(f"{name} must be a finite number, not {_plain(value)}")
            if rule["minimum"] is not None and value < rule["minimum"]:
                raise UserError(f"{name} must be at least {_plain(rule['minimum'])}, not {_plain(value)}")
            if rule["exclusive_minimum"] is not None and value <= rule["exclusive_minimum"]:
                raise UserError(f"{name} must be more than {_plain(rule['exclusive_minimum'])}, not {_plain(value)}")
            if rule["maximum"] is not None and value > rule["maximum"]:
                raise UserError(f"{name} must be at most {_plain(rule['maximum'])}, not {_plain(value)}")
    return options


def from_json(kind: type[T], data: object) -> T:
    """One of the dataclasses as it was written to JSON. Raises `UserError` where a field is missing, unknown, of
    another type or not finite; the message names it, and not the file, which the caller knows."""
    if not isinstance(data, dict):
        raise UserError(f"a table is expected, not {str(data)[:40]!r}")
    hints = typing.get_type_hints(kind)
    found = {}
    for name, value in data.items():
        if name not in hints:
            raise UserError(f"there is no {str(name)[:40]!r}")
        wanted = _accepted(hints[name])
        if wanted == (tuple,) and isinstance(value, list):
            value = _as_tuple(value, typing.get_args(hints[name])[0])
        found[name] = value
        fits = isinstance(value, wanted) and (bool in wanted or not isinstance(value, bool))
        if value is None:
            fits = type(None) in typing.get_args(hints[name])
        if not fits or (float in wanted and value is not None and not _is_finite(value)):
            raise UserError(f"{name} can't be {str(value)[:40]!r}")
    try:
        return kind(**found)
    except TypeError as error:
        raise UserError(f"it is not complete ({error})") from error
    except OverflowError as error:
        raise UserError("it holds a number that is far too large") from error


def _as_tuple(values: list[Any], wanted: type) -> Any:
    """A JSON list as the tuple it was written from; as it is, and so refused, where an item is of another type."""
    return tuple(values) if all(isinstance(value, _accepted(wanted)) for value in values) else values


def _is_finite(value: float) -> bool:
    """Whether a number, also one without a point, is one that a float can be."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _accepted(hint: Any) -> tuple[type, ...]:
    """The types that a field's annotation lets in: `float | None` → (int, float)."""
    parts = [part for part in (typing.get_args(hint) or (hint,)) if part is not type(None)]
    if typing.get_origin(hint) is tuple:
        return (tuple,)
    return (int, float) if float in parts else tuple(parts)


def _plain(value: float) -> str:
    """A number without an exponent where it is short."""
    text = str(value) if isinstance(value, int) else f"{value:g}"
    return text if len(text) <= 24 else f"{text[:8]}… ({len(text)} digits)"


def make_options(kind: type[T], given: Mapping[str, Any]) -> T:
    """Builds one of the dataclasses from keyword arguments, unknown names refused, bounds checked."""
    known = {item.name for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in given:
        if name not in known:
            raise UserError(f"there is no setting {name!r}; known: {', '.join(sorted(known))}")
    return check(kind(**given))


def check_task(kind: type, given: Mapping[str, Any], task: str) -> None:
    """Raises `UserError` where a setting is given that means nothing to `task`."""
    for item in dataclasses.fields(kind):
        of = item.metadata.get("tasks", ())
        if of and task not in of and given.get(item.name) is not None and given[item.name] != item.default:
            known = ", ".join(of[:-1]) + " and " * (len(of) > 1) + of[-1]
            raise UserError(f"{flag_name(item.name)} is for {known}; this is {task}")


def parse_duration(text: str) -> float:
    """Seconds in `90s`, `10m`, `1.5h`, `2d` or a bare number of seconds.

    Raises `UserError` for anything else, and for a duration of zero.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([smhd]?)\s*", text)
    if not match:
        raise UserError(f"--budget must be a time such as 90s, 10m or 2h; not {text!r}")
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
    if not 0 < seconds <= _LONGEST:
        raise UserError(f"--budget must be more than zero seconds and at most 30,000 years, not {text[:24]!r}")
    return seconds


def parse_pitch_range(text: str) -> tuple[int, int]:
    """Lowest and highest pitch in `21-108`. Raises `UserError` for anything else."""
    match = re.fullmatch(r"\s*(\d{1,3})\s*-\s*(\d{1,3})\s*", text)
    if not match or not int(match[1]) <= int(match[2]) <= 127:
        raise UserError(f"--pitch-range must be two MIDI pitches such as 21-108, not {text[:24]!r}")
    return int(match[1]), int(match[2])


def parse_logit_bias(text: str) -> tuple[str, float]:
    """A token's name and what is added to its logit in `x=-2`. Raises `UserError` for anything else."""
    return _named_number("--logit-bias", "'x=-2'", text, -_MOST_BIAS, _MOST_BIAS)


def parse_event_temperature(text: str) -> tuple[str, float]:
    """A kind of event and its temperature in `pitch=1.2`. Raises `UserError` for anything else."""
    return _named_number("--temperature-of", "'pitch=1.2'", text, 0, 1e6)


def _named_number(flag: str, example: str, text: str, minimum: float, maximum: float) -> tuple[str, float]:
    """`name=number`; the name is all before the last `=`, so that it may hold one itself."""
    name, equals, number = text.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not name or not equals or math.isnan(value):
        raise UserError(f"{flag} must be a name and a number such as {example}; not {text[:40]!r}")
    if not minimum <= value <= maximum:
        raise UserError(f"{flag} {text[:40]!r}: the number must be from {_plain(minimum)} to {_plain(maximum)}")
    return name, value


def parse_levels(text: str) -> tuple[float, ...]:
    """Bands in `50,80,95`, in percent, rising; none in `none`. Raises `UserError` for anything else."""
    if text.strip() == "none":
        return ()
    try:
        levels = sorted({float(part) for part in text.split(",")})
    except ValueError:
        levels = []
    if not levels or not all(0 < level < 100 for level in levels) or len(levels) > 16:
        raise UserError(f"--levels must be percentages such as 80,95, or none; not {text[:24]!r}")
    return tuple(levels)


def parse_split_rows(text: str) -> tuple[float, ...]:
    """Rows in `8640,2880,2880`, or shares of them in `0.7,0.1,0.2`: to learn from, to choose by and, where a third is
    given, to measure on. Raises `UserError` for anything else."""
    try:
        sizes = tuple(float(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    shares = all(size < 1 for size in sizes) and sum(sizes) <= 1 + 1e-9
    rows = all(size.is_integer() for size in sizes)
    if len(sizes) not in (2, 3) or not all(0 < size < 1e12 for size in sizes) or not (rows or shares):
        raise UserError(
            f"--split-rows must be two or three numbers of rows such as 8640,2880,2880, or shares such as 0.7,0.1,0.2; "
            f"not {text[:40]!r}"
        )
    return sizes
