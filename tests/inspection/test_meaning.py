"""What units mean: planted units are found, noise is not; features of text and music."""

from __future__ import annotations

import numpy as np
import pytest

from seqgen.inspection.features import Feature, music_features, text_features, usable
from seqgen.inspection.meaning import unit_meanings
from seqgen.music.events import EventVocabulary, VocabularyOptions

STEPS = 4000


def features_of(text: str) -> dict[str, list[int]]:
    return {feature.name: feature.values.tolist() for feature in text_features(list(text))}


def test_meaning_of_a_planted_unit_is_found_with_its_bits() -> None:
    rng = np.random.default_rng(1)
    flag = Feature("flag", (np.arange(STEPS) // rng.integers(7, 30) % 2).astype(np.int64))
    values = rng.normal(size=(STEPS, 30)).astype(np.float32)
    values[:, 17] += 8 * flag.values
    values[:, 4] += 0.5 * flag.values
    first, second = unit_meanings([values], [flag], 2)
    assert (first.layer, first.unit, first.feature, second.unit) == (1, 17, "flag", 4)
    assert first.bits == pytest.approx(first.entropy, abs=0.02) and first.entropy == pytest.approx(1, abs=0.01)
    assert 0.01 < second.bits < 0.1


def test_meaning_of_noise_is_none() -> None:
    rng = np.random.default_rng(2)
    flag = Feature("flag", rng.integers(0, 2, STEPS))
    assert unit_meanings([rng.normal(size=(STEPS, 200)).astype(np.float32)], [flag], 8) == []


def test_meaning_of_a_slow_unit_and_a_slow_feature_is_not_chance() -> None:
    """Two slow sequences that have nothing to do with each other look alike by chance; the baseline knows that."""
    rng = np.random.default_rng(3)
    slow = np.repeat(rng.normal(size=(STEPS // 10, 40)), 40, axis=0).astype(np.float32)
    flag = Feature("flag", np.repeat(rng.integers(0, 2, STEPS // 10), 40))
    assert all(meaning.bits < 3 * meaning.baseline for meaning in unit_meanings([slow], [flag], 8))


def test_meaning_of_a_periodic_feature_has_a_small_baseline() -> None:
    beat = Feature("beat", np.arange(STEPS) % 4)
    values = np.random.default_rng(4).normal(size=(STEPS, 20)).astype(np.float32)
    values[:, 3] = np.arange(STEPS) % 4
    (found,) = unit_meanings([values], [beat], 1)
    assert found.unit == 3 and found.bits == pytest.approx(2, abs=0.01) and found.baseline < 0.3


def test_meanings_name_the_best_unit_of_each_feature_first() -> None:
    rng = np.random.default_rng(5)
    features = [Feature(name, rng.integers(0, 2, STEPS)) for name in ("one", "two")]
    values = rng.normal(size=(STEPS, 10)).astype(np.float32)
    for unit, (feature, scale) in enumerate([(0, 9), (0, 8), (1, 2)]):
        values[:, unit] += scale * features[feature].values
    found = unit_meanings([values[:, :2], values[:, 2:]], features, 3)
    assert [(each.layer, each.unit, each.feature) for each in found[1:]] == [
        (2, 0, "two"),
        (1, 1 - found[0].unit, "one"),
    ]


def test_features_of_text() -> None:
    found = features_of('He said: "Go (now). It is 9." Then\n\nNAME:\n"oh\n\nno')
    text = 'He said: "Go (now). It is 9." Then\n\nNAME:\n"oh\n\nno'
    quoted = "".join(c for c, inside in zip(text, found["inside quotation marks"], strict=True) if inside)
    assert quoted == '"Go (now). It is 9."oh\n'  # a paragraph ends what is open
    bracketed = "".join(c for c, inside in zip(text, found["inside brackets"], strict=True) if inside)
    assert bracketed == "(now"
    speakers = "".join(c for c, inside in zip(text, found["in the name of a speaker"], strict=True) if inside)
    assert speakers == "NAME:"
    capitals = [text[at + 1] for at, comes in enumerate(found["a capital comes next"]) if comes]
    assert capitals == ["G", "I", "T", "N", "A", "M", "E"]
    begins = [text[at + 1] for at, comes in enumerate(found["a word begins next"]) if comes]
    assert "".join(begins) == "sGnIi9TNon"
    assert found["words since the sentence began"][:3] == [1, 1, 1]
    assert found["words since the sentence began"][text.index(".")] == 0


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ('She "goes". "Oh', '"goes"Oh'),
        ("“Go, said “he” or ‘she’,” and went", "“Go, said “he‘she"),
        ("‘I don’t, and ‘won’t’’ so", "‘I don’t, and ‘won’t"),
        ("“He said ‘no’ to me.” so", "“He said ‘no’ to me."),
        ("Er sagt „ja“ und »nein« dazu", "„ja»nein"),
        ("Il dit «oui» et ‹non›, c’est bien", "«oui‹non"),
        ("他说「好『吧』的」了，“是”的", "「好『吧』的“是"),
        ("“One.\n\n“Two,” so\n\n”three", "“One.\n“Two,"),
        ("“One.\n“Two” so", "“One.“Two"),
    ],
)
def test_text_features_quotations_of_several_languages(text: str, quoted: str) -> None:
    found = {feature.name: feature.values for feature in text_features(list(text))}["inside quotation marks"]
    assert "".join(c for c, inside in zip(text, found, strict=True) if inside) == quoted


def test_features_of_tokens_are_those_of_their_last_character() -> None:
    whole = features_of("Well, (yes) no")
    tokens = ["Well", ",", "", " (", "yes", ")", " no"]
    by_token = {feature.name: feature.values.tolist() for feature in text_features(tokens)}
    ends = [3, 4, 4, 6, 9, 10, 13]
    assert all(by_token[name] == [values[end] for end in ends] for name, values in whole.items())


def test_features_that_are_constant_or_rare_are_not_used() -> None:
    rare = np.zeros(1000, dtype=np.int64)
    rare[:5] = 1
    several = np.arange(1000) % 30
    found = usable(
        [Feature("constant", np.zeros(1000, dtype=np.int64)), Feature("rare", rare), Feature("many", several)]
    )
    assert [feature.name for feature in found] == ["many"]
    assert found[0].values.max() == 11  # the rest is one value


def test_features_of_music_follow_bars_and_beats() -> None:
    vocabulary = EventVocabulary(VocabularyOptions(grid=4, key=False))
    events = [("bar", 0), ("position", 0), ("track", 0), ("program", 0), ("velocity", 5), ("duration", 3), ("note", 62),
              ("position", 6), ("note", 65), ("bar", 0), ("position", 4), ("note", 60)]  # fmt: skip
    found, times = music_features(np.array([vocabulary.id(*event) for event in events]), vocabulary)
    by_name = {feature.name: feature.values.tolist() for feature in found}
    assert times.tolist() == [0, 0, 0, 0, 0, 0, 0, 6, 6, 16, 20, 20]
    assert by_name["beat of the bar"] == [0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 1, 1]
    assert by_name["quarter of the beat"][7:9] == [2, 2]
    assert by_name["bar of the phrase of four"][-3:] == [1, 1, 1]
    assert by_name["pitch class of the last note"][-1] == 0 and by_name["pitch class of the last note"][6] == 2


def test_features_of_music_whose_beat_is_no_step_of_the_grid() -> None:
    vocabulary = EventVocabulary(VocabularyOptions(grid=1, key=False))
    six_eight = next(value for value in range(vocabulary.sizes["metre"]) if vocabulary.metre(value) == (6, 8))
    events = [("bar", 0), ("metre", six_eight), ("position", 0), ("position", 2)]
    found, _ = music_features(np.array([vocabulary.id(*event) for event in events]), vocabulary)
    assert found[0].values.tolist() == [0, 0, 0, 4]  # eighths: a step of the grid is a quarter
