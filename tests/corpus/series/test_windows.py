"""Splits of series, and windows over them."""

from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqgen.config import parse_lags, parse_levels, parse_split_rows
from seqgen.corpus.series.windows import (
    SplitPoints,
    Windows,
    evenly_spaced,
    lag_offsets,
    require_windows,
    split_points,
)
from seqgen.errors import DataError, UserError
from tests.helpers.scaled_series import numbered_series

# ---- Parts ----


def test_the_end_is_held_out() -> None:
    assert split_points(1000, None, 0.1, 5) == SplitPoints(900, 1000, 1000)
    assert split_points(144, None, 0.1, 12) == SplitPoints(120, 144, 144)  # two horizons rather than a tenth
    assert split_points(40, None, 0.1, 12) == SplitPoints(30, 40, 40)  # but never more than a quarter
    assert split_points(100, None, 0.0, 12) == SplitPoints(100, 100, 100)


def test_rows_and_shares_that_are_asked_for() -> None:
    assert split_points(17_420, "8640,2880,2880", 0.1, 96) == SplitPoints(8640, 11_520, 14_400)
    assert split_points(1000, "0.7,0.1,0.2", 0.1, 96) == SplitPoints(700, 800, 1000)
    assert split_points(1000, "600,200", 0.1, 96) == SplitPoints(600, 800, 800)
    with pytest.raises(UserError, match="takes 14,400 rows; there are 100"):
        split_points(100, "8640,2880,2880", 0.1, 96)


@given(st.integers(1, 5000), st.floats(0, 0.9), st.integers(1, 100))
def test_parts_are_in_order(rows: int, fraction: float, horizon: int) -> None:
    parts = split_points(rows, None, fraction, horizon)
    assert 0 <= parts.train <= parts.valid <= parts.test == rows
    assert parts.range("valid") == (parts.train, parts.valid)


@pytest.mark.parametrize("text", ["", "5", "5,", "a,b", "0.5,3", "0.9,0.9", "1,2,3,4", "-1,5", "nan,1", "1.5,2", "0,5"])
def test_a_split_that_is_none(text: str) -> None:
    with pytest.raises(UserError, match="--split-rows must be"):
        parse_split_rows(text)


@pytest.mark.parametrize("text", ["", "0", "100", "eighty", "80;90", "nan", ",".join(map(str, range(1, 40)))])
def test_bands_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match="--levels must be"):
        parse_levels(text)


# ---- Windows ----


def test_a_window_by_hand() -> None:
    windows = Windows([numbered_series(10, 2, 1, 1)], [(4, 8)], 3, 2)
    assert windows.origins.tolist() == [4, 5, 6]  # the last forecasts rows 6 and 7
    sample = windows.take(np.array([3]))  # origin 5, column 1
    assert sample.history.tolist() == [[201, 301, 401]]
    assert sample.future.tolist() == [[501, 601]]
    assert sample.channel.tolist() == [1]
    assert sample.past[0, :, 0].tolist() == [-2, -3, -4]
    assert sample.known[0, :, 0].tolist() == [1, 1.5, 2, 2.5, 3]


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 12), st.integers(0, 40), st.integers(0, 40))
def test_every_window_of_a_range_and_no_other(rows: int, back: int, ahead: int, first: int, length: int) -> None:
    stop = min(rows, first + length)
    first = min(first, stop)
    windows = Windows([numbered_series(rows)], [(first, stop)], back, ahead)
    expected = [origin for origin in range(rows) if origin >= max(first, back) and origin + ahead <= stop]
    assert windows.origins.tolist() == expected
    assert len(windows) == 2 * len(expected)


def test_windows_never_cross_from_series_to_series() -> None:
    one, other = (
        numbered_series(8),
        dataclasses.replace(numbered_series(8), targets=numbered_series(8).targets + 10_000),
    )
    windows = Windows([one, other], [(0, 8), (0, 8)], 3, 2)
    sample = windows.take(np.arange(len(windows)))
    both = np.concatenate([sample.history, sample.future], axis=1)
    assert (np.diff(both, axis=1) == 100).all()


def test_a_range_without_a_window_is_told() -> None:
    windows = Windows([numbered_series(8)], [(0, 8)], 6, 3)
    with pytest.raises(DataError, match="the file is too short: it has 8 rows, but a window needs 9"):
        require_windows(windows, "the file", 8)


@given(st.integers(0, 300), st.integers(1, 50))
def test_some_of_many_evenly(count: int, most: int) -> None:
    chosen = evenly_spaced(count, most)
    assert len(chosen) <= max(most, 0) and len(np.unique(chosen)) == len(chosen)
    assert not count or (chosen[0] == 0 and (most == 1 or chosen[-1] == count - 1))


def test_lag_offsets_stand_seasons_before_and_are_known_at_the_origin() -> None:
    assert lag_offsets(2, 5, 10).tolist() == [-12, -11, -10, -9, -8, -7, -6]
    assert lag_offsets(1, 5, 2).tolist() == [-3, -2, -1, -2, -1, -2]


def test_lagged_values_and_covariates_are_those_of_earlier_rows_of_the_same_series() -> None:
    first, second = numbered_series(30, 2, known=1), numbered_series(20, 2, known=1)
    windows = Windows([first, second], [(0, 30), (0, 20)], 3, 2, lags=(4, 9))
    sample = windows.take(np.arange(len(windows)))
    starts = np.where(sample.origin < 30, 0, 30)
    for number, lag in enumerate((4, 9)):
        rows = sample.origin[:, None] - starts[:, None] + lag_offsets(3, 2, lag)
        expected = np.where(rows >= 0, 100 * rows + sample.channel[:, None], np.nan)
        np.testing.assert_array_equal(sample.lagged[:, :, number, 0], expected)
        known = rows >= 0
        np.testing.assert_array_equal(sample.lagged[:, :, number, 1][known], 0.5 * rows[known])
    assert Windows([first], [(0, 30)], 3, 2).take(np.arange(4)).lagged.shape == (4, 5, 0, 2)


@pytest.mark.parametrize("origin", [9, 10, 11, 12, 13])
def test_a_window_from_within_a_gap_keeps_the_last_value_before_it(origin: int) -> None:
    """Rows 9 to 11 of column 1 and of the covariate are interpolated to a value of row 12; from there on they count."""
    whole = numbered_series(16, 2, past=1, known=1)
    observed, past_observed = np.ones((16, 2), bool), np.ones((16, 1), bool)
    observed[9:12, 1] = past_observed[9:12] = False
    series = dataclasses.replace(whole, observed=observed, past_observed=past_observed)
    window = Windows([numbered_series(5, 2, past=1, known=1), series], [(0, 0), (origin, origin + 3)], 5, 3, lags=(4,))
    sample = window.take(np.arange(2))
    rows = np.arange(origin - 5, origin)
    held = np.minimum(rows, 8) if origin < 13 else rows
    assert sample.history.tolist() == [(100 * rows).tolist(), (100 * held + 1).tolist()]
    assert sample.past[1, :, 0].tolist() == (-held).tolist() and sample.known[1, :5, 0].tolist() == (rows / 2).tolist()
    lagged = origin + lag_offsets(5, 3, 4)
    lagged_held = np.minimum(lagged, 8) if origin < 13 else lagged
    assert sample.lagged[1, :, 0, 0].tolist() == (100 * lagged_held + 1).tolist()
    assert sample.lagged[1, :, 0, 1].tolist() == (lagged / 2).tolist()
    assert sample.future[1].tolist() == (100 * np.arange(origin, origin + 3) + 1).tolist()
    targets, past = series.known_at(origin)
    assert targets[-5:].T.tolist() == sample.history.tolist() and past[-5:].tolist() == sample.past[1].tolist()


def test_windows_of_series_with_gaps_beside_others_without() -> None:
    """Each is as if it stood there alone."""
    whole = [numbered_series(20, 2, past=2, known=1) for _ in range(3)]
    observed, past_observed = np.ones((20, 2), bool), np.ones((20, 2), bool)
    observed[7:9, 1] = past_observed[10:12, 0] = False
    series = [
        whole[0], dataclasses.replace(whole[1], observed=observed),
        dataclasses.replace(whole[2], observed=observed, past_observed=past_observed),
    ]  # fmt: skip
    together = Windows(series, [(0, 20)] * 3, 3, 2, lags=(4,))
    found = together.take(np.arange(len(together)))
    alone = [Windows([one], [(0, 20)], 3, 2, lags=(4,)) for one in series]
    for name in ("history", "past", "lagged", "future", "observed"):
        expected = np.concatenate([getattr(each.take(np.arange(len(each))), name) for each in alone])
        np.testing.assert_array_equal(getattr(found, name), expected)


def test_values_before_windows_are_their_history_and_reach_further_back() -> None:
    observed = np.ones((20, 2), bool)
    observed[7:9, 1] = False
    series = [numbered_series(20, 2), dataclasses.replace(numbered_series(20, 2), observed=observed)]
    windows = Windows(series, [(0, 20)] * 2, 3, 2)
    every = np.arange(len(windows))
    sample, further = windows.take(every), windows.before(every, np.arange(6, 0, -1))
    np.testing.assert_array_equal(further[:, 3:], sample.history)
    back = sample.origin[:, None] % 20 + np.arange(-6, -3)
    np.testing.assert_array_equal(np.isnan(further[:, :3]), back < 0)
    begun = (back >= 0) & (back < 7)
    np.testing.assert_array_equal(further[:, :3][begun], (100 * back + sample.channel[:, None])[begun])


def test_windows_without_gaps_are_hardly_larger_than_their_series() -> None:
    """Which rows were observed last was stored for each value, in three times its memory."""
    series = numbered_series(2000, 50)
    tracemalloc.start()
    try:
        windows = Windows([series], [(0, 2000)], 8, 4, lags=(7,))
        assert tracemalloc.get_traced_memory()[1] < 2 * (series.targets.nbytes + series.observed.nbytes)
    finally:
        tracemalloc.stop()
    assert len(windows) == 50 * 1989


def test_parse_lags() -> None:
    assert parse_lags("364, 7,7") == (7, 364)
    assert parse_lags("none") == ()
    for text in ("", "7,x", "0", "-1", "1.5", "9999999", "1,2,3,4,5,6,7,8,9", "²", "9" * 5000):
        with pytest.raises(UserError, match="--lags must be numbers of rows"):
            parse_lags(text)
