"""Names and shapes of weights."""

from __future__ import annotations

from seqgen.model.weight_shapes import depth


def test_depth_counts_layers_below_the_top() -> None:
    names = ["output_weight", "head_bias", "layers.1.bias", "readers.0.layers.1.bias", "readers.1.layers.0.bias",
             "layers.0.input_weight", "embedding"]  # fmt: skip
    assert [depth(name, 2) for name in names] == [0, 0, 1, 1, 2, 2, 3]
