"""Labelled texts: their words on the disk while they are many, a few numbers a text in memory."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

from seqgen.corpus.spill import SpillList
from seqgen.errors import DataError
from seqgen.untrusted import as_bytes

Warn = Callable[[str], None]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Example:
    """A text and its labels. `where`: file and line, for messages."""

    text: str
    labels: tuple[str, ...]
    where: str = ""


@dataclass(frozen=True)
class LabelledTexts:
    """Text i is `spill[indices[i]]`, in UTF-8; its labels are those numbered
    `label_ids[label_offsets[i]:label_offsets[i + 1]]`. `multi_label`: whether some text has not exactly one."""

    spill: SpillList
    indices: Ints
    label_ids: npt.NDArray[np.int32]
    label_offsets: Ints
    labels: tuple[str, ...]
    multi_label: bool
    duplicates: int = 0
    conflicts: int = 0

    def __len__(self) -> int:
        return len(self.indices)

    def text(self, number: int) -> bytes:
        """The text with that number."""
        return self.spill[int(self.indices[number])]

    def strings(self) -> Sequence[bytes]:
        """The texts alone."""
        return _Strings(self.spill, self.indices)

    def label_set(self, number: int) -> tuple[int, ...]:
        """The numbers of its labels."""
        return tuple(self.label_ids[self.label_offsets[number] : self.label_offsets[number + 1]].tolist())

    def targets(self) -> npt.NDArray[np.bool_]:
        """Whether each text has each label, shape (texts, labels)."""
        found = np.zeros((len(self), len(self.labels)), dtype=bool)
        rows = np.repeat(np.arange(len(self)), np.diff(self.label_offsets))
        found[rows, self.label_ids] = True
        return found

    def counts(self) -> Ints:
        """How many texts have each label."""
        return np.bincount(self.label_ids, minlength=len(self.labels))

    def select(self, indices: Sequence[int] | Ints) -> LabelledTexts:
        """Some of the texts, in that order, under the same labels."""
        chosen = np.asarray(indices, dtype=np.int64)
        sizes = np.diff(self.label_offsets)[chosen]
        label_ids = self.label_ids[_ranges(self.label_offsets[chosen], sizes)]
        return LabelledTexts(
            self.spill, self.indices[chosen], label_ids, _offsets(sizes), self.labels, self.multi_label, self.duplicates,
            self.conflicts,
        )  # fmt: skip


class _Strings(Sequence[bytes]):
    def __init__(self, spill: SpillList, indices: Ints) -> None:
        self._spill, self._numbers = spill, indices

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, number: int) -> bytes: ...

    @overload
    def __getitem__(self, number: slice) -> Sequence[bytes]: ...

    def __getitem__(self, number: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(number, slice):
            return _Strings(self._spill, self._numbers[number])
        return self._spill[int(self._numbers[number])]


def collect_examples(examples: Iterable[Example], warn: Warn, known: tuple[str, ...] | None = None) -> LabelledTexts:
    """Takes all examples in. Reports duplicates, conflicts and classes of one text.

    Args:
        known: the labels of a model, which come first; others are told of, and stand behind them.

    Raises:
        DataError: there is no example, or, where no labels are known, a single class only.
        UserError: there is no room where the cache is.
    """
    texts, places = SpillList(), SpillList()
    digests = array("Q")
    sets: dict[tuple[str, ...], int] = {}
    of = array("i")  # which of the sets each text has
    for example in examples:
        text = as_bytes(example.text)  # JSON may name halves of characters
        digests.frombytes(_digest(text))
        of.append(sets.setdefault(example.labels, len(sets)))
        texts.append(text)
        places.append(example.where.encode("utf-8", "surrogateescape"))
    if not len(texts):
        raise DataError("there is no labelled text")
    labels = sort_labels({label for some in sets for label in some} - set(known or ()))
    if known is not None and labels:
        warn(f"{len(labels):,} label{'s' * (len(labels) > 1)} that the model does not know: {', '.join(labels[:5])}")
    labels = (*(known or ()), *labels)
    if len(labels) < 2:
        raise DataError(f"every text has the same label, {labels[0]!r}: there is nothing to tell apart" if labels else
                        "no text has a label")  # fmt: skip
    set_of = np.frombuffer(of, dtype=np.int32)
    repeated, first = _repeated(np.frombuffer(digests, dtype=np.uint64))
    same = set_of[repeated] == set_of[first]
    for what, rows in (("the same label", repeated[same]), ("another label", repeated[~same])):
        if len(rows):
            where = places[int(rows[0])].decode("utf-8", "surrogateescape")
            warn(f"{len(rows):,} text{'s' * (len(rows) > 1)} repeated with {what} (first at {where}): kept")
    place = {label: number for number, label in enumerate(labels)}
    sizes = np.array([len(some) for some in sets], dtype=np.int64)
    flat = np.array([place[label] for some in sets for label in some], dtype=np.int32)
    label_ids = flat[_ranges(_offsets(sizes)[set_of], sizes[set_of])]
    found = LabelledTexts(
        texts, np.arange(len(texts)), label_ids, _offsets(sizes[set_of]), labels, bool((sizes != 1).any()),
        int(same.sum()), int((~same).sum()),
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


def stratified_split(texts: LabelledTexts, fraction: float, seed: int) -> tuple[LabelledTexts, LabelledTexts]:
    """Holds out `fraction` of the texts of each label (or set of labels), by chance.

    Equal texts fall on the same side, and a class of one text stays with those to train on.
    """
    if not fraction:
        return texts, texts.select([])
    digests = array("Q")
    for number in range(len(texts)):
        digests.frombytes(_digest(texts.text(number)))
    family_of, first = _families(np.frombuffer(digests, dtype=np.uint64))
    sizes = np.bincount(family_of)
    members = np.split(np.argsort(family_of, kind="stable"), np.cumsum(sizes)[:-1])
    groups: dict[tuple[int, ...], list[int]] = {}  # a family is in the group of its first text
    for family, number in enumerate(first.tolist()):
        groups.setdefault(texts.label_set(number), []).append(family)
    random = np.random.Generator(np.random.Philox(key=seed))
    mask = np.zeros(len(texts), dtype=bool)
    for group in sorted(groups):
        families = np.array(groups[group])
        total = int(sizes[families].sum())
        wanted = int(fraction * total + 0.5)
        if len(families) > 1 and wanted == 0 and fraction * total > random.random():
            wanted = 1
        taken = 0
        for family in families[random.permutation(len(families))].tolist():
            if taken + int(sizes[family]) <= min(wanted, total - 1):
                mask[members[family]] = True
                taken += int(sizes[family])
    return texts.select(np.flatnonzero(~mask)), texts.select(np.flatnonzero(mask))


def _digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16).digest()


def _families(digests: npt.NDArray[np.uint64]) -> tuple[Ints, Ints]:
    """Equal texts are a family: of which family each text is, in order of their first texts, and these.

    `digests` has two numbers a text.
    """
    pairs = digests.reshape(-1, 2)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))  # stable: equal ones in the order of the texts
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = (pairs[order[1:]] != pairs[order[:-1]]).any(axis=1)
    firsts = order[begins]
    rank = np.empty(len(firsts), dtype=np.int64)
    rank[np.argsort(firsts)] = np.arange(len(firsts))
    family_of = np.empty(len(order), dtype=np.int64)
    family_of[order] = rank[np.cumsum(begins) - 1]
    return family_of, np.sort(firsts)


def _repeated(digests: npt.NDArray[np.uint64]) -> tuple[Ints, Ints]:
    """The texts that were there before, and for each the first that is equal."""
    family_of, first = _families(digests)
    repeated = np.flatnonzero(first[family_of] != np.arange(len(family_of)))
    return repeated, first[family_of[repeated]]


def _ranges(starts: Ints, sizes: Ints) -> Ints:
    """The numbers from each start on, so many as its size says, one behind the other."""
    offsets = np.cumsum(sizes) - sizes
    return np.repeat(starts - offsets, sizes) + np.arange(int(sizes.sum()))


def _offsets(sizes: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
