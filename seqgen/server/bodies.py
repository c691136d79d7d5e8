"""Bodies of requests: JSON objects, their fields checked, as options of seqgen."""

from __future__ import annotations

import dataclasses
import math
import secrets
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from seqgen.config import ChatOptions, ClassifyOptions, ForecastOptions, check, field_types
from seqgen.errors import UserError, did_you_mean
from seqgen.generation.sampling.draw import MAX_NATIVE_WINDOW
from seqgen.server.errors import HttpError
from seqgen.server.state import LARGE, state_of
from seqgen.specs.filters import filter_rows
from seqgen.untrusted import parse_json

MAX_BYTES = 8 << 20  # of a body
_MAX_VALUES = 1 << 18  # of its JSON: parsing takes microseconds and hundreds of bytes for each
MAX_INPUTS = 1024  # texts of one request
MAX_CHOICES = 128  # `n`
MAX_TOKENS = 1 << 20  # `max_tokens`, and characters of `length`
MAX_PIECES = 16  # `n` of music
MAX_BARS = 1000  # `length` of music
MAX_SEED = (1 << 63) - 1
MAX_LOGPROBS = 20  # other tokens beside each
MAX_WINDOW = MAX_NATIVE_WINDOW  # past tokens: with more, a text would hold up all others

WINDOWS = frozenset(row.window for row in filter_rows() if row.window)
"""Fields that say how many past tokens a filter reads."""

IGNORED = frozenset({"user", "metadata", "store", "service_tier", "parallel_tool_calls"})
"""Fields of OpenAI's API that change nothing here."""

_NO_FIELDS: Mapping[type, Sequence[str]] = {
    ChatOptions: ("length", "context_cache"),  # the model ends its replies itself
    ClassifyOptions: ("format", "text_column", "sheet"),  # of files that a command reads and writes
    ForecastOptions: ("encoding",),
}

T = TypeVar("T")


def option_fields(cls: type) -> list[dataclasses.Field[Any]]:
    """The options of a dataclass that are fields of a request: not those that would change nothing here."""
    return [item for item in dataclasses.fields(cls) if item.name not in _NO_FIELDS.get(cls, ())]


async def read_body(request: Request) -> bytes:
    """The body of a request. Raises `HttpError`: it is too large, or the client went away."""
    given = request.headers.get("content-length", "")
    if given.isascii() and given.isdigit() and int(given) > MAX_BYTES:
        raise HttpError(413, f"the body has {int(given):,} bytes; {MAX_BYTES:,} are allowed")
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > MAX_BYTES:
                raise HttpError(413, f"the body has more than the {MAX_BYTES:,} bytes allowed")
            parts.append(part)
    except ClientDisconnect as gone:
        raise HttpError(400, "the body ended early") from gone
    return b"".join(parts)


async def read_object(request: Request) -> Fields:
    """The JSON object in the body of a request. Raises `HttpError` for anything else."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HttpError(415, f"the body must be application/json, not {kind or 'of no content type'}")
    data = await read_body(request)
    if len(data) <= LARGE:
        return _parse_object(data)
    return await state_of(request).in_thread(lambda: _parse_object(data))


def _parse_object(data: bytes) -> Fields:
    try:
        value = parse_json(data, most_values=_MAX_VALUES)
    except (ValueError, UnicodeDecodeError) as error:
        raise HttpError(400, f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise HttpError(400, "the body must be a JSON object")
    return Fields(value)


@dataclass
class Fields:
    """The fields of a JSON object that have not been taken yet."""

    left: dict[str, Any]

    def take(self, name: str, kind: type[T] | tuple[type, ...], default: Any = None) -> Any:
        """Remove and return a field, or `default` if it is missing or null. Raises `HttpError` for another type."""
        value = self.left.pop(name, None)
        if value is None:
            return default
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if (isinstance(value, bool) and bool not in kinds) or not isinstance(value, kinds):
            raise HttpError(400, f"`{name}` must be {_names(kinds)}")
        return value

    def integer(self, name: str, low: int, high: int, default: int | None = None) -> Any:
        """The same for an integer within limits."""
        value = self.take(name, int, default)
        if value is not None and not low <= value <= high:
            raise HttpError(400, f"`{name}` must be between {low:,} and {high:,}")
        return value

    def seed(self) -> int:
        """The field `seed`, or a random one that every JSON reader keeps exact."""
        found = self.integer("seed", 0, MAX_SEED)
        return secrets.randbelow(1 << 53) if found is None else int(found)

    def texts(self, name: str) -> list[str]:
        """A field that is a text or a list of texts, at least one. Raises `HttpError` otherwise."""
        value = self.take(name, (str, list))
        found = [value] if isinstance(value, str) else value
        if not found or not all(isinstance(text, str) for text in found):
            raise HttpError(400, f"`{name}` must be a text, or a list of texts")
        if len(found) > MAX_INPUTS:
            raise HttpError(400, f"`{name}` has {len(found):,} texts; {MAX_INPUTS:,} are allowed")
        return list(found)

    def convert_bias(self) -> None:
        """Turn the field `logit_bias` from OpenAI's object of ids into our list. Raises `HttpError`."""
        bias = self.left.get("logit_bias")
        if isinstance(bias, dict):
            if len(bias) > MAX_INPUTS:
                raise HttpError(400, f"`logit_bias` has {len(bias):,} ids; {MAX_INPUTS:,} are allowed")
            if not all(type(value) in (int, float) and abs(value) < math.inf for value in bias.values()):
                raise HttpError(400, "`logit_bias` must be an object from ids to numbers")
            self.left["logit_bias"] = [f"#{token}={value}" for token, value in bias.items()]

    def options(self, cls: type[T], extra: Mapping[str, Any] | None = None) -> T:
        """What is left as options, with `extra`. Every field must be an option. Raises `HttpError` otherwise."""
        known = {item.name for item in option_fields(cls)}
        hints = field_types(cls)
        given = dict(extra or {})
        for name, value in self.left.items():
            if name in IGNORED or value is None:
                continue
            if name not in known:
                raise HttpError(400, f"there is no field {name[:60]!r}{did_you_mean(name[:60], known)}")
            given[name] = _converted(name, value, hints[name])
            if name in WINDOWS and given[name] > MAX_WINDOW:
                raise HttpError(400, f"`{name}` must be at most {MAX_WINDOW:,}")
        try:
            return check(cls(**given))
        except UserError as error:
            raise HttpError(400, str(error)) from error


def _converted(name: str, value: Any, hint: Any) -> Any:
    """A JSON value as an option of the type `hint`."""
    kinds = [kind for kind in _members(hint) if kind is not type(None)]
    if float in kinds and type(value) is int:
        if abs(value) > 1 << 53:
            raise HttpError(400, f"`{name}` is too large")
        return float(value)
    if any(typing.get_origin(kind) is tuple for kind in kinds):
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items) or len(items) > MAX_INPUTS:
            raise HttpError(400, f"`{name}` must be a text, or a list of texts")
        return tuple(items)
    if not any(isinstance(kind, type) and type(value) is kind for kind in kinds):
        raise HttpError(400, f"`{name}` must be {_names(tuple(kind for kind in kinds if isinstance(kind, type)))}")
    return value


def _members(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if isinstance(hint, UnionType) or typing.get_origin(hint) is typing.Union else (hint,)


def _names(kinds: Sequence[type]) -> str:
    names = {bool: "true or false", int: "an integer", float: "a number", str: "a text", list: "a list",
             dict: "an object"}  # fmt: skip
    return " or ".join(names[kind] for kind in kinds if kind in names)
