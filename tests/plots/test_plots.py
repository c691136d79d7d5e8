"""Pictures are PNG, the same every time, and drawn without a word on stderr or a trace in matplotlib's settings."""

import io
import struct
import subprocess
import sys
import warnings

import numpy as np
import pytest

from seqgen.errors import PlotWarning, UserError
from seqgen.music.piece import Bar, Note, Piece, Track
from seqgen.plots import figure
from seqgen.plots.inspection import GradientCurve, gradient_plot, text_values
from seqgen.plots.music import feature_histograms, piano_roll

matplotlib = pytest.importorskip("matplotlib")
pytestmark = pytest.mark.filterwarnings("ignore::seqgen.errors.PlotWarning")  # not every machine has Chinese fonts


def size(png: bytes) -> tuple[int, int]:
    """Width and height in pixels."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert png[-8:-4] == b"IEND"
    return struct.unpack(">II", png[16:24])


def pixels(png: bytes) -> np.ndarray:
    from matplotlib.image import imread

    return imread(io.BytesIO(png))[..., :3]


def has_colour(png: bytes, code: str) -> bool:
    wanted = np.array([int(code[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return bool((np.abs(pixels(png) - wanted).max(axis=-1) < 0.02).any())


def piece(bars: int, tracks: tuple[Track, ...] = (Track(0), Track(32)), velocity: int = 127) -> Piece:
    """A note a beat and track in 4/4 on a grid of 4."""
    notes = tuple(
        Note(step, track, 36 + 6 * (part.drums or 4) + (step // 4 + 7 * track) % 5, step + 3, velocity)
        for step in range(0, 16 * bars, 4)
        for track, part in enumerate(tracks)
    )
    return Piece(4, tracks, notes, tuple(Bar(16 * bar, 16, 4, 4) for bar in range(bars)))


def test_piano_roll_is_deterministic():
    first = piano_roll(piece(4), title="Two parts", primer_bars=1)
    width, height = size(first)
    assert 600 < width < 1200
    assert 200 < height < 800
    assert piano_roll(piece(4), title="Two parts", primer_bars=1) == first
    assert b"tEXt" not in first
    assert b"tIME" not in first


def test_piano_roll_tracks_have_their_own_colours():
    drawn = piano_roll(piece(4))
    assert has_colour(drawn, "#0072B2")
    assert has_colour(drawn, "#D55E00")
    assert not has_colour(piano_roll(piece(4, (Track(0),))), "#D55E00")


def test_piano_roll_soft_notes_are_paler():
    loud, soft = pixels(piano_roll(piece(4, velocity=127))), pixels(piano_roll(piece(4, velocity=10)))
    assert loud.shape == soft.shape
    assert soft.mean() > loud.mean()


def test_piano_roll_drums_are_drawn_below():
    assert size(piano_roll(piece(4, (Track(0), Track(None)))))[1] > size(piano_roll(piece(4, (Track(0),))))[1]
    size(piano_roll(piece(2, (Track(None), Track(None)))))


def test_piano_roll_primer_is_shaded():
    plain = piano_roll(piece(2))
    assert piano_roll(piece(2), primer_bars=1) != plain
    assert piano_roll(piece(2), primer_bars=9) == piano_roll(piece(2), primer_bars=2)
    assert piano_roll(piece(2), primer_bars=-1) == plain


def test_piano_roll_width_is_limited():
    width = size(piano_roll(piece(120)))[0]
    assert size(piano_roll(piece(4)))[0] < width <= 3000
    assert size(piano_roll(piece(400, (Track(0),))))[0] <= 3000


@pytest.mark.parametrize(
    "empty", [Piece(4, (), (), ()), Piece(4, (Track(3),), (), (Bar(0, 16, 4, 4),)), piece(2).excerpt(5, 2)]
)
def test_piano_roll_without_notes_is_empty(empty):
    size(piano_roll(empty, title="nothing", primer_bars=1))


def test_piano_roll_unusual_pieces():
    extremes = (Note(0, 0, 127, 1, 1), Note(0, 0, 0, 1, 127), Note(0, 1, 127, 1, 64), Note(0, 1, 0, 1, 64))
    bars = (Bar(0, 1, 4, 4), Bar(1, 7, 7, 16), Bar(8, 12, 3, 4))
    size(piano_roll(Piece(4, (Track(0), Track(None)), extremes, bars), primer_bars=2))
    size(piano_roll(Piece(4, (Track(0),), (Note(0, 0, 127, 1, 1),), bars)))
    many = tuple(Track(number) for number in range(40))
    assert size(piano_roll(piece(1, many)))[1] < 1200


@pytest.mark.parametrize("title", ["离骚", "costs $4 and $5", "a\nb\tc\x00", "M" * 5000, "离" * 500, " ", "𝄞 🎵"])
def test_piano_roll_any_title_is_drawn(title, capfd):
    size(piano_roll(piece(1), title=title))
    assert capfd.readouterr() == ("", "")


def features(pieces: int, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "pitch_count": random.integers(5, 20, pieces),
        "mean_duration": random.normal(1, 0.2, (pieces, 1)),
        "pitch_class_histogram": random.dirichlet(np.ones(12), pieces),
        "pitch_class_transition_matrix": random.random((pieces, 144)),
        "same_everywhere": np.full(pieces, 0.1),
        "undefined": np.full(pieces, np.nan),
    }


def test_feature_histograms_are_deterministic():
    reference, generated = features(30, 0), features(12, 1)
    overlap = {"pitch_count": 0.5, "undefined": float("nan")}
    first = feature_histograms(reference, generated, overlap, title="离骚 $x$")
    assert feature_histograms(reference, generated, overlap, title="离骚 $x$") == first
    assert has_colour(first, "#0072B2")
    assert has_colour(first, "#D55E00")
    assert feature_histograms(reference, generated, {"pitch_count": 0.6}, title="离骚 $x$") != first


def test_feature_histograms_of_few_values():
    full = features(5, 0)
    size(feature_histograms({}, {}, {}))
    size(feature_histograms(full, {}, {}))
    size(feature_histograms({name: values[:0] for name, values in full.items()}, full, {}))
    size(feature_histograms({"one": np.array([1.0])}, {"one": np.array([1e9])}, {"one": 0.0}))
    size(feature_histograms({"m": np.ones((3, 12, 12))}, {"m": np.zeros((2, 12, 12))}, {"m": 1.0}))


def test_text_values_of_labels_with_an_underscore_have_a_legend():
    """Matplotlib left them out, with a warning."""
    scores = {"_good": [0.4, 0.9], "_bad": [0.6, 0.1]}
    size(text_values(["a", "b"], np.array([0.1, 0.2]), 0.0, 1.0, scores, title=""))


def test_text_values_of_wide_characters_take_two_columns(monkeypatch):
    """Each was printed over its neighbours."""
    monkeypatch.setattr("seqgen.plots.inspection.to_png", lambda figure: figure.axes[0])
    axes = text_values(list("a离骚b" + " " * 83 + "离"), np.zeros(88), 0.0, 1.0, {}, title="")
    placed = [(text.get_text(), text.get_position()) for text in axes.texts]
    assert placed == [("a", (0.5, 0.55)), ("离", (2, 0.55)), ("骚", (4, 0.55)), ("b", (5.5, 0.55)), ("离", (1, 1.55))]
    assert [patch.get_width() for patch in axes.patches] == [1, 2, 2, 1, *[1] * 83, 2]


def test_gradient_plot_says_what_it_leaves_out(monkeypatch):
    monkeypatch.setattr("seqgen.plots.inspection.to_png", lambda figure: figure.texts[0].get_text())
    numbers = np.array([1.0, 0.5])
    curves = [GradientCurve(f"model {number}", numbers, numbers, numbers) for number in range(21)]
    assert gradient_plot(curves, "x") == "x: the first 20 of 21"
    assert gradient_plot(curves[:20], "x") == "x"


def test_plot_style_ignores_and_restores_user_settings():
    plain = piano_roll(piece(1), title="x")
    with matplotlib.rc_context({"axes.facecolor": "red", "savefig.dpi": 30, "savefig.bbox": "tight", "font.size": 30}):
        before = dict(matplotlib.rcParams)
        assert piano_roll(piece(1), title="x") == plain
        assert dict(matplotlib.rcParams) == before


def test_chinese_font_installed_after_matplotlib_listed_fonts_is_used(monkeypatch, tmp_path):
    from fontTools.ttLib import TTFont
    from matplotlib import font_manager

    manager = font_manager.fontManager
    old = [font for font in manager.ttflist if font.name not in figure._CHINESE]
    monkeypatch.setattr(manager, "ttflist", old)
    (tmp_path / "damaged.ttf").write_bytes(b"no font")
    font = TTFont(font_manager.findfont("DejaVu Sans"))
    for record in font["name"].names:
        if record.nameID in (1, 16):  # the family, and the one that some versions of FreeType prefer
            record.string = "SimHei"
    font.save(tmp_path / "new.ttf")
    installed = [*(entry.fname for entry in old), str(tmp_path / "damaged.ttf")]
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: installed)
    assert figure._fonts() == ["DejaVu Sans"]
    installed.append(str(tmp_path / "new.ttf"))
    assert figure._fonts() == ["DejaVu Sans", "SimHei"]


def test_characters_that_no_font_has_are_told(monkeypatch):
    monkeypatch.setattr(figure, "_fonts", lambda: ["DejaVu Sans"])
    with pytest.warns(PlotWarning, match=r"^no font has 离, 骚: boxes stand for .*; Noto Sans CJK has"):
        piano_roll(piece(1), title="离骚 1")
    with pytest.warns(PlotWarning, match=r"^no font has 🎵: boxes stand for them in the picture$"):
        piano_roll(piece(1), title="Ça 🎵\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        piano_roll(piece(1), title="Ça ĥ Ω −1")


def test_plot_style_without_matplotlib_is_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match=r"^--plot needs matplotlib: pip install matplotlib$"):
        piano_roll(piece(1))
    with pytest.raises(UserError, match=r"^--plot needs matplotlib: pip install matplotlib$"):
        feature_histograms({}, {}, {})


def test_plots_import_no_matplotlib_and_never_pyplot():
    code = """
import sys
from seqgen.plots.music import piano_roll
from seqgen.music.piece import Piece
assert "matplotlib" not in sys.modules
piano_roll(Piece(4, (), (), ()))
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
