"""Tables of rows by name, and implementations named as strings."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from seqgen.errors import UserError
from seqgen.specs.registry import Registry, resolve


@dataclass(frozen=True)
class Row:
    name: str


def test_registry_names_are_in_order_of_registration() -> None:
    rows = Registry("row", [Row("b"), Row("a")])
    assert rows.names() == tuple(rows) == ("b", "a")
    assert rows["a"] == rows.find("a") == Row("a")


def test_registry_keys_are_a_live_view() -> None:
    rows = Registry("row", [Row("a")])
    names = rows.keys()
    with rows.registered(Row("b")):
        assert list(names) == ["a", "b"]
    assert list(names) == ["a"]


@pytest.mark.parametrize("name", ["c", 3, None])
def test_registry_find_unknown_name_raises_user_error(name: object) -> None:
    with pytest.raises(UserError, match="row must be one of a, b; not "):
        Registry("row", [Row("a"), Row("b")]).find(name)


def test_registry_register_taken_name_raises_value_error() -> None:
    with pytest.raises(ValueError, match="there is a row 'a' already"):
        Registry("row", [Row("a")]).register(Row("a"))


def test_resolve_imports_the_attribute() -> None:
    assert resolve("seqgen.specs.registry:resolve") is resolve
