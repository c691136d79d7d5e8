"""Learning curves: each run in its colour, whatever its records hold."""

import io

import numpy as np
from matplotlib.image import imread

from seqgen.plots.curves import LearningCurve, learning_curves
from seqgen.plots.figure import palette_colour


def falling(name, count=15, scale=1.0):
    records = [
        {"seconds": float(n), "tokens": 1000 * n, "step": n, "train_loss": scale * 3 / n, "val_loss": scale * 4 / n}
        for n in range(1, count + 1)
    ]
    return LearningCurve(name, records)


def pixels_of(png, number):
    image = imread(io.BytesIO(png))[..., :3]
    return int((np.abs(image - np.array(palette_colour(number))).max(axis=-1) < 0.02).sum())


def test_learning_curves_have_the_colours_of_their_models():
    one = learning_curves([falling("a")])
    two = learning_curves([falling("a"), falling("b", scale=0.5)], "runs")
    assert pixels_of(one, 0) > 300
    assert pixels_of(one, 1) == 0
    assert pixels_of(two, 0) > 300
    assert pixels_of(two, 1) > 300
    assert two == learning_curves([falling("a"), falling("b", scale=0.5)], "runs")


def test_learning_curve_points_skip_what_is_no_number():
    records = [{"step": 1, "val_loss": None}, {"step": 2, "val_loss": 2}, {"step": 3}, {"step": "4", "val_loss": 1.0},
               {"step": True, "val_loss": 1.0}, {"step": 5, "val_loss": float("nan")}]  # fmt: skip
    assert LearningCurve("a", records).points("step", "val_loss") == ([2.0], [2.0])


def test_learning_curves_of_negative_times_are_drawn():
    curve = LearningCurve("a", [{"step": 1, "val_loss": 1.0, "seconds": -5, "tokens": -5}])
    assert learning_curves([curve])[:4] == b"\x89PNG"


def test_learning_curves_of_few_or_no_points_are_drawn():
    nothing = LearningCurve("nothing", [{"step": 1}])
    single = falling("_single", count=1)
    assert pixels_of(learning_curves([nothing, single]), 1) > 20
    assert learning_curves([nothing])[:4] == b"\x89PNG"
    assert learning_curves([falling(f"model {number} " + "x" * 60) for number in range(30)])[:4] == b"\x89PNG"
