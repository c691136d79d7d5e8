"""Labelled texts, in a temporary file if they are many, with a few integers per text in memory."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
import numpy.typing as npt

from seqgen.corpus.documents import Warn
from seqgen.corpus.labelled.labels import label_name, sort_labels
from seqgen.corpus.spill import SpillList
from seqgen.errors import DataError
from seqgen.quantities import plural, shortened_list
from seqgen.untrusted import as_bytes

# Pairs of a text and a label, of which tables are made, for each byte of the texts; and those that any texts may have.
_PAIRS_PER_BYTE, _PAIRS_HEADROOM = 128, 1 << 24

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Example:
    """A text and its labels. `where`: file and line, for messages."""

    text: str
    labels: tuple[str, ...]
    where: str = ""


@dataclass(frozen=True)
class LabelledTexts:
    """Texts with labels.

    Text i is `spill[indices[i]]`, in UTF-8; its labels are `label_ids[label_offsets[i]:label_offsets[i + 1]]`, indices
    into `labels`. `multi_label`: whether some text does not have exactly one label.
    """

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

    def text(self, index: int) -> bytes:
        """Return the text with this index."""
        return self.spill[int(self.indices[index])]

    def strings(self) -> Sequence[bytes]:
        """Return the texts without labels."""
        return Selected(self.spill, self.indices)

    def label_set(self, index: int) -> tuple[int, ...]:
        """Return the label ids of a text."""
        return tuple(self.label_ids[self.label_offsets[index] : self.label_offsets[index + 1]].tolist())

    def targets(self) -> npt.NDArray[np.bool_]:
        """Return whether each text has each label, shape (texts, labels)."""
        found = np.zeros((len(self), len(self.labels)), dtype=bool)
        rows = np.repeat(np.arange(len(self)), np.diff(self.label_offsets))
        found[rows, self.label_ids] = True
        return found

    def counts(self) -> Ints:
        """Return the number of texts with each label."""
        return np.bincount(self.label_ids, minlength=len(self.labels))

    def select(self, indices: Sequence[int] | Ints) -> LabelledTexts:
        """Return some of the texts, in this order, with the same labels."""
        chosen = np.asarray(indices, dtype=np.int64)
        sizes = np.diff(self.label_offsets)[chosen]
        label_ids = self.label_ids[_ranges(self.label_offsets[chosen], sizes)]
        return LabelledTexts(
            self.spill, self.indices[chosen], label_ids, _offsets(sizes), self.labels, self.multi_label,
            self.duplicates, self.conflicts,
        )  # fmt: skip

    def with_labels(self, kept: Ints) -> LabelledTexts:
        """Return the texts with some of the labels, those at these ascending indices: all that a text has."""
        label_ids = np.searchsorted(kept, self.label_ids).astype(np.int32)
        return replace(self, label_ids=label_ids, labels=tuple(self.labels[index] for index in kept))


class Selected(Sequence[bytes]):
    """Some of the items of a sequence, by their indices."""

    def __init__(self, items: Sequence[bytes], indices: Ints) -> None:
        self._items, self._indices = items, indices

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...

    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(index, slice):
            return Selected(self._items, self._indices[index])
        return self._items[int(self._indices[index])]


class Joined(Sequence[bytes]):
    """The items of two sequences, one after the other."""

    def __init__(self, first: Sequence[bytes], second: Sequence[bytes]) -> None:
        self._first, self._second = first, second

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...

    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return self._first[index] if index < len(self._first) else self._second[index - len(self._first)]


def collect_examples(examples: Iterable[Example], warn: Warn, known: tuple[str, ...] | None = None) -> LabelledTexts:
    """Collect all examples, and report duplicates, conflicts and classes of one text.

    Args:
        known: the labels of a model, which come first; other labels are reported, and come after them.

    Raises:
        DataError: there is no example, or fewer than two labels, or far too many for texts so short.
        UserError: there is no space left in the cache's file system.
    """
    texts, locations = SpillList(), SpillList()
    digests = array("Q")
    sets: dict[tuple[str, ...], int] = {}
    set_ids, size = array("i"), 0
    # Models of earlier versions may know 1.0, where 1 is read now.
    older = {label_name(label): label for label in known or () if label_name(label) != label}
    for example in examples:
        text = as_bytes(example.text)  # JSON escapes may encode lone surrogates
        digests.frombytes(_digest(text))
        set_ids.append(sets.setdefault(tuple(older.get(label, label) for label in example.labels), len(sets)))
        texts.append(text)
        size += len(text)
        locations.append(example.where.encode("utf-8", "surrogateescape"))
    if not len(texts):
        raise DataError("the sources contain no labelled text")
    labels = sort_labels({label for each in sets for label in each} - set(known or ()))
    if known is not None and labels:
        warn(f"{plural(len(labels), 'label')} unknown to the model: {', '.join(labels[:5])}")
    labels = (*(known or ()), *labels)
    if len(labels) < 2:
        raise DataError(f"every text has the same label, {labels[0]!r}; at least two labels are needed" if labels else
                        "no text has a label")  # fmt: skip
    if known is None and len(texts) * len(labels) > _PAIRS_PER_BYTE * size + _PAIRS_HEADROOM:
        raise DataError(
            f"{len(texts):,} short texts have {len(labels):,} labels, too many to learn; name the right column with "
            "--label-column, or merge rare labels"
        )
    set_of = np.frombuffer(set_ids, dtype=np.int32)
    repeated, first = _duplicates(np.frombuffer(digests, dtype=np.uint64))
    same = set_of[repeated] == set_of[first]
    for labelling, rows in (("the same label", repeated[same]), ("another label", repeated[~same])):
        if len(rows):
            where = locations[int(rows[0])].decode("utf-8", "surrogateescape")
            warn(f"kept {plural(len(rows), 'duplicate text')} with {labelling} (first: {where})")
    label_id = {label: number for number, label in enumerate(labels)}
    sizes = np.array([len(each) for each in sets], dtype=np.int64)
    flat = np.array([label_id[label] for some in sets for label in some], dtype=np.int32)
    label_ids = flat[_ranges(_offsets(sizes)[set_of], sizes[set_of])]
    found = LabelledTexts(
        texts, np.arange(len(texts)), label_ids, _offsets(sizes[set_of]), labels, bool((sizes != 1).any()),
        int(same.sum()), int((~same).sum()),
    )  # fmt: skip
    if known is None:
        rare = [label for label, count in zip(labels, found.counts(), strict=True) if count == 1]
        if rare:
            warn(f"only one text has the label {shortened_list(rare, 3, repr)}: too few to learn it")
    return found


def stratified_split(texts: LabelledTexts, fraction: float, seed: int = 0) -> tuple[LabelledTexts, LabelledTexts]:
    """Hold out a random `fraction` of the texts of each label (or set of labels); see `stratified_folds`.

    Returns:
        The training set and the held-out texts.
    """
    (held,) = stratified_folds(texts, fraction, 1, seed)
    return texts.select(rest(len(texts), held)), texts.select(held)


def stratified_folds(texts: LabelledTexts, fraction: float, count: int, seed: int = 0) -> list[Ints]:
    """Choose `count` parts that could be held out, each a random `fraction` of the texts of each label.

    They are disjoint as long as the texts of a label suffice. Equal texts are in the same part, and no part has all
    texts of a label. The first parts are the same for every `count`.

    Args:
        seed: another one chooses other texts. Trainings of all seeds hold out the same, so that their losses compare.

    Returns:
        The indices of the texts of each part, ascending.
    """
    if not fraction:
        return [np.zeros(0, dtype=np.int64)] * count
    digests = array("Q")
    for index in range(len(texts)):
        digests.frombytes(_digest(texts.text(index)))
    group_of, first = _duplicate_groups(np.frombuffer(digests, dtype=np.uint64))
    sizes = np.bincount(group_of)
    members = np.split(np.argsort(group_of, kind="stable"), np.cumsum(sizes)[:-1])
    strata: dict[tuple[int, ...], list[int]] = {}  # a group is in the stratum of its first text
    for group, index in enumerate(first.tolist()):
        strata.setdefault(texts.label_set(index), []).append(group)
    random = np.random.Generator(np.random.Philox(key=seed))
    rounding = np.random.Generator(np.random.Philox(key=seed).jumped())
    masks = np.zeros((count, len(texts)), dtype=bool)
    for stratum in sorted(strata):
        groups = np.array(strata[stratum])
        total = int(sizes[groups].sum())
        wanted = int(fraction * total + 0.5)
        if len(groups) > 1 and wanted == 0 and fraction * total > random.random():
            wanted = 1
        waiting = groups[random.permutation(len(groups))].tolist()
        for number, mask in enumerate(masks):
            if number:  # a small label is in as many parts as its share
                wanted = int(fraction * total + rounding.random())
            taken, passed = 0, []
            for position, group in enumerate(waiting):
                if taken == min(wanted, total - 1):
                    passed += waiting[position:]
                    break
                if taken + int(sizes[group]) <= min(wanted, total - 1):
                    mask[members[group]] = True
                    taken += int(sizes[group])
                else:
                    passed.append(group)
            chosen = set(waiting) - set(passed)
            waiting = passed + [group for group in waiting if group in chosen]  # those come again last
    return [np.flatnonzero(mask) for mask in masks]


def rest(count: int, held: Ints) -> Ints:
    """The indices below `count` that are not held out, ascending."""
    mask = np.ones(count, dtype=bool)
    mask[held] = False
    return np.flatnonzero(mask)


def _digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16).digest()


def _duplicate_groups(digests: npt.NDArray[np.uint64]) -> tuple[Ints, Ints]:
    """Group equal texts.

    Args:
        digests: two integers per text.

    Returns:
        The group of each text, in order of the groups' first texts, and the indices of those.
    """
    pairs = digests.reshape(-1, 2)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))  # stable: duplicates stay in order
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = (pairs[order[1:]] != pairs[order[:-1]]).any(axis=1)
    firsts = order[begins]
    rank = np.empty(len(firsts), dtype=np.int64)
    rank[np.argsort(firsts)] = np.arange(len(firsts))
    group_of = np.empty(len(order), dtype=np.int64)
    group_of[order] = rank[np.cumsum(begins) - 1]
    return group_of, np.sort(firsts)


def _duplicates(digests: npt.NDArray[np.uint64]) -> tuple[Ints, Ints]:
    """Return the indices of repeated texts, and for each the index of its first occurrence."""
    group_of, first = _duplicate_groups(digests)
    repeated = np.flatnonzero(first[group_of] != np.arange(len(group_of)))
    return repeated, first[group_of[repeated]]


def _ranges(starts: Ints, sizes: Ints) -> Ints:
    """Return the concatenation of the ranges from each start, of these sizes."""
    offsets = np.cumsum(sizes) - sizes
    return np.repeat(starts - offsets, sizes) + np.arange(int(sizes.sum()))


def _offsets(sizes: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
