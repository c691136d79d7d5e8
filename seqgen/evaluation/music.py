"""Features of pieces of music, and the similarity of two sets of pieces (Yang & Lerch, 2020, "On the evaluation of
generative models in music").

Features of pitch, polyphony and note length use the pitched notes of all tracks together, without drums. Features of
onsets use all notes. Successive notes are those of the melody: at each onset the highest pitched note, and of equally
high ones that of the first track.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqgen.errors import DataError
from seqgen.music.piece import Note, Piece

Values = npt.NDArray[np.float64]

# Note lengths in 24ths of a quarter note, in the order of mgeval: whole, half, quarter, 8th, 16th; dotted half,
# quarter, 8th, 16th; half, quarter, 8th triplet.
_LENGTHS = np.array([96, 48, 24, 12, 6, 72, 36, 18, 9, 32, 16, 8])
_MAJOR = np.array([1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 1])  # by semitones above the root
_POINTS = 8192  # of the grid that densities are computed on
_MIN_BANDWIDTH = 1 / 200  # as a fraction of the range of all distances
_ROUNDING = 1e-9  # differences of distances below this are rounding errors
_UNIFORM = 1e-12  # fraction of a density spread over its grid, so that the divergence is finite
_MAX_PIECES = 400  # per set, for distances


# ---- Notes ----


def _pitched(piece: Piece) -> list[Note]:
    drums = [track.drums for track in piece.tracks]
    return [note for note in piece.notes if not drums[note.track]]


def _pitches(notes: Iterable[Note]) -> npt.NDArray[np.int64]:
    return np.array([note.pitch for note in notes], dtype=np.int64)


def melody(piece: Piece) -> list[Note]:
    """Return the highest pitched note of each onset, in order of time; of equally high ones that of the first track."""
    highest: dict[int, Note] = {}
    for note in _pitched(piece):
        if note.start not in highest or note.pitch > highest[note.start].pitch:
            highest[note.start] = note
    return list(highest.values())


def _length_classes(notes: Sequence[Note], grid: int) -> npt.NDArray[np.int64]:
    """The index of the closest length in `_LENGTHS` for each note, shape (notes,); the first of equally close ones."""
    lengths = np.array([note.end - note.start for note in notes], dtype=np.int64)
    return np.abs(24 * lengths[:, None] - grid * _LENGTHS).argmin(axis=1)


def _fractions(counts: npt.NDArray) -> Values:
    """Counts divided by their sum; all 0 if there are none."""
    return np.asarray(counts / max(counts.sum(), 1), dtype=np.float64).ravel()


def _transitions(classes: npt.NDArray[np.int64]) -> Values:
    """Fractions of each pair of successive classes among 12, row from, column to, shape (144,)."""
    return _fractions(np.bincount(12 * classes[:-1] + classes[1:], minlength=144))


def _entropy(counts: npt.NDArray) -> float:
    """Entropy in bits; 0 without counts."""
    fractions = _fractions(counts[counts > 0])
    return abs(float(fractions @ np.log2(fractions)))  # never −0


def _sounding(piece: Piece) -> npt.NDArray[np.int64]:
    """Number of distinct pitches that sound at each step, shape (steps,)."""
    notes = _pitched(piece)
    steps = max([piece.length, *(note.end for note in notes)])
    roll = np.zeros((128, steps), dtype=np.bool_)
    for note in notes:
        roll[note.pitch, note.start : note.end] = True
    return roll.sum(axis=0)


# ---- Features of pitch ----


def pitch_count(piece: Piece) -> float:
    """Number of distinct pitches; 0 without notes."""
    return float(len({note.pitch for note in _pitched(piece)}))


def pitch_class_histogram(piece: Piece) -> Values:
    """Fraction of the sounding time of each pitch class, C to B, shape (12,); all 0 without notes."""
    notes = _pitched(piece)
    lengths = np.array([note.end - note.start for note in notes], dtype=np.float64)
    return _fractions(np.bincount(_pitches(notes) % 12, weights=lengths, minlength=12))


def pitch_class_transition_matrix(piece: Piece) -> Values:
    """Fraction of each pair of pitch classes among successive notes of the melody, row from, column to, shape (144,);
    all 0 without a pair."""
    return _transitions(_pitches(melody(piece)) % 12)


def pitch_range(piece: Piece) -> float:
    """Semitones from the lowest to the highest pitch; 0 without notes."""
    pitches = [note.pitch for note in _pitched(piece)]
    return float(max(pitches) - min(pitches)) if pitches else 0.0


def mean_pitch_interval(piece: Piece) -> float:
    """Mean absolute interval between successive notes of the melody, in semitones; 0 without an interval."""
    intervals = np.abs(np.diff(_pitches(melody(piece))))
    return float(intervals.mean()) if len(intervals) else 0.0


def scale_consistency(piece: Piece) -> float:
    """Fraction of notes in the best of the 12 major scales, which have the notes of the natural minor scales too; 0
    without notes."""
    fractions = _fractions(np.bincount(_pitches(_pitched(piece)) % 12, minlength=12))
    return min(float(max(fractions @ np.roll(_MAJOR, root) for root in range(12))), 1.0)


def pitch_class_entropy(piece: Piece) -> float:
    """Entropy of the pitch classes of all notes, in bits, 0 to 3.58; 0 without notes."""
    return _entropy(np.bincount(_pitches(_pitched(piece)) % 12))


def pitch_entropy(piece: Piece) -> float:
    """Entropy of the pitches of all notes, in bits, 0 to 7; 0 without notes."""
    return _entropy(np.bincount(_pitches(_pitched(piece))))


def polyphony_rate(piece: Piece) -> float:
    """Fraction of steps at which at least two distinct pitches sound; 0 without notes."""
    sounding = _sounding(piece)
    return float((sounding >= 2).mean()) if len(sounding) else 0.0


def polyphony(piece: Piece) -> float:
    """Mean number of distinct pitches that sound, over steps with at least one; 0 without notes."""
    sounding = _sounding(piece)
    return float(sounding.sum() / max(np.count_nonzero(sounding), 1))


# ---- Features of rhythm ----


def note_count(piece: Piece) -> float:
    """Number of notes, drums included."""
    return float(len(piece.notes))


def mean_inter_onset_interval(piece: Piece) -> float:
    """Mean time from one onset to the next in quarter notes, drums included; notes that start together are one onset.
    0 with fewer than two onsets."""
    onsets = {note.start for note in piece.notes}
    return (max(onsets) - min(onsets)) / (len(onsets) - 1) / piece.grid if len(onsets) > 1 else 0.0


def note_length_histogram(piece: Piece) -> Values:
    """Fraction of notes closest in length to a whole, half, quarter, 8th, 16th, dotted half, dotted quarter,
    dotted 8th, dotted 16th, half triplet, quarter triplet, 8th triplet note, shape (12,); all 0 without notes."""
    return _fractions(np.bincount(_length_classes(_pitched(piece), piece.grid), minlength=12))


def note_length_transition_matrix(piece: Piece) -> Values:
    """Fraction of each pair of lengths, as in the histogram, among successive notes of the melody, row from, column to,
    shape (144,); all 0 without a pair."""
    return _transitions(_length_classes(melody(piece), piece.grid))


def groove_consistency(piece: Piece) -> float:
    """1 − the mean fraction of steps at which only one of two neighbouring bars has an onset, drums included.

    The longer of two unequal bars counts. 1 with fewer than two bars.
    """
    if len(piece.bars) < 2:
        return 1.0
    onsets = {note.start for note in piece.notes}
    grooves = [{step for step in range(bar.length) if bar.start + step in onsets} for bar in piece.bars]
    different = [
        len(grooves[i] ^ grooves[i + 1]) / max(piece.bars[i].length, piece.bars[i + 1].length)
        for i in range(len(grooves) - 1)
    ]
    return 1.0 - float(np.mean(different))


def empty_measure_rate(piece: Piece) -> float:
    """Fraction of bars in which nothing sounds, drums included; a bar into which a note is held isn't empty. 1 without
    bars."""
    sounding = np.zeros(piece.length + 1, dtype=np.int64)
    for note in piece.notes:
        sounding[note.start] += 1
        sounding[min(note.end, piece.length)] -= 1
    sounding = np.cumsum(sounding)
    empty = [not sounding[bar.start : bar.start + bar.length].any() for bar in piece.bars]
    return float(np.mean(empty)) if empty else 1.0


@dataclass(frozen=True)
class PieceFeature:
    """A function of a piece that gives `width` finite numbers, defined by `paper`."""

    function: Callable[[Piece], float | Values]
    paper: str
    description: str
    width: int = 1

    def of(self, pieces: Iterable[Piece]) -> Values:
        """Values of each piece, shape (pieces, width)."""
        return np.array([self.function(piece) for piece in pieces], dtype=np.float64).reshape(-1, self.width)


_MGEVAL = "Yang & Lerch (2020), On the evaluation of generative models in music"
_MOGREN = "Mogren (2016), C-RNN-GAN: continuous recurrent neural networks with adversarial training"
_JAZZ = "Wu & Yang (2020), The Jazz Transformer on the front line"
_MUSPY = "Dong et al. (2020), MusPy: a toolkit for symbolic music generation"
_MUSEGAN = "Dong et al. (2018), MuseGAN: multi-track sequential generative adversarial networks"

FEATURES: dict[str, PieceFeature] = {
    "pitch_count": PieceFeature(pitch_count, _MGEVAL, "different pitches"),
    "pitch_class_histogram": PieceFeature(pitch_class_histogram, _MGEVAL, "sounding time by pitch class", 12),
    "pitch_class_transition_matrix": PieceFeature(
        pitch_class_transition_matrix, _MGEVAL, "pairs of pitch classes", 144
    ),
    "pitch_range": PieceFeature(pitch_range, _MGEVAL, "semitones from lowest to highest pitch"),
    "mean_pitch_interval": PieceFeature(mean_pitch_interval, _MGEVAL, "semitones between notes of the melody"),
    "note_count": PieceFeature(note_count, _MGEVAL, "notes"),
    "mean_inter_onset_interval": PieceFeature(mean_inter_onset_interval, _MGEVAL, "quarter notes between onsets"),
    "note_length_histogram": PieceFeature(note_length_histogram, _MGEVAL, "notes by length", 12),
    "note_length_transition_matrix": PieceFeature(note_length_transition_matrix, _MGEVAL, "pairs of lengths", 144),
    "scale_consistency": PieceFeature(scale_consistency, _MOGREN, "fraction of notes in the best scale"),
    "groove_consistency": PieceFeature(groove_consistency, _JAZZ, "similarity of onsets in neighbouring bars"),
    "polyphony_rate": PieceFeature(polyphony_rate, _MOGREN, "fraction of steps with two pitches or more"),
    "polyphony": PieceFeature(polyphony, _MUSPY, "mean number of pitches that sound together"),
    "pitch_class_entropy": PieceFeature(pitch_class_entropy, _JAZZ, "entropy of pitch classes, in bits"),
    "pitch_entropy": PieceFeature(pitch_entropy, _JAZZ, "entropy of pitches, in bits"),
    "empty_measure_rate": PieceFeature(empty_measure_rate, _MUSEGAN, "fraction of bars in which nothing sounds"),
}


# ---- Sets of pieces ----


@dataclass(frozen=True)
class PieceSetComparison:
    """Similarity of generated and reference pieces, by feature.

    The distances between reference pieces are compared with the distances between reference and generated pieces.

    Attributes:
        overlap_area: of the densities of both sets of distances, 0 to 1.
        kl: Kullback–Leibler divergence of the second density from the first, in nats; always finite.
        reference_values: shape (pieces, width).
        generated_values: shape (pieces, width).
    """

    overlap_area: dict[str, float]
    kl: dict[str, float]
    reference_values: dict[str, Values]
    generated_values: dict[str, Values]

    @property
    def mean_overlap_area(self) -> float:
        """Mean over all features."""
        return float(np.mean(list(self.overlap_area.values())))


def compare(reference: Sequence[Piece], generated: Sequence[Piece]) -> PieceSetComparison:
    """Compare two sets by each feature.

    Distances are those of at most 400 pieces per set, always the same random ones; values are those of all pieces.

    Raises `DataError` for fewer than two reference pieces or no generated one, which have no distances.
    """
    if len(reference) < 2 or not generated:
        raise DataError(
            f"cannot compare {len(reference)} reference and {len(generated)} generated pieces: at least two reference "
            "pieces and one generated piece are needed"
        )
    reference_values = {name: feature.of(reference) for name, feature in FEATURES.items()}
    generated_values = {name: feature.of(generated) for name, feature in FEATURES.items()}
    rng = np.random.default_rng(0)
    real, own = (
        np.sort(rng.choice(len(pieces), min(len(pieces), _MAX_PIECES), replace=False))
        for pieces in (reference, generated)
    )
    overlap, kl = {}, {}
    for name in FEATURES:
        intra = distances_within(reference_values[name][real])
        inter = distances_between(reference_values[name][real], generated_values[name][own])
        first, second = kernel_densities(intra, inter)
        overlap[name] = min(float(np.minimum(first, second).sum()), 1.0)
        kl[name] = kl_divergence(first, second)
    return PieceSetComparison(overlap, kl, reference_values, generated_values)


def distances_within(values: Values) -> Values:
    """Euclidean distances between the rows, shape (pairs,).

    Each pair counts once. mgeval, which leaves one out at a time, counts it twice, which only narrows the bandwidth.
    """
    return np.concatenate([_distances(values[i + 1 :], values[i]) for i in range(len(values))])


def distances_between(values: Values, others: Values) -> Values:
    """Euclidean distances between each row of one set and each row of the other, shape (pairs,)."""
    return np.concatenate([_distances(others, row) for row in values])


def _distances(values: Values, row: Values) -> Values:
    return np.asarray(np.sqrt(np.square(values - row).sum(axis=1)))


def kernel_densities(first: Values, second: Values) -> tuple[Values, Values]:
    """Gaussian kernel density estimates of two samples on a common grid, shape (points,) each, summing to 1.

    The bandwidth of each sample follows Scott's rule (Scott, 1992), standard deviation · size^(−1/5), but is at least
    1/200 of the range of both samples. So a constant sample is a narrow peak, which overlaps hardly with a spread
    sample and not at all with another peak. If all values of both are equal, the grid is one point. It extends beyond
    the samples on both sides, so that no density is cut off, though no distance is below 0.
    """
    low, high = min(first.min(), second.min()), max(first.max(), second.max())
    if high - low < _ROUNDING:
        return np.ones(1), np.ones(1)
    bandwidths = [max(_scott(sample), _MIN_BANDWIDTH * (high - low)) for sample in (first, second)]
    low, high = low - 6 * max(bandwidths), high + 6 * max(bandwidths)
    return _density(first, bandwidths[0], low, high), _density(second, bandwidths[1], low, high)


def _scott(sample: Values) -> float:
    return float(sample.std(ddof=1) * len(sample) ** -0.2) if len(sample) > 1 else 0.0


def _density(sample: Values, bandwidth: float, low: float, high: float) -> Values:
    """Density on the grid, shape (points,): linear binning, then smoothing in the frequency domain (Silverman, 1982),
    whose time doesn't depend on the size of the sample."""
    spacing = (high - low) / (_POINTS - 1)
    position = (sample - low) / spacing
    below = position.astype(np.int64)
    above = position - below
    binned = np.bincount(below, weights=1 - above, minlength=_POINTS)
    binned += np.bincount(below + 1, weights=above, minlength=_POINTS)
    frequencies = 2 * np.pi * np.fft.rfftfreq(_POINTS, spacing)
    smoothed = np.fft.irfft(np.fft.rfft(binned) * np.exp(-0.5 * np.square(frequencies * bandwidth)), _POINTS)
    smoothed = np.maximum(smoothed, 0)
    return np.asarray(smoothed / smoothed.sum())


def kl_divergence(first: Values, second: Values) -> float:
    """Kullback–Leibler divergence Σ p · ln(p / q) in nats of q from p, shape (points,) each.

    10^−12 of both is spread evenly over the points, so that it is finite where q is 0: at most about 37.
    """
    p, q = ((1 - _UNIFORM) * density + _UNIFORM / len(density) for density in (first, second))
    return max(float((p * np.log(p / q)).sum()), 0.0)
