"""Products whose rows don't depend on the batch, in kernels and in numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.generation.recurrent.row_products import RowProduct, rowwise
from tests.helpers.kernels import disable_kernels


@pytest.fixture(params=["kernels", "numpy"], scope="module")
def _arithmetic(request: pytest.FixtureRequest) -> None:
    if request.param == "numpy":
        patch = pytest.MonkeyPatch()
        disable_kernels(patch)
        request.addfinalizer(patch.undo)


@pytest.mark.usefixtures("_arithmetic")
@settings(max_examples=40, deadline=None)
@given(inputs=st.integers(1, 90), outputs=st.integers(1, 150), rows=st.integers(0, 60), biased=st.booleans())
def test_row_product_rows_equal_the_same_rows_alone(inputs: int, outputs: int, rows: int, biased: bool) -> None:
    chance = np.random.default_rng(inputs)
    weight, bias = (chance.normal(size=shape).astype(np.float32) for shape in ((outputs, inputs), outputs))
    x = chance.normal(size=(rows, inputs)).astype(np.float32)
    product = RowProduct(weight, bias if biased else None)
    found = product(x)
    exact = x.astype(np.float64) @ weight.T.astype(np.float64) + bias * biased
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-5)
    for number in range(0, rows, 7):
        np.testing.assert_array_equal(product(x[number]), found[number])
    np.testing.assert_array_equal(product(x[:, None][::-1])[::-1, 0], found)


@pytest.mark.parametrize(("inputs", "outputs"), [(16, 64), (100, 30), (512, 64), (7, 3)])
def test_rowwise_rows_equal_the_same_rows_alone(inputs: int, outputs: int) -> None:
    chance = np.random.default_rng(1)
    rows, weight = (chance.normal(size=shape).astype(np.float32) for shape in ((37, inputs), (inputs, outputs)))
    whole = rowwise(rows, weight)
    for number in range(37):
        np.testing.assert_array_equal(rowwise(rows[number : number + 1], weight)[0], whole[number])
    np.testing.assert_allclose(whole, rows @ weight, rtol=1e-4, atol=1e-5)
