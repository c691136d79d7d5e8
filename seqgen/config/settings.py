"""Settings: dataclass fields with a default, a help text, flags and bounds; and how their values are parsed."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import re
import typing
from collections.abc import Collection, Mapping
from dataclasses import field
from typing import Any, TypeVar

from seqgen.errors import UserError, did_you_mean
from seqgen.specs.tasks import TASKS, names_with_group

_MAX_DURATION = 1e12  # seconds, so that sums stay exact
_OTHER_PICTURES = (".pdf", ".svg", ".jpg", ".jpeg", ".gif", ".webp", ".eps", ".ps", ".tif", ".tiff", ".bmp", ".html")
_MAX_BIAS = 100.0  # nats, more than the range of any model's logits

# Headings of flags by group of settings.
_PANELS = {
    "language_model": "Training", "music": "Music", "labels": "Classify", "series": "Forecast", "replies": "Dialogue",
    "text_output": "Text", "text_column": "Data", "adaptive": "Text", "lenient": "Data", "keep_corpus": "Output",
    "plot": "Output", "context_cache": "Text",
}  # fmt: skip

T = TypeVar("T")


def setting(
    default: Any,
    help: str,
    *flags: str,
    choices: Collection[str] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    exclusive_minimum: float | None = None,
    metavar: str | None = None,
    group: str | None = None,
    panel: str | None = None,
    basic: bool | str = False,
) -> Any:
    """Make a dataclass field with a help text, flags beyond `--its-name`, and inclusive bounds.

    Args:
        group: the setting applies only to tasks that have this group among their `option_groups` (`specs.tasks`).
        panel: heading in the help of commands with many flags; by default that of the `group`.
        basic: whether `--help` lists the flag, and not just `--help-all`; text is the heading there.
    """
    panel = panel or _PANELS.get(group or "", "Options")
    metadata = {
        "help": help, "flags": flags, "choices": choices, "minimum": minimum, "maximum": maximum,
        "exclusive_minimum": exclusive_minimum, "metavar": metavar, "group": group, "panel": panel,
        "basic": panel if basic is True else basic or None,
    }  # fmt: skip
    if isinstance(default, (list, dict)):
        raise TypeError("a default must be immutable")
    return field(default=default, metadata=metadata)


def flag_name(name: str) -> str:
    """The flag of a setting: `rnn_size` → `--rnn-size`."""
    return "--" + name.replace("_", "-")


def field_types(cls: type) -> Mapping[str, Any]:
    """The types of a dataclass's fields by their names. To resolve annotations takes long, so that it is done once."""
    return _resolved_types(cls)


_resolved_types = functools.cache(typing.get_type_hints)


def check(options: T) -> T:
    """Return `options` if all fields have their type and are within bounds. Otherwise raise `UserError`."""
    hints = field_types(type(options))
    for item in dataclasses.fields(options):  # type: ignore[arg-type]
        value, rule = getattr(options, item.name), item.metadata
        if not rule or (value is None and type(None) in typing.get_args(hints[item.name])):
            continue
        name = flag_name(item.name)
        wanted = _accepted_types(hints[item.name])
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            raise UserError(f"{name} must be {' or '.join(each.__name__ for each in wanted)}, not {value!r}")
        if rule["choices"] and value not in rule["choices"]:
            names = tuple(rule["choices"])
            raise UserError(f"{name} must be one of {', '.join(names)}; not {value!r}{did_you_mean(str(value), names)}")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if float in wanted and not _is_finite(value):
                raise UserError(f"{name} must be a finite number, not {_format(value)}")
            if rule["minimum"] is not None and value < rule["minimum"]:
                raise UserError(f"{name} must be at least {_format(rule['minimum'])}, not {_format(value)}")
            if rule["exclusive_minimum"] is not None and value <= rule["exclusive_minimum"]:
                raise UserError(f"{name} must be more than {_format(rule['exclusive_minimum'])}, not {_format(value)}")
            if rule["maximum"] is not None and value > rule["maximum"]:
                raise UserError(f"{name} must be at most {_format(rule['maximum'])}, not {_format(value)}")
    return options


def check_ranges(values: object, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Raise `UserError` if a field of `values` is out of its range, ends included; None is in every range.

    For dataclasses that are no options of a command, but are read from JSON.
    """
    for name, (least, most) in ranges.items():
        value = getattr(values, name)
        if value is not None and not least <= value <= most:
            raise UserError(f"{name} must be from {_format(least)} to {_format(most)}, not {_format(value)}")


def from_json(cls: type[T], data: object) -> T:
    """Build a dataclass from parsed JSON.

    Raises `UserError` for a field that is missing, unknown, of another type or not finite. The message names the field
    but not the file.
    """
    if not isinstance(data, dict):
        raise UserError(f"a JSON object is expected, not {str(data)[:40]!r}")
    hints = field_types(cls)
    found = {}
    for name, value in data.items():
        if name not in hints:
            raise UserError(f"there is no setting {str(name)[:40]!r}")
        wanted = _accepted_types(hints[name])
        if wanted == (tuple,) and isinstance(value, list):
            value = _as_tuple(value, typing.get_args(hints[name])[0])
        found[name] = value
        fits = isinstance(value, wanted) and (bool in wanted or not isinstance(value, bool))
        if value is None:
            fits = type(None) in typing.get_args(hints[name])
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not fits or (is_number and not _is_finite(value)):
            raise UserError(f"{name} can't be {str(value)[:40]!r}")
    try:
        return cls(**found)
    except TypeError as error:
        raise UserError(f"it is incomplete ({error})") from error
    except OverflowError as error:
        raise UserError("it contains a number that is far too large") from error


def _as_tuple(values: list[Any], wanted: type) -> Any:
    """A JSON list as a tuple; unchanged, and so refused later, if an item has another type."""
    return tuple(values) if all(isinstance(value, _accepted_types(wanted)) for value in values) else values


def _is_finite(value: float) -> bool:
    """Whether a number, possibly a large int, is a finite float."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _accepted_types(hint: Any) -> tuple[type, ...]:
    """The types that a field's annotation accepts: `float | None` → (int, float)."""
    parts = [part for part in (typing.get_args(hint) or (hint,)) if part is not type(None)]
    if typing.get_origin(hint) is tuple:
        return (tuple,)
    return (int, float) if float in parts else tuple(parts)


def _format(value: float) -> str:
    """A number as text, shortened if it is very long."""
    text = str(value) if isinstance(value, int) else f"{value:g}"
    return text if len(text) <= 24 else f"{text[:8]}… ({len(text)} digits)"


def make_options(cls: type[T], given: Mapping[str, Any]) -> T:
    """Build an options dataclass from keyword arguments. An option that may be repeated takes one text, too, or a list.

    Raises `UserError` for unknown names and invalid values.
    """
    hints = field_types(cls)
    known = {item.name for item in dataclasses.fields(cls)}  # type: ignore[arg-type]
    values = {}
    for name, value in given.items():
        if name not in known:
            raise UserError(f"there is no setting {name!r}; known: {', '.join(sorted(known))}")
        values[name] = _as_texts(name, value) if hints[name] == tuple[str, ...] else _as_python(value)
    return check(cls(**values))


def _as_python(value: Any) -> Any:
    """A number of NumPy, as searches for parameters give them, as one of Python."""
    return value.item() if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0 else value


def _as_texts(name: str, value: object) -> tuple[str, ...]:
    """The values of an option that may be repeated."""
    values = [value] if isinstance(value, str) else list(value) if isinstance(value, (list, tuple)) else [None]
    texts = tuple(each for each in values if isinstance(each, str))
    if len(texts) < len(values):
        raise UserError(f"{flag_name(name)} must be a text or a list of texts, not {str(value)[:40]!r}")
    return texts


def check_task(cls: type, given: Mapping[str, Any], task: str) -> None:
    """Raise `UserError` if a setting is given that doesn't apply to `task`."""
    for item in dataclasses.fields(cls):
        group = item.metadata.get("group")
        if given.get(item.name) in (None, item.default):
            continue
        if group is not None:
            check_option_group(flag_name(item.name), group, task)
        if item.name in TASKS.find(task).unused_settings:
            raise UserError(f"{flag_name(item.name)} has no effect on {task}: leave it out")


def check_option_group(flag: str, group: str, task: str) -> None:
    """Raise `UserError` if the settings of a group, of which `flag` is one, don't apply to `task`."""
    if group in TASKS.find(task).option_groups:
        return
    known = names_with_group(group)
    named = ", ".join(known[:-1]) + " and " * (len(known) > 1) + known[-1]
    raise UserError(f"{flag} is for {named}; this is {task}")


def parse_duration(text: str, flag: str = "--budget") -> float:
    """Parse a duration: `90s`, `10m`, `1.5h`, `2d` or a number of seconds. Returns seconds.

    Raises `UserError`, which names the `flag`, for anything else, and for zero.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([smhd]?)\s*", text)
    if not match:
        raise UserError(f"{flag} must be a time such as 90s, 10m or 2h; not {text!r}")
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
    if not 0 < seconds <= _MAX_DURATION:
        raise UserError(f"{flag} must be more than zero seconds and at most 30,000 years, not {text[:24]!r}")
    return seconds


def parse_picture(text: str) -> str:
    """Parse the name of the PNG file of `--plot`; `~` is expanded.

    Raises `UserError` for standard output, which has the data, and for the suffix of another format.
    """
    if text in ("", "-") or text.lower().endswith(_OTHER_PICTURES):
        raise UserError(f"--plot must name a .png file, not {text[-80:]!r}")
    return os.path.expanduser(text)


def parse_pitch_range(text: str) -> tuple[int, int]:
    """Parse the lowest and highest pitch: `21-108`. Raises `UserError` for anything else."""
    match = re.fullmatch(r"\s*(\d{1,3})\s*-\s*(\d{1,3})\s*", text)
    if not match or not int(match[1]) <= int(match[2]) <= 127:
        raise UserError(f"--pitch-range must be two MIDI pitches such as 21-108, not {text[:24]!r}")
    return int(match[1]), int(match[2])


def parse_logit_bias(text: str) -> tuple[str, float]:
    """Parse the name of a token and its logit bias: `x=-2`. Raises `UserError` for anything else."""
    return _named_number("--logit-bias", "'x=-2'", text, -_MAX_BIAS, _MAX_BIAS)


def parse_event_temperature(text: str) -> tuple[str, float]:
    """Parse an event type and its temperature: `pitch=1.2`. Raises `UserError` for anything else."""
    return _named_number("--temperature-of", "'pitch=1.2'", text, 0, 1e6)


def _named_number(flag: str, example: str, text: str, minimum: float, maximum: float) -> tuple[str, float]:
    """Parse `name=number`. The name ends at the last `=`, so it may contain others."""
    name, equals, number = text.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not name or not equals or math.isnan(value):
        raise UserError(f"{flag} must be a name and a number such as {example}; not {text[:40]!r}")
    if not minimum <= value <= maximum:
        raise UserError(f"{flag} {text[:40]!r}: the number must be from {_format(minimum)} to {_format(maximum)}")
    return name, value


def parse_levels(text: str) -> tuple[float, ...]:
    """Parse levels of prediction intervals, in percent: `50,80,95` or `none`. Returns them sorted.

    Raises `UserError` for anything else.
    """
    if text.strip() == "none":
        return ()
    try:
        levels = sorted({float(part) for part in text.split(",")})
    except ValueError:
        levels = []
    if not levels or not all(0 < level < 100 for level in levels) or len(levels) > 16:
        raise UserError(f"--levels must be percentages such as 80,95, or none; not {text[:24]!r}")
    return tuple(levels)


def parse_lags(text: str) -> tuple[int, ...]:
    """Parse seasons, in rows: `7,364` or `none`. Returns them sorted. Raises `UserError` for anything else."""
    if text.strip() == "none":
        return ()
    parts = text.split(",")
    numbers = [int(part) if re.fullmatch(r"\s*[0-9]{1,9}\s*", part) else 0 for part in parts]
    if not all(1 <= number <= 1 << 20 for number in numbers) or len(parts) > 8:
        raise UserError(f"--lags must be numbers of rows such as 7,364, or none; not {text[:24]!r}")
    return tuple(sorted(set(numbers)))


def parse_split_rows(text: str) -> tuple[float, ...]:
    """Parse the sizes of the training, validation and (optional) test set: `8640,2880,2880` rows or `0.7,0.1,0.2`.

    Raises `UserError` for anything else.
    """
    try:
        sizes = tuple(float(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    fractions = all(size < 1 for size in sizes) and sum(sizes) <= 1 + 1e-9
    rows = all(size.is_integer() for size in sizes)
    if len(sizes) not in (2, 3) or not all(0 < size < 1e12 for size in sizes) or not (rows or fractions):
        raise UserError(
            "--split-rows must be two or three numbers of rows such as 8640,2880,2880, or fractions such as "
            f"0.7,0.1,0.2; not {text[:40]!r}"
        )
    return sizes
