"""Music metrics: features of a piece, similarity of two sets, and the n-gram baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.errors import DataError
from seqgen.evaluation import music
from seqgen.evaluation.music import (
    FEATURES,
    compare,
    distances_between,
    distances_within,
    kernel_densities,
    kl_divergence,
)
from seqgen.music.piece import Bar, Note, Piece, Track

Values = npt.NDArray[np.float64]

C, E, G = 0, 4, 7  # pitch classes


def piece_of(
    notes: Sequence[tuple[int, int, int, int]], bars: int = 2, tracks: tuple[Track, ...] = (Track(0),)
) -> Piece:
    """Notes are (start, track, pitch, end); 4/4 on a grid of 4: a bar has 16 steps, a sixteenth one."""
    return Piece(
        4,
        tracks,
        tuple(sorted((Note(*note, 80) for note in notes), key=lambda note: (note.start, note.track, -note.pitch))),
        tuple(Bar(16 * number, 16, 4, 4) for number in range(bars)),
    )


def value(name: str, piece: Piece) -> Values:
    return FEATURES[name].of([piece])[0]


# A quarter, two eighths, a chord of two half notes; the second bar is empty.
LITTLE = [(0, 0, 60, 4), (4, 0, 64, 6), (6, 0, 67, 8), (8, 0, 60, 16), (8, 0, 64, 16)]

RHYTHM = {"note_count", "mean_inter_onset_interval", "groove_consistency", "empty_measure_rate"}

KEYED = {"pitch_class_histogram", "pitch_class_transition_matrix"}  # change with the key


# ---- Features ----


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("pitch_count", 3),
        ("pitch_range", 7),
        ("mean_pitch_interval", (4 + 3 + 3) / 3),  # the chord's top note is E
        ("note_count", 5),
        ("mean_inter_onset_interval", (1 + 0.5 + 0.5) / 3),
        ("scale_consistency", 1),
        ("groove_consistency", 1 - 4 / 16),
        ("polyphony_rate", 8 / 32),
        ("polyphony", (8 * 1 + 8 * 2) / 16),
        ("pitch_class_entropy", -2 * 0.4 * math.log2(0.4) - 0.2 * math.log2(0.2)),
        ("pitch_entropy", -2 * 0.4 * math.log2(0.4) - 0.2 * math.log2(0.2)),
        ("empty_measure_rate", 0.5),
    ],
)
def test_scalar_feature_equals_value_by_hand(name: str, wanted: float) -> None:
    assert value(name, piece_of(LITTLE)) == pytest.approx([wanted])


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("pitch_class_histogram", {C: 12 / 24, E: 10 / 24, G: 2 / 24}),
        ("pitch_class_transition_matrix", {12 * C + E: 1 / 3, 12 * E + G: 1 / 3, 12 * G + E: 1 / 3}),
        ("note_length_histogram", {1: 2 / 5, 2: 1 / 5, 3: 2 / 5}),  # half, quarter, eighth
        ("note_length_transition_matrix", {12 * 2 + 3: 1 / 3, 12 * 3 + 3: 1 / 3, 12 * 3 + 1: 1 / 3}),
    ],
)
def test_vector_feature_equals_values_by_hand(name: str, wanted: dict[int, float]) -> None:
    expected = np.zeros(FEATURES[name].width)
    expected[list(wanted)] = list(wanted.values())
    assert value(name, piece_of(LITTLE)) == pytest.approx(expected)


def test_features_are_all_computed_by_hand() -> None:
    numbers, vectors = (
        {case[0] for case in test.pytestmark[0].args[1]}
        for test in (test_scalar_feature_equals_value_by_hand, test_vector_feature_equals_values_by_hand)
    )
    assert numbers | vectors == set(FEATURES)


def test_pitch_features_of_octaves_count_pitches_not_pitch_classes() -> None:
    octaves = piece_of([(0, 0, 60, 4), (4, 0, 72, 8)])
    assert value("pitch_entropy", octaves) == pytest.approx([1])
    assert value("pitch_class_entropy", octaves) == pytest.approx([0])
    assert value("pitch_count", octaves) == [2]


def test_scale_consistency_with_one_note_outside_the_scale() -> None:
    scale = [(4 * number, 0, 60 + step, 4 * number + 4) for number, step in enumerate((0, 2, 4, 5, 7, 9, 11))]
    assert value("scale_consistency", piece_of(scale)) == pytest.approx([1])
    assert value("scale_consistency", piece_of([*scale, (28, 0, 66, 32)])) == pytest.approx([7 / 8])
    minor = [(4 * number, 0, 57 + step, 4 * number + 4) for number, step in enumerate((0, 2, 3, 5, 7, 8, 10))]
    assert value("scale_consistency", piece_of(minor)) == pytest.approx([1])


@pytest.mark.parametrize(
    ("steps", "index"),
    [(96, 0), (48, 1), (24, 2), (12, 3), (6, 4), (72, 5), (36, 6), (18, 7), (9, 8), (32, 9), (16, 10), (8, 11),
     (500, 0), (1, 4), (7, 4), (23, 2), (28, 2), (29, 9)],  # the closest; 28 is as far from 24 as from 32
)  # fmt: skip
def test_note_length_histogram_step_count_has_class(steps: int, index: int) -> None:
    piece = Piece(24, (Track(0),), (Note(0, 0, 60, steps, 80),), (Bar(0, 960, 4, 4),))
    assert value("note_length_histogram", piece).argmax() == index


def test_melody_is_highest_note_of_all_tracks() -> None:
    two = piece_of([(0, 0, 60, 4), (0, 1, 72, 2), (4, 0, 62, 8), (4, 1, 62, 5)], tracks=(Track(0), Track(40)))
    assert value("mean_pitch_interval", two) == [10]
    assert value("pitch_class_transition_matrix", two)[12 * 0 + 2] == 1
    assert value("note_length_transition_matrix", two)[12 * 3 + 2] == 1  # of two Ds the first track's


def test_polyphony_two_tracks_on_one_pitch_count_once() -> None:
    unison = piece_of([(0, 0, 60, 4), (0, 1, 60, 4)], tracks=(Track(0), Track(40)))
    assert value("polyphony", unison) == [1]
    assert value("polyphony_rate", unison) == [0]


def test_groove_consistency_unequal_bars_uses_the_longer() -> None:
    bars = (Bar(0, 16, 4, 4), Bar(16, 12, 3, 4), Bar(28, 12, 3, 4))
    notes = tuple(Note(step, 0, 60, step + 1, 80) for step in (0, 12, 16, 28, 31))
    piece = Piece(4, (Track(0),), notes, bars)
    assert value("groove_consistency", piece) == pytest.approx([1 - (1 / 16 + 1 / 12) / 2])


def test_empty_measure_rate_bar_with_held_note_is_not_empty() -> None:
    assert value("empty_measure_rate", piece_of([(0, 0, 60, 17)], bars=4)) == [0.5]
    assert value("empty_measure_rate", piece_of([(0, 0, 60, 16)], bars=4)) == [0.75]


def test_features_of_drums_count_in_rhythm_only() -> None:
    drums = [(0, 1, 36, 1), (2, 1, 38, 3), (16, 1, 36, 17), (18, 1, 99, 32)]
    plain, both = piece_of(LITTLE), piece_of([*LITTLE, *drums], tracks=(Track(0), Track(None)))
    for name in FEATURES:
        assert (value(name, plain) == value(name, both)).all() == (name not in RHYTHM), name


@pytest.mark.parametrize(
    "piece",
    [
        Piece(4, (), (), ()),
        piece_of([]),
        piece_of([], bars=1, tracks=()),
        piece_of([(0, 0, 36, 1), (8, 0, 38, 9)], tracks=(Track(None),)),
        piece_of([(0, 0, 60, 16)], bars=1),
        Piece(24, (Track(0),), (Note(0, 0, 127, 5, 1),), ()),
    ],
    ids=["nothing", "rests", "no tracks", "drums", "one note", "no bars"],
)
def test_features_of_tiny_pieces_are_finite(piece: Piece) -> None:
    values = {name: value(name, piece) for name in FEATURES}
    assert all(np.isfinite(found).all() for found in values.values())
    if all(piece.tracks[note.track].drums for note in piece.notes):
        assert not any(values[name].any() for name in FEATURES if name not in RHYTHM)
    if not piece.notes:
        assert values["empty_measure_rate"] == values["groove_consistency"] == 1
    if not piece.bars:
        assert values["groove_consistency"] == 1


@st.composite
def pieces(draw: st.DrawFn) -> Piece:
    """Up to 12 notes on two pitched tracks and a drum track, in up to three bars."""
    bars = draw(st.integers(1, 3))
    notes = draw(
        st.lists(
            st.tuples(st.integers(0, 16 * bars - 1), st.integers(0, 2), st.integers(30, 90), st.integers(1, 20)),
            max_size=12,
            unique_by=lambda note: note[:3],
        )
    )
    return piece_of(
        [(start, track, pitch, min(start + length, 16 * bars)) for start, track, pitch, length in notes],
        bars,
        (Track(0), Track(40), Track(None)),
    )


def transposed(piece: Piece, by: int) -> Piece:
    notes = [n if piece.tracks[n.track].drums else n._replace(pitch=n.pitch + by) for n in piece.notes]
    return Piece(piece.grid, piece.tracks, tuple(notes), piece.bars)


@settings(max_examples=60)
@given(pieces(), st.integers(-30, 30))
def test_features_of_transposed_piece_are_shifted_or_equal(piece: Piece, by: int) -> None:
    other = transposed(piece, by)
    for name in set(FEATURES) - KEYED:
        assert value(name, other) == pytest.approx(value(name, piece)), name
    assert value("pitch_class_histogram", other) == pytest.approx(np.roll(value("pitch_class_histogram", piece), by))
    square = value("pitch_class_transition_matrix", piece).reshape(12, 12)
    assert value("pitch_class_transition_matrix", other) == pytest.approx(np.roll(square, by, (0, 1)).ravel())


@settings(max_examples=60)
@given(pieces())
def test_features_stay_within_bounds(piece: Piece) -> None:
    for name, feature in FEATURES.items():
        found = value(name, piece)
        assert found.shape == (feature.width,)
        assert (found >= 0).all(), name
        if feature.width > 1:
            assert found.sum() == pytest.approx(1) or not found.any()
        if name.endswith(("_rate", "_consistency")):
            assert (found <= 1).all(), name
    assert value("pitch_class_entropy", piece) <= math.log2(12) + 1e-9


@settings(max_examples=30)
@given(pieces())
def test_features_on_finer_grid_are_equal(piece: Piece) -> None:
    fine = Piece(
        12,
        piece.tracks,
        tuple(note._replace(start=3 * note.start, end=3 * note.end) for note in piece.notes),
        tuple(bar._replace(start=3 * bar.start, length=3 * bar.length) for bar in piece.bars),
    )
    for name in set(FEATURES) - {"groove_consistency"}:  # counts steps
        assert value(name, fine) == pytest.approx(value(name, piece)), name


def test_features_name_their_paper() -> None:
    for feature in FEATURES.values():
        assert "20" in feature.paper
        assert feature.description


# ---- Distances and densities ----


def test_distances_equal_values_by_hand() -> None:
    rows = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    assert sorted(distances_within(rows)) == pytest.approx([1, math.hypot(3, 3), 5])
    assert sorted(distances_between(rows[:1], rows[1:])) == pytest.approx([1, 5])


numbers = st.lists(st.floats(0, 1000), min_size=1, max_size=30).map(np.array)


def overlap(first: Values, second: Values) -> float:
    p, q = kernel_densities(first, second)
    return float(np.minimum(p, q).sum())


@given(numbers, numbers)
def test_kernel_densities_overlap_and_divergence_stay_within_bounds(first: Values, second: Values) -> None:
    p, q = kernel_densities(first, second)
    assert p.sum() == pytest.approx(1)
    assert q.sum() == pytest.approx(1)
    assert (p >= 0).all()
    assert 0 <= overlap(first, second) <= 1 + 1e-9
    assert overlap(second, first) == pytest.approx(overlap(first, second), abs=1e-6)
    assert 0 <= kl_divergence(p, q) < 40
    assert kl_divergence(p, p) == pytest.approx(0, abs=1e-9)
    assert overlap(first, first) == pytest.approx(1)


def test_kernel_densities_of_constant_samples() -> None:
    same, elsewhere, spread = np.full(10, 2.0), np.full(7, 3.0), np.linspace(0, 4, 50)
    assert overlap(same, same[:4]) == 1
    assert overlap(np.zeros(3), np.full(5, 1e-13)) == 1  # rounding
    assert overlap(same, elsewhere) == pytest.approx(0, abs=1e-6)
    assert overlap(same[:1], elsewhere[:1]) == pytest.approx(0, abs=1e-6)
    assert 0 < overlap(same, spread) < 0.1
    for first, second in [(same, same), (same, elsewhere), (same, spread), (spread, same)]:
        assert math.isfinite(kl_divergence(*kernel_densities(first, second)))
    assert kl_divergence(*kernel_densities(same, elsewhere)) > 10


@pytest.mark.parametrize("seed", range(4))
def test_kernel_densities_equal_scipy(seed: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    chance = np.random.default_rng(seed)
    first, second = chance.gamma(2, 3, 60), chance.gamma(2, 3 + 2 * seed, 45)
    grid = np.linspace(-60, 160, 40_001)
    p, q = (stats.gaussian_kde(sample, "scott")(grid) for sample in (first, second))
    spacing = grid[1] - grid[0]
    assert overlap(first, second) == pytest.approx(np.minimum(p, q).sum() * spacing, abs=2e-4)
    p, q = p + 1e-12 / 220, q + 1e-12 / 220  # tails that underflow
    assert kl_divergence(*kernel_densities(first, second)) == pytest.approx(stats.entropy(p, q), rel=2e-2)


# ---- Sets of pieces ----


def calm(chance: np.random.Generator) -> Piece:
    """A tune in C major of quarters and halves, by small intervals."""
    notes, step, degree = [], 0, 7
    while step < 64:
        length = int(chance.choice([4, 4, 8]))
        degree = int(np.clip(degree + chance.integers(-2, 3), 0, 14))
        pitch = 60 + 12 * (degree // 7) + (0, 2, 4, 5, 7, 9, 11)[degree % 7]
        notes.append((step, 0, pitch, min(step + length, 64)))
        step += length
    return piece_of(notes, bars=4)


def wild(chance: np.random.Generator) -> Piece:
    """Sixteenths anywhere, in chords now and then."""
    notes = []
    for step in range(64):
        chord = chance.choice(np.arange(30, 100), size=int(chance.integers(0, 4)), replace=False)
        end = min(step + int(chance.integers(1, 3)), 64)
        notes += [(step, 0, int(pitch), end) for pitch in chord]
    return piece_of(notes, bars=4)


def test_compare_same_style_overlaps_more_than_another_style() -> None:
    chance = np.random.default_rng(5)
    first, second, other = ([style(chance) for _ in range(40)] for style in (calm, calm, wild))
    halves, styles, itself = compare(first, second), compare(first, other), compare(first, first)
    assert itself.mean_overlap_area > 0.93
    assert halves.mean_overlap_area > 0.85
    assert styles.mean_overlap_area < 0.4
    assert np.mean(list(halves.kl.values())) < 0.2 < 1 < np.mean(list(styles.kl.values()))
    for found in (halves, styles, itself):
        assert set(found.overlap_area) == set(found.kl) == set(FEATURES)
        assert all(0 <= area <= 1 for area in found.overlap_area.values())
        assert all(math.isfinite(nats) and nats >= 0 for nats in found.kl.values())
    assert styles.mean_overlap_area == pytest.approx(np.mean(list(styles.overlap_area.values())))
    # 0 and 0 away from each other, though each set has but one value of it
    assert styles.overlap_area["empty_measure_rate"] == 1


def test_compare_returns_values_of_all_pieces() -> None:
    found = compare([piece_of(LITTLE), piece_of(LITTLE[:1]), piece_of([])], [piece_of(LITTLE)])
    for name, feature in FEATURES.items():
        assert found.reference_values[name].shape == (3, feature.width)
        assert found.generated_values[name].shape == (1, feature.width)
    assert found.reference_values["note_count"].ravel().tolist() == [5, 1, 0]


def test_compare_sets_of_equal_pieces() -> None:
    one, longer = piece_of(LITTLE), piece_of([*LITTLE, (16, 0, 60, 20)])
    same, different = compare([one] * 3, [one] * 2), compare([one] * 3, [longer] * 2)
    assert set(same.overlap_area.values()) == {1}
    assert set(same.kl.values()) == {0}
    assert different.overlap_area["note_count"] == pytest.approx(0, abs=1e-6)
    assert different.overlap_area["pitch_count"] == 1


@pytest.mark.parametrize(("reference", "generated"), [(0, 1), (1, 1), (2, 0)])
def test_compare_too_few_pieces_raises_data_error(reference: int, generated: int) -> None:
    with pytest.raises(DataError, match=f"{reference} reference and {generated} generated"):
        compare([piece_of(LITTLE)] * reference, [piece_of(LITTLE)] * generated)


def test_compare_many_pieces_uses_a_fixed_random_subset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(music, "_MAX_PIECES", 10)
    sizes = set()

    def counted(values: Values, others: Values) -> Values:
        sizes.add((len(values), len(others)))
        return distances_between(values, others)

    monkeypatch.setattr(music, "distances_between", counted)
    chance = np.random.default_rng(2)
    many = [calm(chance) for _ in range(25)]
    found = compare(many, many[:4])
    assert sizes == {(10, 4)}
    assert len(found.reference_values["pitch_count"]) == 25
    assert compare(many, many[:4]).overlap_area == found.overlap_area
