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
    match = _NAME.fullmatch(source)
    if not match:
        raise DataError(f"{source!r} is no hub name; it is written hf:OWNER/NAME[:CONFIG][@REVISION]")
    import datasets

    datasets.disable_progress_bars()
    try:
        yield from datasets.load_dataset(
            match["name"], match["config"], revision=match["revision"], split=split, streaming=True
        )
    except Exception as error:  # datasets raises dozens of kinds, from the network's to pyarrow's
        raise DataError(f"cannot read {source!r}: {reason(error)[:160]}") from error


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
