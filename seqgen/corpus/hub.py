"""`hf:OWNER/NAME[:CONFIG][@REVISION]`: sets on the Hugging Face hub, or local folders, read by `datasets`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from seqgen.errors import DataError
from seqgen.streams import reason

_NAME = re.compile(r"hf:(?P<name>[^:@]+)(?::(?P<config>[^@]+))?(?:@(?P<revision>.+))?")


def rows(source: str, split: str = "train") -> Iterator[dict[str, Any]]:
    """The rows of a set, streamed. Raises `DataError` for a set that is not there or can't be reached."""
    for row, _ in _rows(source, split):
        yield row


def _rows(source: str, split: str) -> Iterator[tuple[dict[str, Any], Any]]:
    """Rows, each with the features of the set, where it tells them."""
    match = _NAME.fullmatch(source)
    if not match:
        raise DataError(f"{source!r} is no hub name; it is written hf:OWNER/NAME[:CONFIG][@REVISION]")
    import datasets

    datasets.disable_progress_bars()
    try:
        found = datasets.load_dataset(
            match["name"], match["config"], revision=match["revision"], split=split, streaming=True
        )
        for row in found:
            yield row, getattr(found, "features", None)
    except Exception as error:  # datasets raises dozens of kinds, from the network's to pyarrow's
        raise DataError(f"cannot read {source!r}: {reason(error)[:160]}") from error


def labelled_rows(source: str) -> Iterator[tuple[dict[str, Any], dict[str, list[str]]]]:
    """The rows of a set, each with the names of the classes of its columns, where the set has such names."""
    names: dict[str, list[str]] = {}
    for row, features in _rows(source, "train"):
        names = names or {key: list(value.names) for key, value in (features or {}).items() if hasattr(value, "names")}
        yield row, names


def text_column(row: dict[str, Any]) -> str:
    """The column that holds the text: `text`, or the one whose value is the longest string."""
    if isinstance(row.get("text"), str):
        return "text"
    texts = {name: len(value) for name, value in row.items() if isinstance(value, str)}
    if not texts:
        raise DataError(f"no column holds text; there are {', '.join(row)}")
    return max(texts, key=lambda name: texts[name])


def read(source: str) -> Iterator[bytes]:
    """The text of every row, each ended by a line feed."""
    column = None
    for row in rows(source):
        column = column or text_column(row)
        text = row.get(column)
        yield ("" if text is None else str(text)).encode("utf-8", "surrogatepass") + b"\n"
