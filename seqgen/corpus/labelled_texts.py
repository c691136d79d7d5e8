"""Labelled texts in memory: millions of rows in two arrays and one block of bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqgen.errors import DataError
from seqgen.strangers import as_bytes

Warn = Callable[[str], None]


@dataclass(frozen=True)
class Example:
    """A text and its labels. `where`: file and line, for messages."""

    text: str
    labels: tuple[str, ...]
    where: str = ""


@dataclass(frozen=True)
class LabelledTexts:
    """Text i is `buffer[offsets[i]:offsets[i + 1]]`, in UTF-8; its labels are those numbered
    `codes[code_offsets[i]:code_offsets[i + 1]]`. `multi`: whether some text has not exactly one."""

    buffer: bytes
    offsets: npt.NDArray[np.int64]
    codes: npt.NDArray[np.int32]
    code_offsets: npt.NDArray[np.int64]
    labels: tuple[str, ...]
    multi: bool
    duplicates: int = 0
    conflicts: int = 0

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def text(self, number: int) -> bytes:
        """The text with that number."""
        return self.buffer[self.offsets[number] : self.offsets[number + 1]]

    def label_set(self, number: int) -> tuple[int, ...]:
        """The numbers of its labels."""
        return tuple(self.codes[self.code_offsets[number] : self.code_offsets[number + 1]].tolist())

    def targets(self) -> npt.NDArray[np.bool_]:
        """Whether each text has each label, shape (texts, labels)."""
        found = np.zeros((len(self), len(self.labels)), dtype=bool)
        rows = np.repeat(np.arange(len(self)), np.diff(self.code_offsets))
        found[rows, self.codes] = True
        return found

    def counts(self) -> npt.NDArray[np.int64]:
        """How many texts have each label."""
        return np.bincount(self.codes, minlength=len(self.labels))

    def select(self, numbers: Sequence[int] | npt.NDArray[np.int64]) -> LabelledTexts:
        """Some of the texts, in that order, under the same labels."""
        texts = [self.text(int(number)) for number in numbers]
        codes = [self.codes[self.code_offsets[n] : self.code_offsets[n + 1]] for n in numbers]
        return LabelledTexts(
            b"".join(texts),
            _offsets(map(len, texts)),
            np.concatenate(codes) if codes else np.zeros(0, dtype=np.int32),
            _offsets(map(len, codes)),
            self.labels,
            self.multi,
            self.duplicates,
            self.conflicts,
        )


def gather(examples: Iterable[Example], warn: Warn, known: tuple[str, ...] | None = None) -> LabelledTexts:
    """Takes all examples in. Reports duplicates, conflicts and classes of one text.

    Args:
        known: the labels of a model, which come first; others are told of, and stand behind them.

    Raises:
        DataError: there is no example, or, where no labels are known, a single class only.
    """
    parts: list[bytes] = []
    sets: list[tuple[str, ...]] = []
    seen: dict[bytes, tuple[str, ...]] = {}
    duplicates = conflicts = 0
    first = ["", ""]
    for example in examples:
        text = as_bytes(example.text)  # JSON may name halves of characters
        key = hashlib.blake2b(text, digest_size=12).digest()
        before = seen.setdefault(key, example.labels)
        if len(seen) == len(parts) - duplicates - conflicts:  # it was there already
            same = before == example.labels
            duplicates, conflicts = duplicates + same, conflicts + (not same)
            first[not same] = first[not same] or example.where
        parts.append(text)
        sets.append(example.labels)
    if not parts:
        raise DataError("there is no labelled text")
    labels = sort_labels({label for labels in sets for label in labels} - set(known or ()))
    if known is not None and labels:
        warn(f"{len(labels):,} label{'s' * (len(labels) > 1)} that the model does not know: {', '.join(labels[:5])}")
    labels = (*(known or ()), *labels)
    if len(labels) < 2:
        raise DataError(f"every text has the same label, {labels[0]!r}: there is nothing to tell apart" if labels else
                        "no text has a label")  # fmt: skip
    place = {label: number for number, label in enumerate(labels)}
    codes = np.array([place[label] for labels in sets for label in labels], dtype=np.int32)
    if duplicates:
        warn(f"{duplicates:,} text{'s' * (duplicates > 1)} repeated with the same label (first at {first[0]}): kept")
    if conflicts:
        warn(f"{conflicts:,} text{'s' * (conflicts > 1)} repeated with another label (first at {first[1]}): kept")
    found = LabelledTexts(
        b"".join(parts), _offsets(map(len, parts)), codes, _offsets(map(len, sets)), labels,
        any(len(labels) != 1 for labels in sets), duplicates, conflicts,
    )  # fmt: skip
    if known is None:
        rare = [label for label, count in zip(labels, found.counts(), strict=True) if count == 1]
        if rare:
            more = f" and {len(rare) - 3:,} more" if len(rare) > 3 else ""
            warn(f"a single text of {', '.join(map(repr, rare[:3]))}{more}: too little to learn the label from")
    return found


def sort_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """In order: by number where all are numbers, otherwise by character."""
    found = list(labels)
    try:
        return tuple(sorted(found, key=lambda label: (float(label), label)))
    except ValueError:
        return tuple(sorted(found))


def split(texts: LabelledTexts, fraction: float, seed: int) -> tuple[LabelledTexts, LabelledTexts]:
    """Holds out `fraction` of the texts of each label (or set of labels), by chance.

    Equal texts fall on the same side, and a class of one text stays with those to train on.
    """
    if not fraction:
        return texts, texts.select([])
    groups: dict[tuple[int, ...], dict[bytes, list[int]]] = {}
    first: dict[bytes, tuple[int, ...]] = {}
    for number in range(len(texts)):
        key = hashlib.blake2b(texts.text(number), digest_size=12).digest()
        group = first.setdefault(key, texts.label_set(number))
        groups.setdefault(group, {}).setdefault(key, []).append(number)
    random = np.random.Generator(np.random.Philox(key=seed))
    held: list[int] = []
    for group in sorted(groups):
        families = list(groups[group].values())
        total = sum(map(len, families))
        wanted = int(fraction * total + 0.5)
        if len(families) > 1 and wanted == 0 and fraction * total > random.random():
            wanted = 1
        taken = 0
        for place in random.permutation(len(families)):
            if taken + len(families[place]) <= min(wanted, total - 1):
                held += families[place]
                taken += len(families[place])
    mask = np.zeros(len(texts), dtype=bool)
    mask[held] = True
    return texts.select(np.flatnonzero(~mask)), texts.select(np.flatnonzero(mask))


def _offsets(lengths: Iterable[int]) -> npt.NDArray[np.int64]:
    sizes = np.fromiter(lengths, dtype=np.int64)
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
