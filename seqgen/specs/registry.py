"""Tables of rows by name, and implementations named as strings, so that the lowest floor imports nothing above it."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar

from seqgen.errors import UserError, did_you_mean


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Row = TypeVar("Row", bound=_Named)


class Registry(Mapping[str, Row], Generic[Row]):
    """Rows by name, in the order of registration.

    It is a live mapping: `names()` is a tuple of the present, `keys()` a view that shows rows registered later.
    """

    def __init__(self, noun: str, rows: Iterable[Row] = ()) -> None:
        """`noun`: what a row describes ("cell"), for error messages."""
        self._noun = noun
        self._rows: dict[str, Row] = {}
        for row in rows:
            self.register(row)

    def __getitem__(self, name: str) -> Row:
        return self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def names(self) -> tuple[str, ...]:
        """The names of all rows, in their order."""
        return tuple(self._rows)

    def find(self, name: object) -> Row:
        """The row of this name. Raises `UserError` if there is none."""
        if not isinstance(name, str) or name not in self._rows:
            hint = did_you_mean(str(name), self._rows)
            raise UserError(f"{self._noun} must be one of {', '.join(self._rows)}; not {name!r}{hint}")
        return self._rows[name]

    def register(self, row: Row) -> None:
        """Add a row. Raises `ValueError` if its name is taken."""
        if row.name in self._rows:
            raise ValueError(f"there is a {self._noun} {row.name!r} already")
        self._rows[row.name] = row

    @contextmanager
    def registered(self, row: Row) -> Iterator[Row]:
        """Add a row for the length of a `with` block."""
        self.register(row)
        try:
            yield row
        finally:
            del self._rows[row.name]


@functools.cache
def resolve(dotted: str) -> Any:
    """Import what `package.module:attribute` names."""
    module, _, attribute = dotted.partition(":")
    return getattr(importlib.import_module(module), attribute)
